"""A trace leaves no trace: the model, what it holds, and the process are afterwards as they were before.

The fingerprint below looks at the model with Python's own means (identities, keys, values, version counters) and knows
nothing of how the tracer keeps things. Models are drawn from a small grammar in which every kind of mischief that a
forward can do to itself is a leaf.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import _dynamo, nn  # noqa: E402  torch loads dynamo at its first product on meta, and patches itself then

from numel.analyses.formulas import cost  # noqa: E402
from numel.facts import Trace  # noqa: E402
from numel.tracing import default_inputs, trace  # noqa: E402

ATOMS = (int, float, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size)


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Everything that a user could find changed."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        found[f"{path}: module"] = (id(module), type(module))
        for name, value in module.__dict__.items():
            found[f"{path}: {name}"] = _inside(value)
        found[f"{path}: order"] = tuple(module.__dict__)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[f"tensor {name}"] = (id(tensor), type(tensor), tensor.device, tensor.dtype, tensor._version)
        found[f"gradient {name}"] = (tensor.requires_grad, id(tensor.grad))
        if not nn.parameter.is_lazy(tensor):
            found[f"data {name}"] = (tuple(tensor.shape), tensor.stride(), tensor.data_ptr(), _bytes(tensor))
    found["state_dict"] = tuple(model.state_dict())
    return found | process()


def _inside(value: Any) -> Any:
    """Structure, order and leaves of containers and plain objects; tensors by identity, value and version."""
    done: list[Any] = []
    seen: set[int] = set()
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, torch.Tensor):
            done.append((id(each), each._version, None if nn.parameter.is_lazy(each) else _bytes(each)))
        elif isinstance(each, ATOMS):
            done.append((type(each), repr(each)))
        elif id(each) in seen:
            done.append(("again", id(each)))
        else:
            seen.add(id(each))
            done.append((id(each), type(each)))
            if isinstance(each, dict):
                pending.extend([*each, *each.values()])
            elif isinstance(each, list | tuple | collections.deque):
                pending.extend(each)
            elif isinstance(each, set):
                pending.extend(sorted(each, key=repr))
            elif isinstance(each, torch.Generator):
                done.append(each.get_state().tolist())
            elif isinstance(each, random.Random):
                done.append(each.getstate())
            elif isinstance(each, np.random.Generator):
                done.append(repr(each.bit_generator.state))
            elif isinstance(each, Slotted):
                pending.extend([each.count, each.log])
            elif type(each).__module__ == __name__ and not isinstance(each, nn.Module):
                pending.extend([*vars(each), *vars(each).values()])
    return done


def _bytes(tensor: Any) -> Any:
    if tensor.device.type == "meta":
        return None
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def process() -> dict[str, Any]:
    """Switches, generators and the identity of every function that a library could patch."""
    spaces = (torch, nn.functional, nn.Module.__dict__, torch.Tensor.__dict__, nn.init, random, warnings)
    return {
        "functions": [
            {n: id(f) for n, f in (space if isinstance(space, collections.abc.Mapping) else vars(space)).items()
             if callable(f)}
            for space in spaces
        ],
        "random": random.getstate(),
        "numpy": repr(np.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "fastpath": torch.backends.mha.get_fastpath_enabled(),
        "filters": (id(warnings.filters), list(warnings.filters)),
        "show": id(warnings.showwarning),
        "validation": torch.distributions.Distribution._validate_args,
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "function modes": torch._C._len_torch_function_stack(),
        "jit": torch._C._get_graph_executor_optimize(),
        "stance": _dynamo.eval_frame._stance.stance,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }  # fmt: skip


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {key: (before.get(key), after.get(key)) for key in before | after if before.get(key) != after.get(key)}


# ── the grammar: modules from (2, 4, 8) to the same shape ────────────────────────────────────────────────────────────


class First(nn.Module):
    """A module that returns a tuple, of which the next one wants the first."""

    def __init__(self, inner: nn.Module, times: int = 1) -> None:
        super().__init__()
        self.inner = inner
        self.times = times

    def forward(self, x: Any) -> Any:
        return self.inner(*[x] * self.times)[0]


@dataclasses.dataclass(slots=True)
class Slotted:
    count: int
    log: list[Any]


class Plain:
    def __init__(self) -> None:
        self.count = 0
        self.log = [0]


class Mischief(nn.Module):
    """One forward that changes something, by the name of its deed."""

    def __init__(self, deed: str) -> None:
        super().__init__()
        self.deed = deed
        self.layer = nn.Linear(8, 8)
        self.count = 0
        self.log: list[Any] = [1]
        self.empty: list[Any] = []
        self.nested: dict[str, Any] = {"a": {"b": [1, {2}]}, "c": collections.deque([torch.zeros(1), torch.ones(2)])}
        self.plain, self.slotted = Plain(), Slotted(0, [0])
        self.tensor = torch.zeros(3)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("memory", torch.zeros(4, 8))
        self.generator, self.dice, self.bits = torch.Generator(), random.Random(1), np.random.default_rng(1)
        if deed == "hook with a closure":
            caught: list[Any] = []
            self.caught = caught
            self.layer.register_forward_hook(lambda module, args, out: caught.append(out))
        if deed == "hook of an object":
            self.layer.register_forward_hook(self.remember)

    def remember(self, module: nn.Module, args: Any, out: Any) -> None:
        self.plain.log.append(out)

    def forward(self, x: Any) -> Any:
        DEEDS[self.deed](self, x)
        return self.layer(x) if isinstance(self.layer, nn.Module) else x


def _draw(self: Any, x: Any) -> None:
    random.random()
    np.random.rand()
    torch.rand(2)
    torch.rand(2, generator=self.generator)
    self.dice.random()
    self.bits.random()


def _raise(self: Any, x: Any) -> None:
    raise RuntimeError("midway")


def _write_parameter(self: Any, x: Any) -> None:
    with torch.no_grad():
        self.layer.weight.add_(1)
        self.layer.bias[0].mul_(2)


def _switch(self: Any, x: Any) -> None:
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.backends.mha.set_fastpath_enabled(True)
    warnings.simplefilter("ignore")


def _hook(self: Any, x: Any) -> None:
    self.layer.register_forward_hook(lambda module, args, out: None)


def _reorder(self: Any, x: Any) -> None:
    self.nested["a"] = self.nested.pop("a")


DEEDS: dict[str, Callable[[Any, Any], Any]] = {
    "nothing": lambda self, x: None,
    "set an attribute": lambda self, x: setattr(self, "last", x),
    "overwrite an attribute": lambda self, x: setattr(self, "tensor", x),
    "delete an attribute": lambda self, x: delattr(self, "tensor"),
    "count": lambda self, x: setattr(self, "count", self.count + 1),
    "append": lambda self, x: (self.log.append(x), self.empty.append(x)),
    "change a nested dictionary": lambda self, x: (
        self.nested["a"]["b"].append(x), self.nested["a"]["b"][1].add(3), self.nested.update(d=1)),
    "change the order of keys": _reorder,
    "rotate a deque of tensors": lambda self, x: (self.nested["c"].append(x), self.nested["c"].rotate()),
    "change an object": lambda self, x: (setattr(self.plain, "count", 5), self.plain.log.append(x)),
    "change an object with slots": lambda self, x: (setattr(self.slotted, "count", 5), self.slotted.log.append(x)),
    "register a buffer": lambda self, x: self.register_buffer("fresh", torch.zeros(2)),
    "register a parameter": lambda self, x: self.register_parameter("fresh", nn.Parameter(torch.zeros(2))),
    "register a module": lambda self, x: self.add_module("fresh", nn.ReLU()),
    "replace a child": lambda self, x: setattr(self, "layer", nn.Identity()),
    "remove a child": lambda self, x: self.__delattr__("layer") or setattr(self, "layer", None),
    "register a hook": _hook,
    "hook with a closure": lambda self, x: None,
    "hook of an object": lambda self, x: None,
    "step a buffer": lambda self, x: self.steps.add_(1),
    "replace a buffer": lambda self, x: setattr(self, "memory", x[0] * 0.9),
    "write to a buffer": lambda self, x: self.memory.copy_(x[0]),
    "write to a plain tensor": lambda self, x: self.tensor.add_(1),
    "write to a parameter": _write_parameter,
    "set the data of a parameter": lambda self, x: setattr(self.layer.weight, "data", self.layer.weight.data * 2),
    "freeze": lambda self, x: self.layer.requires_grad_(False),
    "go backward": lambda self, x: self.layer(x).sum().backward(),
    "change the training mode": lambda self, x: self.train(not self.training),
    "change the class": lambda self, x: setattr(self, "__class__", nn.Identity) or setattr(self, "layer", None),
    "move": lambda self, x: self.layer.to(torch.float64) and self.layer.to(x.dtype),
    "draw random numbers": _draw,
    "throw switches": _switch,
    "read data": lambda self, x: x.sum().item(),
    "raise": _raise,
}  # fmt: skip

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(8, 8),
    "conv": lambda: nn.Conv1d(4, 4, 3, padding=1),
    "batch norm": lambda: nn.BatchNorm1d(4),
    "instance norm": lambda: nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
    "dropout": lambda: nn.Dropout(0.5),
    "relu": lambda: nn.ReLU(inplace=True),
    "lazy": lambda: nn.LazyLinear(8),
    "lstm": lambda: First(nn.LSTM(8, 8, batch_first=True)),
    "attention": lambda: First(nn.MultiheadAttention(8, 2, batch_first=True), times=3),
    "encoder": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)),
}


def built(tree: Any) -> nn.Module:
    """A module from its description: a name, ("shared", tree) for one module at two places, or a list."""
    if isinstance(tree, str):
        return LAYERS[tree]() if tree in LAYERS else Mischief(tree)
    if isinstance(tree, tuple):
        once = built(tree[1])
        return nn.Sequential(collections.OrderedDict(first=once, second=nn.Sequential(once)))
    return nn.Sequential(*[built(each) for each in tree])


TREES = st.recursive(
    st.sampled_from([*LAYERS, *DEEDS]),
    lambda inner: st.one_of(st.lists(inner, min_size=1, max_size=4), st.tuples(st.just("shared"), inner)),
    max_leaves=8,
)


def work(t: Trace) -> list[tuple[Any, ...]]:
    """Operators that cost something. Autograd copies a gradient or takes it over by how long others hold on to it."""
    costs = [(op.op, op.call, op.outputs, cost(op)) for op in t.ops]
    return [each for each in costs if each[-1] is not None and (each[-1].macs or each[-1].elementwise)]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None)
@given(
    TREES.map(lambda tree: [tree]),
    st.sampled_from(["auto", "meta", "fake", "real"]),
    st.booleans(),
    st.sampled_from(["cpu", "cpu", "meta"]),
)
def test_a_model_of_any_shape_and_any_behaviour_is_as_it_was_before(tree, mode, training, device):
    model = built(tree).train(training).to(device)
    for number, p in enumerate(model.parameters()):
        if number % 3 == 0 and not nn.parameter.is_lazy(p):
            p.grad = torch.ones_like(p)
    before = fingerprint(model)
    first = trace(model, "f32[2,4,8]", mode=mode)
    assert differences(before, fingerprint(model)) == {}
    second = trace(model, "f32[2,4,8]", mode=mode)
    assert differences(before, fingerprint(model)) == {}
    assert (first.calls, first.mode) == (second.calls, second.mode)
    assert work(first) == work(second)


ENDINGS = [
    ("nothing", "cpu"),
    ("nothing", "meta"),
    pytest.param("read data", "cpu", marks=pytest.mark.slow),
    pytest.param("raise", "cpu", marks=pytest.mark.slow),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("ending", "device"), ENDINGS)
@pytest.mark.parametrize("deed", DEEDS)
def test_each_deed_is_undone_whether_the_forward_ends_well_needs_data_or_raises(deed, ending, device):
    model = nn.Sequential(Mischief(deed), nn.BatchNorm1d(4), Mischief(ending)).to(device)
    for mode in ("auto", "meta", "fake", "real"):
        before = fingerprint(model)
        trace(model, "f32[2,4,8]", mode=mode)
        assert differences(before, fingerprint(model)) == {}, mode


def test_the_fingerprint_sees_each_deed():
    """Else the tests above would pass for nothing."""
    blind = []
    for deed in DEEDS:
        model = nn.Sequential(Mischief(deed))
        with warnings.catch_warnings():
            switches = (torch.is_grad_enabled(), torch.get_default_dtype(), torch.backends.mha.get_fastpath_enabled())
            torch.backends.mha.set_fastpath_enabled(False)
            before = fingerprint(model)
            with contextlib.suppress(RuntimeError):
                model(torch.ones(2, 4, 8))
            after = fingerprint(model)
            torch.set_grad_enabled(switches[0])
            torch.set_default_dtype(switches[1])
            torch.backends.mha.set_fastpath_enabled(switches[2])
        if before == after:
            blind.append(deed)
    assert blind == ["nothing", "read data", "raise"]  # these leave nothing behind in a plain forward either


@pytest.mark.parametrize("mode", ["auto", "fake", "real"])
def test_statistics_do_not_move_and_masks_do_not_use_up_random_numbers_in_training(mode):
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    trace(model, "f32[2,4,8]", mode=mode)
    assert torch.equal(torch.rand(4), expected)
    assert model[0].num_batches_tracked.item() == 0
    assert torch.equal(model[0].running_mean, torch.zeros(4))


FEATURES: dict[str, Any] = {}


def test_what_a_hook_puts_into_a_global_dictionary_is_taken_out_again():
    """As in a notebook, where feature maps are collected by hooks."""
    layer = nn.Linear(8, 8)
    layer.register_forward_hook(lambda module, args, out: FEATURES.update(last=out))
    trace(nn.Sequential(layer), "f32[2,8]")
    assert FEATURES == {}


def test_a_training_step_works_across_a_trace():
    """Saved tensors keep version counters: a trace between forward and backward must not change them."""
    model = nn.Sequential(Mischief("write to a parameter"), Mischief("step a buffer"))
    quiet = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(4), nn.Linear(8, 8))
    loss = quiet(torch.ones(2, 4, 8)).sum() + model[0].layer(torch.ones(2, 8, requires_grad=True)).sum()
    for mode in ("auto", "fake", "real"):
        trace(quiet, "f32[2,4,8]", mode=mode)
        trace(model, "f32[2,4,8]", mode=mode)
    loss.backward()
    assert all(p.grad is not None for p in quiet.parameters())


# ── real models ──────────────────────────────────────────────────────────────────────────────────────────────────────

IMAGE = "f32[2,3,64,64]"
TORCHVISION: dict[str, tuple[dict[str, Any], str]] = {
    "resnet18": ({}, IMAGE),
    "vgg11_bn": ({}, IMAGE),
    "densenet121": ({}, IMAGE),
    "mobilenet_v3_small": ({}, IMAGE),
    "efficientnet_b0": ({}, IMAGE),
    "shufflenet_v2_x0_5": ({}, IMAGE),
    "squeezenet1_1": ({}, IMAGE),
    "regnet_y_400mf": ({}, IMAGE),
    "convnext_tiny": ({}, IMAGE),
    "swin_t": ({}, IMAGE),
    "vit_b_16": ({"image_size": 64}, IMAGE),
    "googlenet": ({"init_weights": False, "aux_logits": True}, "f32[2,3,96,96]"),
    "inception_v3": ({"init_weights": False, "aux_logits": True}, "f32[2,3,299,299]"),
    "deeplabv3_resnet50": ({"weights_backbone": None, "aux_loss": True}, IMAGE),
    "r3d_18": ({}, "f32[1,3,4,32,32]"),
    "raft_small": ({}, "f32[1,3,128,128], f32[1,3,128,128], num_flow_updates: 1"),
}


class Midway(nn.Module):
    """The last module of a model that fails after all the others ran."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("midway")


class Ending(nn.Module):
    """A model followed by a module that raises."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.end = Midway()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.end(self.model(*args, **kwargs))


def held(model: nn.Module, inputs: Any) -> None:
    """One model: untouched and the same numbers twice, with a good end and with a bad one."""
    before = fingerprint(model)
    first, second = trace(model, inputs), trace(model, inputs)
    assert first.failure is None, first.failure
    assert first == second
    assert differences(before, fingerprint(model)) == {}
    ending = Ending(model)
    failed = trace(ending, inputs, mode=first.mode)
    assert (failed.failure.path, failed.failure.message) == ("end", "midway")
    assert [op.op for op in failed.ops] == [op.op for op in first.ops]
    assert differences(before, fingerprint(model)) == {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", TORCHVISION)
def test_models_of_torchvision_are_untouched(name, training):
    torchvision = pytest.importorskip("torchvision")
    options, inputs = TORCHVISION[name]
    model = torchvision.models.get_model(name, weights=None, **options).train(training)
    held(model, inputs)


TEXT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 99}
VISION = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
          "image_size": 32, "patch_size": 8}  # fmt: skip
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertForMaskedLM", TEXT),
    "llama": ("LlamaForCausalLM", TEXT | {"num_key_value_heads": 1}),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 99}),
    "t5": ("T5ForConditionalGeneration", {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
                                          "vocab_size": 99}),
    "mixtral": ("MixtralForCausalLM", TEXT | {"num_key_value_heads": 1, "num_local_experts": 4}),
    "mamba": ("MambaForCausalLM", {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 99}),
    "whisper": ("WhisperForConditionalGeneration", {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 99,
        "num_mel_bins": 8, "max_source_positions": 16, "max_target_positions": 16, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}),
    "vit": ("ViTForImageClassification", VISION),
    "clip": ("CLIPModel", {"text_config": TEXT | {"eos_token_id": 2}, "vision_config": VISION, "projection_dim": 8}),
    "segformer": ("SegformerForSemanticSegmentation", {
        "hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 2],
        "decoder_hidden_size": 16, "image_size": 64}),
    "wav2vec2": ("Wav2Vec2ForCTC", TEXT | {"conv_dim": [8, 8], "conv_stride": [5, 4], "conv_kernel": [10, 8],
                                           "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
                                           "num_feat_extract_layers": 2}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_models_of_transformers_are_untouched(kind, training):
    transformers = pytest.importorskip("transformers")
    name, options = TRANSFORMERS[kind]
    config = transformers.AutoConfig.for_model(kind, **options)
    model = getattr(transformers, name)(config).train(training)
    inputs = default_inputs(model)
    assert inputs is not None
    held(model, inputs)


# ── what a forward changes beside its model ──────────────────────────────────────────────────────────────────────────

CACHE: dict[str, Any] = {}
CALLS = 0


class Reaching(nn.Linear):
    """Fills a global, counts in one, writes to its class, turns switches; ends well or badly."""

    table: dict[str, Any] = {}  # noqa: RUF012  # shared on purpose

    def forward(self, x):
        global CALLS
        CALLS += 1
        CACHE["ones"] = self.table["ones"] = torch.ones(4, device=x.device)
        type(self).seen = x.shape
        torch.set_default_device("meta")
        torch.use_deterministic_algorithms(True)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = True
        os.environ["NUMEL_REACHED"] = "1"
        if x.shape[0] == 3:
            raise ValueError("midway")
        return super().forward(x)


@pytest.mark.parametrize("mode", ["meta", "fake", "real"])
@pytest.mark.parametrize("rows", [2, 3])
def test_globals_classes_switches_and_the_environment_are_as_before(mode, rows):
    model = Reaching(4, 4)
    before = process()
    found = trace(model, f"f32[{rows},4]", mode=mode)
    assert (found.failure is None) == (rows == 2)
    assert (CACHE, CALLS, Reaching.table, hasattr(Reaching, "seen")) == ({}, 0, {}, False)
    assert torch.ones(1).device.type == "cpu"
    assert "NUMEL_REACHED" not in os.environ
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert torch.get_float32_matmul_precision() == "highest"
    assert differences(before, process()) == {}

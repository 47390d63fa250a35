"""A trace leaves no trace: the model, what it holds, and the process are afterwards as they were before.

Models are drawn from a small grammar in which every kind of mischief that a forward can do to itself is a leaf. What is
looked at is in fingerprint.py; real models are in test_untouched_zoo.py.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
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
from torch import nn  # noqa: E402

from integration.fingerprint import differences, fingerprint, process  # noqa: E402
from numel.analyses.formulas import cost  # noqa: E402
from numel.facts import Trace  # noqa: E402
from numel.tracing import trace  # noqa: E402

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


class Averaging(nn.Module):
    """Keeps running statistics that are no buffers, so that the forward writes to what the user has."""

    def __init__(self) -> None:
        super().__init__()
        self.statistics = torch.full((2, 3), 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.batch_norm(x, *self.statistics.unbind(), training=True, momentum=1.0)


@pytest.mark.parametrize("mode", ["auto", "fake", "real"])
def test_statistics_that_are_no_buffers_do_not_move_either(mode):
    model = Averaging()
    assert trace(model, torch.ones(4, 3), mode=mode).failure is None
    assert torch.equal(model.statistics, torch.full((2, 3), 2.0))
    model(torch.ones(4, 3))
    assert torch.equal(model.statistics, torch.tensor([[1.0] * 3, [0.0] * 3]))  # mean and variance of ones


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


# ── what functions remember ──────────────────────────────────────────────────────────────────────────────────────────


@functools.lru_cache(maxsize=8)
def positions(n: int, device: Any) -> Any:
    return torch.arange(n, device=device)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """As in transformers, where the cache lies inside another decorator."""
    remembering = functools.lru_cache(function)
    return functools.wraps(function)(lambda *args: remembering(*args))


@decorated
def scales(n: int, device: Any) -> Any:
    return torch.ones(n, device=device)


@functools.cache
def registry() -> dict[str, int]:
    return {}


@functools.cache
def registry_of(kind: str) -> dict[str, int]:
    return {}


class Remembering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = functools.lru_cache(lambda n, device: torch.full((n,), 2.0, device=device))

    @staticmethod
    @functools.lru_cache
    def static(n: int, device: Any) -> Any:
        return torch.eye(n, device=device)[0]

    @functools.lru_cache(maxsize=8)  # noqa: B019  # for good, as some models do
    def bias(self, n: int, device: Any) -> Any:
        return torch.zeros(n, device=device)

    def forward(self, x: Any) -> Any:
        n = registry()["rows"] * registry_of("any")["times"]
        x = x[:n] * scales(x.shape[1], x.device) + positions(x.shape[1], x.device) + self.bias(x.shape[1], x.device)
        return x + self.own(x.shape[1], x.device) * self.static(x.shape[1], x.device) * positions.tuned


@pytest.mark.parametrize("mode", ["auto", "fake", "real"])
def test_what_functions_remember_is_neither_added_to_nor_left_out_of_a_second_trace(mode):
    """Kept, a result of the trace would go to the model's next forward, and the second trace would be shorter."""
    model = Remembering()
    registry()["rows"], registry_of("any")["times"] = 2, 1  # objects that others have filled are not made anew
    positions.tuned = 1.0
    before = fingerprint(model)
    first, second = (trace(model, "f32[4,8]", mode=mode) for _ in range(2))
    assert first.failure is None, first.failure
    assert [op.op for op in first.ops].count("aten.arange.default") == 1
    assert first == second
    assert first.ops[-1].outputs[0].shape == (2, 8)
    assert differences(before, fingerprint(model)) == {}
    assert model(torch.ones(4, 8)).device.type == "cpu"
    positions.cache_clear()
    Remembering.bias.cache_clear()

"""What a trace says: which module ran each operator, on which kind of tensors, and what happens when a forward fails.

Expected operators are written down by hand from the forward above each test; expected MACs are closed formulas.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.nn.utils import prune  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import numel  # noqa: E402
from numel.analyses.formulas import cost  # noqa: E402
from numel.errors import InputsError  # noqa: E402
from numel.facts import Trace  # noqa: E402
from numel.tracing import trace  # noqa: E402

MODES = ("meta", "fake", "real")


class Net(nn.Module):
    """Any function of (self, *inputs) as a forward, over any children, parameters and buffers."""

    def __init__(self, function: Callable[..., Any], **members: Any) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            if isinstance(member, torch.Tensor) and not isinstance(member, nn.Parameter):
                self.register_buffer(name, member)
            else:
                setattr(self, name, member)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def linear(n: int = 4) -> nn.Linear:
    return nn.Linear(n, n)


def placed(t: Trace) -> list[tuple[str | None, str]]:
    """(path of the running module, operator) in order."""
    return [(t.calls[op.call].path if op.call >= 0 else None, op.name.removeprefix("aten.")) for op in t.ops]


def called(t: Trace) -> list[tuple[str, int, str | None]]:
    """(path, nth call, path of the calling module) in order."""
    return [(c.path, c.index, t.calls[c.parent].path if c.parent >= 0 else None) for c in t.calls]


def spelled(t: Trace) -> list[tuple[Any, ...]]:
    """The operators with all that a cost can depend on."""
    return [(op.op, op.call, op.args, op.kwargs, op.outputs) for op in t.ops]


def macs(t: Trace) -> int:
    return sum(found.macs for op in t.ops if (found := cost(op)) is not None)


# ── attribution ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_operator_belongs_to_the_module_that_runs_and_functional_ones_to_their_caller():
    t = trace(Net(lambda self, x: torch.mm(self.child(x), x.t()).relu(), child=linear()), "f32[2,4]")
    assert placed(t) == [("child", "linear"), ("", "t"), ("", "mm"), ("", "relu")]
    assert called(t) == [("", 0, None), ("child", 0, "")]


def test_calling_forward_directly_counts_as_a_call_although_hooks_do_not_see_it():
    t = trace(Net(lambda self, x: self.child.forward(x), child=linear()), "f32[2,4]")
    assert placed(t) == [("child", "linear")]


def test_a_module_called_twice_has_two_calls_and_its_operators_twice():
    t = trace(Net(lambda self, x: self.child(self.child(x)), child=linear()), "f32[2,4]")
    assert called(t) == [("", 0, None), ("child", 0, ""), ("child", 1, "")]
    assert [(op.call, op.name) for op in t.ops] == [(1, "aten.linear"), (2, "aten.linear")]


def test_a_module_under_two_parents_is_called_at_its_first_place_by_each_of_them():
    shared = linear()
    t = trace(nn.Sequential(nn.Sequential(shared), nn.Sequential(shared)), "f32[2,4]")
    assert called(t) == [("", 0, None), ("0", 0, ""), ("0.0", 0, "0"), ("1", 0, ""), ("0.0", 1, "1")]


def test_modules_in_lists_and_dictionaries_have_the_path_of_their_place():
    def forward(self: Any, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return self.heads["a"](x)

    layers, heads = nn.ModuleList([linear(), linear()]), nn.ModuleDict({"a": linear(), "unused": linear()})
    t = trace(Net(forward, layers=layers, heads=heads), "f32[2,4]")
    assert placed(t) == [("layers.0", "linear"), ("layers.1", "linear"), ("heads.a", "linear")]


def test_a_module_that_calls_itself_nests_its_calls():
    def forward(self: Any, x: Any, depth: int = 2) -> Any:
        return self(self.child(x), depth - 1) if depth else x

    t = trace(Net(forward, child=linear()), "f32[2,4]")
    assert [(c.path, c.index, c.parent) for c in t.calls] == [
        ("", 0, -1), ("child", 0, 0), ("", 1, 0), ("child", 1, 2), ("", 2, 2),
    ]  # fmt: skip


def test_a_chain_of_modules_deeper_than_a_recursive_walk_of_records_would_bear_is_traced():
    chain: nn.Module = linear()
    for _ in range(150):  # two Python frames a level, and torch's own recursive walks, set the limit
        chain = nn.Sequential(chain)
    t = trace(chain, "f32[2,4]")
    assert placed(t) == [(".".join(["0"] * 150), "linear")]


def test_what_hooks_compute_belongs_to_the_module_that_has_them():
    hooked = linear()
    hooked.register_forward_pre_hook(lambda module, args: (torch.sin(args[0]),))
    hooked.register_forward_hook(lambda module, args, out: torch.cos(out))
    t = trace(nn.Sequential(hooked, linear()), "f32[2,4]")
    assert placed(t) == [("0", "sin"), ("0", "linear"), ("0", "cos"), ("1", "linear")]
    assert called(t) == [("", 0, None), ("0", 0, ""), ("1", 0, "")]


def test_a_hooked_module_whose_forward_is_called_directly_is_one_call_without_its_hooks():
    hooked = linear()
    hooked.register_forward_hook(lambda module, args, out: torch.cos(out))
    t = trace(Net(lambda self, x: self.child(self.child.forward(x)), child=hooked), "f32[2,4]")
    assert placed(t) == [("child", "linear"), ("child", "linear"), ("child", "cos")]
    assert called(t) == [("", 0, None), ("child", 0, ""), ("child", 1, "")]


def test_a_forward_set_on_the_instance_is_the_one_that_runs():
    child = linear()
    child.forward = lambda x: x @ x.t()
    t = trace(nn.Sequential(child), "f32[2,4]")
    assert placed(t) == [("0", "t"), ("0", "matmul")]


def test_a_module_with_a_call_of_its_own_is_followed_into_what_it_calls():
    class Calling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.child = linear()

        def __call__(self, x: Any) -> Any:
            return torch.relu(self.child(x))

    t = trace(nn.Sequential(Calling()), "f32[2,4]")
    assert placed(t) == [("0.child", "linear"), ("", "relu")]  # without a forward the caller is all there is to see


def test_a_module_hidden_in_a_plain_list_has_its_operators_put_down_to_its_caller():
    net = Net(lambda self, x: self.hidden[0](x))
    net.hidden = [linear()]
    assert placed(trace(net, "f32[2,4]")) == [("", "linear")]


def test_calls_keep_their_input_and_output_specs():
    t = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten()), "f32[2,3,8,8]")
    assert [(str(c.inputs[0]), str(c.outputs)) for c in t.calls] == [
        ("f32[2,3,8,8]", "f32[2,288]"),
        ("f32[2,3,8,8]", "f32[2,8,6,6]"),
        ("f32[2,8,6,6]", "f32[2,288]"),
    ]


# ── modules whose weight or code is made by something else ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "orthogonal"])
def test_a_parametrized_weight_is_computed_in_the_module_of_its_parametrization(name):
    layer = getattr(nn.utils.parametrizations, name)(linear())
    t = trace(nn.Sequential(layer), "f32[2,4]")
    assert placed(t)[-1] == ("0", "linear")
    assert {path for path, _ in placed(t)[:-1]} == {"0.parametrizations.weight.0"}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_a_weight_computed_by_an_old_style_hook_belongs_to_its_module(name):
    t = trace(nn.Sequential(getattr(nn.utils, name)(linear())), "f32[2,4]")
    assert len(t.ops) > 1
    assert placed(t)[-1] == ("0", "linear")
    assert {path for path, _ in placed(t)} == {"0"}


def test_a_pruned_weight_is_masked_in_its_module_and_multiplies_as_densely_as_before():
    layer = prune.random_unstructured(linear(), "weight", 0.5)
    t = trace(nn.Sequential(layer), "f32[2,4]")
    assert ("0", "mul") in placed(t)
    assert macs(t) == 2 * 4 * 4


def _scripted(module: nn.Module) -> nn.Module:
    return torch.jit.script(module)


def _jit_traced(module: nn.Module) -> nn.Module:
    return torch.jit.trace(module, torch.zeros(2, 4))


def _frozen(module: nn.Module) -> nn.Module:
    return torch.jit.freeze(torch.jit.script(module.eval()))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("made", [_scripted, _jit_traced, _frozen])
@pytest.mark.parametrize("as_root", [True, False])
def test_a_module_of_torch_jit_is_counted_as_a_whole_and_says_so(made, as_root):
    whole = made(nn.Sequential(linear(), linear()))
    path = "" if as_root else "0"
    for _ in range(3):  # the jit would specialise and fuse from its second run on
        t = trace(whole if as_root else nn.Sequential(whole), "f32[2,4]")
        assert (t.mode, t.failure) == ("meta", None)
        assert placed(t) == [(path, "linear"), (path, "linear")]
        assert [(note.code, note.path) for note in t.notes] == [("scripted", path)]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("mode", MODES)
def test_tracing_leaves_the_tensors_inside_of_a_scripted_module_as_they_were(mode):
    net = torch.jit.script(nn.Sequential(linear(), nn.BatchNorm1d(4)))
    before = {name: (t.data_ptr(), t.clone()) for name, t in net.state_dict().items()}
    assert trace(net, "f32[2,4]", mode=mode).failure is None
    after = net.state_dict()
    assert {name: after[name].data_ptr() for name in before} == {name: at for name, (at, _) in before.items()}
    assert all(torch.equal(after[name], value) for name, (_, value) in before.items())
    assert net(torch.zeros(2, 4)).shape == (2, 4)


@pytest.mark.parametrize("whole", [True, False])
def test_a_module_under_torch_compile_is_traced_as_it_was_written(whole):
    compiled = torch.compile(nn.Sequential(linear(), nn.ReLU()), backend="eager")
    t = trace(compiled if whole else nn.Sequential(compiled), "f32[2,4]")
    path = "_orig_mod" if whole else "0._orig_mod"
    assert placed(t) == [(f"{path}.0", "linear"), (f"{path}.1", "relu")]


def test_a_module_compiled_in_place_is_traced_as_it_was_written():
    net = nn.Sequential(linear(), nn.ReLU())
    net.compile(backend="eager")
    assert placed(trace(net, "f32[2,4]")) == [("0", "linear"), ("1", "relu")]


@pytest.mark.parametrize("devices", [[], [0, 1]])
def test_data_parallel_runs_the_whole_batch_through_one_model_whatever_its_devices(devices):
    net = nn.DataParallel(linear())
    net.device_ids = devices  # as on a machine with two GPUs, where replicas would run in threads
    t = trace(net, "f32[2,4]")
    assert placed(t) == [("module", "linear")]
    assert net.device_ids == devices


def test_distributed_data_parallel_is_traced_through(tmp_path):
    dist = pytest.importorskip("torch.distributed")
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("this torch has no gloo")
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        net = nn.parallel.DistributedDataParallel(linear())
        assert placed(trace(net, "f32[2,4]")) == [("module", "linear")]
        net(torch.ones(2, 4)).sum().backward()
        assert all(p.grad is not None for p in net.parameters())
    finally:
        dist.destroy_process_group()


def test_operators_on_a_jagged_tensor_are_those_on_its_values():
    def forward(self: Any, x: Any) -> Any:
        jagged = torch.nested.nested_tensor_from_jagged(x, torch.tensor([0, 2, 5]))
        return self.child(jagged).values()

    t = trace(Net(forward, child=linear()), "f32[5,4]")
    assert t.failure is None
    assert macs(t) == 5 * 4 * 4  # five rows in two sequences, no padding
    assert ("child", "linear") in placed(t) or ("child", "matmul") in placed(t)


# ── which tensors a forward runs on ──────────────────────────────────────────────────────────────────────────────────


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4), nn.Dropout(0.5)
    )


@pytest.mark.parametrize("training", [True, False])
def test_every_mode_and_every_kind_of_model_gives_the_same_trace(training):
    real = small_net().train(training)
    with FakeTensorMode():
        fake = small_net().train(training)
    with torch.device("meta"):
        meta = small_net().train(training)
    traces = [trace(net, "f32[2,3,8,8]", mode=mode) for net in (real, meta, fake) for mode in ("auto", "meta", "fake")]
    traces.append(trace(real, "f32[2,3,8,8]", mode="real"))
    assert [t.mode for t in traces] == ["meta", "meta", "fake"] * 3 + ["real"]
    assert all(t.training is training for t in traces)
    assert all(t.failure is None and t.notes == () for t in traces)
    assert all(spelled(t) == spelled(traces[0]) for t in traces)
    # 36 positions of 4 filters of 3·3·3, and a product of 144 by 4, for each of 2 samples
    assert macs(traces[0]) == 2 * (36 * 4 * 27 + 144 * 4)


@pytest.mark.parametrize("mode", MODES)
def test_the_same_numbers_come_out_when_a_model_is_traced_again(mode):
    net = small_net()
    first, second = (trace(net, "f32[2,3,8,8]", mode=mode) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_inputs_without_an_element_type_take_the_models_own(dtype):
    t = trace(nn.Sequential(linear(), nn.BatchNorm1d(4)).to(dtype), "[2,4]")
    assert t.inputs[0].dtype.name == str(dtype).removeprefix("torch.")
    assert {op.outputs[0].dtype.name for op in t.ops if op.name != "aten.add_"} == {t.inputs[0].dtype.name}


def test_a_model_of_mixed_element_types_keeps_them_apart():
    net = nn.Sequential(linear().half(), Net(lambda self, x: x.float()), linear())
    assert [str(op.outputs[0]) for op in trace(net, "[2,4]").ops] == ["f16[2,4]", "f32[2,4]", "f32[2,4]"]


def test_a_small_tensor_that_the_forward_makes_itself_may_be_looked_at_on_meta():
    def forward(self: Any, x: Any) -> Any:
        for step in torch.arange(3).tolist():
            x = self.child(x) if step else x
        return x

    t = trace(Net(forward, child=linear()), "f32[2,4]")
    assert (t.mode, t.failure) == ("meta", None)
    assert placed(t).count(("child", "linear")) == 2


def test_a_constant_made_on_the_models_device_is_looked_at_without_leaving_meta():
    def forward(self: Any, x: Any) -> Any:
        return self.child(x) if torch.ones(1, device=x.device).item() > 0 else x

    t = trace(Net(forward, child=linear()), "f32[2,4]")
    assert (t.mode, t.failure, t.notes) == ("meta", None, ())
    assert ("child", "linear") in placed(t)


def test_a_buffer_that_nothing_wrote_to_is_read_as_it_is():
    net = Net(lambda self, x: self.child(x) if self.flag.item() else x, flag=torch.ones(()), child=linear())
    t = trace(net, "f32[2,4]")
    assert t.mode == "meta"
    assert ("child", "linear") in placed(t)


@pytest.mark.parametrize("write", [lambda b: b.add_(1), lambda b: b.view(1).add_(1), lambda b: b.copy_(b + 1)])
def test_a_buffer_is_never_read_as_it_was_before_the_forward_wrote_to_it(write):
    def forward(self: Any, x: Any) -> Any:
        write(self.steps)
        return self.child(x) if self.steps.item() == 1 else x

    net = Net(forward, steps=torch.zeros(()), child=linear())
    assert placed(trace(net, "f32[2,4]"))[-1] == ("child", "linear")
    assert net.steps.item() == 0


def test_code_that_asks_for_a_device_runs_on_fake_tensors_and_the_step_down_is_a_note():
    def forward(self: Any, x: Any) -> Any:
        if x.device.type == "meta":
            raise RuntimeError("no kernel for meta")
        return self.child(x)

    t = trace(Net(forward, child=linear()), "f32[2,4]")
    assert (t.mode, t.failure) == ("fake", None)
    assert [(note.code, note.level) for note in t.notes] == [("step-down", "info")]
    assert "no kernel for meta" in t.notes[0].text


DATA_DEPENDENT = {
    "value": (lambda self, x: self.child(x) if self.child(x).sum().item() < 1e9 else x, "value that depends on data"),
    "shape": (lambda self, x: self.child(x)[x == x], "shape that depends on data"),
    "nonzero": (lambda self, x: self.child(x).nonzero(), "shape that depends on data"),
}


@pytest.mark.parametrize("kind", DATA_DEPENDENT)
def test_a_forward_that_depends_on_data_runs_for_real_and_says_why(kind):
    forward, reason = DATA_DEPENDENT[kind]
    t = trace(Net(forward, child=linear()), "f32[2,4]")
    assert (t.mode, t.failure) == ("real", None)
    (said,) = [note.text for note in t.notes if note.code == "step-down"]
    assert said.startswith("not on meta tensors nor on fake tensors: ")
    assert reason in said
    assert said.endswith("it ran on the real model")


@pytest.mark.parametrize("kind", DATA_DEPENDENT)
def test_a_forward_that_depends_on_data_fails_clearly_when_there_are_no_weights_to_run(kind):
    forward, reason = DATA_DEPENDENT[kind]
    t = trace(Net(forward, child=linear()).to("meta"), "f32[2,4]")
    assert (t.failure.error, t.failure.path) == ("DataDependent", "")
    assert reason in t.failure.message
    assert any("weights are not allocated" in note.text for note in t.notes)
    assert ("child", "linear") in placed(t)  # what ran until then


def test_the_real_mode_without_weights_is_a_failure_and_not_an_exception():
    t = trace(linear().to("meta"), "f32[2,4]", mode="real")
    assert (t.mode, t.failure.error, t.ops) == ("real", "NotAllocated", ())
    assert "weights are not allocated" in t.failure.message


@pytest.mark.parametrize("mode", ["auto", *MODES])
def test_a_model_built_in_inference_mode_is_traced_and_keeps_what_its_forward_overwrites(mode):
    with torch.inference_mode():
        net = Net(lambda self, x: self.child(x) + self.steps.add_(1), child=linear(), steps=torch.zeros(4))
        net.plain = torch.zeros(4)
        net.function = lambda self, x: self.child(x) + self.steps.add_(1) + self.plain.add_(1)
        t = trace(net, "f32[2,4]", mode=mode)
    if mode != "meta":  # there, data that is known is never overwritten
        assert t.failure is None
        assert macs(t) == 2 * 4 * 4
    assert (net.steps.tolist(), net.plain.tolist()) == ([0] * 4, [0] * 4)


def test_an_unknown_mode_names_those_that_there_are():
    with pytest.raises(InputsError, match="auto, meta, fake, real"):
        trace(linear(), "f32[2,4]", mode="cuda")


def test_a_forward_that_takes_gradients_runs_with_autograd():
    def forward(self: Any, x: Any) -> Any:
        x = x.requires_grad_()
        return torch.autograd.grad(self.child(x).sum(), x, create_graph=True)[0]

    net = Net(forward, child=linear())
    t = trace(net, "f32[2,4]")
    assert t.failure is None
    assert macs(t) == 2 * (2 * 4 * 4)  # the product and the one for the gradient of its input


@pytest.mark.parametrize("mode", ["auto", *MODES])
def test_a_lazy_module_is_traced_right_and_stays_lazy(mode):
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(5))
    for _ in range(2):
        t = trace(net, "f32[2,3,8,8]", mode=mode)
        assert t.failure is None
        assert macs(t) == 2 * (36 * 4 * 27 + 144 * 5)
    assert [type(m).__name__ for m in net] == ["LazyConv2d", "LazyBatchNorm2d", "Flatten", "LazyLinear"]
    assert net[0].has_uninitialized_params()
    assert net(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    assert [type(m).__name__ for m in net] == ["Conv2d", "BatchNorm2d", "Flatten", "Linear"]


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Boom(nn.Module):
    def forward(self, x: Any) -> Any:
        raise ValueError("no such\nthing")


@pytest.mark.parametrize("mode", ["auto", *MODES])
def test_a_forward_that_raises_gives_what_ran_before_and_where_it_stopped(mode):
    net = nn.Sequential(linear(), nn.Sequential(nn.ReLU(), Boom()), linear())
    t = trace(net, "f32[2,4]", mode=mode)
    assert placed(t) == [("0", "linear"), ("1.0", "relu")]
    assert macs(t) == 2 * 4 * 4
    assert (t.failure.path, t.failure.module_type) == ("1.1", f"{Boom.__module__}.Boom")
    assert (t.failure.error, t.failure.message) == ("ValueError", "no such\nthing")
    assert str(t.failure.inputs[0]) == "f32[2,4]"
    assert [(note.code, note.level, note.path) for note in t.notes] == [("forward-failed", "error", "1.1")]
    assert t.notes[0].text == "ValueError: no such thing"


def test_an_error_that_the_forward_handles_is_no_failure():
    def forward(self: Any, x: Any) -> Any:
        with contextlib.suppress(ValueError):
            self.boom(x)
        return self.child(x)

    t = trace(Net(forward, boom=Boom(), child=linear()), "f32[2,4]")
    assert t.failure is None
    assert placed(t) == [("child", "linear")]


def test_an_error_after_a_handled_one_is_put_down_to_its_own_module():
    def forward(self: Any, x: Any) -> Any:
        with contextlib.suppress(ValueError):
            self.boom(x)
        raise KeyError("later")

    t = trace(nn.Sequential(Net(forward, boom=Boom())), "f32[2,4]")
    assert (t.failure.path, t.failure.error) == ("0", "KeyError")


def test_inputs_that_do_not_fit_the_forward_are_a_failure_of_the_root():
    t = trace(linear(), {"inptu": "f32[2,4]"})
    assert (t.failure.path, t.failure.error) == ("", "TypeError")
    assert "inptu" in t.failure.message


REAL_RUNS: list[str] = []


def test_a_shape_mismatch_names_the_layer_and_is_not_tried_on_the_real_model():
    class Remembering(nn.Linear):
        def forward(self, x: Any) -> Any:
            if type(x) is torch.Tensor and x.device.type == "cpu":
                REAL_RUNS.append("real")
            return super().forward(x)

    t = trace(nn.Sequential(linear(), Remembering(5, 5)), "f32[2,4]")
    assert t.failure.path == "1"
    assert REAL_RUNS == []


@pytest.mark.parametrize("exception", [KeyboardInterrupt, GeneratorExit])
def test_an_interrupt_goes_through_and_leaves_the_model_as_it_was(exception):
    def forward(self: Any, x: Any) -> Any:
        raise exception

    net = Net(forward, child=linear())
    keys, weight = set(net.__dict__), net.child.weight
    with pytest.raises(exception):
        trace(net, "f32[2,4]")
    assert set(net.__dict__) == keys
    assert net.child.weight is weight


def test_a_module_run_in_another_thread_is_a_lower_bound_and_not_a_silent_zero():
    def forward(self: Any, x: Any) -> Any:
        done: list[Any] = []
        thread = threading.Thread(target=lambda: done.append(self.child(x)))
        thread.start()
        thread.join()
        return done[0]

    report = numel.summary(Net(forward, child=linear()), "f32[2,4]")
    assert (report.trace.failure, dict(report.uncosted)) == (None, {"python.thread": 1})
    assert [(row.path, row.macs, row.exact) for row in report.layers] == [("", 0, False), ("child", 0, False)]


def test_a_module_run_in_a_thread_that_waits_for_work_is_a_lower_bound_too():
    asked, answered = queue.Queue(), queue.Queue()

    def work() -> None:
        for child, x in iter(asked.get, None):
            answered.put(child(x))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        net = Net(lambda self, x: (threading.asked.put((self.child, x)), threading.answered.get())[1], child=linear())
        threading.asked, threading.answered = asked, answered
        report = numel.summary(net, "f32[2,4]")
    finally:
        asked.put(None)
        thread.join()
        del threading.asked, threading.answered
    assert (report.exact, dict(report.uncosted)) == (False, {"python.thread": 1})


# ── what is active around the call ───────────────────────────────────────────────────────────────────────────────────


class Counting(TorchDispatchMode):
    """A dispatch mode of the caller's: it must not see what numel runs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += 1
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def default_dtype(dtype: Any) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SURROUNDINGS: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "a default device of meta": lambda: torch.device("meta"),
    "a default dtype of float64": lambda: default_dtype(torch.float64),
    "a dispatch mode": Counting,
    "a fake mode": FakeTensorMode,
    "saved tensor hooks": torch.autograd.graph.save_on_cpu,
}


@pytest.mark.parametrize("mode", ["auto", *MODES])
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_a_trace_is_the_same_whatever_is_active_around_it(mode, surroundings):
    net = small_net()
    expected = spelled(trace(net, "f32[2,3,8,8]", mode=mode))
    with SURROUNDINGS[surroundings]():
        dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
        assert spelled(trace(net, "f32[2,3,8,8]", mode=mode)) == expected
        assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (dtype, grad)


@pytest.mark.parametrize("mode", MODES)
def test_a_dispatch_mode_of_the_callers_sees_nothing_and_is_active_again_afterwards(mode):
    with Counting() as counting:
        trace(small_net().to("cpu"), "f32[2,3,8,8]", mode=mode)
        before = counting.seen
        torch.zeros(1)
    built = Counting()
    with built:
        small_net().to("cpu")
    assert before == built.seen
    assert counting.seen == before + 1


@pytest.mark.parametrize("mode", ["auto", "fake", "real"])
def test_autocast_around_the_call_is_obeyed(mode):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        t = trace(linear(), "f32[2,4]", mode=mode)
    assert str(t.ops[-1].outputs[0]) == "bf16[2,4]"
    assert macs(t) == 2 * 4 * 4
    if mode == "auto":
        assert t.mode == "fake"
        assert "autocast" in t.notes[0].text


def test_meta_tensors_under_autocast_come_with_a_warning():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        t = trace(linear(), "f32[2,4]", mode="meta")
    assert macs(t) == 2 * 4 * 4
    assert str(t.ops[-1].outputs[0]) == "f32[2,4]"


def test_a_forward_may_trace_another_model():
    inner = linear()

    def forward(self: Any, x: Any) -> Any:
        assert len(trace(inner, "f32[3,4]").ops) == 1
        return self.child(x)

    t = trace(Net(forward, child=linear()), "f32[2,4]")
    assert t.failure is None
    assert placed(t) == [("child", "linear")]


@pytest.mark.parametrize("same", [True, False])
def test_threads_may_trace_at_once_even_one_model(same):
    nets = [small_net()] * 6 if same else [small_net() for _ in range(6)]
    expected = spelled(trace(nets[0], "f32[2,3,8,8]"))
    fastpath = torch.backends.mha.get_fastpath_enabled()
    results: list[bool] = []

    def run(net: nn.Module) -> None:
        results.extend(spelled(trace(net, "f32[2,3,8,8]")) == expected for _ in range(5))

    threads = [threading.Thread(target=run, args=(net,)) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 30
    assert all("forward" not in net.__dict__ and net[0].weight.device.type == "cpu" for net in nets)
    assert torch.backends.mha.get_fastpath_enabled() == fastpath


# ── attention ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["auto", *MODES])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_transformer_encoder_costs_the_same_in_training_and_in_evaluation(mode, training, batch_first):
    """In evaluation torch would run one fused operator that no counter sees inside of."""
    width, inner, length, batch, layers = 8, 32, 5, 3, 2
    layer = nn.TransformerEncoderLayer(width, 2, inner, batch_first=batch_first)
    net = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).train(training)
    shape = (batch, length, width) if batch_first else (length, batch, width)
    t = trace(net, shape, mode=mode)
    tokens = batch * length
    # four projections, two products of attention over all pairs, and the two layers of the feed-forward
    per_layer = 4 * tokens * width**2 + 2 * tokens * length * width + 2 * tokens * width * inner
    assert t.failure is None
    assert macs(t) == layers * per_layer
    assert not any("fast" in op.op or "_native_multi_head" in op.op for op in t.ops)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_costs_the_same_with_and_without_its_weights(training, need_weights):
    width, length, batch = 8, 5, 3
    attention = nn.MultiheadAttention(width, 2, batch_first=True).train(training)
    net = Net(lambda self, x: self.attention(x, x, x, need_weights=need_weights)[0], attention=attention)
    expected = 4 * batch * length * width**2 + 2 * batch * length**2 * width
    assert macs(trace(net, (batch, length, width))) == expected


def test_the_encoder_of_nested_tensors_is_counted_without_them():
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 32, batch_first=True), 1).eval()
    padded = torch.tensor([[False, False, True], [False, False, False]])
    t = trace(net, {"src": "f32[2,3,8]", "src_key_padding_mask": padded})
    assert t.failure is None
    assert macs(t) == 4 * 6 * 8**2 + 2 * 6 * 3 * 8 + 2 * 6 * 8 * 32


# ── forwards that catch what they should not, print, or leave ────────────────────────────────────────────────────────


class Catching(nn.Module):
    """Takes the large layer when the sum of magnitudes is not negative, which it never is."""

    def __init__(self, caught: type[BaseException]) -> None:
        super().__init__()
        self.large, self.small, self.caught = nn.Linear(64, 64), nn.Linear(64, 1), caught

    def forward(self, x):
        try:
            chosen = x.abs().sum().item() >= 0
        except self.caught:
            chosen = False
        return self.large(x) if chosen else self.small(x)


@pytest.mark.parametrize("caught", [Exception, BaseException])
def test_a_forward_that_catches_the_tracers_errors_gets_no_wrong_count(caught):
    model = Catching(caught)
    assert [op.args[1].shape for op in trace(model, "f32[2,64]").ops if op.name == "aten.linear"] == [(64, 64)]
    for mode in ("meta", "fake"):
        failure = trace(model, "f32[2,64]", mode=mode).failure
        assert failure.error == "DataDependent"
        assert "depends on data" in failure.message


def test_a_forward_that_catches_what_an_input_must_be_is_run_with_it():
    class Catches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(10, 4), nn.Linear(4, 3)

        def forward(self, x):
            try:
                return self.head(self.table(x))
            except BaseException:
                return x

    found = trace(Catches(), (2, 5))
    assert str(found.inputs[0]) == "i64[2,5]"
    assert [op.name for op in found.ops] == ["aten.embedding", "aten.linear"]


def test_what_a_forward_prints_does_not_reach_stdout(capsys):
    class Loud(nn.Linear):
        def forward(self, x):
            print("shape", x.shape)
            return super().forward(x)

    assert trace(Loud(2, 2), "f32[1,2]").failure is None
    assert capsys.readouterr().out == ""


def test_a_forward_that_leaves_the_program_is_a_failure():
    class Leaves(nn.Linear):
        def forward(self, x):
            raise SystemExit(3)

    assert trace(Leaves(2, 2), "f32[1,2]").failure.error == "SystemExit"


def test_a_chain_as_deep_as_python_allows_runs():
    """torch takes three frames a level, of 1,000; a wrapper around each forward is one more."""
    model: nn.Module = nn.Linear(4, 4)
    for _ in range(280):
        model = nn.Sequential(model)
    limit = sys.getrecursionlimit()
    assert len(trace(model, "f32[2,4]").ops) == 1
    assert sys.getrecursionlimit() == limit


def test_a_product_of_different_element_types_is_flagged():
    """torch's meta kernels take what every other one refuses."""
    model = nn.Linear(4, 4).half()
    with pytest.raises(RuntimeError, match="dtype"):
        model(torch.zeros(2, 4))
    (note,) = trace(model, "f32[2,4]").notes
    assert note.code == "mixed-dtypes"
    assert "f16 and f32" in note.text
    assert trace(model, "f16[2,4]").notes == ()


@pytest.mark.parametrize("before", [None, "cpu"])
def test_the_default_device_is_afterwards_what_it_was_also_to_the_compiler(before):
    from torch.utils import _device as compiled_by  # torch.compile guards on a name of its own

    def forward(self: Any, x: Any) -> Any:
        torch.set_default_device("meta")
        return self.child(x)

    torch.set_default_device(before)
    try:
        kept = compiled_by.CURRENT_DEVICE
        trace(Net(forward, child=linear()), "f32[2,4]")
        assert kept == compiled_by.CURRENT_DEVICE
        assert torch.empty(1).device.type == "cpu"
    finally:
        torch.set_default_device(None)


def test_random_weights_are_the_same_each_time_they_are_made(tmp_path):
    """Which of 64 blocks run depends on the weights: their sum is as often below zero as above."""
    (tmp_path / "chance.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.blocks = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(64))\n"
        "    def forward(self, x):\n        return [b(x) for b in self.blocks if b.weight.sum().item() > 0]\n"
    )
    target = f"{tmp_path / 'chance.py'}:Net"
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        found.append(numel.summary(target, "f32[1,4]"))
    assert len({report.macs for report in found}) == 1
    assert 0 < found[0].macs < 64 * 16
    assert not found[0].exact


# ── what shapes do not tell ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("made", [torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr])
@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_sparse_product_is_never_counted_as_a_dense_one(made):
    """6 elements of 36 are there: the product with them is left open, the layer after it is 6 · 5 · 4."""
    net = Net(lambda self, x: self.head(self.adjacency @ x), head=nn.Linear(5, 4), adjacency=made(torch.eye(6)))
    report = numel.summary(net, "f32[6,5]")
    assert (report.mode, report.macs, report.exact) == ("real", 120, False)
    assert report.trace.failure is None


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_input_runs_for_real_and_is_exact_or_flagged():
    for layout in (torch.jagged, torch.strided):
        given = torch.nested.nested_tensor([torch.ones(3, 8), torch.ones(5, 8)], layout=layout)
        report = numel.summary(nn.Linear(8, 4), given)
        assert report.trace.failure is None
        assert (report.macs == (3 + 5) * 8 * 4) if report.exact else (report.macs == 0)


def test_a_higher_order_operator_is_named_without_torchs_internals():
    def forward(self: Any, x: Any) -> Any:
        return torch.cond(x.sum() > 0, lambda x: self.child(x), lambda x: x, (x,))

    report = numel.summary(Net(forward, child=linear()), "f32[2,4]", mode="meta")
    assert not report.exact
    texts = [note.text for note in report.notes]
    assert any("data decide which branch runs" in text for text in texts)
    assert not any("0x" in text for text in texts)


def test_forward_mode_derivatives_run_with_autograd():
    """Value, derivative by the input and derivative by the weights' zero tangent: three products, as torch's own
    counter of operators says."""
    from torch.autograd import forward_ad

    def forward(self: Any, x: Any) -> Any:
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(self.child(forward_ad.make_dual(x, torch.ones_like(x)))).tangent

    report = numel.summary(Net(forward, child=linear()), "f32[2,4]")
    assert (report.macs, report.exact) == (3 * 2 * 4 * 4, True)


@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated")
def test_a_frozen_script_without_a_training_mode_is_summarised_alone_and_inside():
    frozen = torch.jit.freeze(torch.jit.script(nn.Sequential(linear(), nn.ReLU()).eval()))
    assert numel.summary(frozen, "f32[2,4]").macs == 32
    assert numel.summary(nn.Sequential(linear(), frozen), "f32[2,4]").macs == 64

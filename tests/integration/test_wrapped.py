"""Models in a wrapper: of data parallelism, of a compiler, spread over processes by FSDP or as tensor parallel parts.

The process group is torch's fake one: four processes of which this is the first, whose collectives reach nobody. What a
wrapped model computes is told by the plain one; what one of n tensor-parallel processes computes by its n-th part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numpy")
distributed = pytest.importorskip("torch.distributed")

from torch import nn  # noqa: E402

import numel  # noqa: E402
from integration.fingerprint import differences, fingerprint, process  # noqa: E402
from numel.sources.live import snapshot, totals  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

PROCESSES, WIDTH, HIDDEN, OUT, TOKENS = 4, 8, 16, 8, 3
INPUTS = f"f32[{TOKENS},{WIDTH}]"
MACS = TOKENS * (WIDTH * HIDDEN + HIDDEN * OUT)
PARAMS = WIDTH * HIDDEN + HIDDEN + HIDDEN * OUT + OUT


@pytest.fixture(scope="module", autouse=True)
def group() -> Iterator[None]:
    store = pytest.importorskip("torch.testing._internal.distributed.fake_pg").FakeStore()
    torch.compile(lambda x: x, backend="eager")(torch.zeros(1))  # torch patches nn.Module at its first compiled call
    distributed.init_process_group("fake", store=store, rank=0, world_size=PROCESSES)
    yield
    distributed.destroy_process_group()


@pytest.fixture
def mesh() -> Any:
    return distributed.device_mesh.init_device_mesh("cpu", (PROCESSES,))


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUT))


def compiled_in_place() -> nn.Module:
    model = plain()
    model.compile(backend="eager")
    return model


def compiled_and_run() -> nn.Module:
    model = torch.compile(plain(), backend="eager")
    model(torch.zeros(TOKENS, WIDTH))
    return model


class WithBuffers(nn.Module):
    """Buffers, which DistributedDataParallel broadcasts before each forward of a training."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm = plain(), nn.BatchNorm1d(OUT)

    def forward(self, x: Any) -> Any:
        return self.norm(self.inner(x))


@pytest.mark.parametrize("mode", ["auto", "fake", "real"])
@pytest.mark.parametrize(
    ("make", "prefix"),
    [
        (lambda: nn.DataParallel(plain()), "module"),
        (lambda: nn.parallel.DistributedDataParallel(plain()), "module"),
        (lambda: nn.parallel.DistributedDataParallel(WithBuffers()), "module"),
        (lambda: torch.compile(plain()), "_orig_mod"),
        (compiled_and_run, "_orig_mod"),
        (compiled_in_place, ""),
    ],
    ids=["DataParallel", "DDP", "DDP with buffers", "compiled", "compiled and run", "compiled in place"],
)
def test_a_wrapped_model_computes_what_it_wraps_and_is_left_as_it_was(make, prefix, mode):
    model = make()
    before = fingerprint(model)
    report = numel.summary(model, INPUTS, mode=mode)
    assert (report.macs, report.exact) == (MACS, True)
    assert report.totals.params == sum(p.numel() for p in model.parameters())
    assert {row.path: row.macs for row in report.layers}[prefix] == MACS
    assert not any(op.op.startswith(("c10d", "_c10d")) for op in report.ops)
    assert not [note for note in report.notes if note.code in ("sampled", "unregistered")]
    assert differences(before, fingerprint(model)) == {}


def test_a_compiled_function_in_a_forward_is_seen_through():
    class Squares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.squared = torch.compile(lambda x: x @ x.T, backend="eager")

        def forward(self, x: Any) -> Any:
            return self.squared(x)

    assert numel.summary(Squares(), INPUTS).macs == TOKENS * TOKENS * WIDTH


def spread(model: nn.Module) -> dict[str, Any]:
    """What a user holds of a model of DTensors: every object of every module, and the parts of this process."""
    found: dict[str, Any] = {"process": process()}
    for path, module in model.named_modules():
        for name, value in module.__dict__.items():
            inside = {key: id(each) for key, each in value.items()} if isinstance(value, dict) else None
            found[f"{path}: {name}"] = (id(value), inside)
    for path, parameter in model.named_parameters():
        part = parameter._local_tensor
        found[f"tensor {path}"] = (parameter._version, part.data_ptr(), part._version, part.tolist(), parameter.grad)
    return found


def sharded(mesh: Any, **how: Any) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    model = plain()
    fully_shard(model[0], mesh=mesh, **how)
    return fully_shard(model, mesh=mesh, **how)  # type: ignore[no-any-return]


@pytest.mark.parametrize("mode", ["meta", "fake"])
def test_fsdp_counts_all_parameters_holds_a_part_and_computes_the_whole(mesh, mode):
    """Each process holds a fourth of every first size, all of which here are multiples of four; and multiplies its own
    inputs by whole weights."""
    model = sharded(mesh)
    before = spread(model)
    report = numel.summary(model, INPUTS, mode=mode)
    assert (report.totals.params, report.totals.nbytes) == (PARAMS, 4 * PARAMS)
    assert report.totals.local_nbytes == 4 * PARAMS // PROCESSES
    assert totals(model) == report.totals
    assert (report.macs, report.exact) == (MACS, True)
    assert [note.code for note in report.notes] == ["gathered"]
    assert differences(before, spread(model)) == {}


def test_fsdp_in_mixed_precision_runs_in_the_type_that_it_gathers(mesh):
    from torch.distributed.fsdp import MixedPrecisionPolicy

    report = numel.summary(sharded(mesh, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16)), INPUTS)
    products = [op for op in report.ops if op.op == "aten.linear.default"]
    assert {str(spec.dtype) for op in products for spec in (*op.args[:2], *op.outputs)} == {"bfloat16"}
    assert report.exact


def flat(**how: Any) -> nn.Module:
    """Of the older FSDP, the inner and the outer module each with a flat parameter of its own."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    how = {"device_id": torch.device("cpu"), **how}
    inner, relu, outer = plain()
    return FullyShardedDataParallel(nn.Sequential(FullyShardedDataParallel(inner, **how), relu, outer), **how)  # type: ignore[no-any-return]


def held(model: nn.Module) -> dict[str, Any]:
    """What a user holds of a model of flat parameters: these, and the objects of every module."""
    found: dict[str, Any] = {"process": process()}
    for path, module in model.named_modules():
        for name, value in module.__dict__.items():
            inside = {key: id(each) for key, each in value.items()} if isinstance(value, dict) else None
            found[f"{path}: {name}"] = (id(value), inside)
    for path, parameter in model.named_parameters():
        found[f"tensor {path}"] = (parameter.device.type, parameter._version, parameter.tolist(), parameter.grad)
    return found


@pytest.mark.parametrize("whole", [True, False], ids=["by parameter", "flat alone"])
@pytest.mark.parametrize("mode", ["auto", "meta", "fake"])
def test_flat_parameters_count_as_a_whole_and_compute_as_what_they_are_of(whole, mode):
    model = flat(use_orig_params=whole)
    before = held(model)
    report = numel.summary(model, INPUTS, mode=mode)
    assert (report.totals.params, report.totals.nbytes) == (PARAMS, 4 * PARAMS)
    assert report.totals.local_nbytes == 4 * PARAMS // PROCESSES
    assert totals(model) == report.totals
    assert (report.macs, report.exact) == (MACS, True)
    assert [note.code for note in report.notes] == ["gathered"]
    assert differences(before, held(model)) == {}


def test_flat_parameters_are_cast_as_mixed_precision_says():
    from torch.distributed.fsdp import MixedPrecision

    report = numel.summary(flat(mixed_precision=MixedPrecision(param_dtype=torch.bfloat16)), INPUTS)
    products = [op for op in report.ops if op.op == "aten.linear.default"]
    assert {str(spec.dtype) for op in products for spec in (*op.args[:2], *op.outputs)} == {"bfloat16"}
    assert (report.macs, report.exact) == (MACS, True)


@pytest.mark.parametrize("whole", [True, False], ids=["by parameter", "flat alone"])
@pytest.mark.parametrize("mode", ["auto", "real"])
def test_a_flat_parameter_that_is_all_here_runs_for_real(whole, mode):
    from torch.distributed.fsdp import ShardingStrategy

    model = flat(use_orig_params=whole, sharding_strategy=ShardingStrategy.NO_SHARD)
    before = held(model)
    report = numel.summary(model, INPUTS, mode=mode, backward=True)
    assert (report.totals.params, report.macs, report.exact) == (PARAMS, MACS, True)
    assert report.saved_nbytes == numel.summary(plain(), INPUTS, backward=True).saved_nbytes
    assert differences(before, held(model)) == {}


def parallel(mesh: Any) -> nn.Module:
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    return parallelize_module(plain(), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})  # type: ignore[no-any-return]


@pytest.mark.parametrize("mode", ["meta", "fake"])
def test_a_tensor_parallel_model_counts_all_parameters_and_the_products_of_this_process(mesh, mode):
    """The first layer gives a fourth of its outputs here, the second takes a fourth of its inputs: MACs / 4 each. The
    second one's bias is whole in every process."""
    model = parallel(mesh)
    before = spread(model)
    for _ in range(2):  # DTensor finds out where results go once, and remembers
        report = numel.summary(model, INPUTS, mode=mode)
        assert report.totals.params == PARAMS
        assert report.totals.local_nbytes == 4 * ((PARAMS - OUT) // PROCESSES + OUT)
        assert (report.macs, report.exact) == (MACS // PROCESSES, True)
        assert {row.path: row.macs for row in report.layers}["2"] == TOKENS * HIDDEN * OUT // PROCESSES
        assert [note.code for note in report.notes] == ["one-process"]
        assert any(op.op.startswith("_c10d_functional.all_reduce") for op in report.ops)
    assert differences(before, spread(model)) == {}


def test_fsdp_over_tensor_parallel_parts_gathers_over_the_one_and_splits_over_the_other():
    from torch.distributed.fsdp import fully_shard

    mesh = distributed.device_mesh.init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    report = numel.summary(fully_shard(parallel(mesh["tensor"]), mesh=mesh["data"]), INPUTS)
    assert report.totals.params == PARAMS
    assert (report.macs, report.exact) == (MACS // 2, True)


def test_weights_of_other_processes_are_never_waited_for(mesh):
    """On the real model a forward would: it is not begun, and says why."""
    for model in (sharded(mesh), parallel(mesh), flat()):
        report = numel.summary(model, INPUTS, mode="real")
        assert report.trace.failure.message == "its weights are spread over processes"
        assert not report.exact


def test_a_forward_over_dtensors_takes_a_dtensor(mesh):
    """Rows of the input are split, weights are whole everywhere: a fourth of the rows here."""
    from torch.distributed.tensor import Shard, distribute_module, distribute_tensor

    model = distribute_module(plain(), mesh)
    x = distribute_tensor(torch.zeros(4 * TOKENS, WIDTH), mesh, [Shard(0)])
    report = numel.summary(model, (x,))
    assert (report.macs, report.exact) == (MACS, True)
    assert snapshot(model).totals.params == PARAMS

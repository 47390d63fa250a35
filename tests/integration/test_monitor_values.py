"""What a monitor says of values is what torch says in double precision, of every kind of tensor; and what is wrong with
them is said once."""

from __future__ import annotations

import copy
import json
import weakref
from collections import Counter
from math import inf, nan, sqrt
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import numel  # noqa: E402
from numel.errors import InputsError, SchemaError  # noqa: E402
from numel.facts import Alarm, Note, Sample, Seen, Statistics, Totals, Values  # noqa: E402
from numel.facts.change import Change  # noqa: E402
from numel.monitoring import kept as kept_module  # noqa: E402
from numel.monitoring.alarms import Alarms, Held, Look  # noqa: E402
from numel.monitoring.kept import Kept  # noqa: E402
from numel.monitoring.sinks import JsonLines, Reader  # noqa: E402
from numel.monitoring.values import Looks  # noqa: E402
from numel.torch_private import DispatchMode  # noqa: E402

nn = torch.nn
near = pytest.approx


def net(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def backward(model: Any, seed: int = 1) -> None:
    model.zero_grad()
    generator = torch.Generator().manual_seed(seed)
    first = next(model.parameters())
    x = torch.randn(32, 8, generator=generator).to(first.dtype)
    model(x).square().mean().backward()


def same(found: Statistics, tensor: Any, rel: float = 1e-9) -> None:
    x = tensor.detach().to(torch.float64)
    assert (found.numel, found.seen) == (x.numel(), x.numel())
    assert found.norm == near(float(x.norm()), rel=rel)
    assert found.mean == near(float(x.mean()), rel=rel, abs=1e-15)
    assert found.std == near(float(x.std(correction=0)), rel=rel * 100, abs=1e-15)
    assert found.absmax == float(x.abs().max())
    assert found.zeros == near(float((x == 0).double().mean()))
    assert (found.nan, found.infinite) == (0, 0)


def one(tensor: Any, of: str = "weight") -> Statistics:
    """The statistics of one tensor as a parameter, or as the gradient of one."""
    holder = nn.Module()
    if of == "weight":
        holder.w = nn.Parameter(tensor, requires_grad=False)
    else:
        holder.w = nn.Parameter(torch.zeros(tensor.shape, dtype=tensor.dtype))
        holder.w.grad = tensor
    return next(each for each in Looks().look(holder).statistics if each.of == of)


# ── the numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_weights_gradients_moments_and_updates_are_as_in_double_precision(dtype: Any):
    model = net().to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2, eps=1e-4)  # 1e-8 is zero in float16
    with numel.monitor(model, every=1, optimizer=optimizer) as watched:
        for step in range(2):
            backward(model, step)
            before = {name: p.detach().clone() for name, p in model.named_parameters()}
            optimizer.step()
            watched.observe(step)
    values = watched.history.values[-1]
    kinds = {each.of for each in values.statistics}
    assert kinds == {"weight", "gradient", "update", "exp_avg", "exp_avg_sq"}
    for name, parameter in model.named_parameters():
        same(values.by("weight")[name], parameter)
        same(values.by("gradient")[name], parameter.grad)
        same(values.by("exp_avg")[name], optimizer.state[parameter]["exp_avg"])
        same(values.by("exp_avg_sq")[name], optimizer.state[parameter]["exp_avg_sq"])
        update = values.by("update")[name]
        same(update, parameter.detach().double() - before[name].double(), rel=1e-6)
        ratio = (parameter.detach().double() - before[name].double()).norm() / before[name].double().norm()
        assert update.ratio == near(float(ratio), rel=1e-6)


def test_the_update_of_plain_descent_is_the_rate_times_the_gradient():
    model, rate = net(), 0.125
    optimizer = torch.optim.SGD(model.parameters(), rate)
    watched = numel.monitor(model, every=10, optimizer=optimizer)
    backward(model)
    watched.observe(0)
    norms = {name: (float(p.grad.norm()), float(p.detach().norm())) for name, p in model.named_parameters()}
    optimizer.step()
    watched.observe(1)
    (look, after) = watched.history.values
    assert (look.step, after.step) == (0, 1)
    assert {each.of for each in after.statistics} == {"update"}
    for name, (gradient, weight) in norms.items():
        assert after.by("update")[name].ratio == near(rate * gradient / weight, rel=1e-5)


def test_constant_tensors_have_no_deviation_and_one_full_bin():
    for value in (0.1, -3.0, 0.0, 1e30):
        found = one(torch.full((1000,), value))
        assert found.std == 0
        assert found.mean == float(torch.tensor(value))
        assert found.histogram is not None
        assert sorted(found.histogram.counts)[-2:] == [0, 1000]


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_a_mean_far_above_the_deviation_does_not_eat_it(offset: float):
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) + offset
    assert one(x).std == near(float(x.double().std(correction=0)), rel=1e-8)


def test_odd_values_are_counted_exactly():
    x = torch.randn(10_000)
    x[3:10], x[20:23], x[30] = nan, inf, -inf
    found = one(x)
    assert (found.nan, found.infinite) == (7, 4)
    assert (found.norm, found.mean, found.std, found.absmax, found.histogram) == (None,) * 5
    assert one(torch.tensor([inf, 0.0])).zeros == 0.5
    assert one(torch.tensor([inf, -inf])).infinite == 2


def test_what_is_too_large_for_a_double_is_unknown():
    found = one(torch.tensor([1e300, -1e300, 1.0], dtype=torch.float64))
    assert found.norm is None or found.norm > 1e299
    assert found.absmax == 1e300
    json.dumps(numel.monitor(net()).history.saved(), allow_nan=False)


def test_a_sparse_gradient_is_what_it_is_dense():
    embedding = nn.Embedding(50, 4, sparse=True)
    embedding(torch.tensor([3, 3, 7])).sum().backward()
    gradient = embedding.weight.grad
    assert gradient is not None
    found = Looks().look(embedding)
    same(next(each for each in found.statistics if each.of == "gradient"), gradient.to_dense())
    embedding.zero_grad()
    embedding(torch.empty(0, dtype=torch.long)).sum().backward()
    (empty,) = (each for each in Looks().look(embedding).statistics if each.of == "gradient")
    assert (empty.numel, empty.zeros, empty.norm, empty.std) == (200, 1.0, 0.0, 0.0)


def test_any_layout_is_read_and_a_dense_one_without_a_copy():
    x = torch.randn(6, 5, 4, 3)
    for tensor in (x.to(memory_format=torch.channels_last), x.permute(3, 1, 0, 2), x[:, ::2], x[..., :1],
                   torch.randn(5).expand(7, 5), torch.tensor(2.5), torch.randn(3, 1).t()):  # fmt: skip
        same(one(tensor), tensor)
    big = torch.randn(64, 32, 3, 3).to(memory_format=torch.channels_last)
    ops = _ops(lambda: one(big))
    assert not ops["aten.clone.default"]
    assert not ops["aten._unsafe_view.default"]


def test_complex_values_are_pairs_of_real_ones():
    x = torch.randn(5, 3, dtype=torch.complex64)
    same(one(x), torch.view_as_real(x))


def test_eight_bits_are_read_as_what_they_stand_for():
    x = torch.randn(40).to(torch.float8_e4m3fn)
    same(one(x), x)


def test_of_a_tensor_spread_over_processes_the_own_part_is_read(tmp_path: Path):
    distributed = pytest.importorskip("torch.distributed")
    if not distributed.is_available():
        pytest.skip("no torch.distributed")
    from torch.distributed.tensor import Shard, distribute_tensor

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
        x = torch.randn(6, 4)
        layer = nn.Linear(4, 6, bias=False)
        layer.weight = nn.Parameter(distribute_tensor(x, mesh, [Shard(0)]))
        layer(distribute_tensor(torch.ones(2, 4), mesh, [Shard(0)])).sum().backward()
        watched = numel.monitor(layer, every=10)
        watched.observe(0)
        torch.optim.SGD(layer.parameters(), 0.5).step()
        watched.observe(1)
    finally:
        distributed.destroy_process_group()
    look, after = watched.history.values
    same(look.by("weight")["weight"], x)
    assert look.by("gradient")["weight"].absmax == 2
    assert after.by("update")["weight"].ratio == pytest.approx(24**0.5 / float(x.norm()))  # half of 24 gradients of 2


def test_moments_of_every_shape_but_scalars_are_looked_at():
    """Adafactor keeps means of rows and columns; NAdam a scalar, and a step beside a parameter that is one, too."""
    model = nn.ParameterDict({"w": nn.Parameter(torch.ones(3, 5)), "s": nn.Parameter(torch.tensor(2.0))})
    for make, expected in (
        (torch.optim.Adafactor, {"w": {"row_var", "col_var"}, "s": {"variance"}}),
        (torch.optim.NAdam, {"w": {"exp_avg", "exp_avg_sq"}, "s": {"exp_avg", "exp_avg_sq"}}),
    ):
        optimizer = make(model.parameters())
        (model["w"] * model["s"]).sum().backward()
        optimizer.step()
        found = Looks().look(model, [optimizer]).statistics
        for path, names in expected.items():
            assert {each.of for each in found if each.path == path} - {"weight", "gradient"} == names
        for each in found:
            if each.of in optimizer.state[model[each.path]]:
                assert each.norm == near(float(optimizer.state[model[each.path]][each.of].norm()))


def test_a_sample_takes_from_every_column():
    """Evenly spaced elements of a matrix whose rows are as long as the spacing would all be of one column."""
    x = torch.arange(64.0).repeat(1 << 16)  # 2²² elements: each 64th of them is the same
    found = one(x.reshape(-1, 64))
    assert found.histogram is not None
    assert max(found.histogram.counts) < 2 * (1 << 16) / 64


def test_the_update_of_a_small_tensor_is_of_all_of_it():
    model = nn.Linear(1 << 10, 1 << 7, bias=False)  # more than the elements of a sample
    watched = numel.monitor(model, every=10)
    watched.observe(0)
    with torch.no_grad():
        model.weight[3, 5] += 1
    watched.observe(1)
    update = watched.history.values[-1].by("update")["weight"]
    assert (update.seen, update.absmax, update.zeros) == (1 << 17, near(1), 1 - 2**-17)


def test_a_weight_that_lies_in_another_order_has_no_update():
    model = nn.Linear(6, 6, bias=False)
    watched = numel.monitor(model, every=10)
    watched.observe(0)
    model.weight.data = model.weight.data.t().contiguous().t()
    moved(model)
    watched.observe(1)
    assert not watched.history.values[-1].by("update")


def test_low_precision_is_widened_a_piece_at_a_time(monkeypatch: pytest.MonkeyPatch):
    from numel.monitoring import values

    monkeypatch.setattr(values, "_PIECE", 1000)
    x = torch.randn(10_500).bfloat16() + 1
    same(one(x), x)
    x[3] = inf
    assert one(x).infinite == 1


def test_a_ratio_beyond_doubles_is_unknown(tmp_path: Path):
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    model.weight.data.fill_(1e-158)
    with numel.monitor(model, tmp_path / "run.jsonl", every=10) as watched:
        watched.observe(0)
        model.weight.data.fill_(1e153)
        watched.observe(1)
    assert watched.history.values[-1].by("update")["weight"].ratio is None
    assert numel.load(tmp_path / "run.jsonl") == watched.history


def test_a_histogram_counts_each_value_of_a_small_tensor():
    x = torch.randn(5000)
    found = one(x).histogram
    assert found is not None
    assert (found.low, found.high) == (float(x.min()), float(x.max()))
    assert list(found.counts) == torch.histc(x.double(), 64, found.low, found.high).int().tolist()
    large = one(torch.randn(1 << 18, 2)).histogram
    assert large is not None
    assert 1 << 15 < sum(large.counts) <= 1 << 16


def test_the_update_of_a_large_tensor_is_of_a_sample_that_says_so():
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(2048, 1024, bias=False)
    watched = numel.monitor(model, every=5)
    watched.observe(0)
    scale = torch.linspace(0.5, 2, 2048)  # columns that differ
    step = torch.randn(1024, 2048, generator=generator) * scale * 1e-3
    before = float(model.weight.detach().norm())
    with torch.no_grad():
        model.weight.add_(step)
    watched.observe(1)
    (update,) = watched.history.values[-1].statistics
    assert update.sampled
    assert update.seen <= 1 << 16
    assert update.numel == 1 << 21
    assert update.norm == near(float(step.norm()), rel=0.02)
    assert update.ratio == near(float(step.norm()) / before, rel=0.02)
    assert "≈" in watched.history.text("terminal", width=160)


def test_parts_that_can_not_be_read_are_named_once():
    model = net()
    model.append(nn.LazyLinear(2))
    model.append(nn.Linear(2, 2, device="meta"))
    model.codes = nn.Parameter(torch.zeros(3, dtype=torch.int8), requires_grad=False)
    watched = numel.monitor(model, every=1)
    watched.observe(0)
    watched.observe(1)
    (alarm,) = watched.history.alarms
    assert alarm.code == "values-unread"
    assert "codes" in alarm.text
    assert {each.path for each in watched.history.values[0].statistics} == {
        "0.weight", "0.bias", "2.weight", "2.bias"
    }  # fmt: skip


# ── what it costs and leaves ─────────────────────────────────────────────────────────────────────────────────────────


def _ops(run: Any) -> Counter[str]:
    seen: Counter[str] = Counter()

    class Counting(DispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen[str(func)] += 1
            return func(*args, **(kwargs or {}))

    with Counting():
        run()
    return seen


def test_no_number_is_fetched_alone():
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(20)))
    backward(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)  # Adam counts its steps in tensors, on the CPU
    optimizer.step()
    watched = numel.monitor(model, every=1, optimizer=optimizer)
    ops = _ops(lambda: [watched.observe(step) for step in range(2)])
    assert ops["aten._local_scalar_dense.default"] == 0
    assert ops["aten.aminmax.default"] >= 2 * 40 * 3


def test_nothing_of_the_training_is_touched():
    model, twin = net(), net()
    torch.manual_seed(5)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    plain = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9)
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    chance, watched = torch.get_rng_state(), numel.monitor(model, every=2, optimizer=optimizer)
    watched.observe(0)
    assert not optimizer.state  # asking for a state makes none
    for step in range(1, 6):
        for each, descent in ((model, optimizer), (twin, plain)):
            backward(each, step)
            descent.step()
        watched.observe(step)
    assert torch.equal(chance, torch.get_rng_state())
    assert torch.is_grad_enabled()
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))
    assert all(p.grad is not None and p.is_leaf and not p._backward_hooks for p in model.parameters())


def test_without_every_no_value_is_read():
    model = net()
    ops = _ops(lambda: [numel.monitor(model).observe(0)])
    assert not ops["aten.aminmax.default"]


def test_a_look_is_due_at_the_first_step_at_or_after_each_multiple():
    model = net()
    watched = numel.monitor(model, every=10)
    for step in (3, 4, 9, 12, 19, 20, 20, 47, 50):
        moved(model)
        watched.observe(step)
    assert [each.step for each in watched.history.values if each.by("weight")] == [3, 12, 20, 47, 50]
    assert [each.step for each in watched.history.values if each.by("update")] == [4, 19, 20, 50]


def moved(model: Any, by: float = 1.0) -> None:
    """As a step of an optimizer does."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)


def test_a_parameter_that_is_another_now_has_no_update():
    model = net()
    watched = numel.monitor(model, every=10)
    watched.observe(0)
    moved(model)
    model[0] = nn.Linear(8, 16)
    model[2].bias.data = torch.zeros(7)
    watched.observe(1)
    assert watched.history.values[-1].by("update").keys() == {"2.weight"}


# ── alarms ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def codes(watched: Any) -> list[tuple[int, str, str]]:
    return [(each.step, each.code, each.path) for each in watched.history.alarms]


def test_a_value_that_is_not_finite_is_said_once_and_again_after_it_was_well():
    model = net()
    watched = numel.monitor(model, every=1)
    for step in range(9):
        backward(model, step)
        if step in (2, 3, 6):
            model[0].weight.grad[0, :2] = nan
        watched.observe(step)
    assert codes(watched) == [(2, "not-finite", "0.weight"), (6, "not-finite", "0.weight")]
    assert watched.history.alarms[0].text == "the gradient has 2 NaN among 128 values"


def test_a_norm_far_above_the_usual_explodes():
    model = net()
    watched = numel.monitor(model, every=1)
    for step in range(8):
        backward(model, 1)
        if step in (1, 6):  # too early to know what is usual; then not
            model[2].bias.grad *= 150
        watched.observe(step)
    assert codes(watched) == [(6, "exploding", "2.bias")]


def test_gradients_that_are_zero_are_dead_and_a_module_once():
    model = net()
    with torch.no_grad():
        model[0].bias.fill_(-50)  # no ReLU lets anything through
    watched = numel.monitor(model, every=1)
    for step in range(13):
        if step == 5:
            torch.nn.init.zeros_(model[0].bias)
        if step == 6:
            torch.nn.init.constant_(model[0].bias, -50)
        backward(model, step)
        model[2].weight.grad += 1  # dead by the ReLU as well
        moved(model, 1e-4)
        watched.observe(step)
    assert codes(watched) == [(2, "dead", "0"), (11, "dead", "0")]  # what was over takes twice as many looks


def test_one_dead_tensor_is_named_by_itself():
    model = net()
    watched = numel.monitor(model, every=1)
    for step in range(4):
        backward(model, step)
        model[2].bias.grad.zero_()
        watched.observe(step)
    assert codes(watched) == [(2, "dead", "2.bias")]


def test_a_parameter_without_gradient_beside_others_that_have_one():
    model = net()
    model[1].spare = nn.Linear(2, 2)
    watched = numel.monitor(model, every=1)
    for step in range(5):
        backward(model, step)
        watched.observe(step)
    assert codes(watched) == [(2, "no-gradient", "1.spare.weight"), (2, "no-gradient", "1.spare.bias")]


def test_an_observe_at_the_wrong_place_is_told_where_it_belongs():
    model = net()
    watched = numel.monitor(model, every=1)
    for step in range(5):
        backward(model, step)
        model.zero_grad()
        watched.observe(step)
    assert codes(watched) == [(2, "gradients-unseen", "")]
    assert "between backward() and zero_grad()" in watched.history.alarms[0].text


def test_a_weight_that_does_not_change_while_others_do():
    model = net()
    optimizer = torch.optim.SGD([*model[0].parameters(), model[2].weight], 0.1)
    watched = numel.monitor(model, every=1)
    for step in range(6):
        backward(model, step)
        optimizer.step()
        watched.observe(step)
    assert codes(watched) == [(3, "not-updated", "2.bias")]


def test_a_layer_that_was_replaced_after_the_optimizer_was_made():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watched = numel.monitor(model, optimizer=optimizer)  # without looking at values
    watched.observe(0)
    held = model[2]
    model[2] = nn.Linear(16, 4)
    watched.observe(1)
    watched.observe(2)
    missed = [(1, "optimizer-misses", f"2.{name}") for name in ("weight", "bias")]
    removed = [(1, "optimizer-holds-removed", f"2.{name}") for name in ("weight", "bias")]
    assert codes(watched) == [*missed, *removed]
    model[2] = held
    watched.observe(3)
    model[2] = nn.Linear(16, 4)
    watched.observe(4)
    assert [each[:2] for each in codes(watched)[4:]] == [(4, code) for _, code, _ in (*missed, *removed)]
    optimizer.add_param_group({"params": list(model[2].parameters())})
    watched.observe(5)
    assert len(codes(watched)) == 8


def test_several_optimizers_hold_together_and_copies_are_said_once():
    model = net()
    several = [torch.optim.SGD(model[0].parameters(), 0.1), torch.optim.Adam(model[2].parameters())]
    watched = numel.monitor(model, optimizer=several)
    watched.observe(0)
    assert codes(watched) == []
    watched = numel.monitor(model, optimizer=torch.optim.SGD(copy.deepcopy(model).parameters(), 0.1))
    watched.observe(0)
    assert codes(watched) == [(0, "optimizer-misses", "")]
    with pytest.raises(InputsError, match="expected a torch"):
        numel.monitor(model, optimizer=5)
    for every in (0, -1, 1.5, True):
        with pytest.raises(InputsError, match="expected how many steps"):
            numel.monitor(model, every=every)  # type: ignore[arg-type]


def zeros(*paths: str, of: str = "gradient", share: float = 1.0) -> list[Statistics]:
    return [Statistics(path, of, 4, 4, 0.0, 0.0, 0.0, 0.0, share) for path in paths]


def test_a_look_at_which_all_gradients_are_zero_says_nothing_of_one():
    alarms = Alarms()
    found = [alarms.of_look(Look((*zeros("a.w", "b.w"),), ("a.w", "b.w"))) for _ in range(5)]
    assert [[(note.code, note.path) for note in notes] for notes in found] == [
        [], [], [("gradients-unseen", "")], [], []
    ]  # fmt: skip
    assert "every gradient was zero" in found[2][0].text


def test_the_update_is_that_of_the_first_step_however_many_looks_it_takes():
    """Gradients of four looks make one step: what it added is known after it, and nothing is said before."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    watched = numel.monitor(model, every=8)
    for step in range(16):
        backward(model, step)
        gradients = {path: parameter.grad.clone() for path, parameter in model.named_parameters()}
        if step % 4 == 3:
            optimizer.step()
        watched.observe(step)
        if step in (3, 11):
            update = watched.history.values[-1].by("update")
            assert watched.history.values[-1].step == step
            for path, gradient in gradients.items():
                assert update[path].norm == pytest.approx(0.5 * float(gradient.norm()), rel=1e-4)
    assert [each.step for each in watched.history.values if each.by("update")] == [3, 11]
    assert codes(watched) == []


def test_an_update_that_torch_does_not_count_is_seen_by_its_values():
    """`.data` writes past the count of writes: values are compared after 1, 2, 4, 8 … observes. Between two of these
    there may have been two steps, and nothing is said."""
    for n in range(1, 12):
        model = net()
        watched = numel.monitor(model, every=100)
        for step in range(30):
            if step % n == 0:
                for parameter in model.parameters():
                    parameter.data += 0.25
            watched.observe(step)
        found = [each for each in watched.history.values if each.by("update")]
        assert [each.step for each in found] == ([n] if n <= 2 else [])
        assert all(each.by("update")["0.bias"].absmax == near(0.25) for each in found)


def test_weights_of_two_optimizers_have_their_updates_when_they_step():
    """As a discriminator that trains five times for each step of the generator: nothing is wrong."""
    model = nn.ModuleDict({"g": nn.Linear(3, 4), "d": nn.Linear(4, 1)})
    several = {name: torch.optim.SGD(part.parameters(), 0.1) for name, part in model.items()}
    for every in (1, 2, 5, 6):
        for given in (list(several.values()), None):
            watched = numel.monitor(model, every=every, optimizer=given)
            for step in range(60):
                which = "g" if step % 6 == 5 else "d"
                model.zero_grad()
                made = model["g"](torch.ones(2, 3))
                model["d"](made if which == "g" else made.detach()).sum().backward()
                several[which].step()
                watched.observe(step)
            if given is not None:
                assert codes(watched) == [], every
            assert len({each[1:] for each in codes(watched)}) == len(codes(watched)) <= 4  # of "g", once at the most
            updated = [each for each in watched.history.values if "g.weight" in each.by("update")]
            assert all(each.step % 6 == 5 for each in updated)
            assert len(updated) >= 9


def test_a_whole_optimizer_without_gradients_is_said_after_a_while():
    model = net()
    several = [torch.optim.SGD(model[i].parameters(), 0.1) for i in (0, 2)]
    watched = numel.monitor(model, every=1, optimizer=several)
    for step in range(40):
        backward(model, step)
        model[0].zero_grad()
        several[1].step()
        watched.observe(step)
    expected = [(step, code, f"0.{name}") for step, code in ((29, "no-gradient"), (30, "not-updated"))
                for name in ("weight", "bias")]  # fmt: skip
    assert codes(watched) == expected


def loop(model: Any, optimizer: Any, watched: Any, x: Any, steps: int, gathered: int = 1) -> None:
    for step in range(steps):
        model(x).square().sum().backward()
        if (step + 1) % gathered == 0:
            optimizer.step()
        watched.observe(step)
        if (step + 1) % gathered == 0:
            optimizer.zero_grad()


class Adapted(nn.Module):
    """A low-rank adapter, whose second matrix is zero at first: the first has no gradient until a step."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(2, 4)), nn.Parameter(torch.zeros(3, 2))

    def forward(self, x: Any) -> Any:
        return x @ self.a.T @ self.b.T + 1


@pytest.mark.parametrize(("gathered", "every"), [(4, 1), (8, 2), (32, 10)])
def test_looks_at_the_gradients_of_one_step_say_what_one_says(gathered: int, every: int):
    model = Adapted()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    watched = numel.monitor(model, every=every, optimizer=optimizer)
    loop(model, optimizer, watched, torch.ones(2, 4), 3 * gathered, gathered)
    assert codes(watched) == []


@pytest.mark.parametrize("given", [True, False])
def test_a_forward_that_writes_to_a_weight_makes_no_step(given: bool):
    """An embedding with `max_norm` scales the rows that it reads, whatever comes after."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 8, max_norm=1.0), nn.Linear(8, 4))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    watched = numel.monitor(model, every=8, optimizer=optimizer if given else None)
    loop(model, optimizer, watched, torch.arange(20), 64, gathered=8)
    assert codes(watched) == []
    assert [each.step for each in watched.history.values if each.by("update")] == list(range(7, 64, 8))
    for each in watched.history.values:
        if each.by("update"):  # AdamW moves each value by its rate, about
            assert each.by("update")["1.weight"].absmax < 0.012


@pytest.mark.parametrize("fused", [True, False])
def test_steps_at_a_rate_of_zero_are_steps(fused: bool):
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), 0.0, fused=fused)
    watched = numel.monitor(model, every=2, optimizer=optimizer)
    loop(model, optimizer, watched, torch.ones(2, 8), 12)
    assert codes(watched) == [(5, "not-updated", "")]
    updates = [each for each in watched.history.values if each.by("update")]
    assert [each.step for each in updates] == [1, 3, 5, 7, 9, 11]
    assert all(one.norm == 0 for each in updates for one in each.statistics if one.of == "update")


@pytest.mark.parametrize("fused", [True, False])
def test_steps_that_a_scaler_skips_are_none(fused: bool):
    """The first gradients overflow: the scaler lowers its scale and makes no step, however often a kernel writes."""
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    watched = numel.monitor(model, every=50, optimizer=optimizer)
    for step in range(20):
        scaler.scale(model(torch.ones(2, 8)).square().sum()).backward()
        before = model[0].weight.detach().clone()
        scaler.step(optimizer)
        scaler.update()
        watched.observe(step)
        optimizer.zero_grad()
        if watched.history.values[-1].step == step and step:
            break
    assert {code for _, code, _ in codes(watched)} <= {"not-finite"}
    update = watched.history.values[-1].by("update")["0.weight"]
    assert update.norm == near(float((model[0].weight - before).detach().norm()), rel=1e-4)
    assert update.norm > 0


def test_steps_that_are_counted_on_a_device_are_not_read():
    """Of a count on another device only that it was written to is known: twice by a step under a scaler."""
    model = nn.Linear(2, 2, bias=False)
    optimizer = torch.optim.AdamW(model.parameters())
    count = torch.zeros((), device="meta")  # to read it would raise
    optimizer.state[model.weight]["step"] = count
    watched = numel.monitor(model, every=3, optimizer=optimizer)
    for step in range(6):
        if step in (1, 4):
            count.add_(2).sub_(1)
            moved(model)
        watched.observe(step)
    assert [each.step for each in watched.history.values if each.by("update")] == [1, 4]
    assert codes(watched) == []


def test_what_several_steps_added_is_not_what_one_did():
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    watched = numel.monitor(model, every=10, optimizer=optimizer)
    for step in range(41):
        backward(model, step)
        optimizer.step()
        if step % 10 == 0:
            watched.observe(step)
    assert codes(watched) == [(10, "updates-unseen", "")]
    assert not any(each.by("update") for each in watched.history.values)


def test_few_changes_in_a_sample_of_a_large_tensor_tell_nothing_of_it():
    """Of an embedding with a million rows a batch changes few, and the sample misses them."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(1_000_000, 2, sparse=True), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watched = numel.monitor(model, every=2, optimizer=optimizer)
    for step in range(12):
        model(torch.randint(1_000_000, (8,))).square().sum().backward()
        optimizer.step()
        watched.observe(step)
        optimizer.zero_grad()
    assert codes(watched) == []
    updates = [each.by("update") for each in watched.history.values if each.by("update")]
    assert len(updates) == 6
    assert {(each["0.weight"].norm, each["0.weight"].ratio) for each in updates} == {(None, None)}
    assert all(each["1.weight"].ratio for each in updates)
    str(watched.history), watched.history.text("html")


def test_a_step_that_is_forgotten_is_said_after_a_while():
    for given in (True, False):
        model = net()
        optimizer = torch.optim.Adam(model.parameters())
        watched = numel.monitor(model, every=10, optimizer=optimizer if given else None)
        for step in range(400):
            backward(model, step)
            watched.observe(step)
        assert codes(watched) == [(300, "not-updated", "")]
        assert "is optimizer.step() called?" in watched.history.alarms[0].text


def test_an_optimizer_that_is_made_again_is_handed_over():
    model = net()
    watched = numel.monitor(model, every=1, optimizer=torch.optim.Adam(model.parameters()))
    watched.observe(0)
    model[2] = nn.Linear(16, 4)
    optimizer = torch.optim.Adam(model.parameters())
    watched.set_optimizer(optimizer)
    for step in range(1, 4):
        backward(model, step)
        optimizer.step()
        watched.observe(step)
    assert codes(watched) == []
    moment = watched.history.values[-1].by("exp_avg")["2.weight"]
    assert moment.norm == near(float(optimizer.state[model[2].weight]["exp_avg"].norm()))
    with pytest.raises(InputsError, match="expected a torch"):
        watched.set_optimizer(5)


def test_values_are_not_compared_at_each_observe(monkeypatch: pytest.MonkeyPatch):
    """Where nothing steps: at the look, and 1, 2, 4, 8, 16 and 32 observes after it."""
    from numel.monitoring import values

    calls: list[int] = []
    of = values._measured
    monkeypatch.setattr(values, "_measured", lambda found: calls.append(len(found)) or of(found))
    watched = numel.monitor(net(), every=1000)
    for step in range(40):
        watched.observe(step)
    assert sum(n > 0 for n in calls) == 1 + 6


@pytest.mark.parametrize("case", ["rate", "type"])
def test_a_run_in_which_nothing_changes_says_so(case: str):
    model = net() if case == "rate" else net().bfloat16()
    if case == "type":
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.0 if case == "rate" else 1e-12)
    watched = numel.monitor(model, every=1)
    for step in range(6):
        model.zero_grad()
        model(torch.ones(2, 8, dtype=model[0].weight.dtype)).sum().backward()
        optimizer.step()
        watched.observe(step)
    assert codes(watched) == [(3, "not-updated", "")]


def test_what_was_not_finite_elsewhere_does_not_hide_a_weight():
    model = nn.Linear(4, 4)
    watched = numel.monitor(model, every=1)
    model.weight.grad = torch.full((4, 4), inf)
    model.bias.grad = torch.ones(4)
    watched.observe(0)
    model.weight.data.fill_(nan)
    watched.observe(1)
    watched.observe(2)
    assert codes(watched) == [(0, "not-finite", "weight"), (1, "not-finite", "weight")]
    texts = [each.text for each in watched.history.alarms]
    assert texts == [
        "the gradient has 16 infinite among 16 values",
        "the update has 16 NaN among 16 values; the weight has 16 NaN among 16 values",
    ]


def test_moments_that_are_not_finite_are_said_beside_what_they_are_of():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.state[model.weight]["exp_avg"].fill_(nan)
    optimizer.state[model.weight]["exp_avg_sq"].fill_(inf)
    watched = numel.monitor(model, every=1, optimizer=optimizer)
    watched.observe(0)
    (alarm,) = watched.history.alarms
    assert alarm.text == "the exp_avg has 4 NaN among 4 values; the exp_avg_sq has 4 infinite among 4 values"


def test_usual_is_what_five_looks_were():
    alarms = Alarms()
    for norms, expected in (([1.0] * 4, 0), ([1.0] * 5, 1)):
        alarms = Alarms()
        for norm in norms:
            assert alarms.of_look(Look((Statistics("w", "gradient", 4, 4, norm),))) == ()
        assert len(alarms.of_look(Look((Statistics("w", "gradient", 4, 4, 1e3),)))) == expected


def test_what_grows_from_nothing_does_not_explode():
    alarms = Alarms()
    for weight, gradient in [(1e-4, 1e-9)] * 6 + [(0.5, 1e-5), (1.9, 0.009)]:
        found = [Statistics("w", "weight", 4, 4, weight), Statistics("w", "gradient", 4, 4, gradient)]
        assert alarms.of_look(Look((*found, Statistics("v", "gradient", 4, 4, 1.0)), ("w", "v"))) == ()
    found = [Statistics("w", "weight", 4, 4, 2.1), Statistics("w", "gradient", 4, 4, 0.011)]
    notes = alarms.of_look(Look((*found, Statistics("v", "gradient", 4, 4, 1.0)), ("w", "v")))
    assert [note.text.partition(" is")[0] for note in notes] == ["the norm of the weight", "the norm of the gradient"]


def test_alarms_forget_what_is_gone():
    alarms = Alarms()
    for i in range(50):
        names = (f"m{i}.w", f"m{i}.b")
        alarms.of_look(Look((*zeros(names[0]), *zeros(names[1], share=0.0)), names))
    assert len(alarms._norms) == 2
    assert len(alarms._dead._looks) == 1
    model, held = net(), Held()
    for _ in range(50):
        model[0] = nn.Linear(8, 16)
        held.compared(dict(model.named_parameters()), ())
    assert len(held._paths) <= 2 * 4 + 8


def test_a_parameter_at_the_address_of_one_that_is_gone_is_another():
    """What the table of identities holds of a freed parameter says nothing of the one that has its number now."""
    model, held = nn.Linear(2, 2, bias=False), Held()
    other = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([model.weight, other], 0.1)
    held._paths[id(other)] = weakref.ref(nn.Linear(1, 1)), "gone.weight"
    assert held.compared(dict(model.named_parameters()), [optimizer])[1] == []


def test_a_removed_parameter_is_named_where_it_was_last():
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False)})
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watched = numel.monitor(model, optimizer=optimizer)
    watched.observe(0)
    model["b"] = model["a"]
    del model["a"]
    watched.observe(1)
    del model["b"]
    watched.observe(2)
    assert (2, "optimizer-holds-removed", "b.weight") in codes(watched)


# ── kept, written and read ───────────────────────────────────────────────────────────────────────────────────────────


def trained(sink: Any = None) -> Any:
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    with numel.monitor(model, sink, every=2, optimizer=optimizer) as watched:
        for step in range(9):
            backward(model, step)
            if step == 4:
                model[0].weight.grad[0, 0] = inf
            optimizer.step() if step != 4 else None
            watched.observe(step)
    return watched.history


def test_json_lines_with_values_and_alarms_are_the_history(tmp_path: Path):
    history = trained(tmp_path / "run.jsonl")
    assert [each.code for each in history.alarms] == ["not-finite"]
    assert numel.load(tmp_path / "run.jsonl") == history
    history.save(tmp_path / "run.json")
    assert numel.load(tmp_path / "run.json") == history
    for line in (tmp_path / "run.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(word))
    for format in ("terminal", "markdown", "html", "notebook", "latex"):
        assert "1 infinite among 128 values" in history.text(format), format
    titles = [chart.title for chart in history.whole().charts]
    assert titles == ["Gradient norm over the run", "Update ratio over the run", "Values of all parameters"]


def test_a_callable_gets_every_kind_of_record():
    got: list[Any] = []
    history = trained(got.append)
    for kind, there in ((Values, history.values), (Alarm, history.alarms), (Sample, history.samples)):
        assert tuple(each for each in got if isinstance(each, kind)) == there


def test_a_run_that_went_on_from_a_checkpoint_is_told_once(tmp_path: Path):
    place = tmp_path / "run.jsonl"
    for steps in (range(0, 10), range(6, 14)):
        model = net()
        with numel.monitor(model, place, every=2) as watched:
            for step in steps:
                watched.observe(step)
    history = numel.load(place)
    assert [each.step for each in history.values if each.by("weight")] == list(range(0, 14, 2))
    assert [note.code for note in history.notes] == ["history-gone-back"]
    assert history.steps == (0, 13)


def read(lines: list[str]) -> tuple[Any, Any]:
    reader = Reader()
    reader.feed(lines)
    return reader.kept, reader.notes()


def test_damaged_lines_are_left_out_with_a_note():
    header, good = '{"schema": 2, "kind": "history", "target": "t"}', '{"sample": [3, 1.5, {"params": 6}]}'
    odd = ['{"values": [1, 2]}', '{"alarm": 5}', '{"other": 1}', "[1]", '{"values": [4, 1.5, [[']
    kept, (note,) = read([header, good, *odd])
    assert [each.totals for each in kept.samples] == [Totals(params=6)]
    assert note.code == "lines-unread"
    assert note.text.startswith("3 lines are damaged")
    with pytest.raises(SchemaError, match="damaged"):
        read([header, '{"values": [1, 2]}'])
    with pytest.raises(SchemaError, match="newer"):
        read(['{"schema": 99, "kind": "history"}'])


def test_to_begin_reads_no_more_than_the_last_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = tmp_path / "run.jsonl"
    place.write_bytes(b'{"schema": 2, "kind": "history"}\n{"sam')
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("the whole file"))
    sink = JsonLines(place)
    sink.begin("t")
    sink.end()
    assert place.read_text(encoding="utf-8").splitlines()[1] == '{"sam'


def test_memory_is_bounded_over_many_observes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kept_module, "STATISTICS", 100)
    model = nn.Linear(2, 1)
    watched = numel.monitor(model, every=3)
    for step in range(500):
        moved(model)
        watched.observe(step)
    values = watched.history.values
    assert sum(len(each.statistics) for each in values) <= 100
    looks = [each.step for each in values if each.by("weight")]
    assert (looks[0], looks[-1]) == (0, 498)
    assert len({looks[i + 1] - looks[i] for i in range(len(looks) - 2)}) == 1  # the newest may be nearer
    assert {each.step for each in values if each.by("update")} == {step + 1 for step in looks}
    assert [note.code for note in watched.history.notes] == ["history-thinned"]


def test_histograms_are_kept_of_fewer_looks(monkeypatch: pytest.MonkeyPatch):
    """Four looks of two histograms; the numbers beside them stay of all, and the updates with them."""
    monkeypatch.setattr(kept_module, "HISTOGRAMS", 8)
    model = nn.Linear(3, 1)
    watched = numel.monitor(model, every=2)
    for step in range(40):
        moved(model)
        watched.observe(step)
    values = watched.history.values
    looks = [each for each in values if each.by("weight")]
    assert [each.step for each in looks] == list(range(0, 40, 2))
    drawn = [each.step for each in looks if all(one.histogram is not None for one in each.statistics)]
    bare = [each.step for each in looks if all(one.histogram is None for one in each.statistics)]
    assert (len(drawn), drawn[0], drawn[-1], len(bare)) == (4, 0, 38, 16)
    assert all(one.norm is not None for each in looks for one in each.statistics)
    assert [each.step for each in values if each.by("update")] == [step + 1 for step in range(0, 39, 2)]
    assert [note.text for note in watched.history.notes] == ["of each 8 looks' histograms one is kept, and the newest"]


def test_what_is_kept_has_an_end_of_each_kind(monkeypatch: pytest.MonkeyPatch):
    for name, most in (("SAMPLES", 10), ("CHANGES", 20), ("ALARMS", 5)):
        monkeypatch.setattr(kept_module, name, most)
    kept = Kept()
    for step in range(1000):
        kept.add(Sample(step, 0.0, Totals(params=step)))
        kept.add(Seen(step, 0.0, Change("added", "w", None, (1,))))
        kept.add(Alarm(step, 0.0, Note("dead", "warning", "zero", "w")))
    assert len(kept.samples) <= 10
    assert (kept.samples[0].step, kept.samples[-1].step) == (0, 999)
    assert [each.step for each in kept.changes] == list(range(980, 1000))
    assert len(kept.alarms) == 5
    told = [note.text.partition(" are")[0] for note in kept.notes[:2]]
    assert told == ["the 980 oldest changes", "the 995 oldest alarms"]


def test_the_first_alarms_are_told_and_the_others_counted():
    alarms = tuple(Alarm(step, 0.0, Note("dead", "warning", "zero", f"w{step}")) for step in range(25))
    history = numel.monitor(net()).history
    text = type(history)((), (), "t", (), alarms).text("markdown")
    assert "step 19: zero" in text
    assert "step 20: zero" not in text
    assert "5 more alarms: dead" in text


def test_a_norm_over_all_gradients_is_the_root_of_the_squares():
    history = trained()
    chart = history.chart("line")
    steps = [row[0] for row in chart.data.rows]
    assert steps == [0, 2, 6, 8]  # at step 4 one is infinite
    norms = [each.norm for each in history.values[0].by("gradient").values()]
    assert chart.data.rows[0][1] == near(sqrt(sum(norm * norm for norm in norms if norm is not None)))

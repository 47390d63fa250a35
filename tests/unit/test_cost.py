"""Work is summed by module, by operator and over all, each operator priced once. Facts are made by hand; no torch."""

from __future__ import annotations

from typing import Any

import pytest

from numel.analyses.cost import Work, added_up, costs, work
from numel.facts import CallRecord, Failure, ModuleRecord, OpRecord, Snapshot, TensorSpec, Trace, dtype

F32 = dtype("f32")


def spec(*shape: int) -> TensorSpec:
    return TensorSpec(shape, F32)


def linear(call: int, rows: int, inner: int, outer: int) -> OpRecord:
    """rows · inner · outer MACs."""
    return OpRecord("aten.linear.default", call, (spec(rows, inner), spec(outer, inner)), outputs=(spec(rows, outer),))


def relu(call: int, *shape: int, name: str = "aten.relu.default") -> OpRecord:
    return OpRecord(name, call, (spec(*shape),), outputs=(spec(*shape),))


def modules(*paths: str, **aliases: str) -> Snapshot:
    return Snapshot(tuple(ModuleRecord(path, "pkg.M", aliases.get(path.replace(".", "_"))) for path in ("", *paths)))


def calls(*each: tuple[str, int]) -> tuple[CallRecord, ...]:
    counts: dict[str, int] = {}
    made = []
    for path, parent in each:
        counts[path] = counts.get(path, -1) + 1
        made.append(CallRecord(path, counts[path], parent, (spec(2, 3),), spec(2, 4)))
    return tuple(made)


def test_work_is_a_monoid():
    a, b, c = (Work(*range(n, n + 10)) for n in (1, 20, 300))
    assert a + Work() == Work() + a == a
    assert (a + b) + c == a + (b + c)
    assert (a + b).macs == 21
    assert (a + b).bounded == 39
    assert added_up([a, b, c, b]) == a + b + c + b
    assert added_up([]) == Work()


def test_the_work_of_a_module_is_its_own_and_that_below():
    trace = Trace(calls(("", -1), ("a", 0), ("a.b", 1)), (linear(2, 2, 3, 4), linear(1, 2, 4, 5), relu(0, 2, 5)))
    found = costs(modules("a", "a.b"), trace)
    assert {path: each.macs for path, each in found.own.items()} == {"a.b": 24, "a": 40, "": 0}
    assert {path: each.macs for path, each in found.inclusive.items()} == {"": 64, "a": 64, "a.b": 24}
    assert found.total.elementwise == 10
    assert sum((each for each in found.own.values()), Work()) == found.total
    assert sum((each for each in found.operators.values()), Work()) == found.total


@pytest.mark.parametrize("sampled", [None, 0, 3])
def test_equal_operators_are_priced_once_and_count_each_time(sampled: int | None):
    same = spec(2, 3), spec(4, 3), spec(2, 4)  # a tracer has one object for equal specs; what is loaded has several
    once = [OpRecord("aten.linear.default", call, same[:2], outputs=same[2:]) for call in (1, 2, 3)]
    sums = [OpRecord("aten.sum.dim_IntList", 3, (spec(2, 4), (1,), keep), outputs=(spec(2),)) for keep in (1, True)]
    ops = (*once, linear(1, 2, 3, 4), linear(2, 5, 3, 4), *sums, relu(3, 2, 4), OpRecord("my.op.default", 1), *once)
    found = costs(modules("a", "b", "c"), Trace(calls(("", -1), ("a", 0), ("b", 0), ("c", 0)), ops, sampled=sampled))
    each = [work(op) + Work(sampled=int(sampled is not None and at >= sampled)) for at, op in enumerate(ops)]
    for at, path in enumerate(("a", "b", "c"), 1):
        own = sum((share for op, share in zip(ops, each, strict=True) if op.call == at), Work())
        assert found.own[path].macs == own.macs
        assert sampled is not None or found.own[path] == own  # chance marks places, too
    names = {op.name for op in ops}
    assert found.operators == {
        name: sum((share for op, share in zip(ops, each, strict=True) if op.name == name), Work()) for name in names
    }
    assert found.uncosted == {"my.op": 1}


def test_operators_outside_of_every_module_are_the_roots():
    assert costs(modules(), Trace(ops=(linear(-1, 2, 3, 4),))).total.macs == 24


def test_a_module_that_the_forward_made_is_charged_to_its_nearest_registered_parent():
    trace = Trace(calls(("", -1), ("a.made.inner", 0)), (linear(1, 2, 3, 4),))
    found = costs(modules("a"), trace)
    assert found.inclusive["a"].macs == found.total.macs == 24


def test_a_shared_module_is_charged_where_its_caller_reaches_it():
    """`a.s` and `b.s` are one module, which the tracer knows by its first path."""
    snapshot = modules("a", "a.s", "b", "b.s", b_s="a.s")
    trace = Trace(calls(("", -1), ("a", 0), ("a.s", 1), ("b", 0), ("a.s", 3)), (linear(2, 2, 3, 4), linear(4, 5, 3, 4)))
    found = costs(snapshot, trace)
    assert found.inclusive["a"].macs == 24
    assert found.inclusive["b"].macs == 60
    assert found.total.macs == 84


def test_one_module_at_two_places_of_a_sequence_is_charged_in_turn():
    snapshot = modules("0", "1", **{"1": "0"})
    found = costs(snapshot, Trace(calls(("", -1), ("0", 0), ("0", 0)), (linear(1, 2, 3, 4), linear(2, 5, 3, 4))))
    assert (found.own["0"].macs, found.own["1"].macs) == (24, 60)
    assert (found.places["0"].calls, found.places["1"].calls) == (1, 1)


def test_a_shared_module_is_charged_to_the_parent_that_called_it():
    """`dec.head` and `head` are one module; `dec` ran without it and the root called it."""
    snapshot = modules("dec", "dec.fc", "dec.head", "head", head="dec.head")
    trace = Trace(calls(("", -1), ("dec", 0), ("dec.fc", 1), ("dec.head", 0)), (linear(2, 2, 3, 4), linear(3, 2, 4, 5)))
    found = costs(snapshot, trace)
    assert (found.inclusive["dec"].macs, found.own["head"].macs) == (24, 40)
    assert "dec.head" not in found.places


def test_a_module_that_runs_twice_is_not_taken_for_its_second_name():
    found = costs(modules("x", "y", y="x"), Trace(calls(("", -1), ("x", 0), ("x", 0))))
    assert (found.places["x"].calls, found.places.get("y")) == (2, None)


def test_names_that_hold_dots_lose_no_work():
    """torch takes `setattr(model, "blk.0", layer)`; there is no module `blk`."""
    found = costs(modules("blk.0"), Trace(calls(("", -1), ("blk.0", 0)), (linear(1, 2, 3, 4),)))
    assert found.total.macs == found.inclusive["blk.0"].macs == 24


def test_what_has_no_formula_is_named_with_its_calls_and_its_first_module():
    trace = Trace(calls(("", -1), ("a", 0)), (relu(1, 2, name="lib.odd.default"), relu(0, 2, name="lib.odd.default")))
    found = costs(modules("a"), trace)
    assert found.uncosted == {"lib.odd": 2}
    assert found.where == {"lib.odd": "a"}
    assert not found.total.exact
    assert not found.inclusive["a"].exact


def test_a_lower_bound_is_told_from_what_has_no_formula():
    """A region of interest is sampled as often as its size asks for, unless a ratio is given."""
    roi = OpRecord("torchvision.roi_align.default", -1, (spec(1, 2, 8, 8), spec(3, 5), 1.0, 4, 4, -1, False),
                   outputs=(spec(3, 2, 4, 4),))  # fmt: skip
    found = costs(modules(), Trace(ops=(roi,)))
    assert found.bounded == {"torchvision.roi_align": 1}
    assert found.uncosted == {}
    assert not found.total.exact


@pytest.mark.parametrize(
    ("record", "elements"),
    [
        (relu(-1, 2, 5), 10),
        (relu(-1, 2, 5, name="aten.relu_.default"), 0),  # in place
        (relu(-1, 2, 5, name="aten.view.default"), 0),  # the same bytes
        (relu(-1, 2, 5, name="aten.__and__.Tensor"), 10),  # a name of Python's, and no writing in place
        (OpRecord("aten.dropout.default", -1, (spec(4), 0.5, False), outputs=(spec(4),)), 0),  # hands back its input
        (OpRecord("aten.dropout.default", -1, (spec(4), 0.5, True), outputs=(spec(4),)), 4),
        (OpRecord("aten.to.dtype", -1, (spec(4), "torch.float32"), outputs=(spec(4),)), 0),  # nothing to convert
    ],
)
def test_activations_are_the_elements_of_tensors_that_are_new(record: OpRecord, elements: int):
    assert work(record).activations == elements
    assert work(record).activation_nbytes == 4 * elements


def test_a_forward_that_stopped_says_where():
    failure = Failure("a.b", "pkg.M", (), "ValueError", "no")
    assert costs(modules("a", "a.b"), Trace(failure=failure)).stopped == "a.b"
    assert costs(modules("a", "a.b"), Trace()).stopped is None


def test_no_trace_is_no_work():
    empty: Any = costs(Snapshot(), Trace())
    assert empty.total == Work()
    assert empty.uncosted == {}

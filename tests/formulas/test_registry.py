"""The table of formulas: which one is found, what becomes of its result, and the contracts that all of them keep."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import numel.analyses.formulas as formulas
from formulas.counting import f32, record
from numel.analyses.cost import costs
from numel.analyses.formulas import Cost, cost, find, formula, registered, registry
from numel.facts import CallRecord, ModuleRecord, OpRecord, Snapshot, Trace
from numel.torch_private import is_composite
from numel.tracing.composites import WHOLE


@pytest.fixture(autouse=True)
def _own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_FORMULAS", dict(registry._FORMULAS))


# --- looking up and pricing ------------------------------------------------------------------------------------------


def test_an_operator_without_a_formula_is_unknown_and_not_free():
    assert find("mylib.unheard_of.default") is None
    assert cost(record("mylib.unheard_of", f32(3), outputs=f32(3))) is None


def test_a_formula_of_one_overload_wins_over_that_of_all():
    @formula("mylib::op")
    def every(*_: Any, outputs: Any) -> int:
        return 1

    @formula("mylib.op.special")
    def special(*_: Any, outputs: Any) -> int:
        return 2

    assert find("mylib.op.special") is special
    assert find("mylib.op.other") is every
    assert [cost(record(f"mylib.op.{name}")) for name in ("special", "default")] == [Cost(macs=2), Cost(macs=1)]


@pytest.mark.parametrize(
    "name", ["aten.mm", "aten::mm", torch.ops.aten.mm, "aten.mm.default", torch.ops.aten.mm.default], ids=str
)
def test_an_operator_is_named_as_torch_prints_it_or_by_itself(name):
    @formula(name)
    def mine(*_: Any, outputs: Any) -> int:
        return 7

    assert cost(record("aten.mm", f32(2, 3), f32(3, 4), outputs=f32(2, 4))) == Cost(macs=7)
    assert {"aten.mm", "aten.mm.default"} & set(registered())


def test_the_newest_registration_wins_and_the_decorated_function_is_handed_back():
    def mine(*_: Any, outputs: Any) -> Cost:
        return Cost(elementwise=3)

    assert formula("aten.mm")(mine) is mine
    assert cost(record("aten.mm", f32(2, 3), f32(3, 4), outputs=f32(2, 4))) == Cost(elementwise=3)


def test_a_formula_sees_specs_keywords_and_outputs():
    seen: list[Any] = []

    @formula("mylib.op")
    def mine(*args: Any, outputs: Any, **named: Any) -> None:
        seen.extend((args, named, outputs))

    assert cost(record("mylib.op", f32(2), 3, outputs=f32(4), flag=True)) is None
    assert seen == [(f32(2), 3), {"flag": True}, (f32(4),)]


def test_a_formula_that_raises_warns_by_name_and_leaves_its_operator_unknown():
    @formula("mylib.broken")
    def broken(*_: Any, outputs: Any) -> int:
        raise ZeroDivisionError("by nothing")

    with pytest.warns(RuntimeWarning, match=r"mylib\.broken\.default failed \(ZeroDivisionError: by nothing\)"):
        assert cost(record("mylib.broken")) is None


def test_a_record_that_does_not_fit_its_formula_is_unknown_with_a_warning():
    for malformed in (record("aten.mm", f32(3)), record("aten.mm", f32(3), f32(3)), record("aten.mm", None, None)):
        with pytest.warns(RuntimeWarning, match=r"the formula of aten\.mm\.default failed"):
            assert cost(malformed) is None


def test_a_cost_that_is_known_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cost(record("aten.mm", f32(2, 3), f32(3, 4), outputs=f32(2, 4))) == Cost(macs=24)


# --- the sum of costs ------------------------------------------------------------------------------------------------

_COSTS = st.builds(
    Cost, st.integers(0, 99), st.integers(0, 99), st.one_of(st.none(), st.integers(0, 99)), st.booleans()
)


@given(_COSTS, _COSTS, _COSTS)
def test_costs_are_a_monoid(a, b, c):
    assert a + Cost() == a == Cost() + a
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a


@given(_COSTS, _COSTS)
def test_a_sum_of_costs_executes_what_its_parts_execute(a, b):
    assert (a + b).executed_macs == a.executed_macs + b.executed_macs
    assert (a + b).flops == 2 * (a.macs + b.macs)
    assert (a + b).at_least == (a.at_least or b.at_least)


# --- contracts -------------------------------------------------------------------------------------------------------


def _overloads(name: str) -> list[Any]:
    packet = getattr(torch.ops.aten, name.removeprefix("aten."))
    return [getattr(packet, overload) for overload in packet.overloads()]


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_every_overload_of_a_composite_that_is_recorded_whole_has_a_formula(name):
    assert [str(each) for each in _overloads(name) if find(str(each)) is None] == []


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_what_is_recorded_whole_would_otherwise_be_taken_apart(name):
    """A name that is no composite in torch would stand in the list for nothing."""
    assert any(is_composite(each) for each in _overloads(name))


# Operators of other libraries and of other builds of torch, which need not be there to be named.
_ELSEWHERE = {
    "mkl": "torch for x86 with MKL",
    "mkldnn": "torch with oneDNN",
    "quantized": "loaded with torch.ao",
    "torch_nn": "declared by torch.nn when it is first needed",
    "torchvision": "torchvision",
    "transformers": "transformers",
}


def test_every_name_that_has_a_formula_exists_in_torch():
    """A typing error in a name would be a formula that is never found. Names are those of torch 2.13."""
    import torch._prims  # declares the operators of prims
    import torch.distributed._functional_collectives  # and one of its own

    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 13):
        pytest.skip("an older torch lacks operators that a newer one has")
    missing = []
    for name in registered():
        namespace, _, rest = name.partition(".")
        packet, _, overload = rest.partition(".")
        if namespace in _ELSEWHERE:
            continue
        found = getattr(getattr(torch.ops, namespace), packet, None)
        if found is None or (overload and overload not in found.overloads()):
            missing.append(name)
    assert missing == []


FAMILIES = (
    "attention", "convolution", "elementwise", "embedding", "free", "linalg", "matmul", "quantized", "recurrent",
)  # fmt: skip


def own() -> list[str]:
    """The operators with a formula of numel's: examples in the documentation register theirs, too."""
    homes = {f"{formulas.__name__}.{family}" for family in FAMILIES}
    return [name for name in registered() if find(name).__module__ in homes]


def test_no_operator_has_two_formulas(monkeypatch):
    """The second would silently take the place of the first."""
    twice: list[str] = []

    class Once(dict[str, Any]):
        def __setitem__(self, name: str, function: Any) -> None:
            if name in self:
                twice.append(name)
            super().__setitem__(name, function)

    before = set(own())
    monkeypatch.setattr(registry, "_FORMULAS", Once())
    for family in FAMILIES:
        importlib.reload(getattr(formulas, family))
    assert set(registered()) == before
    assert twice == []


def test_every_formula_says_what_it_counts():
    assert [name for name in own() if not (getattr(find(name), "__doc__", None) or "").strip()] == []


@pytest.mark.parametrize("result", [1.5, "z", float("nan"), -5, True])
def test_a_formula_that_returns_no_count_leaves_its_operator_without_one_and_is_named(monkeypatch, result):
    monkeypatch.setattr(registry, "_FORMULAS", {})
    formula("mylib::odd")(lambda *_, outputs: result)
    with pytest.warns(RuntimeWarning, match=r"the formula of mylib.odd.default returned .*int from 0"):
        assert cost(record("mylib.odd.default", f32(2), outputs=(f32(2),))) is None


@pytest.mark.parametrize(("operator", "function"), [(5, len), ("nocolon", len), ("mylib::op", 5)])
def test_a_registration_that_could_never_be_found_is_refused(operator, function):
    with pytest.raises((TypeError, ValueError), match="expected"):
        formula(operator)(function)


def test_an_operator_whose_formula_is_taken_away_makes_every_total_over_it_a_lower_bound(monkeypatch):
    """Each formula in turn, beside a product of 2 · 3 · 4 MACs that keeps its own: named, and never taken as zero."""
    product = OpRecord("aten.bmm.default", 0, (f32(1, 2, 3), f32(1, 3, 4)), outputs=(f32(1, 2, 4),))
    snapshot = Snapshot((ModuleRecord("", "Net"), ModuleRecord("part", "Part")))
    calls = (CallRecord("", 0, -1), CallRecord("part", 0, 0))
    wrong = []
    for name in own():
        if name.startswith("aten.bmm"):
            continue
        left = {other: function for other, function in registry._FORMULAS.items() if other != name}
        op = name if name.count(".") > 1 else f"{name}.default"
        trace = Trace(calls, (product, OpRecord(op, 1, (f32(5),), outputs=(f32(5),))))
        with monkeypatch.context() as patch:
            patch.setattr(registry, "_FORMULAS", left)
            if find(op) is not None:  # an overload, for which that of its packet steps in
                continue
            found = costs(snapshot, trace)
        marks = [found.inclusive[path].at_least for path in ("", "part")]
        if marks != [True, True] or list(found.uncosted) != [op.rpartition(".")[0]] or found.total.macs != 24:
            wrong.append(name)
    assert wrong == []

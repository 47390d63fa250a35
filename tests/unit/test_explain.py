"""What made a number: expressions that give it, sums that a reader can check, and other conventions by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formulas.expressions import value_of
from numel.analyses.explain import find, others
from numel.analyses.formulas import Cost
from numel.analyses.formulas.arithmetic import Size, worked
from numel.document.table import at_least
from numel.errors import ViewError
from numel.facts import CallRecord, ModuleRecord, OpRecord, Snapshot, TensorRecord, TensorSpec, Trace, dtype
from numel.facts.trace import Failure
from numel.results import Report, from_saved

F32 = dtype("f32")


def spec(*shape: int) -> TensorSpec:
    return TensorSpec(shape, F32)


SIZES = st.integers(0, 99).map(Size)
EXPRESSIONS = st.recursive(
    SIZES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: pair[0] + pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] - pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] * pair[1]),
        st.tuples(inner, st.integers(1, 9)).map(lambda pair: pair[0] // pair[1]),
        st.tuples(st.integers(0, 9), inner).map(lambda pair: pair[0] - pair[1]),
        inner.map(lambda each: -each),
        inner.map(lambda each: each**3),
        st.tuples(inner, st.integers(1, 9)).map(lambda pair: -(-pair[0] // pair[1])),
    ),
    max_leaves=70,
)


@given(EXPRESSIONS)
def test_what_is_printed_gives_the_number(size):
    text = size.text if isinstance(size, Size) else str(int(size)).replace("-", "−")
    assert value_of(text) == size


def test_arithmetic_reads_as_it_was_meant():
    n, m = Size(7), Size(3)
    assert ((n + m) * (n - m)).text == "(7 + 3) × (7 − 3)"
    assert (n * 1 * m).text == "7 × 3"  # a one says nothing
    assert (n - n + m).text == "3"
    assert (n * (n + 1) // 2).text == "7 × (7 + 1) / 2"
    assert (n // m).text == "⌊7 / 3⌋"
    assert (m * (Size(8) // 2)).text == "3 × (8 / 2)"
    assert sum(Size(i) for i in range(1, 4)).text == "1 + 2 + 3"


def test_what_no_reader_takes_in_stands_as_its_number():
    long = sum((Size(i) for i in range(1, 101)), Size(0))
    assert long == 5050
    assert len(long.text) < 400
    assert value_of(long.text) == 5050


def test_a_linear_layer_is_outputs_times_inputs():
    """512 tokens of 4096 features to 14336: 512 · 14336 outputs of 4096 products each."""
    x, w, y = spec(1, 512, 4096), spec(14336, 4096), spec(1, 512, 14336)
    record = OpRecord("aten.linear.default", -1, (x, w), outputs=(y,))
    told = worked(record)
    assert told.macs == "512 × 14336 × 4096"
    assert told.cost == Cost(macs=30_064_771_072)
    assert type(told.cost.macs) is int


def test_a_causal_attention_says_what_it_executes():
    """Row i of 4 sees i + 1 keys: 4 · 5 / 2 of 16 pairs, 2 heads, widths of 8."""
    q = spec(1, 2, 4, 8)
    record = OpRecord(
        "aten.scaled_dot_product_attention.default", -1, (q, q, q, None, 0.0, True), outputs=(q,)
    )
    told = worked(record)
    assert value_of(told.macs) == 2 * 16 * (8 + 8)
    assert value_of(told.executed) == 2 * 10 * (8 + 8)
    assert "4 × (4 + 1) / 2" in told.executed


def net() -> Report:
    """A root with an embedding, two equal layers and a head that is tied to the embedding; a buffer, a bias."""
    modules = [ModuleRecord("", "pkg.Net"), ModuleRecord("emb", "torch.nn.Embedding"), ModuleRecord("h", "List")]
    modules += [ModuleRecord(f"h.{i}", "torch.nn.Linear") for i in range(2)]
    modules.append(ModuleRecord("head", "torch.nn.Linear"))
    tensors = [TensorRecord("emb.weight", (10, 4), F32, trainable=True)]
    for i in range(2):
        tensors += [TensorRecord(f"h.{i}.weight", (4, 4), F32, trainable=True),
                    TensorRecord(f"h.{i}.bias", (4,), F32, trainable=False)]  # fmt: skip
    tensors.append(TensorRecord("head.weight", (10, 4), F32, trainable=True, alias_of="emb.weight"))
    tensors.append(TensorRecord("scale", (3,), F32, "buffer"))
    x, ids = spec(2, 5, 4), TensorSpec((2, 5), dtype("i64"))
    calls = (CallRecord("", 0, -1, (ids,), spec(2, 5, 10)), CallRecord("emb", 0, 0, (ids,), x),
             CallRecord("h.0", 0, 0, (x,), x), CallRecord("h.1", 0, 0, (x,), x),
             CallRecord("head", 0, 0, (x,), spec(2, 5, 10)))  # fmt: skip
    q = spec(2, 1, 5, 4)
    ops = [OpRecord("aten.embedding.default", 1, (spec(10, 4), ids), outputs=(x,))]
    ops += [OpRecord("aten.linear.default", i, (x, spec(4, 4), spec(4)), outputs=(x,)) for i in (2, 3)]
    ops.append(OpRecord("aten.scaled_dot_product_attention.default", 0, (q, q, q), outputs=(q,)))
    ops.append(OpRecord("aten.linear.default", 4, (x, spec(10, 4)), outputs=(spec(2, 5, 10),)))
    return Report(Snapshot(tuple(modules), tuple(tensors)), Trace(calls, tuple(ops), inputs=(ids,)))


def table(report: Report, path: str | None, title: str) -> dict[str, list]:
    (found,) = (each for each in report.explain(path).document().tables if each.title == title)
    return found.to_dict()


def test_the_parts_of_a_row_add_up_to_it():
    for path in (None, "h"):
        (found,) = (each for each in net().explain(path).document().tables if each.title == "Sum")
        for column in (1, 2, 3):
            assert sum(row[column] for row in found.rows) == found.total[column]


def test_equal_operators_are_one_row_with_their_arithmetic():
    found = table(net(), "h", "Operators")
    assert (found["operator"], found["calls"], found["macs"]) == (["aten.linear"], [2], [2 * 2 * 5 * 4 * 4])
    assert "MACs 2 × 5 × 4 × 4 = 160; elementwise 2 × 5 × 4 = 40 each" in found["arithmetic"][0]


def test_a_folded_label_is_all_of_its_layers():
    report = net()
    assert find(report.snapshot, "h.0–1").paths == find(report.snapshot, "h.0-1").paths == ("h.0", "h.1")
    assert table(report, "h.0–1", "Operators") == table(report, "h", "Operators")
    assert table(report, "h.0–1", "Tensors")["path"] == ["h.*.weight", "h.*.bias"]


def test_totals_are_explained_by_name():
    report = net()
    assert table(report, "tied", "Tensors")["path"] == ["head.weight"]
    assert sum(table(report, "params", "Tensors")["numel"]) == report.totals.params == 80
    assert sum(table(report, "trainable", "Tensors")["numel"]) == report.totals.trainable == 72
    assert sum(table(report, "nbytes", "Tensors")["nbytes"]) == report.totals.nbytes
    assert sum(table(report, "macs", "Operators")["macs"]) == report.macs
    assert sum(table(report, "elementwise", "Operators")["elementwise"]) == report.costs.total.elementwise


def test_a_wrong_path_gets_one_line_with_what_is_near():
    with pytest.raises(ViewError, match=r"^explain 'hed': no layer, tensor or total is called so; did you mean head"):
        net().explain("hed")
    with pytest.raises(ViewError, match="expected a layer's path or total, params"):
        net().explain("xxxxxxxx.0–99999999999")


def test_other_conventions_give_figures_that_are_derived_by_hand():
    report = net()
    layers, head, attention, tokens = 2 * 160, 10 * 4 * 10, 2 * 5 * 5 * (4 + 4), 10
    assert report.macs == layers + head + attention
    found = others(report.snapshot, report.trace, report.costs, report.layers).to_dict()
    figures = dict(zip(found["convention"], found["value"], strict=True))
    assert figures == {
        "tied tensors at each place": 80 + 40,
        "trainable ones alone": 72,
        "buffers too": 83,
        "as FLOPs": 2 * report.macs,
        "bias too": report.macs + 2 * 40,
        "elementwise work too": 2 * report.macs + report.costs.total.elementwise,
        "attention's products left out": layers + head,
        "leaf modules alone": layers + head,
        "parameters × outputs": 2 * (40 + 2 * 20 + 40),
        "for one sample": report.macs // 2,
        "2 × params × tokens": 2 * 80 * tokens,
    }


def test_an_operator_without_a_cost_is_named_and_not_zero():
    report = net()
    odd = OpRecord("lib.odd.default", 0, (spec(3),), outputs=(spec(3),))
    found = table(Report(report.snapshot, replace(report.trace, ops=(*report.trace.ops, odd))), None, "Operators")
    at = found["operator"].index("lib.odd")
    assert found["macs"][at] is None
    assert "no cost is known" in found["arithmetic"][at]


def test_a_forward_that_stopped_leaves_lower_bounds_and_says_where():
    report = net()
    stopped = Failure("head", "torch.nn.Linear", (spec(2, 5, 4),), "ValueError", "no")
    document = Report(report.snapshot, replace(report.trace, failure=stopped)).explain().document()
    (found,) = (each for each in document.tables if each.title == "Operators")
    assert at_least(found.total[2])
    assert any("stopped in head" in getattr(block, "text", "") for block in document.blocks)


def test_a_saved_report_explains_the_same():
    report = net()
    again = from_saved(json.loads(report.text("json")), "x.json")
    for path in (None, "h.0", "macs", "scale"):
        assert again.explain(path).text("markdown") == report.explain(path).text("markdown")
    assert json.loads(report.explain("h").text("json"))["tables"]["Operators"]["calls"] == [2]


def test_every_line_fits_the_width():
    for width in (40, 80, 120):
        lines = net().explain().text("terminal", width=width).splitlines()
        assert max(map(len, lines)) <= width

"""What a user holds: numbers from facts alone, views that are chosen by name, and files that give the result again."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import numel
from numel.errors import SchemaError, TargetError, ViewError
from numel.facts import CallRecord, ModuleRecord, Note, OpRecord, Snapshot, TensorRecord, TensorSpec, Trace, dtype
from numel.facts.trace import Failure
from numel.results import Count, Formulas, Report, from_saved

F32 = dtype("f32")
X, W, Y = TensorSpec((4, 3), F32), TensorSpec((2, 3), F32), TensorSpec((4, 2), F32)
SNAPSHOT = Snapshot(
    (ModuleRecord("", "pkg.Net"), ModuleRecord("fc", "torch.nn.Linear"), ModuleRecord("aux", "torch.nn.Linear")),
    (TensorRecord("fc.weight", (2, 3), F32, trainable=True), TensorRecord("aux.weight", (2, 3), F32),
     TensorRecord("out.weight", (2, 3), F32, alias_of="fc.weight"), TensorRecord("fc.mean", (2,), F32, "buffer")),
    notes=(Note("said", "warning", "by the source"),),
)  # fmt: skip
TRACE = Trace(
    (CallRecord("", 0, -1, (X,), Y), CallRecord("fc", 0, 0, (X,), Y)),
    (OpRecord("aten.linear.default", 1, (X, W), outputs=(Y,)),),
    inputs=(X,),
    notes=(Note("step-down", "info", "of the tracer"),),
)
REPORT = Report(SNAPSHOT, TRACE)
UNCOSTED = Report(SNAPSHOT, replace(TRACE, ops=(*TRACE.ops, OpRecord("lib.odd.default", 1, (X,), outputs=(X,)))))
FAILED = Report(SNAPSHOT, replace(TRACE, failure=Failure("fc", "torch.nn.Linear", (X,), "ValueError", "no")))


def test_the_numbers_have_the_names_that_scripts_use():
    assert (REPORT.totals.params, REPORT.totals.trainable, REPORT.totals.buffers, REPORT.totals.tied) == (12, 6, 2, 6)
    assert REPORT.totals.nbytes == 4 * (12 + 2)
    assert (REPORT.macs, REPORT.flops, REPORT.activation_nbytes) == (24, 48, 32)
    assert (REPORT.exact, REPORT.mode, dict(REPORT.uncosted)) == (True, "meta", {})
    root, fc, aux = REPORT.layers
    assert (root.path, root.type, root.params, root.macs, root.output_shape) == ("", "Net", 12, 24, (4, 2))
    assert (fc.path, fc.type, fc.params, fc.macs, fc.output_shape) == ("fc", "Linear", 6, 24, (4, 2))
    assert (aux.macs, aux.output_shape, aux.calls) == (0, None, 0)


def test_without_a_trace_compute_is_unknown_and_parameters_are_not():
    report = Report(SNAPSHOT)
    assert (report.macs, report.flops, report.mode, report.activation_nbytes) == (None, None, None, 0)
    assert report.exact
    assert {row.macs for row in report.layers} == {None}
    assert "MACs" not in str(report)


def test_notes_say_everything_that_qualifies_the_numbers():
    codes = [note.code for note in UNCOSTED.notes]
    assert codes == ["said", "tied", "step-down", "no-formula", "not-called"]
    by_code = {note.code: note for note in UNCOSTED.notes}
    assert by_code["no-formula"].path == "fc"
    assert "@numel.formula('lib::odd')" in by_code["no-formula"].text
    assert by_code["tied"].path == "fc.weight"
    assert "out.weight" in by_code["tied"].text
    assert by_code["not-called"].text.startswith("not called: aux")
    assert "not-called" not in [note.code for note in FAILED.notes]


@pytest.mark.parametrize("report", [UNCOSTED, FAILED])
def test_a_lower_bound_prints_its_sign_wherever_it_stands(report: Report):
    assert not report.exact
    text = report.text("terminal", width=160)
    for line in ("MACs (mult-adds)", "FLOPs (2 × MACs)", "MACs per sample (batch of 4)", "(root)", "├─ fc"):
        assert "≥" in next(each for each in text.splitlines() if each.startswith(line)), line
    assert report.saved()["exact"] is False
    assert [row["exact"] for row in report.saved()["layers"]][:2] == [False, False]


def test_coverage_counts_the_calls_that_have_a_formula():
    facts = dict(UNCOSTED.document().tables[-1].rows)
    assert (facts["Operator calls"].value, facts["Operator calls without a formula"].value) == (2, 1)


def test_the_batch_is_what_inputs_and_output_agree_on():
    """The default LSTM takes (length, batch, width) and one image has no batch: nothing is divided by their sizes."""
    def batch(given: TensorSpec, made: TensorSpec) -> int | None:
        return Report(SNAPSHOT, Trace((CallRecord("", 0, -1, (given,), made),), inputs=(given,))).batch

    assert batch(X, Y) == 4
    assert batch(TensorSpec((3, 32, 32), F32), TensorSpec((8, 30, 30), F32)) is None
    assert batch(TensorSpec((4,), F32), TensorSpec((4, 2), F32)) is None
    assert "per sample" not in str(Report(SNAPSHOT, replace(TRACE, inputs=(X, W))))


def test_columns_and_order_are_those_of_the_first_table():
    first, second, _ = REPORT.document(columns="path params", sort="-macs", by="layers tensor", top=1).tables
    assert [column.key for column in first.columns] == ["path", "params"]
    assert (second.title, len(second.rows)) == ("Tensors", 1)


@pytest.mark.parametrize(("by", "name"), [("layers", "path"), ("type", "type"), ("tensor", "path"), ("layer", "path")])
def test_rows_keep_their_names_whatever_columns_are_chosen(by: str, name: str):
    first = REPORT.document(by=by, columns="nbytes").tables[0]
    assert [column.key for column in first.columns] == [name, "nbytes"]
    first = REPORT.document(by=by, columns=f"nbytes {name}").tables[0]
    assert [column.key for column in first.columns] == ["nbytes", name]


def test_a_failed_forward_says_where_and_with_what():
    text = " ".join(FAILED.text("terminal", width=160).split())
    assert "the forward stopped in fc (Linear), called with f32[4,3]" in text


@pytest.mark.parametrize("key", ["layer", "depth", "type", "dtype", "operator", "tensor"])
def test_every_table_is_columns_of_equal_length(key: str):
    columns = REPORT.by(key).to_dict()
    assert len({len(values) for values in columns.values()}) == 1


@pytest.mark.parametrize(
    ("display", "said"),
    [
        ({"by": "tipe"}, "no table is called 'tipe'; did you mean type?"),
        ({"columns": "params mac"}, "did you mean macs?"),
        ({"sort": "-size"}, "no sort column is called 'size'"),
        ({"depth": -1}, "depth -1: expected 0"),
        ({"depth": 2, "by": "type"}, "depth belongs to the table 'layers'; shown here: type"),
        ({"top": 0}, "top 0"),
        ({"top": 3, "depth": 2}, "depth belongs to the table 'layers'; shown here: tensor"),
        ({"top": 3, "by": "type"}, "top or min_params belongs to the table 'tensor'"),
        ({"fold": False, "by": "depth"}, "fold belongs to the table 'layers'"),
    ],
)
def test_a_wish_that_can_not_be_met_is_one_line(display: dict[str, Any], said: str):
    with pytest.raises(ViewError, match=said.replace("?", r"\?")):
        REPORT.text("terminal", **display)


def test_by_operator_needs_a_trace():
    with pytest.raises(ViewError, match="nothing was traced"):
        Report(SNAPSHOT).by("operator")


def test_the_largest_tensors_are_the_table_of_a_summary_and_narrow_a_listing():
    titles = [table.title for table in REPORT.document(top=1).tables]
    assert titles == ["Tensors", "Totals"]
    listing = Report(SNAPSHOT, view="tensors")
    assert listing.to_dict(min_params=3)["path"] == ["fc.weight", "aux.weight", "out.weight"]


def test_a_report_prints_itself():
    assert str(REPORT) == repr(REPORT)
    assert "Total params" in str(REPORT)


# ── saved ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("report", [REPORT, UNCOSTED, FAILED, Report(SNAPSHOT), replace(REPORT, view="operators")])
def test_a_saved_report_comes_back_equal(report: Report, tmp_path: Path):
    report.save(tmp_path / "r.json")
    again = numel.load(tmp_path / "r.json")
    assert again == report
    assert (again.notes, again.layers, again.macs) == (report.notes, report.layers, report.macs)
    for format in ("terminal", "markdown", "csv", "json"):
        assert again.text(format, width=100) == report.text(format, width=100)


def test_json_holds_the_numbers_for_scripts():
    saved = json.loads(REPORT.text("json"))
    assert saved["totals"]["params"] == 12
    assert (saved["macs"], saved["flops"], saved["exact"]) == (24, 48, True)
    assert [row["path"] for row in saved["layers"]] == ["", "fc", "aux"]
    with pytest.raises(ViewError, match="json holds the whole result"):
        REPORT.text("json", depth=1)


@pytest.mark.parametrize(("suffix", "start"), [(".md", "# Net"), (".csv", "path,type"), (".txt", "Net\n━━━")])
def test_the_suffix_picks_the_renderer(suffix: str, start: str, tmp_path: Path):
    REPORT.save(tmp_path / f"r{suffix}")
    assert (tmp_path / f"r{suffix}").read_text(encoding="utf-8").startswith(start)


def test_a_save_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "r.md").write_text("before")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        REPORT.save(tmp_path / "r.md")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("r.md", "before")]


@pytest.mark.parametrize("name", ["r.xlsx", "r", "no/such/r.md"])
def test_a_save_that_can_not_be_leaves_nothing(name: str, tmp_path: Path):
    with pytest.raises((ViewError, OSError)):
        REPORT.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_saved_file_has_the_mode_of_any_other(tmp_path: Path):
    (tmp_path / "plain").write_text("")
    REPORT.save(tmp_path / "r.md")
    assert stat.S_IMODE((tmp_path / "r.md").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_link_stays_a_link(tmp_path: Path):
    (tmp_path / "real.md").write_text("before")
    (tmp_path / "r.md").symlink_to("real.md")
    REPORT.save(tmp_path / "r.md")
    assert (tmp_path / "r.md").is_symlink()
    assert (tmp_path / "real.md").read_text().startswith("# Net")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("no json", TargetError),
        ("[]", SchemaError),
        ('{"schema": 99, "facts": {}}', SchemaError),
        ('{"schema": 1, "facts": {}}', SchemaError),
        ("[" * 100_000, (TargetError, SchemaError)),
    ],
)
def test_a_file_that_holds_no_result_is_one_line(text: str, error: Any, tmp_path: Path):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(error) as caught:
        numel.load(tmp_path / "r.json")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "r.json") in str(caught.value)


def test_a_view_that_does_not_fit_its_facts_is_refused():
    with pytest.raises(SchemaError, match="view 'operators' does not fit"):
        from_saved({**Report(SNAPSHOT).saved(), "view": "operators"}, "x.json")


# ── the smaller results ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_count_has_the_totals_at_the_top_too():
    saved = Count("m", SNAPSHOT.totals).saved()
    assert saved["params"] == saved["totals"]["params"] == 12
    assert "Total params" in str(Count("m", SNAPSHOT.totals))


def test_formulas_are_listed_with_their_derivation():
    listed = {operator: derivation for operator, _, derivation in Formulas.registered("aten.mm").rows}
    assert "n · k · m" in listed["aten.mm"]
    assert Formulas.registered("no.such").rows == ()


def test_the_public_names_are_loaded_on_first_use():
    assert set(numel.__all__) <= set(dir(numel))
    assert all(getattr(numel, name) is not None for name in numel.__all__)
    with pytest.raises(AttributeError, match="no attribute 'sumary'"):
        _ = numel.sumary

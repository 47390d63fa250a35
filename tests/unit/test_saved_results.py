"""Every result is saved and read back: by the schema it names, from the schema before, without torch; a newer one is
refused in one line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import numel
from numel.errors import SchemaError, TargetError
from numel.facts import (
    Alarm,
    CallRecord,
    Change,
    Histogram,
    MemoryEvent,
    ModuleRecord,
    Note,
    OpRecord,
    Sample,
    Seen,
    Snapshot,
    Statistics,
    TensorRecord,
    TensorSpec,
    Totals,
    Trace,
    Values,
    dtype,
)
from numel.facts.schema import SCHEMA, upgraded
from numel.results import Comparison, Count, Explanation, Formulas, History, Report, from_saved
from numel.views import Viewable

SCHEMA_FILE = Path(numel.__file__).parent / "facts" / "schema.json"
F32 = dtype("f32")
GIVEN, MADE = TensorSpec((8, 3), F32), TensorSpec((8, 2), F32)


def report(**more: Any) -> Report:
    weight = TensorRecord("fc.weight", (2, 3), F32, trainable=True)
    snapshot = Snapshot((ModuleRecord("", "Net"), ModuleRecord("fc", "torch.nn.Linear")), (weight,),
                        notes=(Note("a-code", "warning", "a text", "fc"),))  # fmt: skip
    calls = (CallRecord("", 0, -1, (GIVEN,), MADE), CallRecord("fc", 0, 0, (GIVEN,), MADE))
    op = OpRecord("aten.linear.default", 1, (GIVEN, TensorSpec((2, 3), F32)), (("x", float("inf")),), (MADE,))
    trace = Trace(calls, (op,), (MemoryEvent("allocate", 0, 64, "activation", 1),), inputs={"*": (GIVEN,)})
    histograms = (Histogram("", -1.0, 1.0, (3, 3)), Histogram("fc.weight", -1.0, 1.0, (3, 3), 1, 2))
    return Report(snapshot, trace, histograms=histograms, **more)


BINS = Histogram("w", -1.0, 1.0, (3, 3))
VALUES = (
    Values(0, 1.5, (Statistics("w", "weight", 6, 6, 2.0, 0.25, 0.5, 1.0, 0.0, histogram=BINS),
                    Statistics("w", "gradient", 6, 6, zeros=0.5, nan=1, infinite=1))),
    Values(1, 2.5, (Statistics("w", "update", 6, 3, 0.5, 0.25, 0.5, 1.0, 0.0, ratio=0.125),)),
)  # fmt: skip
ALARM = Alarm(0, 1.5, Note("not-finite", "error", "the gradient has 1 NaN and 1 infinity", "w"))
NOTE = Note("history-thinned", "info", "of each 2 only one look at the values is kept, and the newest")

RESULTS: dict[str, Viewable] = {
    "report": report(),
    "tensors": Report(report().snapshot, None, "tensors"),
    "count": Count("m", Totals(params=6, trainable=6, nbytes=24), (Note("a", "info", "b"),), guessed=True),
    "explanation": report().explain("fc"),
    "whole explanation": report().explain(),
    "formulas": Formulas.registered("aten.mm"),
    "history": History((Sample(0, 1.5, Totals(params=6)), Sample(4, 2.5, Totals(params=9))),
                       (Seen(4, 2.5, Change("reshaped", "w", (2, 3), (3, 3))),), "net.Net"),
    "history with values": History((Sample(0, 1.5, Totals(params=6)),), (), "net.Net", VALUES, (ALARM,), (NOTE,)),
    "comparison": Comparison((report(), Report(report().snapshot)), ("a", "b"), {"accuracy": (0.5, 0.25)}),
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_what_is_saved_is_read_back_and_shows_the_same(result: Viewable, tmp_path: Path):
    result.save(tmp_path / "r.json")
    again = numel.load(tmp_path / "r.json")
    assert type(again) is type(result)
    assert again == result
    for format in ("terminal", "markdown", "html", "notebook", "latex", "csv", "json"):
        assert again.text(format, width=100) == result.text(format, width=100)


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_what_is_saved_is_as_the_schema_says(result: Viewable):
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    saved = json.loads(result.text("json"))
    validator.validate(saved)
    assert saved["schema"] == SCHEMA == schema["properties"]["schema"]["const"]
    del saved["facts"]
    assert not validator.is_valid(saved)


def older(result: Viewable) -> dict[str, Any]:
    """The result as schema 1 had it: all but reports without facts."""
    saved: dict[str, Any] = json.loads(result.text("json")) | {"schema": 1}
    if saved["kind"] == "report":
        saved["facts"].pop("histograms", None)
    else:
        del saved["facts"]
    return saved


@pytest.mark.parametrize("name", ["report", "tensors", "count", "formulas"])
def test_results_of_the_schema_before_are_upgraded(name: str):
    result = RESULTS[name]
    again = from_saved(older(result), "r.json")
    if isinstance(result, Report):
        assert isinstance(again, Report)
        assert (again.snapshot, again.trace, again.histograms) == (result.snapshot, result.trace, ())
    else:
        assert again == result


def test_a_report_that_schema_1_really_wrote_is_read():
    """`schema-1.json` is what the version before wrote for a Linear of 3 to 2 without bias and 8 samples."""
    saved = json.loads((Path(__file__).parents[1] / "gold" / "schema-1.json").read_text(encoding="utf-8"))
    again = from_saved(saved, "schema-1.json")
    assert isinstance(again, Report)
    assert (again.totals.params, again.macs) == (6, 48)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": SCHEMA + 1}, f"schema {SCHEMA + 1} is newer than the {SCHEMA} of this numel; update numel"),
        ({"schema": 0}, "expected a number from 1"),
        ({"kind": "opinion"}, "kind 'opinion'; expected one of report, comparison, count"),
        ({"kind": ["report"]}, "expected one of"),
        ({"view": "sideways"}, "view 'sideways' does not fit"),
        ({"facts": {}}, "damaged facts"),
        ({"facts": None}, "damaged facts"),
    ],
)
def test_what_can_not_be_read_is_said_in_one_line(change: dict[str, Any], says: str):
    saved = json.loads(report().text("json")) | change
    with pytest.raises(SchemaError, match=r"^r\.json: ") as caught:
        from_saved(saved, "r.json")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["count", "explanation", "formulas"])
def test_damage_is_found_in_every_kind(name: str):
    saved = json.loads(RESULTS[name].text("json"))
    for change in ({"facts": {}}, {"facts": []}, {"facts": {"formulas": [1], "totals": {"params": "6"}}}):
        with pytest.raises(SchemaError):
            from_saved(copy.deepcopy(saved) | change, "r.json")


def test_an_explanation_of_schema_1_says_what_to_do():
    with pytest.raises(SchemaError, match="which kept no facts; explain again"):
        upgraded(older(RESULTS["explanation"]), "r.json")


def test_a_saved_count_has_no_layers_to_summarise(tmp_path: Path):
    RESULTS["count"].save(tmp_path / "c.json")
    with pytest.raises(TargetError, match="a saved count; numel show shows it, and here a report is expected"):
        numel.summary(tmp_path / "c.json")


def test_results_of_equal_facts_are_equal():
    assert isinstance(RESULTS["explanation"], Explanation)
    assert report() == report()
    assert report() != report(view="operators")

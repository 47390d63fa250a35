"""Columns as data: pandas, polars and pyarrow take `to_dict()` unchanged, and Parquet keeps types and meanings."""

from __future__ import annotations

import io
from typing import Any

import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest

from every_block import COLUMNS, flat, tree
from numel.document import Cell, Column, Document, Quantity, Table
from numel.facts import ModuleRecord, Sample, Snapshot, Statistics, TensorRecord, Totals, ValueDifference, Values, dtype
from numel.render.parquet import render
from numel.results import Comparison, History, Report
from numel.views import Viewable

F32 = dtype("f32")


def report() -> Report:
    """Shapes and places without one, ties, unknown numbers: what makes columns ragged."""
    modules = tuple(ModuleRecord(path, kind) for path, kind in (("", "Net"), ("emb", "Embedding"), ("head", "Linear")))
    tensors = (
        TensorRecord("emb.weight", (10, 4), F32, trainable=True),
        TensorRecord("head.weight", (10, 4), F32, trainable=True, alias_of="emb.weight"),
        TensorRecord("head.bias", None, F32, trainable=True),
        TensorRecord("scale", (), F32, role="buffer"),
    )
    return Report(Snapshot(modules, tensors))


TABLES = [report().by(key) for key in ("layer", "depth", "type", "dtype", "tensor")]
TABLES += [report().document().tables[0], flat("one"), flat("empty"), tree("long")]
TAKERS: dict[str, Any] = {
    "pandas": pandas.DataFrame, "polars": lambda data: polars.DataFrame(data, strict=True), "pyarrow": pyarrow.table,
}  # fmt: skip


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
def test_data_frames_take_the_columns_unchanged(taker: str, table: Table):
    frame = TAKERS[taker](table.to_dict())
    assert frame.shape[0] == len(table.rows)


def test_numbers_stay_numbers_in_a_data_frame():
    frame = pandas.DataFrame(report().by("tensor").to_dict())
    assert frame["numel"].sum() == 81  # 40 + 40 + 1
    assert polars.DataFrame(report().by("layer").to_dict())["params"].dtype == polars.Int64


def read(table: Table) -> pyarrow.Table:
    return pyarrow.parquet.read_table(io.BytesIO(render(Document((table,)))))


def test_parquet_has_the_type_of_each_unit():
    found = read(flat("one"))
    types = {name: str(found.schema.field(name).type) for name in found.schema.names}
    assert types == {
        "path": "string", "type": "string", "output_shape": "list<element: int64>", "params": "int64",
        "share": "double", "trainable": "bool", "macs": "int64", "nbytes": "int64", "macs_at_least": "bool",
    }  # fmt: skip
    assert found.to_pydict()["output_shape"] == [[1, 64, 112, 112]]


def test_parquet_says_what_a_column_is():
    meta = read(flat("one")).schema.field("params").metadata
    assert (meta[b"unit"], meta[b"help"]) == (b"count", b"distinct parameter elements")
    assert read(flat("one")).schema.field("nbytes").metadata[b"basis"] == b"estimate"


def test_parquet_loses_no_digit_of_what_int64_can_not_hold():
    columns = (Column("name", "name"), Column("macs", "MACs", "ops"))
    rows: tuple[tuple[Cell, ...], ...] = (("a", 2**63 - 1), ("b", 2**63), ("c", None))
    assert read(Table("t", columns, rows)).to_pydict()["macs"] == ["9223372036854775807", "9223372036854775808", None]
    assert read(Table("t", columns, rows[:1])).to_pydict()["macs"] == [2**63 - 1]


def test_parquet_keeps_depths_and_marks_and_leaves_the_total_out():
    found = read(tree("long")).to_pydict()
    assert found["depth"][:3] == [0, 1, 2]
    marked = Table("t", COLUMNS[:1] + COLUMNS[3:4], (("a", Quantity(5, at_least=True)), ("b", 7)), total=("total", 12))
    assert read(marked).to_pydict() == {"path": ["a", "b"], "params": [5, 7], "params_at_least": [True, False]}


def test_a_half_pair_in_a_name_is_written_as_its_code():
    assert read(Table("t", COLUMNS[:1], (("a\udc80",),))).to_pydict() == {"path": ["a\\udc80"]}


def columns(result: Viewable) -> dict[str, list[Cell]]:
    """The main table, which is the same in all formats that hold one."""
    held = result.to_dict()
    table = pyarrow.parquet.read_table(io.BytesIO(result.rendered("parquet")))  # type: ignore[arg-type]
    assert table.to_pydict() == held
    header, *rows = result.text("csv").split("\r\n")[:-1]
    assert header.split(",") == list(held)
    assert len(rows) == table.num_rows
    return held


def test_the_main_table_of_a_run_has_every_statistic_of_every_look():
    weight = Statistics("w", "weight", 4, 2, norm=2.0, mean=0.5, std=0.5, absmax=1.0, zeros=0.5)
    update = Statistics("w", "update", 4, 2, nan=1, infinite=1, ratio=0.1)
    run = History((Sample(0, 0.0, Totals(6)),), values=(Values(5, 0.0, (weight,)), Values(6, 0.0, (update,))))
    assert columns(run) == {
        "step": [5, 6], "path": ["w", "w"], "of": ["weight", "update"], "numel": [4, 4], "seen": [2, 2],
        "norm": [2.0, None], "mean": [0.5, None], "std": [0.5, None], "absmax": [1.0, None], "zeros": [0.5, 0.0],
        "nan": [0, 1], "infinite": [0, 1], "ratio": [None, 0.1],
    }  # fmt: skip
    assert columns(History(run.samples))["params"] == [6]


def test_the_main_table_of_two_targets_has_every_tensor_whose_values_were_compared():
    values = (ValueDifference("a", "a"), ValueDifference("b", "b", 0.5, 0.5, 0.5, 0.5, differing=2))
    found = Comparison((report(), report()), ("one", "other"), values=(values,), unread=((),))
    assert columns(found)["path"] == ["b", "a"]
    assert columns(Comparison(found.reports, found.names))["name"][0] == "params"


def test_where_no_value_changed_that_is_one_sentence():
    values = (ValueDifference("scale", "scale"),)
    other = Report(Snapshot((ModuleRecord("", "Net"),), (TensorRecord("scale", (), F32, role="buffer"),)))
    found = Comparison((report(), other), ("one", "other"), values=(values,), unread=((),))
    assert "\nValues: 1 equal, 0 close, 0 changed; " in found.text("terminal", width=100)
    assert "(no rows)" not in found.text("markdown")

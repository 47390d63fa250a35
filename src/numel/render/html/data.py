"""Tables and charts as the JSON that the page reads: columns side by side, words once, numbers as they are.

A column is one of

- `{"words": [...], "at": [...]}`: text, each word once; in a tree of paths a word that begins with "." goes on from the
  path of the row above it in the tree;
- `{"numbers": [...]}`: numbers and null, with `"signs"`, `"units"` and `"digits"` by row where a number has a sign, a
  unit of its own, or more digits than a double keeps;
- `{"cells": [...]}`: what is mixed: numbers, text, true, false, null; with the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numel.document import Cell, Chart, Quantity, Table
from numel.document.table import Unit
from numel.render.chart_tables import marks, quantity
from numel.render.charts import bars, logarithmic, numbers
from numel.render.text import ROOT, cell_text, labels, printable, shape_text, title_text

_MOST_BARS = 40
_SAFE = 2**53  # doubles hold every integer below


class Data:
    """What the page needs of the document. Tables that are one object, a chart's and the one shown, are sent once."""

    def __init__(self) -> None:
        self.tables: list[dict[str, Any]] = []
        self.charts: list[dict[str, Any]] = []
        self._seen: dict[int, int] = {}
        self._kept: list[Table] = []  # so that no other takes its identity

    def payload(self) -> dict[str, Any]:
        """All of it."""
        return {"tables": self.tables, "charts": self.charts}

    def table(self, table: Table) -> int:
        """The number of a table in `tables`."""
        if id(table) not in self._seen:
            self._seen[id(table)] = len(self.tables)
            self._kept.append(table)
            self.tables.append(_table(table))
        return self._seen[id(table)]

    def chart(self, chart: Chart) -> int:
        """The number of a chart in `charts`."""
        self.charts.append(self._chart(chart))
        return len(self.charts) - 1

    def _chart(self, chart: Chart) -> dict[str, Any]:
        logs = {
            key: logarithmic(numbers(chart, key))
            for key in (chart.x, *chart.y, *chart.color)
            if chart.column(key).unit not in ("text", "path", "shape", "flag")
        }
        drawn: dict[str, Any] = {
            "title": printable(chart.title), "kind": chart.kind, "x": chart.x, "xEnd": chart.x_end, "y": chart.y,
            "color": chart.color, "label": chart.label, "log": [key for key, log in logs.items() if log],
            "marks": [
                [mark.row, text] for mark, text in zip(chart.marks, map(printable, marks(chart)), strict=True)
            ],
        }  # fmt: skip
        if chart.kind == "bar":
            return {**drawn, "bars": _bars(chart)}
        return {**drawn, "table": self.table(chart.data)}


def _bars(chart: Chart) -> dict[str, Any]:
    """The bars, folded as in every other picture, with their figures as they are printed."""
    folded = bars(chart, _MOST_BARS)
    every = [value for values in folded.values for value in values]
    units = [chart.column(key).unit for key in chart.y]
    series = [
        {
            "title": title_text(chart.column(key)), "unit": unit, "values": values,
            "texts": [cell_text(quantity(v, unit, sign), short=True) for v, sign in zip(values, signs, strict=True)],
        }
        for key, unit, values, signs in zip(chart.y, units, folded.values, folded.signs, strict=True)
    ]  # fmt: skip
    return {"names": folded.names, "groups": folded.groups, "series": series, "log": logarithmic(every)}


def _table(table: Table) -> dict[str, Any]:
    columns = []
    for i, column in enumerate(table.columns):
        cells = [row[i] for row in table.rows]
        in_tree = i == 0 and column.unit == "path" and table.depths is not None
        held = _paths(table) if in_tree else _column(cells, column.unit)
        about = {"key": column.key, "title": title_text(column), "unit": column.unit, "help": printable(column.help)}
        columns.append({**about, **held})
    total = None
    if table.total is not None:
        total = [cell_text(cell, column.unit) for cell, column in zip(table.total, table.columns, strict=True)]
    return {
        "title": printable(table.title), "columns": columns, "rows": len(table.rows), "total": total,
        "depths": None if table.depths is None else list(table.depths), "sentences": table.sentences,
    }  # fmt: skip


def _paths(table: Table) -> dict[str, Any]:
    """The paths of a tree: what each adds to that of the row above it, which repeats where blocks repeat."""
    whole = [row[0] if isinstance(row[0], str) else cell_text(row[0], "path") for row in table.rows]
    words = []
    for path, label in zip(whole, labels(table), strict=True):
        goes_on = path.endswith(label) and path != label and path[: -len(label)].endswith(".")
        words.append("." + label if goes_on else printable(path) or ROOT)
    return _worded(words)


def _column(cells: Sequence[Cell], unit: Unit) -> dict[str, Any]:
    if all(isinstance(cell, str | tuple) for cell in cells):
        return _worded([cell_text(cell, unit) for cell in cells])
    signs: dict[int, str] = {}
    digits: dict[int, str] = {}
    units: dict[int, str] = {}
    plain: list[Any] = []
    for row, cell in enumerate(cells):
        value: Any = cell
        if isinstance(cell, Quantity):
            value = cell.value
            if cell.mark and value is not None:
                signs[row] = cell.mark
            if cell.unit != unit:
                units[row] = cell.unit
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _SAFE:
            text = cell_text(value, "integer")
            digits[row] = text
            value = float(value) if abs(value) < 10**300 else 1e300
        elif isinstance(value, float) and value - value != 0:
            digits[row] = cell_text(value)
            value = None
        elif isinstance(value, tuple):
            value = shape_text(value)
        elif isinstance(value, str):
            value = printable(value)
        plain.append(value)
    kind = "numbers" if all(value is None or type(value) in (int, float) for value in plain) else "cells"
    more = {name: found for name, found in (("signs", signs), ("digits", digits), ("units", units)) if found}
    return {kind: plain, **more}


def _worded(words: Sequence[str]) -> dict[str, Any]:
    numbered: dict[str, int] = {}
    at = [numbered.setdefault(word, len(numbered)) for word in words]
    return {"words": list(numbered), "at": at}

"""A document as one flat table of plain columns, for formats that hold nothing else.

The table is the document's `main` one, else the data of its first chart. What a cell says
beyond its number gets a column of its own: `depth` for a tree, `<key>_at_least` where a number is a lower bound,
`<key>_about` where it may be more or less. The total row is left out, so that a sum over a column does not count twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from numel.document import Cell, Column, Document, Table
from numel.document.table import plain
from numel.render.chart_tables import data


@dataclass(frozen=True, slots=True)
class Flat:
    """Columns side by side; `cells` are plain values, of one type in each column or `None`: see `table.plain`."""

    columns: tuple[Column, ...]
    cells: tuple[Sequence[Cell], ...]


def flat(document: Document) -> Flat | None:
    """The main table; `None` where there is neither table nor chart."""
    main = _main(document)
    if main is None:
        return None
    columns = list(main.columns)
    cells: list[Sequence[Cell]] = [plain([row[i] for row in main.rows], each.unit) for i, each in enumerate(columns)]
    for column, marks in main.marks():
        columns.append(column)
        cells.append(marks)
    if main.depths is not None and not any(column.key == "depth" for column in columns):
        columns.append(Column("depth", "depth", "integer", help="level of the tree"))
        cells.append(list(main.depths))
    return Flat(tuple(columns), tuple(cells))


def _main(document: Document) -> Table | None:
    charts = document.charts
    return data(charts[0]) if document.main is None and charts else document.main

"""Rows of cells under columns: numbers stay numbers, each with its unit, until a renderer prints them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["text", "path", "count", "ops", "bytes", "share", "shape", "integer", "flag", "number"]
Basis = Literal["exact", "measured", "estimate", "guess"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its own unit, for a cell that differs from its column, or one that is not exact: a lower bound
    (`at_least`, printed `≥`), what may be more or less (`about`, printed `≈`), or a lower bound of that (`≳`)."""

    value: int | float | None
    unit: Unit = "count"
    at_least: bool = False
    about: bool = False

    @property
    def mark(self) -> Literal["", "≥", "≈", "≳"]:
        """The sign before the number."""
        if self.at_least:
            return "≳" if self.about else "≥"
        return "≈" if self.about else ""


# None is unknown and prints "?"; a tuple is a shape; a str prints as it is
Cell = None | str | bool | int | float | tuple[int, ...] | Quantity


def marked(value: int | float, unit: Unit, *, at_least: bool = False, about: bool = False) -> Cell:
    """A number as it is, or with a sign.

    >>> marked(3, "ops"), marked(3, "ops", at_least=True).mark, marked(3, "ops", about=True).mark
    (3, '≥', '≈')
    """
    return Quantity(value, unit, at_least, about) if at_least or about else value


def at_least(cell: Cell) -> bool:
    """Whether the cell is a lower bound.

    >>> at_least(Quantity(2, at_least=True)), at_least(2)
    (True, False)
    """
    return isinstance(cell, Quantity) and cell.at_least


def about(cell: Cell) -> bool:
    """Whether the cell is a number that may be more or less."""
    return isinstance(cell, Quantity) and cell.about


# what a column of marks says of another: the suffix of its key, its words, and of which cells it is true
_MARKS: tuple[tuple[str, str, Callable[[Cell], bool]], ...] = (
    ("at_least", "a lower bound", at_least), ("about", "may be more or less", about),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `key` is its name in code, JSON and `columns=`; `title` is printed; numbers stay numbers. One with
    something `wrong` in it is the last that a narrow screen hides."""

    key: str
    title: str
    unit: Unit = "text"
    basis: Basis = "exact"
    help: str = ""
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under columns. With `depths` it is a tree in preorder whose labels are the first column: where
    that is of unit "path", a renderer that draws the tree leaves out what the row above has said already.

    `kind` "facts" is a two-column list of names and quantities (a footer) that is drawn without a header.
    `total` is a last row that sums the others. With `sentences` the last column holds text that is too long for a
    column: where lines have a width it stands below its row. Of a `choosable` one the reader can say which columns to
    show, by their keys.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    depths: tuple[int, ...] | None = None
    total: tuple[Cell, ...] | None = None
    kind: Literal["table", "facts"] = "table"
    caption: str = ""
    sentences: bool = False
    choosable: bool = False

    def __post_init__(self) -> None:
        width = len(self.columns)
        for row in (*self.rows, *((self.total,) if self.total is not None else ())):
            if len(row) != width:
                raise ValueError(f"table {self.title!r}: a row of {len(row)} cells under {width} columns")
        if self.depths is not None and len(self.depths) != len(self.rows):
            raise ValueError(f"table {self.title!r}: {len(self.depths)} depths for {len(self.rows)} rows")

    def to_dict(self) -> dict[str, list[Cell]]:
        """Columns by key as lists of plain values: pandas, polars and pyarrow take it.

        The values of a column are of one type, or `None` where there is none: `plain` says which. A column with a lower
        bound in it gets another, `<key>_at_least`, that says which of its numbers are ones, and one with numbers that
        may be more or less `<key>_about`.

        >>> Table("t", (Column("n", "N", "count"),), ((1,), (Quantity(2, "count", True),))).to_dict()
        {'n': [1, 2], 'n_at_least': [False, True]}
        """
        cells = {column.key: plain([row[i] for row in self.rows], column.unit) for i, column in enumerate(self.columns)}
        return cells | {column.key: marks for column, marks in self.marks()}

    def marks(self) -> list[tuple[Column, list[Cell]]]:
        """For what takes plain values: which numbers are lower bounds, and which may be more or less, as columns of
        their own. None for a column without any."""
        found: list[tuple[Column, list[Cell]]] = []
        for i, column in enumerate(self.columns):
            for suffix, words, has_mark in _MARKS:
                marks: list[Cell] = [has_mark(row[i]) for row in self.rows]
                if any(marks):
                    found.append((Column(f"{column.key}_{suffix}", f"{column.title}: {words}", "flag"), marks))
        return found


def plain(cells: Sequence[Cell], unit: Unit) -> list[Cell]:
    """The values of a column as one type: numbers without their signs, and as floats where one is; nothing (`None`) for
    an empty cell that is no text, or a word where shapes are. Where no type holds all of them, they are text: flags
    beside words, integers beyond 64 bits.

    >>> plain([True, "", "partly"], "flag"), plain([(2, 3), "not called"], "shape"), plain([Quantity(5), 1.5], "number")
    (['true', None, 'partly'], [(2, 3), None], [5.0, 1.5])
    """
    values: list[Cell] = [cell.value if isinstance(cell, Quantity) else cell for cell in cells]
    if unit not in ("text", "path"):
        values = [None if value == "" or (unit == "shape" and isinstance(value, str)) else value for value in values]
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float} and all(abs(value) <= _EXACT for value in values if isinstance(value, int)):
        return [None if value is None else float(value) for value in values]  # type: ignore[arg-type]
    if len(kinds) <= 1 and (kinds != {int} or all(value in _INT64 for value in values if value is not None)):
        return values
    return [None if value is None else _written(value) for value in values]


_INT64 = range(-(2**63), 2**63)
_EXACT = 2**53  # every integer up to it is a float


def _written(value: Cell) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)

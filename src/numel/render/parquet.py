"""One table as Parquet: real column types, and what each column is (title, unit, basis, help) in the metadata of its
field. Which table, and with which columns, `flat` says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numel.document import Cell, Column, Document
from numel.errors import ViewError
from numel.extras import need
from numel.render.flat import flat
from numel.render.text import cell_text

NAME = "parquet"
SUFFIXES: tuple[str, ...] = (".parquet",)
WHOLE = False

_INT64 = range(-(2**63), 2**63)


def render(document: Document, *, width: int | None = None, color: bool = False, suffix: str = "") -> bytes:
    """The main table as the bytes of a file; `width` and `color` mean nothing here.

    Counts, bytes and operations are int64 (decimal digits as text where one is beyond), shares double, flags bool,
    shapes lists of int64; a column that also has words, as "not called" among shapes, is text. Unknown is null.
    Raises `ViewError` for a document without a table, and `MissingExtra` without pyarrow.
    """
    main = flat(document)
    if main is None:
        raise ViewError("parquet: nothing but text in this result; expected a table")
    arrow = need("pyarrow", extra="parquet")
    need("pyarrow.parquet", extra="parquet")
    arrays, fields = [], []
    for column, cells in zip(main.columns, main.cells, strict=True):
        array = _array(arrow, column, cells)
        arrays.append(array)
        fields.append(arrow.field(column.key, array.type, metadata=_described(column)))
    table = arrow.Table.from_arrays(arrays, schema=arrow.schema(fields))
    sink = arrow.BufferOutputStream()
    arrow.parquet.write_table(table, sink)
    return bytes(sink.getvalue())


def _described(column: Column) -> dict[str, str]:
    said = {"title": column.title, "unit": column.unit, "basis": column.basis, "help": column.help}
    return {name: text for name, text in said.items() if text}


def _array(arrow: Any, column: Column, cells: Sequence[Cell]) -> Any:
    known = [cell for cell in cells if cell is not None and cell != ""]
    if column.unit in ("text", "path") or not known:
        empty_is_null = not known and column.unit not in ("text", "path")
        return arrow.array([None if cell is None or empty_is_null else _text(cell, column) for cell in cells],
                           arrow.string())  # fmt: skip
    plain = [None if cell == "" else cell for cell in cells]  # "" is nothing, but for text
    if all(isinstance(cell, bool) for cell in known):
        return arrow.array(plain, arrow.bool_())
    if all(isinstance(cell, tuple) for cell in known):
        return arrow.array([None if cell is None else list(cell) for cell in plain], arrow.list_(arrow.int64()))  # type: ignore[arg-type]
    numbers = all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in known)
    if numbers and column.unit not in ("share", "number") and all(isinstance(cell, int) for cell in known):
        if all(cell in _INT64 for cell in known):
            return arrow.array(plain, arrow.int64())
    elif numbers:
        return arrow.array([None if cell is None else float(cell) for cell in plain], arrow.float64())  # type: ignore[arg-type]
    return arrow.array([None if cell is None else _text(cell, column) for cell in plain], arrow.string())


def _text(cell: Cell, column: Column) -> str:
    if isinstance(cell, str):
        return cell.encode("utf-8", "backslashreplace").decode()  # Arrow's text is UTF-8, which has no lone surrogates
    if isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    return cell_text(cell, column.unit)

"""One table as Parquet: real column types, and what each column is (title, unit, basis, help) in the metadata of its
field. Which table, and with which columns, `flat` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numel.document import Cell, Column, Document
from numel.document.table import Unit
from numel.errors import ViewError
from numel.extras import need
from numel.render.flat import flat

NAME = "parquet"
SUFFIXES: tuple[str, ...] = (".parquet",)
WHOLE = False

_KINDS: Mapping[Unit, type] = {
    "count": int, "ops": int, "bytes": int, "integer": int, "share": float, "number": float, "flag": bool,
    "shape": tuple,
}  # fmt: skip


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
    """The cells of one type as Arrow's; a column with nothing in it has the type of its unit."""
    kind = next((type(cell) for cell in cells if cell is not None), _KINDS.get(column.unit, str))
    if kind is str:
        # Arrow's text is UTF-8, which has no lone surrogates
        texts = [cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else None for cell in cells]
        return arrow.array(texts, arrow.string())
    types = {bool: arrow.bool_(), int: arrow.int64(), float: arrow.float64(), tuple: arrow.list_(arrow.int64())}
    return arrow.array(cells, types[kind])

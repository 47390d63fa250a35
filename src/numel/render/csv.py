"""One table as CSV (RFC 4180): keys as header, numbers raw. Which table, and with which columns, `flat` says."""

from __future__ import annotations

import csv
import io

from numel.document import Cell, Document, Quantity
from numel.render.flat import flat

NAME = "csv"
SUFFIXES: tuple[str, ...] = (".csv",)
WHOLE = False


def render(document: Document, *, width: int | None = None, color: bool = False, suffix: str = "") -> str:
    """The main table with CRLF line ends; `width` and `color` mean nothing here.

    Unknown is an empty field, a flag is true or false, a shape is `[1, 3, 224, 224]`, a share is a fraction of one.

    >>> from numel.document import Column, Table
    >>> render(Document((Table("t", (Column("path", "Layer"), Column("n", "N", "count")), (("a,b", None),)),)))
    'path,n\\r\\n"a,b",\\r\\n'
    """
    main = flat(document)
    if main is None:
        return ""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([column.key for column in main.columns])
    for row in zip(*main.cells, strict=True):
        writer.writerow([_field(cell) for cell in row])
    return out.getvalue()


def _field(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case str():
            return cell.encode("utf-8", "backslashreplace").decode()  # a lone surrogate could not be written to a file
        case bool():
            return "true" if cell else "false"
        case tuple():
            return f"[{', '.join(map(str, cell))}]"
        case Quantity(value):
            return _field(value)
        case _:
            return str(cell)

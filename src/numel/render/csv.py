"""One table as CSV (RFC 4180): keys as header, numbers raw.

The table is the document's first of kind "table", else its first; a document without one gives "". What a cell says
beyond its number gets a column of its own: `depth` for a tree, `<key>_at_least` where a number is a lower bound,
`<key>_about` where it may be more or less. The total row is left out, so that a sum over a column does not count twice.
"""

from __future__ import annotations

import csv
import io

from numel.document import Callout, Cell, Document, Heading, Quantity, Table, Text
from numel.document.table import MARKS
from numel.render import assert_never

NAME = "csv"
SUFFIXES: tuple[str, ...] = (".csv",)
WHOLE = False


def render(document: Document, *, width: int | None = None, color: bool = False, suffix: str = "") -> str:
    """The main table with CRLF line ends; `width` and `color` mean nothing here.

    Unknown is an empty field, a flag is true or false, a shape is `[1, 3, 224, 224]`, a share is a fraction of one.

    >>> from numel.document import Column
    >>> render(Document((Table("t", (Column("path", "Layer"), Column("n", "N", "count")), (("a,b", None),)),)))
    'path,n\\r\\n"a,b",\\r\\n'
    """
    main: Table | None = None
    for block in document.blocks:
        match block:
            case Table():
                if main is None or (main.kind != "table" and block.kind == "table"):
                    main = block
            case Heading() | Text() | Callout():
                pass
            case _:
                assert_never(block)
    if main is None:
        return ""
    keys = [column.key for column in main.columns]
    marks = [
        (i, suffix, has_mark)
        for i in range(len(keys))
        for suffix, has_mark in MARKS
        if any(has_mark(row[i]) for row in main.rows)
    ]
    header = [*keys, *(f"{keys[i]}_{suffix}" for i, suffix, _ in marks)]
    depths = main.depths if "depth" not in keys else None
    if depths is not None:
        header.append("depth")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(header)
    for index, row in enumerate(main.rows):
        fields = [_field(cell) for cell in row]
        fields += [_field(has_mark(row[i])) for i, _, has_mark in marks]
        if depths is not None:
            fields.append(str(depths[index]))
        writer.writerow(fields)
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

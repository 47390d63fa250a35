"""Markdown as GitHub draws it: pipe tables, also of charts; facts as lists, callouts as quotes."""

from __future__ import annotations

import re

from numel.document import Callout, Cell, Chart, Column, Document, Heading, Table, Text
from numel.render import assert_never
from numel.render.chart_tables import shown
from numel.render.text import cell_text, fact_text, guides, is_number, labels, printable, title_text

NAME = "markdown"
SUFFIXES: tuple[str, ...] = (".md", ".markdown")
WHOLE = False

_MOST_LEVELS = 24
# an underscore inside of a word is no emphasis, so `q_proj` stays readable in the source
_SPECIAL = re.compile(r"[\\`*|\[\]~]|_(?![A-Za-z0-9])|(?<![A-Za-z0-9])_")
# what opens a block when it stands first on a line
_OPENING = re.compile(r"^(\s*)([#>+\-=]|\d+[.)])")


def render(document: Document, *, width: int | None = None, color: bool = False, suffix: str = "") -> str:
    """The whole document; Markdown flows by itself, so `width` and `color` mean nothing here.

    >>> print(render(Document((Heading("Net", 1), Callout("warning", "a | b")))), end="")
    # Net
    <BLANKLINE>
    > **Warning:** a \\| b
    """
    parts: list[str] = []
    for block in document.blocks:
        match block:
            case Heading(text, level):
                parts.append(f"{'#' * level} {_escaped(' '.join(text.split()))}".rstrip())
            case Text(text):
                parts.append("  \n".join(_OPENING.sub(r"\1\\\2", _escaped(line)) for line in text.splitlines()))
            case Callout():
                parts.append(_callout(block))
            case Table():
                parts.append(_facts(block) if block.kind == "facts" else _table(block))
            case Chart():
                parts.append(_table(shown(block)))
            case _:
                assert_never(block)
    return "\n\n".join(part for part in parts if part) + "\n" if any(parts) else ""


def _callout(callout: Callout) -> str:
    text = _escaped(" ".join(callout.text.split()))
    where = f" (at {_escaped(callout.path)})" if callout.path else ""
    code = f" \\[{_escaped(callout.code)}\\]" if callout.code else ""
    return f"> **{callout.kind.capitalize()}:** {text}{where}{code}"


def _facts(table: Table) -> str:
    lines = _titled(table)
    for row in (*table.rows, *((table.total,) if table.total is not None else ())):
        name, values = cell_text(row[0], table.columns[0].unit), []
        for cell, column in zip(row[1:], table.columns[1:], strict=True):
            exact, short = fact_text(cell, column.unit)
            values.append(f"{_escaped(exact)} ({_escaped(short)})" if short else _escaped(exact))
        lines.append(f"- {_escaped(name)}: {' · '.join(value for value in values if value)}")
    if not table.rows:
        lines.append("- (none)")
    return _closed(table, lines)


def _table(table: Table) -> str:
    lines = _titled(table)
    if not table.columns:
        return _closed(table, lines)
    names = labels(table)
    trunks = [each.replace("  ", "\u00a0\u00a0") for each in guides(table.depths or (), _MOST_LEVELS)]
    lines.append(_row([_escaped(title_text(column)) for column in table.columns]))
    lines.append(_row(["---:" if is_number(column) else "---" for column in table.columns]))
    for index, row in enumerate(table.rows):
        fields = _fields(row, table.columns)
        fields[0] = (trunks[index] if trunks else "") + _escaped(names[index])
        lines.append(_row(fields))
    if not table.rows:
        lines.append(_row(["(no rows)"] + [""] * (len(table.columns) - 1)))
    if table.total is not None:
        lines.append(_row([f"**{field}**" if field else "" for field in _fields(table.total, table.columns)]))
    return _closed(table, lines)


def _titled(table: Table) -> list[str]:
    return [f"**{_escaped(table.title)}**", ""] if table.title else []


def _closed(table: Table, lines: list[str]) -> str:
    return "\n".join([*lines, "", f"*{_escaped(table.caption)}*"] if table.caption else lines)


def _fields(row: tuple[Cell, ...], columns: tuple[Column, ...]) -> list[str]:
    return [_escaped(cell_text(cell, column.unit)) for cell, column in zip(row, columns, strict=True)]


def _row(fields: list[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _escaped(text: str) -> str:
    """As plain text within one line: nothing in a name is read as Markdown or as HTML."""
    text = _SPECIAL.sub(r"\\\g<0>", printable(text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

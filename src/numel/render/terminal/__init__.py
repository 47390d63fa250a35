"""The terminal: every line fits the width, in colour or without. rich gives styles and segments; the layout is ours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.color import ColorSystem
from rich.segment import Segment

from numel.document import Block, Callout, Chart, Document, Heading, Table, Text
from numel.render import assert_never
from numel.render.terminal import charts, tables
from numel.render.terminal.pieces import BOLD, CALLOUTS, DIM, PLAIN, TITLE, Line, wrapped
from numel.render.text import cells, printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

NAME = "terminal"
SUFFIXES: tuple[str, ...] = (".txt",)
WHOLE = False

_LEAST_WIDTH = 20


def render(document: Document, *, width: int | None = None, color: bool = False, suffix: str = "") -> str:
    """The document as lines of at most `width` columns (the terminal's own when not given; never under 20).

    >>> print(render(Document((Callout("note", "counted on meta", code="mode"),)), width=80), end="")
    note: counted on meta [mode]
    """
    drawn: list[str] = []
    for line in lines(document, width or shutil.get_terminal_size((100, 24)).columns):
        for text, style, _ in line:
            styled = color and style is not None and style is not PLAIN
            drawn.append(style.render(text, color_system=ColorSystem.STANDARD) if styled and style else text)
        drawn.append("\n")
    return "".join(drawn)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A document that rich prints at the console's own width: what `__rich__` returns."""

    document: Document

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for line in lines(self.document, options.max_width):
            yield from line
            yield Segment.line()


def lines(document: Document, width: int) -> Iterator[Line]:
    """Every line of the document as styled segments without line ends; blank lines part the blocks."""
    width = max(width, _LEAST_WIDTH)
    before: Block | None = None
    for block in document.blocks:
        close = isinstance(before, Heading) or (isinstance(before, Callout) and isinstance(block, Callout))
        if before is not None and not close:
            yield []
        match block:
            case Heading():
                yield from _heading(block, width)
            case Text():
                for each in block.text.splitlines():
                    yield from ([Segment(line)] for line in wrapped(printable(each), width))
            case Callout():
                yield from _callout(block, width)
            case Table():
                yield from tables.facts(block, width) if block.kind == "facts" else tables.rows(block, width)
            case Chart():
                yield from charts.picture(block, width)
            case _:
                assert_never(block)
        before = block


def _heading(heading: Heading, width: int) -> Iterator[Line]:
    text = printable(" ".join(heading.text.split()))
    style = TITLE if heading.level == 1 else BOLD
    for line in wrapped(text, width):
        yield [Segment(line, style)]
    if heading.level == 1:
        yield [Segment("━" * min(cells(text), width), DIM)]


def _callout(callout: Callout, width: int) -> Iterator[Line]:
    label = f"{callout.kind}: "
    where = f" (at {callout.path})" if callout.path else ""
    code = f" [{callout.code}]" if callout.code else ""
    text = printable(" ".join(callout.text.split()) + where + code)
    for index, line in enumerate(wrapped(text, width - len(label)) or [""]):
        lead = Segment(label, CALLOUTS[callout.kind]) if index == 0 else Segment(" " * len(label))
        yield [lead, Segment(line)]

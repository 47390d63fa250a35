"""The terminal: every line fits the width, in colour or without.

Rows are laid out here and not by rich's Table, which takes seconds for 10,000 rows; rich gives styles and segments.
What does not fit gives way in this order: counts go from all digits to K M B, share bars go, long names are cut in the
middle, then columns go from the right, and the reader is told which.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style

from numel.document import Callout, Cell, Column, Document, Heading, Quantity, Table, Text
from numel.render import assert_never
from numel.render.text import (
    UNKNOWN,
    cell_text,
    cells,
    fact_text,
    guides,
    is_number,
    labels,
    middle,
    printable,
    title_text,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

NAME = "terminal"
SUFFIXES: tuple[str, ...] = (".txt",)
WHOLE = False

_LEAST_WIDTH = 20
_LEAST_LABEL = 12  # columns of a name that the guides of a deep tree leave
_GAP = 2
_INDENT = 4  # of a sentence below its row
_BAR = 8
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_KEPT = frozenset({"params", "macs", "tied_to"})  # columns that a narrow screen loses last

_PLAIN = Style.null()
_BOLD = Style(bold=True)
_DIM = Style(dim=True)
_TITLE = Style(bold=True, color="cyan")
_TYPE = Style(color="cyan")
_BAR_STYLE = Style(color="blue")
_DOUBT = Style(color="yellow")
_CALLOUTS = {
    "note": Style(bold=True, color="cyan"),
    "advice": Style(bold=True, color="green"),
    "warning": Style(bold=True, color="yellow"),
    "error": Style(bold=True, color="red"),
}

Line = list[Segment]


def render(document: Document, *, width: int | None = None, color: bool = False, suffix: str = "") -> str:
    """The document as lines of at most `width` columns (the terminal's own when not given; never under 20).

    >>> print(render(Document((Callout("note", "counted on meta", code="mode"),)), width=80), end="")
    note: counted on meta [mode]
    """
    drawn: list[str] = []
    for line in lines(document, width or shutil.get_terminal_size((100, 24)).columns):
        for text, style, _ in line:
            styled = color and style is not None and style is not _PLAIN
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
    before: Heading | Text | Callout | Table | None = None
    for block in document.blocks:
        close = isinstance(before, Heading) or (isinstance(before, Callout) and isinstance(block, Callout))
        if before is not None and not close:
            yield []
        match block:
            case Heading():
                yield from _heading(block, width)
            case Text():
                for each in block.text.splitlines():
                    yield from ([Segment(line)] for line in _wrapped(printable(each), width))
            case Callout():
                yield from _callout(block, width)
            case Table():
                yield from _facts(block, width) if block.kind == "facts" else _table(block, width)
            case _:
                assert_never(block)
        before = block


def _heading(heading: Heading, width: int) -> Iterator[Line]:
    text = printable(" ".join(heading.text.split()))
    style = _TITLE if heading.level == 1 else _BOLD
    for line in _wrapped(text, width):
        yield [Segment(line, style)]
    if heading.level == 1:
        yield [Segment("━" * min(cells(text), width), _DIM)]


def _callout(callout: Callout, width: int) -> Iterator[Line]:
    label = f"{callout.kind}: "
    where = f" (at {callout.path})" if callout.path else ""
    code = f" [{callout.code}]" if callout.code else ""
    text = printable(" ".join(callout.text.split()) + where + code)
    for index, line in enumerate(_wrapped(text, width - len(label)) or [""]):
        lead = Segment(label, _CALLOUTS[callout.kind]) if index == 0 else Segment(" " * len(label))
        yield [lead, Segment(line)]


def _facts(table: Table, width: int) -> Iterator[Line]:
    if table.title:
        yield from ([Segment(line, _BOLD)] for line in _wrapped(printable(table.title), width))
    rows = [*table.rows, *((table.total,) if table.total is not None else ())]
    if not rows:
        yield [Segment("(none)", _DIM)]
    names = [cell_text(row[0], table.columns[0].unit) for row in rows]
    left = min(max(map(cells, names), default=0), width * 2 // 5)
    values = [fact_text(row[1], table.columns[1].unit) if len(row) > 1 else ("", "") for row in rows]
    digits = max((cells(exact) for row, (exact, _) in zip(rows, values, strict=True) if _is_figure(row)), default=0)
    units = max((cells(short) for _, short in values), default=0)
    for index, (row, name, (exact, short)) in enumerate(zip(rows, names, values, strict=True)):
        bold = table.total is not None and index == len(rows) - 1
        name = middle(name, left)
        lead = Segment(name + " " * (left - cells(name) + _GAP), _BOLD if bold else _DIM)
        if len(row) > 1 and _is_figure(row):
            exact = " " * (digits - cells(exact)) + exact
        rest = [cell_text(cell, column.unit) for cell, column in zip(row[2:], table.columns[2:], strict=True)]
        tail = " " * _GAP + " " * (units - cells(short)) + short if short else ""
        tail += "".join(" " * _GAP + each for each in rest if each)
        room = width - left - _GAP
        if cells(exact) + cells(tail) <= room:
            yield _trimmed([lead, Segment(exact, _BOLD if bold else _PLAIN), Segment(tail, _DIM)])
            continue
        for piece in _wrapped(f"{exact}{tail}".strip(), room):
            yield _trimmed([lead, Segment(piece, _BOLD if bold else _PLAIN)])
            lead = Segment(" " * (left + _GAP))
    if table.caption:
        yield from ([Segment(line, _DIM)] for line in _wrapped(printable(table.caption), width))


def _is_figure(row: Sequence[Cell]) -> bool:
    return len(row) > 1 and isinstance(row[1], int | float | Quantity) and not isinstance(row[1], bool)


@dataclass(slots=True)
class _Field:
    """One column with its printed cells, the total's last. Texts and widths are kept by whether counts are short."""

    column: Column
    title: str
    right: bool
    cells: list[Cell]
    texts: dict[bool, list[str]]  # by short
    natural: dict[bool, int]
    rigid: dict[bool, int]  # what must not be cut: the numbers and the title
    width: int = 0
    short: bool = False
    bar: bool = False

    def wanted(self, short: bool, bar: bool) -> int:
        return self.natural[short] + (_BAR + 1 if bar and self.column.unit == "share" else 0)

    def least(self, short: bool, bar: bool, most: int) -> int:
        """Width when text is cut to `most` columns and numbers are whole."""
        return min(
            self.wanted(short, bar), max(most, self.rigid[short] + self.wanted(short, bar) - self.natural[short])
        )


def _field(column: Column, values: list[Cell]) -> _Field:
    title = title_text(column)
    right = is_number(column)
    forms = (False, True) if column.unit == "count" else (False,)
    texts = {short: [cell_text(cell, column.unit, short=short) for cell in values] for short in forms}
    natural: dict[bool, int] = {}
    rigid: dict[bool, int] = {}
    for short, each in texts.items():
        sizes = [cells(text) for text in each]
        natural[short] = max(cells(title), *sizes, 1)
        whole = (size for size, cell in zip(sizes, values, strict=True) if not isinstance(cell, str | tuple))
        rigid[short] = min(max(min(cells(title), 16), max(whole, default=1)), 32) if right else 1
    texts.setdefault(True, texts[False])
    natural.setdefault(True, natural[False])
    rigid.setdefault(True, rigid[False])
    return _Field(column, title, right, values, texts, natural, rigid)


def _label(field: _Field, names: list[str], extra: Sequence[int]) -> _Field:
    """The first field with its rows' labels, wide enough for the guides before them."""
    texts = [*names, *field.texts[False][len(names) :]]
    wide = max(cells(field.title), *(cells(text) + more for text, more in zip(texts, extra, strict=True)))
    return replace(field, texts={False: texts, True: texts}, natural={False: wide, True: wide})


def _table(table: Table, width: int) -> Iterator[Line]:
    below: list[Cell] = []
    if table.sentences:
        below = [row[-1] for row in table.rows]
        total = None if table.total is None else table.total[:-1]
        table = replace(
            table, columns=table.columns[:-1], rows=tuple(row[:-1] for row in table.rows), total=total
        )  # fmt: skip
    if table.title:
        yield from ([Segment(line, _BOLD)] for line in _wrapped(printable(table.title), width))
    if not table.columns:
        return
    rows = [*table.rows, *((table.total,) if table.total is not None else ())]
    base = min(table.depths or (0,))
    levels = [depth - base for depth in table.depths or ()]
    # a deep tree gets narrower guides before names are cut, and of a deeper one the left guides are cut
    step = next((n for n in (3, 2) if n * max(levels, default=0) + _LEAST_LABEL <= width * 2 // 5), 1)
    most = max(1, (width * 2 // 5 - _LEAST_LABEL) // step)
    extra = [step * min(level, most) for level in levels] + [0] * (len(rows) - len(levels))
    fields = [_field(column, [row[i] for row in rows]) for i, column in enumerate(table.columns)]
    if rows:
        fields[0] = _label(fields[0], labels(table), extra)
    shown, hidden = _fit(fields, width)
    if shown[0].width < shown[0].natural[False]:
        most = max(1, min(most, (shown[0].width - _LEAST_LABEL) // step))
    trunks = guides(table.depths or (), most, step)
    trunks += [""] * (len(rows) - len(trunks))
    rule = Segment("─" * (sum(field.width for field in shown) + _GAP * (len(shown) - 1)), _DIM)
    yield _joined([(_aligned(middle(field.title, field.width), field), _BOLD) for field in shown])
    yield [rule]
    if not table.rows:
        yield [Segment("(no rows)", _DIM)]
    for index in range(len(rows)):
        is_total = index == len(table.rows)
        if is_total:
            yield [rule]
        yield _row(shown, index, trunks[index], is_total)
        if index < len(below) and below[index]:
            for line in _wrapped(cell_text(below[index]), width - _INDENT):
                yield [Segment(" " * _INDENT + line, _DIM)]
    if hidden:
        keys = ", ".join(printable(field.column.key) for field in hidden)
        text = f"columns hidden at this width: {keys}; widen or choose --columns"
        yield from ([Segment(line, _DIM)] for line in _wrapped(text, width))
    if table.caption:
        yield from ([Segment(line, _DIM)] for line in _wrapped(printable(table.caption), width))


def _row(shown: list[_Field], index: int, trunk: str, is_total: bool) -> Line:
    pieces: list[tuple[str, Style]] = []
    for position, field in enumerate(shown):
        text = field.texts[field.short][index]
        cell = field.cells[index]
        if position == 0 and trunk:
            pieces.append((trunk, _DIM))
            label = middle(text, field.width - len(trunk))
            pieces.append((label + " " * (field.width - len(trunk) - cells(label)), _PLAIN))
        elif field.bar:
            value = cell.value if isinstance(cell, Quantity) else cell
            pieces.append((_bar(value), _BAR_STYLE))
            room = field.width - _BAR
            cut = middle(text, room - 1)
            pieces.append((" " * (room - cells(cut)) + cut, _style(field, cell, text, is_total)))
        else:
            pieces.append((_aligned(middle(text, field.width), field), _style(field, cell, text, is_total)))
        pieces.append((" " * _GAP, _PLAIN))
    return _joined(pieces[:-1], gap=False)


def _style(field: _Field, cell: Cell, text: str, is_total: bool) -> Style:
    if is_total:
        return _BOLD
    if text == UNKNOWN or text.startswith(("≥", "≈", "≳")):
        return _DOUBT
    if (cell == 0 and field.right) or cell is False:
        return _DIM
    if field.column.key == "type":
        return _TYPE
    return _DIM if field.column.unit == "shape" else _PLAIN


def _aligned(text: str, field: _Field) -> str:
    blank = " " * (field.width - cells(text))
    return blank + text if field.right else text + blank


def _joined(pieces: list[tuple[str, Style]], *, gap: bool = True) -> Line:
    line: Line = []
    for text, style in pieces:
        if gap and line:
            line.append(Segment(" " * _GAP))
        line.append(Segment(text, style))
    return _trimmed(line)


def _trimmed(line: Line) -> Line:
    while line and not line[-1].text.strip(" "):
        line.pop()
    if line:
        line[-1] = Segment(line[-1].text.rstrip(" "), line[-1].style)
    return line


def _bar(value: object) -> str:
    """`value` of one as a bar of eighths of a column; what is not zero shows at least the thinnest."""
    if not isinstance(value, int | float) or not value > 0:
        return " " * _BAR
    eighths = max(1, min(_BAR * 8, round(value * _BAR * 8)) if value < 1 else _BAR * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[part] if part else "")).ljust(_BAR)


def _fit(fields: list[_Field], width: int) -> tuple[list[_Field], list[_Field]]:
    """The fields that are shown, their widths set, and those that are hidden, both in order."""
    shown = list(fields)
    while True:
        for short, bar, label, text in (
            (False, True, width * 2 // 5, 32),
            (True, True, width * 2 // 5, 32),
            (True, False, width * 2 // 5, 24),
            (True, False, width * 2 // 5, 14),
            (True, False, width * 3 // 10, 14),
        ):
            least = [field.least(short, bar, text if i else label) for i, field in enumerate(shown)]
            room = width - sum(least) - _GAP * (len(shown) - 1)
            if room >= 0 or len(shown) == 1:
                break
        if room >= 0 or len(shown) == 1:
            break
        loose = [field for field in shown[1:] if field.column.key not in _KEPT]
        # identity, not equality: two columns may look the same
        gone = loose[-1] if loose else shown[-1]
        shown = [field for field in shown if field is not gone]
    for field, size in zip(shown, least, strict=True):
        more = max(0, min(room, field.wanted(short, bar) - size))
        room -= more
        field.width, field.short = min(size + more, width), short
        field.bar = bar and field.column.unit == "share"
    kept = {id(field) for field in shown}
    return shown, [field for field in fields if id(field) not in kept]


def _wrapped(text: str, width: int) -> list[str]:
    """Printable `text` in lines of at most `width` columns, broken at spaces; a longer word is broken anywhere."""
    done: list[str] = []
    line, size = "", 0
    for word in text.split(" "):
        length = cells(word)
        if line and size + 1 + length <= width:
            line, size = f"{line} {word}", size + 1 + length
            continue
        if line:
            done.append(line)
        while length > width:
            cut = width if word.isascii() else _columns(word, width)
            done.append(word[:cut])
            word = word[cut:]
            length = cells(word)
        line, size = word, length
    if line or not done:
        done.append(line)
    return [each.rstrip(" ") for each in done]


def _columns(word: str, width: int) -> int:
    """How many characters of `word` fit `width` columns; at least one."""
    cut = min(len(word), width)
    while cut > 1 and cells(word[:cut]) > width:
        cut -= 1
    return cut

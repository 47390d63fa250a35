"""Tables and lists of facts as lines. What does not fit gives way in this order: counts go from all digits to K M B,
share bars go, long names are cut in the middle, then columns go from the right, those with something wrong in them
last, and the reader is told which.

Rows are laid out here and not by rich's Table, which takes seconds for 10,000 rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.segment import Segment
from rich.style import Style

from numel.document import Cell, Column, Quantity, Table
from numel.render.terminal.pieces import (
    BAR,
    BOLD,
    DIM,
    DOUBT,
    GAP,
    PLAIN,
    TYPE,
    Line,
    joined,
    share_bar,
    trimmed,
    wrapped,
)
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

_LEAST_LABEL = 12  # columns of a name that the guides of a deep tree leave
_INDENT = 4  # of a sentence below its row
_BAR = 8
_KEPT = frozenset({"params", "macs", "tied_to"})  # columns that a narrow screen loses last


def facts(table: Table, width: int) -> Iterator[Line]:
    """Names and quantities: all digits, and the short form with its unit."""
    if table.title:
        yield from ([Segment(line, BOLD)] for line in wrapped(printable(table.title), width))
    rows = [*table.rows, *((table.total,) if table.total is not None else ())]
    if not rows:
        yield [Segment("(none)", DIM)]
    names = [cell_text(row[0], table.columns[0].unit) for row in rows]
    left = min(max(map(cells, names), default=0), width * 2 // 5)
    values = [fact_text(row[1], table.columns[1].unit) if len(row) > 1 else ("", "") for row in rows]
    digits = max((cells(exact) for row, (exact, _) in zip(rows, values, strict=True) if _is_figure(row)), default=0)
    units = max((cells(short) for _, short in values), default=0)
    for index, (row, name, (exact, short)) in enumerate(zip(rows, names, values, strict=True)):
        bold = table.total is not None and index == len(rows) - 1
        name = middle(name, left)
        lead = Segment(name + " " * (left - cells(name) + GAP), BOLD if bold else DIM)
        if len(row) > 1 and _is_figure(row):
            exact = " " * (digits - cells(exact)) + exact
        rest = [cell_text(cell, column.unit) for cell, column in zip(row[2:], table.columns[2:], strict=True)]
        tail = " " * GAP + " " * (units - cells(short)) + short if short else ""
        tail += "".join(" " * GAP + each for each in rest if each)
        room = width - left - GAP
        if cells(exact) + cells(tail) <= room:
            yield trimmed([lead, Segment(exact, BOLD if bold else PLAIN), Segment(tail, DIM)])
            continue
        for piece in wrapped(f"{exact}{tail}".strip(), room):
            yield trimmed([lead, Segment(piece, BOLD if bold else PLAIN)])
            lead = Segment(" " * (left + GAP))
    if table.caption:
        yield from ([Segment(line, DIM)] for line in wrapped(printable(table.caption), width))


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
    shares: bool  # some of which have a bar
    width: int = 0
    short: bool = False
    bar: bool = False

    def wanted(self, short: bool, bar: bool) -> int:
        return self.natural[short] + (_BAR + 1 if bar and self.shares else 0)

    def least(self, short: bool, bar: bool, most: int) -> int:
        """Width when text is cut to `most` columns and numbers are whole."""
        return min(
            self.wanted(short, bar), max(most, self.rigid[short] + self.wanted(short, bar) - self.natural[short])
        )


def _field(column: Column, values: list[Cell]) -> _Field:
    title = title_text(column)
    right = is_number(column)
    forms = (False, True) if column.unit == "count" else (False,)
    texts = {short: _texts(column, values, short) for short in forms}
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
    shares = column.unit == "share" and any(map(_is_share, values))
    return _Field(column, title, right, values, texts, natural, rigid, shares)


def _is_share(cell: Cell) -> bool:
    value = cell.value if isinstance(cell, Quantity) else cell
    return isinstance(value, int | float) and value > 0


def _texts(column: Column, values: list[Cell], short: bool) -> list[str]:
    """The cells as printed; where numbers stand at the left, their digits do so below each other, signs before them."""
    texts = [cell_text(cell, column.unit, short=short) for cell in values]
    signed = [isinstance(cell, Quantity) and cell.mark != "" for cell in values]
    if is_number(column) or not any(signed):
        return texts
    bare = [isinstance(cell, int | float | Quantity) and not sign for cell, sign in zip(values, signed, strict=True)]
    return [f"  {text}" if each else text for text, each in zip(texts, bare, strict=True)]


def _label(field: _Field, names: list[str], extra: Sequence[int]) -> _Field:
    """The first field with its rows' labels, wide enough for the guides before them."""
    texts = [*names, *field.texts[False][len(names) :]]
    wide = max(cells(field.title), *(cells(text) + more for text, more in zip(texts, extra, strict=True)))
    return replace(field, texts={False: texts, True: texts}, natural={False: wide, True: wide})


def rows(table: Table, width: int) -> Iterator[Line]:
    """A header, the rows, the total, and what had to be left out."""
    below: list[Cell] = []
    if table.sentences:
        below = [row[-1] for row in table.rows]
        total = None if table.total is None else table.total[:-1]
        table = replace(
            table, columns=table.columns[:-1], rows=tuple(row[:-1] for row in table.rows), total=total
        )  # fmt: skip
    if table.title:
        yield from ([Segment(line, BOLD)] for line in wrapped(printable(table.title), width))
    if not table.columns:
        return
    every = [*table.rows, *((table.total,) if table.total is not None else ())]
    base = min(table.depths or (0,))
    levels = [depth - base for depth in table.depths or ()]
    # a deep tree gets narrower guides before names are cut, and of a deeper one the left guides are cut
    step = next((n for n in (3, 2) if n * max(levels, default=0) + _LEAST_LABEL <= width * 2 // 5), 1)
    most = max(1, (width * 2 // 5 - _LEAST_LABEL) // step)
    extra = [step * min(level, most) for level in levels] + [0] * (len(every) - len(levels))
    fields = [_field(column, [row[i] for row in every]) for i, column in enumerate(table.columns)]
    if every:
        fields[0] = _label(fields[0], labels(table), extra)
    shown, hidden = _fit(fields, width)
    if shown[0].width < shown[0].natural[False]:
        most = max(1, min(most, (shown[0].width - _LEAST_LABEL) // step))
    trunks = guides(table.depths or (), most, step)
    trunks += [""] * (len(every) - len(trunks))
    rule = Segment("─" * (sum(field.width for field in shown) + GAP * (len(shown) - 1)), DIM)
    yield joined([(_aligned(middle(field.title, field.width), field), BOLD) for field in shown])
    yield [rule]
    if not table.rows:
        yield [Segment("(no rows)", DIM)]
    for index in range(len(every)):
        is_total = index == len(table.rows)
        if is_total:
            yield [rule]
        yield _row(shown, index, trunks[index], is_total)
        if index < len(below) and below[index]:
            for line in wrapped(cell_text(below[index]), width - _INDENT):
                yield [Segment(" " * _INDENT + line, DIM)]
    if hidden:
        how = "widen or choose --columns" if table.choosable else "widen to see them"
        names = ", ".join(printable(field.column.key) if table.choosable else field.title for field in hidden)
        text = f"columns hidden at this width: {names}; {how}"
        yield from ([Segment(line, DIM)] for line in wrapped(text, width))
    if table.caption:
        yield from ([Segment(line, DIM)] for line in wrapped(printable(table.caption), width))


def _row(shown: list[_Field], index: int, trunk: str, is_total: bool) -> Line:
    pieces: list[tuple[str, Style]] = []
    for position, field in enumerate(shown):
        text = field.texts[field.short][index]
        cell = field.cells[index]
        if position == 0 and trunk:
            pieces.append((trunk, DIM))
            label = middle(text, field.width - len(trunk))
            pieces.append((label + " " * (field.width - len(trunk) - cells(label)), PLAIN))
        elif field.bar:
            value = cell.value if isinstance(cell, Quantity) else cell
            pieces.append((share_bar(value, _BAR), BAR))
            room = field.width - _BAR
            cut = middle(text, room - 1)
            pieces.append((" " * (room - cells(cut)) + cut, _style(field, cell, text, is_total)))
        else:
            pieces.append((_aligned(middle(text, field.width), field), _style(field, cell, text, is_total)))
        pieces.append((" " * GAP, PLAIN))
    return joined(pieces[:-1], gap=False)


def _style(field: _Field, cell: Cell, text: str, is_total: bool) -> Style:
    if is_total:
        return BOLD
    if text == UNKNOWN or text.startswith(("≥", "≈", "≳")):
        return DOUBT
    if (cell == 0 and field.right) or cell is False:
        return DIM
    if field.column.key == "type":
        return TYPE
    return DIM if field.column.unit == "shape" else PLAIN


def _aligned(text: str, field: _Field) -> str:
    blank = " " * (field.width - cells(text))
    return blank + text if field.right else text + blank


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
            room = width - sum(least) - GAP * (len(shown) - 1)
            if room >= 0 or len(shown) == 1:
                break
        if room >= 0 or len(shown) == 1:
            break
        # the last of those that matter least; identity, not equality: two columns may look the same
        gone = min(reversed(shown[1:]), key=lambda field: (field.column.wrong, field.column.key in _KEPT))
        shown = [field for field in shown if field is not gone]
    for field, size in zip(shown, least, strict=True):
        more = max(0, min(room, field.wanted(short, bar) - size))
        room -= more
        field.width, field.short = min(size + more, width), short
        field.bar = bar and field.shares
    kept = {id(field) for field in shown}
    return shown, [field for field in fields if id(field) not in kept]

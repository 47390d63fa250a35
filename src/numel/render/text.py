"""Numbers and names as printed: the one place where a cell becomes text.

Counts are exact digits (`25,557,032`) or short in K M B T; operations G T and bytes KiB MiB GiB are always short, with
four significant digits, so that a column of them lines up. Shares are percent. A shape is `1×3×224×224`, the shortest
form that still reads as one word in a column; a 0-d shape is `scalar`. Unknown is `?`, a lower bound starts with `≥`,
what may be more or less with `≈`, a lower bound of that with `≳`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from math import isfinite, isnan

from numel.document import Cell, Column, Quantity, Table
from numel.document.table import Unit

UNKNOWN = "?"
_TIPS = {3: ("├─ ", "└─ "), 2: ("├ ", "└ "), 1: ("├", "└")}
ROOT = "(root)"  # the empty path, as a reader sees it

_THOUSANDS = ("", "K", "M", "B", "T")
_OPERATIONS = ("", "K", "M", "G", "T", "P", "E")
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_MOST_EXACT = 10**21  # longer digit strings are neither read nor fit; Python refuses to print them from 4,300 digits on
_NUMBERS = frozenset({"count", "ops", "bytes", "share", "integer"})

# characters that take one column in every terminal: what numel itself prints; all others are asked of rich's tables
_NARROW = re.compile("[\x20-\x7e×≥≈≳–…✓│├└─⋯█▉▊▋▌▍▎▏]*")


def cell_text(cell: Cell, unit: Unit = "text", *, short: bool = False) -> str:
    """A cell as it is printed under a column of `unit`. `short` writes counts in K M B instead of all digits.

    >>> [cell_text(25557032, "count"), cell_text(25557032, "count", short=True), cell_text(4089184256, "ops")]
    ['25,557,032', '25.56 M', '4.089 G']
    >>> [cell_text(None), cell_text(0, "bytes"), cell_text(Quantity(1536, "bytes", at_least=True))]
    ['?', '0', '≥ 1.500 KiB']
    >>> [cell_text((1, 3, 224, 224)), cell_text(0.476, "share"), cell_text(True, "flag")]
    ['1×3×224×224', '47.6 %', '✓']
    """
    match cell:
        case None:
            return UNKNOWN
        case str():
            return printable(cell) or (ROOT if unit == "path" else "")
        case bool():
            return "✓" if cell else "–"
        case tuple():
            return shape_text(cell)
        case Quantity(value, own):
            return UNKNOWN if value is None else f"{cell.mark} {_number_text(value, own, short)}".lstrip()
        case _:
            return _number_text(cell, unit, short)


def fact_text(cell: Cell, unit: Unit = "text") -> tuple[str, str]:
    """A cell of a facts list: all digits, and the short form with its unit where that says more.

    >>> fact_text(Quantity(102228128, "bytes")), fact_text("meta")
    (('102,228,128', '97.49 MiB'), ('meta', ''))
    """
    mark, value = "", cell
    if isinstance(cell, Quantity):
        value, unit, mark = cell.value, cell.unit, cell.mark
    if not isinstance(value, int) or isinstance(value, bool) or unit not in ("count", "ops", "bytes"):
        return cell_text(cell, unit), ""
    if abs(value) >= _MOST_EXACT:
        return cell_text(cell, unit, short=True), ""
    short = _number_text(value, unit, short=True)
    exact = f"{value:,}"
    if unit == "bytes" and abs(value) < 1024:
        short = "B"
    return f"{mark} {exact}".lstrip(), "" if short == exact else short


def is_number(column: Column) -> bool:
    """Whether the column holds numbers, which stand flush right."""
    return column.unit in _NUMBERS


def title_text(column: Column) -> str:
    """The title, marked where the numbers below are not exact: `≈ peak`, `role (guessed)`."""
    title = printable(column.title)
    match column.basis:
        case "estimate":
            return f"≈ {title}"
        case "guess":
            return f"{title} (guessed)"
        case _:
            return title


def shape_text(shape: Sequence[int]) -> str:
    """A shape in one word: `64×3×7×7`; no dimension at all is `scalar`."""
    return "×".join(map(str, shape)) if shape else "scalar"


def share_text(value: float) -> str:
    """A share of one as percent; what would round to nothing is `<0.1 %`.

    >>> share_text(1.0), share_text(0.0004), share_text(0.0)
    ('100.0 %', '<0.1 %', '0 %')
    """
    if value == 0:
        return "0 %"
    if 0 < value < 0.0005:
        return "<0.1 %"
    return f"{value * 100:.1f} %"


def _number_text(value: float, unit: Unit, short: bool) -> str:
    if isinstance(value, float):
        if not isfinite(value):
            return UNKNOWN if isnan(value) else f"{value}"
        if value.is_integer() and unit != "share":
            value = int(value)
    match unit:
        case "ops":
            return _scaled(value, 1000, _OPERATIONS)
        case "bytes":
            return _scaled(value, 1024, _BYTES)
        case "share":
            return share_text(value)
        case "count" if short:
            return _scaled(value, 1000, _THOUSANDS)
        case _:
            return _exact(value)


def _exact(value: float) -> str:
    if abs(value) >= _MOST_EXACT:
        return f"{Decimal(value):.3e}"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{value:,.1f}"
    text = f"{value:.4g}"
    return text if not text.lstrip("-").isdigit() else f"{value:#.4g}".rstrip(".")  # about one is 1.000, and not 1


def _scaled(value: float, base: int, suffixes: tuple[str, ...]) -> str:
    if value == 0:
        return "0"
    size, power = abs(value), 0
    while size >= base ** (power + 1) and power < len(suffixes) - 1:
        power += 1
    if size >= base ** len(suffixes):
        return f"{Decimal(value):.3e} {suffixes[0]}".rstrip()
    if power == 0 and isinstance(value, int):
        return f"{value} {suffixes[0]}".rstrip()
    scaled = float(f"{size / base**power:.4g}")
    if scaled >= base and power < len(suffixes) - 1:  # 999.96 K rounds to 1.000 M
        scaled, power = scaled / base, power + 1
    decimals = 3 if scaled < 10 else 2 if scaled < 100 else 1 if scaled < 1000 else 0
    return f"{'-' if value < 0 else ''}{scaled:.{decimals}f} {suffixes[power]}".rstrip()


def printable(text: str) -> str:
    """`text` on one line, with what a terminal would obey (controls, newlines, bidi marks) shown as its escape.

    >>> print(printable("a\\x1b[31m\\nb"))
    a\\x1b[31m\\nb
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def cells(text: str) -> int:
    """Terminal columns that printable `text` takes: wide East Asian characters take two, combining ones none."""
    if text.isascii() or _NARROW.fullmatch(text):
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def middle(name: str, width: int) -> str:
    """`name` in at most `width` columns: cut in the middle, since the last part is what tells siblings apart.

    >>> middle("model.layers.11.self_attn.q_proj", 20)
    'model.l…_attn.q_proj'
    """
    if cells(name) <= width:
        return name
    if width < 2:
        return "…"[:width]
    last = len(name) - name.rfind(".") - 1
    tail = min(max(last + 1, (width - 1) * 2 // 3), width - 1)
    if width - 1 - tail < 3 < width // 2:  # a long last part leaves the first letters too
        tail = width - 4
    head = width - 1 - tail
    while True:
        cut = f"{name[:head]}…{name[len(name) - tail :]}"
        if cells(cut) <= width or head + tail == 0:
            return cut
        if head and head * 2 >= tail:
            head -= 1
        else:
            tail -= 1


def labels(table: Table) -> list[str]:
    """The first cell of each row as it is printed: in a tree of paths, what the row above it does not say.

    >>> columns = (Column("path", "layer", "path"),)
    >>> labels(Table("t", columns, (("",), ("enc",), ("enc.0",), ("enc.0.fc",)), depths=(0, 1, 2, 3)))
    ['(root)', 'enc', '0', 'fc']
    """
    column = table.columns[0]
    texts = [cell_text(row[0], column.unit) for row in table.rows]
    if table.depths is None or column.unit != "path":
        return texts
    base = min(table.depths, default=0)
    above: list[str] = []
    for index, (row, depth) in enumerate(zip(table.rows, table.depths, strict=True)):
        path = row[0] if isinstance(row[0], str) else ""
        del above[depth - base :]
        parent = above[-1] if above else ""
        if parent and path.startswith(parent + "."):
            texts[index] = printable(path[len(parent) + 1 :])
        above.append(path)
    return texts


def guides(depths: Sequence[int], most: int, step: int = 3) -> list[str]:
    """What stands before each label of a tree in preorder: `step` columns a level (3, 2 or 1), at most `most` levels.

    Levels beyond are cut at the left and marked `⋯`. The rows of the least depth have no guide.

    >>> guides((0, 1, 2, 1), 4), guides((0, 1, 2, 1), 4, step=1)
    (['', '├─ ', '│  └─ ', '└─ '], ['', '├', '│└', '└'])
    """
    past, gap = "│  "[:step], "   "[:step]
    dots, (fork, corner) = "⋯  "[:step], _TIPS[step]
    base = min(depths, default=0)
    ends = [False] * len(depths)
    later: list[bool] = []  # by level: a sibling follows further down
    for i in range(len(depths) - 1, -1, -1):
        level = depths[i] - base
        del later[level + 1 :]
        later.extend([False] * (level + 1 - len(later)))
        ends[i] = not later[level]
        later[level] = True
    drawn: list[str] = []
    open_levels: list[bool] = []
    for depth, ends_here in zip(depths, ends, strict=True):
        level = depth - base
        if level == 0:
            open_levels.clear()
            drawn.append("")
            continue
        del open_levels[level - 1 :]
        open_levels.extend([False] * (level - 1 - len(open_levels)))
        tip = corner if ends_here else fork
        if level > most:
            kept = open_levels[level - most + 1 :] if most > 2 else []
            drawn.append(dots + "".join(past if each else gap for each in kept) + tip if most > 1 else tip)
        else:
            drawn.append("".join(past if each else gap for each in open_levels) + tip)
        open_levels.append(not ends_here)
    return drawn

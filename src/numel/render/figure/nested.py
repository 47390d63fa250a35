"""Trees as areas: a treemap of nested rectangles, an icicle of rows, a sunburst of rings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin
from typing import TYPE_CHECKING, Any

from numel.document import Chart
from numel.document.table import Unit
from numel.extras import need
from numel.render.chart_tables import marks, quantity, remarks
from numel.render.charts import Branch, axis_title, branches, number, words
from numel.render.figure.style import (
    OTHER,
    PALETTE,
    SMALL,
    Ramp,
    Sheet,
    drawable,
    fitted,
    fonts,
    inches,
    ink_on,
)
from numel.render.text import cell_text, is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 160
_LEVELS = {"treemap": 8, "icicle": 4, "sunburst": 4}  # a treemap draws as many as there is room for
_HEAD = 0.115  # inches of a treemap's title of what holds others
_GAP = 0.012
_LEAST = 6  # characters that tell something of a longer name
_LETTERS = SMALL * 1.15 / 72


@dataclass(slots=True)
class _Part:
    """One part with what is in it; `rest` is what it has beyond that, its own."""

    branch: Branch
    below: list[_Part]

    @property
    def size(self) -> float:
        """With all that is below; of sums that do not add up the larger."""
        return max(self.branch.value, sum(part.size for part in self.below))


def squarified(sizes: Sequence[float], x: float, y: float, width: float, height: float) -> list[tuple[float, ...]]:
    """(x, y, width, height) of rectangles whose areas are as `sizes`, the largest first, near to squares: rows along
    the shorter side, each as long as its worst rectangle gets better (Bruls, Huizing and van Wijk, 2000).

    >>> squarified([3, 1], 0, 0, 4, 1)
    [(0, 0.0, 3.0, 1.0), (3.0, 0.0, 1.0, 1.0)]
    """
    total = sum(sizes)
    if not total or width <= 0 or height <= 0:
        return [(x, y, 0.0, 0.0)] * len(sizes)
    areas = [size * width * height / total for size in sizes]
    placed: list[tuple[float, ...]] = []
    start = 0
    while start < len(areas):
        side = min(width, height)
        end, row = start + 1, areas[start]
        while end < len(areas) and _worst(areas[start : end + 1], row + areas[end], side) <= _worst(
            areas[start:end], row, side
        ):
            row += areas[end]
            end += 1
        thick = row / side if side else 0.0
        along = 0.0
        for area in areas[start:end]:
            length = area / thick if thick else 0.0
            placed.append((x, y + along, thick, length) if width >= height else (x + along, y, length, thick))
            along += length
        if width >= height:
            x, width = x + thick, max(0.0, width - thick)
        else:
            y, height = y + thick, max(0.0, height - thick)
        start = end
    return placed


def _worst(areas: Sequence[float], total: float, side: float) -> float:
    """The largest ratio of sides in a row of these areas."""
    least, most = min(areas), max(areas)
    if not least or not total:
        return float("inf")
    return max(side * side * most / (total * total), total * total / (side * side * least))


def draw(chart: Chart, sheet: Sheet) -> None:
    """The tree with the sizes of the first of `y`, in the colours of the first of `color`."""
    parts = [part for part in branches(chart, _MOST) if part.value > 0]
    if not parts:
        sheet.nothing()
        return
    base = parts[0].depth
    kept = [part for part in parts if part.depth - base <= _LEVELS[chart.kind] + _chain(parts)]
    roots = _tree(kept)
    paint = _Paint(chart, kept)
    unit = chart.column(chart.y[0]).unit
    total = cell_text(quantity(sum(root.size for root in roots), unit, parts[0].sign), short=True)
    said = f"{axis_title(chart, chart.y[0], False)}: {total} in all; {paint.said}"
    sheet.caption([said, *remarks(chart), *marks(chart)])
    sheet.legend(paint.legend)
    axes = sheet.axes(0.0, 0.06)
    axes.set_axis_off()
    wide, high = sheet.width - 0.12, sheet.top - sheet.bottom
    axes.set_xlim(0, wide)
    axes.set_ylim(high, 0)
    if chart.kind == "treemap":
        _treemap(axes, roots, paint, wide, high, unit)
    elif chart.kind == "icicle":
        _icicle(axes, roots, paint, wide, high, unit)
    else:
        _sunburst(axes, roots, paint, wide, high)


def _chain(parts: Sequence[Branch]) -> int:
    """How many levels hold but one part, as a root that only wraps: they tell nothing, and do not count."""
    counts: dict[int, int] = {}
    for part in parts:
        counts[part.depth] = counts.get(part.depth, 0) + 1
    levels = sorted(counts)
    return next((i for i, level in enumerate(levels) if counts[level] > 1), len(levels)) - 1 if levels else 0


def _tree(parts: Sequence[Branch]) -> list[_Part]:
    roots: list[_Part] = []
    above: list[_Part] = []
    for branch in parts:
        part = _Part(branch, [])
        while above and above[-1].branch.depth >= branch.depth:
            above.pop()
        (above[-1].below if above else roots).append(part)
        above.append(part)
    return roots


class _Paint:
    """A colour for each part, and what is said of it."""

    def __init__(self, chart: Chart, parts: Sequence[Branch]) -> None:
        self.legend: list[tuple[str, str, str]] = []
        self.said = "colours by the part of the top that they are in"
        self._by_row: dict[int, str] = {}
        self._tops: dict[str, str] = {}
        if chart.color and is_number(chart.column(chart.color[0])):
            self._numbers(chart, parts)
        elif chart.color:
            self._words(chart, parts)

    def of(self, part: _Part, top: int) -> str:
        """The colour of a part in the `top`th part below the root; of folded ones grey."""
        if part.branch.row is None:
            return OTHER
        return self._by_row.get(part.branch.row, PALETTE[top % 7] if not self._by_row else "#e5e9ee")

    def _numbers(self, chart: Chart, parts: Sequence[Branch]) -> None:
        index = chart.index(chart.color[0])
        values = {part.row: number(chart.data.rows[part.row][index]) for part in parts if part.row is not None}
        ramp = Ramp(chart, list(values.values()))
        self._by_row = {row: color for row, value in values.items() if (color := ramp.of(value)) is not None}
        self.said = ramp.said

    def _words(self, chart: Chart, parts: Sequence[Branch]) -> None:
        every = words(chart, chart.color[0])
        deepest = _leaves(parts)
        sizes: dict[str, float] = {}
        for part in deepest:
            if part.row is not None:
                sizes[every[part.row]] = sizes.get(every[part.row], 0.0) + part.value
        order = sorted(sizes, key=lambda word: -sizes[word])
        named = order if len(order) <= 7 else order[:6]
        colors = {word: PALETTE[i] for i, word in enumerate(named)}
        for part in deepest:
            if part.row is not None:
                self._by_row[part.row] = colors.get(every[part.row], PALETTE[6])
        self.legend = [(word or "(none)", colors[word], "") for word in named]
        if len(order) > 7:
            self.legend.append((f"{len(order) - 6} other kinds", PALETTE[6], ""))
        self.said = f"colours by {axis_title(chart, chart.color[0], False)}"


def _leaves(parts: Sequence[Branch]) -> list[Branch]:
    following = [*parts[1:], None]
    return [part for part, after in zip(parts, following, strict=True) if after is None or after.depth <= part.depth]


def _treemap(axes: Axes, roots: Sequence[_Part], paint: _Paint, wide: float, high: float, unit: Unit) -> None:
    rectangle = need("matplotlib.patches", extra="plot").Rectangle
    pending = [(part, rect, i, 0) for i, (part, rect) in enumerate(_laid(roots, 0.0, 0.0, wide, high))]
    while pending:
        part, (x, y, w, h), top, level = pending.pop()
        if w < 0.01 or h < 0.01:
            continue
        color = paint.of(part, top)
        axes.add_patch(rectangle((x, y), w, h, facecolor=color, edgecolor="white", linewidth=0.5))
        inner = (x + _GAP, y + _HEAD, w - 2 * _GAP, h - _HEAD - _GAP)
        if part.below and inner[2] > 0.08 and inner[3] > 0.06:
            _write(axes, part, x, y, w, _HEAD, color, unit, lines=1)
            for i, (child, rect) in enumerate(_laid(_with_own(part), *inner)):
                pending.append((child, rect, i if level == 0 and len(roots) == 1 else top, level + 1))
        else:
            _write(axes, part, x, y, w, h, color, unit, lines=2)


def _with_own(part: _Part) -> list[_Part]:
    """What is in it, and what it has itself, as one more."""
    own = part.size - sum(child.size for child in part.below)
    if own <= 0:
        return part.below
    branch = Branch("itself", part.branch.path, part.branch.depth + 1, own, "", None)
    return [*part.below, _Part(branch, [])]


def _laid(parts: Sequence[_Part], x: float, y: float, w: float, h: float) -> list[tuple[_Part, tuple[float, ...]]]:
    largest = sorted(parts, key=lambda part: (-part.size, part.branch.row is None))
    return list(zip(largest, squarified([part.size for part in largest], x, y, w, h), strict=True))


def _write(
    axes: Axes, part: _Part, x: float, y: float, w: float, h: float, color: str, unit: Unit, *, lines: int
) -> None:
    """Its name, and below its size, where there is room."""
    room = w - 0.06
    name = fitted(drawable(part.branch.name), room, SMALL)
    if h < _LETTERS or len(name) < min(len(part.branch.name), _LEAST):
        return
    ink = ink_on(color)
    style: dict[str, Any] = {"fontsize": SMALL, "color": ink, "va": "top", "parse_math": False, "family": fonts()}
    axes.text(x + 0.03, y + 0.015, name, **style)
    size = cell_text(quantity(part.branch.value, unit, part.branch.sign), short=True)
    if lines == 2 and h >= 2 * _LETTERS + 0.03 and inches(size, SMALL) <= room:
        axes.text(x + 0.03, y + 0.015 + _LETTERS, size, **style)


def _icicle(axes: Axes, roots: Sequence[_Part], paint: _Paint, wide: float, high: float, unit: Unit) -> None:
    rectangle = need("matplotlib.patches", extra="plot").Rectangle
    levels = _depth(roots)
    tall = high / levels
    whole_size = sum(part.size for part in roots) or 1.0
    pending = []
    x = 0.0
    for i, part in enumerate(roots):
        pending.append((part, x, wide * part.size / whole_size, 0, i))
        x += wide * part.size / whole_size
    while pending:
        part, x, w, level, top = pending.pop()
        if w < 0.008:
            continue
        color = paint.of(part, top)
        axes.add_patch(rectangle((x, level * tall), w, tall, facecolor=color, edgecolor="white", linewidth=0.5))
        _write(axes, part, x, level * tall, w, tall, color, unit, lines=2)
        for i, child in enumerate(part.below):
            width = w * child.size / part.size
            pending.append((child, x, width, level + 1, i if level == 0 and len(roots) == 1 else top))
            x += width


def _depth(roots: Sequence[_Part]) -> int:
    deepest, pending = 1, [(part, 1) for part in roots]
    while pending:
        part, level = pending.pop()
        deepest = max(deepest, level)
        pending.extend((child, level + 1) for child in part.below)
    return deepest


def _sunburst(axes: Axes, roots: Sequence[_Part], paint: _Paint, wide: float, high: float) -> None:
    wedge = need("matplotlib.patches", extra="plot").Wedge
    radius = min(wide, high) / 2
    ring = radius / (_depth(roots) + (len(roots) > 1))
    x0, y0 = wide / 2, high / 2
    total = sum(part.size for part in roots) or 1.0
    pending = []
    start = 0.0
    for i, part in enumerate(roots):
        pending.append((part, start, 360 * part.size / total, int(len(roots) > 1), i))
        start += 360 * part.size / total
    while pending:
        part, start, sweep, level, top = pending.pop()
        if sweep < 0.3:
            continue
        color = paint.of(part, top)
        # the figure's y axis points down here, so angles go clockwise from the top
        outer = ring * (level + 1)
        axes.add_patch(wedge((x0, y0), outer, start - 90, start + sweep - 90, width=ring if level else None,
                             facecolor=color, edgecolor="white", linewidth=0.5))  # fmt: skip
        name = drawable(part.branch.name)
        at = _room(inches(name, SMALL), start, sweep, outer - ring if level else 0.0, outer)
        if at is not None:
            axes.text(x0 + at[0], y0 + at[1], name, fontsize=SMALL, color=ink_on(color), ha="center", va="center",
                      parse_math=False, family=fonts())  # fmt: skip
        for i, child in enumerate(part.below):
            width = sweep * child.size / part.size
            pending.append((child, start, width, level + 1, i if level == 0 and len(roots) == 1 else top))
            start += width


def _room(wide: float, start: float, sweep: float, inner: float, outer: float) -> tuple[float, float] | None:
    """Where upright letters, so wide, lie whole in a piece of a ring: in its middle, or nowhere. Degrees, clockwise
    from the top."""
    if not inner:
        return (0.0, 0.0) if wide <= outer * 1.8 else None
    middle = (start + sweep / 2 - 90) * pi / 180
    x, y = (inner + outer) / 2 * cos(middle), (inner + outer) / 2 * sin(middle)
    for dx in (-wide / 2, 0.0, wide / 2):
        for dy in (-_LETTERS / 2, _LETTERS / 2):
            radius = hypot(x + dx, y + dy)
            aside = (atan2(y + dy, x + dx) - middle + pi) % (2 * pi) - pi
            if not inner <= radius <= outer or abs(aside) > sweep * pi / 360:
                return None
    return x, y

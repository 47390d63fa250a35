"""Points with the names of those that matter, and cells by how much is in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from numel.document import Chart
from numel.extras import need
from numel.render.chart_tables import marks, remarks, whole
from numel.render.charts import axis_title, heads, numbers, words
from numel.render.figure.style import (
    INK,
    LINE,
    PALETTE,
    SIZE,
    SMALL,
    SOFT,
    Ramp,
    Sheet,
    drawable,
    fonts,
    inches,
    ink_on,
    names,
    scale,
)
from numel.render.text import cell_text, title_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_NAMED = 8
_MOST_CELLS = 60  # down and across
_CELL = 0.17


def scatter(chart: Chart, sheet: Sheet) -> None:
    """A point for each row that has both numbers; a shape as well as a colour for each kind."""
    xs, ys = numbers(chart, chart.x), numbers(chart, chart.y[0])
    kinds = words(chart, chart.color[0]) if chart.color else [""] * len(xs)
    points = [(x, y, i) for i, (x, y) in enumerate(zip(xs, ys, strict=True)) if x is not None and y is not None]
    left_out = len(xs) - len(points)
    sheet.caption([*remarks(chart), f"{left_out} without both numbers are not drawn" if left_out else ""])
    counts: dict[str, int] = {}
    for _, _, i in points:
        counts[kinds[i]] = counts.get(kinds[i], 0) + 1
    order = sorted(counts, key=lambda kind: -counts[kind])
    if len(order) > 1:
        legend = [(kind, PALETTE[s % 7], "") for s, kind in enumerate(order[:7])]
        sheet.legend(legend if len(order) <= 7 else [*legend[:6], (f"{len(order) - 6} others", PALETTE[6], "")])
    if not points:
        sheet.nothing()
        return
    axes = sheet.axes(0.5, 0.14, below=0.34)
    for s, kind in enumerate(order):
        mine = [(x, y) for x, y, i in points if kinds[i] == kind]
        axes.plot([x for x, _ in mine], [y for _, y in mine], linestyle="", marker=_MARKERS[min(s, 6)], markersize=3.5,
                  color=PALETTE[min(s, 6)], markeredgecolor=INK, markeredgewidth=0.3, alpha=0.85)  # fmt: skip
    logs = [scale(axes, "x", [x for x, _, _ in points], chart, chart.x),
            scale(axes, "y", [y for _, y, _ in points], chart, chart.y[0])]  # fmt: skip
    axes.grid(color=LINE, linewidth=0.4)
    axes.set_axisbelow(True)
    axes.set_xlabel(axis_title(chart, chart.x, logs[0]), fontsize=SIZE, color=SOFT, labelpad=2, parse_math=False)
    axes.set_ylabel(axis_title(chart, chart.y[0], logs[1]), fontsize=SIZE, color=SOFT, labelpad=2, parse_math=False)
    if chart.label:
        _name(axes, sheet, chart, points)


def _name(axes: Axes, sheet: Sheet, chart: Chart, points: Sequence[tuple[float, float, int]]) -> None:
    """Names of the largest, each where it covers neither a point nor another name; of equal points the first."""
    figure = sheet.figure
    box = axes.get_position()
    wide, high = box.width * sheet.width, box.height * sheet.whole
    place = axes.transData + axes.transAxes.inverted()
    spots: dict[tuple[float, float], list[int]] = {}
    for x, y, i in points:
        spots.setdefault((x, y), []).append(i)
    at = {spot: (float(u) * wide, float(v) * high) for spot in spots for u, v in (place.transform(spot),)}
    taken = [(u - 0.03, v - 0.03, u + 0.03, v + 0.03) for u, v in at.values()]
    every = words(chart, chart.label)
    largest = sorted(spots, key=lambda spot: (-spot[1], -spot[0]))[: _NAMED * 2]
    texts = names([every[spots[spot][0]] for spot in largest], 1.2, SMALL)
    done = 0
    for spot, name in zip(largest, texts, strict=True):
        more = len(spots[spot]) - 1
        text = f"{name} +{more}" if more else name
        size, tall = inches(text, SMALL), SMALL * 1.15 / 72
        u, v = at[spot]
        for dx, dy in ((0.05, -tall / 2), (-0.05 - size, -tall / 2), (-size / 2, 0.05), (-size / 2, -0.05 - tall)):
            rect = (u + dx, v + dy, u + dx + size, v + dy + tall)
            inside = rect[0] >= 0 and rect[1] >= 0 and rect[2] <= wide and rect[3] <= high
            if inside and not any(_meet(rect, other) for other in taken):
                taken.append(rect)
                x, y = (box.x0 * sheet.width + rect[0]), (box.y0 * sheet.whole + rect[1])
                figure.text(x / sheet.width, y / sheet.whole, text, fontsize=SMALL, color=INK, va="bottom", ha="left",
                            parse_math=False, family=fonts())  # fmt: skip
                done += 1
                break
        if done == _NAMED:
            break


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def height(chart: Chart) -> float:
    """Inches that a heatmap takes."""
    down = len(dict.fromkeys(words(chart, chart.y[0])))
    return 1.25 + _CELL * min(down, _MOST_CELLS)


def heatmap(chart: Chart, sheet: Sheet) -> None:
    """A cell for each pair of names, with its number where there is room for all of them; empty where there is none."""
    across, down = words(chart, chart.x), words(chart, chart.y[0])
    values = numbers(chart, chart.color[0])
    columns, rows = heads(chart), list(dict.fromkeys(down))
    hidden = max(0, len(columns) - _MOST_CELLS) + max(0, len(rows) - _MOST_CELLS)
    columns, rows = columns[:_MOST_CELLS], rows[:_MOST_CELLS]
    ramp = Ramp(chart, values)
    left_out = f"{hidden} rows or columns are not drawn" if hidden else ""
    sheet.caption([*remarks(chart), ramp.said, left_out, *marks(chart)])
    shown = names(rows, sheet.width * 0.34)
    left = max(inches(name, SIZE) for name in shown) + 0.08
    axes = sheet.axes(left, 0.04, below=0.34)
    rectangle = need("matplotlib.patches", extra="plot").Rectangle
    unit = chart.column(chart.color[0]).unit
    texts = {(a, d): cell_text(whole(v), unit, short=True) for a, d, v in zip(across, down, values, strict=True)}
    room = (sheet.width - left - 0.2) / len(columns) - 0.04
    written = all(inches(text, SMALL) <= room for text in texts.values())
    for a, d, value in zip(across, down, values, strict=True):
        if a not in columns or d not in rows:
            continue
        x, y = columns.index(a), rows.index(d)
        color = ramp.of(value) or "#ffffff"
        axes.add_patch(rectangle((x + 0.03, y + 0.05), 0.94, 0.9, facecolor=color, edgecolor=LINE, linewidth=0.3))
        if written:
            axes.text(x + 0.5, y + 0.5, texts[a, d], fontsize=SMALL, color=ink_on(color), ha="center", va="center",
                      parse_math=False, family=fonts())  # fmt: skip
    axes.set_xlim(0, len(columns))
    axes.set_ylim(len(rows), 0)
    axes.set_yticks([i + 0.5 for i in range(len(rows))])
    axes.set_yticklabels(shown, parse_math=False, family=fonts())
    step = -(-len(columns) // min(len(columns), 8))
    places = list(range(0, len(columns), step))
    below = names([columns[i] for i in places], (sheet.width - left - 0.2) / len(places) - 0.06, SIZE)
    axes.set_xticks([i + 0.5 for i in places])
    axes.set_xticklabels(below, parse_math=False, family=fonts())
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    title = drawable(title_text(chart.column(chart.x)))
    axes.set_xlabel(title, fontsize=SIZE, color=SOFT, labelpad=2, parse_math=False, family=fonts())

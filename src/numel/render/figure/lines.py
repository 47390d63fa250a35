"""Lines, areas that lie on each other, and the timeline, which has a step for each operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from numel.document import Chart
from numel.render.chart_tables import marks, remarks
from numel.render.charts import alone, axis_title, logarithmic, numbers, peaks, words
from numel.render.figure.style import (
    INK,
    LINE,
    PALETTE,
    SIZE,
    SMALL,
    SOFT,
    Sheet,
    drawable,
    fitted,
    fonts,
    inches,
    names,
    scale,
)
from numel.render.text import is_number, title_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 1200  # places across; more are not told apart on a column of a paper
_STYLES = ("-", "--", ":", "-.")


def draw(chart: Chart, sheet: Sheet) -> None:
    """One line for each column of `y`, or areas that add up; what is pointed out is named at its place."""
    stacked = chart.kind != "line"
    series = [numbers(chart, key) for key in chart.y]
    kept = _thinned(series, stacked, [mark.row for mark in chart.marks])
    xs = numbers(chart, chart.x)
    numeric = is_number(chart.column(chart.x)) and all(x is not None for x in xs)
    at = [float(xs[i] or 0.0) if numeric else float(i) for i in kept]
    sheet.caption(remarks(chart))
    if len(chart.y) > 1:
        titles = [title_text(chart.column(key)) for key in chart.y]
        sheet.legend([(title, PALETTE[s % 7], "") for s, title in enumerate(titles)])
    axes = sheet.axes(0.56, 0.12, below=0.34)
    sums = [sum(values[i] or 0.0 for values in series) for i in kept]
    if stacked:
        _areas(axes, chart, at, [[values[i] or 0.0 for i in kept] for values in series])
        log = scale(axes, "y", [0.0, *sums], chart, chart.y[0], log=False, zero=True)
    else:
        every = [values[i] for values in series for i in kept]
        for s, values in enumerate(series):
            # at a step that only another line has nothing is missing
            held = [(x, values[i]) for x, i in zip(at, kept, strict=True) if not numeric or values[i] is not None]
            shown = [float("nan") if value is None else value for _, value in held]
            dots = list(range(len(held))) if len(at) < 30 else alone([value for _, value in held])
            axes.plot([x for x, _ in held], shown, color=PALETTE[(s + 4) % 7], linewidth=0.9,
                      linestyle=_STYLES[(s // 7) % 4], marker=".", markersize=3, markevery=dots)  # fmt: skip
        log = scale(axes, "y", every, chart, chart.y[0], log=logarithmic(every), zero=not logarithmic(every))
    if numeric:
        scale(axes, "x", at, chart, chart.x, log=False)
        if at and at[0] != at[-1]:
            axes.set_xlim(at[0], at[-1])
    else:
        _named(axes, sheet, chart, kept)
    axes.grid(axis="y", color=LINE, linewidth=0.4)
    axes.set_axisbelow(True)
    title = title_text(chart.column(chart.x))
    axes.set_xlabel(title, fontsize=SIZE, color=SOFT, labelpad=2, parse_math=False, family=fonts())
    label = axis_title(chart, chart.y[0], log) if len(chart.y) == 1 else ("log scale" if log else "")
    axes.set_ylabel(label, fontsize=SIZE, color=SOFT, labelpad=2, parse_math=False, family=fonts())
    _marks(axes, sheet, chart, series, xs if numeric else [float(i) for i in range(len(xs))], stacked, log)


def _areas(axes: Axes, chart: Chart, at: list[float], series: list[list[float]]) -> None:
    below = [0.0] * len(at)
    for s, values in enumerate(series):
        above = [low + value for low, value in zip(below, values, strict=True)]
        axes.fill_between(at, below, above, color=PALETTE[s % 7], linewidth=0.2, edgecolor="white",
                          step="post" if chart.kind == "timeline" else None)  # fmt: skip
        below = above
    if len(at) == 1:
        axes.plot(at, below, marker="o", markersize=3, color=INK)


def _thinned(series: Sequence[Sequence[float | None]], stacked: bool, marked: Sequence[int]) -> list[int]:
    """Rows to draw: of those that share a place the highest, and all that are pointed out."""
    count = len(series[0])
    if count <= _MOST:
        return list(range(count))

    rows = zip(*([value or 0.0 for value in values] for values in series), strict=True)
    heights = [sum(row) if stacked else max(row) for row in rows]
    return sorted({0, count - 1, *marked, *peaks(heights, _MOST)})


def _named(axes: Axes, sheet: Sheet, chart: Chart, kept: Sequence[int]) -> None:
    """A few of the rows' names below, none into another."""
    every = words(chart, chart.x)
    room = sheet.width - 0.8
    middle = kept[len(kept) // 2]
    places = sorted({kept[0], kept[-1]})
    if len(places) == 2 and abs((middle - kept[0]) / (kept[-1] - kept[0]) - 0.5) < 0.05:
        places.insert(1, middle)
    shown = names([every[i] for i in places], room / len(places) - 0.1, SMALL)
    axes.set_xlim((kept[0], kept[-1]) if len(kept) > 1 else (kept[0] - 1, kept[0] + 1))
    axes.set_xticks(places)
    labels = axes.set_xticklabels(shown, fontsize=SMALL, parse_math=False, family=fonts())
    if len(labels) > 1:
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")


def _marks(
    axes: Axes, sheet: Sheet, chart: Chart, series: Sequence[Sequence[float | None]], xs: Sequence[float | None],
    stacked: bool, log: bool,
) -> None:  # fmt: skip
    """What is pointed out, with its number, above the picture, and a line to its place."""
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    texts = marks(chart)[:3]
    if texts:  # room above what is drawn, a line for each
        spare = 0.13 * len(texts)
        axes.set_ylim(low, high * (high / low) ** spare if log else high + (high - low) * spare)
    for place, (mark, text) in enumerate(zip(chart.marks, texts, strict=False)):
        x = xs[mark.row]
        values = [values[mark.row] or 0.0 for values in series]
        y = sum(values) if stacked else values[0]
        if x is None:
            continue
        share = (x - left) / (right - left) if right > left else 0.5
        shown = fitted(drawable(text), sheet.width - 0.9, SMALL)
        wide = inches(shown, SMALL) / (sheet.width - 0.8)
        start = min(max(0.0, share - wide / 2), 1.0 - wide)
        axes.annotate(
            shown, (x, y), xytext=(start, 0.995 - 0.09 * place), textcoords="axes fraction", fontsize=SMALL, color=INK,
            ha="left", va="top", parse_math=False, family=fonts(), annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 1,
                        "relpos": (min(1.0, max(0.0, (share - start) / wide if wide else 0.5)), 0.0)},
        )  # fmt: skip

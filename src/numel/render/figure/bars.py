"""Bars that lie, so that names can be read; and bins of a histogram, which stand."""

from __future__ import annotations

from numel.document import Chart
from numel.render.chart_tables import marks, quantity, remarks
from numel.render.charts import axis_title, bars, logarithmic, numbers
from numel.render.figure.style import (
    HATCHES,
    INK,
    LINE,
    OTHER,
    PALETTE,
    SIZE,
    SMALL,
    SOFT,
    Sheet,
    fonts,
    inches,
    names,
    position,
    scale,
)
from numel.render.text import cell_text, title_text

_MOST = 24
_STEP, _SERIES = 0.155, 0.115  # inches of a bar, and of each of several side by side
_NAMES = 0.42  # the most of the width that names take


def height(chart: Chart) -> float:
    """Inches that it takes."""
    count = min(len(chart.data.rows), _MOST)
    each = _STEP if len(chart.y) == 1 else _SERIES * len(chart.y) + 0.06
    return 1.05 + count * each + 0.13 * bool(chart.caption) + 0.14 * (len(chart.y) > 1 or bool(chart.color))


def bar(chart: Chart, sheet: Sheet) -> None:
    """Horizontal bars with their figures; those of the folded rest are grey."""
    drawn = bars(chart, _MOST)
    every = [value for values in drawn.values for value in values]
    log = logarithmic(every)
    kinds = list(dict.fromkeys(group for group in drawn.groups if group))
    several = len(chart.y) > 1
    sheet.caption([*remarks(chart), *marks(chart)])
    if several:
        sheet.legend([(title_text(chart.column(key)), PALETTE[s % 7], HATCHES[s % 7]) for s, key in enumerate(chart.y)])
    elif kinds:
        sheet.legend([(kind, PALETTE[i % 7], HATCHES[(i // 7) % 7]) for i, kind in enumerate(kinds)])
    shown = names(drawn.names, sheet.width * _NAMES)
    units = [chart.column(key).unit for key in chart.y]
    texts = [
        [cell_text(quantity(value, unit, sign), short=True) for value, sign in zip(values, signs, strict=True)]
        for unit, values, signs in zip(units, drawn.values, drawn.signs, strict=True)
    ]
    left = max((inches(name, SIZE) for name in shown), default=0.0) + 0.06
    right = max((inches(text, SMALL) for each in texts for text in each), default=0.0) + 0.08
    axes = sheet.axes(left, right, below=0.34)
    axes.spines["left"].set_visible(False)
    size = 0.72 / len(chart.y)
    known = [value for value in every if value is not None]
    base = min((value for value in known if value > 0), default=1.0) / 2 if log else 0.0
    for s, values in enumerate(drawn.values):
        places = [i - 0.36 + size * (s + 0.5) for i in range(len(values))]
        lengths = [max(value or 0.0, base) - base if log else (value or 0.0) for value in values]
        colors = [
            OTHER if drawn.rows[i] is None else
            PALETTE[s % 7] if several or not kinds else
            PALETTE[kinds.index(drawn.groups[i]) % 7] if drawn.groups[i] else OTHER
            for i in range(len(values))
        ]  # fmt: skip
        axes.barh(places, lengths, size * 0.94, left=base, color=colors, edgecolor="white", linewidth=0.3,
                  hatch=HATCHES[s % 7] if several else "")  # fmt: skip
    scale(axes, "x", every, chart, chart.y[0], log=log, zero=True)
    low, high = axes.get_xlim()
    for s, values in enumerate(drawn.values):
        for i, value in enumerate(values):
            end = low if value is None or (log and value <= 0) else max(value, low) if value > 0 or log else 0.0
            where = position(end, low, high, log)
            axes.annotate(
                texts[s][i], (where, i - 0.36 + size * (s + 0.5)), xycoords=axes.get_yaxis_transform(),
                xytext=(2, 0), textcoords="offset points", va="center", ha="left", fontsize=SMALL, color=INK,
                parse_math=False, family=fonts(), annotation_clip=False,
            )  # fmt: skip
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(range(len(shown)))
    axes.set_yticklabels(shown, parse_math=False, family=fonts())
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=LINE, linewidth=0.4)
    axes.set_axisbelow(True)
    title = ("log scale" if log else "") if several else axis_title(chart, chart.y[0], log)
    axes.set_xlabel(title, fontsize=SIZE, color=SOFT, labelpad=2, parse_math=False, family=fonts())


def histogram(chart: Chart, sheet: Sheet) -> None:
    """Bins from where each begins to where it ends."""
    lows, highs, counts = numbers(chart, chart.x), numbers(chart, chart.x_end), numbers(chart, chart.y[0])
    sheet.caption([*remarks(chart), *marks(chart)])
    log = logarithmic(counts)
    axes = sheet.axes(0.46, 0.1, below=0.34)
    base = min((count for count in counts if count), default=1.0) / 2 if log else 0.0
    known = [
        (low, high, count) for low, high, count in zip(lows, highs, counts, strict=True)
        if low is not None and high is not None and count is not None
    ]  # fmt: skip
    tops = [max(count, base) - base for _, _, count in known]
    axes.bar([low for low, _, _ in known], tops, [high - low for low, high, _ in known], bottom=base, align="edge",
             color=PALETTE[0], edgecolor="white", linewidth=0.2)  # fmt: skip
    scale(axes, "y", counts, chart, chart.y[0], log=log, zero=True)
    scale(axes, "x", [*lows, *highs], chart, chart.x, log=False)
    axes.grid(axis="y", color=LINE, linewidth=0.4)
    axes.set_axisbelow(True)
    axes.set_xlabel(title_text(chart.column(chart.x)), fontsize=SIZE, color=SOFT, labelpad=2, parse_math=False)
    axes.set_ylabel(axis_title(chart, chart.y[0], log), fontsize=SIZE, color=SOFT, labelpad=2, parse_math=False)

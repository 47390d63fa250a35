"""Charts in characters: bars, a tree of shares, plots of blocks and points; each says its scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log10

from rich.segment import Segment

from numel.document import Chart
from numel.document.table import Unit
from numel.render.chart_tables import marks, pivot, quantity, remarks, whole
from numel.render.charts import axis_title, bars, branches, logarithmic, numbers, shortened, words
from numel.render.terminal import tables
from numel.render.terminal.pieces import BAR, BOLD, DIM, PLAIN, Line, lines_of, share_bar, trimmed
from numel.render.text import cell_text, cells, guides, is_number, middle, title_text

_MOST_BARS = 24
_MOST_PARTS = 24
_ROWS = 8  # of a plot
_NAMED = 5  # points of a scatter
_BLOCKS = " ▁▂▃▄▅▆▇█"
_LEAST_BAR = 6


def picture(chart: Chart, width: int) -> Iterator[Line]:
    """The chart in at most `width` columns."""
    yield from lines_of(chart.title, width, BOLD)
    if not chart.data.rows:
        yield [Segment("(nothing to draw)", DIM)]
        return
    match chart.kind:
        case "bar":
            yield from _bars(chart, width)
        case "histogram":
            yield from _histogram(chart, width)
        case "treemap" | "icicle" | "sunburst":
            yield from _tree(chart, width)
        case "heatmap":
            yield from tables.rows(pivot(chart), width)
        case "scatter":
            yield from _scatter(chart, width)
        case _:
            yield from _plots(chart, width)
    for text in (*remarks(chart), *marks(chart)):
        yield from lines_of(text, width, DIM)


def _bars(chart: Chart, width: int) -> Iterator[Line]:
    drawn = bars(chart, _MOST_BARS)
    every = [value for values in drawn.values for value in values]
    log = logarithmic(every)
    scale = _Scale([value for value in every if value is not None], log)
    several = len(chart.y) > 1
    names: list[str] = []
    figures: list[tuple[float | None, str]] = []
    for i, name in enumerate(drawn.names):
        group = f" [{drawn.groups[i]}]" if drawn.groups[i] else ""
        for key, values, signs in zip(chart.y, drawn.values, drawn.signs, strict=True):
            text = cell_text(quantity(values[i], chart.column(key).unit, signs[i]), short=True)
            figures.append((values[i], f"{text} {title_text(chart.column(key))}" if several else text))
            names.append(f"{name}{group}" if len(names) % len(chart.y) == 0 else "")
    yield from _rows(names, [(scale.share(value), text) for value, text in figures], width)
    said = "" if several else title_text(chart.column(chart.y[0]))
    yield from lines_of(f"{said} (log scale)".strip() if log else said, width, DIM)


def _rows(
    names: Sequence[str], figures: Sequence[tuple[float, str]], width: int, trunks: Sequence[str] = ()
) -> Iterator[Line]:  # fmt: skip
    """A line for each: guides of a tree, name, bar, figure; a narrow screen does without the bars."""
    trunks = trunks or [""] * len(names)
    right = max((cells(text) for _, text in figures), default=0)
    wanted = max((len(trunk) + cells(name) for trunk, name in zip(trunks, names, strict=True)), default=0)
    left = min(wanted, max(8, width * 2 // 5))
    room = width - left - right - 4
    if room < _LEAST_BAR:
        left, room = min(wanted, max(4, width - right - 2)), 0
    texts = shortened(names, left) if not any(trunks) else names
    for trunk, name, (share, text) in zip(trunks, texts, figures, strict=True):
        name = trunk + middle(name, left - len(trunk))
        text = middle(text, max(1, width - left - 2))
        line: Line = [Segment(name + " " * (left - cells(name) + 2), PLAIN)]
        if room:
            line += [Segment(share_bar(share, room), BAR), Segment("  ")]
        line.append(Segment(" " * (min(right, cells(text) + right) - cells(text)) + text, DIM))
        yield trimmed(line)


class _Scale:
    """Values → shares of the longest bar. A logarithmic one begins a step below the least that is not zero."""

    def __init__(self, values: Sequence[float], log: bool) -> None:
        self.log = log
        self.most = max((abs(value) for value in values), default=0.0)
        self.base = min((value for value in values if value > 0), default=1.0) / 2

    def share(self, value: float | None) -> float:
        if value is None or value == 0 or not self.most:
            return 0.0
        if self.log:
            return log10(value / self.base) / log10(self.most / self.base)
        return abs(value) / self.most


def _histogram(chart: Chart, width: int) -> Iterator[Line]:
    """Columns of blocks: neighbouring bins stand together until they fit."""
    counts = [value or 0.0 for value in numbers(chart, chart.y[0])]
    low, high = numbers(chart, chart.x)[0], numbers(chart, chart.x_end)[-1]
    step = max(1, -(-len(counts) // (width - 12)))
    merged = [sum(counts[i : i + step]) for i in range(0, len(counts), step)]
    wide = max(1, min(4, (width - 12) // len(merged)))
    unit = chart.column(chart.y[0]).unit
    yield from _blocks([value for value in merged for _ in range(wide)], unit, width)
    ends = (cell_text(low, "number"), cell_text(high, "number"))
    yield from _ends(ends, title_text(chart.column(chart.x)), len(merged) * wide)
    said = f"{cell_text(whole(sum(counts)), unit)} {title_text(chart.column(chart.y[0]))}"
    yield from lines_of(f"{said}, {step} bins in each column" if step > 1 else said, width, DIM)


_MARGIN = 11  # of a plot: the figure at its left, and the axis


def _blocks(values: Sequence[float], unit: Unit, width: int, *, stacked: bool = False) -> Iterator[Line]:
    """Columns up to the highest value, which stands at the left; on a log scale where that shows more, but for sums,
    whose parts it would distort."""
    top = max(values, default=0.0)
    log = not stacked and logarithmic(values)
    scale = _Scale(values, log)
    eighths = [round(scale.share(value) * _ROWS * 8) for value in values]
    eighths = [max(1, each) if value > 0 else each for each, value in zip(eighths, values, strict=True)]
    for level in range(_ROWS - 1, -1, -1):
        at = {0: scale.base if log else 0, _ROWS - 1: top or None}.get(level)
        figure = "" if at is None else cell_text(whole(at), unit, short=True)
        head = middle(figure, _MARGIN - 2).rjust(_MARGIN - 2)
        body = "".join(_BLOCKS[min(8, max(0, each - level * 8))] for each in eighths)
        yield trimmed([Segment(f"{head} │", DIM), Segment(body[: width - _MARGIN], BAR)])
    if log:
        yield [Segment(" " * (_MARGIN - 1) + "└ log scale", DIM)]


def _ends(ends: tuple[str, str], title: str, size: int) -> Iterator[Line]:
    """Below a plot: where it begins, what goes across, where it ends."""
    left, right = ends
    size = max(size, 6)
    room = size - cells(left) - cells(right) - 2
    if room < cells(title):
        title = middle(title, room) if room >= 4 else ""
    gap = size - cells(left) - cells(right) - cells(title)
    if gap < 2:
        left, right, title = middle(left, max(1, size // 2 - 1)), middle(right, max(1, size // 2 - 1)), ""
        gap = max(1, size - cells(left) - cells(right))
    before = gap // 2
    yield trimmed([Segment(" " * _MARGIN + left + " " * before + title + " " * (gap - before) + right, DIM)])


def _tree(chart: Chart, width: int) -> Iterator[Line]:
    """The largest parts as a tree, each with its size and its share of the whole."""
    parts = branches(chart, _MOST_PARTS)
    if not parts:
        yield [Segment("(nothing of a size)", DIM)]
        return
    unit, total = chart.column(chart.y[0]).unit, parts[0].value
    step = 3 if width >= 60 else 1
    trunks = guides([part.depth for part in parts], max(1, width // 5 // step), step)
    figures = []
    for part in parts:
        text = cell_text(quantity(part.value, unit, part.sign), short=True)
        share = part.value / total if total else 0.0
        figures.append((share, f"{text}  {cell_text(share, 'share'):>7}" if width >= 40 else text))
    yield from _rows([part.name for part in parts], figures, width, trunks)
    yield from lines_of(f"{title_text(chart.column(chart.y[0]))}, with all below", width, DIM)


def _plots(chart: Chart, width: int) -> Iterator[Line]:
    """Lines: each alone, one below the other. What lies on each other: the sum, then a low strip for each."""
    series = [numbers(chart, key) for key in chart.y]
    together = chart.kind in ("area", "timeline")
    room = width - _MARGIN
    names, unit = words(chart, chart.x), chart.column(chart.y[0]).unit
    for key, values in [("", _sums(series))] if together else list(zip(chart.y, series, strict=True)):
        name = title_text(chart.column(key)) if key else "all together"
        if all(value is None for value in values):
            yield from lines_of(f"{name}: no number", width, DIM)
            continue
        if key and is_number(chart.column(chart.x)):  # at a step that only another line has nothing is missing
            values = _held(values)
        fitted, each = _fitted(values, room)
        if len(chart.y) > 1 or key:
            yield from lines_of(name, width, DIM)
        yield from _blocks(fitted, chart.column(key).unit if key else unit, width, stacked=together)
        yield from _ends((names[0], names[-1]), title_text(chart.column(chart.x)), len(fitted))
        if each > 1:
            yield from lines_of(f"a column for each {each:.3g} of {len(values)}: the highest of them", width, DIM)
    if together and len(chart.y) > 1:
        left = min(max(cells(title_text(chart.column(key))) for key in chart.y), width // 3)
        for key, values in zip(chart.y, series, strict=True):
            known = [value for value in values if value is not None]
            most = f"up to {cell_text(whole(max(known)), unit, short=True)}" if known else "no number"
            fitted, _ = _fitted(values, max(4, width - left - cells(most) - 4))
            top = max(known, default=0.0)
            strip = "".join(_BLOCKS[max(1, round(value / top * 8)) if value > 0 and top else 0] for value in fitted)
            name = middle(title_text(chart.column(key)), left)
            head = name + " " * (left - cells(name) + 2)
            tail = f"  {most}"[: max(0, width - left - 2 - len(strip))]
            yield trimmed([Segment(head), Segment(strip, BAR), Segment(tail, DIM)])


def _sums(series: Sequence[Sequence[float | None]]) -> list[float | None]:
    """What lies on each other together; nothing where none of it has a number."""
    known = [[value for value in row if value is not None] for row in zip(*series, strict=True)]
    return [sum(row) if row else None for row in known]


def _held(values: Sequence[float | None]) -> list[float | None]:
    """Between its first and its last number a line stands where it last did, so that all lines have the same steps.

    >>> _held([None, 1.0, None, 2.0, None])
    [None, 1.0, 1.0, 2.0, None]
    """
    end = max((i + 1 for i, value in enumerate(values) if value is not None), default=0)
    held: list[float | None] = []
    for value in values[:end]:
        held.append(value if value is not None or not held else held[-1])
    return [*held, *values[end:]]


def _fitted(values: Sequence[float | None], room: int) -> tuple[list[float], float]:
    """As many values as there are columns: of those that share one the highest, so that no peak is lost."""
    known = [value or 0.0 for value in values]
    if len(known) <= room:
        wide = max(1, min(4, room // max(1, len(known))))
        return [value for value in known for _ in range(wide)], 1
    step = len(known) / room
    return [max(known[int(i * step) : max(int(i * step) + 1, int((i + 1) * step))]) for i in range(room)], step


def _scatter(chart: Chart, width: int) -> Iterator[Line]:
    """Points in a frame, both axes logarithmic where that shows more, and the names of the highest."""
    xs, ys = numbers(chart, chart.x), numbers(chart, chart.y[0])
    points = [(x, y, i) for i, (x, y) in enumerate(zip(xs, ys, strict=True)) if x is not None and y is not None]
    if not points:
        yield [Segment("(no point with both numbers)", DIM)]
        return
    across = _Axis([x for x, _, _ in points], width - _MARGIN - 1)
    up = _Axis([y for _, y, _ in points], _ROWS + 4)
    grid: dict[tuple[int, int], int] = {}
    for x, y, _ in points:
        place = up.place(y), across.place(x)
        grid[place] = grid.get(place, 0) + 1
    unit_x, unit_y = chart.column(chart.x).unit, chart.column(chart.y[0]).unit
    for level in range(up.size - 1, -1, -1):
        at = {up.size - 1: up.high, 0: up.low}.get(level)
        figure = "" if at is None else cell_text(whole(at), unit_y, short=True)
        head = middle(figure, _MARGIN - 2).rjust(_MARGIN - 2)
        row = "".join(_point(grid.get((level, column), 0)) for column in range(across.size))
        yield trimmed([Segment(f"{head} │", DIM), Segment(row, BAR)])
    ends = (cell_text(whole(across.low), unit_x, short=True), cell_text(whole(across.high), unit_x, short=True))
    yield from _ends(ends, axis_title(chart, chart.x, across.log), across.size)
    yield from lines_of(f"up: {axis_title(chart, chart.y[0], up.log)}; • one point, ● several", width, DIM)
    if chart.label:
        names, places = words(chart, chart.label), ((chart.index(chart.x), unit_x), (chart.index(chart.y[0]), unit_y))
        highest = sorted(points, key=lambda point: -point[1])[:_NAMED]
        for _, _, i in highest:
            both = [cell_text(chart.data.rows[i][at], unit, short=True) for at, unit in places]
            yield from lines_of(f"{middle(names[i], max(8, width - 24))}: {', '.join(both)}", width)


def _point(count: int) -> str:
    return " " if not count else "•" if count == 1 else "●"


class _Axis:
    """Values → places from 0 below `size`."""

    def __init__(self, values: Sequence[float], size: int) -> None:
        self.size = max(2, size)
        self.log = logarithmic(values) and min(values) > 0
        self.low, self.high = min(values), max(values)

    def place(self, value: float) -> int:
        low, high = self.low, self.high
        if self.log:
            value, low, high = log10(value), log10(low), log10(high)
        return 0 if high == low else min(self.size - 1, int((value - low) / (high - low) * (self.size - 1) + 0.5))

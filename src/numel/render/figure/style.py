"""A sheet of a figure: where its title, axes, legend and caption are, in inches, and letters whose size is known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import floor, log10
from typing import TYPE_CHECKING, Any

from numel.document import Chart
from numel.document.table import Unit
from numel.extras import need
from numel.render.chart_tables import whole
from numel.render.charts import axis_title, logarithmic, shortened
from numel.render.text import cell_text, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 3.5  # inches: one column of a paper
SIZE, SMALL, TITLE = 7.0, 6.0, 8.5  # points
INK, SOFT, LINE = "#1b1f24", "#57606a", "#c9d1d9"
# Okabe and Ito's palette, which people with any colour vision tell apart (jfly.uni-koeln.de/color), without its black
PALETTE = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++", "oo")
OTHER = "#b8bec5"
_RAMP = ("#fdebc8", "#f3a75f", "#c4543d", "#6b1d3a")
_EDGE = 0.06  # inches that stay free around everything
_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans", "WenQuanYi Zen Hei", "Arial Unicode MS")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of these inches that no window knows."""
    figure: Figure = need("matplotlib.figure", extra="plot").Figure(figsize=(width, height), facecolor="white")
    need("matplotlib.backends.backend_agg", extra="plot").FigureCanvasAgg(figure)
    return figure


class Sheet:
    """A strip of the figure as wide as it is, from `bottom` inches on, `height` high."""

    def __init__(self, figure: Figure, bottom: float, height: float) -> None:
        self.figure = figure
        self.width, self.whole = (float(each) for each in figure.get_size_inches())
        self.bottom, self.top = bottom + _EDGE, bottom + height - _EDGE

    def title(self, text: str) -> None:
        """What the picture is of, at the top left; it takes a second line rather than leave the figure."""
        for line in wrapped(drawable(text), self.width - 2 * _EDGE, TITLE, 2, bold=True):
            self.text(_EDGE, self.top, line, size=TITLE, weight="bold", va="top")
            self.top -= TITLE * 1.3 / 72
        self.top -= 0.06

    def caption(self, texts: Sequence[str]) -> None:
        """Remarks, at the bottom."""
        lines = [
            line for text in texts if text for line in wrapped(drawable(text), self.width - 2 * _EDGE, SMALL, 3)
        ]  # fmt: skip
        for line in reversed(lines):
            self.text(_EDGE, self.bottom, line, size=SMALL, color=SOFT, va="bottom")
            self.bottom += SMALL * 1.3 / 72
        self.bottom += 0.04 * bool(lines)

    def legend(self, entries: Sequence[tuple[str, str, str]]) -> None:
        """(words, colour, hatch) below the picture, in as many lines as they need."""
        if not entries:
            return
        rectangle = need("matplotlib.patches", extra="plot").Rectangle
        rows: list[list[tuple[str, str, str, float]]] = [[]]
        x = _EDGE
        for words, color, hatch in entries:
            name = fitted(drawable(words), min(1.5, self.width - 0.4), SMALL)
            need_inches = 0.14 + inches(name, SMALL) + 0.12
            if x + need_inches > self.width - _EDGE and rows[-1]:
                rows.append([])
                x = _EDGE
            rows[-1].append((name, color, hatch, x))
            x += need_inches
        for row in reversed(rows[:4]):
            for name, color, hatch, at in row:
                box = rectangle(
                    (at / self.width, (self.bottom + 0.01) / self.whole), 0.09 / self.width, 0.075 / self.whole,
                    transform=self.figure.transFigure, facecolor=color, edgecolor=INK, linewidth=0.4, hatch=hatch * 2,
                )  # fmt: skip
                self.figure.add_artist(box)
                self.text(at + 0.13, self.bottom, name, size=SMALL, color=SOFT, va="bottom")
            self.bottom += 0.13
        self.bottom += 0.03

    def axes(self, left: float, right: float, below: float = 0.0) -> Axes:
        """The rest of the sheet as axes, with room in inches at its sides and below for what is written there."""
        x, y = _EDGE + left, self.bottom + below
        width, height = self.width - _EDGE - right - x, self.top - y
        axes: Axes = self.figure.add_axes(
            (x / self.width, y / self.whole, max(width, 0.3) / self.width, max(height, 0.3) / self.whole)
        )
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(LINE)
            axes.spines[side].set_linewidth(0.6)
        axes.tick_params(colors=INK, labelsize=SIZE, length=2, width=0.5, pad=2)
        axes.set_facecolor("white")
        return axes

    def text(self, x: float, y: float, text: str, *, size: float = SIZE, color: str = INK, **more: Any) -> Any:
        """Letters at these inches."""
        return self.figure.text(
            x / self.width, y / self.whole, text, fontsize=size, color=color, parse_math=False, family=fonts(), **more
        )  # fmt: skip

    def nothing(self) -> None:
        """Said where there is nothing to draw."""
        self.text(self.width / 2, (self.bottom + self.top) / 2, "nothing to draw", color=SOFT, ha="center", va="center")


# ── letters ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def fonts() -> tuple[str, ...]:
    """The families that are there, of those that have the letters of names, the first ones first."""
    manager = need("matplotlib.font_manager", extra="plot").fontManager
    there = {font.name for font in manager.ttflist}
    return tuple(name for name in _FONTS if name in there) or ("DejaVu Sans",)


@cache
def _faces() -> tuple[Any, ...]:
    manager = need("matplotlib.font_manager", extra="plot")
    font = need("matplotlib.ft2font", extra="plot")
    return tuple(font.FT2Font(manager.findfont(name)) for name in fonts())


@cache
def _has_glyph(character: str) -> bool:
    return any(face.get_char_index(ord(character)) for face in _faces())


def drawable(text: str) -> str:
    """`text` on one line; letters that no font here has are written as their code."""
    return "".join(
        c if _has_glyph(c) else c.encode("unicode_escape", "surrogatepass").decode()
        for c in printable(" ".join(text.split()))
    )


@cache
def inches(text: str, size: float, bold: bool = False) -> float:
    """How wide `text` is in the first font that has its letters."""
    paths = need("matplotlib.textpath", extra="plot")
    properties = need("matplotlib.font_manager", extra="plot").FontProperties
    font = properties(family=fonts(), size=size, weight="bold" if bold else "normal")
    width, _, _ = paths.text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def fitted(text: str, room: float, size: float) -> str:
    """`text` in at most `room` inches, cut in the middle, where its last part stays."""
    if inches(text, size) <= room:
        return text
    low, high = 0, len(text)  # the most characters that fit
    while low < high:
        keep = (low + high + 1) // 2
        if inches(_cut(text, keep), size) <= room:
            low = keep
        else:
            high = keep - 1
    return _cut(text, low) if low else ""


def _cut(text: str, keep: int) -> str:
    head = keep // 3
    return f"{text[:head]}…{text[len(text) - (keep - head) :]}"


def names(texts: Sequence[str], room: float, size: float = SIZE) -> list[str]:
    """Names in at most `room` inches each that still tell each other apart where their beginnings or ends do not."""
    whole = [drawable(text) for text in texts]
    wide = max((inches(text, size) for text in whole), default=0.0)
    if wide <= room:
        return whole
    longest = max(map(len, whole))
    columns = max(6, int(longest * room / wide))
    while columns > 4:
        cut = shortened(whole, columns)
        if all(inches(text, size) <= room for text in cut):
            return cut
        columns -= 1
    return [fitted(text, room, size) for text in whole]


def wrapped(text: str, room: float, size: float, most: int, *, bold: bool = False) -> list[str]:
    """`text` in at most `most` lines of `room` inches; the last is cut where there is more."""
    done: list[str] = []
    line = ""
    words = text.split(" ")
    for i, word in enumerate(words):
        longer = f"{line} {word}" if line else word
        if inches(longer, size, bold) <= room:
            line = longer
            continue
        if len(done) == most - 1 or not line:
            rest = " ".join([line, *words[i:]]).strip()
            return [*done, fitted(rest, room * (0.93 if bold else 1.0), size)]
        done.append(line)
        line = word if inches(word, size, bold) <= room else fitted(word, room * 0.93, size)
    return [*done, line] if line else done


# ── scales ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def number_text(value: float, unit: Unit) -> str:
    """A tick: short, without the zeros behind it."""
    whole = int(value) if value.is_integer() else value
    number, _, suffix = cell_text(whole, unit, short=True).partition(" ")
    if "." in number and "e" not in number:
        number = number.rstrip("0").rstrip(".")
    return f"{number} {suffix}".strip()


def scale(axes: Axes, which: str, values: Sequence[float | None], chart: Chart, key: str, *, log: bool | None = None,
          zero: bool = False) -> bool:  # fmt: skip
    """Set one axis (x or y) over the values: logarithmic where they span more than two orders of magnitude (unless
    `log` says), ticks in the unit of the column. Whether it is logarithmic."""
    column = chart.column(key)
    known = [value for value in values if value is not None]
    log = logarithmic(known) if log is None else log
    positive = [value for value in known if value > 0]
    low, high = min(known, default=0.0), max(known, default=1.0)
    axis, limits = (axes.xaxis, axes.set_xlim) if which == "x" else (axes.yaxis, axes.set_ylim)
    if log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        least, most = min(positive), max(positive)
        spare = (most / least) ** 0.06
        limits(least / (2.0 if zero else spare), most * spare)
        ticks = _powers(least / (2.0 if zero else 1.0), most, column.unit)
    else:
        low = min(low, 0.0) if zero else low
        if high == low:
            high = low + 1.0 if low == 0 else low + abs(low) * 0.5
            low = low if zero else low - abs(low) * 0.5
        spare = (high - low) * 0.05
        limits(low if zero and low == 0 else low - spare, high + spare)
        ticks = steps(low, high, column.unit)
    if which == "x":
        ticks = _apart(ticks, axes, column.unit, log)
    axis.set_major_locator(need("matplotlib.ticker", extra="plot").FixedLocator(ticks))
    axis.set_major_formatter(need("matplotlib.ticker", extra="plot").FixedFormatter(
        [number_text(tick, column.unit) for tick in ticks]))  # fmt: skip
    axis.set_minor_locator(need("matplotlib.ticker", extra="plot").NullLocator())
    return log


def _apart(ticks: list[float], axes: Axes, unit: Unit, log: bool) -> list[float]:
    """As many of the ticks below an axis as have room for what is written at them."""
    low, high = axes.get_xlim()
    room = float(axes.bbox.width) / float(axes.figure.dpi)
    for step in range(1, len(ticks)):
        kept = ticks[::step]
        middles = [position(tick, low, high, log) * room for tick in kept]
        halves = [inches(number_text(tick, unit), SIZE) / 2 + 0.03 for tick in kept]
        ends = zip(middles, middles[1:], halves, halves[1:], strict=False)
        if all(a + half <= b - other for a, b, half, other in ends):
            return kept
    return ticks[:1]


def steps(low: float, high: float, unit: Unit, most: int = 5) -> list[float]:
    """At most `most` + 1 round numbers from `low` to `high`; of bytes round in powers of two."""
    span = high - low
    if unit == "bytes":
        step = 1.0
        while span / step > most:
            step *= 2.0
    else:
        power = 10.0 ** floor(log10(span / most))
        step = next((factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= most), 10 * power)
        if unit in ("count", "integer"):
            step = max(1.0, step)
    first = -(-low // step)
    return [tick for i in range(most + 2) if (tick := (first + i) * step) <= high + step * 1e-9]


def _powers(low: float, high: float, unit: Unit, most: int = 5) -> list[float]:
    base = 1024.0 if unit == "bytes" else 10.0
    first, last = floor(log10(low) / log10(base)), floor(log10(high) / log10(base))
    found = [base**power for power in range(first, last + 1) if low <= base**power <= high]
    if len(found) < 2:
        finer = (1.0, 4.0, 16.0, 64.0, 256.0) if unit == "bytes" else (1.0, 2.0, 5.0)
        found = [base**p * f for p in range(first, last + 1) for f in finer if low <= base**p * f <= high]
    step = -(-len(found) // most)
    return found[:: max(1, step)]


def position(value: float, low: float, high: float, log: bool) -> float:
    """Where a value lies between the lowest (0) and the highest (1)."""
    if high <= low:
        return 0.0
    return log10(value / low) / log10(high / low) if log else (value - low) / (high - low)


class Ramp:
    """Colours of these numbers of a chart, from light to dark, and `said`, which are which."""

    def __init__(self, chart: Chart, values: Sequence[float | None]) -> None:
        self._log = logarithmic(values)
        known = [value for value in values if value is not None and (value > 0 or not self._log)]
        self._low, self._high = min(known, default=0.0), max(known, default=1.0)
        unit = chart.column(chart.color[0]).unit
        light, dark = (cell_text(whole(value), unit, short=True) for value in (self._low, self._high))
        self.said = f"{axis_title(chart, chart.color[0], self._log)}: {light} light to {dark} dark"

    def of(self, value: float | None) -> str | None:
        """`None` for what is not known, or has no place on a logarithmic scale."""
        if value is None or (self._log and value <= 0):
            return None
        return _mixed(position(value, self._low, self._high, self._log))


def _mixed(share: float) -> str:
    """A colour between light (0) and dark (1), the same in grey."""
    share = min(1.0, max(0.0, share)) * (len(_RAMP) - 1)
    i = min(int(share), len(_RAMP) - 2)
    mixed = [
        round(int(_RAMP[i][j : j + 2], 16) * (1 - share + i) + int(_RAMP[i + 1][j : j + 2], 16) * (share - i))
        for j in (1, 3, 5)
    ]
    return "#" + "".join(f"{each:02x}" for each in mixed)


def ink_on(color: str) -> str:
    """Black or white letters, whichever stands out more: by relative luminance (WCAG 2.2)."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = ((c / 12.92) if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return INK if (luminance + 0.05) / (0.0105 + 0.05) >= 1.05 / (luminance + 0.05) else "#ffffff"

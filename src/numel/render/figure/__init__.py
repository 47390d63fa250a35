"""Pictures by matplotlib, for a column of a paper: no state of pyplot, no setting of the process is touched.

Readable by construction: names are shortened where they do not tell apart, a scale that spans more than two orders of
magnitude is logarithmic and says so, the long tail is one bar, and what has no room for its label has none.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from numel.document import Callout, Chart, Document, Heading, Table, Text
from numel.errors import ViewError
from numel.render import assert_never
from numel.render.figure import bars, lines, nested, points
from numel.render.figure.style import WIDTH, Sheet, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "figure"
SUFFIXES: tuple[str, ...] = (".png", ".svg", ".pdf")
WHOLE = False

_DPI = 200
_GAP = 0.25  # inches between charts of one document
# the same document gives the same bytes: no date, and no version of what drew it
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "numel"},
    "pdf": {"CreationDate": None, "Creator": "numel", "Producer": None},
    "png": {"Software": None},
}


def render(document: Document, *, width: int | None = None, color: bool = False, suffix: str = "") -> bytes:
    """The document's charts, one below the other, as the bytes of a `.png` (the default), `.svg` or `.pdf`; `width` and
    `color` mean nothing here. Tables and text have other renderers.

    Raises `ViewError` for a document without a chart, and `MissingExtra` without matplotlib.
    """
    charts: list[Chart] = []
    for block in document.blocks:
        match block:
            case Chart():
                charts.append(block)
            case Heading() | Text() | Callout() | Table():
                pass
            case _:
                assert_never(block)
    if not charts:
        raise ViewError("no picture in this result: it has no chart; save it as .html, .md or .csv")
    kind = suffix.removeprefix(".") if suffix.removeprefix(".") in _METADATA else "png"
    out = io.BytesIO()
    from matplotlib import rc_context

    # letters are drawn as outlines: they look alike everywhere, and no name can be markup
    with rc_context({"svg.hashsalt": "numel", "svg.fonttype": "path", "pdf.fonttype": 42}):
        _drawn(charts).savefig(out, format=kind, dpi=_DPI, metadata=_METADATA[kind])
    return out.getvalue()


def draw(chart: Chart) -> Figure:
    """One chart as a figure of one column of a paper, as high as it needs.

    >>> from numel.document import Column
    >>> table = Table("t", (Column("dtype", "dtype"), Column("n", "params", "count")), (("f32", 6), ("i8", 2)))
    >>> figure = draw(Chart("Params by dtype", "bar", table, x="dtype", y=("n",)))
    >>> [text.get_text() for text in figure.texts]
    ['Params by dtype']
    """
    return _drawn([chart])


def _drawn(charts: list[Chart]) -> Figure:
    heights = [_height(chart) for chart in charts]
    figure = new_figure(WIDTH, sum(heights) + _GAP * (len(charts) - 1))
    top = sum(heights) + _GAP * (len(charts) - 1)
    for chart, height in zip(charts, heights, strict=True):
        sheet = Sheet(figure, top - height, height)
        sheet.title(chart.title)
        if not chart.data.rows:
            sheet.nothing()
        else:
            _draw(chart, sheet)
        top -= height + _GAP
    return figure


def _draw(chart: Chart, sheet: Sheet) -> None:
    match chart.kind:
        case "bar":
            bars.bar(chart, sheet)
        case "histogram":
            bars.histogram(chart, sheet)
        case "treemap" | "icicle" | "sunburst":
            nested.draw(chart, sheet)
        case "line" | "area" | "timeline":
            lines.draw(chart, sheet)
        case "scatter":
            points.scatter(chart, sheet)
        case "heatmap":
            points.heatmap(chart, sheet)
        case _:
            assert_never(chart.kind)


def _height(chart: Chart) -> float:
    match chart.kind:
        case _ if not chart.data.rows:
            return 1.2
        case "bar":
            return bars.height(chart)
        case "heatmap":
            return points.height(chart)
        case "treemap" | "icicle":
            return 3.2
        case "sunburst":
            return 3.9
        case _:
            return 2.8

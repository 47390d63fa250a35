"""Figures are readable by construction: nothing overlaps, nothing leaves the sheet, scales say what they are."""

from __future__ import annotations

import io
import random
import sys
import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise
from typing import Any

import matplotlib
import pytest

from every_block import CASES, HOSTILE, KINDS, chart, extremes
from numel.document import Cell, Chart, Column, Document, Mark, Quantity, Table
from numel.document.table import Unit
from numel.errors import ViewError
from numel.render.figure import draw, render
from numel.render.figure.nested import squarified
from numel.render.figure.style import steps

CHARTS = [(f"{kind} {case}", chart(kind, case)) for kind in KINDS for case in CASES]
CHARTS += [(name, block) for name, block in extremes() if isinstance(block, Chart)]


def bars(values: dict[str, Cell], **more: Any) -> Chart:
    columns = (Column("layer", "layer", "path"), Column("params", "params", "count"))
    return Chart("Params", "bar", Table("t", columns, tuple(values.items())), x="layer", y=("params",), **more)


def texts(figure: Any) -> list[tuple[str, Any]]:
    """What can be read in a figure, each with the box that it takes, in pixels."""
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    found = [
        (artist.get_text(), artist.get_window_extent(renderer))
        for artist in figure.findobj(matplotlib.text.Text)
        if artist.get_visible() and artist.get_text().strip()
    ]
    return [(text, box) for text, box in found if box.width > 0]


def read(figure: Any) -> set[str]:
    return {text for text, _ in texts(figure)}


def meet(one: Any, other: Any, spare: float = 1.0) -> bool:
    """Whether two boxes cover each other by more than a pixel: letters have air around them."""
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    up = min(one.y1, other.y1) - max(one.y0, other.y0)
    return across > spare and up > spare


@pytest.mark.parametrize("drawn", [drawn for _, drawn in CHARTS], ids=[name for name, _ in CHARTS])
def test_labels_neither_overlap_nor_leave_the_figure(drawn: Chart):
    figure = draw(drawn)
    figure.set_dpi(200)
    placed = texts(figure)
    assert placed
    width, height = (size * 200 for size in figure.get_size_inches())
    for text, box in placed:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    for (text, box), (other, its) in combinations(placed, 2):
        assert not meet(box, its), (text, other)


@pytest.mark.parametrize("count", [5, 5_000])
@pytest.mark.parametrize("kind", KINDS)
def test_few_and_many_layers_fit_one_column_of_a_paper(kind: Any, count: int):
    """A column of a paper is 3.5 in wide and a page 9 in high; letters of less than 6 pt are not read in print."""
    if kind in ("treemap", "icicle", "sunburst"):
        columns = (Column("path", "layer", "path"), Column("params", "params", "count"))
        rows = (("", count), *((f"blocks.{i}", 1) for i in range(count)))
        drawn = Chart("Params", kind, Table("t", columns, rows, (0, *(1,) * count)), x="path", y=("params",))
    else:
        columns = (Column("path", "layer", "path"), Column("a", "a", "count"), Column("b", "b", "count"),
                   Column("kind", "kind"))  # fmt: skip
        rows = tuple((f"layers.{i}.mlp.down_proj", i + 1, (i * 7919) % 997, f"kind {i % 20}") for i in range(count))
        x = "a" if kind in ("histogram", "scatter") else "path"
        y = ("kind",) if kind == "heatmap" else ("b",)
        drawn = Chart("Numbers", kind, Table("t", columns, rows), x=x, y=y, x_end="b" if kind == "histogram" else "",
                      color=("a",) if kind == "heatmap" else ())  # fmt: skip
    figure = draw(drawn)
    width, height = figure.get_size_inches()
    assert width == 3.5
    assert height <= 9
    assert all(artist.get_fontsize() >= 6 for artist in figure.findobj(matplotlib.text.Text) if artist.get_text())
    boxes = texts(figure)
    assert not [(a, b) for (a, box), (b, its) in combinations(boxes, 2) if meet(box, its)]


def test_the_scale_is_logarithmic_beyond_two_orders_of_magnitude_and_says_so():
    assert draw(bars({"a": 1, "b": 101})).axes[0].get_xscale() == "log"
    assert "params (log scale)" in read(draw(bars({"a": 1, "b": 101})))
    assert draw(bars({"a": 1, "b": 100})).axes[0].get_xscale() == "linear"
    assert draw(bars({"a": -1, "b": 101})).axes[0].get_xscale() == "linear"


def test_long_names_keep_what_tells_them_apart():
    prefix, suffix = "a.very.long.prefix.that.is.the.same." * 3, ".and.a.long.suffix.that.is.the.same" * 3
    figure = draw(bars({f"{prefix}{name}{suffix}": i + 1 for i, name in enumerate(("query", "key", "value"))}))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(set(labels)) == 3
    assert all(name in label for name, label in zip(("query", "key", "value"), labels, strict=True))


def test_the_long_tail_is_one_bar_that_holds_its_sum():
    """Of 1 … 100 the 23 largest are drawn; the others are 1 … 77: 77 · 78 / 2 = 3,003."""
    figure = draw(bars({f"n{i}": i for i in range(1, 101)}))
    assert {"77 others", "3.003 K"} <= read(figure)
    assert "n100" in read(figure)
    assert "n77" not in read(figure)


def test_what_is_not_exact_keeps_its_sign_and_what_is_unknown_has_a_question_mark():
    shown = read(draw(bars({"a": Quantity(5, at_least=True), "b": None, "c": Quantity(7, about=True), "d": 0})))
    assert {"≥ 5", "?", "≈ 7", "0"} <= shown


def test_the_peak_is_named_with_its_bytes_however_long_the_run():
    columns = (Column("step", "operator", "integer"), Column("a", "kept", "bytes"), Column("b", "new", "bytes"))
    rows = [(i, 1024, 1024) for i in range(20_000)]
    rows[12_345] = (12_345, 1024, 7 * 1024)
    drawn = Chart("Live bytes", "timeline", Table("t", columns, tuple(rows)), x="step", y=("a", "b"),
                  marks=(Mark(12_345, "peak in layer3"),))  # fmt: skip
    figure = draw(drawn)
    assert "peak in layer3: 8.000 KiB" in read(figure)
    drawn_to = max(
        y for area in figure.axes[0].collections for path in area.get_paths() for _, y in path.vertices.tolist()
    )
    assert drawn_to == 8 * 1024


def test_rectangles_of_a_treemap_have_the_areas_of_their_sizes_and_tile_the_whole():
    """Areas add up to the whole and none covers another, so they tile it; the sides of the paper's own example, sizes 6
    6 4 3 2 2 1 in 6 × 4, begin with two of 3 × 2."""
    sizes = [6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0]
    placed = squarified(sizes, 0.0, 0.0, 6.0, 4.0)
    assert [round(w * h, 9) for _, _, w, h in placed] == sizes
    assert {(round(w, 9), round(h, 9)) for _, _, w, h in placed[:2]} == {(3.0, 2.0)}
    many = sorted((random.Random(7).random() for _ in range(60)), reverse=True)
    placed = squarified(many, 1.0, 2.0, 3.0, 5.0)
    assert sum(w * h for _, _, w, h in placed) == pytest.approx(15.0)
    for (x, y, w, h), (u, v, p, q) in combinations(placed, 2):
        assert min(x + w, u + p) - max(x, u) < 1e-9 or min(y + h, v + q) - max(y, v) < 1e-9
    for x, y, w, h in placed:
        assert min(x - 1.0, y - 2.0, 4.0 - x - w, 7.0 - y - h) > -1e-9


def test_ticks_are_round_in_the_unit_of_the_axis():
    assert steps(0, 1000, "count") == [0, 200, 400, 600, 800, 1000]
    assert steps(0, 3 * 2**30, "bytes") == [0, 2**30, 2 * 2**30, 3 * 2**30]
    for low, high in ((0.0, 7.3), (-0.3, 0.2), (5.0, 6.0)):
        ticks = steps(low, high, "number")
        assert 2 <= len(ticks) <= 6
        assert len({round(b - a, 12) for a, b in pairwise(ticks)}) == 1


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_chart_gives_the_same_bytes(suffix: str):
    document = Document((chart("treemap", "long"), chart("bar", "hostile")))
    assert render(document, suffix=suffix) == render(document, suffix=suffix)


def test_nothing_of_the_process_is_touched():
    before = matplotlib.rcParams.copy()
    loaded = "matplotlib.pyplot" in sys.modules  # by another library, in another test
    render(Document((chart("scatter", "long"),)), suffix=".svg")
    assert matplotlib.rcParams.copy() == before
    assert ("matplotlib.pyplot" in sys.modules) is loaded


def test_names_are_no_markup_in_svg():
    drawn = render(Document((bars({name or "nameless": i + 1 for i, name in enumerate(HOSTILE)}),)), suffix=".svg")
    tree = ElementTree.parse(io.BytesIO(drawn))
    tags = {element.tag.rpartition("}")[2] for element in tree.iter()}
    assert not tags & {"script", "image", "img", "a", "foreignObject"}
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]


def test_a_document_without_a_chart_has_no_picture():
    with pytest.raises(ViewError, match="it has no chart"):
        render(Document())


def test_dollars_and_underscores_in_names_are_letters():
    assert {"$x_1$", "_hidden"} <= read(draw(bars({"$x_1$": 1, "_hidden": 2})))


@pytest.mark.parametrize("unit", ["integer", "text"])
def test_a_line_goes_on_over_steps_that_only_another_has_and_a_single_number_is_a_point(unit: Unit):
    columns = (Column("x", "x", unit), *(Column(name, name, "count") for name in ("long", "other", "one")))
    rows: list[tuple[Cell, ...]] = [(i, i, i if i % 2 else None, 7 if i == 3 else None) for i in range(40)]
    table = Table("t", columns, tuple((str(i) if unit == "text" else i, *rest) for i, *rest in rows))
    figure = draw(Chart("Params", "line", table, x="x", y=("long", "other", "one")))
    long, other, one = figure.axes[0].lines
    odd = list(range(1, 40, 2))
    assert (len(long.get_xdata()), long.get_markevery()) == (40, [])
    if unit == "integer":
        assert (list(other.get_xdata()), other.get_markevery()) == (odd, [])
        assert (list(one.get_xdata()), one.get_markevery()) == ([3], [0])
    else:  # what is not known along a model is a gap
        assert (len(other.get_xdata()), other.get_markevery(), one.get_markevery()) == (40, odd, [3])

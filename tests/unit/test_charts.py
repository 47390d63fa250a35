"""What every drawing shares: names that fit and still differ, the folded tail, parts of a tree, charts as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from every_block import KINDS, chart
from numel.document import Cell, Chart, Column, Document, Mark, Quantity, Table
from numel.document.chart import ChartKind
from numel.render import find
from numel.render.chart_tables import data, shown
from numel.render.charts import bars, branches, logarithmic, shortened

COLUMNS = (Column("path", "layer", "path"), Column("n", "N", "count"))


def bar(*values: Cell) -> Chart:
    rows = tuple((f"n{i}", value) for i, value in enumerate(values))
    return Chart("c", "bar", Table("t", COLUMNS, rows), x="path", y=("n",))


def tree(*rows: tuple[str, Cell, int]) -> Chart:
    table = Table("t", COLUMNS, tuple((path, n) for path, n, _ in rows), tuple(depth for _, _, depth in rows))
    return Chart("c", "treemap", table, x="path", y=("n",))


@given(st.lists(st.text(min_size=1, max_size=60), max_size=8), st.integers(4, 40))
def test_shortened_names_fit_and_short_ones_stay(names: list[str], width: int):
    for name, cut in zip(names, shortened(names, width), strict=True):
        assert cell_len(cut) <= width
        if cell_len(name) <= width:
            assert cut == name or len(set(names)) > 1


@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_names_that_differ_in_one_word_stay_different(place: str):
    words = {
        "start": "{}.layers.block.attention.projection.weight", "middle": "model.layers.block{}.attention.weight.x",
        "end": "model.layers.block.attention.projection.{}",
    }[place]  # fmt: skip
    names = [words.format(i) for i in range(12)]
    assert len(set(shortened(names, 16))) == 12


def test_the_folded_rest_is_a_lower_bound_where_one_of_it_is_or_is_unknown():
    assert bars(bar(9, 8, 1, 2), 3).values == ((9.0, 8.0, 3.0),)
    assert bars(bar(9, 8, 1, 2), 3).signs == (("", "", ""),)
    assert bars(bar(9, 8, Quantity(1, at_least=True), 2), 3).signs[0][-1] == "≥"
    assert bars(bar(9, 8, None, 2), 3).signs[0][-1] == "≥"
    assert bars(bar(9, 8, Quantity(1, about=True), None), 3).signs[0][-1] == "≳"
    assert bars(bar(9, 8, None, None), 3).values[0][-1] is None
    assert bars(bar(9, 8, 1, 2), 3).names[-1] == "2 others"
    assert bars(bar(9, 8), 2).others == 0


@pytest.mark.parametrize(
    ("values", "log"),
    [([1, 100], False), ([1, 101], True), ([0, 1, 101], True), ([-1, 500], False), ([None, 5], False), ([], False)],
)
def test_a_scale_is_logarithmic_beyond_two_orders_of_magnitude(values: list[float | None], log: bool):
    assert logarithmic(values) is log


def test_parts_of_a_tree_are_the_largest_with_what_they_are_in():
    found = branches(tree(("", 16, 0), ("a", 10, 1), ("a.x", 9, 2), ("a.y", 1, 2), ("b", 5, 1), ("c", 1, 1)), 3)
    assert [(part.name, part.depth, part.value) for part in found] == [
        ("(root)", 0, 16), ("a", 1, 10), ("x", 2, 9), ("1 other", 2, 1), ("2 others", 1, 6),
    ]  # fmt: skip
    assert [part.path for part in found if part.row is None] == ["a", "(root)"]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 20))
def test_parts_below_a_part_add_up_to_what_its_children_have(sizes: list[int], most: int):
    """A root over groups of three: whatever is folded, the drawn children of the root sum to all leaves."""
    groups = [sizes[i : i + 3] for i in range(0, len(sizes), 3)]
    rows = [("", sum(sizes), 0)]
    for g, group in enumerate(groups):
        rows.append((f"g{g}", sum(group), 1))
        rows += [(f"g{g}.{i}", size, 2) for i, size in enumerate(group)]
    found = branches(tree(*rows), most)
    below = [part.value for part in found if part.depth == 1]
    assert not below or sum(below) == sum(sizes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["empty", "one", "long", "hostile"])
def test_a_chart_as_a_table_is_short_and_its_data_whole(kind, case: str):  # type: ignore[no-untyped-def]
    drawn = chart(kind, case)
    assert len(shown(drawn).rows) <= 60
    assert len(data(drawn).rows) == len(drawn.data.rows)


def test_what_is_thinned_keeps_the_highest_and_what_is_pointed_out():
    columns = (Column("step", "step", "integer"), Column("n", "N", "bytes"))
    rows = tuple((i, 1000 if i == 777 else i % 3) for i in range(1000))
    drawn = Chart("c", "timeline", Table("t", columns, rows), x="step", y=("n",), marks=(Mark(123, "here"),))
    kept = [row[0] for row in shown(drawn).rows]
    assert 777 in kept
    assert 123 in kept
    assert "here: 0" in shown(drawn).caption


def in_characters(kind: ChartKind, *rows: tuple[Cell, ...]) -> list[str]:
    """What a terminal shows of columns that are called by letters."""
    columns = tuple(Column(name, name, "integer" if name == "step" else "count") for name in ("step", *"abc"))
    keys = tuple(column.key for column in columns[1 : len(rows[0])])
    drawn = Chart("c", kind, Table("t", columns[: len(rows[0])], rows), x="step", y=keys)
    return find("terminal").render(Document((drawn,)), width=80).splitlines()  # type: ignore[union-attr]


def test_lines_of_one_chart_stand_over_the_same_steps():
    lines = in_characters("line", (0, 8, None), (10, None, 4), (20, 8, None), (30, None, 4), (40, 8, None))
    left = " " * 8 + "0 │"
    assert [line for line in lines if line.startswith(left)] == [left + "█" * 20, left + "    " + "█" * 12]
    assert [line.split() for line in lines if "step" in line] == [["0", "step", "40"]] * 2


def test_a_line_without_a_number_is_left_out_and_said():
    lines = in_characters("line", (0, 8, None, None), (10, 4, None, 2))
    assert [line for line in lines if "│" not in line and not line.startswith(" ")] == ["c", "a", "b: no number", "c"]
    assert sum("│" in line for line in lines) == 16


def test_an_area_without_a_number_is_not_one_up_to_zero():
    assert in_characters("area", (0, None, None), (10, None, None)) == [
        "c", "all together: no number", "a            no number", "b            no number"
    ]  # fmt: skip
    assert in_characters("area", (0, 8, None), (10, 4, None))[-2:] == [
        "a  ████▄▄▄▄  up to 8", "b            no number"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"x": "nowhere"}, "no column 'nowhere'"),
        ({"y": ()}, "no column to draw"),
        ({"kind": "pie"}, "kind 'pie'"),
        ({"kind": "treemap"}, "has no depths"),
        ({"kind": "heatmap"}, "one column of numbers as its color"),
        ({"kind": "histogram"}, "where its bins end"),
        ({"marks": (Mark(9, "m"),)}, "a mark outside of its 2 rows"),
    ],
)
def test_a_chart_that_can_not_be_drawn_is_not_made(more: dict, says: str):  # type: ignore[type-arg]
    given = {"title": "c", "kind": "bar", "data": bar(1, 2).data, "x": "path", "y": ("n",)} | more
    with pytest.raises(ValueError, match=says):
        Chart(**given)

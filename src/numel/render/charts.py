"""What every drawing of a chart needs: its numbers, its axis, names short enough to stand beside it, and the long tail
folded. Drawings differ in their means, not in this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from numel.document import Cell, Chart, Quantity
from numel.document.table import about, at_least
from numel.render.text import cell_text, cells, labels, middle, title_text

_ORDERS = 100.0  # two orders of magnitude


def number(cell: Cell) -> float | None:
    """The number of a cell; `None` for what is none, or not finite.

    >>> number(Quantity(2, "count", at_least=True)), number("a"), number(float("nan"))
    (2.0, None, None)
    """
    value = cell.value if isinstance(cell, Quantity) else cell
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        value = float(value)
    except OverflowError:  # an int beyond every float
        return None
    return value if isfinite(value) else None


def numbers(chart: Chart, key: str) -> list[float | None]:
    """The numbers of a column, row by row."""
    index = chart.index(key)
    return [number(row[index]) for row in chart.data.rows]


def words(chart: Chart, key: str) -> list[str]:
    """The cells of a column as they are printed, row by row."""
    index, unit = chart.index(key), chart.column(key).unit
    return [cell_text(row[index], unit) for row in chart.data.rows]


def heads(chart: Chart) -> list[str]:
    """What stands across a heatmap, once each: numbers by size, words as they come."""
    texts, values = words(chart, chart.x), numbers(chart, chart.x)
    if any(value is None for value in values):
        return list(dict.fromkeys(texts))
    by_size = sorted(zip([value or 0.0 for value in values], texts, strict=True))
    return list(dict.fromkeys(text for _, text in by_size))


def peaks(heights: Sequence[float], most: int) -> list[int]:
    """Where the highest of each of `most` stretches is, so that none is lost where not all have room.

    >>> peaks([1, 5, 2, 0, 3, 9], 2)
    [1, 5]
    """
    step = len(heights) / most
    stretches = [range(round(i * step), round((i + 1) * step)) for i in range(most)]
    return [max(stretch, key=lambda i: heights[i]) for stretch in stretches if stretch]


def alone(values: Sequence[float | None]) -> list[int]:
    """Where a number has none beside it, so that no line goes through it.

    >>> alone([1.0, None, 2.0, 3.0, None, 4.0])
    [0, 5]
    """
    known = [value is not None for value in (None, *values, None)]
    return [i for i in range(len(values)) if known[i + 1] and not known[i] and not known[i + 2]]


def logarithmic(values: Sequence[float | None]) -> bool:
    """Whether an axis over these should be: none is negative, and they span more than two orders of magnitude.

    >>> logarithmic([1, 50, None]), logarithmic([3, 400, 0]), logarithmic([-1, 400])
    (False, True, False)
    """
    known = [value for value in values if value is not None]
    positive = [value for value in known if value > 0]
    return bool(positive) and min(known) >= 0 and max(positive) > _ORDERS * min(positive)


def axis_title(chart: Chart, key: str, log: bool) -> str:
    """What an axis is of, and that it is logarithmic."""
    title = title_text(chart.column(key))
    return f"{title} (log scale)" if log else title


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Each name in at most `width` columns. Cut in the middle, where siblings still differ; those that would look the
    same keep their ends, else their beginnings, else what is around the place where they differ.

    >>> shortened(["encoder.block.q_proj", "fc"], 12)
    ['enco….q_proj', 'fc']
    >>> shortened(["model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj.weight"], 20)
    ['model.layers.0.self…', 'model.layers.1.self…']
    """
    cut = [middle(name, width) for name in names]
    alike: dict[str, list[int]] = {}
    for index, text in enumerate(cut):
        alike.setdefault(text, []).append(index)
    for same in alike.values():
        whole = sorted({names[index] for index in same})
        if len(whole) > 1:
            shorter = _told_apart(whole, width)
            for index in same:
                cut[index] = shorter[names[index]]
    return cut


def _told_apart(whole: Sequence[str], width: int) -> Mapping[str, str]:
    """Different names (sorted), cut by the first way that leaves them different."""
    ways: tuple[Callable[[str], str], ...] = (
        lambda name: name if cells(name) <= width else "…" + _end(name, width - 1),
        lambda name: name if cells(name) <= width else _beginning(name, width - 1) + "…",
        lambda name: _around(name, _first_difference(name, whole), width),
    )
    found: dict[str, str] = {}
    for way in ways:
        found = {name: way(name) for name in whole}
        if len(set(found.values())) == len(whole):
            break
    return found


def _first_difference(name: str, among: Sequence[str]) -> int:
    """Where `name` first differs from the one among the others that it is most like: a neighbour in sorted order."""
    at = among.index(name)
    beside = [among[i] for i in (at - 1, at + 1) if 0 <= i < len(among)]
    return max(_alike(name, other) for other in beside)


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _around(name: str, place: int, width: int) -> str:
    """`width` columns of `name` from the word on that `place` is in."""
    start = max(name.rfind(".", 0, place) + 1, place - width // 2, 0)
    if cells(name) <= width or not start:
        return name if cells(name) <= width else _beginning(name, width - 1) + "…"
    if cells(name[start:]) < width:
        return "…" + name[start:]
    return "…" + _beginning(name[start:], width - 2) + "…"


def _beginning(text: str, width: int) -> str:
    """As much as fits `width` columns; a wide character takes two."""
    kept = text[: max(0, width)]
    while cells(kept) > width:
        kept = kept[:-1]
    return kept


def _end(text: str, width: int) -> str:
    kept = text[max(0, len(text) - width) :] if width > 0 else ""
    while cells(kept) > width:
        kept = kept[1:]
    return kept


@dataclass(frozen=True, slots=True)
class Bars:
    """The rows of a bar chart that are drawn: whole names, a list of values per column of `y`, which of them carry a
    sign, what each belongs to, the row it came from (`None`: of the folded ones), and how many were folded."""

    names: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    signs: tuple[tuple[str, ...], ...]
    groups: tuple[str, ...]
    rows: tuple[int | None, ...]
    others: int = 0


def bars(chart: Chart, most: int) -> Bars:
    """At most `most` bars in the order of the rows; when there are more, the smallest become one, "n others"."""
    size = len(chart.data.rows)
    names = words(chart, chart.x)
    values = [numbers(chart, key) for key in chart.y]
    columns = [[row[chart.index(key)] for row in chart.data.rows] for key in chart.y]
    groups = words(chart, chart.color[0]) if chart.color else [""] * size
    kept = list(range(size))
    if size > most:
        largest = sorted(kept, key=lambda i: (values[0][i] is None, -(values[0][i] or 0.0), i))
        kept = sorted(largest[: max(1, most - 1)])
    chosen = set(kept)
    rest = [i for i in range(size) if i not in chosen]
    rows: tuple[int | None, ...] = tuple(kept)
    drawn = Bars(
        tuple(names[i] for i in kept), tuple(tuple(each[i] for i in kept) for each in values),
        tuple(tuple(sign_of([each[i]]) for i in kept) for each in columns), tuple(groups[i] for i in kept), rows,
    )  # fmt: skip
    if not rest:
        return drawn
    sums, marks = [], []
    for each, column in zip(values, columns, strict=True):
        known = [value for i in rest if (value := each[i]) is not None]
        sums.append(sum(known) if known else None)
        marks.append(sign_of([column[i] for i in rest], partial=0 < len(known) < len(rest)))
    return Bars(
        (*drawn.names, f"{len(rest)} other{'s' if len(rest) > 1 else ''}"),
        tuple((*each, total) for each, total in zip(drawn.values, sums, strict=True)),
        tuple((*each, mark) for each, mark in zip(drawn.signs, marks, strict=True)),
        (*drawn.groups, ""), (*rows, None), len(rest),
    )  # fmt: skip


def sign_of(cells: Sequence[Cell], *, partial: bool = False) -> str:
    """The sign of the sum of these, `partial` when some of what it should hold is unknown."""
    return Quantity(None, at_least=partial or any(map(at_least, cells)), about=any(map(about, cells))).mark


@dataclass(frozen=True, slots=True)
class Branch:
    """A part of a nested picture, in preorder: its own word, its whole name, its size with all that is below it, and
    the row it came from; `None` for the small ones under the same parent, which are drawn as one."""

    name: str
    path: str
    depth: int
    value: float
    sign: str
    row: int | None


def branches(chart: Chart, most: int) -> list[Branch]:
    """At most about `most` parts: the largest rows, each with what it is in; what is smaller is "n others" under the
    lowest that is drawn. Rows of no or unknown size have no place.

    >>> from numel.document import Column, Table
    >>> rows = (("", 10), ("a", 7), ("b", 2), ("c", 1))
    >>> tree = Table("t", (Column("path", "layer", "path"), Column("n", "N", "count")), rows, (0, 1, 1, 1))
    >>> [(b.name, b.value) for b in branches(Chart("c", "treemap", tree, x="path", y=("n",)), 2)]
    [('(root)', 10.0), ('a', 7.0), ('2 others', 3.0)]
    """
    depths = chart.data.depths or ()
    values, at = numbers(chart, chart.y[0]), chart.index(chart.y[0])
    names, paths = labels(chart.data), words(chart, chart.x)
    parents: list[int] = []
    above: list[int] = []
    for row, depth in enumerate(depths):
        while above and depths[above[-1]] >= depth:
            above.pop()
        parents.append(above[-1] if above else -1)
        above.append(row)
    sized = [row for row, value in enumerate(values) if value is not None and value > 0]
    largest = sorted(sized, key=lambda row: (-(values[row] or 0.0), row))[:most]
    kept = set(largest)
    for row in largest:  # what a kept one is in, which is no smaller but where a sum is not
        while parents[row] >= 0 and parents[row] not in kept:
            row = parents[row]
            kept.add(row)
    small: dict[int, list[int]] = {}
    busy: set[int] = set()
    for row in sized:
        if row in kept:
            busy.add(parents[row])
        elif parents[row] < 0 or parents[row] in kept:
            small.setdefault(parents[row], []).append(row)
    drawn: list[Branch] = []
    waiting: list[int] = []  # kept rows that are open, whose small ones come after all that is in them

    def close(down_to: int) -> None:
        while waiting and depths[waiting[-1]] >= down_to:
            _fold(waiting.pop())

    def _fold(row: int) -> None:
        rest = small.get(row, [])
        if rest and row in busy:
            total = sum(values[each] or 0.0 for each in rest)
            sign = sign_of([chart.data.rows[each][at] for each in rest])
            depth = depths[row] + 1 if row >= 0 else min(depths, default=0)
            name = f"{len(rest)} other{'s' if len(rest) > 1 else ''}"
            drawn.append(Branch(name, paths[row] if row >= 0 else "", depth, total, sign, None))

    for row in sorted(kept):
        close(depths[row])
        sign = sign_of([chart.data.rows[row][at]])
        drawn.append(Branch(names[row], paths[row], depths[row], values[row] or 0.0, sign, row))
        waiting.append(row)
    close(min(depths, default=0))
    _fold(-1)
    return drawn

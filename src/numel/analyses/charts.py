"""Pictures of one model: where its parameters and its work are, what it costs beside what it holds, and its memory in
the order of the step. A picture names columns of a table; which of them fit, and how they look, a renderer decides."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from numel.analyses.arrange import chosen, number, ordered
from numel.analyses.layers import Layer
from numel.analyses.memory import CATEGORIES, Peak
from numel.analyses.params import held
from numel.document import Cell, Chart, ChartKind, Column, Mark, Quantity, Table, marked
from numel.document.table import Unit
from numel.errors import ViewError
from numel.facts import Histogram

NESTED: tuple[ChartKind, ...] = ("treemap", "icicle", "sunburst")
# what the sizes of a nested picture, and its colours, may be: columns of the tree, the first ones first
SIZES = ("params", "macs", "flops", "nbytes", "activation_nbytes", "elementwise", "backward_flops", "saved_nbytes")
COLORS = ("type", "dtype", "trainable", "params", "macs", "nbytes", "activation_nbytes")
_NO_TRACE = "nothing was traced; give inputs, as in 'f32[1,3,224,224]'"
_NO_STEP = "no training step was traced; ask for one with backward"
_OF_A_TRACE = frozenset({"macs", "flops", "executed_macs", "elementwise", "activations", "activation_nbytes", "read",
                         "written"})  # fmt: skip


def own(rows: Sequence[Layer]) -> Table:
    """What each module holds and computes itself, without the modules below it: numbers that add up to the model's.

    >>> from numel.facts import Totals
    >>> own([Layer("", "Net"), Layer("fc", "Linear", own=Totals(params=6))]).to_dict()["params"]
    [0, 6]
    """
    traced = any(row.own_work is not None for row in rows)
    columns = [Column(key, title, unit) for key, title, unit in _OWN]
    if traced:
        columns += [Column(key, title, unit) for key, title, unit in _OWN_WORK]

    def cells(row: Layer) -> tuple[Cell, ...]:
        counts = [held(row.own, key) for key in ("params", "buffers", "nbytes")]
        work = row.own_work
        done: list[Cell] = [None if work is None else work.cell(key) for key, _, _ in _OWN_WORK] if traced else []
        return (row.path, row.type, row.dtype, *counts, *done)

    return Table("By layer, without those below", tuple(columns), tuple(cells(row) for row in rows))


_OWN: tuple[tuple[str, str, Unit], ...] = (
    ("path", "layer", "path"), ("type", "type", "text"), ("dtype", "dtype", "text"), ("params", "params", "count"),
    ("buffers", "buffers", "count"), ("nbytes", "size", "bytes"),
)  # fmt: skip
_OWN_WORK: tuple[tuple[str, str, Unit], ...] = (
    ("macs", "MACs", "ops"), ("flops", "FLOPs", "ops"), ("elementwise", "elementwise operations", "ops"),
    ("activations", "activations", "count"), ("activation_nbytes", "activation size", "bytes"),
)  # fmt: skip


def bar(table: Table, *, value: str | None, sort: str | None, by: str) -> Chart:
    """A bar for each row that has some of `value`, the largest first unless `sort` says another order."""
    key = _value(table, value, by)
    at = _at(table, key)
    some = [i for i, row in enumerate(table.rows) if number(row[at]) != 0]
    kept = replace(table, rows=tuple(table.rows[i] for i in some), depths=None, total=None)
    if sort != "order":
        kept = ordered(kept, sort if sort is not None else f"-{key}")
    title = f"{_sentence(_column(table, key).title)} by {by}"
    caption = "each without the modules below it" if by == "layer" else ""
    return Chart(title, "bar", kept, x=table.columns[0].key, y=(key,), caption=caption)


def nested(tree: Table, kind: ChartKind, *, value: str | None = None, color: str | None = None) -> Chart:
    """The whole tree, each module with all that is below it. Other sizes and colours that the tree has follow."""
    keys = [column.key for column in tree.columns]
    sizes = [key for key in SIZES if key in keys and _any(tree, key)] or ["params"]
    colors = [key for key in COLORS if key in keys]
    if value is not None:
        first = _value(tree, value, "layer")
        sizes = [first, *(key for key in sizes if key != first)]
    if color is not None:
        (first,) = chosen(color, keys, what="column")
        colors = [first, *(key for key in colors if key != first)]
    title = f"{_sentence(_column(tree, sizes[0]).title)} by layer"
    return Chart(title, kind, tree, x=tree.columns[0].key, y=tuple(sizes), color=tuple(colors))


def scatter(rows: Sequence[Layer]) -> Chart:
    """MACs against params: a point for each module that has both of its own."""
    table = own(rows)
    if all(row.own_work is None for row in rows):
        raise ViewError(f"scatter: {_NO_TRACE}")
    params, macs = _at(table, "params"), _at(table, "macs")
    both = tuple(row for row in table.rows if number(row[params]) and number(row[macs]))
    caption = "a point for each module that holds parameters and multiplies"
    return Chart("MACs against params", "scatter", replace(table, rows=both), x="params", y=("macs",), color=("type",),
                 label="path", caption=caption)  # fmt: skip


def along(rows: Sequence[Layer], kind: ChartKind, *, value: str | None) -> Chart:
    """`value` of each module in the order of the model: a line, or an area under all that came before, too."""
    table = own(rows)
    key = _value(table, value, "layer")
    at, column = _at(table, key), _column(table, key)
    some = [row for row in table.rows if number(row[at]) != 0]
    names = (table.columns[0], column)
    if kind == "line":
        data = Table("By layer", names, tuple((row[0], row[at]) for row in some))
        return Chart(f"{_sentence(column.title)} along the model", "line", data, x="path", y=(key,))
    so_far: list[tuple[Cell, ...]] = []
    total: int | float = 0
    least = about = False
    for row in some:
        cell = row[at]
        total += number(cell) or 0
        least |= cell is None or (isinstance(cell, Quantity) and cell.at_least)
        about |= isinstance(cell, Quantity) and cell.about
        so_far.append((row[0], marked(total, column.unit, at_least=least, about=about)))
    data = Table("Up to each layer", names, tuple(so_far))
    return Chart(f"{_sentence(column.title)} up to each layer", "area", data, x="path", y=(key,))


def heatmap(rows: Sequence[Layer], *, value: str | None) -> Chart:
    """`value` by class of module and level of the tree."""
    table = own(rows)
    key = _value(table, value, "layer")
    at, column = _at(table, key), _column(table, key)
    sums: dict[tuple[str, int], int | float] = {}
    least: dict[tuple[str, int], bool] = {}
    about: dict[tuple[str, int], bool] = {}
    for layer, row in zip(rows, table.rows, strict=True):
        place, cell = (layer.type, layer.depth), row[at]
        if number(cell) == 0:
            continue
        sums[place] = sums.get(place, 0) + (number(cell) or 0)
        least[place] = least.get(place, False) or cell is None or (isinstance(cell, Quantity) and cell.at_least)
        about[place] = about.get(place, False) or (isinstance(cell, Quantity) and cell.about)
    largest = sorted({kind for kind, _ in sums}, key=lambda kind: -sum(n for (k, _), n in sums.items() if k == kind))
    cells = tuple(
        (kind, depth, marked(sums[kind, depth], column.unit, at_least=least[kind, depth], about=about[kind, depth]))
        for kind in largest
        for depth in sorted(depth for k, depth in sums if k == kind)
    )
    data = Table("By type and depth", (Column("type", "type"), Column("depth", "depth", "integer"), column), cells)
    title = f"{_sentence(column.title)} by type and depth"
    return Chart(title, "heatmap", data, x="depth", y=("type",), color=(key,))


def timeline(table: Table, peak: Peak) -> Chart:
    """Live bytes operator by operator, by what they are, with the peak pointed out. `table`: `memory.timeline`."""
    keys = [column.key for column in table.columns if column.key in CATEGORIES]
    step = _at(table, "step")
    rows = [i for i, row in enumerate(table.rows) if row[step] == peak.op + 1]
    marks = tuple(Mark(i, f"peak in {peak.path}" if peak.path else "peak") for i in rows[:1])
    caption = "each operator at its highest; workspaces of kernels and the allocator's rounding are left out"
    return Chart("Live bytes in a training step", "timeline", table, x="step", y=tuple(keys), marks=marks,
                 caption=caption)  # fmt: skip


def histogram(histograms: Sequence[Histogram], path: str | None) -> Chart:
    """How often which values occur in one tensor, or in all parameters."""
    if not histograms:
        raise ViewError("histogram: no values were read; name a model or a file that has its weights")
    by_path = {each.path: each for each in histograms}
    (name,) = chosen([path or ""], by_path, what="tensor") if path or "" in by_path else (histograms[0].path,)
    found = by_path[name]
    columns = (Column("low", "value", "number"), Column("high", "to", "number"), Column("count", "elements", "count"))
    rows = tuple((low, high, count) for low, high, count in found.bins())
    odd = [f"{n:,} {word}" for n, word in ((found.nan, "NaN"), (found.infinite, "infinite")) if n]
    caption = f"not drawn: {' and '.join(odd)}" if odd else ""
    of = name or "all parameters"
    return Chart(f"Values of {of}", "histogram", Table(f"Values of {of}", columns, rows), x="low", y=("count",),
                 x_end="high", caption=caption)  # fmt: skip


def telling(chart: Chart, least: int = 1) -> Sequence[Chart]:
    """The chart, if it draws at least so many numbers that are not zero; else none, for a page that does without."""
    at = _at(chart.data, chart.y[0])
    return [chart] if sum(bool(number(row[at])) for row in chart.data.rows) >= least else []


def made(makers: Mapping[ChartKind, Callable[..., Chart]], kind: str, options: Mapping[str, Any]) -> Chart:
    """The chart of a kind, by the maker that takes these options. Raises `ViewError` for one that does not."""
    (name,) = chosen([kind], makers, what="kind of plot")
    maker = makers[name]  # type: ignore[index]
    taken = inspect.signature(maker).parameters
    for option in options:
        if option not in taken:
            takes = f"it takes {' and '.join(taken)}" if taken else "it takes none"
            raise ViewError(f"{kind} has no option {option!r}; {takes}")
    return maker(**options)


def _value(table: Table, value: str | None, by: str) -> str:
    """The key of the column that is drawn; the first that holds something when none is named."""
    numeric = [column.key for column in table.columns if column.unit in ("count", "ops", "bytes", "integer", "share")]
    if value is None:
        first = [key for key in ("params", "macs", "numel", "unclassified", "nbytes") if key in numeric]
        return next((key for key in first if _any(table, key)), numeric[0])
    if value in _OF_A_TRACE and value not in numeric:
        raise ViewError(f"{value} by {by}: {_NO_TRACE}")
    if value in ("backward_flops", "backward_macs", "saved_nbytes") and value not in numeric:
        raise ViewError(f"{value} by {by}: {_NO_STEP if by == 'layer' else 'no such numbers; expected by layer'}")
    return chosen([value], numeric, what=f"number by {by}")[0]


def _any(table: Table, key: str) -> bool:
    at = _at(table, key)
    return any(number(row[at]) for row in table.rows)


def _at(table: Table, key: str) -> int:
    return next(i for i, column in enumerate(table.columns) if column.key == key)


def _column(table: Table, key: str) -> Column:
    return table.columns[_at(table, key)]


def _sentence(title: str) -> str:
    """With a capital, unless it is an abbreviation already."""
    return title[:1].upper() + title[1:]

"""A chart as a table, where nothing can be drawn: what is in the picture, with what it leaves out said below."""

from __future__ import annotations

from dataclasses import replace

from numel.document import Cell, Chart, Column, Quantity, Table
from numel.document.table import Unit, about, at_least
from numel.render.charts import Branch, bars, branches, heads, number, numbers, peaks, sign_of, words
from numel.render.text import cell_text

MOST = 30


def data(chart: Chart) -> Table:
    """All rows of the columns that the chart uses."""
    at = [chart.index(key) for key in _used(chart)]
    columns = tuple(chart.data.columns[i] for i in at)
    rows = tuple(tuple(row[i] for i in at) for row in chart.data.rows)
    return Table(chart.title, columns, rows, chart.data.depths if at[0] == 0 else None)


def shown(chart: Chart, most: int = MOST) -> Table:
    """The chart as at most about `most` rows.

    >>> columns = (Column("dtype", "dtype"), Column("n", "N", "count"))
    >>> table = shown(Chart("c", "bar", Table("t", columns, (("a", 5), ("b", 1), ("c", 2))), x="dtype", y=("n",)), 2)
    >>> table.rows
    (('a', 5), ('2 others', Quantity(value=3, unit='count', at_least=False, about=False)))
    """
    match chart.kind:
        case "bar":
            table = _bars(chart, most)
        case "treemap" | "icicle" | "sunburst":
            table = _branches(chart, most)
        case "heatmap":
            table = pivot(chart)
        case "histogram":
            table = _bins(chart, most)
        case _:
            table = _thinned(chart, most)
    said = [chart.caption, table.caption, *marks(chart)]
    return replace(table, title=chart.title, caption=" · ".join(text for text in said if text))


def marks(chart: Chart) -> list[str]:
    """What is pointed out, each with the number there: all columns of `y` together where they lie on each other."""
    said = []
    for mark in chart.marks:
        row = chart.data.rows[mark.row]
        keys = chart.y if chart.kind in ("area", "timeline") else chart.y[:1]
        cells = [row[chart.index(key)] for key in keys]
        known = [value for cell in cells if (value := number(cell)) is not None]
        sign = sign_of(cells, partial=len(known) < len(cells))
        total = quantity(sum(known) if known else None, chart.column(chart.y[0]).unit, sign)
        said.append(f"{mark.text}: {cell_text(total, short=True)}")
    return said


def remarks(chart: Chart) -> list[str]:
    """What is said below a picture, whose lines and areas carry no signs: its caption, and that some of its numbers are
    bounds.

    >>> table = Table("t", (Column("n", "N", "count"), Column("m", "M", "count")), ((1, Quantity(2, at_least=True)),))
    >>> remarks(Chart("c", "line", table, x="n", y=("m",), caption="a caption"))
    ['a caption', '≥ some of these numbers are lower bounds']
    """
    cells = [row[chart.index(key)] for key in dict.fromkeys((*chart.y, *chart.color[:1])) for row in chart.data.rows]
    least, more_or_less = any(map(at_least, cells)), any(map(about, cells))
    said = [chart.caption] if chart.caption else []
    said += ["≥ some of these numbers are lower bounds"] if least else []
    return [*said, *(["≈ some of these numbers may be more or less"] if more_or_less else [])]


def whole(value: int | float | None) -> int | float | None:
    """As an int where it is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _used(chart: Chart) -> list[str]:
    color = chart.color[:1] if chart.kind not in ("treemap", "icicle", "sunburst") else ()
    return [key for key in dict.fromkeys((chart.label, chart.x, chart.x_end, *chart.y, *color)) if key]


def quantity(value: float | None, unit: Unit, sign: str) -> Cell:
    """A number with its sign as a cell."""
    return Quantity(whole(value), unit, sign in ("≥", "≳"), sign in ("≈", "≳"))


def _bars(chart: Chart, most: int) -> Table:
    drawn = bars(chart, most)
    groups = chart.color[:1]
    columns = [chart.column(key) for key in (chart.x, *groups, *chart.y)]
    rows: list[tuple[Cell, ...]] = []
    for i, row in enumerate(drawn.rows):
        name = drawn.names[i] if row is None else chart.data.rows[row][chart.index(chart.x)]
        group = () if not groups else ("" if row is None else chart.data.rows[row][chart.index(groups[0])],)
        if row is not None:
            cells = tuple(chart.data.rows[row][chart.index(key)] for key in chart.y)
        else:
            cells = tuple(
                quantity(values[i], chart.column(key).unit, signs[i])
                for key, values, signs in zip(chart.y, drawn.values, drawn.signs, strict=True)
            )
        rows.append((name, *group, *cells))
    return Table("", tuple(columns), tuple(rows))


def _branches(chart: Chart, most: int) -> Table:
    column = chart.column(chart.y[0])
    parts = branches(chart, most)
    total = next((part.value for part in parts), 0.0)

    def row(part: Branch) -> tuple[Cell, ...]:
        share = part.value / total if total else None
        return (part.name, quantity(part.value, column.unit, part.sign), share)

    name = replace(chart.column(chart.x), unit="text")
    columns = (name, column, Column("share", "share", "share"))
    return Table("", columns, tuple(row(part) for part in parts), tuple(part.depth for part in parts))


def pivot(chart: Chart) -> Table:
    """A heatmap as a table: a row for each name down, a column for each across; empty where there is nothing."""
    down, color = chart.column(chart.y[0]), chart.column(chart.color[0])
    across, names = words(chart, chart.x), words(chart, chart.y[0])
    values = [row[chart.index(chart.color[0])] for row in chart.data.rows]
    top = heads(chart)
    columns = [replace(down, unit="text"), *(Column(head, head, color.unit) for head in top)]
    cells = {(name, head): value for name, head, value in zip(names, across, values, strict=True)}
    rows = tuple((name, *(cells.get((name, head), "") for head in top)) for name in dict.fromkeys(names))
    title = chart.column(chart.x).title
    return Table("", tuple(columns), rows, caption=f"across: {title}; the cells: {color.title}")


def _bins(chart: Chart, most: int) -> Table:
    """Neighbouring bins together, so that there are at most `most`."""
    low, high = chart.index(chart.x), chart.index(chart.x_end)
    at = [chart.index(key) for key in chart.y]
    rows = chart.data.rows
    step = max(1, -(-len(rows) // most))
    merged: list[tuple[Cell, ...]] = []
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        counts = [sum(number(row[i]) or 0.0 for row in part) for i in at]
        merged.append((part[0][low], part[-1][high], *(whole(count) for count in counts)))
    columns = tuple(chart.column(key) for key in (chart.x, chart.x_end, *chart.y))
    return Table("", columns, tuple(merged), caption=f"{step} bins in each row" if step > 1 else "")


def _thinned(chart: Chart, most: int) -> Table:
    """As many rows as fit, never without the highest one and those pointed out."""
    table = data(chart)
    rows = table.rows
    if len(rows) <= most:
        return replace(table, depths=None)
    columns = [numbers(chart, key) for key in chart.y]
    heights = [sum(values[i] or 0.0 for values in columns) for i in range(len(rows))]
    if chart.kind == "scatter":
        kept = sorted(sorted(range(len(rows)), key=lambda i: -heights[i])[:most], key=lambda i: -heights[i])
        rule = "the highest"
    else:
        kept = sorted({*peaks(heights, most), *(mark.row for mark in chart.marks)})
        rule = "of each stretch the highest"
    caption = f"{len(kept)} of {len(rows)} rows, {rule}"
    return replace(table, rows=tuple(rows[i] for i in kept), depths=None, caption=caption)

"""A piece of HTML for a notebook's output: trees that unfold, no script, nothing that has to be loaded.

Viewers take parts of it away: nbviewer the scripts, GitHub style sheets as well. So what is needed to read it stands in
the elements themselves (`details`, `table`), colours are those of the page around it, and styles only align.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from numel.document import Callout, Cell, Chart, Column, Document, Heading, Table, Text
from numel.errors import ViewError
from numel.render import assert_never
from numel.render.chart_tables import shown
from numel.render.charts import number
from numel.render.text import cell_text, fact_text, is_number, labels, middle, printable, title_text

NAME = "notebook"
SUFFIXES: tuple[str, ...] = ()
WHOLE = False

_MOST = 500  # rows of one table
_LONGEST = 120  # characters of a name; all of it is in its title
_OPEN = 2  # levels of a tree that are unfolded at first
_MORE = "result.save('report.html') writes all of them"

_BOX = "max-width:72em;font-size:13px;line-height:1.5"
_FLEX = "display:inline-flex;width:calc(100% - 1.5em);gap:1em;vertical-align:top"
_NO_MARKER = "margin-left:1.1em"  # the width of the triangle before what unfolds
_RIGHT = "text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap"
_CELL = "padding:1px 10px 1px 0;border:0;background:transparent"
_FAINT = "opacity:.65"
_PLAIN = "font-size:inherit;border-collapse:collapse;margin:0"
# without it names and figures would not be told apart in a dark page that a viewer left light, or the other way round
_INHERIT = "color:inherit;background:transparent"


def render(document: Document, *, width: int | None = None, color: bool = False, suffix: str = "") -> str:
    """The document as one element; `width` and `color` mean nothing here.

    >>> render(Document((Text("a < b"),))).count("a &lt; b")
    1
    """
    parts = [drawn for block in document.blocks for drawn in _block(block)]
    return "\n".join([f'<div style="{_BOX};{_INHERIT}">', *parts, "</div>\n"]) if parts else ""


def embed(page: str) -> None:
    """Show a whole page in the output of the cell that runs, in a frame that nothing gets out of.

    Raises `ViewError` where no notebook runs.
    """
    import sys

    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or not hasattr(shell, "kernel"):
        raise ViewError("no notebook is running; save the page instead: result.save('report.html')")
    from IPython.display import HTML, display

    style = "width:100%;height:720px;border:1px solid rgba(128,128,128,.4);border-radius:6px"
    frame = f'<iframe title="numel report" sandbox="allow-scripts" srcdoc="{escape(page)}" style="{style}"></iframe>'
    display(HTML(f"<div>{frame}</div>"))  # type: ignore[no-untyped-call]  # of a bare frame IPython says to use a URL


def _block(block: Heading | Text | Callout | Table | Chart) -> Iterator[str]:
    match block:
        case Heading(text, level):
            yield f"<h{level + 2}>{_name(' '.join(text.split()))}</h{level + 2}>"
        case Text(text):
            yield f"<p>{'<br>'.join(_text(line) for line in text.splitlines())}</p>"
        case Callout():
            where = f" (at {block.path})" if block.path else ""
            code = f" [{block.code}]" if block.code else ""
            yield f"<p><b>{block.kind}:</b> {_text(' '.join(block.text.split()) + where + code)}</p>"
        case Table():
            yield from _facts(block) if block.kind == "facts" else _tree(block) if block.depths else _table(block)
        case Chart():
            table = shown(block)
            bars = block.y[0] if block.kind in ("bar", "histogram") else ""
            yield from _tree(table) if table.depths else _table(table, bars)
        case _:
            assert_never(block)


def _facts(table: Table) -> Iterator[str]:
    yield from _titled(table)
    rows = []
    for row in (*table.rows, *((table.total,) if table.total is not None else ())):
        cells = zip(row[1:], table.columns[1:], strict=True)
        figures = [_figure(*fact_text(cell, column.unit)) for cell, column in cells]
        name = cell_text(row[0], table.columns[0].unit)
        style = f"{_CELL};text-align:left;font-weight:normal;{_FAINT}"
        rows.append(f'<tr style="{_INHERIT}"><th scope="row" style="{style}">{_name(name)}</th>'
                    f'<td style="{_CELL};text-align:left">{" ".join(figures)}</td></tr>')  # fmt: skip
    yield f'<table style="{_PLAIN}">{"".join(rows)}</table>' if rows else "<p>(none)</p>"
    yield from _closed(table)


def _figure(exact: str, short: str) -> str:
    return f'{_text(exact)} <span style="{_FAINT}">{_text(short)}</span>' if short else _text(exact)


def _table(table: Table, bars: str = "") -> Iterator[str]:
    yield from _titled(table)
    if not table.columns:
        return
    heads = "".join(f'<th scope="col" style="{_CELL};{_side(column)}" title="{escape(column.help)}">'
                    f"{_text(title_text(column))}</th>" for column in table.columns)  # fmt: skip
    rows = [_cells(row, table.columns) for row in table.rows[:_MOST]]
    if bars:
        values = [number(row[next(i for i, c in enumerate(table.columns) if c.key == bars)]) or 0 for row in table.rows]
        top = max(values, default=0) or 1
        rows = [row + _bar(value / top) for row, value in zip(rows, values, strict=False)]
        heads += "<th></th>"
    if not table.rows:
        rows.append(f'<td colspan="{len(table.columns)}">(no rows)</td>')
    if table.total is not None:
        rows.append(_cells(table.total, table.columns, "font-weight:bold"))
    body = "".join(f'<tr style="{_INHERIT}">{row}</tr>' for row in rows)
    yield f'<table style="{_PLAIN}"><thead><tr style="{_INHERIT}">{heads}</tr></thead><tbody>{body}</tbody></table>'
    yield from _more(len(table.rows) - _MOST)
    yield from _closed(table)


def _bar(share: float) -> str:
    style = "height:.7em;background:currentColor;opacity:.5"
    return f'<td style="{_CELL};min-width:12em"><div style="{style};width:{max(0.0, share) * 100:.1f}%"></div></td>'


def _cells(row: Sequence[Cell], columns: Sequence[Column], style: str = "") -> str:
    return "".join(
        f'<td style="{_CELL};{_side(column)}{";" if style else ""}{style}">{_name(cell_text(cell, column.unit))}</td>'
        for cell, column in zip(row, columns, strict=True)
    )


def _side(column: Column) -> str:
    return _RIGHT if is_number(column) else "text-align:left"


def _tree(table: Table) -> Iterator[str]:
    """Each row that has rows below it unfolds; figures stand in columns at the right, whatever the depth."""
    yield from _titled(table)
    depths = table.depths or ()
    shown_rows, hidden = _fitting(depths)
    names, base = labels(table), min(depths, default=0)
    widths = [_width(table, i) for i in range(len(table.columns))]
    yield f'<div><span style="{_FLEX};{_NO_MARKER};font-weight:bold">{_head(table, widths)}</span></div>'
    parts: list[str] = []
    open_levels: list[int] = []
    for place, index in enumerate(shown_rows):
        level = depths[index] - base
        while open_levels and open_levels[-1] >= level:
            parts.append("</details>")
            open_levels.pop()
        line = _line(table, index, names[index], widths)
        following = shown_rows[place + 1] if place + 1 < len(shown_rows) else None
        inset = f"margin-left:{1.2 if level else 0}em"
        if following is not None and depths[following] > depths[index]:
            unfolded = " open" if level < _OPEN - 1 else ""
            parts.append(f'<details{unfolded} style="{inset}"><summary><span style="{_FLEX}">{line}</span></summary>')
            open_levels.append(level)
        else:
            parts.append(f'<div style="{inset}"><span style="{_FLEX};{_NO_MARKER}">{line}</span></div>')
    parts += ["</details>"] * len(open_levels)
    yield "".join(parts) or "<p>(no rows)</p>"
    if table.total is not None:
        yield f"<table><tr>{_cells(table.total, table.columns, 'font-weight:bold')}</tr></table>"
    yield from _more(hidden)
    yield from _closed(table)


def _fitting(depths: Sequence[int]) -> tuple[list[int], int]:
    """The rows down to the deepest level with which they are few enough, and how many others there are."""
    limit = max(depths, default=0)
    while limit > min(depths, default=0) + 1 and sum(depth <= limit for depth in depths) > _MOST:
        limit -= 1
    rows = [index for index, depth in enumerate(depths) if depth <= limit][:_MOST]
    return rows, len(depths) - len(rows)


def _width(table: Table, i: int) -> float:
    texts = [cell_text(row[i], table.columns[i].unit, short=True) for row in table.rows[:_MOST]]
    return min(28.0, max(map(len, [title_text(table.columns[i]), *texts])) * 0.62 + 0.4)


def _head(table: Table, widths: Sequence[float]) -> str:
    texts = [f'<span title="{escape(column.help)}">{_text(title_text(column))}</span>' for column in table.columns]
    return _spans(texts, table.columns, widths)


def _line(table: Table, index: int, name: str, widths: Sequence[float]) -> str:
    row = table.rows[index]
    whole = cell_text(row[0], table.columns[0].unit)
    texts = [f'<span title="{escape(whole[:1000])}">{_name(name)}</span>']
    texts += [
        _name(cell_text(cell, column.unit, short=True))
        for cell, column in zip(row[1:], table.columns[1:], strict=True)
    ]
    return _spans(texts, table.columns, widths)


def _spans(texts: Sequence[str], columns: Sequence[Column], widths: Sequence[float]) -> str:
    first = f'<span style="flex:1 1 12em;min-width:0;overflow-wrap:anywhere">{texts[0]}</span>'
    rest = [
        f'<span style="flex:0 0 {width:.1f}em;{_side(column)};overflow-wrap:anywhere">{text}</span>'
        for text, column, width in zip(texts[1:], columns[1:], widths[1:], strict=True)
    ]
    return " ".join([first, *rest])


def _titled(table: Table) -> Iterator[str]:
    if table.title:
        yield f"<p><b>{_name(table.title)}</b></p>"


def _closed(table: Table) -> Iterator[str]:
    if table.caption:
        yield f'<p style="{_FAINT}">{_text(table.caption)}</p>'


def _more(count: int) -> Iterator[str]:
    if count > 0:
        yield f"<p>{count:,} more row{'s' if count > 1 else ''}: {_MORE}</p>"


def _name(text: str) -> str:
    return _text(middle(printable(text), _LONGEST))


def _text(text: str) -> str:
    return escape(printable(text))

"""One file that is a page: totals and notes as they are, tables to search, sort and unfold, pictures to zoom into.

It is made of the document alone and needs nothing else: no server, no request, which its own policy forbids. Numbers
are computed here, in Python; the page sorts, filters and lays out. The scripts that draw are in this folder, plotly.js
comes from the plotly package, and Tabulator lies in `vendor`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from numel.document import Callout, Chart, Document, Heading, Table, Text
from numel.extras import need
from numel.render import assert_never
from numel.render.chart_tables import remarks
from numel.render.html.data import Data
from numel.render.text import cell_text, fact_text, printable

NAME = "html"
SUFFIXES: tuple[str, ...] = (".html", ".htm")
WHOLE = True

_SCRIPTS = ("format.js", "rows.js", "table.js", "chart.js", "page.js")
_THEMES = (("system", "as the system"), ("light", "light"), ("dark", "dark"))


def render(document: Document, *, width: int | None = None, color: bool = False, suffix: str = "") -> str:
    """The page; `width` and `color` mean nothing here. Raises `MissingExtra` for charts without plotly.

    >>> page = render(Document((Heading("Net", 1), Text("a < b"))))
    >>> "<title>Net</title>" in page, "a &lt; b" in page
    (True, True)
    """
    data = Data()
    body: list[str] = []
    contents: list[tuple[str, str]] = []
    title = next((block.text for block in document.blocks if isinstance(block, Heading)), "") or "numel"
    said: list[str] = []  # callouts that follow each other are one list
    for number, block in enumerate(document.blocks):
        if said and not isinstance(block, Callout):
            body.append(f'<ul class="notes">{"".join(said)}</ul>')
            said = []
        anchor = f"part-{number}"
        match block:
            case Heading(text, level):
                text = " ".join(text.split())
                if level > 1:
                    contents.append((anchor, text))
                body.append(f'<h{level} id="{anchor}">{_text(text)}</h{level}>')
            case Text(text):
                body.append(f"<p>{'<br>'.join(_text(line) for line in text.splitlines())}</p>")
            case Callout():
                said.append(_callout(block))
            case Table():
                contents.append((anchor, block.title))
                body.append(_facts(block, anchor) if block.kind == "facts" else _table(block, anchor, data))
            case Chart():
                contents.append((anchor, block.title))
                body.append(_chart(block, anchor, data))
            case _:
                assert_never(block)
    if said:
        body.append(f'<ul class="notes">{"".join(said)}</ul>')
    return _page(title, contents, body, data)


def _page(title: str, contents: list[tuple[str, str]], body: list[str], data: Data) -> str:
    scripts, styles, later = [], [_asset("page.css")], ""
    if data.tables or data.charts:
        scripts.append(_asset("vendor/tabulator.min.js"))
        styles.insert(0, _asset("vendor/tabulator_simple.min.css"))
    if data.charts:
        later = _plotly()  # the page runs it when the first picture comes near: until then it would be in the way
    scripts.append("(() => {\n'use strict';\n" + "\n".join(map(_asset, _SCRIPTS)) + "})();\n")
    known = " ".join(f"'sha256-{_digest(script)}'" for script in (*scripts, later) if script)
    policy = "; ".join((
        "default-src 'none'", f"script-src {known}",
        "style-src 'unsafe-inline'", "img-src data: blob:", "font-src data:", "base-uri 'none'", "form-action 'none'",
    ))  # fmt: skip
    first = {name: anchor for anchor, name in reversed(contents) if name}  # what is there again has a heading above it
    links = "".join(f'<li><a href="#{at}">{_text(name)}</a></li>' for at, name in contents if first.get(name) == at)
    themes = "".join(f'<option value="{value}">{words}</option>' for value, words in _THEMES)
    return "\n".join((
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="generator" content="numel">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{_text(' '.join(title.split())[:200])}</title>",
        *(f"<style>\n{style}\n</style>" for style in styles),
        "</head>",
        "<body>",
        '<a class="skip" href="#report">Skip to the report</a>',
        '<header class="bar"><nav aria-label="Contents"><ul>' + links + "</ul></nav>",
        f'<label class="theme">Theme <select id="theme">{themes}</select></label></header>',
        '<main id="report" tabindex="-1">',
        '<p id="unscripted"><b>Tables and pictures need JavaScript;</b> totals and notes are below.</p>'
        if data.tables or data.charts else "",
        *body,
        "</main>",
        '<p id="status" role="status" aria-live="polite" class="unseen"></p>',
        f'<script type="application/json" id="data">{_json(data.payload())}</script>',
        *([f'<script type="text/plain" id="plotly">{later}</script>'] if later else []),
        *(f"<script>{script}</script>" for script in scripts),
        "</body>",
        "</html>",
        "",
    ))  # fmt: skip


def _callout(callout: Callout) -> str:
    where = f' <span class="at">at {_text(callout.path)}</span>' if callout.path else ""
    code = f' <code>{_text(callout.code)}</code>' if callout.code else ""
    text = _text(" ".join(callout.text.split()))
    return f'<li class="{callout.kind}"><b>{callout.kind}</b> <span>{text}{where}{code}</span></li>'


def _facts(table: Table, anchor: str) -> str:
    rows = []
    for row in (*table.rows, *((table.total,) if table.total is not None else ())):
        figures = []
        for cell, column in zip(row[1:], table.columns[1:], strict=True):
            exact, short = fact_text(cell, column.unit)
            figures.append(f"{_text(exact)} <small>{_text(short)}</small>" if short else _text(exact))
        name = cell_text(row[0], table.columns[0].unit)
        rows.append(f"<div><dt>{_text(name)}</dt><dd>{' '.join(figures)}</dd></div>")
    copy = f'<button type="button" class="copy" data-copies="{anchor}">Copy</button>' if rows else ""
    head = f'<div class="head"><h2>{_text(table.title)}</h2>{copy}</div>' if table.title else ""
    listed = f'<dl class="facts">{"".join(rows)}</dl>' if rows else "<p>(none)</p>"
    return f'<section id="{anchor}" class="card">{head}{listed}{_caption(table.caption)}</section>'


def _table(table: Table, anchor: str, data: Data) -> str:
    number = data.table(table)
    head = f'<h2 id="{anchor}-title">{_text(table.title)}</h2>' if table.title else ""
    if not table.columns:
        return f'<section id="{anchor}" class="card">{head}{_caption(table.caption)}</section>'
    named = f' aria-labelledby="{anchor}-title"' if table.title else ' aria-label="Table"'
    place = f'<div class="table" data-table="{number}" data-rows="{len(table.rows)}"></div>'
    return f'<section id="{anchor}" class="card wide"{named}>{head}{place}{_caption(table.caption)}</section>'


def _chart(chart: Chart, anchor: str, data: Data) -> str:
    number = data.chart(chart)
    head = f'<h2 id="{anchor}-title">{_text(chart.title)}</h2>'
    place = f'<div class="chart" data-chart="{number}" data-kind="{chart.kind}"></div>'
    below = _caption(" · ".join(remarks(chart)))
    return f'<section id="{anchor}" class="card wide" aria-labelledby="{anchor}-title">{head}{place}{below}</section>'


def _caption(text: str) -> str:
    return f'<p class="caption">{_text(text)}</p>' if text else ""


def _text(text: str) -> str:
    return escape(printable(text))


def _json(value: Any) -> str:
    """JSON that no HTML parser sees a tag or a comment in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8").strip() + "\n"


@cache
def _plotly() -> str:
    source: str = need("plotly.offline", extra="html").get_plotlyjs()
    return source.replace("</script", "<\\/script")


@cache
def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

"""Every block of a document in every case: empty, one row, long, hostile names. What renderers are tried on."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, nan
from typing import get_args

from numel.document import (
    Block,
    Callout,
    Cell,
    Chart,
    ChartKind,
    Column,
    Document,
    Heading,
    Mark,
    Quantity,
    Table,
    Text,
)

CASES = ("empty", "one", "long", "hostile")
KINDS: tuple[ChartKind, ...] = get_args(ChartKind)

# names that a file may choose: what terminals, HTML, Markdown, LaTeX, spreadsheets and plotly would obey
HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "\x1b[31mred\x1b[0m",
    "a\nb\r\nc",
    "[bold]x[/bold] [/]",
    "a|b`c`*d*<b>&amp;",
    "quote\"s and 'single'",
    "\u202eevil\u2066",
    "名前" * 20,
    "x" * 10_000,
    r"\input{/etc/passwd}$x_1^2$ 100% #1 & ~",
    "=1+2",
    "_leading and $math$",
    "half \udc80 pair",
    "",
)

COLUMNS = (
    Column("path", "layer", "path"),
    Column("type", "type"),
    Column("output_shape", "output", "shape"),
    Column("params", "params", "count", help="distinct parameter elements"),
    Column("share", "share", "share"),
    Column("trainable", "train", "flag"),
    Column("macs", "MACs", "ops"),
    Column("nbytes", "size", "bytes", basis="estimate"),
)


def row(path: str = "conv1", params: Cell = 9408, macs: Cell = 118_013_952, **other: Cell) -> tuple[Cell, ...]:
    cells: dict[str, Cell] = {
        "type": "Conv2d", "output_shape": (1, 64, 112, 112), "share": 0.5, "trainable": True, "nbytes": 37_632,
    }  # fmt: skip
    cells |= {"path": path, "params": params, "macs": macs} | other
    return tuple(cells[column.key] for column in COLUMNS)


def names(case: str) -> tuple[str, ...]:
    if case == "hostile":
        return HOSTILE
    count = {"empty": 0, "one": 1, "long": 48}[case]
    return tuple(f"model.layers.{i // 4}.self_attn.{('q', 'k', 'v', 'o')[i % 4]}_proj" for i in range(count))


def odd(i: int) -> Cell:
    """A number of every kind that a cell may hold."""
    kinds: tuple[Cell, ...] = (
        3 * (i + 1) ** 3, Quantity(5 * 10**9 + i, "count", at_least=True), None, 0,
        Quantity(17 * i, "count", about=True), 2**70 + i, Quantity(None), 1.5 * i,
    )  # fmt: skip
    return kinds[i % len(kinds)]


def flat(case: str) -> Table:
    rows = tuple(row(name, odd(i), odd(i + 1)) for i, name in enumerate(names(case)))
    total = row("total", 10**9, Quantity(10**12, "ops", at_least=True)) if case != "empty" else None
    return Table("By layer", COLUMNS, rows, total=total, caption="a caption" if case != "empty" else "")


def tree(case: str) -> Table:
    """A root, groups below it, and the names in groups of four."""
    rows: list[tuple[Cell, ...]] = []
    depths: list[int] = []
    every = names(case)
    sizes = [3 * (i + 1) ** 3 for i in range(len(every))]
    if every:
        rows.append(row("", sum(sizes), 10 * sum(sizes), type="Net"))
        depths.append(0)
    for start in range(0, len(every), 4):
        group = sizes[start : start + 4]
        rows.append(row(f"model.layers.{start // 4}", sum(group), 10 * sum(group), type="Block"))
        depths.append(1)
        for i, name in enumerate(every[start : start + 4], start):
            rows.append(row(name, sizes[i], 10 * sizes[i], trainable="partly" if i % 3 else False))
            depths.append(2)
    return Table("Layers", COLUMNS, tuple(rows), tuple(depths))


def facts(case: str) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple((name or "(nameless)", odd(i)) for i, name in enumerate(names(case)))
    if case == "one":
        rows = (("MACs (mult-adds)", Quantity(4_089_184_256, "ops")),)
    return Table("Totals", (Column("name", "name"), Column("value", "value", "count")), rows[:20], kind="facts")


def chart(kind: ChartKind, case: str) -> Chart:
    every = names(case)
    caption = "a caption" if case == "long" else ""
    if kind in ("treemap", "icicle", "sunburst"):
        return Chart("Params by layer", kind, tree(case), x="path", y=("params", "macs"), color=("type", "macs"))
    if kind == "bar":
        return Chart("Params by layer", kind, flat(case), x="path", y=("params",), caption=caption)
    if kind == "histogram":
        columns = (Column("low", "value", "number"), Column("high", "to", "number"), Column("n", "elements", "count"))
        bins = tuple((i / 10, (i + 1) / 10, 7 * i % 50) for i in range(len(every)))
        return Chart("Values", kind, Table("Values", columns, bins), x="low", x_end="high", y=("n",))
    if kind == "heatmap":
        columns = (Column("depth", "depth", "integer"), Column("type", "type"), Column("params", "params", "count"))
        cells = tuple((i % 7, name, 10**i if i < 9 else 5) for i, name in enumerate(every[:30]))
        return Chart("Params by type and depth", kind, Table("Cells", columns, cells), x="depth", y=("type",),
                     color=("params",))  # fmt: skip
    if kind == "scatter":
        return Chart("MACs against params", kind, flat(case), x="params", y=("macs",), color=("type",), label="path")
    columns = (Column("step", "step", "integer"), Column("path", "layer", "path"), Column("a", "kept", "bytes"),
               Column("b", "new", "bytes"))  # fmt: skip
    rows = tuple((i, name, 1024 * (i % 30), 4096 * (i % 7)) for i, name in enumerate(every))
    marks = (Mark(len(rows) - 1, f"peak in {every[-1]}"),) if rows else ()
    y = ("a",) if kind == "line" else ("a", "b")
    return Chart("Live bytes", kind, Table("Live bytes", columns, rows), x="step", y=y, marks=marks, caption=caption)


def blocks(case: str) -> Iterator[tuple[str, Block]]:
    """(name, block) of all kinds of blocks."""
    every = names(case)
    text = "\n".join(every) if case != "long" else "word " * 80
    yield "heading", Heading(" ".join(every)[:200] if case != "empty" else "", 1)
    yield "text", Text(text)
    for kind in ("note", "warning", "error", "advice"):
        where = every[0] if every else ""
        yield f"callout-{kind}", Callout(kind, text[:600], "a-code" if every else "", where)
    yield "flat", flat(case)
    yield "tree", tree(case)
    yield "facts", facts(case)
    for each in KINDS:
        yield each, chart(each, case)


def extremes() -> Iterator[tuple[str, Block]]:
    """What no other case has: no columns, very deep trees, numbers that are none, series side by side."""
    yield "no columns", Table("", (), ())
    yield "deep", Table("Deep", COLUMNS, tuple(row(f"m{i}") for i in range(200)), tuple(range(200)))
    yield "numbers", Table("Odd", COLUMNS, (row("a", nan, inf), row("b", 10**400, -5), row("c", "words", (1, 2))))
    yield "sentences", Table("Said", COLUMNS[:2], (("a", "a sentence " * 30),), sentences=True)
    columns = (Column("name", "name"), Column("a", "first", "count"), Column("b", "second", "count"))
    rows = tuple((f"model {i}", 10**i, 3 * 10**i) for i in range(6))
    yield "grouped", Chart("Two models", "bar", Table("t", columns, rows), x="name", y=("a", "b"))
    ties = Table("t", columns, tuple((f"n{i}", 1, 1) for i in range(60)))
    yield "ties", Chart("Ties", "bar", ties, x="name", y=("a",))
    zeros = tuple((f"n{i}", 0, None) for i in range(5))
    for kind in ("bar", "line", "area", "scatter"):
        x, y = ("a", ("b",)) if kind == "scatter" else ("name", ("a", "b"))
        yield f"zeros {kind}", Chart("Zeros", kind, Table("t", columns, zeros), x=x, y=y)
    yield "unknown", Chart("Unknown", "line", Table("t", columns, (("a", None, 1), ("b", None, 2))), x="name", y=("a",))
    nothing = Table("t", COLUMNS, (row("", 0, 0), row("a", None, 0)), (0, 1))
    for nested in ("treemap", "icicle", "sunburst"):
        yield f"zeros {nested}", Chart("Zeros", nested, nothing, x="path", y=("params",))


def document(case: str) -> Document:
    """All blocks, one below the other."""
    return Document(tuple(block for _, block in blocks(case)))

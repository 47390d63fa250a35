"""Documents for pages: a model as a reader has it, and one with sixty thousand layers."""

from __future__ import annotations

from dataclasses import replace

from every_block import HOSTILE, chart, row, tree
from numel.document import Callout, Cell, Chart, ChartKind, Column, Document, Heading, Quantity, Table

COLUMNS = (
    Column("path", "layer", "path"),
    Column("type", "type"),
    Column("dtype", "dtype"),
    Column("params", "params", "count", help="distinct parameter elements"),
    Column("trainable", "train", "flag"),
    Column("macs", "MACs", "ops"),
)
# (path, type, params, trainable): two blocks of two layers each
_LAYERS: tuple[tuple[str, str, int, bool], ...] = (
    ("", "Net", 1_110, True), ("stem", "Conv2d", 10, False), ("blocks", "Sequential", 1_000, True),
    ("blocks.0", "Block", 300, True), ("blocks.0.conv", "Conv2d", 200, True), ("blocks.0.norm", "Norm", 100, True),
    ("blocks.1", "Block", 700, True), ("blocks.1.conv", "Conv2d", 650, True), ("blocks.1.norm", "Norm", 50, True),
    ("head", "Linear", 100, True),
)  # fmt: skip


def layers() -> Table:
    rows = tuple(
        (path, kind, "float32", params, trains, Quantity(1000 * params, "ops", at_least=kind == "Norm"))
        for path, kind, params, trains in _LAYERS
    )
    depths = tuple(path.count(".") + 1 if path else 0 for path, *_ in _LAYERS)
    return Table("Layers", COLUMNS, rows, depths)


def model() -> Document:
    """Title, totals, a note, a tree as picture and table, a flat table, a picture of each other kind."""
    shown = layers()
    figures = (("Total params", Quantity(1_110)), ("MACs", Quantity(1_110_000, "ops", at_least=True)))
    totals = Table("Totals", (Column("name", "name"), Column("value", "value")), figures, kind="facts")
    flat = Table("By type", COLUMNS[1:4], tuple((f"Kind {i}", "float32", i * i) for i in range(30)),
                 total=("total", "", 8_555))  # fmt: skip
    treemap = Chart("Params by layer", "treemap", shown, x="path", y=("params", "macs"),
                    color=("type", "trainable", "macs"))  # fmt: skip
    kinds: tuple[ChartKind, ...] = ("bar", "line", "timeline", "scatter", "heatmap", "histogram", "sunburst")
    others = [replace(chart(kind, "long"), title=f"A {kind}") for kind in kinds]
    return Document((
        Heading("Net", 1), totals, Callout("warning", "a lower bound", "no-formula", "blocks.0"), treemap, shown, flat,
        *others,
    ))  # fmt: skip


def huge(count: int = 60_000) -> Document:
    """Layers of 256 experts each, as many as it takes."""
    rows: list[tuple[Cell, ...]] = [("", "Net", "bfloat16", 3 * count, True, 3000 * count)]
    depths = [0]
    for layer in range(count // 257):
        rows.append((f"layers.{layer}", "Experts", "bfloat16", 768, True, 768_000))
        depths.append(1)
        for expert in range(256):
            rows.append((f"layers.{layer}.{expert}", "Expert", "bfloat16", 3, True, 3000))
            depths.append(2)
    shown = Table("Layers", COLUMNS, tuple(rows), tuple(depths))
    treemap = Chart("Params by layer", "treemap", shown, x="path", y=("params",), color=("type",))
    return Document((Heading("Huge", 1), treemap, shown))


def hostile() -> Document:
    """Names that a file may choose, everywhere that a name can stand."""
    shown = tree("hostile")
    twice = tuple((name, name) for name in HOSTILE)
    facts = Table("Names", (Column("name", "name"), Column("value", "value")), twice, kind="facts")
    said = [Callout("note", name, name[:40], name) for name in HOSTILE]
    columns = tuple(Column(name[:60] or "empty", name[:60], help=name) for name in HOSTILE)
    heads = Table(HOSTILE[0], columns, (HOSTILE, HOSTILE), caption=HOSTILE[0])
    kinds: tuple[ChartKind, ...] = ("treemap", "bar", "scatter", "timeline", "heatmap")
    return Document((
        Heading(HOSTILE[0], 1), facts, *said, shown, heads, *(chart(kind, "hostile") for kind in kinds),
        Table("Same", shown.columns, (row(HOSTILE[0]),)),
    ))  # fmt: skip

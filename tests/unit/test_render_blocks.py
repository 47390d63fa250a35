"""Every renderer draws every block, whatever it is called and however narrow the screen."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console

from numel.document import Block, Callout, Cell, Column, Document, Heading, Quantity, Table, Text
from numel.errors import ViewError
from numel.render import find, names
from numel.render.terminal import Drawing

COLUMNS = (
    Column("path", "layer"),
    Column("type", "type"),
    Column("output_shape", "output", "shape"),
    Column("params", "params", "count"),
    Column("share", "share", "share"),
    Column("trainable", "train", "flag"),
    Column("macs", "MACs", "ops"),
    Column("flops", "FLOPs", "ops"),
    Column("nbytes", "size", "bytes"),
)
HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "a\nb\r\nc",
    "[bold]x[/bold] [/]",
    "a|b`c`*d*<b>&",
    "名" * 70,
    "x" * 500,
    "\u202eevil",
    "",
]
WIDTHS = (20, 40, 80, 100, 160)


def row(path: str = "conv1", params: Cell = 9408, macs: Cell = 118013952) -> tuple[Cell, ...]:
    return (path, "Conv2d", (1, 64, 112, 112), params, 0.5, True, macs, None, 37632)


def table(*rows: tuple[Cell, ...], depths: tuple[int, ...] | None = None, **more: object) -> Table:
    return Table("By layer", COLUMNS, rows, depths, **more)  # type: ignore[arg-type]


def facts(*rows: tuple[Cell, ...]) -> Table:
    return Table("Totals", (Column("name", "name"), Column("value", "value", "count")), rows, kind="facts")


BLOCKS: dict[str, Block] = {
    "heading": Heading("ResNet-50", 1),
    "long heading": Heading("ResNet " * 60, 2),
    "hostile heading": Heading("\x1b[31m" + "名" * 99, 3),
    "text": Text("One line.\nAnother " + "word " * 80),
    "hostile text": Text("x" * 400 + "\x1b[2J"),
    "callout": Callout("warning", "no formula", "uncosted", "layers.0"),
    "hostile callout": Callout("error", "shape\nmismatch \x1b[0m" + "y" * 300, "c" * 200, "p." * 200),
    "empty table": table(),
    "one row": table(row()),
    "tree": table(row("net"), row("a"), row("b"), depths=(0, 1, 1), total=row("total"), caption="c " * 120),
    "deep tree": table(*(row(f"m{i}") for i in range(200)), depths=tuple(range(200))),
    "hostile table": table(*(row(name, params=name, macs=10**400) for name in HOSTILE)),
    "lower bound": table(row(macs=Quantity(5 * 10**9, "ops", at_least=True))),
    "no columns": Table("", (), ()),
    "empty facts": facts(),
    "facts": facts(("params", 25557032), ("MACs", Quantity(4 * 10**9, "ops", True)), ("mode", "meta")),
    "hostile facts": facts(*((name, name) for name in HOSTILE), ("big", 10**400)),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_no_line_exceeds_the_width(block: Block, width: int):
    for line in find("terminal").render(Document((block,)), width=width).splitlines():
        assert cell_len(line) <= width
        assert line == line.rstrip(" ")


def test_colour_adds_escapes_and_changes_no_character():
    document = Document(tuple(BLOCKS.values()))
    plain, coloured = (find("terminal").render(document, width=100, color=color) for color in (False, True))
    assert "\x1b[" in coloured
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(Drawing(document), soft_wrap=True)
    assert console.file.getvalue() == plain
    assert "".join(part.partition("m")[2] if i else part for i, part in enumerate(coloured.split("\x1b["))) == plain


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_screen_hides_columns_from_the_right_but_never_params_and_macs(width: int):
    drawn = " ".join(find("terminal").render(Document((table(row()),)), width=width).split())
    assert all(kept in drawn for kept in ("layer", "params", "MACs", "conv1"))
    assert "columns hidden at this width: " in drawn
    assert "FLOPs, size; widen to see them" in drawn
    drawn = " ".join(find("terminal").render(Document((table(row(), choosable=True),)), width=width).split())
    assert "flops, nbytes; widen or choose --columns" in drawn


@pytest.mark.parametrize("wrong", [False, True])
def test_a_column_with_something_wrong_in_it_is_hidden_last(wrong: bool):
    columns = (*COLUMNS, Column("odd", "NaN, Inf", "count", wrong=wrong))
    drawn = find("terminal").render(Document((Table("t", columns, ((*row(), 12_345),)),)), width=60)
    assert ("12,345" in drawn or "12.35 K" in drawn) is wrong
    assert "size" in drawn.partition("columns hidden")[2]


def test_numbers_at_the_left_stand_below_each_other_with_and_without_a_sign():
    rows = (("params", Quantity(5)), ("MACs", Quantity(6, at_least=True)), ("types", "f32"), ("FLOPs", Quantity(None)))
    drawn = find("terminal").render(Document((Table("", (Column("n", "name"), Column("v", "value")), rows),)), width=80)
    assert [line[8:] for line in drawn.splitlines()[2:]] == ["  5", "≥ 6", "f32", "  ?"]


def test_counts_lose_digits_before_a_column_is_hidden():
    drawn = find("terminal").render(Document((table(row()),)), width=80)
    assert "9.408 K" in drawn
    assert "hidden" not in drawn


def test_a_wide_screen_shows_all_digits_bars_and_every_column():
    drawn = find("terminal").render(Document((table(row()),)), width=160)
    assert "9,408" in drawn
    assert "████ " in drawn
    assert "50.0 %" in drawn
    assert "hidden" not in drawn


def test_the_total_stands_under_a_rule_in_bold():
    drawn = find("terminal").render(Document((table(row(), total=row("total")),)), width=160, color=True)
    rule, total = drawn.splitlines()[-2:]
    assert "───" in rule
    assert total.startswith("\x1b[1mtotal")


def test_callouts_stand_together_and_say_where():
    document = Document((Callout("note", "a", "x"), Callout("error", "b", path="p.q")))
    assert find("terminal").render(document, width=80) == "note: a [x]\nerror: b (at p.q)\n"


def test_ten_thousand_rows_are_all_drawn():
    depths = (0, *(1 + i % 6 for i in range(9999)))
    big = table(*(row(f"layer{i}", params=i * 977) for i in range(10_000)), depths=depths)
    drawn = find("terminal").render(Document((big,)), width=100)
    assert sum("layer" in line and "Conv2d" in line for line in drawn.splitlines()) == 10_000


def test_markdown_rows_have_the_same_number_of_fields_whatever_the_names():
    drawn = find("md").render(Document((BLOCKS["hostile table"],)))
    rows = [line.replace("\\|", "") for line in drawn.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(HOSTILE)
    assert {line.count("|") for line in rows} == {len(COLUMNS) + 1}


def test_markdown_shows_names_as_they_are():
    drawn = find("md").render(Document((table(row("self_attn"), row("_x|`<b>")),)))
    assert "| self_attn |" in drawn
    assert r"| \_x\|\`&lt;b&gt; |" in drawn


def test_csv_reads_back_with_raw_numbers():
    bound = Quantity(5, "ops", at_least=True)
    document = Document((facts(("n", 1)), table(row('a,"b"\nc', params=None), row("d", macs=bound), depths=(0, 1))))
    drawn = find("csv").render(document)
    first, second = csv.DictReader(io.StringIO(drawn, newline=""))
    assert first["path"] == 'a,"b"\nc'
    assert first["params"] == ""
    assert first["output_shape"] == "[1, 64, 112, 112]"
    assert (first["macs_at_least"], second["macs_at_least"], second["macs"], second["depth"]) == (
        "false",
        "true",
        "5",
        "1",
    )
    assert drawn.endswith("\r\n")


def test_csv_leaves_the_total_out():
    drawn = find("csv").render(Document((table(row(), total=row("total")),)))
    assert "total" not in drawn


@pytest.mark.parametrize("name", ["terminal", "markdown", "md", "csv", ".csv", ".MD", "txt"])
def test_a_renderer_is_found_by_name_and_suffix(name: str):
    renderer = find(name)
    wanted = name.lower().removeprefix(".")
    assert wanted == renderer.NAME or f".{wanted}" in renderer.SUFFIXES


def test_the_suffixes_known_beforehand_are_those_of_the_modules():
    for name in names():
        module = find(name)
        assert name == module.NAME
        assert all(find(suffix) is module for suffix in module.SUFFIXES)


def test_an_unknown_renderer_names_the_known_ones():
    with pytest.raises(ViewError, match=r"'xlsx'; known: terminal .*markdown .*csv"):
        find("xlsx")


def test_looking_for_csv_imports_no_rich():
    code = "import sys; from numel.render import find; find('csv'); sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_latex_scales_what_is_wider_than_a_line_and_labels_each_table_once():
    narrow = Table("Totals", COLUMNS[:2], (("conv1", "Conv2d"),))
    drawn = find("latex").render(Document((narrow, table(row()), narrow)))
    assert isinstance(drawn, str)
    assert drawn.count(r"\resizebox") == 1
    assert re.findall(r"\\label\{(.*?)\}", drawn) == ["tab:totals", "tab:by-layer", "tab:totals-2"]
    drawn = find("latex").render(Document((table(*[row()] * 41),)))
    assert isinstance(drawn, str)
    assert r"{\scriptsize\setlength{\tabcolsep}{3pt}" in drawn


def test_shares_that_are_all_zero_or_unknown_take_no_room_for_bars():
    columns = (Column("path", "path", "path"), Column("zeros", "zeros", "share"))
    drawn = find("terminal").render(Document((Table("", columns, (("a", 0.0), ("b", None))),)), width=80)
    assert drawn.splitlines()[2:] == ["a       0 %", "b         ?"]

"""Numbers and names as text."""

from __future__ import annotations

import pytest

from numel.document import Cell, Column, Quantity
from numel.document.table import Unit
from numel.render.text import cell_text, cells, fact_text, guides, middle, printable, title_text


@pytest.mark.parametrize(
    ("cell", "unit", "printed"),
    [
        (None, "count", "?"),
        (Quantity(None, "ops", at_least=True), "ops", "?"),
        (float("nan"), "count", "?"),
        (0, "count", "0"),
        (0, "ops", "0"),
        (0, "bytes", "0"),
        (0.0, "share", "0 %"),
        (25557032, "count", "25,557,032"),
        (-1500, "count", "-1,500"),
        (12.5, "count", "12.5"),
        (4089184256, "ops", "4.089 G"),
        (3911104593920, "ops", "3.911 T"),
        (-2_000_000_000, "ops", "-2.000 G"),
        (999, "ops", "999"),
        (1000, "ops", "1.000 K"),
        (512, "bytes", "512 B"),
        (1023, "bytes", "1023 B"),
        (1024, "bytes", "1.000 KiB"),
        (1_000_000, "bytes", "976.6 KiB"),
        (102228128, "bytes", "97.49 MiB"),
        (0.476, "share", "47.6 %"),
        (0.0001, "share", "<0.1 %"),
        (1, "share", "100.0 %"),
        ((1, 3, 224, 224), "shape", "1×3×224×224"),
        ((), "shape", "scalar"),
        (True, "flag", "✓"),
        (False, "flag", "–"),
        (Quantity(4089184256, "ops", at_least=True), "ops", "≥ 4.089 G"),
        (Quantity(2048, "bytes"), "count", "2.000 KiB"),
        ("tied to x", "count", "tied to x"),
    ],
)
def test_a_cell_prints_by_its_unit(cell: Cell, unit: Unit, printed: str):
    assert cell_text(cell, unit) == printed


@pytest.mark.parametrize(
    ("value", "printed"),
    [(999, "999"), (25557032, "25.56 M"), (8030261248, "8.030 B"), (999_960, "1.000 M"), (10**12, "1.000 T")],
)
def test_short_counts_have_four_digits_and_a_suffix(value: int, printed: str):
    assert cell_text(value, "count", short=True) == printed


@pytest.mark.parametrize("unit", ["count", "ops", "bytes", "integer"])
def test_an_absurdly_large_number_still_prints(unit: Unit):
    assert "e+5000" in cell_text(10**5000, unit)
    assert "e+5000" in "".join(fact_text(10**5000, unit))


def test_rounding_up_to_the_next_suffix_changes_the_suffix():
    assert cell_text(1024**2 - 1, "bytes") == "1.000 MiB"
    assert cell_text(999_999_999, "ops") == "1.000 G"


def test_a_fact_shows_all_digits_and_the_short_form_once():
    assert fact_text(8030261248, "count") == ("8,030,261,248", "8.030 B")
    assert fact_text(64, "count") == ("64", "")
    assert fact_text(Quantity(5000, "ops", at_least=True)) == ("≥ 5,000", "5.000 K")
    assert fact_text(None, "count") == ("?", "")


def test_titles_say_when_numbers_are_not_exact():
    assert [title_text(Column("k", "peak", "bytes", basis)) for basis in ("exact", "estimate", "guess")] == [
        "peak",
        "≈ peak",
        "peak (guessed)",
    ]


def test_what_a_terminal_would_obey_is_printed_as_its_escape():
    assert printable("a\x1b[31m\n\t\u202e\u2028\ud800b") == r"a\x1b[31m\n\t\u202e\u2028\ud800b"
    assert printable("层 é 🙂") == "层 é 🙂"


def test_the_middle_goes_and_the_last_part_stays():
    cut = middle("model.layers.11.self_attn.q_proj", 20)
    assert cells(cut) == 20
    assert cut.startswith("model")
    assert cut.endswith(".q_proj")
    assert middle("short", 5) == "short"


@pytest.mark.parametrize("name", ["a" * 300, "层" * 150, "a.层层层层层层层层", "x." + "y" * 90, ".", "e\u0301" * 80])
def test_the_middle_never_exceeds_its_width(name: str):
    assert all(cells(middle(name, width)) <= width for width in range(60))


def test_guides_close_each_branch():
    assert guides((0, 1, 2, 2, 1, 2), 9) == ["", "├─ ", "│  ├─ ", "│  └─ ", "└─ ", "   └─ "]
    assert guides((), 9) == []


def test_guides_of_a_deep_tree_stay_narrow():
    assert max(map(len, guides(tuple(range(5000)), 4))) == 12

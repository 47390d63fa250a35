"""What each text renderer makes of each block stands in tests/gold, to be read. `make gold` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from every_block import CASES, blocks
from numel.document import Document
from numel.render import find

GOLD = Path(__file__).parents[1] / "gold"
FORMATS = {
    "terminal-80": ("terminal", 80, "txt"),
    "terminal-120": ("terminal", 120, "txt"),
    "markdown": ("markdown", None, "md"),
    "csv": ("csv", None, "csv"),
    "latex": ("latex", None, "tex"),
    "notebook": ("notebook", None, "html"),
}
NAMES = [name for name, _ in blocks("one")]


def drawn(format: str, block: str) -> str:
    """The block in all cases, each under its name; a row of ten thousand letters is cut to a line's width."""
    renderer, width, _ = FORMATS[format]
    parts = []
    for case in CASES:
        text = find(renderer).render(Document((dict(blocks(case))[block],)), width=width)
        assert isinstance(text, str)
        lines = [line if len(line) < 1_500 else f"{line[:700]} [...] {line[-700:]}" for line in text.split("\n")]
        parts.append(f"==== {case}\n" + "\n".join(lines))
    return "\n".join(parts).replace("\r\n", "\n").replace("\r", "\\r")


@pytest.mark.parametrize("block", NAMES)
@pytest.mark.parametrize("format", FORMATS)
def test_the_output_is_the_one_that_was_read_and_found_good(format: str, block: str):
    place = GOLD / format / f"{block}.{FORMATS[format][2]}"
    now = drawn(format, block)
    if os.environ.get("NUMEL_GOLD") == "write":
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(now, encoding="utf-8", newline="\n")
    assert place.read_text(encoding="utf-8") == now, "run `make gold`, and read what changed"


def test_there_is_no_gold_that_nothing_makes():
    there = {place.relative_to(GOLD).as_posix() for place in GOLD.glob("*/*.*")}
    assert there == {f"{format}/{name}.{FORMATS[format][2]}" for format in FORMATS for name in NAMES}

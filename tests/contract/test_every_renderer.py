"""Every renderer draws every block, whatever is in it and whatever it is called; none needs torch."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from every_block import CASES, blocks, document, extremes
from numel.document import Block, Chart, Document, Heading, Table
from numel.errors import ViewError
from numel.render import find, names

EVERY = [(f"{case} {name}", block) for case in CASES for name, block in blocks(case)]
EVERY += [(f"extreme {name}", block) for name, block in extremes()]
TEXTS = tuple(name for name in names() if name not in ("figure", "parquet"))


@pytest.mark.parametrize("renderer", TEXTS)
@pytest.mark.parametrize("block", [block for _, block in EVERY], ids=[name for name, _ in EVERY])
def test_what_is_text_holds_no_character_that_a_reader_would_obey(renderer: str, block: Block):
    drawn = find(renderer).render(Document((block,)), width=80)
    assert isinstance(drawn, str)
    drawn.encode()
    if renderer != "csv":  # which carries names as they are
        assert not {"\x1b", "\u202e", "\u2066", "\r"} & set(drawn)


@pytest.mark.parametrize("renderer", ["figure", "parquet"])
@pytest.mark.parametrize("block", [block for _, block in EVERY], ids=[name for name, _ in EVERY])
def test_what_is_bytes_is_a_whole_file_or_one_line_on_why_not(renderer: str, block: Block):
    begins = {"figure": b"\x89PNG", "parquet": b"PAR1"}[renderer]
    draws = isinstance(block, Chart) or (renderer == "parquet" and isinstance(block, Table))
    if not draws:
        with pytest.raises(ViewError, match=r"^[^\n]+$"):
            find(renderer).render(Document((block,)))
        return
    drawn = find(renderer).render(Document((block,)))
    assert isinstance(drawn, bytes)
    assert drawn.startswith(begins)


@pytest.mark.parametrize("renderer", names())
def test_a_renderer_says_who_it_is(renderer: str):
    module = importlib.import_module(f"numel.render.{renderer}")
    assert renderer == module.NAME
    assert find(renderer) is module
    assert all(find(suffix) is module for suffix in module.SUFFIXES)
    assert isinstance(module.WHOLE, bool)


@pytest.mark.parametrize("renderer", names())
@pytest.mark.parametrize("case", CASES)
def test_the_same_document_gives_the_same_output(renderer: str, case: str):
    once, again = (find(renderer).render(document(case), width=100) for _ in range(2))
    assert once == again


def test_an_empty_document_has_nothing_in_it():
    for name in names():
        try:
            drawn = find(name).render(Document())
        except ViewError:
            assert name in ("figure", "parquet")  # a file of theirs can not be empty
            continue
        assert drawn == "" or (name == "html" and "<main" in drawn)


def test_no_renderer_imports_torch_or_pyplot():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from every_block import document\n"
        "from numel.render import find, names\n"
        "for name in names(): find(name).render(document('one'))\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="tests")
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_a_heading_alone_is_drawn_by_all_that_draw_text():
    assert all("Net" in find(name).render(Document((Heading("Net", 1),))) for name in TEXTS if name != "csv")

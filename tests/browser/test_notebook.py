"""A notebook runs, keeps its outputs, and is read in a viewer without scripts, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from playwright.sync_api import expect

from every_block import HOSTILE, tree
from numel.document import Document
from numel.errors import ViewError
from numel.facts import ModuleRecord, Snapshot, TensorRecord, dtype
from numel.render.notebook import embed, render
from numel.results import Report

FACTS = """
import numel
from numel.facts import ModuleRecord, Snapshot, TensorRecord, dtype
f32 = dtype("f32")
modules, tensors = [ModuleRecord("", "Net")], []
for i, width in enumerate((4, 8)):
    modules += [ModuleRecord(f"block{i}", "Block"), ModuleRecord(f"block{i}.fc", "torch.nn.Linear")]
    tensors.append(TensorRecord(f"block{i}.fc.weight", (width, width), f32, trainable=True))
from numel.results import Report
report = Report(Snapshot(tuple(modules), tuple(tensors)))
"""


@pytest.fixture(scope="module")
def notebook() -> Any:
    """One that shows a report as it is, and its page, executed by a kernel of its own."""
    cells = [FACTS, "report", "report.show(kind='interactive')", "report.show()"]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(made, timeout=120, kernel_name="python3").execute()
    return made


def test_the_outputs_are_html_and_text(notebook: Any):
    shown, page, printed = (cell.outputs for cell in notebook.cells[1:])
    assert {"text/html", "text/plain"} <= set(shown[0].data)
    assert "block1" in shown[0].data["text/html"]
    frame = page[0].data["text/html"]
    assert 'sandbox="allow-scripts"' in frame
    assert "allow-same-origin" not in frame
    assert "80" in printed[0].text  # 16 + 64


def test_a_viewer_shows_it_and_asks_for_nothing(notebook: Any, opened: Callable[..., Any]):
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    for scheme in ("light", "dark"):
        seen = opened(f'<!doctype html><meta name="color-scheme" content="light dark">{body}', color_scheme=scheme)
        page = seen.page
        block = page.locator("summary", has_text="block1").first
        expect(block).to_be_visible()
        leaf = page.locator("details details", has_text="block1").get_by_text("fc", exact=True)
        expect(leaf).to_be_hidden()
        block.click()
        expect(leaf).to_be_visible()
        expect(page.frame_locator("iframe").locator("h1")).to_have_text("Net")
        page.frame_locator("iframe").locator(".chart").first.scroll_into_view_if_needed()
        page.frame_locator("iframe").locator(".main-svg").first.wait_for()
        assert [url for url in seen.requests if not url.startswith("about:")] == []


def test_what_is_shown_needs_neither_script_nor_style():
    """GitHub takes scripts, style sheets and styles away: what is left is still a tree of names and figures."""
    weight = TensorRecord("fc.weight", (2, 3), dtype("f32"), trainable=True)
    drawn = Report(Snapshot((ModuleRecord("", "Net"), ModuleRecord("fc", "Linear")), (weight,)))._repr_html_()
    assert "<script" not in drawn
    assert "<style" not in drawn
    assert "<details open" in drawn


def test_names_are_letters(opened: Callable[..., Any]):
    seen = opened(f"<!doctype html>{render(Document((tree('hostile'),)))}")
    seen.page.locator("summary").first.wait_for()
    assert seen.page.locator("img, script").count() == 0
    assert HOSTILE[0] in (seen.page.locator("body").text_content() or "")
    assert seen.clean()


def test_without_a_notebook_the_page_is_to_be_saved():
    with pytest.raises(ViewError, match=r"save the page instead: result\.save"):
        embed("<p>page</p>")


def test_a_large_tree_is_cut_and_says_where_the_rest_is():
    drawn = render(Document((tree("long"),)))
    assert "more row" not in drawn
    from numel.document import Column, Table

    wide = Table("t", (Column("path", "layer", "path"),), tuple((f"m{i}",) for i in range(900)))
    assert "400 more rows: result.save('report.html')" in render(Document((wide,)))

"""The page in a real browser: it opens alone, does what it offers, obeys no name, and can be used by everyone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from browser.pages import hostile, huge, model
from every_block import CASES, HOSTILE, blocks
from numel.document import Chart, Column, Document, Heading, Quantity, Table
from numel.document.table import Unit
from numel.render import html
from numel.render.html import render
from numel.render.text import cell_text

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
Open = Callable[..., Any]


def section(page: Page, title: str) -> Any:
    return page.locator("section", has=page.get_by_role("heading", name=title, exact=True))


def shown(page: Page, title: str) -> list[str]:
    """The names of a table's rows, as they are drawn."""
    place = section(page, title)
    place.scroll_into_view_if_needed()
    place.locator(".tabulator-row").first.wait_for()
    return place.locator(".tabulator-row .label").all_inner_texts()


def row(page: Page, title: str, name: str) -> Any:
    return section(page, title).locator(".tabulator-row", has=page.locator(".label", has_text=name)).first


def click_part(page: Page, title: str, name: str) -> None:
    """Click a part of a nested picture on its name."""
    place = section(page, title)
    place.scroll_into_view_if_needed()
    text = place.locator(".canvas text", has_text=name).first
    text.wait_for()
    page.wait_for_timeout(300)
    box = text.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 3, box["y"] + 5)
    page.wait_for_timeout(200)
    page.mouse.click(box["x"] + 3, box["y"] + 5)


# ── alone ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_opens_from_a_file_without_a_request_or_a_word_on_the_console(opened: Open):
    seen = opened(model())
    for place in seen.page.locator(".table, .chart").all():
        place.scroll_into_view_if_needed()
        place.locator(".tabulator-row, .main-svg").first.wait_for()
    assert seen.clean(), (seen.requests, seen.said)


def test_its_policy_lets_nothing_in(opened: Open):
    seen = opened(model())
    seen.page.evaluate("""() => {
        for (const make of [
            () => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; return s; },
            () => { const i = document.createElement('img'); i.src = 'https://example.org/x.png'; return i; },
        ]) document.body.append(make());
        fetch('https://example.org/').catch(() => {});
    }""")
    seen.page.wait_for_timeout(300)
    assert seen.page.evaluate("window.ran") is None
    assert len([text for text in seen.said if "Content Security Policy" in text]) >= 3


def test_every_block_is_drawn_in_every_case(opened: Open):
    for case in CASES:
        seen = opened(Document(tuple(block for _, block in blocks(case))))
        for place in seen.page.locator(".table, .chart").all():
            place.scroll_into_view_if_needed()
            place.locator(".tabulator-row, .main-svg, .empty, .canvas:has-text('nothing')").first.wait_for()
        assert seen.clean(), (case, seen.requests, seen.said)


def test_totals_and_notes_are_there_without_scripts(opened: Open):
    seen = opened(model(), java_script_enabled=False)
    expect(seen.page.locator("dd", has_text="1,110 1.110 K")).to_be_visible()
    expect(seen.page.get_by_text("≥ 1,110,000")).to_be_visible()
    expect(seen.page.get_by_text("a lower bound")).to_be_visible()
    expect(seen.page.get_by_text("need JavaScript")).to_be_visible()


def test_it_works_in_a_frame_that_is_shut_off(opened: Open):
    frame = f'<iframe title="t" sandbox="allow-scripts" width="1200" height="800" srcdoc="{escape(render(model()))}">'
    seen = opened(f"<!doctype html><title>t</title>{frame}</iframe>")
    inside = seen.page.frame_locator("iframe")
    inside.locator(".main-svg").first.wait_for()
    inside.get_by_label("Theme").select_option("dark")
    inside.locator(".table").first.scroll_into_view_if_needed()
    inside.locator(".tabulator-row").first.wait_for()
    assert [text for text in seen.said if "error" in text.lower()] == []


def test_a_page_without_pictures_needs_no_plotly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(html, "_plotly", lambda: pytest.fail("plotly was asked for"))
    assert len(render(Document((Heading("Net", 1),)))) < 100_000


def test_each_name_of_the_contents_stands_there_once(opened: Open):
    table = Table("Changes by kind", (Column("n", "N", "count"),), ((1,),))
    page = opened(Document((Heading("Net", 1), Heading("a and b"), table, Heading("a and c"), table))).page
    assert page.locator("nav a").all_inner_texts() == ["a and b", "Changes by kind", "a and c"]
    page.get_by_role("link", name="a and c").click()
    assert page.evaluate("document.querySelector(location.hash).textContent") == "a and c"


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_search_leaves_what_it_finds_with_what_that_is_in(opened: Open):
    page = opened(model()).page
    assert len(shown(page, "Layers")) == 10
    section(page, "Layers").get_by_role("searchbox").fill("1.conv")
    expect(section(page, "Layers").locator(".counter")).to_have_text("1 of 10 rows")
    assert shown(page, "Layers") == ["(root)", "blocks", "1", "conv"]
    section(page, "Layers").get_by_role("searchbox").fill("nowhere")
    expect(section(page, "Layers").locator(".counter")).to_have_text("0 of 10 rows")
    section(page, "Layers").get_by_role("searchbox").fill("")
    expect(section(page, "Layers").locator(".counter")).to_have_text("10 rows")


def test_sorting_orders_siblings_and_a_third_click_gives_the_models_own_order(opened: Open):
    page = opened(model()).page
    own = shown(page, "Layers")
    button = section(page, "Layers").get_by_role("button", name="params", exact=True)
    button.click()
    assert shown(page, "Layers") == ["(root)", "blocks", "1", "conv", "norm", "0", "conv", "norm", "head", "stem"]
    head = section(page, "Layers").locator('[role=columnheader][aria-sort="descending"]')
    expect(head).to_have_count(1)
    assert button.evaluate("title => title.scrollWidth <= title.clientWidth")  # with the sign for how it is sorted
    button.click()
    assert shown(page, "Layers")[:2] == ["(root)", "stem"]
    button.click()
    assert shown(page, "Layers") == own


def test_filters_hold_together(opened: Open):
    page = opened(model()).page
    shown(page, "Layers")
    page.get_by_label("Filter Layers by type").select_option(label="Conv2d")
    expect(section(page, "Layers").locator(".counter")).to_have_text("3 of 10 rows")
    page.get_by_label("Filter Layers by train").select_option(label="– no")
    expect(section(page, "Layers").locator(".counter")).to_have_text("1 of 10 rows")
    assert shown(page, "Layers") == ["(root)", "stem"]


def test_branches_open_and_close_by_click_and_by_level(opened: Open):
    page = opened(model()).page
    assert len(shown(page, "Layers")) == 10
    row(page, "Layers", "blocks").locator("button.fold").click()
    expect(row(page, "Layers", "blocks")).to_have_attribute("aria-expanded", "false")
    assert shown(page, "Layers") == ["(root)", "stem", "blocks", "head"]
    section(page, "Layers").get_by_role("button", name="Expand all").click()
    expect(row(page, "Layers", "blocks")).to_have_attribute("aria-expanded", "true")
    section(page, "Layers").get_by_role("button", name="Collapse all").click()
    expect(section(page, "Layers").locator(".tabulator-row")).to_have_count(1)
    page.get_by_label("Levels of Layers").select_option("1")
    expect(section(page, "Layers").locator(".tabulator-row")).to_have_count(4)


def test_columns_can_be_chosen(opened: Open):
    page = opened(model()).page
    shown(page, "Layers")
    place = section(page, "Layers")
    place.locator(".chooser summary").click()
    place.get_by_role("checkbox", name="dtype").uncheck()
    expect(place.get_by_role("button", name="dtype", exact=True)).to_be_hidden()
    place.get_by_role("checkbox", name="dtype").check()
    expect(place.get_by_role("button", name="dtype", exact=True)).to_be_visible()


def test_the_keyboard_walks_the_tree(opened: Open):
    """As the ARIA pattern of a treegrid has it: right opens, left closes or goes to what a row is in."""
    page = opened(model()).page
    shown(page, "Layers")
    grid = section(page, "Layers").get_by_role("treegrid")
    grid.focus()
    for key in ("Home", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    expect(section(page, "Layers").locator(".tabulator-row.chosen .label")).to_have_text("blocks")
    page.keyboard.press("ArrowLeft")
    expect(row(page, "Layers", "blocks")).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("ArrowRight")
    expect(row(page, "Layers", "blocks")).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowRight")
    expect(section(page, "Layers").locator(".tabulator-row.chosen .label")).to_have_text("0")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(section(page, "Layers").locator(".tabulator-row.chosen .label")).to_have_text("blocks")
    chosen = grid.get_attribute("aria-activedescendant")
    assert section(page, "Layers").locator(f"[id='{chosen}']").get_attribute("aria-level") == "2"


def test_sixty_thousand_rows_open_search_and_scroll(opened: Open):
    seen = opened(huge())
    page = seen.page
    page.locator(".main-svg").first.wait_for()
    names = shown(page, "Layers")
    assert names[:2] == ["(root)", "layers.0"]
    section(page, "Layers").get_by_role("searchbox").fill("layers.7.200")
    expect(section(page, "Layers").locator(".counter")).to_have_text("1 of 59,882 rows")
    section(page, "Layers").get_by_role("searchbox").fill("")
    expect(section(page, "Layers").locator(".counter")).to_have_text("59,882 rows")
    section(page, "Layers").get_by_role("button", name="Expand all").click()
    page.wait_for_timeout(300)
    section(page, "Layers").get_by_role("treegrid").focus()
    page.keyboard.press("End")
    expect(section(page, "Layers").locator(".tabulator-row.chosen .label")).to_have_text("255")
    assert section(page, "Layers").locator(".tabulator-row").count() < 300  # rows out of sight are not made
    assert seen.clean(), seen.said


def test_a_small_table_is_as_large_as_what_is_in_it(opened: Open):
    columns = (Column("step", "step", "integer"), Column("path", "path", "path"),
               *(Column(f"n{i}", f"a long number {i}", "number") for i in range(5)))  # fmt: skip
    page = opened(Document((Table("Steps", columns, tuple((step, "", *range(5)) for step in (7, 1200))),))).page
    place = section(page, "Steps")
    place.locator(".tabulator-row").last.wait_for()
    holder = place.locator(".tabulator-tableholder")
    assert holder.evaluate("e => [e.scrollWidth - e.clientWidth, e.scrollHeight - e.clientHeight]") == [0, 0]
    short, long = (label.bounding_box() for label in place.locator(".tabulator-row .label").all())
    assert short["x"] + short["width"] == pytest.approx(long["x"] + long["width"])  # numbers: flush right
    expect(place.locator(".tabulator-row").first).to_contain_text("(root)")


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_click_zooms_into_a_part_and_selects_its_row(opened: Open):
    page = opened(model()).page
    click_part(page, "Params by layer", "blocks")
    trail = section(page, "Params by layer").locator(".trail")
    expect(trail).to_contain_text("(root) / blocks")
    expect(section(page, "Layers").locator(".tabulator-row.chosen .label")).to_have_text("blocks")
    trail.get_by_role("button", name="(root)").click()
    expect(trail).to_have_text("(root)")


def test_a_selected_row_fills_the_picture(opened: Open):
    page = opened(model()).page
    shown(page, "Layers")
    section(page, "Params by layer").locator(".main-svg").first.wait_for()
    row(page, "Layers", "1").locator(".label").click()
    expect(section(page, "Params by layer").locator(".trail b")).to_have_text("1")


def test_a_row_that_is_folded_away_is_found_from_the_picture(opened: Open):
    page = opened(model()).page
    shown(page, "Layers")
    section(page, "Layers").get_by_role("button", name="Collapse all").click()
    click_part(page, "Params by layer", "head")
    expect(section(page, "Layers").locator(".tabulator-row.chosen .label")).to_have_text("head")


def test_size_and_colour_can_be_chosen(opened: Open):
    page = opened(model()).page
    place = section(page, "Params by layer")
    place.locator(".main-svg").first.wait_for()
    place.get_by_label("Colour").select_option(label="train")
    expect(place.locator(".legend")).to_contain_text("train: yes")
    place.get_by_label("Colour").select_option(label="MACs")
    expect(place.locator(".canvas")).to_contain_text("MACs")
    place.get_by_label("Size").select_option(label="MACs")
    expect(place.locator(".canvas")).to_contain_text("650.0 K")


def test_a_number_of_a_line_that_has_none_beside_it_is_a_point(opened: Open):
    columns = (Column("step", "step", "integer"), Column("long", "long", "count"), Column("short", "short", "count"))
    rows = ((0, 6, None), (1, 7, 5), (2, 8, None), (3, None, None), (4, 9, None))
    page = opened(Document((Chart("Params", "line", Table("t", columns, rows), x="step", y=("long", "short")),))).page
    section(page, "Params").locator(".main-svg").first.wait_for()
    points = section(page, "Params").locator(".scatterlayer .points path")
    expect(points).to_have_count(1)
    expect(points).to_be_visible()
    lines = section(page, "Params").locator(".scatterlayer path.js-line")
    assert lines.evaluate_all("lines => lines.map((line) => line.getAttribute('d').split('M').length - 1)") == [1, 1]


# ── looks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def background(page: Page) -> str:
    found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_light_and_dark_follow_the_system_until_one_is_chosen(opened: Open):
    light, dark = (background(opened(model(), color_scheme=scheme).page) for scheme in ("light", "dark"))
    assert light != dark
    page = opened(model(), color_scheme="light").page
    page.get_by_label("Theme").select_option("dark")
    assert background(page) == dark
    page.reload()
    assert background(page) == dark  # the choice is kept


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_never_scrolls_sideways(opened: Open, width: int):
    for document in (model(), hostile()):
        page = opened(document, width=width).page
        for place in page.locator(".table, .chart").all():
            place.scroll_into_view_if_needed()
            place.locator(".tabulator-row, .main-svg").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_paper_has_totals_rows_and_pictures_and_no_controls(opened: Open):
    page = opened(model()).page
    shown(page, "Layers")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    expect(page.locator("dd", has_text="1,110 1.110 K")).to_be_visible()
    expect(section(page, "Layers").locator(".printed")).to_contain_text("blocks")
    expect(section(page, "Layers").get_by_role("searchbox")).to_be_hidden()
    expect(page.get_by_label("Theme")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(opened: Open, scheme: str):
    page = opened(model(), color_scheme=scheme, bypass_csp=True).page
    for place in page.locator(".table, .chart").all():
        place.scroll_into_view_if_needed()
        place.locator(".tabulator-row, .main-svg").first.wait_for()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    grave = [(each["id"], [node["failureSummary"] for node in each["nodes"][:2]]) for each in found
             if each["impact"] in ("serious", "critical")]  # fmt: skip
    assert grave == []


def test_how_it_was_obtained_can_be_copied(opened: Open):
    page = opened(model(), permissions=["clipboard-read", "clipboard-write"]).page
    section(page, "Totals").get_by_role("button", name="Copy").click()
    expect(section(page, "Totals").get_by_role("button", name="Copied")).to_be_visible()


# ── names and numbers ────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_are_letters_wherever_they_stand(opened: Open):
    seen = opened(hostile())
    page = seen.page
    for place in page.locator(".table, .chart").all():
        place.scroll_into_view_if_needed()
        place.locator(".tabulator-row, .main-svg").first.wait_for()
    for picture in page.locator(".canvas").all():  # what is hovered over is written as text, too
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        assert box is not None
        for share in (0.2, 0.5, 0.8):
            page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] * 0.4)
            page.wait_for_timeout(60)
    assert page.locator("img, iframe, object, embed").count() == 0
    assert page.evaluate("document.querySelectorAll('[onerror], [onload]').length") == 0
    assert page.locator("script").count() == 4  # data, Tabulator, plotly, the page's own
    assert "<img src=x onerror=alert(1)>" in page.locator("h1").inner_text()
    assert seen.clean(), (seen.requests, seen.said)


def test_data_in_the_page_is_neither_tag_nor_comment():
    text = render(hostile())
    data = text.split('id="data">', 1)[1].split("</script>", 1)[0]
    assert not {"<", ">", "&"} & set(data)
    assert json.loads(data)["tables"]
    assert HOSTILE[0] not in text


def test_numbers_are_written_as_in_python(opened: Open):
    """The page formats with code of its own; it must say the same as the terminal, ties and exponents included."""
    dice = random.Random(5)
    units: tuple[Unit, ...] = ("count", "ops", "bytes", "share", "integer", "number")
    values: list[float] = [
        0, 1, 999, 1000, 1023, 1024, 1536, 999_950, 999_949, 2**53 - 1, 1_047_552, 1e21, 0.5, 2.5, 0.00045, 0.0005,
        1 / 3, 1234.5, 1022.5 * 1024, 0.125, 1e-5, 1.5e-7, 99_995, 1e15, -3,
    ]  # fmt: skip
    values += [dice.choice((1, -1)) * dice.randrange(10 ** dice.randrange(1, 16)) for _ in range(400)]
    values += [dice.uniform(-1, 1) * 10 ** dice.randrange(-8, 14) for _ in range(400)]
    cases = [(value, unit, short) for value in values for unit in units for short in (False, True)
             if unit != "share" or -1 <= value <= 1000]  # fmt: skip
    page = opened(model()).page
    written = page.evaluate("(cases) => cases.map((each) => window.numelText(...each))", cases)
    wrong = [
        (case, now, cell_text(case[0], case[1], short=case[2]))
        for case, now in zip(cases, written, strict=True)
        if now != cell_text(case[0], case[1], short=case[2])
    ]
    assert wrong == []


@pytest.mark.parametrize("cell", [None, 2**70, Quantity(5, "ops", at_least=True), "not called", True, (1, 2)])
def test_cells_of_every_kind_read_as_in_python(opened: Open, cell: Any):
    from numel.document import Column, Table

    columns = (Column("name", "name"), Column("x", "x", "count"))
    page = opened(Document((Table("T", columns, (("a", cell), ("b", 1))),))).page
    page.locator(".tabulator-row").first.wait_for()
    drawn = page.locator(".tabulator-row").first.locator(".tabulator-cell").nth(1).inner_text()
    assert drawn == cell_text(cell, "count")

"""(g) The page of a report: how long it takes to write and to open, and how large it is beside the libraries in it.

Writing is measured beside the summary that it shows, opening beside a page that has the same libraries and nothing
else: both in the same run, since machines differ and are shared. A page is open when its first picture and the rows of
its first table are drawn; its totals are there before that.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numel
from measure import EXAMPLES, machine, paired, save, show
from numel.document import Chart, Column, Document, Heading, Table
from numel.facts import ModuleRecord, Provenance, Snapshot, TensorRecord, dtype
from numel.render import html
from numel.results import Report

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def experts(count: int = 60_000) -> Report:
    """58 layers of 256 experts with three projections each: the modules of DeepSeek-V3 with its experts as a list."""
    modules = [ModuleRecord(path, kind) for path, kind in (("", "DeepseekV3"), ("model", "Model"))]
    modules.append(ModuleRecord("model.layers", "ModuleList"))
    tensors, bf16 = [], dtype("bf16")
    for layer in range(count // 1028):
        above = f"model.layers.{layer}.mlp.experts"
        held = ((above[:-12], "DecoderLayer"), (above[:-8], "MoE"), (above, "ModuleList"))
        modules += [ModuleRecord(path, kind) for path, kind in held]
        for expert in range(256):
            modules.append(ModuleRecord(f"{above}.{expert}", "MLP"))
            for name, shape in (("gate_proj", (2048, 7168)), ("up_proj", (2048, 7168)), ("down_proj", (7168, 2048))):
                modules.append(ModuleRecord(f"{above}.{expert}.{name}", "Linear"))
                tensors.append(TensorRecord(f"{above}.{expert}.{name}.weight", shape, bf16, trainable=True))
    return Report(Snapshot(tuple(modules), tuple(tensors), Provenance("experts", "made")))


def empty() -> str:
    """A page with all libraries, one row and one picture of it."""
    columns = (Column("path", "layer", "path"), Column("params", "params", "count"))
    table = Table("Layers", columns, (("", 1),), (0,))
    chart = Chart("Params", "treemap", table, x="path", y=("params",))
    return html.render(Document((Heading("nothing", 1), chart, table)))


def libraries() -> int:
    """Bytes of the page that are others' libraries."""
    vendored = (html._asset(f"vendor/{name}") for name in ("tabulator.min.js", "tabulator_simple.min.css"))
    return len(html._plotly()) + sum(map(len, vendored))


def opener(browser: Any, place: Path) -> Callable[[], Any]:
    """Opens a page and waits for its first picture and its first rows."""

    def open_page() -> None:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(place.as_uri())
        page.locator(".canvas .main-svg").first.wait_for()
        page.locator(".table").first.scroll_into_view_if_needed()
        page.locator(".tabulator-row").first.wait_for()
        page.close()

    return open_page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    machine()
    cases: dict[str, Callable[[], Report]] = {
        "ResNet-50, training step": lambda: numel.summary(EXAMPLES / "resnet-50", "f32[1,3,224,224]", backward=True),
        "Llama-3-8B": lambda: numel.summary(EXAMPLES / "llama-3-8b", "i64[1,512]"),
        "DeepSeek-V3": lambda: numel.summary(EXAMPLES / "deepseek-v3", "i64[1,128]"),
        "60,000 modules": experts,
    }
    sizes: dict[str, dict[str, float]] = {}
    written: list[tuple[str, dict[str, list[float]], str]] = []
    pages: dict[str, Path] = {}
    folder = Path(tempfile.mkdtemp(prefix="numel-bench-"))
    (folder / "empty.html").write_text(empty(), encoding="utf-8")
    for name, make in cases.items():
        pages[name] = folder / f"{len(pages)}.html"

        taken: list[float] = []

        def page(
            make: Callable[[], Report] = make, place: Path = pages[name], taken: list[float] = taken
        ) -> None:  # fmt: skip
            report = make()
            _ = report.layers
            start = time.perf_counter()
            report.save(place)
            taken.append(time.perf_counter() - start)

        def summary(make: Callable[[], Report] = make) -> None:
            _ = make().layers

        seconds = paired({"summary": summary, "summary and page": page}, rounds=rounds)
        written.append((name, {**seconds, "page alone": taken[1:]}, "summary"))
        sizes[name] = {"page": pages[name].stat().st_size, "beside_libraries": pages[name].stat().st_size - libraries()}
    show("(g) writing a page", written, goal="the page alone below the summary")
    opened: list[tuple[str, dict[str, list[float]], str]] = []
    found = next((place for name in ("chromium", "google-chrome") if (place := shutil.which(name))), None)
    with contextlib.ExitStack() as stack:
        if found is not None:
            from playwright.sync_api import sync_playwright

            browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=found, args=_FLAGS)
            for name, place in pages.items():
                both = {"libraries alone": opener(browser, folder / "empty.html"), "page": opener(browser, place)}
                opened.append((name, paired(both, rounds=rounds), "libraries alone"))
            show("(g) opening a page in headless Chromium", opened, goal="60,000 modules under 3 s on 2 cores")
            browser.close()
    for name, each in sizes.items():
        print(f"{name}: {each['page'] / 1e6:.2f} MB, {each['beside_libraries'] / 1e3:.0f} KB beside the libraries")
    save("report", {"sizes": sizes})
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

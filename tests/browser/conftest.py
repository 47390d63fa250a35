"""One headless Chromium for all tests of pages, and what a page may not do while it is open."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from numel.document import Document
from numel.render.html import render

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
          "--disable-component-update", "--disable-sync", "--force-color-profile=srgb"]  # fmt: skip
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Playwright brings no browser of its own here; `make test` installs the system's."""
    found = next((place for name in _NAMES if (place := shutil.which(name))), None)
    if found is None:
        pytest.fail(f"no browser: install one of {', '.join(_NAMES)}, as `make test` does where apt-get is there")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=_FLAGS)
        yield started
        started.close()


@dataclass
class Opened:
    """A page that is open, and what it did that it may not."""

    page: Page
    requests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def clean(self) -> bool:
        """Whether it asked for nothing but itself, and the console is empty."""
        return not self.requests and not self.said


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Opens documents, or pages that are text, from a file."""
    contexts = []

    def show(shown: Document | str, *, width: int = 1280, height: int = 900, **context: Any) -> Opened:
        place = tmp_path / f"page{len(contexts)}.html"
        place.write_text(shown if isinstance(shown, str) else render(shown), encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **context))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        seen = Opened(page)
        mine = place.as_uri()
        page.on("request", lambda request: request.url.split("#")[0] == mine or seen.requests.append(request.url))
        page.on("console", lambda message: seen.said.append(message.text))
        page.on("pageerror", lambda error: seen.said.append(str(error)))
        page.on("dialog", lambda dialog: (seen.said.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.goto(mine)
        return seen

    yield show
    for context in contexts:
        context.close()

"""`numel monitor RUN.jsonl`: what a monitor writes, followed while it does, or rendered as it is now."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import click

from numel.cli import options as shared

_PAUSE = 0.5  # seconds between two looks at the file


@click.command()
@click.argument("file")
@click.option("--once", is_flag=True, help="Show the run as it is now, and end.")
@shared.writing
def monitor(file: str, once: bool, output: str | None, format: str | None) -> None:
    """Follow a run that numel.monitor writes as JSON Lines, until Ctrl-C.

    With --once, -o or -f, and where stdout is no terminal, it is shown as it is now.
    """
    from numel import api
    from numel.sources.lines import is_history

    now = once or output is not None or format is not None or not sys.stdout.isatty()
    if now or not is_history(file):  # to load it says what is wrong with it
        shared.write(api.load(file), output, format)
        return
    from rich.console import Console
    from rich.live import Live

    from numel.results import Following
    from numel.sources.bytes import printable
    from numel.views import colored

    console = Console(no_color=not colored(sys.stdout))
    with Following(Path(file), printable(file)) as followed:
        followed.grew()
        run = followed.now()
        live = Live(run, console=console, auto_refresh=False, screen=True, vertical_overflow="ellipsis")
        with contextlib.suppress(KeyboardInterrupt), live:
            while True:
                time.sleep(_PAUSE)
                if followed.grew():
                    run = followed.now()
                    live.update(run, refresh=True)
    shared.write(run, None, None)

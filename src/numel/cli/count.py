"""`numel count TARGET`: how many parameters, and the bytes that they take."""

from __future__ import annotations

from typing import Any

import click

from numel.cli import options as shared


@click.command()
@shared.target
@shared.building
@shared.writing
def count(target: str, options: Any, trust_remote_code: bool, output: str | None, format: str | None) -> None:
    """Count the parameters of TARGET: distinct ones, those that train, buffers, bytes."""
    from numel.analyses.summary import guessed
    from numel.api import read
    from numel.results import Count

    with shared.progress("counting"):
        report = read(target, options=dict(options), trust_remote_code=trust_remote_code)
    notes = tuple(note for note in report.snapshot.notes if note.level != "info" or note.code == "roles-guessed")
    shared.write(Count(target, report.totals, notes, guessed(report.snapshot)), output, format)

"""`numel load FILE`: a saved result, shown again in any format."""

from __future__ import annotations

from typing import Any

import click

from numel.cli import options as shared


@click.command()
@click.argument("file")
@shared.shaping
@shared.arranging
@shared.explaining
@shared.writing
def load(
    file: str, output: str | None, format: str | None, unfold: bool, explain: str | None, **display: Any
) -> None:  # fmt: skip
    """Show a result that was saved as .json, in any format, without torch."""
    from numel import api

    report = api.load(file)
    result = report if explain is None else report.explain(explain)
    shared.write(result, output, format, fold=False if unfold else None, **display)

"""`numel show FILE`: a saved result, again, in any format."""

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
def show(
    file: str, output: str | None, format: str | None, unfold: bool, explain: str | None, **display: Any
) -> None:  # fmt: skip
    """Show a result that was saved as .json, in any format, without torch."""
    from numel import api
    from numel.errors import ViewError
    from numel.results import Report

    result: Any = api.load(file)
    if explain is not None:
        if not isinstance(result, Report):
            raise ViewError(f"{file}: a saved {type(result).__name__.lower()}; only a report can be explained")
        result = result.explain(explain)
    shared.write(result, output, format, fold=False if unfold else None, **display)

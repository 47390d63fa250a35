"""`numel read TARGET`: every tensor."""

from __future__ import annotations

from typing import Any

import click

from numel.cli import options as shared


@click.command()
@shared.target
@shared.arranging
@shared.building
@shared.writing
def read(
    target: str, options: Any, trust_remote_code: bool, output: str | None, format: str | None, **display: Any
) -> None:
    """List the tensors of TARGET: name, shape, dtype, role, size. A file is read by its header alone."""
    from numel import api

    with shared.progress("reading"):
        report = api.read(target, options=dict(options), trust_remote_code=trust_remote_code)
    shared.write(report, output, format, **display)

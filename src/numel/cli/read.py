"""`numel read TARGET`: every tensor."""

from __future__ import annotations

from typing import Any

import click

from numel.cli import options as shared


@click.command()
@shared.target
@click.option("--values", is_flag=True, help="Read the values of the parameters, too, into histograms.")
@shared.arranging
@shared.building
@shared.writing
def read(
    target: str, values: bool, options: Any, trust_remote_code: bool, output: str | None, format: str | None,
    **display: Any,
) -> None:  # fmt: skip
    """List the tensors of TARGET: name, shape, dtype, role, size. A file is read by its header alone."""
    from numel import api

    with shared.progress("reading"):
        report = api.read(target, values=values, options=dict(options), trust_remote_code=trust_remote_code)
    shared.write(report, output, format, **display)

"""`numel summary TARGET -i INPUTS`: parameters and compute, layer by layer."""

from __future__ import annotations

from typing import Any

import click

from numel.cli import options as shared


@click.command()
@shared.target
@shared.running
@shared.training
@shared.shaping
@shared.arranging
@shared.building
@shared.explaining
@shared.writing
def summary(
    target: str, inputs: str | None, mode: str, backward: bool, optimizer: str | None,
    every_block: bool, options: Any, trust_remote_code: bool, output: str | None, format: str | None, unfold: bool,
    explain: str | None, **display: Any,
) -> int:  # fmt: skip
    """Show TARGET layer by layer: parameters and, with inputs, MACs and FLOPs.

    Without -i there are parameters only, but for transformers models, which get a sample of their own.
    """
    from numel import api

    with shared.progress("tracing"):
        report = api.summary(
            target, inputs, mode=mode, backward=backward, optimizer=optimizer, every_block=every_block,
            options=dict(options), trust_remote_code=trust_remote_code,
        )
        _ = report.layers
    result = report if explain is None else report.explain(explain)
    shared.write(result, output, format, fold=False if unfold else None, **display)
    return shared.finished(report, target, silent=output is not None or format in ("csv", "json"))

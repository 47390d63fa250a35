"""`numel trace TARGET -i INPUTS`: every operator that runs."""

from __future__ import annotations

from typing import Any

import click

from numel.cli import options as shared


@click.command()
@shared.target
@shared.running
@shared.building
@click.option("-c", "--columns", metavar="KEYS", help="Columns by key, as in 'operator calls macs'.")
@click.option("-s", "--sort", metavar="KEY", help="Order rows by a column; -KEY puts the largest first.")
@shared.explaining
@shared.writing
def trace(
    target: str, inputs: str | None, mode: str, every_block: bool, options: Any, trust_remote_code: bool,
    output: str | None, format: str | None, explain: str | None, **display: Any,
) -> int:  # fmt: skip
    """Show the operators that TARGET runs for its inputs, and what each costs. -o x.json keeps every call."""
    from numel import api

    with shared.progress("tracing"):
        report = api.trace(
            target, inputs, mode=mode, every_block=every_block, options=dict(options),
            trust_remote_code=trust_remote_code,
        )
    result = report if explain is None else report.explain(explain)
    shared.write(result, output, format, **display)
    return shared.finished(report, target, silent=output is not None or format in ("csv", "json"))

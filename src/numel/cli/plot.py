"""`numel plot TARGET --kind KIND -o FILE`: a picture for a paper, or as characters on the terminal."""

from __future__ import annotations

from typing import Any, get_args

import click

from numel.cli import options as shared
from numel.document import ChartKind


@click.command()
@shared.target
@click.option("--kind", type=click.Choice(get_args(ChartKind)), default="bar", show_default=True, help="What to draw.")
@click.option("--by", metavar="TABLE", help="What a bar stands for: layer, depth, type, dtype, operator, tensor.")
@click.option("--value", metavar="KEY", help="The number to draw, as in params, macs, nbytes, activation_nbytes.")
@click.option("--sort", metavar="KEY", help="Order of the bars: a column, -KEY for the largest first, or order.")
@click.option("--color", metavar="KEY", help="Colours of a nested kind: type, dtype, trainable, macs ...")
@click.option("--path", metavar="TENSOR", help="Of which tensor a histogram is; all parameters without it.")
@shared.running
@shared.training
@shared.building
@click.option("-o", "--output", metavar="PATH", help="A picture by its suffix, .svg .png .pdf, or its data: .txt .md "
              ".csv .tex. Without it the terminal.")  # fmt: skip
@click.option("-f", "--format", "format", metavar="NAME", help="The format, where the suffix does not tell.")
def plot(
    target: str, kind: ChartKind, by: str | None, value: str | None, sort: str | None, color: str | None,
    path: str | None, inputs: str | None, mode: str, backward: bool, optimizer: str | None, every_block: bool,
    options: Any, trust_remote_code: bool, output: str | None, format: str | None,
) -> int:  # fmt: skip
    """Draw TARGET: where its parameters and its work are, and its memory in a training step.

    A histogram reads the weights of a file; a timeline traces a training step, and with --optimizer its last part.
    """
    from numel import api
    from numel.results import Report
    from numel.views import Picture

    asked = {"by": by, "value": value, "sort": sort, "color": color, "path": path}
    with shared.progress("tracing"):
        result = api.pictured(
            target, kind, inputs, mode=mode, backward=backward, optimizer=optimizer, every_block=every_block,
            options=dict(options), trust_remote_code=trust_remote_code,
        )
        chart = result.chart(kind, **{name: each for name, each in asked.items() if each is not None})
    shared.write(Picture(chart), output, format)
    return shared.finished(result, target, silent=True) if isinstance(result, Report) else 0

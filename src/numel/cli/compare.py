"""`numel compare A B [C …]`: what is different between models."""

from __future__ import annotations

from typing import Any

import click

from numel.cli import options as shared

_FAILED = 3


def _metrics(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    for text in given:
        name, _, numbers = text.partition("=")
        if name in found:
            raise click.BadParameter(f"{name} is given twice; expected once, with a number for each target")
        try:
            found[name] = tuple(float(each) for each in numbers.split(","))
        except ValueError:
            raise click.BadParameter(f"{text!r}: expected NAME=NUMBER,NUMBER, one for each target") from None
    return found


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET TARGET [TARGET ...]")
@shared.running
@shared.training
@click.option("--metric", "metric", multiple=True, callback=_metrics, metavar="NAME=N,N",
              help="Numbers of your own, one for each target: accuracy=0.71,0.74, or, where less is better, "
              "loss:min=0.3,0.2. Repeatable.")  # fmt: skip
@click.option("--values", is_flag=True, help="Compare the values of files, too: which tensors changed, and how much.")
@click.option("--fail-if", "conditions", multiple=True, metavar="CONDITION",
              help="Exit with 3 where it holds for a target: 'params > +1%', 'macs > 5G', 'nbytes > +10MiB'. "
              "Repeatable.")  # fmt: skip
@shared.building
@shared.writing
def compare(
    targets: tuple[str, ...], inputs: str | None, mode: str, backward: bool, optimizer: str | None, every_block: bool,
    metric: dict[str, tuple[float, ...]], values: bool, conditions: tuple[str, ...], options: Any,
    trust_remote_code: bool, output: str | None, format: str | None,
) -> int:  # fmt: skip
    """Compare targets with the first: totals, what was added, removed or changed, and which layers made the difference.

    Exit codes: 0 also where they differ, 3 where a condition of --fail-if holds, 1 where none does and one of them
    can not be told, since a number is not known or a lower bound.
    """
    from numel import api
    from numel.results.comparison import checked

    if len(targets) < 2:
        raise click.UsageError("compare takes two targets or more")
    checked(conditions, metric)  # before anything runs
    with shared.progress("comparing"):
        found = api.compare(
            *targets, inputs=inputs, metric=metric, values=values, mode=mode, backward=backward, optimizer=optimizer,
            every_block=every_block, options=dict(options), trust_remote_code=trust_remote_code,
        )
        failing, undecided = found.failing(conditions), found.undecided(conditions)
    shared.write(found, output, format)
    for text in failing:
        click.echo(f"numel: {text}", err=True)
    for text in undecided:
        click.echo(f"numel: can not tell: {text}", err=True)
    stopped = [shared.finished(report, name, silent=output is not None or format in ("csv", "json"))
               for name, report in zip(found.names, getattr(found, "reports", ()), strict=False)]  # fmt: skip
    return _FAILED if failing else 1 if undecided or any(stopped) else 0

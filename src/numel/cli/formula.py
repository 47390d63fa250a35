"""`numel formula [TEXT]`: what an operator is taken to cost, and why."""

from __future__ import annotations

import click

from numel.cli import options as shared


@click.command()
@click.argument("text", default="")
@shared.writing
def formula(text: str, output: str | None, format: str | None) -> None:
    """List the operators that have a formula, those whose name holds TEXT, with the derivation of each.

    In Python, @numel.formula("mylib::op") adds one.
    """
    from numel.errors import ViewError
    from numel.results import Formulas

    found = Formulas.registered(text)
    if not found.rows:
        raise ViewError(f"no operator with {text!r} in its name has a formula; numel formula lists all that have")
    shared.write(found, output, format)

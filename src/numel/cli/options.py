"""The options that several commands share, and what is done with a result."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from numel.results import Report
    from numel.views import Viewable

F = TypeVar("F", bound=Callable[..., Any])

_WORDS = {"true": True, "false": False, "none": None, "null": None}
_MAGNITUDES = {"K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9}


class _Assignment(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2 only
    """KEY=VALUE; the value is a Python literal where it reads as one, else text."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        key, found, text = str(value).partition("=")
        if not found or not key:
            self.fail(f"{value!r}: expected KEY=VALUE, as in num_classes=10", param, ctx)
        if text.lower() in _WORDS:
            return key, _WORDS[text.lower()]
        try:
            return key, ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return key, text


class _Count(click.ParamType):  # type: ignore[type-arg]
    """A number of elements: 5000, 1e6, 2.5M."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip().replace(",", "").replace("_", "")
        magnitude = _MAGNITUDES.get(text[-1:].upper(), 1)
        try:
            number = float(text[:-1] if magnitude > 1 else text) * magnitude
            if not 0 <= number < 1e30:
                raise ValueError
        except ValueError:
            self.fail(f"{value!r}: expected a number of elements, as in 5000, 1e6 or 2.5M", param, ctx)
        return int(number)


def _stacked(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _joined(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> str | None:
    """Inputs that are given one by one are those of one call."""
    return ", ".join(given) if given else None


def _once(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> str | None:
    if len(given) > 1:
        raise click.UsageError(f"{param.opts[0]} is given {len(given)} times; expected once")
    return given[0] if given else None


target: Callable[[F], F] = click.argument("target")

building: Callable[[F], F] = _stacked(
    click.option("-k", "--option", "options", type=_Assignment(), multiple=True, metavar="KEY=VALUE",
                 help="An argument of the callable, or a field of the configuration. Repeatable."),
    click.option("--trust-remote-code", is_flag=True, help="Run the model code that comes with a hub's configuration."),
)  # fmt: skip

running: Callable[[F], F] = _stacked(
    click.option("-i", "--inputs", metavar="INPUTS", multiple=True, callback=_joined,
                 help="What the forward is called with: 'f32[1,3,224,224]', or "
                 "'input_ids: i64[b,s] < 32000, b=2, s=16'."),
    click.option("--mode", type=click.Choice(["auto", "meta", "fake", "real"]), default="auto", show_default=True,
                 help="What the forward runs on; auto takes the first that works."),
    click.option("--every-block", is_flag=True, help="Run every block. Without it two stand for all that are alike in "
                 "whatever they could look at; the numbers are the same."),
)  # fmt: skip

training: Callable[[F], F] = _stacked(
    click.option("--backward", is_flag=True, help="Go back from the output, too: FLOPs, what is saved, peak memory."),
    click.option("--optimizer", metavar="NAME", help="Also take a step of this optimizer of torch.optim, as in adamw."),
)  # fmt: skip

arranging: Callable[[F], F] = _stacked(
    click.option("-c", "--columns", metavar="KEYS", help="Columns by key, as in 'type params macs'."),
    click.option("-s", "--sort", metavar="KEY", help="Order rows by a column; -KEY puts the largest first."),
    click.option("--top", type=click.IntRange(min=1), metavar="N", help="The N largest tensors."),
    click.option("--min-params", type=_Count(), metavar="N", help="Tensors of at least N elements: 5000, 1e6, 2.5M."),
)  # fmt: skip

shaping: Callable[[F], F] = _stacked(
    click.option("-d", "--depth", type=click.IntRange(min=0), metavar="N", help="Levels of the tree; chosen to fit a "
                 "screen without it."),
    click.option("--unfold", is_flag=True, help="Show every one of a run of equal layers."),
    click.option("--by", multiple=True, metavar="TABLE", help="Tables to show: layers (the tree), layer, depth, type, "
                 "dtype, operator, tensor. Repeatable."),
)  # fmt: skip

explaining: Callable[[F], F] = click.option(
    "--explain", metavar="PATH", help="What made a row or a total: the path of a layer, a folded label as in "
    "'layers.0–31', params, macs, nbytes ..., or total, which also says why other tools differ.",
)  # fmt: skip

writing: Callable[[F], F] = _stacked(
    click.option("-o", "--output", metavar="PATH", multiple=True, callback=_once,
                 help="Write to a file whose suffix gives the format: .html .json .csv .md .tex .parquet .txt, or a "
                 "picture, .png .svg .pdf; - is stdout."),
    click.option("-f", "--format", "format", metavar="NAME", multiple=True, callback=_once,
                 help="terminal, markdown, csv, latex, json or html."),
)  # fmt: skip


def write(result: Viewable, output: str | None, format: str | None, **display: Any) -> None:
    """The result to stdout or to a file; display options that were not given are left to the result."""
    from numel.views import colored, named

    given = {name: value for name, value in display.items() if value is not None and value != ()}
    if "by" in given:
        given["by"] = " ".join(given["by"])
    if output is not None and output != "-":
        suffix = Path(output).suffix
        if format is None and not suffix:
            raise click.UsageError(f"-o {output}: no suffix to tell the format by; add one, or -f NAME")
        if format is not None and named(suffix) not in (None, named(format)):
            raise click.UsageError(f"-o {output} -f {format}: the suffix says {named(suffix)}; leave one of them out")
        result.save(Path(output), format=format, **given)
    elif format is None:
        result.show(**given)
    else:
        click.echo(result.rendered(format, color=colored(sys.stdout), **given), nl=False)


def finished(report: Report, target: str, *, silent: bool) -> int:
    """The exit code: 1 for a forward that stopped, which stderr hears of where the output does not show it."""
    failed = None if report.trace is None else report.trace.failure
    if failed is None:
        return 0
    if silent:
        where, words = failed.path or "the root", " ".join(failed.message.split())
        click.echo(f"numel: {target}: the forward stopped in {where}: {failed.error}: {words}", err=True)
    return 1


@contextmanager
def progress(text: str) -> Iterator[None]:
    """A spinner on stderr while something takes long; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{text} …"):
        yield

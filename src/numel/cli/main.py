"""`numel VERB TARGET …`: a command per verb, imported when asked for; `main` turns arguments into an exit code."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence

import click

from numel.errors import NumelError

# in the order that a newcomer meets them
_VERBS = ("count", "summary", "read", "trace", "compare", "monitor", "plot", "show", "formula")
_OTHER_NAMES = {"load": "show"}  # the function is called load, since it returns
_INTERRUPTED = 130


class _Verbs(click.Group):
    """Commands by name; a module of this package each."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        name = _OTHER_NAMES.get(name, name)
        if name not in _VERBS:
            return None
        command: click.Command = getattr(importlib.import_module(f"numel.cli.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the closest verb in the error."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in (*_VERBS, *_OTHER_NAMES):
            import difflib

            near = difflib.get_close_matches(name, _VERBS, 1)
            what = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(_VERBS)}"
            ctx.fail(f"no command {name!r}; {what}")
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from numel import __version__

        click.echo(f"numel {__version__}")
        ctx.exit()


@click.group(
    cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 could not (a forward that failed prints what ran before), 2 wrong usage, 3 "
    "a condition of --fail-if held.",
)  # fmt: skip
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def numel() -> None:
    """Parameters, MACs and memory of any PyTorch model, layer by layer; every number right or flagged.

    A TARGET is a .safetensors file, a config.json or a directory with one, hf:ORG/NAME, timm:NAME, torchvision:NAME,
    pkg.mod:callable, file.py:Name, or a saved result. Nothing but configurations is downloaded; no weight is loaded.

    \b
    numel count model.safetensors
    numel summary torchvision:resnet50 -i 'f32[1,3,224,224]'
    numel summary hf:path/to/config.json -i 'i64[1,512]' --depth 3 -o llama.html
    numel plot torchvision:resnet50 -i 'f32[1,3,224,224]' --kind treemap --value macs -o macs.svg
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` when `None`); the result is the exit code."""
    for stream in (sys.stdout, sys.stderr):  # a sign that the terminal lacks is no reason to print nothing
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    try:
        done = numel.main(args=None if args is None else list(args), prog_name="numel", standalone_mode=False)
        sys.stdout.flush()
        return done if isinstance(done, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.UsageError as error:
        where = f" (see: {error.ctx.command_path} --help)" if error.ctx is not None else ""
        return _fail(f"{error.format_message()}{where}", 2)
    except NumelError as error:
        return _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", _INTERRUPTED)
    except BrokenPipeError:
        # the reader has enough, as in `numel read T | head`; keep Python from flushing into the closed pipe at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        return _fail(f"{named}{error.strerror or error}", 1)
    except Exception as error:
        if os.environ.get("NUMEL_DEBUG"):
            raise
        text = " ".join(str(error).split())
        return _fail(f"{type(error).__name__}: {text} (a defect: please report it; NUMEL_DEBUG=1 says where)", 1)


def _fail(text: str, code: int) -> int:
    click.echo(f"numel: {text}", err=True)
    return code


def script() -> None:
    """The console script."""
    sys.exit(main())

"""Document to text or bytes, a file each. A renderer knows the blocks of `numel.document` and nothing else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from numel.document import Document
from numel.errors import ViewError

if TYPE_CHECKING:
    from typing_extensions import Never

# suffixes stand here and in the modules so that looking one up imports none of them; a test keeps the two equal
_KNOWN: dict[str, tuple[str, ...]] = {
    "terminal": (".txt",),
    "markdown": (".md", ".markdown"),
    "csv": (".csv",),
    "latex": (".tex",),
    "parquet": (".parquet",),
    "html": (".html", ".htm"),
    "notebook": (),
    "figure": (".png", ".svg", ".pdf"),
}


class Renderer(Protocol):
    """What a module of this package offers. `WHOLE`: it can fold and search, and takes all that there is to show."""

    NAME: str
    SUFFIXES: tuple[str, ...]
    WHOLE: bool

    def render(
        self, document: Document, *, width: int | None = None, color: bool = False, suffix: str = ""
    ) -> str | bytes:
        """The document; `suffix` is the one asked for, of a renderer that writes several formats."""
        ...


def names() -> tuple[str, ...]:
    """Every renderer, by name.

    >>> names()
    ('terminal', 'markdown', 'csv', 'latex', 'parquet', 'html', 'notebook', 'figure')
    """
    return tuple(_KNOWN)


def find(name_or_suffix: str, *, also: tuple[str, ...] = ()) -> Renderer:
    """The renderer of a name (`markdown`) or of a suffix with or without its dot (`.md`, `md`), imported now.

    Raises `ViewError` that names the known ones, `also` those that the caller writes itself.

    >>> find("md").NAME
    'markdown'
    """
    wanted = name_or_suffix.lower()
    for name, suffixes in _KNOWN.items():
        if wanted == name or f".{wanted.removeprefix('.')}" in suffixes:
            return cast(Renderer, importlib.import_module(f"numel.render.{name}"))
    known = ", ".join(f"{name} ({' '.join(suffixes)})" if suffixes else name for name, suffixes in _KNOWN.items())
    known = ", ".join([known, *also])
    raise ViewError(f"no renderer is called {name_or_suffix!r}; known: {known}")


def assert_never(block: Never) -> NoReturn:
    """`typing.assert_never`, which Python 3.10 lacks: the type checker finds the block that a `match` forgot."""
    raise AssertionError(f"a block that this renderer does not draw: {type(block).__name__}")

"""What every result can do: show itself, save itself, give its columns as data."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from abc import abstractmethod
from collections.abc import Mapping
from errno import EISDIR, ENOENT
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numel.document import Cell, Chart, ChartKind, Document
from numel.errors import ViewError

if TYPE_CHECKING:
    from numel.render.terminal import Drawing

_PLAIN_WIDTH = 100
_OF_ONE_TABLE = frozenset({"csv", "parquet"})


class Viewable:
    """A result with a `document` and a `saved` form. `display` are the options of its `document`, and no others.

    A result prints itself in the REPL, as `str(result)` and inside of rich, and unfolds in a notebook;
    `result.save("x.md")` takes the renderer from the suffix, and `.json` keeps the facts, so that `numel.load` gives
    the result again.
    """

    @abstractmethod
    def document(self, **display: Any) -> Document:
        """The result as blocks for a renderer."""

    @abstractmethod
    def saved(self) -> Mapping[str, Any]:
        """The result as plain JSON values: facts and provenance, and the numbers that scripts want."""

    def whole(self, **display: Any) -> Document:
        """All that there is to show, with its charts, for a page that can fold and search."""
        return self.document(**display)

    def chart(self, kind: ChartKind | None = None, **options: Any) -> Chart:
        """One picture of the result; its first one when no kind is given.

        Raises `ViewError` for a kind that there is not, and where the result lacks what it needs.
        """
        charts = {chart.kind: chart for chart in reversed(self.whole(**options).charts)}
        if kind is None and charts:
            return next(reversed(charts.values()))
        if kind not in charts:
            wanted = "" if kind is None else f"no chart of kind {kind!r}: "
            there = f"this result has {', '.join(sorted(charts))}" if charts else "nothing of this result can be drawn"
            raise ViewError(wanted + there)
        return charts[kind]

    def show(self, kind: Literal["text", "interactive"] = "text", **display: Any) -> None:
        """Print to the terminal, in its width and with its colours; "interactive" puts the page into a notebook."""
        if kind == "text":
            print(self.text("terminal", width=_width(), color=colored(sys.stdout), **display), end="")
            return
        if kind != "interactive":
            raise ViewError(f"show kind {kind!r}: expected 'text' or 'interactive'")
        from numel.render.notebook import embed

        embed(self.text("html", **display))

    def text(self, format: str, *, width: int | None = None, color: bool = False, **display: Any) -> str:
        """The result in one of the formats that are text (`terminal`, `markdown`, `csv`, `json`, `latex`, `html` ...),
        by name or suffix.

        Raises `ViewError` for a format, a column or a sort key that does not exist.
        """
        drawn = self.rendered(format, width=width, color=color, **display)
        if isinstance(drawn, bytes):
            raise ViewError(f"{format} is no text; save it to a file")
        return drawn

    def rendered(
        self, format: str, *, width: int | None = None, color: bool = False, **display: Any
    ) -> str | bytes:
        """The result in a format, by name or suffix: text, or the bytes of a file."""
        if format.lower().removeprefix(".") == "json":
            if display:
                raise ViewError(f"json holds the whole result; it takes no {' or '.join(display)}")
            import json

            return json.dumps(self.saved(), ensure_ascii=True, allow_nan=False) + "\n"
        from numel.render import find

        renderer = find(format, also=("json (.json)",))
        if renderer.NAME == "figure":
            document = Document((self.chart(**display),))
        elif renderer.NAME in _OF_ONE_TABLE:
            document = self._tabled(**display)
        else:
            document = self.whole(**display) if renderer.WHOLE else self.document(**display)
        return renderer.render(document, width=width, color=color, suffix=format.lower())

    def save(self, path: str | os.PathLike[str], *, format: str | None = None, **display: Any) -> None:
        """Write to `path` in the format of its suffix, or in `format`. The file is whole or is not there.

        A picture (`.png`, `.svg`, `.pdf`) takes the options of `chart` instead: `kind` and what it draws.
        Raises `ViewError` for an unknown suffix and `OSError` where the file can not be written.
        """
        place = Path(path)
        write_whole(place, self.rendered(format or place.suffix or place.name, width=_PLAIN_WIDTH, **display))

    def to_dict(self, **display: Any) -> dict[str, list[Cell]]:
        """The main table as columns: lists by key, which pandas, polars and pyarrow take."""
        main = self._tabled(**display).main
        return main.to_dict() if main is not None else {}

    def __str__(self) -> str:
        return self.text("terminal", width=_width()).rstrip("\n")

    def __repr__(self) -> str:
        return str(self)

    def __rich__(self) -> Drawing:
        from numel.render.terminal import Drawing

        return Drawing(self.document())

    def _repr_html_(self) -> str:
        from numel.render.notebook import render

        return render(self._folding())

    def _tabled(self, **display: Any) -> Document:
        """What holds the main table, for formats of one table and for data frames."""
        return self.document(**display)

    def _folding(self) -> Document:
        """What a notebook shows, which can fold a tree and nothing else."""
        return self.document()


class Picture(Viewable):
    """One chart alone, to be drawn in any format; the facts behind it are those of the result that it was made of."""

    def __init__(self, chart: Chart) -> None:
        self._chart = chart

    def document(self, **display: Any) -> Document:
        """The chart."""
        takes_none(display)
        return Document((self._chart,))

    def saved(self) -> Mapping[str, Any]:
        """There is none: raises `ViewError`."""
        raise ViewError("a picture keeps no facts; save the result as .json, and draw it again from there")


def takes_none(display: Mapping[str, Any]) -> None:
    """Raises `ViewError` for options given to a result that has none."""
    if display:
        raise ViewError(f"this view takes no {' or '.join(display)}")


def named(format: str) -> str | None:
    """The name of the format that a name or a suffix stands for; `None` for one that there is not."""
    if format.lower().removeprefix(".") == "json":
        return "json"
    from numel.render import find

    try:
        return find(format).NAME
    except ViewError:
        return None


def _width() -> int:
    return shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns


def colored(stream: Any) -> bool:
    """Whether to colour what is written to `stream`: a terminal, unless NO_COLOR; anything, with FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(getattr(stream, "isatty", bool)()) and os.environ.get("TERM") != "dumb"


def write_whole(path: Path, drawn: str | bytes) -> None:
    """Write beside `path`, then put it in its place: a write that fails leaves what was there, and nothing else."""
    data = drawn.encode("utf-8") if isinstance(drawn, str) else drawn
    if path.is_dir():
        raise IsADirectoryError(EISDIR, "a directory; name a file in it", str(path))
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(ENOENT, "no such directory to write into", str(path))
    if path.exists() and not path.is_file():  # a device or a pipe is written to as it is
        path.write_bytes(data)
        return
    import tempfile

    place = path.resolve()  # a link stays a link
    try:
        file, name = tempfile.mkstemp(prefix=".numel-", dir=place.parent)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
        mode = place.stat().st_mode & 0o7777 if place.exists() else 0o666 & ~_umask()
        os.chmod(name, mode)
        os.replace(name, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _umask() -> int:
    now = os.umask(0o022)
    os.umask(now)
    return now

"""Histories that grow: of a model that is watched, and of a file that a monitor writes."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from numel.monitoring import Monitor
from numel.monitoring.sinks import Reader
from numel.results.history import History

_PIECE = 1 << 20  # characters at once


class Following:
    """A file of JSON Lines that is read on as it grows; as a context manager it closes it."""

    def __init__(self, path: Path, where: str) -> None:
        self._file: IO[str] = path.open(encoding="utf-8", errors="replace")
        self._reader = Reader(where)
        self._rest = ""  # of a line that is not whole yet

    def grew(self) -> bool:
        """Read what is new; whether there was a whole line. Raises `SchemaError` for lines of another kind."""
        new = False
        while piece := self._file.read(_PIECE):
            lines = (self._rest + piece).split("\n")
            self._rest = lines.pop()
            self._reader.feed(lines)
            new = new or bool(lines)
        return new

    def now(self) -> History:
        """What was seen so far. Raises `SchemaError` where nothing that was read belongs to a history."""
        kept, notes = self._reader.kept, self._reader.notes()
        return History(kept.samples, kept.changes, self._reader.target, kept.values, kept.alarms, notes)

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class Watch(Monitor):
    """A monitor with the history of what it saw."""

    @property
    def history(self) -> History:
        """What was seen so far."""
        kept = self.kept
        return History(kept.samples, kept.changes, self.target, kept.values, kept.alarms, self.notes)

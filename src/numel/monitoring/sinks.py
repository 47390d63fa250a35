"""Where a history goes while it grows: a file of JSON Lines that a crash does not damage, or a function."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numel.facts import Sample, Seen
from numel.facts.codec import encode_sample, encode_seen
from numel.facts.schema import SCHEMA


class Sink:
    """Gets every sample and every change when it is seen; what one does not need it leaves as it is here."""

    def begin(self, target: str) -> None:
        """Before the first one; `target` is the class of the model."""
        return

    def write(self, seen: Sample | Seen) -> None:
        """One more."""
        return

    def end(self) -> None:
        """After the last one."""
        return


class Callback(Sink):
    """A function that is called with each `Sample` and `Seen`."""

    def __init__(self, function: Callable[[Any], None]) -> None:
        self._function = function

    def write(self, seen: Sample | Seen) -> None:
        self._function(seen)


class JsonLines(Sink):
    """A file that grows by one whole line at a time: a run that is killed loses at most its last one. A file that is
    there is gone on with. Of several processes of a job only the first writes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._writes = os.environ.get("RANK", "0") == "0"
        self._file: Any = None

    def begin(self, target: str) -> None:
        if not self._writes:
            return
        cut = self._path.exists() and self._path.stat().st_size > 0 and not self._path.read_bytes().endswith(b"\n")
        self._file = self._path.open("a", encoding="utf-8", newline="\n")
        if cut:  # the last line of a run that was killed stays alone
            self._file.write("\n")
        self._line({"schema": SCHEMA, "kind": "history", "target": target})

    def write(self, seen: Sample | Seen) -> None:
        if self._writes and self._file is not None:
            self._line({"sample": encode_sample(seen)} if isinstance(seen, Sample) else {"change": encode_seen(seen)})

    def end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _line(self, held: Any) -> None:
        self._file.write(json.dumps(held, ensure_ascii=True, allow_nan=False) + "\n")
        self._file.flush()

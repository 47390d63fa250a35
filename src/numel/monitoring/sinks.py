"""Where a history goes while it grows: a file of JSON Lines that a crash does not damage, or a function. And the file
read again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from numel.errors import SchemaError
from numel.facts import Alarm, Note, Sample, Seen, Values
from numel.facts.codec import decode_line, encode_alarm, encode_sample, encode_seen, encode_values
from numel.facts.schema import SCHEMA, upgraded
from numel.monitoring.kept import Kept

Record = Sample | Seen | Values | Alarm


class Sink:
    """Gets every sample, every change, the values of every look and every alarm when it is seen; what one does not need
    it leaves as it is here."""

    def begin(self, target: str) -> None:
        """Before the first one; `target` is the class of the model."""
        return

    def write(self, seen: Record) -> None:
        """One more."""
        return

    def end(self) -> None:
        """After the last one."""
        return


class Callback(Sink):
    """A function that is called with each `Sample`, `Seen`, `Values` and `Alarm`."""

    def __init__(self, function: Callable[[Any], None]) -> None:
        self._function = function

    def write(self, seen: Record) -> None:
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
        cut = _cut(self._path)
        self._file = self._path.open("a", encoding="utf-8", newline="\n")
        if cut:  # the last line of a run that was killed stays alone
            self._file.write("\n")
        self._line({"schema": SCHEMA, "kind": "history", "target": target})

    def write(self, seen: Record) -> None:
        if self._writes and self._file is not None:
            self._line(_line(seen))

    def end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _line(self, held: Any) -> None:
        self._file.write(json.dumps(held, ensure_ascii=True, allow_nan=False) + "\n")
        self._file.flush()


def _cut(path: Path) -> bool:
    """Whether the last line of a file has no end. Reads one byte: the file may be gigabytes."""
    try:
        with path.open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except FileNotFoundError:
        return False


def _line(seen: Record) -> dict[str, Any]:
    match seen:
        case Sample():
            return {"sample": encode_sample(seen)}
        case Seen():
            return {"change": encode_seen(seen)}
        case Values():
            return {"values": encode_values(seen)}
        case Alarm():
            return {"alarm": encode_alarm(seen)}


def read(source: str | os.PathLike[str] | Iterable[str], where: str = "history") -> tuple[Kept, str]:
    """What `JsonLines` wrote, line by line, and the class of the model.

    A line that a killed run left unfinished is left out; of whole ones with something wrong in them a note is kept.
    Where a run was gone on with from an earlier step, what was seen from there on before is left out. Raises
    `SchemaError` for lines without a header that this version reads, and where not one line holds what it should.

    >>> lines = ['{"schema": 2, "kind": "history", "target": "net.Net"}', '{"sample": [3, 1.5, {}]}', '{"sam']
    >>> kept, target = read(lines)
    >>> target, [each.step for each in kept.samples]
    ('net.Net', [3])
    """
    if isinstance(source, str | os.PathLike):
        with Path(source).open(encoding="utf-8", errors="replace") as file:
            return read(file, where)
    kept, target = Kept(), ""
    headers = damaged = 0
    resumed = False
    first: SchemaError | None = None
    for line in source:
        held = _held(line)
        if held is None:
            continue
        if "schema" in held:
            upgraded({"schema": held["schema"], "kind": "history", "facts": {}}, where)
            name = held.get("target")
            target = name if isinstance(name, str) else ""
            resumed = headers > 0
            headers += 1
            continue
        try:
            seen = decode_line(held, where)
        except SchemaError as error:
            first, damaged = first or error, damaged + 1
            continue
        if seen is None:
            continue
        if resumed and kept.last is not None and seen.step < kept.last[0]:
            kept.back_to(seen.step)
        resumed = False
        kept.add(seen)
    if not headers:
        upgraded({"schema": None, "kind": "history", "facts": {}}, where)
    if first is not None:
        if kept.last is None:
            raise first
        lines = "line is" if damaged == 1 else "lines are"
        kept.say(Note("lines-unread", "warning", f"{damaged:,} {lines} damaged and left out; the first: {first}"))
    return kept, target


def _held(line: str) -> dict[str, Any] | None:
    try:
        held = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return held if isinstance(held, dict) else None

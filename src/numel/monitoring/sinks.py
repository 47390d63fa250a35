"""Where a history goes while it grows: a file of JSON Lines that a crash does not damage, or a function. And the file
read again."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from numel.errors import InputsError, SchemaError
from numel.facts import Alarm, Note, Sample, Seen, Values
from numel.facts.history_codec import decode_line, encode_alarm, encode_sample, encode_seen, encode_values
from numel.facts.schema import SCHEMA, upgraded
from numel.monitoring.kept import Kept
from numel.sources.bytes import printable
from numel.sources.lines import HEADER, begins

try:
    import fcntl

    _flock: Any = fcntl.flock
except ImportError:  # there is none on Windows
    _flock = None

Record = Sample | Seen | Values | Alarm


class Sink:
    """Gets every sample, every change, the values of every look and every alarm when it is seen; what one does not need
    it leaves as it is here. `stopped` is for the notes of the history: why it writes no more, where it gave up."""

    stopped: Note | None = None

    def begin(self, target: str) -> None:
        """Before the first one; `target` is the class of the model."""
        return

    def write(self, seen: Record) -> None:
        """One more."""
        return

    def end(self) -> None:
        """After the last one."""
        return


def is_first() -> bool:
    """Whether this is the first process of a job, or the only one: the one that writes."""
    return os.environ.get("RANK", "0") == "0"


def scalars(seen: Sample | Values) -> dict[str, float]:
    """What a log of numbers holds of it, by name: totals, norms, largest values, how much is zero, update ratios.

    >>> from numel.facts import Totals
    >>> scalars(Sample(0, 0.0, Totals(params=6, nbytes=24)))
    {'params': 6, 'trainable': 0, 'nbytes': 24}
    """
    if isinstance(seen, Sample):
        return {name: getattr(seen.totals, name) for name in ("params", "trainable", "nbytes")}
    found: dict[str, float] = {}
    for each in seen.statistics:
        numbers = {"norm": each.norm, "absmax": each.absmax, "zeros": each.zeros, "ratio": each.ratio}
        numbers |= {"not_finite": float(each.nan + each.infinite)} if not each.finite else {}
        found |= {f"{each.of}_{name}/{each.path}": value for name, value in numbers.items() if value is not None}
    return found


class Callback(Sink):
    """A function that is called with each `Sample`, `Seen`, `Values` and `Alarm`."""

    def __init__(self, function: Callable[[Any], None]) -> None:
        self._function = function

    def write(self, seen: Record) -> None:
        self._function(seen)


class JsonLines(Sink):
    """A file that grows by one whole line at a time: a run that is killed loses at most its last one. A file that is
    there is gone on with. Of several processes of a job only the first writes, and of several monitors the first that
    has the file. Where the disk is full or gone the training goes on: it warns once and writes no more."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._writes = is_first()
        self._file: IO[bytes] | None = None

    def begin(self, target: str) -> None:
        if not self._writes:
            return
        self.stopped = None
        file, cut = _opened(self._path)
        self._file = file
        try:
            if cut:  # the last line of a run that was killed stays alone
                file.write(b"\n")
            self._line({"schema": SCHEMA, "kind": "history", "target": target})
        except OSError as error:
            with contextlib.suppress(OSError):  # what is not written yet can not be
                self._let_go()
            reason = error.strerror or error
            raise InputsError(f"monitor: {printable(self._path)}: {reason}; name another file") from error

    def write(self, seen: Record) -> None:
        if self._file is None:
            return
        try:
            self._line(_line(seen))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._let_go()
            self._give_up(f"nothing from step {seen.step} on is written to it", error)

    def end(self) -> None:
        try:
            self._let_go()
        except OSError as error:  # a file system that finds out at the end
            self._give_up("its last lines may be missing", error)

    def _line(self, held: Any) -> None:
        assert self._file is not None
        self._file.write(json.dumps(held, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n")
        self._file.flush()  # a run that is killed after this has lost nothing

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        if _flock is not None:
            with contextlib.suppress(OSError):
                _flock(file, fcntl.LOCK_UN)  # also where a forked process still has the file open
        file.close()

    def _give_up(self, text: str, error: OSError) -> None:
        note = Note("sink-stopped", "warning", f"{printable(self._path)}: {text}: {error.strerror or error}")
        self.stopped = note
        warnings.warn(f"monitor: {note.text}", RuntimeWarning, stacklevel=5)  # where observe is called


def _opened(path: Path) -> tuple[IO[bytes], bool]:
    """The file to write on into, and whether its last line has no end. Reads its first line and its last byte: it may
    be gigabytes. Raises `InputsError` for a place that can not be written to, a file that another monitor writes to,
    and one that is no history: it would be damaged."""
    where = f"monitor: {printable(path)}"
    with contextlib.ExitStack() as failed:
        try:
            file = failed.enter_context(path.open("a+b"))
            _lock(file, where)
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if size and not begins(file.readline(HEADER)):
                raise InputsError(f"{where}: a file that is no history; name another, or remove it")
            file.seek(max(size - 1, 0))
            cut = file.read(1) not in (b"\n", b"")
        except FileNotFoundError as error:
            raise InputsError(f"{where}: no such directory to write into") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputsError(f"{where}: {reason}; expected a file to read and write") from error
        failed.pop_all()
    return file, cut


def _lock(file: IO[bytes], where: str) -> None:
    """Two monitors in one file would look like one run."""
    if _flock is None:
        return
    try:
        _flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputsError(f"{where}: another monitor writes to it; close that one, or name another file") from error
    except OSError:  # a file system without locks
        return


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


class Reader:
    """What `JsonLines` wrote, as far as it was given: `kept` is what was seen, `target` the class of the model.

    A line that a killed run left unfinished is left out; of whole ones with something wrong in them a note is kept.
    Where a run was gone on with from an earlier step, what was seen from there on before is left out.

    >>> reader = Reader("run.jsonl")
    >>> reader.feed(['{"schema": 2, "kind": "history", "target": "net.Net"}', '{"sample": [3, 1.5, {}]}', '{"sam'])
    >>> reader.target, [each.step for each in reader.kept.samples]
    ('net.Net', [3])
    """

    def __init__(self, where: str = "history") -> None:
        self.kept, self.target = Kept(), ""
        self._where = where
        self._headers = self._damaged = 0
        self._resumed = False
        self._first: SchemaError | None = None

    def feed(self, lines: Iterable[str]) -> None:
        """More of them. Raises `SchemaError` for a header that this version does not read."""
        for line in lines:
            held = _held(line)
            if held is None:
                continue
            if "schema" in held:
                upgraded({"schema": held["schema"], "kind": "history", "facts": {}}, self._where)
                name = held.get("target")
                self.target = name if isinstance(name, str) else ""
                self._resumed = self._headers > 0
                self._headers += 1
                continue
            try:
                seen = decode_line(held, self._where)
            except SchemaError as error:
                self._first, self._damaged = self._first or error, self._damaged + 1
                continue
            if seen is None:
                continue
            if self._resumed and self.kept.last is not None and seen.step < self.kept.last[0]:
                self.kept.back_to(seen.step)
            self._resumed = False
            self.kept.add(seen)

    def notes(self) -> tuple[Note, ...]:
        """What was left out. Raises `SchemaError` where there was no header, and where not one line holds what it
        should."""
        if not self._headers:
            upgraded({"schema": None, "kind": "history", "facts": {}}, self._where)
        if self._first is None:
            return self.kept.notes
        if self.kept.last is None:
            raise self._first
        lines = "line is" if self._damaged == 1 else "lines are"
        text = f"{self._damaged:,} {lines} damaged and left out; the first: {self._first}"
        return (*self.kept.notes, Note("lines-unread", "warning", text))


def _held(line: str) -> dict[str, Any] | None:
    try:
        held = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return held if isinstance(held, dict) else None

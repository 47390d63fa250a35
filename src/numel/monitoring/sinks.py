"""Where a history goes while it grows: a file of JSON Lines that a crash does not damage, or a function. And the file
read again."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, ClassVar

from numel.errors import InputsError, SchemaError
from numel.facts import Alarm, Note, Sample, Seen, Values
from numel.facts.history_codec import decode_line, encode_alarm, encode_sample, encode_seen, encode_values
from numel.facts.schema import SCHEMA, upgraded
from numel.monitoring.kept import Kept
from numel.sources.bytes import printable
from numel.sources.lines import HEADER, begins, is_header

try:
    import fcntl

    _flock: Any = fcntl.flock
except ImportError:  # there is none on Windows
    _flock = None

_PIECE = 1 << 20  # bytes at once
_PATIENCE = 2.0  # seconds until a file is another's
_EXPECTED = "expected the JSON Lines that numel.monitor writes"

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

    def observed(self) -> None:
        """After all of one `observe`, also where it saw nothing new."""
        return

    def end(self) -> None:
        """After the last one."""
        return


def is_first() -> bool:
    """Whether this is the first process of a job, or the only one: the one that writes. torch.distributed says it once
    a group of processes is there, and before that what launchers set: torchrun, mpirun, srun, Lightning."""
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    for rank in ("RANK", "OMPI_COMM_WORLD_RANK"):
        if rank in os.environ:
            return os.environ[rank] == "0"
    # a batch script of Slurm hands its 0 on to all that it starts: each of these must agree
    return all(os.environ.get(name, "0") == "0" for name in ("SLURM_PROCID", "NODE_RANK", "LOCAL_RANK"))


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
    there is gone on with. Of several processes of a job only the first writes, and of several jobs the first that has
    the file. In one process the newest monitor has it: one that was left open, as by a cell of a notebook that is run
    again, writes no more. Where that one is still used, or the disk is full or gone, it warns once."""

    _writing: ClassVar[dict[tuple[int, int], weakref.ref[JsonLines]]] = {}  # by device and inode of their files

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._writes = is_first()
        self._file: IO[bytes] | None = None
        self._is_taken = False
        self._process = os.getpid()

    def begin(self, target: str) -> None:
        if not self._writes:
            return
        self.stopped, self._is_taken, self._process = None, False, os.getpid()
        self._take_over()
        file, cut = _opened(self._path)
        self._file = file
        there = os.fstat(file.fileno())
        self._writing[there.st_dev, there.st_ino] = weakref.ref(self)
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
        if self._is_taken:
            self._is_taken = False
            self._give_up(f"another monitor writes to it now; nothing from step {seen.step} on of this one")
        if self._file is None or self._process != os.getpid():  # a forked process has a copy of this
            return
        try:
            self._line(_line(seen))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._let_go()
            self._give_up(f"nothing from step {seen.step} on is written to it: {error.strerror or error}")

    def end(self) -> None:
        try:
            self._let_go()
        except OSError as error:  # a file system that finds out at the end
            self._give_up(f"its last lines may be missing: {error.strerror or error}")

    def _take_over(self) -> None:
        """From one of this process that was not closed."""
        with contextlib.suppress(OSError, ValueError):  # there is no such file yet, or never
            there = os.stat(self._path)
            found = self._writing.pop((there.st_dev, there.st_ino), None)
            other = None if found is None else found()
            if other is not None and other._file is not None:
                other._let_go()
                other._is_taken = True

    def _line(self, held: Any) -> None:
        assert self._file is not None
        self._file.write(json.dumps(held, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n")
        self._file.flush()  # a run that is killed after this has lost nothing

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        if _flock is not None and self._process == os.getpid():
            with contextlib.suppress(OSError):
                _flock(file, fcntl.LOCK_UN)  # also where a forked process still has the file open
        file.close()

    def _give_up(self, text: str) -> None:
        note = Note("sink-stopped", "warning", f"{printable(self._path)}: {text}")
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
    """Two processes that write to one file would look like one run. Those that a killed run had started, as to load its
    data, hold its lock until they notice."""
    until = time.monotonic() + _PATIENCE
    while _flock is not None:
        try:
            _flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > until:
                text = "another monitor writes to it; close that one, or name another file"
                raise InputsError(f"{where}: {text}") from error
            time.sleep(_PATIENCE / 20)
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
    Where a run was gone on with from a step that was seen before, what was seen from there on is left out.

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
        self._first: object = None  # what was wrong with the first of them
        self._cut = False  # whether the last line was no JSON
        self._mixed: dict[str, Note] = {}  # by code: each is said once

    def feed(self, lines: Iterable[str]) -> None:
        """More of them. Raises `SchemaError` for a header that this version does not read, and for lines before any."""
        for line in lines:
            held = _held(line)
            if held is not None and is_header(held):
                self._cut = False
                self._begin(held)
                continue
            self._check_begun()
            if self._cut:  # something stands behind a line that a killed run had not ended
                self._damage("no JSON")
            self._cut = held is None and bool(line.strip())
            if held is None:
                continue
            try:
                seen = decode_line(held, self._where)
            except SchemaError as error:
                self._damage(error)
                continue
            if seen is not None:
                self._add(seen)

    def _begin(self, header: dict[str, Any]) -> None:
        upgraded({"schema": header["schema"], "kind": "history", "facts": {}}, self._where)
        name = header.get("target")
        target = name if isinstance(name, str) else ""
        if self._headers and target != self.target:
            self._say("history-of-others", f"first {self.target}, then {target} was watched: they are shown as one run")
        self.target = target
        self._resumed = self._headers > 0
        self._headers += 1

    def _add(self, seen: Record) -> None:
        last = self.kept.last
        if last is not None and self._resumed and seen.step <= last[0]:
            self.kept.back_to(seen.step)
        elif last is not None and seen.step < last[0]:
            text = f"step {seen.step} after step {last[0]} of the same run: more than one monitor wrote to the file"
            self._say("history-mixed", text)
        self._resumed = False
        self.kept.add(seen)

    def _say(self, code: str, text: str) -> None:
        self._mixed.setdefault(code, Note(code, "warning", text))

    def _damage(self, what: object) -> None:
        self._first, self._damaged = self._first or what, self._damaged + 1

    def _check_begun(self) -> None:
        if not self._headers:
            raise SchemaError(f"{self._where}: no history that numel wrote; {_EXPECTED}")

    def notes(self) -> tuple[Note, ...]:
        """What was left out or is odd. Raises `SchemaError` where there was no header, and where not one line holds
        what it should."""
        self._check_begun()
        notes = (*self.kept.notes, *self._mixed.values())
        if self._first is None:
            return notes
        if self.kept.last is None:
            raise self._first if isinstance(self._first, SchemaError) else SchemaError(f"{self._where}: {self._first}")
        lines = "line is" if self._damaged == 1 else "lines are"
        text = f"{self._damaged:,} {lines} damaged and left out; the first: {self._first}"
        return (*notes, Note("lines-unread", "warning", text))


class Growing:
    """A file of JSON Lines that is read on as it grows, into `reader`. One that was cut short, or replaced by another,
    is read anew; of one that was removed what was read stays."""

    def __init__(self, path: Path, where: str) -> None:
        self._path, self._where = path, where
        self._begin(path.open("rb"))

    def _begin(self, file: IO[bytes]) -> None:
        self._file = file
        self.reader = Reader(self._where)
        self._read = 0  # bytes
        self._rest = b""  # of a line that is not whole yet

    def grew(self) -> bool:
        """Read what is new; whether there was a whole line. Raises `SchemaError` for lines of another kind."""
        if self._is_another():
            with contextlib.suppress(OSError):  # it is gone again
                file = self._path.open("rb")
                self._file.close()
                self._begin(file)
        new = False
        while piece := self._file.read(_PIECE):
            self._read += len(piece)
            *lines, self._rest = (self._rest + piece).split(b"\n")
            self.reader.feed(line.decode("utf-8", "replace") for line in lines)
            new = new or bool(lines)
        return new

    def _is_another(self) -> bool:
        """Whether there is something else now where the file was."""
        try:
            there, held = os.stat(self._path), os.fstat(self._file.fileno())
        except OSError:
            return False
        return there.st_size > 0 and (there.st_size < self._read or not os.path.samestat(there, held))

    def notes(self) -> tuple[Note, ...]:
        """Those of the reader. Raises `SchemaError` where nothing that was read belongs to a history."""
        if not self._read:
            raise SchemaError(f"{self._where}: empty; {_EXPECTED}")
        return self.reader.notes()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _held(line: str) -> dict[str, Any] | None:
    try:
        held = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return held if isinstance(held, dict) else None

"""Where a history goes and how it is read back: files that are open, gone on with, shared, full, replaced or none at
all; sinks that fail; and what is kept of a run that went back."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import numel  # noqa: E402
from numel.errors import InputsError, SchemaError, TargetError  # noqa: E402
from numel.facts import Alarm, Change, Note, Sample, Seen, Statistics, Totals, Values  # noqa: E402
from numel.monitoring import Sink  # noqa: E402
from numel.monitoring.kept import Kept, Thinned  # noqa: E402
from numel.monitoring.sinks import JsonLines, Reader  # noqa: E402
from numel.results import Following, History  # noqa: E402
from numel.sources.lines import is_history  # noqa: E402

nn = torch.nn


# ── runs that were not closed ────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_is_open_ends_at_the_last_step_that_its_file_knows(tmp_path: Path):
    model = nn.Linear(2, 2)
    watched = numel.monitor(model, tmp_path / "run.jsonl", every=10)
    for step in range(101):
        watched.observe(step)
    history: Any = numel.load(tmp_path / "run.jsonl")
    assert history == watched.history
    assert [(each.step, each.totals.params) for each in history.samples] == [(0, 6), (100, 6)]
    assert numel.compare(watched.history, history).identical
    watched.close()
    assert numel.load(tmp_path / "run.jsonl") == history


def test_every_line_is_in_the_file_when_observe_returns(tmp_path: Path):
    model = nn.Linear(2, 2)
    watched = numel.monitor(model, tmp_path / "run.jsonl", every=1)
    for step in range(3):
        watched.observe(step)
        *lines, rest = (tmp_path / "run.jsonl").read_bytes().split(b"\n")
        assert rest == b""
        assert [found[0] for found in json.loads(lines[-1]).values()] == [step]
    watched.close()


# ── runs that are gone on with ───────────────────────────────────────────────────────────────────────────────────────


def watch(place: Any, steps: range, model: Any = None) -> History:
    with numel.monitor(nn.Linear(2, 2) if model is None else model, place, every=1) as watched:
        for step in steps:
            watched.observe(step)
    return watched.history


def looks(history: Any) -> list[int]:
    return [each.step for each in history.values if each.by("weight")]


def test_a_run_that_goes_on_at_its_last_step_has_it_once(tmp_path: Path):
    for steps in (range(0, 6), range(5, 9)):
        watch(tmp_path / "run.jsonl", steps)
    history: Any = numel.load(tmp_path / "run.jsonl")
    assert looks(history) == list(range(9))
    assert [each.step for each in history.samples] == [0, 5, 8]
    assert history.notes == ()


def test_what_happened_at_the_last_step_stays_when_a_run_goes_on_there(tmp_path: Path):
    """The first look of the new monitor has no look before it, and no gradient: it can not say these again."""
    model = nn.Linear(2, 1)
    with numel.monitor(model, tmp_path / "run.jsonl", every=1) as watched:
        for step in range(5):
            model(torch.ones(1, 2)).sum().backward()
            if step == 4:
                model.bias.requires_grad_(False)
                model.weight.grad.fill_(float("nan"))
            watched.observe(step)
            model.zero_grad()
    with numel.monitor(model, tmp_path / "run.jsonl", every=1) as watched:
        watched.observe(4)
        model.bias.requires_grad_(True)
        watched.observe(5)
    history: Any = numel.load(tmp_path / "run.jsonl")
    assert [(each.step, each.kind) for each in history.changes] == [(4, "frozen"), (5, "unfrozen")]
    assert [(each.step, each.code) for each in history.alarms] == [(4, "not-finite")]
    assert looks(history) == list(range(6))
    assert all(each.by("gradient") for each in history.values[:5])
    assert history.notes == ()


def test_an_alarm_that_stands_where_a_run_goes_on_is_there_once(tmp_path: Path):
    for steps in (range(0, 4), range(3, 6)):
        model = nn.Linear(2, 1)
        with numel.monitor(model, tmp_path / "run.jsonl", optimizer=torch.optim.SGD([model.weight], 0.1)) as watched:
            for step in steps:
                watched.observe(step)
    history: Any = numel.load(tmp_path / "run.jsonl")
    assert [(each.step, each.path) for each in history.alarms] == [(0, "bias"), (3, "bias")]


def test_a_run_that_goes_on_after_its_last_step_is_one_without_a_note(tmp_path: Path):
    for steps in (range(0, 6), range(6, 9)):
        watch(tmp_path / "run.jsonl", steps)
    history: Any = numel.load(tmp_path / "run.jsonl")
    assert (looks(history), history.notes) == (list(range(9)), ())


HEADER = '{"schema": 2, "kind": "history", "target": "net.A"}'


def sample(step: int) -> str:
    return json.dumps({"sample": [step, 1.5, {"params": 6}]})


def read(*lines: str) -> tuple[list[int], list[tuple[str, str]]]:
    reader = Reader("run.jsonl")
    reader.feed(lines)
    return [each.step for each in reader.kept.samples], [(note.code, note.text) for note in reader.notes()]


def test_steps_that_go_back_without_a_beginning_are_those_of_two_writers():
    steps, notes = read(HEADER, sample(4), sample(5), sample(2), sample(1), sample(6))
    assert steps == [4, 5, 2, 1, 6]
    assert notes == [("history-mixed", "step 2 after step 5 of the same run: more than one monitor wrote to the file")]
    steps, ((code, text),) = read(HEADER, sample(4), HEADER, sample(5), sample(2))  # once after a beginning, too
    assert (steps, code, text.partition(" of")[0]) == ([4, 5, 2], "history-mixed", "step 2 after step 5")


def test_a_model_of_another_class_is_said():
    other = HEADER.replace("net.A", "net.B")
    steps, notes = read(HEADER, sample(4), other, sample(5), other, sample(6))
    assert steps == [4, 5, 6]
    assert notes == [("history-of-others", "first net.A, then net.B was watched: they are shown as one run")]


def test_a_monitor_that_was_left_open_gives_its_file_to_the_next(tmp_path: Path):
    """As a cell of a notebook that is run again. One that is used all the same says once that it writes no more."""
    place = tmp_path / "run.jsonl"
    first = numel.monitor(nn.Linear(2, 2), place)
    first.observe(0)
    with numel.monitor(nn.Linear(2, 3), place) as second:
        second.observe(0)
        model = nn.Linear(2, 3)
        with numel.monitor(model, place) as third:
            third.observe(1)
            model.bias = None
            assert len(third.observe(2)) == 1
    assert first.history.notes == ()
    first._model.bias = None
    with pytest.warns(RuntimeWarning, match="another monitor writes to it now; nothing from step 3 on of this one"):
        first.observe(3)
    first.close()
    assert [note.code for note in first.history.notes] == ["sink-stopped"]
    history = numel.load(place)
    assert [(each.step, each.path) for each in history.changes] == [(2, "bias")]
    assert [each.totals.params for each in history.samples] == [9, 9, 6]


def test_two_processes_do_not_write_to_one_file(tmp_path: Path):
    place = tmp_path / "run.jsonl"
    pytest.importorskip("fcntl")
    sink: Any = JsonLines(place)
    watched = numel.monitor(nn.Linear(2, 2), sink)
    watched.observe(0)
    before = place.read_bytes()
    code = (
        f"import numel, torch\ntry:\n numel.monitor(torch.nn.ReLU(), {str(place)!r})\nexcept Exception as e: print(e)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "another monitor writes to it" in found.stdout
    assert place.read_bytes() == before
    child = subprocess.Popen(["sleep", "60"], pass_fds=[sink._file.fileno()])  # as a process that loads data
    try:
        watched.close()
        numel.monitor(nn.Linear(2, 2), place).close()
    finally:
        child.kill()
        child.wait()


# ── sinks that fail ──────────────────────────────────────────────────────────────────────────────────────────────────


class Failing(Sink):
    """Raises once, at what it is told to."""

    def __init__(self, at: type) -> None:
        self.at: type | None = at
        self.got: list[Any] = []
        self.ended = 0

    def write(self, seen: Any) -> None:
        if self.at is not None and isinstance(seen, self.at):
            self.at = None
            raise OSError("no")
        self.got.append(seen)

    def end(self) -> None:
        self.ended += 1


def test_what_a_sink_failed_to_take_is_in_the_history_and_what_follows_is_given_to_it():
    model = nn.Linear(2, 2)
    sink = Failing(Seen)
    watched = numel.monitor(model, sink)
    watched.observe(0)
    model.requires_grad_(False)
    with pytest.raises(OSError, match="no"):
        watched.observe(1)
    assert watched.observe(1) == ()  # it was seen
    assert [(each.step, each.path) for each in watched.history.changes] == [(1, "weight"), (1, "bias")]
    assert [each.path for each in sink.got if isinstance(each, Seen)] == ["bias"]


def test_totals_that_can_not_be_counted_once_lose_no_change(monkeypatch: pytest.MonkeyPatch):
    model = nn.Linear(2, 2)
    watched = numel.monitor(model)
    watched.observe(0)
    model.requires_grad_(False)
    with monkeypatch.context() as patched:
        patched.setattr("numel.monitoring.totals", lambda model: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watched.observe(1)
    assert [each.path for each in watched.observe(1)] == ["weight", "bias"]


def test_a_sink_is_ended_once_also_where_its_last_write_fails():
    sink = Failing(Sample)
    sink.at = None
    watched = numel.monitor(nn.Linear(2, 2), sink)
    watched.observe(0)
    watched.observe(5)
    sink.at = Sample
    with pytest.raises(OSError, match="no"):
        watched.close()
    watched.close()
    assert sink.ended == 1
    assert [each.step for each in watched.history.samples] == [0, 5]


def test_a_monitor_that_is_closed_lets_go_of_model_and_optimizer():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    watched = numel.monitor(model, every=1, optimizer=optimizer)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    watched.observe(0)
    watched.close()
    gone = weakref.ref(model), weakref.ref(optimizer)
    del model, optimizer
    gc.collect()
    assert [each() for each in gone] == [None, None]
    assert watched.history.steps == (0, 0)


@contextmanager
def limit(nbytes: int) -> Iterator[None]:
    """No file of this process grows beyond."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_can_not_grow_stops_no_training(tmp_path: Path):
    model, place = nn.Linear(2, 2), tmp_path / "run.jsonl"
    watched = numel.monitor(model, place)
    watched.observe(0)
    with limit(place.stat().st_size + 20):
        for step in (1, 2):
            watched.observe(step)
        model.requires_grad_(False)
        with pytest.warns(RuntimeWarning, match="nothing from step 3 on is") as warned:
            watched.observe(3)
        watched.observe(8)  # a second warning would be an error
        watched.close()
    assert (len(warned), warned[0].filename) == (1, __file__)
    history = watched.history
    assert [(note.code, note.path) for note in history.notes] == [("sink-stopped", "")]
    assert history.notes[0].text.endswith("nothing from step 3 on is written to it: File too large")
    assert {each.step for each in history.changes} == {3}
    assert history.steps == (0, 8)
    assert len(numel.load(place).samples) == 1
    assert looks(watch(place, range(9, 11))) == [9, 10]  # there is room again: the line that was cut stays alone
    assert looks(numel.load(place)) == [9, 10]


def test_a_disk_that_finds_out_at_the_end_is_said_too(tmp_path: Path):
    sink = JsonLines(tmp_path / "run.jsonl")
    watched = numel.monitor(nn.Linear(2, 2), sink)
    watched.observe(0)
    file: Any = sink._file

    class Late:
        def fileno(self) -> int:
            return int(file.fileno())

        def close(self) -> None:
            file.close()
            raise OSError(122, "Disk quota exceeded")

    sink._file = Late()  # type: ignore[assignment]
    with pytest.warns(RuntimeWarning, match="its last lines may be missing: Disk quota exceeded"):
        watched.close()
    assert [note.code for note in watched.history.notes] == ["sink-stopped"]


def test_a_callable_that_raises_stops_the_training():
    def stop(seen: Any) -> None:
        if isinstance(seen, Seen):
            raise StopIteration

    model = nn.Linear(2, 2)
    watched = numel.monitor(model, stop)
    watched.observe(0)
    model.requires_grad_(False)
    with pytest.raises(StopIteration):
        watched.observe(1)


# ── files that are none ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_place_that_can_not_be_written_to_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "saved.json").write_text('{"schema": 2, "kind": "history", "facts": {"samples": [], "changes": []}}')
    places = {
        tmp_path: "Is a directory", Path("/proc/x.jsonl"): "no such directory|denied", "a\0b.jsonl": "null byte",
        tmp_path / "none" / "run.jsonl": "no such directory", tmp_path / ("x" * 300): "File name too long",
        tmp_path / "saved.json": "a file that is no history",
    }  # fmt: skip
    for place, reason in places.items():
        with pytest.raises(InputsError, match=reason) as raised:
            numel.monitor(nn.Linear(2, 2), place)
        assert "\n" not in str(raised.value)
    with limit(10), pytest.raises(InputsError, match="File too large"):
        numel.monitor(nn.Linear(2, 2), tmp_path / "full.jsonl")

    def refused(self: Path, mode: str) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)  # root may write everywhere
    with pytest.raises(InputsError, match=r"run.jsonl: Permission denied; expected a file to"):
        numel.monitor(nn.Linear(2, 2), tmp_path / "run.jsonl")


@pytest.mark.parametrize("name", ["run.log", "run", "run.json", "run.jsonl", "run.index.json"])
def test_a_history_is_read_whatever_its_file_is_called(name: str, tmp_path: Path):
    history = watch(tmp_path / name, range(3))
    assert numel.load(tmp_path / name) == history
    other = watch(tmp_path / "other.txt", range(3))
    assert numel.compare(tmp_path / name, str(tmp_path / "other.txt")).histories == (history, other)  # type: ignore


def test_no_other_file_is_taken_for_a_history(tmp_path: Path):
    history = watch(tmp_path / "run.jsonl", range(3))
    history.save(tmp_path / "saved.json")
    numel.summary(nn.Linear(2, 2)).save(tmp_path / "report.json")
    held = json.loads((tmp_path / "saved.json").read_text())
    (tmp_path / "short.json").write_text(json.dumps({**held, "facts": {"samples": [], "changes": []}}))
    (tmp_path / "config.json").write_text('{"kind": "history"}\n')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)) * 100)
    assert {each.name for each in tmp_path.iterdir() if is_history(each)} == {"run.jsonl"}
    assert not is_history(tmp_path)
    assert numel.load(tmp_path / "saved.json") == history
    assert numel.load(tmp_path / "short.json") == History()
    with pytest.raises(TargetError, match="not JSON"):
        numel.load(tmp_path / "weights.bin")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no files of pipes")
def test_nothing_of_a_pipe_is_lost(tmp_path: Path):
    report = numel.summary(nn.Linear(2, 2))
    report.save(tmp_path / "report.json")
    near, far = os.pipe()
    os.write(far, (tmp_path / "report.json").read_bytes())
    os.close(far)
    try:
        assert str(numel.load(f"/dev/fd/{near}")) == str(report)
    finally:
        os.close(near)


def test_a_file_without_a_history_says_so(tmp_path: Path):
    place = tmp_path / "run.jsonl"
    texts = {
        b"": "empty", b"hello": "no history that numel wrote", bytes(range(256)) * 9: "no history",
        b"[1]\n": "no history", b'{"schema": 7}\n': "no history",
        b'{"sample": [0, 1.5, {}]}\n': "no history",
    }  # fmt: skip
    for held, reason in texts.items():
        place.write_bytes(held)
        with pytest.raises(SchemaError, match=f"run.jsonl: {reason}"):
            numel.load(place)


def test_the_first_line_tells_that_it_is_none():
    with pytest.raises(SchemaError, match="no history that numel wrote"):
        Reader().feed(["{}", "nothing"])


# ── files that are followed ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_followed_while_it_grows_by_halves_of_lines(tmp_path: Path):
    place = tmp_path / "run.jsonl"
    place.write_text(HEADER)
    with Following(place, "run.jsonl") as run, place.open("a") as file:
        assert not run.grew()  # the line has no end yet
        for text, grew, steps in (("\n", True, []), (sample(3)[:9], False, []), (sample(3)[9:] + "\n", True, [3])):
            file.write(text)
            file.flush()
            assert run.grew() is grew
            assert [each.step for each in run.now().samples] == steps


@pytest.mark.parametrize(("how", "steps"), [("written anew", [1]), ("replaced", [1, 2, 3])])
def test_a_file_that_begins_anew_is_read_anew(how: str, steps: list[int], tmp_path: Path):
    place = tmp_path / "run.jsonl"
    place.write_text("\n".join((HEADER, sample(0), sample(5), "")))
    with Following(place, "run.jsonl") as run:
        assert run.grew()
        if how == "replaced":
            place.rename(tmp_path / "old.jsonl")
        place.write_text("")
        assert not run.grew()
        assert [each.step for each in run.now().samples] == [0, 5]  # as long as there is nothing else
        place.write_text("\n".join((HEADER.replace("net.A", "net.B"), *map(sample, steps), "")))
        assert run.grew()
        assert ([each.step for each in run.now().samples], run.now().target) == (steps, "net.B")
        assert not run.grew()


def test_of_a_file_that_was_removed_stays_what_was_read(tmp_path: Path):
    place = tmp_path / "run.jsonl"
    place.write_text("\n".join((HEADER, sample(0), "")))
    with Following(place, "run.jsonl") as run:
        assert run.grew()
        place.unlink()
        assert not run.grew()
        assert [each.step for each in run.now().samples] == [0]


def test_a_file_that_is_followed_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from numel.cli.main import main

    place = tmp_path / "run.log"
    place.write_text("\n".join((HEADER, sample(0), "")))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 1:
            raise KeyboardInterrupt
        with place.open("a") as file:
            file.write(sample(7) + "\n")

    opened: list[Any] = []
    begin = Following.__init__
    monkeypatch.setattr(Following, "__init__", lambda self, *given: opened.append(given) or begin(self, *given))
    monkeypatch.setattr("numel.cli.monitor.time.sleep", sleep)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["monitor", str(place)]) == 0
    assert len(opened) == 1
    assert "from step 0 to step 7" in capsys.readouterr().out


def test_a_training_that_was_interrupted_begins_again_in_its_file(tmp_path: Path):
    pytest.importorskip("transformers")
    from types import SimpleNamespace

    from numel.integrations import TrainerMonitor

    callback, model = TrainerMonitor(tmp_path / "run.jsonl"), nn.Linear(2, 2)
    for step in (0, 4):
        callback.on_train_begin(None, SimpleNamespace(global_step=step), None, model=model)
    callback.on_train_end(None, None, None)
    assert numel.load(tmp_path / "run.jsonl").steps == (0, 4)  # type: ignore


# ── what is watched, and when ────────────────────────────────────────────────────────────────────────────────────────


def test_a_class_is_no_model():
    with pytest.raises(TargetError, match="the class Linear; expected a live"):
        numel.monitor(nn.Linear)


def test_a_step_is_an_integer_of_any_library():
    numpy = pytest.importorskip("numpy")
    watched = numel.monitor(nn.Linear(2, 2), every=numpy.int64(2))
    for step in range(4):
        watched.observe(numpy.int64(step))
    assert looks(watched.history) == [0, 2]
    assert {type(each.step) for each in (*watched.history.samples, *watched.history.values)} == {int}
    for step in (numpy.bool_(True), True, numpy.float64(5), torch.tensor([1, 2]), None):
        with pytest.raises(InputsError, match="expected an integer from 3 on"):
            watched.observe(step)


# ── what is kept of a run that went back ─────────────────────────────────────────────────────────────────────────────


def test_what_is_added_after_something_was_dropped_is_numbered_on():
    few: Thinned[int] = Thinned(4, lambda each: 1)
    for n in range(11):
        few.add(n)
    assert (list(few), few.stride) == ([0, 4, 8, 10], 4)
    assert few.drop(lambda each: each >= 5) == 2
    for n in range(5, 12):
        few.add(n)
    assert list(few) == [0, 4, 8, 11]


def values(step: int, of: str) -> Values:
    return Values(step, 0.0, (Statistics("w", of, 1, 1, 1.0, 1.0, 0.0, 1.0, 0.0, 0, 0),))


def test_to_go_back_forgets_everything_after_that_step_and_nothing_before():
    kept = Kept()
    for step in range(8):
        kept.add(Sample(step, 0.0, Totals(params=step)))
        kept.add(Seen(step, 0.0, Change("added", "w", None, (1,))))
        kept.add(values(step, "update" if step % 2 else "weight"))  # the look at 4 and its update at 5 are one
        kept.add(Alarm(step, 0.0, Note("dead", "warning", "zero", "w")))
    kept.back_to(5)
    kept.add(Sample(5, 0.0, Totals(params=5)))
    for held in (kept.changes, kept.values, kept.alarms):
        assert [each.step for each in held] == [0, 1, 2, 3, 4, 5]
    assert [each.step for each in kept.samples] == [0, 1, 2, 3, 4, 5]
    assert [note.code for note in kept.notes] == ["history-gone-back"]


def test_an_update_alone_that_is_forgotten_is_said():
    kept = Kept()
    kept.add(values(4, "weight"))
    kept.add(values(5, "update"))
    kept.back_to(4)
    assert [each.step for each in kept.values] == [4]
    assert [note.code for note in kept.notes] == ["history-gone-back"]

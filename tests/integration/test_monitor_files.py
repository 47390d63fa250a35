"""Where a history goes and how it is read back: files that are open, gone on with, shared, full, replaced or none at
all; sinks that fail; and what is kept of a run that went back."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import numel  # noqa: E402
from numel.errors import InputsError, TargetError  # noqa: E402
from numel.facts import Alarm, Change, Note, Sample, Seen, Statistics, Totals, Values  # noqa: E402
from numel.monitoring import Sink  # noqa: E402
from numel.monitoring.kept import Kept, Thinned  # noqa: E402

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


# ── what is watched, and when ────────────────────────────────────────────────────────────────────────────────────────


def test_a_class_is_no_model():
    with pytest.raises(TargetError, match="the class Linear; expected a live"):
        numel.monitor(nn.Linear)


def test_a_step_is_an_integer_of_any_library():
    numpy = pytest.importorskip("numpy")
    watched = numel.monitor(nn.Linear(2, 2), every=numpy.int64(2))
    for step in range(4):
        watched.observe(numpy.int64(step))
    assert [each.step for each in watched.history.values if each.by("weight")] == [0, 2]
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


def test_to_go_back_forgets_everything_from_that_step_on_and_nothing_before():
    kept = Kept()
    for step in range(8):
        kept.add(Sample(step, 0.0, Totals(params=step)))
        kept.add(Seen(step, 0.0, Change("added", "w", None, (1,))))
        kept.add(values(step, "update" if step % 2 else "weight"))  # the look at 4 and its update at 5 are one
        kept.add(Alarm(step, 0.0, Note("dead", "warning", "zero", "w")))
    kept.back_to(5)
    kept.add(Sample(5, 0.0, Totals(params=5)))
    for held in (kept.changes, kept.values, kept.alarms):
        assert [each.step for each in held] == [0, 1, 2, 3, 4]
    assert [each.step for each in kept.samples] == [0, 1, 2, 3, 4, 5]
    assert [note.code for note in kept.notes] == ["history-gone-back"]


def test_an_update_alone_that_is_forgotten_is_said():
    kept = Kept()
    kept.add(values(4, "weight"))
    kept.add(values(5, "update"))
    kept.back_to(5)
    assert [note.code for note in kept.notes] == ["history-gone-back"]

"""Runs beside each other, and one alone: what is the same, what can not be compared, what a reader must see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from numel.analyses.history import callouts
from numel.errors import ViewError
from numel.facts import Alarm, Change, Note, Sample, Seen, Statistics, Totals, Values
from numel.results import Histories, History

FROZEN = Change("frozen", "0.weight", True, False)
DEAD = Alarm(4, 0.0, Note("dead", "warning", "the gradient is zero", "0.weight"))


def weight(path: str, norm: float | None = 1.0, of: str = "weight", **more: Any) -> Statistics:
    return Statistics(path, of, 4, 4, norm=norm, nan=0 if norm is not None else 4, **more)


def run(*statistics: Statistics, step: int = 5, params: int = 6, **more: Any) -> History:
    return History((Sample(0, 0.0, Totals(params=params)),), values=(Values(step, 0.0, statistics),), **more)


def table(found: Histories, title: str) -> list[tuple[Any, ...]]:
    return [row for each in found.document().tables if each.title == title for row in each.rows]


def weights(*runs: History) -> list[tuple[Any, ...]]:
    return table(Histories(runs, tuple(f"run{i}" for i in range(len(runs)))), "Weights at the last looks")


# ── the same or not ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_runs_are_identical_where_nothing_that_was_seen_differs():
    one = run(weight("0.weight"), changes=(Seen(3, 1.0, FROZEN),), alarms=(DEAD,))
    later = replace(one, values=(replace(one.values[0], time=9.0),), alarms=(replace(DEAD, time=9.0),))
    assert Histories((one, later), ("a", "b")).identical  # time is no difference
    different = {
        "values": replace(one, values=(Values(5, 0.0, (weight("0.weight", 2.0),)),)),
        "alarms": replace(one, alarms=()),
        "an alarm's step": replace(one, alarms=(replace(DEAD, step=5),)),
        "changes": replace(one, changes=()),
        "totals": replace(one, samples=()),
    }
    for what, other in different.items():
        assert not Histories((one, other), ("a", "b")).identical, what


def test_a_model_that_was_wrapped_in_one_run_is_the_same_model():
    tied = Change("tied", "2.weight", None, "0.weight")
    one = run(weight("0.weight"), changes=(Seen(3, 1.0, FROZEN), Seen(3, 1.0, tied)), alarms=(DEAD,))
    tied_there = Change("tied", "module._orig_mod.2.weight", None, "module._orig_mod.0.weight")
    there = "module._orig_mod.0.weight"
    other = run(
        weight(there), alarms=(replace(DEAD, note=replace(DEAD.note, path=there)),),
        changes=(Seen(3, 1.0, replace(FROZEN, path=there)), Seen(3, 1.0, tied_there)),
    )  # fmt: skip
    assert Histories((one, other), ("a", "b")).identical
    assert not Histories((one, other), ("a", "b")).changes
    later = replace(other, changes=tuple(replace(each, step=4) for each in other.changes), alarms=())
    found = Histories((one, later), ("a", "b"))
    assert [row[1:] for row in table(found, "Changes that are not the same")] == [
        ("0.weight", "trains → frozen", "3", "4"), ("2.weight", "– → 0.weight", "3", "4"),
    ]  # fmt: skip
    assert [(c.step, c.path) for c in found.changes][2:] == [(4, there), (4, "module._orig_mod.2.weight")]
    assert weights(one, run(weight(there, 2.0))) == [("0.weight", 1.0, 2.0, 0.5)]


def test_names_that_would_be_one_without_wrappers_stay_whole():
    both = run(weight("ema.weight"), weight("ema.module.weight", 2.0))
    assert weights(both, run(weight("ema.weight", 4.0), weight("ema.module.weight", 2.0))) == [
        ("ema.weight", 1.0, 4.0, 0.75), ("ema.module.weight", 2.0, 2.0, 0.0),
    ]  # fmt: skip


# ── what can not be compared ─────────────────────────────────────────────────────────────────────────────────────────


def test_weights_that_can_not_be_compared_come_first_and_have_no_number():
    one = run(weight("far", 1.0), weight("odd", 1.0), weight("alone", 1.0), weight("zero", 0.0))
    other = run(weight("zero", 0.0), weight("odd", None), weight("far", 2.0))
    assert weights(one, other) == [
        ("odd", 1.0, None, None), ("alone", 1.0, "", ""), ("far", 1.0, 2.0, 0.5), ("zero", 0.0, 0.0, 0.0),
    ]  # fmt: skip
    assert "1 not finite in a run; 1 not in every run" in str(Histories((one, other), ("a", "b")))


def test_the_norm_of_a_sample_is_about_as_much():
    found = Histories((run(replace(weight("w"), numel=9)), run(weight("w", 2.0))), ("a", "b"))
    assert "≈ 1" in str(found)


# ── where runs end ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_goes_on_to_the_last_step_that_is_known_of_it():
    long = replace(run(weight("w"), step=9, params=6), samples=(Sample(0, 0.0, Totals(6)), Sample(3, 0.0, Totals(8))))
    short = run(weight("w"), step=5, params=7)
    found = Histories((long, short), ("long", "short"))
    assert [cell.value for cell in table(found, "Totals")[0][1:3]] == [9, 5]
    chart = next(each for each in found.whole().charts if each.title == "Params over the runs")
    assert chart.data.rows == ((0, 6, 7), (2, 6, 7), (3, 8, 7), (5, 8, 7), (9, 8, None))


# ── what a reader must not miss ──────────────────────────────────────────────────────────────────────────────────────


def test_what_begins_at_one_step_in_many_places_is_said_once():
    alarms = [Alarm(7, 0.0, Note("not-finite", "error", f"the weight has {i + 1} NaN", f"w{i}")) for i in range(100)]
    alarms += [DEAD, replace(DEAD, step=9), Alarm(9, 0.0, Note("dead", "warning", "so is another", "0.weight"))]
    said = [(each.kind, each.text, each.path) for each in callouts(alarms)]
    assert said == [
        ("error", "step 7, in 100 places: the weight has 1 NaN, and so on (w0, w1, w2 and 97 more)", ""),
        ("warning", "step 4: the gradient is zero", "0.weight"),
        ("warning", "step 9: the gradient is zero; so is another", "0.weight"),
    ]


@pytest.mark.parametrize("nan", [0, 3])
def test_a_narrow_screen_shows_nan_where_there_is_one(nan: int):
    update = replace(weight("encoder.layers.0.weight", of="update"), ratio=0.0123456)
    gradient = replace(weight("encoder.layers.0.weight", of="gradient"), norm=0.123456)
    seen = replace(weight("encoder.layers.0.weight", 12.3456), mean=0.123456, std=0.123456, absmax=0.123456, nan=nan)
    drawn = run(seen, gradient, update).text("terminal", width=80)
    assert ("NaN, Inf" in drawn.partition("hidden")[0]) is bool(nan)
    assert "--columns" not in drawn


def test_what_has_no_picture_says_so_in_words(tmp_path: Path):
    with pytest.raises(ViewError, match=r"^nothing of this result can be drawn$"):
        run().save(tmp_path / "run.svg")
    with pytest.raises(ViewError, match=r"^no chart of kind 'bar': nothing of this result can be drawn$"):
        run().chart("bar")

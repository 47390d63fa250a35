"""What a monitor saw ↔ plain JSON values: a whole history, or one line of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from sys import intern
from typing import Any

from numel.facts import plain
from numel.facts.change import Change, ChangeKind, State
from numel.facts.codec import decode_histogram, decode_note, encode_note
from numel.facts.history import Alarm, Sample, Seen, Values
from numel.facts.note import Note
from numel.facts.plain import Json
from numel.facts.statistics import Statistics
from numel.facts.totals import Totals


def encode_sample(sample: Sample) -> Json:
    """Totals at a step as JSON values."""
    return [sample.step, sample.time, asdict(sample.totals)]


def encode_seen(seen: Seen) -> Json:
    """A change at a step as JSON values."""
    states = (list(each) if isinstance(each, tuple) else each for each in (seen.change.before, seen.change.after))
    return [seen.step, seen.time, seen.change.kind, seen.change.path, *states]


def encode_values(values: Values) -> Json:
    """Statistics at a step as JSON values."""
    return [values.step, values.time, [_statistics(each) for each in values.statistics]]


def encode_alarm(alarm: Alarm) -> Json:
    """An alarm at a step as JSON values."""
    return [alarm.step, alarm.time, *encode_note(alarm.note)]


def decode_history(
    facts: Any, where: str = "saved result"
) -> tuple[tuple[Sample, ...], tuple[Seen, ...], tuple[Values, ...], tuple[Alarm, ...], tuple[Note, ...]]:
    """A history again: {"samples": […], "changes": […], "values": […], "alarms": […], "notes": […]}; the last three may
    be missing. Raises as `decode` does.

    >>> seen = Seen(3, 0.5, Change("reshaped", "w", (2,), (3,)))
    >>> decode_history({"samples": [], "changes": [encode_seen(seen)]})[1] == (seen,)
    True
    """
    with plain.taken(where):
        return (
            tuple(_read_sample(*each) for each in facts["samples"]),
            tuple(_read_seen(*each) for each in facts["changes"]),
            tuple(_read_values(*each) for each in facts.get("values", ())),
            tuple(_read_alarm(*each) for each in facts.get("alarms", ())),
            tuple(decode_note(*each) for each in facts.get("notes", ())),
        )


def decode_line(held: Mapping[str, Any], where: str = "saved result") -> Sample | Seen | Values | Alarm | None:
    """What a line of a history that grows holds; `None` where that is something else. Raises as `decode` does.

    >>> alarm = Alarm(7, 0.5, Note("dead", "warning", "no gradient", "w"))
    >>> decode_line({"alarm": encode_alarm(alarm)}) == alarm
    True
    """
    with plain.taken(where):
        if "sample" in held:
            return _read_sample(*held["sample"])
        if "change" in held:
            return _read_seen(*held["change"])
        if "values" in held:
            return _read_values(*held["values"])
        if "alarm" in held:
            return _read_alarm(*held["alarm"])
    return None


def _read_sample(step: Json, time: Json, totals: Json) -> Sample:
    counts = {name: plain.whole(value) for name, value in totals.items()}
    return Sample(plain.whole(step), plain.real(time), Totals(**counts))


def _read_seen(step: Json, time: Json, kind: Json, path: Json, before: Json, after: Json) -> Seen:
    change = Change(plain.one_of(ChangeKind, kind), plain.text(path), _state(before), _state(after))
    return Seen(plain.whole(step), plain.real(time), change)


def _read_values(step: Json, time: Json, statistics: Json) -> Values:
    return Values(plain.whole(step), plain.real(time), tuple(_read_statistics(*each) for each in statistics))


def _read_alarm(step: Json, time: Json, *note: Json) -> Alarm:
    return Alarm(plain.whole(step), plain.real(time), decode_note(*note))


def _statistics(s: Statistics) -> Json:
    """The path once: a histogram is of the tensor that it stands beside."""
    h = s.histogram
    bins = None if h is None else [h.low, h.high, list(h.counts), h.nan, h.infinite]
    return [s.path, s.of, s.numel, s.seen, s.norm, s.mean, s.std, s.absmax, s.zeros, s.nan, s.infinite, s.ratio, bins]


def _read_statistics(
    path: Json, of: Json, numel: Json, seen: Json, norm: Json, mean: Json, std: Json, absmax: Json, zeros: Json,
    nan: Json, infinite: Json, ratio: Json, bins: Json,
) -> Statistics:  # fmt: skip
    known = plain.known
    return Statistics(
        intern(plain.text(path)), intern(plain.text(of)),  # once for all looks
        plain.whole(numel), plain.whole(seen), known(norm), known(mean), known(std), known(absmax), plain.real(zeros),
        plain.whole(nan), plain.whole(infinite), known(ratio), None if bins is None else decode_histogram(path, *bins),
    )  # fmt: skip


def _state(value: Json) -> State:
    if isinstance(value, list):
        return plain.sizes(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    plain.damaged(value, "a shape, a word or a flag")

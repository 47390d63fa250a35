"""What a history keeps in memory, which does not grow with the steps: of many looks every second, fourth, eighth …"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from numel.facts import Alarm, Note, Sample, Seen, Values

SAMPLES = 10_000
CHANGES = 100_000
STATISTICS = 100_000
HISTOGRAMS = 5_000  # of them have one: it is ten times as large as all the rest of a statistic
ALARMS = 10_000

T = TypeVar("T")


class Thinned(Generic[T]):
    """At most so much of what is added: every one, then every second, every fourth …, the first and the newest always.

    >>> few = Thinned(4, lambda each: 1)
    >>> for n in range(11):
    ...     few.add(n)
    >>> list(few), few.stride
    ([0, 4, 8, 10], 4)
    """

    def __init__(self, most: int, size: Callable[[T], int]) -> None:
        self._most, self._size = most, size
        self._held: list[tuple[int, T]] = []  # with the number of each
        self._total = 0
        self._next = 0
        self.stride = 1

    def __iter__(self) -> Iterator[T]:
        return (each for _, each in self._held)

    @property
    def newest(self) -> T | None:
        """The last one that was added."""
        return self._held[-1][1] if self._held else None

    def add(self, item: T) -> None:
        """One more."""
        if self._held and self._held[-1][0] % self.stride:  # it was kept as the newest alone
            self._total -= self._size(self._held.pop()[1])
        self._held.append((self._next, item))
        self._next += 1
        self._total += self._size(item)
        self._thin()

    def replace_newest(self, item: T) -> None:
        """Another in the place of the last one."""
        number, before = self._held[-1]
        self._held[-1] = number, item
        self._total += self._size(item) - self._size(before)
        self._thin()

    def drop(self, gone: Callable[[T], bool]) -> int:
        """Without those that are gone; how many there were."""
        before = len(self._held)
        self._held = [(number, each) for number, each in self._held if not gone(each)]
        self._total = sum(self._size(each) for _, each in self._held)
        self._next = self._held[-1][0] + 1 if self._held else 0
        return before - len(self._held)

    def _thin(self) -> None:
        while self._total > self._most and len(self._held) > 2:
            self.stride *= 2
            last = self._held[-1][0]
            self._held = [(number, each) for number, each in self._held if number % self.stride == 0 or number == last]
            self._total = sum(self._size(each) for _, each in self._held)


@dataclass(frozen=True, slots=True)
class _Look:
    """The values of one look, and of the updates that followed it: to drop every second step would drop all updates."""

    values: tuple[Values, ...]

    @property
    def size(self) -> int:
        return sum(len(each.statistics) for each in self.values)


def _histograms(seen: Values) -> int:
    return sum(each.histogram is not None for each in seen.statistics)


def _bare(seen: Values) -> Values:
    """The same without histograms."""
    return replace(seen, statistics=tuple(replace(each, histogram=None) for each in seen.statistics))


def _of_update(seen: Values) -> bool:
    return all(each.of == "update" for each in seen.statistics)


class Kept:
    """Everything that a monitor saw, or the lines that it wrote, as far as there is room.

    >>> kept = Kept()
    >>> for step in range(200):
    ...     kept.add(Values(step, 0.0, ()))
    >>> kept.values[-1].step, kept.notes
    (199, ())
    """

    def __init__(self) -> None:
        self._samples: Thinned[Sample] = Thinned(SAMPLES, lambda each: 1)
        self._looks: Thinned[_Look] = Thinned(STATISTICS, lambda each: each.size or 1)
        self._drawn: Thinned[Values] = Thinned(HISTOGRAMS, _histograms)  # looks with their histograms
        self._changes: deque[Seen] = deque(maxlen=CHANGES)
        self._alarms: deque[Alarm] = deque(maxlen=ALARMS)
        self._older = {"changes": 0, "alarms": 0}
        self._notes: list[Note] = []
        self._again: int | None = None  # the step from which the run was gone on with
        self.last: tuple[int, float] | None = None  # the step and the time of the last look

    def looked(self, step: int, time: float) -> None:
        """There was a look, whatever it saw: the totals are known up to it."""
        self.last = step, time

    def add(self, seen: Sample | Seen | Values | Alarm) -> None:
        """One more, of the step of the one before or a later one."""
        self.looked(seen.step, seen.time)
        match seen:
            case Sample():
                self._samples.add(seen)
            case Seen():
                self._older["changes"] += len(self._changes) == CHANGES
                self._changes.append(seen)
            case Alarm():
                if seen.step == self._again and any(a.step == seen.step and a.note == seen.note for a in self._alarms):
                    return
                self._older["alarms"] += len(self._alarms) == ALARMS
                self._alarms.append(seen)
            case Values():
                newest = self._looks.newest
                if seen.step == self._again and newest is not None and newest.values[0].step == seen.step:
                    return  # a run that goes on has no gradients yet
                if _histograms(seen):
                    self._drawn.add(seen)
                    seen = _bare(seen)
                if newest is not None and _of_update(seen):
                    self._looks.replace_newest(_Look((*newest.values, seen)))
                else:
                    self._looks.add(_Look((seen,)))

    def back_to(self, step: int) -> None:
        """Forget what was seen after that step: a run that went on from a checkpoint does it again. What happened at
        the step itself stays: the first look of the new run can not tell what led to it."""
        gone = int(self.last is not None and self.last[0] > step)
        self._samples.drop(lambda each: each.step >= step)  # it has totals of its own
        self._looks.drop(lambda each: each.values[0].step > step)
        self._drawn.drop(lambda each: each.step > step)
        newest = self._looks.newest
        if newest is not None and newest.values[-1].step > step:
            self._looks.replace_newest(_Look(tuple(each for each in newest.values if each.step <= step)))
        self._changes = deque((each for each in self._changes if each.step <= step), CHANGES)
        self._alarms = deque((each for each in self._alarms if each.step <= step), ALARMS)
        self._again = step
        if gone:
            text = f"the run was gone on with from step {step}; what was seen after it before is left out"
            self._notes.append(Note("history-gone-back", "info", text))

    @property
    def newest_sample(self) -> Sample | None:
        """The last totals."""
        return self._samples.newest

    @property
    def end(self) -> Sample | None:
        """The totals of the last look, where no sample has its step."""
        newest = self._samples.newest
        if newest is None or self.last is None or self.last[0] == newest.step:
            return None
        return Sample(*self.last, newest.totals)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The totals where they changed, with those of the last look."""
        end = self.end
        return (*self._samples, *(() if end is None else (end,)))

    @property
    def changes(self) -> tuple[Seen, ...]:
        """The newest changes."""
        return tuple(self._changes)

    @property
    def values(self) -> tuple[Values, ...]:
        """The values of the looks."""
        drawn = {each.step: each for each in self._drawn}
        return tuple(
            each if _of_update(each) else drawn.get(each.step, each) for look in self._looks for each in look.values
        )

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The newest alarms."""
        return tuple(self._alarms)

    @property
    def notes(self) -> tuple[Note, ...]:
        """What is not told, and why."""
        said = list(self._notes)
        for name, most in (("changes", CHANGES), ("alarms", ALARMS)):
            if n := self._older[name]:
                text = f"the {n:,} oldest {name} are left out: a history keeps the newest {most:,}"
                said.append(Note("history-shortened", "info", text))
        thinned: tuple[tuple[str, Thinned[Any]], ...] = (
            ("changes of the totals", self._samples), ("looks at the values", self._looks),
            ("looks' histograms", self._drawn),
        )  # fmt: skip
        for what, held in thinned:
            if held.stride > 1:
                text = f"of each {held.stride} {what} one is kept, and the newest"
                said.append(Note("history-thinned", "info", text))
        return tuple(said)

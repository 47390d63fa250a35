"""A model watched while it changes: what it is made of at each step, never what it was remembered to be; and what its
values are like now and then."""

from __future__ import annotations

import operator
import os
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, SupportsIndex

from numel.errors import InputsError
from numel.facts import Alarm, Note, Sample, Seen, Statistics, Values
from numel.monitoring.alarms import Alarms, Held
from numel.monitoring.kept import Kept
from numel.monitoring.sinks import Callback, JsonLines, Record, Sink
from numel.monitoring.state import State, changes, look
from numel.sources.live import totals

if TYPE_CHECKING:
    from numel.monitoring.values import Looks

__all__ = ["Monitor", "Sink"]


class Monitor:
    """Sees what changed in a model's structure from one `observe` to the next; see `numel.monitor`,
    which gives one that knows its `history`. With `every` its values are looked at, too: at the first `observe` at or
    after each multiple.

    It holds the model, and the optimizers if it is given any, and weak references to parts of the model: a part that is
    taken out is free to go.
    """

    def __init__(
        self, model: Any, sink: Sink | Callable[[Any], None] | str | os.PathLike[str] | None = None,
        every: int | None = None, optimizer: Any = None,
    ) -> None:  # fmt: skip
        self._model: Any | None = model
        self._optimizers = _optimizers(optimizer)
        self._every = checked(every)
        self._due = 0  # the step from which on values are looked at
        self._looks: Looks | None = None
        self._alarms = Alarms()
        self._held = Held()
        self._state: State | None = None
        self._kept = Kept()
        self._unwritten: deque[Record] = deque()  # kept, and not yet given to the sink
        self._sink = _sink(sink)
        self.target = f"{type(model).__module__}.{type(model).__qualname__}"
        self._sink.begin(self.target)

    def observe(self, step: SupportsIndex) -> tuple[Seen, ...]:
        """Look at the model now; what changed since the last look is returned, and is in `history`.

        Raises `InputsError` for a step that is none or goes back, and after `close`.
        """
        if self._model is None:
            raise InputsError("monitor: closed; open another one to go on")
        first = 0 if self._kept.last is None else self._kept.last[0]
        number = _whole(step)
        if number is None or number < first:
            raise InputsError(f"monitor: step {step!r}; expected an integer from {first} on")
        step = number
        now = time.time()
        state = look(self._model, self._state)
        found: tuple[Seen, ...] = ()
        if state is not self._state:
            if self._state is not None:
                found = tuple(Seen(step, now, change) for change in changes(self._state, state))
            sample = Sample(step, now, totals(self._model))
            newest = self._kept.newest_sample
            if newest is None or sample.totals != newest.totals:
                self._keep(sample)
            for each in found:
                self._keep(each)
            self._state = state
        self._kept.looked(step, now)
        self._look_at_values(step, now)
        try:
            self._write()
        finally:
            self._sink.observed()
        return found

    def _look_at_values(self, step: int, now: float) -> None:
        notes: list[Note] = []
        statistics: list[Statistics] = []
        if self._optimizers and self._model is not None:
            notes += self._alarms.of_optimizers(*self._held.compared(dict(self._model.named_parameters()),
                                                                     self._optimizers))  # fmt: skip
        if self._every is not None:
            if self._looks is None:
                from numel.monitoring.values import Looks  # with torch, which a history is read without

                self._looks = Looks()
            updates = self._looks.updates(self._model, self._optimizers)
            statistics += updates
            if updates:
                notes += self._alarms.of_updates(updates, self._looks.holders)
            if updates or self._looks.several:
                notes += self._alarms.of_steps(self._looks.several)
            if step >= self._due:
                self._due = (step // self._every + 1) * self._every
                seen = self._looks.look(self._model, self._optimizers)
                statistics += seen.statistics
                notes += self._alarms.of_look(seen)
        if statistics:
            self._keep(Values(step, now, tuple(statistics)))
            notes += self._alarms.of_values(statistics)
        for note in notes:
            self._keep(Alarm(step, now, note))

    def _keep(self, seen: Record) -> None:
        self._kept.add(seen)
        self._unwritten.append(seen)

    def _write(self) -> None:
        """Give the sink what it has not got, each once: where it raises, what follows is given to it all the same."""
        raised: Exception | None = None
        while self._unwritten:  # what an interrupt leaves is written the next time
            try:
                self._sink.write(self._unwritten.popleft())
            except Exception as error:
                raised = raised or error
        if raised is not None:
            raise raised

    def set_optimizer(self, optimizer: Any) -> None:
        """Look at the moments and parameters of this optimizer from now on, or of a list of them: after a layer was
        replaced and the optimizer made again. Raises `InputsError` for what is none."""
        self._optimizers = _optimizers(optimizer)

    @property
    def kept(self) -> Kept:
        """What was seen so far, as far as it is kept."""
        return self._kept

    @property
    def notes(self) -> tuple[Note, ...]:
        """What the history or its sink does not tell, and why."""
        stopped = self._sink.stopped
        return (*self._kept.notes, *(() if stopped is None else (stopped,)))

    def close(self) -> None:
        """Let go of the model and write what is left. Closing twice is closing once."""
        if self._model is None:
            return
        self._model, self._looks, self._optimizers = None, None, ()
        end = self._kept.end
        if end is not None:
            self._keep(end)
        try:
            self._write()
        finally:
            self._sink.end()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        self.close()


def checked(every: Any) -> int | None:
    """How many steps lie from one look at the values to the next. Raises `InputsError` for what is no such number."""
    stride = _whole(every)
    if every is not None and (stride is None or stride < 1):
        raise InputsError(f"monitor: every {every!r}; expected how many steps, or None")
    return stride


def _whole(given: Any) -> int | None:
    """An integer of any library; a flag is none."""
    try:
        return None if isinstance(given, bool) else operator.index(given)
    except (TypeError, ValueError):
        return None


def _optimizers(given: Any) -> tuple[Any, ...]:
    several = () if given is None else tuple(given) if isinstance(given, list | tuple) else (given,)
    for each in several:
        if not hasattr(each, "param_groups") or not hasattr(each, "state"):
            raise InputsError(f"monitor: optimizer {type(each).__name__}; expected a torch.optim.Optimizer, or several")
    return several


def _sink(given: Any) -> Sink:
    if given is None:
        return Sink()
    if isinstance(given, Sink):
        return given
    if isinstance(given, str | os.PathLike):
        return JsonLines(given)
    if callable(given):
        return Callback(given)
    raise InputsError(f"monitor: sink {type(given).__name__}; expected a path of .jsonl, a callable or a Sink")

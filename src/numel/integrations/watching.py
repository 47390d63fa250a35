"""What the callbacks of all trainers share: where the history goes, and what was seen so far."""

from __future__ import annotations

from typing import Any

from numel import api
from numel.monitoring import checked
from numel.results.history import History


class Watching:
    """Holds the monitor once a training has begun. Raises `InputsError` for an `every` that is no number of steps."""

    def __init__(self, sink: Any = None, every: int | None = None) -> None:
        self._sink, self._every = sink, checked(every)
        self._watch: Any = None

    @property
    def history(self) -> History:
        """What was seen so far."""
        return History() if self._watch is None else self._watch.history

    def close(self) -> None:
        """Let go of the model and write what is left, as the end of a training does and the begin of another one."""
        if self._watch is not None:
            self._watch.close()

    def _begin(self, model: Any, optimizer: Any, step: int) -> None:
        self.close()
        self._watch = api.monitor(model, self._sink, self._every, optimizer)
        self._watch.observe(step)

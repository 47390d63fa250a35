"""What the callbacks of all trainers share: where the history goes, and what was seen so far."""

from __future__ import annotations

from typing import Any

from numel.results.history import History


class Watching:
    """Holds the monitor once a training has begun."""

    def __init__(self, sink: Any = None, every: int | None = None) -> None:
        self._sink, self._every = sink, every
        self._watch: Any = None

    @property
    def history(self) -> History:
        """What was seen so far."""
        return History() if self._watch is None else self._watch.history

"""A model over time: its totals where they changed, and each change of structure with the step that saw it."""

from __future__ import annotations

from dataclasses import dataclass

from numel.facts.change import Change
from numel.facts.totals import Totals


@dataclass(frozen=True, slots=True)
class Sample:
    """The totals at a step; `time` is in seconds since the epoch."""

    step: int
    time: float
    totals: Totals


@dataclass(frozen=True, slots=True)
class Seen:
    """A `Change` with the step, and the time, at which it was first seen: what happened since the step before.

    >>> Seen(3, 0.0, Change("frozen", "fc.weight", True, False)).kind
    'frozen'
    """

    step: int
    time: float
    change: Change

    @property
    def kind(self) -> str:
        """What happened."""
        return self.change.kind

    @property
    def path(self) -> str:
        """To which module or tensor."""
        return self.change.path

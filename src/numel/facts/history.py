"""A model over time: its totals where they changed, each change of structure with the step that saw it, what its values
are like now and then, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass

from numel.facts.change import Change
from numel.facts.note import Note
from numel.facts.statistics import Statistics
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


@dataclass(frozen=True, slots=True)
class Values:
    """What the values of some tensors are like at a step: weights, gradients and moments at a look, and the updates at
    the step after it.

    >>> Values(7, 0.0, (Statistics("w", "weight", 4, 4), Statistics("w", "gradient", 4, 4))).by("gradient").keys()
    dict_keys(['w'])
    """

    step: int
    time: float
    statistics: tuple[Statistics, ...]

    def by(self, of: str) -> dict[str, Statistics]:
        """Those of one kind, by path."""
        return {each.path: each for each in self.statistics if each.of == of}


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that is wrong since this step: said once, and again only after it was right in between.

    >>> alarm = Alarm(7, 0.0, Note("not-finite", "error", "the gradient has 2 NaN", "fc.weight"))
    >>> alarm.code, alarm.path
    ('not-finite', 'fc.weight')
    """

    step: int
    time: float
    note: Note

    @property
    def code(self) -> str:
        """What people can search for."""
        return self.note.code

    @property
    def path(self) -> str:
        """Of which module or tensor."""
        return self.note.path

    @property
    def text(self) -> str:
        """One sentence."""
        return self.note.text

"""Runs beside each other: histories that `numel.monitor` saw, the first of which the others are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from numel import analyses
from numel.document import Block, Document, Heading, Text
from numel.errors import ViewError
from numel.facts import Seen, Totals
from numel.facts.plain import taken
from numel.facts.schema import SCHEMA
from numel.results.history import History
from numel.views import Viewable, takes_none

_TOP = 20  # weights that are told one by one


@dataclass(frozen=True, repr=False)
class Histories(Viewable):
    """`histories` under their `names`.

    >>> from numel.facts import Change, Sample
    >>> frozen = Seen(3, 1.0, Change("frozen", "w", True, False))
    >>> found = Histories((History((Sample(0, 0.0, Totals(params=6)),), (frozen,)), History()), ("a", "b"))
    >>> found.identical, [(c.step, c.kind, c.path) for c in found.changes], [t.params for t in found.totals]
    (False, [(3, 'frozen', 'w')], [6, 0])
    """

    histories: tuple[History, ...]
    names: tuple[str, ...]

    @property
    def totals(self) -> tuple[Totals, ...]:
        """Those at the last step of each run, in order."""
        return tuple(each.samples[-1].totals if each.samples else Totals() for each in self.histories)

    @cached_property
    def _common(self) -> analyses.histories.Names:
        """The names that paths of one run have in the others, which need not be wrapped as it is."""
        shown = analyses.histories
        return shown.names([[*shown.paths(each.changes, each.values, each.alarms)] for each in self.histories])

    @property
    def changes(self) -> tuple[Seen, ...]:
        """What happened in one of the runs and not in all, or at other steps; run by run."""
        runs = [[(seen.step, analyses.histories.named(seen.change, self._common)) for seen in each.changes]
                for each in self.histories]  # fmt: skip
        common = set.intersection(*map(set, runs))
        return tuple(
            seen for each, run in zip(self.histories, runs, strict=True)
            for seen, key in zip(each.changes, run, strict=True) if key not in common
        )  # fmt: skip

    @cached_property
    def identical(self) -> bool:
        """Whether the same happened at the same steps, every number that was looked at is the same, and the same was
        wrong. How the model was wrapped is no difference."""
        names, shown = self._common, analyses.histories
        first, *others = (
            ([(s.step, s.totals) for s in each.samples],
             [(c.step, shown.named(c.change, names)) for c in each.changes],
             [(v.step, [shown.under(s, names) for s in v.statistics]) for v in each.values],
             [(a.step, replace(a.note, path=names[a.path])) for a in each.alarms])
            for each in self.histories
        )  # fmt: skip
        return all(other == first for other in others)

    def document(self, **display: Any) -> Document:
        """Where the runs ended, what changed in which, and which weights went apart."""
        takes_none(display)
        shown = analyses.histories
        blocks: list[Block] = [Heading(" · ".join(self.names), 1)]
        if self.identical:
            also = ", and every value that was looked at" if any(each.values for each in self.histories) else ""
            blocks.append(Text(f"No difference: the same totals, changes and alarms at the same steps{also}."))
        figures = shown.figures(
            [each.samples for each in self.histories], self._ends, [len(each.changes) for each in self.histories],
            [len(each.alarms) for each in self.histories],
        )  # fmt: skip
        blocks.append(analyses.compare.side_by_side(self.names, figures))
        table = shown.apart(self.names, [each.changes for each in self.histories], self._common)
        norms = shown.norms(self.names, [each.values for each in self.histories], _TOP, self._common)
        blocks += [each for each in (table, norms) if each is not None and each.rows and not self.identical]
        return Document(tuple(blocks))

    @property
    def _ends(self) -> list[int]:
        return [each.steps[1] for each in self.histories]

    def whole(self, **display: Any) -> Document:
        """The same with lines over the steps."""
        title, *rest = self.document(**display).blocks
        samples, values = [each.samples for each in self.histories], [each.values for each in self.histories]
        return Document((title, *analyses.histories.lines(self.names, samples, self._ends, values), *rest))

    def failing(self, conditions: Any) -> list[str]:
        """There are none for runs: raises `ViewError` where one is given."""
        if conditions:
            raise ViewError("--fail-if: for models, not for runs; name reports or models")
        return []

    undecided = failing

    def saved(self) -> Mapping[str, Any]:
        """The facts of every run."""
        facts = {"names": list(self.names), "histories": [each.saved()["facts"] for each in self.histories]}
        return {"schema": SCHEMA, "kind": "histories", "targets": list(self.names), "identical": self.identical,
                "facts": facts}  # fmt: skip

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any], where: str) -> Histories:
        """The runs again. Raises `SchemaError` for what `saved` did not write."""
        with taken(where):
            names = tuple(str(name) for name in list(saved["facts"]["names"]))
            held = list(saved["facts"]["histories"])
            histories = tuple(History.from_saved({"facts": each}, where) for each in held)
            if len(names) != len(histories) or len(names) < 2:
                raise ValueError(f"{len(names)} names for {len(histories)} histories")
        return cls(histories, names)

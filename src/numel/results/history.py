"""A model over time, as `numel.monitor` saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from numel import analyses
from numel.document import Block, Callout, Document, Heading, Text
from numel.facts import Alarm, Note, Sample, Seen, Values
from numel.facts.codec import encode_note
from numel.facts.history_codec import decode_history, encode_alarm, encode_sample, encode_seen, encode_values
from numel.facts.schema import SCHEMA
from numel.views import Viewable, takes_none

_ABOUT = "of the last look; about: samples of up to 65,536 elements stand for large tensors"


@dataclass(frozen=True, repr=False)
class History(Viewable):
    """`samples` are totals where they changed, the first and the last; `changes` what happened to the structure, each
    with its `step`, `kind` and `path`; `values` what its values were like where they were looked at; `alarms` what was
    wrong, each with its `step`, `code`, `path` and `text`; `notes` what is left out of these, and why.

    >>> from numel.facts import Change, Totals
    >>> History((Sample(0, 0.0, Totals(params=6)),), (Seen(3, 1.0, Change("frozen", "w", True, False)),)).steps
    (0, 3)
    """

    samples: tuple[Sample, ...] = ()
    changes: tuple[Seen, ...] = ()
    target: str = ""
    values: tuple[Values, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def steps(self) -> tuple[int, int]:
        """The first and the last step of which something is known."""
        steps = [each.step for several in (self.samples, self.changes, self.values, self.alarms) for each in several]
        return (min(steps), max(steps)) if steps else (0, 0)

    def document(self, **display: Any) -> Document:
        """What was wrong, the totals where they changed, every change, and the values of the last look."""
        takes_none(display)
        first, last = self.steps
        blocks: list[Block] = [Heading(self.target.rpartition(".")[2] or "history", 1)]
        blocks += analyses.history.callouts(self.alarms, self.notes)
        if not self.changes and len({each.totals for each in self.samples}) > 1:
            blocks.append(Text("No change was seen, but the totals differ: it changed while nobody watched."))
        elif not self.changes:
            what = "Nothing of the structure" if self.values else "Nothing"
            blocks.append(Text(f"{what} changed from step {first} to step {last}."))
        blocks.append(analyses.history.totals(self.samples))
        if self.changes:
            blocks.append(analyses.history.changes(self.changes))
        values = analyses.history.last_look(self.values)
        if values is not None:
            blocks.append(values)
        return Document(tuple(blocks))

    def whole(self, **display: Any) -> Document:
        """The same with lines of what grew or shrank, of gradients and updates, and all weights of the last look."""
        title, *rest = self.document(**display).blocks
        charts = [*analyses.history.lines(self.samples), *analyses.history.value_lines(self.values)]
        weights = analyses.history.weights(self.values)
        if weights is not None:
            charts.append(replace(analyses.charts.histogram([weights], None), caption=_ABOUT))
        said = [block for block in rest if isinstance(block, Callout)]
        return Document((title, *said, *charts, *(block for block in rest if block not in said)))

    def _tabled(self, **display: Any) -> Document:
        """All statistics at every look, where there are any; else the totals."""
        if not self.values:
            return super()._tabled(**display)
        takes_none(display)
        return Document((analyses.history.statistics(self.values),))

    def saved(self) -> Mapping[str, Any]:
        """What is read back is all there is."""
        facts = {"target": self.target, "samples": [encode_sample(each) for each in self.samples],
                 "changes": [encode_seen(each) for each in self.changes],
                 "values": [encode_values(each) for each in self.values],
                 "alarms": [encode_alarm(each) for each in self.alarms],
                 "notes": [encode_note(each) for each in self.notes]}  # fmt: skip
        return {"schema": SCHEMA, "kind": "history", "target": self.target, "steps": list(self.steps), "facts": facts}

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any], where: str) -> History:
        """The history again. Raises `SchemaError` for what `saved` did not write."""
        samples, changes, values, alarms, notes = decode_history(saved["facts"], where)
        target = saved["facts"].get("target", "")
        return cls(samples, changes, target if isinstance(target, str) else "", values, alarms, notes)

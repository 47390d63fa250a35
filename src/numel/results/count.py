"""The totals of one target alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from numel import analyses
from numel.document import Document
from numel.facts import Note, Totals
from numel.facts.codec import decode_count, encode_count
from numel.facts.schema import SCHEMA
from numel.views import Viewable, takes_none


@dataclass(frozen=True, repr=False)
class Count(Viewable):
    """The totals of one target, and what was said against them.

    >>> Count("m", Totals(params=6, trainable=6)).saved()["params"]
    6
    """

    target: str
    totals: Totals
    notes: tuple[Note, ...] = ()
    guessed: bool = False  # whether a file left the roles of its tensors to be guessed

    def document(self, **display: Any) -> Document:
        """The counts as a list of facts."""
        takes_none(display)
        table = analyses.summary.totals_table(self.totals, guessed=self.guessed)
        return Document((table, *analyses.summary.callouts(self.notes)))

    def saved(self) -> Mapping[str, Any]:
        """The totals twice: as every document has them, and at the top, as `numel.count` has them."""
        held = asdict(self.totals)
        notes = [asdict(note) for note in self.notes]
        saved = {"schema": SCHEMA, "kind": "count", "target": self.target, "exact": self.totals.exact}
        facts = encode_count(self.target, self.totals, self.notes, self.guessed)
        return {**saved, "guessed": self.guessed, "totals": held, "notes": notes, **held, "facts": facts}

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any], where: str) -> Count:
        """The count again. Raises `SchemaError` for what `saved` did not write."""
        return cls(*decode_count(saved["facts"], where))

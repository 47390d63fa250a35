"""What made the numbers of one place of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numel import analyses
from numel.document import Document
from numel.errors import SchemaError, ViewError
from numel.facts.schema import SCHEMA
from numel.results.report import Report
from numel.views import Viewable, takes_none

if TYPE_CHECKING:
    from numel.analyses.explain import Place


@dataclass(frozen=True, repr=False)
class Explanation(Viewable):
    """What made the numbers of one place of a report: see `Report.explain`."""

    report: Report
    place: Place

    def document(self, **display: Any) -> Document:
        """Numbers, tensors, operators with their arithmetic, the sum, and for the whole model other conventions."""
        takes_none(display)
        of = self.report
        return analyses.explain.document(of.snapshot, of.trace, of.costs, of.layers, self.place)

    def saved(self) -> Mapping[str, Any]:
        """The tables as columns by their titles; what is read back is the report, and the place in it."""
        document = self.document()
        tables = {table.title or "Numbers": table.to_dict() for table in document.tables}
        target = self.report.snapshot.provenance.target
        saved = {"schema": SCHEMA, "kind": "explanation", "target": target, "path": self.place.label, "tables": tables}
        return {**saved, "facts": self.report.facts()}

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any], where: str) -> Explanation:
        """The explanation again. Raises `SchemaError` for what `saved` did not write."""
        report, path = Report.from_saved(saved, where), saved.get("path")
        try:
            if isinstance(path, str):
                return cls(report, analyses.explain.find(report.snapshot, path))
        except ViewError:
            pass
        raise SchemaError(f"{where}: path {path!r} is no place in its facts; expected what numel's save() wrote")

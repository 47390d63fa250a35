"""What a user holds: frozen facts, and everything that is derived from them when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numel.errors import SchemaError
from numel.facts.codec import shown
from numel.facts.schema import upgraded
from numel.results.comparison import Comparison
from numel.results.count import Count
from numel.results.explanation import Explanation
from numel.results.formulas import Formulas
from numel.results.histories import Histories
from numel.results.history import Following, History, Watch
from numel.results.report import Report

__all__ = ["Comparison", "Count", "Explanation", "Following", "Formulas", "Histories", "History", "Report", "Result",
           "Watch", "from_saved"]  # fmt: skip

Result = Report | Comparison | Count | Explanation | Formulas | Histories | History
_READERS: Mapping[str, Callable[[Mapping[str, Any], str], Result]] = {
    "report": Report.from_saved,
    "comparison": Comparison.from_saved,
    "count": Count.from_saved,
    "explanation": Explanation.from_saved,
    "formulas": Formulas.from_saved,
    "histories": Histories.from_saved,
    "history": History.from_saved,
}


def from_saved(saved: Any, where: str) -> Result:
    """The result that its `saved()` described, whatever schema it had. Raises `SchemaError` for anything else."""
    current: Mapping[str, Any] = upgraded(saved, where)
    kind = current.get("kind", "report")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise SchemaError(f"{where}: kind {shown(kind)}; expected one of {', '.join(_READERS)}")
    return reader(current, where)

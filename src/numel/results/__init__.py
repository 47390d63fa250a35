"""What a user holds: frozen facts, and everything that is derived from them when it is asked for. Each is loaded when
it is first used: a count needs nothing of a comparison."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from numel.errors import SchemaError
from numel.facts.plain import shown
from numel.facts.schema import upgraded

if TYPE_CHECKING:
    from numel.results.comparison import Comparison
    from numel.results.count import Count
    from numel.results.explanation import Explanation
    from numel.results.formulas import Formulas
    from numel.results.histories import Histories
    from numel.results.history import History
    from numel.results.report import Report
    from numel.results.watch import Following, Watch

    Result: TypeAlias = Report | Comparison | Count | Explanation | Formulas | Histories | History

__all__ = ["Comparison", "Count", "Explanation", "Following", "Formulas", "Histories", "History", "Report", "Watch",
           "from_saved"]  # fmt: skip

_KINDS = {"report": "Report", "comparison": "Comparison", "count": "Count", "explanation": "Explanation",
          "formulas": "Formulas", "histories": "Histories", "history": "History"}  # fmt: skip
_HOME = {name: f"numel.results.{kind}" for kind, name in _KINDS.items()}
_HOME |= dict.fromkeys(("Following", "Watch"), "numel.results.watch")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'numel.results' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def from_saved(saved: Any, where: str) -> Result:
    """The result that its `saved()` described, whatever schema it had. Raises `SchemaError` for anything else."""
    current: Mapping[str, Any] = upgraded(saved, where)
    kind = current.get("kind", "report")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise SchemaError(f"{where}: kind {shown(kind)}; expected one of {', '.join(_KINDS)}")
    found: Result = __getattr__(_KINDS[kind]).from_saved(current, where)
    return found

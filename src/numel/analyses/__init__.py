"""Facts → Document. Pure, and each file loaded when it is first asked for: a count does without most of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numel.analyses import (
        active,
        adapters,
        alignment,
        arrange,
        charts,
        compare,
        cost,
        embedding,
        explain,
        groups,
        histories,
        history,
        layers,
        memory,
        params,
        summary,
    )

__all__ = ["active", "adapters", "alignment", "arrange", "charts", "compare", "cost", "embedding", "explain", "groups",
           "histories", "history", "layers", "memory", "params", "summary"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"numel.analyses.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

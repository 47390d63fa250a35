"""Parameters, MACs and memory of any PyTorch model, layer by layer; every number right or flagged.

    import numel
    numel.count(model).params
    numel.summary(model, "f32[1,3,224,224]")

Importing numel imports neither torch nor anything else; each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numel.api import compare, count, formula, load, monitor, plot, read, summary, trace
    from numel.errors import NumelError
    from numel.facts.inputs import Inputs
    from numel.version import __version__

__all__ = ["Inputs", "NumelError", "__version__", "compare", "count", "formula", "load", "monitor", "plot", "read",
           "summary", "trace"]  # fmt: skip

_HOME = {
    "Inputs": "numel.facts.inputs",
    "NumelError": "numel.errors",
    "__version__": "numel.version",
    **dict.fromkeys(
        ("compare", "count", "formula", "load", "monitor", "plot", "read", "summary", "trace"), "numel.api"
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'numel' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])

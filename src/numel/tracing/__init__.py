"""(module, inputs) → Trace: what ran, as operators and shapes. Nothing is counted here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numel.tracing.backward import Training
    from numel.tracing.defaults import default_inputs
    from numel.tracing.real_recorder import made_up_by
    from numel.tracing.tracer import trace

__all__ = ["Training", "default_inputs", "made_up_by", "trace"]


def __getattr__(name: str) -> Any:
    if name == "trace":
        from numel.tracing.tracer import trace

        return trace
    if name == "default_inputs":
        from numel.tracing.defaults import default_inputs

        return default_inputs
    if name == "made_up_by":
        from numel.tracing.real_recorder import made_up_by

        return made_up_by
    if name == "Training":
        from numel.tracing.backward import Training

        return Training
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

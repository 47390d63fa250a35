"""The MACs that torch's own counter finds, and those that it is known to leave out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from numel.facts.inputs import Inputs, InputSpec

_UNKNOWN = {"aten.linalg_solve_triangular", "aten.lstm", "aten.gru"}


def by_torch(model: Any, inputs: Inputs, device: str) -> int:
    """Half of what `FlopCounterMode` counts."""
    model.requires_grad_(False)  # its tracker of modules asks for gradient functions where anything requires a gradient
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*concrete(inputs.args, device), **concrete(dict(inputs.kwargs), device))
    assert counter.get_total_flops() % 2 == 0
    return int(counter.get_total_flops()) // 2


def unknown_to_torch(by_operator: Mapping[str, int]) -> int:
    """The MACs that it leaves out, by the operators that have no formula there."""
    return sum(macs for name, macs in by_operator.items() if name in _UNKNOWN)


def concrete(value: Any, device: str) -> Any:
    """Every tensor that is only described, made: ids of 1, ones for masks, samples drawn."""
    if isinstance(value, InputSpec):
        kind = getattr(torch, value.dtype.name if value.dtype else "float32")
        made = torch.randn(value.shape) if kind.is_floating_point and device != "meta" else torch.ones(value.shape)
        return made.to(kind).to(device) if device != "meta" else torch.empty(value.shape, dtype=kind, device="meta")
    if isinstance(value, dict):
        return {name: concrete(each, device) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(concrete(each, device) for each in value)
    return value

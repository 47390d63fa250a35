"""Fused steps of optimizers: as many operations as the pointwise operators that they fuse, per parameter element."""

from __future__ import annotations

from typing import Any

from numel.analyses.formulas.arguments import numel_of
from numel.analyses.formulas.registry import Cost, formula


def _on(named: dict[str, Any], *options: str) -> int:
    """How many of these options are there and not off: each is one more operator."""
    return sum(bool(named.get(option)) for option in options)


@formula("aten._fused_adam", "aten._fused_adam_", "aten._fused_adamw", "aten._fused_adamw_")
def adam(self: Any, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Two moments (one and two), the root, its correction, epsilon, the step: seven per element (lerp, mul, addcmul,
    sqrt, div, add, addcdiv). Weight decay, the largest second moment and a turned sign are one each."""
    return Cost(elementwise=(7 + _on(named, "weight_decay", "amsgrad", "maximize")) * numel_of(self))


@formula("aten._fused_adagrad", "aten._fused_adagrad_")
def adagrad(self: Any, *_: Any, outputs: Any, **named: Any) -> Cost:
    """The sum of squares, its root, epsilon, the step: four per element; weight decay, a turned sign one each."""
    return Cost(elementwise=(4 + _on(named, "weight_decay", "maximize")) * numel_of(self))


@formula("aten._fused_sgd", "aten._fused_sgd_")
def sgd(self: Any, *_: Any, outputs: Any, **named: Any) -> Cost:
    """The step, one per element; momentum is two more, unless it starts here; weight decay, Nesterov's look ahead and a
    turned sign are one each."""
    momentum = 2 * (_on(named, "momentum") and not named.get("is_first_step"))
    return Cost(elementwise=(1 + momentum + _on(named, "weight_decay", "nesterov", "maximize")) * numel_of(self))

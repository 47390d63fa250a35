"""Table look-ups: rows are copied, so there are no MACs; a bag adds up the rows it gathers, elementwise."""

from __future__ import annotations

from typing import Any

from numel.analyses.formulas.registry import Cost, formula
from numel.facts.trace import TensorSpec

_NOTHING = Cost()


@formula("aten.embedding", "aten.one_hot")
def embedding(*_: Any, outputs: Any, **named: Any) -> Cost:
    """A look-up moves rows and computes nothing."""
    return _NOTHING


@formula("aten.embedding_bag", "aten._embedding_bag", "aten._embedding_bag_forward_only")
def embedding_bag(
    weight: TensorSpec, indices: TensorSpec, offsets: Any, scale_grad_by_freq: Any = False, mode: Any = 0,
    sparse: Any = False, per_sample_weights: Any = None, *_: Any, outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """One addition (or comparison) for each element gathered, one multiplication more with weights of their own."""
    gathered = indices.numel * weight.shape[-1]
    return Cost(elementwise=gathered * (1 + isinstance(per_sample_weights, TensorSpec)))


@formula("aten.embedding_renorm_", "aten.embedding_renorm")
def embedding_renorm(self: TensorSpec, indices: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """A norm (square and sum) and a scaling for each element of the rows named, one by one."""
    return Cost(elementwise=3 * indices.numel * self.shape[-1])

"""Inputs whose element type was not given: the first operator that consumes one says what it must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from numel.tracing.arguments import tensors_of
from numel.tracing.ends import NeedsDtype
from numel.tracing.operators import SHAPED_LIKE, Operator


class Undecided:
    """The inputs that are not decided yet, and what views and arithmetic made of them."""

    def __init__(self, end: Callable[[NeedsDtype], BaseException]) -> None:
        self._end = end
        self._found: dict[int, tuple[torch.Tensor, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, tensor: torch.Tensor, which: int) -> None:
        """The tensor that stands for an input, by its number."""
        self._found[id(tensor)] = (tensor, which)

    @property
    def left(self) -> set[int]:
        """The inputs whose element type nothing decided."""
        return {which for _, which in self._found.values()}

    def decide(self, known: Operator, args: Any) -> None:
        """Raise when this operator says what an input of unknown element type must be."""
        name = known.name.rpartition(".")[0]
        for position, value in enumerate(args):
            for tensor in tensors_of(value):
                found = self._found.get(id(tensor))
                wanted = _WANTED.get((name, position)) if found is not None else None
                if name == "aten.cross_entropy_loss" and tensor.shape == args[0].shape:
                    wanted = None  # probabilities; class numbers have a dimension less
                if found is not None and wanted is not None:
                    raise self._end(NeedsDtype(found[1], wanted))

    def follow(self, known: Operator, args: Any, outputs: Any) -> None:
        """What views and arithmetic make of an undecided input is undecided; comparisons leave it so; any other
        consumer takes it as it is."""
        name = known.name.rpartition(".")[0]
        for tensor in tensors_of(args):
            found = self._found.get(id(tensor))
            if found is None:
                continue
            if known.view or name in _PASSES:
                for made in tensors_of(outputs):
                    self._found[id(made)] = (made, found[1])
            elif name not in _ASKS_NOTHING:
                self._found = {i: each for i, each in self._found.items() if each[1] != found[1]}


_WANTED = {
    ("aten.embedding", 1): torch.int64,
    ("aten.embedding_bag", 1): torch.int64,
    ("aten._embedding_bag", 1): torch.int64,
    ("aten.index_select", 2): torch.int64,
    ("aten.index_add", 2): torch.int64,
    ("aten.index", 1): torch.int64,
    ("aten.gather", 2): torch.int64,
    ("aten.scatter", 2): torch.int64,
    ("aten.scatter_add", 2): torch.int64,
    ("aten.take", 1): torch.int64,
    ("aten.take_along_dim", 1): torch.int64,
    ("aten.one_hot", 0): torch.int64,
    ("aten.cross_entropy_loss", 1): torch.int64,
    ("aten.nll_loss_nd", 1): torch.int64,
    ("aten.masked_fill", 1): torch.bool,
    ("aten.masked_fill_", 1): torch.bool,
    ("aten.where", 0): torch.bool,
    ("aten.bitwise_not", 0): torch.bool,
    ("aten.bitwise_and", 0): torch.bool,
    ("aten.bitwise_and", 1): torch.bool,
    ("aten.bitwise_or", 0): torch.bool,
    ("aten.bitwise_or", 1): torch.bool,
}
_PASSING = """
reshape flatten contiguous clone expand_as view_as cat stack pad constant_pad_nd roll flip repeat
add sub rsub mul clamp clamp_min clamp_max remainder floor_divide maximum minimum where abs neg cumsum
"""
_PASSES = frozenset(f"aten.{name}" for name in _PASSING.split())
_ASKS_NOTHING = SHAPED_LIKE | {f"aten.{name}" for name in ["eq", "ne", "lt", "gt", "le", "ge", "isnan"]}

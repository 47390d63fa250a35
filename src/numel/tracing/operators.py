"""What has to be known of an operator before it runs, and what its arguments say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from numel import torch_private
from numel.tracing.arguments import argument, tensors_of
from numel.tracing.by_shape import BY_SHAPE, by_data
from numel.tracing.composites import WHOLE
from numel.tracing.routers import chooses

READ = "aten._local_scalar_dense.default"  # one value or, by tolist, all of a tensor

# functional operators whose meta kernels are Python, like those of pointwise ones: the same specs and strides give the
# same output
_SLOW_ON_META = frozenset({
    "aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.convolution", "aten.batch_norm", "aten.group_norm",
    "aten.scaled_dot_product_attention", "aten.layer_norm", "aten.linear", "aten.matmul",
    "aten.max_pool2d", "aten.avg_pool2d", "aten.adaptive_avg_pool2d", "aten.index",
})  # fmt: skip

_ITSELF = ((0, "self"),)  # what an operator in place writes to
_AVERAGING = frozenset({  # in training they write to running statistics, the arguments 3 and 4: no schema says it
    "aten.batch_norm", "aten.native_batch_norm", "aten.cudnn_batch_norm", "aten.miopen_batch_norm",
})  # fmt: skip
_FILLED = frozenset({"aten.copy_", "aten.fill_", "aten.masked_fill_", "aten.zero_"})  # in place, by no other's shape

OF_ONE_TYPE = frozenset({
    "aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.linear", "aten.matmul", "aten.scaled_dot_product_attention",
})  # fmt: skip
_LIKE = "ones_like zeros_like full_like empty_like new_zeros new_ones new_full new_empty"
SHAPED_LIKE = frozenset(f"aten.{name}" for name in _LIKE.split())


class Operator:
    """What has to be known of an operator before it runs, looked up once."""

    __slots__ = ("asks", "averages", "by_shape", "cacheable", "chooses", "composite", "is_item", "mutated", "name",
                 "of_torch", "random", "tells", "view", "writes")  # fmt: skip

    def __init__(self, func: Any) -> None:
        self.name = str(func)
        self.asks = self.name.startswith(("prim.", "profiler."))  # device, layout, marks in a profile: not work
        name = self.name.rpartition(".")[0]
        self.mutated = torch_private.mutated_arguments(func)
        self.averages = name in _AVERAGING
        self.writes = bool(self.mutated) or self.averages
        self.view = torch_private.is_view(func)
        self.random = torch_private.is_random(func)
        self.tells = torch_private.tells_values(func)
        self.composite = name not in WHOLE and torch_private.is_composite(func)
        self.is_item = self.name == READ
        self.chooses = chooses(self.name)
        self.by_shape = BY_SHAPE.get(self.name, by_data if torch_private.is_shaped_by_data(func) else None)
        pointwise = torch_private.is_pointwise(func)
        alone = not self.mutated and not self.view and not self.random
        self.of_torch = self.name.startswith("aten.")
        known = self.of_torch and not (self.tells or self.is_item or self.by_shape)
        slow = name in _SLOW_ON_META and not self.mutated
        in_place = known and self.mutated == _ITSELF and not self.random and (pointwise or name in _FILLED)
        self.cacheable = slow or in_place or (alone and (known or pointwise))


OPERATORS: dict[Any, Operator] = {}


def is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)


def draws(known: Operator, func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operator draws random numbers: many could, and do not outside of training or at a rate of 0."""
    if not known.random:
        return False
    if any(argument(func, args, kwargs, name) is False for name in ("train", "training")):
        return False
    return all(argument(func, args, kwargs, name) != 0 for name in ("p", "dropout_p", "dropout"))


def written(known: Operator, args: Any, kwargs: Any) -> Iterator[torch.Tensor]:
    """The tensors that an operator writes to."""
    for position, name in known.mutated:
        yield from tensors_of(args[position] if position < len(args) else kwargs.get(name))
    if known.averages and args[5]:
        yield from tensors_of(args[3:5])

"""How a formula reads arguments of operators that agree on meaning but not on names (`input` here, `self` there)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from math import prod
from typing import Any

from numel.facts.trace import TensorSpec, tensors_in

Arguments = tuple[Any, ...]
Named = Mapping[str, Any]
Shape = tuple[int, ...]


def argument(args: Arguments, kwargs: Named, position: int, *names: str, default: Any = None) -> Any:
    """The argument at `position`, else the one passed by any of `names`, else `default`.

    >>> argument((1, 2), {"groups": 4}, 1, "stride"), argument((1, 2), {"groups": 4}, 6, "groups", default=1)
    (2, 4)
    """
    if position < len(args):
        return args[position]
    for name in names:
        if name in kwargs:
            return kwargs[name]
    return default


def tensor(args: Arguments, kwargs: Named, position: int, *names: str) -> TensorSpec:
    """The tensor argument at `position` or by any of `names`. Raises `TypeError` when it is not a tensor."""
    found = argument(args, kwargs, position, *names)
    if not isinstance(found, TensorSpec):
        raise TypeError(f"argument {position} ({' or '.join(names)}) is {found!r}, expected a tensor")
    return found


def first(value: Any) -> TensorSpec:
    """The first tensor of a nested value. Raises `TypeError` when there is none."""
    for spec in tensors_in(value):
        return spec
    raise TypeError("no tensor where one was expected")


def broadcast(*shapes: Shape) -> Shape:
    """The shape that all of them broadcast to: aligned to the right, a dimension of 1 stretches to the others'.

    Where neither is 1 the larger is taken, as for query heads that share fewer key heads.

    >>> broadcast((8, 1, 5), (2, 1, 4, 1)), broadcast((2, 0), (1, 1)), broadcast()
    ((2, 8, 4, 5), (2, 0), ())
    """
    columns = zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    return tuple(0 if 0 in sizes else max(sizes) for sizes in columns)[::-1]


def numel_of(value: Any) -> int:
    """Elements of all tensors of a nested value together.

    >>> from numel.facts.dtype import dtype
    >>> numel_of([TensorSpec((2, 3), dtype("f32")), None, TensorSpec((), dtype("f32"))])
    7
    """
    return sum(prod(spec.shape) for spec in tensors_in(value))

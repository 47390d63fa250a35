"""Values → specs: shapes and element types of whatever a forward takes or gives, without holding on to any of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from numel import torch_private
from numel.facts.dtype import dtype_of
from numel.facts.trace import TensorSpec, Value

_SPECS: dict[tuple[Any, Any], TensorSpec] = {}
_MOST_SPECS = 100_000
_DEEPEST = 8
SCALARS = frozenset({int, float, bool, str, type(None), complex})
_NESTED = "<NestedTensor>"


def spec_of_tensor(tensor: torch.Tensor) -> Value:
    """The spec of one tensor; equal specs are one object. A nested tensor, which has no one shape, is its name, and so
    is a sparse one, since its shape does not tell the work."""
    if tensor.layout is not torch.strided and torch_private.is_sparse(tensor):
        return _NESTED if tensor.is_nested else f"<{str(tensor.layout).removeprefix('torch.')}>"
    try:
        key = (tensor.shape, tensor.dtype)
    except RuntimeError:
        if tensor.is_nested:
            return _NESTED
        key = (torch_private.bare_shape(tensor), tensor.dtype)  # a lazy parameter on its way to become one
    found = _SPECS.get(key)
    if found is None:
        if len(_SPECS) > _MOST_SPECS:
            _SPECS.clear()
        if tensor.is_nested:
            return _NESTED
        found = TensorSpec(tuple([int(n) for n in key[0]]), dtype_of(tensor.dtype))
        _SPECS[key] = found
    return found


def spec_of(value: Any, deep: int = 0) -> Value:
    """The spec of a nested value. Mappings and dataclasses become mappings by field; objects that hold tensors
    (distributions, caches) become mappings of their attributes; any other object becomes its class name."""
    if type(value) in SCALARS:
        return value
    if isinstance(value, torch.Tensor):
        return spec_of_tensor(value)
    if isinstance(value, int | float | str | complex):
        return value
    if deep > _DEEPEST:
        return f"<{type(value).__name__}>"
    if isinstance(value, tuple | list):
        return tuple([spec_of(each, deep + 1) for each in value])
    try:
        return _spec_of_object(value, deep)
    except Exception:  # its own properties and methods run here, and they are no part of the forward
        return f"<{type(value).__name__}>"


def _spec_of_object(value: Any, deep: int) -> Value:
    if isinstance(value, Mapping):
        return {str(name): spec_of(each, deep + 1) for name, each in value.items()}
    if isinstance(value, type | torch.nn.Module):
        return f"<{getattr(value, '__name__', type(value).__name__)}>"
    if dataclasses.is_dataclass(value):
        return {f.name: spec_of(getattr(value, f.name, None), deep + 1) for f in dataclasses.fields(value)}
    if isinstance(value, torch.ScriptObject):
        packed = torch_private.packed_convolution(value)
        return f"<{type(value).__name__}>" if packed is None else {"weight": spec_of_tensor(packed)}
    if isinstance(value, torch.dtype | torch.device | torch.layout | torch.memory_format):
        return str(value)
    inside = getattr(value, "__dict__", None)
    if inside:
        held = {name: spec_of(each, deep + 1) for name, each in inside.items() if isinstance(each, torch.Tensor)}
        if held:
            return held
    return f"<{type(value).__name__}>"

"""What a user gives as inputs → the arguments of one run: templates once, fresh tensors for every attempt."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from numel.errors import InputsError
from numel.facts.inputs import Inputs, InputSpec, parse

_SPEC = re.compile(r"[a-z0-9_]*\[[^\]]*\](\s*<\s*\d+)?")


def normalised(inputs: Any) -> Inputs:
    """Any accepted form as `Inputs(args, kwargs)`: notation, tensor, shape, tuple (positional), dict (keyword).

    >>> normalised((1, 3, 8, 8)).args[0].shape
    (1, 3, 8, 8)
    >>> normalised({"x": "f32[2,4]", "flag": True}).kwargs["flag"]
    True
    """
    if isinstance(inputs, Inputs):
        return Inputs(tuple(_leaf(each) for each in inputs.args), {k: _leaf(v) for k, v in inputs.kwargs.items()})
    if isinstance(inputs, str):
        return parse(inputs)
    if isinstance(inputs, torch.Tensor | InputSpec):
        return Inputs((inputs,), {})
    if is_shape(inputs):
        return Inputs((InputSpec(tuple(inputs), None, None),), {})
    if isinstance(inputs, Mapping):
        return Inputs((), {str(name): _top(value) for name, value in inputs.items()})
    if isinstance(inputs, tuple | list) and not hasattr(inputs, "_fields"):
        return Inputs(tuple(_top(value) for value in inputs), {})
    if inputs is None or isinstance(inputs, bool | int | float):
        raise InputsError(
            f"inputs {inputs!r}: expected a notation such as 'f32[1,3,224,224]', a tensor, a shape, a tuple or a dict"
        )
    return Inputs((inputs,), {})


def is_shape(value: Any) -> bool:
    """A non-empty tuple or list of plain ints."""
    return isinstance(value, tuple | list) and bool(value) and all(type(each) is int for each in value)


def _top(value: Any) -> Any:
    return InputSpec(tuple(value), None, None) if is_shape(value) else _leaf(value)


def _leaf(value: Any) -> Any:
    if isinstance(value, str) and _SPEC.fullmatch(value):
        parsed = parse(value)
        return parsed.args[0]
    return value


def mapped(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """`value` with every tensor and spec replaced; containers are rebuilt, anything else is passed through."""
    if isinstance(value, torch.Tensor | InputSpec):
        return leaf(value)
    if isinstance(value, tuple):
        items = [mapped(each, leaf) for each in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if type(value) is list:
        return [mapped(each, leaf) for each in value]
    if type(value) is dict:
        return {name: mapped(each, leaf) for name, each in value.items()}
    if isinstance(value, Mapping) and hasattr(value, "to_tuple"):  # a transformers ModelOutput
        return type(value)(**{name: mapped(each, leaf) for name, each in value.items()})
    return value


def torch_dtype(spec: InputSpec, otherwise: torch.dtype) -> torch.dtype:
    """The torch dtype that a spec asks for, or `otherwise` when it asks for none."""
    if spec.dtype is None:
        return otherwise
    found = getattr(torch, spec.dtype.name, None)
    if not isinstance(found, torch.dtype):
        raise InputsError(f"inputs: torch has no dtype {spec.dtype.name}; expected one such as f32, bf16, i64, bool")
    return found

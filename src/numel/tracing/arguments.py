"""What a user gives as inputs → the arguments of one run: templates once, fresh tensors for every attempt."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import torch

from numel.errors import InputsError
from numel.facts.dtype import dtype
from numel.facts.inputs import Inputs, InputSpec, parse

_SPEC = re.compile(r"([A-Za-z0-9_]*)\[[^\[\]]*\](\s*<\s*\d+)?")


def normalised(inputs: Any) -> Inputs:
    """Any accepted form as `Inputs(args, kwargs)`: notation, tensor, shape, tuple (positional), dict (keyword).

    >>> normalised((1, 3, 8, 8)).args[0].shape
    (1, 3, 8, 8)
    >>> normalised({"x": "f32[2,4]", "flag": True}).kwargs["flag"]
    True
    """
    if isinstance(inputs, Inputs):
        return Inputs(_read(inputs.args), _read(dict(inputs.kwargs)))
    if isinstance(inputs, str):
        return parse(inputs)
    if isinstance(inputs, torch.Tensor | InputSpec):
        return Inputs((inputs,), {})
    if is_shape(inputs):
        return Inputs((_of_shape(inputs),), {})
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
    """A tuple of ints is a shape; a list of them, as lengths are, is what it is."""
    return _of_shape(value) if isinstance(value, tuple) and is_shape(value) else _read(value)


def _of_shape(value: Any) -> InputSpec:
    if min(value) < 0:
        raise InputsError(f"inputs {tuple(value)}: a size can not be negative")
    return InputSpec(tuple(value), None, None)


def _read(value: Any) -> Any:
    """`value` with every string that is one tensor in the notation replaced by its spec, at any depth."""
    return mapped(value, lambda leaf: parse(leaf).args[0] if _is_notation(leaf) else leaf)


def _is_notation(value: Any) -> bool:
    found = _SPEC.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return False
    try:
        return not found[1] or bool(dtype(found[1]))
    except KeyError:  # some other text with brackets
        return False


def mapped(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """`value` with every tensor, spec and string replaced; containers are copied, anything else is passed through."""
    if isinstance(value, torch.Tensor | InputSpec | str):
        return leaf(value)
    if isinstance(value, tuple):
        items = [mapped(each, leaf) for each in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    copied: Any
    if isinstance(value, list):
        copied = copy.copy(value)
        copied[:] = [mapped(each, leaf) for each in value]
        return copied
    if isinstance(value, MutableMapping):  # also a ModelOutput or a BatchEncoding of transformers
        copied = copy.copy(value)
        for name, each in value.items():
            copied[name] = mapped(each, leaf)
        return copied
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        copied = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(copied, field.name, mapped(getattr(value, field.name), leaf))
        return copied
    return value


def torch_dtype(spec: InputSpec, otherwise: torch.dtype) -> torch.dtype:
    """The torch dtype that a spec asks for, or `otherwise` when it asks for none."""
    if spec.dtype is None:
        return otherwise
    found = getattr(torch, spec.dtype.name, None)
    if not isinstance(found, torch.dtype):
        raise InputsError(f"inputs: torch has no dtype {spec.dtype.name}; expected one such as f32, bf16, i64, bool")
    return found


def tensors_of(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in tuples, lists and dictionaries, in order."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, torch.Tensor):
            yield each
        elif isinstance(each, list | tuple):
            pending.extend(reversed(each))
        elif isinstance(each, dict):
            pending.extend(reversed(list(each.values())))


def argument(func: Any, args: Any, kwargs: Any, name: str) -> Any:
    """What an operator gets by this name, its default included; `None` as well where it has no such argument."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.name == name:
            return kwargs.get(name, args[position] if position < len(args) else argument.default_value)
    return None

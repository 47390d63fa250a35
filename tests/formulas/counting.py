"""What the tests of the formulas share: records made by hand, records of a lowering, sums that let no operator slip.

`whole` is what numel records: composite operators in one piece. `lowered` is what torch itself runs for the same call,
seen by an ordinary dispatch mode behind autograd. Both are priced by the same formulas, so equal sums mean that the
formula of the composite operator agrees with those of its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from numel.analyses.formulas import Cost, cost
from numel.facts import OpRecord, TensorSpec, dtype
from numel.tracing import trace
from numel.tracing.specs import spec_of


def f32(*shape: int) -> TensorSpec:
    return TensorSpec(shape, dtype("f32"))


def i64(*shape: int) -> TensorSpec:
    return TensorSpec(shape, dtype("i64"))


def record(op: str, *args: Any, outputs: Any = (), **kwargs: Any) -> OpRecord:
    """A record made by hand; `op` without an overload is the default one."""
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return OpRecord(op if op.count(".") > 1 else f"{op}.default", -1, args, tuple(kwargs.items()), outputs)


def price(op: str, *args: Any, outputs: Any = (), **kwargs: Any) -> Cost:
    """What a record made by hand costs; it must have a formula."""
    return total([record(op, *args, outputs=outputs, **kwargs)])


def total(records: Iterable[OpRecord]) -> Cost:
    """The cost of all records. One without a cost is an error here: it would be left out of both sides of a test."""
    found = Cost()
    for each in records:
        priced = cost(each)
        assert priced is not None, f"{each.op} has no cost"
        found += priced
    return found


def whole(module: torch.nn.Module, *inputs: Any, **named: Any) -> tuple[OpRecord, ...]:
    """What numel records of `module(*inputs)`."""
    # keyword inputs go through a dict; "*" is the positional part of it in numel's notation of inputs
    found = trace(module, {"*": inputs, **named} if named else inputs)
    assert found.failure is None, found.failure
    return found.ops


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ops: list[OpRecord] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not str(func).startswith("prim."):
            outputs = spec_of(made) if isinstance(made, tuple | list) else (spec_of(made),)
            options = tuple((name, spec_of(value)) for name, value in (kwargs or {}).items())
            self.ops.append(OpRecord(str(func), -1, spec_of(args), options, outputs))
        return made


def lowered(function: Callable[..., Any], *inputs: Any, **named: Any) -> list[OpRecord]:
    """What torch runs for `function(*inputs)`, below autograd, on the device where the inputs are."""
    with _Watch() as watch:
        function(*inputs, **named)
    return watch.ops


class Call(torch.nn.Module):
    """A function as a module without weights."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

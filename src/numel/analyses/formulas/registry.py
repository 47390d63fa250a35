"""Which operator costs what: one decorator, one table, plain arithmetic over recorded shapes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from numel.facts.trace import OpRecord


@dataclass(frozen=True, slots=True)
class Cost:
    """What one operator computes. `macs` are multiply-accumulates of matrix products, convolutions and attention
    (2 FLOPs each); `elementwise` are the scalar operations of everything else. `causal_macs` is the part that a
    causal attention kernel executes, `None` where it equals `macs`. `at_least` says that the work depends on data
    that the shapes do not show, so that this is a lower bound.

    >>> Cost(macs=3) + Cost(elementwise=2)
    Cost(macs=3, elementwise=2, causal_macs=None, at_least=False)
    """

    macs: int = 0
    elementwise: int = 0
    causal_macs: int | None = None
    at_least: bool = False

    def __add__(self, other: Cost) -> Cost:
        executed = None
        if self.causal_macs is not None or other.causal_macs is not None:
            executed = self.executed_macs + other.executed_macs
        return Cost(
            macs=self.macs + other.macs,
            elementwise=self.elementwise + other.elementwise,
            causal_macs=executed,
            at_least=self.at_least or other.at_least,
        )

    @property
    def flops(self) -> int:
        """2 × MACs: one multiplication and one addition each."""
        return 2 * self.macs

    @property
    def executed_macs(self) -> int:
        """MACs when a causal attention skips its masked half."""
        return self.macs if self.causal_macs is None else self.causal_macs


Formula = Callable[..., "int | Cost | None"]
F = TypeVar("F", bound=Formula)

_FORMULAS: dict[str, Formula] = {}


def formula(*operators: Any) -> Callable[[F], F]:
    """Register the MACs formula of one or more operators; the newest registration wins.

    An operator is named as torch prints it, `"aten.mm"` (every overload) or `"aten.mm.default"` (that one), as
    `"mylib::op"`, or by the `torch.ops` object itself. The function takes the operator's own arguments, with every
    tensor replaced by a `TensorSpec` (`.shape`, `.dtype`, `.numel`), keyword arguments by name, and `outputs`, a
    tuple of specs. It returns MACs as an int, a `Cost`, or `None` where the shapes given do not tell: then the operator
    is listed without a cost. It must not need torch.

    >>> @formula("mylib::scaled_outer")
    ... def scaled_outer(a, b, *_, outputs):
    ...     return a.numel * b.numel
    """

    names = [_key(operator) for operator in operators]
    for name, operator in zip(names, operators, strict=True):
        if "." not in name:
            raise ValueError(f"formula: {operator!r} is no operator; expected a name like 'mylib::op' or 'aten.mm'")

    def register(function: F) -> F:
        if not callable(function):
            raise TypeError(f"formula: {function!r} is not callable; expected a function of the operator's arguments")
        _FORMULAS.update(dict.fromkeys(names, function))
        return function

    return register


def find(op: str) -> Formula | None:
    """The formula of an operator named with its overload, else of its packet, else `None`."""
    found = _FORMULAS.get(op)
    return found if found is not None else _FORMULAS.get(op.rpartition(".")[0])


def registered() -> tuple[str, ...]:
    """Names of every operator that has a formula."""
    return tuple(_FORMULAS)


def derivation(op: str) -> str:
    """What the formula of an operator says of itself, in one paragraph; "" where there is none."""
    return _said(find(op))


def _said(function: Formula | None) -> str:
    return "" if function is None else " ".join((function.__doc__ or "").partition("\n\n")[0].split())


def described(text: str = "") -> tuple[tuple[str, str, str], ...]:
    """(operator, family, derivation) of each formula whose operator's name holds `text`, by name.

    >>> @formula("mylib::twice")
    ... def twice(a, *_, outputs):
    ...     'Two per element.'
    ...     return 2 * a.numel
    >>> described("mylib::twice")[0][0::2]
    ('mylib.twice', 'Two per element.')
    """
    wanted = _key(text)
    return tuple(
        (name, function.__module__.rpartition(".")[2], _said(function))
        for name, function in sorted(_FORMULAS.items())
        if wanted in name
    )


def cost(record: OpRecord) -> Cost | None:
    """What a recorded operator costs, or `None` when no formula is known: unknown, never zero.

    A formula that raises on what was recorded costs nothing either: the operator is unknown and a warning names the
    formula, so that one bad formula does not take a whole summary with it.
    """
    function = find(record.op)
    if function is None:
        return None
    try:
        result = function(*record.args, outputs=record.outputs, **dict(record.kwargs))
    except Exception as error:
        if any(isinstance(each, str) and each.startswith("<") for each in record.args):
            return None  # a sparse or nested tensor, whose shape does not tell
        _warn(record, f"failed ({type(error).__name__}: {error})")
        return None
    if result is None or isinstance(result, Cost):
        return result
    if isinstance(result, int) and not isinstance(result, bool) and result >= 0:
        return Cost(macs=result)
    _warn(record, f"returned {result!r}, where MACs (an int from 0), a Cost or None was expected")
    return None


def _warn(record: OpRecord, why: str) -> None:
    text = f"the formula of {record.op} {why}; it is listed without a cost"
    warnings.warn(text, RuntimeWarning, stacklevel=4)


def _key(operator: Any) -> str:
    return str(operator).replace("::", ".")

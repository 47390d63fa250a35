"""Conditions on a comparison, as CI asks them: `params > +1%`, `macs > 5e9`, `nbytes >= 100MiB`, `accuracy < -0.01`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import copysign

from numel.analyses.arrange import number
from numel.document import Cell, Quantity
from numel.document.table import Unit, about, at_least
from numel.errors import ViewError

_BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12, **_BYTES}
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_FORM = re.compile(
    r"\s*([A-Za-z_]\w*)\s*(>=|<=|==|!=|>|<)\s*"
    r"([+-]?)\s*([0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*(%|[A-Za-z]*)\s*"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """`key` of a number, compared with `limit`: the number itself, its difference to the first target's when the limit
    was written with a sign, or that difference in percent of it."""

    key: str
    operator: str
    limit: float
    relative: bool = False
    percent: bool = False
    suffix: str = ""


def parsed(text: str) -> Condition:
    """A condition as it is written. Raises `ViewError` that shows the form.

    >>> parsed("params > +1%")
    Condition(key='params', operator='>', limit=1.0, relative=True, percent=True, suffix='%')
    >>> parsed("macs>=4.5G").limit, parsed("macs>=4.5e9").limit, parsed("nbytes>=4.5GB").limit
    (4500000000.0, 4500000000.0, 4500000000.0)
    """
    found = _FORM.fullmatch(text)
    suffix = found[5].lower() if found else ""
    if found is None or (suffix != "%" and suffix not in _SUFFIXES):
        raise ViewError(f"condition {text!r}: expected as in 'params > +1%', 'macs > 5G' or 'nbytes > +10MiB'")
    if suffix == "%" and not found[3]:
        raise ViewError(f"condition {text!r}: a percentage is of the first target; write it with a sign: +{found[4]}%")
    size = float(found[4].replace(",", "").replace("_", ""))
    limit = (size if suffix == "%" else size * _SUFFIXES[suffix]) * (-1 if found[3] == "-" else 1)
    return Condition(found[1], found[2], limit, relative=bool(found[3]), percent=suffix == "%", suffix=suffix)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a condition `holds`: `None` where that can not be told; `text` says so with the numbers."""

    holds: bool | None
    text: str


def verdict(condition: Condition, first: Cell, second: Cell, unit: Unit) -> Verdict:
    """What the numbers prove. A lower bound beyond a limit is beyond it whatever is missing; below it proves nothing.

    Raises `ViewError` for bytes in billions, which are gigabytes or a slip, and for bytes of what is none.

    >>> verdict(parsed("params > +1%"), 100, 102, "count")
    Verdict(holds=True, text='params 102 is +2.00 % of 100')
    >>> verdict(parsed("params > 5"), 1, Quantity(6, at_least=True), "count").holds
    True
    >>> verdict(parsed("params > 7"), 1, Quantity(6, at_least=True), "count")
    Verdict(holds=None, text='params is ≥6')
    """
    if unit == "bytes" and condition.suffix == "b":
        raise ViewError(f"{condition.key}: B stands for billions; write bytes as a plain number, or in MB, MiB, GB ...")
    if unit != "bytes" and condition.suffix in _BYTES:
        raise ViewError(f"{condition.key}: no number of bytes; write its limit as a plain number, or in K, M, G, T")
    one, other = number(first), number(second)
    before, after = (_written(cell) for cell in (first, second))
    if other is None or (condition.relative and one is None):
        return Verdict(None, f"{condition.key} is {after}" + (f" beside {before}" if condition.relative else ""))
    value = float(other)
    exact, least = _bounds(second)
    text = f"{condition.key} is {after}"
    if condition.relative and one is not None:
        value = float(other - one)
        text = f"{condition.key} {after} is {value:+,.6g} beside {before}"
        if condition.percent:
            value = value / abs(one) * 100 if one else copysign(float("inf"), value) if value else 0.0
            text = f"{condition.key} {after} is {value:+.2f} % of {before}"
        if not _bounds(first)[0]:
            exact = least = False
    found = _OPERATORS[condition.operator](value, condition.limit)
    if exact:
        return Verdict(found, text)
    beyond = value > condition.limit or (value == condition.limit and condition.operator in (">=", "<"))
    return Verdict(found if least and beyond and condition.operator not in ("==", "!=") else None, text)


def _bounds(cell: Cell) -> tuple[bool, bool]:
    """Whether a number is exact, and whether at least a lower bound."""
    return not (about(cell) or at_least(cell)), not about(cell)


def _written(cell: Cell) -> str:
    value = number(cell)
    if value is None:
        return "?"
    return f"{cell.mark if isinstance(cell, Quantity) else ''}{value:,}"

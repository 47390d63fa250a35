"""Conditions on a comparison, as CI asks them: `params > +1%`, `macs > 5G`, `nbytes >= 100MiB`, `accuracy < -0.01`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from numel.analyses.arrange import number
from numel.document import Cell
from numel.document.table import Unit
from numel.errors import ViewError

_SUFFIXES = {
    "": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30,
    "tib": 2**40,
}  # fmt: skip
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_FORM = re.compile(r"\s*([A-Za-z_]\w*)\s*(>=|<=|==|!=|>|<)\s*([+-]?)\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*(%|[A-Za-z]*)\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """`key` of a number, compared with `limit`: the number itself, its difference to the first target's when the limit
    was written with a sign, or that difference in percent of it."""

    key: str
    operator: str
    limit: float
    relative: bool = False
    percent: bool = False


def parsed(text: str) -> Condition:
    """A condition as it is written. Raises `ViewError` that shows the form.

    >>> parsed("params > +1%")
    Condition(key='params', operator='>', limit=1.0, relative=True, percent=True)
    >>> parsed("macs>=4.5G").limit
    4500000000.0
    """
    found = _FORM.fullmatch(text)
    suffix = found[5].lower() if found else ""
    if found is None or (suffix != "%" and suffix not in _SUFFIXES):
        raise ViewError(f"condition {text!r}: expected as in 'params > +1%', 'macs > 5G' or 'nbytes > +10MiB'")
    size = float(found[4].replace(",", "").replace("_", ""))
    limit = (size if suffix == "%" else size * _SUFFIXES[suffix]) * (-1 if found[3] == "-" else 1)
    return Condition(found[1], found[2], limit, relative=bool(found[3]) or suffix == "%", percent=suffix == "%")


def holds(condition: Condition, first: Cell, second: Cell, unit: Unit) -> str:
    """In words with the numbers, where the condition holds; else "". An unknown number makes none hold.

    >>> holds(parsed("params > +1%"), 100, 102, "count"), holds(parsed("params > +1%"), 100, 101, "count")
    ('params 102 is +2.00 % of 100', '')
    """
    one, other = number(first), number(second)
    if other is None or (condition.relative and one is None):
        return ""
    value = float(other)
    if condition.relative and one is not None:
        value = float(other - one)
        if condition.percent:
            value = value / one * 100 if one else (0.0 if not value else float("inf") if value > 0 else float("-inf"))
    if not _OPERATORS[condition.operator](value, condition.limit):
        return ""
    if condition.percent:
        return f"{condition.key} {other:,} is {value:+.2f} % of {one:,}"
    if condition.relative:
        return f"{condition.key} {other:,} is {value:+,.6g} beside {one:,}"
    return f"{condition.key} is {other:,}"

"""Sizes that remember what was computed of them: the arithmetic of a formula is written down by running it.

A formula is plain arithmetic over shapes. Given shapes of `Size`, an int that keeps the expression it came from, the
same formula gives the same number and says how, whoever wrote it: what is printed is by construction what was computed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from numel.analyses.formulas.registry import Cost, cost
from numel.facts.trace import OpRecord, TensorSpec

_MOST = 48  # numbers in one expression; what is longer is not read, and stands as the number that it is
_SUM, _PRODUCT, _ATOM = 1, 2, 3  # how tightly an expression holds together
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_SUPERSCRIPTS = str.maketrans("0123456789", _RAISED)


class Size(int):
    """An int with the expression that it was computed by.

    >>> n = Size(7)
    >>> (n * (n - 1) // 2 + 3).text, (-(-n // 2)).text, (n**3).text
    ('7 × (7 − 1) / 2 + 3', '⌈7 / 2⌉', '7³')
    """

    _text: str
    _binds: int
    _numbers: int
    _opposite: tuple[str, bool] | None  # of a negation: what it negates, and whether a rounded quotient is

    def __new__(cls, value: int, text: str = "", binds: int = _ATOM, numbers: int = 1) -> Size:
        made = super().__new__(cls, value)
        short = bool(text) and numbers <= _MOST and value != 0
        plain = str(int(value)).replace("-", "−")
        made._text, made._binds, made._numbers = (text, binds, numbers) if short else (plain, _ATOM, 1)
        if not short and value < 0:
            made._binds = _SUM
        made._opposite = None
        return made

    @property
    def text(self) -> str:
        """The expression, as it is printed."""
        return self._text

    def _in(self, binds: int) -> str:
        return self._text if self._binds >= binds else f"({self._text})"

    def __add__(self, other: Any) -> Any:
        return _sum(self, other)

    def __radd__(self, other: Any) -> Any:
        return _sum(other, self)

    def __sub__(self, other: Any) -> Any:
        return _difference(self, other)

    def __rsub__(self, other: Any) -> Any:
        return _difference(other, self)

    def __mul__(self, other: Any) -> Any:
        return _product(self, other)

    def __rmul__(self, other: Any) -> Any:
        return _product(other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _quotient(self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _quotient(other, self)

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        if type(other) is not int or other < 2 or modulus is not None:
            return pow(int(self), other, modulus)
        raised = str(other).translate(_SUPERSCRIPTS)
        based = f"({self._text})" if self._text[-1] in _RAISED else self._in(_ATOM)
        return Size(int(self) ** other, f"{based}{raised}", _ATOM, self._numbers)

    def __neg__(self) -> Size:
        if self._opposite is not None and self._opposite[1]:  # the negation of a negation rounded down is rounded up
            return Size(-int(self), self._opposite[0], _ATOM, self._numbers)
        made = Size(-int(self), f"−{self._in(_PRODUCT)}", _SUM, self._numbers)
        made._opposite = (self._text if self._binds >= _PRODUCT else f"({self._text})", False)
        return made


def _sized(value: Any) -> Size | None:
    if isinstance(value, Size):
        return value
    return Size(int(value)) if isinstance(value, int) else None


def _sum(left: Any, right: Any) -> Any:
    a, b = _sized(left), _sized(right)
    if a is None or b is None:
        return NotImplemented
    if not a or not b:
        return a or b
    return Size(int(a) + int(b), f"{a._in(_SUM)} + {b._in(_PRODUCT)}", _SUM, a._numbers + b._numbers)


def _difference(left: Any, right: Any) -> Any:
    a, b = _sized(left), _sized(right)
    if a is None or b is None:
        return NotImplemented
    if not b:
        return a
    return Size(int(a) - int(b), f"{a._in(_SUM)} − {b._in(_PRODUCT)}", _SUM, a._numbers + b._numbers)


def _product(left: Any, right: Any) -> Any:
    a, b = _sized(left), _sized(right)
    if a is None or b is None:
        return NotImplemented
    if a == 1 or b == 1:
        return b if a == 1 else a
    # a quotient that stands on the right keeps its own bounds: a × (b / c)
    right_text = b._in(_ATOM) if " / " in b._text and b._binds < _ATOM else b._in(_PRODUCT)
    return Size(int(a) * int(b), f"{a._in(_PRODUCT)} × {right_text}", _PRODUCT, a._numbers + b._numbers)


def _quotient(left: Any, right: Any) -> Any:
    a, b = _sized(left), _sized(right)
    if a is None or b is None:
        return NotImplemented
    value, numbers = int(a) // int(b), a._numbers + b._numbers
    if b == 1:
        return a
    divided = f"{a._in(_PRODUCT)} / {b._in(_ATOM)}"
    if int(a) % int(b) == 0:
        return Size(value, divided, _PRODUCT, numbers)
    made = Size(value, f"⌊{divided}⌋", _ATOM, numbers)
    if a._opposite is not None:
        made._opposite = (f"⌈{a._opposite[0]} / {b._in(_ATOM)}⌉", True)
    return made


@dataclass(frozen=True, slots=True)
class Worked:
    """What one operator costs and how that was computed; no cost is `None`, and its texts are empty."""

    cost: Cost | None
    macs: str = ""
    elementwise: str = ""
    executed: str = ""


def worked(record: OpRecord) -> Worked:
    """The formula of a recorded operator, with its arithmetic written out.

    >>> from numel.facts.dtype import dtype
    >>> x, w, y = (TensorSpec(shape, dtype("f32")) for shape in ((2, 3), (4, 3), (2, 4)))
    >>> worked(OpRecord("aten.linear.default", -1, (x, w), outputs=(y,))).macs
    '2 × 4 × 3'
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a formula fails on was said when the totals were made
        priced = cost(remembering(record))
    if priced is None:
        return Worked(None)
    executed = "" if priced.causal_macs is None else written(priced.causal_macs)
    return Worked(_plain(priced), written(priced.macs), written(priced.elementwise), executed)


def written(value: int) -> str:
    """The expression of a number; one that remembers nothing stands for itself."""
    return value.text if isinstance(value, Size) else str(int(value))


def remembering(record: OpRecord) -> OpRecord:
    """The same record, with sizes that remember."""
    given, named, made = (_remembering(each) for each in (record.args, record.kwargs, record.outputs))
    return replace(record, args=given, kwargs=named, outputs=made)


def _remembering(value: Any) -> Any:
    if isinstance(value, TensorSpec):
        return TensorSpec(tuple(map(Size, value.shape)), value.dtype)
    if isinstance(value, tuple | list):
        return type(value)(map(_remembering, value))
    if isinstance(value, Mapping):
        return {name: _remembering(each) for name, each in value.items()}
    return value


def _plain(priced: Cost) -> Cost:
    causal = None if priced.causal_macs is None else int(priced.causal_macs)
    return Cost(int(priced.macs), int(priced.elementwise), causal, priced.at_least)

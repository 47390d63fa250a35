"""What a forward is called with, as data, and the small language that says it: `ids: i64[b,512] < 32000, b=8`.

    inputs  := item ("," item)*          item := [name ":"] value | symbol "=" integer
    value   := tensor | "None" | "True" | "False" | number | 'string' | "(" values ")" | "[" values "]" | "{" items "}"
    tensor  := [dtype] "[" sizes "]" ["<" integer]       a size is an integer, a symbol, or symbol arithmetic with * + - //

Unnamed values are positional, named ones keywords. A tensor without a dtype gets the model's own floating type, or
the integers that its first consumer wants.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numel.errors import InputsError
from numel.facts.dtype import DType, dtype, known_dtypes


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One tensor to make: its shape, its element type (`None`: found out) and, for integers, values below `below`."""

    shape: tuple[int, ...]
    dtype: DType | None = None
    below: int | None = None

    def __str__(self) -> str:
        text = f"{self.dtype.short if self.dtype else ''}[{','.join(map(str, self.shape))}]"
        return text if self.below is None else f"{text} < {self.below}"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Positional and keyword arguments: tensors, `InputSpec`s, shapes, and anything else, which is passed through.

    >>> Inputs((InputSpec((1, 3)),), {"flag": True}).kwargs["flag"]
    True
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor as written: its sizes may name symbols that come later."""

    at: int
    dtype: DType | None
    sizes: tuple[tuple[int, str], ...]
    below: int | None


def parse(text: str) -> Inputs:
    """The arguments that a notation says. Raises `InputsError` with the place and what was expected there.

    >>> parse("f32[1,3,224,224]").args[0].shape
    (1, 3, 224, 224)
    >>> sorted(parse("ids: i64[b,s] < 32000, mask: bool[b,s], b=2, s=16").kwargs)
    ['ids', 'mask']
    """
    return _Parser(text).inputs()


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<tensor>[A-Za-z_][A-Za-z0-9_]*(?=\s*\[)|(?=\[))
    | (?P<string>'[^']*'|"[^"]*")
    | (?P<number>-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?![A-Za-z_]))
    | (?P<name>[A-Za-z_][A-Za-z0-9_.]*)
    | (?P<mark>[:,=<(){}\]])
    )""",
    re.X,
)
_SIZES = re.compile(r"\[([^\[\]]*)\]")
_TERM = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*|\d+)\s*")
_WORDS = {"None": None, "True": True, "False": False, "none": None, "true": True, "false": False}
_DEEPEST = 32


class _Parser:
    """One pass over the text by position; symbols are put in at the end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.symbols: dict[str, int] = {}

    def inputs(self) -> Inputs:
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        if not self.text.strip():
            raise InputsError("inputs: nothing given; expected a notation such as f32[1,3,224,224]")
        while True:
            start = self._skip()
            name = self._peek(r"[A-Za-z_][A-Za-z0-9_.]*(?=\s*[:=])")
            if name is not None:
                self.at = start + len(name)
                mark = self._mark(":=")
                if mark == "=":
                    self._symbol(name, start)
                elif name in kwargs:
                    raise self._error(start, f"{name} is given twice")
                else:
                    kwargs[name] = self._value(0)
            else:
                if kwargs:
                    raise self._error(start, "an unnamed input after a named one; name it, or put it first")
                args.append(self._value(0))
            if self._skip() == len(self.text):
                break
            self._expect(",")
            if self._skip() == len(self.text):
                break
        return Inputs(tuple(self._filled(each) for each in args), {k: self._filled(v) for k, v in kwargs.items()})

    def _value(self, deep: int) -> Any:
        start = self._skip()
        if deep > _DEEPEST:
            raise self._error(start, f"nested deeper than {_DEEPEST}")
        if start == len(self.text):
            raise self._error(start, "the text ends where a value was expected")
        mark = self.text[start]
        if mark == "(":
            return tuple(self._values(")", deep))
        if mark == "{":
            return self._mapping(deep)
        if mark == "[" and not self._is_sizes(start):
            return self._values("]", deep)
        found = _TOKEN.match(self.text, start)
        if found is None:
            raise self._error(start, f"unexpected {mark!r}")
        if found["tensor"] is not None:
            return self._tensor(start, found["tensor"])
        self.at = found.end()
        if found["string"] is not None:
            return found["string"][1:-1]
        if found["number"] is not None:
            return _number(found["number"])
        if found["name"] in _WORDS:
            return _WORDS[found["name"]]
        word = found["name"] or found["mark"]
        raise self._error(start, f"{word!r} is no value; expected a tensor such as f32[1,3,224,224], a number, "
                                 "None, True, False or a quoted string")  # fmt: skip

    def _is_sizes(self, start: int) -> bool:
        """Whether a bracket holds sizes (a tensor without a dtype) and not values."""
        found = _SIZES.match(self.text, start)
        return found is not None and all(
            re.fullmatch(r"[A-Za-z0-9_\s*+\-/]+", each) and each.strip() not in _WORDS
            for each in found[1].split(",")
            if each.strip() or found[1].strip()
        )

    def _tensor(self, start: int, name: str) -> _Tensor:
        kind: DType | None = None
        if name:
            try:
                kind = dtype(name)
            except KeyError:
                near = difflib.get_close_matches(name.lower(), [*_SHORT_NAMES, *known_dtypes()], 1)
                hint = f"; did you mean {near[0]}?" if near else "; expected one such as f32, bf16, i64, bool"
                raise self._error(start, f"{name!r} is no element type{hint}") from None
        self.at = start + len(name)
        opening = self._skip()
        found = _SIZES.match(self.text, opening)
        if found is None:
            raise self._error(opening, "a shape that is not closed; expected ]")
        self.at = found.end()
        sizes: list[tuple[int, str]] = []
        place = opening + 1
        if found[1].strip():
            for part in found[1].split(","):
                if not part.strip():
                    raise self._error(place, "an empty size; expected an integer or a symbol")
                sizes.append((place + len(part) - len(part.lstrip()), part.strip()))
                place += len(part) + 1
        below = None
        if self._peek("<") is not None:
            self._expect("<")
            here = self._skip()
            digits = self._peek(r"\d+")
            if digits is None or int(digits) < 1:
                raise self._error(here, "expected a positive integer after <")
            self.at = here + len(digits)
            below = int(digits)
        return _Tensor(start, kind, tuple(sizes), below)

    def _values(self, closing: str, deep: int) -> list[Any]:
        self.at += 1
        values: list[Any] = []
        while self._peek(re.escape(closing)) is None:
            values.append(self._value(deep + 1))
            if self._peek(re.escape(closing)) is None:
                self._expect(",")
        self._expect(closing)
        return values

    def _mapping(self, deep: int) -> dict[str, Any]:
        self._expect("{")
        items: dict[str, Any] = {}
        while self._peek("}") is None:
            start = self._skip()
            name = self._peek(r"[A-Za-z_][A-Za-z0-9_.]*|'[^']*'|\"[^\"]*\"")
            if name is None:
                raise self._error(start, "expected a name")
            self.at = start + len(name)
            self._expect(":")
            items[name.strip("'\"")] = self._value(deep + 1)
            if self._peek("}") is None:
                self._expect(",")
        self._expect("}")
        return items

    def _symbol(self, name: str, start: int) -> None:
        here = self._skip()
        digits = self._peek(r"\d+")
        if digits is None:
            raise self._error(here, f"expected an integer for the symbol {name}")
        if name in self.symbols:
            raise self._error(start, f"the symbol {name} is set twice")
        self.at = here + len(digits)
        self.symbols[name] = int(digits)

    def _filled(self, value: Any) -> Any:
        if isinstance(value, _Tensor):
            shape = tuple(self._size(place, text) for place, text in value.sizes)
            return InputSpec(shape, value.dtype, value.below)
        if isinstance(value, tuple):
            return tuple(self._filled(each) for each in value)
        if isinstance(value, list):
            return [self._filled(each) for each in value]
        if isinstance(value, dict):
            return {name: self._filled(each) for name, each in value.items()}
        return value

    def _size(self, place: int, text: str) -> int:
        """Products before sums, from left to right."""
        total, sign = 0, 1
        for number, term in enumerate(re.split(r"([+-])", text)):
            if number % 2:
                sign = 1 if term == "+" else -1
                continue
            product: int | None = None
            for position, factor in enumerate(re.split(r"(\*|//)", term)):
                if position % 2:
                    operator = factor
                    continue
                found = _TERM.fullmatch(factor)
                if found is None:
                    raise self._error(place, f"{text!r} is no size; expected an integer, a symbol or b*s")
                n = self._term(place, found[1])
                if product is None:
                    product = n
                elif operator == "*":
                    product *= n
                elif n:
                    product //= n
                else:
                    raise self._error(place, f"{text!r} divides by zero")
            total += sign * (product or 0)
        if total < 0:
            raise self._error(place, f"{text!r} is {total}; a size can not be negative")
        return total

    def _term(self, place: int, word: str) -> int:
        if word.isdigit():
            return int(word)
        if word not in self.symbols:
            raise self._error(place, f"the symbol {word} has no value; add {word}=…")
        return self.symbols[word]

    def _skip(self) -> int:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.at

    def _peek(self, pattern: str) -> str | None:
        found = re.compile(pattern).match(self.text, self._skip())
        return found[0] if found else None

    def _mark(self, marks: str) -> str:
        at = self._skip()
        if at < len(self.text) and self.text[at] in marks:
            self.at += 1
            return self.text[at]
        got = repr(self.text[at]) if at < len(self.text) else "the end"
        raise self._error(at, f"got {got}; expected {' or '.join(marks)}")

    def _expect(self, mark: str) -> None:
        self._mark(mark)

    def _error(self, at: int, what: str) -> InputsError:
        shown = " ".join(self.text.split())
        return InputsError(f"inputs {shown if len(shown) < 120 else shown[:119] + '…'!r}: at character {at + 1}, {what}")


_SHORT_NAMES = tuple(dtype(name).short for name in known_dtypes())


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)

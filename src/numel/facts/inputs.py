"""What a forward is called with, as data, and the small language that says it: `ids: i64[b,512] < 32000, b=8`.

    inputs  := item ("," item)*          item := [name ":"] value | symbol "=" integer
    value   := tensor | "None" | "True" | "False" | number | 'string' | "(" values ")" | "[" values "]" | "{" items "}"
    tensor  := [dtype] "[" sizes "]" ["<" integer]       a size is integers and symbols, joined by * + - //

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
    | (?P<number>-?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?(?![\w.]))
    | (?P<name>[A-Za-z_][A-Za-z0-9_.]*)
    | (?P<mark>[:,=<(){}\]])
    )""",
    re.X,
)
_SIZES = re.compile(r"\[([^\[\]]*)\]")
_TERM = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*|[0-9]+)\s*")
_INTEGER = r"[0-9]+"
_LARGEST = 2**63 - 1  # what torch can hold as a size
_WORDS = {"None": None, "True": True, "False": False, "none": None, "true": True, "false": False}
_DEEPEST = 32
_VALUE = "a tensor such as f32[1,3,224,224], a number, None, True, False or a quoted string"


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
            raise self._error(0, f"nothing given; expected {_VALUE}")
        while True:
            start = self._skip()
            name = self._peek(r"[A-Za-z_][A-Za-z0-9_.]*(?=\s*[:=])")
            if name is not None:
                self.at = start + len(name)
                mark = self._mark(":=")
                if mark == "=":
                    self._symbol(name, start)
                elif name in kwargs:
                    raise self._error(start, f"{_cut(name)} is given twice; expected each name once")
                else:
                    kwargs[name] = self._value(0)
            else:
                if kwargs:
                    raise self._error(start, "an unnamed input after a named one; name it, or put it first")
                args.append(self._value(0))
            if self._skip() == len(self.text):
                break
            self._mark(",")
            if self._skip() == len(self.text):
                break
        return Inputs(tuple(self._filled(each) for each in args), {k: self._filled(v) for k, v in kwargs.items()})

    def _value(self, deep: int) -> Any:
        start = self._skip()
        if deep > _DEEPEST:
            raise self._error(start, f"nested too deep; expected at most {_DEEPEST} levels")
        if start == len(self.text):
            raise self._error(start, f"the text ends; expected {_VALUE}")
        mark = self.text[start]
        if mark == "(":
            return tuple(self._values(")", deep))
        if mark == "{":
            return self._mapping(deep)
        if mark == "[" and not self._is_sizes(start):
            return self._values("]", deep)
        found = _TOKEN.match(self.text, start)
        if found is None:
            word = self._peek(r"[\w.+-]+") or mark
            raise self._error(start, f"{_cut(word)!r} is no value; expected {_VALUE}")
        if found["tensor"] is not None:
            return self._tensor(start, found["tensor"])
        self.at = found.end()
        if found["string"] is not None:
            return found["string"][1:-1]
        if found["number"] is not None:
            return self._number(start, found["number"])
        if found["name"] in _WORDS:
            return _WORDS[found["name"]]
        word = found["name"] or found["mark"]
        raise self._error(start, f"{_cut(word)!r} is no value; expected {_VALUE}")

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
                raise self._error(start, f"{_cut(name)!r} is no element type{hint}") from None
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
            self._mark("<")
            below = self._integer("a positive integer after <", 1)
        return _Tensor(start, kind, tuple(sizes), below)

    def _values(self, closing: str, deep: int) -> list[Any]:
        self.at += 1
        values: list[Any] = []
        while self._peek(re.escape(closing)) is None:
            values.append(self._value(deep + 1))
            if self._mark("," + closing) == closing:
                return values
        self._mark(closing)
        return values

    def _mapping(self, deep: int) -> dict[str, Any]:
        self._mark("{")
        items: dict[str, Any] = {}
        while self._peek("}") is None:
            start = self._skip()
            name = self._peek(r"[A-Za-z_][A-Za-z0-9_.]*|'[^']*'|\"[^\"]*\"")
            if name is None:
                raise self._error(start, f"{self._next()}; expected a name or }}")
            self.at = start + len(name)
            key = name[1:-1] if name[0] in "'\"" else name
            if key in items:
                raise self._error(start, f"{_cut(key)} is given twice; expected each name once")
            self._mark(":")
            items[key] = self._value(deep + 1)
            if self._mark(",}") == "}":
                return items
        self._mark("}")
        return items

    def _symbol(self, name: str, start: int) -> None:
        if name in self.symbols:
            raise self._error(start, f"the symbol {_cut(name)} is set twice; expected each symbol once")
        self.symbols[name] = self._integer(f"an integer for the symbol {_cut(name)}", 0)

    def _integer(self, expected: str, least: int) -> int:
        here = self._skip()
        digits = self._peek(_INTEGER)
        if digits is None:
            raise self._error(here, f"{self._next()}; expected {expected}")
        number = self._whole(here, digits)
        if number < least:
            raise self._error(here, f"{number}; expected {expected}")
        self.at = here + len(digits)
        return number

    def _whole(self, at: int, text: str) -> int:
        digits = text.lstrip("-0")
        number = int(digits or "0") if len(digits) < 20 else _LARGEST + 1
        return self._bounded(at, text, -number if text[0] == "-" else number)

    def _bounded(self, at: int, text: str, number: int) -> int:
        """Torch holds sizes in 63 bits; a bound here also keeps arithmetic on hostile text short."""
        if not -_LARGEST <= number <= _LARGEST:
            raise self._error(at, f"{_cut(text)} is too large; expected at most 2^63 - 1")
        return number

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
                    raise self._error(place, f"{_cut(text)!r} is no size; expected an integer, a symbol or b*s")
                n = self._term(place, found[1])
                if product is None:
                    product = n
                elif operator == "*":
                    product = self._bounded(place, text, product * n)
                elif n:
                    product //= n
                else:
                    raise self._error(place, f"{_cut(text)!r} divides by zero; expected a size")
            total = self._bounded(place, text, total + sign * (product or 0))
        if total < 0:
            raise self._error(place, f"{_cut(text)!r} is {total}; expected a size from 0")
        return total

    def _term(self, place: int, word: str) -> int:
        if word.isdigit():
            return self._whole(place, word)
        if word not in self.symbols:
            raise self._error(place, f"the symbol {_cut(word)} has no value; expected one such as {_cut(word)}=16")
        return self.symbols[word]

    def _number(self, start: int, text: str) -> int | float:
        if re.fullmatch("-?" + _INTEGER, text):
            return self._whole(start, text)
        number = float(text)
        if number - number != 0:
            raise self._error(start, f"{_cut(text)} is too large; expected a finite number")
        return number

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
        raise self._error(at, f"{self._next()}; expected {' or '.join(marks)}")

    def _next(self) -> str:
        """What stands at the place, for a message."""
        at = self._skip()
        return f"got {self.text[at]!r}" if at < len(self.text) else "the text ends"

    def _error(self, at: int, what: str) -> InputsError:
        return InputsError(f"inputs {_cut(' '.join(self.text.split()), 120)!r}: at character {at + 1}, {what}")


_SHORT_NAMES = tuple(dtype(name).short for name in known_dtypes())


def _cut(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

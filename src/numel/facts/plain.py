"""Plain JSON values as what they must be. A file is not trusted: a value that is not of its kind raises `ValueError`,
and `taken` makes one line of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite, prod
from typing import Any, NoReturn, TypeVar, get_args

from numel.errors import SchemaError

Json = Any
T = TypeVar("T")

LARGEST = 2**64  # no tensor has as many elements or bytes; integers without a bound might not even print


@contextmanager
def taken(where: str) -> Iterator[None]:
    """What goes wrong inside is a damaged file, said in one line."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        said = str(error) if str(error).isprintable() else ascii(str(error))
        raise SchemaError(
            f"{where}: damaged facts ({type(error).__name__}: {said[:200]}); expected what numel's save() wrote"
        ) from error


def text(value: Json) -> str:
    """Text."""
    return value if isinstance(value, str) else damaged(value, "text")


def flag(value: Json) -> bool:
    """True or false."""
    return value if isinstance(value, bool) else damaged(value, "true or false")


def whole(value: Json, least: int = 0, below: int = LARGEST) -> int:
    """An integer in that range."""
    if type(value) is int and least <= value < below:
        return value
    return damaged(value, f"an integer from {least} below {below}")


def real(value: Json) -> float:
    """A finite number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    return damaged(value, "a finite number")


def known(value: Json) -> float | None:
    """A finite number, or none."""
    return None if value is None else real(value)


def sizes(value: Json) -> tuple[int, ...]:
    """A shape."""
    found = tuple([whole(each) for each in value]) if isinstance(value, list) else damaged(value, "a list")
    return found if prod(found) < LARGEST else damaged(value, f"fewer than {LARGEST} elements")


def at(table: Sequence[T], index: Json) -> T:
    """The entry of a table that an index leads to."""
    return table[whole(index, 0, len(table))]


def several(value: Any) -> tuple[Any, ...]:
    """A list, or the tuple that one was read as."""
    return tuple(value) if isinstance(value, list | tuple) else damaged(value, "a list")


def one_of(names: Any, value: Json) -> Any:
    """The value, where it is one of a Literal's."""
    choice = get_args(names)
    return value if value in choice else damaged(value, " or ".join(choice))


def damaged(value: Json, expected: str) -> NoReturn:
    """Say what a value should have been."""
    raise ValueError(f"{shown(value)}; expected {expected}")


def shown(value: Json) -> str:
    """The beginning of a value as it would print; a damaged file can hold pages, and integers that do not print."""
    try:
        said = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to print"
    return said if len(said) <= 60 else said[:57] + "..."

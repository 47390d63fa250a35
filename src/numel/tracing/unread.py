"""Whole numbers that tell when they are used: what has not used them does the same for any other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from numel.tracing import caches


class Unread:
    """Stands for a whole number. `used` says whether anything was asked of it but what type it is. Those in `known`,
    caches of transformers, may ask as well (`numel.tracing.caches`): that makes it `in_cache`.

    >>> number = Unread(3, [])
    >>> isinstance(number, int), number.used, number + 1, number.used
    (True, False, 4, True)
    """

    __slots__ = ("in_cache", "known", "number", "used")
    __class__ = property(lambda _: int)  # what isinstance goes by

    def __init__(self, number: int, known: list[Any]) -> None:
        self.number = number
        self.known = known
        self.used = False
        self.in_cache = False

    def __getattr__(self, name: str) -> Any:
        self.used = True
        return getattr(self.number, name)


def _asked(name: str) -> Callable[..., Any]:
    def ask(self: Any, *given: Any) -> Any:
        if self.known and caches.asks(sys._getframe(1), self.known):
            self.in_cache = True
        else:
            self.used = True
        return getattr(self.number, name)(*(each.number if type(each) is Unread else each for each in given))

    return ask


_OF_EVERY_OBJECT = {"__class__", "__new__", "__init__", "__getattribute__", "__setattr__", "__delattr__", "__doc__",
                    "__init_subclass__", "__subclasshook__", "__getattr__"}  # fmt: skip
for _name in vars(int).keys() | vars(object).keys():
    if _name not in _OF_EVERY_OBJECT and callable(getattr(int, _name)):
        setattr(Unread, _name, _asked(_name))

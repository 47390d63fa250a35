"""What blocks share, as it is: objects, containers, classes and functions, and all that these hold."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from operator import is_
from typing import Any
from weakref import ReferenceType

import torch

from numel.tracing.alike import ATOMS, CONTAINERS, Spec, held_in, is_odd, spec_of
from numel.tracing.untouched import is_source, remembers

NOT_WATCHED = ("torch", "numel")  # torch's settings are asked for; and what numel does is no part of a forward
_MOST = 10_000
_DEEP = 4  # levels that are followed from a name or a class: what a file holds in a container, in an object, and so on
_OF_TOOLS = frozenset({"logging", "dataclasses", "inspect", "typing"})  # of no part in what a forward does
_NOT_OWN = frozenset({"torch", *sys.stdlib_module_names})
_LARGEST = 1 << 16  # bytes of an array that are compared
_ABSENT = object()


class Shared:
    """Objects and containers as they are now, and all that these hold. It is not `known` where something is of a kind
    whose state can not be seen, where blocks could be told apart by it, or where it is too much. Of the modules in
    `own` nothing is held. `codes` are those of the functions among all that: the variables around them are held, too.
    """

    def __init__(self, roots: Iterable[Any] = (), own: Iterable[torch.nn.Module] = ()) -> None:
        self.known = True
        self.codes: set[types.CodeType] = set()
        self._held: list[tuple[Any, tuple[Any, ...]]] = []
        self._kept: set[int] = set()
        self._views: list[tuple[Any, tuple[Any, ...], Any, tuple[Any, ...]]] = []  # keys and values of dictionaries
        self._cells: list[tuple[types.CellType, Any]] = []
        self._told: list[tuple[Callable[[], tuple[Any, ...]], tuple[Any, ...]]] = []
        self._names: dict[tuple[int, str], tuple[dict[str, Any], str, Any]] = {}
        self._tensors: list[tuple[torch.Tensor, Spec]] = []
        self._seen: dict[int, tuple[Any, int]] = {id(module): (module, _MOST) for module in own}  # and how deep
        for root in roots:
            self._follow(root, _MOST)

    def keep(self, container: Any) -> None:
        """What a container holds, but nothing of what that holds."""
        if id(container) not in self._kept:
            self._kept.add(id(container))
            if isinstance(container, dict):  # past methods of its own
                keys, values = dict.keys(container), dict.values(container)
                self._views.append((keys, tuple(keys), values, tuple(values)))
            else:
                self._held.append((container, tuple(container)))

    def name(self, space: dict[str, Any], name: str, alone: bool = False) -> None:
        """What a name stands for; and what that holds, if not `alone`."""
        key = (id(space), name)
        if key not in self._names:
            self._names[key] = (space, name, space[name])
            if not alone:
                self.hold(space[name])

    def hold(self, value: Any) -> None:
        """What a value holds some levels deep, as far as that can be seen."""
        self._follow(value, _DEEP)

    def unchanged(self) -> bool:
        """Whether each holds the very same as it did."""
        return (
            all(
                len(values) == len(had) and all(map(is_, values, had)) and all(map(is_, keys, were))
                for keys, were, values, had in self._views
            )
            and all(_same(held, kept) for held, kept in self._held)
            and all(space.get(name, _ABSENT) is value for space, name, value in self._names.values())
            and all(_is_still(_contents(cell), value) for cell, value in self._cells)
            and all(_equal(ask(), answer) for ask, answer in self._told)
            and all(spec_of(tensor) == spec for tensor, spec in self._tensors)
        )

    def _follow(self, root: Any, levels: int) -> None:
        pending = [(root, levels)]
        while pending and self.known:
            value, left = pending.pop()
            if type(value) in ATOMS or self._seen.get(id(value), (None, 0))[1] >= left:
                continue
            self._seen[id(value)] = (value, left)
            self.known = len(self._seen) <= _MOST
            below = min(left - 1, _DEEP) if isinstance(value, type) else left - 1
            pending += [(each, below) for each in self._parts(value, left > _DEEP)]

    def _ask(self, ask: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        answer = ask()
        self._told.append((ask, answer))
        return answer

    def _parts(self, value: Any, whole: bool) -> Iterable[Any]:
        """What a value holds. Where its state can not be seen, nothing is known if the `whole` of it has to be."""
        kind = type(value)
        if issubclass(kind, torch.Tensor):
            self.known &= not is_odd(value)
            self._tensors += [(value, spec_of(value))] if self.known else []
            return ()
        if kind is types.FunctionType:
            return self._of_function(value)
        if kind is types.MethodType:
            return value.__self__, value.__func__
        if kind is types.BuiltinFunctionType:
            return () if isinstance(value.__self__, types.ModuleType | type) else (value.__self__,)
        if kind is property:
            return value.fget, value.fset
        if kind is staticmethod or kind is classmethod:
            return (value.__func__,)
        if issubclass(kind, functools.partial):
            return value.func, value.args, value.keywords
        if issubclass(kind, type):
            return self._of_class(value)
        if issubclass(kind, types.ModuleType):
            if whole and package(vars(value)) not in NOT_WATCHED:
                self.keep(vars(value))
            return ()
        if issubclass(kind, (*CONTAINERS, tuple, frozenset)):
            return self._of_container(value)
        if kind is ContextVar:
            return self._ask(lambda: (value.get(None),))
        if remembers(value):
            self._ask(lambda: (value.cache_info().misses,))
            return (value.__wrapped__,)
        if issubclass(kind, Iterator) or is_source(value):
            self.known = False
            return ()
        if issubclass(kind, torch.nn.Module) and not whole:
            for each in (value.__dict__, value._parameters, value._buffers, value._modules):
                self.keep(each)
            return ()
        if not whole and package(vars(kind), "__module__") in _OF_TOOLS:
            return ()
        state = held_in(value)
        if state is None:
            return self._of_other(value, whole)
        if state is getattr(value, "__dict__", None):
            self.keep(state)
            return (kind, *(state or {}).values())
        return (kind, *self._ask(lambda: _attributes(value)))

    def _of_function(self, function: types.FunctionType) -> Iterable[Any]:
        if package(function.__globals__) == "numel":
            return ()
        self.codes.add(function.__code__)
        cells = function.__closure__ or ()
        around = [_contents(cell) for cell in cells]
        self._cells += zip(cells, around, strict=True)
        options = function.__kwdefaults__ or {}
        return (*around, *(function.__defaults__ or ()), *options.values(), function.__dict__ or None)

    def _of_class(self, kind: type) -> Iterable[Any]:
        own = [each for each in kind.__mro__ if package(vars(each), "__module__") not in _NOT_OWN]
        for each in own:
            if id(each) not in self._kept:  # every look at it makes another view of its variables
                self._kept.add(id(each))
                keys, values = vars(each).keys(), vars(each).values()
                self._views.append((keys, tuple(keys), values, tuple(values)))
        return (part for each in own for part in vars(each).values())

    def _of_container(self, value: Any) -> Iterable[Any]:
        more = getattr(value, "__dict__", None), getattr(value, "default_factory", None)
        if isinstance(value, dict):
            parts = (*dict.keys(value), *dict.values(value))
            self.known &= not any(isinstance(key, torch.Tensor) for key in dict.keys(value))
        else:
            parts = tuple(value)
        if not isinstance(value, tuple | frozenset):
            self.keep(value)
        self.known &= not any(isinstance(each, torch.nn.Module | ReferenceType) for each in parts)
        return (*parts, *more)

    def _of_other(self, value: Any, whole: bool) -> Iterable[Any]:
        try:
            held = memoryview(value)
        except TypeError:  # no array
            self.known &= not whole or type(value) is types.GenericAlias
            state = getattr(value, "__dict__", None)
            if type(state) is dict:
                self.keep(state)
            return ()
        self.known &= held.nbytes <= _LARGEST
        if self.known:
            self._ask(lambda: (bytes(value),))
        return ()


def package(space: Any, name: str = "__name__") -> str:
    """The package that a file's or a class's variables are of."""
    return str(space.get(name)).partition(".")[0]


def _attributes(value: Any) -> tuple[Any, ...]:
    held = held_in(value) or {}
    return (*held.keys(), *held.values())


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return _ABSENT


def _equal(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two series are of the same objects, or of equal plain values."""
    if len(one) != len(other):
        return False
    return all(map(_is_still, one, other))


def _is_still(value: Any, before: Any) -> bool:
    return value is before or (type(value) is type(before) and type(value) in ATOMS and value == before)


def _same(held: Any, kept: tuple[Any, ...]) -> bool:
    """Whether a container holds the very objects that it held."""
    if isinstance(held, set):
        return held == set(kept)
    return len(held) == len(kept) and all(map(is_, held, kept))

"""Whether two blocks could do different things: what each is made of, what it is given, what else it can look at."""

from __future__ import annotations

import collections
import functools
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import is_
from typing import Any

import torch

from numel import torch_private
from numel.tracing.untouched import held_by, is_source

ATOMS = frozenset({int, float, bool, str, bytes, complex, type(None), type(Ellipsis), torch.dtype, torch.device,
                    torch.Size, torch.layout, torch.memory_format, range, slice})  # fmt: skip
_STATELESS = (type, types.BuiltinFunctionType, types.ModuleType, types.GenericAlias)
_NOT_HELD = frozenset({types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType})
_NOT_OWN = ("torch", "builtins")
_CONTAINERS = (dict, list, set, collections.deque)
_MOST_SHARED = 10_000
_DEEPEST = 8
_MOST_ROOM = 16  # bytes that a class in Python adds: for its attributes and for weak references
_HOOKS = tuple(name for name, value in vars(torch.nn.Module()).items() if "hook" in name and value is not None)
_HOLDS = ("_parameters", "_buffers", "_modules")
_TREE = frozenset({*_HOLDS, "_non_persistent_buffers_set", *_HOOKS})
_ABSENT = object()

Place = tuple[int, str]  # an attribute of a block: which of its modules, and the name
Spec = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A value in what a block is given or puts out: a plain one, or where a tensor or an object comes from."""

    source: str
    at: int
    what: Any


class Given:
    """What a block is given. `key` is equal where nothing differs but what tensors hold; where that is hard to tell, it
    is not `known`."""

    __slots__ = ("key", "known", "objects", "tensors")

    def __init__(self, args: Any, kwargs: Any) -> None:
        self.known = True
        self.tensors: list[torch.Tensor] = []
        self.objects: list[Any] = []
        self.key = _through((args, kwargs), self._leaf)

    def _leaf(self, value: Any) -> Any:
        kind = type(value)
        if kind in ATOMS:
            return kind, value
        if isinstance(value, torch.Tensor):
            self.known &= not _is_odd(value)
            return "tensor", _position(value, self.tensors), spec_of(value) if self.known else ()
        return "object", _position(value, self.objects), id(value)


class Made:
    """What a block puts out, where that is tensors on meta and what it was given; else it is not `known`."""

    __slots__ = ("known", "shape")

    def __init__(self, outputs: Any, given: Given) -> None:
        self.known = True
        new: list[Any] = []

        def leaf(value: Any) -> _Leaf:
            if type(value) in ATOMS:
                return _Leaf("plain", 0, value)
            for source, held in (("tensors", given.tensors), ("objects", given.objects)):
                for at, each in enumerate(held):
                    if each is value:
                        return _Leaf(source, at, None)
            if type(value) is not torch.Tensor or not value.is_meta:
                self.known = False
                return _Leaf("other", 0, None)
            return _Leaf("new", _position(value, new), spec_of(value))

        self.shape = _through(outputs, leaf)

    def again(self, given: Given) -> Any:
        """The same, of what another block was given."""
        new: dict[int, torch.Tensor] = {}

        def leaf(found: _Leaf) -> Any:
            if found.source == "plain":
                return found.what
            if found.source != "new":
                return getattr(given, found.source)[found.at]
            if found.at not in new:
                new[found.at] = empty(found.what)
            return new[found.at]

        return _through(self.shape, leaf)


class Shared:
    """Objects and containers as they are now, and all that these hold; of those in `flat` only what they hold first. It
    is not `known` where something is of a kind whose state can not be seen, or where it is too much."""

    def __init__(self, roots: Iterable[Any] = (), flat: Iterable[Any] = ()) -> None:
        self.known = True
        self._held: list[tuple[Any, Any]] = []
        self._flat: set[int] = set()
        self._names: dict[tuple[int, str], tuple[dict[str, Any], str, Any]] = {}
        self._tensors: list[tuple[torch.Tensor, Spec]] = []
        for value in flat:
            self.hold(value)
        pending, seen = list(roots), set[int]()
        while pending and self.known:
            value = pending.pop()
            kind = type(value)
            if kind in ATOMS or id(value) in seen or isinstance(value, _STATELESS):
                continue
            seen.add(id(value))
            if isinstance(value, torch.Tensor):
                self.known = not _is_odd(value)
                self._tensors += [(value, spec_of(value))] if self.known else []
            elif isinstance(value, tuple | frozenset):
                pending += value
            elif isinstance(value, types.FunctionType | types.MethodType):
                pending += held_by(value)
            elif isinstance(value, functools.partial):
                pending += (value.func, value.args, value.keywords)
            elif isinstance(value, _CONTAINERS):
                self._held.append((value, _copied(value)))
                pending += (*value, *dict.values(value)) if isinstance(value, dict) else value
            elif _is_plain(value):
                self._held.append((value.__dict__, value.__dict__.copy()))
                pending += value.__dict__.values()
            else:
                self.known = False
            self.known &= len(seen) <= _MOST_SHARED

    def name(self, space: dict[str, Any], name: str) -> None:
        """What a name stands for, and what that holds first."""
        key = (id(space), name)
        if key not in self._names:
            value = space[name]
            self._names[key] = (space, name, value)
            self.hold(value)

    def hold(self, value: Any) -> None:
        """What a container holds, an object in its attributes, or a class in its own and those of its bases."""
        kind = type(value)
        if kind in ATOMS or kind in _NOT_HELD or id(value) in self._flat:
            return
        self._flat.add(id(value))
        if kind in _CONTAINERS or kind is types.MappingProxyType:
            self._held.append((value, _copied(value)))
        elif isinstance(value, type):
            own = [vars(each) for each in value.__mro__ if each.__module__.partition(".")[0] not in _NOT_OWN]
            self._held += [(each, dict(each)) for each in own]
        elif is_source(value) or isinstance(value, Iterator):
            self.known = False
        elif not isinstance(value, torch.nn.Module):
            held = getattr(value, "__dict__", None)
            self._held += [(held, held.copy())] if type(held) is dict else []

    def unchanged(self) -> bool:
        """Whether each holds the very same as it did."""
        return (
            all(_same(held, kept) for held, kept in self._held)
            and all(space.get(name, _ABSENT) is value for space, name, value in self._names.values())
            and all(spec_of(tensor) == spec for tensor, spec in self._tensors)
        )


@dataclass(frozen=True, slots=True)
class _Module:
    """One module of a block before it ran: `plain` are its own attributes; `tensors` and `children` are by name."""

    kind: type
    plain: tuple[tuple[str, Any, type], ...]
    tensors: tuple[tuple[str, ...], tuple[str, ...]]
    specs: tuple[Spec, ...]
    children: tuple[str, ...]
    as_before: int  # it is the module at that place; its own, where it comes for the first time


class Picture:
    """All modules of a block with what they hold, before it runs. It is not `known` where something is held that can
    not be compared."""

    def __init__(self, block: torch.nn.Module) -> None:
        self.known = True
        self.modules: list[torch.nn.Module] = [block]
        self._seen: list[_Module] = []
        places: dict[int, int] = {}
        for at, module in enumerate(self.modules):  # grows
            before = places.setdefault(id(module), at)
            state = module.__dict__
            if len(self.modules) > _MOST_SHARED or any(map(state.get, _HOOKS)):
                self.known = False
                return
            plain = tuple([(name, value, type(value)) for name, value in state.items() if name not in _TREE])
            held = [*state["_parameters"].values(), *state["_buffers"].values()]
            if any(map(_is_odd, held)) or torch_private.is_scripted(module):
                self.known = False
                return
            tensors = _names(state)
            children = state["_modules"] if before == at else {}
            specs = tuple(map(spec_of, held))
            self._seen.append(_Module(type(module), plain, tensors, specs, tuple(children), before))
            self.modules += [child for child in children.values() if child is not None]

    def differs(self, block: torch.nn.Module) -> tuple[list[torch.nn.Module], list[Place]] | None:
        """The modules of another block, and the whole numbers in which it differs; `None` where anything else does."""
        modules = [block]
        numbers: list[Place] = []
        for at, seen in enumerate(self._seen):
            module = modules[at]
            state = module.__dict__
            if type(module) is not seen.kind or len(state) != len(seen.plain) + len(_TREE):
                return None
            if seen.as_before != at:
                if module is not modules[seen.as_before]:
                    return None
                continue
            for name in _HOOKS:
                if state[name]:
                    return None
            for name, value, kind in seen.plain:
                other = state.get(name, _ABSENT)
                if other is value:
                    continue
                if type(other) is not kind:
                    return None
                if kind is int:
                    if other != value:
                        numbers.append((at, name))
                elif name == "forward":
                    if _function(other) is not _function(value):
                        return None
                elif not _equal(value, other):
                    return None
            if _names(state) != seen.tensors:
                return None
            held = [*state["_parameters"].values(), *state["_buffers"].values()]
            if any(map(_is_odd, held)) or tuple(map(spec_of, held)) != seen.specs:
                return None
            children = state["_modules"]
            if tuple(children) != seen.children:
                return None
            modules += [child for child in children.values() if child is not None]
            if len(modules) > len(self.modules):
                return None
        return (modules, numbers) if len(modules) == len(self.modules) else None


def states(block: Iterable[torch.nn.Module]) -> list[dict[str, Any]]:
    """The dictionaries that hold what the modules of a block are."""
    found = [module.__dict__ for module in block]
    return found + [state[name] for state in found for name in _HOLDS]


def attributes(block: Iterable[torch.nn.Module]) -> list[Any]:
    """What the modules of a block hold of their own."""
    return [
        _own(value, module) if name == "forward" else value
        for module in block
        for name, value in module.__dict__.items()
        if name not in _TREE
    ]


def spec_of(tensor: torch.Tensor | None) -> Spec:
    """All that code can ask of a tensor without its values."""
    if tensor is None:
        return ()
    more = tensor.__dict__
    return (type(tensor), tensor.shape, tensor.stride(), tensor.dtype, tensor.requires_grad, tensor.is_meta,
            tuple(more.items()) if more else ())  # fmt: skip


def empty(spec: Spec) -> torch.Tensor:
    """A tensor on meta, unseen by the recorder."""
    with torch_private.unseen():
        return torch.empty_strided(spec[1], spec[2], dtype=spec[3], device="meta")


def _through(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """`value` with everything replaced but tuples, lists and dictionaries."""
    kind = type(value)
    if kind is tuple:
        return tuple([_through(each, leaf) for each in value])
    if kind is list:
        return [_through(each, leaf) for each in value]
    if kind is dict:
        return {name: _through(each, leaf) for name, each in value.items()}
    return leaf(value)


def _position(value: Any, held: list[Any]) -> int:
    """Where a value is among others, at the end if it was not there."""
    for at, each in enumerate(held):
        if each is value:
            return at
    held.append(value)
    return len(held) - 1


def _names(state: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(state["_parameters"]), tuple(state["_buffers"])


def _is_odd(tensor: torch.Tensor | None) -> bool:
    return tensor is not None and (tensor.layout is not torch.strided or torch.nn.parameter.is_lazy(tensor))


def _function(forward: Any) -> Any:
    """What a wrapped forward runs, without the module that it belongs to."""
    inner = getattr(forward, "__wrapped__", forward)
    return getattr(inner, "__func__", inner)


def _own(forward: Any, module: torch.nn.Module) -> Any:
    """A forward that was put on a module: none, where it is the one of its class."""
    inner = getattr(forward, "__wrapped__", forward)
    return None if getattr(inner, "__self__", None) is module else inner


def _is_plain(value: Any) -> bool:
    """Whether an object of a class in Python holds all that it has in its attributes."""
    room = object.__basicsize__ + _MOST_ROOM
    held = getattr(value, "__dict__", None)
    return type(held) is dict and type(value).__basicsize__ <= room and not isinstance(value, torch.nn.Module)


def _equal(one: Any, other: Any, deep: int = 0) -> bool:
    """Whether two plain values, or containers and objects of such, are equal and of equal types."""
    kind = type(one)
    if one is other:
        return True
    if kind is not type(other) or deep > _DEEPEST:
        return False
    if kind in ATOMS:
        return bool(one == other)
    parts: Iterable[tuple[Any, Any]]
    if kind is functools.partial:
        parts = ((one.func, other.func), (one.args, other.args), (one.keywords, other.keywords))
    elif isinstance(one, set):
        return one == other and all(type(each) in ATOMS for each in one)
    elif isinstance(one, (*_CONTAINERS, tuple)):
        if len(one) != len(other):
            return False
        parts = zip(one, other, strict=True)
        if isinstance(one, dict):
            parts = (*parts, *zip(dict.values(one), dict.values(other), strict=True))
    else:
        parts = ((vars(one), vars(other)),) if _is_plain(one) else ((one, None),)
    return all(_equal(mine, yours, deep + 1) for mine, yours in parts)


def _copied(held: Any) -> Any:
    if isinstance(held, dict):
        return dict.copy(held)  # past methods of its own
    return dict(held) if isinstance(held, types.MappingProxyType) else held.copy()


def _same(held: Any, kept: Any) -> bool:
    """Whether a container holds the very objects that it held."""
    if len(held) != len(kept):
        return False
    if isinstance(held, dict):
        return all(map(is_, dict.values(held), kept.values())) and all(map(is_, dict.keys(held), kept))
    if isinstance(held, types.MappingProxyType):
        return all(map(is_, held.values(), kept.values())) and all(map(is_, held, kept))
    return held == kept if isinstance(held, set) else all(map(is_, held, kept))

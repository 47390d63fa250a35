"""Whether two blocks could do different things: what each is made of, what it is given, what else it can look at."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from numel import torch_private
from numel.tracing.untouched import slots_of

ATOMS = frozenset({int, float, bool, str, bytes, complex, type(None), type(Ellipsis), torch.dtype, torch.device,
                    torch.Size, torch.layout, torch.memory_format, range, slice})  # fmt: skip
CONTAINERS = (dict, list, set, collections.deque)
_MOST_MODULES = 10_000
_DEEPEST = 8
_MORE = ("__dict__", "maxlen", "default_factory")  # of containers, beside what is in them
_POINTER = tuple.__itemsize__
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
    is not `known`. `containers` are the lists and dictionaries that it could fill."""

    __slots__ = ("containers", "key", "known", "objects", "tensors")

    def __init__(self, args: Any, kwargs: Any) -> None:
        self.known = True
        self.tensors: list[torch.Tensor] = []
        self.objects: list[Any] = []
        self.containers: list[Any] = []
        self.key = _through((args, kwargs), self._leaf, self.containers, _in_order)

    def _leaf(self, value: Any) -> Any:
        kind = type(value)
        if kind in ATOMS:
            return kind, value
        if isinstance(value, torch.Tensor):
            self.known &= not is_odd(value)
            return "tensor", _position(value, self.tensors), spec_of(value) if self.known else ()
        return "object", _position(value, self.objects), id(value)


class Made:
    """What a block puts out, where that is tensors on meta of its own and what it was given; else it is not `known`.
    What is new has none of the identities in `kept`."""

    __slots__ = ("known", "shape")

    def __init__(self, outputs: Any, given: Given, kept: Collection[int]) -> None:
        self.known = True
        new: list[Any] = []
        containers: list[Any] = []

        def leaf(value: Any) -> _Leaf:
            if type(value) in ATOMS:
                return _Leaf("plain", 0, value)
            for source, held in (("tensors", given.tensors), ("objects", given.objects)):
                for at, each in enumerate(held):
                    if each is value:
                        return _Leaf(source, at, None)
            if id(value) in kept or type(value) is not torch.Tensor or not _is_empty(value):
                self.known = False
                return _Leaf("other", 0, None)
            return _Leaf("new", _position(value, new), spec_of(value))

        self.shape = _through(outputs, leaf, containers)
        self.known &= not any(each is one for each in containers for one in given.containers)

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

        return _through(self.shape, leaf, [])


@dataclass(frozen=True, slots=True)
class _Module:
    """One module of a block before it ran: `plain` are its own attributes; `tensors` and `children` are by name."""

    kind: type
    plain: tuple[tuple[str, Any, type], ...]
    tensors: tuple[Any, ...]
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
            if len(self.modules) > _MOST_MODULES or any(map(state.get, _HOOKS)):
                self.known = False
                return
            plain = tuple([(name, value, type(value)) for name, value in state.items() if name not in _TREE])
            held = [*state["_parameters"].values(), *state["_buffers"].values()]
            if any(map(is_odd, held)) or torch_private.is_scripted(module):
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
                    if not _runs_as(other, module, value, self.modules[at]):
                        return None
                elif not _equal(value, other):
                    return None
            if _names(state) != seen.tensors:
                return None
            held = [*state["_parameters"].values(), *state["_buffers"].values()]
            if any(map(is_odd, held)) or tuple(map(spec_of, held)) != seen.specs:
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


def held_tensors(block: Iterable[torch.nn.Module]) -> list[torch.Tensor]:
    """The parameters and buffers of the modules of a block."""
    found = [(*module._parameters.values(), *module._buffers.values()) for module in block]
    return [tensor for each in found for tensor in each if tensor is not None]


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
    return (type(tensor), tensor.shape, tensor.stride(), tensor.dtype, tensor.storage_offset(), tensor.requires_grad,
            tensor.is_meta, tensor.is_conj(), tensor.is_neg(), tensor.is_inference(),
            tuple([(name, type(value), value) for name, value in more.items()]) if more else ())  # fmt: skip


def version(tensor: torch.Tensor) -> int:
    """How often a tensor was written to; nobody counts that of those made in inference mode."""
    return 0 if tensor.is_inference() else tensor._version


def empty(spec: Spec) -> torch.Tensor:
    """A tensor on meta, unseen by the recorder."""
    _, shape, strides, dtype, offset, *_ = spec
    with torch_private.unseen():
        if not offset:
            return torch.empty_strided(shape, strides, dtype=dtype, device="meta")
        room = offset + 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True) if size)
        return torch.empty(room, dtype=dtype, device="meta").as_strided(shape, strides, offset)


def _is_empty(tensor: torch.Tensor) -> bool:
    """Whether it is one that `empty` makes."""
    plain = not (tensor.requires_grad or tensor.is_conj() or tensor.is_neg() or tensor.is_inference())
    return tensor.is_meta and plain and not tensor.__dict__


def _in_order(held: dict[Any, Any]) -> Any:
    return dict, tuple(held.items())


def _through(
    value: Any, leaf: Callable[[Any], Any], containers: list[Any], of_dict: Callable[[Any], Any] = dict
) -> Any:  # fmt: skip
    """`value` with everything replaced but tuples, lists and dictionaries; the last two are put into `containers`."""
    kind = type(value)
    if kind is tuple:
        return tuple([_through(each, leaf, containers, of_dict) for each in value])
    if kind is list:
        containers.append(value)
        return [_through(each, leaf, containers, of_dict) for each in value]
    if kind is dict:
        containers.append(value)
        return of_dict({name: _through(each, leaf, containers, of_dict) for name, each in value.items()})
    return leaf(value)


def _position(value: Any, held: list[Any]) -> int:
    """Where a value is among others, at the end if it was not there."""
    for at, each in enumerate(held):
        if each is value:
            return at
    held.append(value)
    return len(held) - 1


def _names(state: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(state["_parameters"]), tuple(state["_buffers"]), frozenset(state["_non_persistent_buffers_set"])


def is_odd(tensor: torch.Tensor | None) -> bool:
    """Whether a tensor is of a kind that its spec does not tell all of."""
    if tensor is None:
        return False
    if tensor.layout is not torch.strided or torch.nn.parameter.is_lazy(tensor):
        return True
    return bool(tensor.__dict__) and any(type(each) not in ATOMS for each in tensor.__dict__.values())


def _runs_as(forward: Any, module: torch.nn.Module, other: Any, of: torch.nn.Module) -> bool:
    """Whether the wrapped forwards of two modules run the same."""
    one, two = _own(forward, module), _own(other, of)
    if one is not None or two is not None:
        return one is two
    return _function(forward) is _function(other)


def _function(forward: Any) -> Any:
    """What a wrapped forward runs, without the module that it belongs to."""
    inner = getattr(forward, "__wrapped__", forward)
    return getattr(inner, "__func__", inner)


def _own(forward: Any, module: torch.nn.Module) -> Any:
    """A forward that was put on a module: none, where it is the one of its class."""
    inner = getattr(forward, "__wrapped__", forward)
    return None if getattr(inner, "__self__", None) is module else inner


def held_in(value: Any) -> dict[str, Any] | None:
    """The attributes of an object of a class in Python; `None` for one that holds more than these, or a module."""
    kind = type(value)
    slots = tuple(slots_of(kind))
    pointers = len(slots) + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    if kind.__itemsize__ or kind.__basicsize__ != object.__basicsize__ + pointers * _POINTER:
        return None
    state = getattr(value, "__dict__", {})
    if type(state) is not dict or issubclass(kind, torch.nn.Module):
        return None
    return {**state, **{name: getattr(value, name) for name in slots if hasattr(value, name)}} if slots else state


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
        parts = ((_typed(one), _typed(other)),) if one == other else ((one, None),)
    elif isinstance(one, (*CONTAINERS, tuple)):
        if len(one) != len(other):
            return False
        more = ((getattr(one, name, None), getattr(other, name, None)) for name in _MORE)
        parts = (*zip(one, other, strict=True), *more)
        if isinstance(one, dict):
            parts = (*parts, *zip(dict.values(one), dict.values(other), strict=True))
    else:
        parts = ((held_in(one), held_in(other)),) if held_in(one) is not None else ((one, None),)
    return all(_equal(mine, yours, deep + 1) for mine, yours in parts)


def _typed(values: set[Any]) -> Any:
    """What tells sets apart that are equal: 1 is True."""
    kinds = sorted(type(each).__name__ for each in values)
    return kinds if all(type(each) in ATOMS for each in values) else object()

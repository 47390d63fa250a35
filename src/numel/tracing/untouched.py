"""What a run could change, kept and put back: module state, containers that forwards fill, generators, switches."""

from __future__ import annotations

import collections
import functools
import gc
import os
import random
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import is_
from typing import Any

import torch

from numel.tracing import torch_private

_ATOMS = (int, float, bool, str, bytes, complex, type(None), type, types.BuiltinFunctionType, types.ModuleType,
          torch.dtype, torch.device, torch.Size, torch.layout, range)  # fmt: skip
_CONTAINERS = (dict, list, set, collections.deque)
_MOST_DESCENDED = 100_000
# Modules and switches are shared by all threads, so runs take turns; a forward may itself start one.
_TURN = threading.RLock()


@contextmanager
def room() -> Iterator[None]:
    """Frames for a wrapper around each forward, so that what nests as deep as Python allows still runs; and no cyclic
    collector, which would walk the growing records again and again."""
    most, enabled = sys.getrecursionlimit(), gc.isenabled()
    sys.setrecursionlimit(2 * most)
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
        sys.setrecursionlimit(most)


@contextmanager
def untouched(model: torch.nn.Module, inputs: Any = None) -> Iterator[States]:
    """Whatever happens inside, the module tree, the inputs and the process are afterwards as they were before.

    Kept: every module's class and `__dict__` with its dictionaries of parameters, buffers, children and hooks; lists,
    dictionaries, sets and plain objects that its attributes, its hooks or the inputs hold; attributes and globals of
    the files that define the modules' classes; random states of Python, NumPy and torch, which are seeded, so that
    every run draws the same; torch's switches; warning filters; the environment. Tensor values are kept when a write is
    announced (`States.before_write`): on meta tensors there is none.
    """
    with _TURN:
        states = States(model, inputs)
        generators = _generators()
        states.begin(generators)
        switches = [(get, put, get()) for get, put in _SWITCHES]
        environment = dict(os.environ)
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield states
        finally:
            states.restore()
            for get, put, before in switches:
                if get() != before:
                    put(before)
            if os.environ != environment:
                os.environ.clear()
                os.environ.update(environment)
            for generator in generators:
                generator.put(generator.state)


def _switch(place: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    return functools.partial(getattr, place, name), functools.partial(setattr, place, name)


# what a forward can set for the whole process: how to ask and how to put it back
_SWITCHES: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch_private.default_device, torch_private.set_default_device),
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_anomaly_enabled, lambda on: torch.autograd.set_detect_anomaly(on)),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    (torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp),
    (torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp),
    (torch.backends.cuda.cudnn_sdp_enabled, torch.backends.cuda.enable_cudnn_sdp),
    _switch(torch.backends.cudnn, "benchmark"),
    _switch(torch.backends.cudnn, "deterministic"),
)


@dataclass(frozen=True, slots=True)
class _Generator:
    """A source of random numbers for the whole process, and its state when a run begins. `place` tells whether it was
    drawn from since; `None` for those of torch, whose draws are operators."""

    state: Any
    put: Callable[[Any], Any]
    seed: Callable[[int], Any]
    place: Callable[[], Any] | None = None


def _generators() -> list[_Generator]:
    kept = [
        _Generator(random.getstate(), random.setstate, random.seed, random.getstate),
        # torch.manual_seed would import the compiler, and seed devices that were not asked for anything yet
        _Generator(torch.get_rng_state(), torch.set_rng_state, torch.default_generator.manual_seed),
    ]
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        drawn = numpy.random

        def place() -> Any:
            state = drawn.get_state()
            return state[1].tobytes(), state[2:]

        kept.append(_Generator(drawn.get_state(), drawn.set_state, drawn.seed, place))
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        cuda = torch.cuda
        kept.append(_Generator(cuda.get_rng_state_all(), cuda.set_rng_state_all, cuda.manual_seed_all))
    return kept


def _generator(value: Any) -> tuple[Callable[[Any], Any], Any] | None:
    """How to put a source of random numbers back, and its state; `None` for any other object."""
    if isinstance(value, random.Random):
        return value.setstate, value.getstate()
    if isinstance(value, torch.Generator):
        return value.set_state, value.get_state()
    if str(type(value).__module__).startswith("numpy.random"):
        bits = getattr(value, "bit_generator", None) or getattr(value, "_bit_generator", value)
        return functools.partial(setattr, bits, "state"), bits.state
    return None


class States:
    """Shallow copies of everything mutable that is reachable from the modules and the inputs, found by loops."""

    def __init__(self, model: torch.nn.Module, inputs: Any = None) -> None:
        self._empty: list[Any] = []
        self._filled: list[tuple[Any, Any]] = []
        self._objects: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._slots: list[tuple[Any, dict[str, Any]]] = []
        self._classes: list[tuple[Any, type]] = []
        self._attributes: list[tuple[type, dict[str, Any]]] = []
        self._generators: list[tuple[Callable[[Any], Any], Any]] = []
        self._scripted: list[tuple[Any, dict[str, Any]]] = []
        self._tensors: list[torch.Tensor] = []
        self._versions: list[tuple[torch.Tensor, int]] = []
        self._drawn_from: list[tuple[Callable[[], Any], Any]] = []
        self._places: set[int | None] = set()
        self._written: dict[int, tuple[Any, Any]] = {}
        seen: set[int] = set()
        pending: list[Any] = [inputs, *self._shared(model)]
        for module in model.modules():
            state = module.__dict__
            self._objects.append((state, state.copy()))
            self._classes.append((module, type(module)))
            if torch_private.is_scripted(module):
                self._scripted += [(held, dict(held.items())) for held in (module._parameters, module._buffers)]
            for value in state.values():
                kind = type(value)
                if kind in _SIMPLE:
                    continue
                if (kind is dict or kind is list or kind is set or kind is _ORDERED) and not value:
                    self._empty.append(value)
                else:
                    pending.append(value)
        while pending:
            value = pending.pop()
            kind = type(value)
            if kind in _SIMPLE or id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, torch.Tensor):
                self._tensors.append(value)
                continue
            if isinstance(value, (torch.nn.Module, *_ATOMS)):
                continue
            if isinstance(value, _CONTAINERS):
                self._filled.append((value, dict(value) if isinstance(value, dict) else value.copy()))
                if len(value) <= _MOST_DESCENDED:
                    pending.extend(value.values() if isinstance(value, dict) else value)
                if kind in _BUILT_IN:
                    continue
            elif isinstance(value, tuple):
                pending.extend(value)
                continue
            elif isinstance(value, types.FunctionType | types.MethodType):
                pending.extend(_held_by(value))
                continue
            generator = _generator(value)
            if generator is not None:
                self._generators.append(generator)
                continue
            if str(kind.__module__).startswith(("torch._C", "torch.distributed", "threading", "_thread")):
                continue
            held = getattr(value, "__dict__", None)
            if type(held) is dict:
                self._objects.append((held, held.copy()))
                pending.extend(held.values())
            slots = {name: getattr(value, name) for name in _slots(kind) if hasattr(value, name)}
            if slots:
                self._slots.append((value, slots))
                pending.extend(slots.values())

    def _shared(self, model: torch.nn.Module) -> Iterator[Any]:
        """Containers that the modules' own classes and the files that define them hold; both are kept themselves."""
        spaces: dict[str, Any] = {}
        types_of_modules = {type(module) for module in model.modules()}
        for kind in {each for one in types_of_modules for each in one.__mro__}:
            if kind.__module__.partition(".")[0] not in ("torch", "builtins"):
                self._attributes.append((kind, dict(vars(kind))))
                yield from (value for value in vars(kind).values() if type(value) in _BUILT_IN)
                spaces[kind.__module__] = sys.modules.get(kind.__module__)
        for space in spaces.values():
            if isinstance(space, types.ModuleType):
                self._objects.append((vars(space), vars(space).copy()))
                yield from [value for value in vars(space).values() if type(value) in _BUILT_IN]

    def before_write(self, tensor: torch.Tensor) -> None:
        """Keep the version of every tensor found at the start, before the first write to any; and the bytes that one of
        them shares, before the first write there."""
        if not self._places:
            found = [each for each in self._tensors if not torch.nn.parameter.is_lazy(each)]
            self._places = {_place(each) for each in found}
            self._versions = [(each, each._version) for each in found if not each.is_inference()]  # those have none
        place = _place(tensor)
        if place is not None and place in self._places and place not in self._written:
            storage = tensor.untyped_storage()
            with torch_private.alone():
                self._written[place] = (storage, storage.clone())  # type: ignore[no-untyped-call]

    def begin(self, generators: list[_Generator]) -> None:
        """Seed every generator, and remember how those stand whose draws are not operators."""
        for generator in generators:
            generator.seed(0)
        self._drawn_from = [(each.place, each.place()) for each in generators if each.place is not None]

    @property
    def drew(self) -> bool:
        """Whether the run drew from a generator of Python or NumPy, so that chance may have decided what ran."""
        return any(place() != before for place, before in self._drawn_from)

    @property
    def written(self) -> bool:
        """Whether the run wrote to a tensor that it found."""
        return bool(self._written)

    def restore(self) -> None:
        for module, kind in self._classes:
            if type(module) is not kind:
                module.__class__ = kind
        for kind, attributes in self._attributes:
            for name in vars(kind).keys() - attributes.keys():
                delattr(kind, name)
            for name, value in attributes.items():
                if vars(kind).get(name) is not value:
                    setattr(kind, name, value)
        for container in self._empty:
            if container:
                container.clear()
        for container, kept in self._filled:
            if isinstance(container, dict):
                _put_back(container, kept)
            elif isinstance(container, set):
                if container != kept:
                    container.clear()
                    container.update(kept)
            elif len(container) != len(kept) or not all(map(is_, container, kept)):
                container.clear()
                container.extend(kept)
        for held, kept in self._objects:
            _put_back(held, kept)
        for value, kept in self._slots:
            for name, each in kept.items():
                if getattr(value, name, None) is not each:
                    object.__setattr__(value, name, each)
        for held, kept in self._scripted:
            for name, tensor in kept.items():
                held[name] = tensor
        for put_back, state in self._generators:
            put_back(state)
        for storage, kept in self._written.values():
            storage.copy_(kept)
        for tensor, version in self._versions:
            if tensor._version != version:
                torch_private.set_version(tensor, version)


def _place(tensor: torch.Tensor) -> int | None:
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):  # sparse and other layouts have no single storage
        return None


def _held_by(function: Any) -> Iterator[Any]:
    """What a hook can fill: its object, the variables that it closes over, and the global containers that it names."""
    if isinstance(function, types.MethodType):
        yield function.__self__
        function = function.__func__
    if not isinstance(function, types.FunctionType):
        return
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if type(value) in _BUILT_IN:
            yield value


def _slots(kind: type) -> Iterator[str]:
    for each in kind.__mro__:
        names = each.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__"):
                yield f"_{each.__name__.lstrip('_')}{name}" if name.startswith("__") else name


def _put_back(held: dict[Any, Any], kept: dict[Any, Any]) -> None:
    """The same keys with the same objects in the same order; where nothing changed, nothing is written."""
    if len(held) == len(kept) and all(map(is_, held.values(), kept.values())) and all(map(is_, held, kept)):
        return
    held.clear()
    held.update(kept)


_ORDERED = collections.OrderedDict
_SIMPLE = frozenset(_ATOMS)
_BUILT_IN = frozenset({dict, list, set, collections.deque, collections.OrderedDict, collections.defaultdict})

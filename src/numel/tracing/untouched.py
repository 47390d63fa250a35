"""What a run could change, kept and put back: module state, containers that forwards fill, generators, switches."""

from __future__ import annotations

import collections
import contextlib
import functools
import gc
import os
import random
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import is_
from typing import Any

import torch

from numel import collector, torch_private
from numel.randomness import seeded

_ATOMS = (int, float, bool, str, bytes, complex, type(None), type, types.BuiltinFunctionType, types.ModuleType,
          torch.dtype, torch.device, torch.Size, torch.layout, range)  # fmt: skip
_CONTAINERS = (dict, list, set, collections.deque)
_MOST_DESCENDED = 100_000
_LARGEST_ARRAY = 1 << 26  # bytes of a NumPy array that is copied, so that what a forward writes there can be undone


@contextmanager
def room() -> Iterator[None]:
    """Frames for a wrapper around each forward, so that what nests as deep as Python allows still runs; and no cyclic
    collector."""
    most = sys.getrecursionlimit()
    sys.setrecursionlimit(2 * most)
    try:
        with collector.paused():
            yield
    finally:
        sys.setrecursionlimit(most)


@contextmanager
def untouched(look: Callable[[], States], *, seed: int = 0) -> Iterator[States]:
    """Whatever happens inside, the modules, the inputs and the process are afterwards as they were when `look` looked.

    Kept: every module's class and `__dict__` with its dictionaries of parameters, buffers, children and hooks; lists,
    dictionaries, sets and plain objects that its attributes, its hooks or the inputs hold; attributes and globals of
    the files that define the modules' classes; what functions there remember (`lru_cache`); random states of Python,
    NumPy and torch, which are seeded, so that every run draws the same; torch's switches; warning filters; the
    environment. Tensor values are kept when a write is announced (`States.before_write`): on meta tensors there is
    none.
    """
    with seeded(seed) as drew:  # runs of several threads take turns there
        states = look()
        states.begin(drew)
        switches = [(get, put, get()) for get, put in _SWITCHES]
        environment = dict(os.environ)
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            states.forget()
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
    (lambda: list(sys.path), lambda before: sys.path.__setitem__(slice(None), before)),
    _switch(torch.backends.cudnn, "benchmark"),
    _switch(torch.backends.cudnn, "deterministic"),
)


def switches() -> list[Any]:
    """What is set for the whole process now."""
    return [get() for get, _ in _SWITCHES]


@dataclass(frozen=True, slots=True)
class _Held:
    """A source of random numbers that something holds. `place` tells whether it was drawn from since `before`; torch's
    draws are operators, and theirs is `None`."""

    put_back: Callable[[], Any]
    place: Callable[[], Any] | None = None
    before: Any = None


def _generator(value: Any) -> _Held | None:
    """How to put a source of random numbers back; `None` for any other object, and for those of the process."""
    modules = (random, "getstate"), (sys.modules.get("numpy.random"), "get_state")
    if any(value is getattr(getattr(module, get, None), "__self__", None) for module, get in modules):
        return None
    if isinstance(value, random.Random):
        state = value.getstate()
        return _Held(lambda: value.setstate(state), value.getstate, state)
    if isinstance(value, torch.Generator):
        numbers = value.get_state()
        return _Held(lambda: value.set_state(numbers))
    if _is_drawn_from(value):
        bits: Any = getattr(value, "bit_generator", None) or getattr(value, "_bit_generator", value)
        kept = bits.state
        return _Held(lambda: setattr(bits, "state", kept), lambda: repr(bits.state), repr(kept))
    return None


def _is_drawn_from(value: Any) -> bool:
    kind = type(value)
    return str(kind.__module__).startswith("numpy.random") and kind.__name__ not in ("module", "type")


def _is_array(value: Any) -> bool:
    kind = type(value)
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray" and not value.dtype.hasobject


def _is_filled(value: Any) -> bool:
    """Whether an object that a class or a file holds is one that a forward could fill or draw from."""
    kind = type(value)
    if kind in _SIMPLE or kind is types.FunctionType:
        return False
    return kind in _BUILT_IN or is_source(value)


def is_source(value: Any) -> bool:
    """Whether an object is one that random numbers are drawn from."""
    return isinstance(value, _DRAWN_FROM) or _is_drawn_from(value)


class States:
    """Shallow copies of everything mutable that is reachable from the modules and the inputs, found by loops. They hold
    for one run after the other, since each leaves all as it was.

    `drew` says whether the run drew from a generator of the process whose draws are no operators, so that chance may
    have decided what ran.
    """

    def __init__(self, every: Sequence[torch.nn.Module], inputs: Any = None) -> None:
        self.drew: Callable[[], bool] = lambda: False
        self._empty: list[Any] = []
        self._filled: list[tuple[Any, Any]] = []
        self._objects: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._slots: list[tuple[Any, dict[str, Any]]] = []
        self._classes: list[tuple[Any, type]] = []
        self._attributes: list[tuple[type, dict[str, Any]]] = []
        self._remembering: list[tuple[Callable[[Any], Any], Any]] = []
        self._growing: list[tuple[Any, int]] = []
        self._generators: list[_Held] = []
        self._arrays: list[tuple[Any, Any]] = []
        self._scripted: list[tuple[Any, dict[str, Any]]] = []
        self._tensors: list[torch.Tensor] = []
        self._versions: list[tuple[torch.Tensor, int]] = []
        self._places: set[int | None] = set()
        self._written: dict[int, tuple[Any, Any]] = {}
        self._gradients: list[tuple[torch.Tensor, torch.Tensor | None]] = []
        seen: set[int] = set()
        pending: list[Any] = [inputs, *self._shared({type(module) for module in every})]
        for module in every:
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
                pending.extend(held_by(value))
                continue
            if remembers(value):
                if _drops(value):
                    self._growing.append((value, value.cache_info().currsize))
                continue
            generator = _generator(value)
            if generator is not None:
                self._generators.append(generator)
                continue
            if isinstance(value, bytearray):
                self._arrays.append((value, bytes(value)))
                continue
            if _is_array(value):
                if value.nbytes <= _LARGEST_ARRAY:
                    self._arrays.append((value, value.copy()))
                continue
            if str(kind.__module__).startswith(("torch._C", "torch.distributed", "threading", "_thread")):
                continue
            held = getattr(value, "__dict__", None)
            if type(held) is dict:
                self._objects.append((held, held.copy()))
                pending.extend(held.values())
            slots = {name: getattr(value, name) for name in slots_of(kind) if hasattr(value, name)}
            if slots:
                self._slots.append((value, slots))
                pending.extend(slots.values())

    def _shared(self, types_of_modules: set[type]) -> Iterator[Any]:
        """Containers that the modules' own classes and the files that define them hold; both are kept themselves."""
        spaces: dict[str, Any] = {}
        for kind in {each for one in types_of_modules for each in one.__mro__}:
            if kind.__module__.partition(".")[0] not in ("torch", "builtins"):
                self._attributes.append((kind, dict(vars(kind))))
                self._remembering += _remembering(kind)
                yield from filter(remembers, map(_unbound, vars(kind).values()))
                yield from (value for value in vars(kind).values() if _is_filled(value))
                yield from self._of_functions(vars(kind))
                spaces[kind.__module__] = sys.modules.get(kind.__module__)
        for space in spaces.values():
            if isinstance(space, types.ModuleType):
                self._objects.append((vars(space), vars(space).copy()))
                self._remembering += _remembering(space)
                yield from [value for value in vars(space).values() if _is_filled(value)]
                yield from self._of_functions(vars(space))

    def _of_functions(self, space: Mapping[str, Any]) -> Iterator[Any]:
        """What the functions that a class or a file has keep between calls: values of their arguments, attributes."""
        for function in map(_unbound, [*space.values()]):
            if type(function) is types.FunctionType:
                yield from function.__defaults__ or ()
                yield from (function.__kwdefaults__ or {}).values()
                if function.__dict__:
                    self._objects.append((function.__dict__, function.__dict__.copy()))

    def begin(self, drew: Callable[[], bool]) -> None:
        """Nothing was written yet. `drew` says what the attribute of that name does."""
        self.drew = drew
        self._versions, self._places, self._written, self._gradients = [], set(), {}, []

    def forget(self) -> None:
        """Until `restore`, functions that remember tensors have an empty `lru_cache`: theirs would keep stand-ins, and
        a second run would miss the operators that the first one ran."""
        self._remembering = [(put, function) for put, function in self._remembering if _drops(function)]
        fresh: dict[Any, Any] = {}
        for put, function in self._remembering:
            if function not in fresh:
                anew = functools.lru_cache(**function.cache_parameters())(function.__wrapped__)
                vars(anew).update(vars(function))
                fresh[function] = anew
            put(fresh[function])

    def before_write(self, tensor: torch.Tensor) -> bool:
        """Keep the version of every tensor found at the start, before the first write to any; and the bytes that one of
        them shares, before the first write there. Returns whether it shares bytes with one of them."""
        if not self._places:
            found = [each for each in self._tensors if not torch.nn.parameter.is_lazy(each)]
            self._places = {_place(each) for each in found}
            self._versions = [(each, each._version) for each in found if not each.is_inference()]  # those have none
        place = _place(tensor)
        if place is None or place not in self._places:
            return False
        if place not in self._written:
            storage = tensor.untyped_storage()
            with torch_private.alone():
                self._written[place] = (storage, storage.clone())  # type: ignore[no-untyped-call]
        return True

    def take_gradients(self, tensors: Iterable[torch.Tensor]) -> None:
        """Until `restore`, these have no gradients: those of a backward pass would be added to them."""
        for tensor in {id(each): each for each in tensors}.values():
            self._gradients.append((tensor, tensor.grad))
            tensor.grad = None

    def drew_held(self) -> bool:
        """Whether it drew from such a generator that the model, or a file of it, holds."""
        held = (generator for generator in self._generators if generator.place is not None)
        return any(generator.place() != generator.before for generator in held if generator.place is not None)

    def restore(self) -> None:
        for put, function in self._remembering:
            put(function)
        for tensor, gradient in self._gradients:
            tensor.grad = gradient
        for function, size in self._growing:  # one that can not be exchanged where it is held
            if function.cache_info().currsize > size:
                function.cache_clear()
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
        for generator in self._generators:
            generator.put_back()
        for array, values in self._arrays:
            if bytes(array) != bytes(values):
                array[:] = values
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


def held_by(function: Any) -> Iterator[Any]:
    """What a hook can fill: its object, the variables that it closes over, and the global containers that it names."""
    if isinstance(function, types.MethodType):
        yield function.__self__
        function = function.__func__
    if not isinstance(function, types.FunctionType):
        return
    yield from closed_over(function)
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if type(value) in _BUILT_IN:
            yield value


def closed_over(function: types.FunctionType) -> Iterator[Any]:
    """The values of the variables that a function closes over, where they have one."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _remembering(place: Any) -> Iterator[tuple[Callable[[Any], Any], Any]]:
    """The functions with an `lru_cache` that a class or file has, or that decorators of its functions close over; each
    with how to put another one in its place."""
    seen: set[int] = set()
    for name, value in vars(place).items():
        kind = type(value)
        if kind in _SIMPLE or (kind is types.FunctionType and value.__closure__ is None):
            continue
        if remembers(value):
            yield functools.partial(setattr, place, name), value
            continue
        pending = [value]
        while pending:
            function = _unbound(pending.pop())
            if type(function) is not types.FunctionType or function.__closure__ is None or id(function) in seen:
                continue
            seen.add(id(function))
            for cell in function.__closure__:
                with contextlib.suppress(ValueError):  # not assigned yet
                    if remembers(cell.cell_contents):
                        yield functools.partial(setattr, cell, "cell_contents"), cell.cell_contents
                    else:
                        pending.append(cell.cell_contents)


def _unbound(value: Any) -> Any:
    """The function of a method or property as a class holds it."""
    if isinstance(value, staticmethod | classmethod):
        return value.__func__
    return value.fget if isinstance(value, property) else value


def remembers(value: Any) -> bool:
    """Whether it is a function with an `lru_cache`."""
    return isinstance(value, _REMEMBERS)


def _drops(function: Any) -> bool:
    """Whether what it remembers can be computed again: nothing yet, or tensors. Anything else may be a registry that
    others have filled."""
    if not function.cache_info().currsize:
        return True
    held = gc.get_referents(function)  # an unbounded cache is a dictionary, a bounded one's results are among these
    results = [*held, *(each for cache in held if type(cache) is dict for each in cache.values())]
    return any(isinstance(each, torch.Tensor) for each in (*results, *_inside(results)))


def _inside(results: list[Any]) -> Iterator[Any]:
    for each in results:
        if isinstance(each, tuple | list):
            yield from each


def slots_of(kind: type) -> Iterator[str]:
    """The names of the attributes for which objects of a class have a slot each."""
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
_REMEMBERS = type(functools.lru_cache(maxsize=1)(len))
_DRAWN_FROM = (random.Random, torch.Generator)
_SIMPLE = frozenset(_ATOMS)
_BUILT_IN = frozenset({dict, list, set, collections.deque, collections.OrderedDict, collections.defaultdict})

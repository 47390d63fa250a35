"""What a run could change, kept and put back: module state, containers that forwards fill, generators, switches."""

from __future__ import annotations

import collections
import random
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any

import torch

_ATOMS = (int, float, bool, str, bytes, complex, type(None), type, types.FunctionType, types.BuiltinFunctionType,
          types.MethodType, types.ModuleType, torch.dtype, torch.device, torch.Size, torch.layout, range)  # fmt: skip
_CONTAINERS = (dict, list, set, collections.deque)
_MOST_DESCENDED = 100_000


@contextmanager
def untouched(model: torch.nn.Module) -> Iterator[None]:
    """Whatever happens inside, the module tree and the process are afterwards as they were before.

    Kept: every module's `__dict__` with its dictionaries of parameters, buffers, children and hooks; lists,
    dictionaries, sets and plain objects that its attributes hold; random states of Python, NumPy and torch; gradient
    mode; the attention fast path; warning filters. Tensor values are not kept: a trace does not run on them.
    """
    states = _States(model)
    generators = _generators()
    grad = torch.is_grad_enabled()
    default_dtype = torch.get_default_dtype()
    fastpath = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        states.restore()
        torch.backends.mha.set_fastpath_enabled(fastpath)
        torch.set_grad_enabled(grad)
        if torch.get_default_dtype() is not default_dtype:
            torch.set_default_dtype(default_dtype)
        for put_back, state in generators:
            put_back(state)


def _generators() -> list[tuple[Any, Any]]:
    kept: list[tuple[Any, Any]] = [
        (random.setstate, random.getstate()),
        (torch.set_rng_state, torch.get_rng_state()),
    ]
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        kept.append((numpy.random.set_state, numpy.random.get_state()))
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        kept.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return kept


class _States:
    """Shallow copies of everything mutable that is reachable from the modules, found by loops."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._empty: list[Any] = []
        self._filled: list[tuple[Any, Any]] = []
        self._objects: list[tuple[dict[str, Any], dict[str, Any]]] = []
        seen: set[int] = set()
        pending: list[Any] = []
        for module in model.modules():
            state = module.__dict__
            self._objects.append((state, state.copy()))
            for value in state.values():
                kind = type(value)
                if kind in _SIMPLE:
                    continue
                if (kind is dict or kind is list or kind is set or kind is _ORDERED) and not value:
                    self._empty.append(value)
                elif kind not in _SKIPPED:
                    pending.append(value)
        while pending:
            value = pending.pop()
            kind = type(value)
            if kind in _SIMPLE or id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, _CONTAINERS):
                self._filled.append((value, value.copy()))
                if len(value) <= _MOST_DESCENDED:
                    pending.extend(value.values() if isinstance(value, dict) else value)
            elif isinstance(value, tuple):
                pending.extend(value)
            elif isinstance(value, (torch.Tensor, torch.nn.Module, *_ATOMS)):
                continue
            else:
                held = getattr(value, "__dict__", None)
                if type(held) is dict and not kind.__module__.startswith(("torch._C", "torch.distributed", "threading")):
                    self._objects.append((held, held.copy()))
                    pending.extend(held.values())

    def restore(self) -> None:
        for container in self._empty:
            if container:
                container.clear()
        for container, kept in self._filled:
            if isinstance(container, dict):
                _put_back(container, kept)
            elif isinstance(container, list):
                container[:] = kept
            elif container != kept:
                container.clear()
                container.update(kept) if isinstance(container, set) else container.extend(kept)
        for held, kept in self._objects:
            _put_back(held, kept)


def _put_back(held: dict[Any, Any], kept: dict[Any, Any]) -> None:
    """The same keys with the same objects in the same order; where nothing changed, nothing is written."""
    if len(held) == len(kept) and all(map(is_, held.values(), kept.values())) and all(map(is_, held, kept)):
        return
    held.clear()
    held.update(kept)


_ORDERED = collections.OrderedDict
_SIMPLE = frozenset(each for each in _ATOMS)
_SKIPPED = frozenset({torch.Tensor, torch.nn.Parameter})

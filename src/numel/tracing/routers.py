"""Routers taken as balanced: where a choice among many decides what runs, each is taken equally often.

On meta there are no scores to choose by. In this way of running, the indices that a choice gives are made up and known:
slot j of row t takes number (t · k + j) mod n, so that those of a row differ and each of the n is taken as often as any
other, up to one. What is computed of them is known, too. Once the forward acts on such a value, the trace is a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from typing import Any

import torch

from numel import torch_private
from numel.facts.note import Note, listed
from numel.facts.trace import CallRecord

MOST_KNOWN = 1 << 30  # bytes of one tensor that follows from a choice: one-hot masks are large, and soon let go
_ROUTER = ("rout", "gat", "moe", "expert", "switch", "sparse")

Place = tuple[str, int, int, int]  # operator, k, n, call


class Routers:
    """The choices of one run: which values are made up by them, and which of them decided what ran."""

    def __init__(self) -> None:
        self.sampled: int | None = None
        self._used: dict[Place, None] = {}
        self._from: dict[int | None, frozenset[Place]] = {}  # by storage
        self._turns: dict[Place, int] = {}

    def choose(self, name: str, call: int, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The outputs of a choice: values on meta, and the positions where they are, made up and real."""
        outputs = func(*args, **kwargs)
        both = isinstance(outputs, tuple | list)
        indices = outputs[1] if both else outputs
        given = args[0]
        axis = kwargs.get("dim")
        if axis is None:
            place_of = _AXIS.get(name, len(args))
            axis = args[place_of] if place_of < len(args) else _DEFAULT.get(name)
        if axis is None or given.dim() == 0:
            return outputs
        axis %= given.dim()
        n = given.shape[axis]
        reduced = indices.dim() < given.dim()
        k = 1 if reduced or name in _ALONE else indices.shape[axis]
        if not n or not indices.numel() or indices.numel() * indices.element_size() > MOST_KNOWN:
            return outputs
        rows = [size for place, size in enumerate(given.shape) if place != axis]
        place = (name, k, n, call)
        turn = self._turns[place] = self._turns.get(place, -1) + 1  # two choices of one are two of them
        step = 1 if name == "aten.sort" else k
        start = torch.arange(prod(rows)).mul_(step).add_(turn).view(*rows, 1)
        known = (start + torch.arange(k)).remainder_(n).movedim(-1, axis)
        known = known.squeeze(axis) if reduced else known
        known = known.to(indices.dtype).contiguous()
        self._mark(known, frozenset((place,)))
        return (outputs[0], known) if both else known

    def follow(self, given: Iterable[torch.Tensor], made: Iterable[torch.Tensor]) -> bool:
        """What `made` was computed of: where that was a choice, it is one's, too. Returns whether."""
        places = frozenset[Place]().union(*(self._places(each) for each in given))
        for each in made:
            self._mark(each, places)
        return bool(places)

    def tell(self, tensors: Iterable[torch.Tensor], at: int) -> None:
        """The forward acts on values of these, or makes a shape of them, at an operator."""
        for tensor in tensors:
            for place in self._places(tensor):
                self._used[place] = None
                if self.sampled is None:
                    self.sampled = at

    def used(self, calls: slice) -> frozenset[Place]:
        """The choices of these calls that decided what ran."""
        return frozenset(place for place in self._used if calls.start <= place[3] < calls.stop)

    def again(self, used: Iterable[Place], by: int) -> None:
        """The same choices were made that many calls later."""
        self._used.update(dict.fromkeys((name, k, n, call + by) for name, k, n, call in used))

    def notes(self, calls: tuple[CallRecord, ...], words: dict[str, str]) -> list[Note]:
        """What was taken for granted, and where; like choices in one note. `words` are what the modules and their parts
        are called: a router is told from another choice by these."""
        alike: dict[tuple[str, int, int, bool], list[str]] = {}
        for name, k, n, call in self._used:
            path = calls[call].path if call >= 0 else ""
            routes = any(word in f"{words.get(path, '')} {path.rpartition('.')[2]}".lower() for word in _ROUTER)
            paths = alike.setdefault((name, k, n, routes), [])
            if path not in paths:
                paths.append(path)
        said = []
        for (name, k, n, routes), paths in alike.items():
            what = "order" if name == "aten.sort" else f"k={k} largest" if "topk" in name else f"k={k} chosen"
            where = f"the {what} of {n} at {listed(paths, 1)}"
            if routes:
                text = f"{where} were taken as balanced (each expert gets the same number of tokens)"
                said.append(Note("balanced-router", "warning", text, paths[0]))
            else:
                text = f"{where}: indices taken as evenly spread, and what runs may depend on them"
                said.append(Note("even-choice", "warning", text, paths[0]))
        return said

    def _places(self, tensor: torch.Tensor) -> frozenset[Place]:
        return frozenset() if tensor.is_meta else self._from.get(torch_private.storage_number(tensor), frozenset())

    def _mark(self, tensor: torch.Tensor, places: frozenset[Place]) -> None:
        number = torch_private.storage_number(tensor)
        if places and not tensor.is_meta:
            self._from[number] = places
        else:
            self._from.pop(number, None)  # the place of one that is gone


_CHOICES = frozenset(
    f"aten.{name}" for name in ("topk", "argmax", "argmin", "sort", "multinomial", "max", "min")
)  # fmt: skip
_OVERLOADS = frozenset({"default", "stable", "dim"})
_AXIS = {"aten.topk": 2, "aten.argmax": 1, "aten.argmin": 1, "aten.sort": 1, "aten.max": 1, "aten.min": 1}
_DEFAULT = {"aten.topk": -1, "aten.sort": -1, "aten.multinomial": -1}
_ALONE = frozenset({"aten.argmax", "aten.argmin", "aten.max", "aten.min"})


def chooses(name: str) -> bool:
    """Whether an operator, with its overload, gives positions of a choice.

    >>> chooses("aten.topk.default"), chooses("aten.max.default"), chooses("aten.max.dim")
    (True, False, True)
    """
    base, _, overload = name.rpartition(".")
    alone = base in ("aten.max", "aten.min")
    return base in _CHOICES and (overload == "dim" if alone else overload in _OVERLOADS)

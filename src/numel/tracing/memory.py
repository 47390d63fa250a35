"""Live bytes: which storages there are, from when to when, and which of them autograd keeps for the backward pass."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch

from numel import torch_private
from numel.facts.trace import UNTOLD, EventKind, MemoryEvent, OpRecord, Phase
from numel.tracing.calls import Calls

_MODEL = ("parameter", "buffer")

# losses whose kernels sum up what they compute in its own storage, so that the one number that comes out holds all of
# it; and where they are told to. Stand-ins do not show that.
_SUMMED_IN_PLACE = {
    "aten.mse_loss.default": 2, "aten.smooth_l1_loss.default": 2, "aten.soft_margin_loss.default": 2,
    "aten.binary_cross_entropy.default": 3,
}  # fmt: skip


def room_of(name: str, args: Any, made: Any) -> int:
    """Bytes of the storage that an operator puts out, where that is larger than its tensor; else 0."""
    at = _SUMMED_IN_PLACE.get(name)
    if at is None or (len(args) > at and args[at] == 0):
        return 0
    summed: int = max(made[0].dtype.nbytes(each.numel) for each in args[:2])
    return summed


class Memory:
    """The storages that a run makes, told apart by their numbers for as long as they live.

    `saved` is called with each tensor that autograd saves, and `needed` where that is used. A storage that a parameter
    or a buffer holds is no saved one, and each is saved once.
    """

    __slots__ = ("_calls", "_categories", "_events", "_kept", "_live", "_makers", "_ops")

    def __init__(self, calls: Calls, ops: list[OpRecord]) -> None:
        self._calls = calls
        self._ops = ops
        self._events: list[tuple[EventKind, int, int, int, int]] = []  # kind, op, bytes, call, storage
        self._live: dict[int, tuple[Any, int, int]] = {}  # by number: what tells of the end, bytes, storage
        self._makers: list[int] = []  # of each storage: the autograd node that made it
        self._kept: set[int] = set()  # storages that are saved, or held by the model
        self._categories: list[str] = []  # of each storage, numbered as they came

    def holds(self, tensors: Iterable[torch.Tensor], category: str) -> None:
        """Tensors that there are before the run. Of those that share a storage the first one says what it is."""
        for tensor in tensors:
            for each in torch_private.inner(tensor):
                storage = self._made(each, -1, category)
                if storage is not None and category in _MODEL:
                    self._kept.add(storage)

    def is_now(self, tensors: Iterable[torch.Tensor], category: str) -> None:
        """What of them the run itself made is of this category."""
        for tensor in tensors:
            for each in torch_private.inner(tensor):
                known = self._live.get(torch_private.storage_number(each) or 0)
                if known is not None and self._categories[known[2]] in ("temporary", "activation"):
                    self._categories[known[2]] = category

    def made(
        self, outputs: Iterable[torch.Tensor], call: int, phase: Phase, node: int = -1, room: int = 0
    ) -> None:  # fmt: skip
        """Tensors that an operator put out: those in storages that were not there before, of `room` bytes or more.
        `node` is the number of the autograd node that runs (-1: none)."""
        category = "activation" if phase in ("forward", "recompute") else "temporary"
        for tensor in outputs:
            if type(tensor) is torch.Tensor:
                self._made(tensor, call, category, node, room)
                continue
            for each in torch_private.inner(tensor):
                self._made(each, call, category, node, room)

    def maker(self, tensor: torch.Tensor) -> int | None:
        """The number of the node that made the storage of a tensor; `None` for one that is not known."""
        known = self._live.get(torch_private.storage_number(tensor) or 0)
        return None if known is None else self._makers[known[2]]

    def saved(self, tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Autograd keeps a tensor. Returns what `needed` is to be given."""
        for each in torch_private.inner(tensor):
            number = torch_private.storage_number(each)
            if number is None:
                continue
            self._made(each, self._calls.current, "activation")
            _, nbytes, storage = self._live[number]
            if storage not in self._kept:
                self._kept.add(storage)
                self._events.append(("save", len(self._ops) - 1, nbytes, self._calls.current, storage))
        return torch_private.without_own_node(tensor), tensor._version

    def unseen(self) -> None:
        """Autograd may keep tensors that `saved` is not told of."""
        self._events.append(("save", len(self._ops) - 1, 0, self._calls.current, len(self._categories)))
        self._categories.append(UNTOLD)
        self._makers.append(-1)

    def needed(self, kept: tuple[torch.Tensor, int]) -> torch.Tensor:
        """A tensor that was kept. Raises as torch does where it was written to since, which it does not look for where
        anything is called with what it saves."""
        tensor, version = kept
        if tensor._version != version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: its "
                f"shape is {list(tensor.shape)}, its version {tensor._version}, and {version} was expected"
            )
        return tensor

    def forget(self, since: int) -> None:
        """The operators from there on are not told of: what they made and is still there was there after the one before
        them."""
        started = next((i for i, event in enumerate(self._events) if event[1] >= since), len(self._events))
        gone = {storage for kind, _, _, _, storage in self._events[started:] if kind == "free"}
        made = {storage for kind, _, _, _, storage in self._events[started:] if kind == "allocate"}
        self._events[started:] = [
            (kind, since - 1, nbytes, call, storage)
            for kind, _, nbytes, call, storage in self._events[started:]
            if storage not in gone or storage not in made
        ]

    def end(self) -> None:
        """Nothing is told of what comes after."""
        self._live.clear()

    def events(self) -> tuple[MemoryEvent, ...]:
        """All that happened, in order."""
        self.end()
        told = self._categories
        return tuple([
            MemoryEvent(kind, op, nbytes, told[storage], call)
            for kind, op, nbytes, call, storage in self._events
        ])  # fmt: skip

    def _made(
        self, tensor: torch.Tensor, call: int, category: str, node: int = -1, room: int = 0
    ) -> int | None:  # fmt: skip
        """A storage of its own for a tensor's, if it is new; `None` where it is known, or not one."""
        try:
            held = tensor.untyped_storage()
        except (RuntimeError, NotImplementedError):
            return None
        number = held._cdata
        if number in self._live:
            return None
        storage, nbytes = len(self._categories), max(held.nbytes(), room)
        self._categories.append(category)
        self._makers.append(node)
        self._events.append(("allocate", len(self._ops) - 1, nbytes, call, storage))

        def gone(_: Any) -> None:
            if self._live.pop(number, None) is not None:
                self._events.append(("free", len(self._ops) - 1, nbytes, call, storage))

        self._live[number] = (weakref.ref(held, gone), nbytes, storage)
        return storage

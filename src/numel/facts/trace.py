"""What a model does for given inputs: the module calls and operators that ran, as shapes. Nothing is counted here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from numel.facts.dtype import DType
from numel.facts.note import Note
from numel.facts.provenance import Provenance

Phase = Literal["forward", "backward", "recompute", "optimizer"]
Mode = Literal["meta", "fake", "real"]
EventKind = Literal["allocate", "free", "save"]
UNTOLD = "untold"

# Where a forward leaves torch, an operator of this namespace stands for all that is not seen: `python.numpy`.
OUTSIDE = "python."
WAYS_OUT = {
    "numpy": "hands a tensor to NumPy",
    "dlpack": "hands a tensor to another library",
    "data_ptr": "hands the address of a tensor to other code",
    "storage": "hands the bytes of a tensor to other code",
    "thread": "starts a thread",
    "pool": "gives work to a pool",
    "process": "starts a process",
    "iterator": "gives an iterator that does not end",
}

# A value as it was passed: a TensorSpec, a scalar, None, a string, or a tuple or mapping of values.
Value = Any


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and element type of a tensor that passed by; `shape` holds ints only."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.dtype.nbytes(prod(self.shape))

    def __str__(self) -> str:
        return f"{self.dtype.short}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class OpRecord:
    """One operator that ran. `op` is its qualified name with overload (`aten.mm.default`); `call` indexes
    `Trace.calls` (-1: outside every module); `args`, `kwargs` and `outputs` hold shapes, dtypes and scalars."""

    op: str
    call: int
    args: tuple[Value, ...] = ()
    kwargs: tuple[tuple[str, Value], ...] = ()
    outputs: tuple[Value, ...] = ()
    phase: Phase = "forward"

    @property
    def name(self) -> str:
        """Without the overload: `aten.mm`."""
        return self.op.rpartition(".")[0]

    @property
    def outside(self) -> bool:
        """Whether it stands for work that is not torch's, and that no tracer sees."""
        return self.op.startswith(OUTSIDE)


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of one module's forward. `path` is where it is called; `index` says which call of that module it is,
    from 0; `parent` is the index of the calling call, -1 for none; `repeat` stands for that many equal calls. `phase`
    is "recompute" where checkpointing runs it again in the backward pass."""

    path: str
    index: int
    parent: int
    inputs: Value = ()
    outputs: Value = None
    repeat: int = 1
    phase: Phase = "forward"


@dataclass(frozen=True, slots=True)
class MemoryEvent:
    """Bytes of one storage allocated, freed or saved for backward, in order. `op` indexes `Trace.ops`: the last one
    that had run (-1: none had); `call` indexes `Trace.calls`: the one that it belongs to (-1: none).

    `category` is parameter, buffer, input, activation (made by the forward), gradient (of a parameter), optimizer (its
    state), or temporary (the rest of what backward and optimizer make). A storage is saved once, by whom it is first;
    `UNTOLD` stands for those that were saved there out of sight, if any.
    """

    kind: EventKind
    op: int
    nbytes: int
    category: str = ""
    call: int = -1


@dataclass(frozen=True, slots=True)
class Failure:
    """Where and why a run stopped: module path, the specs it was called with, and the error's own words; and in which
    phase, where it was not the forward."""

    path: str
    module_type: str
    inputs: Value
    error: str
    message: str
    phase: Phase = "forward"

    @property
    def needs_data(self) -> bool:
        """Whether it is not the forward's own error: it reads data, and there is none."""
        return self.error in ("DataDependent", "NotAllocated")


@dataclass(frozen=True, slots=True)
class Trace:
    """Calls and operators of one run, in order. `failure` is set when the forward raised: then this is the part
    up to there and every sum over it is a lower bound. The operator `sampled` is where the forward learned of values
    that nobody gave: from there on another draw may run more or less; 0 is from the start. The modules `whole` ran as
    one piece each, so that the work of their parts is not told apart. `phases` were to run: with "backward" among them,
    an operator that is not there did not run, and `events` tell the memory."""

    calls: tuple[CallRecord, ...] = ()
    ops: tuple[OpRecord, ...] = ()
    events: tuple[MemoryEvent, ...] = ()
    inputs: Value = ()
    mode: Mode = "meta"
    training: bool = False
    notes: tuple[Note, ...] = ()
    failure: Failure | None = None
    sampled: int | None = None
    whole: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    phases: tuple[Phase, ...] = ("forward",)


def tensors_in(value: Value) -> Iterator[TensorSpec]:
    """Every tensor of a nested value, in order, without recursion.

    >>> from numel.facts.dtype import dtype
    >>> spec = TensorSpec((2, 3), dtype("f32"))
    >>> [str(t) for t in tensors_in((None, {"a": (spec, 1)}))]
    ['f32[2,3]']
    """
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, TensorSpec):
            yield each
        elif isinstance(each, tuple | list):
            pending.extend(reversed(each))
        elif isinstance(each, Mapping):
            pending.extend(reversed(list(each.values())))

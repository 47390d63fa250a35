"""One tensor of a model as a frozen record: what it is called, how large it is, and which bytes are its own."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from numel.facts.dtype import DType
from numel.facts.totals import Totals

Role = Literal["parameter", "buffer", "optimizer", "unknown"]


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor that really holds bytes of a quantised or subclass tensor: data, scales, zero points."""

    name: str
    shape: tuple[int, ...]
    dtype: DType

    @property
    def nbytes(self) -> int:
        return self.dtype.nbytes(prod(self.shape))


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """One place of one tensor.

    `shape` is global and logical, `None` while it is not materialised. `alias_of` is the first path of the same
    tensor. Equal `storage` numbers share bytes; `storage_nbytes` is the size of that storage, which a view can be
    smaller or (expanded) larger than. `shard` is the shape held by this process when it is not the whole. `parts`
    hold the bytes of a packed tensor. `inferred` names fields that were guessed.
    """

    path: str
    shape: tuple[int, ...] | None
    dtype: DType
    role: Role = "parameter"
    trainable: bool = False
    persistent: bool = True
    alias_of: str | None = None
    storage: int | None = None
    storage_nbytes: int | None = None
    shard: tuple[int, ...] | None = None
    parts: tuple[Part, ...] = ()
    packed: bool = False
    inferred: tuple[str, ...] = ()

    @property
    def numel(self) -> int | None:
        """Logical elements; `None` while the shape is unknown."""
        return None if self.shape is None else prod(self.shape)

    @property
    def nbytes(self) -> int | None:
        """Bytes of this tensor's elements, as if it shared none: parts where there are any, whole blocks else."""
        if self.parts:
            return sum(part.nbytes for part in self.parts)
        return None if self.shape is None else self.dtype.nbytes(prod(self.shape))

    @property
    def held_nbytes(self) -> int:
        """Bytes of the storage this tensor stands for: the storage's own size, else the elements'; 0 when unknown."""
        if self.parts:
            return sum(part.nbytes for part in self.parts)
        if self.storage_nbytes is not None:
            return self.storage_nbytes
        return self.nbytes or 0

    @property
    def module(self) -> str:
        """Path of the module that holds this tensor."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition(".")[2]

    def totals(self, *, counts_bytes: bool = True) -> Totals:
        """This record alone as totals. `counts_bytes` is False where an earlier record stands for its storage."""
        numel = self.numel
        if numel is None:
            held = self.held_nbytes if self.parts and self.storage is None and not self.alias_of else 0
            return Totals(nbytes=held, local_nbytes=held, unknown=0 if self.alias_of else 1)
        if self.alias_of is not None:
            return Totals(tied=numel)
        held = self.held_nbytes if counts_bytes else 0
        local = held
        if self.shard is not None and counts_bytes:
            local = self.dtype.nbytes(prod(self.shard))
            held = self.nbytes or 0
        return Totals(
            params=numel if self.role == "parameter" else 0,
            trainable=numel if self.role == "parameter" and self.trainable else 0,
            buffers=numel if self.role == "buffer" else 0,
            packed=numel if self.packed else 0,
            unclassified=numel if self.role == "unknown" else 0,
            nbytes=held,
            local_nbytes=local,
        )

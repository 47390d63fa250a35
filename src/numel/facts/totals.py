"""Totals form a monoid: `Totals()` is zero and `+` is written out, so every level is summed by the same line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over tensors; elements unless the name says bytes.

    `params` distinct parameter elements, `trainable` those with requires_grad, `buffers` distinct buffer elements,
    `packed` logical elements kept packed (also in `params`), `unclassified` elements whose role the source does not
    tell, `nbytes` bytes of distinct storages, `local_nbytes` the bytes of this process, `tied` elements that are
    places of a tensor counted elsewhere, `unknown` tensors whose size is not known yet (then sums are lower bounds).

    >>> Totals(params=2, nbytes=8) + Totals(params=3)
    Totals(params=5, trainable=0, buffers=0, packed=0, unclassified=0, nbytes=8, local_nbytes=0, tied=0, unknown=0)
    """

    params: int = 0
    trainable: int = 0
    buffers: int = 0
    packed: int = 0
    unclassified: int = 0
    nbytes: int = 0
    local_nbytes: int = 0
    tied: int = 0
    unknown: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            params=self.params + other.params,
            trainable=self.trainable + other.trainable,
            buffers=self.buffers + other.buffers,
            packed=self.packed + other.packed,
            unclassified=self.unclassified + other.unclassified,
            nbytes=self.nbytes + other.nbytes,
            local_nbytes=self.local_nbytes + other.local_nbytes,
            tied=self.tied + other.tied,
            unknown=self.unknown + other.unknown,
        )

    @property
    def frozen(self) -> int:
        """Parameter elements that do not train."""
        return self.params - self.trainable

    @property
    def exact(self) -> bool:
        """False when a tensor of unknown size makes every sum a lower bound."""
        return self.unknown == 0

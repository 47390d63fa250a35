"""How often which values occur in a tensor: equal bins from the lowest to the highest finite one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts` of the values in equal bins from `low` to `high`, the last bin with its end; `path` is the tensor's, ""
    stands for all parameters. `nan` and `infinite` values are in no bin; without a finite value there are no bins.

    >>> list(Histogram("w", -1.0, 1.0, (3, 5)).bins())
    [(-1.0, 0.0, 3), (0.0, 1.0, 5)]
    """

    path: str
    low: float
    high: float
    counts: tuple[int, ...] = ()
    nan: int = 0
    infinite: int = 0

    @property
    def numel(self) -> int:
        """All elements."""
        return sum(self.counts) + self.nan + self.infinite

    def bins(self) -> Iterator[tuple[float, float, int]]:
        """(from, to, how many) in order. Where all values are one, its bin has a width all the same."""
        n = len(self.counts)
        low, high = self.low, self.high
        if low == high:
            half = abs(low) / 2 or 0.5
            low, high = low - half, high + half
        edges = [low * (1 - i / n) + high * (i / n) for i in range(n)] + [high]  # low and high may be too far apart
        yield from zip(edges[:-1], edges[1:], self.counts, strict=True)

"""How much the values of one tensor differ from those of another."""

from __future__ import annotations

from dataclasses import dataclass

ONE_VALUE = "one value"  # what stands for the values of a tensor that is the same everywhere, as a norm is at first


@dataclass(frozen=True, slots=True)
class ValueDifference:
    """Of `second` less `first`, two paths: the largest difference, the same beside the largest value of the first, the
    Euclidean length, the same beside that of the first; and the cosine between both, `None` where one is all zero.
    `rank` is how many singular values hold 99 % of the squared difference, where these are few: a change of low rank;
    `None` where it is none, or no matrix. `odd` counts places where one is NaN or infinite and the other is not the
    same, `differing` all places that differ.

    >>> ValueDifference("w", "w").equal
    True
    """

    first: str
    second: str
    max_abs: float = 0.0
    max_rel: float = 0.0
    length: float = 0.0
    relative_length: float = 0.0
    cosine: float | None = None
    rank: int | None = None
    odd: int = 0
    differing: int = 0

    @property
    def equal(self) -> bool:
        """Whether every value is the same."""
        return self.differing == 0

    @property
    def close(self) -> bool:
        """Whether no value differs by more than a millionth of the largest one."""
        return self.odd == 0 and self.max_rel <= 1e-6

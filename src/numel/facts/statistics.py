"""What the values of one tensor are like at one step, in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

from numel.facts.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Statistics:
    """`of` says what was looked at: "weight", "gradient", "update" (what a step of the optimizer added to the weight),
    or what the optimizer calls a moment ("exp_avg", "momentum_buffer").

    Of `numel` elements `seen` were looked at: all, or evenly spaced ones, and then `norm` is what all of them would
    have if they are like these. `norm`, `mean`, `std` (of what was seen, not an estimate from it) and `absmax` are
    `None` where a NaN or an infinity is among them; `zeros` is a share. `ratio` is |Δw| / |w before| of an update; it
    and the norm are `None`, too, where fewer than 100 of a sample have changed. Of a complex tensor the real and the
    imaginary parts are elements.

    >>> Statistics("w", "gradient", 4, 4, norm=2.0, mean=0.5, std=0.5, absmax=1.0, zeros=0.5).rms
    1.0
    """

    path: str
    of: str
    numel: int
    seen: int
    norm: float | None = None
    mean: float | None = None
    std: float | None = None
    absmax: float | None = None
    zeros: float = 0.0
    nan: int = 0
    infinite: int = 0
    ratio: float | None = None
    histogram: Histogram | None = None

    @property
    def rms(self) -> float | None:
        """The root of the mean square: a norm that tensors of different sizes can be compared by."""
        return None if self.norm is None or not self.numel else self.norm / self.numel**0.5

    @property
    def finite(self) -> bool:
        """Whether there is neither NaN nor infinity in what was seen."""
        return not self.nan and not self.infinite

    @property
    def sampled(self) -> bool:
        """Whether some elements were not looked at."""
        return self.seen < self.numel

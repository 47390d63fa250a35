"""The random number generators of the process: seeded while code runs that may draw, and afterwards as they were.

They belong to all threads, so runs take turns; one may itself start another.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_SEED = 0
_TURN = threading.RLock()


@dataclass(frozen=True, slots=True)
class _Generator:
    """How to seed one and put it back as it was. `place` tells whether it was drawn from; torch's draws are operators,
    and theirs is `None`."""

    seed: Callable[[int], Any]
    put_back: Callable[[], Any]
    place: Callable[[], Any] | None = None


@contextmanager
def seeded(seed: int = _SEED) -> Iterator[Callable[[], bool]]:
    """Every run inside draws the same numbers. Yields a function that says whether Python's or NumPy's generator was
    drawn from since.

    >>> with seeded() as drew:
    ...     first, drawn = random.random(), drew()
    >>> with seeded() as drew:
    ...     print(drawn, drew(), random.random() == first)
    True False True
    """
    with _TURN:
        generators = list(_generators())
        try:
            for generator in generators:
                generator.seed(seed)
            places = [(each.place, each.place()) for each in generators if each.place is not None]
            yield lambda: any(place() != before for place, before in places)
        finally:
            for generator in generators:
                generator.put_back()


def _generators() -> Iterator[_Generator]:
    state = random.getstate()
    yield _Generator(random.seed, lambda: random.setstate(state), random.getstate)
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        yield _of_numpy(numpy.random)
    torch = sys.modules.get("torch")
    if torch is None:
        return
    numbers = torch.get_rng_state()
    # torch.manual_seed would import the compiler, and seed devices that were not asked for anything yet
    yield _Generator(torch.default_generator.manual_seed, lambda: torch.set_rng_state(numbers))
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        of_devices = torch.cuda.get_rng_state_all()
        yield _Generator(torch.cuda.manual_seed_all, lambda: torch.cuda.set_rng_state_all(of_devices))


def _of_numpy(drawn: Any) -> _Generator:
    def place() -> Any:
        now = drawn.get_state()
        return now[1].tobytes(), now[2:]

    state = drawn.get_state()
    return _Generator(drawn.seed, lambda: drawn.set_state(state), place)

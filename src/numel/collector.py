"""The cyclic garbage collector, paused while tables grow: it would walk them over and over, and they hold no cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """No collection inside; afterwards as it was set before.

    >>> before = gc.isenabled()
    >>> with paused():
    ...     print(gc.isenabled())
    False
    >>> gc.isenabled() == before
    True
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

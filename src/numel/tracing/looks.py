"""What functions look at beside their arguments: the global names and the variables around them that they use."""

from __future__ import annotations

import dis
import sys
import types
from functools import lru_cache

from numel.tracing.alike import Shared

_NOT_WATCHED = ("torch", "numel")  # torch's settings are asked for; and what numel does is no part of a forward


class Looks:
    """Adds to `shared` what the functions that run inside look up, other than torch's, as it is when each is called.

    Nothing is known of it where a profiler is active already, since there can be one, or where a function writes to a
    variable around it.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._active = sys.getprofile() is None
        self._seen: set[types.CodeType] = set()
        shared.known &= self._active

    def __enter__(self) -> None:
        if self._active:
            sys.setprofile(self._called)

    def __exit__(self, *_: object) -> None:
        if self._active:
            sys.setprofile(None)

    def _called(self, frame: types.FrameType, event: str, _: object) -> None:
        if event != "call" or frame.f_code in self._seen:
            return
        code, space = frame.f_code, frame.f_globals
        self._seen.add(code)
        if _package(space) in _NOT_WATCHED:
            return
        for name in code.co_names:
            if name in space:
                self._shared.name(space, name)
                held = space[name]
                if type(held) is types.ModuleType and _package(vars(held)) not in _NOT_WATCHED:
                    for part in code.co_names:  # of `a.b`, both
                        if part in vars(held):
                            self._shared.name(vars(held), part)
        if code.co_freevars:
            self._shared.known &= not _writes_around(code)
            for name in code.co_freevars:
                self._shared.hold(frame.f_locals.get(name))


def _package(space: dict[str, object]) -> str:
    return str(space.get("__name__")).partition(".")[0]


@lru_cache(maxsize=4096)
def _writes_around(code: types.CodeType) -> bool:
    """Whether a function writes to a variable of one around it."""
    return any(step.opname == "STORE_DEREF" and step.argval in code.co_freevars for step in dis.get_instructions(code))

"""What functions look at beside their arguments: the global names and the variables around them that they use."""

from __future__ import annotations

import dis
import importlib.util
import sys
import types
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from numel.tracing.shared import NOT_WATCHED, Shared, package

_TELLS_APART = frozenset({"id", "hash", "globals", "open"})  # of the builtins: blocks, or what no name stands for
_CLASS = ("__class__",)  # around every function that calls super(): never written to


class Looks:
    """Adds to `shared` what the functions that run inside look up, other than torch's, as it is when each is called.

    Nothing is known of it where a profiler is active already, since there can be one, where a function writes to a
    variable around it, or where nobody knows who else does.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._active = sys.getprofile() is None
        self._seen: set[types.CodeType] = set()
        self._inner: set[types.CodeType] = set()  # of functions that are made inside
        shared.known &= self._active

    def __enter__(self) -> None:
        if self._active:
            sys.setprofile(self._called)

    def __exit__(self, *_: object) -> None:
        if self._active:
            sys.setprofile(None)

    def _called(self, frame: types.FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or (code in self._seen and not code.co_freevars):
            return
        space = frame.f_globals
        if package(space) in NOT_WATCHED:
            self._seen.add(code)
            return
        if code not in self._seen:
            self._seen.add(code)
            self._look(code, space)
        if code.co_freevars and code.co_freevars != _CLASS:
            self._shared.known &= code in self._inner or code in self._shared.codes
            around = frame.f_locals
            for name in code.co_freevars:
                self._shared.hold(around.get(name))

    def _look(self, code: types.CodeType, space: dict[str, Any]) -> None:
        used = _used(code)
        self._inner |= used.inner
        self._shared.known &= not used.writes_around
        if package(space) not in sys.stdlib_module_names:
            self._shared.known &= _TELLS_APART.intersection(code.co_names) <= space.keys()
        found = [*_imported(used.imports, space)]
        for name in code.co_names:
            if name in space:
                self._shared.name(space, name)
                if isinstance(space[name], types.ModuleType):
                    found.append(space[name])
        seen: set[int] = set()
        while found:  # of `a.b.c`, each
            held = vars(found.pop())
            if id(held) in seen:
                continue
            seen.add(id(held))
            of_torch = package(held) in NOT_WATCHED
            for name in used.names:
                if name in held:
                    self._shared.name(held, name, alone=of_torch)
                    if isinstance(held[name], types.ModuleType):
                        found.append(held[name])


class _Used:
    """What a function's code says: names and short texts in it, what it imports, the functions that it makes."""

    __slots__ = ("imports", "inner", "names", "writes_around")

    def __init__(self, code: types.CodeType) -> None:
        steps = list(dis.get_instructions(code))
        around = set(code.co_freevars) - {*_CLASS}
        self.writes_around = any(step.opname == "STORE_DEREF" and step.argval in around for step in steps)
        self.imports = [
            (steps[at - 2].argval, str(step.argval)) for at, step in enumerate(steps) if step.opname == "IMPORT_NAME"
        ]
        self.inner = {each for each in code.co_consts if isinstance(each, types.CodeType)}
        self.names = {*code.co_names, *(each for each in code.co_consts if type(each) is str)}


_used = lru_cache(maxsize=4096)(_Used)


def _imported(imports: list[tuple[Any, str]], space: dict[str, Any]) -> Iterator[types.ModuleType]:
    """The files that a function imports when it runs, where they are there already."""
    for level, name in imports:
        whole = name if not level else importlib.util.resolve_name("." * level + name, str(space.get("__package__")))
        parts = whole.split(".")
        for end in range(1, len(parts) + 1):
            found = sys.modules.get(".".join(parts[:end]))
            if isinstance(found, types.ModuleType):
                yield found

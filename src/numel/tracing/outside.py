"""What a forward does where no dispatch mode sees it: it hands data to other code, reads lists, starts threads.

The functions that it does so by are wrapped where they are looked up for as long as a run lasts. Not seen: a compiled
extension that is called with tensors and registers no operator, and a thread that is fed by a queue of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch

from numel import torch_private
from numel.tracing.recorder import Recorder

# where a function is found, its name, and what of `numel.facts.WAYS_OUT` it is
_LEAVES: tuple[tuple[Any, str, str], ...] = (
    (torch.Tensor, "numpy", "numpy"),
    (torch.Tensor, "__dlpack__", "dlpack"),
    (torch.utils.dlpack, "to_dlpack", "dlpack"),
    (torch, "to_dlpack", "dlpack"),
    (torch.Tensor, "data_ptr", "data_ptr"),
    (torch.UntypedStorage, "data_ptr", "data_ptr"),
    (torch.UntypedStorage, "tolist", "storage"),
)
# other threads have no dispatch modes, other processes not even the model
_STARTS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("threading", "Thread", ("start",), "thread"),
    ("_thread", "", ("start_new_thread",), "thread"),
    ("concurrent.futures.thread", "ThreadPoolExecutor", ("submit",), "thread"),
    ("concurrent.futures.process", "ProcessPoolExecutor", ("submit",), "process"),
    ("multiprocessing.pool", "Pool", ("apply_async", "_map_async", "imap", "imap_unordered"), "pool"),
    ("multiprocessing.process", "BaseProcess", ("start",), "process"),
    ("subprocess", "Popen", ("__init__",), "process"),
)


@contextmanager
def watched(recorder: Recorder) -> Iterator[None]:
    """Tell `recorder` of everything that this thread does outside of its sight; to be entered after it."""
    torch_private.import_compiler()  # it copies Tensor's methods, which must not be these
    here = _Here(recorder)
    places: list[tuple[Any, str, bool, Any]] = []

    def put(owner: Any, name: str, told: _Told) -> None:
        original = getattr(owner, name)
        places.append((owner, name, name in vars(owner), original))
        setattr(owner, name, here.wrapped(original, told))

    try:
        put(torch.Tensor, "tolist", lambda recorder, tensor: recorder.listed(tensor))
        for owner, name, how in _LEAVES:
            put(owner, name, _leaves(how))
        for module, kind, names, how in _STARTS:
            owner = sys.modules.get(module)
            for name in names if owner is not None else ():
                put(getattr(owner, kind) if kind else owner, name, _starts(how))
        put(os, "system", _starts("process"))
        put(torch.autocast, "__enter__", lambda recorder, autocast: recorder.casts(autocast))
        yield
    finally:
        here.recorder = None
        for owner, name, own, original in reversed(places):
            if own:
                setattr(owner, name, original)
            elif name in vars(owner):
                delattr(owner, name)


_Told = Callable[[Recorder, Any], Any]


def _leaves(how: str) -> _Told:
    return lambda recorder, data: recorder.leaves(how, data)


def _starts(how: str) -> _Told:
    return lambda recorder, what: recorder.starts(how, what)


class _Here:
    """The thread and the depth of dispatch that a forward runs at; `recorder` is `None` once the run is over."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder: Recorder | None = recorder
        self.thread = get_ident()
        self.depth = torch_private.dispatch_depth()
        self.inside = False

    def wrapped(self, original: Callable[..., Any], told: _Told) -> Callable[..., Any]:
        """`original` called with what `told` makes of its first argument, where it is the forward that calls it.

        With less depth of dispatch an operator is running, and what its kernel does is its own. Whoever keeps what this
        returns does not keep the run alive.
        """

        def function(first: Any, *args: Any, **kwargs: Any) -> Any:
            recorder = self.recorder
            if (
                recorder is None
                or self.inside
                or get_ident() != self.thread
                or torch_private.dispatch_depth() < self.depth
                or _of_a_library(sys._getframe(1), first)
            ):
                return original(first, *args, **kwargs)
            self.inside = True
            try:
                return original(told(recorder, first), *args, **kwargs)
            finally:
                self.inside = False

        return function


def _of_a_library(caller: Any, first: Any) -> bool:
    """Whether a call says nothing about the forward: torch's own layers compare addresses, and progress bars start a
    thread, the first of them alone."""
    if type(first).__module__.partition(".")[0] == "tqdm":
        return True
    return isinstance(first, torch.Tensor) and str(caller.f_globals.get("__name__", "")).startswith("torch.nn.")

"""What a forward does where no dispatch mode sees it: it hands data to other code, reads lists, starts threads.

The methods that it does so by are wrapped on their classes for as long as a run lasts. A compiled extension that is
called with tensors and registers no operator goes unseen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import Any

import torch

from numel import torch_private
from numel.tracing.recorder import Recorder

# where a method is found, its name, and the operator that stands for what is not seen
_LEAVES: tuple[tuple[Any, str, str], ...] = (
    (torch.Tensor, "numpy", "numpy"),
    (torch.Tensor, "data_ptr", "data_ptr"),
    (torch.Tensor, "__dlpack__", "dlpack"),
    (torch.utils.dlpack, "to_dlpack", "dlpack"),
    (torch, "to_dlpack", "dlpack"),
)
# other threads have no dispatch modes, other processes not even the model
_STARTS: tuple[tuple[str, str, str, str], ...] = (
    ("threading", "Thread", "start", "thread"),
    ("concurrent.futures.thread", "ThreadPoolExecutor", "submit", "thread"),
    ("concurrent.futures.process", "ProcessPoolExecutor", "submit", "process"),
    ("multiprocessing.process", "BaseProcess", "start", "process"),
)


@contextmanager
def watched(recorder: Recorder) -> Iterator[None]:
    """Tell `recorder` of everything that this thread does outside of its sight; to be entered after it."""
    thread = get_ident()
    depth = torch_private.dispatch_depth()  # less of it: an operator is running, and what its kernel does is its own
    inside = False

    def wrapped(original: Callable[..., Any], told: Callable[[Any], Any]) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside or get_ident() != thread or torch_private.dispatch_depth() < depth:
                return original(self, *args, **kwargs)
            inside = True
            try:
                return original(told(self), *args, **kwargs)
            finally:
                inside = False

        return method

    places: list[tuple[Any, str, Any]] = []

    def put(owner: Any, name: str, told: Callable[[Any], Any]) -> None:
        places.append((owner, name, vars(owner).get(name)))
        setattr(owner, name, wrapped(getattr(owner, name), told))

    try:
        put(torch.Tensor, "tolist", recorder.readable)
        for owner, name, how in _LEAVES:
            put(owner, name, partial(recorder.leaves, how))
        for module, kind, name, how in _STARTS:
            if module in sys.modules:
                put(getattr(sys.modules[module], kind), name, partial(recorder.starts, how))
        yield
    finally:
        for owner, name, own in reversed(places):
            if own is None:
                delattr(owner, name)
            else:
                setattr(owner, name, own)

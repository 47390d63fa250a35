"""A name → nn.Module without its weights. Whatever building it runs, the process is afterwards as before."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from typing import Any

from numel.extras import need
from numel.sources import config, own_code, zoos
from numel.sources.bytes import printable
from numel.sources.meta import Built

SCHEMES = ("torchvision", "timm", "hf")


def build(
    target: str, *, options: Mapping[str, Any] | None = None, trust_remote_code: bool = False, allocate: bool = False
) -> Built:  # fmt: skip
    """The model that `target` names, on the meta device where its constructor allows it, and notes on how it was built.

    `target` is "pkg.mod:callable", "file.py:Name", "torchvision:NAME", "timm:NAME", or "hf:" and a config.json, a
    directory with one or a hub name. `options` go to the callable, or override fields of the configuration. Models of
    the three schemes are in eval mode, user code as it was built. `allocate` builds it for real, with random weights.
    Raises `TargetError` and `MissingExtra`.

    >>> model, notes = build("torch.nn:Linear", options={"in_features": 3, "out_features": 2})
    >>> model.weight.device.type, notes
    ('meta', ())
    """
    torch = need("torch", extra="torch")
    chosen = dict(options or {})
    scheme, _, name = target.partition(":")
    with _undisturbed(torch):
        if scheme not in SCHEMES:
            return own_code.model(torch, target, chosen, allocate)
        target = printable(target)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if scheme == "torchvision":
                model, notes = zoos.torchvision(torch, target, name, chosen, allocate)
            elif scheme == "timm":
                model, notes = zoos.timm(torch, target, name, chosen, allocate)
            else:
                model, notes = config.model(torch, target, name, chosen, trust_remote_code, allocate)
        return model.eval(), notes


# ── without a trace ──────────────────────────────────────────────────────────────────────────────────────────────────


def searching(target: str) -> AbstractContextManager[None]:
    """To be active while the model of a target runs: the user's own code may import more of itself then."""
    return nullcontext() if target.partition(":")[0] in SCHEMES else own_code.searching(target)


@contextmanager
def _undisturbed(torch: Any) -> Iterator[None]:
    """Random states, default dtype and device, gradient mode, warning filters and sys.path are afterwards as before.

    What is printed inside goes to stderr: stdout is the document's.
    """
    states: list[tuple[Callable[[Any], object], Any]] = [
        (random.setstate, random.getstate()),
        (torch.set_rng_state, torch.get_rng_state()),
        (torch.set_default_dtype, torch.get_default_dtype()),
        (torch.set_grad_enabled, torch.is_grad_enabled()),
    ]
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        states.append((numpy.random.set_state, numpy.random.get_state()))
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    search, entries = sys.path, list(sys.path)
    # what set_default_device sets is a context, a function mode and a name that torch.compile guards on; taking one off
    # by its own means can hit another. tracing/torch_private.py does the same; neither room may know the other
    overrides, device, names = torch.overrides, torch._GLOBAL_DEVICE_CONTEXT, need("torch.utils._device", extra="torch")
    context, modes = getattr(device, "device_context", None), overrides._get_current_function_mode_stack()
    current = names.CURRENT_DEVICE
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            yield
    finally:
        search[:] = entries
        sys.path = search
        for put_back, state in states:
            put_back(state)
        while overrides._get_current_function_mode_stack():
            overrides._pop_mode()
        for mode in modes:
            overrides._push_mode(mode)
        device.device_context, names.CURRENT_DEVICE = context, current

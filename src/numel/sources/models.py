"""A name → nn.Module without its weights. Whatever building it runs, the process is afterwards as before."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from typing import Any

from numel.extras import need
from numel.randomness import seeded
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

    Random numbers are the same each time. What is printed inside goes to stderr: stdout is the document's.
    """
    from numel import torch_private  # here, since it imports torch

    with seeded():  # first: runs of several threads take turns there
        dtype, gradients, device = torch.get_default_dtype(), torch.is_grad_enabled(), torch_private.default_device()
        search, entries = sys.path, list(sys.path)
        try:
            with redirect_stdout(sys.stderr), warnings.catch_warnings():
                yield
        finally:
            search[:] = entries
            sys.path = search
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(gradients)
            torch_private.set_default_device(device)

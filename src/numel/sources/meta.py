"""A constructor's call → its module without memory. Not every constructor runs on meta, so there are rungs below it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from numel.errors import NumelError, TargetError
from numel.facts.note import Note
from numel.sources.wording import location, summary

if TYPE_CHECKING:
    import torch

_MOST_CONSTANT = 1 << 18  # elements of a sequence that is made for real while a model is built on meta

Built = tuple["torch.nn.Module", tuple[Note, ...]]


def constructed(torch: Any, target: str, make: Callable[[], Any], allocate: bool) -> Built:
    """What `make` returns on the first that works: meta, meta with real constants, fake tensors, the CPU."""
    try:
        model, notes = (make(), ()) if allocate else _unallocated(torch, make)
    except NumelError:
        raise
    except (Exception, SystemExit) as error:
        raise TargetError(f"{target}: building it raised {summary(error)} ({location(error)})") from error
    if not isinstance(model, torch.nn.Module):
        raise TargetError(f"{target}: returned {type(model).__qualname__}; expected a torch.nn.Module")
    return model, notes


def _unallocated(torch: Any, make: Callable[[], Any]) -> tuple[Any, tuple[Note, ...]]:
    try:
        with torch.device("meta"):
            return make(), ()
    except Exception as error:
        # e.g. .item() in a constructor; whether the error is of the code's own making shows on cpu
        reason = f"its constructor does not run on the meta device ({summary(error)})"
    with contextlib.suppress(Exception):
        with torch.device("meta"), _real_constants(torch):
            model = make()
        _to_meta(torch, model, torch.nn.Parameter)
        return model, ()
    with contextlib.suppress(Exception):
        from torch._subclasses import FakeTensor, FakeTensorMode

        with FakeTensorMode(allow_non_fake_inputs=True):
            model = make()
        _to_meta(torch, model, FakeTensor)
        return model, (Note("built-on-fake", "info", f"built on fake tensors: {reason}"),)
    return make(), (Note("built-on-cpu", "info", f"built on the CPU with real memory: {reason}"),)


def _real_constants(torch: Any) -> Any:
    """A mode in which small sequences are real: constructors read values off them, as off a ramp of drop rates."""
    from torch.overrides import TorchFunctionMode

    sequences = {torch.arange, torch.linspace, torch.logspace, torch.range, torch.tensor, torch.as_tensor}

    class RealConstants(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func not in sequences or kwargs.get("device") is not None:
                return func(*args, **kwargs)
            on_meta = func(*args, **{**kwargs, "device": "meta"})
            small = on_meta.numel() <= _MOST_CONSTANT
            return func(*args, **{**kwargs, "device": "cpu"}) if small else on_meta

    return RealConstants()


def _to_meta(torch: Any, model: Any, kind: Any) -> None:
    """Put meta tensors of the same layout where those of `kind` are: a fake one works only in the mode that made it."""
    if not isinstance(model, torch.nn.Module):
        return
    replaced: dict[int, Any] = {}

    def plain(tensor: Any) -> Any:
        if id(tensor) not in replaced:
            if tensor.layout is not torch.strided:
                raise TypeError("a sparse tensor has no meta tensor of its layout")
            empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
            if isinstance(tensor, torch.nn.Parameter):
                empty = torch.nn.Parameter(empty, requires_grad=tensor.requires_grad)
            replaced[id(tensor)] = empty
        return replaced[id(tensor)]

    for module in model.modules():
        for held in (module._parameters, module._buffers, module.__dict__):
            for name, tensor in list(held.items()):
                if isinstance(tensor, kind) and not tensor.is_meta:
                    setattr(module, name, plain(tensor))

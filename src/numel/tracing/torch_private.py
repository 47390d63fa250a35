"""Every private name of torch that numel leans on, each behind one function: a new torch is checked here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch


def below_autograd() -> AbstractContextManager[Any]:
    """Dispatch as if autograd were off, without its effect on tensors or on `torch.is_grad_enabled()`.

    Composite operators (`linear`, `scaled_dot_product_attention`, `lstm`) then reach a dispatch mode whole, before
    their kernels choose a fused path that hides the matrix products.
    """
    guard = getattr(torch._C, "_AutoDispatchBelowAutograd", None)
    return guard() if guard is not None else torch.inference_mode()


def is_composite(func: Any) -> bool:
    """Whether the operator is defined by other operators for every backend."""
    try:
        return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))
    except RuntimeError:  # prim.device and its like are known to Python alone
        return False


def is_mutable(func: Any) -> bool:
    """Whether the operator writes to one of its arguments."""
    return bool(func._schema.is_mutable)


def mutated_arguments(func: Any) -> tuple[int, ...]:
    """Positions of the arguments that the operator writes to."""
    arguments = func._schema.arguments
    return tuple(i for i, a in enumerate(arguments) if a.alias_info is not None and a.alias_info.is_write)


def is_view(func: Any) -> bool:
    """Whether an output aliases an input without writing to it."""
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def is_random(func: Any) -> bool:
    """Whether the operator draws from a generator."""
    return torch.Tag.nondeterministic_seeded in func.tags


def eager_stance() -> AbstractContextManager[Any]:
    """Run modules wrapped by `torch.compile` as plain Python, if dynamo is loaded at all."""
    import sys

    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def fake_mode() -> Any:
    """A mode in which tensors have shapes, strides and devices but no data."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)


def fake_tensor(mode: Any, meta: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`meta` as a tensor of `mode` that says it is on `device`."""
    from torch._subclasses.fake_tensor import FakeTensor

    return FakeTensor(mode, meta, device)


def is_fake(tensor: Any) -> bool:
    """Whether a tensor belongs to a fake mode; fake tensors need not be imported to ask."""
    return hasattr(tensor, "fake_mode")


def bare_shape(tensor: torch.Tensor) -> torch.Size:
    """The shape below any Python override: lazy parameters refuse to tell theirs."""
    with torch._C.DisableTorchFunctionSubclass():
        shape: torch.Size = torch._C.TensorBase.shape.__get__(tensor)  # type: ignore[attr-defined]
        return shape


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines about operators that fail on the way to the mode that works; no value checks of distributions
    (they read data). Both switches are put back."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    disabled = logger.disabled
    checks = torch.distributions.Distribution._validate_args
    try:
        logger.disabled = True
        torch.distributions.Distribution.set_default_validate_args(False)
        yield
    finally:
        logger.disabled = disabled
        torch.distributions.Distribution.set_default_validate_args(checks)

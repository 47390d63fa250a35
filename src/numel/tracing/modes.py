"""The ways to run a forward, each as one attempt: what stands in for weights and inputs, and which mode records."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from numel import torch_private
from numel.facts.inputs import InputSpec
from numel.facts.trace import Mode
from numel.tracing.arguments import torch_dtype
from numel.tracing.calls import Calls
from numel.tracing.outside import watched
from numel.tracing.recorder import DataDependent, MetaRecorder, RealRecorder, Recorder

_KNOWN_INPUT = 1 << 16  # elements of a given integer input whose values a forward may read


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to run: `mode`, whether constants on the model's device are kept, whether autograd takes part, whether
    routers are taken as balanced."""

    mode: Mode
    keep_all: bool = False
    autograd: bool = False
    balanced: bool = False


class Stage:
    """Weights, inputs and recorder of one attempt. `made_up`: storages whose values are random and nobody's."""

    def __init__(
        self,
        attempt: Attempt,
        calls: Calls,
        floating: torch.dtype,
        device: torch.device,
        before_write: Callable[[torch.Tensor], None],
        *,
        made_up: frozenset[int | None] = frozenset(),
    ) -> None:
        self.made_up = made_up
        self.attempt = attempt
        self.floating = floating
        self.device = device
        self.recorder: Recorder
        self.fake: Any = None
        if attempt.mode == "meta":
            self.recorder = MetaRecorder(calls, before_write, keep_all=attempt.keep_all, balanced=attempt.balanced)
        elif attempt.mode == "fake":
            self.recorder = Recorder(calls, before_write)
            self.fake = torch_private.fake_mode()
        else:
            self.recorder = RealRecorder(calls, before_write)
            self.recorder.made_up |= made_up

    def context(self) -> AbstractContextManager[Any]:
        """Everything that must be active while the forward runs."""
        stack = ExitStack()
        stack.enter_context(torch_private.eager())
        if self.attempt.mode != "real":
            stack.enter_context(torch_private.quiet())
        if self.attempt.autograd:
            stack.enter_context(torch.enable_grad())
        else:
            stack.enter_context(torch.no_grad() if self.attempt.mode == "real" else nullcontext())
            stack.enter_context(torch_private.below_autograd())
        if self.fake is not None:
            stack.enter_context(self.fake)
        stack.enter_context(self.recorder)
        stack.enter_context(watched(self.recorder))
        return stack

    def swap(self, model: torch.nn.Module) -> None:
        """Put stand-ins where the model's tensors are; the caller restores the dictionaries that hold them.

        On meta and fake these have no data. For real a buffer is copied, since some kernels write to it unannounced,
        and a parameter is another object over the same data, so that gradients and flags go elsewhere. Replicas of a
        DataParallel are not made: one model runs the whole batch.
        """
        twins: dict[int, Any] = {}
        for module in model.modules():
            if isinstance(module, torch.nn.DataParallel):
                module.__dict__["device_ids"] = []
            for held in (module._parameters, module._buffers):
                for name, tensor in held.items():
                    if tensor is None:
                        continue
                    twin = twins.get(id(tensor))
                    if twin is None:
                        twin = twins[id(tensor)] = self._stand_in(tensor, held is module._buffers)
                        self._follow(tensor, twin)
                    if isinstance(twin, _Late):
                        twin.places.append((held, name))
                    if twin is not tensor:
                        held[name] = twin

    def _follow(self, tensor: torch.Tensor, twin: torch.Tensor) -> None:
        """Whose values a tensor of the model holds, where there are any."""
        if isinstance(self.recorder, RealRecorder) and not torch.nn.parameter.is_lazy(tensor):
            made_up = torch_private.storage_number(tensor) in self.made_up
            numbers = self.recorder.made_up if made_up else self.recorder.given
            numbers.add(torch_private.storage_number(twin))

    def _stand_in(self, tensor: torch.Tensor, is_buffer: bool) -> Any:
        lazy = torch.nn.parameter.is_lazy(tensor)
        mode = self.attempt.mode
        if lazy:
            device = torch.device("meta") if mode == "meta" else tensor.device
            kwargs: dict[str, Any] = {"device": device, "dtype": tensor.dtype}
            if self.fake is not None:
                late = _Late(requires_grad=tensor.requires_grad, **kwargs)
                late.places = []
                late.made = self._late(tensor, is_buffer)
                return late
            if is_buffer:
                return torch.nn.parameter.UninitializedBuffer(requires_grad=tensor.requires_grad, **kwargs)
            return torch.nn.parameter.UninitializedParameter(requires_grad=tensor.requires_grad, **kwargs)
        if mode == "real":
            if is_buffer:
                return tensor.detach().clone()
            if type(tensor) is not torch.nn.Parameter or tensor.is_inference():
                return tensor
            return _with_attributes(torch.nn.Parameter(tensor.detach(), tensor.requires_grad), tensor)
        made = self._meta(tensor)
        if mode == "meta" and is_buffer and isinstance(self.recorder, MetaRecorder) and _readable(tensor):
            self.recorder.remember(made, tensor)
        if self.fake is not None:
            made = torch_private.fake_tensor(self.fake, made, _device(tensor))
        if is_buffer and not isinstance(tensor, torch.nn.Parameter):
            return made
        return _with_attributes(torch.nn.Parameter(made, requires_grad=tensor.requires_grad), tensor)

    def _late(self, tensor: torch.Tensor, is_buffer: bool) -> Callable[[Any, Any], torch.Tensor]:
        """What a lazy tensor becomes, once its shape and element type are known."""
        device, trains = _device(tensor), tensor.requires_grad

        def made(shape: Any, dtype: torch.dtype) -> torch.Tensor:
            with torch_private.alone():
                meta = torch.empty(shape, dtype=dtype, device="meta")
                fake: torch.Tensor = torch_private.fake_tensor(self.fake, meta, device)
                return fake if is_buffer else torch.nn.Parameter(fake, requires_grad=trains)

        return made

    def _meta(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_nested or torch_private.is_sparse(tensor):
            raise self.recorder.end(DataDependent("what a sparse or nested tensor holds is data"))
        shape = tuple(tensor.shape)
        if tensor.layout is not torch.strided or hasattr(type(tensor), "__tensor_flatten__"):
            return torch.empty(shape, dtype=tensor.dtype, device="meta")
        return torch.empty_strided(shape, tensor.stride(), dtype=tensor.dtype, device="meta")

    def leaf(self, numbers: dict[int, torch.dtype], value: Any, which: int) -> Any:
        """What to pass for one input: a spec, or a tensor that the user gave. Theirs is never passed itself."""
        if isinstance(value, str):
            return value
        if isinstance(value, InputSpec):
            return self._from_spec(value, numbers.get(which), which)
        if isinstance(self.recorder, RealRecorder):
            if not _readable(value):
                return value
            own = value.detach().clone().requires_grad_(value.requires_grad)
            self.recorder.given.add(torch_private.storage_number(own))
            return own
        if isinstance(self.recorder, MetaRecorder):
            known = not value.is_floating_point() and not value.is_complex() and value.numel() <= _KNOWN_INPUT
            if known and _readable(value) and value.layout is torch.strided:
                own = value.detach().clone().cpu()
                self.recorder.keep(own)
                return own
            made = self._meta(value)
            if _readable(value):
                self.recorder.remember(made, value)
            return made
        return torch_private.fake_tensor(self.fake, self._meta(value), _device(value))

    def _from_spec(self, spec: InputSpec, decided: torch.dtype | None, which: int) -> torch.Tensor:
        dtype = decided if decided is not None else torch_dtype(spec, self.floating)
        if isinstance(self.recorder, RealRecorder):
            drawn = self._drawn(spec, dtype)
            self.recorder.made_up.add(torch_private.storage_number(drawn))
            return drawn
        made = torch.empty(spec.shape, dtype=dtype, device="meta")
        if self.fake is not None:
            return torch_private.fake_tensor(self.fake, made, self.device)
        if isinstance(self.recorder, MetaRecorder) and spec.dtype is None and decided is None:
            self.recorder.undecided(made, which)
        return made


    def _drawn(self, spec: InputSpec, dtype: torch.dtype) -> torch.Tensor:
        """Values for a shape: normal, below the bound, else 0, or True."""
        if dtype.is_floating_point or dtype.is_complex:
            return torch.randn(spec.shape, dtype=torch.float32, device=self.device).to(dtype)
        if spec.below:
            return torch.randint(0, spec.below, spec.shape, device=self.device).to(dtype)
        fill = 1 if dtype is torch.bool else 0
        return torch.full(spec.shape, fill, dtype=dtype, device=self.device)


def _with_attributes(parameter: torch.nn.Parameter, origin: torch.Tensor) -> torch.nn.Parameter:
    """What users set on a parameter (`p.sharded = True`), tensors left out."""
    attributes = getattr(origin, "__dict__", None)
    if attributes:
        parameter.__dict__.update({k: v for k, v in attributes.items() if not isinstance(v, torch.Tensor)})
    return parameter


class _Late(torch.nn.parameter.UninitializedParameter):
    """A lazy tensor in a fake mode: it makes way for a fake one where it is held, since its data can not become one."""

    places: list[tuple[Any, str]]
    made: Callable[[Any, Any], torch.Tensor]

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        made = self.made(shape, dtype or self.data.dtype)
        for held, name in self.places:
            held[name] = made


def _device(tensor: torch.Tensor) -> torch.device:
    return torch.device("cpu") if tensor.device.type == "meta" else tensor.device


def _readable(tensor: torch.Tensor) -> bool:
    return tensor.device.type != "meta" and not torch_private.is_fake(tensor)

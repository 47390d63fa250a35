"""The ways to run a forward, each as one attempt: what stands in for weights and inputs, and which mode records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from numel import torch_private
from numel.facts.inputs import InputSpec
from numel.facts.note import Note
from numel.facts.trace import Mode, Phase
from numel.tracing import higher_order
from numel.tracing.arguments import tensors_of, torch_dtype
from numel.tracing.backward import Nodes, Training, loss_of, stepping
from numel.tracing.calls import Calls
from numel.tracing.ends import DataDependent
from numel.tracing.memory import Memory
from numel.tracing.meta_recorder import MetaRecorder
from numel.tracing.outside import watched
from numel.tracing.processes import Processes
from numel.tracing.real_recorder import RealRecorder
from numel.tracing.recorder import Recorder

_META = torch.device("meta")
_SPREAD = "its weights are spread over processes"
_KNOWN_INPUT = 1 << 16  # elements of a given integer input whose values a forward may read


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to run: `mode`, whether constants on the model's device are kept, whether autograd takes part, whether
    routers are taken as balanced; with `least`, of functions that data choose among, what all of them run."""

    mode: Mode
    keep_all: bool = False
    autograd: bool = False
    balanced: bool = False
    least: bool = False


class Stage:
    """Weights, inputs and recorder of one attempt. `made_up`: storages whose values are random and nobody's. `dense`:
    a plain tensor stands for one that is made of others."""

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
        self.processes: Processes | None = None
        self.dense = False
        self.fake: Any = None
        self.memory: Memory | None = None
        self.doing: Phase = "forward"
        self.stepped = True  # unless there was nothing to go back from
        self._twins: dict[int, Any] = {}
        self._calls = calls
        self._passed: dict[int, torch.Tensor] = {}
        self._places: list[tuple[int, dict[str, Any], str]] = []  # of each tensor of the model: where its stand-in is
        if attempt.mode == "meta":
            self.recorder = MetaRecorder(
                calls, before_write, keep_all=attempt.keep_all, balanced=attempt.balanced, device=device
            )
        elif attempt.mode == "fake":
            self.recorder = Recorder(calls, before_write)
            self.fake = torch_private.fake_mode()
        else:
            self.recorder = RealRecorder(calls, before_write)
            self.recorder.made_up |= made_up
        self.recorder.least = attempt.least

    def context(self) -> AbstractContextManager[Any]:
        """Everything that must be active while the forward runs."""
        stack = ExitStack()
        stack.enter_context(torch_private.eager())
        stack.enter_context(torch_private.unseen_placement())
        if self.attempt.mode != "real":
            stack.enter_context(torch_private.quiet())
        if self.attempt.autograd:
            stack.enter_context(torch.enable_grad())
            if self.memory is not None:
                if self.attempt.mode == "meta":
                    stack.enter_context(torch_private.choosing_as_on_cpu(self._refused))
                stack.enter_context(
                    torch_private.saving_but_in_transforms(self.memory.saved, _itself, self._unseen)
                )  # fmt: skip
                self.recorder.nodes = Nodes(self._calls)
        else:
            stack.enter_context(torch.no_grad() if self.attempt.mode == "real" else nullcontext())
            stack.enter_context(torch_private.below_autograd())
        if self.fake is not None:
            stack.enter_context(self.fake)
        stack.enter_context(torch_private.flex_attention_anywhere())
        if self.attempt.autograd:
            stack.enter_context(
                torch_private.functions_before_autograd(partial(higher_order.before_autograd, self.recorder))
            )
        stack.enter_context(self.recorder)
        stack.enter_context(watched(self.recorder))
        return stack

    def _refused(self, why: str) -> BaseException:
        return self.recorder.end(DataDependent(why))

    def _unseen(self) -> None:
        """What is saved from here on is not told."""
        assert self.memory is not None
        self.memory.unseen()
        text = "torch.func's gradients let nobody see what they save: of that, saved bytes are lower bounds"
        self.recorder.said.append((Note("saved-unseen", "warning", text), self._calls.current))

    def watch_memory(self, model: torch.nn.Module, beside: Sequence[torch.nn.Module], inputs: Any) -> None:
        """From here on what is allocated, freed and saved is written down. The modules `beside` are those of a loss."""
        torch_private.holders_alone()
        self.memory = self.recorder.memory = Memory(self._calls, self.recorder.ops)
        for each in (model, *beside):
            self.memory.holds((t for t in each.parameters() if not torch.nn.parameter.is_lazy(t)), "parameter")
            self.memory.holds((t for t in each.buffers() if not torch.nn.parameter.is_lazy(t)), "buffer")
        self.memory.holds(tensors_of(inputs), "input")

    def train(self, training: Training, model: torch.nn.Module, outputs: Any) -> Note:
        """Go back from what the forward put out, and take a step. Says what was gone back from."""
        nodes, memory = self.recorder.nodes, self.memory
        assert nodes is not None
        assert memory is not None
        nodes.told()
        self.doing = "backward"
        self.recorder.who = "the loss"
        loss, how = loss_of(outputs, training.loss)
        self.stepped = False
        if loss is None:
            return Note("no-backward", "warning", f"nothing to go back from: {how} depends on nothing that trains")
        nodes.phase, self.recorder.who = "backward", "the backward pass"
        loss.backward()  # type: ignore[no-untyped-call]
        stand_ins = {key: held[name] for key, held, name in self._places}
        memory.is_now((t.grad for t in stand_ins.values() if t.grad is not None), "gradient")
        if training.optimizer is not None:
            nodes.phase = self.doing = "optimizer"
            self.recorder.who = "the optimizer's step"
            optimizer = stepping(training.optimizer, stand_ins)
            before = len(self.recorder.ops)
            type(optimizer).step(optimizer)  # the first one makes the state, and may do without it
            memory.is_now(tensors_of(list(optimizer.state.values())), "optimizer")
            del self.recorder.ops[before:]
            memory.forget(before)
            type(optimizer).step(optimizer)
            self.stepped = True
        memory.end()  # while all of it is still there
        text = f"gone back from {how}"
        if not getattr(model, "training", True):
            text += "; the model is in eval mode: in training, dropout and batch statistics are kept as well"
        return Note("backward", "info", text)

    def swap(
        self, every: Sequence[torch.nn.Module], processes: Processes, beside: Sequence[torch.nn.Module] = ()
    ) -> None:  # fmt: skip
        """Put stand-ins where the tensors of a model's modules, and of others beside it, are; the caller restores the
        dictionaries that hold them. `processes` is what the model shares with others.

        On meta and fake these have no data. For real a buffer is copied, since some kernels write to it unannounced,
        and a parameter is another object over the same data, so that gradients and flags go elsewhere. Replicas of a
        DataParallel are not made, and other processes take no part: one model runs the whole batch.
        """
        self.processes = processes
        if self.attempt.mode == "real" and processes.sharded:
            raise self.recorder.end(DataDependent(_SPREAD))
        processes.leave()
        for module in every:
            self._places += self._swapped(module)
        for module in beside:
            self._swapped(module)

    def _swapped(self, module: torch.nn.Module) -> list[tuple[int, dict[str, Any], str]]:
        """Of each tensor that was there: its identity, and where its stand-in is."""
        places: list[tuple[int, dict[str, Any], str]] = []
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is None:
                    continue
                places.append((id(tensor), held, name))
                twin = self._twins.get(id(tensor))
                if twin is None:
                    twin = self._twins[id(tensor)] = self._stand_in(tensor, held is module._buffers)
                    self._follow(tensor, twin)
                if isinstance(twin, _Late):
                    twin.places.append((held, name))
                if twin is not tensor:
                    held[name] = twin
        return places

    def _follow(self, tensor: torch.Tensor, twin: torch.Tensor) -> None:
        """Whose values a tensor of the model holds, where there are any."""
        if isinstance(self.recorder, RealRecorder) and not torch.nn.parameter.is_lazy(tensor):
            made_up = torch_private.storage_number(tensor) in self.made_up
            numbers = self.recorder.made_up if made_up else self.recorder.given
            numbers.add(torch_private.storage_number(twin))

    def _stand_in(self, tensor: torch.Tensor, is_buffer: bool) -> Any:
        mode = self.attempt.mode
        if mode == "meta" and not is_buffer and self._is_plain(tensor):  # as most are
            made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=_META)
            return torch.nn.Parameter(made, tensor.requires_grad)
        lazy = torch.nn.parameter.is_lazy(tensor)
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
        gathered = self.processes.gathered.get(id(tensor)) if self.processes is not None else None
        if mode == "real":
            if torch_private.is_distributed(tensor):
                if torch_private.processes(tensor) > 1:
                    raise self.recorder.end(DataDependent(_SPREAD))
                if gathered is not None and gathered[2] is None:
                    whole = torch_private.local_part(tensor).detach().to(gathered[1])
                    return torch.nn.Parameter(whole, tensor.requires_grad)
            if is_buffer:
                return tensor.detach().clone()
            if type(tensor) is not torch.nn.Parameter or tensor.is_inference():
                return tensor
            return _with_attributes(torch.nn.Parameter(tensor.detach(), tensor.requires_grad), tensor)
        made = self._meta(tensor) if gathered is None else torch.empty(gathered[0], dtype=gathered[1], device="meta")
        if torch_private.is_distributed(tensor) and (gathered is None or gathered[2] is not None):
            return self._part(tensor, is_buffer, *(gathered or ()))
        self.dense |= gathered is None and torch_private.wraps_tensors(type(tensor))
        if mode == "meta" and is_buffer and isinstance(self.recorder, MetaRecorder) and _readable(tensor):
            self.recorder.remember(made, tensor)
        if self.fake is not None:
            made = torch_private.fake_tensor(self.fake, made, _device(tensor))
        if is_buffer and not isinstance(tensor, torch.nn.Parameter):
            return made
        return _with_attributes(_like(tensor, made), tensor)

    def _is_plain(self, tensor: torch.Tensor) -> bool:
        """Whether nothing is to be known of a parameter but its shape, strides and element type."""
        own = type(tensor) is torch.nn.Parameter and tensor.layout is torch.strided and not tensor.is_nested
        return own and not tensor.__dict__ and not (self.processes is not None and self.processes.gathered)

    def _part(
        self, tensor: Any, is_buffer: bool, shape: Any = None, dtype: Any = None, like: Any = None
    ) -> torch.Tensor:  # fmt: skip
        """A DTensor with a stand-in for the part of this process, spread as it is or as `like`."""
        own = torch_private.local_part(tensor)
        local = self._meta(own) if shape is None else torch.empty(shape, dtype=dtype, device="meta")
        if self.fake is not None:
            local = torch_private.fake_tensor(self.fake, local, _device(own))
        made = torch_private.distributed(tensor if like is None else like, local)
        return made if is_buffer else torch.nn.Parameter(made, requires_grad=tensor.requires_grad)

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
        """What to pass for one input: a spec, or a tensor that the user gave. Theirs is never passed itself; one that
        is given twice is passed twice."""
        if isinstance(value, str):
            return value
        if isinstance(value, InputSpec):
            return self._from_spec(value, numbers.get(which), which)
        if id(value) not in self._passed:
            self._passed[id(value)] = self._in_place_of(value)
        return self._passed[id(value)]

    def _in_place_of(self, value: torch.Tensor) -> torch.Tensor:
        if isinstance(self.recorder, RealRecorder):
            if not _readable(value):
                return value
            own = value.detach().clone().requires_grad_(value.requires_grad)
            self.recorder.given.add(torch_private.storage_number(own))
            return own
        if torch_private.is_distributed(value):
            return self._part(value, is_buffer=True)
        if isinstance(self.recorder, MetaRecorder):
            known = not value.is_floating_point() and not value.is_complex() and value.numel() <= _KNOWN_INPUT
            if known and _readable(value) and value.layout is torch.strided:
                own = value.detach().clone().cpu()
                self.recorder.keep(own)
                return own
            made = self._meta(value)
            if _readable(value):
                self.recorder.remember(made, value)
            return made.requires_grad_(value.requires_grad)
        made = torch_private.fake_tensor(self.fake, self._meta(value), _device(value))
        return made.requires_grad_(value.requires_grad)

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
            self.recorder.undecided.add(made, which)
        return made

    def _drawn(self, spec: InputSpec, dtype: torch.dtype) -> torch.Tensor:
        """Values for a shape: normal, below the bound, else 0, or True."""
        if dtype.is_floating_point or dtype.is_complex:
            return torch.randn(spec.shape, dtype=torch.float32, device=self.device).to(dtype)
        if spec.below:
            return torch.randint(0, spec.below, spec.shape, device=self.device).to(dtype)
        fill = 1 if dtype is torch.bool else 0
        return torch.full(spec.shape, fill, dtype=dtype, device=self.device)


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _like(origin: torch.Tensor, made: torch.Tensor) -> torch.nn.Parameter:
    """A parameter over `made`, of the class of `origin` where that is one with methods of its own."""
    kind = type(origin)
    own = kind is not torch.nn.Parameter and issubclass(kind, torch.nn.Parameter)
    if own and type(made) is torch.Tensor and not torch_private.wraps_tensors(kind):
        found: Any = torch.Tensor._make_subclass(kind, made, origin.requires_grad)
        return found  # type: ignore[no-any-return]
    return torch.nn.Parameter(made, requires_grad=origin.requires_grad)


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

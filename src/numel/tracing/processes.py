"""Models that are spread over processes, run in this one alone: nothing is gathered, sent or waited for.

A wrapper that only moves data (DataParallel, DistributedDataParallel, FSDP) is taken for what it wraps. A DTensor keeps
its placement, over a stand-in of its local part: tensor parallelism changes what this process computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch

from numel import torch_private
from numel.facts.note import Note
from numel.tracing.tree import tensors


class Processes:
    """What a model shares with other processes. `gathered` maps the id of a parameter that FSDP shards to what the
    forward sees: its shape here, its element type, and how it is spread if it still is. `spread` says that parameters
    are so over more than one process."""

    def __init__(self, every: Sequence[torch.nn.Module]) -> None:
        self.gathered: dict[int, tuple[tuple[int, ...], torch.dtype, Any]] = {}
        self.spread = False
        self._every = every
        self._states: list[tuple[torch.nn.Module, Any]] = []
        self._flat: list[tuple[torch.nn.Module, torch_private.Flat]] = []
        for module in every:
            flat = torch_private.flat(module, outermost=not self._flat)
            if flat is not None:
                self._flat.append((module, flat))
            state = torch_private.fsdp_state(module)
            if state is not None:
                self._states.append((module, state))
                for parameter, *seen in torch_private.fsdp_parameters(state):
                    self.gathered[id(parameter)] = (seen[0], seen[1], seen[2])
        for parameter in tensors(every):
            if torch_private.is_distributed(parameter):
                placed = self.gathered[id(parameter)][2] if id(parameter) in self.gathered else parameter
                self.spread |= placed is not None and torch_private.processes(placed) > 1

    def leave(self) -> None:
        """Let no wrapper reach other processes; the caller restores the modules' dictionaries."""
        for module in self._every:
            if isinstance(module, torch.nn.DataParallel):
                module.__dict__["device_ids"] = []
            torch_private.leave_group(module)
        for module, flat in self._flat:
            module.__dict__["forward"] = _through(flat)
            _unflatten(flat)
        for module, state in self._states:
            cast = torch_private.fsdp_casts(state)
            for hooks, made in ((module._forward_pre_hooks, _before), (module._forward_hooks, _after)):
                for key, hook in list(hooks.items()):
                    if str(getattr(hook, "__module__", "")).startswith("torch.distributed.fsdp"):
                        hooks[key] = made(*cast)  # under the same key, which says that it takes keywords

    @property
    def sharded(self) -> bool:
        """Whether this process has no more than a part of some parameters, and no DTensor says so."""
        return any(flat.sharded for _, flat in self._flat)

    def notes(self) -> list[Note]:
        """What the numbers are for."""
        said = []
        if self.gathered or self.sharded:
            text = "FSDP gathers what it shards before it is used: the forward ran on what it gathers"
            said.append(Note("gathered", "info", text))
        if self.spread:
            text = (
                "parameters are spread over processes: params are those of all, MACs and activations those of this one"
            )
            said.append(Note("one-process", "info", text))
        return said


def _through(flat: torch_private.Flat) -> Callable[..., Any]:
    """What a FullyShardedDataParallel wraps, called as it would be."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = torch_private.cast((args, kwargs), flat.cast)
        return flat.wrapped(*args, **kwargs)

    return forward


def _unflatten(flat: torch_private.Flat) -> None:
    """Put each parameter of a flat one where it belongs, in the shape that it has when all of it is gathered: a view
    where this process has all of it, else one on meta."""
    start = 0
    for owner, name, shape, dtype in flat.parameters:
        assert flat.held is not None
        held = owner._parameters
        own = held.get(name)
        if own is not None and (tuple(own.shape), own.dtype) == (shape, dtype):
            continue
        owner.__dict__.pop(name, None)  # a view, where forwards look first
        if own is not None and tuple(own.shape) == shape:
            made = own.detach().to(dtype)
        elif flat.sharded:
            made = torch.empty(shape, dtype=dtype, device="meta")
        else:
            made = flat.held.detach().flatten()[start : start + prod(shape)].view(shape).to(dtype)
            start += prod(shape)
        held[name] = torch.nn.Parameter(made, requires_grad=flat.held.requires_grad)


def _before(inward: torch.dtype | None, _: torch.dtype | None) -> Callable[..., Any]:
    def hook(module: Any, args: Any, kwargs: Any) -> Any:
        return torch_private.cast((args, kwargs), inward)

    return hook


def _after(_: torch.dtype | None, outward: torch.dtype | None) -> Callable[..., Any]:
    def hook(module: Any, args: Any, output: Any) -> Any:
        return torch_private.cast(output, outward)

    return hook

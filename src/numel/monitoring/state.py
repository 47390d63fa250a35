"""What a module is made of right now, as a table that two looks are compared by. Looks only: nothing is attached."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from numel.facts import Change, above_of


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor at one path. `same` gives the tensor as long as it lives: an address alone may be another's by now."""

    same: Any = field(compare=False)
    shape: tuple[int, ...] | None
    dtype: str
    device: str
    trains: bool
    role: str
    alias_of: str | None


@dataclass(frozen=True, slots=True)
class State:
    """Modules by path, each as (weak reference, class), and tensors by path."""

    modules: dict[str, tuple[Any, str]]
    tensors: dict[str, Part]


def look(model: Any, before: State | None = None) -> State:
    """The state now; the very same object as `before` where nothing is different.

    >>> import torch
    >>> first = look(torch.nn.Linear(2, 3))
    >>> list(first.tensors), first.modules[""][1]
    (['weight', 'bias'], 'Linear')
    """
    import torch

    modules: dict[str, tuple[Any, str]] = {}
    tensors: dict[str, Part] = {}
    firsts: dict[int, str] = {}
    same = before is not None
    for path, module in model.named_modules(remove_duplicate=False):
        held = before.modules.get(path) if before is not None else None
        if held is not None and held[0]() is module and held[1] == type(module).__name__:
            modules[path] = held
        else:
            modules[path] = weakref.ref(module), type(module).__name__
            same = False
        head = f"{path}." if path else ""
        for role, holder in (("parameter", module._parameters), ("buffer", module._buffers)):
            for name, tensor in holder.items():
                if tensor is None:
                    continue
                place = head + name
                alias = firsts.setdefault(id(tensor), place)
                known = before.tensors.get(place) if before is not None else None
                part = Part(
                    weakref.ref(tensor), None if torch.nn.parameter.is_lazy(tensor) else tuple(tensor.shape),
                    _element(tensor), str(tensor.device), tensor.requires_grad, role, None if alias == place else alias,
                )  # fmt: skip
                if known is not None and known.same() is tensor and known == part:
                    tensors[place] = known
                else:
                    tensors[place] = part
                    same = False
    now = State(modules, tensors)
    if before is not None and same and len(modules) == len(before.modules) and len(tensors) == len(before.tensors):
        return before
    return now


def _element(tensor: Any) -> str:
    """The type of its elements; with the class of a tensor that holds them packed in others."""
    import torch

    name, kind = str(tensor.dtype)[6:], type(tensor)
    if kind is torch.nn.Parameter or kind is torch.Tensor:  # nearly all: a look is taken at each step
        return name
    from numel import torch_private

    if not torch_private.wraps_tensors(kind) or torch_private.is_distributed(tensor):
        return name
    return f"{name} in {kind.__name__}"


def changes(before: State, after: State) -> tuple[Change, ...]:
    """What is different, in the order of the model. What lies inside of something replaced is told by what is different
    in it, and not by being another object."""
    return tuple(_changes(before, after))


def _changes(before: State, after: State) -> Iterator[Change]:
    replaced: set[str] = set()
    for path, (_, kind) in before.modules.items():
        if path not in after.modules:
            yield Change("removed", path, kind, None)
    for path, (now, kind) in after.modules.items():
        if path not in before.modules:
            yield Change("added", path, None, kind)
            continue
        was, old = before.modules[path]
        if was() is not now() or old != kind:
            if above_of(path, replaced) not in replaced or not path:
                yield Change("replaced", path, old, kind)
            replaced.add(path)
    for path, part in before.tensors.items():
        if path not in after.tensors:
            yield Change("removed", path, part.shape, None)
    for path, part in after.tensors.items():
        if path not in before.tensors:
            yield Change("added", path, None, part.shape)
        else:
            yield from _of_tensor(path, before.tensors[path], part, path.rpartition(".")[0] in replaced)


def _of_tensor(path: str, x: Part, y: Part, told: bool) -> Iterator[Change]:
    found = []
    if x.shape != y.shape:
        found.append(Change("reshaped", path, x.shape, y.shape))
    if x.dtype != y.dtype:
        found.append(Change("retyped", path, x.dtype, y.dtype))
    if x.device != y.device:
        found.append(Change("moved", path, x.device, y.device))
    if x.trains != y.trains:
        found.append(Change("unfrozen" if y.trains else "frozen", path, x.trains, y.trains))
    if x.alias_of != y.alias_of:
        kind = "untied" if y.alias_of is None else "tied"
        found.append(Change(kind, path, x.alias_of, y.alias_of))  # type: ignore[arg-type]
    if x.role != y.role or (not found and not told and x.same() is not y.same()):
        found.append(Change("replaced", path, x.role, y.role))
    yield from found

"""The modules of a model in one flat walk: torch's own goes through a generator for each module above."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch


def named_modules(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """`list(model.named_modules())`.

    >>> layer = torch.nn.ReLU()
    >>> [path for path, _ in named_modules(torch.nn.Sequential(layer, torch.nn.Sequential(layer)))]
    ['', '0', '1']
    """
    seen: set[torch.nn.Module] = set()
    found: list[tuple[str, torch.nn.Module]] = []
    pending = [("", model)]
    while pending:
        path, module = pending.pop()
        if module in seen:
            continue
        if type(module).named_modules is not torch.nn.Module.named_modules:
            return list(model.named_modules())
        seen.add(module)
        found.append((path, module))
        children = module._modules
        if children:
            prefix = path and path + "."
            pending += [(prefix + name, child) for name, child in reversed(children.items()) if child is not None]
    return found


def modules(model: torch.nn.Module) -> list[torch.nn.Module]:
    """`list(model.modules())`."""
    return [module for _, module in named_modules(model)]


def tensors(every: Iterable[torch.nn.Module]) -> Iterator[torch.Tensor]:
    """The parameters and then the buffers of modules; one that several hold comes as often."""
    every = list(every)
    for group in ("_parameters", "_buffers"):
        for module in every:
            held = getattr(module, group)
            if held:
                yield from [tensor for tensor in held.values() if tensor is not None]

"""Tensors and modules held in plain attributes, lists and dictionaries, where `parameters()` does not look.

They count in no total, as nothing that torch does with a module (training, moving, saving) reaches them. So they are
named.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from math import prod
from typing import Any

from numel.facts.note import Note, listed

# the attributes of every module, in which nothing is unregistered
_OWN = frozenset({
    "training", "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_backward_pre_hooks",
    "_backward_hooks", "_is_full_backward_hook", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
})  # fmt: skip
_PLAIN = frozenset({int, float, bool, str, type(None)})
_CONTAINERS = (list, tuple, dict, deque)
_DEEPEST = 4
_MOST = 10_000  # things that one attribute is searched for


def held_outside(
    torch: Any, modules: dict[str, Any], flat: Collection[tuple[int, str]] = ()
) -> Iterator[Note]:  # fmt: skip
    """Notes on what `modules` (each at its first path) hold unregistered: a warning for what looks like weights (a
    parameter, or a module with some), which will neither train nor be saved, else an info. What FSDP keeps `flat` is
    registered, if not where it belongs."""
    known = {id(each) for module in modules.values() for group in (module._parameters, module._buffers)
             for each in group.values()} | {id(module) for module in modules.values()}  # fmt: skip
    weights: list[tuple[str, int]] = []
    others: list[tuple[str, int]] = []
    for path, module in modules.items():
        registered, state = module._parameters, module.__dict__
        for name in [each for each in state if each not in _OWN]:
            value = state[name]
            if type(value) in _PLAIN or (id(module), name) in flat:
                continue
            if not isinstance(value, (torch.Tensor, torch.nn.Module, *_CONTAINERS)):
                continue
            if f"{name}_orig" in registered or f"{name}_v" in registered:
                continue  # pruning and norms keep there what they compute of it
            for place, tensor, weighs in _found(torch, f"{path}.{name}" if path else name, value, known):
                known.add(id(tensor))
                (weights if weighs else others).append((place, _numel(torch, tensor)))
    if weights:
        text = f"outside of parameters(): {_listed(weights)}: not counted, and neither trained, moved nor saved"
        yield Note("unregistered", "warning", text, weights[0][0] if len(weights) == 1 else "")
    if others:
        text = f"plain tensors, outside of parameters() and buffers(): {_listed(others)}: not counted"
        yield Note("unregistered", "info", text, others[0][0] if len(others) == 1 else "")


def _found(torch: Any, path: str, value: Any, known: set[int]) -> Iterator[tuple[str, Any, bool]]:
    """The tensors of a value that are registered nowhere, and whether each is a parameter."""
    pending: list[tuple[str, Any, int]] = [(path, value, 0)]
    left = _MOST
    while pending and left:
        left -= 1
        place, each, deep = pending.pop()
        if isinstance(each, torch.Tensor):
            if id(each) not in known and each.grad_fn is None:  # what was computed of weights is none
                yield place, each, isinstance(each, torch.nn.Parameter)
        elif isinstance(each, torch.nn.Module):
            if id(each) not in known:
                for name, tensor in each.named_parameters():
                    if id(tensor) not in known:
                        yield f"{place}.{name}", tensor, True
        elif isinstance(each, _CONTAINERS) and deep < _DEEPEST:
            items = each.items() if isinstance(each, dict) else enumerate(each)
            below = [(f"{place}.{key}", item, deep + 1) for key, item in items]
            pending.extend(reversed(below))


def constants(torch: Any, model: Any) -> Iterator[Note]:
    """What freezing made of the weights of a scripted module: constants of its graph, which are no parameters."""
    graph = getattr(model, "inlined_graph", None) if isinstance(model, torch.jit.ScriptModule) else None
    if graph is None:
        return
    count = elements = 0
    for node in graph.findAllNodes("prim::Constant"):
        output = node.output()
        if isinstance(output.type(), torch.TensorType) and node.hasAttribute("value"):
            count += 1
            elements += output.toIValue().numel()
    if elements:
        text = (
            f"torch.jit keeps {elements:,} elements in {count:,} constants of its graph, outside of parameters() and "
            "buffers(): not counted"
        )
        yield Note("constants", "warning", text)


def _numel(torch: Any, tensor: Any) -> int:
    if torch.nn.parameter.is_lazy(tensor):
        return 0
    return prod(tensor.values().shape if tensor.is_nested else tensor.shape)


def _listed(places: list[tuple[str, int]]) -> str:
    return f"{listed([path for path, _ in places])} ({sum(n for _, n in places):,} elements)"

"""What a user could find changed after a call, by Python's own means: identities, keys, values, version counters.

It knows nothing of how the tracer keeps things and puts them back.
"""

from __future__ import annotations

import collections
import functools
import random
import sys
import types
import warnings
import zlib
from typing import Any

import numpy as np
import torch
from torch import _dynamo, nn  # torch loads dynamo at its first product on meta, and patches itself then

_ATOMS = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
_CONTAINERS = (dict, list, tuple, set, collections.deque)
_OPAQUE = (type, types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType, nn.Module)
_REMEMBERS = type(functools.lru_cache(len))


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """The module tree with all it holds, its tensors, the code it is made of, and the process."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        found[f"{path}: module"] = (id(module), type(module))
        for name, value in module.__dict__.items():
            found[f"{path}: {name}"] = _inside(value)
        found[f"{path}: order"] = tuple(module.__dict__)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[f"tensor {name}"] = (id(tensor), type(tensor), tensor.device, tensor.dtype, tensor._version)
        found[f"gradient {name}"] = (tensor.requires_grad, id(tensor.grad))
        if not nn.parameter.is_lazy(tensor):
            found[f"data {name}"] = (tuple(tensor.shape), tensor.stride(), tensor.data_ptr())  # values: in the tree
    found["state_dict"] = tuple(model.state_dict())
    return found | _code(model) | process()


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {key: (before.get(key), after.get(key)) for key in before | after if before.get(key) != after.get(key)}


def process() -> dict[str, Any]:
    """Switches, generators and the identity of every function that a library could patch."""
    spaces = (torch, nn.functional, nn.Module.__dict__, torch.Tensor.__dict__, nn.init, random, warnings)
    return {
        "functions": [
            {n: id(f) for n, f in (space if isinstance(space, collections.abc.Mapping) else vars(space)).items()
             if callable(f)}
            for space in spaces
        ],
        "random": random.getstate(),
        "numpy": repr(np.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "fastpath": torch.backends.mha.get_fastpath_enabled(),
        "filters": (id(warnings.filters), list(warnings.filters)),
        "show": id(warnings.showwarning),
        "validation": torch.distributions.Distribution._validate_args,
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "function modes": torch._C._len_torch_function_stack(),
        "jit": torch._C._get_graph_executor_optimize(),
        "stance": _dynamo.eval_frame._stance.stance,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }  # fmt: skip


def _code(model: nn.Module) -> dict[str, Any]:
    """Attributes of the modules' classes and globals of the files that define them, with what they hold or remember."""
    found: dict[str, Any] = {}
    kinds = {each for module in model.modules() for each in type(module).__mro__}
    spaces = {f"class {kind.__qualname__}": vars(kind) for kind in kinds if _is_foreign(kind.__module__)}
    for name in {kind.__module__ for kind in kinds}:
        if _is_foreign(name) and name in sys.modules:
            spaces[f"file {name}"] = vars(sys.modules[name])
    for where, space in spaces.items():
        found[where] = {name: id(value) for name, value in space.items()}
        found[f"{where}: contents"] = [_inside(value) for value in space.values() if type(value) in _CONTAINERS]
        found[f"{where}: caches"] = [_remembered(value) for value in space.values()]
    return found


def _is_foreign(name: str) -> bool:
    return name.partition(".")[0] not in ("torch", "builtins")


def _remembered(value: Any) -> Any:
    """How full the `lru_cache` is, of a function or of the one inside its decorator; calls and hits are no matter."""
    inside = [value]
    if isinstance(value, types.FunctionType):
        inside += [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
    return [(id(each), each.cache_info().currsize) for each in inside if isinstance(each, _REMEMBERS)]


def _inside(value: Any) -> Any:
    """Structure, order and leaves of containers and plain objects; tensors by identity, value and version."""
    done: list[Any] = []
    seen: set[int] = set()
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, torch.Tensor):
            done.append((id(each), each._version, None if nn.parameter.is_lazy(each) else _values(each)))
        elif isinstance(each, _ATOMS):
            done.append((type(each), repr(each)))
        elif id(each) in seen:
            done.append(("again", id(each)))
        else:
            seen.add(id(each))
            done.append((id(each), type(each)))
            if isinstance(each, dict):
                pending.extend([*each, *each.values()])
            elif isinstance(each, set):
                pending.extend(sorted(each, key=repr))
            elif isinstance(each, _CONTAINERS):
                pending.extend(each)
            elif isinstance(each, torch.Generator):
                done.append(each.get_state().tolist())
            elif isinstance(each, random.Random):
                done.append(each.getstate())
            elif isinstance(each, np.random.Generator):
                done.append(repr(each.bit_generator.state))
            elif not isinstance(each, _OPAQUE) and _is_foreign(type(each).__module__):
                held = dict(getattr(each, "__dict__", {}))
                slots = getattr(type(each), "__slots__", ())
                held |= {name: getattr(each, name) for name in slots if hasattr(each, name)}
                pending.extend([*held, *held.values()])
    return done


def _values(tensor: torch.Tensor) -> int | None:
    """A checksum of the bytes; meta tensors have none."""
    if tensor.device.type == "meta":
        return None
    return zlib.crc32(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()) if tensor.numel() else 0

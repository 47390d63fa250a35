"""Models whose parameters a FullyShardedDataParallel keeps flat: each at its own place, in the shape that it has as a
whole; of a flat one alone, where the others are taken away, its length."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from numel.facts.tensor import TensorRecord

Place = tuple[int, str]  # of a module, and the name of a parameter there


def is_loaded() -> bool:
    """Whether there can be such models."""
    return "torch.distributed.fsdp.fully_sharded_data_parallel" in sys.modules


def wholes(modules: list[Any]) -> dict[Place, tuple[int, ...]]:
    """The shapes of parameters as they are when all processes' parts are put together."""
    from numel import torch_private

    found: dict[Place, tuple[int, ...]] = {}
    for module in modules:
        flat = torch_private.flat(module)
        if flat is not None and flat.held is not None:
            found |= {(id(owner), name): shape for owner, name, shape, _ in flat.parameters}
            found[id(flat.wrapped), "_flat_param"] = (flat.length,)
            found[id(module), "params"] = ()  # its own list of the flat one
    return found


def whole(record: TensorRecord, shape: tuple[int, ...]) -> TensorRecord:
    """A record of what this process holds of a parameter as one of the whole."""
    return replace(record, shape=shape, shard=record.shape, storage=None, storage_nbytes=None)

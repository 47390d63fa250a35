"""(e) `summary(backward=True)` against forward and backward alone on meta and on fake tensors, and MemTracker.

The floor is the faster of the two bare training steps, which count nothing and track nothing. `MemTracker` of
`torch.distributed._tools` follows the live bytes of a step on fake tensors; it counts no work.

    python benchmarks/bench_backward.py [NAME ...]      names as in `CASES`; all without
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from bench_summary import IMAGE, argument
from torch._subclasses.fake_tensor import FakeTensorMode

from measure import from_example, paired, show
from numel.api import summary

CASES = {
    "resnet-50": IMAGE.replace("[1", "[2"),
    "vit-b-16": IMAGE.replace("[1", "[2"),
    "llama-3-8b": "i64[1,2048]",
    "llama-3-70b": "i64[1,2048]",
}


def _step(model: Any, x: torch.Tensor, options: dict[str, Any]) -> None:
    model(x, **options).logits.mean().backward()
    for parameter in model.parameters():
        parameter.grad = None


def on_meta(model: Any, notation: str) -> Callable[[], object]:
    x = argument(notation, "meta")
    return lambda: _step(model, x, _options(x))


def _faked(name: str, notation: str) -> tuple[FakeTensorMode, Any, torch.Tensor]:
    """The model of an example and its input on fake CPU tensors, and the mode that they are of."""
    mode = FakeTensorMode()
    model = from_example(name).train()
    with mode, torch.device("cpu"):
        for module in model.modules():
            for held in (module._parameters, module._buffers):
                for key, tensor in held.items():
                    if tensor is not None:
                        made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
                        held[key] = torch.nn.Parameter(made) if held is module._parameters else made
        x = argument(notation, "cpu")
    return mode, model, x


def on_fake(name: str, notation: str) -> Callable[[], object]:
    mode, model, x = _faked(name, notation)

    def run() -> None:
        with mode:
            _step(model, x, _options(x))

    return run


def with_mem_tracker(name: str, notation: str) -> Callable[[], object]:
    from torch.distributed._tools.mem_tracker import MemTracker

    mode, model, x = _faked(name, notation)

    def run() -> object:
        tracker = MemTracker()
        with mode:
            tracker.track_external(model)
            with tracker:
                _step(model, x, _options(x))
        return tracker.get_tracker_snapshot("peak")

    return run


def _options(x: torch.Tensor) -> dict[str, Any]:
    """As in bench_summary: language models get their mask ready-made, which spares the floor work that numel does."""
    if x.is_floating_point():
        return {}
    length = x.shape[-1]
    return {"use_cache": False, "attention_mask": torch.empty(1, 1, length, length, dtype=torch.bool, device=x.device)}


def measured(name: str, notation: str) -> tuple[str, dict[str, list[float]], str]:
    """All contenders on one model; the floor is whichever bare step was faster."""
    model = from_example(name).train()
    model.config.use_cache = False
    contenders: dict[str, Callable[[], object]] = {
        "bare step, meta": on_meta(model, notation),
        "bare step, fake": on_fake(name, notation),
        "numel.summary": lambda: summary(model, notation, backward=True).peak_nbytes,
        "MemTracker, fake": with_mem_tracker(name, notation),
    }
    seconds = paired(contenders, rounds=int(os.environ.get("ROUNDS", "5")), most_seconds=30)
    floors = [each for each in ("bare step, meta", "bare step, fake") if each in seconds]
    return f"{name} {notation}", seconds, min(floors, key=lambda each: median(seconds[each]), default="")


def main(names: list[str]) -> None:
    rows = [measured(name, CASES[name]) for name in names]
    show("e. backward", rows, goal="numel at most 1.3 × the faster bare step, and 5 × faster than MemTracker")


if __name__ == "__main__":
    main(sys.argv[1:] or list(CASES))

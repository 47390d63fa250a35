"""(b) `summary` with MACs against the bare forward on meta and on fake tensors, FlopCounterMode and the peers.

The floor is the faster of the two bare forwards, which count nothing. Peers run on the same meta model where they can;
one that cannot is named with its error. fvcore traces with jit and needs real weights, so it runs only where these fit.

    python benchmarks/bench_summary.py [NAME ...]      names as in `CASES`; all without
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from measure import from_example, paired, show
from numel.api import summary

IMAGE = "f32[1,3,224,224]"
CASES = {
    "resnet-50": IMAGE,
    "vit-b-16": IMAGE,
    "llama-3-8b": "i64[1,8192]",
    "llama-3-70b": "i64[1,8192]",
    "llama-3.1-405b": "i64[1,8192]",
    "deepseek-v3": "i64[1,8192]",
}
_REAL_PARAMETERS = 10**8  # models up to here are also built for real, for the peer that needs it


def argument(notation: str, device: str) -> torch.Tensor:
    """The tensor that the notation of a case stands for."""
    shape = tuple(map(int, notation.partition("[")[2].rstrip("]").split(",")))
    kind = torch.float32 if notation.startswith("f32") else torch.int64
    return torch.zeros(shape, dtype=kind, device=device)


def on_meta(model: Any, notation: str) -> Callable[[], object]:
    x = argument(notation, "meta")
    options = _options(model, x)

    def run() -> object:
        with torch.no_grad():
            return model(x, **options)

    return run


def on_fake(model: Any, notation: str) -> Callable[[], object]:
    """The same modules with every weight replaced by a fake CPU tensor, made once: only the forward is timed."""
    mode = FakeTensorMode()
    with mode, torch.device("cpu"):
        weights = {
            name: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype)
            for name, t in (*model.named_parameters(), *model.named_buffers())
        }
        x = argument(notation, "cpu")
        options = _options(model, x)

    def run() -> object:
        with torch.no_grad(), mode:
            return torch.func.functional_call(model, weights, (x,), options)

    return run


def with_flop_counter(model: Any, notation: str) -> Callable[[], object]:
    bare = on_meta(model, notation)

    def run() -> int:
        with FlopCounterMode(display=False) as counter:
            bare()
        return counter.get_total_flops()

    return run


def with_torchinfo(model: Any, notation: str) -> Callable[[], object]:
    import torchinfo

    x = argument(notation, "meta")
    return lambda: torchinfo.summary(model, input_data=x, verbose=0, device="meta", **_options(model, x))


def with_fvcore(model: Any, notation: str) -> Callable[[], object]:
    import logging

    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    real = type(model)(model.config).eval()
    x = argument(notation, "cpu")

    def run() -> object:
        return FlopCountAnalysis(real, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()

    return run


def _options(model: Any, x: torch.Tensor) -> dict[str, Any]:
    """Language models keep no cache, and get their mask ready-made.

    To make a mask, transformers looks at values, which meta tensors do not have; so without it neither the bare forward
    nor a peer would run there. It spares them work that `numel.summary` does: the floor is lower for it, not higher.
    """
    if x.is_floating_point():
        return {}
    length = x.shape[-1]
    return {"use_cache": False, "attention_mask": torch.empty(1, 1, length, length, dtype=torch.bool, device=x.device)}


def measured(name: str, notation: str) -> tuple[str, dict[str, list[float]], str]:
    """All contenders on one model; the floor is whichever bare forward was faster."""
    model = from_example(name)
    model.config.use_cache = False
    parameters = sum(p.numel() for p in model.parameters())
    contenders: dict[str, Callable[[], object]] = {
        "bare forward, meta": on_meta(model, notation),
        "bare forward, fake": on_fake(model, notation),
        "numel.summary": lambda: summary(model, notation).macs,
        "numel.summary, every block": lambda: summary(model, notation, every_block=True).macs,
        "FlopCounterMode, meta": with_flop_counter(model, notation),
    }
    for peer, made in (("torchinfo", with_torchinfo), ("fvcore", with_fvcore)):
        if peer == "fvcore" and parameters > _REAL_PARAMETERS:
            continue
        try:
            contenders[peer] = made(model, notation)
        except ImportError:
            print(f"{peer} is not installed", file=sys.stderr)
    seconds = paired(contenders, rounds=int(os.environ.get("ROUNDS", "5")), most_seconds=30)
    floors = [each for each in ("bare forward, meta", "bare forward, fake") if each in seconds]
    floor = min(floors, key=lambda each: median(seconds[each]), default="")
    return f"{name} {notation}", seconds, floor


def main(names: list[str]) -> None:
    rows = [measured(name, CASES[name]) for name in names]
    show("b. summary", rows, goal="numel at most 1.2 × the faster bare forward, and faster than FlopCounterMode")


if __name__ == "__main__":
    main(sys.argv[1:] or list(CASES))

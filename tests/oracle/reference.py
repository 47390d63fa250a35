"""One forward counted without numel: by torch's own counter, and by the rules of fvcore, which made published tables.

fvcore counts a multiply-accumulate as one operation, and beside those (`fvcore/nn/jit_handles.py` and `flop_count.py`
of facebookresearch/fvcore at 052545c) the operations of

- layer, group and instance norm: 5 per element with a weight, 4 without; batch norm 2 and 1 in evaluation,
- adaptive average pooling: 1 per input element,
- interpolation: 1 per output element to the nearest, 4 bilinear.

It has no rule for `aten::_convolution_mode` (a padding given as "same") and for `aten::lstm`, and leaves them out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Counted:
    """`macs` are half the FLOPs of torch's counter. fvcore's figure is `macs` + `beside` - `unseen`."""

    params: int
    macs: int
    beside: int
    unseen: int

    @property
    def by_fvcore(self) -> int:
        return self.macs + self.beside - self.unseen


def counted(build: Callable[[], torch.nn.Module], inputs: Mapping[str, Any] | torch.Tensor) -> Counted:
    """The model that `build` makes, on meta and in evaluation, for one forward of `inputs`, which are on meta as well.

    An LSTM is left out of the forward and counted by its weights: on meta torch runs it step by step in Python.
    """
    with torch.device("meta"), _Undrawn():
        model = build()
    model = model.to("meta").eval().requires_grad_(False)  # the counter follows inputs that require a gradient
    counter, rules = FlopCounterMode(display=False), _Rules()
    with torch.no_grad(), counter, rules:
        model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    macs, odd = divmod(counter.get_total_flops(), 2)
    assert not odd
    return Counted(sum(p.numel() for p in model.parameters()), macs + rules.lstm, rules.beside, rules.unseen)


class _Undrawn(TorchFunctionMode):
    """Weights on meta have no values, so that drawing them only takes time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.erfinv_):
            return args[0]
        return func(*args, **(kwargs or {}))


class _Rules(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.beside = self.unseen = self.lstm = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func is torch.lstm:
            return self._lstm(*args, **named)
        output = func(*args, **named)
        if func in (F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm, F.adaptive_avg_pool2d, F.interpolate):
            self.beside += _beside(func, inspect.signature(func).bind(*args, **named).arguments, output)
        elif func is torch.conv2d and isinstance(args[4] if len(args) > 4 else named.get("padding"), str):
            self.unseen += output.numel() * args[1][0].numel()
        return output

    def _lstm(self, taken: torch.Tensor, state: Any, weights: Any, *options: Any) -> Any:
        """Every token meets every weight matrix, and each direction puts out a hidden state."""
        *_, bidirectional, _batch_first = options
        work = taken.numel() // taken.shape[-1] * sum(w.numel() for w in weights if w.ndim == 2)
        self.lstm += work
        self.unseen += work
        hidden, cell = state
        return taken.new_empty(*taken.shape[:-1], hidden.shape[-1] * (1 + bidirectional)), hidden, cell


def _beside(func: Any, given: dict[str, Any], output: torch.Tensor) -> int:
    taken, affine = given["input"].numel(), given.get("weight") is not None
    if func is F.batch_norm and not given.get("training"):
        return taken * (1 + affine)
    if func is F.adaptive_avg_pool2d:
        return taken
    if func is F.interpolate:
        return output.numel() * {"nearest": 1, "bilinear": 4}.get(given.get("mode", "nearest"), 0)
    return taken * (4 + affine)

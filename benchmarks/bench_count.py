"""(a) `count` on many modules against a bare loop over `named_parameters()`.

The floor does the least that could be called counting: it visits every parameter once and adds up `numel()`.
"""

from __future__ import annotations

import sys

import torch
from torch import nn

from measure import paired, show
from numel.api import count


def wide(modules: int) -> nn.Module:
    """About `modules` modules, half of them with two parameters, ten to a block: a tree as models have them."""
    blocks = []
    with torch.device("meta"):
        for _ in range(modules // 11):
            blocks.append(nn.Sequential(*(nn.Linear(8, 8) if i % 2 else nn.ReLU() for i in range(10))))
        return nn.Sequential(*blocks)


def bare(model: nn.Module) -> int:
    """The floor."""
    return sum(parameter.numel() for _, parameter in model.named_parameters())


def main(sizes: list[int]) -> None:
    rows = []
    for size in sizes:
        model = wide(size)
        modules = sum(1 for _ in model.modules())
        assert count(model).params == bare(model)
        contenders = {"named_parameters() loop": lambda m=model: bare(m), "numel.count": lambda m=model: count(m)}
        try:
            import torchinfo
        except ImportError:
            pass
        else:
            contenders["torchinfo.summary"] = lambda m=model: torchinfo.summary(m, depth=1, verbose=0)
        rows.append((f"{modules:,} modules", paired(contenders, rounds=7), "named_parameters() loop"))
    show("a. count", rows, goal="at most 2 × the bare loop on 100,000 modules")


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [1_000, 100_000])

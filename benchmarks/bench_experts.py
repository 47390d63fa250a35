"""The form of DeepSeek-V3 with its experts as a list: 61 layers, 58 of them with 256 experts of three Linears."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import nn

import numel
from measure import paired, show


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Moe(nn.Module):
    """One shared expert, and the 8 of 256 that a sigmoid router chooses, in a loop over those that were."""

    def __init__(self, width: int, inner: int, n: int, k: int) -> None:
        super().__init__()
        self.top_k = k
        self.gate = nn.Linear(width, n, bias=False)
        self.experts = nn.ModuleList([Mlp(width, inner) for _ in range(n)])
        self.shared_experts = Mlp(width, inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(0, -2)
        weights, chosen = self.gate(flat).sigmoid().topk(self.top_k, dim=-1)
        out = torch.zeros_like(flat)
        mask = nn.functional.one_hot(chosen, len(self.experts)).permute(2, 1, 0)
        for i, expert in enumerate(self.experts):
            slot, token = torch.where(mask[i])
            if token.numel():
                out.index_add_(0, token, expert(flat[token]) * weights[token, slot, None])
        return out.view_as(x) + self.shared_experts(x)


def model(layers: int = 61, dense: int = 3) -> nn.Module:
    """On meta; attention is left out, so that experts are what is measured."""
    with torch.device("meta"):
        mlps: list[Any] = [Mlp(7168, 18432) if i < dense else Moe(7168, 2048, 256, 8) for i in range(layers)]
        return nn.Sequential(*mlps)


def main() -> None:
    """Seconds of a count and of a summary of 128 tokens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    built = model()
    seconds = paired(
        {
            "list(named_modules())": lambda: list(built.named_modules()),
            "numel.count": lambda: numel.count(built),
            "numel.summary": lambda: str(numel.summary(built, "f32[1,128,7168]")),
        },
        rounds=rounds,
    )
    modules = sum(1 for _ in built.modules())
    case = f"{modules:,} modules, 128 tokens"
    show("experts as a list", [(case, seconds, "numel.count")], goal="a summary in seconds")


if __name__ == "__main__":
    main()

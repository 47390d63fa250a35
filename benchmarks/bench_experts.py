"""(f) The form of DeepSeek-V3 with its experts as a list: 61 layers, 58 of them with 256 experts of three Linears.

The floor runs every expert once on meta, on the tokens that a balanced choice gives it, and counts nothing. These are
dealt out beforehand, since on meta a router can not choose: the floor is lower for it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import numel
from bench_memory import peak
from measure import machine, paired, save, show
from numel.results import Report

WIDTH, DENSE, INNER, EXPERTS, CHOSEN, TOKENS = 7168, 18432, 2048, 256, 8, 128
NOTATION = f"f32[1,{TOKENS},{WIDTH}]"
IMPORTS = f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parent)!r})\n"


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


def model(layers: int = 61, dense: int = 3) -> nn.Sequential:
    """On meta; attention is left out, so that experts are what is measured."""
    with torch.device("meta"):
        blocks: list[Any] = [Mlp(WIDTH, DENSE) for _ in range(dense)]
        blocks += [Moe(WIDTH, INNER, EXPERTS, CHOSEN) for _ in range(dense, layers)]
        return nn.Sequential(*blocks)


def tokens() -> torch.Tensor:
    """What is given to `model`."""
    return torch.empty(1, TOKENS, WIDTH, device="meta")


def bare(built: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """The forward of `model` where each expert is dealt the same number of tokens."""
    share = torch.zeros(TOKENS * CHOSEN // EXPERTS, dtype=torch.int64, device="meta")
    with torch.no_grad():
        for block in built:
            x = dealt(block, x, share) if isinstance(block, Moe) else block(x)
    return x


def dealt(block: Moe, x: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """`Moe.forward` without the search for the tokens of each expert: `share` are the places of those."""
    flat = x.flatten(0, -2)
    weights, _ = block.gate(flat).sigmoid().topk(block.top_k, dim=-1)
    out = torch.zeros_like(flat)
    for expert in block.experts:
        out.index_add_(0, share, expert(flat[share]) * weights[share, share, None])
    return out.view_as(x) + block.shared_experts(x)


def macs(layers: int = 61, dense: int = 3) -> int:
    """By hand: three products each in a dense layer, in the shared expert, and in the chosen experts of each token."""
    routed = WIDTH * EXPERTS + 3 * WIDTH * INNER * (1 + CHOSEN)
    return TOKENS * (dense * 3 * WIDTH * DENSE + (layers - dense) * routed)


def main() -> None:
    """Seconds of each step and what it holds at most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--layers", type=int, default=61)
    given = parser.parse_args()
    memory(given.layers)  # first: a process starts with the high-water mark of the one that starts it
    built = model(given.layers)
    x = tokens()
    report = numel.summary(built, NOTATION)
    assert report.macs == macs(given.layers), (report.macs, macs(given.layers))

    def anew(report: Report = report) -> Report:
        """The same facts without the sums that a report keeps."""
        return Report(replace(report.snapshot), report.trace)

    floor = "bare forward, tokens dealt out"
    seconds = paired(
        {
            floor: lambda: bare(built, x),
            "list(named_modules())": lambda: list(built.named_modules()),
            "numel.count": lambda: numel.count(built),
            "numel.summary, as printed": lambda: str(numel.summary(built, NOTATION)),
            "  of which facts": lambda: numel.summary(built, NOTATION),
            "  of which costs": lambda: anew().costs,
            "  of which costs and rows": lambda: anew().layers,
            "  of which all but facts": lambda: str(anew()),
            "the same, every block run": lambda: str(numel.summary(built, NOTATION, every_block=True)),
        },
        rounds=given.rounds,
        most_seconds=12,
    )
    modules = sum(1 for _ in built.modules())
    case = f"{modules:,} modules, {TOKENS} tokens"
    show("f. experts as a list", [(case, seconds, floor)], goal="a summary as fast as the bare forward")


def memory(layers: int) -> None:
    """Peaks of resident memory, each of a process of its own."""
    start = f"{IMPORTS}import bench_experts, numel\nm = bench_experts.model({layers})\n"
    steps = {
        "model on meta": start,
        "bare forward": f"{start}bench_experts.bare(m, bench_experts.tokens())\n",
        "summary": f"{start}r = numel.summary(m, {NOTATION!r})\n",
        "summary, as printed": f"{start}str(numel.summary(m, {NOTATION!r}))\n",
    }
    peaks = {step: peak(code) for step, code in steps.items()}
    table = Table(title="f. peak memory, experts as a list", caption=machine(), caption_justify="left")
    for column in ("after", "peak, MiB", "above the model, MiB"):
        table.add_column(column, justify="left" if column == "after" else "right")
    for step, kib in peaks.items():
        table.add_row(step, f"{kib / 1024:.0f}", f"{(kib - peaks['model on meta']) / 1024:.0f}")
    Console(width=100).print(table)
    save("f. memory experts", {"kib": peaks})


if __name__ == "__main__":
    main()

"""Peaks against torch's own allocator: what it hands out and takes back in a real step that no dispatch mode sees.

The profiler writes down each block that the allocator of the CPU gives and gets back, in order. On top of the model and
its inputs, the highest sum of them is what a step needs. Kernels that take room of their own (convolutions, attention
going back) are left out, since such workspaces are no tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

import numel


def allocated(model: nn.Module, x: torch.Tensor) -> int:
    """The most bytes that one forward and backward hold, the model and the input included."""

    def step() -> Any:
        outputs = model(x)
        outputs.mean().backward()
        return outputs  # they live on through the step

    step()  # what torch makes once is there from here on
    model.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        outputs = step()
    assert outputs is not None
    pending = list(found.profiler.kineto_results.experimental_event_tree())  # type: ignore[union-attr]
    blocks: list[tuple[int, int, int]] = []
    while pending:
        event = pending.pop()
        pending += event.children
        if event.typed[0].name == "Allocation":
            blocks.append((event.start_time_ns, event.typed[1].ptr, event.typed[1].alloc_size))
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
                for t in (*model.parameters(), *model.buffers(), x)}  # fmt: skip
    live = highest = sum(storages.values())
    given: set[int] = set()
    for _, block, nbytes in sorted(blocks, key=lambda each: each[0]):
        if nbytes > 0 or block in given:  # else of another step, that the collector found
            given ^= {block}
            live += nbytes
            highest = max(highest, live)
    return highest


class Then(nn.Module):
    """A linear layer, so that a gradient has to come to it, and a function."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first = nn.Linear(32, 32)
        self.function = function
        self.register_buffer("rows", torch.arange(5))
        self.register_buffer("halves", torch.full((8, 32), 0.5))

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, self.first(x))  # type: ignore[call-arg, arg-type]


class Experts(nn.Module):
    """Each expert gets the rows that chose it, and adds what it makes to theirs."""

    def __init__(self, width: int, expert: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.router = nn.Linear(width, 4)
        self.experts = nn.ModuleList(expert() for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        weights, chosen = self.router(x).softmax(-1).topk(2, -1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows, which = torch.where(chosen == i)
            out[rows] += weights[rows, which, None] * expert(x[rows])
        return out


class Block(nn.Module):
    """A transformer's block, its products written out or its attention whole, with a gated feed-forward."""

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(2))
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.gate, self.up, self.down = nn.Linear(32, 64), nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.norms[0](x)).view(*x.shape[:2], 3, 4, 8).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v) if self.whole else (q @ k.transpose(-1, -2)).softmax(-1) @ v
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        y = self.norms[1](x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Aside(nn.Module):
    """A branch that nothing comes of: what it keeps is gone with it."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.aside = nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> Any:
        y = self.main(x)
        self.aside(y).tanh().softmax(-1)
        return y


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 32)
        self.block = Block(whole=True)
        self.head = nn.Linear(32, 100, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: torch.Tensor) -> Any:
        return self.head(self.block(self.embedding(ids)))


def mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))


STEPS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "experts, few rows": (lambda: Experts(16, lambda: nn.Linear(16, 16)), (10, 16)),
    "experts": (lambda: Experts(64, lambda: nn.Linear(64, 64)), (512, 64)),
    "experts of two layers": (lambda: Experts(64, lambda: mlp(64)), (512, 64)),
    "two gradients of one tensor": (lambda: Then(lambda m, y: y * y), (8, 32)),
    "a sum and a branch": (lambda: Then(lambda m, y: y + y.tanh()), (8, 32)),
    "three gradients": (lambda: Then(lambda m, y: (z := y.exp()) * z.tanh() * z.sin()), (8, 32)),
    "a gradient that is a view": (lambda: Then(lambda m, y: y.view(-1).exp().sum() + y.sin().sum()), (8, 32)),
    "rows": (lambda: Then(lambda m, y: y[m.rows]), (8, 32)),
    "rows selected": (lambda: Then(lambda m, y: y.index_select(0, m.rows)), (8, 32)),
    "gathered": (lambda: Then(lambda m, y: y.gather(1, m.rows[:, None])), (8, 32)),
    "taken": (lambda: Then(lambda m, y: y.take(m.rows)), (8, 32)),
    "masked": (lambda: Then(lambda m, y: y.masked_select(y > 0)), (8, 32)),
    "largest": (lambda: Then(lambda m, y: y.max(1).values), (8, 32)),
    "largest four": (lambda: Then(lambda m, y: y.topk(4).values), (8, 32)),
    "sorted": (lambda: Then(lambda m, y: y.sort().values), (8, 32)),
    "so far the largest": (lambda: Then(lambda m, y: y.cummax(0).values), (8, 32)),
    "a trace": (lambda: Then(lambda m, y: y[:, :8].trace()), (8, 32)),
    "a loss of logits": (lambda: Then(lambda m, y: F.binary_cross_entropy_with_logits(y, m.halves)), (8, 32)),
    **{
        f"a {loss.__name__}": (lambda loss=loss: Then(lambda m, y: loss(y.sigmoid(), m.halves)), (8, 32))
        for loss in (F.mse_loss, F.smooth_l1_loss, F.soft_margin_loss, F.binary_cross_entropy, F.huber_loss)
    },
    "a loss of constants": (lambda: Then(lambda m, y: F.l1_loss(y, torch.ones(8, 32) * 0.5)), (8, 32)),
    "positions made on the way": (
        lambda: Then(lambda m, y: y.gather(1, torch.arange(24).view(8, 3) % 32)), (8, 32)
    ),
    "layers": (lambda: mlp(32), (64, 32)),
    "blocks": (lambda: nn.Sequential(*(Block(whole=False) for _ in range(3))), (2, 16, 32)),
    "a block with attention whole": (lambda: Block(whole=True), (2, 64, 32)),
    "a branch that nothing comes of": (Aside, (64, 32)),
    "a tied embedding": (Tied, (2, 16)),
}  # fmt: skip


def step_of(which: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    make, shape = STEPS[which]
    return make(), torch.randint(100, shape) if make is Tied else torch.randn(shape)


@pytest.mark.parametrize("which", STEPS)
def test_the_peak_is_what_the_allocator_hands_out_in_a_step_that_nobody_watches(which):
    model, x = step_of(which)
    expected = allocated(model, x)
    peaks = {mode: numel.summary(model, x, backward=True, mode=mode).peak_nbytes for mode in ("real", "auto")}
    assert peaks == dict.fromkeys(peaks, expected)


@pytest.mark.parametrize("mode", ["meta", "fake"])
def test_stand_ins_peak_as_the_real_ones(mode):
    told = [which for which in STEPS if "experts" not in which and which != "masked"]  # their shapes are data
    for which in told:
        model, x = step_of(which)
        real, other = (numel.summary(model, x, backward=True, mode=each).peak_nbytes for each in ("real", mode))
        assert (which, other) == (which, real)

"""(h) What watching a model's structure costs a training step: the same loop with and without, in turns. And what a look
at its values costs, which is due at one step of many."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

import numel
from measure import machine, paired, show

STEPS = 8


class Residual(nn.Module):
    """A basic block of a ResNet-18, without its shortcut's own convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


def convolutional() -> tuple[nn.Module, torch.Tensor]:
    """Eight blocks in four widths, as ResNet-18 has: 11 million parameters."""
    parts: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    parts.append(nn.MaxPool2d(3, 2, 1))
    for width, before in ((64, 64), (128, 64), (256, 128), (512, 256)):
        if width != before:
            parts += [nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        parts += [Residual(width), Residual(width)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)), torch.randn(4, 3, 112, 112)


def transformer() -> tuple[nn.Module, torch.Tensor]:
    """Twelve layers of width 256."""
    layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True)
    return nn.TransformerEncoder(layer, 12, enable_nested_tensor=False), torch.randn(4, 64, 256)


def loop(model: nn.Module, x: torch.Tensor, *, watch: bool) -> Callable[[], None]:
    """Steps of SGD; with `watch` each is observed."""
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    watched = numel.monitor(model) if watch else None
    step = 0

    def run() -> None:
        nonlocal step
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            if watched is not None:
                watched.observe(step)
            step += 1

    return run


def looking(model: nn.Module) -> Callable[[], None]:
    """The looks alone, as many as there are steps."""
    watched = numel.monitor(model)
    step = 0

    def run() -> None:
        nonlocal step
        for _ in range(STEPS):
            watched.observe(step)
            step += 1

    return run


def values(model: nn.Module, x: torch.Tensor) -> tuple[Callable[[], None], Callable[[], None]]:
    """Steps of Adam, and as many looks at all values, moments and updates among them."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    watched = numel.monitor(model, every=1, optimizer=optimizer)
    step = 0

    def train() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    def look() -> None:
        nonlocal step
        for _ in range(STEPS):
            watched.observe(step)
            step += 1

    train()
    return train, look


def main() -> None:
    machine()
    rows = []
    for name, make in (("ResNet-18-sized", convolutional), ("12-layer transformer", transformer)):
        torch.manual_seed(0)
        model, x = make()
        contenders = {"bare loop": loop(model, x, watch=False), "observed every step": loop(model, x, watch=True),
                      "the looks alone": looking(model)}  # fmt: skip
        rows.append((f"{name}, {STEPS} steps", paired(contenders, rounds=9), "bare loop"))
    show("(h) monitor, structure", rows, goal="at most 1 % of a step")
    rows = []
    for name, make in (("ResNet-18-sized", convolutional), ("12-layer transformer", transformer)):
        torch.manual_seed(0)
        train, look = values(*make())
        rows.append((f"{name}, {STEPS} steps", paired({"bare loop": train, "looks at values": look}, rounds=5), "bare loop"))
    show("(h) monitor, values at every step", rows, goal="at most one step: 1 % of a loop with every=100")


if __name__ == "__main__":
    main()

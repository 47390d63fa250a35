"""(h) What watching a model costs a training step: its structure at each, its values at one of many, beside what
wandb.watch and a loop of histograms for TensorBoard cost; and what memory a long run keeps."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
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


EVERY = 100


class Logged:
    """Steps of Adam, with something done after each backward pass; what is done is timed by itself, too."""

    def __init__(self, model: nn.Module, x: torch.Tensor) -> None:
        self.model, self.x = model, x
        self.optimizer = torch.optim.Adam(model.parameters(), 1e-4)
        self.step = 0

    def train(self) -> None:
        """One step."""
        self.optimizer.zero_grad()
        self.model(self.x).square().mean().backward()
        self.optimizer.step()

    def watching(self) -> Callable[[], None]:
        """Two looks at one of `EVERY` steps: at all values, and at the updates that follow."""
        watched = numel.monitor(self.model, every=EVERY, optimizer=self.optimizer)

        def look() -> None:
            watched.observe(self.step)
            self.train()  # so that there is an update
            watched.observe(self.step + 1)
            self.step += EVERY

        return look

    def histograms(self, folder: str) -> Callable[[], None]:
        """What a loop over the parameters writes for TensorBoard: weights and gradients."""
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(folder)

        def write() -> None:
            for name, parameter in self.model.named_parameters():
                writer.add_histogram(name, parameter, self.step)
                if parameter.grad is not None:
                    writer.add_histogram(f"{name}.grad", parameter.grad, self.step)
            self.step += EVERY
            self.train()

        return write

    def watched_by_wandb(self) -> Callable[[], None]:
        """The step at which `wandb.watch(log="all", log_freq=EVERY)` logs, and the run's own log."""
        import wandb

        run = wandb.init(mode="offline", project="bench", settings=wandb.Settings(silent=True, console="off"))
        run.watch(self.model, log="all", log_freq=1)

        def step() -> None:
            self.model(self.x).square().mean().backward()
            run.log({"loss": 0.0})
            self.optimizer.step()
            self.optimizer.zero_grad()

        return step


def resident() -> float:
    """MiB of the process now, as Linux tells it."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(steps: int = 100_000) -> list[float]:
    """MiB that the process has grown by after each fifth of so many steps, with a look at the values at every fifth
    step: 240,000 statistics, of which a history keeps 100,000 at most."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    x = torch.randn(4, 8)
    grown: list[float] = []
    before = resident()
    with numel.monitor(model, every=5, optimizer=optimizer) as watched:
        for step in range(steps):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            watched.observe(step)
            if (step + 1) % (steps // 5) == 0:
                grown.append(resident() - before)
    return grown


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
        logged = Logged(*make())
        with tempfile.TemporaryDirectory() as folder:
            os.environ["WANDB_DIR"] = folder
            contenders = {
                "one step": logged.train, "a step with looks at all values": logged.watching(),
                "a step with TensorBoard histograms": logged.histograms(folder),
            }  # fmt: skip
            seconds = paired(contenders, rounds=7)
            # last, and on a model of its own: its hooks stay
            seconds |= paired({"a step that wandb.watch logs": Logged(*make()).watched_by_wandb()}, rounds=7)
        rows.append((name, seconds, "one step"))
    show("(h) monitor, values", rows, goal=f"at most 3 steps, which is 2 % with every={EVERY}")
    # a process of its own, whose largest size is that of the run
    subprocess.run([sys.executable, __file__, "memory"], check=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["memory"]:
        print("100,000 steps, values every 5, MiB grown after each fifth:", *(f"{each:.0f}" for each in memory()))
    else:
        main()

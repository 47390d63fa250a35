"""A supernet as in architecture search: of three paths one runs and trains at a time. `python supernet.py`.

The parameters stay, and which of them train is different: the monitor says when which path was thawed.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import numel


class Supernet(nn.Module):
    """Paths of three widths between the same ends."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 16, 32)
        self.paths = nn.ModuleList(nn.Sequential(nn.Linear(64, w), nn.ReLU(), nn.Linear(w, 16)) for w in widths)
        self.head = nn.Linear(16, 10)
        self.choose(0)

    def choose(self, active: int) -> None:
        """Let one path run and train."""
        self.active = active
        for i, path in enumerate(self.paths):
            path.requires_grad_(i == active)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.paths[self.active](x))


torch.manual_seed(0)
digits = load_digits()
x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = Supernet()
optimizer = torch.optim.Adam(model.parameters(), 1e-3)

with numel.monitor(model, "supernet.jsonl", optimizer=optimizer) as watched:
    for step in range(90):
        if step % 30 == 0:
            model.choose(step // 30)
        batch = torch.randint(len(x), (64,))
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
        for seen in watched.observe(step):
            print(f"step {seen.step}: {seen.kind} {seen.path}")
        optimizer.zero_grad()

print(watched.history)

"""A plain training loop that is watched: `python plain_loop.py`, and in another terminal `numel monitor run.jsonl`.

Handwritten digits of scikit-learn, 1,797 images of 8 × 8 pixels, on a CPU in a few seconds.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import numel

torch.manual_seed(0)
digits = load_digits()
x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)

model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(model.parameters(), 1e-3)

with numel.monitor(model, "run.jsonl", every=20, optimizer=optimizer) as watched:
    for step in range(200):
        batch = torch.randint(len(x), (64,))
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
        watched.observe(step)  # while the gradients are there
        optimizer.zero_grad()

print(f"loss {loss:.2f}")
print(watched.history)

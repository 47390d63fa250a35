"""A network that grows at its second epoch, and whose head is replaced at its third: `python growing.py`.

The new layer is put into the optimizer, the new head is forgotten: what the monitor says of both is printed.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import numel

torch.manual_seed(0)
digits = load_digits()
x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)

model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), 0.1)

step = 0
with numel.monitor(model, "growing.jsonl", every=10, optimizer=optimizer) as watched:
    for epoch in range(4):
        if epoch == 2:
            layer = nn.Linear(32, 32)
            model.insert(2, layer)
            model.insert(3, nn.ReLU())
            optimizer.add_param_group({"params": list(layer.parameters())})
        if epoch == 3:
            model[4] = nn.Linear(32, 10)
        for batch in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            for seen in watched.observe(step):
                print(f"step {seen.step}: {seen.kind} {seen.path}")
            optimizer.zero_grad()
            step += 1

for alarm in watched.history.alarms:
    print(f"step {alarm.step}: {alarm.code} {alarm.path}: {alarm.text}")

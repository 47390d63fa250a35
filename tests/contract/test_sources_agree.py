"""One model, however it comes: alive on any device, from its code, saved and loaded, or as the file of its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
save_file = pytest.importorskip("safetensors.torch").save_file

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

import numel  # noqa: E402

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.head = nn.Linear(4, 4)
        self.head.weight = self.blocks[0].weight
        self.stem[0].weight.requires_grad_(False)

    def forward(self, x):
        x = self.stem(x).mean((2, 3)) * self.scale
        for block in self.blocks:
            x = block(x)
        return self.head(x)
"""
INPUTS = "f32[2,3,8,8]"
# conv 2 · 4 · 6 · 6 positions of 3 · 9; three blocks and a head of 4 · 4, two rows each
MACS = 2 * 4 * 36 * 27 + 4 * 2 * 16
PARAMS = 4 + 4 * 27 + 8 + 3 * 20 + 4


def live() -> Any:
    space: dict[str, Any] = {"__name__": "net"}
    exec(CODE, space)
    return space["Net"]()


def on_meta(_: Path) -> Any:
    with torch.device("meta"):  # .to("meta") would part what is tied
        return live()


def on_fake(_: Path) -> Any:
    with FakeTensorMode():
        return live()


def from_code(folder: Path) -> str:
    (folder / "net.py").write_text(CODE)
    return f"{folder / 'net.py'}:Net"


def saved(folder: Path) -> Path:
    numel.summary(live(), INPUTS).save(folder / "net.json")
    return folder / "net.json"


SOURCES: dict[str, Callable[[Path], Any]] = {
    "cpu": lambda _: live(), "meta": on_meta, "fake": on_fake, "code": from_code, "saved": saved,
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_of_a_model_gives_the_same_numbers(source: str, tmp_path: Path):
    target = SOURCES[source](tmp_path)
    wanted = numel.summary(live(), INPUTS)
    assert (wanted.totals.params, wanted.macs) == (PARAMS, MACS)
    assert numel.count(target) == wanted.totals
    report = numel.load(target) if source == "saved" else numel.summary(target, INPUTS)
    assert report.layers == wanted.layers
    for key in ("depth", "type", "dtype", "operator", "tensor"):
        assert report.by(key) == wanted.by(key)
    assert report.exact


def test_a_file_of_the_weights_has_the_same_tensors_but_for_what_it_does_not_tell(tmp_path: Path):
    """safetensors stores a tied tensor once, and neither roles nor what trains."""
    model = live()
    held = {name: tensor for name, tensor in model.state_dict().items() if name != "head.weight"}
    save_file(held, tmp_path / "net.safetensors")
    file, alive = numel.read(tmp_path / "net.safetensors"), numel.read(model)
    assert file.totals.nbytes == alive.totals.nbytes
    seen = {t.path: (t.shape, t.dtype) for t in file.tensors}
    assert seen == {t.path: (t.shape, t.dtype) for t in alive.tensors if t.alias_of is None}
    known = file.totals
    assert known.params + known.buffers + known.unclassified == alive.totals.params + alive.totals.buffers

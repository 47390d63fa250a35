"""Explanations of real models: expressions that give what was counted, and figures that other tools really print."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import numel
from formulas.expressions import value_of
from numel.analyses.cost import charged
from numel.analyses.explain import others, steps


class Tokens(nn.Module):
    """An embedding, a transformer layer and a head that is tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embed(ids)))


def images() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 4, 3),
                         nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 5))  # fmt: skip


MODELS = [(Tokens, "i64[2,5] < 20"), (images, "f32[2,3,17,17]"), (lambda: nn.LSTM(4, 6, 2), "f32[7,2,4]")]


@pytest.mark.parametrize(("build", "inputs"), MODELS, ids=["tokens", "images", "lstm"])
def test_what_is_written_out_gives_every_number(build, inputs):
    report = numel.summary(build().eval(), inputs)
    found = steps(report.trace, charged(report.snapshot, report.trace), ("",))
    assert sum(step.calls for step in found) == len(report.ops)
    assert sum(step.work.macs for step in found) == report.macs
    assert sum(step.work.elementwise for step in found) == report.costs.total.elementwise
    for step in found:
        assert value_of(step.macs) == step.one.macs, step
        assert value_of(step.elementwise) == step.one.elementwise, step


def figures(report: numel.results.Report) -> dict[str, int]:
    found = others(report.snapshot, report.trace, report.costs, report.layers).to_dict()
    return dict(zip(found["convention"], found["value"], strict=True))


def test_torchs_counter_prints_what_is_said_of_it():
    model = images().eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 3, 17, 17))
    assert figures(numel.summary(model, "f32[2,3,17,17]"))["as FLOPs"] == counter.get_total_flops()


@pytest.mark.parametrize(("build", "inputs"), MODELS[:2], ids=["tokens", "images"])
def test_torchinfo_prints_what_is_said_of_it(build, inputs):
    torchinfo = pytest.importorskip("torchinfo")
    model = build().train()  # in evaluation it would not see inside of a fused transformer layer
    given = torch.zeros((2, 5), dtype=torch.int64) if build is Tokens else torch.zeros(2, 3, 17, 17)
    printed = torchinfo.summary(model, input_data=given, verbose=0, mode="train")
    found = figures(numel.summary(model, inputs))
    assert found["parameters × outputs"] == printed.total_mult_adds
    if build is Tokens:
        assert found["tied tensors at each place"] == printed.total_params

"""What a training step keeps and computes, on models that others wrote, beside what torch says of a real run.

Ground truth of what is saved: `saved_tensors_hooks` around a real forward on real tensors, every storage once, without
those of parameters and buffers. numel's figure comes from stand-ins without data and must agree to the byte. Ground
truth of the work: `FlopCounterMode` around the real backward pass, where it knows every operator that ran.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import numel
from integration import zoo
from numel.analyses.cost import work
from numel.facts import OpRecord, TensorSpec
from numel.facts.inputs import InputSpec
from numel.tracing.arguments import mapped, normalised, torch_dtype

_ZOO = """
    hf:llama hf:gpt2 hf:falcon hf:gemma2 hf:bert hf:deberta-v2 hf:funnel hf:umt5 hf:pegasus hf:qwen3_moe hf:gpt_oss
    hf:mamba hf:rwkv hf:minimax hf:deit hf:segformer hf:timesformer hf:clip hf:patchtsmixer timm:test_resnet
    timm:test_vit timm:test_convnext timm:test_efficientnet timm:levit_128s timm:edgenext_xx_small timm:regnetx_002
    torchvision:squeezenet1_1 torchvision:mobilenet_v3_small
"""
ZOO = _ZOO.split()

# what FlopCounterMode has no formula for, or counts wrongly: it leaves the groups out of a convolution's gradients
_UNKNOWN_THERE = {
    "aten._scaled_dot_product_flash_attention_for_cpu", "aten._scaled_dot_product_flash_attention_for_cpu_backward",
    "aten._grouped_mm",
}  # fmt: skip


class Checkpointed(nn.Module):
    """Three blocks, the second one computed again with and the third one without reentering autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU()) for _ in range(3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second, third = self.blocks
        x = checkpoint(second, first(x), use_reentrant=True)
        return checkpoint(third, x, use_reentrant=False)


OWN: dict[str, tuple[Any, str]] = {
    "checkpointed": (Checkpointed, "f32[2,8,16,16]"),
    "gru": (lambda: nn.GRU(16, 32, num_layers=2), "f32[7,3,16]"),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(32, 4, 64), "f32[9,2,32]"),
    "decoder layer": (lambda: nn.TransformerDecoderLayer(32, 4, 64), "f32[9,2,32], f32[5,2,32]"),
    "frozen below": (
        lambda: nn.Sequential(nn.Linear(8, 8).requires_grad_(False), nn.Tanh(), nn.Linear(8, 8)), "f32[4,8]",
    ),
}


def _model(name: str) -> tuple[Any, Any]:
    if name in OWN:
        make, given = OWN[name]
        return make().train(), given
    kinds = {"hf": zoo.of_transformers, "timm": zoo.of_timm, "torchvision": zoo.of_torchvision}
    (found,) = (each for each in kinds[name.partition(":")[0]]() if each.name == name)
    model = found.build().train()
    return model, found.inputs(model)


def _drawn(given: Any) -> Any:
    """Real tensors for a notation of inputs."""

    def leaf(value: Any) -> Any:
        if not isinstance(value, InputSpec):
            return value
        dtype = torch_dtype(value, torch.float32)
        if dtype.is_floating_point:
            return torch.randn(value.shape).to(dtype)
        return torch.randint(0, value.below or 1, value.shape).to(dtype)

    inputs = normalised(given)
    return mapped((inputs.args, dict(inputs.kwargs)), leaf)


def _floating(outputs: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    pending = [outputs]
    while pending:
        each = pending.pop(0)
        if isinstance(each, torch.Tensor):
            if each.is_floating_point() and each.requires_grad and all(each is not one for one in found):
                found.append(each)
        elif isinstance(each, dict):
            pending.extend(each.values())
        elif isinstance(each, list | tuple):
            pending.extend(each)
    return found


def _truth(model: Any, given: Any) -> tuple[int, int]:
    """Bytes that a real forward saves, and torch's count of FLOPs of going back from the mean of its outputs."""
    args, kwargs = _drawn(given)
    held = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage  # kept, so that its address stays its own
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model(*args, **kwargs)
    nbytes = sum(storage.nbytes() for place, storage in saved.items() if place not in held)
    with FlopCounterMode(display=False) as counter:
        sum(each.mean() for each in _floating(outputs)).backward()
    return nbytes, counter.get_total_flops()


def _is_counted_there(record: OpRecord) -> bool:
    if record.name in _UNKNOWN_THERE:
        return False
    if record.name == "aten.convolution_backward":
        _, x, weight = record.args[:3]
        assert isinstance(x, TensorSpec)
        flags = [each for each in record.args if isinstance(each, bool)]
        return (weight.shape[0] if flags[0] else weight.shape[1]) == x.shape[1]
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ZOO, *OWN])
def test_what_is_saved_is_torchs_own_to_the_byte(name):
    model, given = _model(name)
    report = numel.summary(model, given, backward=True)
    assert report.trace.failure is None
    assert report.trace.mode == ("fake" if name == "gru" else "meta")
    assert report.backward.total.uncosted == 0, dict(report.backward.uncosted)
    saved, flops = _truth(model, given)
    assert report.saved_nbytes == saved
    grouped = any(op.name == "aten.convolution_backward" and not _is_counted_there(op) for op in report.ops)
    if not grouped:  # those it counts wrongly; what it does not know, it leaves out
        known = (op for op in report.ops if op.phase != "forward" and _is_counted_there(op))
        assert 2 * sum(work(op).macs for op in known) == flops


def test_a_kernel_whose_workspace_is_its_own_secret_is_exact_on_the_real_model():
    model = nn.LSTM(16, 32, num_layers=2)
    report = numel.summary(model, "f32[7,3,16]", backward=True, mode="real")
    assert report.saved_nbytes == _truth(model, "f32[7,3,16]")[0]
    assert report.exact

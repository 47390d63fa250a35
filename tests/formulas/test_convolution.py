"""Convolutions. The reference is a convolution of ones with ones: it adds 1 for each multiply-accumulate, so the sum of
its result counts them. Padding is made of ones as well, since a dense kernel multiplies it like the rest."""

from __future__ import annotations

import itertools
from math import prod
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from formulas.counting import Call, f32, lowered, price, total, whole
from numel.analyses.formulas import Cost

_FORWARD = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}
_TRANSPOSED = {1: torch.nn.ConvTranspose1d, 2: torch.nn.ConvTranspose2d, 3: torch.nn.ConvTranspose3d}


@st.composite
def _convolutions(draw: st.DrawFn, classes: dict[int, Any]) -> tuple[torch.nn.Module, torch.Tensor]:
    dims = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    module = classes[dims](
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        tuple(draw(st.integers(1, 3)) for _ in range(dims)),
        stride=draw(st.integers(1, 3)),
        padding=draw(st.integers(0, 2)),
        dilation=draw(st.integers(1, 2)),
        groups=groups,
        bias=draw(st.booleans()),
    )
    batch = draw(st.sampled_from([(), (1,), (3,)]))
    return module, torch.ones(*batch, module.in_channels, *(draw(st.integers(5, 8)) for _ in range(dims)))


def _executed(module: Any, x: torch.Tensor) -> int:
    """Multiply-accumulates of the convolution, counted by running it on ones."""
    ones = torch.ones_like(module.weight)
    dims = len(module.kernel_size)
    options = {"stride": module.stride, "dilation": module.dilation, "groups": module.groups}
    if module.transposed:  # its padding crops the output after the work is done
        spread = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[dims]
        return int(spread(x, ones, **options).sum())
    sides = [each for side in reversed(module.padding) for each in (side, side)]
    slide = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dims]
    return int(slide(F.pad(x, sides, value=1.0), ones, **options).sum())


@settings(deadline=None, max_examples=60)
@given(st.one_of(_convolutions(_FORWARD), _convolutions(_TRANSPOSED)))
def test_a_convolution_costs_its_multiply_accumulates(case):
    module, x = case
    found = total(whole(module, x))
    with FlopCounterMode(display=False) as counter:
        out = module(x)
    assert found.macs == _executed(module, x) == total(lowered(module, x)).macs
    assert found.flops == counter.get_total_flops()
    assert found.elementwise == (out.numel() if module.bias is not None else 0)


def test_a_convolution_costs_the_turns_of_its_naive_loop():
    """Two groups, stride 2, dilation 2, padding 1: the loop that everyone would write."""
    n, c, o, groups, side, k, stride, dilation, padding = 2, 4, 6, 2, 7, 3, 2, 2, 1
    out = (side + 2 * padding - dilation * (k - 1) - 1) // stride + 1
    turns = 0
    for _ in itertools.product(range(n), range(o), range(out), range(out)):  # each output element
        for _ in itertools.product(range(c // groups), range(k), range(k)):  # each tap of its filter
            turns += 1
    module = torch.nn.Conv2d(c, o, k, stride, padding, dilation, groups, bias=False)
    assert total(whole(module, torch.randn(n, c, side, side))) == Cost(macs=turns)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kernel", [3, 4])
def test_padding_by_name_counts_the_output_that_it_gives(dims, kernel):
    for padding, positions in (("same", 7**dims), ("valid", (7 - kernel + 1) ** dims)):
        module = _FORWARD[dims](4, 6, kernel, padding=padding, bias=False)
        x = torch.randn(2, 4, *[7] * dims)
        expected = 2 * positions * 6 * 4 * kernel**dims
        assert total(whole(module, x)).macs == expected == total(lowered(module, x)).macs


def test_circular_padding_is_copied_and_costs_nothing_itself():
    module, x = torch.nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular", bias=False), torch.randn(2, 4, 7, 7)
    assert total(whole(module, x)) == Cost(macs=2 * 49 * 6 * 4 * 9)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("of_input", [False, True])
@pytest.mark.parametrize("of_weight", [False, True])
def test_each_gradient_asked_for_costs_one_forward(transposed, of_input, of_weight):
    module: Any = (_TRANSPOSED if transposed else _FORWARD)[2](4, 6, 3, stride=2, groups=2)
    module.weight.requires_grad_(of_weight)
    x = torch.randn(2, 4, 7, 7, requires_grad=of_input)
    out = module(x)
    records = [each for each in lowered(lambda: out.sum().backward()) if each.name == "aten.convolution_backward"]
    expected = (of_input + of_weight) * _executed(module, torch.ones(x.shape))
    assert total(records) == Cost(macs=expected, elementwise=out.numel())  # the bias sums the gradient


def test_both_gradients_agree_with_torchs_own_counter():
    """Without groups: torch's counter takes the gradient of a grouped weight for that of a full one."""
    out = torch.nn.Conv2d(4, 6, 3, stride=2)(torch.randn(2, 4, 7, 7, requires_grad=True)).sum()
    with FlopCounterMode(display=False) as counter:
        records = lowered(out.backward)
    assert total(each for each in records if "convolution" in each.op).flops == counter.get_total_flops()


# --- the same work under other signatures ----------------------------------------------------------------------------

_X, _W, _B, _Y = f32(2, 4, 7, 7), f32(6, 2, 3, 3), f32(6), f32(2, 6, 5, 5)
_ONCE = 2 * 25 * 6 * 2 * 9
_BIAS = 2 * 6 * 25
_SPATIAL = ((1, 1), (0, 0), (1, 1))


@pytest.mark.parametrize(
    ("op", "args", "elementwise"),
    [
        ("aten.convolution", (_X, _W, _B, *_SPATIAL, False, (0, 0), 2), _BIAS),
        ("aten._convolution", (_X, _W, None, *_SPATIAL, False, (0, 0), 2, False, False, True, True), 0),
        ("aten._convolution_mode", (_X, _W, _B, (1, 1), "valid", (1, 1), 2), _BIAS),
        ("aten.mkldnn_convolution", (_X, _W, _B, (0, 0), (1, 1), (1, 1), 2), _BIAS),
        ("aten.cudnn_convolution", (_X, _W, (0, 0), (1, 1), (1, 1), 2, False, False, True), 0),
        ("aten.cudnn_convolution_relu", (_X, _W, _B, *_SPATIAL, 2), 2 * _BIAS),
        ("aten.cudnn_convolution_add_relu", (_X, _W, _Y, 1.0, _B, *_SPATIAL, 2), 3 * _BIAS),
        ("aten.miopen_convolution", (_X, _W, _B, (0, 0), (1, 1), (1, 1), 2, False, True), _BIAS),
        ("aten._conv_depthwise2d", (_X, _W, (3, 3), _B, *_SPATIAL), _BIAS),
        ("aten.slow_conv_dilated2d", (_X, _W, (3, 3), None, *_SPATIAL), 0),
        ("aten._slow_conv2d_forward", (_X, f32(6, 18), (3, 3), _B, (1, 1), (0, 0)), _BIAS),
        ("mkldnn._convolution_pointwise", (_X, _W, _B, (0, 0), (1, 1), (1, 1), 2, "none", (), ""), _BIAS),
        ("mkldnn._convolution_pointwise.binary", (_X, _Y, _W, _B, (0, 0), (1, 1), (1, 1), 2, "add"), 2 * _BIAS),
        ("mkldnn._convolution_pointwise_.binary", (_Y, _X, _W, None, (0, 0), (1, 1), (1, 1), 2, "add"), _BIAS),
    ],
)
def test_every_signature_of_one_convolution_costs_the_same(op, args, elementwise):
    assert price(op, *args, outputs=_Y) == Cost(macs=_ONCE, elementwise=elementwise)


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("aten.convolution", (None, (1, 1), (0, 0), (1, 1), True, (0, 0), 2)),
        ("aten.cudnn_convolution_transpose", ((0, 0), (0, 0), (1, 1), (1, 1), 2, False, False, True)),
        ("aten.miopen_convolution_transpose", (None, (0, 0), (0, 0), (1, 1), (1, 1), 2, False, True)),
        ("aten.slow_conv_transpose2d", ((3, 3), None, (1, 1))),
    ],
)
def test_every_signature_of_one_transposed_convolution_costs_the_same(op, args):
    """4 channels in, 2 groups of 3 out: each of 2 · 4 · 49 input elements meets 3 · 9 weights."""
    found = price(op, f32(2, 4, 7, 7), f32(4, 3, 3, 3), *args, outputs=f32(2, 6, 9, 9))
    assert found == Cost(macs=2 * 4 * 49 * 3 * 9)


def test_a_convolution_with_time_first_has_its_weight_the_other_way_round():
    x, w, b = torch.ones(9, 2, 3), torch.ones(4, 3, 5), torch.zeros(5)
    out = torch.conv_tbc(x, w, b)
    assert total(whole(Call(torch.conv_tbc), x, w, b)) == Cost(macs=int(out.sum()), elementwise=out.numel())


@pytest.mark.parametrize("masked", [False, True])
def test_a_deformable_convolution_samples_and_then_convolves(masked):
    """Per tap of each input channel at each position: four products and three sums, and a product with the mask."""
    n, c, o, k, out, offsets = 2, 4, 6, 3, 5, 1
    mask = f32(n, offsets * k * k, out, out) if masked else f32(n, 0)
    args = f32(n, c, 7, 7), f32(o, c, k, k), f32(n, 2 * offsets * k * k, out, out), mask, f32(o)
    found = price("torchvision.deform_conv2d", *args, 1, 1, 0, 0, 1, 1, 1, offsets, masked, outputs=f32(n, o, out, out))
    samples = sum(1 for _ in itertools.product(range(n), range(out), range(out), range(c), range(k * k)))
    assert found.macs == prod((n, out, out, o, c, k, k))
    assert found.elementwise == samples * (7 + masked) + n * o * out * out

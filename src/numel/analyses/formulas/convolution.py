"""Convolutions, plain, grouped and transposed: groups never appear, because the weight's own shape divides by them.

A weight is (out, in / groups, *kernel); a transposed one (in, out / groups, *kernel). Batched or not makes no
difference to a product over all elements.
"""

from __future__ import annotations

from math import prod
from typing import Any

from numel.analyses.formulas.arguments import argument, first, tensor
from numel.analyses.formulas.registry import Cost, formula
from numel.facts.trace import TensorSpec

# A bilinear sample is four products and three sums.
BILINEAR = 7


def forward_macs(out: TensorSpec, weight: TensorSpec) -> int:
    """Each output element is one dot product with one filter: outputs · in / groups · prod(kernel)."""
    return out.numel * prod(weight.shape[1:])


def transposed_macs(x: TensorSpec, weight: TensorSpec) -> int:
    """Each input element is spread over one filter: inputs · out / groups · prod(kernel)."""
    return x.numel * prod(weight.shape[1:])


def _biased(bias: Any, out: TensorSpec) -> int:
    return out.numel if isinstance(bias, TensorSpec) else 0


@formula(
    "aten.conv1d", "aten.conv2d", "aten.conv3d", "aten._convolution_mode", "aten.mkldnn_convolution",
    "aten.miopen_convolution", "aten.miopen_depthwise_convolution", "aten._mps_convolution",
    "aten._nnpack_spatial_convolution", "mkldnn._convolution_pointwise", "mkldnn._convolution_pointwise_",
)  # fmt: skip
def convolution_nd(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Each output element is a dot product with one filter: outputs · in / groups · ∏ kernel; a bias is elementwise.

    (input, weight, bias, ...), string padding too: the output says what the padding gave.

    >>> from numel.facts.dtype import dtype
    >>> x, w, y = (TensorSpec(shape, dtype("f32")) for shape in ((1, 3, 8, 8), (4, 3, 3, 3), (1, 4, 6, 6)))
    >>> convolution_nd(x, w, outputs=(y,)).macs == 36 * 4 * 3 * 9
    True
    """
    weight = tensor(args, named, 1, "weight", "W")
    bias = argument(args, named, 2, "bias", "B")
    out = first(outputs)
    return Cost(macs=forward_macs(out, weight), elementwise=_biased(bias, out))


@formula("mkldnn._convolution_pointwise.binary", "mkldnn._convolution_pointwise_.binary")
def convolution_binary(*args: Any, outputs: Any, **named: Any) -> Cost:
    """A convolution, then one operation per output element with another tensor."""
    weight = tensor(args, named, 2, "W")
    bias = argument(args, named, 3, "B")
    out = first(outputs)
    return Cost(macs=forward_macs(out, weight), elementwise=out.numel + _biased(bias, out))


@formula("aten.convolution", "aten._convolution", "aten.convolution_overrideable")
def convolution(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Outputs · in / groups · ∏ kernel, or, transposed, inputs · out / groups · ∏ kernel; a bias is elementwise.

    (input, weight, bias, stride, padding, dilation, transposed, ...): both directions in one operator.
    """
    x = tensor(args, named, 0, "input")
    weight = tensor(args, named, 1, "weight")
    bias = argument(args, named, 2, "bias")
    out = first(outputs)
    transposed = argument(args, named, 6, "transposed", default=False)
    macs = transposed_macs(x, weight) if transposed else forward_macs(out, weight)
    return Cost(macs=macs, elementwise=_biased(bias, out))


@formula("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d", "aten.miopen_convolution_transpose")
def convolution_transposed(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Each input element is spread over one filter: inputs · out / groups · ∏ kernel; a bias is elementwise."""
    x = tensor(args, named, 0, "input", "self")
    weight = tensor(args, named, 1, "weight")
    bias = argument(args, named, 2, "bias")
    return Cost(macs=transposed_macs(x, weight), elementwise=_biased(bias, first(outputs)))


@formula("aten.cudnn_convolution")
def cudnn_convolution(self: TensorSpec, weight: TensorSpec, *_: Any, outputs: Any, **named: Any) -> int:
    """The bias is added by an operator of its own."""
    return forward_macs(first(outputs), weight)


@formula("aten.cudnn_convolution_transpose", "aten._mps_convolution_transpose")
def cudnn_transposed(self: TensorSpec, weight: TensorSpec, *_: Any, outputs: Any, **named: Any) -> int:
    """The bias is added by an operator of its own."""
    return transposed_macs(self, weight)


@formula("aten.cudnn_convolution_relu", "aten.miopen_convolution_relu")
def convolution_relu(
    self: TensorSpec, weight: TensorSpec, bias: Any = None, *_: Any, outputs: Any, **named: Any
) -> Cost:
    """A convolution and one ReLU per output element."""
    out = first(outputs)
    return Cost(macs=forward_macs(out, weight), elementwise=out.numel + _biased(bias, out))


@formula("aten.cudnn_convolution_add_relu", "aten.miopen_convolution_add_relu")
def convolution_add_relu(
    self: TensorSpec, weight: TensorSpec, z: Any, alpha: Any, bias: Any = None, *_: Any, outputs: Any, **named: Any
) -> Cost:
    """A convolution, an addition and a ReLU per output element."""
    out = first(outputs)
    return Cost(macs=forward_macs(out, weight), elementwise=2 * out.numel + _biased(bias, out))


@formula(
    "aten._conv_depthwise2d", "aten.conv_depthwise3d", "aten.slow_conv3d", "aten.slow_conv3d_forward",
    "aten.thnn_conv2d", "aten._slow_conv2d_forward", "aten.slow_conv_dilated2d", "aten.slow_conv_dilated3d",
)  # fmt: skip
def convolution_slow(
    self: TensorSpec, weight: TensorSpec, kernel_size: Any, bias: Any = None, *_: Any, outputs: Any, **named: Any
) -> Cost:
    """The older signatures, with the kernel size before the bias. Their weight may come flattened to two dimensions."""
    out = first(outputs)
    return Cost(macs=forward_macs(out, weight), elementwise=_biased(bias, out))


@formula("aten.slow_conv_transpose2d", "aten.slow_conv_transpose3d")
def convolution_slow_transposed(
    self: TensorSpec, weight: TensorSpec, kernel_size: Any, bias: Any = None, *_: Any, outputs: Any, **named: Any
) -> Cost:
    """The older transposed signatures."""
    return Cost(macs=transposed_macs(self, weight), elementwise=_biased(bias, first(outputs)))


@formula("aten.conv_tbc")
def conv_tbc(self: TensorSpec, weight: TensorSpec, bias: Any = None, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Time first: the weight is (kernel, in, out), so each output element costs kernel · in."""
    out = first(outputs)
    return Cost(macs=out.numel * weight.shape[0] * weight.shape[1], elementwise=_biased(bias, out))


def deformed_taps(out: TensorSpec, input: TensorSpec, weight: TensorSpec) -> int:
    """Samples that a deformable convolution takes: each tap of each input channel at each position."""
    return out.shape[0] * prod(out.shape[2:]) * input.shape[1] * prod(weight.shape[2:])


@formula("torchvision.deform_conv2d")
def deform_conv2d(
    input: TensorSpec, weight: TensorSpec, offset: TensorSpec, mask: Any, bias: Any, *args: Any,
    outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """The convolution it is after sampling; each tap of each input channel is one bilinear sample, and masked once."""
    out = first(outputs)
    use_mask = argument(args, named, 8, "use_mask", default=isinstance(mask, TensorSpec) and mask.numel > 0)
    sampled = deformed_taps(out, input, weight) * (BILINEAR + bool(use_mask))
    return Cost(macs=forward_macs(out, weight), elementwise=sampled + _biased(bias, out))


@formula("aten.convolution_backward", "aten.convolution_backward_overrideable")
def convolution_backward(
    grad_output: TensorSpec, input: TensorSpec, weight: TensorSpec, *args: Any, outputs: Any, **named: Any
) -> Cost:
    """The gradient of the input and the gradient of the weight cost what the forward costs, each if asked for.

    The gradient of the bias sums `grad_output`: one addition per element, elementwise.
    """
    # convolution_backward carries bias_sizes before the stride; the overrideable one does not.
    flags = [each for each in args if isinstance(each, bool)]
    transposed = named.get("transposed", flags[0] if flags else False)
    mask = named.get("output_mask", args[-1] if args else (True, True, False))
    once = transposed_macs(input, weight) if transposed else forward_macs(grad_output, weight)
    return Cost(macs=once * (bool(mask[0]) + bool(mask[1])), elementwise=grad_output.numel * bool(mask[2]))

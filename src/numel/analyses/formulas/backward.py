"""Gradients that are no matrix products: what autograd runs on the way back through one operator.

The rule of the elementwise column holds here too: one addition, product, comparison or function value is one operation,
and work per row or per channel is left out. Each multiple is written out beside its name.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod
from typing import Any

from numel.analyses.formulas.arguments import argument, first, numel_of
from numel.analyses.formulas.convolution import BILINEAR, deformed_taps, forward_macs
from numel.analyses.formulas.elementwise import ctc_loss, window
from numel.analyses.formulas.registry import Cost, formula
from numel.facts.trace import TensorSpec, tensors_in

# --- pointwise -------------------------------------------------------------------------------------------------------

# What the gradient of each element of the input, or of the target, takes.
_PER_GRADIENT = {
    # the derivative, and its product with the gradient
    2: "elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_sigmoid logit mish rrelu_with_noise sigmoid "
       "silu softplus softshrink tanh threshold glu native_dropout infinitely_differentiable_gelu",
    # the difference, its scale or sign, and the product with the gradient
    3: "mse_loss huber_loss smooth_l1_loss binary_cross_entropy soft_margin_loss multi_margin_loss "
       "multilabel_margin_loss",
    # one addition where an element was read; or a mask
    1: "fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask",
}  # fmt: skip


def _per_gradient(multiple: int) -> Callable[..., Cost]:
    def counted(*args: Any, outputs: Any, **named: Any) -> Cost:
        return Cost(elementwise=multiple * first(outputs).numel)

    counted.__doc__ = f"{multiple} per element of the gradient that comes out."
    return counted


for _multiple, _names in _PER_GRADIENT.items():
    formula(*(f"aten.{name}_backward" for name in _names.split()))(_per_gradient(_multiple))


@formula("aten._prelu_kernel_backward")
def prelu_backward(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Two for the gradient of each input, two for that of its weight: a choice and a product each."""
    return Cost(elementwise=4 * first(outputs).numel)


@formula("aten._softmax_backward_data", "aten._log_softmax_backward_data", "aten._masked_softmax_backward")
def softmax_backward(*args: Any, outputs: Any, **named: Any) -> Cost:
    """y · (g - Σ g·y): a product, a sum, a difference, a product. Of the logarithm, g - eʸ · Σ g: as many."""
    return Cost(elementwise=4 * first(outputs).numel)


# --- normalisation ---------------------------------------------------------------------------------------------------


def _wanted(args: Any, named: Any) -> tuple[bool, bool, bool]:
    """Which gradients are asked for: of the input, the weight and the bias."""
    mask = named.get("output_mask", args[-1] if args and isinstance(args[-1], tuple | list) else (True, True, True))
    return bool(mask[0]), bool(mask[1]), len(mask) > 2 and bool(mask[2])


@formula("aten.native_layer_norm_backward")
def layer_norm_backward(
    grad_out: TensorSpec, input: TensorSpec, normalized_shape: Any, mean: Any, rstd: Any, weight: Any, *args: Any,
    outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """With x̂ = (x - μ) · r (two), dx = r · (gw - mean(gw) - x̂ · mean(gw · x̂)) takes seven, and one for the weight;
    that of the weight Σ g · x̂ two, that of the bias Σ g one."""
    return _normalised(input.numel, isinstance(weight, TensorSpec), _wanted(args, named))


@formula("aten.native_group_norm_backward")
def group_norm_backward(
    grad_out: TensorSpec, input: TensorSpec, mean: Any, rstd: Any, weight: Any, *args: Any, outputs: Any, **named: Any
) -> Cost:
    """As a layer norm's, over each group."""
    return _normalised(input.numel, isinstance(weight, TensorSpec), _wanted(args, named))


def _normalised(elements: int, weighted: bool, wanted: tuple[bool, bool, bool]) -> Cost:
    of_input, of_weight, of_bias = wanted
    each = 2 * (of_input or of_weight) + (7 + weighted) * of_input + 2 * of_weight + of_bias
    return Cost(elementwise=each * elements)


@formula("aten._fused_rms_norm_backward")
def rms_norm_backward(
    grad_out: TensorSpec, input: TensorSpec, normalized_shape: Any, rstd: Any, weight: Any, *args: Any,
    outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """With x̂ = x · r (one), dx = r · (gw - x̂ · mean(gw · x̂)) takes five, and one for the weight; that of the weight
    Σ g · x̂ two."""
    of_input, of_weight, _ = _wanted(args, named)
    weighted = isinstance(weight, TensorSpec)
    each = (of_input or of_weight) + (5 + weighted) * of_input + 2 * (of_weight and weighted)
    return Cost(elementwise=each * input.numel)


def _batch_normalised(elements: int, training: bool, wanted: tuple[bool, bool, bool]) -> Cost:
    of_input, of_weight, of_bias = wanted
    if training:
        each = 2 + 3 + 4 * of_input if of_input or of_weight else int(of_bias)
    else:
        each = int(of_input) + 4 * of_weight + of_bias
    return Cost(elementwise=each * elements)


@formula("aten.native_batch_norm_backward")
def batch_norm_backward(
    grad_out: TensorSpec, input: TensorSpec, weight: Any, running_mean: Any, running_var: Any, save_mean: Any,
    save_invstd: Any, train: bool, *args: Any, outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """In training x̂ (two), Σ g and Σ g · x̂ (three) give the gradients of bias and weight, and four more that of the
    input. In evaluation that is one product, and that of the weight four."""
    return _batch_normalised(input.numel, train, _wanted(args, named))


@formula("aten.batch_norm_backward")
def any_batch_norm_backward(
    grad_out: TensorSpec, input: TensorSpec, weight: Any, running_mean: Any, running_var: Any, save_mean: Any,
    save_var: Any, update: bool, eps: Any, output_mask: Any, *args: Any, outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """As of a batch norm whose backend is chosen late."""
    return _batch_normalised(input.numel, update, (bool(output_mask[0]), bool(output_mask[1]), bool(output_mask[2])))


@formula("aten.cudnn_batch_norm_backward", "aten.miopen_batch_norm_backward")
def fused_batch_norm_backward(*args: Any, outputs: Any, **named: Any) -> Cost:
    """As of a batch norm in training, all three gradients."""
    return _batch_normalised(first(outputs).numel, True, (True, True, True))


@formula("aten._weight_norm_interface_backward")
def weight_norm_backward(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Σ g · v per row (two), and the gradient of v, two products and a difference."""
    return Cost(elementwise=5 * first(outputs).numel)


# --- pooling, resampling, padding ------------------------------------------------------------------------------------


@formula(
    "aten.max_pool2d_with_indices_backward", "aten.max_pool3d_with_indices_backward", "aten.max_pool2d_backward",
    "aten.adaptive_max_pool2d_backward", "aten.adaptive_max_pool3d_backward", "aten.fractional_max_pool2d_backward",
    "aten.fractional_max_pool3d_backward", "aten.embedding_dense_backward",
    *(f"aten.upsample_nearest{d}d_backward" for d in (1, 2, 3)),
    *(f"aten._upsample_nearest_exact{d}d_backward" for d in (1, 2, 3)),
    *(f"aten.{kind}_pad{d}d_backward" for kind in ("reflection", "replication") for d in (1, 2, 3)),
)  # fmt: skip
def scattered(grad_output: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """One addition per element of the gradient that comes in, to the element that it was read from."""
    return Cost(elementwise=grad_output.numel)


def _bag_backward(mode_at: int, weights_at: int, sparse_at: int | None) -> Callable[..., Cost]:
    def counted(grad: TensorSpec, indices: TensorSpec, *args: Any, outputs: Any, **named: Any) -> Cost:
        """One addition per element of each row that was gathered, and one product more with weights of their own. A
        maximum (mode 2) goes back to one row for each element; a sparse gradient names its rows and adds none up."""
        if argument(args, named, mode_at, "mode", default=0) == 2:
            return Cost(elementwise=grad.numel)
        weighted = isinstance(argument(args, named, weights_at, "per_sample_weights"), TensorSpec)
        added = sparse_at is None or not argument(args, named, sparse_at, "sparse", default=False)
        return Cost(elementwise=indices.numel * grad.shape[-1] * (added + weighted))

    return counted


formula("aten._embedding_bag_backward")(_bag_backward(6, 8, 7))
formula("aten._embedding_bag_dense_backward")(_bag_backward(5, 6, None))


@formula("aten._embedding_bag_per_sample_weights_backward")
def bag_weights_backward(
    grad: TensorSpec, weight: Any, indices: TensorSpec, *_: Any, outputs: Any, **named: Any
) -> Cost:  # fmt: skip
    """The gradient of each weight is its row times the gradient of its bag, summed."""
    return Cost(elementwise=2 * indices.numel * grad.shape[-1])


# a copy; a division by the length; a comparison and a division among equals; the product of all, divided by each
_SEGMENTS = {"sum": 0, "mean": 1, "max": 2, "min": 2, "prod": 2}


@formula("aten._segment_reduce_backward")
def segment_reduce_backward(
    grad: Any, output: Any, data: TensorSpec, reduce: str, *_: Any, outputs: Any, **named: Any
) -> Cost | None:
    """Per element that was reduced: of a sum 0, of a mean 1, of an extreme or a product 2."""
    each = _SEGMENTS.get(reduce)
    return None if each is None else Cost(elementwise=each * data.numel)


def _avg_pool_backward(dims: int) -> Callable[..., Cost]:
    def counted(grad_output: TensorSpec, self: Any, kernel_size: Any, *_: Any, outputs: Any, **named: Any) -> Cost:
        """A division per element that comes in, and an addition to each element of its window."""
        return Cost(elementwise=grad_output.numel * (1 + window(kernel_size, dims)))

    return counted


formula("aten.avg_pool2d_backward")(_avg_pool_backward(2))
formula("aten.avg_pool3d_backward")(_avg_pool_backward(3))


def _adaptive_backward(dims: int) -> Callable[..., Cost]:
    def counted(grad_output: TensorSpec, self: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
        """A division and an addition per element of each window, whose sizes are summed exactly."""
        work = prod(self.shape[:-dims])
        for side, count in zip(self.shape[-dims:], grad_output.shape[-dims:], strict=True):
            work *= sum(-(-(i + 1) * side // count) - i * side // count for i in range(count))
        return Cost(elementwise=2 * work)

    return counted


formula("aten._adaptive_avg_pool2d_backward", "aten.mkldnn_adaptive_avg_pool2d_backward")(_adaptive_backward(2))
formula("aten._adaptive_avg_pool3d_backward", "aten.adaptive_avg_pool3d_backward")(_adaptive_backward(3))


def _interpolated_backward(taps: int) -> Callable[..., Cost]:
    def counted(grad_output: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
        """A product and an addition per tap of each element that comes in."""
        return Cost(elementwise=2 * taps * grad_output.numel)

    return counted


for _taps, _name in {2: "linear1d", 4: "bilinear2d", 8: "trilinear3d", 16: "bicubic2d"}.items():
    formula(f"aten.upsample_{_name}_backward")(_interpolated_backward(_taps))


def _antialiased_backward(radius: int) -> Callable[..., Cost]:
    def counted(
        grad_output: TensorSpec, output_size: Any, input_size: Any, *_: Any, outputs: Any, **named: Any
    ) -> Cost:  # fmt: skip
        """The two passes of the forward the other way round: a product and an addition per tap."""
        (h, w), (new_h, new_w) = input_size[-2:], grad_output.shape[-2:]
        planes = prod(grad_output.shape[:-2])
        across = ceil(2 * radius * max(1.0, w / new_w)) if new_w else 0
        down = ceil(2 * radius * max(1.0, h / new_h)) if new_h else 0
        return Cost(elementwise=2 * planes * (new_h * new_w * down + h * new_w * across))

    return counted


for _radius, _name in {1: "bilinear2d", 2: "bicubic2d", 3: "lanczos2d"}.items():
    formula(f"aten._upsample_{_name}_aa_backward")(_antialiased_backward(_radius))


@formula("aten.grid_sampler_2d_backward", "aten.grid_sampler_3d_backward", "aten.cudnn_grid_sampler_backward")
def grid_sampler_backward(grad_output: TensorSpec, *args: Any, outputs: Any, **named: Any) -> Cost:
    """Per tap of each element: a product and an addition for the input; for the grid the product with what was sampled,
    and one of either for each side. Nearest (mode 1) adds to the input alone."""
    dims = len(grad_output.shape) - 2
    mode = argument(args, named, 2, "interpolation_mode", default=0)
    of_input, of_grid, _ = _wanted(args, named)
    if mode == 1:
        return Cost(elementwise=grad_output.numel * of_input)
    taps = 2**dims if mode == 0 else 4**dims
    return Cost(elementwise=grad_output.numel * taps * (2 * of_input + (1 + 2 * dims) * of_grid))


# --- distances, losses, recurrent cells ------------------------------------------------------------------------------


@formula("aten._cdist_backward")
def cdist_backward(
    grad: TensorSpec, x1: TensorSpec, x2: TensorSpec, *_: Any, outputs: Any, **named: Any
) -> Cost:  # fmt: skip
    """Per feature of each pair: the difference, its derivative, the product with the gradient, the sum."""
    return Cost(elementwise=4 * grad.numel * x1.shape[-1])


@formula("aten._pdist_backward")
def pdist_backward(grad: TensorSpec, self: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Per feature of each pair: the difference, its derivative, the product with the gradient, two sums."""
    return Cost(elementwise=5 * grad.numel * self.shape[-1])


@formula("aten.nll_loss_backward", "aten.nll_loss2d_backward")
def nll_loss_backward(grad_output: Any, self: Any, target: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """One product per target: the rest of the gradient is zero."""
    return Cost(elementwise=target.numel)


@formula("aten._ctc_loss_backward")
def ctc_loss_backward(
    grad: Any, log_probs: TensorSpec, targets: TensorSpec, *_: Any, outputs: Any, **named: Any
) -> Cost | None:
    """The recursion of the forward once more from the end, and what each class of each step gets: the exponential, the
    difference, a product. The lengths are data: those of the shapes are taken."""
    forward = ctc_loss(log_probs, targets, outputs=outputs)
    return None if forward is None else forward + Cost(elementwise=3 * log_probs.numel)


# Per hidden unit and token, with the gates kept. LSTM: tanh(c); dc + dh·o·(1 - tanh²), five; the gradients of the gates
# o, i, g and f before their functions, four each; dc·f. GRU: the candidate's five, z's five, r's four, two products.
_CELL = {"lstm": 1 + 5 + 4 * 4 + 1, "gru": 5 + 5 + 4 + 2, "rnn": 3}
_MODES = ("rnn", "rnn", "lstm", "gru")


@formula("aten._thnn_fused_lstm_cell_backward", "aten._thnn_fused_lstm_cell_backward_impl")
def lstm_cell_backward(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Of the gates alone, 23 per hidden unit; and the sum of the gates' gradients for the bias."""
    gates = first(outputs)
    return Cost(elementwise=gates.numel // 4 * _CELL["lstm"])


@formula("aten._thnn_fused_gru_cell_backward")
def gru_cell_backward(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Of the gates alone, 16 per hidden unit."""
    return Cost(elementwise=first(outputs).numel // 3 * _CELL["gru"])


@formula("aten.mkldnn_rnn_layer_backward")
def mkldnn_rnn_layer_backward(
    input: TensorSpec, w_ih: TensorSpec, w_hh: TensorSpec, b_ih: Any, b_hh: Any, hx: Any, cx: Any, output: Any,
    hy: Any, cy: Any, grad_output: Any, grad_hy: Any, grad_cy: Any, reverse: Any, mode: int, hidden_size: int, *_: Any,
    outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """Each matrix meets each token twice, for the gradient of what came in and for its own; the gates beside that, and
    one addition per element of a bias."""
    tokens = prod(input.shape[:-1])
    biases = numel_of([each for each in (b_ih, b_hh) if isinstance(each, TensorSpec) and len(each.shape) == 1])
    gates = tokens * (hidden_size * _CELL[_MODES[mode]] + biases)
    return Cost(macs=2 * tokens * (w_ih.numel + w_hh.numel), elementwise=gates)


@formula("aten._cudnn_rnn_backward", "aten.miopen_rnn_backward")
def rnn_backward(input: TensorSpec, weight: Any, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Each matrix meets each token twice, for the gradient of what came in and for its own."""
    matrices = sum(each.numel for each in tensors_in(weight) if len(each.shape) == 2)
    return Cost(macs=2 * prod(input.shape[:-1]) * matrices)


# --- products --------------------------------------------------------------------------------------------------------


@formula("aten.linear_backward", "aten.mkldnn_linear_backward")
def linear_backward(
    input: TensorSpec, grad_output: TensorSpec, weight: TensorSpec, *args: Any, outputs: Any, **named: Any
) -> Cost:
    """The MACs of the product for the gradient of the input, and again for that of the weight; the bias is summed."""
    of_input, of_weight, of_bias = _wanted(args, named)
    once = grad_output.numel * input.shape[-1]
    return Cost(macs=once * (of_input + of_weight), elementwise=grad_output.numel * of_bias)


@formula("aten.matmul_backward")
def matmul_backward(grad: TensorSpec, self: TensorSpec, other: TensorSpec, mask: Any, *, outputs: Any) -> Cost:
    """As many MACs as the product itself for the gradient of either side."""
    return Cost(macs=grad.numel * self.shape[-1] * (bool(mask[0]) + bool(mask[1])))


@formula("aten._slow_conv2d_backward")
def slow_convolution_backward(
    grad_output: TensorSpec, self: TensorSpec, weight: TensorSpec, *args: Any, outputs: Any, **named: Any
) -> Cost:
    """The MACs of the forward for the gradient of the input, and again for that of the weight; the bias is summed."""
    of_input, of_weight, of_bias = _wanted(args, named)
    once = forward_macs(grad_output, weight)
    return Cost(macs=once * (of_input + of_weight), elementwise=grad_output.numel * of_bias)


@formula("torchvision._deform_conv2d_backward")
def deform_conv2d_backward(
    grad: TensorSpec, input: TensorSpec, weight: TensorSpec, offset: Any, mask: Any, bias: Any, *args: Any,
    outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """The product for what was sampled, and that for the weight, which samples again. Per sample, as of `grid_sample`
    with four taps: a product and a sum each for the input, five each for where it was taken. With a mask four more: its
    product with the sample, with the gradient, and its own gradient's product and sum. The bias is summed."""
    masked = argument(args, named, 8, "use_mask", default=isinstance(mask, TensorSpec) and mask.numel > 0)
    taps, once = deformed_taps(grad, input, weight), forward_macs(grad, weight)
    return Cost(macs=2 * once, elementwise=taps * (BILINEAR + 4 * (2 + 5) + 4 * bool(masked)) + grad.numel)


@formula("aten.conv_tbc_backward")
def conv_tbc_backward(
    self: TensorSpec, input: TensorSpec, weight: TensorSpec, *_: Any, outputs: Any, **named: Any
) -> Cost:
    """The forward twice: for the gradient of the input and for that of the weight; the bias is summed."""
    return Cost(macs=2 * self.numel * weight.shape[0] * weight.shape[1], elementwise=self.numel)


# --- moved -----------------------------------------------------------------------------------------------------------


_MOVED = """
    slice select diagonal index_select gather masked_scatter value_selecting_reduction _pack_padded_sequence to_dense
    to_mkldnn trace _nested_select _nested_sum
"""


@formula(*(f"aten.{name}_backward" for name in _MOVED.split()))
def moved_back(*_: Any, outputs: Any, **named: Any) -> Cost:
    """Zeros, and the gradient copied to where its elements were read."""
    return Cost()

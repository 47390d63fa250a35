"""The elementwise column: scalar operations of everything that is no matrix product. No MACs here.

One definition for all of it: a scalar operation is one addition, multiplication, comparison or function value (an
exponential counts like an addition). A pointwise operator does one per output element, a reduction one per input
element, and the compound operators a fixed multiple that is derived beside its name and listed in docs/counting.md.
Work per row (the division of a mean, the square root of a variance) is left out: it is smaller by the row's length.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from math import ceil, log2, prod
from typing import Any

from numel.analyses.formulas.arguments import argument, broadcast, first, numel_of, tensor
from numel.analyses.formulas.registry import Cost, formula
from numel.facts.trace import TensorSpec, tensors_in

# torch.cdist: the rows above which its default mode turns to a matrix product
_CDIST_BY_PRODUCT = 25

# --- pointwise: one operation per output element -------------------------------------------------------------------

# Those that have an in-place form, too.
_UNARY = """
    abs absolute acos arccos acosh arccosh asin arcsin asinh arcsinh atan arctan atanh arctanh bitwise_not ceil celu
    conj_physical cos cosh deg2rad digamma elu erf erfc erfinv exp exp2 expm1 fix floor frac gelu hardsigmoid hardswish
    hardtanh i0 leaky_relu lgamma log log10 log1p log2 logical_not logit mish mvlgamma nan_to_num neg negative polygamma
    rad2deg reciprocal relu relu6 round rrelu rrelu_with_noise rsqrt selu sgn sigmoid sign silu sin sinc sinh sqrt
    square tan tanh threshold trunc
"""

_BINARY = """
    add _add_relu sub subtract mul multiply div divide true_divide floor_divide fmod remainder pow float_power clamp
    clamp_min clamp_max clip lerp addcmul addcdiv atan2 arctan2 copysign gcd lcm heaviside hypot igamma igammac ldexp
    logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift
    nextafter xlogy eq ne lt le gt ge not_equal less less_equal greater greater_equal
"""

# Those that have none.
_FUNCTIONAL = """
    angle _conj_physical frexp hardshrink isfinite isinf isnan isneginf isposinf isreal log_sigmoid log_sigmoid_forward
    rrelu_with_noise_functional signbit softplus softshrink rsub maximum minimum fmax fmin where logaddexp logaddexp2
    equal isclose prelu _prelu_kernel polar _masked_scale cross linalg_cross diff isin vander linalg_vander
    special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1 special_digamma special_entr
    special_erf special_erfc special_erfcx special_erfinv special_exp2 special_expit special_expm1 special_gammaln
    special_i0 special_i0e special_i1 special_i1e special_log1p special_log_ndtr special_logit
    special_modified_bessel_i0 special_modified_bessel_i1 special_modified_bessel_k0 special_modified_bessel_k1
    special_multigammaln special_ndtr special_ndtri special_polygamma special_psi special_round
    special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1 special_sinc special_spherical_bessel_j0
    special_xlogy special_xlog1py special_zeta special_gammainc special_gammaincc
    special_chebyshev_polynomial_t special_chebyshev_polynomial_u special_chebyshev_polynomial_v
    special_chebyshev_polynomial_w special_hermite_polynomial_h special_hermite_polynomial_he
    special_laguerre_polynomial_l special_legendre_polynomial_p special_shifted_chebyshev_polynomial_t
    special_shifted_chebyshev_polynomial_u special_shifted_chebyshev_polynomial_v
    special_shifted_chebyshev_polynomial_w
"""

_FOREACH = """
    abs acos add addcdiv addcmul asin atan ceil clamp_max clamp_min cos cosh div erf erfc exp expm1 floor frac lerp
    lgamma log log10 log1p log2 maximum minimum mul neg pow reciprocal round rsqrt sigmoid sign sin sinh sqrt sub tan
    tanh trunc
"""
_FOREACH_REDUCTIONS = "max norm powsum"

_PRIMS = """
    abs acos acosh add asin asinh atan atan2 atanh bessel_i0 bessel_i0e bessel_i1 bessel_i1e bessel_j0 bessel_j1
    bitwise_and bitwise_not bitwise_or bitwise_xor cbrt ceil conj_physical cos cosh digamma div eq erf erf_inv erfc
    erfcx exp exp2 expm1 floor fmax fmin fmod frexp gcd ge gt hypot igamma igammac isfinite le lgamma log log10 log1p
    log2 lt maximum minimum mul ndtri ne neg nextafter pow reciprocal remainder round rsqrt shift_left
    shift_right_arithmetic sign signbit sin sinh spherical_bessel_j0 sqrt sub tan tanh trunc where zeta
"""

# Reductions and scans: one operation per input element (an addition, a product, a comparison).
_REDUCTIONS = """
    sum nansum mean nanmean prod max min amax amin aminmax _aminmax argmax argmin all any cummax cummin
    _cummax_helper _cummin_helper trace count_nonzero median nanmedian mode kthvalue sum_to_size _grad_sum_to_size
    _is_all_true _is_any_true histc bincount segment_reduce
    allclose hash_tensor trapezoid trapz cumulative_trapezoid unique_consecutive unique_dim_consecutive
"""


def _aten(names: str) -> list[str]:
    return [f"aten.{name}" for name in names.split()]


def _inplace(names: str) -> list[str]:
    return [f"aten.{name}{suffix}" for name in names.split() for suffix in ("", "_")]


def _results(outputs: Any, args: Any) -> int:
    """Elements written: those of the first output, or of the first argument where an in-place operator returns none."""
    for spec in tensors_in(outputs):
        return spec.numel
    return first(args).numel


# Python's operators, as TorchScript spells them
_DUNDER = "and or xor lshift rshift iand ior ixor ilshift irshift"


@formula(
    *_inplace(_UNARY), *_inplace(_BINARY), *_aten(_FUNCTIONAL), *(f"aten.__{name}__" for name in _DUNDER.split()),
    *(f"prims.{name}" for name in _PRIMS.split()), "aten.max.other", "aten.max.out", "aten.min.other", "aten.min.out",
)  # fmt: skip
def pointwise(*args: Any, outputs: Any, **named: Any) -> Cost:
    """One operation per output element.

    >>> from numel.facts.dtype import dtype
    >>> pointwise(TensorSpec((2, 1), dtype("f32")), 1, outputs=(TensorSpec((2, 3), dtype("f32")),)).elementwise
    6
    """
    return Cost(elementwise=_results(outputs, args))


@formula(
    *_inplace(" ".join(f"_foreach_{name}" for name in _FOREACH.split())),
    *(f"aten._foreach_{name}" for name in _FOREACH_REDUCTIONS.split()),
)  # fmt: skip
def foreach(self: Any, *_: Any, outputs: Any, **named: Any) -> Cost:
    """One operation per element of each tensor of the list; a scalar to the power of a list counts the results."""
    return Cost(elementwise=numel_of(self) or numel_of(outputs))


@formula(
    *_aten(_REDUCTIONS), *_inplace("cumsum cumprod"),
    "prims.sum", "prims.prod", "prims.amax", "prims.amin", "prims.xor_sum",
)  # fmt: skip
def reduction(*args: Any, outputs: Any, **named: Any) -> Cost:
    """One operation per input element."""
    sources = list(tensors_in(args))
    return Cost(elementwise=sources[0].numel if sources else first(named.values()).numel)


def _added_in(args: Any, named: Any, position: int, *names: str) -> Cost:
    """One operation per element that is added in: those of the source, or of the index where the source is a scalar."""
    source = argument(args, named, position, *names)
    spec = source if isinstance(source, TensorSpec) else tensor(args, named, 2, "index")
    return Cost(elementwise=spec.numel)


@formula(*_inplace("scatter_add scatter_reduce index_add index_reduce"))
def scatter_sum(*args: Any, outputs: Any, **named: Any) -> Cost:
    """(self, dim, index, source, ...): one operation per element of the source."""
    return _added_in(args, named, 3, "src", "source")


@formula(*(f"{name}.{overload}" for name in _inplace("scatter") for overload in ("reduce", "value_reduce")))
def scatter_by(*args: Any, outputs: Any, **named: Any) -> Cost:
    """The overloads that add or multiply; plain scatter writes and computes nothing."""
    return _added_in(args, named, 3, "src", "value")


@formula(*_inplace("index_put _index_put_impl"), "aten._unsafe_index_put")
def index_put(*args: Any, outputs: Any, **named: Any) -> Cost:
    """(self, indices, values, accumulate, ...): one addition per position that is added to; writing computes nothing.

    How many a mask holds is data: then one for each of the values, as they are not fewer.
    """
    if not argument(args, named, 3, "accumulate", default=False):
        return Cost()
    x, values = tensor(args, named, 0, "self"), tensor(args, named, 2, "values")
    indices = argument(args, named, 1, "indices")
    given = [index for index in indices if isinstance(index, TensorSpec)]
    if any(index.dtype.name in ("bool", "uint8") for index in given):
        return Cost(elementwise=values.numel if values.numel > 1 else 0, at_least=True)
    whole = [size for size, index in zip_longest(x.shape, indices) if index is None]
    return Cost(elementwise=prod(broadcast(*(index.shape for index in given))) * prod(whole))


@formula(*_inplace("put"))
def put(*args: Any, outputs: Any, **named: Any) -> Cost:
    """(self, index, source, accumulate): as `index_put` over the flat elements."""
    added = argument(args, named, 3, "accumulate", default=False)
    return Cost(elementwise=tensor(args, named, 1, "index").numel) if added else Cost()


@formula("aten._unsafe_masked_index_put_accumulate")
def masked_index_put(self: TensorSpec, mask: Any, indices: Any, values: TensorSpec, *_: Any, outputs: Any) -> Cost:
    """One addition and one choice by the mask for each value."""
    return Cost(elementwise=2 * values.numel)


# --- compound operators with a multiple per input element -----------------------------------------------------------

_PER_INPUT: dict[int, str] = {
    # square, sum; exponential, sum; zero point, scale
    2: "norm linalg_vector_norm frobenius_norm native_norm linalg__powsum renorm renorm_ "
    "norm_except_dim logcumsumexp _logcumsumexp dequantize",
    # difference (or product), function, sum
    3: "mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy binary_cross_entropy_with_logits kl_div "
    "soft_margin_loss hinge_embedding_loss margin_ranking_loss multi_margin_loss multilabel_margin_loss "
    "multilabel_margin_loss_forward dist poisson_nll_loss",
    # maximum, subtraction, exponential, sum; for the variance: sum, subtraction, square, sum
    4: "logsumexp special_logsumexp var std var_mean std_mean prims.var",
    # maximum, subtraction, exponential, sum, division (or subtraction of the log); scale, round, zero point, two bounds
    5: "softmax _softmax _safe_softmax log_softmax _log_softmax special_softmax special_log_softmax "
    "_nested_tensor_softmax_with_shape quantize_per_tensor quantize_per_channel",
    # the same, and one for the mask
    6: "_masked_softmax cross_entropy_loss",
    # quantised and back; minimum and maximum for the scale, then quantised
    7: "fake_quantize_per_tensor_affine fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine "
    "fake_quantize_per_channel_affine_cachemask _fake_quantize_per_tensor_affine_cachemask_tensor_qparams "
    "_fake_quantize_learnable_per_tensor_affine _fake_quantize_learnable_per_channel_affine "
    "quantize_per_tensor_dynamic",
    # minimum and maximum observed, quantised and back
    9: "fused_moving_avg_obs_fake_quant _fused_moving_avg_obs_fq_helper",
}


def _per_input(multiple: int) -> Callable[..., Cost]:
    def counted(*args: Any, outputs: Any, **named: Any) -> Cost:
        """A fixed multiple of the first tensor's elements."""
        return Cost(elementwise=multiple * first((args, tuple(named.values()))).numel)

    return counted


for _multiple, _names in _PER_INPUT.items():
    formula(*(name if "." in name else f"aten.{name}" for name in _names.split()))(_per_input(_multiple))


@formula("aten.linalg_matrix_norm", "aten.linalg_norm")
def matrix_norm(*args: Any, outputs: Any, **named: Any) -> Cost | None:
    """Two per element for the entrywise norms; the spectral and nuclear ones need singular values: unknown."""
    order = argument(args, named, 1, "ord")
    if order in (2, -2, "nuc"):
        return None
    return Cost(elementwise=2 * first(args).numel)


@formula("aten.nll_loss", "aten.nll_loss_nd", "aten.nll_loss2d", "aten.nll_loss_forward", "aten.nll_loss2d_forward")
def nll_loss(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Picked by index, then one addition per target."""
    return Cost(elementwise=tensor(args, named, 1, "target").numel)


@formula("aten.cosine_similarity", "aten.cosine_embedding_loss")
def cosine_similarity(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Three dot products of a multiplication and an addition each: six per broadcast element."""
    left, right = list(tensors_in((args, tuple(named.values()))))[:2]
    return Cost(elementwise=6 * prod(broadcast(left.shape, right.shape)))


@formula("aten.pairwise_distance", "aten.triplet_margin_loss")
def pairwise_distance(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Difference, power and sum per element of each pair; a triplet has two pairs."""
    tensors = list(tensors_in(args))[:3]
    return Cost(elementwise=3 * prod(broadcast(*(spec.shape for spec in tensors))) * max(1, len(tensors) - 1))


@formula("aten._cdist_forward")
def cdist_forward(x1: TensorSpec, x2: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Difference, power and sum for each feature of each pair."""
    return Cost(elementwise=3 * first(outputs).numel * x1.shape[-1])


@formula("aten._euclidean_dist")
def euclidean_dist(x1: TensorSpec, x2: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """|x|² - 2xy + |y|² by one matrix product over the features and two more for the norms: pairs · (features + 2).

    Elementwise: a square and a sum per element of both, the doubling of one, and per pair a clamp and a root.
    """
    pairs = first(outputs).numel
    return Cost(macs=pairs * (x1.shape[-1] + 2), elementwise=3 * x1.numel + 2 * x2.numel + 2 * pairs)


@formula("aten.cdist")
def cdist(
    x1: TensorSpec, x2: TensorSpec, p: Any = 2.0, compute_mode: Any = None, *_: Any, outputs: Any, **named: Any
) -> Cost:
    """Euclidean distances of more than 25 rows on either side go by matrix product; mode 1 always, mode 2 never."""
    large = x1.shape[-2] > _CDIST_BY_PRODUCT or x2.shape[-2] > _CDIST_BY_PRODUCT
    by_product = p == 2 and (compute_mode == 1 or (not compute_mode and large))
    return (euclidean_dist if by_product else cdist_forward)(x1, x2, outputs=outputs)


@formula("aten.pdist", "aten._pdist_forward")
def pdist(self: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Difference, power and sum for each feature of each of n (n - 1) / 2 pairs."""
    rows, features = self.shape
    return Cost(elementwise=3 * features * rows * (rows - 1) // 2)


# --- normalisation ---------------------------------------------------------------------------------------------------

# mean: one sum; variance: subtract, square, sum; result: one scaling of the difference. Affine: one each.
_STATISTICS = 4
_NORMALISE = _STATISTICS + 1


def _affine(args: Any, named: Any, weight: int, bias: int) -> int:
    return sum(
        isinstance(argument(args, named, position, name), TensorSpec)
        for position, name in ((weight, "weight"), (bias, "bias"))
    )


@formula("aten.layer_norm", "aten.native_layer_norm", "aten.group_norm")
def layer_norm(*args: Any, outputs: Any, **named: Any) -> Cost:
    """(input, shape or groups, weight, bias, ...): five per element, and one for each of weight and bias.

    >>> from numel.facts.dtype import dtype
    >>> x, w = TensorSpec((2, 8), dtype("f32")), TensorSpec((8,), dtype("f32"))
    >>> layer_norm(x, (8,), w, w, outputs=(x,)).elementwise == 7 * 16
    True
    """
    return Cost(elementwise=tensor(args, named, 0, "input").numel * (_NORMALISE + _affine(args, named, 2, 3)))


@formula("aten.native_group_norm")
def native_group_norm(*args: Any, outputs: Any, **named: Any) -> Cost:
    """(input, weight, bias, ...): as `layer_norm`."""
    return Cost(elementwise=tensor(args, named, 0, "input").numel * (_NORMALISE + _affine(args, named, 1, 2)))


@formula("aten.instance_norm")
def instance_norm(*args: Any, outputs: Any, **named: Any) -> Cost:
    """(input, weight, bias, mean, var, use_input_stats, ...): as batch norm, each image on its own."""
    return _batch_norm(args, named, argument(args, named, 5, "use_input_stats", default=True))


@formula("aten.rms_norm", "aten._fused_rms_norm")
def rms_norm(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Square, sum, scaling: three per element, and one for the weight."""
    weight = argument(args, named, 2, "weight")
    return Cost(elementwise=tensor(args, named, 0, "input").numel * (3 + isinstance(weight, TensorSpec)))


def _batch_norm(args: Any, named: Any, training: Any) -> Cost:
    multiple = _NORMALISE + _affine(args, named, 1, 2) if training else 2
    return Cost(elementwise=tensor(args, named, 0, "input").numel * multiple)


@formula(
    "aten.batch_norm", "aten.native_batch_norm", "aten._batch_norm_impl_index", "aten._native_batch_norm_legit",
    "aten.cudnn_batch_norm", "aten.miopen_batch_norm", "aten._native_batch_norm_legit_functional",
)  # fmt: skip
def batch_norm(*args: Any, outputs: Any, **named: Any) -> Cost:
    """(input, weight, bias, mean, var, training, ...): in eval one scale and one shift, in training as `layer_norm`."""
    return _batch_norm(args, named, argument(args, named, 5, "training", default=False))


@formula("aten._native_batch_norm_legit.no_stats")
def batch_norm_no_stats(*args: Any, outputs: Any, **named: Any) -> Cost:
    """(input, weight, bias, training, ...): there are no running statistics, so the batch's own are always used."""
    return _batch_norm(args, named, True)


@formula("aten._native_batch_norm_legit_no_training", "aten._batch_norm_no_update", "aten.quantized_batch_norm")
def batch_norm_eval(*args: Any, outputs: Any, **named: Any) -> Cost:
    """One scale and one shift per element."""
    return _batch_norm(args, named, False)


@formula("aten._batch_norm_with_update", "aten._batch_norm_with_update_functional")
def batch_norm_update(*args: Any, outputs: Any, **named: Any) -> Cost:
    """The training form."""
    return _batch_norm(args, named, True)


@formula("aten.batch_norm_stats", "aten.batch_norm_update_stats")
def batch_norm_stats(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Mean and variance alone: four per element."""
    return Cost(elementwise=_STATISTICS * tensor(args, named, 0, "input").numel)


@formula("aten.batch_norm_elemt")
def batch_norm_elemt(*args: Any, outputs: Any, **named: Any) -> Cost:
    """(input, weight, bias, mean, invstd, ...): what `batch_norm_stats` leaves of a batch norm in training."""
    multiple = _NORMALISE - _STATISTICS + _affine(args, named, 1, 2)
    return Cost(elementwise=tensor(args, named, 0, "input").numel * multiple)


@formula("aten._weight_norm", "aten._weight_norm_interface")
def weight_norm(v: TensorSpec, g: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Square, sum, scaling."""
    return Cost(elementwise=3 * v.numel)


# --- gates and dropout -----------------------------------------------------------------------------------------------


@formula("aten.glu")
def glu(*args: Any, outputs: Any, **named: Any) -> Cost:
    """A sigmoid and a product per output element."""
    return Cost(elementwise=2 * numel_of(outputs))


@formula(*_inplace("dropout feature_dropout alpha_dropout feature_alpha_dropout"), "aten.native_dropout")
def dropout(*args: Any, outputs: Any, **named: Any) -> Cost:
    """In training a comparison with the random draw and a scaling; in eval, or with p = 0, nothing.

    `native_dropout` takes no answer to `train` for a yes.
    """
    p = argument(args, named, 1, "p", default=0.5)
    if argument(args, named, 2, "train") is False or not p:
        return Cost()
    return Cost(elementwise=2 * tensor(args, named, 0, "input", "self").numel)


@formula("aten._fused_dropout")
def fused_dropout(self: TensorSpec, p: Any, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Training alone; `p` is the share that is kept."""
    return Cost(elementwise=2 * self.numel)


# --- pooling and resampling ------------------------------------------------------------------------------------------


def window(kernel: Any, dims: int) -> int:
    """Elements of a window; one size stands for all sides."""
    sizes = tuple(kernel) if isinstance(kernel, tuple | list) else (kernel,)
    return int(prod(sizes if len(sizes) == dims else sizes * dims))


def _pool(dims: int) -> Callable[..., Cost]:
    def counted(*args: Any, outputs: Any, **named: Any) -> Cost:
        """One operation per element of the window of each output; where the window hangs over the edge too."""
        return Cost(elementwise=first(outputs).numel * window(argument(args, named, 1, "kernel_size"), dims))

    return counted


formula("aten.max_pool1d", "aten.max_pool1d_with_indices", "aten.avg_pool1d", "aten.quantized_max_pool1d")(_pool(1))
formula(
    "aten.max_pool2d", "aten.max_pool2d_with_indices", "aten.avg_pool2d", "aten.mkldnn_max_pool2d",
    "aten.fractional_max_pool2d", "aten.quantized_max_pool2d",
)(_pool(2))  # fmt: skip
formula(
    "aten.max_pool3d", "aten.max_pool3d_with_indices", "aten.avg_pool3d", "aten.mkldnn_max_pool3d",
    "aten.fractional_max_pool3d", "aten.quantized_max_pool3d",
)(_pool(3))  # fmt: skip


def _adaptive(dims: int) -> Callable[..., Cost]:
    def counted(*args: Any, outputs: Any, **named: Any) -> Cost:
        """Output i of n over a side of s reads floor(i·s/n) to ceil((i+1)·s/n): summed exactly, overlaps included."""
        x, out = tensor(args, named, 0, "self", "input"), first(outputs)
        work = prod(x.shape[:-dims])
        for side, count in zip(x.shape[-dims:], out.shape[-dims:], strict=True):
            work *= sum(-(-(i + 1) * side // count) - i * side // count for i in range(count))
        return Cost(elementwise=work)

    return counted


for _dims in (1, 2, 3):
    formula(f"aten.adaptive_avg_pool{_dims}d", f"aten.adaptive_max_pool{_dims}d")(_adaptive(_dims))
formula("aten._adaptive_avg_pool2d", "aten.mkldnn_adaptive_avg_pool2d")(_adaptive(2))
formula("aten._adaptive_avg_pool3d")(_adaptive(3))


def _interpolated(taps: int) -> Callable[..., Cost]:
    def counted(*args: Any, outputs: Any, **named: Any) -> Cost:
        """A weighted sum of `taps` samples: that many products and one sum fewer, per output element."""
        return Cost(elementwise=(2 * taps - 1) * first(outputs).numel)

    return counted


for _taps, _names in {
    2: "upsample_linear1d",
    4: "upsample_bilinear2d __upsample_bilinear",
    8: "upsample_trilinear3d",
    16: "upsample_bicubic2d",
}.items():
    formula(*(f"aten.{name}" for name in _names.split()))(_interpolated(_taps))


def _antialiased(radius: int) -> Callable[..., Cost]:
    def counted(*args: Any, outputs: Any, **named: Any) -> Cost:
        """Two passes, one per side, each a weighted sum as wide as the filter, stretched when the image shrinks."""
        x, out = tensor(args, named, 0, "self", "input"), first(outputs)
        (h, w), (new_h, new_w) = x.shape[-2:], out.shape[-2:]
        planes = prod(out.shape[:-2])
        across = ceil(2 * radius * max(1.0, w / new_w)) if new_w else 0
        down = ceil(2 * radius * max(1.0, h / new_h)) if new_h else 0
        return Cost(elementwise=planes * (h * new_w * (2 * across - 1) + new_h * new_w * (2 * down - 1)))

    return counted


for _radius, _names in {1: "_upsample_bilinear2d_aa", 2: "_upsample_bicubic2d_aa", 3: "_upsample_lanczos2d_aa"}.items():
    formula(f"aten.{_names}")(_antialiased(_radius))


@formula(
    "aten.grid_sampler", "aten.grid_sampler_2d", "aten.grid_sampler_3d", "aten._grid_sampler_2d_cpu_fallback",
    "aten.cudnn_grid_sampler",
)  # fmt: skip
def grid_sampler(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Mode 0: a weighted sum of 2^d samples; mode 1, nearest: none; mode 2, bicubic: 4^d samples."""
    mode = argument(args, named, 2, "interpolation_mode", default=0)
    out = first(outputs)
    dims = len(out.shape) - 2
    taps = {0: 2**dims, 1: 0, 2: 4**dims}[mode]
    return Cost(elementwise=max(0, 2 * taps - 1) * out.numel)


@formula("torchvision.roi_align")
def roi_align(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Each output averages sampling_ratio² bilinear samples, seven operations and a sum each.

    A ratio of 0 or less is chosen by the size of each box, which is data: then one sample at least.
    """
    ratio = argument(args, named, 5, "sampling_ratio", default=-1)
    return Cost(elementwise=8 * max(1, ratio) ** 2 * first(outputs).numel, at_least=ratio <= 0)


@formula("torchvision.ps_roi_align")
def ps_roi_align(*args: Any, outputs: Any, **named: Any) -> Cost:
    """As `roi_align`: each output averages sampling_ratio² bilinear samples of a channel of its own."""
    return roi_align(*args, outputs=outputs, **named)


@formula("torchvision.roi_pool", "torchvision.ps_roi_pool")
def roi_pool(*args: Any, outputs: Any, **named: Any) -> Cost:
    """One comparison or addition per element of a window, whose size follows from the box, which is data: one at least
    for each output."""
    return Cost(elementwise=first(outputs).numel, at_least=True)


def _sampled_back(grad: TensorSpec, ratio: int) -> Cost:
    """To four neighbours of each sample a product and an addition each, and the average once."""
    return Cost(elementwise=(8 * max(1, ratio) ** 2 + 1) * grad.numel, at_least=ratio <= 0)


@formula("torchvision._roi_align_backward")
def roi_align_backward(grad: TensorSpec, *args: Any, outputs: Any, **named: Any) -> Cost:
    """Each gradient is divided among its samples and added to four neighbours of each: eight per sample, and one."""
    return _sampled_back(grad, argument((grad, *args), named, 9, "sampling_ratio", default=-1))


@formula("torchvision._ps_roi_align_backward")
def ps_roi_align_backward(grad: TensorSpec, *args: Any, outputs: Any, **named: Any) -> Cost:
    """Each gradient is divided among its samples and added to four neighbours of each: eight per sample, and one."""
    return _sampled_back(grad, argument((grad, *args), named, 6, "sampling_ratio", default=-1))


@formula("torchvision._roi_pool_backward")
def roi_pool_backward(grad: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """One addition per gradient, to the element that was the largest."""
    return Cost(elementwise=grad.numel)


# --- ordering and search ---------------------------------------------------------------------------------------------


def _bits(count: int) -> int:
    """Comparisons that a binary search over `count` needs: ceil(log2 count)."""
    return max(0, count - 1).bit_length()


@formula("aten.sort", "aten.argsort")
def sort(*args: Any, outputs: Any, **named: Any) -> Cost:
    """n · ceil(log2 n) comparisons for each row of n, by definition: the algorithm is the device's choice."""
    x = tensor(args, named, 0, "self")
    # a flag for a stable sort may stand before the dimension
    dim = next((each for each in args[1:] if type(each) is int), named.get("dim", -1))
    return Cost(elementwise=x.numel * _bits(x.shape[dim])) if x.shape else Cost()


@formula("aten.msort")
def msort(self: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """A sort along the first dimension."""
    return sort(self, 0, outputs=outputs)


@formula("aten._unique", "aten._unique2")
def unique(self: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """A sort of all elements as one row."""
    return Cost(elementwise=self.numel * _bits(self.numel))


@formula("aten.unique_dim")
def unique_dim(self: TensorSpec, dim: int, *_: Any, outputs: Any, **named: Any) -> Cost:
    """A sort of the slices along `dim`, each comparison of two slices being one of all their elements."""
    return sort(self, dim, outputs=outputs)


@formula("aten.topk")
def topk(*args: Any, outputs: Any, **named: Any) -> Cost:
    """A heap of k: one comparison per element and ceil(log2 k) for keeping order, by definition."""
    k = argument(args, named, 1, "k", default=1)
    return Cost(elementwise=tensor(args, named, 0, "self").numel * (1 + _bits(k)))


@formula("aten.quantile", "aten.nanquantile")
def quantile(*args: Any, outputs: Any, **named: Any) -> Cost:
    """A sort of each row, then a linear interpolation (three) per output."""
    x = tensor(args, named, 0, "self")
    dim = argument(args, named, 2, "dim")
    length = x.shape[dim] if isinstance(dim, int) and x.shape else x.numel
    return Cost(elementwise=x.numel * _bits(length) + 3 * numel_of(outputs))


@formula("aten.searchsorted")
def searchsorted(sorted_sequence: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """A binary search over the last dimension per output element: n numbers leave n + 1 answers."""
    return Cost(elementwise=numel_of(outputs) * _bits(sorted_sequence.shape[-1] + 1))


@formula("aten.bucketize")
def bucketize(self: Any, boundaries: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """A binary search over the boundaries per output element."""
    return Cost(elementwise=numel_of(outputs) * _bits(boundaries.numel + 1))


@formula("torchvision.nms", "torchvision.qnms")
def nms(dets: TensorSpec, scores: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """A sort of n scores and, counted dense, the overlap of every pair.

    Thirteen operations an overlap: four for the corners of the intersection, two differences and two comparisons with
    zero for its sides, their product, two for the union, the ratio and its comparison.
    """
    boxes = dets.shape[0]
    return Cost(elementwise=boxes * _bits(boxes) + 13 * (boxes * (boxes - 1) // 2))


# --- Fourier ---------------------------------------------------------------------------------------------------------


def _transform(elements: int, length: int, *, real: bool) -> int:
    """5 n log2 n operations for a complex transform of n points, half for a real one (FFTW's benchFFT convention)."""
    if length <= 1:
        return 0
    return ceil((2.5 if real else 5.0) * elements * log2(length))


def _sides(spec: TensorSpec, dims: Any) -> int:
    if dims is None:
        return spec.numel
    return int(prod(spec.shape[dim] for dim in (dims if isinstance(dims, tuple | list) else (dims,))))


@formula("aten._fft_c2c", "prims.fft_c2c")
def fft_c2c(self: TensorSpec, dim: Any, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Complex to complex over `dim`."""
    return Cost(elementwise=_transform(self.numel, _sides(self, dim), real=False))


@formula("aten._fft_r2c", "prims.fft_r2c")
def fft_r2c(self: TensorSpec, dim: Any, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Real to complex over `dim`: half a complex transform of the real side."""
    return Cost(elementwise=_transform(self.numel, _sides(self, dim), real=True))


@formula("aten._fft_c2r", "prims.fft_c2r")
def fft_c2r(self: TensorSpec, dim: Any, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Complex to real over `dim`: half a complex transform of the real side, which is the output."""
    out = first(outputs)
    return Cost(elementwise=_transform(out.numel, _sides(out, dim), real=True))


def _whole(*, one: bool, real_side: str) -> Callable[..., Cost]:
    def counted(*args: Any, outputs: Any, **named: Any) -> Cost:
        """torch.fft in one operator: the longer side of input and output is what is transformed."""
        x, out = tensor(args, named, 0, "self"), first(outputs)
        spec = {"in": x, "out": out, "": out}[real_side]
        dims = argument(args, named, 2, "dim", default=-1 if one else None)
        size = argument(args, named, 1, "n", "s")
        if dims is None and isinstance(size, tuple | list):
            dims = tuple(range(-len(size), 0))
        return Cost(elementwise=_transform(spec.numel, _sides(spec, dims), real=bool(real_side)))

    return counted


for _suffix, _one in (("", True), ("2", False), ("n", False)):
    formula(f"aten.fft_fft{_suffix}", f"aten.fft_ifft{_suffix}")(_whole(one=_one, real_side=""))
    formula(f"aten.fft_rfft{_suffix}", f"aten.fft_ihfft{_suffix}")(_whole(one=_one, real_side="in"))
    formula(f"aten.fft_irfft{_suffix}", f"aten.fft_hfft{_suffix}")(_whole(one=_one, real_side="out"))


@formula("aten.stft")
def stft(self: TensorSpec, n_fft: int, *args: Any, outputs: Any, **named: Any) -> Cost:
    """A window product and a real transform of `n_fft` points for each frame (complex input: a complex one)."""
    out = first(outputs)
    frames_at = -1 if out.dtype.kind == "complex" else -2
    frames = out.shape[frames_at] * prod(self.shape[:-1])
    real = self.dtype.kind != "complex"
    return Cost(elementwise=frames * n_fft + _transform(frames * n_fft, n_fft, real=real))


@formula("aten.istft")
def istft(self: TensorSpec, n_fft: int, *args: Any, outputs: Any, **named: Any) -> Cost:
    """A transform back for each frame, a window product and an overlap sum per point."""
    frames_at = -1 if self.dtype.kind == "complex" else -2
    batch = prod(self.shape[: frames_at - 1])
    points = batch * self.shape[frames_at] * n_fft
    return Cost(elementwise=2 * points + _transform(points, n_fft, real=True))


# --- the rest --------------------------------------------------------------------------------------------------------


@formula("aten.affine_grid_generator", "aten.cudnn_affine_grid_generator")
def affine_grid(*args: Any, outputs: Any, **named: Any) -> Cost:
    """A batched product of the positions in homogeneous coordinates (d + 1) with theta: outputs · (d + 1)."""
    out = first(outputs)
    return Cost(macs=out.numel * (out.shape[-1] + 1))


@formula("aten.col2im", "aten.unfold_backward")
def col2im(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Windows are summed where they overlap (an inverse STFT does so, too): one addition per input element."""
    return Cost(elementwise=tensor(args, named, 0, "self", "grad_in").numel)


@formula("aten.cov", "aten.corrcoef")
def covariance(self: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Centred rows (a sum and a subtraction each), then their products with each other as MACs."""
    rows = self.shape[0] if len(self.shape) > 1 else 1
    return Cost(macs=rows * self.numel, elementwise=2 * self.numel)


@formula("aten.ctc_loss", "aten._ctc_loss", "aten._cudnn_ctc_loss")
def ctc_loss(log_probs: TensorSpec, targets: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost | None:
    """The forward recursion over time and 2·length + 1 states: three terms of a log-sum (nine) and a sum each.

    Padded targets, so every length is taken as the longest; targets laid end to end do not tell: unknown.
    """
    if len(targets.shape) != 2:
        return None
    time = log_probs.shape[0]
    return Cost(elementwise=10 * time * targets.shape[0] * (2 * targets.shape[1] + 1))

"""The elementwise column: compound operators against themselves written out, windows and taps against the Jacobian,
orderings against an algorithm that counts its comparisons, transforms against a radix-2 FFT that counts its steps."""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import numel
from formulas.counting import Call, f32, i64, lowered, price, record, total, whole
from numel.analyses.formulas import Cost, cost
from numel.facts import TensorSpec, dtype

# --- one operation per element ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function", [torch.add, torch.mul, torch.maximum, torch.pow, torch.eq, torch.atan2, torch.nextafter]
)
def test_a_binary_operator_is_one_operation_per_broadcast_element(function):
    assert total(whole(Call(function), torch.ones(5, 1, 3), torch.ones(4, 1))) == Cost(elementwise=5 * 4 * 3)


@pytest.mark.parametrize("function", [F.relu, F.gelu, F.silu, F.hardswish, F.softplus, torch.exp, torch.isnan])
def test_a_function_of_one_tensor_is_one_operation_per_element(function):
    x = torch.ones(5, 3)
    assert total(whole(Call(function), x)) == Cost(elementwise=15) == total(lowered(function, x))


def test_an_operator_in_place_costs_what_it_costs_out_of_place():
    x = torch.ones(5, 3)
    assert total(lowered(lambda: x.clone().add_(1).relu_().clamp_(0, 1))) == Cost(elementwise=3 * 15)


@pytest.mark.parametrize("function", [torch.sum, torch.mean, torch.amax, torch.argmin, torch.prod, torch.any])
def test_a_reduction_is_one_operation_per_input_element(function):
    for options in ({}, {"dim": 1}):
        assert total(lowered(function, torch.ones(5, 3), **options)) == Cost(elementwise=15)


def test_the_maximum_of_two_tensors_is_no_reduction():
    given = torch.ones(5, 1), torch.ones(3)
    assert total(lowered(torch.max, *given)) == Cost(elementwise=15)
    assert total(lowered(lambda a, b: torch.max(a, b, out=torch.empty(0)), *given)) == Cost(elementwise=15)


def test_lists_of_tensors_count_each_of_them():
    pair = [torch.ones(5), torch.ones(2, 3)]
    for call in (torch._foreach_exp, torch._foreach_neg_, torch._foreach_norm, lambda x: torch._foreach_pow(2.0, x)):
        assert total(lowered(call, [each.clone() for each in pair])).elementwise == 11


# --- compound operators, written out ---------------------------------------------------------------------------------

_ROWS, _LENGTH = 4, 64


def _softmax(x: torch.Tensor) -> torch.Tensor:
    e = (x - x.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


def _log_softmax(x: torch.Tensor) -> torch.Tensor:
    s = x - x.amax(-1, keepdim=True)
    return s - s.exp().sum(-1, keepdim=True).log()


def _logsumexp(x: torch.Tensor) -> torch.Tensor:
    m = x.amax(-1, keepdim=True)
    return (x - m).exp().sum(-1, keepdim=True).log() + m


def _variance(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean(-1, keepdim=True)).square().sum(-1)


def _normalised(x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()


def _rms_normalised(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * w


def _cosine(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    dots = [(a * b).sum(-1) for a, b in ((x, y), (x, x), (y, y))]
    return dots[0] / (dots[1] * dots[2]).sqrt()


def _quantised_and_back(x: torch.Tensor) -> torch.Tensor:
    return ((x * 8).round().add(3).clamp_min(0).clamp_max(15) - 3) * 0.125


_W, _V = torch.ones(_LENGTH), torch.ones(_ROWS)
_X = torch.randn(_ROWS, _LENGTH)

_WRITTEN_OUT: list[tuple[str, Callable[..., Any], Callable[..., Any]]] = [
    ("softmax", lambda x: x.softmax(-1), _softmax),
    ("log_softmax", lambda x: x.log_softmax(-1), _log_softmax),
    ("logsumexp", lambda x: x.logsumexp(-1), _logsumexp),
    ("var", lambda x: x.var(-1), _variance),
    ("std", lambda x: x.std(-1), lambda x: _variance(x).sqrt()),
    ("norm", lambda x: torch.linalg.vector_norm(x, dim=-1), lambda x: x.square().sum(-1).sqrt()),
    ("layer_norm", lambda x: F.layer_norm(x, (_LENGTH,)), _normalised),
    ("layer_norm, affine", lambda x: F.layer_norm(x, (_LENGTH,), _W, _W), lambda x: _normalised(x) * _W + _W),
    ("group_norm", lambda x: F.group_norm(x[None], 2, _V, _V), lambda x: _normalised(x.reshape(2, -1)) * _V[0] + _V[0]),
    ("rms_norm", lambda x: F.rms_norm(x, (_LENGTH,), _W), lambda x: _rms_normalised(x, _W)),
    ("batch_norm in training", lambda x: F.batch_norm(x[None], None, None, _V, _V, training=True),
     lambda x: _normalised(x) * _V[:, None] + _V[:, None]),
    ("batch_norm in eval", lambda x: F.batch_norm(x[None], _V, _V, _V, _V), lambda x: x * _V[:, None] + _V[:, None]),
    ("instance_norm", lambda x: F.instance_norm(x[None]), _normalised),
    ("glu", lambda x: F.glu(x), lambda x: x[:, :32] * x[:, 32:].sigmoid()),
    ("mse_loss", lambda x: F.mse_loss(x, x), lambda x: (x - x).square().mean()),
    ("l1_loss", lambda x: F.l1_loss(x, x), lambda x: (x - x).abs().mean()),
    ("weight_norm", lambda x: torch._weight_norm(x, torch.ones(_ROWS, 1)),
     lambda x: x * x.square().sum(-1, keepdim=True).rsqrt()),
    ("fake_quantize", lambda x: torch.fake_quantize_per_tensor_affine(x, 0.125, 3, 0, 15), _quantised_and_back),
    ("quantize", lambda x: torch.quantize_per_tensor(x, 0.125, 3, torch.quint8).dequantize(), _quantised_and_back),
]  # fmt: skip


@pytest.mark.parametrize(("function", "written"), [pytest.param(*each[1:], id=each[0]) for each in _WRITTEN_OUT])
def test_a_compound_operator_costs_what_it_costs_written_out(function, written):
    """But for the work per row (roots, divisions, epsilons), which is left out: at most four operations a row."""
    found, parts = total(whole(Call(function), _X)), total(lowered(written, _X))
    assert found.macs == parts.macs == 0
    assert 0 <= parts.elementwise - found.elementwise <= 4 * _ROWS


def test_a_cosine_is_three_dot_products_of_the_broadcast_pair():
    formula = price("aten.cosine_similarity", f32(5, 1, 64), f32(1, 4, 64), -1, outputs=f32(5, 4))
    written = total(lowered(_cosine, torch.ones(5, 4, 64), torch.ones(5, 4, 64)))
    assert 0 <= written.elementwise - formula.elementwise <= 4 * 5 * 4


def test_distances_count_each_feature_of_each_pair():
    rows, others, features = 5, 4, 3
    each = sum(1 for _ in itertools.product(range(rows), range(others), range(features)))
    within = sum(1 for _ in itertools.product(itertools.combinations(range(rows), 2), range(features)))
    by_power = whole(Call(lambda a, b: torch.cdist(a, b, p=1.0)), torch.ones(rows, features), torch.ones(others, 3))
    assert total(by_power) == Cost(elementwise=3 * each)
    assert total(whole(Call(torch.pdist), torch.ones(rows, features))) == Cost(elementwise=3 * within)


def test_batch_norm_split_over_devices_costs_what_the_whole_costs():
    """SyncBatchNorm runs the statistics and the rest as two operators."""
    x, v = f32(2, 4, 8), f32(4)
    parts = price("aten.batch_norm_stats", x, 1e-5, outputs=(v, v)) + price(
        "aten.batch_norm_elemt", x, v, v, v, v, 1e-5, outputs=x
    )
    assert parts == price("aten.native_batch_norm", x, v, v, v, v, True, 0.1, 1e-5, outputs=(x, v, v))


def test_norms_that_need_singular_values_are_unknown():
    for order, known in (("fro", True), (1, True), (2, False), (-2, False), ("nuc", False)):
        found = cost(record("aten.linalg_matrix_norm", f32(4, 4), order, outputs=(f32(),)))
        assert (found is not None) == known


@pytest.mark.parametrize(
    ("op", "args", "operations"),
    [
        ("aten.dropout", (0.5, True), 2),
        ("aten.dropout", (0.5, False), 0),
        ("aten.dropout", (0.0, True), 0),
        ("aten.native_dropout", (0.5, None), 2),
        ("aten.native_dropout", (0.5, False), 0),
        ("aten._fused_dropout", (0.5, None), 2),
    ],
)
def test_dropout_compares_and_scales_in_training_alone(op, args, operations):
    assert price(op, f32(5, 3), *args, outputs=f32(5, 3)) == Cost(elementwise=15 * operations)


def test_native_dropout_drops_where_training_is_not_said():
    """What the formula takes for granted, seen in torch itself."""
    assert not bool(torch.native_dropout(torch.ones(1000), 0.5, None)[1].all())


# --- sums into places ------------------------------------------------------------------------------------------------


_GRID, _PICKED, _VALUES = torch.ones(4, 5), torch.tensor([0, 2, 2]), torch.ones(3, 5)
_SPREAD = _PICKED[:, None].expand(3, 5)


@pytest.mark.parametrize(
    ("function", "added"),
    [
        (lambda x: x.index_put((_PICKED,), _VALUES, accumulate=True), 3 * 5),
        (lambda x: x.index_put((_PICKED,), torch.ones(()), accumulate=True), 3 * 5),
        (lambda x: torch.ops.aten.index_put(x, [None, _PICKED], torch.ones(()), True), 4 * 3),
        (lambda x: x.index_put((_PICKED, _PICKED), torch.ones(3), accumulate=True), 3),
        (lambda x: x.put(_PICKED, torch.ones(3), accumulate=True), 3),
        (lambda x: x.scatter(0, _SPREAD, _VALUES, reduce="add"), 3 * 5),
        (lambda x: x.scatter(0, _SPREAD, 2.0, reduce="multiply"), 3 * 5),
        (lambda x: x.scatter_add(0, _SPREAD, _VALUES), 3 * 5),
        (lambda x: x.scatter_reduce(0, _SPREAD, _VALUES, "amax"), 3 * 5),
        (lambda x: x.index_add(0, _PICKED, _VALUES), 3 * 5),
        (lambda x: x.index_reduce(0, _PICKED, _VALUES, "amin"), 3 * 5),
        (lambda x: x.index_put((_PICKED,), _VALUES), 0),
        (lambda x: x.put(_PICKED, torch.ones(3)), 0),
        (lambda x: x.scatter(0, _SPREAD, _VALUES), 0),
        (lambda x: x.index_copy(0, _PICKED, _VALUES), 0),
        (lambda x: x.index_fill(0, _PICKED, 1.0), 0),
        (lambda x: x.masked_fill(torch.ones(4, 5, dtype=torch.bool), 1.0), 0),
    ],
)
@pytest.mark.filterwarnings("ignore:The reduce argument of torch.scatter:UserWarning")
@pytest.mark.filterwarnings("ignore:index_reduce:UserWarning")
def test_adding_into_places_is_one_operation_each_and_writing_into_them_is_free(function, added):
    assert total(lowered(function, _GRID)) == Cost(elementwise=added)


def test_adding_where_a_mask_holds_is_bounded_by_the_values():
    mask = TensorSpec((4, 5), dtype("bool"))
    for values, bound in ((f32(7), 7), (f32(), 0)):
        found = price("aten.index_put", f32(4, 5), (mask,), values, True, outputs=f32(4, 5))
        assert found == Cost(elementwise=bound, at_least=True)


# --- windows and taps: which inputs an output depends on -------------------------------------------------------------


def _dependencies(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """For each output element, how many input elements it is made of."""
    jacobian = torch.autograd.functional.jacobian(function, x.double())
    return jacobian.flatten(-x.dim()).ne(0).sum(-1)


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: F.avg_pool1d(x, 3, 2), (2, 3, 9)),
        (lambda x: F.avg_pool2d(x, (3, 2), 2), (2, 3, 8, 7)),
        (lambda x: F.avg_pool3d(x, 2), (1, 2, 4, 4, 6)),
        (lambda x: F.adaptive_avg_pool1d(x, 4), (2, 3, 9)),
        (lambda x: F.adaptive_avg_pool2d(x, (3, 5)), (2, 3, 7, 8)),
        (lambda x: F.adaptive_avg_pool2d(x, (7, 2)), (3, 3, 8)),
        (lambda x: F.adaptive_avg_pool3d(x, 2), (1, 2, 5, 4, 3)),
    ],
)
def test_pooling_is_one_operation_per_element_of_each_window(function, shape):
    x = torch.randn(shape)
    executed = int(_dependencies(function, x).sum())
    assert total(whole(Call(function), x)) == Cost(elementwise=executed) == total(lowered(function, x))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_largest_of_a_window_costs_what_its_mean_costs(dims):
    x = torch.randn(1, 2, *[6] * dims)
    most, mean = getattr(F, f"max_pool{dims}d"), getattr(F, f"avg_pool{dims}d")
    for options in ({"kernel_size": 3}, {"kernel_size": 2, "stride": 1, "padding": 1}):
        of_mean = total(whole(Call(functools.partial(mean, **options)), x))
        assert total(whole(Call(functools.partial(most, **options)), x)) == of_mean
    most, mean = getattr(F, f"adaptive_max_pool{dims}d"), getattr(F, f"adaptive_avg_pool{dims}d")
    assert total(whole(Call(lambda x: most(x, 4)), x)) == total(whole(Call(lambda x: mean(x, 4)), x))


@pytest.mark.parametrize(("mode", "dims"), [("linear", 1), ("bilinear", 2), ("trilinear", 3), ("bicubic", 2)])
def test_interpolation_is_a_weighted_sum_of_its_taps(mode, dims):
    """t products and t - 1 sums; outputs at the edge have the same taps, some of them twice."""
    x = torch.randn(1, 1, *[6] * dims)
    function = functools.partial(F.interpolate, scale_factor=1.7, mode=mode, align_corners=False)
    taps = int(_dependencies(function, x).max())
    assert total(lowered(function, x)) == Cost(elementwise=(2 * taps - 1) * function(x).numel())


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
def test_sampling_a_grid_is_a_weighted_sum_of_its_taps(mode):
    grid = torch.rand(1, 3, 4, 2, dtype=torch.float64) - 0.5
    x = torch.randn(1, 2, 9, 9)
    function = functools.partial(F.grid_sample, grid=grid, mode=mode, align_corners=False)
    taps = int(_dependencies(function, x).max())
    found = total(lowered(function, x.double()))
    assert found == Cost(elementwise=(2 * taps - 1 if taps > 1 else 0) * 2 * 3 * 4)


@pytest.mark.parametrize(("mode", "sides"), [("bilinear", (8, 12)), ("bicubic", (8, 12))])
def test_antialiased_interpolation_widens_its_filter_as_the_image_shrinks(mode, sides):
    """To half the side: two passes, each a weighted sum over twice the taps, across and then down."""
    radius = {"bilinear": 1, "bicubic": 2}[mode]
    x = torch.randn(2, 3, *sides)
    function = functools.partial(F.interpolate, scale_factor=0.5, mode=mode, antialias=True)
    (high, wide), taps = sides, 2 * (2 * radius)
    passes = high * (wide // 2) + (high // 2) * (wide // 2)
    assert total(lowered(function, x)) == Cost(elementwise=6 * passes * (2 * taps - 1))


def test_folding_adds_each_element_where_windows_overlap():
    x = torch.randn(2, 3 * 4, 9)
    assert total(lowered(F.fold, x, (4, 4), 2)) == Cost(elementwise=x.numel())
    assert total(lowered(F.unfold, torch.randn(2, 3, 4, 4), 2)) == Cost()


# --- ordering and search ---------------------------------------------------------------------------------------------


@functools.total_ordering
class _Counted:
    """A number that counts its comparisons."""

    comparisons = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def __lt__(self, other: _Counted) -> bool:
        _Counted.comparisons += 1
        return self.value < other.value


@pytest.mark.parametrize("length", [1, 2, 7, 64, 100])
def test_a_sort_is_not_beaten_by_the_comparisons_of_a_merge_sort_nor_far_above_them(length):
    _Counted.comparisons = 0
    sorted(_Counted(value) for value in torch.rand(length, generator=torch.Generator().manual_seed(0)).tolist())
    found = price("aten.sort", f32(3, length), outputs=(f32(3, length), i64(3, length)))
    assert 3 * _Counted.comparisons <= found.elementwise <= 2 * 3 * max(_Counted.comparisons, length)


def test_sorts_run_along_the_dimension_that_they_name():
    """ceil(log2 8) = 3 along the first dimension, ceil(log2 5) = 3, ceil(log2 2) = 1 along the last."""
    x = f32(8, 2)
    assert price("aten.sort", x, 0, False, outputs=(x, x)).elementwise == 16 * 3
    assert price("aten.sort", x, outputs=(x, x)).elementwise == 16 * 1
    assert price("aten.sort.stable", x, outputs=(x, x), stable=True, dim=0).elementwise == 16 * 3
    assert price("aten.argsort.stable", x, True, 0, outputs=x).elementwise == 16 * 3
    assert price("aten.msort", x, outputs=x).elementwise == 16 * 3
    assert price("aten.unique_dim", x, 0, outputs=(x, x, x)).elementwise == 16 * 3
    assert price("aten.sort", f32(), outputs=(f32(), i64())).elementwise == 0


def test_unique_values_are_found_by_sorting_all_elements_as_one_row():
    assert total(lowered(torch.unique, torch.rand(8, 2))) == Cost(elementwise=16 * 4)


@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 9])
def test_a_search_needs_the_comparisons_of_a_bisection(length):
    worst = 0
    for target in range(length + 1):
        _Counted.comparisons = 0
        bisect.bisect_left([_Counted(n) for n in range(length)], _Counted(target))
        worst = max(worst, _Counted.comparisons)
    boundaries, x = torch.arange(float(length)), torch.rand(5, 3)
    for records in (lowered(torch.bucketize, x, boundaries), lowered(torch.searchsorted, boundaries, x)):
        assert total(records) == Cost(elementwise=15 * worst)


def test_the_largest_few_keep_a_heap():
    x = torch.rand(3, 100)
    assert total(lowered(torch.topk, x, 8)) == Cost(elementwise=300 * (1 + 3))
    assert total(lowered(torch.topk, x, 1)) == Cost(elementwise=300)


def test_suppression_compares_every_pair_of_boxes():
    pairs = sum(1 for _ in itertools.combinations(range(9), 2))
    assert price("torchvision.nms", f32(9, 4), f32(9), 0.5, outputs=i64(3)).elementwise == 13 * pairs + 9 * 4


def test_regions_of_unknown_sampling_are_a_lower_bound():
    args = f32(1, 3, 32, 32), f32(5, 5), 1.0, 7, 7
    fixed = price("torchvision.roi_align", *args, 2, False, outputs=f32(5, 3, 7, 7))
    by_box = price("torchvision.roi_align", *args, -1, False, outputs=f32(5, 3, 7, 7))
    assert fixed == Cost(elementwise=5 * 3 * 49 * 4 * 8)
    assert by_box == Cost(elementwise=5 * 3 * 49 * 8, at_least=True)


# --- Fourier ---------------------------------------------------------------------------------------------------------


def _radix_two(n: int) -> int:
    """Real operations of the textbook FFT: a butterfly is a complex product (six) and two complex sums (two each)."""
    return 0 if n == 1 else 2 * _radix_two(n // 2) + (n // 2) * (6 + 2 + 2)


@pytest.mark.parametrize("n", [1, 2, 8, 64])
def test_a_fourier_transform_costs_its_butterflies(n):
    complex_x = torch.randn(3, n, dtype=torch.complex64)
    real_x = torch.randn(3, n)
    assert total(lowered(torch.fft.fft, complex_x)) == Cost(elementwise=3 * _radix_two(n))
    # half of that where one side is real
    assert total(lowered(torch.fft.rfft, real_x)) == Cost(elementwise=3 * _radix_two(n) // 2)
    spectrum = torch.fft.rfft(real_x)
    assert total(lowered(torch.fft.irfft, spectrum, n)) == Cost(elementwise=3 * _radix_two(n) // 2)


@pytest.mark.parametrize("name", ["fft2", "fftn", "ifft2", "rfft2", "irfftn", "hfft", "ihfft", "fft", "rfft", "irfft"])
def test_a_transform_in_one_operator_costs_what_its_lowering_costs(name):
    real = name in ("rfft2", "ihfft", "rfft")
    x = torch.randn(4, 8, 16) if real else torch.randn(4, 8, 16, dtype=torch.complex64)
    function = getattr(torch.fft, name)
    out = function(x)
    kind = {True: "f32", False: "complex64"}
    spec = TensorSpec((4, 8, 16), dtype(kind[real]))
    made = TensorSpec(tuple(out.shape), dtype(kind[not out.is_complex()]))
    formula = price(f"aten.fft_{name}", spec, *((None, (-2, -1)) if name.endswith("2") else ()), outputs=made)
    assert formula.elementwise == total(lowered(function, x)).elementwise


def test_a_short_time_transform_is_a_window_and_a_transform_per_frame():
    x, window = torch.randn(2, 64), torch.ones(16)
    out = torch.stft(x, 16, window=window, return_complex=True)
    made = TensorSpec(tuple(out.shape), dtype("complex64"))
    formula = price("aten.stft", f32(2, 64), 16, None, None, f32(16), outputs=made)
    frames = 2 * out.shape[-1]
    assert formula.elementwise == frames * (16 + _radix_two(16) // 2)
    assert formula == total(lowered(torch.stft, x, 16, window=window, return_complex=True))


def test_the_way_back_sums_its_overlapping_frames():
    """Window, transform and overlap of each frame; the lowering also sums the window and divides by it."""
    spectrum = torch.stft(torch.randn(2, 64), 16, window=torch.ones(16), return_complex=True)
    made = price("aten.istft", TensorSpec(tuple(spectrum.shape), dtype("complex64")), 16, outputs=f32(2, 64))
    ran = total(lowered(torch.istft, spectrum, 16, window=torch.ones(16)))
    assert made.elementwise <= ran.elementwise <= 2 * made.elementwise


# --- the rest --------------------------------------------------------------------------------------------------------


def test_a_loss_over_targets_of_unknown_lengths_is_unknown():
    args = f32(12, 2, 5), i64(7), (12, 12), (3, 4)
    assert cost(record("aten.ctc_loss", *args, outputs=(f32(),))) is None
    padded = price("aten.ctc_loss", f32(12, 2, 5), i64(2, 4), (12, 12), (3, 4), outputs=f32())
    states = sum(1 for _ in itertools.product(range(12), range(2), range(2 * 4 + 1)))
    assert padded == Cost(elementwise=10 * states)


def test_a_picked_loss_is_one_addition_per_target():
    x, targets = torch.randn(6, 10), torch.arange(6)
    assert total(lowered(F.nll_loss, x, targets)) == Cost(elementwise=6)
    both = total(lowered(F.cross_entropy, x, targets))
    assert both == Cost(elementwise=6 + 60 * 5)


@pytest.mark.parametrize(
    ("mode", "shape", "taps"),
    [
        ("nearest", (1, 3, 4, 4), 0),
        ("nearest-exact", (1, 3, 4, 4), 0),
        ("linear", (1, 3, 4), 2),
        ("bilinear", (1, 3, 4, 4), 4),
        ("bicubic", (1, 3, 4, 4), 16),
        ("trilinear", (1, 3, 4, 4, 4), 8),
    ],
)
def test_an_interpolation_is_one_operator_of_2t_minus_1_per_output_element(mode, shape, taps):
    """As torch's kernels are; its decomposition in Python would be dozens of operators with an output each."""
    model = torch.nn.Upsample(scale_factor=2, mode=mode)
    for inputs in (f"f32[{','.join(map(str, shape))}]", torch.ones(shape)):
        total = numel.summary(model, inputs).costs.total
        made = math.prod(shape) * 2 ** (len(shape) - 2)
        assert (total.ops, total.activations, total.elementwise) == (1, made, max(0, 2 * taps - 1) * made)

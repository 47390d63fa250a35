"""Operators that hide a matrix product, an attention or a pooling behind packed weights and fused kernels."""

from __future__ import annotations

from itertools import product

import pytest

from formulas.counting import f32
from numel.analyses.formulas import Cost, cost
from numel.facts.trace import OpRecord


def priced(op, args, outputs, **named):
    found = cost(OpRecord(op, 0, tuple(args), tuple(named.items()), tuple(outputs)))
    assert found is not None
    return found


X, B, M, Y = f32(5, 16), f32(7), f32(16, 7), f32(5, 7)


@pytest.mark.parametrize(
    ("op", "args", "named", "per_output"),
    [
        ("aten.fbgemm_linear_int8_weight.default", (X, f32(7, 16), f32(1), f32(1), 1.0, 0, B), {}, 1),
        ("aten.fbgemm_linear_fp16_weight.default", (X, f32(1), B), {}, 1),
        ("onednn.qlinear_pointwise.default", (X, 1.0, 0, f32(1), B, B, None, 1.0, 0, None, "none", (), ""), {}, 0),
        ("onednn.qlinear_pointwise.default", (X, 1.0, 0, f32(1), B, B, B, 1.0, 0, None, "relu", (), ""), {}, 2),
        (
            "onednn.qlinear_pointwise.binary",
            (X, 1.0, 0, f32(1), B, B, Y, B, 1.0, 0, None, 1.0, 0, "add", 1.0, "relu", (), ""), {}, 3,
        ),
        ("aten._sparse_semi_structured_linear.default", (X, f32(7, 8), f32(1)), {"bias": B, "activation": "relu"}, 2),
        ("aten._sparse_semi_structured_mm.default", (f32(5, 8), f32(1), M), {}, 0),
        ("aten._sparse_semi_structured_addmm.default", (B, f32(5, 8), f32(1), M), {}, 1),
        ("aten._cslt_sparse_mm.default", (f32(60), M, B), {}, 1),
    ],
)  # fmt: skip
def test_a_packed_weight_costs_the_product_that_it_stands_for(op, args, named, per_output):
    """5 × 16 by 16 × 7: every output is a dot product of 16."""
    assert priced(op, args, (Y,), **named) == Cost(macs=5 * 16 * 7, elementwise=per_output * 5 * 7)


def test_packing_is_no_work():
    for op in ("fbgemm_pack_gemm_matrix_fp16", "fbgemm_pack_quantized_matrix", "_dyn_quant_pack_4bit_weight"):
        assert priced(f"aten.{op}.default", (M,), (M,)) == Cost()


def least_ldl(n):
    """The fewest products over all ways to choose pivots of one row or two, each step counted by element."""
    if n < 2:
        return 0
    lower = lambda k: sum(1 for i, j in product(range(k), range(k)) if j <= i)  # noqa: E731
    of_one = lower(n - 1) + least_ldl(n - 1)
    of_two = 2 * lower(n - 2) + 2 * (n - 2) + least_ldl(n - 2)  # two columns by a matrix of 2 × 2, and their products
    return min(of_one, of_two)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8])
def test_ldl_is_what_the_cheapest_pivots_take(n):
    found = priced("aten.linalg_ldl_factor_ex.default", (f32(3, n, n),), (f32(3, n, n), f32(3, n), f32(3)))
    assert found == Cost(macs=3 * least_ldl(n), at_least=True)
    solved = priced("aten.linalg_ldl_solve.default", (f32(n, n), f32(n), f32(n, 4)), (f32(n, 4),))
    below = sum(1 for i, j in product(range(n), range(n)) if j < i)
    assert solved == Cost(macs=4 * 2 * below, at_least=True)


BATCH, HEADS, L, S, E, V = 2, 3, 5, 5, 8, 4


@pytest.mark.parametrize("causal", [False, True])
def test_a_flash_backward_is_five_products(causal):
    q, k, v = f32(BATCH, L, HEADS, E), f32(BATCH, S, HEADS, E), f32(BATCH, S, HEADS, V)
    args = (v, q, k, v, v, f32(1), None, None, L, S, 0.0, causal, f32(1), f32(1))
    found = priced("aten._flash_attention_backward.default", args, (q, k, v))
    seen = sum(1 for i, j in product(range(L), range(S)) if j <= i)
    assert found.macs == BATCH * HEADS * L * S * (3 * E + 2 * V)
    assert found.executed_macs == BATCH * HEADS * (seen if causal else L * S) * (3 * E + 2 * V)


def test_an_efficient_backward_is_five_products():
    q, k, v = f32(BATCH, L, HEADS, E), f32(BATCH, S, HEADS, E), f32(BATCH, S, HEADS, V)
    args = (v, q, k, v, None, v, None, None, L, S, f32(1), 0.0, f32(1), f32(1), 0, False)
    found = priced("aten._efficient_attention_backward.default", args, (q, k, v, None))
    assert found == Cost(macs=BATCH * HEADS * L * S * (3 * E + 2 * V), elementwise=7 * BATCH * HEADS * L * S)


def test_sequences_of_lengths_that_are_data_are_lower_bounds_on_the_way_back_too():
    q = f32(10, HEADS, E)
    args = (q, q, q, q, q, f32(1), f32(4), f32(4), 6, 6, 0.0, False, f32(1), f32(1))
    assert priced("aten._flash_attention_backward.default", args, (q, q, q)).at_least


@pytest.mark.parametrize("ratio", [2, 3, -1])
def test_boxes_are_sampled_and_added_back(ratio):
    """Of each sample: four neighbours, each weighed (product, addition); and one division by the number of samples."""
    x, rois, y = f32(1, 8, 16, 16), f32(4, 5), f32(4, 2, 2, 2)
    samples = max(ratio, 1) ** 2
    forward = priced("torchvision.ps_roi_align.default", (x, rois, 1.0, 2, 2, ratio), (y, y))
    assert forward == Cost(elementwise=8 * samples * y.numel, at_least=ratio < 0)
    back = Cost(elementwise=(4 * 2 * samples + 1) * y.numel, at_least=ratio < 0)
    whole = (y, rois, 1.0, 2, 2, 1, 8, 16, 16, ratio, False)
    assert priced("torchvision._roi_align_backward.default", whole, (x,)) == back
    by_position = (y, rois, y, 1.0, 2, 2, ratio, 1, 8, 16, 16)
    assert priced("torchvision._ps_roi_align_backward.default", by_position, (x,)) == back


def test_pooled_boxes_have_windows_that_data_decide():
    y = f32(4, 8, 2, 2)
    assert priced("torchvision.roi_pool.default", (f32(1, 8, 16, 16), f32(4, 5), 1.0, 2, 2), (y, y)).at_least
    assert priced("torchvision._roi_pool_backward.default", (y, f32(4, 5), y), (f32(1, 8, 16, 16),)) == Cost(
        elementwise=y.numel
    )

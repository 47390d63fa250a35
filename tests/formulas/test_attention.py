"""Attention. Counted by running it on ones where it can be (each multiply-accumulate adds 1), by the pairs that a mask
leaves, against torch's own counter, and against every lowering that a CPU has."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import flop_counter

from formulas.counting import Call, f32, i64, lowered, price, record, total, whole
from numel.analyses.formulas import Cost, cost
from numel.analyses.formulas.attention import causal_pairs
from numel.facts import TensorSpec, dtype

# scaling, maximum, subtraction, exponential, sum, division
_PER_SCORE = 6


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.booleans())
def test_causal_pairs_are_the_ones_of_a_triangle(queries, keys, bottom_right):
    triangle = torch.ones(queries, keys).tril(keys - queries if bottom_right else 0)
    assert causal_pairs(queries, keys, bottom_right=bottom_right) == int(triangle.sum())


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any) -> torch.Tensor:
    return F.scaled_dot_product_attention(query, key, value, **options)


def _executed(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> int:
    """Multiply-accumulates of the two products, counted by running them on ones."""
    if key.dim() > 2 and query.dim() > 2 and query.shape[-3] != key.shape[-3] and key.shape[-3] != 1:
        groups = query.shape[-3] // key.shape[-3]  # each group of query heads shares one head of keys and values
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    scores = torch.ones_like(query) @ torch.ones_like(key).mT
    return int(scores.sum() + (torch.ones_like(scores) @ torch.ones_like(value)).sum())


_SHAPES = [
    pytest.param((2, 8, 5, 16), (2, 8, 5, 16), (2, 8, 5, 16), id="self"),
    pytest.param((2, 8, 5, 16), (2, 8, 7, 16), (2, 8, 7, 16), id="cross"),
    pytest.param((2, 8, 5, 16), (2, 8, 7, 16), (2, 8, 7, 12), id="narrow values"),
    pytest.param((2, 8, 5, 16), (2, 2, 7, 16), (2, 2, 7, 16), id="grouped queries"),
    pytest.param((2, 8, 5, 16), (2, 1, 7, 16), (2, 1, 7, 16), id="one key head"),
    pytest.param((1, 8, 5, 16), (2, 8, 7, 16), (2, 8, 7, 16), id="one query for a batch of keys"),
    pytest.param((8, 5, 16), (2, 8, 7, 16), (2, 8, 7, 16), id="keys with more dimensions"),
    pytest.param((8, 5, 16), (8, 7, 16), (2, 8, 7, 16), id="values with more dimensions"),
    pytest.param((8, 5, 16), (8, 7, 16), (8, 7, 16), id="three dimensions"),
    pytest.param((5, 16), (7, 16), (7, 16), id="two dimensions"),
    pytest.param((0, 8, 5, 16), (0, 8, 7, 16), (0, 8, 7, 16), id="empty batch"),
]


@pytest.mark.parametrize(("query", "key", "value"), _SHAPES)
def test_attention_costs_its_two_products(query, key, value):
    given = torch.randn(query), torch.randn(key), torch.randn(value)
    grouped = len(query) == len(key) == 4 and query[1] != key[1]
    found = total(whole(Call(lambda q, k, v: _attend(q, k, v, enable_gqa=grouped)), *given))
    assert found.macs == _executed(*given)
    with sdpa_kernel(SDPBackend.MATH):
        assert found.macs == total(lowered(_attend, *given, enable_gqa=grouped)).macs


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [8, 2])
def test_the_flash_kernel_of_the_cpu_costs_what_the_whole_costs(causal, heads):
    q, k = torch.randn(2, 8, 5, 16), torch.randn(2, heads, 5, 16)
    options = {"is_causal": causal, "enable_gqa": heads != 8}
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        records = lowered(_attend, q, k, k, **options)
    assert any("flash_attention_for_cpu" in each.op for each in records)
    found = total(records)
    assert found == total(whole(Call(lambda *given: _attend(*given, **options)), q, k, k))
    assert found.causal_macs == (2 * 8 * 15 * 32 if causal else None)


def test_the_products_written_out_agree_with_torchs_own_counter():
    given = torch.randn(2, 8, 5, 16), torch.randn(2, 8, 7, 16), torch.randn(2, 8, 7, 12)
    with sdpa_kernel(SDPBackend.MATH), flop_counter.FlopCounterMode(display=False) as counter:
        _attend(*given)
    assert total(whole(Call(_attend), *given)).flops == counter.get_total_flops()


# Arguments behind query, key and value of every kernel, with dropout p and is_causal.
_KERNELS: dict[str, Any] = {
    "aten.scaled_dot_product_attention": lambda p, causal: (None, p, causal),
    "aten._scaled_dot_product_attention_math": lambda p, causal: (None, p, causal),
    "aten._scaled_dot_product_attention_math_for_mps": lambda p, causal: (None, p, causal),
    "aten._scaled_dot_product_fused_attention_overrideable": lambda p, causal: (None, p, causal, False),
    "aten._scaled_dot_product_flash_attention": lambda p, causal: (p, causal, False),
    "aten._scaled_dot_product_flash_attention_for_cpu": lambda p, causal: (p, causal),
    "aten._scaled_dot_product_flash_attention.quantized": lambda p, causal: (f32(2), f32(2), f32(2), p, causal, False),
    "aten._scaled_dot_product_efficient_attention": lambda p, causal: (None, True, p, causal),
    "aten._scaled_dot_product_cudnn_attention": lambda p, causal: (None, True, p, causal, False),
}


@pytest.mark.parametrize("op", _KERNELS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_every_kernel_costs_the_same(op, causal, dropout):
    """2 · 8 · 5 · 7 scores; causal to the top left, the five queries see 1 + 2 + 3 + 4 + 5 keys."""
    q, k, v = (2, 8, 5, 16), (2, 8, 7, 16), (2, 8, 7, 12)
    found = price(op, f32(*q), f32(*k), f32(*v), *_KERNELS[op](dropout, causal), outputs=f32(2, 8, 5, 12))
    assert found.flops == flop_counter.sdpa_flop_count(q, k, v)
    assert found.causal_macs == (2 * 8 * 15 * (16 + 12) if causal else None)
    assert found.elementwise == 2 * 8 * 5 * 7 * (_PER_SCORE + (2 if dropout else 0))


def test_a_mask_is_one_addition_per_score_and_may_stretch_the_values_alone():
    q, k = f32(8, 5, 16), f32(8, 7, 16)
    plain = price("aten.scaled_dot_product_attention", q, k, k, outputs=f32(8, 5, 16))
    masked = price("aten.scaled_dot_product_attention", q, k, k, f32(5, 7), outputs=f32(8, 5, 16))
    batched = price("aten.scaled_dot_product_attention", q, k, k, f32(2, 1, 5, 7), outputs=f32(2, 8, 5, 16))
    assert masked == plain + Cost(elementwise=8 * 5 * 7)
    assert batched.macs == 8 * 5 * 7 * 16 + 2 * 8 * 5 * 7 * 16
    given = torch.randn(8, 5, 16), torch.randn(8, 7, 16), torch.randn(8, 7, 16)
    with sdpa_kernel(SDPBackend.MATH):
        assert batched.macs == total(lowered(_attend, *given, attn_mask=torch.zeros(2, 1, 5, 7))).macs


def test_a_mask_that_happens_to_be_causal_is_data_and_stays_dense():
    q, mask = torch.randn(2, 8, 5, 16), torch.ones(5, 5, dtype=torch.bool).tril()
    found = total(whole(Call(lambda x: _attend(x, x, x, attn_mask=mask)), q))
    assert found.causal_macs is None
    assert found.macs == _executed(q, q, q)


def test_lengths_that_are_not_known_leave_attention_uncosted():
    nested = f32(2, 8, -1, 16)
    assert cost(record("aten.scaled_dot_product_attention", nested, nested, nested, outputs=(nested,))) is None
    assert cost(record("aten._native_multi_head_attention", f32(2, -1, 16), f32(2, -1, 16), f32(2, -1, 16), 16, 4,
                       outputs=(f32(2, -1, 16),))) is None  # fmt: skip


# --- kernels with lengths of their own -------------------------------------------------------------------------------


def _flash(q: TensorSpec, k: TensorSpec, bounds: Any, longest: Any, causal: bool) -> Cost:
    return price("aten._flash_attention_forward", q, k, k, *bounds, *longest, 0.0, causal, False, outputs=(q,))


def _efficient(q: TensorSpec, k: TensorSpec, bounds: Any, longest: Any, mask_type: int) -> Cost:
    return price("aten._efficient_attention_forward", q, k, k, None, *bounds, *longest, 0.0, mask_type, outputs=(q,))


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (5, 7), (7, 5)])
def test_the_bare_kernels_put_heads_third_and_align_causal_masks_as_they_say(queries, keys):
    q, k, none = f32(2, queries, 8, 16), f32(2, keys, 8, 16), (None, None)
    dense = 2 * 8 * queries * keys * 32
    top_left = 2 * 8 * 32 * int(torch.ones(queries, keys).tril().sum())
    bottom_right = 2 * 8 * 32 * int(torch.ones(queries, keys).tril(keys - queries).sum())
    assert _flash(q, k, none, (queries, keys), True) == Cost(dense, dense // 32 * _PER_SCORE, bottom_right)
    assert _flash(q, k, none, (queries, keys), False).causal_macs is None
    assert _efficient(q, k, none, none, 0) == Cost(dense, dense // 32 * _PER_SCORE)
    assert _efficient(q, k, none, none, 1).causal_macs == top_left
    assert _efficient(q, k, none, none, 2).causal_macs == bottom_right


_LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@settings(deadline=None)
@given(_LENGTHS)
def test_the_cost_of_packed_sequences_is_a_lower_bound_and_exact_for_equal_ones(lengths):
    tokens, longest, bounds = sum(lengths), max(lengths), i64(len(lengths) + 1)
    true = 8 * 32 * sum(n * n for n in lengths)
    true_causal = 8 * 32 * sum(n * (n + 1) // 2 for n in lengths)
    q, rows = f32(tokens, 8, 16), f32(1, tokens, 8, 16)
    for found in (
        _flash(q, q, (bounds, bounds), (longest, longest), True),
        _efficient(rows, rows, (bounds, bounds), (longest, longest), 2),
        price("aten._cudnn_attention_forward", q, q, q, None, bounds, bounds, longest, longest, True, 0.0, True, False,
              outputs=(q,)),
    ):  # fmt: skip
        assert 0 < found.macs <= true
        assert 0 < found.executed_macs <= true_causal
        assert found.at_least == (len(set(lengths)) > 1)
        if not found.at_least:
            assert (found.macs, found.causal_macs) == (true, true_causal)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(10, 19)), min_size=1, max_size=5))
def test_packed_queries_and_keys_of_different_lengths_are_bounded_from_below(pairs):
    queries, keys = zip(*pairs, strict=True)
    bounds = i64(len(pairs) + 1)
    q, k = f32(sum(queries), 8, 16), f32(sum(keys), 8, 16)
    found = _flash(q, k, (bounds, bounds), (max(queries), max(keys)), False)
    true = 8 * 32 * sum(a * b for a, b in pairs)
    assert found.macs <= true
    assert found.at_least == (len(set(queries)) > 1 and len(set(keys)) > 1)
    assert found.at_least or found.macs == true


def test_the_length_of_packed_sequences_defaults_to_that_of_the_row():
    rows = f32(1, 12, 8, 16)
    assert _efficient(rows, rows, (i64(2), i64(2)), (None, None), 0) == Cost(8 * 12 * 12 * 32, 8 * 12 * 12 * _PER_SCORE)


# --- whole modules, in training and on the fast path of inference ----------------------------------------------------


def _attention_macs(batch: int, queries: int, keys: int, width: int) -> int:
    """Four projections of the width, and two products over all pairs."""
    return batch * (2 * queries + 2 * keys) * width * width + 2 * batch * queries * keys * width


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"batch_first": True}], ids=str)
def test_multi_head_attention_costs_the_same_in_training_and_on_the_fast_path(training, options):
    module = torch.nn.MultiheadAttention(16, 4, **options).train(training)
    x = torch.randn(3, 5, 16)
    batch, length = (3, 5) if options.get("batch_first") else (5, 3)
    expected = _attention_macs(batch, length, length, 16)
    assert total(whole(module, x, x, x)).macs == expected
    assert total(lowered(module, x, x, x)).macs == expected
    with torch.no_grad():
        records = lowered(module, x, x, x)
    assert total(records).macs == expected
    fast = not training and options == {"batch_first": True}
    assert fast == any(each.name == "aten._native_multi_head_attention" for each in records)


def test_multi_head_attention_across_two_sequences_projects_each_once():
    module = torch.nn.MultiheadAttention(16, 4, kdim=8, vdim=10, batch_first=True)
    given = torch.randn(3, 5, 16), torch.randn(3, 7, 8), torch.randn(3, 7, 10)
    expected = 3 * (5 * 16 * 16 + 7 * 8 * 16 + 7 * 10 * 16 + 5 * 16 * 16) + 2 * 3 * 5 * 7 * 16
    assert total(whole(module, *given)).macs == expected == total(lowered(module, *given)).macs
    alone = torch.nn.MultiheadAttention(16, 4)
    unbatched = torch.randn(5, 16), torch.randn(7, 16), torch.randn(7, 16)
    assert total(whole(alone, *unbatched)).macs == _attention_macs(1, 5, 7, 16)


def test_the_fused_inference_path_counts_biases_scores_and_weights_elementwise():
    """Biases of 20 projected rows per image; six per score, one for a mask, one for weights that are given back."""
    x, weights = f32(3, 5, 16), (f32(48, 16), f32(48), f32(16, 16), f32(16))
    scores, biases = 3 * 4 * 5 * 5, 3 * 20 * 16
    for op, mask, need_weights, per_score in (
        ("aten._native_multi_head_attention", (None,), (True,), 7),
        ("aten._native_multi_head_attention", (f32(5, 5),), (False,), 7),
        ("aten._triton_multi_head_attention", (None,), (), 6),
    ):
        found = price(op, x, x, x, 16, 4, *weights, *mask, *need_weights, outputs=x)
        assert found == Cost(_attention_macs(3, 5, 5, 16), biases + per_score * scores)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"norm_first": True}, {"activation": "gelu"}], ids=str)
def test_an_encoder_layer_costs_the_same_in_training_and_on_the_fast_path(training, options):
    module = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, **options).train(training)
    x = torch.randn(3, 5, 16)
    expected = _attention_macs(3, 5, 5, 16) + 2 * 3 * 5 * 16 * 32
    assert total(whole(module, x)).macs == expected == total(lowered(module, x)).macs
    with torch.no_grad():
        records = lowered(module, x)
    assert total(records).macs == expected
    assert training != any(each.name == "aten._transformer_encoder_layer_fwd" for each in records)


def test_the_elementwise_work_of_the_fused_encoder_layer_is_that_of_its_parts():
    """In eval without dropout: the parts are the norms, residuals, activation, biases and scores of the layer."""
    module = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dropout=0.0).eval()
    x = torch.randn(3, 5, 16)
    with torch.no_grad():
        fused = total(lowered(module, x))
    assert fused == total(whole(module, x))


@pytest.mark.parametrize("training", [True, False])
def test_a_whole_transformer_agrees_with_its_lowering(training):
    module = torch.nn.Transformer(16, 4, 2, 2, 32, batch_first=True).train(training)
    given = torch.randn(3, 5, 16), torch.randn(3, 4, 16)
    encoder = _attention_macs(3, 5, 5, 16) + 2 * 3 * 5 * 16 * 32
    decoder = _attention_macs(3, 4, 4, 16) + _attention_macs(3, 4, 5, 16) + 2 * 3 * 4 * 16 * 32
    assert total(whole(module, *given)).macs == 2 * (encoder + decoder) == total(lowered(module, *given)).macs


def test_the_bias_and_rescaling_of_a_packed_projection_is_elementwise():
    """One bias per element, one scaling per element of the queries, which are a third."""
    qkv, bias = torch.randn(3, 5, 48), torch.randn(48)
    records = lowered(torch.ops.aten._transform_bias_rescale_qkv, qkv, bias, 4)
    assert total(records) == Cost(elementwise=3 * 5 * 48 + 3 * 5 * 16)


# --- backward --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "op",
    [
        "aten._scaled_dot_product_flash_attention_backward",
        "aten._scaled_dot_product_flash_attention_for_cpu_backward",
        "aten._scaled_dot_product_efficient_attention_backward",
        "aten._scaled_dot_product_cudnn_attention_backward",
        "aten._scaled_dot_product_fused_attention_overrideable_backward",
    ],
)
def test_the_backward_of_a_fused_kernel_is_five_products(op):
    q, k, v = (2, 8, 5, 16), (2, 8, 7, 16), (2, 8, 7, 12)
    found = price(op, f32(2, 8, 5, 12), f32(*q), f32(*k), f32(*v), outputs=(f32(*q), f32(*k), f32(*v)))
    assert found.flops == flop_counter.sdpa_backward_flop_count((2, 8, 5, 12), q, k, v)
    scores = prod(q[:-1]) * k[-2]
    assert found.macs == scores * (3 * 16 + 2 * 12)


def test_the_backward_that_ran_is_found_and_costed():
    q = torch.randn(2, 8, 5, 16, requires_grad=True)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        out = _attend(q, q, q)
        records = [each for each in lowered(out.sum().backward) if each.name.endswith("attention_for_cpu_backward")]
    assert len(records) == 1
    assert total(records).macs == 2 * 8 * 5 * 5 * 5 * 16


def test_formulas_of_attention_take_any_float_type():
    half = TensorSpec((2, 8, 5, 16), dtype("bf16"))
    assert price("aten.scaled_dot_product_attention", half, half, half, outputs=half).macs == 2 * 8 * 25 * 32

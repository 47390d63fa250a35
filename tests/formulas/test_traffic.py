"""Bytes moved: each distinct input and output once, as a kernel with a perfect cache would."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from formulas.counting import Call, f32, i64, lowered, record, whole
from numel.analyses.formulas import Traffic, traffic
from numel.facts import TensorSpec, dtype

_X = f32(6, 4)  # 96 bytes
_N = 96


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.view(4, 6),
        lambda x: x.t(),
        lambda x: x[1:, 2],
        lambda x: x.expand(3, 6, 4),
        lambda x: x.detach(),
        lambda x: x.split(2),
        lambda x: torch.empty_like(x),
        lambda x: x.to(torch.float32),
    ],
)
def test_views_and_fresh_memory_move_nothing(function):
    for records in (whole(Call(function), torch.ones(6, 4)), lowered(function, torch.ones(6, 4))):
        assert sum((traffic(each) for each in records), Traffic()) == Traffic()


@pytest.mark.parametrize(
    ("op", "args", "outputs", "read", "written"),
    [
        pytest.param("aten.add.Tensor", (_X, _X), _X, 2 * _N, _N, id="two operands"),
        pytest.param("aten.add.Scalar", (_X, 1), _X, _N, _N, id="a scalar"),
        pytest.param("aten.relu_", (_X,), _X, _N, _N, id="in place"),
        pytest.param("aten.sum", (_X,), f32(), _N, 4, id="a reduction"),
        pytest.param("aten.linear", (_X, f32(5, 4), f32(5)), f32(6, 5), _N + 80 + 20, 120, id="weight and bias"),
        pytest.param("aten.cat", ((_X, _X), 0), f32(12, 4), 2 * _N, 2 * _N, id="a list"),
        pytest.param("aten.clone", (_X,), _X, _N, _N, id="a copy"),
        pytest.param("aten.copy_", (_X, _X), _X, _N, _N, id="a copy into another"),
        pytest.param("aten.zeros", ((6, 4),), _X, 0, _N, id="a factory"),
        pytest.param("aten.zeros_like", (_X,), _X, 0, _N, id="a factory by example"),
        pytest.param("aten.fill_.Scalar", (_X, 1.0), _X, 0, _N, id="filling"),
        pytest.param("aten.uniform_", (_X,), _X, 0, _N, id="a random draw"),
        pytest.param("aten.bernoulli", (_X,), _X, _N, _N, id="a draw by probabilities"),
        pytest.param("aten.embedding", (f32(1000, 4), i64(3)), f32(3, 4), 3 * 16 + 3 * 8, 48, id="a look-up"),
        pytest.param("aten._embedding_bag", (f32(1000, 4), i64(6), i64(2)), f32(2, 4), 6 * 16 + 8 * 8, 32, id="a bag"),
        pytest.param("aten.index_select", (f32(1000, 4), 0, i64(3)), f32(3, 4), 3 * 16 + 24, 48, id="picked rows"),
        pytest.param("aten.gather", (f32(1000, 4), 0, i64(3, 4)), f32(3, 4), 48 + 96, 48, id="picked elements"),
        pytest.param("aten.type_as", (_X, TensorSpec((9, 9), dtype("f32"))), _X, 0, 0, id="no conversion"),
    ],
)  # fmt: skip
def test_every_input_is_read_and_every_output_written_once(op, args, outputs, read, written):
    assert traffic(record(op, *args, outputs=outputs)) == Traffic(read, written)


def test_a_look_up_costs_the_same_in_a_larger_table():
    small, large = (traffic(record("aten.embedding", f32(n, 4), i64(3), outputs=f32(3, 4))) for n in (10, 10**6))
    assert small == large


@pytest.mark.parametrize(
    ("op", "args", "read", "written"),
    [
        # one row of four floats in a cache of 1000, by one index
        pytest.param("aten.index_copy_", (0, i64(1), f32(1, 4)), 8 + 16, 16, id="a row of a cache"),
        pytest.param("aten.index_put_", ((i64(1),), f32(1, 4)), 8 + 16, 16, id="by index"),
        pytest.param("aten.index_put_", ((i64(1),), f32(1, 4), True), 8 + 16 + 16, 16, id="added by index"),
        pytest.param("aten.index_add_", (0, i64(1), f32(1, 4)), 8 + 16 + 16, 16, id="an added row"),
        pytest.param("aten.scatter_.src", (0, i64(1, 4), f32(1, 4)), 32 + 16, 16, id="scattered"),
        pytest.param("aten.scatter_add_", (0, i64(1, 4), f32(1, 4)), 32 + 16 + 16, 16, id="scattered and added"),
    ],
)
def test_a_write_in_place_leaves_the_rest_of_the_tensor_alone(op, args, read, written):
    cache = f32(1000, 4)
    assert traffic(record(op, cache, *args, outputs=cache)) == Traffic(read, written)


def test_lists_written_in_place_are_written_though_nothing_is_given_back():
    pair = [torch.ones(5), torch.ones(2, 3)]
    (zeroed,) = lowered(torch._foreach_zero_, pair)
    (added,) = lowered(torch._foreach_add_, pair, 1.0)
    (copied,) = lowered(torch._foreach_copy_, pair, [each.clone() for each in pair])[-1:]
    assert traffic(zeroed) == Traffic(0, 44)
    assert traffic(added) == Traffic(44, 44)
    assert traffic(copied) == Traffic(44, 44)


def test_a_conversion_reads_one_type_and_writes_the_other():
    half = TensorSpec((6, 4), dtype("bf16"))
    assert traffic(record("aten.to.dtype", _X, "torch.bfloat16", outputs=half)) == Traffic(_N, _N // 2)
    assert traffic(record("aten._to_copy", _X, outputs=half, dtype="torch.bfloat16")) == Traffic(_N, _N // 2)


def test_a_keyword_tensor_is_read():
    assert traffic(record("aten.scaled_dot_product_attention", _X, _X, _X, outputs=_X, attn_mask=f32(6, 6))).read == (
        3 * _N + 144
    )


def test_a_layer_reads_its_weights_and_writes_its_output():
    (linear,) = whole(torch.nn.Linear(4, 5), torch.ones(6, 4))
    assert traffic(linear) == Traffic(read=4 * (6 * 4 + 4 * 5 + 5), written=4 * 6 * 5)
    (looked_up,) = lowered(F.embedding, torch.tensor([1, 2]), torch.ones(9, 4))
    assert traffic(looked_up).total == 2 * 16 + 16 + 32


@given(st.lists(st.builds(Traffic, st.integers(0, 99), st.integers(0, 99)), max_size=4))
def test_traffic_adds_up(parts):
    summed = sum(parts, Traffic())
    assert summed.total == sum(each.read for each in parts) + sum(each.written for each in parts)

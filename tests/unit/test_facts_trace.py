"""Trace records: what each name gives, and the order in which nested values give their tensors."""

from __future__ import annotations

import pytest

from numel.facts import OpRecord, TensorSpec, dtype, tensors_in


def spec(*shape: int, kind: str = "f32") -> TensorSpec:
    return TensorSpec(shape, dtype(kind))


@pytest.mark.parametrize(
    ("one", "numel", "nbytes", "text"),
    [
        (spec(2, 3, kind="bf16"), 6, 12, "bf16[2,3]"),
        (spec(), 1, 4, "f32[]"),
        (spec(4, 0, kind="i64"), 0, 0, "i64[4,0]"),
    ],
)
def test_a_spec_knows_its_size_and_prints_as_the_inputs_notation(one, numel, nbytes, text):
    assert (one.numel, one.nbytes, str(one)) == (numel, nbytes, text)


@pytest.mark.parametrize(
    ("op", "name"),
    [("aten.mm.default", "aten.mm"), ("aten.add.Tensor", "aten.add"), ("my.ops.fused.out", "my.ops.fused")],
)
def test_an_operators_name_leaves_the_overload_out(op, name):
    assert OpRecord(op, -1).name == name


def test_tensors_come_out_in_reading_order_whatever_holds_them():
    a, b, c, d = (spec(n) for n in range(1, 5))
    assert list(tensors_in(({"x": [a, (b, None)], "y": "text"}, 3, c, {"z": {"deep": d}}))) == [a, b, c, d]
    assert list(tensors_in(a)) == [a]
    assert list(tensors_in(("f32[1]", 1.5, None, True))) == []


def test_nesting_deeper_than_the_interpreters_stack_is_walked():
    value: object = spec(1)
    for _ in range(50_000):
        value = (value,)
    assert list(tensors_in(value)) == [spec(1)]
    while isinstance(value, tuple):  # taken apart from outside in: freeing it whole would nest as deep
        value = value[0]

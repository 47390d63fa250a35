"""Matrix products. A product of ones with ones adds 1 for each multiply-accumulate, so the sum of its result counts
them: that is the reference here, next to torch's own lowering of the same call."""

from __future__ import annotations

import itertools
from math import prod

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from formulas.counting import Call, f32, i64, lowered, price, record, total, whole
from numel.analyses.formulas import Cost
from numel.facts import TensorSpec, dtype

_PRODUCTS = [
    pytest.param(torch.mm, (2, 3), (3, 4), id="mm"),
    pytest.param(torch.bmm, (5, 2, 3), (5, 3, 4), id="bmm"),
    pytest.param(torch.mv, (2, 3), (3,), id="mv"),
    pytest.param(torch.dot, (3,), (3,), id="dot"),
    pytest.param(torch.vdot, (3,), (3,), id="vdot"),
    pytest.param(torch.inner, (2, 3), (4, 3), id="inner"),
    pytest.param(torch.inner, (2, 5, 3), (4, 3), id="inner of unequal ranks"),
    pytest.param(torch.linalg.vecdot, (3,), (3,), id="vecdot of vectors"),
    pytest.param(torch.matmul, (3,), (3,), id="vector @ vector"),
    pytest.param(torch.matmul, (3,), (4, 3, 6), id="vector @ batch"),
    pytest.param(torch.matmul, (4, 2, 3), (3,), id="batch @ vector"),
    pytest.param(torch.matmul, (4, 2, 3), (3, 6), id="batch @ matrix"),
    pytest.param(torch.matmul, (5, 1, 2, 3), (4, 3, 6), id="broadcast batches"),
    pytest.param(torch.matmul, (0, 2, 3), (3, 6), id="empty batch"),
    pytest.param(F.linear, (6, 2, 3), (4, 3), id="linear"),
    pytest.param(F.linear, (3,), (4, 3), id="linear of a vector"),
    pytest.param(F.linear, (2, 3), (3,), id="linear to a scalar"),
]


@pytest.mark.parametrize(("function", "left", "right"), _PRODUCTS)
def test_a_product_costs_its_multiply_accumulates(function, left, right):
    a, b = torch.ones(left), torch.ones(right)
    executed = int(function(a, b).sum())
    assert total(whole(Call(function), a, b)) == Cost(macs=executed)
    assert total(lowered(function, a, b)).macs == executed


@pytest.mark.parametrize(
    ("function", "self", "left", "right", "additions"),
    [
        pytest.param(torch.addmm, (4,), (2, 3), (3, 4), 2 * 4, id="addmm"),
        pytest.param(torch.addmv, (2,), (2, 3), (3,), 2, id="addmv"),
        pytest.param(torch.baddbmm, (5, 2, 4), (5, 2, 3), (5, 3, 4), 5 * 2 * 4, id="baddbmm"),
        pytest.param(torch.addbmm, (2, 4), (5, 2, 3), (5, 3, 4), 2 * 4, id="addbmm"),
    ],
)
def test_an_added_tensor_is_one_addition_per_output(function, self, left, right, additions):
    given = torch.zeros(self), torch.ones(left), torch.ones(right)
    assert total(whole(Call(function), *given)) == Cost(macs=int(function(*given).sum()), elementwise=additions)


def test_an_activation_fused_behind_addmm_is_one_more_operation_per_output():
    assert price("aten._addmm_activation", f32(4), f32(2, 3), f32(3, 4), outputs=f32(2, 4)) == Cost(24, 2 * 8)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (6, 2, 3), (2, 0, 3)])
def test_linear_agrees_with_the_addmm_or_mm_that_it_becomes(bias, shape):
    module, x = torch.nn.Linear(3, 4, bias=bias), torch.randn(shape)
    rows = prod(shape[:-1])
    assert total(whole(module, x)) == Cost(macs=rows * 3 * 4, elementwise=rows * 4 * bias)
    assert total(lowered(module, x)).macs == rows * 3 * 4


@pytest.mark.parametrize(
    ("function", "left", "right", "multiplications"),
    [
        pytest.param(torch.outer, (3,), (4,), 12, id="outer"),
        pytest.param(torch.kron, (3, 2), (4, 5), 120, id="kron"),
        pytest.param(torch.inner, (), (4, 3), 12, id="inner with a scalar"),
    ],
)
def test_a_product_that_sums_nothing_has_no_macs(function, left, right, multiplications):
    given = torch.ones(left), torch.ones(right)
    for records in (whole(Call(function), *given), lowered(function, *given)):
        assert total(records) == Cost(elementwise=multiplications)


def test_an_outer_product_with_an_addition_is_two_operations_per_output():
    given = torch.ones(3, 4), torch.ones(3), torch.ones(4)
    assert total(whole(Call(torch.addr), *given)) == Cost(elementwise=2 * 12)


def test_vecdot_of_batches_is_the_multiplication_and_the_sum_that_torch_runs():
    given = torch.ones(2, 1, 5), torch.ones(4, 5)
    formula = price("aten.linalg_vecdot", f32(2, 1, 5), f32(4, 5), outputs=f32(2, 4))
    assert formula == total(lowered(torch.linalg.vecdot, *given)) == Cost(elementwise=2 * 2 * 4 * 5)


@pytest.mark.parametrize(
    ("left", "right", "dims"),
    [
        ((2, 3, 4), (3, 4, 5), ([1, 2], [0, 1])),
        ((2, 3, 4), (4, 5, 3), ([-1, 1], [0, 2])),
        ((2, 3, 4), (1, 4, 5), ([1, 2], [0, 1])),
        ((2, 3), (4, 5), ([], [])),
    ],
)
def test_tensordot_agrees_with_the_product_that_it_becomes(left, right, dims):
    given = torch.ones(left), torch.ones(right)
    out = torch.tensordot(*given, dims=dims)
    formula = price("aten.tensordot", f32(*left), f32(*right), *dims, outputs=f32(*out.shape))
    assert formula.macs == total(lowered(torch.tensordot, *given, dims=dims)).macs


def _cheapest(sides: tuple[int, ...]) -> int:
    """The best of every way to put parentheses."""
    if len(sides) < 3:
        return 0
    ways = range(1, len(sides) - 1)
    return min(_cheapest(sides[: s + 1]) + _cheapest(sides[s:]) + sides[0] * sides[s] * sides[-1] for s in ways)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=7).map(tuple))
def test_a_chain_is_multiplied_in_its_cheapest_order(sides):
    matrices = [torch.ones(pair) for pair in itertools.pairwise(sides)]
    formula = price("aten.linalg_multi_dot", tuple(f32(*m.shape) for m in matrices), outputs=f32(sides[0], sides[-1]))
    assert formula.macs == _cheapest(sides) == total(lowered(torch.linalg.multi_dot, matrices)).macs


def test_a_chain_may_begin_and_end_with_a_vector():
    matrices = [torch.ones(10), torch.ones(10, 5), torch.ones(5)]
    formula = price("aten.linalg_multi_dot", tuple(f32(*m.shape) for m in matrices), outputs=f32())
    assert formula.macs == total(lowered(torch.linalg.multi_dot, matrices)).macs == 10 * 5 + 5


# --- einsum, bilinear ------------------------------------------------------------------------------------------------

_EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("i,j->ij", (2,), (3,)),
    ("ij->j", (2, 3)),
    ("ii->i", (3, 3)),
    ("ij,ij->", (2, 3), (2, 3)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("...ij,...jk->...ik", (5, 1, 2, 3), (4, 3, 6)),
    ("bij,bjk->bik", (1, 2, 3), (5, 3, 4)),
    ("ij,jk->ik", (2, 1), (1, 4)),
    ("a,b,c->abc", (2,), (3,), (4,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ij,jk,jl->il", (2, 3), (3, 4), (3, 5)),
    ("bi,oij,bj->bo", (6, 3), (5, 3, 4), (6, 4)),
    ("abi,aci,adi->abcd", (2, 3, 4), (2, 5, 4), (2, 6, 4)),
]


def _einsum(equation: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[Cost, Cost]:
    """By formula, and by the operators that torch runs."""
    operands = [torch.ones(shape) for shape in shapes]
    out = torch.einsum(equation, *operands)
    formula = price("aten.einsum", equation, tuple(f32(*shape) for shape in shapes), outputs=f32(*out.shape))
    return formula, total(lowered(torch.einsum, equation, *operands))


@pytest.mark.parametrize(("equation", "shapes"), [(each[0], each[1:]) for each in _EQUATIONS])
def test_einsum_costs_what_its_lowering_costs(equation, shapes):
    formula, parts = _einsum(equation, shapes)
    assert formula == parts


@st.composite
def _equations(draw: st.DrawFn) -> tuple[str, tuple[tuple[int, ...], ...]]:
    labels = st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True)
    terms = draw(st.lists(labels, min_size=1, max_size=4))
    known = sorted(set(itertools.chain(*terms)))
    out = draw(st.lists(st.sampled_from(known), unique=True))
    sizes = {label: draw(st.integers(1, 4)) for label in known}
    equation = ",".join("".join(term) for term in terms) + "->" + "".join(out)
    return equation, tuple(tuple(sizes[label] for label in term) for term in terms)


@settings(deadline=None, max_examples=150)
@given(_equations())
def test_any_einsum_has_the_macs_of_its_lowering(case):
    formula, parts = _einsum(*case)
    assert formula.macs == parts.macs


def test_a_path_changes_the_order_and_with_it_the_cost():
    chain = tuple(f32(*shape) for shape in ((2, 30), (30, 4), (4, 50)))
    left = price("aten.einsum", "ij,jk,kl->il", chain, outputs=f32(2, 50), path=(0, 1, 0, 1))
    right = price("aten.einsum", "ij,jk,kl->il", chain, outputs=f32(2, 50), path=(1, 2, 0, 1))
    assert (left.macs, right.macs) == (2 * 30 * 4 + 2 * 4 * 50, 30 * 4 * 50 + 2 * 30 * 50)


@pytest.mark.parametrize("rows", [(6,), (6, 2), ()])
def test_bilinear_is_two_contractions(rows):
    """n · o · i · j for x1 with the weight, then n · o · j for the result with x2."""
    n, i, j, o = prod(rows), 3, 4, 5
    module = torch.nn.Bilinear(i, j, o)
    given = torch.ones(*rows, i), torch.ones(*rows, j)
    expected = n * o * i * j + n * o * j
    by_hand = price("aten.bilinear", f32(*rows, i), f32(*rows, j), f32(o, i, j), f32(o), outputs=f32(*rows, o))
    by_einsum = price("aten.einsum", "ni,oij,nj->no", (f32(n, i), f32(o, i, j), f32(n, j)), outputs=f32(n, o))
    assert by_hand == Cost(macs=expected, elementwise=n * o)
    assert by_einsum.macs == expected == total(whole(module, *given)).macs == total(lowered(module, *given)).macs


def test_a_trilinear_step_that_sums_nothing_is_a_multiplication():
    """The outer product of (2, 1, 1), (1, 3, 1) and (1, 1, 4), summed at the end over the last dimension."""
    found = price("aten._trilinear", f32(2), f32(3), f32(4), (1, 2), (0, 2), (0, 1), (2,), outputs=f32(2, 3))
    assert found == Cost(macs=2 * 3 * 4, elementwise=2 * 3)


def test_covariance_is_the_product_of_the_rows_with_each_other():
    for shape in ((3, 10), (10,)):
        x, rows = torch.randn(shape), shape[0] if len(shape) == 2 else 1
        assert price("aten.cov", f32(*shape), outputs=f32(rows, rows)).macs == rows * rows * 10
        assert total(lowered(torch.cov, x)).macs == rows * rows * 10


@pytest.mark.parametrize("mode", [None, 1, 2])
@pytest.mark.parametrize(("rows", "others", "p"), [(30, 4, 2.0), (4, 5, 2.0), (30, 4, 1.0)])
def test_euclidean_distances_of_many_rows_are_a_matrix_product(mode, rows, others, p):
    a, b = torch.randn(2, rows, 3), torch.randn(2, others, 3)
    formula = price("aten.cdist", f32(2, rows, 3), f32(2, others, 3), p, mode, outputs=f32(2, rows, others))
    assert formula == total(lowered(lambda x, y: torch.ops.aten.cdist(x, y, p, mode), a, b))


def test_the_product_behind_distances_is_one_over_features_and_two_norms():
    parts = total(lowered(torch._decomp.decomposition_table[torch.ops.aten._euclidean_dist.default],
                          torch.randn(5, 3), torch.randn(4, 3)))  # fmt: skip
    formula = price("aten._euclidean_dist", f32(5, 3), f32(4, 3), outputs=f32(5, 4))
    assert formula == parts
    assert formula.macs == 5 * 4 * (3 + 2)


def test_an_affine_grid_is_a_product_with_theta():
    """Positions are homogeneous: (h · w, 3) by (3, 2) for each image, (d · h · w, 4) by (4, 3) for each volume."""
    flat = whole(Call(lambda t: F.affine_grid(t, (2, 3, 4, 5), align_corners=True)), torch.randn(2, 2, 3))
    deep = whole(Call(lambda t: F.affine_grid(t, (2, 3, 4, 5, 6), align_corners=True)), torch.randn(2, 3, 4))
    assert total(flat).macs == int((torch.ones(2, 4 * 5, 3) @ torch.ones(2, 3, 2)).sum())
    assert total(deep).macs == int((torch.ones(2, 4 * 5 * 6, 4) @ torch.ones(2, 4, 3)).sum())


# --- grouped, packed, quantised --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "out"),
    [
        pytest.param((12, 3), (2, 3, 5), (12, 5), id="rows in groups"),
        pytest.param((2, 4, 3), (2, 3, 5), (2, 4, 5), id="a batch"),
        pytest.param((2, 4, 3), (3, 10), (4, 10), id="columns in groups"),
        pytest.param((4, 12), (12, 5), (2, 4, 5), id="inner sizes in groups"),
    ],
)
def test_a_grouped_product_costs_the_products_of_its_groups(left, right, out):
    """Two groups, of a third and two thirds of what is grouped."""

    def parts(size: int, cut: bool) -> list[slice]:
        return [slice(0, size // 3), slice(size // 3, size)] if cut else [slice(None)] * 2

    a, b = torch.ones(left), torch.ones(right)
    executed = 0.0
    for group in range(2):
        mine = a[group] if a.dim() == 3 else a
        other = b[group] if b.dim() == 3 else b
        if a.dim() == 2 and b.dim() == 3:
            mine = mine[parts(left[0], True)[group]]
        if a.dim() == 3 and b.dim() == 2:
            other = other[:, parts(right[1], True)[group]]
        if a.dim() == b.dim() == 2:
            mine, other = mine[:, parts(left[1], True)[group]], other[parts(right[0], True)[group]]
        executed += float((mine @ other).sum())
    offsets = i64(2)
    for name in ("_grouped_mm", "_scaled_grouped_mm"):
        assert price(f"aten.{name}", f32(*left), f32(*right), offsets, outputs=f32(*out)).macs == int(executed)


@pytest.mark.parametrize(
    "op",
    ["aten._weight_int4pack_mm", "aten._weight_int8pack_mm", "aten._dyn_quant_matmul_4bit"],
)
def test_a_packed_weight_costs_what_the_plain_one_does(op):
    """k = 64 is told by the activations: eight 4-bit numbers share an int32 of the weight."""
    packed = TensorSpec((2, 2, 32, 4), dtype("i32"))
    assert price(op, f32(3, 64), packed, 32, f32(2, 16, 2), outputs=f32(3, 16)) == Cost(macs=3 * 64 * 16)


def test_a_weight_of_another_type_is_scaled_and_its_bias_and_activation_count():
    args = f32(2, 3), TensorSpec((3, 4), dtype("i8")), f32(4)
    plain = price("aten._mixed_dtypes_linear", *args, outputs=f32(2, 4))
    full = price("aten._mixed_dtypes_linear", *args, outputs=f32(2, 4), bias=f32(4), activation="relu")
    assert (plain, full) == (Cost(24, 8), Cost(24, 3 * 8))


@pytest.mark.parametrize(
    ("record_of", "elementwise"),
    [
        (record("mkldnn._linear_pointwise", f32(2, 3), f32(4, 3), f32(4), "relu", (), "", outputs=(f32(2, 4),)), 16),
        (record("mkldnn._linear_pointwise", f32(2, 3), f32(4, 3), None, "none", (), "", outputs=(f32(2, 4),)), 0),
        (record("mkldnn._linear_pointwise.binary", f32(2, 3), f32(2, 4), f32(4, 3), f32(4), "add",
                outputs=(f32(2, 4),)), 16),
        (record("mkl._mkl_linear", f32(2, 3), f32(12), f32(4, 3), f32(4), 2, outputs=(f32(2, 4),)), 8),
        (record("quantized.linear_dynamic", f32(2, 3), "<ScriptObject>", True, outputs=(f32(2, 4),)), 8),
        (record("quantized.linear_relu", f32(2, 3), "<ScriptObject>", 1.0, 0, outputs=(f32(2, 4),)), 16),
    ],
)  # fmt: skip
def test_linear_by_another_name_costs_the_same_product(record_of, elementwise):
    assert total([record_of]) == Cost(macs=2 * 3 * 4, elementwise=elementwise)


def test_a_list_of_products_costs_their_sum():
    found = price("aten._foreach_mm", (f32(2, 3), f32(4, 5)), (f32(3, 4), f32(5, 6)), outputs=(f32(2, 4), f32(4, 6)))
    assert found.macs == 2 * 3 * 4 + 4 * 5 * 6


def test_a_linear_layer_fused_with_its_loss_costs_the_layer_and_its_gradients_where_they_are_made():
    """6 tokens of width 4 by 5 classes; the gradients of input and weight are one such product each."""
    args = f32(6, 4), f32(5, 4), i64(6), None, None
    for gradients in itertools.product((False, True), repeat=2):
        tail = ("mean", -100, 0.0, 2, "auto", "torch.float32", False, *gradients, False)
        found = price("torch_nn._linear_cross_entropy_batch_chunked", *args, *tail, outputs=f32())
        assert found.macs == 6 * 4 * 5 * (1 + sum(gradients))
    rest = (-100, 2, "auto", "torch.float32")
    name = "torch_nn._linear_cross_entropy_batch_chunked_no_reduction"
    assert price(name, *args, *rest, outputs=f32(6)).macs == 6 * 4 * 5

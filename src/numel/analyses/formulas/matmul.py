"""Matrix products: k multiply-accumulates for each output element, whatever the operator calls its operands.

Bias and the `beta · self` of the add variants are elementwise: one operation per output element. An outer product
accumulates nothing, so it is elementwise too, as the multiplication that torch runs for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import zip_longest
from math import prod
from typing import Any

from numel.analyses.formulas.arguments import argument, broadcast, first, numel_of, tensor
from numel.analyses.formulas.registry import Cost, formula
from numel.facts.trace import TensorSpec

# The order of left-to-right contraction in torch.einsum: the first two operands, the result to the front.
_LEFT_TO_RIGHT = (0, 1)


@formula("aten.mm", "aten._int_mm", "aten._scaled_mm", "aten._scaled_mm_v2")
def mm(self: TensorSpec, mat2: TensorSpec, *_: Any, outputs: Any, **named: Any) -> int:
    """(n, k) @ (k, m): n · k · m."""
    (n, k), (_k, m) = self.shape, mat2.shape
    return n * k * m


@formula("aten.bmm")
def bmm(self: TensorSpec, mat2: TensorSpec, *_: Any, outputs: Any, **named: Any) -> int:
    """(b, n, k) @ (b, k, m): b · n · k · m."""
    return self.numel * mat2.shape[-1]


@formula("aten.addmm", "aten.addmm_")
def addmm(self: TensorSpec, mat1: TensorSpec, mat2: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """n · k · m, and one addition per output element for `self`."""
    n, k = mat1.shape
    m = mat2.shape[1]
    return Cost(macs=n * k * m, elementwise=n * m)


@formula("aten._addmm_activation")
def addmm_activation(self: TensorSpec, mat1: TensorSpec, mat2: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """`addmm`, then one activation per output element."""
    n, k = mat1.shape
    m = mat2.shape[1]
    return Cost(macs=n * k * m, elementwise=2 * n * m)


@formula("aten.baddbmm", "aten.baddbmm_")
def baddbmm(self: TensorSpec, batch1: TensorSpec, batch2: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """b · n · k · m, and one addition per output element."""
    b, n, k = batch1.shape
    m = batch2.shape[2]
    return Cost(macs=b * n * k * m, elementwise=b * n * m)


@formula("aten.addbmm", "aten.addbmm_")
def addbmm(self: TensorSpec, batch1: TensorSpec, batch2: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """The products are summed over the batch: b · n · k · m MACs, n · m additions."""
    b, n, k = batch1.shape
    m = batch2.shape[2]
    return Cost(macs=b * n * k * m, elementwise=n * m)


@formula("aten.mv")
def mv(self: TensorSpec, vec: TensorSpec, *_: Any, outputs: Any, **named: Any) -> int:
    """(n, k) @ (k): n · k."""
    return self.numel


@formula("aten.addmv", "aten.addmv_")
def addmv(self: TensorSpec, mat: TensorSpec, vec: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """n · k, and one addition per row."""
    return Cost(macs=mat.numel, elementwise=mat.shape[0])


@formula("aten.dot", "aten.vdot", "aten.inner")
def dot(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Each output element is a dot product over the last dimension: outputs · k. With a scalar it is a scaling."""
    left, right = tensor(args, named, 0, "self"), tensor(args, named, 1, "tensor", "other")
    if not left.shape or not right.shape:
        return Cost(elementwise=left.numel * right.numel)
    return Cost(macs=first(outputs).numel * left.shape[-1])


@formula("aten.linalg_vecdot")
def vecdot(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Of two vectors a dot product; with more dimensions a multiplication and a sum, as torch runs it."""
    left, right = tensor(args, named, 0, "x"), tensor(args, named, 1, "y")
    if len(left.shape) == len(right.shape) == 1:
        return Cost(macs=left.numel)
    return Cost(elementwise=2 * prod(broadcast(left.shape, right.shape)))


@formula("aten.addr", "aten.addr_")
def addr(self: TensorSpec, vec1: TensorSpec, vec2: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """self + vec1 ⊗ vec2: an outer product and an addition."""
    return Cost(elementwise=2 * vec1.numel * vec2.numel)


@formula("aten.outer", "aten.ger", "aten.kron")
def outer(*_: Any, outputs: Any, **named: Any) -> Cost:
    """One multiplication per output element and nothing to accumulate."""
    return Cost(elementwise=numel_of(outputs))


@formula("aten.matmul", "aten.linalg_matmul")
def matmul(*args: Any, outputs: Any, **named: Any) -> int:
    """Vectors, matrices and broadcast batches alike: outputs · k, k the last dimension of the left operand."""
    left = tensor(args, named, 0, "self", "input")
    return first(outputs).numel * left.shape[-1]


@formula("aten.linear", "aten.mkldnn_linear", "mkldnn._linear_pointwise")
def linear(*args: Any, outputs: Any, **named: Any) -> Cost:
    """(..., in) by (out, in): outputs · in MACs; the bias is one addition per output element.

    An activation fused behind it is one more operation per output element.
    """
    x = tensor(args, named, 0, "input", "self", "X")
    out = first(outputs).numel
    bias = argument(args, named, 2, "bias", "B")
    attr = argument(args, named, 3, "attr")
    fused = isinstance(attr, str) and attr != "none"
    return Cost(macs=out * x.shape[-1], elementwise=out * (isinstance(bias, TensorSpec) + fused))


@formula("aten._mixed_dtypes_linear")
def mixed_dtypes_linear(
    input: TensorSpec, weight: TensorSpec, scale: Any, *_: Any, outputs: Any, bias: Any = None, activation: Any = None,
    **named: Any,
) -> Cost:  # fmt: skip
    """`linear` by a packed weight; a scaling, a bias and an activation are one operation each per output element."""
    out = first(outputs).numel
    return Cost(
        macs=out * input.shape[-1],
        elementwise=out * (1 + isinstance(bias, TensorSpec) + (activation not in (None, "none"))),
    )


@formula("mkldnn._linear_pointwise.binary")
def linear_binary(*args: Any, outputs: Any, **named: Any) -> Cost:
    """`linear`, then one addition or multiplication with another tensor."""
    x = tensor(args, named, 0, "X")
    bias = argument(args, named, 3, "B")
    out = first(outputs).numel
    return Cost(macs=out * x.shape[-1], elementwise=out * (1 + isinstance(bias, TensorSpec)))


@formula("mkl._mkl_linear")
def mkl_linear(*args: Any, outputs: Any, **named: Any) -> Cost:
    """`linear` whose packed weight comes before the original one."""
    x = tensor(args, named, 0, "X")
    bias = argument(args, named, 3, "B")
    out = first(outputs).numel
    return Cost(macs=out * x.shape[-1], elementwise=out * isinstance(bias, TensorSpec))


@formula(
    "aten._weight_int4pack_mm",
    "aten._weight_int4pack_mm_for_cpu",
    "aten._weight_int4pack_mm_with_scales_and_zeros",
    "aten._weight_int8pack_mm",
    "aten._dyn_quant_matmul_4bit",
)
def packed_weight_mm(*args: Any, outputs: Any, **named: Any) -> int:
    """(n, k) by a weight whose packed shape hides k: the left operand tells it."""
    x = tensor(args, named, 0, "self", "inp")
    return first(outputs).numel * x.shape[-1]


@formula(
    "aten.fbgemm_linear_int8_weight", "aten.fbgemm_linear_int8_weight_fp32_activation",
    "aten.fbgemm_linear_fp16_weight", "aten.fbgemm_linear_fp16_weight_fp32_activation",
)  # fmt: skip
def fbgemm_linear(input: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """`linear` by a packed weight, which always has a bias: outputs · in, and one addition each.

    >>> from numel.facts.dtype import dtype
    >>> x, y = TensorSpec((2, 8), dtype("f32")), TensorSpec((2, 3), dtype("f32"))
    >>> fbgemm_linear(x, outputs=(y,)).macs == 2 * 3 * 8
    True
    """
    out = first(outputs).numel
    return Cost(macs=out * input.shape[-1], elementwise=out)


@formula("onednn.qlinear_pointwise")
def onednn_linear(qx: TensorSpec, *args: Any, outputs: Any, **named: Any) -> Cost:
    """Outputs · in, as the input tells, since the weight is packed; a bias and what is fused, one operation each.

    (qx, scale, zero point, qw, scales, zero points, bias, output scale and zero point, type, fused, ...).
    """
    out = first(outputs).numel
    bias = argument((qx, *args), named, 6, "bias")
    fused = argument((qx, *args), named, 10, "post_op_name", default="none")
    return Cost(macs=out * qx.shape[-1], elementwise=out * (isinstance(bias, TensorSpec) + (fused != "none")))


@formula("onednn.qlinear_pointwise.binary", "onednn.qlinear_pointwise.binary_tensor")
def onednn_linear_binary(qx: TensorSpec, *args: Any, outputs: Any, **named: Any) -> Cost:
    """Outputs · in; a bias, what is fused with another tensor and what after that, one operation each.

    (qx, scale, zero point, qw, scales, zero points, other, bias, output scale and zero point, type, other's scale and
    zero point, fused with it, its factor, fused after, ...).
    """
    out = first(outputs).numel
    bias = argument((qx, *args), named, 7, "bias")
    after = argument((qx, *args), named, 15, "unary_post_op", default="none")
    return Cost(macs=out * qx.shape[-1], elementwise=out * (1 + isinstance(bias, TensorSpec) + (after != "none")))


@formula("aten._sparse_semi_structured_linear")
def semi_structured_linear(
    input: TensorSpec, weight: Any, meta: Any, *_: Any, outputs: Any, bias: Any = None, activation: Any = None,
    **named: Any,
) -> Cost:  # fmt: skip
    """The product of the dense weight, outputs · in: of each four elements two are kept, so a kernel runs half."""
    out = first(outputs).numel
    each = isinstance(bias, TensorSpec) + (activation is not None)
    return Cost(macs=out * input.shape[-1], elementwise=out * each)


@formula("aten._sparse_semi_structured_mm")
def semi_structured_mm(mat1: Any, mat1_meta: Any, mat2: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """The product of the dense matrix, outputs · rows of the other: a kernel runs half."""
    return Cost(macs=first(outputs).numel * mat2.shape[-2])


@formula("aten._sparse_semi_structured_addmm")
def semi_structured_addmm(
    input: Any, mat1: Any, mat1_meta: Any, mat2: TensorSpec, *_: Any, outputs: Any, **named: Any
) -> Cost:
    """The same, and one addition per output."""
    out = first(outputs).numel
    return Cost(macs=out * mat2.shape[-2], elementwise=out)


@formula("aten._cslt_sparse_mm")
def cslt_mm(
    compressed_A: Any, dense_B: TensorSpec, bias: Any = None, alpha: Any = None, *_: Any, outputs: Any, **named: Any
) -> Cost:
    """The product of the dense matrix, outputs · rows of the other: a kernel runs half; bias and scale, one each."""
    out = first(outputs).numel
    each = isinstance(bias, TensorSpec) + isinstance(alpha, TensorSpec)
    return Cost(macs=out * dense_B.shape[-2], elementwise=out * each)


@formula("quantized.linear", "quantized.linear_dynamic", "quantized.linear_dynamic_fp16")
def quantized_linear(X: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """`linear` by a packed weight, which keeps its bias to itself: counted as if it had one."""
    out = first(outputs).numel
    return Cost(macs=out * X.shape[-1], elementwise=out)


@formula("quantized.linear_relu", "quantized.linear_relu_dynamic", "quantized.linear_relu_dynamic_fp16")
def quantized_linear_relu(X: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """The same, and a ReLU per output element."""
    return quantized_linear(X, outputs=outputs) + Cost(elementwise=first(outputs).numel)


@formula("torch_nn._linear_cross_entropy_batch_chunked", "torch_nn._linear_cross_entropy_batch_chunked_no_reduction")
def linear_cross_entropy(
    input: TensorSpec, linear_weight: TensorSpec, target: Any, linear_bias: Any, *args: Any, outputs: Any, **named: Any
) -> Cost:
    """A linear layer and its loss in chunks: n · k · classes, once more for each gradient that the forward makes.

    Elementwise per logit: five for the log-softmax, one for a bias, two more where there are gradients.
    """
    logits = input.numel // input.shape[-1] * linear_weight.shape[0]
    reduced = isinstance(argument(args, named, 1, "reduction"), str)
    gradients = sum(argument(args, named, at, "", default=False) for at in (8, 9)) if reduced else 0
    return Cost(
        macs=logits * input.shape[-1] * (1 + gradients),
        elementwise=logits * (5 + isinstance(linear_bias, TensorSpec) + 2 * bool(gradients)),
    )


@formula(
    "aten._grouped_mm", "aten._scaled_grouped_mm", "aten._scaled_grouped_mm_v2",
    "transformers.grouped_mm_fallback",
)  # fmt: skip
def grouped_mm(*args: Any, outputs: Any, **named: Any) -> int:
    """Each row meets one group's matrix, whichever it is, so the offsets do not matter while they cover all rows.

    2d × 3d: rows · k · n. 3d × 3d: groups · rows · k · n. 3d × 2d: rows · k · all columns. 2d × 2d, groups along k:
    n · k · m, as the parts of k add up.
    """
    left = tensor(args, named, 0, "self", "input", "mat_a")
    right = tensor(args, named, 1, "mat2", "weight", "mat_b")
    if len(left.shape) == 3 and len(right.shape) == 2:
        return left.shape[1] * left.shape[2] * right.shape[1]
    return left.numel * right.shape[-1]


@formula("aten._foreach_mm")
def foreach_mm(self: Sequence[TensorSpec], mat2: Sequence[TensorSpec], *_: Any, outputs: Any, **named: Any) -> int:
    """The sum of the matrix products of the two lists."""
    return sum(a.numel * b.shape[-1] for a, b in zip(self, mat2, strict=True))


@formula("aten.tensordot")
def tensordot(
    self: TensorSpec, other: TensorSpec, dims_self: Any, dims_other: Any, *_: Any, outputs: Any, **named: Any
) -> int:
    """Outputs times the product of the dimensions summed over; one that meets a 1 is summed before the product."""
    summed: int = prod(min(self.shape[i], other.shape[j]) for i, j in zip(dims_self, dims_other, strict=True))
    return first(outputs).numel * summed


@formula("aten.chain_matmul", "aten.linalg_multi_dot")
def chain(*args: Any, outputs: Any, **named: Any) -> int:
    """The cheapest order, which torch looks for by dynamic programming (Cormen et al., matrix chain).

    >>> from numel.facts.dtype import dtype
    >>> f32 = dtype("f32")
    >>> chain([TensorSpec((10, 100), f32), TensorSpec((100, 5), f32), TensorSpec((5, 50), f32)], outputs=())
    7500
    """
    matrices = argument(args, named, 0, "matrices", "tensors")
    shapes = [matrix.shape for matrix in matrices]
    if len(shapes[0]) == 1:
        shapes[0] = (1, *shapes[0])
    if len(shapes[-1]) == 1:
        shapes[-1] = (*shapes[-1], 1)
    sides = [shape[0] for shape in shapes] + [shapes[-1][1]]
    count = len(shapes)
    best = [[0] * count for _ in range(count)]
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            best[i][j] = min(best[i][s] + best[s + 1][j] + sides[i] * sides[s + 1] * sides[j + 1] for s in range(i, j))
    return best[0][count - 1]


@formula("aten.bilinear")
def bilinear(
    input1: TensorSpec, input2: TensorSpec, weight: TensorSpec, bias: Any = None, *_: Any, outputs: Any, **named: Any
) -> Cost:
    """x1 · W · x2 with W of (o, i, j): the first contraction is n · o · i · j MACs, the second n · o · j."""
    o, i, j = weight.shape
    n = prod(input1.shape[:-1])
    return Cost(macs=n * o * i * j + n * o * j, elementwise=n * o * isinstance(bias, TensorSpec))


@formula("aten._trilinear")
def trilinear(
    i1: TensorSpec, i2: TensorSpec, i3: TensorSpec, expand1: Any, expand2: Any, expand3: Any, sumdim: Any, *_: Any,
    outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """i1 meets i2 and sums what i3 lacks; the result meets i3 and sums the rest. `expand` lists inserted dimensions.

    A step that sums nothing is a multiplication.
    """
    a, b, c = _expanded(i1, expand1), _expanded(i2, expand2), _expanded(i3, expand3)
    early = {dim for dim in sumdim if dim in expand3}
    pair = broadcast(a, b)
    joint = broadcast(tuple(1 if dim in early else size for dim, size in enumerate(pair)), c)
    return _step(prod(pair), early) + _step(prod(joint), set(sumdim) - early)


def _step(work: int, summed: Collection[Any]) -> Cost:
    """A pairwise contraction: multiply-accumulates if it sums anything, else multiplications."""
    return Cost(macs=work) if summed else Cost(elementwise=work)


def _expanded(spec: TensorSpec, inserted: Sequence[int]) -> tuple[int, ...]:
    shape = list(spec.shape)
    for dim in sorted(inserted):
        shape.insert(dim, 1)
    return tuple(shape)


@formula("aten.einsum")
def einsum(
    equation: str, tensors: Sequence[TensorSpec], *_: Any, outputs: Any, path: Sequence[int] | None = None, **named: Any
) -> Cost:
    """Pairwise contraction along `path`, else from left to right.

    A label of one operand alone that nobody needs later is summed first; a step that sums a shared label costs the
    product of all label sizes in MACs; a step that sums none, or only over a single index, is a multiplication and
    elementwise.

    >>> from numel.facts.dtype import dtype
    >>> a, b = TensorSpec((2, 3, 4), dtype("f32")), TensorSpec((2, 4, 5), dtype("f32"))
    >>> einsum("bij,bjk->bik", [a, b], outputs=()).macs
    120
    """
    operands, kept = _labelled(equation, tensors)
    total = Cost()
    steps = list(zip_longest(*[iter(path)] * 2)) if path else []
    while len(operands) > 1:
        i, j = sorted(steps.pop(0) if steps else _LEFT_TO_RIGHT)
        right, left = operands.pop(j), operands.pop(i)
        needed = set(kept).union(*operands) if operands else set(kept)
        summed_first = 0
        for one, other in ((left, right), (right, left)):
            alone = [label for label in one if label not in other and label not in needed]
            if alone:
                summed_first += prod(one.values())
                for label in alone:
                    del one[label]
        joint = {label: max(left.get(label, 1), right.get(label, 1)) for label in left | right}
        contracted = [label for label, size in joint.items() if label not in needed and size != 1]
        total += Cost(elementwise=summed_first) + _step(prod(joint.values()), contracted)
        result = {label: size for label, size in joint.items() if label in needed}
        operands.insert(0, result) if not path else operands.append(result)
    if any(label not in kept for label in operands[0]):
        total += Cost(elementwise=prod(operands[0].values()))
    return total


def _labelled(equation: str, tensors: Sequence[TensorSpec]) -> tuple[list[dict[str, int]], list[str]]:
    """Sizes by label of each operand, and the labels of the output; the dimensions of `...` get labels of their own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands: list[dict[str, int]] = []
    order: list[str] = []
    dots = 0
    for term, spec in zip(left.split(","), tensors, strict=True):
        before, found, after = term.partition("...")
        hidden = len(spec.shape) - len(before) - len(after) if found else 0
        dots = max(dots, hidden)
        labels = [*before, *(f".{n}" for n in range(hidden, 0, -1)), *after]
        sizes: dict[str, int] = {}
        for label, size in zip(labels, spec.shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 0))
        operands.append(sizes)
        order += [*before, *after]
    ellipsis = [f".{n}" for n in range(dots, 0, -1)]
    if not arrow:
        return operands, ellipsis + sorted(label for label in set(order) if order.count(label) == 1)
    before, found, after = right.partition("...")
    return operands, [*before, *(ellipsis if found else []), *after]

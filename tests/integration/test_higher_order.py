"""Operators that take functions: what the functions run is counted, or named where only data could tell."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch._higher_order_ops.associative_scan import associative_scan
from torch._higher_order_ops.map import map as map_rows
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import numel
from numel.analyses.formulas import cost

MODES = ("meta", "fake", "real")


class Branches(nn.Module):
    """A narrow branch of 4·4 MACs a row, a wide one of 4·8 + 8·4; `shared` runs in both."""

    def __init__(self, shared=False):
        super().__init__()
        self.narrow = nn.Linear(4, 4)
        self.wide = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))
        self.first = nn.Linear(4, 4) if shared else nn.Identity()

    def forward(self, x):
        one = lambda x: self.narrow(self.first(x))  # noqa: E731
        other = lambda x: self.wide(self.first(x))  # noqa: E731
        return torch.cond(x.sum() > 0, one, other, (x,))


@pytest.mark.parametrize(("sign", "macs"), [(1, 2 * 4 * 4), (-1, 2 * (4 * 8 + 8 * 4))])
def test_with_values_the_branch_that_runs_is_counted(sign, macs):
    report = numel.summary(Branches(), sign * torch.ones(2, 4))
    assert report.trace.mode == "real"
    assert report.macs == macs
    assert not any(op.op.startswith("higher_order") for op in report.trace.ops)


@pytest.mark.parametrize("mode", MODES)
def test_a_known_predicate_needs_no_data(mode):
    class Known(Branches):
        def forward(self, x):
            return torch.cond(torch.tensor(x.shape[0] > 5), self.wide, self.narrow, (x,))

    report = numel.summary(Known(), "f32[2,4]", mode=mode)
    if mode == "fake":  # has no values, not even of constants
        assert "≥" in str(report)
    else:
        assert report.macs == 2 * 4 * 4
        assert "≥" not in str(report)


@pytest.mark.parametrize("mode", ["meta", "fake"])
@pytest.mark.parametrize("shared", [False, True])
def test_without_values_what_both_branches_run_is_counted_and_the_operator_named(mode, shared):
    with torch.device("meta"):
        model = Branches(shared)
    report = numel.summary(model, "f32[2,4]", mode=mode)
    text = str(report)
    assert report.macs == (2 * 4 * 4 if shared else 0)
    assert "higher_order.cond has no formula" in text
    assert "[branch-by-data]" in text
    rows = [line for line in text.splitlines() if "Linear" in line and "first" not in line]
    assert rows
    assert all("≥ 0" in row for row in rows)


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.step = nn.Linear(4, 4)

    def forward(self, x):
        return while_loop(lambda i, x: i < 5, lambda i, x: (i + 1, self.step(x)), (torch.tensor(0), x))[1]


class LoopByData(Loop):
    def forward(self, x):
        go_on = lambda i, x: (x.sum() < 1e9) & (i < 3)  # noqa: E731
        return while_loop(go_on, lambda i, x: (i + 1, self.step(x)), (torch.tensor(0), x))[1]


class Scan(Loop):
    def forward(self, x):
        return scan(lambda carry, row: (self.step(carry) + row, carry * 2), x[0], x)[1]


class Rows(Loop):
    def forward(self, x):
        return map_rows(lambda row, weight: row @ weight, x, self.step.weight)


@pytest.mark.parametrize(
    ("model", "inputs", "macs"),
    [(Loop, "f32[2,4]", 5 * 2 * 4 * 4), (Scan, "f32[7,4]", 7 * 4 * 4), (Rows, "f32[3,5,4]", 3 * 5 * 4 * 4)],
)
@pytest.mark.parametrize("mode", MODES)
def test_a_body_is_counted_once_for_each_step(model, inputs, macs, mode):
    if model is Loop and mode == "fake":
        pytest.skip("a fake tensor has no value, so how often the loop runs is not known")
    report = numel.summary(model(), inputs, mode=mode)
    assert report.macs == macs
    assert "≥" not in str(report)


def test_a_loop_that_data_end_is_counted_with_data_and_flagged_without():
    assert numel.summary(LoopByData(), torch.ones(2, 4)).macs == 3 * 2 * 4 * 4
    text = str(numel.summary(LoopByData(), "f32[2,4]", mode="meta"))
    assert "higher_order.while_loop has no formula" in text
    assert "how often a loop runs" in text


@pytest.mark.parametrize("mode", MODES)
def test_an_associative_scan_is_what_torch_runs(mode):
    """Halving: 8 rows take 4 + 2 + 1 pairs down and 0 + 1 + 3 up, each a row of 4."""

    class Halving(nn.Module):
        def forward(self, x):
            return associative_scan(torch.mul, x, 0, combine_mode="generic")

    report = numel.summary(Halving(), "f32[8,4]", mode=mode)
    assert sum(cost(op).elementwise for op in report.trace.ops) == (4 + 2 + 1 + 1 + 3) * 4


@pytest.mark.parametrize(
    ("model", "inputs", "flops"),
    [
        # the first iteration has no gradient of its input: the weight's only
        (Loop, "f32[2,4]", 2 * 2 * 4 * 4 * (2 * 5 - 1)),
        (Rows, "f32[3,5,4]", 2 * 3 * 5 * 4 * 4),
    ],
)
def test_gradients_reach_weights_that_a_function_closes_over(model, inputs, flops):
    assert numel.summary(model(), inputs, mode="real", backward=True).backward_flops == flops
    assert numel.summary(model(), inputs, mode="meta", backward=True).backward_flops == flops


def test_what_is_left_out_of_the_forward_is_missing_in_the_backward():
    report = numel.summary(LoopByData(), "f32[2,4]", mode="meta", backward=True)
    assert {op.phase for op in report.trace.ops if op.op.startswith("higher_order")} == {"forward", "backward"}


class Attention(nn.Module):
    def __init__(self, heads=4, groups=4):
        super().__init__()
        self.q, self.kv = nn.Linear(32, heads * 8), nn.Linear(32, groups * 8)
        self.heads, self.groups = heads, groups

    def forward(self, x):
        b, n, _ = x.shape
        q = self.q(x).view(b, n, self.heads, 8).transpose(1, 2)
        k = self.kv(x).view(b, n, self.groups, 8).transpose(1, 2)
        mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, n, n, device=x.device, BLOCK_SIZE=16)
        out = flex_attention(q, k, k, block_mask=mask, enable_gqa=self.heads != self.groups)
        assert out.shape == q.shape
        return out


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("groups", [4, 2])
def test_flex_attention_is_dense_with_the_part_of_its_blocks_beside_it(mode, groups):
    """64 tokens in blocks of 16 are 4·5/2 = 10 of 16 blocks on and under the diagonal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it is slow without a compiler
        report = numel.summary(Attention(groups=groups), "f32[2,64,32]", mode=mode)
    linear = 2 * 64 * 32 * (4 * 8 + groups * 8)
    assert report.macs - linear == 2 * 4 * 64 * 64 * (8 + 8)
    (op,) = [op for op in report.trace.ops if op.op == "higher_order.flex_attention.default"]
    assert op.outputs[0].shape == (2, 4, 64, 8)
    if mode == "real":
        assert dict(op.kwargs)["executed_pairs"] == 2 * 4 * 10 * 16 * 16


def test_flex_attention_goes_back_without_data():
    """Three products of the query's width and two of the value's; torch itself goes back on a GPU only."""
    report = numel.summary(Attention(), "f32[2,64,32]", mode="fake", backward=True)
    linear = 2 * 64 * 32 * (4 * 8 + 4 * 8)  # the input needs no gradient
    assert report.backward_flops == 2 * (linear + 2 * 4 * 64 * 64 * (3 * 8 + 2 * 8))


def test_a_decoder_has_the_same_macs_by_flex_attention_as_by_sdpa():
    """Five products back for two forward: per layer 2 · 4 · 32² pairs, 16 wide; the linear layers cost theirs twice."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=100,
    )  # fmt: skip
    found = {}
    for kind in ("sdpa", "flex_attention"):
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=kind)
        found[kind] = numel.summary(model, "i64[2,32] < 100", backward=True)
    flex, sdpa = found["flex_attention"], found["sdpa"]
    assert flex.macs == sdpa.macs
    pairs = 2 * 2 * 4 * 32 * 32
    assert flex.backward_flops == 2 * (2 * (flex.macs - pairs * 2 * 16) + pairs * 5 * 16)


def test_nothing_stays_in_torch():
    kind = torch._ops.HigherOrderOperator
    flex = __import__("sys").modules["torch.nn.attention.flex_attention"]
    before = kind.dispatch, flex._validate_device, dict(torch.ops.higher_order.cond.python_key_table)
    numel.summary(Branches(), "f32[2,4]", mode="meta", backward=True)
    numel.summary(Branches(), "f32[2,3]", mode="meta", backward=True)  # raises inside of a branch
    assert (kind.dispatch, flex._validate_device, dict(torch.ops.higher_order.cond.python_key_table)) == before


def test_a_custom_operator_is_named_with_the_line_that_prices_it():
    @torch.library.custom_op("numel_tests::doubled", mutates_args=())
    def doubled(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    class Custom(nn.Module):
        def forward(self, x):
            return doubled(x)

    report = numel.summary(Custom(), "f32[3]")
    assert report.trace.mode == "real"  # meta and fake tensors stop at it in the same words, which are not the model's
    text = " ".join(str(report).split())
    assert "numel_tests.doubled has no formula" in text
    assert "@numel.formula('numel_tests::doubled') adds one" in text
    assert "no fake impl" in str(numel.summary(Custom(), "f32[3]", mode="meta"))


def test_an_operator_that_runs_unseen_is_named():
    """A Triton kernel, a delegate: a function that numel knows nothing of is one operator without a price."""

    class Opaque(torch._ops.HigherOrderOperator):
        def __call__(self, *args):
            return super().__call__(*args)

    opaque = Opaque("numel_tests_opaque")
    opaque.py_impl(torch._C.DispatchKey.CompositeExplicitAutograd)(lambda x: x @ x)
    try:

        class Uses(nn.Module):
            def forward(self, x):
                return opaque(x)

        for mode in ("meta", "real"):
            report = numel.summary(Uses(), "f32[3,3]", mode=mode)
            assert "higher_order.numel_tests_opaque has no formula" in " ".join(str(report).split())
    finally:
        del torch._ops._higher_order_ops["numel_tests_opaque"]

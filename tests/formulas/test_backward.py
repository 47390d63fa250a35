"""Gradients: their products beside torch's own counter, their scalar operations beside a loop that really counts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import product
from math import exp, prod, tanh
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import numel
from formulas.counting import f32, i64, price, record
from numel.analyses.formulas import traffic
from numel.analyses.formulas.backward import _CELL

# ── a number that counts what is done with it ────────────────────────────────────────────────────────────────────────


class Counted:
    """A float; each addition, product or function value of it adds one to `Counted.done`."""

    done = 0

    def __init__(self, value: float) -> None:
        self.value = value

    @classmethod
    def of(cls, value: float) -> Counted:
        cls.done += 1
        return cls(value)

    def __add__(self, other: Any) -> Counted:
        return Counted.of(self.value + _value(other))

    def __sub__(self, other: Any) -> Counted:
        return Counted.of(self.value - _value(other))

    def __rsub__(self, other: Any) -> Counted:
        return Counted.of(_value(other) - self.value)

    def __mul__(self, other: Any) -> Counted:
        return Counted.of(self.value * _value(other))

    __radd__, __rmul__ = __add__, __mul__


def _value(each: Any) -> float:
    return each.value if isinstance(each, Counted) else each


def _sum(each: list[Counted]) -> Counted:
    """One addition per element, as of an accumulator that starts at zero."""
    found = Counted(0.0)
    for one in each:
        found = found + one
    return found


def counting(function: Callable[[], list[Counted]]) -> tuple[list[float], int]:
    Counted.done = 0
    made = function()
    return [each.value for each in made], Counted.done


def row(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numbers(tensor: torch.Tensor) -> list[Counted]:
    return [Counted(each) for each in tensor.tolist()]


N = 64


def test_a_softmax_goes_back_in_four_operations_an_element():
    x, g = row(N, 1).requires_grad_(), row(N, 2)
    y = x.softmax(0)
    y.backward(g)

    def back() -> list[Counted]:
        ys, gs = numbers(y), numbers(g)
        products = [a * b for a, b in zip(ys, gs, strict=True)]
        total = _sum(products)
        return [a * (b - total) for a, b in zip(ys, gs, strict=True)]

    values, done = counting(back)
    assert torch.allclose(torch.tensor(values, dtype=torch.float64), x.grad)
    spec = f32(N)
    assert price("aten._softmax_backward_data", spec, spec, 0, None, outputs=spec).elementwise == done == 4 * N


def test_a_log_softmax_goes_back_in_four_operations_an_element():
    x, g = row(N, 1).requires_grad_(), row(N, 2)
    y = x.log_softmax(0)
    y.backward(g)

    def back() -> list[Counted]:
        gs = numbers(g)
        total = _sum(gs)
        return [b - Counted.of(exp(a)) * total for a, b in zip(y.tolist(), gs, strict=True)]

    values, done = counting(back)
    assert torch.allclose(torch.tensor(values, dtype=torch.float64), x.grad)
    spec = f32(N)
    assert price("aten._log_softmax_backward_data", spec, spec, 0, None, outputs=spec).elementwise == done


def test_a_layer_norm_goes_back_in_thirteen_operations_an_element_and_a_few_a_row():
    x, w, b, g = row(N, 1).requires_grad_(), row(N, 2).requires_grad_(), row(N, 3).requires_grad_(), row(N, 4)
    F.layer_norm(x, (N,), w, b).backward(g)
    mean, rstd = x.mean().item(), float((x.detach().var(correction=0) + 1e-5) ** -0.5)

    def back() -> list[Counted]:
        xs, ws, gs = numbers(x), numbers(w), numbers(g)
        hats = [(a - mean) * rstd for a in xs]
        weighted = [a * c for a, c in zip(gs, ws, strict=True)]
        one, two = _sum(weighted) * (1 / N), _sum([a * h for a, h in zip(weighted, hats, strict=True)]) * (1 / N)
        dx = [rstd * (a - one - h * two) for a, h in zip(weighted, hats, strict=True)]
        dw = [Counted(0.0) + a * h for a, h in zip(gs, hats, strict=True)]  # summed over rows, of which there is one
        db = [Counted(0.0) + a for a in gs]
        return dx + dw + db

    values, done = counting(back)
    assert torch.allclose(torch.tensor(values, dtype=torch.float64), torch.cat([x.grad, w.grad, b.grad]))
    x1, m = f32(1, N), f32(1, 1)
    args = (x1, x1, (N,), m, m, f32(N), f32(N))
    found = price("aten.native_layer_norm_backward", *args, (True, True, True), outputs=(x1, f32(N), f32(N)))
    assert found.elementwise == 13 * N
    assert done - found.elementwise == 2  # the two means' divisions: work per row
    alone = price("aten.native_layer_norm_backward", *args, (True, False, False), outputs=(x1,))
    assert alone.elementwise == 10 * N


def test_an_rms_norm_goes_back_without_the_mean():
    x, w, g = row(N, 1).requires_grad_(), row(N, 2).requires_grad_(), row(N, 4)
    F.rms_norm(x, (N,), w, 1e-5).backward(g)
    rstd = float((x.detach().square().mean() + 1e-5) ** -0.5)

    def back() -> list[Counted]:
        hats = [a * rstd for a in numbers(x)]
        weighted = [a * c for a, c in zip(numbers(g), numbers(w), strict=True)]
        two = _sum([a * h for a, h in zip(weighted, hats, strict=True)]) * (1 / N)
        dx = [rstd * (a - h * two) for a, h in zip(weighted, hats, strict=True)]
        return dx + [Counted(0.0) + a * h for a, h in zip(numbers(g), hats, strict=True)]

    values, done = counting(back)
    assert torch.allclose(torch.tensor(values, dtype=torch.float64), torch.cat([x.grad, w.grad]))
    x1 = f32(1, N)
    found = price("aten._fused_rms_norm_backward", x1, x1, (N,), f32(1, 1), f32(N), (True, True), outputs=(x1, f32(N)))
    assert found.elementwise == 9 * N
    assert done - found.elementwise == 1


def test_a_batch_norm_goes_back_in_nine_operations_in_training():
    x, g = row(N, 1).view(N, 1).requires_grad_(), row(N, 2).view(N, 1)
    w, b = torch.full((1,), 1.5, dtype=torch.float64, requires_grad=True), torch.zeros(1, dtype=torch.float64)
    b.requires_grad_()
    F.batch_norm(x, None, None, w, b, training=True).backward(g)
    mean, rstd = x.mean().item(), float((x.detach().var(correction=0) + 1e-5) ** -0.5)

    def back() -> list[Counted]:
        gs = numbers(g.view(-1))
        hats = [(a - mean) * rstd for a in numbers(x.view(-1))]
        db, dw = _sum(gs), _sum([a * h for a, h in zip(gs, hats, strict=True)])
        scale = w.item() * rstd
        dx = [scale * (a - db.value / N - h * (dw.value / N)) for a, h in zip(gs, hats, strict=True)]
        return [*dx, dw, db]

    values, done = counting(back)
    expected = torch.cat([x.grad.view(-1), w.grad, b.grad])
    assert torch.allclose(torch.tensor(values, dtype=torch.float64), expected)
    x1, c = f32(N, 1), f32(1)
    given = (x1, x1, c, None, None, c, c)
    found = price("aten.native_batch_norm_backward", *given, True, 1e-5, (True, True, True), outputs=(x1, c, c))
    assert found.elementwise == done == 9 * N
    one = (True, False, False)
    alone = price("aten.native_batch_norm_backward", *given, False, 1e-5, one, outputs=(x1, None, None))
    assert alone.elementwise == N


def test_a_unit_of_an_lstm_goes_back_in_twenty_three_operations():
    gates = row(4, 1).requires_grad_()
    c0 = row(1, 2).requires_grad_()
    dh, dc = row(1, 3), row(1, 4)
    i, f, g, o = gates[0].sigmoid(), gates[1].sigmoid(), gates[2].tanh(), gates[3].sigmoid()
    c1 = f * c0 + i * g
    h1 = o * c1.tanh()
    torch.autograd.backward([h1, c1], [dh, dc])

    def back() -> list[Counted]:
        ci, cf, cg, co, cc, dh1, dc1 = (Counted(each.item()) for each in (i, f, g, o, c0, dh, dc))
        t = Counted.of(tanh(c1.item()))
        through = dc1 + dh1 * co * (1 - t * t)
        d_o = dh1 * t * co * (1 - co)
        d_i = through * cg * ci * (1 - ci)
        d_g = through * ci * (1 - cg * cg)
        d_f = through * cc * cf * (1 - cf)
        return [d_i, d_f, d_g, d_o, through * cf]

    values, done = counting(back)
    assert torch.allclose(torch.tensor(values, dtype=torch.float64), torch.cat([gates.grad, c0.grad]))
    assert done == _CELL["lstm"] == 23


# ── products ─────────────────────────────────────────────────────────────────────────────────────────────────────────

IMAGE3 = (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Linear(8, 5), (3, 7, 8)),
        (nn.Linear(8, 5, bias=False), (3, 8)),
        (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 9, 8)),
        (nn.Conv3d(4, 6, 2), (2, 4, 5, 6, 7)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 5, 5)),
        (nn.GRU(4, 6), (5, 2, 4)),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.Flatten(), nn.Linear(288, 4)), IMAGE3),
    ],
    ids=str,
)
@pytest.mark.parametrize("input_trains", [False, True])
def test_products_go_back_as_torch_counts_them(model, shape, input_trains):
    x = torch.randn(shape, requires_grad=input_trains)
    out = model(x)
    out = out[0] if isinstance(out, tuple) else out
    with FlopCounterMode(display=False) as counter:
        out.mean().backward()
    given = torch.zeros(shape, requires_grad=True) if input_trains else "f32[" + ",".join(map(str, shape)) + "]"
    assert numel.summary(model, given, backward=True).backward_flops == counter.get_total_flops()


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_grouped_convolution_goes_back_as_two_of_itself(groups):
    # torch's counter leaves the groups out of a gradient, so a closed formula: each output element of each gradient
    # meets (in / groups) · kernel weights
    model = nn.Conv2d(4, 8, 3, groups=groups, bias=False)
    once = 2 * 8 * 5 * 6 * (4 // groups) * 9
    report = numel.summary(model, torch.zeros(2, 4, 7, 8, requires_grad=True), backward=True)
    assert (report.macs, report.backward_flops) == (once, 2 * 2 * once)


def test_attention_goes_back_as_five_products():
    b, h, n, d = 2, 4, 16, 8
    q = torch.zeros(b, h, n, d, requires_grad=True)

    class Attention(nn.Module):
        def forward(self, q: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(q, q, q)

    report = numel.summary(Attention(), q, backward=True)
    assert report.backward_flops == 2 * 5 * b * h * n * n * d
    assert report.exact


# ── every operator of a training step has a formula ──────────────────────────────────────────────────────────────────

IMAGE, LINE, VOLUME, TOKENS = (2, 4, 8, 8), (2, 4, 16), (2, 4, 4, 4, 4), (2, 6, 16)

LAYERS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    *((kind, TOKENS) for kind in (
        nn.CELU, nn.ELU, nn.GELU, nn.GLU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU,
        nn.LogSigmoid, nn.LogSoftmax, nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU, nn.Sigmoid,
        nn.Softmax, nn.Softmin, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Dropout,
        nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity, nn.Flatten,
    )),
    (lambda: nn.Threshold(0.1, 20), TOKENS),
    (lambda: nn.GELU("tanh"), TOKENS),
    (lambda: nn.LayerNorm(16), TOKENS),
    (lambda: nn.RMSNorm(16), TOKENS),
    (lambda: nn.LocalResponseNorm(2), IMAGE),
    (lambda: nn.BatchNorm1d(4), LINE),
    (lambda: nn.BatchNorm2d(4), IMAGE),
    (lambda: nn.BatchNorm2d(4).eval(), IMAGE),
    (lambda: nn.BatchNorm3d(4), VOLUME),
    (lambda: nn.GroupNorm(2, 4), IMAGE),
    (lambda: nn.InstanceNorm2d(4, affine=True), IMAGE),
    (lambda: nn.AvgPool1d(2), LINE), (lambda: nn.AvgPool2d(2), IMAGE), (lambda: nn.AvgPool3d(2), VOLUME),
    (lambda: nn.MaxPool1d(2), LINE), (lambda: nn.MaxPool2d(2), IMAGE), (lambda: nn.MaxPool3d(2), VOLUME),
    (lambda: nn.LPPool2d(2, 2), IMAGE), (lambda: nn.FractionalMaxPool2d(2, output_size=4), IMAGE),
    (lambda: nn.FractionalMaxPool3d(2, output_size=2), VOLUME),
    (lambda: nn.AdaptiveAvgPool1d(3), LINE), (lambda: nn.AdaptiveAvgPool2d(3), IMAGE),
    (lambda: nn.AdaptiveAvgPool2d(1), IMAGE), (lambda: nn.AdaptiveAvgPool3d(3), VOLUME),
    (lambda: nn.AdaptiveMaxPool1d(3), LINE), (lambda: nn.AdaptiveMaxPool2d(3), IMAGE),
    (lambda: nn.AdaptiveMaxPool3d(3), VOLUME),
    *((lambda mode=mode: nn.Upsample(scale_factor=2, mode=mode), IMAGE) for mode in ("nearest", "bilinear", "bicubic")),
    (lambda: nn.Upsample(scale_factor=2, mode="linear"), LINE),
    (lambda: nn.Upsample(scale_factor=2, mode="trilinear"), VOLUME),
    (lambda: nn.Upsample(scale_factor=2, mode="nearest-exact"), VOLUME),
    (lambda: nn.PixelShuffle(2), IMAGE), (lambda: nn.ChannelShuffle(2), IMAGE),
    (lambda: nn.ReflectionPad1d(1), LINE), (lambda: nn.ReflectionPad2d(1), IMAGE),
    (lambda: nn.ReflectionPad3d(1), VOLUME),
    (lambda: nn.ReplicationPad1d(1), LINE), (lambda: nn.ReplicationPad2d(1), IMAGE),
    (lambda: nn.ReplicationPad3d(1), VOLUME), (lambda: nn.ZeroPad2d(1), IMAGE), (lambda: nn.CircularPad2d(1), IMAGE),
    (lambda: nn.Unfold(3), IMAGE), (lambda: nn.Conv1d(4, 4, 3), LINE), (lambda: nn.Conv2d(4, 4, 3, groups=2), IMAGE),
    (lambda: nn.ConvTranspose3d(4, 4, 2), VOLUME),
    (lambda: nn.LSTM(16, 8, num_layers=2, bidirectional=True), TOKENS), (lambda: nn.LSTM(16, 8, proj_size=4), TOKENS),
    (lambda: nn.GRU(16, 8), TOKENS), (lambda: nn.RNN(16, 8), TOKENS), (lambda: nn.LSTMCell(16, 8), (6, 16)),
    (lambda: nn.GRUCell(16, 8), (6, 16)),
    (lambda: nn.TransformerEncoderLayer(16, 2, 32), TOKENS),
    (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(16, 4)), TOKENS),
    (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(16, 4)), TOKENS),
]  # fmt: skip


class Named(nn.Module):
    """A layer whose input trains, so that nothing is left out on the way back."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layer, self.given = layer, nn.Parameter(torch.rand(shape))

    def forward(self) -> torch.Tensor:
        made = self.layer(self.given)
        while isinstance(made, tuple):
            made = made[0]
        return made


@pytest.mark.parametrize(("make", "shape"), LAYERS, ids=[f"{i}" for i in range(len(LAYERS))])
def test_every_operator_on_the_way_back_through_a_layer_has_a_formula(make, shape):
    report = numel.summary(Named(make(), shape), numel.Inputs(), backward=True, mode="fake")
    assert report.trace.failure is None
    assert report.backward.total.uncosted == 0, dict(report.backward.uncosted)
    assert report.backward.total.ops > 0


LOSSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mse": lambda y: F.mse_loss(y, y.detach() + 1),
    "l1": lambda y: F.l1_loss(y, y.detach() + 1),
    "smooth l1": lambda y: F.smooth_l1_loss(y, y.detach() + 1),
    "huber": lambda y: F.huber_loss(y, y.detach() + 1),
    "soft margin": lambda y: F.soft_margin_loss(y, y.detach().sign()),
    "cross entropy": lambda y: F.cross_entropy(y, torch.zeros(len(y), dtype=torch.int64, device=y.device)),
    "label smoothing": lambda y: F.cross_entropy(
        y, torch.zeros(len(y), dtype=torch.int64, device=y.device), label_smoothing=0.1
    ),
    "of an image": lambda y: F.cross_entropy(
        y.view(4, 4, 2, 2), torch.zeros(4, 2, 2, dtype=torch.int64, device=y.device)
    ),
    "margins": lambda y: F.multi_margin_loss(y, torch.zeros(len(y), dtype=torch.int64, device=y.device)),
    "binary": lambda y: F.binary_cross_entropy(y.sigmoid(), torch.ones_like(y)),
    "binary of logits": lambda y: F.binary_cross_entropy_with_logits(y, torch.ones_like(y)),
    "divergence": lambda y: F.kl_div(y.log_softmax(1), torch.ones_like(y)),
    "poisson": lambda y: F.poisson_nll_loss(y, torch.ones_like(y)),
    "cosine": lambda y: F.cosine_embedding_loss(y, y.detach() + 1, torch.ones(len(y), device=y.device)),
    "triplet": lambda y: F.triplet_margin_loss(y, y.detach() + 1, y.detach() - 1),
    "distances": lambda y: torch.cdist(y, y.detach() + 1).mean(),
    "pairs": lambda y: torch.pdist(y).mean(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_operator_on_the_way_back_from_a_loss_has_a_formula(name):
    report = numel.summary(nn.Linear(8, 16), "f32[4,8]", loss=LOSSES[name], mode="fake")
    assert report.trace.failure is None
    assert report.backward.total.uncosted == 0, dict(report.backward.uncosted)


# an abstract one; one for sparse gradients; one whose step needs a function that runs the forward again
_LEFT_OUT = ("Optimizer", "SparseAdam", "LBFGS")
OPTIMIZERS = sorted(
    name for name, each in vars(torch.optim).items()
    if isinstance(each, type) and issubclass(each, torch.optim.Optimizer) and name not in _LEFT_OUT
)  # fmt: skip


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_operator_of_an_optimizers_step_has_a_formula(name, foreach):
    kind: Any = getattr(torch.optim, name)
    options = {} if name == "Muon" else {"foreach": foreach}

    def optimizer(parameters: Any) -> Any:
        return kind([p for p in parameters if p.dim() == 2], **options)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = numel.summary(nn.Linear(8, 16), "f32[4,8]", optimizer=optimizer)
    assert report.trace.failure is None
    assert report.optimizer.total.uncosted == 0, dict(report.optimizer.uncosted)
    assert report.optimizer.total.elementwise >= 8 * 16


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.Adam, {}), (torch.optim.Adam, {"weight_decay": 0.1, "amsgrad": True}),
        (torch.optim.Adam, {"maximize": True}), (torch.optim.AdamW, {}), (torch.optim.SGD, {}),
        (torch.optim.SGD, {"weight_decay": 0.1, "momentum": 0.9}), (torch.optim.Adagrad, {"weight_decay": 0.1}),
    ],
)  # fmt: skip
def test_a_fused_step_costs_what_its_loop_of_operators_costs(kind, options):
    loop, fused = (
        numel.summary(nn.Linear(64, 64), "f32[4,64]", mode="real",
                      optimizer=lambda ps, each=each: kind(ps, **options, foreach=False, fused=each))
        for each in (False, True)
    )  # fmt: skip
    elements, tensors = 64 * 64 + 64, 2
    assert any("_fused_" in op.name for op in fused.ops)
    # beside the parameters both count the steps, one number per tensor; a loop corrects by powers of Python's own
    assert abs(fused.optimizer.total.elementwise - loop.optimizer.total.elementwise) <= 2 * tensors
    assert fused.optimizer.total.elementwise >= elements


def test_a_fused_step_writes_what_it_updates():
    # parameters, two moments and the step counters are written, gradients are read
    lists = [[f32(10)], [f32(10)], [f32(10)], [f32(10)], [], [f32()]]
    moved = traffic(record("aten._fused_adam_", *lists, weight_decay=0.1))
    assert moved.written == 4 * (10 + 10 + 10 + 1)


def test_momentum_is_two_operations_from_the_second_step_on():
    given = {"weight_decay": 0.0, "momentum": 0.9, "lr": 0.1, "dampening": 0.0, "nesterov": True, "maximize": False}
    first, later = (
        price("aten._fused_sgd_", [f32(10)], [f32(10)], [f32(10)], **given, is_first_step=step)
        for step in (True, False)
    )
    assert (first.elementwise, later.elementwise) == (20, 40)


def test_a_causal_attention_goes_back_through_its_half():
    q = torch.zeros(1, 2, 16, 8, requires_grad=True)

    class Attention(nn.Module):
        def forward(self, q: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(q, q, q, is_causal=True)

    back = numel.summary(Attention(), q, backward=True).backward.total
    assert back.macs == 5 * 2 * 16 * 16 * 8
    assert back.executed_macs == 5 * 2 * (16 * 17 // 2) * 8


def test_a_table_gets_one_addition_per_element_that_was_read():
    found = price("aten.embedding_dense_backward", f32(3, 5), i64(3), 10, -1, False, outputs=f32(10, 5))
    assert found.elementwise == 15


BAGS = torch.tensor([[1, 2, 4], [4, 3, 9]])  # six rows of a table, row 4 twice


@pytest.mark.parametrize("weighted", [False, True])
def test_a_bag_goes_back_as_one_addition_per_element_gathered_and_a_product_with_weights(weighted):
    table, weights, g = row(40, 1).view(10, 4).requires_grad_(), row(6, 2).view(2, 3), row(8, 3).view(2, 4)
    F.embedding_bag(BAGS, table, per_sample_weights=weights if weighted else None, mode="sum").backward(g)

    def back() -> list[Counted]:
        made = [Counted(0.0) for _ in range(40)]
        for bag, slot in product(range(2), range(3)):
            for at in range(4):
                one = Counted(float(g[bag, at]))
                place = 4 * int(BAGS[bag, slot]) + at
                made[place] = made[place] + (one * float(weights[bag, slot]) if weighted else one)
        return made

    values, done = counting(back)
    assert torch.allclose(torch.tensor(values, dtype=torch.float64).view(10, 4), table.grad)
    own = f32(6) if weighted else None
    args = (f32(2, 4), i64(6), i64(2), i64(6), i64(2), i64(2), 10, False, 0)
    found = price("aten._embedding_bag_backward", *args, False, own, -1, outputs=f32(10, 4))
    dense = price("aten._embedding_bag_dense_backward", *args[:2], *args[3:], own, -1, outputs=f32(10, 4))
    assert found.elementwise == dense.elementwise == done
    sparse = price("aten._embedding_bag_backward", *args, True, own, -1, outputs=f32(10, 4))
    assert sparse.elementwise == done - 6 * 4  # rows are named, and not added up
    largest = price("aten._embedding_bag_backward", *args[:-1], 2, False, own, -1, outputs=f32(10, 4))
    assert largest.elementwise == g.numel()


def test_a_weight_of_a_bag_goes_back_as_the_dot_product_of_its_row_with_the_bags_gradient():
    table, weights, g = row(40, 1).view(10, 4), row(6, 2).view(2, 3).requires_grad_(), row(8, 3).view(2, 4)
    F.embedding_bag(BAGS, table, per_sample_weights=weights, mode="sum").backward(g)

    def back() -> list[Counted]:
        pairs = [(g[bag].tolist(), numbers(table[BAGS[bag, slot]])) for bag, slot in product(range(2), range(3))]
        return [_sum([each * other for other, each in zip(*pair, strict=True)]) for pair in pairs]

    values, done = counting(back)
    assert torch.allclose(torch.tensor(values, dtype=torch.float64), weights.grad.flatten())
    args = (f32(2, 4), f32(10, 4), i64(6), i64(2), i64(6), 0, -1)
    found = price("aten._embedding_bag_per_sample_weights_backward", *args, outputs=f32(6))
    assert found.elementwise == done


@pytest.mark.parametrize(
    ("reduce", "back"),
    [
        ("sum", lambda g, x, of: g),
        ("mean", lambda g, x, of: g * (1 / len(of))),
        ("max", lambda g, x, of: g * Counted.of(x == max(of)).value),
        ("prod", lambda g, x, of: g * prod(of) * (1 / x)),
    ],
)
def test_what_was_reduced_by_segments_goes_back_to_each_element(reduce, back):
    x, g, lengths = row(6, 1).requires_grad_(), row(2, 2), [2, 4]
    torch.segment_reduce(x, reduce, lengths=torch.tensor(lengths)).backward(g)
    parts = [(each, part.tolist()) for each, part in zip(g.tolist(), x.detach().split(lengths), strict=True)]
    values, done = counting(lambda: [back(Counted(one), each, of) for one, of in parts for each in of])
    assert torch.allclose(torch.tensor(values, dtype=torch.float64), x.grad)
    found = price("aten._segment_reduce_backward", f32(2), f32(2), f32(6), reduce, lengths=i64(2), outputs=f32(6))
    assert found.elementwise == done


@pytest.mark.parametrize("masked", [True, False])
def test_a_deformable_convolution_goes_back_as_two_products_and_through_every_sample(masked):
    """One sample between four elements, at (y, x) of the unit square, times the mask: a gradient for the four, for the
    place and for the mask. What the channels share, the weights of the corners, is left out, as on the way there."""
    corners, mask, g = row(4, 1).requires_grad_(), row(1, 2).requires_grad_(), row(1, 3)
    place = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    y, x = place
    weights = torch.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x])
    (weights.dot(corners) * (mask[0] if masked else 1)).backward(g[0])
    (b, a), m, ones = place.tolist(), mask.item(), weights.tolist()
    slopes = ([-(1 - a), -a, 1 - a, a], [-(1 - b), 1 - b, -b, b])

    def back() -> list[Counted]:
        held, come = numbers(corners), Counted(float(g))
        first, *others = [w * each for w, each in zip(ones, held, strict=True)]
        sampled = first + others[0] + others[1] + others[2]  # again, for the gradient of the weight
        if masked:
            _ = sampled * m
        inside = come * m if masked else come
        of_corners = [Counted(0.0) + inside * w for w in ones]
        both = [inside * each for each in held]
        of_place = [_sum([one * slope for one, slope in zip(both, side, strict=True)]) for side in slopes]
        return of_corners + of_place + ([Counted(0.0) + come * sampled] if masked else [])

    values, done = counting(back)
    expected = [corners.grad, place.grad, *([mask.grad] if masked else [])]
    assert torch.allclose(torch.tensor(values, dtype=torch.float64), torch.cat(expected))
    n, c, o, k, out = 2, 4, 6, 3, 5
    given = f32(n, c, 7, 7), f32(o, c, k, k), f32(n, 2 * k * k, out, out), f32(n, k * k, out, out), f32(o)
    grad = f32(n, o, out, out)
    outputs = (given[0], given[1], given[2], given[3], given[4])
    found = price("torchvision._deform_conv2d_backward", grad, *given, 1, 1, 0, 0, 1, 1, 1, 1, masked, outputs=outputs)
    assert found.macs == 2 * n * out * out * o * c * k * k
    assert found.elementwise == n * out * out * c * k * k * done + n * o * out * out  # and the bias

"""Forwards that give iterators, and forwards that transform functions: vmap, grad, jvp, functional_call."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numpy")

from torch import nn  # noqa: E402
from torch.func import functional_call, grad, jacrev, jvp, stack_module_state, vmap  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

import numel  # noqa: E402
from integration.fingerprint import differences, fingerprint  # noqa: E402

TOKENS, IN, OUT, TIMES = 3, 4, 8, 3
ONE = TOKENS * IN * OUT


class Layer(nn.Module):
    """A linear layer, and a forward that is given."""

    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(IN, OUT)
        self.run = forward

    def forward(self, x: Any) -> Any:
        return self.run(self.fc, x)


def steps(fc: Any, x: Any) -> Any:
    for _ in range(TIMES):
        yield fc(x)


def stops_midway(fc: Any, x: Any) -> Any:
    yield fc(x)
    raise ValueError("midway")


def endless(fc: Any, x: Any) -> Any:
    while True:
        yield fc(x)


@pytest.mark.parametrize(
    "forward",
    [steps, lambda fc, x: (fc(x) for _ in range(TIMES)), lambda fc, x: {"each": map(fc, [x] * TIMES)}],
    ids=["a generator", "an expression", "a map in a dictionary"],
)
def test_what_a_forward_leaves_to_an_iterator_is_computed_and_counted(forward):
    model = Layer(forward)
    before = fingerprint(model)
    report = numel.summary(model, f"f32[{TOKENS},{IN}]")
    assert (report.macs, report.exact) == (TIMES * ONE, True)
    assert report.layers[1].calls == TIMES
    assert differences(before, fingerprint(model)) == {}


def test_the_steps_of_a_part_that_is_a_generator_are_the_parts_own():
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = Layer(lambda fc, x: (each @ each.T for each in steps(fc, x)))

        def forward(self, x: Any) -> Any:
            return sum(self.part(x))

    costs = numel.summary(Sum(), f"f32[{TOKENS},{IN}]").costs
    assert costs.own["part"].macs == TIMES * TOKENS * TOKENS * OUT
    assert costs.own["part.fc"].macs == TIMES * ONE
    assert costs.own[""].macs == 0


def test_an_iterator_that_raises_is_a_forward_that_does():
    report = numel.summary(Layer(stops_midway), f"f32[{TOKENS},{IN}]")
    assert (report.macs, report.exact, report.trace.failure.message) == (ONE, False, "midway")


def test_an_iterator_that_does_not_end_is_a_lower_bound():
    report = numel.summary(Layer(endless), f"f32[{TOKENS},{IN}]")
    assert report.macs == 1000 * ONE
    assert not report.exact
    assert "outside-torch" in [note.code for note in report.notes]


# ── transforms ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Ensemble(nn.Module):
    """Members' weights stacked, one template without weights, all members at once."""

    def __init__(self) -> None:
        super().__init__()
        stacked, _ = stack_module_state([nn.Linear(IN, OUT) for _ in range(TIMES)])
        self.stacked = nn.ParameterDict({name: nn.Parameter(each) for name, each in stacked.items()})
        self.templates = [nn.Linear(IN, OUT, device="meta")]

    def forward(self, x: Any) -> Any:
        one = lambda weights, x: functional_call(self.templates[0], weights, (x,))  # noqa: E731
        return vmap(one, (0, None))(dict(self.stacked), x)


def with_other_weights(fc: Any, x: Any) -> Any:
    return functional_call(fc, {"weight": fc.weight * 2}, (x,))


class Doubled(torch.autograd.Function):
    """A product by hand."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any) -> Any:
        return x @ w.T

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g, g


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        (Ensemble(), TIMES * ONE),
        (Layer(with_other_weights), ONE),
        (Layer(lambda fc, x: grad(lambda x: fc(x).sum())(x)), 2 * ONE),
        (Layer(lambda fc, x: vmap(grad(lambda x: fc(x).sum()))(x)), 2 * ONE),
        (Layer(lambda fc, x: vmap(jacrev(fc))(x)), ONE + TOKENS * OUT * OUT * IN),
        (Layer(lambda fc, x: Doubled.apply(x, fc.weight)), ONE),
        (Layer(lambda fc, x: checkpoint(fc, x, use_reentrant=False)), ONE),
        (Layer(lambda fc, x: checkpoint(fc, x, use_reentrant=True)), ONE),
    ],
    ids=["an ensemble", "other weights", "grad", "grad of each", "jacobian of each", "a function by hand",
         "checkpointed", "checkpointed, reentrant"],
)  # fmt: skip
def test_a_forward_that_transforms_functions_has_the_products_that_it_runs(model, macs):
    """Forward: tokens · in · out. A gradient for the input: as many again. A Jacobian has out rows for each token, each
    a product of out by in."""
    before = fingerprint(model)
    report = numel.summary(model, f"f32[{TOKENS},{IN}]")
    assert (report.macs, report.exact) == (macs, True)
    assert differences(before, fingerprint(model)) == {}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_forward_derivative_runs_a_third_product_for_the_weight_that_does_not_move():
    """torch's rule for addmm multiplies by a tangent of zeros as well; its own counter sees the same three."""
    model = Layer(lambda fc, x: jvp(fc, (x,), (torch.ones_like(x),)))
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(TOKENS, IN))
    assert numel.summary(model, f"f32[{TOKENS},{IN}]").flops == counter.get_total_flops() == 2 * 3 * ONE

"""Recurrent networks: tokens · Σ elements of the weight matrices, against the module's own parameters, against the
operators that torch runs instead on a CPU, and against the same cell called in a loop."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import numel
from formulas.counting import Call, f32, lowered, price, total, whole
from numel.analyses.formulas import Cost
from numel.facts import TensorSpec, tensors_in
from numel.tracing import trace

_STEPS, _BATCH, _IN, _HIDDEN = 6, 3, 4, 5

_NETWORKS = [
    (kind, {"num_layers": layers, "bidirectional": both, "bias": bias, **projection})
    for kind in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN)
    for layers, both, bias in itertools.product((1, 2), (False, True), (False, True))
    for projection in ({}, {"proj_size": 3})[: 2 if kind is torch.nn.LSTM else 1]
]


def _per_token(module: torch.nn.Module) -> int:
    """Elements of all matrices: each meets every token once."""
    return sum(each.numel() for each in module.parameters() if each.dim() == 2)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(("kind", "options"), _NETWORKS, ids=str)
def test_every_matrix_meets_every_token_once(kind, options):
    module, x = kind(_IN, _HIDDEN, **options), torch.randn(_STEPS, _BATCH, _IN)
    expected = _STEPS * _BATCH * _per_token(module)
    assert total(whole(module, x)).macs == expected
    assert total(lowered(module, x)).macs == expected


class _Laid(torch.nn.Module):
    """Each tensor that a layer puts out, and an empty one whose shape is the strides of that."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        output, state = self.layer(x)
        tensors = [output, state] if isinstance(state, torch.Tensor) else [output, *state]
        return [*tensors, *(each.new_empty(each.stride()) for each in tensors)]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("kind", "options"), _NETWORKS, ids=str)
def test_what_a_layer_puts_out_has_the_shapes_and_strides_of_a_real_run(kind, options, batch_first):
    model, x = _Laid(kind(_IN, _HIDDEN, **options, batch_first=batch_first)), torch.randn(_STEPS, _BATCH, _IN)
    traced = trace(model, (x,))
    assert traced.mode == "meta"
    assert [each.shape for each in tensors_in(traced.calls[0].outputs)] == [tuple(each.shape) for each in model(x)]


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_batch_first_and_unbatched_inputs_count_their_tokens(kind):
    module = kind(_IN, _HIDDEN, 2, batch_first=True)
    for shape in ((_BATCH, _STEPS, _IN), (_STEPS, _IN)):
        x = torch.randn(shape)
        expected = x.numel() // _IN * _per_token(module)
        assert total(whole(module, x)).macs == expected == total(lowered(module, x)).macs


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_packed_sequence_counts_its_tokens_and_no_padding(kind, bidirectional):
    module, lengths = kind(_IN, _HIDDEN, 2, bidirectional=bidirectional), torch.tensor([6, 3, 1])

    def forward(x: torch.Tensor) -> Any:
        return module(pack_padded_sequence(x, lengths))

    x = torch.randn(_STEPS, _BATCH, _IN)
    assert total(whole(Call(forward), x)).macs == 10 * _per_token(module) == total(lowered(forward, x)).macs


@pytest.mark.parametrize(
    ("cell", "network"),
    [
        (torch.nn.LSTMCell, torch.nn.LSTM),
        (torch.nn.GRUCell, torch.nn.GRU),
        (torch.nn.RNNCell, torch.nn.RNN),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_cell_in_a_loop_costs_what_its_layer_costs(cell, network, bias):
    one, module = cell(_IN, _HIDDEN, bias=bias), network(_IN, _HIDDEN, bias=bias)

    def loop(x: torch.Tensor) -> None:
        state = None
        for step in x:
            state = one(step, state)

    x = torch.randn(_STEPS, _BATCH, _IN)
    by_cell, by_layer = total(whole(Call(loop), x)), total(whole(module, x))
    assert by_cell == by_layer
    assert by_cell.macs == total(lowered(loop, x)).macs
    alone = torch.randn(_IN)
    assert total(whole(one, alone)).macs == _per_token(one) == total(lowered(one, alone)).macs


# --- the elementwise part, by one step written out for a single unit and token ---------------------------------------


class _Counted:
    """A number that counts what is done with it."""

    operations = 0

    def _one(self, *_: Any) -> _Counted:
        _Counted.operations += 1
        return self

    __add__ = __mul__ = __rsub__ = function = _one


def _lstm(x: list[_Counted], h: list[_Counted], c: _Counted) -> None:
    i, f, g, o = ((a + b).function() for a, b in zip(x, h, strict=True))
    c = f * c + i * g
    o * c.function()


def _gru(x: list[_Counted], h: list[_Counted], state: _Counted) -> None:
    r, z = ((a + b).function() for a, b in zip(x[:2], h[:2], strict=True))
    n = (x[2] + r * h[2]).function()
    (1 - z) * n + z * state


def _rnn(x: list[_Counted], h: list[_Counted], state: _Counted) -> None:
    (x[0] + h[0]).function()


@pytest.mark.parametrize(
    ("kind", "step", "gates"), [(torch.nn.LSTM, _lstm, 4), (torch.nn.GRU, _gru, 3), (torch.nn.RNN, _rnn, 1)]
)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_gates_of_each_unit_are_elementwise(kind, step, gates, layers, bidirectional):
    _Counted.operations = 0
    step([_Counted() for _ in range(gates)], [_Counted() for _ in range(gates)], _Counted())
    units = layers * (1 + bidirectional) * _HIDDEN
    for bias in (False, True):
        module = kind(_IN, _HIDDEN, layers, bidirectional=bidirectional, bias=bias)
        per_token = units * _Counted.operations + units * gates * 2 * bias  # both products have a bias
        found = total(whole(module, torch.randn(_STEPS, _BATCH, _IN)))
        assert found.elementwise == _STEPS * _BATCH * per_token


def test_a_projection_adds_its_matrix_and_no_unit():
    plain, projected = torch.nn.LSTM(_IN, _HIDDEN, bias=False), torch.nn.LSTM(_IN, _HIDDEN, proj_size=3, bias=False)
    x = torch.randn(_STEPS, _BATCH, _IN)
    assert total(whole(plain, x)).elementwise == total(whole(projected, x)).elementwise
    assert _per_token(projected) == 4 * _HIDDEN * (_IN + 3) + 3 * _HIDDEN


@pytest.mark.parametrize(("name", "gates"), [("lstm", 4), ("gru", 3)])
def test_a_cell_taken_apart_for_a_gpu_costs_the_same_in_both_columns(name, gates):
    """Two products, and a fused kernel that adds the biases and runs the gates."""
    rows = gates * _HIDDEN
    x, h, gate, bias = f32(_BATCH, _IN), f32(_BATCH, _HIDDEN), f32(_BATCH, rows), f32(rows)
    hidden: Any = (h, h) if name == "lstm" else h
    one = price(f"aten.{name}_cell", x, hidden, f32(rows, _IN), f32(rows, _HIDDEN), bias, bias, outputs=h)
    parts = (
        price("aten.mm", x, f32(_IN, rows), outputs=gate)
        + price("aten.mm", h, f32(_HIDDEN, rows), outputs=gate)
        + price(f"aten._thnn_fused_{name}_cell", gate, gate, h, bias, bias, outputs=h)
    )
    assert one == parts


# --- the kernels of other backends -----------------------------------------------------------------------------------

_X = f32(_STEPS, _BATCH, _IN)
_H = f32(1, _BATCH, _HIDDEN)


def _weights(gates: int) -> tuple[TensorSpec, ...]:
    rows = gates * _HIDDEN
    return f32(rows, _IN), f32(rows, _HIDDEN), f32(rows), f32(rows)


@pytest.mark.parametrize(
    ("whole_op", "mode", "gates"),
    [("aten.rnn_relu.input", 0, 1), ("aten.rnn_tanh.input", 1, 1), ("aten.lstm.input", 2, 4), ("aten.gru.input", 3, 3)],
)
def test_every_backend_costs_what_the_whole_operator_costs(whole_op, mode, gates):
    weights = _weights(gates)
    state: Any = (_H, _H) if mode == 2 else _H
    expected = price(whole_op, _X, state, weights, True, 1, 0.0, False, False, False, outputs=(_X, _H))
    assert expected.macs == _STEPS * _BATCH * gates * _HIDDEN * (_IN + _HIDDEN)
    cell = _H if mode == 2 else None
    rest = (_HIDDEN, 0, 1, False, 0.0, False, False, (), None)
    one_layer = (_X, *weights, _H, _H, False, (), mode, _HIDDEN, 1, True, False, False, False)
    assert price("aten._cudnn_rnn", _X, weights, 4, None, _H, cell, mode, *rest, outputs=(_X,)) == expected
    assert price("aten.miopen_rnn", _X, weights, 4, _H, cell, mode, _HIDDEN, 1, outputs=(_X,)) == expected
    assert price("aten.mkldnn_rnn_layer", *one_layer, outputs=(_X,)) == expected


def test_a_mkldnn_layer_without_biases_does_not_count_the_matrices_that_stand_in_their_place():
    w_ih, w_hh, _, _ = _weights(4)
    args = (_X, w_ih, w_hh, w_ih, w_hh, _H, _H, False, (), 2, _HIDDEN, 1, False, False, False, False)
    units = _STEPS * _BATCH * _HIDDEN
    found = price("aten.mkldnn_rnn_layer", *args, outputs=(_X,))
    assert found == Cost(macs=units * 4 * (_IN + _HIDDEN), elementwise=units * 13)


def test_the_lstm_of_mps_is_the_same_formula():
    args = (_X, (_H, _H), _weights(4), True, 1, 0.0, False, False, False)
    assert price("aten._lstm_mps", *args, outputs=(_X,)) == price("aten.lstm.input", *args, outputs=(_X,))


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_between_layers_is_two_per_element_in_training_alone(kind, bidirectional):
    """Three layers have two places between them, each of tokens · hidden · directions elements."""
    model = kind(8, 6, 3, dropout=0.5, bidirectional=bidirectional)
    training, evaluating = (numel.summary(model.train(on), "f32[5,2,8]").costs.total for on in (True, False))
    assert training.elementwise - evaluating.elementwise == 2 * 2 * (5 * 2) * 6 * (1 + bidirectional)
    assert training.macs == evaluating.macs

"""LSTM, GRU and plain RNN in all their lowerings: every weight matrix meets every token once.

That holds for both directions and for any number of layers, as a second layer's input weights already have the
width of both directions; it holds for a projection too (its matrix maps each token's state once) and for packed
sequences, whose tokens are the rows of `data`. So the MACs are tokens · Σ matrix elements, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from numel.analyses.formulas.arguments import argument, tensor
from numel.analyses.formulas.registry import Cost, formula
from numel.facts.trace import TensorSpec, tensors_in

# Elementwise operations per hidden unit and token, without biases.
# LSTM: 4 sums of the two products, 4 gate functions, f·c, i·g, their sum, tanh(c), o·tanh(c).
# GRU: 2 sums and 2 functions for r and z; r·n, a sum and tanh for the candidate; 1-z, two products, a sum.
# RNN: a sum and its function.
_UNIT = {"lstm": 13, "gru": 11, "rnn": 2}
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}
# torch's rnn mode numbers: RNN_RELU, RNN_TANH, LSTM, GRU
_MODES = ("rnn", "rnn", "lstm", "gru")


def _network(kind: str, tokens: int, weights: Iterable[Any]) -> Cost:
    """`tokens` through all the matrices and biases of one network."""
    macs = elementwise = 0
    for weight in tensors_in(tuple(weights)):
        if len(weight.shape) == 2:
            macs += weight.numel
        else:
            elementwise += weight.numel
    return Cost(macs=tokens * macs, elementwise=tokens * elementwise)


def _units(kind: str, params: Iterable[Any]) -> int:
    """Hidden units over all layers and directions: each starts with a matrix of gates · hidden rows.

    A cell contributes two such matrices (input and hidden weights); a projection's matrix is wider than it is tall and
    is recognised by following them.
    """
    matrices = [spec for spec in tensors_in(tuple(params)) if len(spec.shape) == 2]
    units, index = 0, 0
    while index + 1 < len(matrices):
        rows = matrices[index].shape[0]
        units += rows // _GATES[kind]
        index += 2
        # a projection (proj, hidden) follows its cell: its columns are the hidden size and its rows are too few
        if index < len(matrices) and matrices[index].shape[0] != rows and matrices[index].shape[0] < rows:
            index += 1
    return units


def _run(kind: str, x: TensorSpec, params: Any, options: tuple[Any, ...] = (), outputs: Any = ()) -> Cost:
    """`options` are (has_biases, layers, dropout, train, ...): dropout between layers is 2 per element in training."""
    tokens = prod(x.shape[:-1])
    cost = _network(kind, tokens, params)
    elementwise = tokens * _units(kind, params) * _UNIT[kind]
    made = next(tensors_in(outputs), None)
    if made is not None and len(options) > 3 and options[2] and options[3]:
        elementwise += 2 * tokens * made.shape[-1] * (options[1] - 1)
    return cost + Cost(elementwise=elementwise)


@formula("aten.lstm.input", "aten._lstm_mps")
def lstm(input: TensorSpec, hx: Any, params: Any, *options: Any, outputs: Any, **named: Any) -> Cost:
    """Every weight matrix meets every token once: tokens · Σ matrices. Batch or time first makes no difference.

    >>> from numel.facts.dtype import dtype
    >>> x, ih, hh = (TensorSpec(shape, dtype("f32")) for shape in ((5, 2, 3), (16, 3), (16, 4)))
    >>> lstm(x, (), (ih, hh), outputs=()).macs == 5 * 2 * (16 * 3 + 16 * 4)
    True
    """
    return _run("lstm", input, params, options, outputs)


@formula("aten.lstm.data")
def lstm_packed(
    data: TensorSpec, batch_sizes: Any, hx: Any, params: Any, *options: Any, outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """Tokens · Σ matrices, the rows of `data` being all the tokens. (data, batch_sizes, (h, c), weights, ...)."""
    return _run("lstm", data, params, options, outputs)


@formula("aten.gru.input")
def gru(input: TensorSpec, hx: Any, params: Any, *options: Any, outputs: Any, **named: Any) -> Cost:
    """Every weight matrix meets every token once: tokens · Σ matrices. (input, h, weights, ...)."""
    return _run("gru", input, params, options, outputs)


@formula("aten.gru.data")
def gru_packed(
    data: TensorSpec, batch_sizes: Any, hx: Any, params: Any, *options: Any, outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """Tokens · Σ matrices, the rows of `data` being all the tokens. (data, batch_sizes, h, weights, ...)."""
    return _run("gru", data, params, options, outputs)


@formula("aten.rnn_tanh.input", "aten.rnn_relu.input")
def rnn(input: TensorSpec, hx: Any, params: Any, *options: Any, outputs: Any, **named: Any) -> Cost:
    """Every weight matrix meets every token once: tokens · Σ matrices. (input, h, weights, ...)."""
    return _run("rnn", input, params, options, outputs)


@formula("aten.rnn_tanh.data", "aten.rnn_relu.data")
def rnn_packed(
    data: TensorSpec, batch_sizes: Any, hx: Any, params: Any, *options: Any, outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """Tokens · Σ matrices, the rows of `data` being all the tokens. (data, batch_sizes, h, weights, ...)."""
    return _run("rnn", data, params, options, outputs)


def _cell(kind: str, x: TensorSpec, w_ih: TensorSpec, w_hh: TensorSpec, *biases: Any) -> Cost:
    rows = prod(x.shape[:-1])
    cost = _network(kind, rows, (w_ih, w_hh, *biases))
    return cost + Cost(elementwise=rows * (w_ih.shape[0] // _GATES[kind]) * _UNIT[kind])


@formula("aten.lstm_cell")
def lstm_cell(
    input: TensorSpec, hx: Any, w_ih: TensorSpec, w_hh: TensorSpec, b_ih: Any = None, b_hh: Any = None, *_: Any,
    outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """One step: rows · (input weights + hidden weights)."""
    return _cell("lstm", input, w_ih, w_hh, b_ih, b_hh)


@formula("aten.gru_cell")
def gru_cell(
    input: TensorSpec, hx: Any, w_ih: TensorSpec, w_hh: TensorSpec, b_ih: Any = None, b_hh: Any = None, *_: Any,
    outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """One step: rows · (input weights + hidden weights)."""
    return _cell("gru", input, w_ih, w_hh, b_ih, b_hh)


@formula("aten.rnn_tanh_cell", "aten.rnn_relu_cell")
def rnn_cell(
    input: TensorSpec, hx: Any, w_ih: TensorSpec, w_hh: TensorSpec, b_ih: Any = None, b_hh: Any = None, *_: Any,
    outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """One step: rows · (input weights + hidden weights)."""
    return _cell("rnn", input, w_ih, w_hh, b_ih, b_hh)


def _fused(kind: str, gates: TensorSpec, biases: tuple[Any, ...]) -> Cost:
    rows = prod(gates.shape[:-1])
    hidden = gates.shape[-1] // _GATES[kind]
    biased = sum(rows * bias.numel for bias in biases if isinstance(bias, TensorSpec))
    return Cost(elementwise=rows * hidden * _UNIT[kind] + biased)


@formula("aten._thnn_fused_lstm_cell")
def fused_lstm_cell(
    input_gates: TensorSpec, hidden_gates: TensorSpec, cx: Any, input_bias: Any = None, hidden_bias: Any = None,
    *_: Any, outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """The gates alone: the two matrix products ran as operators of their own."""
    return _fused("lstm", input_gates, (input_bias, hidden_bias))


@formula("aten._thnn_fused_gru_cell")
def fused_gru_cell(
    input_gates: TensorSpec, hidden_gates: TensorSpec, hx: Any, input_bias: Any = None, hidden_bias: Any = None,
    *_: Any, outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """The gates alone: the two matrix products ran as operators of their own."""
    return _fused("gru", input_gates, (input_bias, hidden_bias))


@formula("aten._cudnn_rnn")
def cudnn_rnn(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Tokens · Σ matrices. (input, weights, stride, buffer, h, c, mode, ...); packed: (tokens, features)."""
    mode = argument(args, named, 6, "mode")
    return _run(_MODES[mode], tensor(args, named, 0, "input"), argument(args, named, 1, "weight"))


@formula("aten.miopen_rnn")
def miopen_rnn(*args: Any, outputs: Any, **named: Any) -> Cost:
    """Tokens · Σ matrices. (input, weights, stride, h, c, mode, ...)."""
    mode = argument(args, named, 5, "mode")
    return _run(_MODES[mode], tensor(args, named, 0, "input"), argument(args, named, 1, "weight"))


@formula("aten.mkldnn_rnn_layer")
def mkldnn_rnn_layer(
    input: TensorSpec, w_ih: TensorSpec, w_hh: TensorSpec, b_ih: Any, b_hh: Any, hx: Any, cx: Any, reverse: Any,
    batch_sizes: Any, mode: int, hidden_size: Any, num_layers: Any, has_biases: bool, *_: Any,
    outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """One layer in one direction per call. Without biases the two matrices stand where those would."""
    return _run(_MODES[mode], input, (w_ih, w_hh, b_ih, b_hh) if has_biases else (w_ih, w_hh))

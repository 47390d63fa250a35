"""Operators of torch.ao on integers: what the same operator on floats costs.

The change of scale that each of them ends with is left out, as in `quantized.linear` (beside the other matrix
products): a model has the same MACs and elementwise operations before and after, but for those that quantise and
dequantise as operators of their own.

Weights are packed into objects. Of a convolution's, whose kernel no input or output tells, a record holds the weight's
shape, `{"weight": spec}`; of any other the class alone, since inputs and outputs tell how large the matrices are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from numel.analyses.formulas import convolution, elementwise, matmul, recurrent
from numel.analyses.formulas.arguments import argument, first
from numel.analyses.formulas.registry import Cost, formula
from numel.facts.trace import TensorSpec


def _quantized(names: str) -> list[str]:
    return [f"quantized.{name}" for name in names.split()]


def _per_output(count: int) -> Callable[..., Cost]:
    def counted(*_: Any, outputs: Any, **named: Any) -> Cost:
        """A fixed multiple of the output's elements."""
        return Cost(elementwise=count * first(outputs).numel)

    return counted


# By operations per output element. A ReLU is one, and so is each function; batch norm in evaluation is a scale and a
# shift.
_PER_OUTPUT = {
    0: "cat cat_out",
    1: "add add_out add_scalar add_scalar_out mul mul_out mul_scalar mul_scalar_out cat_relu cat_relu_out "
    "celu clamp elu hardswish leaky_relu prelu relu6 sigmoid threshold",
    2: "add_relu add_relu_out add_scalar_relu add_scalar_relu_out mul_relu mul_relu_out mul_scalar_relu "
    "mul_scalar_relu_out batch_norm batch_norm1d batch_norm2d batch_norm3d",
    3: "batch_norm_relu batch_norm1d_relu batch_norm2d_relu batch_norm3d_relu",
    5: "softmax",
}
for _count, _names in _PER_OUTPUT.items():
    formula(*_quantized(_names))(_per_output(_count))


def _convolution(packed_at: int, more: int, *, transposed: bool = False) -> Callable[..., Cost | None]:
    def counted(*args: Any, outputs: Any, **named: Any) -> Cost | None:
        """As on floats: outputs · in / groups · ∏ kernel, transposed inputs · out / groups · ∏ kernel, with a bias."""
        packed = args[packed_at] if len(args) > packed_at else None
        if not isinstance(packed, Mapping):
            return None
        out, weight = first(outputs), packed["weight"]
        spread = convolution.transposed_macs(args[0], weight) if transposed else convolution.forward_macs(out, weight)
        return Cost(macs=spread, elementwise=(1 + more) * out.numel)

    return counted


# where the packed weight stands, and operations per output element beside the bias
for _names, _place, _more in (
    ("conv1d conv2d conv3d conv1d_dynamic conv2d_dynamic conv3d_dynamic", 1, 0),
    ("conv1d_relu conv2d_relu conv3d_relu", 1, 1),
    ("conv2d_add", 2, 1),
    ("conv2d_add_relu", 2, 2),
):
    formula(*_quantized(_names))(_convolution(_place, _more))
_TRANSPOSED = " ".join(f"conv_transpose{n}d conv_transpose{n}d_dynamic" for n in (1, 2, 3))
formula(*_quantized(_TRANSPOSED))(_convolution(1, 0, transposed=True))


@formula("quantized.layer_norm", "quantized.group_norm")
def layer_norm(*args: Any, outputs: Any, **named: Any) -> Cost:
    """(input, shape or groups, weight, bias, ...): five per element, and one for each of weight and bias."""
    return elementwise.layer_norm(*args, outputs=outputs, **named)


@formula("quantized.instance_norm")
def instance_norm(*args: Any, outputs: Any, **named: Any) -> Cost:
    """(input, weight, bias, ...): five per element, and one for each of weight and bias."""
    return elementwise.native_group_norm(*args, outputs=outputs, **named)


@formula("quantized.dropout")
def dropout(
    self: TensorSpec, scale: Any, zero_point: Any, p: float = 0.5, training: bool = False, *_: Any, outputs: Any,
    **named: Any,
) -> Cost:  # fmt: skip
    """In training a comparison with the random draw and a scaling, in evaluation nothing."""
    return elementwise.dropout(self, p, training, outputs=outputs)


# --- matrix products -------------------------------------------------------------------------------------------------


@formula("quantized.matmul")
def product(qa: TensorSpec, *_: Any, outputs: Any, **named: Any) -> int:
    """Outputs · k, k the last dimension of the left operand."""
    return matmul.matmul(qa, outputs=outputs)


@formula("quantized.linear_with_input_q_dq_qweight_dq_output_fp32")
def linear(X: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Outputs · in, and one per output element for a bias."""
    return matmul.quantized_linear(X, outputs=outputs)


@formula(*_quantized("linear_leaky_relu linear_tanh linear_with_input_q_dq_qweight_dq_relu_output_fp32"))
def linear_activated(X: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """Outputs · in; elementwise a bias and a function per output element."""
    return matmul.quantized_linear_relu(X, outputs=outputs)


# --- recurrent networks: the weights, by the sizes that the call and its result have ---------------------------------


def _cell(gates: int, wide: int, hidden: int, biased: bool, x: TensorSpec) -> Iterator[TensorSpec]:
    """Input weight, hidden weight and their biases of one cell."""
    shapes: tuple[tuple[int, ...], ...] = ((gates * hidden, wide), (gates * hidden, hidden))
    for shape in shapes + ((gates * hidden,),) * 2 * biased:
        yield TensorSpec(shape, x.dtype)


def _network(gates: int, x: TensorSpec, state: TensorSpec, options: tuple[Any, ...]) -> list[TensorSpec]:
    """`options` are (has_biases, layers, dropout, train, bidirectional, ...); the state is (layers, batch, hidden)."""
    biased, layers, directions, hidden = options[0], options[1], 1 + options[4], state.shape[-1]
    wide = [x.shape[-1]] + [directions * hidden] * (layers - 1)
    return [spec for each in wide for _ in range(directions) for spec in _cell(gates, each, hidden, biased, x)]


@formula("aten.quantized_lstm.input")
def lstm(input: TensorSpec, hx: Any, params: Any, *options: Any, outputs: Any, **named: Any) -> Cost:
    """Tokens · Σ 4 · hidden · (in + hidden), over layers and directions. (input, (h, c), packed, ...)."""
    return recurrent.lstm(input, hx, _network(4, input, first(hx), options), *options, outputs=outputs)


@formula("aten.quantized_lstm.data")
def lstm_packed(
    data: TensorSpec, batch_sizes: Any, hx: Any, params: Any, *options: Any, outputs: Any, **named: Any
) -> Cost:
    """Tokens · Σ 4 · hidden · (in + hidden), the rows of `data` being all the tokens."""
    return recurrent.lstm(data, hx, _network(4, data, first(hx), options), *options, outputs=outputs)


@formula("aten.quantized_gru.input")
def gru(input: TensorSpec, hx: TensorSpec, params: Any, *options: Any, outputs: Any, **named: Any) -> Cost:
    """Tokens · Σ 3 · hidden · (in + hidden), over layers and directions. (input, h, packed, ...)."""
    return recurrent.gru(input, hx, _network(3, input, hx, options), *options, outputs=outputs)


@formula("aten.quantized_gru.data")
def gru_packed(
    data: TensorSpec, batch_sizes: Any, hx: TensorSpec, params: Any, *options: Any, outputs: Any, **named: Any
) -> Cost:
    """Tokens · Σ 3 · hidden · (in + hidden), the rows of `data` being all the tokens."""
    return recurrent.gru(data, hx, _network(3, data, hx, options), *options, outputs=outputs)


def _biased(biases: tuple[Any, ...]) -> bool:
    return any(isinstance(each, TensorSpec) for each in biases)


@formula("quantized.quantized_lstm_cell_dynamic", "aten.quantized_lstm_cell")
def lstm_cell(input: TensorSpec, hx: Any, w_ih: Any, w_hh: Any, *biases: Any, outputs: Any, **named: Any) -> Cost:
    """One step: rows · 4 · hidden · (in + hidden)."""
    cell = _cell(4, input.shape[-1], first(hx).shape[-1], _biased(biases), input)
    return recurrent.lstm_cell(input, hx, *cell, outputs=outputs)


@formula("quantized.quantized_gru_cell_dynamic", "aten.quantized_gru_cell")
def gru_cell(input: TensorSpec, hx: TensorSpec, w_ih: Any, w_hh: Any, *biases: Any, outputs: Any, **named: Any) -> Cost:
    """One step: rows · 3 · hidden · (in + hidden)."""
    cell = _cell(3, input.shape[-1], hx.shape[-1], _biased(biases), input)
    return recurrent.gru_cell(input, hx, *cell, outputs=outputs)


@formula(
    "quantized.quantized_rnn_relu_cell_dynamic", "quantized.quantized_rnn_tanh_cell_dynamic",
    "aten.quantized_rnn_relu_cell", "aten.quantized_rnn_tanh_cell",
)  # fmt: skip
def rnn_cell(input: TensorSpec, hx: TensorSpec, w_ih: Any, w_hh: Any, *biases: Any, outputs: Any, **named: Any) -> Cost:
    """One step: rows · hidden · (in + hidden)."""
    cell = _cell(1, input.shape[-1], hx.shape[-1], _biased(biases), input)
    return recurrent.rnn_cell(input, hx, *cell, outputs=outputs)


# --- look-ups ---------------------------------------------------------------------------------------------------------


@formula("quantized.embedding_byte", "quantized.embedding_4bit")
def embedding(*_: Any, outputs: Any, **named: Any) -> Cost:
    """Rows are moved and dequantised: two per output element."""
    return Cost(elementwise=2 * first(outputs).numel)


@formula("quantized.embedding_bag_byte", "quantized.embedding_bag_4bit")
def embedding_bag(weight: Any, indices: TensorSpec, *args: Any, outputs: Any, **named: Any) -> Cost | None:
    """Dequantised and added, three for each element gathered, and one with weights of their own. A pruned table gathers
    fewer, which indices do not tell: unknown."""
    if argument(args, named, 3, "pruned_weights", default=False):
        return None
    weighted = isinstance(argument(args, named, 4, "per_sample_weights"), TensorSpec)
    return Cost(elementwise=indices.numel * first(outputs).shape[-1] * (3 + weighted))

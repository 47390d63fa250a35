"""Operators of torch.ao: what a quantised model runs costs what the float model does, its weights packed or not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

import numel
from formulas.counting import Call, f32, i64, price, record, total, whole
from numel.analyses.formulas import Cost, cost, registered

pytestmark = pytest.mark.filterwarnings("ignore:.*quantiz", "ignore:.*deprecated", "ignore:.*TypedStorage")

_PACKED = "<ScriptObject>"
_SCALE = (0.1, 0)


@pytest.fixture(autouse=True)
def _engine() -> None:
    if not {"fbgemm", "x86", "qnnpack"} & set(torch.backends.quantized.supported_engines):
        pytest.skip("this build of torch has no engine for quantised operators")


def test_every_name_that_has_a_formula_is_declared_by_torch():
    import torch.ao.nn.quantized

    names = [name.removeprefix("quantized.") for name in registered() if name.startswith("quantized.")]
    assert [name for name in names if not hasattr(torch.ops.quantized, name)] == []


def _int8(*shape: int) -> torch.Tensor:
    return torch.quantize_per_tensor(torch.rand(*shape), *_SCALE, torch.quint8)


_X = (2, 4, 3, 3)
_ROWS = (2, 12)

# each beside what it is on floats
_TWINS: dict[str, tuple[tuple[int, ...], Any, Any]] = {
    "add": (_X, lambda x: torch.ops.quantized.add(x, x, *_SCALE), lambda x: x + x),
    "add_relu": (_X, lambda x: torch.ops.quantized.add_relu(x, x, *_SCALE), lambda x: (x + x).relu()),
    "add_scalar": (_X, lambda x: torch.ops.quantized.add_scalar(x, 2.0), lambda x: x + 2.0),
    "mul": (_X, lambda x: torch.ops.quantized.mul(x, x, *_SCALE), lambda x: x * x),
    "mul_relu": (_X, lambda x: torch.ops.quantized.mul_relu(x, x, *_SCALE), lambda x: (x * x).relu()),
    "mul_scalar_relu": (_X, lambda x: torch.ops.quantized.mul_scalar_relu(x, 2.0), lambda x: (x * 2.0).relu()),
    "cat": (_X, lambda x: torch.ops.quantized.cat([x, x], 1, *_SCALE), lambda x: torch.cat([x, x], 1)),
    "cat_relu": (_X, lambda x: torch.ops.quantized.cat_relu([x, x], 1, *_SCALE), lambda x: torch.cat([x, x], 1).relu()),
    "hardswish": (_X, lambda x: torch.ops.quantized.hardswish(x, *_SCALE), torch.nn.functional.hardswish),
    "leaky_relu": (
        _X, lambda x: torch.ops.quantized.leaky_relu(x, 0.1, False, *_SCALE), torch.nn.functional.leaky_relu,
    ),
    "elu": (_X, lambda x: torch.ops.quantized.elu(x, *_SCALE), torch.nn.functional.elu),
    "celu": (_X, lambda x: torch.ops.quantized.celu(x, *_SCALE), torch.nn.functional.celu),
    "sigmoid": (_X, lambda x: torch.ops.quantized.sigmoid(x, *_SCALE), torch.sigmoid),
    "relu6": (_X, lambda x: torch.ops.quantized.relu6(x, False), torch.nn.functional.relu6),
    "softmax": (_ROWS, lambda x: torch.ops.quantized.softmax(x, -1, *_SCALE), lambda x: x.softmax(-1)),
    "matmul": (
        _X, lambda x: torch.ops.quantized.matmul(x, x.transpose(-1, -2), *_SCALE), lambda x: x @ x.transpose(-1, -2),
    ),
    "layer_norm": (
        _ROWS, lambda x: torch.ops.quantized.layer_norm(x, [12], torch.ones(12), None, 1e-5, *_SCALE),
        lambda x: torch.nn.functional.layer_norm(x, [12], torch.ones(12)),
    ),
    "group_norm": (
        _X, lambda x: torch.ops.quantized.group_norm(x, 2, torch.ones(4), torch.ones(4), 1e-5, *_SCALE),
        lambda x: torch.nn.functional.group_norm(x, 2, torch.ones(4), torch.ones(4)),
    ),
    "instance_norm": (
        _X, lambda x: torch.ops.quantized.instance_norm(x, None, None, 1e-5, *_SCALE),
        torch.nn.functional.instance_norm,
    ),
    "batch_norm2d": (
        _X, lambda x: torch.ops.quantized.batch_norm2d(x, *[torch.ones(4)] * 4, 1e-5, *_SCALE),
        lambda x: torch.nn.functional.batch_norm(x, *[torch.ones(4)] * 4),
    ),
    "batch_norm2d_relu": (
        _X, lambda x: torch.ops.quantized.batch_norm2d_relu(x, *[torch.ones(4)] * 4, 1e-5, *_SCALE),
        lambda x: torch.nn.functional.batch_norm(x, *[torch.ones(4)] * 4).relu(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", _TWINS)
def test_an_operator_on_integers_costs_what_it_does_on_floats(name):
    shape, on_integers, on_floats = _TWINS[name]
    records = whole(Call(on_integers), _int8(*shape))
    assert f"quantized.{name}" in {each.name for each in records}
    found = total(records)
    assert found == total(whole(Call(on_floats), torch.rand(shape)))
    assert bool(found.macs or found.elementwise) is (name != "cat")


def test_dropout_on_integers_costs_something_in_training_alone():
    x = f32(2, 3)
    assert price("quantized.dropout", x, *_SCALE, 0.5, True, outputs=x) == Cost(elementwise=2 * 6)
    assert price("quantized.dropout", x, *_SCALE, outputs=x) == Cost()


@pytest.mark.parametrize(
    ("name", "per_output"),
    [("linear_tanh", 2), ("linear_leaky_relu", 2), ("linear_with_input_q_dq_qweight_dq_output_fp32", 1)],
)
def test_linear_with_a_packed_weight_is_rows_times_in_times_out(name, per_output):
    """Five rows of 3 to 7; a bias and a function are one operation each per output element."""
    found = price(f"quantized.{name}", f32(5, 3), _PACKED, *_SCALE, outputs=f32(5, 7))
    assert found == Cost(macs=5 * 3 * 7, elementwise=5 * 7 * per_output)


# --- whole models ----------------------------------------------------------------------------------------------------


class Static(torch.nn.Module):
    """A small network between the stubs that static quantisation looks for."""

    def __init__(self, *layers: torch.nn.Module) -> None:
        super().__init__()
        self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.layers = torch.nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.layers(self.quant(x)))


def _static(model: Static, *shape: int) -> torch.nn.Module:
    model.eval().qconfig = torch.ao.quantization.get_default_qconfig(torch.backends.quantized.engine)
    prepared = torch.ao.quantization.prepare(model)
    prepared(torch.rand(*shape))
    return torch.ao.quantization.convert(prepared)


def test_a_statically_quantised_network_of_linear_layers_is_exact():
    """The products are those of the float model: 5·8·6 + 5·6·4. Beside what it does, 5 per element that is quantised on
    the way in and 2 per element on the way out."""
    plain = Static(torch.nn.Linear(8, 6), torch.nn.Hardswish(), torch.nn.Linear(6, 4)).eval()
    before = numel.summary(plain, torch.rand(5, 8))
    after = numel.summary(_static(plain, 5, 8), torch.rand(5, 8))
    assert (after.exact, after.uncosted) == (True, {})
    assert after.macs == before.macs == 5 * 8 * 6 + 5 * 6 * 4
    assert after.costs.total.elementwise == before.costs.total.elementwise + 5 * (5 * 8) + 2 * (5 * 4)


@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.Conv2d(4, 6, 3),
        torch.nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        torch.nn.Conv2d(4, 4, (1, 3), dilation=2, groups=4),
        torch.nn.Sequential(torch.nn.Conv2d(4, 6, 3), torch.nn.Conv2d(6, 2, 1)),
    ],
)
def test_a_statically_quantised_convolution_costs_what_the_float_one_does(layer):
    plain = Static(layer).eval()
    before = numel.summary(plain, torch.rand(2, 4, 8, 8))
    after = numel.summary(_static(plain, 2, 4, 8, 8), torch.rand(2, 4, 8, 8))
    assert (after.exact, after.macs) == (True, before.macs)
    made = before.calls[-2].outputs.numel  # of the layers; what is quantised on the way in, and back on the way out
    assert after.costs.total.elementwise == before.costs.total.elementwise + 5 * 2 * 4 * 8 * 8 + 2 * made


@pytest.mark.parametrize(
    ("name", "place", "per_output"),
    [
        ("conv2d", 1, 1), ("conv3d_relu", 1, 2), ("conv1d_dynamic", 1, 1), ("conv2d_add", 2, 2),
        ("conv2d_add_relu", 2, 3),
    ],
)
def test_a_packed_convolution_is_outputs_times_the_filter(name, place, per_output):
    """A filter of 3 / 1 groups and 5 × 5 positions: 75 for each of 2 · 4 · 6 · 6 outputs."""
    x, out, packed = f32(2, 3, 10, 10), f32(2, 4, 6, 6), {"weight": f32(4, 3, 5, 5)}
    args = (x, packed) if place == 1 else (x, out, packed)
    found = price(f"quantized.{name}", *args, *_SCALE, outputs=out)
    assert found == Cost(macs=2 * 4 * 6 * 6 * 75, elementwise=per_output * 2 * 4 * 6 * 6)


def test_a_packed_transposed_convolution_is_inputs_times_the_filter():
    """Each of 2 · 3 · 6 · 6 inputs is spread over 4 filters of 5 × 5."""
    x, out = f32(2, 3, 6, 6), f32(2, 4, 10, 10)
    found = price("quantized.conv_transpose2d", x, {"weight": f32(3, 4, 5, 5)}, *_SCALE, outputs=out)
    assert found == Cost(macs=2 * 3 * 6 * 6 * 100, elementwise=2 * 4 * 10 * 10)


def test_a_convolution_that_is_packed_for_another_engine_has_no_cost():
    assert cost(record("quantized.conv2d", f32(1, 3, 4, 4), _PACKED, *_SCALE, outputs=f32(1, 2, 4, 4))) is None


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_dynamically_quantised_network_of_cells_costs_what_the_float_one_does(kind, layers, both, batch_first):
    """Every matrix meets every one of 5 · 2 tokens, and the gates are the same."""
    plain = kind(3, 4, layers, bidirectional=both, batch_first=batch_first).eval()
    quantised = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(plain), {kind}, torch.qint8)
    before, after = total(whole(plain, torch.rand(5, 2, 3))), total(whole(quantised, torch.rand(5, 2, 3)))
    assert before == after
    assert after.macs == 10 * sum(each.numel() for each in plain.parameters() if each.dim() == 2)


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU])
def test_a_dynamically_quantised_network_counts_the_tokens_of_a_packed_sequence(kind):
    plain = kind(3, 4)
    quantised = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(plain), {kind}, torch.qint8)[0]

    def forward(x: torch.Tensor) -> Any:
        return quantised(torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 2])))

    found = total(whole(Call(forward), torch.rand(5, 2, 3)))
    assert found.macs == (5 + 2) * sum(each.numel() for each in plain.parameters() if each.dim() == 2)


@pytest.mark.parametrize("kind", [torch.nn.LSTMCell, torch.nn.GRUCell, torch.nn.RNNCell])
def test_a_dynamically_quantised_cell_costs_what_the_float_one_does(kind):
    plain = kind(3, 4).eval()
    quantised = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(plain), {kind}, torch.qint8)
    before, after = total(whole(plain, torch.rand(5, 3))), total(whole(quantised, torch.rand(5, 3)))
    assert before == after
    assert after.macs == 5 * sum(each.numel() for each in plain.parameters() if each.dim() == 2)


def test_a_look_up_of_a_packed_table_dequantises_what_it_takes():
    """Four rows of 6: two per element, one addition more in a bag and one multiplication with weights. A pruned table
    holds only some of the rows that are asked for."""
    assert price("quantized.embedding_byte", _PACKED, i64(4), outputs=f32(4, 6)) == Cost(elementwise=2 * 24)
    bag = "quantized.embedding_bag_byte"
    assert price(bag, _PACKED, i64(4), i64(2), outputs=f32(2, 6)) == Cost(elementwise=3 * 24)
    assert price(bag, _PACKED, i64(4), i64(2), False, 0, False, f32(4), outputs=f32(2, 6)).elementwise == 4 * 24
    assert cost(record(bag, _PACKED, i64(4), i64(2), False, 0, True, outputs=f32(2, 6))) is None


def test_packed_weights_of_linear_layers_are_seen_by_their_class_alone():
    """What formulas have to make do with."""
    quantised = torch.ao.quantization.quantize_dynamic(
        torch.nn.Sequential(torch.nn.Linear(3, 4)), {torch.nn.Linear}, torch.qint8
    )
    found = Counter(each.args[1] for each in whole(quantised, torch.rand(2, 3)) if each.name.startswith("quantized."))
    assert found == {_PACKED: 1}

"""Layers whose weights are packed: how many they stand for, in which bytes, and what their forward multiplies.

Each look-alike packs as the library it is named after does, by own code: what a layer registers, under which names, of
which shapes and types. The expected numbers are of the plain layer that it stands for: out · in weights, tokens · out ·
in MACs, and the bytes of what it really holds, added up here by hand.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numpy")

from torch import nn  # noqa: E402

import numel  # noqa: E402
from integration.fingerprint import differences, fingerprint  # noqa: E402
from numel.facts import Totals  # noqa: E402
from numel.sources.live import snapshot, totals  # noqa: E402

IN, OUT, GROUP = 128, 64, 32
LIBRARY = torch.library.Library("numel_packed_tests", "FRAGMENT")
LIBRARY.define("gemv_4bit(Tensor x, Tensor codes, Tensor absmax, int out_features) -> Tensor")
LIBRARY.impl("gemv_4bit", lambda x, codes, absmax, n: x.new_empty(*x.shape[:-1], n), "Meta")


def unpacked(words: Any, bits: int, dim: int) -> Any:
    """The codes in integer words, along `dim`."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    along = shifts.view(-1, 1) if dim == 0 else shifts
    return ((words.unsqueeze(dim + 1) >> along) & (2**bits - 1)).flatten(dim, dim + 1)


class GPTQ(nn.Module):
    """Words along the inputs; the zero point and scale of a group by `g_idx`. Unpacks with torch, then multiplies."""

    def __init__(self, bits: int = 4, old_names: bool = False) -> None:
        super().__init__()
        self.bits = bits
        if old_names:
            self.infeatures, self.outfeatures = IN, OUT
        else:
            self.in_features, self.out_features = IN, OUT
        self.register_buffer("qweight", torch.zeros(IN * bits // 32, OUT, dtype=torch.int32))
        self.register_buffer("qzeros", torch.zeros(IN // GROUP, OUT * bits // 32, dtype=torch.int32))
        self.register_buffer("scales", torch.ones(IN // GROUP, OUT, dtype=torch.float16))
        self.register_buffer("g_idx", torch.arange(IN, dtype=torch.int32) // GROUP)

    def forward(self, x: Any) -> Any:
        zeros = unpacked(self.qzeros, self.bits, 1)[self.g_idx.long()]
        weight = (unpacked(self.qweight, self.bits, 0) - zeros) * self.scales[self.g_idx.long()]
        return x @ weight.to(x.dtype)


class AWQ(nn.Module):
    """Words along the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features, self.out_features, self.w_bit = IN, OUT, 4
        self.register_buffer("qweight", torch.zeros(IN, OUT // 8, dtype=torch.int32))
        self.register_buffer("qzeros", torch.zeros(IN // GROUP, OUT // 8, dtype=torch.int32))
        self.register_buffer("scales", torch.ones(IN // GROUP, OUT, dtype=torch.float16))

    def forward(self, x: Any) -> Any:
        weight = unpacked(self.qweight, 4, 1).to(x.dtype) * self.scales.repeat_interleave(GROUP, 0).to(x.dtype)
        return torch.matmul(x, weight)


class Params4bit(nn.Parameter):
    """A parameter of bytes with the state that tells its floats."""

    quant_state: Any


class Linear4bit(nn.Linear):
    """Two weights to a byte, in one column; scales in an object on the parameter; a kernel of the library's own."""

    def __init__(self) -> None:
        super().__init__(IN, OUT, bias=False)
        codes = torch.zeros(IN * OUT // 2, 1, dtype=torch.uint8)
        self.weight = torch.Tensor._make_subclass(Params4bit, codes, False)
        self.weight.quant_state = SimpleNamespace(
            absmax=torch.zeros(IN * OUT // GROUP), code=torch.zeros(16), shape=(OUT, IN), blocksize=GROUP
        )

    def forward(self, x: Any) -> Any:
        state = self.weight.quant_state
        return torch.ops.numel_packed_tests.gemv_4bit(x, self.weight, state.absmax.to(x.device), OUT)


class Linear8bit(nn.Linear):
    """Bytes of the weight's own shape; a scale per row on the parameter."""

    def __init__(self) -> None:
        super().__init__(IN, OUT)
        codes = torch.zeros(OUT, IN, dtype=torch.int8)
        self.weight = torch.Tensor._make_subclass(Params4bit, codes, False)
        self.weight.CB = self.weight.data
        self.weight.SCB = torch.ones(OUT)

    def forward(self, x: Any) -> Any:
        return nn.functional.linear(x, self.weight.to(x.dtype), self.bias)


class HQQ(nn.Module):
    """Groups packed in halves; scales and zeros in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features, self.out_features = IN, OUT
        self.W_q = nn.Parameter(torch.zeros(IN * OUT // GROUP // 2, GROUP, dtype=torch.uint8), requires_grad=False)
        self.meta = {"scale": torch.ones(IN * OUT // GROUP, 1), "zero": torch.zeros(IN * OUT // GROUP, 1), "nbits": 4}

    def forward(self, x: Any) -> Any:
        halves = torch.cat([self.W_q >> 4, self.W_q & 15])
        floats = (halves.to(x.dtype) - self.meta["zero"].to(x.device)) * self.meta["scale"].to(x.device)
        return x @ floats.view(OUT, IN).T


class BitLinear(nn.Module):
    """Four ternary weights to a byte, along the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features, self.out_features = IN, OUT
        self.register_buffer("weight", torch.zeros(OUT // 4, IN, dtype=torch.uint8))
        self.register_buffer("weight_scale", torch.ones(1))

    def forward(self, x: Any) -> Any:
        weight = torch.cat([(self.weight >> shift) & 3 for shift in (0, 2, 4, 6)]).to(x.dtype) - 1
        return nn.functional.linear(x, weight) * self.weight_scale


N = IN * OUT
GROUPS = IN // GROUP


@pytest.mark.parametrize(
    ("layer", "plain", "buffers", "nbytes"),
    [
        (lambda: GPTQ(4), 0, GROUPS * OUT // 8 + GROUPS * OUT + IN,
         N // 2 + GROUPS * OUT // 2 + 2 * GROUPS * OUT + 4 * IN),
        (lambda: GPTQ(3), 0, GROUPS * OUT * 3 // 32 + GROUPS * OUT + IN,
         N * 3 // 8 + GROUPS * OUT * 3 // 8 + 2 * GROUPS * OUT + 4 * IN),
        (lambda: GPTQ(2, old_names=True), 0, GROUPS * OUT // 16 + GROUPS * OUT + IN,
         N // 4 + GROUPS * OUT // 4 + 2 * GROUPS * OUT + 4 * IN),
        (AWQ, 0, GROUPS * OUT // 8 + GROUPS * OUT, N // 2 + GROUPS * OUT // 2 + 2 * GROUPS * OUT),
        (Linear4bit, 0, 0, N // 2 + 4 * N // GROUP + 4 * 16),
        (Linear8bit, OUT, 0, N + 4 * OUT + 4 * OUT),
        (HQQ, 0, 0, N // 2),
        (BitLinear, 0, 1, N // 4 + 4),
    ],
    ids=["GPTQ 4", "GPTQ 3, stacked sizes", "GPTQ 2, old names", "AWQ", "4 bit in a column", "8 bit", "HQQ", "ternary"],
)  # fmt: skip
def test_a_packed_layer_has_the_weights_it_stands_for_in_the_bytes_that_it_holds(layer, plain, buffers, nbytes):
    """Weights: out · in, frozen. A bias is a parameter as ever, scales and zero points are buffers as registered."""
    model = nn.Sequential(layer())
    s = snapshot(model)
    assert totals(model) == s.totals
    assert s.totals == Totals(
        params=N + plain, trainable=plain, buffers=buffers, packed=N, nbytes=nbytes, local_nbytes=nbytes
    )
    (note,) = [each for each in s.notes if each.code == "packed-weights"]
    assert (note.level, note.path) == ("info", "0")
    (row,) = [t for t in s.tensors if t.packed]
    assert (row.shape, row.trainable, row.role) == ((OUT, IN), False, "parameter")


@pytest.mark.parametrize("layer", [GPTQ, AWQ, Linear8bit, HQQ, BitLinear])
@pytest.mark.parametrize("mode", ["auto", "fake", "real"])
def test_a_forward_that_unpacks_with_torch_has_the_macs_of_the_plain_layer(layer, mode):
    """5 tokens · out · in, whatever they are unpacked of."""
    model = nn.Sequential(layer())
    before = fingerprint(model)
    report = numel.summary(model, f"f32[5,{IN}]", mode=mode)
    assert (report.macs, report.exact) == (5 * IN * OUT, True)
    assert differences(before, fingerprint(model)) == {}


def test_a_kernel_of_the_librarys_own_is_named_and_makes_a_lower_bound():
    report = numel.summary(nn.Sequential(Linear4bit()), f"f32[5,{IN}]")
    assert (report.macs, report.exact, dict(report.uncosted)) == (0, False, {"numel_packed_tests.gemv_4bit": 1})
    assert report.layers[1].path == "0"
    assert not report.layers[1].exact


def test_a_tied_packed_layer_counts_once():
    layer = GPTQ()
    model = nn.Sequential(layer, layer)
    s = snapshot(model)
    assert totals(model) == s.totals
    assert (s.totals.params, s.totals.packed) == (N, N)
    assert s.totals.tied == N + s.totals.buffers


def sized(**held: Any) -> nn.Module:
    """A layer that says it is IN by OUT, and holds these."""
    module = nn.Module()
    module.in_features, module.out_features = IN, OUT
    for name, each in held.items():
        if isinstance(each, torch.Tensor) and not isinstance(each, nn.Parameter):
            module.register_buffer(name, each)
        else:
            setattr(module, name, each)
    return module


def integers(*shape: int) -> Any:
    return torch.zeros(*shape, dtype=torch.int32)


@pytest.mark.parametrize(
    "held",
    [{"qweight": integers(N // 10, 1)}, {"qweight": integers(IN // 8, OUT), "bits": 3}, {"qweight": integers(N // 2)}],
    ids=["3.2 bits a weight", "4 bits where the layer says 3", "16 bits"],
)
def test_words_that_do_not_come_to_a_known_width_are_flagged_and_weigh_what_they_weigh(held):
    model = sized(**held)
    s = snapshot(model)
    assert totals(model) == s.totals
    assert (s.totals.params, s.totals.unknown, s.totals.exact) == (0, 1, False)
    assert s.totals.nbytes == 4 * held["qweight"].numel()
    assert [(n.code, n.level) for n in s.notes] == [("packed-weights", "warning")]


@pytest.mark.parametrize(
    ("held", "params", "buffers"),
    [
        ({"weight": nn.Parameter(torch.zeros(OUT, IN)), "mask": integers(OUT, IN)}, N, N),
        ({"weight": nn.Parameter(torch.zeros(OUT, IN), requires_grad=False), "mask": integers(OUT, IN)}, N, N),
        ({"base": nn.Linear(IN, OUT, bias=False), "calls": integers(OUT, IN)}, N, N),
        ({"steps": integers(1)}, 0, 1),
    ],
    ids=["a mask", "a mask of frozen weights", "a layer around another", "a counter"],
)
def test_integers_that_are_no_weights_stay_what_they_are_registered_as(held, params, buffers):
    model = sized(**held)
    s = snapshot(model)
    assert totals(model) == s.totals
    assert (s.totals.params, s.totals.buffers, s.totals.packed, s.notes) == (params, buffers, 0, ())


def test_an_embedding_packs_by_its_own_sizes():
    """bitsandbytes packs tables, too: two entries to a byte."""
    table = nn.Embedding(50, 16)
    table.weight = nn.Parameter(torch.zeros(50 * 16 // 2, 1, dtype=torch.uint8), requires_grad=False)
    s = snapshot(table)
    assert totals(table) == s.totals
    assert s.totals == Totals(params=800, packed=800, nbytes=400, local_nbytes=400)


# ── torchao ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def torchao() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torchao.quantization")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("config", "beside"),
    [
        ("Int8WeightOnlyConfig", OUT * (4 + 1)),
        ("Int8DynamicActivationInt8WeightConfig", OUT * (4 + 1)),
        ("Float8WeightOnlyConfig", OUT * 4),
    ],
)
def test_weights_of_torchao_count_logically_weigh_their_parts_and_multiply_like_dense_ones(torchao, config, beside):
    """A byte for each of out · in weights, a float32 scale for each row, and a zero point of a byte where it is int8.
    torch's own wrapper tells the parts by `__tensor_flatten__`; the bias stays as it was."""
    model = nn.Sequential(nn.Linear(IN, OUT), nn.ReLU())
    torchao.quantize_(model, getattr(torchao, config)())
    weight = model[0].weight
    held = {id(weight), *(id(getattr(weight, name)) for name in weight.__tensor_flatten__()[0])}
    s = snapshot(model)
    assert totals(model) == s.totals
    nbytes = N + beside + 4 * OUT
    assert s.totals == Totals(params=N + OUT, trainable=OUT, packed=N, nbytes=nbytes, local_nbytes=nbytes)
    assert s.totals.params == sum(p.numel() for p in model.parameters())
    for mode in ("meta", "fake"):
        report = numel.summary(model, f"f32[5,{IN}]", mode=mode)
        assert (report.macs, report.exact) == (5 * N, True)
    assert held == {id(model[0].weight), *(id(getattr(weight, name)) for name in weight.__tensor_flatten__()[0])}

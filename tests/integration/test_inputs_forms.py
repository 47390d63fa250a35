"""Every form in which inputs can be given, as the forward receives them; and element types that nobody gave."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from numel import summary  # noqa: E402
from numel.errors import InputsError  # noqa: E402
from numel.facts import DType  # noqa: E402
from numel.facts.inputs import Inputs, InputSpec  # noqa: E402
from numel.tracing import trace  # noqa: E402

MODES = ("meta", "fake", "real")


class Net(nn.Module):
    """Any function of (self, *inputs) as a forward."""

    def __init__(self, function: Callable[..., Any], **members: Any) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def text(value: Any) -> Any:
    """Tensors and specs as `f32[2,3]`; containers as they are; anything else as itself."""
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{list(value.shape)}".removeprefix("torch.")
    if isinstance(value, tuple):
        return tuple(text(each) for each in value)
    if isinstance(value, list):
        return [text(each) for each in value]
    if isinstance(value, collections.abc.Mapping):
        return {name: text(each) for name, each in value.items()}
    return value


def received(inputs: Any, mode: str = "auto") -> tuple[Any, Any]:
    """The arguments that a forward sees for these inputs."""
    found: list[Any] = []
    sees = type("Sees", (nn.Module,), {"forward": lambda self, *a, **k: keep((text(a), text(k)))})
    keep = found.append
    t = trace(sees(), inputs, mode=mode)
    assert t.failure is None
    return found[0]


# The whole notation: positional, named, symbols and their arithmetic, containers at any depth, scalars and words.
NOTATIONS = [
    ("f32[2,3]", (("float32[2, 3]",), {})),
    ("[2,3]", (("float32[2, 3]",), {})),
    ("f32[]", (("float32[]",), {})),
    ("f32[0,3]", (("float32[0, 3]",), {})),
    ("bf16[1], f16[1], f64[1]", (("bfloat16[1]", "float16[1]", "float64[1]"), {})),
    ("i64[1], i32[1], i16[1], i8[1], u8[1]", (("int64[1]", "int32[1]", "int16[1]", "int8[1]", "uint8[1]"), {})),
    ("u16[1], u32[1], u64[1], bool[1]", (("uint16[1]", "uint32[1]", "uint64[1]", "bool[1]"), {})),
    ("c64[1], f8_e4m3[1]", (("complex64[1]", "float8_e4m3fn[1]"), {})),
    ("i64[2] < 10, x: i32[3] < 5", (("int64[2]",), {"x": "int32[3]"})),
    ("f32[b,s*2], b=2, s=3", (("float32[2, 6]",), {})),
    ("x: f32[b+1,8//b], y: f32[2*b-1], b=2", ((), {"x": "float32[3, 4]", "y": "float32[3]"})),
    ("(i64[1], [f32[2], None])", ((("int64[1]", ["float32[2]", None]),), {})),
    ("x: {k: f32[2], 'other': [f32[3]]}", ((), {"x": {"k": "float32[2]", "other": ["float32[3]"]}})),
    ("f32[1], True, None, 2, 2.5, 'word', flag: False", (("float32[1]", True, None, 2, 2.5, "word"), {"flag": False})),
]


@pytest.mark.parametrize("mode", ["auto", *MODES])
@pytest.mark.parametrize(("notation", "expected"), NOTATIONS)
def test_a_notation_reaches_the_forward_as_it_reads(notation, expected, mode):
    assert received(notation, mode) == expected


TENSOR = torch.arange(6.0).reshape(2, 3)
Pair = collections.namedtuple("Pair", "left right")


@dataclasses.dataclass
class Batch:
    x: Any
    name: str = "batch"


FORMS: list[tuple[Any, tuple[Any, Any]]] = [
    (TENSOR, (("float32[2, 3]",), {})),
    ((2, 3), (("float32[2, 3]",), {})),
    ([2, 3], (("float32[2, 3]",), {})),
    (torch.Size([2, 3]), (("float32[2, 3]",), {})),
    (((2, 3), (4,)), (("float32[2, 3]", "float32[4]"), {})),
    ({"a": (2, 3), "b": None}, ((), {"a": "float32[2, 3]", "b": None})),
    ((TENSOR, 1, None, True, "word", 2.5), (("float32[2, 3]", 1, None, True, "word", 2.5), {})),
    ([TENSOR, TENSOR], (("float32[2, 3]", "float32[2, 3]"), {})),
    (("f32[2]", "i64[3] < 5"), (("float32[2]", "int64[3]"), {})),
    ({"x": ["f32[2]", {"y": "bool[1]"}]}, ((), {"x": ["float32[2]", {"y": "bool[1]"}]})),
    ((), ((), {})),
    (InputSpec((2, 3)), (("float32[2, 3]",), {})),
    (Inputs(), ((), {})),
    (
        Inputs((TENSOR, "i64[1]", [TENSOR, "f32[4]"]), {"k": "bool[2]", "z": {"q": TENSOR}, "n": 3}),
        (("float32[2, 3]", "int64[1]", ["float32[2, 3]", "float32[4]"]),
         {"k": "bool[2]", "z": {"q": "float32[2, 3]"}, "n": 3}),
    ),
    (((TENSOR, (2, 3)),), ((("float32[2, 3]", (2, 3)),), {})),  # ints inside of a container are ints
    ((Pair(TENSOR, 1),), ((("float32[2, 3]", 1),), {})),
    ((collections.OrderedDict(a=TENSOR),), (({"a": "float32[2, 3]"},), {})),
    ((collections.UserDict(a=TENSOR),), (({"a": "float32[2, 3]"},), {})),
    (("see [1] and f3[2]", "x[3]"), (("see [1] and f3[2]", "x[3]"), {})),  # text with brackets is text
]  # fmt: skip


@pytest.mark.parametrize("mode", ["auto", *MODES])
@pytest.mark.parametrize(("inputs", "expected"), FORMS, ids=lambda each: str(type(each).__name__))
def test_a_python_form_reaches_the_forward_as_it_is_given(inputs, expected, mode):
    assert received(inputs, mode) == expected


@pytest.mark.parametrize("given", [None, 5, True, 2.5])
def test_a_bare_scalar_is_no_inputs(given):
    with pytest.raises(InputsError, match="expected a notation"):
        trace(nn.Identity(), given)


@pytest.mark.parametrize("given", [(-1, 3), ((2,), (-4,)), {"x": (2, -1)}])
def test_a_negative_size_is_refused_with_the_shape(given):
    with pytest.raises(InputsError, match=r"-\d.*can not be negative"):
        trace(nn.Identity(), given)


@pytest.mark.parametrize("given", ["f33[2]", "f32[b]", "f32[2", "(f32[2]", "x: f32[1], f32[1]", ""])
def test_a_notation_that_does_not_parse_raises_before_anything_runs(given):
    ran: list[int] = []
    with pytest.raises(InputsError, match="inputs"):
        trace(Net(lambda self, *a, **k: ran.append(1)), given)
    assert ran == []


def test_an_element_type_that_torch_lacks_is_named():
    with pytest.raises(InputsError, match="torch has no dtype q4_k"):
        trace(nn.Identity(), InputSpec((256,), DType("q4_k", 144, 256, "packed")))


def test_a_keyword_only_forward_takes_a_dict():
    class Keyword(nn.Module):
        def forward(self, *, x: Any) -> Any:
            return x + 1

    assert trace(Keyword(), {"x": TENSOR}).failure is None
    assert trace(Keyword(), TENSOR).failure.error == "TypeError"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "wrap", [lambda t: t, lambda t: [t], lambda t: {"k": (t,)}, Batch, lambda t: collections.OrderedDict(x=t)]
)
def test_a_tensor_that_the_user_gave_is_not_written_to(wrap, mode):
    """Whatever container it comes in, and also by a forward that writes in place."""

    def forward(self: Any, x: Any) -> Any:
        while not isinstance(x, torch.Tensor):
            x = x.x if isinstance(x, Batch) else next(iter(x.values() if hasattr(x, "values") else x))
        return x.add_(1)

    given = torch.zeros(2, 3)
    t = trace(Net(forward), (wrap(given),), mode=mode)
    assert t.failure is None
    assert [op.name for op in t.ops] == ["aten.add_"]
    assert torch.equal(given, torch.zeros(2, 3))


@pytest.mark.parametrize("mode", ["auto", *MODES])
def test_a_cache_that_the_user_passes_is_as_empty_afterwards_as_before(mode):
    class Cache:
        def __init__(self) -> None:
            self.keys: list[Any] = []
            self.seen = 0

    def forward(self: Any, x: Any, cache: Any) -> Any:
        cache.keys.append(x)
        cache.seen += x.shape[0]
        return x + 1

    cache = Cache()
    assert trace(Net(forward), (TENSOR, cache), mode=mode).failure is None
    assert (cache.keys, cache.seen) == ([], 0)


def test_the_values_of_small_integer_inputs_may_be_read_on_meta():
    net = Net(lambda self, x, n: x * 2 if n.item() == 3 else x)
    t = trace(net, (TENSOR, torch.tensor(3)))
    assert t.mode == "meta"
    assert "aten.mul" in [op.name for op in t.ops]


def test_a_packed_sequence_is_an_input_like_any_other():
    packed = nn.utils.rnn.pack_padded_sequence(torch.zeros(2, 3, 4), torch.tensor([3, 1]), batch_first=True)
    t = trace(nn.LSTM(4, 5), (packed,))
    assert t.failure is None
    assert str(t.inputs[0][0]) == "f32[4,4]"  # four real steps of the six


# ── element types that nobody gave ───────────────────────────────────────────────────────────────────────────────────


def embedding() -> nn.Embedding:
    return nn.Embedding(10, 4)


# (forward over members e = Embedding and l = Linear, inputs, the types that the inputs must come out as)
FOUND_OUT: dict[str, tuple[Callable[..., Any], str, list[str]]] = {
    "embedding": (lambda self, i: self.e(i), "[2,3]", ["i64"]),
    "embedding of a view": (lambda self, i: self.e(i[:, 1:].reshape(-1)), "[2,3]", ["i64"]),
    "embedding of a sum": (lambda self, i: self.e(i + 1), "[2,3]", ["i64"]),
    "embedding of a clamp": (lambda self, i: self.e(i.clamp(0, 9)), "[2,3]", ["i64"]),
    "embedding of a choice": (lambda self, i: self.e(torch.where(i > 2, i, 0)), "[2,3]", ["i64"]),
    "embedding of two": (lambda self, i, j: self.e(torch.stack([i, j])), "[3],[3]", ["i64", "i64"]),
    "embedding by keyword": (lambda self, i: nn.functional.embedding(input=i, weight=self.e.weight), "[2]", ["i64"]),
    "embedding in a container": (lambda self, d: self.e(d["ids"][0]), "{ids: [[2,3]]}", ["i64"]),
    "index": (lambda self, x, i: x[i], "[2,4],[2]", ["f32", "i64"]),
    "gather": (lambda self, x, i: x.gather(1, i), "[2,4],[2,4]", ["f32", "i64"]),
    "one hot": (lambda self, i: nn.functional.one_hot(i, 4), "[2]", ["i64"]),
    "labels": (lambda self, x, y: nn.functional.cross_entropy(self.l(x), y), "[2,4],[2]", ["f32", "i64"]),
    "probabilities": (lambda self, x, y: nn.functional.cross_entropy(self.l(x), y), "[2,4],[2,4]", ["f32", "f32"]),
    "likelihood": (lambda self, x, y: nn.functional.nll_loss(self.l(x), y), "[2,4],[2]", ["f32", "i64"]),
    "mask": (lambda self, x, m: x.masked_fill(m, 0.0), "[2,4],[2,4]", ["f32", "bool"]),
    "mask through a view": (lambda self, x, m: x.masked_fill(m[:, None], 0.0), "[2,4],[2]", ["f32", "bool"]),
    "inverted mask": (lambda self, x, m: x.masked_fill(~m, 0.0), "[2,4],[2,4]", ["f32", "bool"]),
    "two inverted masks": (
        lambda self, x, m, n: x.masked_fill(~m, 0.0).masked_fill(~n, 0.0), "[4],[4],[4]", ["f32", "bool", "bool"],
    ),
    "where": (lambda self, x, m: torch.where(m, x, 0.0), "[2,4],[2,4]", ["f32", "bool"]),
    "product first": (lambda self, x: self.l(x), "[2,4]", ["f32"]),
    "comparison decides nothing": (lambda self, x: self.l(x.masked_fill(x > 0, 0.0)), "[2,4]", ["f32"]),
    "never consumed": (lambda self, x, unused: self.l(x), "[2,4],[2,4]", ["f32", "f32"]),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["auto", *MODES])
@pytest.mark.parametrize("case", FOUND_OUT)
def test_an_input_without_an_element_type_gets_the_one_that_its_consumer_wants(case, mode):
    forward, inputs, expected = FOUND_OUT[case]
    t = trace(Net(forward, e=embedding(), l=nn.Linear(4, 4)), inputs, mode=mode)
    assert t.failure is None
    pending, found = [t.inputs], []
    while pending:
        value = pending.pop(0)
        if isinstance(value, dict | tuple):
            pending = [*(value.values() if isinstance(value, dict) else value), *pending]
        else:
            found.append(value.dtype.short)
    assert found == expected


def test_what_was_found_out_on_meta_holds_on_the_steps_below():
    def forward(self: Any, i: Any, m: Any) -> Any:
        x = self.e(i).masked_fill(m[..., None], 0.0)
        return x if x.sum().item() < 1e9 else i

    t = trace(Net(forward, e=embedding()), "[2,3],[2,3]")
    assert t.mode == "real"
    assert [spec.dtype.short for spec in t.inputs] == ["i64", "bool"]


def test_an_input_that_is_both_a_number_and_an_index_fails_in_torchs_own_words():
    t = trace(Net(lambda self, x: self.l(x)[:, None] + self.e(x), e=embedding(), l=nn.Linear(4, 4)), "[2,4]")
    assert t.failure.path == "e"
    assert "scalar types" in t.failure.message
    assert t.ops[0].name == "aten.linear"


def test_a_failure_that_no_element_type_would_mend_keeps_the_floating_type():
    t = trace(nn.Linear(5, 4), "[2,4]")
    assert t.failure is not None
    assert t.inputs[0].dtype.short == "f32"


# ── what a model wanted ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_forward_that_stops_for_want_of_an_input_is_told_what_the_models_own_sample_has():
    """An encoder-decoder that gets ids for its encoder alone: positional ones are known by the forward's signature."""
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(d_model=8, d_ff=16, d_kv=4, num_heads=2, num_layers=1, vocab_size=50)
    with torch.device("meta"):
        model = transformers.T5ForConditionalGeneration(config)
    for inputs in ("i64[1,6]", {"input_ids": "i64[1,6]"}):
        report = summary(model, inputs)
        assert report.trace.failure is not None
        (said,) = [note.text for note in report.notes if note.code == "own-inputs"]
        assert "decoder_input_ids" in said
        assert " input_ids" not in said
    whole = summary(model, "input_ids: i64[1,6], decoder_input_ids: i64[1,3]")
    assert (whole.trace.failure, whole.exact) == (None, True)

"""Whatever a forward returns, the trace succeeds and the call's record says what came out."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from numel.tracing import trace  # noqa: E402


@dataclasses.dataclass
class Result:
    logits: Any
    inner: Any = None


@dataclasses.dataclass(slots=True)
class Slotted:
    logits: Any


Pair = collections.namedtuple("Pair", "left right")


class Holder:
    """An object that is no container, with one tensor among its attributes."""

    def __init__(self, x: Any) -> None:
        self.x = x
        self.name = "holder"


class Hostile:
    """An object that answers no question."""

    @property
    def __dict__(self) -> Any:
        raise RuntimeError("no")


class HostileMapping(collections.abc.Mapping):  # type: ignore[type-arg]
    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError("no")

    def __iter__(self) -> Any:
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 1


class Subclass(torch.Tensor):
    pass


def text(value: Any) -> Any:
    """Specs as the notation spells them."""
    if isinstance(value, tuple):
        return tuple(text(each) for each in value)
    if isinstance(value, dict):
        return {name: text(each) for name, each in value.items()}
    return str(value) if hasattr(value, "dtype") else value


X = "f32[2,4]"

OUTPUTS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "tensor": (lambda x: x, X),
    "tuple": (lambda x: (x, None, 3), (X, None, 3)),
    "list": (lambda x: [x, [x]], (X, (X,))),
    "dict": (lambda x: {"a": x, 1: {"b": (x,)}}, {"a": X, "1": {"b": (X,)}}),
    "ordered dict": (lambda x: collections.OrderedDict(a=x), {"a": X}),
    "namedtuple": (lambda x: Pair(x, "word"), (X, "word")),
    "dataclass": (lambda x: Result(x, Result(x)), {"logits": X, "inner": {"logits": X, "inner": None}}),
    "slotted dataclass": (Slotted, {"logits": X}),
    "none": (lambda x: None, None),
    "bool": (lambda x: True, True),
    "int": (lambda x: x.shape[0], 2),
    "float": (lambda x: 0.5, 0.5),
    "string": (lambda x: "word", "word"),
    "size": (lambda x: x.shape, (2, 4)),
    "dtype": (lambda x: x.dtype, "torch.float32"),
    "normal": (lambda x: torch.distributions.Normal(x, x.exp()), {"loc": X, "scale": X}),
    "categorical": (lambda x: torch.distributions.Categorical(logits=x), {"logits": X, "_param": X}),
    "bernoulli": (lambda x: torch.distributions.Bernoulli(x.sigmoid()), {"probs": X, "_param": X}),
    "sample": (lambda x: torch.distributions.Normal(x, x.exp()).rsample(), X),
    "packed sequence": (
        lambda x: nn.utils.rnn.pack_padded_sequence(x, torch.tensor([4, 1]), batch_first=True),
        ("f32[5]", "i64[4]", None, None),  # 4 + 1 steps; how many rows each of the 4 steps has
    ),
    "object with a tensor": (Holder, {"x": X}),
    "object": (lambda x: object(), "<object>"),
    "generator": (lambda x: (each for each in [x]), "<generator>"),
    "set": (lambda x: {x}, "<set>"),
    "hostile object": (lambda x: Hostile(), "<Hostile>"),
    "hostile mapping": (lambda x: HostileMapping(), "<HostileMapping>"),
    "module": (lambda x: nn.ReLU(), "<ReLU>"),
    "class": (lambda x: Result, "<Result>"),
    "tensor subclass": (lambda x: x.as_subclass(Subclass), X),
    "parameter": (lambda x: nn.Parameter(torch.zeros(3)), "f32[3]"),
    "integer tensor": (lambda x: x.argmax(-1), "i64[2]"),
    "complex tensor": (lambda x: torch.complex(x, x), "c64[2,4]"),
    "empty tensor": (lambda x: x[:0], "f32[0,4]"),
    "scalar tensor": (lambda x: x.sum(), "f32[]"),
    "sparse tensor": (lambda x: x.to_sparse_coo(), "<sparse_coo>"),
    "nested tensor": (lambda x: torch.nested.nested_tensor([torch.zeros(3), torch.zeros(2)]), "<NestedTensor>"),
    "jagged tensor": (
        lambda x: torch.nested.nested_tensor_from_jagged(x, torch.tensor([0, 1, 2])), "<NestedTensor>",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("kind", OUTPUTS)
def test_any_output_is_recorded_for_the_root_and_for_a_module_inside(kind):
    make, expected = OUTPUTS[kind]
    inner = type("Inner", (nn.Module,), {"forward": lambda self, x: make(x)})()
    t = trace(nn.Sequential(inner), X)
    assert t.failure is None
    assert [text(c.outputs) for c in t.calls] == [expected, expected]


def test_a_list_that_holds_itself_ends():
    def forward(self: Any, x: Any) -> Any:
        cyclic = [x]
        cyclic.append(cyclic)
        return cyclic

    t = trace(type("Cyclic", (nn.Module,), {"forward": forward})(), X)
    assert t.failure is None
    assert text(t.calls[0].outputs)[0] == X


def test_a_model_output_of_transformers_is_recorded_by_field():
    outputs = pytest.importorskip("transformers.modeling_outputs")
    make = outputs.BaseModelOutput
    t = trace(
        type("Model", (nn.Module,), {"forward": lambda self, x: make(last_hidden_state=x, hidden_states=(x, x))})(), X
    )
    assert text(t.calls[0].outputs) == {"last_hidden_state": X, "hidden_states": (X, X)}


def test_a_cache_of_transformers_is_named_where_its_tensors_are_not_attributes():
    transformers = pytest.importorskip("transformers")
    t = trace(type("Model", (nn.Module,), {"forward": lambda self, x: (x, transformers.DynamicCache())})(), X)
    assert text(t.calls[0].outputs) == (X, "<DynamicCache>")


def test_nothing_of_an_output_is_kept_alive_by_the_trace():
    import gc
    import weakref

    kept: list[Any] = []

    class Keep(nn.Module):
        def forward(self, x: Any) -> Any:
            made = Holder(x + 1)
            kept.append(weakref.ref(made))
            return made

    # `kept` is closed over by nothing that the tracer puts back: a class body is no attribute of the module
    t = trace(Keep(), X)
    gc.collect()
    assert t.failure is None
    assert [reference() for reference in kept] == [None]

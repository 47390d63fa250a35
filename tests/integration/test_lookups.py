"""Operators that are looked up by their specs instead of run, and modules that are found in one flat walk."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
import torchvision
import transformers

from numel import torch_private
from numel.facts.trace import Trace
from numel.tracing import meta_recorder
from numel.tracing.arguments import tensors_of
from numel.tracing.backward import Training
from numel.tracing.meta_recorder import MetaRecorder
from numel.tracing.tracer import trace
from numel.tracing.tree import modules, named_modules, tensors

_SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 128, "pad_token_id": 0,
}  # fmt: skip


def decoder(name: str) -> torch.nn.Module:
    config = getattr(transformers, f"{name}Config")(**_SMALL)
    with torch.device("meta"):
        return getattr(transformers, f"{name}ForCausalLM")._from_config(config).eval()


def in_place(x: torch.Tensor) -> Iterator[torch.Tensor]:
    """What is written to: all of a tensor, a view of it, a part that overlaps what is added, one of another type."""
    whole, other = x.clone(), x.double()
    yield whole.add_(1).mul_(x[0]).clamp_(0, 1).relu_().copy_(other).addcmul_(x, x[:, :1], value=2)
    yield whole.t().add_(x.t(), alpha=2)
    yield other.sub_(x).masked_fill_(x > 0, 1.0).fill_(2)
    whole.view(-1)[2:].add_(whole.view(-1)[:-2])
    whole[:, 1].zero_()
    assert whole._version == 9  # six times, by its transpose, by two of its parts
    yield whole


class Assorted(torch.nn.Module):
    """What gives a tensor of its own, or an argument again, by turns; each asked for twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.new_zeros(())
        for _ in range(2):
            whole = x.argmax(-1)
            parts = [
                x.mean(1), x.t().mean(1), x.mean(1, dtype=torch.float64), torch.cat([x, x.double()]),
                x.type_as(x), x.type_as(whole), x.double().type_as(x), x.softmax(-1), x.cumsum(0), whole / whole.sum(),
                x.t().contiguous(), x.contiguous(), x.reshape(-1), x.t().reshape(-1), x.sort().values, x[:, :3].clone(),
                x.expand(2, *x.shape).sum((0, 1)), x.tril(), x.std(), torch.nn.functional.one_hot(whole % 4, 4),
            ]  # fmt: skip
            assert parts[4] is x  # of its type already
            parts += [*x.max(1), *x.topk(2), *torch.var_mean(x, 1), *torch.aminmax(x, dim=1), *x.cummax(0), *x.sort()]
            parts += torch.native_layer_norm(x, [7], None, None, 1e-5)
            parts += torch.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)
            parts += in_place(x)
            for part in parts:
                total = total + part.sum()
            torch.set_default_dtype(torch.float64)  # what the quotient of integers is of
        return total


_STEP = Training(optimizer=torch.optim.AdamW)


@pytest.mark.parametrize(
    ("make", "inputs", "training"),
    [
        (Assorted, "f32[5,7]", None),
        (lambda: decoder("Llama"), "i64[1,32]", None),
        (lambda: decoder("Llama"), "i64[1,32]", _STEP),
        (lambda: decoder("Gemma2"), "i64[1,32]", None),
        (lambda: decoder("GPTNeoX"), "i64[1,32]", None),
        (torchvision.models.squeezenet1_1, "f32[1,3,64,64]", None),
        (torchvision.models.shufflenet_v2_x0_5, "f32[2,3,64,64]", None),
        (torchvision.models.resnet18, "f32[2,3,64,64]", _STEP),
        (torchvision.models.mobilenet_v3_small, "f32[2,3,64,64]", Training()),
        (torchvision.models.swin_t, "f32[1,3,64,64]", None),
    ],
    ids=["assorted", "llama", "llama-step", "gemma2", "gpt-neox", "squeezenet", "shufflenet", "resnet-step",
         "mobilenet-back", "swin"],
)  # fmt: skip
def test_what_is_looked_up_is_what_the_operator_gives(
    make: Any, inputs: str, training: Training | None, monkeypatch: pytest.MonkeyPatch
):
    looked_up = MetaRecorder._cached
    hits: list[Any] = []

    def both(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
        found = looked_up(recorder, func, args, kwargs)
        run = func(*args, **(kwargs or {}))
        assert told(found, args) == told(run, args)
        hits.append(func)
        return found

    with torch.device("meta"):
        model = make().train(training is not None)
    plain = trace(model, inputs, mode="meta", training=training)
    monkeypatch.setattr(MetaRecorder, "_cached", both)
    checked = trace(model, inputs, mode="meta", training=training)
    run = trace_with_all_run(model, inputs, monkeypatch, training)
    assert plain.failure is checked.failure is run.failure is None
    assert len(hits) > len(set(hits)) > 3
    assert all_of(plain) == all_of(checked) == all_of(run)


def trace_with_all_run(
    model: torch.nn.Module, inputs: str, monkeypatch: pytest.MonkeyPatch, training: Training | None = None
) -> Trace:
    """The trace in which no operator is looked up."""
    monkeypatch.setattr(MetaRecorder, "_cached", lambda _, func, args, kwargs: func(*args, **(kwargs or {})))
    return trace(model, inputs, mode="meta", training=training)


def all_of(found: Trace) -> tuple[Any, ...]:
    return found.ops, found.calls, found.events, found.notes, found.failure


def told(outputs: Any, args: Any) -> list[Any]:
    """What is to be known of an operator's outputs: what they are like, and whether they are an argument, or share a
    storage with one or with another output."""
    given = list(tensors_of(args))
    storages = [torch_private.storage_number(each) for each in given]
    found: list[Any] = [type(outputs)]
    for each in outputs if type(outputs) is tuple else (outputs,):
        if each is None:
            found.append(None)
            continue
        number, held = torch_private.storage_number(each), each.untyped_storage().nbytes()
        found.append((each.shape, each.stride(), each.dtype, each.storage_offset(), held))
        found.append(([each is one for one in given], number in storages and storages.index(number)))
        storages.append(number)
    return found


@pytest.mark.parametrize("most", [0, 1, 1 << 14])
def test_what_one_trace_found_out_holds_in_the_next(most: int, monkeypatch: pytest.MonkeyPatch):
    """Another element type of what is divided gives another trace, and back again the first one. With no room for
    what was found out, or room for one operator, all runs again."""
    monkeypatch.setattr(meta_recorder, "_RECIPES", held := {})
    monkeypatch.setattr(meta_recorder, "_MOST_RECIPES", most)
    before = torch.get_default_dtype()
    made: list[Trace] = []
    sizes: list[int] = []
    for dtype in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(dtype)
        try:
            made.append(trace(Quotient(), "i64[4]", mode="meta"))
        finally:
            torch.set_default_dtype(before)
        sizes.append(len(held))
    assert [str(each.calls[0].outputs) for each in made] == ["f32[4]", "f64[4]", "f32[4]"]
    assert all_of(made[0]) == all_of(made[2])
    assert sizes == ([2, 4, 4] if most > 1 else [1, 1, 1])  # a sum and a quotient for each element type


class Quotient(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + x) / x


def test_what_keeps_recipes_keeps_nothing_of_a_model(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(meta_recorder, "_RECIPES", held := {})
    for case in (Assorted(), torchvision.models.shufflenet_v2_x0_5()):
        trace(case.eval(), "f32[5,7]" if isinstance(case, Assorted) else "f32[2,3,64,64]", mode="meta")
    pending, kinds = [*held, *held.values()], set()
    while pending:
        each = pending.pop()
        if isinstance(each, tuple | list):
            pending += each
        else:
            kinds.add(type(each))
    assert len(held) > 40
    assert kinds <= {torch._ops.OpOverload, torch.dtype, torch.memory_format, type, int, float, bool, str, type(None)}


def test_a_product_of_different_types_is_told_of_each_time():
    """A real kernel refuses it; the model's own weights are single."""
    for _ in range(2):
        notes = trace(torch.nn.Linear(4, 2), "bf16[3,4]", mode="meta").notes
        assert [note.code for note in notes] == ["mixed-dtypes"]


class Refused(torch.nn.Module):
    """Adds in place what fits, then what does not, and goes on; at last it does not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x.clone().add_(x[0]).copy_(x[:1])
            for row in (x[0], x[0, :2]):
                try:
                    row.clone().add_(x)
                except RuntimeError:
                    x = x.exp()
        return x[0].clone().mul_(x)


def test_what_is_refused_is_refused_each_time(monkeypatch: pytest.MonkeyPatch):
    """In each round both sums fail, as a row has no room for all rows: six exponentials, until nothing catches."""
    plain = trace(Refused(), "f32[5,7]", mode="meta")
    assert sum(op.op == "aten.exp.default" for op in plain.ops) == 6
    assert plain.failure is not None
    with pytest.raises(RuntimeError):
        Refused()(torch.zeros(5, 7))
    assert all_of(plain) == all_of(trace_with_all_run(Refused(), "f32[5,7]", monkeypatch))


class Counted(torch.nn.Module):
    """Counts its calls, and repeats its input as often if it is asked to."""

    def __init__(self, repeats: bool) -> None:
        super().__init__()
        self.repeats = repeats
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return x.repeat(int(self.count), 1) if self.repeats else x


class Averaged(torch.nn.Module):
    """Repeats its input as often as the mean of all batches says."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(1, momentum=1.0)
        self.norm.running_mean.fill_(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x).repeat(1 + int(self.norm.running_mean), 1)


@pytest.mark.parametrize("training", [None, Training()], ids=["forward", "step"])
def test_running_statistics_are_not_read_as_they_were(training: Training | None):
    """No schema says that they are written to. The mean of zeros is 0: four rows stay four; a mean of 2 made twelve."""
    model, x = Averaged(), torch.zeros(4, 1)
    found = trace(model, x, training=training).calls[0].outputs
    assert model.norm.running_mean == 2
    assert tuple(found.shape) == tuple(model(x).shape) == (4, 1)
    model.eval().norm.running_mean.fill_(2)  # where nothing is averaged, it is read
    assert trace(model, x, mode="meta").calls[0].outputs.shape == (12, 1)


def test_what_was_written_to_by_a_looked_up_operator_is_not_read_as_it_was():
    """A count that was 2 is 3 when it is read: three times two rows."""
    model = torch.nn.Sequential(Counted(False), Counted(False), Counted(True))
    model[2].count += 2
    expected = deepcopy(model)(torch.zeros(2, 3)).shape
    found = trace(model, "f32[2,3]").calls[0].outputs
    assert tuple(found.shape) == tuple(expected) == (6, 3)
    assert model[2].count == 2


class Shared(torch.nn.Module):
    """A part at two places, a part that is not there, and one that holds all."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
        self.again = self.first[0]
        self.register_module("missing", None)
        self.last = torch.nn.ModuleDict({"a": torch.nn.ReLU(), "b": self.first})
        self.last["all"] = self


class Own(torch.nn.Linear):
    """Says itself what it holds."""

    def named_modules(self, memo: Any = None, prefix: str = "", remove_duplicate: bool = True) -> Any:
        yield prefix + "own", self


@pytest.mark.parametrize(
    "make",
    [
        Shared,
        lambda: torch.nn.Sequential(torch.nn.Sequential(Own(2, 2)), torch.nn.ReLU()),
        lambda: torch.jit.script(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())),
        lambda: torchvision.models.squeezenet1_1(),
    ],
    ids=["shared", "own", "scripted", "squeezenet"],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_the_flat_walk_is_torchs(make: Any):
    model = make()
    assert named_modules(model) == list(model.named_modules())
    assert modules(model) == list(model.modules())
    every = list(dict.fromkeys(map(id, tensors(modules(model)))))
    if not isinstance(model, torch.jit.ScriptModule):  # which makes its tensors anew each time
        assert every == [id(each) for each in (*model.parameters(), *model.buffers())]

"""Operators that are looked up by their specs instead of run, and modules that are found in one flat walk."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
import transformers

from numel import torch_private
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
            for part in parts:
                total = total + part.sum()
            torch.set_default_dtype(torch.float64)  # what the quotient of integers is of
        return total


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (Assorted, "f32[5,7]"),
        (lambda: decoder("Llama"), "i64[1,32]"),
        (lambda: decoder("Gemma2"), "i64[1,32]"),
        (lambda: decoder("GPTNeoX"), "i64[1,32]"),
        (torchvision.models.squeezenet1_1, "f32[1,3,64,64]"),
        (torchvision.models.shufflenet_v2_x0_5, "f32[2,3,64,64]"),
        (torchvision.models.swin_t, "f32[1,3,64,64]"),
    ],
    ids=["assorted", "llama", "gemma2", "gpt-neox", "squeezenet", "shufflenet", "swin"],
)
def test_what_is_looked_up_is_what_the_operator_gives(make: Any, inputs: str, monkeypatch: pytest.MonkeyPatch):
    looked_up = MetaRecorder._cached
    hits: list[Any] = []

    def both(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
        found = looked_up(recorder, func, args, kwargs)
        run = func(*args, **(kwargs or {}))
        assert (found.shape, found.stride(), found.dtype) == (run.shape, run.stride(), run.dtype)
        storages = {torch_private.storage_number(each) for each in args if isinstance(each, torch.Tensor)}
        assert (torch_private.storage_number(found) in storages) == (torch_private.storage_number(run) in storages)
        hits.append(func)
        return found

    with torch.device("meta"):
        model = make().eval()
    plain = trace(model, inputs, mode="meta")
    monkeypatch.setattr(MetaRecorder, "_cached", both)
    checked = trace(model, inputs, mode="meta")
    monkeypatch.setattr(MetaRecorder, "_cached", lambda _, func, args, kwargs: func(*args, **(kwargs or {})))
    run = trace(model, inputs, mode="meta")
    assert plain.failure is checked.failure is run.failure is None
    assert len(hits) > len(set(hits)) > 3
    assert (plain.ops, plain.calls) == (checked.ops, checked.calls) == (run.ops, run.calls)


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

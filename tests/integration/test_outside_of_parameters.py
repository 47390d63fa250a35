"""Weights that `parameters()` does not see: in plain attributes, lists and dictionaries, or as constants of a graph."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm  # noqa: E402

from numel.facts import Note  # noqa: E402
from numel.sources.live import snapshot, totals  # noqa: E402


class Holder(nn.Module):
    """What it is given, as plain attributes."""

    def __init__(self, **held: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        for name, each in held.items():
            self.__dict__[name] = each


def said(model: nn.Module) -> list[Note]:
    s = snapshot(model)
    assert totals(model) == s.totals
    return [note for note in s.notes if note.code in ("unregistered", "constants")]


@pytest.mark.parametrize(
    ("held", "where", "elements"),
    [
        ({"ws": [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))]}, "ws.0, ws.1", 7),
        ({"ws": {"a": (nn.Parameter(torch.zeros(3)),)}}, "ws.a.0", 3),
        ({"layers": [nn.Linear(2, 3), nn.ReLU()]}, "layers.0.weight, layers.0.bias", 9),
        ({"layer": nn.Linear(2, 3, bias=False)}, "layer.weight", 6),
    ],
    ids=["a list", "a tuple in a dictionary", "a list of modules", "a module past setattr"],
)
def test_weights_that_are_registered_nowhere_are_a_warning_that_says_where_and_how_many(held, where, elements):
    """The optimizer gets `model.parameters()`, which has none of them."""
    model = Holder(**held)
    assert snapshot(model).totals.params == sum(p.numel() for p in model.parameters()) == 6
    (note,) = said(model)
    assert note.level == "warning"
    assert f"{where} ({elements:,} elements)" in note.text


def test_plain_tensors_are_an_info_with_the_path_of_their_module():
    model = nn.Sequential(Holder(table=torch.zeros(5), again=[torch.zeros(2)]))
    (note,) = said(model)
    assert note.level == "info"
    assert "0.table, 0.again.0 (7 elements)" in note.text


def registered_as_well() -> nn.Module:
    model = Holder()
    model.__dict__["all"] = [model.fc.weight, model.fc]
    return model


@pytest.mark.parametrize(
    "make",
    [
        registered_as_well,
        lambda: nn.LSTM(2, 3, 2),
        lambda: prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5),
        lambda: prune.l1_unstructured(nn.Linear(4, 4).requires_grad_(False), "weight", 0.5),
        lambda: weight_norm(nn.Linear(4, 4)),
        lambda: spectral_norm(nn.Linear(4, 4)),
        lambda: parametrizations.orthogonal(nn.Linear(4, 4)),
        lambda: nn.MultiheadAttention(4, 2),
        lambda: Holder(numbers=[1, 2], names={"a": "b"}, nothing=None),
    ],
    ids=["registered as well", "recurrent", "pruned", "pruned and frozen", "weight norm", "spectral norm", "orthogonal",
         "attention", "no tensors"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_what_is_registered_or_computed_of_what_is_gets_no_note(make):
    assert said(make()) == []


def test_many_places_are_one_note_and_a_tensor_in_two_of_them_counts_once():
    shared = torch.zeros(4)
    model = nn.Sequential(*(Holder(t=torch.zeros(3), same=shared) for _ in range(20)))
    (note,) = said(model)
    assert "and 18 more (64 elements)" in note.text


def test_a_list_that_holds_itself_ends():
    loop: list[Any] = [torch.zeros(2)]
    loop.append(loop)
    (note,) = said(Holder(loop=loop))
    assert "(2 elements)" in note.text


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_the_weights_of_a_frozen_script_are_constants_and_said_to_be():
    """freeze folds 4 · 8 + 8 + 8 · 2 + 2 elements into the graph."""
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    (note,) = said(torch.jit.freeze(torch.jit.script(model)))
    assert (note.code, note.level) == ("constants", "warning")
    assert "58 elements in 4 constants" in note.text
    assert said(torch.jit.script(model)) == []

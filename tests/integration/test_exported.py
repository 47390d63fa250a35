"""A `torch.export.ExportedProgram` as a target: the numbers, rows and ties of the module that it was exported from."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch.export")

from torch import nn  # noqa: E402

import numel  # noqa: E402
from numel.errors import TargetError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

VOCABULARY, WIDTH, TOKENS, BLOCKS = 10, 8, 5, 2


class Block(nn.Module):
    """A product, a norm and a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH)
        self.register_buffer("scale", torch.ones(3), persistent=False)

    def forward(self, x: Any) -> Any:
        return self.norm(self.fc(x)).relu() * self.scale.sum()


class Tied(nn.Module):
    """Embedding and head share a weight; one layer is called twice and one never."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.twice = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.embedding.weight
        self.never = nn.Linear(3, 3)

    def forward(self, ids: Any, *, shift: Any = None) -> Any:
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        x = self.twice(self.twice(x))
        return {"logits": self.head(x if shift is None else x + shift)}


MACS = TOKENS * ((BLOCKS + 2) * WIDTH * WIDTH + WIDTH * VOCABULARY)
PARAMS = VOCABULARY * WIDTH + BLOCKS * (WIDTH * WIDTH + 3 * WIDTH) + WIDTH * WIDTH + WIDTH + 3 * 3 + 3
BUFFERS = BLOCKS * (3 + 2 * WIDTH + 1)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return Tied().eval()


@pytest.fixture(scope="module")
def program(model) -> Any:
    return torch.export.export(model, (torch.zeros(TOKENS, dtype=torch.int64),), {"shift": torch.zeros(WIDTH)})


def test_params_buffers_and_ties_are_those_of_the_module(program):
    totals = numel.count(program)
    assert (totals.params, totals.buffers, totals.tied) == (PARAMS, BUFFERS, VOCABULARY * WIDTH)
    assert totals == numel.read(program).totals


def test_it_runs_on_what_it_was_exported_with(program):
    report = numel.summary(program)
    assert (report.macs, report.exact, report.mode) == (MACS, True, "meta")
    assert "default-inputs" in [note.code for note in report.notes]


@pytest.mark.parametrize("decomposed", [False, True], ids=["as exported", "decomposed"])
def test_rows_are_those_of_the_modules_that_its_nodes_came_from(model, program, decomposed):
    """By class, parameters, calls and work, row for row."""
    given = numel.Inputs((torch.zeros(TOKENS, dtype=torch.int64),), {"shift": torch.zeros(WIDTH)})
    target = program.run_decompositions() if decomposed else program
    alive = {row.path: row for row in numel.summary(model, given).layers}
    told = {row.path: row for row in numel.summary(target, given).layers}
    for path, row in alive.items():
        mine = told[path]
        assert (mine.totals, mine.macs, mine.calls) == (row.totals, row.macs, row.calls), path
        if path not in ("blocks", "never"):  # containers, and what never ran, left no node that tells their class
            assert mine.type == row.type, path


def test_the_program_is_what_it_was(program):
    def state() -> Any:
        tensors = [(name, id(t), t._version) for name, t in program.state_dict.items()]
        return str(program.graph), tensors, [id(t) for t in program.constants.values()], program.example_inputs

    before = state()
    numel.summary(program)
    assert str(state()) == str(before)


def test_a_tensor_that_the_forward_closes_over_is_named():
    class Shifted(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 4)
            self.shift = torch.ones(4)

        def forward(self, x: Any) -> Any:
            return super().forward(x) + self.shift

    report = numel.summary(torch.export.export(Shifted(), (torch.zeros(2, 4),)))
    assert (report.totals.params, report.macs) == (20, 32)
    assert "shift (4 elements)" in next(note.text for note in report.notes if note.code == "unregistered")


def test_a_graph_that_can_not_be_cut_is_run_as_one_piece(program, monkeypatch):
    def fails(_: Any) -> Any:
        raise AssertionError("no such module")

    monkeypatch.setattr(torch.export, "unflatten", fails)
    report = numel.summary(program)
    assert (report.macs, report.totals.params) == (MACS, PARAMS)
    assert "one-graph" in [note.code for note in report.notes]


def test_a_program_takes_no_options(program):
    with pytest.raises(TargetError, match="no options"):
        numel.count(program, options={"a": 1})

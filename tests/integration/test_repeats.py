"""Blocks that are alike run twice, and the trace is that of a run where each does; blocks that are not are told apart.

Twelve blocks stand side by side; in each case something that a block could look at changes after the first few.
"""

from __future__ import annotations

import itertools
import random
import types
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
import transformers

from numel.tracing import repeats
from numel.tracing.tracer import trace

BLOCKS = 12
LATE = 7  # from this block on, things are different

COUNTS = {"calls": 0}
calls = 0
drawn = random.Random(0)
numbers = itertools.count()
elsewhere = types.ModuleType("elsewhere")
exec("def tick():\n    global calls\n    calls += 1\n    return calls", vars(elsewhere))


class Block(torch.nn.Module):
    """Two layers, and a number that it does not look at."""

    def __init__(self, index: int, shared: Any) -> None:
        super().__init__()
        self.index = index
        self.shared = shared
        self.first = torch.nn.Linear(8, 16)
        self.second = torch.nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> Any:
        return x + self.second(torch.relu(self.first(x)))


class Shared:
    def __init__(self) -> None:
        self.calls = 0
        self.seen: list[int] = []
        self.late: dict[Any, bool] = {}
        self.is_late = [False] * LATE + [True] * (BLOCKS - LATE)


class Model(torch.nn.Module):
    def __init__(self, block: type[Block] = Block) -> None:
        super().__init__()
        self.shared = Shared()
        self.blocks = torch.nn.ModuleList(block(index, self.shared) for index in range(BLOCKS))

    def forward(self, x: torch.Tensor) -> Any:
        for block in self.blocks:
            x = block(x)
        return x


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number for each block that another one stood for."""
    found: list[int] = []
    again = repeats.Repeats._again
    monkeypatch.setattr(repeats.Repeats, "_again", lambda *given: (found.append(1), again(*given))[1])
    return found


def same(model: torch.nn.Module, inputs: Any = "f32[4,8]") -> bool:
    """Whether a trace is that in which every block runs."""
    return trace(model, inputs) == trace(model, inputs, every_block=True)


def test_of_blocks_that_are_alike_two_run_and_stand_for_all(taken: list[int]):
    assert same(Model())
    assert len(taken) == BLOCKS - 2


def test_every_block_runs_when_asked_for(taken: list[int]):
    trace(Model(), "f32[4,8]", every_block=True)
    assert not taken


# ── blocks that look alike, and do something else from some point on ─────────────────────────────────────────────────


class ByNumber(Block):
    def forward(self, x: Any) -> Any:
        return super().forward(x).relu() if self.index < LATE else super().forward(x)


class ByTruth(Block):
    def forward(self, x: Any) -> Any:
        return super().forward(x) if LATE - self.index else x


class ByPlace(Block):
    def forward(self, x: Any) -> Any:
        return x if self.shared.is_late[self.index] else super().forward(x)


class ByName(Block):
    def forward(self, x: Any) -> Any:
        return x if f"block {self.index}" == f"block {LATE}" else super().forward(x)


class ByKey(Block):
    def forward(self, x: Any) -> Any:
        return {LATE: torch.sin, LATE + 1: torch.cos}.get(self.index, torch.relu)(super().forward(x))


class ByWidth(Block):
    def forward(self, x: Any) -> Any:
        return super().forward(x) + x[:, : self.index % 8].sum()


class ByFactor(Block):
    def forward(self, x: Any) -> Any:
        return super().forward(x) * self.index


class ByType(Block):
    def forward(self, x: Any) -> Any:
        return super().forward(x).sin() if type(self.index) is int else x


class KeepsNumber(Block):
    def forward(self, x: Any) -> Any:
        self.kept = self.index
        return super().forward(x)


class ByItself(Block):
    def __init__(self, index: int, shared: Any) -> None:
        super().__init__(index, shared)
        shared.late[self] = index >= LATE

    def forward(self, x: Any) -> Any:
        return x if self.shared.late[self] else super().forward(x)


class BySharedCount(Block):
    def forward(self, x: Any) -> Any:
        self.shared.calls += 1
        return x if self.shared.calls > LATE else super().forward(x)


class BySharedList(Block):
    def forward(self, x: Any) -> Any:
        self.shared.seen.append(1)
        return x if len(self.shared.seen) > LATE else super().forward(x)


class ByGlobal(Block):
    def forward(self, x: Any) -> Any:
        global calls
        calls += 1
        return x if calls > LATE else super().forward(x)


class ByGlobalDict(Block):
    def forward(self, x: Any) -> Any:
        COUNTS["calls"] += 1
        return x if COUNTS["calls"] > LATE else super().forward(x)


class ByOtherFile(Block):
    def forward(self, x: Any) -> Any:
        return x if elsewhere.tick() > LATE else super().forward(x)


class ByStateOfOtherFile(Block):
    def forward(self, x: Any) -> Any:
        elsewhere.state["calls"] += 1
        return x if elsewhere.state["calls"] > LATE else super().forward(x)


class ByClass(Block):
    calls = 0

    def forward(self, x: Any) -> Any:
        type(self).calls += 1
        return x if self.calls > LATE else super().forward(x)


def _counting() -> Callable[[], int]:
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return count

    return tick


class ByClosure(Block):
    def __init__(self, index: int, shared: Any) -> None:
        super().__init__(index, shared)
        shared.tick = tick = getattr(shared, "tick", None) or _counting()
        self.tick = tick

    def forward(self, x: Any) -> Any:
        return x if self.tick() > LATE else super().forward(x)


class ByChance(Block):
    def forward(self, x: Any) -> Any:
        return x if random.random() < 0.5 else super().forward(x)


class ByChanceOfNumPy(Block):
    def forward(self, x: Any) -> Any:
        return x if numpy.random.rand() < 0.5 else super().forward(x)


class ByOwnChance(Block):
    def forward(self, x: Any) -> Any:
        return x if drawn.random() < 0.5 else super().forward(x)


class ByTurn(Block):
    def forward(self, x: Any) -> Any:
        return x if next(numbers) > LATE else super().forward(x)


class ByValue(Block):
    def forward(self, x: Any) -> Any:
        return x if torch.arange(3).sum() + self.late() > 5 else super().forward(x)

    def late(self) -> int:
        return len(self.shared.seen)


class LeavesAnAttribute(Block):
    def forward(self, x: Any) -> Any:
        self.last = super().forward(x)
        return self.last


class GivesItsNumber(Block):
    def forward(self, x: Any) -> Any:
        given = x[0] if isinstance(x, tuple) else x
        return super().forward(given), self.index


class Writes(Block):
    def forward(self, x: Any) -> Any:
        return x.add_(super().forward(x))


class Views(Block):
    def forward(self, x: Any) -> Any:
        return super().forward(x).t().t()


class Narrows(Block):
    """Each but the last gives one row less."""

    def forward(self, x: Any) -> Any:
        return super().forward(x)[1:] if len(x) > 2 else super().forward(x)


def _kinds() -> list[type[Block]]:
    return Block.__subclasses__()


@pytest.mark.parametrize("block", _kinds(), ids=lambda kind: kind.__name__)
def test_a_block_is_not_taken_for_one_that_could_do_something_else(block: type[Block]):
    found = []
    for every_block in (False, True):
        vars(elsewhere).update(calls=0, state={"calls": 0})
        globals().update(drawn=random.Random(0), numbers=itertools.count())
        found.append(trace(Model(block), f"f32[{BLOCKS + 4},8]", every_block=every_block))
    assert found[0] == found[1]
    assert found[0].failure is None


ALIKE = {"GivesItsNumber": 0, "LeavesAnAttribute": 0, "Views": BLOCKS - 2, "Writes": 0, "Narrows": 3}


@pytest.mark.parametrize(("name", "number"), ALIKE.items())
def test_what_leaves_something_behind_is_run_each_time(name: str, number: int, taken: list[int]):
    """Narrow blocks: 16 rows become 2, and the last three blocks all get two; the second of these is the proof."""
    (block,) = (kind for kind in _kinds() if kind.__name__ == name)
    trace(Model(block), f"f32[{BLOCKS + 4},8]")
    assert len(taken) <= number


# ── blocks of one class that differ, or are not run in the same way ──────────────────────────────────────────────────


def wider(model: Model) -> None:
    model.blocks[LATE].first = torch.nn.Linear(8, 32)
    model.blocks[LATE].second = torch.nn.Linear(32, 8)


def other_forward(model: Model) -> None:
    model.blocks[LATE].forward = torch.sin  # type: ignore[method-assign, assignment]


def other_activation(model: Model) -> None:
    model.blocks[LATE].first = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh())  # type: ignore[assignment]


def hooked(model: Model) -> None:
    model.blocks[LATE].second.register_forward_hook(lambda *given: given[-1].exp())


def in_half(model: Model) -> None:
    model.blocks[LATE].to(torch.bfloat16)
    model.blocks[LATE].register_forward_pre_hook(lambda _, given: (given[0].bfloat16(),))
    model.blocks[LATE].register_forward_hook(lambda *given: given[-1].float())


def frozen(model: Model) -> None:
    model.blocks[LATE].first.weight.requires_grad_(False)


def in_training(model: Model) -> None:
    model.blocks[LATE].train(not model.blocks[LATE].training)


def flagged(model: Model) -> None:
    for block in model.blocks:
        block.flag = False  # type: ignore[assignment]
    model.blocks[LATE].flag = True  # type: ignore[assignment]


def the_same_twice(model: Model) -> None:
    model.blocks[LATE] = model.blocks[LATE - 1]


def tied(model: Model) -> None:
    model.blocks[LATE].first.weight = model.blocks[0].first.weight


@pytest.mark.parametrize(
    "change",
    [wider, other_forward, other_activation, hooked, in_half, frozen, in_training, flagged, the_same_twice, tied],
)
def test_one_that_differs_is_run(change: Callable[[Model], None], taken: list[int]):
    model = Model()
    change(model)
    assert same(model)
    assert BLOCKS - 4 <= len(taken) <= BLOCKS - 2


class InOtherSurroundings(Model):
    def forward(self, x: Any) -> Any:
        for at, block in enumerate(self.blocks):
            torch.set_default_dtype(torch.float64 if at >= LATE else torch.float32)
            with torch.set_grad_enabled(at % 2 == 0):
                x = block(x)
        return x


class Looking(Block):
    def forward(self, x: Any) -> Any:
        made = torch.ones(1) if torch.is_grad_enabled() else torch.zeros(1)
        return super().forward(x) + made


class Kept(Model):
    """Reads afterwards what blocks keep: their number, which the second was not given as one."""

    def forward(self, x: Any) -> Any:
        x = super().forward(x)
        return sum((x[:, : block.kept % 8] * block.kept).sum() for block in self.blocks)


class Masked(Block):
    def forward(self, x: Any, mask: Any = None) -> Any:
        return super().forward(x) + x[mask].sum()


class Told(Block):
    def forward(self, x: Any, mask: Any = None) -> Any:
        return super().forward(x) if mask[1] else x


class Masking(Model):
    """Gives each block a mask of its own: the shapes are equal, the values are not."""

    def forward(self, x: Any) -> Any:
        for at, block in enumerate(self.blocks):
            x = block(x, torch.arange(4) < (4 if at < LATE else 1))
        return x


class PartsAlone(Model):
    """Runs the parts of blocks, and not the blocks, and reads what they hold."""

    def forward(self, x: Any) -> Any:
        x = super().forward(x)
        return sum(block.first(x).sum() * block.index for block in self.blocks)


class Fails(Block):
    def forward(self, x: Any) -> Any:
        if len(x) == 4:
            raise ValueError("no four rows")
        return super().forward(x)


@pytest.mark.parametrize(
    ("model", "block"),
    [(InOtherSurroundings, Looking), (PartsAlone, Block), (Model, Fails), (Kept, KeepsNumber), (Masking, Masked),
     (Masking, Told)],
)  # fmt: skip
def test_surroundings_parts_values_and_failures_are_those_of_a_whole_run(model: type[Model], block: type[Block]):
    made = model(block)
    assert same(made)


def test_blocks_that_fail_for_four_rows_run_for_five():
    assert same(Model(Fails), "f32[5,8]")


def test_a_hook_on_every_module_sees_each_block():
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *given: given[-1].sin())
    try:
        assert sum(op.name == "aten.sin" for op in trace(Model(), "f32[4,8]").ops) == 3 * BLOCKS + 1
    finally:
        handle.remove()


@pytest.mark.parametrize("block", [Block, ByType, ByNumber, ByFactor, Fails, KeepsNumber])
def test_numbers_are_put_back(block: type[Block]):
    model = Model(block)
    before = [dict(each.__dict__) for each in model.blocks]
    trace(model, "f32[4,8]")
    assert [each.__dict__ for each in model.blocks] == before
    assert all(type(each.index) is int for each in model.blocks)


def test_a_profiler_that_is_active_stays_so(taken: list[int]):
    """There can be one, and it is needed to see what functions look at: then every block runs."""
    import sys

    def profiler(*_: Any) -> None: ...

    sys.setprofile(profiler)
    try:
        trace(Model(), "f32[4,8]")
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert not taken


# ── transformers ─────────────────────────────────────────────────────────────────────────────────────────────────────

SMALL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 8, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 128, "pad_token_id": 0, "head_dim": 8,
}  # fmt: skip


class Reading(torch.nn.Module):
    """A decoder, and work on all that its cache holds afterwards."""

    def __init__(self, name: str, **more: Any) -> None:
        super().__init__()
        self.decoder = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**SMALL, **more))

    def forward(self, ids: torch.Tensor) -> Any:
        cache = self.decoder(ids).past_key_values
        again = self.decoder(ids, past_key_values=cache)
        return [again.last_hidden_state, *(layer.keys @ layer.values.mT for layer in cache.layers)]


@pytest.mark.parametrize(
    ("name", "more", "number"),
    [
        ("Llama", {}, 2 * 6),
        ("Mistral", {"sliding_window": 8}, 2 * 6),
        ("Gemma2", {"sliding_window": 8}, 2 * 4),  # every other one slides: two kinds
        ("Qwen3Moe", {"num_experts": 4, "moe_intermediate_size": 16, "num_experts_per_tok": 2}, 2 * 6),
    ],
)
def test_a_cache_holds_what_each_block_would_have_left_there(name: str, more: Any, number: int, taken: list[int]):
    model = Reading(name, **more).eval()
    assert same(model, "i64[1,16]")
    assert len(taken) == number

"""A monitor sees each change at its step, exactly, and nothing else, whatever is done to a model in which order."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import numel  # noqa: E402
from numel.errors import InputsError, SchemaError, TargetError  # noqa: E402

nn = torch.nn
Expected = set[tuple[str, str]]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.blocks = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))
        self.norm = nn.BatchNorm1d(3)


def freeze(model: Any) -> Expected:
    kind = "frozen" if model.a.weight.requires_grad else "unfrozen"
    model.a.weight.requires_grad_(kind == "unfrozen")
    return {(kind, "a.weight")}


def retype(model: Any) -> Expected:
    to = torch.float64 if model.norm.weight.dtype is torch.float32 else torch.float32
    held = model.norm.state_dict()
    model.norm.to(to)
    return {("retyped", f"norm.{name}") for name, x in held.items() if x.is_floating_point() and x.dtype is not to}


def move(model: Any) -> Expected:
    to = "cpu" if model.a.bias.is_meta else "meta"
    model.a.bias = nn.Parameter(torch.empty(3, device=to))
    return {("moved", "a.bias")}


def resize(model: Any) -> Expected:
    size = model.blocks[0].weight.shape[0] + 1
    model.blocks[0].weight = nn.Parameter(torch.zeros(size, 3))
    return {("reshaped", "blocks.0.weight")}


def replace(model: Any) -> Expected:
    """The same class and shapes: only the object is another."""
    model.blocks[1] = nn.Linear(3, 3)
    return {("replaced", "blocks.1")}


def swap(model: Any) -> Expected:
    """A new parameter of the same shape, which an optimizer does not hold."""
    model.blocks[1].bias = nn.Parameter(torch.zeros(3))
    return {("replaced", "blocks.1.bias")}


def grow(model: Any) -> Expected:
    at = len(model.blocks)
    model.blocks.append(nn.Linear(3, 3))
    return {("added", f"blocks.{at}"), ("added", f"blocks.{at}.weight"), ("added", f"blocks.{at}.bias")}


def buffer(model: Any) -> Expected:
    if "extra" in model.norm._buffers:
        del model.norm.extra
        return {("removed", "norm.extra")}
    model.norm.register_buffer("extra", torch.zeros(2))
    return {("added", "norm.extra")}


def tie(model: Any) -> Expected:
    if model.blocks[2].weight is model.a.weight:
        model.blocks[2].weight = nn.Parameter(torch.zeros(3, 3, requires_grad=True))
        model.blocks[2].weight.requires_grad_(model.a.weight.requires_grad)
        return {("untied", "blocks.2.weight")}
    model.blocks[2].weight.requires_grad_(model.a.weight.requires_grad)
    model.blocks[2].weight = model.a.weight
    return {("tied", "blocks.2.weight")}


def train(model: Any) -> Expected:
    """Values change at every step of a training: that is no change of structure."""
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.is_meta:
                parameter.add_(1.0)
    model.train(not model.training)
    return set()


EDITS: tuple[Callable[[Any], Expected], ...] = (freeze, retype, move, resize, replace, swap, grow, buffer, tie, train)


def seen(found: Any) -> Expected:
    return {(each.kind, each.path) for each in found}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_each_kind_of_change_is_seen_at_its_step_and_only_there(edit: Callable[[Any], Expected]):
    model = Net()
    with numel.monitor(model) as watched:
        assert watched.observe(0) == ()
        expected = edit(model)
        assert seen(watched.observe(1)) == expected
        assert watched.observe(2) == ()
    assert {(each.step, each.kind, each.path) for each in watched.history.changes} == {(1, *each) for each in expected}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(EDITS), max_size=12))
def test_nothing_else_is_seen_in_any_sequence_of_edits(edits: list[Callable[[Any], Expected]]):
    """`tie` and `freeze` touch one tensor that may be at two places by then: its twin's flag changes with it."""
    model = Net()
    watched = numel.monitor(model)
    watched.observe(0)
    for step, edit in enumerate(edits, 1):
        before = model.blocks[2].weight.requires_grad
        tied = model.blocks[2].weight is model.a.weight
        expected = edit(model)
        if edit is freeze and tied:
            expected |= {(kind, "blocks.2.weight") for kind, _ in expected}
        if edit is tie and model.blocks[2].weight.requires_grad != before:
            expected |= {("unfrozen" if model.blocks[2].weight.requires_grad else "frozen", "blocks.2.weight")}
        assert seen(watched.observe(step)) == expected, edit.__name__
        assert watched.history.samples[-1].totals == numel.count(model)


def test_a_parameter_at_the_address_of_one_that_is_gone_is_another():
    model = Net()
    watched = numel.monitor(model)
    watched.observe(0)
    for step in range(1, 30):
        model.a.weight = None
        gc.collect()
        model.a.weight = nn.Parameter(torch.zeros(3, 3))
        assert seen(watched.observe(step)) == {("replaced", "a.weight")}


def test_a_layer_that_is_replaced_by_another_class_says_both():
    model = Net()
    watched = numel.monitor(model)
    watched.observe(0)
    model.norm = nn.LayerNorm(3)
    found = watched.observe(1)
    (replaced,) = [each.change for each in found if each.kind == "replaced"]
    assert (replaced.before, replaced.after) == ("BatchNorm1d", "LayerNorm")
    assert {each.path for each in found if each.kind == "removed"} == {
        f"norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    }


def test_a_layer_whose_class_is_changed_in_place_is_replaced():
    class Other(torch.nn.Linear):
        pass

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    watched = numel.monitor(model)
    watched.observe(0)
    model[0].__class__ = Other
    (seen,) = watched.observe(1)
    assert (seen.kind, seen.path, seen.change.before, seen.change.after) == ("replaced", "0", "Linear", "Other")
    assert watched.observe(2) == ()


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_packed_are_retyped():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchao = pytest.importorskip("torchao.quantization")
    model = torch.nn.Sequential(torch.nn.Linear(32, 8))
    watched = numel.monitor(model)
    watched.observe(0)
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig())
    seen = {each.kind: each.change for each in watched.observe(1)}
    assert seen.keys() == {"retyped", "frozen"}
    assert (seen["retyped"].path, seen["retyped"].before) == ("0.weight", "float32")
    assert seen["retyped"].after.startswith("float32 in ")


def test_a_lazy_layer_gets_its_shape():
    model = nn.Sequential(nn.LazyLinear(2))
    watched = numel.monitor(model)
    watched.observe(0)
    model(torch.zeros(1, 5))
    found = {(each.kind, each.path): each.change for each in watched.observe(1)}
    assert found["reshaped", "0.weight"].before is None
    assert found["reshaped", "0.weight"].after == (2, 5)


# ── leaves no trace ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_attached_and_nothing_is_kept_alive():
    model = Net()
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    watched = numel.monitor(model)
    watched.observe(0)
    gone = weakref.ref(model.blocks[0].weight)
    model.blocks[0] = nn.Linear(3, 3)
    gc.collect()
    assert gone() is None
    watched.observe(1)
    watched.close()
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
    assert all(not module._forward_hooks and not module._backward_hooks for module in model.modules())
    kept = weakref.ref(model)
    del model
    gc.collect()
    assert kept() is None


def test_memory_does_not_grow_with_the_steps():
    model = Net()
    watched = numel.monitor(model)
    for step in range(2_000):
        watched.observe(step)
    history = watched.history
    assert (len(history.samples), len(history.changes)) == (2, 0)
    assert history.steps == (0, 1_999)


# ── sinks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def run(model: Any, sink: Any) -> Any:
    with numel.monitor(model, sink) as watched:
        watched.observe(0)
        grow(model)
        watched.observe(3)
        freeze(model)
        watched.observe(5)
        watched.observe(9)
    return watched.history


def test_json_lines_are_read_as_the_history_that_they_were_written_from(tmp_path: Path):
    history = run(Net(), tmp_path / "run.jsonl")
    assert numel.load(tmp_path / "run.jsonl") == history
    history.save(tmp_path / "run.json")
    assert numel.load(tmp_path / "run.json") == history
    for format in ("terminal", "markdown", "html", "notebook", "latex", "csv"):
        assert "blocks.3" in history.text(format) or format == "csv"


def test_a_line_that_a_killed_run_left_unfinished_is_left_out_and_gone_on_after(tmp_path: Path):
    place = tmp_path / "run.jsonl"
    history = run(Net(), place)
    whole = place.read_bytes()
    place.write_bytes(whole + b'{"change": [7, 1.5, "frozen", "a.bi')
    assert numel.load(place) == history
    with numel.monitor(Net(), place) as watched:
        watched.observe(11)
    again = numel.load(place)
    assert [sample.step for sample in again.samples][-1] == 11
    assert again.changes == history.changes


def test_a_run_that_is_killed_is_read_up_to_its_last_line(tmp_path: Path):
    code = (
        "import numel, torch, time\n"
        "model = torch.nn.Sequential(torch.nn.Linear(2, 2))\n"
        "watched = numel.monitor(model, 'run.jsonl')\n"
        "for step in range(10**6):\n"
        "    model.append(torch.nn.Linear(2, 2))\n"
        "    watched.observe(step)\n"
        "    time.sleep(0.01)\n"
    )
    running = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    place = tmp_path / "run.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (place.exists() and place.stat().st_size > 3_000):
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    history = numel.load(place)
    steps = [sample.step for sample in history.samples]
    assert steps == list(range(len(steps)))
    assert len(steps) > 5
    assert [sample.totals.params for sample in history.samples] == [6 * (step + 2) for step in steps]


def test_only_the_first_process_of_a_job_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "1")
    history = run(Net(), tmp_path / "run.jsonl")
    assert not (tmp_path / "run.jsonl").exists()
    assert len(history.changes) == 4


def test_a_callable_gets_every_sample_and_change():
    got: list[Any] = []
    history = run(Net(), got.append)
    assert [each for each in got if hasattr(each, "change")] == list(history.changes)
    assert [each for each in got if hasattr(each, "totals")] == list(history.samples)


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_mistakes_are_one_line(tmp_path: Path):
    with pytest.raises(TargetError, match="expected a live"):
        numel.monitor("resnet50")
    with pytest.raises(InputsError, match="expected a path of"):
        numel.monitor(Net(), 5)
    watched = numel.monitor(Net())
    watched.observe(5)
    for step in (4, -1, 1.5, True, "6"):
        with pytest.raises(InputsError, match="expected an integer from 5 on"):
            watched.observe(step)  # type: ignore[arg-type]
    watched.close()
    watched.close()
    with pytest.raises(InputsError, match="closed"):
        watched.observe(6)
    (tmp_path / "x.jsonl").write_text("nothing\n[1]\n")
    with pytest.raises(SchemaError, match="no history that numel wrote"):
        numel.load(tmp_path / "x.jsonl")
    (tmp_path / "y.jsonl").write_text(json.dumps({"schema": 2, "kind": "history"}) + '\n{"change": [1]}\n')
    with pytest.raises(SchemaError, match="damaged facts"):
        numel.load(tmp_path / "y.jsonl")

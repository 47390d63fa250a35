"""What a dispatch mode can not see, and what chance decides: flagged, the same at every run, and nothing left behind.

The forwards here compute known work in a known place: what is seen of it is counted by hand above each test.
"""

from __future__ import annotations

import _thread
import concurrent.futures
import ctypes
import gc
import multiprocessing.pool
import os
import random
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

from torch import nn  # noqa: E402

import numel  # noqa: E402


class Net(nn.Module):
    """One 4 × 4 layer, and any function of (self, x) as a forward."""

    def __init__(self, function: Callable[..., Any], **children: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layer = nn.Linear(4, 4, bias=False)
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


# ── work that torch does not see ─────────────────────────────────────────────────────────────────────────────────────


def _by_numpy(self: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(x.detach().numpy() @ self.layer.weight.detach().numpy())


def _by_array(self: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.asarray(x.detach()) * 2)


def _by_dlpack(self: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.from_dlpack(x.detach()) * 2)


def _by_old_dlpack(self: Net, x: torch.Tensor) -> torch.Tensor:
    return torch.from_dlpack(torch.utils.dlpack.to_dlpack(x.detach().clone()))


def _by_address(self: Net, x: torch.Tensor) -> torch.Tensor:
    return x + ctypes.cast(x.data_ptr(), ctypes.POINTER(ctypes.c_float))[0]


def _in_a_thread(self: Net, x: torch.Tensor) -> torch.Tensor:
    made: list[torch.Tensor] = []
    thread = threading.Thread(target=lambda: made.append(x @ self.layer.weight))
    thread.start()
    thread.join()
    return made[0]


_POOL = concurrent.futures.ThreadPoolExecutor(1)


def _in_a_pool(self: Net, x: torch.Tensor) -> torch.Tensor:
    return _POOL.submit(torch.matmul, x, self.layer.weight).result()


def _by_a_storage(self: Net, x: torch.Tensor) -> torch.Tensor:
    return x + ctypes.cast(x.untyped_storage().data_ptr(), ctypes.POINTER(ctypes.c_float))[0]


def _in_a_bare_thread(self: Net, x: torch.Tensor) -> torch.Tensor:
    done = threading.Event()
    _thread.start_new_thread(done.set, ())
    done.wait(10)
    return x


def _in_workers(self: Net, x: torch.Tensor) -> torch.Tensor:
    return self.workers.apply(torch.matmul, (x, self.layer.weight))


def _by_a_program(self: Net, x: torch.Tensor) -> torch.Tensor:
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return x


OUTSIDE = {
    _by_a_storage: "python.data_ptr",
    _in_a_bare_thread: "python.thread",
    _in_workers: "python.pool",
    _by_a_program: "python.process",
    _by_numpy: "python.numpy",
    _by_array: "python.numpy",
    _by_dlpack: "python.dlpack",
    _by_old_dlpack: "python.dlpack",
    _by_address: "python.data_ptr",
    _in_a_thread: "python.thread",
    _in_a_pool: "python.thread",
}


@pytest.mark.parametrize("forward", OUTSIDE)
def test_work_outside_of_torch_makes_a_lower_bound_that_names_the_way_out(forward: Callable[..., Any]):
    """What is seen is the layer that runs first, of 2 · 4 · 4 MACs; what is not may be any number on top."""
    model = Net(lambda self, x: forward(self, self.layer(x)))
    with multiprocessing.pool.ThreadPool(1) as model.workers:
        report = numel.summary(model, "f32[2,4]")
    assert (report.macs, report.exact, report.trace.failure) == (32, False, None)
    assert list(report.uncosted) == [OUTSIDE[forward]]
    assert not report.layers[0].exact
    (note,) = [note for note in report.notes if note.code == "outside-torch"]
    assert note.level == "warning"
    text = str(report)
    assert "≥ 32" in text or "≳ 32" in text  # where values left, what came after may hold for them alone
    assert "@numel.formula" not in text  # there is no operator to write one for


@pytest.mark.parametrize("values", [lambda x: x.numpy(), np.asarray, np.from_dlpack])
def test_values_that_leave_and_decide_what_runs_are_a_bound_of_one_draw_alone(values: Callable[[torch.Tensor], Any]):
    """The layer runs once or twice by what NumPy says of made-up values: neither number is a lower bound."""
    model = Net(lambda self, x: self.layer(self.layer(x)) if values(x.detach()).sum() > 0 else self.layer(x))
    report = numel.summary(model, "f32[2,4]")
    assert [row.exact for row in report.layers] == [False, False]
    assert {"sampled", "outside-torch"} <= {note.code for note in report.notes}
    columns = report.by("layer").to_dict()
    assert (columns["macs_at_least"], columns["macs_about"]) == ([True, False], [True, True])
    assert f"≳ {report.macs}" in str(report)


def test_a_way_out_in_a_thread_of_someone_else_is_not_this_forwards():
    stop, ran = threading.Event(), threading.Event()

    def beside() -> None:
        while not stop.is_set():
            torch.ones(2).numpy()
            ran.set()

    thread = threading.Thread(target=beside)
    thread.start()
    try:
        ran.wait(10)
        assert numel.summary(Net(lambda self, x: self.layer(x)), "f32[2,4]").exact
    finally:
        stop.set()
        thread.join()


PATCHED = (
    (torch.Tensor, "numpy"), (torch.Tensor, "tolist"), (torch.Tensor, "data_ptr"), (torch.Tensor, "__dlpack__"),
    (torch, "to_dlpack"), (torch.utils.dlpack, "to_dlpack"), (threading.Thread, "start"),
    (concurrent.futures.ThreadPoolExecutor, "submit"), (concurrent.futures.ProcessPoolExecutor, "submit"),
    (torch.UntypedStorage, "data_ptr"), (_thread, "start_new_thread"), (os, "system"), (subprocess.Popen, "__init__"),
    (multiprocessing.pool.Pool, "apply_async"),
)  # fmt: skip


def test_a_comparison_of_addresses_in_torchs_own_layers_says_nothing_about_the_forward():
    """`flatten_parameters` of a recurrent layer asks whether its weights share memory."""
    model = Net(lambda self, x: self.lstm(x), lstm=nn.LSTM(4, 4))
    code = compile("def ask(w):\n    return w.data_ptr()", "rnn.py", "exec")
    space: dict[str, Any] = {"__name__": "torch.nn.modules.rnn"}
    exec(code, space)
    model.function = lambda self, x: (space["ask"](self.lstm.weight_ih_l0), self.lstm(x))[1]
    assert numel.summary(model, torch.ones(3, 2, 4), mode="real").exact


def test_nothing_that_a_run_wrapped_keeps_its_model_alive(monkeypatch: pytest.MonkeyPatch):
    """A module that is imported while a forward runs may copy what is wrapped."""
    monkeypatch.setattr(threading, "copied", None, raising=False)

    def forward(self: Net, x: torch.Tensor) -> torch.Tensor:
        threading.copied = torch.Tensor.tolist
        return self.layer(x)

    model = Net(forward)
    alive = weakref.ref(model)
    numel.summary(model, "f32[2,4]")
    del model
    gc.collect()
    assert alive() is None
    assert threading.copied(torch.ones(2)) == [1.0, 1.0]


@pytest.mark.parametrize("raising", [False, True])
@pytest.mark.parametrize("mode", ["auto", "meta", "fake", "real"])
def test_what_is_watched_is_put_back(mode: str, raising: bool):
    def forward(self: Net, x: torch.Tensor) -> torch.Tensor:
        if raising:
            raise KeyboardInterrupt
        return self.layer(x)

    before = [(vars(owner).get(name), getattr(owner, name)) for owner, name in PATCHED]
    try:
        numel.summary(Net(forward), "f32[2,4]", mode=mode)
    except KeyboardInterrupt:
        assert raising
    assert [(vars(owner).get(name), getattr(owner, name)) for owner, name in PATCHED] == before


# ── work that depends on values ──────────────────────────────────────────────────────────────────────────────────────


def _routed(self: Net, x: torch.Tensor) -> torch.Tensor:
    """Rows whose first value is positive go through the expert."""
    gate = self.layer(x)
    chosen = torch.where(gate[:, 0] > 0)[0]
    return gate.index_add(0, chosen, self.expert(x[chosen]))


def test_routing_by_made_up_values_is_about_and_by_given_ones_exact():
    """16 of 32 rows are positive by construction, since the layer is the identity: 32·4·4 + 16·4·4 MACs."""
    model = Net(_routed, expert=nn.Linear(4, 4))
    nn.init.eye_(model.layer.weight)
    given = torch.ones(32, 4)
    given[::2] *= -1
    report = numel.summary(model, given)
    assert (report.macs, report.exact, report.mode) == (32 * 16 + 16 * 16, True, "real")
    assert [note.level for note in report.notes if note.code == "by-value"] == ["info"]
    drawn = numel.summary(model, "f32[32,4]")
    assert not drawn.exact
    assert [row.exact for row in drawn.layers] == [False] * 3, "who learns of a value may call any part, and again"
    assert f"≈ {drawn.macs:,}" in str(drawn)
    assert [note.level for note in drawn.notes if note.code == "sampled"] == ["warning"]
    assert drawn.macs == numel.summary(model, "f32[32,4]").macs, "another draw at the second run"


def _reading(value: Callable[[torch.Tensor], Any]) -> Callable[..., Any]:
    return lambda self, x: self.layer(x) if value(x) is not None else x


READS = {
    "item": _reading(lambda x: x.sum().item()),
    "bool": _reading(lambda x: bool(x.sum() > 0)),
    "list": _reading(lambda x: x.tolist()),
    "mask": lambda self, x: self.layer(x[x[:, 0] > 0]),
    "view": _reading(lambda x: x.T[0].detach().sum().item()),
    "kept": _reading(lambda x: torch.zeros(4).copy_(x[0]).sum().item()),
}


@pytest.mark.parametrize("how", READS)
def test_a_value_that_nobody_gave_makes_what_comes_after_about(how: str):
    model = Net(READS[how])
    assert not numel.summary(model, "f32[2,4]").exact
    assert numel.summary(model, torch.ones(2, 4)).exact


@pytest.mark.parametrize("read", [lambda y: y.flatten().tolist()[0], lambda y: y.sum().item()])
def test_a_value_that_is_read_last_of_all_is_read_nevertheless(read: Callable[[torch.Tensor], float]):
    """With another value the layer would run again: 2 · 4 · 4 MACs are those of one draw, of layer and root alike."""

    def forward(self: Net, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return self.layer(y) if read(y) > 1e9 else y

    report = numel.summary(Net(forward), "f32[2,4]")
    assert (report.macs, [row.exact for row in report.layers]) == (32, [False, False])
    assert report.by("operator").to_dict()["macs_about"][0] is True


def test_what_another_module_learned_says_nothing_of_those_that_ran_before():
    """A router that reads is in the middle: the layer before it is certain, the one after it is not."""
    router = Net(lambda self, x: self.layer(x) if x.sum().item() > 1e9 else x)
    model = nn.Sequential(nn.Linear(4, 4), router, nn.Linear(4, 4))
    report = numel.summary(model, "f32[2,4]")
    assert [note.path for note in report.notes if note.code == "sampled"] == ["1"]
    exact = {row.path: row.exact for row in report.layers}
    assert exact == {"": False, "0": True, "1": False, "1.layer": False, "2": False}


CERTAIN = {
    "of a shape": lambda self, x: self.layer(x) if torch.arange(x.shape[0]).max().item() == 1 else x,
    "like another": lambda self, x: self.layer(x) if torch.zeros_like(x).sum().item() == 0 else x,
}


@pytest.mark.parametrize("value", CERTAIN)
def test_a_value_that_inputs_can_not_change_is_certain_also_on_the_real_model(value: str):
    report = numel.summary(Net(CERTAIN[value]), "f32[2,4]", mode="real")
    assert (report.macs, report.exact) == (32, True)
    assert "by-value" not in [note.code for note in report.notes]


DRAWS = {
    "torch": lambda self, x: self.layer(x) if torch.rand(1).item() < 2 else x,
    "dropout": lambda self, x: self.layer(x) if nn.functional.dropout(x, 0.5, self.training).sum().item() < 99 else x,
    "random": lambda self, x: self.layer(x) if random.random() < 2 else x,
    "numpy": lambda self, x: self.layer(x) if np.random.rand() < 2 else x,
    "held": lambda self, x: self.layer(x) if self.coin.random() < 2 else x,
    "held by numpy": lambda self, x: self.layer(x) if self.dice.random() < 2 else x,
    "of the file": lambda self, x: self.layer(x) if _COIN.random() < 2 else x,
    "of the file by numpy": lambda self, x: self.layer(x) if _DICE.random() < 2 else x,
}
_COIN, _DICE = random.Random(7), np.random.default_rng(7)


@pytest.mark.parametrize("source", DRAWS)
def test_a_draw_that_decides_is_about_whatever_was_given(source: str):
    model = Net(DRAWS[source]).train()
    model.coin, model.dice = random.Random(7), np.random.default_rng(7)
    before = [_COIN.getstate(), model.coin.getstate(), _DICE.bit_generator.state, model.dice.bit_generator.state]
    report = numel.summary(model, torch.ones(2, 4))
    assert (report.macs, report.exact) == (32, False)
    after = [_COIN.getstate(), model.coin.getstate(), _DICE.bit_generator.state, model.dice.bit_generator.state]
    assert before == after


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_a_draw_that_evaluation_does_not_look_at_decides_nothing_there(draw: Callable[[], float]):
    """As layers of some transformers do: drawn for each, used in training alone."""
    def forward(self: Net, x: torch.Tensor) -> torch.Tensor:
        drop = draw()
        return x if self.training and drop < 0.5 else self.layer(x)

    evaluated = numel.summary(Net(forward).eval(), "f32[2,4]")
    assert (evaluated.macs, evaluated.exact) == (32, True)
    assert [note.level for note in evaluated.notes if note.code == "draws"] == ["info"]
    assert not numel.summary(Net(forward).train(), "f32[2,4]").exact


def test_a_draw_that_evaluation_looks_at_decides_there_too():
    model = Net(lambda self, x: self.layer(x) if random.random() < 0.5 else x).eval()
    assert not numel.summary(model, "f32[2,4]").exact


def test_dropout_that_does_nothing_draws_nothing():
    assert numel.summary(Net(DRAWS["dropout"]).eval(), torch.ones(2, 4)).exact


def test_stochastic_depth_runs_the_same_blocks_at_every_run_and_leaves_the_generators_alone():
    """Each of 64 equal blocks runs with a chance of one half, by each of three generators in turn."""
    coins = (lambda: torch.rand(()).item(), random.random, np.random.rand)
    model = Net(lambda self, x: [self.layer(x) for i in range(64) if coins[i % 3]() < 0.5])
    seen = set()
    for seed in range(3):
        torch.manual_seed(seed), random.seed(seed), np.random.seed(seed)
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()
        seen.add(numel.summary(model, "f32[2,4]").macs)
        after = torch.get_rng_state(), random.getstate(), np.random.get_state()
        assert torch.equal(before[0], after[0])
        assert before[1] == after[1]
        assert all(map(np.array_equal, before[2], after[2]))
    assert len(seen) == 1
    assert 0 < seen.pop() < 64 * 32


def test_values_that_were_given_as_integers_are_read_as_lists_on_meta():
    model = Net(lambda self, x, sizes: [self.layer(part) for part in x.split(sizes.tolist())])
    report = numel.summary(model, (torch.ones(5, 4), torch.tensor([2, 3])))
    assert (report.mode, report.macs, report.exact) == ("meta", 5 * 16, True)


# ── what torch.jit runs whole ────────────────────────────────────────────────────────────────────────────────────────


def test_lengths_that_must_be_real_run_on_a_model_built_with_random_weights(tmp_path: Path):
    """A packed sequence wants its lengths on the CPU, which neither meta nor fake tensors give: 2 rows of 7 tokens."""
    (tmp_path / "tagger.py").write_text(
        "import torch\nfrom torch.nn.utils.rnn import pack_padded_sequence\nclass Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.table = torch.nn.Embedding(100, 4)\n"
        "        self.gru = torch.nn.GRU(4, 6, batch_first=True)\n"
        "    def forward(self, ids):\n        lengths = (ids >= 0).sum(1).cpu()\n"
        "        return self.gru(pack_padded_sequence(self.table(ids), lengths, batch_first=True))[1]\n"
    )
    report = numel.summary(f"{tmp_path / 'tagger.py'}:Net", "i64[2,7] < 100")
    assert (report.mode, report.trace.failure) == ("real", None)
    assert report.macs == 2 * 7 * 3 * 6 * (4 + 6)
    assert not report.exact


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_the_parts_of_a_scripted_module_are_unknown_and_their_sum_is_its_own():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU()))
    report = numel.summary(nn.Sequential(nn.Linear(4, 4, bias=False), scripted), "f32[2,4]")
    assert (report.macs, report.exact) == (64, True)
    assert {row.path: row.macs for row in report.layers} == {"": 64, "0": 32, "1": 32, "1.0": None, "1.1": None}
    assert "not-called" not in [note.code for note in report.notes]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_scripted_module_that_torch_can_not_call_is_a_failed_forward():
    report = numel.summary(torch.jit.script(nn.LSTM(4, 5)), "f32[3,2,4]")
    assert "has no attribute 'forward'" in report.trace.failure.message
    assert report.totals.params == 4 * 5 * (4 + 5) + 2 * 4 * 5

"""A monitor inside of the trainers that people use, and its history in their logs: each real library trains a small
network on scikit-learn's digits."""

from __future__ import annotations

import gc
import json
import logging
import struct
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
datasets = pytest.importorskip("sklearn.datasets")

import numel  # noqa: E402
from numel.errors import InputsError, SchemaError  # noqa: E402
from numel.monitoring.sinks import Sink, is_first  # noqa: E402
from numel.results import Histories, History  # noqa: E402

nn = torch.nn


def digits() -> tuple[Any, Any]:
    """1,797 images of 8 × 8, as scikit-learn ships them."""
    found = datasets.load_digits()
    return torch.tensor(found.data, dtype=torch.float32) / 16, torch.tensor(found.target)


def net() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def train(model: Any, watched: Any, optimizer: Any, steps: int, at: dict[int, Any] | None = None) -> float:
    """Steps on batches of 64; `at` edits the model after that step."""
    x, y = digits()
    loss = torch.tensor(0.0)
    for step in range(steps):
        batch = slice(step * 64 % 1728, step * 64 % 1728 + 64)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
        if at and step in at:
            at[step](model)
        watched.observe(step)
    return float(loss.detach())


def test_a_plain_loop_is_seen(tmp_path: Path):
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with numel.monitor(model, tmp_path / "run.jsonl", every=5, optimizer=optimizer) as watched:
        assert train(model, watched, optimizer, 30) < 1.0  # it learns: ln 10 = 2.3 at first
    history = numel.load(tmp_path / "run.jsonl")
    assert isinstance(history, History)
    looks = [values for values in history.values if values.by("weight")]
    assert [values.step for values in looks] == [0, 5, 10, 15, 20, 25]
    assert {s.of for v in history.values for s in v.statistics} == {
        "weight", "gradient", "update", "exp_avg", "exp_avg_sq"
    }  # fmt: skip
    assert not history.alarms
    assert history.changes == ()


# ── networks that change while they train ────────────────────────────────────────────────────────────────────────────


def test_a_network_that_grows_is_seen_and_its_new_layer_is_missed_by_the_optimizer():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def grow(model: Any) -> None:
        model.insert(2, nn.Linear(32, 32))
        model.insert(3, nn.ReLU())

    with numel.monitor(model, optimizer=optimizer) as watched:
        train(model, watched, optimizer, 20, {10: grow})
    assert {seen.step for seen in watched.history.changes} == {10}
    assert [sample.totals.params for sample in watched.history.samples][:2] == [2410, 2410 + 32 * 33]
    missed = {alarm.path for alarm in watched.history.alarms if alarm.code == "optimizer-misses"}
    assert missed == {"2.weight", "2.bias"}


def test_a_layer_that_is_replaced_leaves_the_optimizer_with_the_old_one():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with numel.monitor(model, optimizer=optimizer) as watched:
        train(model, watched, optimizer, 8, {4: lambda model: model.__setitem__(2, nn.Linear(32, 10))})
    assert [(seen.step, seen.kind, seen.path) for seen in watched.history.changes] == [(4, "replaced", "2")]
    codes = {alarm.code for alarm in watched.history.alarms}
    assert codes == {"optimizer-misses", "optimizer-holds-removed"}


class Supernet(nn.Module):
    """One of two paths runs at a time, and only that one is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.paths = nn.ModuleList([nn.Linear(64, 16), nn.Linear(64, 16)])
        self.head = nn.Linear(16, 10)
        self.active = 0

    def forward(self, x: Any) -> Any:
        return self.head(torch.relu(self.paths[self.active](x)))

    def switch(self, to: int) -> None:
        self.active = to
        for i, path in enumerate(self.paths):
            path.requires_grad_(i == to)


def test_a_supernet_that_switches_its_path_freezes_one_and_thaws_the_other():
    torch.manual_seed(0)
    model = Supernet()
    model.switch(0)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with numel.monitor(model) as watched:
        train(model, watched, optimizer, 12, {6: lambda model: model.switch(1)})
    assert {(seen.step, seen.kind, seen.path) for seen in watched.history.changes} == {
        (6, kind, f"paths.{i}.{name}") for i, kind in ((0, "frozen"), (1, "unfrozen")) for name in ("weight", "bias")
    }
    assert len({sample.totals.params for sample in watched.history.samples}) == 1


# ── two runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def run(path: Path, at: dict[int, Any] | None = None, rate: float = 0.1) -> Path:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), rate)
    with numel.monitor(model, path, every=4) as watched:
        train(model, watched, optimizer, 12, at)
    return path


def test_two_runs_beside_each_other(tmp_path: Path):
    freeze = {5: lambda model: model[0].requires_grad_(False)}
    one, same = run(tmp_path / "one.jsonl"), run(tmp_path / "same.jsonl")
    other = run(tmp_path / "other.jsonl", freeze, 0.2)
    found = numel.compare(one, same)
    assert isinstance(found, Histories)
    assert found.identical
    assert "No difference" in str(found)
    found = numel.compare(one, other)
    assert not found.identical
    assert {(c.step, c.kind, c.path) for c in found.changes} == {(5, "frozen", "0.weight"), (5, "frozen", "0.bias")}
    assert [totals.trainable for totals in found.totals] == [2410, 330]
    assert "steps in" in str(found)
    assert [chart.title for chart in found.whole().charts] == ["Gradient norm over the runs"]
    found.save(tmp_path / "runs.json")
    assert numel.load(tmp_path / "runs.json") == found
    found.save(tmp_path / "runs.html")
    with pytest.raises(InputsError, match="runs are compared with runs"):
        numel.compare(one, net())
    damaged = json.loads((tmp_path / "runs.json").read_text())
    damaged["facts"]["histories"] = 5
    (tmp_path / "runs.json").write_text(json.dumps(damaged))
    with pytest.raises(SchemaError):
        numel.load(tmp_path / "runs.json")


# ── trainers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def lightning_trainer(callback: Any, **more: Any) -> Any:
    lightning = pytest.importorskip("lightning.pytorch")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return lightning.Trainer(
        max_epochs=1, callbacks=[callback], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", **more,
    )  # fmt: skip


def lightning_module(step: Callable[[Any], None] = lambda module: None) -> Any:
    """A module that calls `step` with itself in each training step."""
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def training_step(self, batch: Any, index: int) -> Any:
            step(self)
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-2)

    return Module()


def batches() -> Any:
    """15 of 128 images, the last one of 5."""
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*digits()), batch_size=128)


@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_with_the_callback(tmp_path: Path):
    pytest.importorskip("lightning.pytorch")
    from numel.integrations import LightningMonitor

    def freeze(module: Any) -> None:
        if module.global_step == 6:
            module.net[0].requires_grad_(False)

    callback = LightningMonitor(tmp_path / "run.jsonl", every=5)
    module = lightning_module(freeze)
    before = set(vars(module))
    lightning_trainer(callback).fit(module, batches())
    history = callback.history
    assert {(seen.step, seen.kind, seen.path) for seen in history.changes} == {
        (7, "frozen", "net.0.weight"), (7, "frozen", "net.0.bias")
    }  # fmt: skip
    assert any(values.by("gradient") for values in history.values)
    assert history.samples[-1].step == 15  # 1,797 images in batches of 128
    assert numel.load(tmp_path / "run.jsonl").changes == history.changes
    assert not {name for name in set(vars(module)) - before if "numel" in name}


@pytest.mark.filterwarnings("ignore")
def test_lightning_is_looked_at_when_the_optimizer_has_stepped(tmp_path: Path):
    pytest.importorskip("lightning.pytorch")
    from numel.integrations import LightningMonitor

    callback = LightningMonitor(every=1)
    lightning_trainer(callback, accumulate_grad_batches=4, gradient_clip_val=0.01).fit(lightning_module(), batches())
    at_first, *looks = callback.history.values
    assert [at_first.step, *(values.step for values in looks)] == [0, 1, 2, 3, 4]
    assert all(len(values.by("update")) == 4 for values in looks)
    assert all(each.ratio for values in looks for each in values.by("update").values())
    norms = [sum(each.norm**2 for each in values.by("gradient").values()) ** 0.5 for values in looks]
    assert norms == [pytest.approx(0.01, rel=1e-3)] * 4
    assert not callback.history.alarms


@pytest.mark.filterwarnings("ignore")
def test_lightning_with_several_optimizers_is_looked_at_once_for_a_batch():
    lightning = pytest.importorskip("lightning.pytorch")
    from numel.integrations import LightningMonitor

    class Adversaries(lightning.LightningModule):
        """The one steps at each second batch, the other at each fourth."""

        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.one, self.other = nn.Linear(64, 8), nn.Linear(8, 10)

        def training_step(self, batch: Any, index: int) -> None:
            for optimizer, each in zip(self.optimizers(), (2, 4), strict=True):
                if index % each == 0:
                    loss = nn.functional.cross_entropy(self.other(self.one(batch[0])), batch[1])
                    optimizer.zero_grad()
                    self.manual_backward(loss)
                    optimizer.step()

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.one.parameters(), 0.1), torch.optim.SGD(self.other.parameters(), 0.1)]

    callback = LightningMonitor(every=1)
    lightning_trainer(callback).fit(Adversaries(), batches())
    at_first, *looks = callback.history.values
    assert [at_first.step, *(values.step for values in looks)] == [0, 2, 3, 5, 6, 8, 9, 11, 12]
    assert all(len(values.by("gradient")) == 4 for values in looks)
    assert all(each.ratio for values in looks for each in values.by("update").values() if "one" in each.path)


@pytest.mark.filterwarnings("ignore")
def test_lightning_lets_go_of_a_module_whose_training_raised(tmp_path: Path):
    pytest.importorskip("lightning.pytorch")
    from numel.integrations import LightningMonitor

    def fail(module: Any) -> None:
        if module.global_step == 3:
            raise RuntimeError("no more")

    sink = Ends()
    callback = LightningMonitor(sink)
    with pytest.raises(RuntimeError, match="no more"):
        lightning_trainer(callback).fit(lightning_module(fail), batches())
    assert sink.ended == 1
    assert callback.history.samples[-1].step == 3


class Ends(Sink):
    """Counts how often it was begun and ended."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    def begin(self, target: str) -> None:
        self.begun += 1

    def end(self) -> None:
        self.ended += 1


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_transformers_lets_go_of_a_model_whose_training_raised(tmp_path: Path):
    pytest.importorskip("transformers")
    from numel.integrations import TrainerMonitor

    calls = []

    def fail() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no more")

    sink = Ends()
    callback = TrainerMonitor(sink)
    trainer = trained(tmp_path, callback, fail)
    with pytest.raises(RuntimeError, match="no more"):
        trainer.train()
    trainer.train()
    assert (sink.begun, sink.ended) == (2, 2)
    calls.clear()
    model = weakref.ref(trainer.model)
    with pytest.raises(RuntimeError, match="no more"):
        trainer.train()
    callback.close()
    assert (sink.begun, sink.ended) == (3, 3)
    del trainer
    gc.collect()
    assert model() is None
    assert callback.history.samples


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "library"), [("LightningMonitor", "lightning"), ("TrainerMonitor", "transformers")])
@pytest.mark.parametrize("every", [0, -1, 2.0, True])
def test_a_callback_refuses_at_once_what_is_no_number_of_steps(name: str, library: str, every: Any):
    pytest.importorskip(library)
    callback = getattr(numel.integrations, name)
    with pytest.raises(InputsError, match="expected how many steps"):
        callback(every=every)


def trained(tmp_path: Path, callback: Any, broken: Any = None, **more: Any) -> Any:
    """A `Trainer` of transformers for 8 steps; `broken` is called in each forward."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            if broken is not None:
                broken()
            logits = self.net(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    x, y = digits()
    data = [{"x": image, "labels": label} for image, label in zip(x[:512], y[:512], strict=True)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=1, per_device_train_batch_size=64, use_cpu=True, save_strategy="no",
        disable_tqdm=True, **{"report_to": [], "logging_strategy": "no"} | more,
    )  # fmt: skip
    return transformers.Trainer(model=Model(), args=arguments, train_dataset=data, callbacks=[callback])


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_transformers_trains_with_the_callback(tmp_path: Path):
    pytest.importorskip("transformers")
    from numel.integrations import TrainerMonitor

    callback = TrainerMonitor(tmp_path / "run.jsonl", every=4)
    trained(tmp_path, callback).train()
    history = callback.history
    assert history.samples[-1].step == 8  # 512 in batches of 64
    gradients = [values.by("gradient") for values in history.values if values.by("weight")]
    assert all(len(found) == 4 for found in gradients[1:])
    assert len(gradients) == 3  # steps 0, before anything, 4 and 8
    assert "exp_avg" in {each.of for values in history.values for each in values.statistics}


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def watch(sink: Any) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with numel.monitor(model, sink, every=4) as watched:
        train(model, watched, optimizer, 9, {5: lambda model: model[0].requires_grad_(False)})


def test_tensorboard_gets_scalars_histograms_and_text(tmp_path: Path):
    pytest.importorskip("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        from numel.integrations import TensorBoard

        watch(TensorBoard(tmp_path))
        events = EventAccumulator(str(tmp_path))
        events.Reload()
    params = [(event.step, event.value) for event in events.Scalars("params")]
    assert params == [(0, 2410), (5, 2410), (8, 2410)]
    assert [event.value for event in events.Scalars("trainable")] == [2410, 330, 330]
    assert [event.step for event in events.Scalars("weight_norm/0.weight")] == [0, 4, 8]
    held = events.Histograms("weight/0.weight")[0].histogram_value
    assert (held.num, sum(held.bucket)) == (2048, 2048)  # 64 × 32
    assert "changes/text_summary" in events.Tags()["tensors"]


@pytest.fixture
def wandb_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A run that is kept in a file alone."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wandb = pytest.importorskip("wandb")
        run = wandb.init(mode="offline", dir=tmp_path)
        yield run
        run.finish()


def records(run: Any, of: str) -> list[Any]:
    """Those of one kind that a run wrote, which is finished here; its last ones may come a moment later."""
    run.finish()
    found: list[Any] = []
    until = time.monotonic() + 30
    while not any(each.WhichOneof("record_type") == "exit" for each in found) and time.monotonic() < until:
        found = written(next(Path(run.settings.sync_dir).glob("*.wandb")).read_bytes())
    return [getattr(each, of) for each in found if each.WhichOneof("record_type") == of]


def written(data: bytes) -> list[Any]:
    """The records in a file of wandb: a log of LevelDB after its header."""
    from wandb.proto.wandb_internal_pb2 import Record

    found, part, at = [], b"", 7
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no record begins in the last bytes of a block
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(part))
            part = b""
    return found


def rows(run: Any) -> list[dict[str, Any]]:
    """The history of a run, without times."""
    held = [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in each.item}
        for each in records(run, "history")
    ]
    return [{key: value for key, value in row.items() if key not in ("_timestamp", "_runtime")} for row in held]


def logged(run: Any, to: int, every: int, log: Callable[[int], None]) -> list[dict[str, Any]]:
    """The history after so many steps of a loop that also logs what it likes."""
    from numel.integrations import WeightsAndBiases

    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with numel.monitor(model, WeightsAndBiases(run), every=every, optimizer=optimizer) as watched:
        for step in range(to):
            train(model, SimpleNamespace(observe=lambda _, step=step: watched.observe(step)), optimizer, 1)
            log(step)
    return rows(run)


def steps(found: list[dict[str, Any]], of: str) -> list[int]:
    """Of the rows that hold this of a weight."""
    return [row["numel/step"] for row in found if any(key.startswith(f"numel/{of}/") for key in row)]


def test_weights_and_biases_has_a_row_of_each_look_with_its_own_step(wandb_run: Any):
    found = logged(wandb_run, 13, 5, lambda step: None)
    assert (steps(found, "weight_norm"), steps(found, "update_ratio")) == ([0, 5, 10], [1, 6, 11])
    assert [row["numel/step"] for row in found] == [0, 1, 5, 6, 10, 11, 12]
    assert [row["_step"] for row in found] == list(range(7))
    assert found[0]["numel/trainable"] == 2410  # in one row with all else of that look
    assert sum(found[0]["numel/weight/0.weight.values"]) == 2048
    defined = {each.name or each.glob_name: each.step_metric for each in records(wandb_run, "metric")}
    assert defined["numel/*"] == "numel/step"


def test_weights_and_biases_keeps_what_the_loop_logs_in_its_rows(wandb_run: Any):
    def log(step: int) -> None:
        if step % 2 == 1:
            wandb_run.log({"loss": float(step)}, commit=False)
            wandb_run.log({"rate": float(step)})

    found = logged(wandb_run, 12, 2, log)
    assert (steps(found, "weight_norm"), steps(found, "update_ratio")) == ([0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11])
    assert [(row["loss"], row["rate"]) for row in found if "loss" in row] == [(n, n) for n in range(1, 12, 2)]


@pytest.mark.parametrize("often", [1, 3])
def test_weights_and_biases_drops_nothing_that_the_loop_logs_at_steps_of_its_own(wandb_run: Any, often: int):
    def log(step: int) -> None:
        if step % often == 0:
            wandb_run.log({"loss": float(step)}, step=step)
            wandb_run.log({"rate": float(step)}, step=step)

    found = logged(wandb_run, 12, 1, log)
    assert steps(found, "weight_norm") == list(range(12))
    assert steps(found, "update_ratio") == list(range(1, 12))
    assert found[-1]["_step"] <= 11  # so that what comes after the training may be logged at its last step
    own = [row for row in found if "loss" in row]
    assert [(row["_step"], row["loss"], row["rate"]) for row in own] == [(n, n, n) for n in range(0, 12, often)]


@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_gets_each_look_beside_the_trainer_of_transformers(tmp_path: Path, wandb_run: Any):
    pytest.importorskip("transformers")
    from numel.integrations import TrainerMonitor, WeightsAndBiases

    callback = TrainerMonitor(WeightsAndBiases(wandb_run), every=2)
    trained(tmp_path, callback, report_to=["wandb"], logging_strategy="steps", logging_steps=3).train()
    found = rows(wandb_run)
    assert steps(found, "weight_norm") == [0, 2, 4, 6, 8]
    assert steps(found, "update_ratio") == [1, 3, 5, 7]
    assert [row["train/global_step"] for row in found if "train/loss" in row] == [3, 6]


def test_weights_and_biases_gets_changes_and_alarms_as_text(wandb_run: Any):
    from numel.integrations import WeightsAndBiases

    def edit(step: int) -> None:
        if step == 2:
            model[0].requires_grad_(False)
        if step == 4:
            model.__setitem__(2, nn.Linear(32, 10))

    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with numel.monitor(model, WeightsAndBiases(wandb_run), optimizer=optimizer) as watched:
        for step in range(6):
            edit(step)
            watched.observe(step)
    found = {row["numel/step"]: row for row in rows(wandb_run)}
    assert found[2]["numel/changes_text"] == "frozen 0.weight: True → False\nfrozen 0.bias: True → False"
    assert [found[step]["numel/changes"] for step in (2, 4)] == [2, 3]
    assert found[4]["numel/alarms"] == 4
    text = found[4]["numel/alarms_text"].splitlines()
    assert [line.partition(":")[0] for line in text] == [
        f"{code} 2.{name}" for code in ("optimizer-misses", "optimizer-holds-removed") for name in ("weight", "bias")
    ]


def test_weights_and_biases_shortens_the_text_of_very_many_changes(wandb_run: Any):
    from numel.integrations import WeightsAndBiases

    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(80)))
    with numel.monitor(model, WeightsAndBiases(wandb_run)) as watched:
        watched.observe(0)
        model.requires_grad_(False)
        watched.observe(1)
    (text,) = (row["numel/changes_text"] for row in rows(wandb_run) if "numel/changes_text" in row)
    assert (len(text.splitlines()), text.splitlines()[-1]) == (101, "and 60 more")


def test_weights_and_biases_is_alerted_once_of_all_that_a_look_found(wandb_run: Any):
    from numel.integrations import WeightsAndBiases

    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(50)))
    with numel.monitor(model, WeightsAndBiases(wandb_run), every=1) as watched:
        watched.observe(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(float("nan"))
        watched.observe(1)
        watched.observe(2)
    (alert,) = records(wandb_run, "alert")
    assert alert.title == "numel: not-finite"
    nan = "the update has 4 NaN among 4 values; the weight has 4 NaN among 4 values"
    text = f"step 1: 0.weight: {nan}; also 0.bias, 1.weight, 1.bias and 96 more"
    assert alert.text == text


def test_weights_and_biases_may_be_finished_before_the_monitor_is_closed(wandb_run: Any):
    from numel.integrations import WeightsAndBiases

    with numel.monitor(net(), WeightsAndBiases(wandb_run)) as watched:
        watched.observe(0)
        watched.observe(1)
        wandb_run.finish()
    assert [row["numel/step"] for row in rows(wandb_run)] == [0]


def test_weights_and_biases_without_a_run_says_what_to_do():
    pytest.importorskip("wandb")
    from numel.integrations import WeightsAndBiases

    with pytest.raises(InputsError, match=r"call wandb.init\(\) first"):
        WeightsAndBiases()


@pytest.fixture
def mlflow_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the other stores need a database
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow = pytest.importorskip("mlflow")
        mlflow.set_tracking_uri(f"file://{tmp_path}/runs")
        with mlflow.start_run() as active:
            yield active


def texts(active: Any) -> dict[str, list[str]]:
    """The lines of each text of a run of MLflow."""
    import mlflow

    names = [each.path for each in mlflow.MlflowClient().list_artifacts(active.info.run_id, "numel/changes")]
    return {name: mlflow.artifacts.load_text(f"{active.info.artifact_uri}/{name}").splitlines() for name in names}


def test_mlflow_gets_metrics_and_the_changes(mlflow_run: Any):
    import mlflow

    from numel.integrations import MLflow

    watch(MLflow())
    client = mlflow.MlflowClient()
    found = client.get_metric_history(mlflow_run.info.run_id, "numel/trainable")
    assert [(metric.step, metric.value) for metric in found] == [(0, 2410), (5, 330), (8, 330)]
    assert client.get_metric_history(mlflow_run.info.run_id, "numel/update_ratio/0.weight")
    assert texts(mlflow_run) == {
        "numel/changes/000000005.txt": [f"step 5: frozen 0.{name}: True → False" for name in ("weight", "bias")]
    }
    mlflow.end_run()
    with pytest.raises(InputsError, match=r"call mlflow.start_run\(\) first"):
        MLflow()


def test_mlflow_has_the_changes_while_the_training_goes_on(mlflow_run: Any, monkeypatch: pytest.MonkeyPatch):
    from numel.integrations import MLflow
    from numel.integrations import mlflow as module

    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "_LINES", 4)
    model = net()
    with numel.monitor(model, MLflow()) as watched:
        for step in range(7):
            model[0].requires_grad_(step % 2 == 0)  # two changes at each step from 1 on
            watched.observe(step)
            if step == 1:
                assert [len(lines) for lines in texts(mlflow_run).values()] == [2]
            if step == 2:  # not at each step: a text is uploaded whole
                assert [len(lines) for lines in texts(mlflow_run).values()] == [2]
                now[0] += 10.0
        watched.observe(7)
    assert [(name, len(lines)) for name, lines in sorted(texts(mlflow_run).items())] == [
        ("numel/changes/000000001.txt", 4), ("numel/changes/000000003.txt", 4), ("numel/changes/000000005.txt", 4)
    ]  # fmt: skip


def test_mlflow_uploads_the_changes_that_waited_at_the_next_look(mlflow_run: Any, monkeypatch: pytest.MonkeyPatch):
    from numel.integrations import MLflow
    from numel.integrations import mlflow as module

    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    model = net()
    with numel.monitor(model, MLflow()) as watched:
        for step in range(3):
            model[0].requires_grad_(step % 2 == 0)
            watched.observe(step)
        now[0] += 10.0
        watched.observe(3)
        assert [len(lines) for lines in texts(mlflow_run).values()] == [4]


def test_mlflow_has_the_changes_of_one_step_in_one_text(mlflow_run: Any, monkeypatch: pytest.MonkeyPatch):
    from numel.integrations import MLflow
    from numel.integrations import mlflow as module

    monkeypatch.setattr(module, "_LINES", 3)
    model = net()
    with numel.monitor(model, MLflow()) as watched:
        watched.observe(0)
        model.requires_grad_(False)
        watched.observe(1)
    assert {name: len(lines) for name, lines in texts(mlflow_run).items()} == {"numel/changes/000000001.txt": 4}


def test_mlflow_takes_the_values_of_a_parameter_of_any_name(mlflow_run: Any):
    import mlflow

    from numel.integrations import MLflow

    model = nn.Module()
    names = ["w[0]:x+y", "w(0):x+y", "/", "a//b", "x" * 300, "größe"]
    for name in names:
        model.register_parameter(name, nn.Parameter(torch.ones(2)))
    with numel.monitor(model, MLflow(), every=1) as watched:
        watched.observe(0)
    metrics = mlflow.get_run(mlflow_run.info.run_id).data.metrics
    assert len([name for name in metrics if name.startswith("numel/weight_norm/")]) == len(names)
    assert "numel/weight_norm/größe" in metrics


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from numel.integrations import TensorBoard

        monkeypatch.setenv("RANK", "1")
        watch(TensorBoard(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("given", "first"), [
    ({}, True),
    ({"RANK": "0", "SLURM_PROCID": "3"}, True),  # torchrun on each node, which agreed on ranks of their own
    ({"RANK": "3", "LOCAL_RANK": "0"}, False),
    ({"OMPI_COMM_WORLD_RANK": "1", "SLURM_PROCID": "0"}, False),  # mpirun in a batch script
    ({"SLURM_PROCID": "1"}, False),
    ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),  # Lightning in a batch script
    ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),  # Lightning on a second node
    ({"NODE_RANK": "0", "LOCAL_RANK": "0"}, True),
])  # fmt: skip
def test_which_process_is_the_first(given: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, rank in given.items():
        monkeypatch.setenv(name, rank)
    assert is_first() is first


@pytest.mark.parametrize("rank", [0, 1])
def test_a_group_of_processes_knows_which_is_the_first(rank: int, monkeypatch: pytest.MonkeyPatch):
    from torch.testing._internal.distributed.fake_pg import FakeStore

    monkeypatch.setenv("RANK", str(1 - rank))
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=2)
    try:
        assert is_first() is (rank == 0)
    finally:
        torch.distributed.destroy_process_group()


def test_a_file_that_is_no_history_is_not_written_to(tmp_path: Path):
    other = tmp_path / "weights.safetensors"
    other.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    before = other.read_bytes()
    with pytest.raises(InputsError, match="no history"):
        numel.monitor(net(), other)
    assert other.read_bytes() == before
    with pytest.raises(InputsError, match="no such directory"):
        numel.monitor(net(), tmp_path / "none" / "run.jsonl")


def test_what_changed_between_two_sessions_is_not_called_nothing(tmp_path: Path):
    model = net()
    for start in (0, 5):
        with numel.monitor(model, tmp_path / "run.jsonl") as watched:
            watched.observe(start)
        model[0].requires_grad_(False)
    found = numel.load(tmp_path / "run.jsonl")
    assert "changed while nobody watched" in str(found)

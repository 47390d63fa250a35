"""A history in Weights & Biases, beside what the training loop logs there itself."""

from __future__ import annotations

from typing import Any

from numel.errors import InputsError
from numel.extras import need
from numel.facts import Alarm, Sample, Seen, Values
from numel.monitoring.sinks import Record, Sink, is_first, scalars


class WeightsAndBiases(Sink):
    """Logs to a run, or to the one that `wandb.init` made. Nothing is committed: what is logged goes with the next
    `run.log` of the loop, so that its own steps stay as they are, and `numel/step` says which step it is of.

    Of several processes only the first writes. Raises `MissingExtra` without wandb, and `InputsError` without a run.
    """

    def __init__(self, run: Any = None) -> None:
        self._wandb = need("wandb", extra="wandb")
        self._run = run if run is not None else self._wandb.run
        self._counts = {"changes": 0, "alarms": 0}
        if self._run is None and is_first():
            raise InputsError("WeightsAndBiases: no run; call wandb.init() first, or give the run")

    def begin(self, target: str) -> None:
        if is_first():
            self._run.define_metric("numel/step")
            self._run.define_metric("numel/*", step_metric="numel/step")

    def write(self, seen: Record) -> None:
        if not is_first():
            return
        found: dict[str, Any] = {}
        match seen:
            case Sample() | Values():
                found = dict(scalars(seen))
                for each in seen.statistics if isinstance(seen, Values) else ():
                    if each.histogram is not None and each.histogram.counts:
                        bins = list(each.histogram.bins())
                        edges = [bins[0][0], *(high for _, high, _ in bins)]
                        held = self._wandb.Histogram(np_histogram=(list(each.histogram.counts), edges))
                        found[f"{each.of}/{each.path}"] = held
            case Seen() | Alarm():
                name = "changes" if isinstance(seen, Seen) else "alarms"
                self._counts[name] += 1
                found = {name: self._counts[name]}
        self._run.log({f"numel/{name}": value for name, value in found.items()} | {"numel/step": seen.step},
                      commit=False)  # fmt: skip
        if isinstance(seen, Alarm) and seen.note.level == "error":
            self._run.alert(title=f"numel: {seen.code}", text=f"{seen.path}: {seen.text}")

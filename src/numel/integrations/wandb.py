"""A history in Weights & Biases, beside what the training loop logs there itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from numel.errors import InputsError
from numel.extras import need
from numel.facts import Alarm, Sample, Seen, Values, listed
from numel.integrations.said import said
from numel.monitoring.sinks import Record, Sink, is_first, scalars

_LINES = 100  # of text in a row, which is kept in the summary of the run, too


class WeightsAndBiases(Sink):
    """Logs to a run, or to the one that `wandb.init` made: what one `observe` saw is one row, with its step as
    `numel/step`. The row stays open: the next `run.log` of the loop goes with it. So the steps of the run count no
    further than the looks make needed, and a loop that gives `run.log` the step of the training can go on to do so;
    what it gives a step that counts slower, such as an epoch, is dropped by Weights & Biases.

    An alarm about a NaN or an infinity is an alert of the run as well, one for all that a look found. Of several
    processes only the first writes. Raises `MissingExtra` without wandb, and `InputsError` without a run.
    """

    def __init__(self, run: Any = None) -> None:
        self._wandb = need("wandb", extra="wandb")
        self._run = run if run is not None else self._wandb.run
        self._seen: list[Record] = []  # of this observe
        self._counts = {"changes": 0, "alarms": 0}
        self._counts_steps = True
        self._newest: int | None = None  # the step of the run that the newest row has
        self._step: int | None = None  # and that of the training
        if self._run is None and is_first():
            raise InputsError("WeightsAndBiases: no run; call wandb.init() first, or give the run")

    def begin(self, target: str) -> None:
        if is_first():
            self._counts_steps = self._run.settings.mode != "shared"  # else each log is a row
            self._run.define_metric("numel/step")
            self._run.define_metric("numel/*", step_metric="numel/step")

    def write(self, seen: Record) -> None:
        if is_first():
            self._seen.append(seen)

    def observed(self) -> None:
        seen, self._seen = self._seen, []
        if seen:
            self._log(seen, joined=False)

    def end(self) -> None:
        seen, self._seen = self._seen, []
        if not seen:
            return
        try:
            self._run.define_metric("numel/step")
        except self._wandb.Error:  # the run is finished; to ask it for its step would wait half a minute for an answer
            return
        self._log(seen, joined=seen[-1].step == self._step)

    def _log(self, seen: Sequence[Record], joined: bool) -> None:
        row: dict[str, Any] = {}
        for each in seen:
            if isinstance(each, Sample | Values):
                row |= scalars(each)
            if isinstance(each, Values):
                row |= self._histograms(each)
        alarms = [each for each in seen if isinstance(each, Alarm)]
        row |= self._told("changes", [each for each in seen if isinstance(each, Seen)]) | self._told("alarms", alarms)
        self._step = seen[-1].step
        named = {f"numel/{name}": value for name, value in row.items()} | {"numel/step": self._step}
        self._run.log(named, step=self._place(joined))
        for code, text in _alerts([each for each in alarms if each.note.level == "error"]):
            self._run.alert(title=f"numel: {code}", text=text)

    def _place(self, joined: bool) -> int | None:
        """The step of the run to log at: that of the row which is open, or the next where it holds one of ours that
        this is not joined with. A row is not committed: then a loop could no more log at that step."""
        if not self._counts_steps:
            return None
        now: int = self._run.step
        self._newest = now + 1 if now == self._newest and not joined else now
        return self._newest

    def _histograms(self, seen: Values) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for each in seen.statistics:
            if each.histogram is not None and each.histogram.counts:
                bins = list(each.histogram.bins())
                edges = [bins[0][0], *(high for _, high, _ in bins)]
                found[f"{each.of}/{each.path}"] = self._wandb.Histogram(
                    np_histogram=(list(each.histogram.counts), edges)
                )
        return found

    def _told(self, name: str, of: Sequence[Seen | Alarm]) -> dict[str, Any]:
        """How many there were so far, which can be drawn, and in words which are new."""
        if not of:
            return {}
        self._counts[name] += len(of)
        more = [f"and {len(of) - _LINES:,} more"] if len(of) > _LINES else []
        return {name: self._counts[name], f"{name}_text": "\n".join([*map(said, of[:_LINES]), *more])}


def _alerts(alarms: Sequence[Alarm]) -> Iterator[tuple[str, str]]:
    """One for each code: what the first says, and for which others it is said as well."""
    for code in dict.fromkeys(each.code for each in alarms):
        first, *others = (each for each in alarms if each.code == code)
        also = f"; also {listed([each.path for each in others])}" if others else ""
        yield code, f"step {first.step}: {first.path}: {first.text}{also}"

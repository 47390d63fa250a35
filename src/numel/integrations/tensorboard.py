"""A history in TensorBoard: totals, norms and update ratios as scalars, histograms, changes and alarms as text."""

from __future__ import annotations

import os
from typing import Any

from numel.extras import need
from numel.facts import Alarm, Histogram, Sample, Seen, Statistics, Values
from numel.integrations.said import said
from numel.monitoring.sinks import Record, Sink, is_first, scalars


class TensorBoard(Sink):
    """Writes to a directory, or with a `SummaryWriter` that is there, which is left open then. Of several processes
    only the first writes. Raises `MissingExtra` without tensorboard.

    `numel.monitor(model, numel.integrations.TensorBoard("runs/1"), every=100)`
    """

    def __init__(self, where: Any = "runs") -> None:
        self._own = isinstance(where, str | os.PathLike)
        self._writer: Any = None if self._own else where
        self._where = where
        need("tensorboard", extra="tensorboard")

    def begin(self, target: str) -> None:
        if self._own and is_first():
            self._writer = need("torch.utils.tensorboard", extra="torch").SummaryWriter(str(self._where))

    def write(self, seen: Record) -> None:
        if self._writer is None or not is_first():
            return
        match seen:
            case Sample():
                self._scalars(seen)
            case Values():
                self._scalars(seen)
                for each in seen.statistics:
                    if each.histogram is not None and each.histogram.counts:
                        self._histogram(each, each.histogram, seen)
            case Seen():
                self._writer.add_text("changes", said(seen), seen.step, walltime=seen.time)
            case Alarm():
                self._writer.add_text("alarms", said(seen), seen.step, walltime=seen.time)

    def _scalars(self, seen: Sample | Values) -> None:
        for name, value in scalars(seen).items():
            self._writer.add_scalar(name, value, seen.step, walltime=seen.time)

    def _histogram(self, of: Statistics, found: Histogram, seen: Values) -> None:
        """As `add_histogram` would of the values themselves."""
        count, mean = sum(found.counts), of.mean or 0.0
        self._writer.add_histogram_raw(
            f"{of.of}/{of.path}", min=found.low, max=found.high, num=count, sum=mean * count,
            sum_squares=((of.std or 0.0) ** 2 + mean**2) * count, bucket_limits=[high for _, high, _ in found.bins()],
            bucket_counts=list(found.counts), global_step=seen.step, walltime=seen.time,
        )  # fmt: skip

    def end(self) -> None:
        if self._writer is not None:
            self._writer.flush()
            if self._own:
                self._writer.close()
                self._writer = None

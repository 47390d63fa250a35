"""A history in MLflow: totals, norms and update ratios as metrics, changes and alarms as texts of the run."""

from __future__ import annotations

import re
import time
from typing import Any
from zlib import crc32

from numel.errors import InputsError
from numel.extras import need
from numel.facts import Alarm, Sample, Seen, Values
from numel.integrations.said import said
from numel.monitoring.sinks import Record, Sink, is_first, scalars

_MOST = 1000  # metrics that the tracking server takes at once (MLflow REST API, runs/log-batch)
_LONGEST = 250  # characters of a metric's name
_REFUSED = re.compile(r"[^\w.\- ]")  # in names; a slash would be taken, but not at each place
_LINES = 2000  # of a text, which is uploaded whole when lines are added
_TEXTS = "numel/changes"
_PAUSE = 5.0  # seconds from one upload to the next, so that many changes do not slow the training down


class MLflow(Sink):
    """Logs to the run of this id, or to the active one. The texts lie in `numel/changes`, each named by the step of
    its first line, and are written while the training goes on. Of several processes only the first writes.

    Raises `MissingExtra` without mlflow, and `InputsError` without a run.
    """

    def __init__(self, run_id: str | None = None) -> None:
        self._mlflow = need("mlflow", extra="mlflow")
        active = self._mlflow.active_run() if run_id is None else None
        self._run = run_id or (active.info.run_id if active is not None else None)
        self._lines: list[str] = []  # of the newest text
        self._first = 0  # the step of the first of them
        self._name = ""
        self._uploaded = 0  # how many of them are there
        self._due = 0.0  # the time from which on they may be uploaded
        if self._run is None and is_first():
            raise InputsError("MLflow: no active run; call mlflow.start_run() first, or give its run_id")

    def write(self, seen: Record) -> None:
        if not is_first():
            return
        match seen:
            case Sample() | Values():
                metric: Any = need("mlflow.entities", extra="mlflow").Metric
                found = [
                    metric(_named(name), value, round(seen.time * 1000), seen.step)
                    for name, value in scalars(seen).items()
                ]
                for start in range(0, len(found), _MOST):
                    self._mlflow.MlflowClient().log_batch(self._run, metrics=found[start : start + _MOST])
            case Seen() | Alarm():
                if len(self._lines) >= _LINES and seen.step != self._first:
                    self._upload()
                    self._lines, self._uploaded = [], 0
                if not self._lines:
                    self._first = seen.step
                self._lines.append(f"step {seen.step}: {said(seen)}")

    def observed(self) -> None:
        if time.monotonic() >= self._due:
            self._upload()

    def end(self) -> None:
        self._upload()

    def _upload(self) -> None:
        if self._uploaded == len(self._lines):
            return
        text = "\n".join(self._lines) + "\n"
        client = self._mlflow.MlflowClient()
        if not self._uploaded:
            there = {each.path for each in client.list_artifacts(self._run, _TEXTS)}
            ends = ("", *(f"-{n}" for n in range(2, len(there) + 3)))  # a run that was gone on with has its own
            names = (f"{_TEXTS}/{self._first:09}{end}.txt" for end in ends)
            self._name = next(name for name in names if name not in there)
        client.log_text(self._run, text, self._name)
        self._uploaded, self._due = len(self._lines), time.monotonic() + _PAUSE


def _named(name: str) -> str:
    """A name that MLflow takes. Two that would become the same stay apart by a checksum.

    >>> _named("update_ratio/0.weight"), _named("weight_norm/w[0]:x+y")
    ('numel/update_ratio/0.weight', 'numel/weight_norm/w_0__x_y-27a868ec')
    """
    head, slash, path = name.partition("/")
    taken = f"numel/{_REFUSED.sub('_', head)}{slash}{_REFUSED.sub('_', path)}"
    if taken == f"numel/{name}" and len(taken) <= _LONGEST:
        return taken
    return f"{taken[: _LONGEST - 9]}-{crc32(name.encode()):08x}"

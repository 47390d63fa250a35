"""A history in MLflow: totals, norms and update ratios as metrics, changes and alarms as a text of the run."""

from __future__ import annotations

from typing import Any

from numel.errors import InputsError
from numel.extras import need
from numel.facts import Alarm, Sample, Seen, Values
from numel.monitoring.sinks import Record, Sink, is_first, scalars

_MOST = 1000  # metrics that the tracking server takes at once (MLflow REST API, runs/log-batch)


class MLflow(Sink):
    """Logs to the run of this id, or to the active one. Of several processes only the first writes.

    Raises `MissingExtra` without mlflow, and `InputsError` without a run.
    """

    def __init__(self, run_id: str | None = None) -> None:
        self._mlflow = need("mlflow", extra="mlflow")
        active = self._mlflow.active_run() if run_id is None else None
        self._run = run_id or (active.info.run_id if active is not None else None)
        self._said: list[str] = []
        if self._run is None and is_first():
            raise InputsError("MLflow: no active run; call mlflow.start_run() first, or give its run_id")

    def write(self, seen: Record) -> None:
        if not is_first():
            return
        match seen:
            case Sample() | Values():
                metric: Any = need("mlflow.entities", extra="mlflow").Metric
                found = [
                    metric(f"numel/{name}", value, round(seen.time * 1000), seen.step)
                    for name, value in scalars(seen).items()
                ]
                for start in range(0, len(found), _MOST):
                    self._mlflow.MlflowClient().log_batch(self._run, metrics=found[start : start + _MOST])
            case Seen():
                change = seen.change
                self._said.append(f"step {seen.step}: {seen.kind} {seen.path}: {change.before} → {change.after}")
            case Alarm():
                self._said.append(f"step {seen.step}: {seen.code} {seen.path}: {seen.text}")

    def end(self) -> None:
        if self._said and is_first():
            self._mlflow.MlflowClient().log_text(self._run, "\n".join(self._said) + "\n", "numel/changes.txt")
            self._said = []

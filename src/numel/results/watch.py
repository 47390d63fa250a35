"""Histories that grow: of a model that is watched, and of a file that a monitor writes."""

from __future__ import annotations

from numel.monitoring import Monitor
from numel.monitoring.sinks import Growing
from numel.results.history import History


class Following(Growing):
    """A file of JSON Lines with the history that it holds; as a context manager it closes it."""

    def now(self) -> History:
        """What was seen so far. Raises `SchemaError` where nothing that was read belongs to a history."""
        kept, notes = self.reader.kept, self.notes()
        return History(kept.samples, kept.changes, self.reader.target, kept.values, kept.alarms, notes)

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Watch(Monitor):
    """A monitor with the history of what it saw."""

    @property
    def history(self) -> History:
        """What was seen so far."""
        kept = self.kept
        return History(kept.samples, kept.changes, self.target, kept.values, kept.alarms, self.notes)

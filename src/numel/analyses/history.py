"""A model over time: its totals where they changed, and what happened to it."""

from __future__ import annotations

from collections.abc import Sequence

from numel.analyses.params import held
from numel.document import Cell, Chart, Column, Table
from numel.facts import Sample, Seen

_KEYS = (("params", "params", "count"), ("trainable", "trainable", "count"), ("buffers", "buffers", "count"),
         ("nbytes", "size", "bytes"))  # fmt: skip


def totals(samples: Sequence[Sample]) -> Table:
    """A row for each step at which the totals were other than before, and for the last.

    >>> from numel.facts import Totals
    >>> totals([Sample(0, 0.0, Totals(params=6))]).to_dict()["params"]
    [6]
    """
    columns = (Column("step", "step", "integer"), *(Column(key, title, unit) for key, title, unit in _KEYS))  # type: ignore[arg-type]
    rows = tuple((each.step, *(held(each.totals, key) for key, _, _ in _KEYS)) for each in samples)
    return Table("Totals", columns, rows)


def changes(found: Sequence[Seen]) -> Table:
    """What happened, in order."""
    columns = (Column("step", "step", "integer"), Column("change", "change"), Column("path", "path", "path"),
               Column("before", "before"), Column("after", "after"))  # fmt: skip
    rows = tuple(
        (each.step, each.kind, each.path, _state(each.change.before), _state(each.change.after)) for each in found
    )
    return Table("Changes", columns, rows)


def _state(value: object) -> Cell:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "trains" if value else "frozen"
    return value if isinstance(value, tuple) else str(value)


def lines(samples: Sequence[Sample]) -> list[Chart]:
    """Params and trainable params by step, where they changed."""
    if len({each.totals for each in samples}) < 2:
        return []
    return [Chart("Params over the run", "line", totals(samples), x="step", y=("params", "trainable"))]

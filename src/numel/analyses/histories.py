"""Models over time beside each other: where they ended, what changed in which of them, and how their values went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from numel.analyses import history
from numel.analyses.compare import Figure
from numel.analyses.params import held
from numel.document import Cell, Chart, Column, Table
from numel.facts import Change, Sample, Seen, Values

_TOTALS = (("params", "params", "count"), ("trainable", "trainable", "count"), ("nbytes", "size", "bytes"))


def figures(samples: Sequence[Sequence[Sample]], changes: Sequence[int], alarms: Sequence[int]) -> list[Figure]:
    """Where each began and ended, and how much happened in between.

    >>> from numel.facts import Totals
    >>> one = [Sample(0, 0.0, Totals(params=6)), Sample(9, 0.0, Totals(params=8))]
    >>> [(f.key, f.cells) for f in figures([one, one[:1]], [1, 0], [0, 0])][:3]
    [('last_step', (9, 0)), ('first_params', (6, 6)), ('params', (8, 6))]
    """
    found = [Figure("last_step", "last step", "integer", tuple(s[-1].step if s else None for s in samples))]
    for key, title, unit in _TOTALS:
        if key == "params":
            first = tuple(held(s[0].totals, key) if s else None for s in samples)
            found.append(Figure("first_params", "params at first", "count", first))
        last = tuple(held(s[-1].totals, key) if s else None for s in samples)
        found.append(Figure(key, title, unit, last))  # type: ignore[arg-type]
    found.append(Figure("changes", "changes", "integer", tuple(changes)))
    found.append(Figure("alarms", "alarms", "integer", tuple(alarms)))
    return found


def apart(names: Sequence[str], runs: Sequence[Sequence[Seen]]) -> tuple[Table, int]:
    """The changes that are not in all runs at the same steps, with the steps at which each run has them, and how many
    are the same in all.

    >>> one, other = [[Seen(step, 0.0, Change("frozen", "w", True, False))] for step in (2, 5)]
    >>> apart(("a", "b"), (one, other))[0].rows
    (('frozen', 'w', 'trains → frozen', '2', '5'),)
    """
    steps: dict[Change, list[list[int]]] = {}
    for i, run in enumerate(runs):
        for seen in run:
            steps.setdefault(seen.change, [[] for _ in runs])[i].append(seen.step)
    columns = (Column("change", "change"), Column("path", "path", "path"), Column("what", "before → after"),
               *(Column(f"steps_{i}", f"steps in {name}") for i, name in enumerate(names)))  # fmt: skip
    different = {change: found for change, found in steps.items() if any(each != found[0] for each in found)}
    rows: list[tuple[Cell, ...]] = [
        (change.kind, change.path, _states(change), *(", ".join(map(str, each)) or "–" for each in found))
        for change, found in different.items()
    ]
    same = len(steps) - len(different)
    caption = f"{same} more at the same steps in all" if same else ""
    return Table("Changes that are not the same", columns, tuple(rows), caption=caption), same


def _states(change: Change) -> str:
    states = [history.state(state) for state in (change.before, change.after)]
    return " → ".join("×".join(map(str, each)) if isinstance(each, tuple) else str(each) or "–" for each in states)


def norms(names: Sequence[str], runs: Sequence[Sequence[Values]], top: int) -> Table | None:
    """The norms of the weights at the last look of each run, those that lie furthest apart first."""
    looks = [history.newest_look(run) for run in runs]
    if any(look is None for look in looks):
        return None
    held = [look.by("weight") for look in looks if look is not None]
    rows: list[tuple[float, tuple[Cell, ...]]] = []
    for path in dict.fromkeys(path for each in held for path in each):
        found = [each[path].norm if path in each else None for each in held]
        known = [norm for norm in found if norm is not None]
        far = (max(known) - min(known)) / max(known) if len(known) == len(found) and max(known) else 0.0
        rows.append((far, (path, *("" if path not in each else each[path].norm for each in held), far)))
    rows.sort(key=lambda each: -each[0])
    each_run = (Column(f"norm_{i}", f"norm in {name}", "number") for i, name in enumerate(names))
    columns = (Column("path", "path", "path"), *each_run,
               Column("apart", "apart", "share", help="how far the norms lie apart, beside the largest"))  # fmt: skip
    caption = f"the {top} furthest apart of {len(rows)}" if len(rows) > top else ""
    return Table("Weights at the last looks", columns, tuple(row for _, row in rows[:top]), caption=caption)


def lines(names: Sequence[str], samples: Sequence[Sequence[Sample]], values: Sequence[Sequence[Values]]) -> list[Chart]:
    """Params, and the norm of all gradients, a line for each run."""
    found = []
    params = [{each.step: each.totals.params for each in run} for run in samples]
    if len({count for run in params for count in run.values()}) > 1:
        found.append(_lines("Params over the runs", "count", names, [_held_on(run, params) for run in params]))
    gradients: list[dict[int, Cell]] = []
    for run in values:
        chart = next((each for each in history.value_lines(run) if each.title.startswith("Gradient")), None)
        gradients.append({} if chart is None else {int(str(row[0])): row[1] for row in chart.data.rows})
    if all(gradients):
        chart = _lines("Gradient norm over the runs", "number", names, gradients)
        found.append(replace(chart, caption="of all gradients together"))
    return found


def _held_on(run: dict[int, int], runs: Sequence[dict[int, int]]) -> dict[int, Cell]:
    """The count at every step that one of the runs names, up to the last of this one: it stays until it changes."""
    steps = sorted({step for each in runs for step in each})
    found: dict[int, Cell] = {}
    now: int | None = None
    for step in steps:
        now = run.get(step, now)
        if now is not None and step <= max(run):
            found[step] = now
    return found


def _lines(title: str, unit: str, names: Sequence[str], runs: Sequence[dict[int, Cell]]) -> Chart:
    columns = (Column("step", "step", "integer"), *(Column(f"run_{i}", name, unit) for i, name in enumerate(names)))  # type: ignore[arg-type]
    steps = sorted({step for run in runs for step in run})
    rows = tuple((step, *(run.get(step) for run in runs)) for step in steps)
    return Chart(title, "line", Table(title, columns, rows), x="step", y=tuple(f"run_{i}" for i in range(len(names))))

"""Models over time beside each other: where they ended, what changed in which of them, and how their values went."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from numel.analyses import history
from numel.analyses.alignment import unwrapped
from numel.analyses.compare import Figure
from numel.analyses.params import held
from numel.document import Cell, Chart, Column, Table
from numel.facts import Alarm, Change, Sample, Seen, Statistics, Values

_TOTALS = (("params", "params", "count"), ("trainable", "trainable", "count"), ("nbytes", "size", "bytes"))
_OF_PATHS = ("tied", "untied")  # changes whose states are paths

Names = Mapping[str, str]


def names(runs: Sequence[Collection[str]]) -> Names:
    """Under which name each of the runs' paths is compared with those of the others: without the parts that only wrap
    what they hold, as DDP's `module`, but whole where two of one run would have the same.

    >>> names([["0.w", "1.w"], ["module.0.w", "ema.module.w", "ema.w"]])["module.0.w"]
    '0.w'
    """
    ambiguous: set[str] = set()
    for run in runs:
        held: set[str] = set()
        for name in map(unwrapped, dict.fromkeys(run)):
            (ambiguous if name in held else held).add(name)
    every = dict.fromkeys(path for run in runs for path in run)
    return {path: path if (name := unwrapped(path)) in ambiguous else name for path in every}


def paths(changes: Sequence[Seen], values: Sequence[Values], alarms: Sequence[Alarm]) -> Iterator[str]:
    """Every path that a run speaks of."""
    for seen in changes:
        yield seen.path
        if seen.kind in _OF_PATHS:
            yield from (each for each in (seen.change.before, seen.change.after) if isinstance(each, str))
    yield from (each.path for look in values for each in look.statistics)
    yield from (each.path for each in alarms)


def named(change: Change, names: Names) -> Change:
    """The change under the names that runs are compared by."""
    before, after = change.before, change.after
    if change.kind in _OF_PATHS:
        before, after = (names[each] if isinstance(each, str) else each for each in (before, after))
    return replace(change, path=names[change.path], before=before, after=after)


def under(found: Statistics, names: Names) -> Statistics:
    """The statistics under the name that runs are compared by."""
    name = names[found.path]
    if name == found.path:
        return found
    histogram = None if found.histogram is None else replace(found.histogram, path=name)
    return replace(found, path=name, histogram=histogram)


def figures(
    samples: Sequence[Sequence[Sample]], ends: Sequence[int], changes: Sequence[int], alarms: Sequence[int]
) -> list[Figure]:  # fmt: skip
    """Where each began, and at which step and with what it ended, and how much happened in between.

    >>> from numel.facts import Totals
    >>> one = [Sample(0, 0.0, Totals(params=6)), Sample(9, 0.0, Totals(params=8))]
    >>> [(f.key, f.cells) for f in figures([one, one[:1]], [9, 5], [1, 0], [0, 0])][:3]
    [('last_step', (9, 5)), ('first_params', (6, 6)), ('params', (8, 6))]
    """
    at = tuple(end if s else None for s, end in zip(samples, ends, strict=True))
    found = [Figure("last_step", "last step", "integer", at)]
    for key, title, unit in _TOTALS:
        if key == "params":
            first = tuple(held(s[0].totals, key) if s else None for s in samples)
            found.append(Figure("first_params", "params at first", "count", first))
        last = tuple(held(s[-1].totals, key) if s else None for s in samples)
        found.append(Figure(key, title, unit, last))  # type: ignore[arg-type]
    found.append(Figure("changes", "changes", "integer", tuple(changes)))
    found.append(Figure("alarms", "alarms", "integer", tuple(alarms)))
    return found


def apart(titles: Sequence[str], runs: Sequence[Sequence[Seen]], names: Names) -> Table:
    """The changes that are not in all runs at the same steps, with the steps at which each run has them. Each stands
    under the path that it has in the first of its runs.

    >>> one, other = [[Seen(step, 0.0, Change("frozen", "w", True, False))] for step in (2, 5)]
    >>> apart(("a", "b"), (one, other), {"w": "w"}).rows
    (('frozen', 'w', 'trains → frozen', '2', '5'),)
    """
    steps: dict[Change, list[list[int]]] = {}
    shown: dict[Change, Change] = {}
    for i, run in enumerate(runs):
        for seen in run:
            change = named(seen.change, names)
            shown.setdefault(change, seen.change)
            steps.setdefault(change, [[] for _ in runs])[i].append(seen.step)
    columns = (Column("change", "change"), Column("path", "path", "path"), Column("what", "before → after"),
               *(Column(f"steps_{i}", f"steps in {title}") for i, title in enumerate(titles)))  # fmt: skip
    different = {change: found for change, found in steps.items() if any(each != found[0] for each in found)}
    rows: list[tuple[Cell, ...]] = [
        (change.kind, shown[change].path, _states(shown[change]), *(", ".join(map(str, each)) or "–" for each in found))
        for change, found in different.items()
    ]
    same = len(steps) - len(different)
    caption = f"{same} more at the same steps in all" if same else ""
    return Table("Changes that are not the same", columns, tuple(rows), caption=caption)


def _states(change: Change) -> str:
    states = [history.state(state) for state in (change.before, change.after)]
    return " → ".join("×".join(map(str, each)) if isinstance(each, tuple) else str(each) or "–" for each in states)


def norms(titles: Sequence[str], runs: Sequence[Sequence[Values]], top: int, names: Names) -> Table | None:
    """The norms of the weights at the last look of each run: first those that can not be compared, since one is not
    finite or not there, then those that lie furthest apart. Each stands under the path that it has in the first run."""
    looks = [history.newest_look(run) for run in runs]
    if any(look is None for look in looks):
        return None
    weights = [look.by("weight") for look in looks if look is not None]
    held = [{names[path]: each for path, each in run.items()} for run in weights]
    shown = {names[path]: path for run in reversed(weights) for path in run}
    rows: list[tuple[float, tuple[Cell, ...]]] = []
    for name in dict.fromkeys(name for each in held for name in each):
        found = [each.get(name) for each in held]
        cells = ["" if each is None else history.number(each.norm, each) for each in found]
        far, rank = _apart(found)
        rows.append((rank, (shown[name], *cells, far)))
    rows.sort(key=lambda each: -each[0])
    each_run = (Column(f"norm_{i}", f"norm in {title}", "number") for i, title in enumerate(titles))
    columns = (Column("path", "path", "path"), *each_run,
               Column("apart", "apart", "share", help="how far the norms lie apart, beside the largest"))  # fmt: skip
    counts = [sum(rank == which for rank, _ in rows) for which in (_ODD, _ALONE)]
    said = [f"{n} {what}" for n, what in zip(counts, ("not finite in a run", "not in every run"), strict=True) if n]
    said += [f"the first {top} of {len(rows)}"] if len(rows) > top else []
    caption = "; ".join(said)
    return Table("Weights at the last looks", columns, tuple(row for _, row in rows[:top]), caption=caption)


_ODD, _ALONE = 3.0, 2.0  # before every share of one


def _apart(found: Sequence[Statistics | None]) -> tuple[Cell, float]:
    """How far the norms of one weight lie apart, beside the largest, and how early a reader wants to see it."""
    there = [each.norm for each in found if each is not None]
    known = [norm for norm in there if norm is not None]
    if len(known) < len(there):
        return None, _ODD
    if len(there) < len(found):
        return "", _ALONE
    far = (max(known) - min(known)) / max(known) if max(known) else 0.0
    return far, far


def lines(
    titles: Sequence[str], samples: Sequence[Sequence[Sample]], ends: Sequence[int], values: Sequence[Sequence[Values]]
) -> list[Chart]:  # fmt: skip
    """Params up to where each run ended, and the norm of all gradients, a line for each run."""
    found = []
    params = [{each.step: each.totals.params for each in run} for run in samples]
    if len({count for run in params for count in run.values()}) > 1:
        changed = {step for run in params for step in run}
        before = {step - 1 for step in changed if step > min(changed)}  # where the count is still the old one
        steps = sorted(changed | before | {*ends})
        held = [_held_on(run, steps, end) for run, end in zip(params, ends, strict=True)]
        found.append(_lines("Params over the runs", "count", titles, held))
    gradients: list[dict[int, Cell]] = []
    for run in values:
        chart = next((each for each in history.value_lines(run) if each.title.startswith("Gradient")), None)
        gradients.append({} if chart is None else {int(str(row[0])): row[1] for row in chart.data.rows})
    if all(gradients):
        chart = _lines("Gradient norm over the runs", "number", titles, gradients)
        found.append(replace(chart, caption="of all gradients together"))
    return found


def _held_on(run: Mapping[int, int], steps: Sequence[int], end: int) -> dict[int, Cell]:
    """The count at every one of the `steps`, up to the last of this run: it stays until it changes."""
    found: dict[int, Cell] = {}
    now: int | None = None
    for step in steps:
        now = run.get(step, now)
        if now is not None and step <= end:
            found[step] = now
    return found


def _lines(title: str, unit: str, titles: Sequence[str], runs: Sequence[dict[int, Cell]]) -> Chart:
    columns = (Column("step", "step", "integer"), *(Column(f"run_{i}", name, unit) for i, name in enumerate(titles)))  # type: ignore[arg-type]
    steps = sorted({step for run in runs for step in run})
    rows = tuple((step, *(run.get(step) for run in runs)) for step in steps)
    return Chart(title, "line", Table(title, columns, rows), x="step", y=tuple(f"run_{i}" for i in range(len(titles))))

"""A model over time: its totals where they changed, what happened to it, and what its values were like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import fsum, sqrt
from statistics import median

from numel.analyses.params import held
from numel.analyses.summary import callout
from numel.document import Callout, Cell, Chart, Column, Table, marked
from numel.document.table import Unit
from numel.facts import Alarm, Histogram, Note, Sample, Seen, Statistics, Values, listed
from numel.facts.note import Level

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
        (each.step, each.kind, each.path, state(each.change.before), state(each.change.after)) for each in found
    )
    return Table("Changes", columns, rows)


def state(value: object) -> Cell:
    """What something was or is, in words or as a shape."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "trains" if value else "frozen"
    return value if isinstance(value, tuple) else str(value)


def lines(samples: Sequence[Sample]) -> list[Chart]:
    """Params and trainable params by step: they stay as they are up to the step at which they changed.

    >>> from numel.facts import Totals
    >>> samples = [Sample(0, 0.0, Totals(params=6)), Sample(9, 0.0, Totals(params=8))]
    >>> [row[:2] for row in lines(samples)[0].data.rows]
    [(0, 6), (8, 6), (9, 8)]
    """
    if len({each.totals for each in samples}) < 2:
        return []
    held_on: list[Sample] = []
    for each in samples:
        if held_on and each.totals != held_on[-1].totals and each.step - 1 > held_on[-1].step:
            held_on.append(Sample(each.step - 1, each.time, held_on[-1].totals))
        held_on.append(each)
    return [Chart("Params over the run", "line", totals(held_on), x="step", y=("params", "trainable"))]


_TOLD = 20  # alarms that are told one by one
_ALL_BINS = 128
_RECENT = 20  # observes whose updates are the last ones


def callouts(alarms: Sequence[Alarm], notes: Sequence[Note] = ()) -> Iterator[Callout]:
    """What was wrong, what began at one step in several places together, the first ones and then how many more; and
    what is left out.

    >>> alarms = [Alarm(7, 0.0, Note("dead", "warning", "the gradient is zero", path)) for path in ("a", "b")]
    >>> [each.text for each in callouts(alarms)], [each.path for each in callouts(alarms[:1])]
    (['step 7, in 2 places: the gradient is zero (a, b)'], ['a'])
    """
    together: dict[tuple[int, str, Level], list[Alarm]] = {}
    for each in alarms:
        together.setdefault((each.step, each.code, each.note.level), []).append(each)
    groups = list(together.values())
    for found in groups[:_TOLD]:
        yield callout(_together(found))
    rest = [each for found in groups[_TOLD:] for each in found]
    if rest:
        level: Level = "error" if any(each.note.level == "error" for each in rest) else "warning"
        codes = ", ".join(dict.fromkeys(each.code for each in rest))
        yield callout(Note("alarms", level, f"{len(rest):,} more alarms: {codes}"))
    yield from map(callout, notes)


def _together(found: Sequence[Alarm]) -> Note:
    """Alarms of one step and code as one, in the words of the first."""
    first = found[0]
    paths = list(dict.fromkeys(each.path for each in found))
    if len(paths) == 1:
        return replace(first.note, text=f"step {first.step}: {'; '.join(dict.fromkeys(each.text for each in found))}")
    more = "" if all(each.text == first.text for each in found) else ", and so on"
    text = f"step {first.step}, in {len(paths):,} places: {first.text}{more} ({listed(paths)})"
    return replace(first.note, text=text, path="")


def newest_look(values: Sequence[Values]) -> Values | None:
    """The last look at the weights, which an update may follow."""
    return next((each for each in reversed(values) if each.by("weight")), None)


def last_look(values: Sequence[Values]) -> Table | None:
    """A row for each weight of the last look, with its gradient and the last update that is known.

    >>> look = Values(5, 0.0, (Statistics("w", "weight", 4, 4, norm=2.0), Statistics("w", "update", 4, 4, ratio=0.5)))
    >>> table = last_look([look])
    >>> table.title, table.to_dict()["ratio"]
    ('Values at step 5', [0.5])
    """
    look = newest_look(values)
    if look is None:
        return None
    gradients = look.by("gradient")
    updates: dict[str, Statistics] = {}
    for each in reversed(values[-_RECENT:]):  # optimizers that take turns step at different times
        updates = {**each.by("update"), **updates}
    rows: list[tuple[Cell, ...]] = []
    for path, weight in look.by("weight").items():
        gradient, update = gradients.get(path), updates.get(path)
        odd = sum(each.nan + each.infinite for each in (weight, gradient) if each is not None)
        rows.append((
            path, number(weight.norm, weight), "" if gradient is None else number(gradient.norm, gradient),
            "" if update is None else number(update.ratio, update),
            *(number(value, weight) for value in (weight.mean, weight.std, weight.absmax)),
            marked(weight.zeros, "share", about=weight.sampled), odd,
        ))  # fmt: skip
    columns = (
        Column("path", "path", "path"), Column("norm", "norm", "number"),
        Column("gradient", "gradient norm", "number", help="the Euclidean norm of the gradient"),
        Column("ratio", "update ratio", "number", help="the norm of what a step added, by that of the weight before"),
        Column("mean", "mean", "number"), Column("std", "std", "number"), Column("absmax", "largest", "number"),
        Column("zeros", "zeros", "share"),
        Column("odd", "NaN, Inf", "count", help="values of the weight and of the gradient that are no finite number",
               wrong=any(row[-1] for row in rows)),
    )  # fmt: skip
    return Table(f"Values at step {look.step}", columns, tuple(rows))


_FIELDS: tuple[tuple[str, Unit], ...] = (
    ("path", "path"), ("of", "text"), ("numel", "count"), ("seen", "count"), ("norm", "number"), ("mean", "number"),
    ("std", "number"), ("absmax", "number"), ("zeros", "share"), ("nan", "count"), ("infinite", "count"),
    ("ratio", "number"),
)  # fmt: skip


def statistics(values: Sequence[Values]) -> Table:
    """A row for each tensor at each look, with all that is known of it but the histogram.

    >>> statistics([Values(5, 0.0, (Statistics("w", "weight", 4, 4, norm=2.0),))]).rows[0][:6]
    (5, 'w', 'weight', 4, 4, 2.0)
    """
    columns = (Column("step", "step", "integer"), *(Column(name, name, unit) for name, unit in _FIELDS))
    rows = tuple(
        (look.step, *(getattr(each, name) for name, _ in _FIELDS)) for look in values for each in look.statistics
    )
    return Table("Values", columns, rows)


def number(value: float | None, of: Statistics) -> Cell:
    """A number of these statistics: about as much where they are of a sample."""
    return None if value is None else marked(value, "number", about=of.sampled)


def value_lines(values: Sequence[Values]) -> Iterator[Chart]:
    """The norm of all gradients together, and how large updates are beside their weights, by step. A look with a NaN or
    an infinity in a gradient has no norm."""
    norms: list[tuple[Cell, ...]] = []
    ratios: list[tuple[Cell, ...]] = []
    for each in values:
        gradients = [gradient.norm for gradient in each.by("gradient").values()]
        known = [norm for norm in gradients if norm is not None]
        if known and len(known) == len(gradients):
            norms.append((each.step, sqrt(fsum(norm * norm for norm in known))))
        found = [update.ratio for update in each.by("update").values() if update.ratio is not None]
        if found:
            ratios.append((each.step, median(found), max(found)))
    step = Column("step", "step", "integer")
    if len(norms) > 1:
        table = Table("Gradient norm", (step, Column("norm", "norm of all gradients", "number")), tuple(norms))
        yield Chart("Gradient norm over the run", "line", table, x="step", y=("norm",))
    if len(ratios) > 1:
        columns = (step, Column("median", "median", "number"), Column("largest", "largest", "number"))
        yield Chart("Update ratio over the run", "line", Table("Update ratio", columns, tuple(ratios)), x="step",
                    y=("median", "largest"), caption="of each tensor: |update| / |weight before|")  # fmt: skip


def weights(values: Sequence[Values]) -> Histogram | None:
    """How often which values occur in all weights of the last look. Each tensor has bins of its own: what is in one is
    spread over those that it covers, as often as its sample stands for."""
    look = newest_look(values)
    if look is None:
        return None
    found = [(each.histogram, each.numel) for each in look.by("weight").values() if each.histogram is not None]
    if not found:
        return None
    low, high = min(each.low for each, _ in found), max(each.high for each, _ in found)
    counts = [0.0] * _ALL_BINS
    for each, numel in found:
        share = numel / each.numel
        for start, end, n in each.bins():
            first, last = _bin(start, low, high), _bin(end, low, high)
            for at in range(first, last + 1):
                left, right = (low + (high - low) * edge / _ALL_BINS for edge in (at, at + 1))
                covered = (min(end, right) - max(start, left)) / (end - start) if first < last else 1.0
                counts[at] += n * share * max(covered, 0.0)
    return Histogram("", low, high, tuple(round(n) for n in counts))


def _bin(value: float, low: float, high: float) -> int:
    """Where a value lies among all bins; in the middle where there is but one value."""
    at = int((value - low) / (high - low) * _ALL_BINS) if low < high else _ALL_BINS // 2
    return min(max(at, 0), _ALL_BINS - 1)

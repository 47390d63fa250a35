"""What `compare` joins of several targets: their names, the user's own metrics, their values, and runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numel.errors import InputsError, TargetError
from numel.facts import Snapshot
from numel.sources.bytes import printable

if TYPE_CHECKING:
    from numel.results import Comparison, Histories, History, Report


def metrics(metric: Mapping[str, Sequence[float]], count: int) -> dict[str, tuple[float, ...]]:
    """Numbers of the user's own, one for each target."""
    from numel.analyses.compare import metric as figure_of
    from numel.results.comparison import FIGURES

    found: dict[str, tuple[float, ...]] = {}
    taken = {"", *FIGURES}
    for name, given in metric.items():
        try:
            numbers = tuple(given)
            finite = all(isfinite(number) for number in numbers)
        except (TypeError, OverflowError):
            numbers, finite = (), False
        key = figure_of(name).key
        if key in taken or not finite:
            raise InputsError(f"metric {name!r}: expected a name of its own and finite numbers")
        if len(numbers) != count:
            raise InputsError(f"{name}: {len(numbers)} given for {count} targets")
        taken.add(key)
        found[name] = numbers
    return found


def with_differences(made: Comparison, targets: Sequence[Any]) -> Comparison:
    """The values of all tensors that lie on each other and have one shape; each storage once."""
    from numel.sources.differences import differences
    from numel.sources.values import marks

    made = replace(made, marks=tuple(marks(_read_from(target)) for target in targets))
    found, unread = [], []
    for target, alignment in zip(targets[1:], made.alignments, strict=True):
        pairs: dict[tuple[str, str], tuple[str, str]] = {}  # by the first places of both: tied ones once
        for x, y in alignment.tensors:
            if x is not None and y is not None and x.shape == y.shape:
                pairs.setdefault((x.alias_of or x.path, y.alias_of or y.path), (x.path, y.path))
        known, hidden = differences(_read_from(targets[0]), _read_from(target), list(pairs.values()))
        found.append(known)
        unread.append(hidden)
    done = replace(made, values=tuple(found), unread=tuple(unread))
    vars(done)["alignments"] = made.alignments  # which the values do not change: of large models it takes seconds
    return done


def _read_from(target: Any) -> Any:
    """A module, or the path of a file: what has values."""
    from numel.results import Report

    is_text = isinstance(target, str | os.PathLike)
    place = Path(target).expanduser() if is_text else Path()
    weights = place.is_dir() or (place.is_file() and (place.suffix != ".json" or place.name.endswith(".index.json")))
    if (is_text and not weights) or isinstance(target, Report | Snapshot):
        what = printable(str(target)) if is_text else f"a {type(target).__name__}"
        raise TargetError(f"values: {what} has none; give live modules and files of weights")
    return target


def runs(
    targets: Sequence[Any], found: Sequence[History | None], names: Sequence[str] | None, *, asked: bool
) -> Histories:  # fmt: skip
    """The histories that were found of the targets, side by side; `asked` says that something only models have was."""
    from numel.results import Histories

    known = [run for run in found if run is not None]
    if len(known) < len(found):
        raise InputsError("compare: runs are compared with runs; name histories alone, or models alone")
    if asked:
        raise InputsError("compare: runs take no inputs, metric or values, and no forward runs; leave these out")
    given = [os.fspath(target) if isinstance(target, str | os.PathLike) else run.target.rpartition(".")[2] or "run"
             for target, run in zip(targets, known, strict=True)]  # fmt: skip
    return Histories(tuple(known), tuple(names) if names is not None else _numbered(given))


def told_apart(targets: Sequence[Any], reports: Sequence[Report]) -> tuple[str, ...]:
    """What each target is called: as it was named, else by its class; equal names are numbered."""
    named = []
    for target, report in zip(targets, reports, strict=True):
        modules = report.snapshot.modules
        is_text = isinstance(target, str | os.PathLike)
        named.append(os.fspath(target) if is_text else (modules[0].class_name if modules else "") or "model")
    return _numbered(named)


def _numbered(named: Sequence[str]) -> tuple[str, ...]:
    return tuple(name if named.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(named))

"""What is wrong with the values of a model that trains, by what its looks found one after the other. Each thing is said
once, and again only after it was right in between."""

from __future__ import annotations

import weakref
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from numel.facts import Note, Statistics, listed

RUNNING = 3  # looks in a row until what may be chance is said
TIMES = 100  # the usual norm
_USUAL = 5, 20  # looks that make a norm usual: at least, and at most

Found = dict[tuple[str, str], Note]


class Alarms:
    """Notes that are new, of one look after the other."""

    def __init__(self) -> None:
        self._standing: dict[str, Found] = {}
        self._norms: dict[tuple[str, str], deque[float]] = {}
        self._dead: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._still: Counter[str] = Counter()
        self._unseen = 0

    def of_look(
        self, statistics: Sequence[Statistics], trainable: Sequence[str] = (), missing: Iterable[str] = ()
    ) -> tuple[Note, ...]:
        """What is new at a look at the weights and gradients. `trainable` are the parameters that train, and `missing`
        those of them that have no gradient.

        >>> alarms = Alarms()
        >>> bad = [Statistics("w", "gradient", 4, 4, nan=2)]
        >>> [note.text for note in alarms.of_look(bad)], alarms.of_look(bad)
        (['the gradient has 2 NaN among 4 values'], ())
        """
        looked = [each for each in statistics if each.of in ("weight", "gradient")]
        there, gone = set(trainable), set(missing)
        gradients = {each.path: each for each in looked if each.of == "gradient" and each.path in there}
        found: Found = {}
        for each in looked:
            for note in (_not_finite(each), self._exploding(each)):
                if note is not None:
                    found.setdefault((note.code, note.path), note)
        live = any(each.zeros < 1 for each in gradients.values())
        _count(self._dead, {path for path, each in gradients.items() if each.zeros == 1}, there, live)
        dead = [path for path in trainable if self._dead[path] >= RUNNING]
        for path, whole in _topmost(dead, trainable):
            what = "each gradient in it" if whole else "the gradient"
            text = f"{what} is zero at {RUNNING} looks running, and that of other parameters is not"
            found["dead", path] = Note("dead", "warning", text, path)
        _count(self._missing, gone & there, there, len(gone & there) < len(there))
        for path in trainable:
            if self._missing[path] >= RUNNING:
                text = f"it trains, and has no gradient at {RUNNING} looks running: it takes no part in the loss"
                found["no-gradient", path] = Note("no-gradient", "warning", text, path)
        self._unseen = self._unseen + 1 if there and there <= gone else 0
        if self._unseen >= RUNNING:
            text = "no parameter had a gradient: observe belongs between backward() and zero_grad()"
            found["gradients-unseen", ""] = Note("gradients-unseen", "info", text)
        return self._new("look", found)

    def of_updates(self, updates: Sequence[Statistics]) -> tuple[Note, ...]:
        """What is new at the step after a look."""
        paths = {each.path for each in updates}
        moved = any(each.zeros < 1 for each in updates)
        _count(self._still, {each.path for each in updates if each.zeros == 1}, paths, moved)
        found: Found = {}
        for each in updates:
            if self._still[each.path] >= RUNNING:
                of = f"none of {each.seen:,} values looked at" if each.sampled else "no value"
                text = f"{of} changed in {RUNNING} steps that changed other parameters"
                found["not-updated", each.path] = Note("not-updated", "warning", text, each.path)
        return self._new("updates", found)

    def of_optimizers(self, misses: Iterable[str], removed: Iterable[str], none: bool = False) -> tuple[Note, ...]:
        """What is new about the parameters that optimizers hold: which trainable ones they miss (`none`: they hold not
        one), and where those were that they hold and that are gone from the model."""
        found: Found = {}
        if none:
            text = "the optimizer holds no parameter of this model; it has copies, or is another model's"
            found["optimizer-misses", ""] = Note("optimizer-misses", "warning", text)
        else:
            for path in misses:
                text = "it trains, and the optimizer does not hold it: add it to a group, or make the optimizer again"
                found["optimizer-misses", path] = Note("optimizer-misses", "warning", text, path)
        for path in removed:
            text = "the optimizer holds a parameter that was here and is no longer in the model"
            found["optimizer-holds-removed", path] = Note("optimizer-holds-removed", "warning", text, path)
        return self._new("optimizers", found)

    def of_unread(self, unread: Sequence[str]) -> tuple[Note, ...]:
        """What can not be read, in one note."""
        found: Found = {}
        if unread:
            text = f"the values of {listed(unread)} can not be read, and are in no statistics"
            found["values-unread", ""] = Note("values-unread", "info", text)
        return self._new("unread", found)

    def _exploding(self, each: Statistics) -> Note | None:
        norm = each.norm
        if norm is None:
            return None
        norms = self._norms.setdefault((each.path, each.of), deque(maxlen=_USUAL[1]))
        usual = median(norms) if len(norms) >= _USUAL[0] else 0.0
        norms.append(norm)
        if not usual or norm <= TIMES * usual:
            return None
        text = f"the norm of the {each.of} is {norm:.3g}, {norm / usual:,.0f} times what it was at the looks before"
        return Note("exploding", "warning", text, each.path)

    def _new(self, family: str, found: Found) -> tuple[Note, ...]:
        """What does not stand yet. What is not found any more is over."""
        before = self._standing.get(family, {})
        self._standing[family] = found
        return tuple(note for key, note in found.items() if key not in before)


class Held:
    """Which parameters a model has and had, against those that its optimizers hold; by weak references alone."""

    def __init__(self) -> None:
        self._paths: dict[int, tuple[Any, str]] = {}

    def compared(self, named: Mapping[str, Any], optimizers: Sequence[Any]) -> tuple[list[str], list[str], bool]:
        """The paths that `Alarms.of_optimizers` takes. `named` are the parameters of the model now."""
        ids = {id(each) for each in named.values()}
        for path, each in named.items():
            known = self._paths.get(id(each))
            if known is None or known[0]() is not each:
                self._paths[id(each)] = weakref.ref(each), path
        if len(self._paths) > 2 * len(named) + 8:
            self._paths = {key: held for key, held in self._paths.items() if held[0]() is not None}
        held: set[int] = set()
        removed: list[str] = []
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for each in group["params"]:
                    if id(each) in held:
                        continue
                    held.add(id(each))
                    known = self._paths.get(id(each))
                    if id(each) not in ids and known is not None and known[0]() is each:
                        removed.append(known[1])
        trains = {path: id(each) for path, each in named.items() if each.requires_grad}
        misses = [path for path, number in trains.items() if number not in held]
        return misses, removed, bool(trains) and not held & ids


def _not_finite(each: Statistics) -> Note | None:
    if each.finite:
        return None
    parts = [f"{n:,} {word}" for n, word in ((each.nan, "NaN"), (each.infinite, "infinite")) if n]
    text = f"the {each.of} has {' and '.join(parts)} among {each.numel:,} values"
    return Note("not-finite", "error", text, each.path)


def _count(counts: Counter[str], bad: set[str], there: set[str], telling: bool) -> None:
    """One more look running for each that is bad; a look at which all are bad says nothing of one."""
    for path in [path for path in counts if path not in there or (telling and path not in bad)]:
        del counts[path]
    if telling:
        counts.update(bad)


def _topmost(paths: Sequence[str], of: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The paths, or where all that lies in a module is among them, the topmost such module once; and whether it is
    one."""
    all_below, bad_below = Counter(_modules(of)), Counter(_modules(paths))
    said: set[str] = set()
    for path in paths:
        place = path
        for above in _modules([path]):
            if bad_below[above] < all_below[above]:
                break
            place = above
        if place not in said:
            said.add(place)
            yield place, place != path


def _modules(paths: Iterable[str]) -> Iterator[str]:
    """The modules above each, from the inside out, without the root."""
    for path in paths:
        while "." in path:
            path = path.rpartition(".")[0]
            yield path

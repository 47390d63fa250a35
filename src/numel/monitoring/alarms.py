"""What is wrong with the values of a model that trains, by what its looks found one after the other. Each thing is said
once, and again only after it was right in between."""

from __future__ import annotations

import weakref
from collections import Counter, deque
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot
from statistics import median
from typing import Any

from numel.facts import Note, Statistics, listed

RUNNING = 3  # looks in a row until what may be chance is said
TIMES = 100  # the usual norm
_IDLE = 30  # looks without a step, and ten times as many observes: more than gradients are gathered over
_FULL = 0.5  # of a gradient that is zero
_USUAL = 5, 20  # looks that make a norm usual: at least, and at most

Found = dict[tuple[str, ...], Note]  # by code, path, and what of it


@dataclass(frozen=True, slots=True)
class Look:
    """What a look saw: the statistics, the parameters that train and could be read, those of them without a gradient,
    and what could not be read. Since the look before: those that no step was for, whether one was for any, how often
    was observed. `holders` says by number which optimizer holds which."""

    statistics: tuple[Statistics, ...]
    trainable: tuple[str, ...] = ()
    missing: frozenset[str] = frozenset()
    unread: tuple[str, ...] = ()
    unmoved: frozenset[str] = frozenset()
    moved: bool = False
    observed: int = 0
    holders: Mapping[str, int] = field(default_factory=dict)


class Alarms:
    """Notes that are new, of one look after the other."""

    def __init__(self) -> None:
        self._standing: dict[str, Found] = {}
        self._norms: dict[tuple[str, str], deque[float]] = {}
        self._dead, self._missing, self._still = _Running(), _Running(), _Running()
        self._changed: set[str] = set()  # weights that a step has changed since the last look
        self._shares: dict[str, float] = {}  # how much of each gradient was zero at the last look
        self._has_looked = self._has_moved = False
        self._unseen = self._nothing = 0
        self._idle = 0, 0  # looks and observes since the last step

    def of_look(self, look: Look) -> tuple[Note, ...]:
        """What is new at a look at weights and gradients. Several looks at the gradients of one step say of them what
        one says."""
        there, gone, by = set(look.trainable), look.missing, look.holders
        zeros = {each.path: each.zeros for each in look.statistics if each.of == "gradient" and each.path in there}
        dead, live = ({path for path, share in zeros.items() if (share == 1) == which} for which in (True, False))
        known = self._has_moved or any(number >= 0 for number in by.values())  # whether a step would have been seen
        if look.moved or not self._has_looked or not known:
            self._dead.after(dead, live, by)
            self._missing.after(gone - self._changed, there - gone, by)
        self._still.after(look.unmoved, self._changed, by)
        self._changed, self._shares = set(), zeros
        is_idle = bool(live) and self._has_looked and not look.moved
        self._idle = (self._idle[0] + 1, self._idle[1] + look.observed) if is_idle else (0, 0)
        self._has_looked, self._has_moved = True, self._has_moved or look.moved
        for running in (self._dead, self._missing, self._still):
            running.keep(there)
        self._unseen = 0 if live or not there else self._unseen + 1
        found: Found = {}
        for path, whole in _topmost(self._dead.lasting(look.trainable), look.trainable):
            what = "each gradient in it" if whole else "the gradient"
            text = f"{what} is zero at {self._dead.looks(path)} looks running, and that of other parameters is not"
            found["dead", path] = Note("dead", "warning", text, path)
        for path in self._missing.lasting(look.trainable):
            looks = self._missing.looks(path)
            text = f"it trains, and has no gradient at {looks} looks running: it takes no part in the loss"
            found["no-gradient", path] = Note("no-gradient", "warning", text, path)
        if self._unseen >= RUNNING:
            how = "every gradient was zero" if dead else "no parameter had a gradient"
            text = f"{how}: observe belongs between backward() and zero_grad()"
            found["gradients-unseen", ""] = Note("gradients-unseen", "warning" if dead else "info", text)
        looked = [each for each in look.statistics if each.of in ("weight", "gradient")]
        seen = {(each.path, each.of) for each in looked}
        self._norms = {key: norms for key, norms in self._norms.items() if key in seen}
        together = hypot(*(each.norm for each in looked if each.of == "gradient" and each.norm is not None))
        for each in looked:
            note = self._exploding(each, together)
            if note is not None:
                found["exploding", each.path, each.of] = note
        return (*self._new("look", found), *self._unchanged(look.trainable), *self._unread(look.unread))

    def of_updates(self, updates: Sequence[Statistics], holders: Mapping[str, int] | None = None) -> tuple[Note, ...]:
        """What is new at the observe after a step; of the parameters that the step was for."""
        still = {each.path for each in updates if each.zeros == 1 and (not each.sampled or self._is_full(each.path))}
        changed = {each.path for each in updates if each.zeros < 1}
        self._nothing = self._nothing + 1 if still and not changed else 0
        self._changed |= changed
        self._still.after(still, changed, holders or {})
        return self._unchanged([each.path for each in updates])

    def _is_full(self, path: str) -> bool:
        """Whether a step that changes a weight would be seen in a sample of it: not where only few rows have gradients.
        """
        return self._shares.get(path, 0.0) < _FULL

    def _unchanged(self, order: Sequence[str]) -> tuple[Note, ...]:
        found: Found = {}
        for path in self._still.lasting(order):
            text = f"no value of it changed at {self._still.looks(path)} looks running, at which others did"
            found["not-updated", path] = Note("not-updated", "warning", text, path)
        if self._nothing >= RUNNING:
            text = f"no weight changed in {RUNNING} steps: the rate is zero, or too small for their type"
            found["not-updated", ""] = Note("not-updated", "warning", text)
        elif self._idle[0] >= _IDLE and self._idle[1] >= 10 * _IDLE:
            text = f"no weight changed at {_IDLE} looks running, and there are gradients: is optimizer.step() called?"
            found["not-updated", ""] = Note("not-updated", "warning", text)
        return self._new("updates", found)

    def of_steps(self, several: bool) -> tuple[Note, ...]:
        """Whether there were several steps from a look to the observe after it."""
        text = "several steps lie between a look and the next observe: what one adds is not known; observe each step"
        return self._new("steps", {("updates-unseen", ""): Note("updates-unseen", "info", text)} if several else {})

    def of_values(self, statistics: Sequence[Statistics]) -> tuple[Note, ...]:
        """What is new among the values of one observe: NaN and infinities, those of one tensor together.

        >>> alarms = Alarms()
        >>> bad = [Statistics("w", "gradient", 4, 4, nan=2)]
        >>> [note.text for note in alarms.of_values(bad)], alarms.of_values(bad)
        (['the gradient has 2 NaN among 4 values'], ())
        """
        looked = {(each.path, each.of) for each in statistics}
        found = {key: note for key, note in self._standing.get("values", {}).items() if key[1:] not in looked}
        found |= {("not-finite", each.path, each.of): _not_finite(each) for each in statistics if not each.finite}
        texts: dict[str, list[str]] = {}
        for note in self._new("values", found):
            texts.setdefault(note.path, []).append(note.text)
        return tuple(Note("not-finite", "error", "; ".join(said), path) for path, said in texts.items())

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

    def _unread(self, unread: Sequence[str]) -> tuple[Note, ...]:
        """What can not be read, in one note."""
        found: Found = {}
        if unread:
            text = f"the values of {listed(unread)} can not be read, and are in no statistics"
            found["values-unread", ""] = Note("values-unread", "info", text)
        return self._new("unread", found)

    def _exploding(self, each: Statistics, whole: float) -> Note | None:
        """A norm far above the usual, but not of what began at zero: a weight is small up to 1 in the mean square, and
        a gradient below a hundredth of all of them together, the `whole`."""
        norm = each.norm
        if norm is None:
            return None
        norms = self._norms.setdefault((each.path, each.of), deque(maxlen=_USUAL[1]))
        usual = median(norms) if len(norms) >= _USUAL[0] else 0.0
        norms.append(norm)
        small = norm * norm < each.numel if each.of == "weight" else norm < whole / TIMES
        if not usual or norm <= TIMES * usual or small:
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
            if known is None or known[0]() is not each or known[1] != path:
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


class _Running:
    """At how many looks running something was bad, by path. A look at which that is so of every parameter says nothing
    of one; where it is so of all that one optimizer holds, as of a generator while its discriminator trains, it counts
    for a tenth. What was over after it had been said takes twice as many looks until it is said again."""

    def __init__(self) -> None:
        self._looks: Counter[str] = Counter()
        self._weights: Counter[str] = Counter()  # in tenths
        self._needed: dict[str, int] = {}

    def after(self, bad: Collection[str], good: Collection[str], holders: Mapping[str, int]) -> None:
        """One more look, which found these `bad` and those `good`."""
        if not good:
            return
        telling = {holders.get(path) for path in good}
        for path in bad:
            self._looks[path] += 1
            self._weights[path] += 10 if holders.get(path) in telling else 1
        for path in good:
            if path in self._looks:
                if self._weights[path] >= 10 * self._need(path):
                    self._needed[path] = 2 * self._need(path)
                del self._looks[path], self._weights[path]

    def keep(self, there: Container[str]) -> None:
        """Forget what is no longer there."""
        for path in [path for path in self._looks if path not in there]:
            del self._looks[path], self._weights[path]
        self._needed = {path: needed for path, needed in self._needed.items() if path in there}

    def looks(self, path: str) -> int:
        """How many, of a path or of those below it."""
        below = (n for each, n in self._looks.items() if each.startswith(f"{path}."))
        return self._looks.get(path) or max(below, default=0)

    def lasting(self, order: Sequence[str]) -> list[str]:
        """Those that it is to be said of, those that are ordered first."""
        said = {path for path, weight in self._weights.items() if weight >= 10 * self._need(path)}
        return [path for path in dict.fromkeys([*order, *self._weights]) if path in said]

    def _need(self, path: str) -> int:
        return self._needed.get(path, RUNNING)


def _not_finite(each: Statistics) -> Note:
    parts = [f"{n:,} {word}" for n, word in ((each.nan, "NaN"), (each.infinite, "infinite")) if n]
    text = f"the {each.of} has {' and '.join(parts)} among {each.numel:,} values"
    return Note("not-finite", "error", text, each.path)


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

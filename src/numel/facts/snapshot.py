"""What a model is at one instant: flat tables keyed by dotted path, and indexes over them built on demand."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar

from numel.facts.note import Note
from numel.facts.provenance import Provenance
from numel.facts.tensor import TensorRecord
from numel.facts.totals import Totals

Attribute = int | float | bool | str | None | tuple[int, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModuleRecord:
    """One module: `path` ("" is the root), `type` (qualified class name), first path of the same object if earlier."""

    path: str
    type: str
    alias_of: str | None = None
    attributes: tuple[tuple[str, Attribute], ...] = ()
    training: bool | None = None

    @property
    def class_name(self) -> str:
        """The class without its module: `Conv2d`."""
        return self.type.rpartition(".")[2]


def _once(make: Callable[[Snapshot], T]) -> Callable[[Snapshot], T]:
    """What is derived of a snapshot is made when it is first asked for, and kept with it: it does not change."""

    @wraps(make)
    def kept(self: Snapshot) -> T:
        if make.__name__ not in self._derived:
            self._derived[make.__name__] = make(self)
        found: T = self._derived[make.__name__]
        return found

    return kept


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Modules in preorder and tensors in the order of their places. Everything else is derived, once.

    >>> from numel.facts.dtype import dtype
    >>> s = Snapshot((ModuleRecord("", "pkg.Net"),), (TensorRecord("w", (2, 3), dtype("f32"), trainable=True),))
    >>> s.totals.params, s.totals.nbytes
    (6, 24)
    """

    modules: tuple[ModuleRecord, ...] = ()
    tensors: tuple[TensorRecord, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    notes: tuple[Note, ...] = ()
    _derived: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @_once
    def own_totals(self) -> Sequence[tuple[TensorRecord, Totals]]:
        """Each record with its share of the totals: tied places and shared storages are counted at the first one.
        Equal shares are one object."""
        seen: set[int] = set()
        shares: list[tuple[TensorRecord, Totals]] = []
        same: dict[Totals, Totals] = {}
        for record in self.tensors:
            storage = record.storage
            first = storage is None or storage not in seen
            share = record.totals(counts_bytes=first)
            shares.append((record, same.setdefault(share, share)))
            if storage is not None and record.alias_of is None and record.shape is not None:
                seen.add(storage)
        return shares

    @property
    @_once
    def totals(self) -> Totals:
        """The whole model. Equal to the sum over `own_totals`; written flat because models have 10⁵ tensors."""
        return _sum(share for _, share in self.own_totals())

    @_once
    def above(self) -> Mapping[str, str]:
        """The module that holds each other one, by path."""
        paths = {module.path for module in self.modules}
        return {path: above_of(path, paths) for module in self.modules if (path := module.path)}

    @_once
    def direct(self) -> Mapping[str, Totals]:
        """Totals of the tensors that each module holds itself, by module path."""
        paths = {module.path for module in self.modules}
        shares: dict[str, list[Totals]] = {}
        for record, share in self.own_totals():
            shares.setdefault(above_of(record.path, paths), []).append(share)
        known: dict[tuple[int, ...], Totals] = {}
        return {path: _added_up(each, _sum, known) for path, each in shares.items()}

    @_once
    def subtotals(self) -> Mapping[str, Totals]:
        """Totals of each module with all that is below it, by module path; the root is ""."""
        return self.with_below(self.direct(), _sum)

    def with_below(self, own: Mapping[str, T], add_up: Callable[[Sequence[T]], T]) -> Mapping[str, T]:
        """What each module has of `own` with all that is below it, by module path; the root is "". What a module that
        is none of these has is that of the nearest one that holds it."""
        shares: dict[str, list[T]] = {module.path: [] for module in self.modules}
        shares.setdefault("", [])
        for path, share in own.items():
            shares[path if path in shares else above_of(path, shares)].append(share)
        above = self.above()
        known: dict[tuple[int, ...], T] = {}
        sums: dict[str, T] = {}
        for path in sorted(shares, key=len, reverse=True):  # each is longer than all above it
            sums[path] = _added_up(shares[path], add_up, known)
            if path:
                shares[above[path]].append(sums[path])
        return {path: sums[path] for path in shares}

    @_once
    def children(self) -> Mapping[str, tuple[ModuleRecord, ...]]:
        """Modules directly below each path, in order."""
        above = self.above()
        below: dict[str, list[ModuleRecord]] = {}
        for module in self.modules:
            if module.path:
                below.setdefault(above[module.path], []).append(module)
        return {path: tuple(each) for path, each in below.items()}

    def fingerprint(self) -> str:
        """A digest of structure alone (paths, shapes, dtypes, roles, ties): equal for equal architectures."""
        import hashlib  # here, since only this needs it

        digest = hashlib.sha256()
        for module in self.modules:
            digest.update(_line(f"m{module.path}\0{module.type}\0{module.alias_of}\n"))
        for t in self.tensors:
            digest.update(_line(f"t{t.path}\0{t.shape}\0{t.dtype.name}\0{t.role}\0{t.trainable}\0{t.alias_of}\n"))
        return digest.hexdigest()[:16]


def _line(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a name can hold half a pair


def above_of(path: str, paths: Container[str]) -> str:
    """The nearest of `paths` above `path`: torch lets names hold dots, so the part before the last one may be none.

    >>> above_of("a.b.c", {"", "a"}), above_of("a", {""})
    ('a', '')
    """
    above = path.rpartition(".")[0]
    while above and above not in paths:
        above = above.rpartition(".")[0]
    return above


def _added_up(shares: Sequence[T], add_up: Callable[[Sequence[T]], T], known: dict[tuple[int, ...], T]) -> T:
    """Their sum. Of the same shares it is made once and is one object: of layers that are alike, one takes time."""
    key = tuple(map(id, shares))
    if key not in known:
        known[key] = shares[0] if len(shares) == 1 else add_up(shares)
    return known[key]


def _sum(shares: Iterable[Totals]) -> Totals:
    params = trainable = buffers = packed = unclassified = nbytes = local = tied = unknown = 0
    for each in shares:
        params += each.params
        trainable += each.trainable
        buffers += each.buffers
        packed += each.packed
        unclassified += each.unclassified
        nbytes += each.nbytes
        local += each.local_nbytes
        tied += each.tied
        unknown += each.unknown
    return Totals(params, trainable, buffers, packed, unclassified, nbytes, local, tied, unknown)

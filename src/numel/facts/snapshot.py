"""What a model is at one instant: flat tables keyed by dotted path, and indexes over them built on demand."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field

from numel.facts.note import Note
from numel.facts.provenance import Provenance
from numel.facts.tensor import TensorRecord
from numel.facts.totals import Totals

Attribute = int | float | bool | str | None | tuple[int, ...]


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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Modules in preorder and tensors in the order of their places. Everything else is derived.

    >>> from numel.facts.dtype import dtype
    >>> s = Snapshot((ModuleRecord("", "pkg.Net"),), (TensorRecord("w", (2, 3), dtype("f32"), trainable=True),))
    >>> s.totals.params, s.totals.nbytes
    (6, 24)
    """

    modules: tuple[ModuleRecord, ...] = ()
    tensors: tuple[TensorRecord, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    notes: tuple[Note, ...] = ()

    def own_totals(self) -> Iterator[tuple[TensorRecord, Totals]]:
        """Each record with its share of the totals: tied places and shared storages are counted at the first one."""
        seen: set[int] = set()
        for record in self.tensors:
            storage = record.storage
            first = storage is None or storage not in seen
            yield record, record.totals(counts_bytes=first)
            if storage is not None and record.alias_of is None and record.shape is not None:
                seen.add(storage)

    @property
    def totals(self) -> Totals:
        """The whole model. Equal to the sum over `own_totals`; written flat because models have 10⁵ tensors."""
        return _sum(share for _, share in self.own_totals())

    def direct(self) -> Mapping[str, Totals]:
        """Totals of the tensors that each module holds itself, by module path."""
        paths = {module.path for module in self.modules}
        shares: dict[str, list[Totals]] = {}
        for record, share in self.own_totals():
            shares.setdefault(above_of(record.path, paths), []).append(share)
        return {path: _sum(iter(each)) for path, each in shares.items()}

    def subtotals(self) -> Mapping[str, Totals]:
        """Totals of each module with all that is below it, by module path; the root is ""."""
        direct = self.direct()
        sums: dict[str, Totals] = {module.path: direct.get(module.path, Totals()) for module in self.modules}
        sums.setdefault("", direct.get("", Totals()))
        for module in reversed(self.modules):
            if module.path:
                above = above_of(module.path, sums)
                sums[above] = sums[above] + sums[module.path]
        return sums

    def children(self) -> Mapping[str, tuple[ModuleRecord, ...]]:
        """Modules directly below each path, in order."""
        paths = {module.path for module in self.modules}
        below: dict[str, list[ModuleRecord]] = {}
        for module in self.modules:
            if module.path:
                below.setdefault(above_of(module.path, paths), []).append(module)
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


def _sum(shares: Iterator[Totals]) -> Totals:
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

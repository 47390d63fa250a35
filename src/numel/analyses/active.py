"""Which parameters one token meets: all, but for the experts that its router does not choose.

Experts are found by structure: a list of equal modules, or tensors with a leading dimension of experts. How many of
them a token meets is a fact of the model (an attribute of the router or of what holds it, a field of its configuration)
or of the trace (the k of the router's `topk`); where neither says it, it is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from numel.facts import ModuleRecord, Note, Snapshot, TensorSpec, Totals, Trace, above_of
from numel.facts.experts import CHOICES, COUNTS

_EXPERT = re.compile(r"expert", re.IGNORECASE)
_SHARED = re.compile(r"shared", re.IGNORECASE)
_ROUTER = re.compile(r"rout|gat", re.IGNORECASE)
_BY_NAME = re.compile(r"Top[_]?(\d+)(?:Router|Gate|Gating)$")
_CHOOSE = frozenset({"aten.topk", "aten.argmax"})


@dataclass(frozen=True, slots=True)
class Experts:
    """The routed experts of one layer: `count` equal ones with `params` elements together, of which a token meets
    `chosen` (`None`: not known). `known_by` says where that stands, or why it does not."""

    path: str
    count: int
    params: int
    chosen: int | None
    known_by: str

    @property
    def idle(self) -> int | None:
        """Elements that one token does not meet."""
        return None if self.chosen is None else self.params // self.count * (self.count - self.chosen)


def experts(snapshot: Snapshot, trace: Trace | None = None) -> tuple[Experts, ...]:
    """Every layer of routed experts, in order. Shared experts run for every token, and are none of these.

    >>> from numel.facts import TensorRecord, dtype
    >>> held = (("num_experts", 8), ("top_k", 2))
    >>> s = Snapshot(
    ...     (ModuleRecord("", "Moe", attributes=held), ModuleRecord("experts", "Experts", attributes=held)),
    ...     (TensorRecord("experts.up", (8, 3, 4), dtype("f32")),),
    ... )
    >>> [(each.count, each.params, each.chosen) for each in experts(s)]
    [(8, 96, 2)]
    """
    if not any(_EXPERT.search(m.path) or any(name in COUNTS for name, _ in m.attributes) for m in snapshot.modules):
        return ()
    search = _Search(snapshot, trace)
    return tuple(search.found()) or tuple(search.missed())


def active_params(snapshot: Snapshot, found: tuple[Experts, ...]) -> int | None:
    """Distinct parameter elements that one token meets; `None` where a router does not say how many it chooses."""
    idle = 0
    for each in found:
        if each.idle is None:
            return None
        idle += each.idle
    return snapshot.totals.params - idle


def notes(found: tuple[Experts, ...]) -> Iterator[Note]:
    """How the choice of each kind of layer is known, and which layers say it."""
    alike: dict[tuple[int, int | None, str], list[Experts]] = {}
    for each in found:
        alike.setdefault((each.count, each.chosen, re.sub(r"\d+", "#", each.known_by)), []).append(each)
    for (count, chosen, _), layers in alike.items():
        first = layers[0]
        where = f"{len(layers)} layer{'s' if len(layers) > 1 else ''} of {count} experts, the first at {first.path}"
        if chosen is None:
            text = f"active params are not known: {first.known_by}; {where}"
            yield Note("active-params", "warning", text, first.path)
        else:
            yield Note("active-params", "info", f"a token meets {first.known_by}; {where}", first.path)


def label(found: tuple[Experts, ...]) -> str:
    """The name of the figure: `Active params (2 of 8 experts)`."""
    kinds = {(each.chosen, each.count) for each in found}
    if len(kinds) != 1:
        return "Active params"
    ((chosen, count),) = kinds
    return f"Active params ({'?' if chosen is None else chosen} of {count} experts)"


class _Search:
    """Indexes over one snapshot, and the way from a group of experts to its router."""

    def __init__(self, snapshot: Snapshot, trace: Trace | None) -> None:
        self.snapshot = snapshot
        self.modules: Mapping[str, ModuleRecord] = {module.path: module for module in snapshot.modules}
        self.children = snapshot.children()
        self.shared = {module.alias_of for module in snapshot.modules if module.alias_of is not None}
        self.sums: Mapping[str, Totals] = snapshot.subtotals()
        self.direct: dict[str, list[tuple[tuple[int, ...], int]]] = {}  # shapes and counted elements of parameters
        for record, share in snapshot.own_totals():
            if record.shape is not None and record.role in ("parameter", "unknown"):
                above = above_of(record.path, self.modules)
                self.direct.setdefault(above, []).append((record.shape, share.params + share.unclassified))
        self.picks = _picks(trace)

    def found(self) -> Iterator[Experts]:
        inside: tuple[str, ...] = ()
        for module in self.snapshot.modules:
            path = module.path
            if module.alias_of is not None or (inside and path.startswith(inside)):
                continue
            group = self._stacked(module) or self._listed(module)
            if group is not None:
                inside = (path + ".",)
                count, params, equal = group
                yield Experts(path, count, params, *self._chosen(path, count, equal))

    def missed(self) -> Iterator[Experts]:
        """Where a module says itself that it has experts and a choice of them, and none were found."""
        for module in self.snapshot.modules:
            own = {name: value for name, value in module.attributes if type(value) is int}
            count = max((own.get(name, 0) for name in COUNTS), default=0)
            if count > 1 and any(name in own for name in CHOICES) and _holds(self.sums[module.path]):
                why = f"{module.path or 'the root'} has {count} experts that were not found among its modules"
                yield Experts(module.path, count, 0, None, why)
                return

    def _stacked(self, module: ModuleRecord) -> tuple[int, int, bool] | None:
        """Tensors that hold a matrix for each expert: [experts, ...], or [experts · rows, columns] as in MegaBlocks."""
        count = _first(module, COUNTS)
        held = self.direct.get(module.path, [])
        if count is None or count[1] < 2 or not held or _SHARED.search(module.path.rpartition(".")[2]):
            return None
        n = count[1]
        stacks = [(shape, params) for shape, params in held if shape[:1] == (n,)]
        if any(len(shape) >= 3 for shape, _ in stacks):
            odd = any(len(shape) >= 3 and shape[0] != n for shape, _ in held)
            return n, sum(params for _, params in stacks), not odd
        flat = all(len(shape) == 2 and shape[0] % n == 0 and shape[0] > n for shape, _ in held)
        if flat and _EXPERT.search(f"{module.path} {module.class_name}"):
            return n, sum(params for _, params in held), True
        return None

    def _listed(self, module: ModuleRecord) -> tuple[int, int, bool] | None:
        """A container of modules of one class under a name that says expert, each with parameters. What holds nothing
        beside them (a dropout) is none of them."""
        path = module.path
        sized = {each.path: self.sums[each.path] for each in self.children.get(path, ())}
        children = [each for each in self.children.get(path, ()) if _holds(sized[each.path])]
        own = path.rpartition(".")[2]
        named = _EXPERT.search(own) or (len(children) > 1 and all(_EXPERT.search(_last(c.path)) for c in children))
        if len(children) < 2 or not named or _SHARED.search(own) or len({c.type for c in children}) != 1:
            return None
        if self.direct.get(path) or not all(re.search(r"\d+$", _last(child.path)) for child in children):
            return None
        sizes = [self.sums[child.path].params + self.sums[child.path].unclassified for child in children]
        if not sum(sizes):
            return None
        return len(children), sum(sizes), len(set(sizes)) == 1

    def _chosen(self, path: str, count: int, equal: bool) -> tuple[int | None, str]:
        if path in self.shared:
            return None, "the experts stand at several places, and a token may meet others at each"
        if not equal:
            return None, "the experts differ in size"
        said = self._said(path, count)
        ran = self._ran(path, count)
        if said is not None and said[0] is None:
            return None, said[1]
        if said is not None and ran is not None and said[0] != ran:
            return None, f"{said[1]}, yet {ran} of {count} were taken when it ran"
        if said is not None and said[0] is not None:
            return said[0], said[1] + (", as it ran" if ran is not None else "")
        if ran is not None:
            return ran, f"{ran} of {count} experts, by what its router took when it ran"
        return self._named(path) or (None, "nothing says how many experts a router chooses")

    def _said(self, path: str, count: int) -> tuple[int | None, str] | None:
        """What the nearest holder of a choice says: the experts, their router, what holds both, a configuration."""
        for place in self._nearest(path):
            module = self.modules[place]
            routes = _ROUTER.search(module.class_name)  # `k` alone means something there
            chosen = _first(module, (*CHOICES, "k") if routes else CHOICES)
            if chosen is None:
                continue
            name, k = chosen
            where = place or "the root"
            total = _first(module, COUNTS)
            if total is not None and total[1] != count:
                return None, f"{total[0]} {total[1]} at {where} is not the {count} that are here"
            if not 1 <= k <= count:
                return None, f"{name} {k} of {count} at {where} is no choice"
            return k, f"{name} {k} of {count} experts, by {where}"
        return None

    def _block(self, path: str) -> str:
        """What holds experts and router: above all that is named after experts."""
        place = above_of(path, self.modules)
        while place and _EXPERT.search(_last(place)):
            place = above_of(place, self.modules)
        return place

    def _nearest(self, path: str) -> Iterator[str]:
        yield path
        block = self._block(path)
        if block:
            yield block
            yield from self._beside(block, path)
        while block:
            block = above_of(block, self.modules)
            yield block

    def _beside(self, block: str, path: str) -> Iterator[str]:
        """All that a block holds but for experts."""
        pending = list(reversed(self.children.get(block, ())))
        while pending:
            each = pending.pop()
            if each.path != path and not _EXPERT.search(_last(each.path)):
                yield each.path
                pending.extend(reversed(self.children.get(each.path, ())))

    def _ran(self, path: str, count: int) -> int | None:
        """The k of the one choice among as many as there are experts, in the block when it ran."""
        block = self._block(path)
        within = (block + ".") if block else ""
        ks = {k for (place, n), k in self.picks.items() if n == count and (place == block or place.startswith(within))}
        return ks.pop() if len(ks) == 1 else None

    def _named(self, path: str) -> tuple[int, str] | None:
        for place in self._beside(self._block(path), path) if self._block(path) else ():
            named = _BY_NAME.search(self.modules[place].class_name)
            if named is not None:
                return int(named[1]), f"{named[1]} of the experts, by the name of {self.modules[place].class_name}"
        return None


def _holds(totals: Totals) -> bool:
    return totals != Totals()


def _picks(trace: Trace | None) -> dict[tuple[str, int], int]:
    """(module, among how many) → how many its first call took: by the k of `topk`, or one for each `argmax`."""
    if trace is None:
        return {}
    picks: dict[tuple[str, int], dict[int, int]] = {}
    for op in trace.ops:
        if op.name not in _CHOOSE or op.call < 0 or op.phase != "forward":
            continue
        given = op.args[0] if op.args else None
        if not isinstance(given, TensorSpec) or not given.shape:
            continue
        k = op.args[1] if op.name == "aten.topk" and len(op.args) > 1 else 1
        if isinstance(k, int):
            by_call = picks.setdefault((trace.calls[op.call].path, given.shape[-1]), {})
            by_call[op.call] = by_call.get(op.call, 0) + k
    return {place: next(iter(by_call.values())) for place, by_call in picks.items()}


def _first(module: ModuleRecord, names: tuple[str, ...]) -> tuple[str, int] | None:
    """The first of `names` that a module has, itself or in its configuration."""
    held = dict(module.attributes)
    for name in (*names, *(f"{where}.{name}" for where in ("config", "args", "cfg") for name in names)):
        value = held.get(name)
        if type(value) is int:
            return name, value
    return None


def _last(path: str) -> str:
    return path.rpartition(".")[2]

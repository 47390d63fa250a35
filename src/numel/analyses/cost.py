"""What a trace computes: each operator priced once, summed by module, by operator and over all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any

from numel import collector
from numel.document import Cell, marked
from numel.document.table import Unit
from numel.facts import OUTSIDE, OpRecord, Phase, Snapshot, TensorSpec, Trace, above_of, tensors_in


@dataclass(frozen=True, slots=True)
class Work:
    """Sums over operators; `Work()` is zero and `+` is written out, as for `Totals`.

    `macs`, `elementwise` and `executed_macs` (those that are left when causal attention skips its masked half) are
    operations; `read`, `written` and `activation_nbytes` bytes; `activations` output elements. `ops` counts the
    operators, `uncosted` those without a formula, `bounded` those whose formula gives a lower bound, `sampled` those
    that another draw of random values may not run, or with other shapes, and `unseen` the places where work may have
    been done that no operator stands for: the forward stopped, or left torch.

    >>> (Work(macs=3, ops=1) + Work(macs=4, ops=1, uncosted=1)).at_least
    True
    """

    macs: int = 0
    executed_macs: int = 0
    elementwise: int = 0
    read: int = 0
    written: int = 0
    activations: int = 0
    activation_nbytes: int = 0
    ops: int = 0
    uncosted: int = 0
    bounded: int = 0
    unseen: int = 0
    sampled: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            macs=self.macs + other.macs,
            executed_macs=self.executed_macs + other.executed_macs,
            elementwise=self.elementwise + other.elementwise,
            read=self.read + other.read,
            written=self.written + other.written,
            activations=self.activations + other.activations,
            activation_nbytes=self.activation_nbytes + other.activation_nbytes,
            ops=self.ops + other.ops,
            uncosted=self.uncosted + other.uncosted,
            bounded=self.bounded + other.bounded,
            unseen=self.unseen + other.unseen,
            sampled=self.sampled + other.sampled,
        )

    def __mul__(self, times: int) -> Work:
        """The same operators so many times."""
        return Work(*(times * getattr(self, name) for name in self.__slots__))

    @property
    def flops(self) -> int:
        """2 × MACs."""
        return 2 * self.macs

    @property
    def exact(self) -> bool:
        """Whether its operations are neither lower bounds nor those of one draw of random values."""
        return not (self.at_least or self.sampled)

    @property
    def at_least(self) -> bool:
        """Whether its operations are lower bounds."""
        return bool(self.uncosted or self.bounded or self.unseen)

    @property
    def about(self) -> bool:
        """Whether its operations are those of one draw of random values, which may be more or less in another."""
        return self.sampled > 0

    def cell(self, name: str) -> Cell:
        """One of its sums with the sign that it carries. Shapes are known of all operators that were seen, so that
        bytes and activations are lower bounds only where something was not."""
        unit = _UNITS.get(name, "ops")
        least = self.at_least if unit == "ops" else self.unseen > 0
        return marked(getattr(self, name), unit, at_least=least, about=self.about)

    def share(self, whole: Work) -> Cell:
        """Its part of the MACs of `whole`; where those are not exact, about that much."""
        return marked(self.macs / whole.macs if whole.macs else 0.0, "share", about=not whole.exact)


_FIGURES = attrgetter(*Work.__slots__)


def added_up(works: Sequence[Work]) -> Work:
    """The sum of many, each figure at once.

    >>> added_up([Work(macs=3, ops=1), Work(macs=4)]) == Work(macs=7, ops=1), added_up([]) == Work()
    (True, True)
    """
    return Work(*map(sum, zip(*map(_FIGURES, works), strict=True)))


_UNITS: Mapping[str, Unit] = {
    "read": "bytes", "written": "bytes", "activations": "count", "activation_nbytes": "bytes", "ops": "count",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """How one module ran: how often, and the first tensor that its first call took and gave (`None`: it had none)."""

    calls: int
    input: TensorSpec | None
    output: TensorSpec | None


@dataclass(frozen=True, slots=True)
class Costs:
    """The work of a trace. `own` is what the operators of a module's own forward do, `inclusive` that and all below
    it, both by module path. `uncosted` maps an operator without a formula to its calls, `where` to the first module
    that called it; `bounded` likewise for lower bounds. `stopped` is where a forward that raised did so; the work below
    one of `whole` is in that module's own."""

    own: Mapping[str, Work] = field(default_factory=dict)
    inclusive: Mapping[str, Work] = field(default_factory=dict)
    operators: Mapping[str, Work] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    uncosted: Mapping[str, int] = field(default_factory=dict)
    bounded: Mapping[str, int] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    stopped: str | None = None
    whole: tuple[str, ...] = ()

    @property
    def total(self) -> Work:
        """The whole trace."""
        return self.inclusive.get("", Work())


def work(record: OpRecord) -> Work:
    """One operator.

    >>> from numel.facts import dtype
    >>> f32 = dtype("f32")
    >>> x, w, y = TensorSpec((2, 3), f32), TensorSpec((4, 3), f32), TensorSpec((2, 4), f32)
    >>> work(OpRecord("aten.linear.default", -1, (x, w), outputs=(y,))).macs
    24
    """
    # here, since counting parameters does without all the definitions
    from numel.analyses.formulas import cost, traffic

    price, moved = cost(record), traffic(record)
    activations = nbytes = 0
    if moved.written and not _writes_in_place(record):
        for spec in tensors_in(record.outputs):
            activations += spec.numel
            nbytes += spec.nbytes
    if price is None:
        return Work(0, 0, 0, moved.read, moved.written, activations, nbytes, 1, 1, unseen=int(record.outside))
    return Work(
        price.macs, price.executed_macs, price.elementwise, moved.read, moved.written, activations, nbytes, 1, 0,
        int(price.at_least),
    )  # fmt: skip


# hand back their input when they are not training
_DROPOUTS = frozenset({"aten.dropout", "aten.alpha_dropout", "aten.feature_dropout", "aten.feature_alpha_dropout"})


def _writes_in_place(record: OpRecord) -> bool:
    """Whether the outputs are an argument again: by torch's naming rule, or a dropout that does nothing."""
    name, _, overload = record.op.rpartition(".")
    if name in _DROPOUTS:
        return len(record.args) > 2 and not (record.args[1] and record.args[2])
    return (name.endswith("_") and not name.endswith("__")) or overload == "out" or overload.endswith("_out")


_ORDER: Mapping[Phase, int] = {"forward": 0, "backward": 1, "recompute": 1, "optimizer": 2}
_NOTHING, _SAMPLED, _UNSEEN = Work(), Work(sampled=1), Work(unseen=1)


FORWARD: tuple[Phase, ...] = ("forward",)
BACKWARD: tuple[Phase, ...] = ("backward", "recompute")  # a checkpointed forward that runs again is part of it


@collector.paused()
def costs(snapshot: Snapshot, trace: Trace, phases: tuple[Phase, ...] = FORWARD) -> Costs:
    """The work of every module of `snapshot` as `trace` ran it in these phases. Whatever is run outside of all modules
    is the root's.

    A module that has several places is charged at the one that its caller reaches it by, so that the work of a parent
    is its own and that of the rows below it.
    """
    places = charged(snapshot, trace)
    own: dict[str, Work] = {}
    operators: dict[str, Work] = {}
    uncosted: dict[str, int] = {}
    bounded: dict[str, int] = {}
    where: dict[str, str] = {}
    priced: dict[tuple[Any, ...], Work] = {}
    does: dict[str, list[Work]] = {}
    shares: dict[int, tuple[str, Work]] = {}
    sampled = len(trace.ops) if trace.sampled is None else trace.sampled
    for index, record in enumerate(trace.ops):
        if record.phase not in phases:
            continue
        place = places[record.call] if record.call >= 0 else ""
        written = (record.op, index >= sampled, id(record.args), id(record.kwargs), id(record.outputs))
        share = priced.get(written)  # of blocks that are alike, all have the very same values
        if share is None:
            key = (record.op, index >= sampled, *_same_for(record))
            share = priced.get(key)
            if share is None:
                share = priced[key] = work(record) + _SAMPLED if index >= sampled else work(record)
                shares[id(share)] = record.name, share
            priced[written] = share
        does.setdefault(place, []).append(share)
        if share.uncosted or share.bounded:
            name = record.name
            listed = uncosted if share.uncosted else bounded
            listed[name] = listed.get(name, 0) + 1
            where.setdefault(name, place)
    times = Counter(map(id, chain.from_iterable(does.values())))
    for number, (name, share) in shares.items():
        operators[name] = operators.get(name, _NOTHING) + share * times[number]
    summed: dict[tuple[int, ...], Work] = {}
    for place, found in does.items():  # layers that are alike have one sum
        alike = tuple(map(id, found))
        if alike not in summed:
            summed[alike] = added_up(found)
        own[place] = summed[alike]
    stopped = None if trace.failure is None or trace.failure.phase != "forward" else trace.failure.path
    ran = _ran(trace, places)
    paths = {module.path for module in snapshot.modules}
    if stopped is not None and "forward" in phases:
        _add(own, _upward(stopped, paths), _UNSEEN)  # what it, and those that called it, would have done is not known
    elif trace.failure is not None and _ORDER[trace.failure.phase] <= max(_ORDER[phase] for phase in phases):
        _add(own, paths, _UNSEEN)  # it goes through the modules in an order of its own: any may be missing
    if "forward" in phases and any(name.startswith(OUTSIDE) for name in uncosted):  # what was not called may have been
        own.update(dict.fromkeys(_idle(paths, ran), _UNSEEN))
    _add(own, _by_chance(trace, places, paths, ran), _SAMPLED)
    below = snapshot.with_below(own, added_up)
    return Costs(own, below, operators, ran, uncosted, bounded, where, stopped, trace.whole)


def _add(own: dict[str, Work], places: Iterable[str], more: Work) -> None:
    """The same for each of these places; what was one object is one again."""
    known: dict[int, tuple[Work, Work]] = {}
    for place in places:
        done = own.get(place, _NOTHING)
        if id(done) not in known:
            known[id(done)] = done, done + more
        own[place] = known[id(done)][1]


def _same_for(record: OpRecord) -> list[Any]:
    """Equal for operators that get and give the same; a tracer has one object for equal specs."""
    pending: list[Any] = [record.args, *record.kwargs, record.outputs]
    found: list[Any] = []
    while pending:
        value = pending.pop()
        kind = type(value)  # 1, 1.0 and True are equal
        if kind is tuple:
            found += (kind, len(value))
            pending += value
        else:
            found += (kind, value if kind in _SCALARS else id(value))
    return found


_SCALARS = frozenset({int, float, bool, str, type(None)})


def _by_chance(trace: Trace, places: list[str], paths: set[str], ran: Iterable[str]) -> set[str]:
    """The modules whose own work chance may have decided, whatever they did: the one that learned of made-up values,
    all that it can call, and what was not called at all."""
    if trace.sampled is None:
        return set()
    learned = trace.ops[trace.sampled].call if 0 < trace.sampled < len(trace.ops) else -1
    reader = places[learned] if learned >= 0 else ""
    within = reader and reader + "."
    return {path for path in paths if path == reader or path.startswith(within)} | _idle(paths, ran)


def _idle(paths: set[str], ran: Iterable[str]) -> set[str]:
    """The modules that were not called, nor anything in them."""
    busy: set[str] = set()
    for path in ran:
        for place in _upward(path, paths):
            if place in busy:
                break
            busy.add(place)
    return paths - busy


def _upward(path: str, paths: Container[str]) -> Iterator[str]:
    """A module and all that hold it, up to the root."""
    yield path
    while path:
        path = above_of(path, paths)
        yield path


def charged(snapshot: Snapshot, trace: Trace) -> list[str]:
    """The path that each call is charged to: of all places of its module, one that its caller holds.

    A caller holds what no other module that ran stands between. It can hold a module at several places: those of a
    list take turns, of others the first stands for all.
    """
    aliases: dict[str, list[str]] = {}
    for module in snapshot.modules:
        if module.alias_of is not None:
            aliases.setdefault(module.alias_of, [module.alias_of]).append(module.path)
    if not aliases:
        return [call.path for call in trace.calls]
    paths = {module.path for module in snapshot.modules}
    first = {place: path for path, places in aliases.items() for place in places}
    ran = {call.path for call in trace.calls}

    def holder(place: str) -> str:
        """The nearest module above a place that ran."""
        above = above_of(place, paths)
        while above and first.get(above, above) not in ran:
            above = above_of(above, paths)
        return above

    holders = {place: holder(place) for place in first}
    made: list[str] = []
    turns: dict[tuple[int, str], int] = {}
    for call in trace.calls:
        known = aliases.get(call.path)
        if known is None:
            made.append(call.path)
            continue
        above = made[call.parent] if call.parent >= 0 else ""
        held = [path for path in known if holders[path] == above] or known[:1]
        numbered = [path for path in held if path.rpartition(".")[2].isdigit()]
        turn = turns.get((call.parent, call.path), 0)
        turns[call.parent, call.path] = turn + 1
        made.append(numbered[turn % len(numbered)] if numbered else held[0])
    return made


def _ran(trace: Trace, places: Iterable[str]) -> Mapping[str, Place]:
    ran: dict[str, Place] = {}
    for call, path in zip(trace.calls, places, strict=True):
        if call.phase != "forward":
            continue
        before = ran.get(path)
        if before is not None:
            ran[path] = Place(before.calls + 1, before.input, before.output)
        else:
            ran[path] = Place(1, _first_of(call.inputs), _first_of(call.outputs))
    return ran


def _first_of(value: Any) -> TensorSpec | None:
    first = value
    while type(first) is tuple and first:  # most have it at their start
        first = first[0]
    return first if type(first) is TensorSpec else next(tensors_in(value), None)

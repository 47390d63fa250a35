"""What a training step holds: the tensors that autograd keeps, by module, and the most bytes that live at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from numel.analyses.cost import charged
from numel.document import Cell, Column, Table, marked
from numel.facts import MemoryEvent, Snapshot, Trace
from numel.facts.trace import UNTOLD

# the categories of `MemoryEvent`, as a reader knows them
CATEGORIES = {"parameter": "parameters", "buffer": "buffers", "input": "inputs", "optimizer": "optimizer state",
          "activation": "activations", "gradient": "gradients", "temporary": "other"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Saved:
    """Bytes that autograd keeps for the backward pass: `own` by the module whose forward had them kept first,
    `inclusive` with all below. `at_least` where not all of them are known, `about` where another draw keeps others.
    `hidden` says of each module how often it or one below had some kept out of sight."""

    own: Mapping[str, int]
    inclusive: Mapping[str, int]
    at_least: bool = False
    about: bool = False
    hidden: Mapping[str, int] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Of the whole run, the loss included."""
        return self.inclusive.get("", 0)

    @property
    def exact(self) -> bool:
        """Whether all of them are known."""
        return not self.at_least and not self.hidden.get("")

    def cell(self, path: str) -> Cell:
        """The bytes of one module with all below, with the sign that they carry."""
        at_least = self.at_least or self.hidden.get(path, 0) > 0
        return marked(self.inclusive.get(path, 0), "bytes", at_least=at_least, about=self.about)


@dataclass(frozen=True, slots=True)
class Peak:
    """The most bytes that live at once: after which operator of which module (-1, "": before any), and what they are,
    by the categories of `MemoryEvent`."""

    nbytes: int
    op: int
    path: str
    by_category: Mapping[str, int]


def saved(snapshot: Snapshot, trace: Trace) -> Saved:
    """Each storage once, at the module that had it saved first; parameters and buffers are left out, as the trace does.

    What a checkpointed forward saves when it runs again is in the peak and not in here.

    >>> from numel.facts import ModuleRecord
    >>> s = Snapshot((ModuleRecord("", "Net"), ModuleRecord("fc", "Linear")))
    >>> saved(s, Trace(events=(MemoryEvent("save", -1, 24),))).nbytes
    24
    """
    places = charged(snapshot, trace)
    own: dict[str, int] = {}
    hidden: dict[str, int] = {}
    for event in trace.events:
        if event.kind == "save" and (event.op < 0 or trace.ops[event.op].phase == "forward"):
            place = places[event.call] if event.call >= 0 else ""
            held, more = (hidden, 1) if event.category == UNTOLD else (own, event.nbytes)
            held[place] = held.get(place, 0) + more
    failure = trace.failure
    at_least = (failure is not None and failure.phase == "forward") or next(untold(trace), None) is not None
    return Saved(
        own, snapshot.with_below(own, sum), at_least, trace.sampled is not None, snapshot.with_below(hidden, sum)
    )  # fmt: skip


def untold(trace: Trace) -> Iterator[int]:
    """Operators that keep what only a real run tells: the workspace of a recurrent layer's kernel on a CPU."""
    for index, record in enumerate(trace.ops):
        if record.name == "aten.mkldnn_rnn_layer" and record.phase == "forward" and record.outputs[-1].numel == 0:
            yield index


def live(trace: Trace) -> Iterator[tuple[int, MemoryEvent, int]]:
    """(index of the event, event, live bytes after it) in order, as in any step but the first: the optimizer's state,
    which the first step makes, is there from the start."""
    now = sum(event.nbytes for event in trace.events if event.kind == "allocate" and event.category == "optimizer")
    for index, event in enumerate(trace.events):
        if event.kind != "save" and event.category != "optimizer":
            now += event.nbytes if event.kind == "allocate" else -event.nbytes
        yield index, event, now


def peak(snapshot: Snapshot, trace: Trace) -> Peak:
    """The high-water mark of live bytes: parameters, buffers and inputs, what the forward makes and autograd keeps,
    gradients, optimizer state, and what is on its way. Workspaces of kernels and the allocator's rounding are left out.
    """
    highest = max(live(trace), key=lambda each: each[2], default=None)
    if highest is None:
        return Peak(0, -1, "", {})
    last, at, nbytes = highest
    kinds: dict[str, int] = {}
    for index, event in enumerate(trace.events):
        there = index <= last or (event.kind == "allocate" and event.category == "optimizer")
        if event.kind == "save" or not there or (event.kind == "free" and event.category == "optimizer"):
            continue
        kinds[event.category] = kinds.get(event.category, 0) + (
            event.nbytes if event.kind == "allocate" else -event.nbytes
        )
    call = trace.ops[at.op].call if at.op >= 0 else -1
    path = charged(snapshot, trace)[call] if call >= 0 else ""
    return Peak(nbytes, at.op, path, {name: held for name, held in kinds.items() if held})


def timeline(snapshot: Snapshot, trace: Trace, *, at_least: bool = False, about: bool = False) -> Table:
    """What lives at each operator, where that is the most during it: a row per operator that allocates or frees, and
    one, step 0, for what is there before. The columns are bytes by the categories of `MemoryEvent`, with the sign that
    all bytes of the step carry."""
    places = charged(snapshot, trace)
    now = dict.fromkeys(CATEGORIES, 0)
    for event in trace.events:
        if event.kind == "allocate" and event.category == "optimizer":
            now["optimizer"] += event.nbytes
    highest: dict[int, tuple[int, tuple[int, ...]]] = {}
    for _, event, nbytes in live(trace):
        if event.kind == "save":
            continue
        if event.category != "optimizer":
            now[event.category or "temporary"] += event.nbytes if event.kind == "allocate" else -event.nbytes
        if event.op not in highest or nbytes > highest[event.op][0]:
            highest[event.op] = nbytes, tuple(now.values())
    there = [i for i in range(len(now)) if any(held[i] for _, held in highest.values())]
    names = tuple(now)
    columns = (
        Column("step", "operator, in order", "integer"), Column("operator", "operator"),
        Column("path", "layer", "path"), Column("phase", "phase"),
        Column("live", "all together", "bytes"), *(Column(names[i], CATEGORIES[names[i]], "bytes") for i in there),
    )  # fmt: skip

    def head(op: int) -> tuple[Cell, ...]:
        if op < 0:
            return (0, "", "", "")
        record = trace.ops[op]
        return (op + 1, record.name, places[record.call] if record.call >= 0 else "", record.phase)

    rows = tuple(
        (*head(op), *(marked(n, "bytes", at_least=at_least, about=about) for n in (live, *(held[i] for i in there))))
        for op, (live, held) in sorted(highest.items())
    )
    return Table("Live bytes, operator by operator", columns, rows)

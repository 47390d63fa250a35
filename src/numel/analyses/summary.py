"""The document of one model: what it is called, its layers, its totals, and everything that a reader must not miss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from numel.analyses import active
from numel.analyses.memory import CATEGORIES, untold
from numel.document import Callout, Cell, Column, Heading, Quantity, Table
from numel.document.table import Unit
from numel.facts import OUTSIDE, WAYS_OUT, Note, Snapshot, Totals, Trace, listed, tensors_in

if TYPE_CHECKING:
    from numel.analyses.active import Experts
    from numel.analyses.adapters import Adapters
    from numel.analyses.cost import Costs
    from numel.analyses.layers import Layer
    from numel.analyses.memory import Peak, Saved

_FACTS = (Column("name", "name"), Column("value", "value"))


def title(snapshot: Snapshot) -> Heading:
    """The class of the root and what the user named."""
    root = snapshot.modules[0].class_name if snapshot.modules else ""
    target = snapshot.provenance.target
    named = target if target and not target.endswith(root or "\0") else ""
    return Heading(" · ".join(part for part in (root, named) if part) or "model", 1)


Row = tuple[Cell, Cell]


def totals(
    snapshot: Snapshot, trace: Trace | None, costs: Costs | None, told_apart: Sequence[Row] = (),
    trained: Sequence[Row] = (),
) -> Table:  # fmt: skip
    """The lines that people look for below a summary; every figure is a number with a unit. `told_apart` are counts of
    some of the params, `trained` the lines of a training step."""
    held = snapshot.totals
    counts = [*_params(held, guessed(snapshot)), *told_apart]
    if trace is None or costs is None:
        return Table("Totals", _FACTS, (*counts, *_sizes(held, None, None)), kind="facts")
    rows = [*counts, *_computed(trace, costs), *_sizes(held, trace, costs), *trained]
    rows.append(("Traced on", _how(trace)))
    return Table("Totals", _FACTS, tuple(rows), kind="facts")


def told_apart(snapshot: Snapshot, experts: tuple[Experts, ...], embedding: int, adapters: Adapters) -> Sequence[Row]:
    """Params of one kind, where a model has such: those that a token meets, tables, adapters."""
    held = snapshot.totals

    def count(value: int) -> Quantity:
        return Quantity(value, "count", at_least=not held.exact)

    rows: list[Row] = []
    if experts:
        params = active.active_params(snapshot, experts)
        rows.append((active.label(experts), None if params is None else count(params)))
    if embedding:
        rows += [("Embedding params", count(embedding)), ("Non-embedding params", count(held.params - embedding))]
    if adapters.params:
        rows += [(adapters.label, count(adapters.params)), ("Base params", count(held.params - adapters.params))]
    return rows


def guessed(snapshot: Snapshot) -> bool:
    """Whether the source, a file, does not say what its tensors are."""
    return any(record.role == "unknown" or "role" in record.inferred for record in snapshot.tensors)


def totals_table(held: Totals, *, guessed: bool = False) -> Table:
    """The counts and bytes alone. `guessed` marks counts whose tensors a file does not tell apart.

    >>> [name for name, _ in totals_table(Totals(params=6, trainable=6)).rows]
    ['Total params', 'Trainable params', 'Non-trainable params', 'Params and buffers size']
    """
    return Table("Totals", _FACTS, (*_params(held, guessed), *_sizes(held, None, None)), kind="facts")


def _params(held: Totals, guessed: bool) -> Iterable[tuple[Cell, Cell]]:
    mark = " (guessed by name)" if guessed else ""

    def count(value: int, all_told: bool = True) -> Quantity:
        return Quantity(value, "count", at_least=not (held.exact and all_told))

    rows: list[tuple[Cell, Cell]] = []
    rows.append((f"Total params{mark}", count(held.params, held.unclassified == 0)))
    if not guessed:  # a file does not say what trains
        rows += [("Trainable params", count(held.trainable)), ("Non-trainable params", count(held.frozen))]
    optional = (
        ("Elements of unknown role", held.unclassified),
        ("Packed params", held.packed),
        (f"Buffer elements{mark}", held.buffers),
        ("Tied elements, counted once", held.tied),
    )
    rows += [(name, count(value)) for name, value in optional if value]
    if held.unknown:
        rows.append(("Tensors of unknown shape", held.unknown))
    return rows


def _computed(trace: Trace, costs: Costs) -> Iterable[tuple[Cell, Cell]]:
    total = costs.total
    yield "MACs (mult-adds)", _fact(total.cell("macs"))
    if total.executed_macs != total.macs:
        yield "Executed MACs (causal)", _fact(total.cell("executed_macs"))
    yield "FLOPs (2 × MACs)", _fact(total.cell("flops"))
    yield "Elementwise operations", _fact(total.cell("elementwise"))
    batch = batch_size(trace)
    if batch is not None and batch > 1 and total.macs % batch == 0:
        for name, per in (("MACs", total.macs // batch), ("FLOPs", total.flops // batch)):
            yield f"{name} per sample (batch of {batch})", Quantity(per, "ops", total.at_least, total.about)
    yield "Activations (output elements)", _fact(total.cell("activations"), "count")
    yield "Operator calls", _fact(total.cell("ops"), "count")
    yield "Operator calls without a formula", Quantity(total.uncosted, "count")


def trained(
    forward: Costs, backward: Costs, recompute: Costs, optimizer: Costs | None, saved: Saved, peak: Peak
) -> list[tuple[str, Cell]]:
    """The lines of a training step: what goes back costs, what is kept for it, and the most that lives at once."""
    back, there = backward.total, forward.total
    least, about = back.at_least or there.at_least, back.about or there.about
    rows = [("Backward FLOPs", _fact(back.cell("flops")))]
    if recompute.total.ops:
        rows.append(("of which computed again", _fact(recompute.total.cell("flops"))))
    rows.append(("Forward and backward FLOPs", Quantity(there.flops + back.flops, "ops", least, about)))
    if optimizer is not None:
        rows.append(("Optimizer step, elementwise", _fact(optimizer.total.cell("elementwise"))))
    rows.append(("Saved for backward", _fact(saved.cell(""), "bytes")))
    unseen, about = bounds(forward, backward, optimizer, saved)
    rows.append(("Peak of live bytes", Quantity(peak.nbytes, "bytes", unseen, about)))
    for name, title in CATEGORIES.items():
        if peak.by_category.get(name):
            rows.append((f"of which {title}", Quantity(peak.by_category[name], "bytes", unseen, about)))
    return rows


def bounds(forward: Costs, backward: Costs, optimizer: Costs | None, saved: Saved) -> tuple[bool, bool]:
    """Whether the bytes of a training step are lower bounds, and whether another draw makes more or less of them."""
    back, there = backward.total, forward.total
    unseen = back.unseen > 0 or there.unseen > 0 or saved.at_least
    unseen |= optimizer is not None and optimizer.total.unseen > 0
    return unseen, back.about or there.about


def _fact(cell: Cell, unit: Unit = "ops") -> Cell:
    """A number with its unit: those of a list have no column to tell it."""
    return Quantity(cell, unit) if isinstance(cell, int) else cell


def batch_size(trace: Trace) -> int | None:
    """The first size of every input and of the first output, where all have more than one and agree; else `None`.

    A model over sequences that puts their length first, and keeps it, is taken for one over a batch of that length.
    """
    given = list(tensors_in(trace.inputs))
    made = next(tensors_in(trace.calls[0].outputs), None) if trace.calls else None
    sizes = {spec.shape[0] if len(spec.shape) > 1 else None for spec in (*given, *((made,) if made else ()))}
    return sizes.pop() if given and made and len(sizes) == 1 else None


def _sizes(held: Totals, trace: Trace | None, costs: Costs | None) -> Iterable[tuple[Cell, Cell]]:
    def size(value: int) -> Quantity:
        return Quantity(value, "bytes", at_least=not held.exact)

    if trace is not None and costs is not None:
        given, total = sum(spec.nbytes for spec in tensors_in(trace.inputs)), costs.total
        all_told = held.nbytes + given + total.activation_nbytes
        yield "Input size", Quantity(given, "bytes")
        yield "Activations size", _fact(total.cell("activation_nbytes"), "bytes")
        yield "Params and buffers size", size(held.nbytes)
        yield "Total size, every output kept", Quantity(
            all_told, "bytes", total.unseen > 0 or not held.exact, total.about
        )  # fmt: skip
    else:
        yield "Params and buffers size", size(held.nbytes)
    if held.local_nbytes != held.nbytes:
        yield "of which in this process", size(held.local_nbytes)


def _how(trace: Trace) -> str:
    mode = {"meta": "meta tensors", "fake": "fake tensors", "real": "the real model"}[trace.mode]
    return f"{mode}, {'training' if trace.training else 'eval'} mode, {inputs_text(trace.inputs)}"


def obtained(snapshot: Snapshot, trace: Trace | None) -> Table:
    """How the numbers were obtained: what was read, with which versions, and what was run on what."""
    source = snapshot.provenance
    rows: list[Row] = [("Target", source.target or "an object"), ("Read as", source.kind or "facts")]
    versions = dict(source.versions) | (dict(trace.provenance.versions) if trace is not None else {})
    rows += [(f"{name} version", version) for name, version in versions.items()]
    rows.append(("Structure", f"fingerprint {snapshot.fingerprint()}"))
    if trace is None:
        rows.append(("Ran", "nothing: parameters only"))
    else:
        mode = {"meta": "meta tensors", "fake": "fake tensors", "real": "the real model"}[trace.mode]
        rows += [
            ("Inputs", inputs_text(trace.inputs)),
            ("Ran on", mode),
            ("Mode", "training" if trace.training else "eval"),
            ("Phases", ", ".join(trace.phases)),
            ("Module calls", len(trace.calls)),
            ("Operators", len(trace.ops)),
        ]
    return Table("How this was obtained", _FACTS, tuple(rows), kind="facts")


def inputs_text(inputs: object) -> str:
    """Recorded inputs in the notation that gives them again, shortened.

    >>> from numel.facts import TensorSpec, dtype
    >>> inputs_text({"*": (TensorSpec((1, 3), dtype("f32")),), "mask": None})
    'f32[1,3], mask: None'
    """
    if isinstance(inputs, dict):
        named = [f"{name}: {_value_text(value)}" for name, value in inputs.items() if name != "*"]
        parts = [*(_value_text(value) for value in inputs.get("*", ())), *named]
    elif isinstance(inputs, tuple):
        parts = [_value_text(value) for value in inputs]
    else:
        parts = [_value_text(inputs)]
    return ", ".join(parts) or "no inputs"


def _value_text(value: object) -> str:
    if isinstance(value, tuple):
        inside = [_value_text(each) for each in value[:4]]
        return f"({', '.join(inside)}{', …' if len(value) > 4 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_value_text(each)}" for name, each in value.items()) + "}"
    return repr(value) if isinstance(value, str) and not value.startswith("<") else str(value)


# ── what a reader must not miss ──────────────────────────────────────────────────────────────────────────────────────


def notes(snapshot: Snapshot, trace: Trace | None, costs: Sequence[Costs], rows: Sequence[Layer]) -> tuple[Note, ...]:
    """Everything that qualifies the numbers: what the sources said, ties, what has no formula, what was not called."""
    said = [*snapshot.notes]
    said += _tied(snapshot)
    unknown = [record.path for record in snapshot.tensors if record.shape is None and record.alias_of is None]
    if unknown:
        text = f"shape not known before the first forward: {listed(unknown)}; params are lower bounds"
        said.append(Note("lazy", "warning", text, unknown[0].rpartition(".")[0]))
    if trace is not None:
        said += trace.notes
        for each in costs:
            said += _uncosted(each)
        if next(untold(trace), None) is not None:
            text = (
                "an LSTM's kernel on a CPU keeps a workspace for the backward pass, whose size only mode real tells: "
                "what is saved, and the peak, are lower bounds"
            )
            said.append(Note("workspace", "warning", text))
        said += _idle(rows) if trace.failure is None else ()
    return tuple(said)


def _tied(snapshot: Snapshot) -> Iterable[Note]:
    shared = {module.path: module.alias_of for module in snapshot.modules if module.alias_of is not None}
    by_module: dict[str, list[str]] = {}
    for path, first in shared.items():
        if path.rpartition(".")[0] not in shared:
            by_module.setdefault(first, []).append(path)
    for first, places in by_module.items():
        yield Note("shared-module", "info", f"{first} is also {listed(places)}: its tensors are counted once", first)
    by_tensor: dict[str, list[str]] = {}
    elements: dict[str, int | None] = {}
    for record in snapshot.tensors:
        if record.alias_of is not None and record.module not in shared:
            by_tensor.setdefault(record.alias_of, []).append(record.path)
            elements[record.alias_of] = record.numel
    for first, places in by_tensor.items():
        numel = elements[first]
        size = "" if numel is None else f", {numel:,} elements each"
        verb = "is" if len(places) == 1 else "are"
        yield Note("tied", "info", f"{listed(places)} {verb} tied to {first}{size}: counted once", first)


def _calls(count: int) -> str:
    return f"{count} call" if count == 1 else f"{count} calls"


def _uncosted(costs: Costs) -> Iterable[Note]:
    from numel.analyses.formulas import find  # here, since a count needs none

    for name, calls in costs.uncosted.items():
        way_out = WAYS_OUT.get(name.removeprefix(OUTSIDE)) if name.startswith(OUTSIDE) else None
        if way_out is not None:
            times = f" ({calls} times)" if calls > 1 else ""
            text = f"the forward {way_out}{times}: what is computed there is not counted, and totals are lower bounds"
            yield Note("outside-torch", "warning", text, costs.where[name])
            continue
        if find(name) is not None:
            text = f"the formula of {name} gives no cost for its arguments ({_calls(calls)}): totals are lower bounds"
            yield Note("no-cost", "warning", text, costs.where[name])
            continue
        key = name.replace(".", "::", 1)
        text = (
            f"{name} has no formula ({_calls(calls)}): totals over it are lower bounds; "
            f"@numel.formula({key!r}) adds one"
        )
        yield Note("no-formula", "warning", text, costs.where[name])
    for name, calls in costs.bounded.items():
        if name not in costs.uncosted:
            text = f"the work of {name} depends on data ({_calls(calls)}): a lower bound"
            yield Note("lower-bound", "warning", text, costs.where[name])


def _idle(rows: Sequence[Layer]) -> Iterable[Note]:
    """Modules with parameters whose forward did not run, each named at the highest place that is all idle."""
    busy = {row.path for row in rows if row.calls or (row.work is not None and row.work.ops)}
    idle: list[str] = []
    held = 0
    for row in rows:
        above = row.path.rpartition(".")[0]
        if row.path and row.work is not None and row.path not in busy and above in busy and row.totals.params:
            idle.append(row.path)
            held += row.totals.params
    if idle:
        text = f"not called: {listed(idle)}; their {held:,} params count; a caller that uses them itself has the work"
        yield Note("not-called", "info", text)


def callout(note: Note) -> Callout:
    """A note as a block."""
    return Callout("note" if note.level == "info" else note.level, note.text, note.code, note.path)


def callouts(said: Iterable[Note]) -> Iterable[Callout]:
    """Notes as blocks: errors first, then warnings, then the rest, each in order."""
    return sorted(map(callout, said), key=lambda each: ("error", "warning", "note").index(each.kind))


def failure(trace: Trace | None) -> Iterable[Callout]:
    """Where a forward stopped, with what the failing module was given."""
    if trace is None or trace.failure is None:
        return
    found = trace.failure
    where = f"{found.path or 'the root'} ({found.module_type.rpartition('.')[2]})"
    text = f"the forward stopped in {where}, called with {inputs_text(found.inputs)}: the numbers end there"
    if found.phase != "forward":
        what = "the optimizer's step" if found.phase == "optimizer" else "the loss or the backward pass"
        text = f"{what} stopped: its numbers end there, those of the forward are whole"
    yield Callout("error", text, "partial")

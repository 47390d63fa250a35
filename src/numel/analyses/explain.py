"""What a row or a total is made of: its tensors, its operators with their arithmetic, the sum of the rows below; and,
for the whole model, what other ways of counting would say."""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from numel.analyses.arrange import unnumbered
from numel.analyses.cost import BACKWARD, FORWARD, Costs, Work, charged, work
from numel.analyses.layers import Layer
from numel.analyses.memory import peak, saved
from numel.analyses.summary import batch_size, failure, title
from numel.document import Block, Cell, Column, Document, Heading, Quantity, Table, Text, marked
from numel.document.table import about as is_about
from numel.document.table import at_least
from numel.errors import ViewError
from numel.facts import OpRecord, Phase, Snapshot, TensorRecord, TensorSpec, Totals, Trace, tensors_in

WHOLE = "total"
_RUN = re.compile(r"(.*?)([0-9]+)[–-](?:\1)?([0-9]+)")  # a folded label: 0–31
_NEAR = 3

# totals by name: what is left of an explanation of the whole model
_OF_TENSORS = ("params", "trainable", "buffers", "tied", "nbytes")
_OF_OPERATORS = ("macs", "flops", "executed_macs", "elementwise")
_BACK = "backward_flops"
_OF_MEMORY = ("saved_nbytes", "peak_nbytes")
TOTALS = (WHOLE, *_OF_TENSORS, *_OF_OPERATORS, _BACK, *_OF_MEMORY)


@dataclass(frozen=True, slots=True)
class Place:
    """What is explained: a total by name, else the modules `paths` with all that is below them, else one tensor."""

    label: str
    paths: tuple[str, ...] = ("",)
    only: str = ""
    tensor: str = ""


def find(snapshot: Snapshot, path: str | None) -> Place:
    """What a path, a label of a folded row (`layers.0–31`) or the name of a total stands for; a path wins over a name.

    Raises `ViewError` that names what is near.

    >>> from numel.facts import ModuleRecord
    >>> s = Snapshot(tuple(ModuleRecord(path, "M") for path in ("", "b", "b.0", "b.1")))
    >>> find(s, "b.0–1").paths, find(s, "macs").only
    (('b.0', 'b.1'), 'macs')
    """
    modules = {module.path for module in snapshot.modules}
    held = {tensor.path for tensor in snapshot.tensors}
    if path is None or (path in ("", WHOLE, "(root)") and path not in modules - {""}):
        return Place(WHOLE)
    if path in modules:
        return Place(path, (path,))
    if path in held:
        return Place(path, (), tensor=path)
    unfolded = _unfolded(path)
    if len(unfolded) > 1 and all(each in modules for each in unfolded):
        return Place(path, unfolded)
    if path in TOTALS:
        return Place(path, only=path)
    near = difflib.get_close_matches(path, [*sorted(modules - {""}), *sorted(held), *TOTALS], _NEAR)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; expected a layer's path or {', '.join(TOTALS)}"
    raise ViewError(f"explain {path!r}: no layer, tensor or total is called so{hint}")


_MOST_UNFOLDED = 100_000  # no model has as many modules under one label


def _unfolded(label: str) -> tuple[str, ...]:
    choices: list[list[str]] = []
    count = 1
    for part in label.split("."):
        found = _RUN.fullmatch(part)
        first, last = (int(found[2]), int(found[3])) if found else (0, 0)
        count *= max(1, last - first + 1)
        if count > _MOST_UNFOLDED:
            return ()
        choices.append([f"{found[1]}{n}" for n in range(first, last + 1)] if found else [part])
    return tuple(".".join(parts) for parts in product(*choices))


@dataclass(frozen=True, slots=True)
class Step:
    """Operators that are equal, with the arithmetic of one of them: `macs`, `elementwise` and `executed` are
    expressions that give the numbers of `one`; `sampled` of the `calls` may not run with other random values."""

    op: str
    operands: str
    calls: int
    one: Work
    macs: str
    elementwise: str
    executed: str
    sampled: int = 0

    @property
    def work(self) -> Work:
        """All calls together."""
        one, n = self.one, self.calls
        return Work(
            macs=n * one.macs, executed_macs=n * one.executed_macs, elementwise=n * one.elementwise, ops=n,
            uncosted=n * one.uncosted, bounded=n * one.bounded, sampled=self.sampled,
        )  # fmt: skip


def steps(
    trace: Trace, places: Sequence[str], inside: Sequence[str], phases: Sequence[Phase] = FORWARD
) -> tuple[Step, ...]:
    """The operators that ran in the modules `inside` or below in these phases, equal ones as one, the most work first.
    `places` says where each call is charged."""
    from numel.analyses.formulas.arithmetic import worked

    kept: dict[str, bool] = {}
    chosen = frozenset(inside)
    groups: dict[str, tuple[OpRecord, int, int]] = {}
    sampled = len(trace.ops) if trace.sampled is None else trace.sampled
    for index, record in enumerate(trace.ops):
        if record.phase not in phases:
            continue
        place = places[record.call] if record.call >= 0 else ""
        if place not in kept:
            kept[place] = _within(place, chosen)
        if not kept[place]:
            continue
        key = f"{record.op}\0{record.args}\0{record.kwargs}\0{record.outputs}"
        first, calls, drawn = groups.get(key, (record, 0, 0))
        groups[key] = first, calls + 1, drawn + (index >= sampled)
    found = []
    for record, calls, drawn in groups.values():
        told = worked(record)
        found.append(
            Step(record.op, _operands(record), calls, work(record), told.macs, told.elementwise, told.executed, drawn)
        )  # fmt: skip
    found.sort(key=lambda step: (step.one.uncosted, step.work.macs, step.work.elementwise), reverse=True)
    return tuple(found)


def _within(path: str, chosen: Container[str]) -> bool:
    """Whether a path is one of the chosen, or below one."""
    while path and path not in chosen:
        path = path.rpartition(".")[0]
    return path in chosen


def _operands(record: OpRecord) -> str:
    given = " · ".join(map(str, tensors_in((record.args, tuple(value for _, value in record.kwargs)))))
    made = ", ".join(map(str, tensors_in(record.outputs)))
    return " → ".join(part for part in (given, made) if part)


# ── blocks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def document(
    snapshot: Snapshot, trace: Trace | None, costs: Costs, rows: Sequence[Layer], place: Place
) -> Document:  # fmt: skip
    """Everything about one place, as blocks."""
    blocks: list[Block] = [_head(snapshot, rows, place)]
    if place.tensor:
        return Document((*blocks, _tensors(snapshot, [t for t in snapshot.tensors if t.path == place.tensor], "")))
    if place.only in _OF_MEMORY:
        return Document((*blocks, _memory(snapshot, trace, place.only)))
    by_path = {row.path: row for row in rows}
    chosen = [by_path[path] for path in place.paths]
    blocks.append(_numbers(chosen, trace))
    paths = frozenset(place.paths)
    if trace is not None and place.only not in (*_OF_TENSORS, _BACK):
        done = sum((row.work for row in chosen if row.work is not None), Work())
        found = steps(trace, charged(snapshot, trace), place.paths)
        blocks += _operators(found, done, place.only, "Operators", "Formulas")
    if trace is not None and "backward" in trace.phases and place.only in ("", _BACK):
        done = sum((row.backward for row in chosen if row.backward is not None), Work())
        found = steps(trace, charged(snapshot, trace), place.paths, BACKWARD)
        blocks += _operators(found, done, place.only, "Operators of the backward pass", "Formulas of the backward pass")
    elif place.only == _BACK:
        raise ViewError(f"explain {_BACK}: no backward pass was traced; ask for one, as in summary(..., backward=True)")
    if place.only not in (*_OF_OPERATORS, _BACK):
        held = [t for t in snapshot.tensors if _within(t.path, paths) and _counts_in(t, place.only)]
        if held:
            blocks.append(_tensors(snapshot, held, place.only or "params"))
    if len(chosen) == 1 and place.only != _BACK:
        blocks += _sum(snapshot, rows, chosen[0])
    if place.label == WHOLE:
        table = others(snapshot, trace, costs, rows)
        blocks += [table] if table.rows else []
    blocks += failure(trace)
    return Document(tuple(blocks))


def _memory(snapshot: Snapshot, trace: Trace | None, only: str) -> Table:
    """What a training step keeps, by the modules that had it kept, or what lives at its peak, by what it is."""
    if trace is None or "backward" not in trace.phases:
        raise ViewError(f"explain {only}: no backward pass was traced; ask for one, as in summary(..., backward=True)")
    if only == "saved_nbytes":
        kept = saved(snapshot, trace)
        alike: dict[str, list[int]] = {}
        for path, nbytes in kept.own.items():
            alike.setdefault(unnumbered(path) or "the model itself, and the loss", []).append(nbytes)
        rows = [(name, len(each), Quantity(sum(each), "bytes")) for name, each in alike.items()]
        keepers = (Column("path", "kept by", "path"), Column("modules", "modules", "integer"),
                   Column("nbytes", "bytes kept", "bytes"))  # fmt: skip
        return Table("Saved for backward", keepers, tuple(rows), total=("total", len(kept.own), kept.cell("")))
    found = peak(snapshot, trace)
    after = "before any operator ran"
    if found.op >= 0:
        where = found.path or "the model itself, the loss or the optimizer"
        after = f"after {trace.ops[found.op].name} in {where}, {trace.ops[found.op].phase}"
    columns = (Column("category", "what"), Column("nbytes", "bytes alive", "bytes"))
    held = tuple((name, Quantity(nbytes, "bytes")) for name, nbytes in found.by_category.items())
    return Table("Peak of live bytes", columns, held, total=("total", Quantity(found.nbytes, "bytes")), caption=after)


def _head(snapshot: Snapshot, rows: Sequence[Layer], place: Place) -> Heading:
    if place.only or place.label == WHOLE:
        named = title(snapshot)
        return Heading(f"{place.label} of {named.text}", 1)
    kinds = {row.path: row.type for row in rows}
    kind = kinds.get(place.paths[0], "") if place.paths else "Tensor"
    many = f" × {len(place.paths)}" if len(place.paths) > 1 else ""
    return Heading(f"{place.label or '(root)'} · {kind}{many}", 1)


def _numbers(chosen: Sequence[Layer], trace: Trace | None) -> Table:
    held = sum((row.totals for row in chosen), Totals())
    rows: list[tuple[Cell, ...]] = [("Params", Quantity(held.params, "count", not held.exact))]
    if held.tied:
        rows.append(("Tied elements, counted elsewhere", Quantity(held.tied, "count", not held.exact)))
    rows.append(("Params and buffers size", Quantity(held.nbytes, "bytes", not held.exact)))
    known = [row.work for row in chosen if row.work is not None]
    if trace is not None and len(known) < len(chosen):
        rows.append(("MACs", None))
    elif trace is not None:
        done = sum(known, Work())
        first = chosen[0]
        if len({row.calls for row in chosen}) == 1 and first.path:
            rows.append(("Calls of each" if len(chosen) > 1 else "Calls", Quantity(first.calls, "integer")))
        for name, shape in (("Input", first.input_shape), ("Output", first.output_shape)):
            if shape is not None:
                rows.append((name, shape))
        if len([row for row in chosen if row.backward is not None]) == len(chosen):
            back = sum((row.backward for row in chosen if row.backward is not None), Work())
            rows.append(("Backward FLOPs", Quantity(back.flops, "ops", back.at_least, back.about)))
        if all(row.saved_nbytes is not None for row in chosen):
            kept, cells = sum(row.saved_nbytes or 0 for row in chosen), [row.saved for row in chosen]
            least, about = any(map(at_least, cells)), any(map(is_about, cells))
            rows.append(("Saved for backward", Quantity(kept, "bytes", least, about)))
        names = {"macs": "MACs", "executed_macs": "Executed MACs (causal)", "flops": "FLOPs = 2 × MACs"}
        for key, name in {**names, "elementwise": "Elementwise operations"}.items():
            if key != "executed_macs" or done.executed_macs != done.macs:
                value = getattr(done, key)
                rows.append((name, Quantity(value, "ops", done.at_least, done.about)))
        for text, count in (
            ("Operators without a cost: lower bounds", done.uncosted),
            ("Operators whose work depends on data: lower bounds", done.bounded),
            ("Operators of one draw of random values", done.sampled),
        ):
            if count:
                rows.append((text, Quantity(count, "integer")))
    return Table("", (Column("name", "name"), Column("value", "value")), tuple(rows), kind="facts")


def _counts_in(tensor: TensorRecord, total: str) -> bool:
    """Whether a tensor is part of a total."""
    match total:
        case "params":
            return tensor.role == "parameter" and tensor.alias_of is None
        case "trainable":
            return tensor.role == "parameter" and tensor.trainable and tensor.alias_of is None
        case "buffers":
            return tensor.role == "buffer" and tensor.alias_of is None
        case "tied":
            return tensor.alias_of is not None
        case _:
            return True


def _tensors(snapshot: Snapshot, held: Sequence[TensorRecord], total: str) -> Table:
    """Tensors, those that differ in the numbers of their path alone as one row."""
    shares = {id(record): share for record, share in snapshot.own_totals()}
    groups: dict[tuple[Any, ...], list[TensorRecord]] = {}
    for t in held:
        tie = None if t.alias_of is None else unnumbered(t.alias_of)
        groups.setdefault((unnumbered(t.path), t.shape, t.dtype, t.role, t.trainable, tie), []).append(t)
    rows: list[tuple[Cell, ...]] = []
    for (pattern, *_), each in groups.items():
        first, n = each[0], len(each)
        said = ["" if first.shape is None else " × ".join(map(str, first.shape)) or "scalar", first.dtype.name]
        said[0] = f"{n} × ({said[0]})" if n > 1 else said[0]
        if first.role != "parameter":
            said.append({"buffer": "buffer, no parameter"}.get(first.role, "role unknown"))
        elif not first.trainable:
            said.append("does not train")
        if first.alias_of is not None:
            said.append(f"tied to {first.alias_of}: counted there")
        nbytes = sum(shares[id(t)].nbytes for t in each)
        numel = None if first.numel is None else n * first.numel
        name = pattern if n > 1 else first.path
        rows.append((name, Quantity(numel, "count"), Quantity(nbytes, "bytes"), "; ".join(said)))
    columns = (
        Column("path", "tensor", "path"), Column("numel", "elements", "count"), Column("nbytes", "size", "bytes"),
        Column("shape", "shape"),
    )  # fmt: skip
    counted = sum((shares[id(t)] for t in held), Totals())
    value = counted.tied if total == "tied" else getattr(counted, total, counted.params) if total else counted.params
    caption = f"{total}: {value:,}" if total else ""
    return Table("Tensors", columns, tuple(rows), caption=caption, sentences=True)


def _operators(
    found: Sequence[Step], done: Work, only: str, heading: str, formulas: str
) -> Iterator[Block]:  # fmt: skip
    """The operators that count, and what `done`, the work of the place, says of what was not seen of it."""
    from numel.analyses.formulas.registry import derivation

    key = {"flops": "macs", "executed_macs": "macs", _BACK: "macs", "": ""}.get(only, only)
    shown = [s for s in found if s.one.uncosted or (getattr(s.one, key) if key else s.one.macs or s.one.elementwise)]
    rest = sum(s.calls for s in found) - sum(s.calls for s in shown)
    rows: list[tuple[Cell, ...]] = []
    for step in shown:
        each = step.work
        unknown = step.one.uncosted > 0
        cells = (None, None) if unknown else (each.cell("macs"), each.cell("elementwise"))
        rows.append((step.op.rpartition(".")[0], step.calls, *cells, _sentence(step)))
    if not rows:
        yield Text(f"{rest} operator calls, none of which counts here" if rest else "no operator ran here")
        return
    columns = (
        Column("operator", "operator"), Column("calls", "calls", "integer"), Column("macs", "MACs", "ops"),
        Column("elementwise", "elementwise", "ops"), Column("arithmetic", "arithmetic"),
    )  # fmt: skip
    all_of = sum((step.work for step in shown), Work(unseen=done.unseen, sampled=done.sampled))
    total = ("total", all_of.ops, all_of.cell("macs"), all_of.cell("elementwise"), "")
    left = f"{rest} more calls of operators that are free here (views, copies, look-ups)" if rest else ""
    yield Table(heading, columns, tuple(rows), total=total, caption=left, sentences=True)
    names = dict.fromkeys(step.op for step in shown)
    said = {op.rpartition(".")[0]: derivation(op) or "no formula; numel.formula adds one" for op in names}
    yield Table(formulas, (Column("operator", "operator"), Column("derivation", "derivation")),
                tuple(said.items()), kind="facts")  # fmt: skip


def _sentence(step: Step) -> str:
    """`f32[2,3] · f32[4,3] → f32[2,4]: MACs 2 × 4 × 3 = 24`."""
    one = step.one
    if one.uncosted:
        return f"{step.operands}: no cost is known, so totals are lower bounds"
    parts = [
        f"{name}{'' if text == str(value) else f' {text} ='} {value:,}"
        for name, text, value in (
            ("MACs", step.macs, one.macs), ("executed, causal", step.executed, one.executed_macs),
            ("elementwise", step.elementwise, one.elementwise),
        )
        if value and (name != "executed, causal" or step.executed)
    ]  # fmt: skip
    if one.bounded:
        parts.append("a lower bound")
    if step.sampled:
        parts.append("≈, of one draw of random values")
    return f"{step.operands}: {'; '.join(parts)}{' each' if step.calls > 1 else ''}"


def _sum(snapshot: Snapshot, rows: Sequence[Layer], row: Layer) -> Iterator[Block]:
    """The rows right below, and what the row holds and does itself."""
    above = snapshot.above()
    below = [each for each in rows if each.path and above[each.path] == row.path]
    if not below:
        return
    traced = row.work is not None
    columns = [Column("path", "part", "path"), Column("params", "params", "count")]
    if traced:
        columns += [Column("macs", "MACs", "count"), Column("elementwise", "elementwise", "count")]

    def cells(name: str, held: Totals, done: Work | None) -> tuple[Cell, ...]:
        counted: tuple[Cell, ...] = (name, marked(held.params, "count", at_least=not held.exact))
        if not traced:
            return counted
        if done is None:
            return (*counted, None, None)
        numbers = (done.macs, done.elementwise)
        return (*counted, *(marked(n, "count", at_least=done.at_least, about=done.about) for n in numbers))

    parts = [cells(each.path, each.totals, each.work) for each in below]
    parts.append(cells("its own tensors and operators", row.own, row.own_work))
    yield Table("Sum", tuple(columns), tuple(parts), total=cells(row.path or WHOLE, row.totals, row.work))


# ── other conventions ────────────────────────────────────────────────────────────────────────────────────────────────

_BIASED = ("aten.linear", "aten.addmm", "aten.conv", "aten.mkldnn_conv")
_ATTENTION = "attention"


def others(snapshot: Snapshot, trace: Trace | None, costs: Costs, rows: Sequence[Layer]) -> Table:
    """What other ways of counting give for this model; only those that give another number. A tool is named where its
    own source counts so."""
    columns = (
        Column("convention", "counted otherwise"), Column("instead", "instead of"), Column("value", "gives", "count"),
        Column("difference", "differs by", "share"), Column("why", "why"),
    )  # fmt: skip
    kept = []
    for name, instead, base, value, why in (*_of_params(snapshot, rows), *_of_work(snapshot, trace, costs, rows)):
        if value == base or not base:
            continue
        inexact = trace is not None and instead != "params" and not costs.total.exact
        kept.append((name, instead, marked(value, "count", about=inexact), value / base - 1, why))
    return Table("Why another tool says something else", columns, tuple(kept), sentences=True)


_Other = tuple[str, str, int, int, str]


def _of_params(snapshot: Snapshot, rows: Sequence[Layer]) -> Iterable[_Other]:
    held = snapshot.totals
    shared = {module.path for module in snapshot.modules if module.alias_of is not None}
    tied = sum(
        t.numel or 0
        for t in snapshot.tensors
        if t.alias_of is not None and t.role == "parameter" and t.module not in shared
    )
    yield ("tied tensors at each place", "params", held.params, held.params + tied,
           "a tensor that two modules hold is counted in both: torchinfo")  # fmt: skip
    yield ("trainable ones alone", "params", held.params, held.trainable, "only what requires_grad: ptflops")
    yield ("buffers too", "params", held.params, held.params + held.buffers,
           "running statistics and other buffers are no parameters, but are in a checkpoint")  # fmt: skip
    yield ("packed weights left out", "params", held.params, held.params - held.packed,
           "torch.ao packs weights outside of parameters(), over which most tools sum")  # fmt: skip
    holders = snapshot.children()
    direct = sum(row.own.params for row in rows if row.path in holders)
    yield ("leaf modules alone", "params", held.params, held.params - direct,
           "a parameter that a module with children holds itself is missed: thop")  # fmt: skip


def _of_work(snapshot: Snapshot, trace: Trace | None, costs: Costs, rows: Sequence[Layer]) -> Iterable[_Other]:
    if trace is None:
        return
    from numel.analyses.formulas.registry import find as formula_of

    total = costs.total
    macs = total.macs
    yield ("as FLOPs", "MACs", macs, total.flops, "a multiplication and an addition are two: torch.utils.flop_counter, "
           "DeepSpeed, calflops. What fvcore and ptflops print as flops are MACs")  # fmt: skip
    bias = sum(done.elementwise for name, done in costs.operators.items() if name.startswith(_BIASED))
    yield ("bias too", "MACs", macs, macs + bias, "an addition for each output of a layer with a bias: ptflops")
    yield ("elementwise work too", "FLOPs", total.flops, total.flops + total.elementwise,
           "norms, activations, pooling added, here with the multiples of numel: DeepSpeed and calflops with "
           "theirs")  # fmt: skip
    attention = 0
    for name, done in costs.operators.items():
        formula = formula_of(name)
        if formula is not None and formula.__module__.endswith(f".{_ATTENTION}"):
            attention += done.macs
    yield ("attention's products left out", "MACs", macs, macs - attention,
           "scaled_dot_product_attention has no rule: fvcore, calflops, thop")  # fmt: skip
    holders = set(snapshot.children())
    outside = sum(row.own_work.macs for row in rows if row.path in holders and row.own_work is not None)
    yield ("leaf modules alone", "MACs", macs, macs - outside,
           "an operator in the forward of a module with children is missed: torchinfo, thop")  # fmt: skip
    yield ("parameters × outputs", "MACs", macs, _by_parameters(snapshot, costs, rows, holders),
           "each leaf's weights and biases times its batch (a convolution's: times its positions), so that a linear "
           "layer over a sequence counts one token and an embedding its whole table: torchinfo")  # fmt: skip
    yield ("causal attention halved", "MACs", macs, total.executed_macs, "what a causal kernel executes")
    batch = batch_size(trace)
    if batch:
        yield ("for one sample", "MACs", macs, macs // batch, f"divided by the batch of {batch}: ptflops")
    tokens = next((spec for spec in tensors_in(trace.inputs) if spec.dtype.kind == "int"), None)
    if isinstance(tokens, TensorSpec) and len(tokens.shape) == 2:
        params = snapshot.totals.params
        yield ("2 × params × tokens", "FLOPs", total.flops, 2 * params * tokens.numel,
               "the rule of thumb of scaling laws: no attention, and embeddings as products")  # fmt: skip


def _by_parameters(snapshot: Snapshot, costs: Costs, rows: Sequence[Layer], holders: set[str]) -> int:
    """MACs as torchinfo makes them up: parameters of a leaf × the sizes of its output that are no channels."""
    weights: dict[str, list[TensorRecord]] = {}
    for t in snapshot.tensors:
        if t.role == "parameter":
            weights.setdefault(t.module, []).append(t)
    value = 0
    for row in rows:
        place = costs.places.get(row.path)
        if row.path in holders or place is None or place.output is None or not place.output.shape:
            continue
        shape = place.output.shape
        times = replace(place.output, shape=shape[:1])
        for t in weights.get(row.path, ()):
            if t.name in ("weight", "bias") and "Conv" in row.type:
                times = replace(place.output, shape=(*shape[:1], *shape[2:]))
            elif t.name not in ("weight", "bias"):
                if "weight" not in t.name and "bias" not in t.name:
                    continue
                times = replace(place.output, shape=shape[:2])
            value += place.calls * times.numel * (t.numel or 0)
    return value

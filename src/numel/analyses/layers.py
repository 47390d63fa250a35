"""One row per module, and the tree they make: repeated blocks folded, deep levels summed into the rows above."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numel import collector
from numel.analyses.arrange import chosen, ordered, times, with_columns
from numel.analyses.cost import Costs, Work
from numel.analyses.memory import Saved
from numel.analyses.params import held
from numel.document import Cell, Column, Quantity, Table
from numel.document.table import Unit
from numel.facts import Snapshot, TensorRecord, Totals, above_of

NOT_CALLED = "not called"
_FITS = 40  # rows that a reader takes in; the depth is chosen so that the tree has no more

Shape = tuple[int, ...]
_ZERO, _NOTHING = Totals(), Work()


@dataclass(frozen=True, slots=True)
class Layer:
    """One module, or one tensor that a module with children holds itself.

    `totals` and `work` include everything below, `own` and `own_work` do not. `work`, `calls` and the shapes are `None`
    where nothing was traced; a shape is also `None` where no tensor passed. `tied_to` is where what is counted
    elsewhere is counted. `backward` is its work in the backward pass and `saved` what autograd keeps for that, both
    with all below, and `None` where none was traced. `dtype` is that of its parameters, with all below; of its buffers
    where it has none.

    >>> Layer("fc", "Linear", totals=Totals(params=6, trainable=6)).params
    6
    """

    path: str
    type: str
    depth: int = 0
    totals: Totals = _ZERO
    own: Totals = _ZERO
    work: Work | None = None
    own_work: Work | None = None
    input_shape: Shape | None = None
    output_shape: Shape | None = None
    calls: int | None = None
    tied_to: str | None = None
    backward: Work | None = None
    saved: Cell = None
    dtype: str = ""

    @property
    def params(self) -> int:
        """Distinct parameter elements, with all below."""
        return self.totals.params

    @property
    def trainable(self) -> bool | None:
        """Whether its parameters train; `None` where some do and some do not, or there are none."""
        if 0 < self.totals.trainable < self.totals.params or not self.totals.params:
            return None
        return self.totals.trainable == self.totals.params

    @property
    def macs(self) -> int | None:
        """MACs of all its calls, with all below; a lower bound unless `exact`; `None` when nothing was traced."""
        return None if self.work is None else self.work.macs

    @property
    def flops(self) -> int | None:
        """2 × MACs."""
        return None if self.work is None else self.work.flops

    @property
    def backward_flops(self) -> int | None:
        """FLOPs of its part of the backward pass, with what is computed again; `None` when none was traced."""
        return None if self.backward is None else self.backward.flops

    @property
    def saved_nbytes(self) -> int | None:
        """Bytes that autograd keeps of its forward; `None` when no backward pass was traced."""
        held = self.saved.value if isinstance(self.saved, Quantity) else self.saved
        return held if isinstance(held, int) else None

    @property
    def exact(self) -> bool:
        """False when a number of this row is a lower bound, or that of one draw of random values."""
        return self.totals.exact and all(work is None or work.exact for work in (self.work, self.backward))


@collector.paused()
def layers(
    snapshot: Snapshot, costs: Costs | None = None, backward: Costs | None = None, saved: Saved | None = None
) -> tuple[Layer, ...]:
    """Every module in preorder; the root's path is ""."""
    subtotals, direct, aboves = snapshot.subtotals(), snapshot.direct(), snapshot.above()
    depths = {"": 0}
    for path in sorted(aboves, key=len):  # each is longer than all above it
        depths[path] = depths[aboves[path]] + 1
    ties, dtypes = _ties(snapshot), _dtypes(snapshot)
    untold: set[str] = set()  # modules whose work is unknown, not zero
    rows = []
    for module in snapshot.modules:
        path = module.path
        what = (path, module.class_name, depths[path], subtotals[path], direct.get(path, _ZERO))
        tied_to = module.alias_of if module.alias_of is not None else ties.get(path)
        if costs is None:
            rows.append(Layer(*what, tied_to=tied_to, dtype=dtypes[path]))
            continue
        place = costs.places.get(path)
        done = costs.inclusive[path]
        if path and not place and _is_untold(costs, done, aboves[path], aboves[path] in untold):
            untold.add(path)
            rows.append(Layer(*what, tied_to=tied_to, dtype=dtypes[path]))
            continue
        given, made = (None, None) if place is None else (place.input, place.output)
        rows.append(Layer(
            *what, done, costs.own.get(path, _NOTHING),
            None if given is None else given.shape, None if made is None else made.shape,
            place.calls if place else 0, tied_to,
            None if backward is None else backward.inclusive[path], None if saved is None else saved.cell(path),
            dtypes[path],
        ))  # fmt: skip
    return tuple(rows)


def _is_untold(costs: Costs, done: Work, above: str, above_is: bool) -> bool:
    """Whether the work of a module that made no call is unknown: it is a part of what ran as one piece, or a forward
    that stopped did not come to it."""
    if above_is or above in costs.whole:
        return True
    return costs.stopped is not None and done == _NOTHING and _inside(costs.stopped, above)


def _inside(path: str, above: str) -> bool:
    return not above or path == above or path.startswith(above + ".")


def _ties(snapshot: Snapshot) -> Mapping[str, str]:
    """The first place of each module's tied tensors, by module path."""
    found: dict[str, list[str]] = {}
    for tensor in snapshot.tensors:
        if tensor.alias_of is not None:
            places = found.setdefault(tensor.module, [])
            if tensor.alias_of not in places:
                places.append(tensor.alias_of)
    return {path: ", ".join(places) for path, places in found.items()}


def _dtypes(snapshot: Snapshot) -> Mapping[str, str]:
    """The element types of each module's parameters with all below, else of its other tensors, by module path."""
    paths = {module.path for module in snapshot.modules}
    own: dict[str, dict[tuple[bool, str], None]] = {}
    for tensor in snapshot.tensors:
        kind = tensor.role != "buffer", tensor.dtype.name
        own.setdefault(above_of(tensor.path, paths), {})[kind] = None

    def together(shares: Sequence[tuple[tuple[bool, str], ...]]) -> tuple[tuple[bool, str], ...]:
        return tuple(dict.fromkeys(kind for share in shares for kind in share))

    found = snapshot.with_below({path: tuple(kinds) for path, kinds in own.items()}, together)
    return {path: _named(kinds) for path, kinds in found.items()}


def _named(kinds: Sequence[tuple[bool, str]]) -> str:
    return ", ".join([name for first, name in kinds if first] or [name for _, name in kinds])


# ── columns ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Field:
    """A column of the tree: how a row fills it, and whether equal rows add up in it."""

    column: Column
    value: Callable[[Layer, _Whole], Cell]
    adds_up: bool = False


@dataclass(frozen=True, slots=True)
class _Whole:
    """What shares are shares of."""

    params: int
    work: Work


def _held(name: str, *, own: bool = False) -> Callable[[Layer, _Whole], Cell]:
    return lambda row, _: held(row.own if own else row.totals, name)


def _worked(name: str, *, own: bool = False) -> Callable[[Layer, _Whole], Cell]:
    def value(row: Layer, _: _Whole) -> Cell:
        work = row.own_work if own else row.work
        return None if work is None else work.cell(name)

    return value


def _backward(name: str) -> Callable[[Layer, _Whole], Cell]:
    return lambda row, _: None if row.backward is None else row.backward.cell(name)


def _share_of_macs(row: Layer, whole: _Whole) -> Cell:
    return None if row.work is None else row.work.share(whole.work)


def _mark(row: Layer, _: _Whole) -> Cell:
    if row.trainable is None:
        return "partly" if row.totals.params else ""
    return row.trainable


def _shape(row: Layer, shape: Shape | None) -> Cell:
    if shape is not None:
        return shape
    if row.work is None or row.calls != 0:
        return ""
    return NOT_CALLED if not row.work.ops and row.totals.params + row.totals.tied + row.totals.unknown else ""


def _field(key: str, title: str, unit: Unit, value: Callable[[Layer, _Whole], Cell], help: str = "",
           adds_up: bool = False) -> _Field:  # fmt: skip
    return _Field(Column(key, title, unit, help=help), value, adds_up)


_FIELDS: dict[str, _Field] = {
    each.column.key: each
    for each in (
        _field("path", "layer", "path", lambda row, _: row.path),
        _field("type", "type", "text", lambda row, _: row.type),
        _field("dtype", "dtype", "text", lambda row, _: row.dtype, "of its parameters, else of its buffers"),
        _field("tied_to", "tied to", "text", lambda row, _: row.tied_to or "", "where its tensors are counted"),
        _field("depth", "depth", "integer", lambda row, _: row.depth),
        _field("calls", "calls", "integer", lambda row, _: row.calls, "how often its forward ran"),
        _field("input_shape", "input", "shape", lambda row, _: _shape(row, row.input_shape)),
        _field("output_shape", "output", "shape", lambda row, _: _shape(row, row.output_shape)),
        _field("params", "params", "count", _held("params"), "distinct parameter elements", True),
        _field("share", "share", "share", lambda row, whole: row.totals.params / whole.params if whole.params else 0.0,
               "of the model's params", True),
        _field("trainable", "train", "flag", _mark, "whether its parameters train"),
        _field("trainable_params", "trainable", "count", _held("trainable"), "", True),
        _field("buffers", "buffers", "count", _held("buffers"), "elements that are no parameters", True),
        _field("unclassified", "unclassified", "count", _held("unclassified"), "elements of unknown role", True),
        _field("packed", "packed", "count", _held("packed"), "logical elements kept packed", True),
        _field("tied", "tied", "count", _held("tied"), "elements counted elsewhere", True),
        _field("nbytes", "size", "bytes", _held("nbytes"), "bytes of parameters and buffers", True),
        _field("macs", "MACs", "ops", _worked("macs"), "multiply-accumulates", True),
        _field("macs_share", "of MACs", "share", _share_of_macs, "", True),
        _field("flops", "FLOPs", "ops", _worked("flops"), "2 × MACs", True),
        _field("executed_macs", "executed", "ops", _worked("executed_macs"),
               "MACs when causal attention skips its masked half", True),
        _field("elementwise", "elementwise", "ops", _worked("elementwise"),
               "scalar operations that are in no matrix product", True),
        _field("activations", "activations", "count", _worked("activations"), "output elements", True),
        _field("activation_nbytes", "activation size", "bytes", _worked("activation_nbytes"), "", True),
        _field("read", "read", "bytes", _worked("read"), "bytes read", True),
        _field("written", "written", "bytes", _worked("written"), "bytes written", True),
        _field("backward_macs", "backward MACs", "ops", _backward("macs"), "of the backward pass", True),
        _field("backward_flops", "backward FLOPs", "ops", _backward("flops"), "2 × MACs of the backward pass", True),
        _field("saved_nbytes", "saved", "bytes", lambda row, _: row.saved, "what autograd keeps for backward", True),
        _field("own_params", "own params", "count", _held("params", own=True), "without the modules below", True),
        _field("own_macs", "own MACs", "ops", _worked("macs", own=True), "without the modules below", True),
    )
}  # fmt: skip

_COUNTED = ("params", "share", "trainable")
_WHERE_ANY = ("tied_to", "unclassified", "packed")  # shown where a row has something to say


def _default_columns(rows: Sequence[Layer], traced: bool) -> list[str]:
    keys = ["path"]
    if any(row.type for row in rows):
        keys.append("type")
    if traced:
        keys.append("output_shape")
    keys += _COUNTED if any(row.totals.params for row in rows) else ()
    if traced and rows[0].backward is not None:
        left_out = ("share", "trainable", "output_shape")  # for room
        keys = [key for key in keys if key not in left_out] + ["macs", "backward_flops", "saved_nbytes"]
    else:
        keys += ["macs", "flops"] if traced else ["nbytes"]
    for key in _WHERE_ANY:
        if any(getattr(row, key, None) or getattr(row.totals, key, None) for row in rows):
            keys.append(key)
    if "trainable" in keys and not any(row.totals.trainable for row in rows) and not any(row.type for row in rows):
        keys.remove("trainable")  # a file does not say what trains
    return keys


def telling(rows: Sequence[Layer], keys: Sequence[str]) -> list[str]:
    """The columns that tell something: a number but zero, a word, an unknown of what ran; and not just what another,
    which they are a part of, says already.

    >>> rows = [Layer("fc", "Linear", totals=Totals(params=6, trainable=6))]
    >>> telling(rows, ("params", "buffers", "trainable_params"))
    ['params']
    """
    whole = _whole(rows)
    found: list[str] = []
    for key in keys:
        value, other = _FIELDS[key].value, _PART_OF.get(key)
        if not is_known(rows, key) or not any(_tells(value(row, whole)) for row in rows):
            continue
        if other is None or any(value(row, whole) != _FIELDS[other].value(row, whole) for row in rows):
            found.append(key)
    return found


def _tells(cell: Cell) -> bool:
    return cell is None or bool(cell)


def is_known(rows: Sequence[Layer], key: str) -> bool:
    """Whether what a column says was found out: for some a trace is needed, for some a training step."""
    if key in _OF_A_TRACE:
        return any(row.work is not None for row in rows)
    return key not in _OF_A_STEP or any(row.backward is not None for row in rows)


_PART_OF = {"trainable_params": "params", "executed_macs": "macs"}
_OF_A_STEP = frozenset({"backward_macs", "backward_flops", "saved_nbytes"})
_OF_A_TRACE = frozenset({"calls", "input_shape", "output_shape", "macs", "macs_share", "flops", "executed_macs",
                         "elementwise", "activations", "activation_nbytes", "read", "written"})  # fmt: skip


def table(rows: Sequence[Layer]) -> Table:
    """Every module as a flat table with every column: for data frames."""
    whole = _whole(rows)
    fields = tuple(_FIELDS.values())
    cells = tuple(tuple(each.value(row, whole) for each in fields) for row in rows)
    return Table("By layer", tuple(each.column for each in fields), cells)


def _whole(rows: Sequence[Layer]) -> _Whole:
    root = rows[0] if rows else Layer("", "")
    return _Whole(root.totals.params, root.work or Work())


# ── the tree ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Node:
    """A row of the tree that stands for `times` equal ones; `label` is its path with the folded numbers in it."""

    row: Layer
    label: str
    depth: int
    times: int = 1


def tree(
    snapshot: Snapshot, rows: Sequence[Layer], *, depth: int | None = None,
    columns: str | Sequence[str] | None = None, sort: str | None = None, fold: bool = True,
) -> Table:  # fmt: skip
    """The modules down to `depth` (chosen to fit a screen when `None`), each with the sums of all that is below it.

    Equal neighbours (same class, shapes, tensors and work) with numbered names are one row whose numbers are their
    sum, unless `fold` is False. Parameters that a module with children holds itself get rows of their own, so that
    the rows below a row and its own operators make up what it shows. `sort` orders siblings by any column, also hidden.
    Raises `ViewError` for an unknown column.
    """
    traced = bool(rows) and rows[0].work is not None
    keys = _default_columns(rows, traced) if columns is None else chosen(columns, _FIELDS, what="column")
    keys = keys if "path" in keys else ["path", *keys]
    shown_keys = list(keys)
    if sort is not None:
        (by,) = chosen(sort.lstrip("-+"), _FIELDS, what="sort column")
        keys = keys if by in keys else [*keys, by]
    fields = [_FIELDS[key] for key in keys]
    with_buffers = bool({"nbytes", "buffers"} & set(keys))
    nodes = list(_nodes(snapshot, rows, fold, with_buffers))
    deepest = max((node.depth for node in nodes), default=0)
    limit = _fitting(nodes) if depth is None else depth
    shown = [node for node in nodes if node.depth <= limit]
    whole = _whole(rows)
    captions = []
    if any(node.times > 1 for node in shown):
        captions.append("× n: n equal layers in one row, their numbers summed")
    if deepest > limit:
        captions.append(f"{limit} of {deepest} levels; deeper ones are in the rows above them")
    table = Table(
        "Layers",
        tuple(field.column for field in fields),
        tuple(tuple(_cell(field, node, whole) for field in fields) for node in shown),
        tuple(node.depth for node in shown),
        caption=" · ".join(captions),
    )
    return table if sort is None else with_columns(ordered(table, sort), shown_keys)


def _cell(field: _Field, node: _Node, whole: _Whole) -> Cell:
    key = field.column.key
    if key == "path":
        return node.label
    value = field.value(node.row, whole)
    if node.times == 1:
        return value
    if key == "type":
        return f"{value} × {node.times}".strip()
    return times(value, node.times) if field.adds_up else value


def _fitting(nodes: Sequence[_Node]) -> int:
    """The deepest level at which the tree still has few enough rows; at least one level below the root."""
    counts: dict[int, int] = {}
    for node in nodes:
        counts[node.depth] = counts.get(node.depth, 0) + 1
    limit, total = 0, 0
    for level in sorted(counts):
        total += counts[level]
        if total > _FITS and level > 1:
            break
        limit = level
    return limit


def _nodes(snapshot: Snapshot, rows: Sequence[Layer], fold: bool, with_buffers: bool) -> Iterator[_Node]:
    by_path = {row.path: row for row in rows}
    below = {path: [module.path for module in each] for path, each in snapshot.children().items()}
    held: dict[str, list[Layer]] = {}
    for tensor, share in snapshot.own_totals():
        if tensor.module in below and (with_buffers or tensor.role != "buffer"):
            held.setdefault(tensor.module, []).append(_of_tensor(tensor, share, by_path[tensor.module]))
    kinds = _kinds(snapshot, by_path, below) if fold else {}
    pending = [(path, path, 0, 1) for path in ([""] if "" in by_path else [])]
    while pending:
        path, label, depth, times = pending.pop()
        yield _Node(by_path[path], label, depth, times)
        prefix = label + "." if label else ""
        for row in held.get(path, ()):
            yield _Node(row, prefix + row.path.rpartition(".")[2], depth + 1, times)
        groups = _folded(below.get(path, []), kinds) if fold else [(p, _name(p), 1) for p in below.get(path, ())]
        pending.extend((first, prefix + name, depth + 1, times * n) for first, name, n in reversed(groups))


def _of_tensor(tensor: TensorRecord, share: Totals, holder: Layer) -> Layer:
    """A row for a tensor, which computes nothing; where its module's work is unknown, so is what is said of it."""
    shape = "lazy" if tensor.shape is None else "×".join(map(str, tensor.shape)) or "scalar"
    kind = {"parameter": "Parameter", "buffer": "Buffer"}.get(tensor.role, "Tensor")
    work = None if holder.work is None else Work()
    return Layer(tensor.path, f"{kind} {shape}", totals=share, own=share, work=work, own_work=work,
                 tied_to=tensor.alias_of, dtype=tensor.dtype.name)  # fmt: skip


def _name(path: str) -> str:
    return path.rpartition(".")[2]


def _kinds(
    snapshot: Snapshot, by_path: Mapping[str, Layer], below: Mapping[str, Sequence[str]]
) -> Mapping[str, int]:  # fmt: skip
    """A number for each module: equal for modules that are the same in all that the tables show, and in all below."""
    tensors: dict[str, list[Any]] = {}
    for t in snapshot.tensors:
        tensors.setdefault(t.module, []).append(
            (t.name, t.shape, t.dtype, t.role, t.trainable, t.persistent, t.alias_of, t.shard, t.parts)
        )
    numbers: dict[Any, int] = {}
    kinds: dict[str, int] = {}
    for module in reversed(snapshot.modules):
        row = by_path[module.path]
        key = (
            module.type, module.alias_of, module.attributes, module.training, row.own, row.own_work, row.calls,
            row.input_shape, row.output_shape, row.backward, row.saved, tuple(tensors.get(module.path, ())),
            tuple((_name(path), kinds[path]) for path in below.get(module.path, ())),
        )  # fmt: skip
        kinds[module.path] = numbers.setdefault(key, len(numbers))
    return kinds


_NUMBERED = re.compile(r"(.*?)([0-9]+)")


def _folded(paths: Sequence[str], kinds: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """Runs of equal siblings with consecutive numbers: (path of the first, label, how many)."""
    groups: list[tuple[str, str, int]] = []
    start = 0
    while start < len(paths):
        first = paths[start]
        found = _NUMBERED.fullmatch(_name(first))
        end = start + 1
        if found is not None:
            number = int(found[2])
            while (
                end < len(paths)
                and kinds[paths[end]] == kinds[first]
                and _name(paths[end]) == f"{found[1]}{number + end - start}"
            ):
                end += 1
        n = end - start
        name = _name(first) if n == 1 else f"{_name(first)}–{_NUMBERED.fullmatch(_name(paths[end - 1]))[2]}"  # type: ignore[index]
        groups.append((first, name, n))
        start = end
    return groups

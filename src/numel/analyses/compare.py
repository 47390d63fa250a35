"""What is different between models: totals side by side, what was added, removed or changed, and where a difference in
params or MACs comes from."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from numel.analyses.alignment import Alignment, class_of, is_sharded, unwrapped
from numel.analyses.arrange import number, numbers_in, times, unnumbered
from numel.analyses.history import state
from numel.document import Cell, Chart, Column, Quantity, Table, marked
from numel.document.table import Unit, about, at_least
from numel.facts import Change, ModuleRecord, Snapshot, TensorRecord, ValueDifference, above_of
from numel.facts.snapshot import Attribute

if TYPE_CHECKING:
    from numel.analyses.layers import Layer

# settings that say nothing more where the shapes of a layer's tensors are other ones
_OF_SHAPES = frozenset({
    "in_features", "in1_features", "in2_features", "out_features", "in_channels", "out_channels", "kernel_size",
    "num_embeddings", "embedding_dim", "embed_dim", "hidden_size", "input_size", "proj_size", "normalized_shape",
    "num_features", "num_channels", "num_parameters",
})  # fmt: skip
_COSTS = ("params", "macs", "nbytes", "peak_nbytes")  # that people trade off: less is better
_TITLES = {"params": "params", "macs": "MACs"}
_UNITS: dict[str, Unit] = {"params": "count", "macs": "ops"}
_COLUMNS = (Column("change", "change"), Column("path", "path", "path"), Column("before", "before"),
            Column("after", "after"))  # fmt: skip


def changes(first: Snapshot, second: Snapshot, alignment: Alignment) -> tuple[Change, ...]:
    """Everything that is different in what both sources know: a file does not say which class a module is of, what
    trains or what is tied, and has no buffers that are not saved; none of these is a difference then.

    >>> from numel.analyses.alignment import aligned
    >>> from numel.facts import ModuleRecord, dtype
    >>> def net(width):
    ...     weight = TensorRecord("fc.weight", (width, 3), dtype("f32"), trainable=True)
    ...     return Snapshot((ModuleRecord("", "Net"), ModuleRecord("fc", "Linear")), (weight,))
    >>> changes(net(2), net(4), aligned(net(2), net(4)))
    (Change(kind='reshaped', path='fc.weight', before=(2, 3), after=(4, 3)),)
    """
    return tuple(_changes(first, second, alignment))


def _changes(first: Snapshot, second: Snapshot, alignment: Alignment) -> Iterator[Change]:
    known = is_typed(first), is_typed(second)
    typed = all(known)
    held = [{module.path: module for module in each.modules} for each in (first, second)]
    moved = dict(alignment.shifted)
    resized = {y.module for x, y in alignment.tensors if x is not None and y is not None and x.shape != y.shape}
    before, after = alignment.prefixes
    if not typed and unwrapped(before) != unwrapped(after):
        yield Change("moved", after, before, after)
    for before_path, after_path in alignment.modules:
        if before_path is not None and after_path is not None:
            if moved.get(before_path) == after_path:
                yield Change("moved", after_path, before_path, after_path)
            x, y = held[0].get(before_path), held[1].get(after_path)
            if typed and x is not None and y is not None:
                was, now = _class(x, y, is_resized=after_path in resized)
                if was != now:
                    yield Change("replaced", after_path, was, now)
        elif typed and after_path is not None:
            yield Change("added", after_path, None, held[1][after_path].class_name)
        elif typed and before_path is not None:
            yield Change("removed", before_path, held[0][before_path].class_name, None)
    for path, names, others in alignment.reordered:
        yield Change("moved", path, ", ".join(names), ", ".join(others))
    places = there, back = _places(alignment)
    for one, other in alignment.tensors:
        if one is not None and other is not None:
            yield from _of_tensor(one, other, places, known)
        elif one is not None and (known[1] or not _is_left_out(one, there)):
            yield Change("removed", one.path, one.shape)
        elif other is not None and (known[0] or not _is_left_out(other, back)):
            yield Change("added", other.path, None, other.shape)


def _class(x: ModuleRecord, y: ModuleRecord, *, is_resized: bool) -> tuple[str, str]:
    """What both are, as far as they differ: with the module of the class where its name alone is the same, and with
    what they are configured with, as far as both records say it. Of a resized layer not what follows from its shapes.
    """
    if class_of(x) != class_of(y):
        return class_of(x), class_of(y)
    if x.type != y.type and not (is_sharded(x) or is_sharded(y)):
        return x.type, y.type
    one, other = dict(x.attributes), dict(y.attributes)
    names = [name for name in one if name in other and not _is_same(one[name], other[name])]
    names = [name for name in names if not (is_resized and name in _OF_SHAPES)]
    if not names:
        return class_of(x), class_of(y)
    was, now = (", ".join(f"{name}={held[name]}" for name in names) for held in (one, other))
    return f"{class_of(x)}({was})", f"{class_of(y)}({now})"


def _is_same(one: Attribute, other: Attribute) -> bool:
    """Whether two settings are the same: to a layer a number is a tuple that repeats it.

    >>> _is_same(2, (2, 2)), _is_same(2, "(2.0, 2.0)"), _is_same(2, (2, 3)), _is_same((2,), (2, 2))
    (True, True, False, False)
    """
    if one == other or (one != one and other != other):  # NaN is the same padding as NaN
        return True
    x, y = _numbers(one), _numbers(other)
    if isinstance(x, tuple) and isinstance(y, tuple):
        return x == y
    return set(x if isinstance(x, tuple) else (x,)) == set(y if isinstance(y, tuple) else (y,))


def _numbers(setting: Attribute) -> Attribute | tuple[float | None, ...]:
    """The setting; a tuple that a record holds as text, since not all of it are whole numbers, as what it was."""
    if not isinstance(setting, str) or not setting.startswith("("):
        return setting
    parts = [part.strip() for part in setting.strip("()").split(",")]
    try:
        return tuple(None if part == "None" else float(part) for part in parts if part)
    except ValueError:
        return setting


def is_typed(snapshot: Snapshot) -> bool:
    """Whether its source knows modules, and not only the names of tensors."""
    return any(module.type for module in snapshot.modules)


def _is_left_out(record: TensorRecord, found: Container[str]) -> bool:
    """Whether a file can be without it: it holds a tied tensor once, at any of its places, and not what is not saved.
    `found` are the first places of those tensors that it has."""
    return record.alias_of is not None or record.path in found or not record.persistent


def _places(alignment: Alignment) -> tuple[dict[str, str], dict[str, str]]:
    """For the first path of each tensor in the first model, one that stands for it in the second: that of its first
    place there. A tie is the same also where another of its places comes first."""
    there: dict[str, str] = {}
    back: dict[str, str] = {}
    for x, y in alignment.tensors:
        if x is not None and y is not None:
            one, other = x.alias_of or x.path, y.alias_of or y.path
            there.setdefault(one, other)
            back.setdefault(other, one)
    return there, back


def _of_tensor(
    x: TensorRecord, y: TensorRecord, places: tuple[dict[str, str], dict[str, str]], known: tuple[bool, bool]
) -> Iterator[Change]:  # fmt: skip
    if x.shape != y.shape:
        yield Change("reshaped", y.path, x.shape, y.shape)
    if x.dtype != y.dtype or x.packed != y.packed:
        yield Change("retyped", y.path, _element(x), _element(y))
    elif all(known) and x.parts != y.parts:
        yield Change("retyped", y.path, *(f"{each.dtype.name} in {_parts(each)}" for each in (x, y)))
    if all(known):
        if x.role == y.role == "parameter" and x.trainable != y.trainable:
            yield Change("unfrozen" if y.trainable else "frozen", y.path, x.trainable, y.trainable)
        was, now = _role(x), _role(y)
        if was != now:
            yield Change("replaced", y.path, was, now)
    one, other = x.alias_of or x.path, y.alias_of or y.path
    there, back = places
    if there[one] == other and back[other] == one:
        return
    before = None if x.alias_of is None else there.get(x.alias_of, x.alias_of)
    if before != y.alias_of:
        yield Change("untied" if y.alias_of is None else "tied", y.path, before, y.alias_of)


def _element(record: TensorRecord) -> str:
    """The type of its elements, and of what holds them where they are packed."""
    if not record.packed:
        return record.dtype.name
    held = ", ".join(dict.fromkeys(part.dtype.name for part in record.parts))
    return f"{record.dtype.name} packed" + (f" in {held}" if held else "")


def _parts(record: TensorRecord) -> str:
    parts = [f"{part.name} {part.dtype.name}{list(part.shape)}" for part in record.parts]
    return ", ".join(parts) or "one piece"


def _role(record: TensorRecord) -> str:
    return record.role if record.persistent else f"{record.role}, not saved"


# ── totals ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of every target: what it is called, its unit, and the cells, `None` where it is not known. Of a number
    that the user gave `better` says whether more or less of it is."""

    key: str
    title: str
    unit: Unit
    cells: tuple[Cell, ...]
    better: Literal["more", "less"] | None = None


def metric(name: str, values: Sequence[float] = ()) -> Figure:
    """A number that the user gave for each target, of which more is better, or less where the name ends in ":min".

    >>> metric("accuracy").better, metric("loss:min").key, metric("loss:min").better, metric("speed:max").key
    ('more', 'loss', 'less', 'speed')
    """
    key = name.removesuffix(":min").removesuffix(":max")
    if name.endswith(":min"):
        return Figure(key, f"{key} (less is better)", "number", tuple(values), "less")
    return Figure(key, key, "number", tuple(values), "more")


def side_by_side(names: Sequence[str], figures: Sequence[Figure]) -> Table:
    """A row for each number, a column for each target, and for each but the first its difference and ratio to that."""
    columns = [Column("name", "name"), *(Column(f"target_{i}", name) for i, name in enumerate(names))]
    for i in range(1, len(names)):
        suffix = "" if len(names) == 2 else f" {i + 1}"
        columns += [Column(f"difference_{i}", f"difference{suffix}"), Column(f"ratio_{i}", f"ratio{suffix}")]
    rows = []
    for figure in figures:
        cells: list[Cell] = [figure.title, *(_with_unit(cell, figure.unit) for cell in figure.cells)]
        for cell in figure.cells[1:]:
            apart = difference(figure.cells[0], cell, figure.unit)
            cells += [_with_unit(apart, figure.unit), _ratio(figure.cells[0], cell)]
        rows.append(tuple(cells))
    return Table("Totals", tuple(columns), tuple(rows))


def _with_unit(cell: Cell, unit: Unit) -> Cell:
    value = number(cell)
    if isinstance(cell, Quantity) or value is None or isinstance(cell, bool):
        return cell
    return Quantity(value, unit)


def difference(first: Cell, second: Cell, unit: Unit) -> Cell:
    """Second less first; about as much where one of them is a bound: of bounds the difference is none."""
    one, other = number(first), number(second)
    if one is None or other is None:
        return "" if isinstance(first, str) and isinstance(second, str) else None
    loose = any(at_least(cell) or about(cell) for cell in (first, second))
    return marked(other - one, unit, about=loose)


def _ratio(first: Cell, second: Cell) -> Cell:
    one, other = number(first), number(second)
    if one is None or other is None:
        return "" if isinstance(first, str) and isinstance(second, str) else None
    loose = any(at_least(cell) or about(cell) for cell in (first, second))
    if not one:
        return None if other else marked(1.0, "number", about=loose)
    return marked(other / one, "number", about=loose)


# ── layers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def layers(
    first: Sequence[Layer], second: Sequence[Layer], alignment: Alignment, *, top: int | None = None
) -> Table:  # fmt: skip
    """Modules whose own params or MACs differ, those that only one has included, the largest difference first. With
    `top` as many rows, those of numbered blocks that are alike as one with their sums; the caption says what is left.
    """
    one, other = ({row.path: row for row in rows} for rows in (first, second))
    traced = any(row.own_work is not None for row in first) and any(row.own_work is not None for row in second)
    keys = ("params", "macs") if traced else ("params",)
    groups: dict[tuple[object, ...], list[str]] = {}
    seen = [{pair[side] for pair in alignment.modules} for side in (0, 1)]  # what wraps another module is in no pair
    around: list[tuple[str | None, str | None]] = [(path, None) for path in one if path not in seen[0]]
    around += [(None, path) for path in other if path not in seen[1]]
    for before, after in (*alignment.modules, *around):
        x = None if before is None else one.get(before)
        y = None if after is None else other.get(after)
        shown = y or x
        figures = tuple((_own(x, key), _own(y, key)) for key in keys)
        if shown is None or all(p == q for p, q in figures):
            continue
        what = "added" if x is None else "removed" if y is None else "changed"
        pattern = shown.path if top is None else unnumbered(shown.path)
        groups.setdefault((pattern, shown.type, what, figures), []).append(shown.path)
    columns = [Column("path", "layer", "path"), Column("type", "type"), Column("change", "change")]
    if top is not None:
        columns.append(Column("count", "times", "integer"))
    for key in keys:
        columns.append(Column(f"{key}_difference", f"Δ {_TITLES[key]}", _UNITS[key], help="after less before"))
        columns += [Column(f"{key}_{when}", when, _UNITS[key]) for when in ("before", "after")]
    rows = [_row(found, paths, keys, top is not None) for found, paths in groups.items()]
    at = [i for i, column in enumerate(columns) if column.key.endswith("_difference")]
    sums = [sum(abs(number(row[i]) or 0) for row in rows) or 1 for i in at]
    rows.sort(key=lambda row: -max(abs(number(row[i]) or 0) / whole for i, whole in zip(at, sums, strict=True)))
    captions = ["each without the modules below it"]
    if top is not None and len(rows) > top:
        left = [sum(number(row[i]) or 0 for row in rows[top:]) for i in at]
        words = " and ".join(f"{n:,} {_TITLES[key]}" for n, key in zip(left, keys, strict=True))
        captions.append(f"{top} of {len(rows)} rows; the others differ by {words}")
    return Table("Where it comes from", tuple(columns), tuple(rows[:top]), caption=" · ".join(captions))


def _row(found: tuple[Any, ...], paths: Sequence[str], keys: Sequence[str], counted: bool) -> tuple[Cell, ...]:
    _, kind, what, figures = found
    cells: list[Cell] = [_label(paths), kind, what, *([len(paths)] if counted else [])]
    for (before, after), key in zip(figures, keys, strict=True):
        p, q = times(before, len(paths)), times(after, len(paths))
        cells += [difference(p, q, _UNITS[key]), p, q]
    return tuple(cells)


def _own(row: Layer | None, key: str) -> Cell:
    if row is None:
        return 0
    if key == "params":  # of a file also what may be one
        return marked(row.own.params + row.own.unclassified, "count", at_least=not row.own.exact)
    return None if row.own_work is None else row.own_work.cell(key)


def _above(prefix: str) -> list[str]:
    parts = prefix.split(".") if prefix else []
    return [".".join(parts[:i]) for i in range(len(parts))]


def table(found: Sequence[Change]) -> Table:
    """Every change, in the order of the model."""
    return Table("Changes", _COLUMNS, tuple((c.kind, c.path, state(c.before), state(c.after)) for c in found))


def folded(found: Sequence[Change], prefixes: Sequence[str] = ()) -> Table:
    """The changes that a reader takes in: what is inside of something added or removed is not said again, and the same
    change in numbered blocks is one row. What is around the `prefixes`, which the other model is found in, is no whole
    that explains what is in it.

    >>> found = [Change("reshaped", f"layers.{i}.w", (2,), (3,)) for i in range(4)]
    >>> [(row[0], row[1], row[-1]) for row in folded(found).rows]
    [('reshaped', 'layers.0–3.w', 4)]
    """
    whole = {kind: {c.path for c in found if c.kind == kind and isinstance(c.before or c.after, str)}
             for kind in ("added", "removed")}  # fmt: skip
    around = {path for prefix in prefixes for path in _above(prefix)}
    whole = {kind: paths - around for kind, paths in whole.items()}
    groups: dict[tuple[Any, ...], list[str]] = {}
    for change in found:
        if change.kind in whole and change.path and above_of(change.path, whole[change.kind]) in whole[change.kind]:
            continue
        before, after = state(change.before), state(change.after)
        states: tuple[Cell, ...] = (before, after)
        if change.kind in ("moved", "tied", "untied"):  # whose states are paths, that count along
            states = unnumbered(f"{before}"), unnumbered(f"{after}")
            was, now = (numbers_in(f"{state}") for state in (before, after))
            states = *states, str([y - x for x, y in zip(was, now, strict=False)])  # by how much the numbers moved
        groups.setdefault((change.kind, unnumbered(change.path), *states), []).append(change.path)
    first = {(change.kind, change.path): change for change in reversed(found)}
    rows: list[tuple[Cell, ...]] = []
    for (kind, *_), paths in groups.items():
        change = first[kind, paths[0]]
        rows.append((change.kind, _label(paths), state(change.before), state(change.after), len(paths)))
    return Table("Changes", (*_COLUMNS, Column("count", "times", "integer")), tuple(rows))


def _label(paths: Sequence[str]) -> str:
    """One path for several that differ in numbers: their range where one number differs and none is left out."""
    parts = [path.split(".") for path in paths]
    one = sum(len(set(column)) > 1 for column in zip(*parts, strict=True)) == 1
    label = []
    for column in zip(*parts, strict=True):
        if len(set(column)) == 1:
            label.append(column[0])
            continue
        numbers = sorted({int(part) for part in column})
        dense = numbers == list(range(numbers[0], numbers[-1] + 1))
        label.append(f"{numbers[0]}–{numbers[-1]}" if dense and one else "*")
    return ".".join(label)


def values_table(
    found: Sequence[ValueDifference], name: str = "", *, top: int | None = None, alone: int = 0
) -> Table:  # fmt: skip
    """Tensors whose values differ, the largest change beside the tensor's own length first, but those with NaN or
    infinite values before them; the caption counts the others. With `top` as many rows; without it each has one.
    `alone` is how many tensors have no counterpart of their shape."""
    changed = sorted((each for each in found if not each.equal), key=lambda each: (-each.odd, -each.relative_length))
    shown = [*changed, *(each for each in found if each.equal)] if top is None else changed[:top]
    columns = (
        Column("path", "tensor", "path"),
        Column("relative_length", "‖Δ‖ / ‖w‖", "number", help="Euclidean length of the difference beside its own"),
        Column("max_abs", "max |Δ|", "number", help="largest difference of one value"),
        Column("max_rel", "/ max |w|", "number", help="the same beside the largest value of the first"),
        Column("cosine", "cosine", "number"),
        Column("rank", "rank of Δ", "integer", help="directions that hold 99 % of the squared difference, if few do"),
        Column("differing", "differing", "integer", help="how many values differ"),
        Column("odd", "NaN, Inf", "integer", help="values that are NaN or infinite in one of both",
               wrong=any(each.odd for each in shown)),
    )
    rows = tuple(
        (each.second, _finite(each.relative_length), each.max_abs, _finite(each.max_rel),
         "" if each.cosine is None else each.cosine, "" if each.rank is None else each.rank, each.differing, each.odd)
        for each in shown
    )  # fmt: skip
    equal, close = len(found) - len(changed), sum(each.close for each in changed)
    low = sum(each.rank is not None for each in changed)
    said = [f"{equal} equal, {close} close, {len(changed) - close} changed"]
    said += [f"{low} of them of low rank"] if low else []
    said += [f"{alone} without a counterpart of the same shape"] if alone else []
    odd = sum(bool(each.odd) for each in changed)
    said += [f"{odd} with values that are NaN or infinite in one of both"] if odd else []
    said += [f"the {len(shown)} largest of {len(changed)}"] if top is not None and len(changed) > top else []
    return Table(f"Values of {name}" if name else "Values", columns, rows, caption="; ".join(said))


def _finite(value: float) -> Cell:
    return "from zero" if value == float("inf") else value


def counted(found: Sequence[Change]) -> Table:
    """How many changes of each kind there are."""
    kinds: dict[str, int] = {}
    for change in found:
        kinds[change.kind] = kinds.get(change.kind, 0) + 1
    rows = tuple((kind, count) for kind, count in kinds.items())
    return Table("Changes by kind", (Column("change", "change"), Column("count", "count", "integer")), rows)


def pareto(names: Sequence[str], figures: Sequence[Figure]) -> Table:
    """A row for each target with the numbers that people trade off, and whether another is at least as good in all of
    them and better in one: fewer params, MACs and bytes, and more or less of each number that the user gave. Not known
    where a number is none, or a bound, that would decide it."""
    chosen = [f for f in figures if f.better is not None or (f.key in _COSTS and any(map(number, f.cells)))]
    known = [f for f in chosen if all(number(cell) is not None for cell in f.cells)]
    loose = any(at_least(cell) or about(cell) for f in known for cell in f.cells)
    columns = [Column("target", "target"), *(Column(f.key, f.title, f.unit) for f in chosen)]
    columns.append(Column("best", "not dominated", "flag"))

    def beats(i: int, j: int) -> bool:
        costs = [
            [(number(figure.cells[k]) or 0) * (-1 if figure.better == "more" else 1) for k in (i, j)]
            for figure in known
        ]  # fmt: skip
        return all(x <= y for x, y in costs) and any(x < y for x, y in costs)

    rows = []
    for j, name in enumerate(names):
        best = None if loose else not any(beats(i, j) for i in range(len(names)))
        rows.append((name, *(figure.cells[j] for figure in chosen), best))
    left = [f.title for f in chosen if f not in known]
    caption = f"decided without {' and '.join(left)}, which is not known of all" if left else ""
    return Table("Trade-offs", tuple(columns), tuple(rows), caption=caption)


def trade(table: Table, metrics: Sequence[str]) -> list[Chart]:
    """The targets as points: the first of what they cost against a metric, else against the next cost that differs."""
    keys = [column.key for column in table.columns[1:-1]]
    at = {column.key: i for i, column in enumerate(table.columns)}
    told = [key for key in keys if len({number(row[at[key]]) for row in table.rows}) > 1]
    costs = [key for key in told if key not in metrics]
    y = next((key for key in (*metrics, *costs[1:]) if key in told), None)
    if not costs or y is None:
        return []
    return [Chart("Trade-offs", "scatter", table, x=costs[0], y=(y,), label="target")]


def bars(names: Sequence[str], figures: Sequence[Figure]) -> list[Chart]:
    """A picture for each number that all have and that differs."""
    found = []
    for figure in figures:
        values = [number(cell) for cell in figure.cells]
        if figure.key not in ("params", "macs", "nbytes") or None in values or len(set(values)) < 2:
            continue
        columns = (Column("target", "target"), Column(figure.key, figure.title, figure.unit))
        rows = tuple(zip(names, figure.cells, strict=True))
        found.append(Chart(figure.title, "bar", Table(figure.title, columns, rows), x="target", y=(figure.key,)))
    return found

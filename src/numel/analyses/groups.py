"""Sums by something that layers or operators have in common: their depth, their class, the operator itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numel.analyses.arrange import with_columns
from numel.analyses.cost import Costs, Work
from numel.analyses.layers import Layer
from numel.document import Cell, Column, Quantity, Table, bounded
from numel.facts import Totals


def by_type(rows: Sequence[Layer]) -> Table:
    """One row per class of module: what modules of it hold and compute themselves, the most parameters first.

    >>> by_type([Layer("", "Net"), Layer("fc", "Linear", own=Totals(params=6))]).to_dict()["params"]
    [6, 0]
    """
    table = _grouped("By type", Column("type", "type"), rows, lambda row: row.type)
    keys = [column.key for column in table.columns]
    params, macs = keys.index("params"), keys.index("macs") if "macs" in keys else None
    sizes = [(_value(row[params]), _value(row[macs]) if macs is not None else 0) for row in table.rows]
    order = sorted(range(len(sizes)), key=lambda i: sizes[i], reverse=True)
    return Table(table.title, table.columns, tuple(table.rows[i] for i in order), total=table.total)


def by_depth(rows: Sequence[Layer]) -> Table:
    """One row per level of the tree, the root at 0: what its modules hold and compute themselves."""
    return _grouped("By depth", Column("depth", "depth", "integer"), rows, lambda row: row.depth)


def by_operator(costs: Costs) -> Table:
    """One row per operator, the most MACs first; an operator without a formula has unknown figures."""
    columns = (
        Column("operator", "operator"),
        Column("calls", "calls", "integer"),
        Column("macs", "MACs", "ops"),
        Column("share", "of MACs", "share"),
        Column("flops", "FLOPs", "ops"),
        Column("elementwise", "elementwise", "ops"),
        Column("read", "read", "bytes"),
        Column("written", "written", "bytes"),
    )
    whole = costs.total
    names = sorted(costs.operators, key=lambda name: _weight(costs.operators[name]), reverse=True)
    done = costs.stopped is None  # of a forward that stopped, every operator may have run more often
    rows = tuple(_operator_row(name, costs.operators[name], whole, done) for name in names)
    return Table("By operator", columns, rows, total=_operator_row("total", whole, whole, done) if rows else None)


def _weight(work: Work) -> tuple[bool, int, int, int]:
    return work.uncosted > 0, work.macs, work.elementwise, work.read + work.written


def _operator_row(name: str, work: Work, whole: Work, done: bool) -> tuple[Cell, ...]:
    if work.ops == work.uncosted and work.ops:
        return name, work.ops, None, None, None, None, work.read, work.written
    share = work.macs / whole.macs if whole.macs else 0.0
    exact = work.exact and done
    macs, flops, elementwise = (bounded(n, "ops", exact) for n in (work.macs, work.flops, work.elementwise))
    moved = (bounded(n, "bytes", done) for n in (work.read, work.written))
    return (name, work.ops, macs, share, flops, elementwise, *moved)


def _value(cell: Cell) -> int:
    value = cell.value if isinstance(cell, Quantity) else cell
    return value if isinstance(value, int) else 0


def _grouped(title: str, head: Column, rows: Sequence[Layer], key: Callable[[Layer], str | int]) -> Table:
    traced = any(row.own_work is not None for row in rows)
    totals: dict[str | int, Totals] = {}
    works: dict[str | int, Work] = {}
    counts: dict[str | int, int] = {}
    for row in rows:
        group = key(row)
        counts[group] = counts.get(group, 0) + 1
        totals[group] = totals.get(group, Totals()) + row.own
        works[group] = works.get(group, Work()) + (row.own_work or Work())
    columns = [
        head,
        Column("modules", "modules", "integer"),
        Column("params", "params", "count"),
        Column("share", "share", "share", help="of the model's params"),
        Column("trainable_params", "trainable", "count"),
        Column("buffers", "buffers", "count"),
        Column("unclassified", "unclassified", "count", help="elements of unknown role"),
        Column("packed", "packed", "count", help="logical elements kept packed"),
        Column("nbytes", "size", "bytes"),
    ]
    if traced:
        columns += [
            Column("macs", "MACs", "ops"),
            Column("macs_share", "of MACs", "share"),
            Column("flops", "FLOPs", "ops"),
            Column("elementwise", "elementwise", "ops"),
        ]
    whole, work = sum(totals.values(), Totals()), sum(works.values(), Work())

    def cells(name: str | int, count: int, held: Totals, done: Work) -> tuple[Cell, ...]:
        def counted(value: int) -> Cell:
            return bounded(value, "count", held.exact)

        share = held.params / whole.params if whole.params else 0.0
        given: tuple[Cell, ...] = (
            name, count, counted(held.params), share, counted(held.trainable), counted(held.buffers),
            counted(held.unclassified), counted(held.packed), bounded(held.nbytes, "bytes", held.exact),
        )  # fmt: skip
        if traced:
            part = done.macs / work.macs if work.macs else 0.0
            macs, flops, rest = (bounded(n, "ops", done.exact) for n in (done.macs, done.flops, done.elementwise))
            given += (macs, part, flops, rest)
        return given

    filled = tuple(cells(group, counts[group], totals[group], works[group]) for group in counts)
    table = Table(title, tuple(columns), filled, total=cells("total", len(rows), whole, work))
    absent = {key for key in ("unclassified", "packed") if not getattr(whole, key)}
    return with_columns(table, [column.key for column in columns if column.key not in absent])

"""Sums by something that layers or operators have in common: their depth, their class, the operator itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numel.analyses.arrange import number, with_columns
from numel.analyses.cost import Costs, Work
from numel.analyses.layers import Layer
from numel.analyses.params import held
from numel.document import Cell, Column, Table
from numel.facts import Totals


def by_type(rows: Sequence[Layer]) -> Table:
    """One row per class of module: what modules of it hold and compute themselves, the most parameters first.

    >>> by_type([Layer("", "Net"), Layer("fc", "Linear", own=Totals(params=6))]).to_dict()["params"]
    [6, 0]
    """
    table = _grouped("By type", Column("type", "type"), rows, lambda row: row.type)
    keys = [column.key for column in table.columns]
    params, macs = keys.index("params"), keys.index("macs") if "macs" in keys else None
    sizes = [(number(row[params]) or 0, number(row[macs]) or 0 if macs is not None else 0) for row in table.rows]
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
    works = dict(costs.operators)
    if whole.unseen:  # in what was not seen, every operator may have run more often
        works = {name: work + Work(unseen=1) for name, work in works.items()}
    if whole.sampled:  # in another draw, too, and each where it ran before values were read
        works = {name: work + Work(sampled=1) for name, work in works.items()}
    rows = tuple(_operator_row(name, works[name], whole) for name in names)
    return Table("By operator", columns, rows, total=_operator_row("total", whole, whole) if rows else None)


def _weight(work: Work) -> tuple[bool, int, int, int]:
    return work.uncosted > 0, work.macs, work.elementwise, work.read + work.written


def _operator_row(name: str, work: Work, whole: Work) -> tuple[Cell, ...]:
    moved = work.cell("read"), work.cell("written")
    if work.ops == work.uncosted and work.ops:
        return (name, work.ops, None, None, None, None, *moved)
    return (
        name, work.ops, work.cell("macs"), work.share(whole), work.cell("flops"), work.cell("elementwise"), *moved,
    )  # fmt: skip


def _grouped(title: str, head: Column, rows: Sequence[Layer], key: Callable[[Layer], str | int]) -> Table:
    traced = any(row.own_work is not None for row in rows)
    totals: dict[str | int, Totals] = {}
    works: dict[str | int, Work] = {}
    counts: dict[str | int, int] = {}
    for row in rows:
        group = key(row)
        counts[group] = counts.get(group, 0) + 1
        totals[group] = totals.get(group, Totals()) + row.own
        unknown = traced and row.own_work is None  # of what a forward did not come to, or ran inside of another
        works[group] = works.get(group, Work()) + (Work(unseen=1) if unknown else row.own_work or Work())
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
    whole, work = sum(totals.values(), Totals()), (rows[0].work if rows else None) or Work()

    def cells(name: str | int, count: int, sums: Totals, done: Work) -> tuple[Cell, ...]:
        share = sums.params / whole.params if whole.params else 0.0
        kept = (held(sums, key) for key in ("trainable", "buffers", "unclassified", "packed", "nbytes"))
        given: tuple[Cell, ...] = (name, count, held(sums, "params"), share, *kept)
        if traced:
            given += (done.cell("macs"), done.share(work), done.cell("flops"), done.cell("elementwise"))
        return given

    filled = tuple(cells(group, counts[group], totals[group], works[group]) for group in counts)
    table = Table(title, tuple(columns), filled, total=cells("total", len(rows), whole, work))
    absent = {key for key in ("unclassified", "packed") if not getattr(whole, key)}
    return with_columns(table, [column.key for column in columns if column.key not in absent])

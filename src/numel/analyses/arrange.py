"""Which rows and columns of a table are shown, in what order, and what of several as one: the same for every table."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from numel.document import Cell, Quantity, Table
from numel.errors import ViewError

_NUMBER = re.compile(r"(?<![^.])[0-9]+(?![^.])")  # a part of a path that is one


def chosen(names: str | Sequence[str], known: Collection[str], *, what: str) -> list[str]:
    """`names`, given as a list or as words, in their order and once each. Raises `ViewError` for an unknown one.

    >>> chosen("params, path", ("path", "params"), what="column")
    ['params', 'path']
    """
    words = names.replace(",", " ").split() if isinstance(names, str) else list(names)
    for word in words:
        if word not in known:
            near = difflib.get_close_matches(str(word), list(known), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ViewError(f"no {what} is called {word!r}{hint} (known: {', '.join(known)})")
    if not words:
        raise ViewError(f"no {what} given; known: {', '.join(known)}")
    return list(dict.fromkeys(words))


def with_columns(table: Table, names: str | Sequence[str], *, named: bool = False) -> Table:
    """Only the columns of these keys, in this order; with `named` the first one of the table, which names its rows,
    comes first unless it is among them."""
    keys = [column.key for column in table.columns]
    at = [keys.index(name) for name in chosen(names, keys, what="column")]
    if named and 0 not in at:
        at = [0, *at]
    pick = [tuple(row[i] for i in at) for row in table.rows]
    total = None if table.total is None else tuple(table.total[i] for i in at)
    return replace(table, columns=tuple(table.columns[i] for i in at), rows=tuple(pick), total=total)


def ordered(table: Table, key: str) -> Table:
    """Rows by a column, the largest first when `key` starts with "-". In a tree, siblings are ordered among themselves.

    Unknown values come last. Raises `ViewError` for an unknown column.

    >>> from numel.document import Column
    >>> t = Table("t", (Column("n", "n", "count"),), ((1,), (3,), (None,)))
    >>> ordered(t, "-n").rows
    ((3,), (1,), (None,))
    """
    descending = key.startswith("-")
    keys = [column.key for column in table.columns]
    at = keys.index(chosen(key.lstrip("-+"), keys, what="sort column")[0])
    values = [_sortable(row[at]) for row in table.rows]
    known = [(value, index) for index, value in enumerate(values) if value is not None]
    known.sort(key=lambda each: each[0], reverse=descending)
    order = [index for _, index in known] + [index for index, value in enumerate(values) if value is None]
    if table.depths is not None:
        order = _tree_order(table.depths, order)
    return replace(
        table,
        rows=tuple(table.rows[i] for i in order),
        depths=None if table.depths is None else tuple(table.depths[i] for i in order),
    )


def largest(table: Table, key: str, *, top: int | None = None, at_least: int | None = None) -> Table:
    """The `top` rows by a column whose value is `at_least` this; the caption says what was left out."""
    if top is not None and top < 1:
        raise ViewError(f"top {top}: expected a positive number of rows")
    keys = [column.key for column in table.columns]
    at = keys.index(key)
    rows = ordered(replace(table, depths=None), f"-{key}").rows
    kept = [row for row in rows if at_least is None or (number(row[at]) or 0) >= at_least]
    kept = kept[:top]
    left = len(rows) - len(kept)
    if not left:
        return replace(table, rows=tuple(kept), depths=None)
    rest = sum(number(row[at]) or 0 for row in rows) - sum(number(row[at]) or 0 for row in kept)
    caption = f"{len(kept)} of {len(rows)} rows; the others hold {rest:,} elements"
    return replace(table, rows=tuple(kept), depths=None, caption=caption)


def _tree_order(depths: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Preorder with siblings as `wanted` lists them."""
    parents: list[int] = []
    path: list[int] = []
    for index, depth in enumerate(depths):
        while path and depths[path[-1]] >= depth:
            path.pop()
        parents.append(path[-1] if path else -1)
        path.append(index)
    children: dict[int, list[int]] = {}
    for index in wanted:
        children.setdefault(parents[index], []).append(index)
    order: list[int] = []
    pending = list(reversed(children.get(-1, [])))
    while pending:
        index = pending.pop()
        order.append(index)
        pending.extend(reversed(children.get(index, [])))
    return order


def number(cell: Cell) -> int | float | None:
    """The number in a cell, whatever its sign; `None` where there is none."""
    value = cell.value if isinstance(cell, Quantity) else cell
    return value if isinstance(value, int | float) else None


def times(cell: Cell, count: int) -> Cell:
    """What so many equal cells come to; a sign stays."""
    if isinstance(cell, Quantity):
        return replace(cell, value=None if cell.value is None else cell.value * count)
    return cell * count if isinstance(cell, int | float) else cell


def unnumbered(path: str) -> str:
    """What a path shares with those that differ in numbers alone.

    >>> unnumbered("layers.0.fc1.weight")
    'layers.*.fc1.weight'
    """
    return _NUMBER.sub("*", path)


def numbers_in(path: str) -> list[int]:
    """The parts of a path that `unnumbered` leaves out."""
    return [int(part) for part in _NUMBER.findall(path)]


def _sortable(cell: Cell) -> tuple[int, float | str | tuple[int, ...]] | None:
    """Numbers, then shapes, then text, so that a column of several kinds still has an order."""
    value = cell.value if isinstance(cell, Quantity) else cell
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return 2, value
    return (1, value) if isinstance(value, tuple) else (0, value)

"""Where the parameters are: every tensor of a snapshot, and sums by element type. Needs no trace."""

from __future__ import annotations

from numel.analyses.arrange import with_columns
from numel.document import Cell, Column, Table, marked
from numel.document.table import Unit
from numel.facts import Snapshot, Totals

_TENSOR_COLUMNS = (
    Column("path", "tensor", "path"),
    Column("shape", "shape", "shape"),
    Column("dtype", "dtype"),
    Column("numel", "numel", "count", help="elements, tied or not"),
    Column("share", "share", "share", help="of all elements that are counted"),
    Column("role", "role", help="parameter, buffer, or unknown"),
    Column("trainable", "train", "flag"),
    Column("nbytes", "size", "bytes"),
    Column("tied_to", "tied to", help="the place where its elements are counted"),
)


def tensors(snapshot: Snapshot) -> Table:
    """Every place of every tensor. The elements of a tied one are counted where it is tied to.

    >>> from numel.facts import TensorRecord, dtype
    >>> s = Snapshot(tensors=(TensorRecord("w", (2, 3), dtype("f32"), trainable=True),))
    >>> tensors(s).to_dict()["numel"]
    [6]
    """
    whole = _counted(snapshot.totals)
    from_file = all(record.role == "unknown" or "role" in record.inferred for record in snapshot.tensors)
    rows = []
    for record in snapshot.tensors:
        numel = record.numel
        share: Cell = None if numel is None else 0.0 if record.alias_of or not whole else numel / whole
        role = {"parameter": "parameter", "buffer": "buffer", "optimizer": "optimizer"}.get(record.role)
        if record.role == "buffer" and not record.persistent:
            role = "buffer, not saved"
        trains: Cell = record.trainable if record.role == "parameter" and not from_file else ""
        rows.append(
            (record.path, record.shape, record.dtype.name, numel, share, role, trains, record.nbytes,
             record.alias_of or "")
        )  # fmt: skip
    columns = list(_TENSOR_COLUMNS)
    if from_file and rows:
        columns[5] = Column("role", "role", basis="guess", help=columns[5].help)
    dropped = {"trainable"} if from_file else set()
    if not any(row[8] for row in rows):
        dropped.add("tied_to")
    table = Table("Tensors", tuple(columns), tuple(rows))
    return with_columns(table, [column.key for column in columns if column.key not in dropped])


def _counted(totals: Totals) -> int:
    return totals.params + totals.buffers + totals.unclassified


def by_dtype(snapshot: Snapshot) -> Table:
    """One row per element type; bytes are those of distinct storages, at the type of the first tensor over each."""
    sums: dict[str, Totals] = {}
    counts: dict[str, int] = {}
    for record, share in snapshot.own_totals():
        name = record.dtype.name
        sums[name] = sums.get(name, Totals()) + share
        counts[name] = counts.get(name, 0) + 1
    whole = snapshot.totals
    columns = (
        Column("dtype", "dtype"),
        Column("tensors", "tensors", "integer"),
        Column("params", "params", "count"),
        Column("share", "share", "share", help="of the model's params"),
        Column("trainable_params", "trainable", "count"),
        Column("buffers", "buffers", "count"),
        Column("unclassified", "unclassified", "count", help="elements of unknown role"),
        Column("nbytes", "size", "bytes"),
    )
    largest = sorted(sums, key=lambda name: -sums[name].nbytes)
    rows = tuple(_dtype_row(name, counts[name], sums[name], whole) for name in largest)
    table = Table("By dtype", columns, rows, total=_dtype_row("total", sum(counts.values()), whole, whole))
    if whole.unclassified:
        return table
    return with_columns(table, [column.key for column in columns if column.key != "unclassified"])


def _dtype_row(name: str, count: int, sums: Totals, whole: Totals) -> tuple[Cell, ...]:
    share = sums.params / whole.params if whole.params else 0.0
    counts = (held(sums, key) for key in ("trainable", "buffers", "unclassified"))
    return (name, count, held(sums, "params"), share, *counts, held(sums, "nbytes"))


def held(totals: Totals, name: str) -> Cell:
    """One of the sums, a lower bound where the size of a tensor is not known.

    >>> held(Totals(params=6), "params"), held(Totals(params=6, unknown=1), "params").mark
    (6, '≥')
    """
    unit: Unit = "bytes" if name.endswith("nbytes") else "count"
    return marked(getattr(totals, name), unit, at_least=not totals.exact)

"""Bytes that an operator reads and writes at least: each distinct input and each output once.

It is the traffic of a kernel with a perfect cache, the number that a roofline divides by. A view moves nothing, a
look-up reads the rows it gathers and not the table, a factory only writes, and a write into part of a tensor leaves
the rest alone. A record has no strides, so `reshape`, `flatten` and `contiguous` count as the views they mostly are.
"""

from __future__ import annotations

from dataclasses import dataclass

from numel.analyses.formulas.arguments import numel_of
from numel.analyses.formulas.free import FACTORIES, RANDOM, UNMOVED
from numel.facts.trace import OpRecord, tensors_in

_GATHERS = frozenset(
    f"aten.{name}" for name in ("embedding", "embedding_bag", "_embedding_bag", "_embedding_bag_forward_only")
)
_PICKS = frozenset(f"aten.{name}" for name in ("index", "_unsafe_index", "index_select", "gather", "take"))
# Written in place where the other arguments say. Those that add read there, too.
_PUTS = frozenset(f"aten.{name}_" for name in ("index_put", "_index_put_impl", "index_copy", "scatter", "put"))
_ADDS = frozenset(f"aten.{name}_" for name in ("index_add", "index_reduce", "scatter_add", "scatter_reduce"))
# Draws that read their argument: it holds the probabilities, rates or means.
_READING = frozenset(
    f"aten.{name}"
    for name in ("bernoulli", "binomial", "poisson", "multinomial", "normal", "_standard_gamma", "_sample_dirichlet")
)
# The first argument is written and not read.
_WRITES = frozenset(f"aten.{name}" for name in (FACTORIES + RANDOM + "copy copy_ _foreach_copy_").split()) - _READING
# Conversions that hand back their argument when there is nothing to convert.
_CONVERSIONS = frozenset({"aten.to", "aten.type_as"})


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes read and bytes written.

    >>> Traffic(4, 2) + Traffic(1, 1)
    Traffic(read=5, written=3)
    """

    read: int = 0
    written: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.read + other.read, self.written + other.written)

    @property
    def total(self) -> int:
        """Bytes moved in either direction."""
        return self.read + self.written


def traffic(record: OpRecord) -> Traffic:
    """Bytes that the recorded operator moves, by its shapes alone.

    Two arguments with equal shape and type are taken as two tensors: a record does not say whether they are one.

    >>> from numel.facts.dtype import dtype
    >>> from numel.facts.trace import TensorSpec
    >>> x = TensorSpec((2, 3), dtype("f32"))
    >>> traffic(OpRecord("aten.add.Tensor", -1, (x, x), outputs=(x,)))
    Traffic(read=48, written=24)
    >>> traffic(OpRecord("aten.view.default", -1, (x, (6,)), outputs=(x,)))
    Traffic(read=0, written=0)
    """
    name = record.name
    if name in UNMOVED:
        return Traffic()
    written = sum(spec.nbytes for spec in tensors_in(record.outputs))
    arguments = list(tensors_in((record.args, tuple(value for _, value in record.kwargs))))
    if name in _GATHERS and len(arguments) >= 2:
        table, indices = arguments[0], arguments[1]
        rows = table.dtype.nbytes(indices.numel * table.shape[-1])
        rest = sum(spec.nbytes for spec in arguments[1:])
        return Traffic(read=rows + rest, written=written)
    if name in _PICKS and arguments:
        picked = arguments[0].dtype.nbytes(numel_of(record.outputs))
        return Traffic(read=picked + sum(spec.nbytes for spec in arguments[1:]), written=written)
    if name in _PUTS | _ADDS and len(arguments) >= 2:
        places = min(arguments[0].numel, max(spec.numel for spec in arguments[1:]))
        touched = arguments[0].dtype.nbytes(places)
        adds = name in _ADDS or "reduce" in record.op or (len(record.args) > 3 and record.args[3] is True)
        return Traffic(read=sum(spec.nbytes for spec in arguments[1:]) + touched * adds, written=touched)
    if name in _CONVERSIONS and arguments:
        if {spec.dtype for spec in tensors_in(record.outputs)} <= {arguments[0].dtype}:
            return Traffic()
        return Traffic(read=arguments[0].nbytes, written=written)
    target = sum(spec.nbytes for spec in tensors_in(record.args[:1]))
    if not written and name.endswith("_"):  # lists written in place are not given back
        written = target
        if name.startswith("aten._fused_"):  # an optimizer's state as well; the gradients, its second list, are read
            written += sum(spec.nbytes for spec in tensors_in(record.args[2:]))
    read = sum(spec.nbytes for spec in arguments)
    return Traffic(read=read - target if name in _WRITES else read, written=written)

"""Operators whose output is found out here, by shape: torch's own meta kernel is narrower than its others, or slow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from numel import torch_private
from numel.tracing.arguments import argument
from numel.tracing.ends import DataDependent

if TYPE_CHECKING:
    from numel.tracing.meta_recorder import MetaRecorder

_META = torch.device("meta")
_CPU = torch.device("cpu")


def _pack(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
    """Padded → packed: lengths must be known, since they are the shape of what comes out."""
    data, lengths, _batch_first = args
    if id(lengths) not in recorder._own:
        raise recorder.end(DataDependent("a packed sequence depends on lengths that are not known"))
    each = torch_private.values(lengths)
    steps = max(each, default=0)
    sizes = [sum(length > step for length in each) for step in range(steps)]
    rest = tuple(data.shape[2:])
    packed = torch.empty((sum(each), *rest), dtype=data.dtype, device=_META)
    batch_sizes = torch.tensor(sizes, dtype=torch.int64, device=_CPU)
    recorder.keep(batch_sizes)
    return packed, batch_sizes


def _unpack(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
    """Packed → padded."""
    data, batch_sizes, batch_first, _padding, total_length = (*args, *kwargs.values())[:5]
    if id(batch_sizes) not in recorder._own:
        raise recorder.end(DataDependent("a packed sequence depends on lengths that are not known"))
    sizes = torch_private.values(batch_sizes)
    batch = sizes[0] if sizes else 0
    steps = total_length if total_length > 0 else len(sizes)
    shape = (batch, steps) if batch_first else (steps, batch)
    padded = torch.empty((*shape, *data.shape[1:]), dtype=data.dtype, device=_META)
    lengths = torch.tensor([sum(size > i for size in sizes) for i in range(batch)], dtype=torch.int64, device=_CPU)
    recorder.keep(lengths)
    return padded, lengths


def _recur(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
    """A recurrent layer over a packed sequence: its batch sizes stay real, since its loop reads them."""
    data, batch_sizes, *rest = args
    return func(recorder.to_meta(data), batch_sizes, *recorder.to_meta(rest), **recorder.to_meta(kwargs))


def _grouped(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
    """A grouped product by shape alone: torch's meta kernel takes bfloat16 only, its other kernels do not."""
    a, b = args[0], args[1]
    groups = argument(func, args, kwargs, "offs")
    dtype = argument(func, args, kwargs, "out_dtype") or a.dtype
    shape: tuple[int, ...]
    if a.dim() == 2 and b.dim() == 2:
        shape = (groups.shape[0], a.shape[0], b.shape[1])
    elif a.dim() == 3 and b.dim() == 3:
        shape = (a.shape[0], a.shape[1], b.shape[2])
    else:
        shape = (a.shape[-2], b.shape[-1])
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(f"a grouped product of {tuple(a.shape)} with {tuple(b.shape)}: inner sizes differ")
    return torch.empty(shape, dtype=dtype, device=_META)


def _recurrent(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
    """A recurrent layer by shape alone: torch's meta kernel takes one step after the other, in Python."""
    taken, hidden, weights = args[0], args[1], args[2]
    states = [hidden] if isinstance(hidden, torch.Tensor) else list(hidden)
    if taken.shape[-1] != weights[0].shape[-1]:
        raise RuntimeError(f"a recurrent layer of width {weights[0].shape[-1]} got {tuple(taken.shape)}")
    width = states[0].shape[-1] * (2 if argument(func, args, kwargs, "bidirectional") else 1)
    first, second = taken.shape[:2]
    if argument(func, args, kwargs, "batch_first"):  # it runs along the first axis all the same
        output = torch.empty((second, first, width), dtype=taken.dtype, device=_META).transpose(0, 1)
    else:
        output = torch.empty((first, second, width), dtype=taken.dtype, device=_META)
    return output, *(torch.empty(tuple(each.shape), dtype=each.dtype, device=_META) for each in states)


def by_data(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
    """An operator that may have a shape which only values give."""
    try:
        return func(*recorder.to_meta(args), **recorder.to_meta(kwargs))
    except NotImplementedError as error:
        raise recorder.end(DataDependent(torch_private.SHAPE_BY_DATA)) from error


# over packed sequences, whose lengths are values: they must be known
PACKED = {
    "aten._pack_padded_sequence.default": _pack,
    "aten._pad_packed_sequence.default": _unpack,
    "aten.lstm.data": _recur,
    "aten.gru.data": _recur,
    "aten.rnn_tanh.data": _recur,
    "aten.rnn_relu.data": _recur,
}

BY_SHAPE = {
    "aten._grouped_mm.default": _grouped,
    "aten.lstm.input": _recurrent,
    "aten.gru.input": _recurrent,
    "aten.rnn_tanh.input": _recurrent,
    "aten.rnn_relu.input": _recurrent,
}

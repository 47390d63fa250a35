"""What a backward pass writes in place, where no dispatch mode looks on.

While one is active, torch takes every tensor for one of a class of its own (`ATen/TensorSubclassLikeUtils.h`). Then it
adds gradients up, and puts them where they belong, in a tensor more than a run without it makes: the values are the
same, the bytes are not.
"""

from __future__ import annotations

from typing import Any

import torch

from numel import torch_private
from numel.tracing.memory import Memory

_aten = torch.ops.aten

# by what writes gradients into zeros that the same node has just made (index, gather, topk, max, take ... going back)
_INTO_ZEROS: dict[Any, Any] = {
    _aten.index_put.default: _aten._index_put_impl_.default,
    _aten.index_add.default: _aten.index_add_.default,
    _aten.index_fill.int_Scalar: _aten.index_fill_.int_Scalar,
    _aten.scatter.src: _aten.scatter_.src,
    _aten.scatter_add.default: _aten.scatter_add_.default,
    _aten.masked_scatter.default: _aten.masked_scatter_.default,
    _aten.put.default: _aten.put_.default,
}
_OF_LOGITS = {_aten.mul.Tensor: _aten.mul_.Tensor, _aten.sub.Tensor: _aten.sub_.Tensor}
_ADD = _aten.add.Tensor

ASKED = frozenset({*_INTO_ZEROS, *_OF_LOGITS, _ADD})


def as_unwatched(func: Any, args: Any, memory: Memory) -> Any:
    """What runs instead of `func`, one of `ASKED`, with the same arguments, where no dispatch mode is active: `func`
    itself, but for what autograd does between Python and Python."""
    node = torch_private.running_node()
    if node is None or torch.is_grad_enabled() or not torch_private.called_by_autograd(3):
        return func
    own = memory.maker(args[0]) == node._sequence_nr()
    if func is _ADD:
        summed = (not own or _twice(node)) and len(args) == 2 and torch_private.is_accumulated_into(*args)
        return _aten.add_.Tensor if summed else func
    if func in _OF_LOGITS:
        return _OF_LOGITS[func] if own and node.name() == "BinaryCrossEntropyWithLogitsBackward0" else func
    return _INTO_ZEROS[func] if own else func


def _twice(node: Any) -> bool:
    """Whether a node gives two gradients of one tensor, as of x · x."""
    edges = [edge for edge in node.next_functions if edge[0] is not None]
    return len(set(edges)) < len(edges)

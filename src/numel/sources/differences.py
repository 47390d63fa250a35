"""The values of two models beside each other, a pair of tensors at a time, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, isfinite, sqrt
from typing import Any

from numel.facts import ValueDifference
from numel.sources.values import PIECE, numbers_of, spans, tensors

_MOST_RANK = 64  # a change of more directions is not called low-rank
_SPARE = 8  # directions more than looked for (Halko, Martinsson and Tropp, 2011, section 4.2)
_ENERGY = 0.99
_LEAST, _MOST = 1e-280, 1e300  # sums of squares that have kept their digits
_LEAST_SIDE = 8  # a smaller matrix is of low rank whatever it is


def differences(
    first: Any, second: Any, pairs: Sequence[tuple[str, str]]
) -> tuple[tuple[ValueDifference, ...], tuple[str, ...]]:  # fmt: skip
    """Differences of the pairs of paths (in the first, in the second), and the paths of those whose values can not be
    read or have two shapes. Targets are modules and `.safetensors` files or indexes.

    >>> import torch
    >>> one, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    >>> _ = other.load_state_dict(one.state_dict())
    >>> _ = torch.nn.init.constant_(other.bias, 3.0)
    >>> [(d.first, d.equal) for d in differences(one, other, [("weight", "weight"), ("bias", "bias")])[0]]
    [('weight', True), ('bias', False)]
    """
    import torch

    one, other = tensors(first), tensors(second)
    found: list[ValueDifference] = []
    unread: list[str] = []
    with torch.no_grad():
        for before, after in pairs:
            x = numbers_of(one[before]) if before in one else None
            y = numbers_of(other[after]) if after in other else None
            if x is None or y is None or tuple(x.shape) != tuple(y.shape):
                unread.append(after)
            else:
                found.append(_difference(before, after, x, y))
    return tuple(found), tuple(unread)


def _pieces(x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
    """Both as they are, flat, where the first lies, a piece at a time."""
    for at in spans(x.shape):
        a = x[at]
        yield a.reshape(-1), y[at].to(a.device).reshape(-1)


def _difference(before: str, after: str, x: Any, y: Any, scale: float = 1.0) -> ValueDifference:
    """With `scale` both are multiplied by it for the sums, whose squares are beyond doubles else."""
    import torch

    squares = first_squares = second_squares = product = largest = first_largest = 0.0
    odd = differing = 0
    for a, b in _pieces(x, y):
        wide = torch.float32 if a.device.type == "mps" else torch.float64  # sums of many squares need the digits
        same = (a == b) | (a.isnan() & b.isnan())  # before they are widened: a double holds no large integer
        count = int(same.numel() - same.sum())
        known = a.isfinite() & b.isfinite()
        odd += int((~known & ~same).sum())
        differing += count
        a, b = a[known].to(wide), b[known].to(wide)
        if not a.numel():
            continue
        apart = b - a
        largest = max(largest, float(apart.abs().max()))
        first_largest = max(first_largest, float(a.abs().max()))
        if scale != 1.0:
            apart, a, b = apart * scale, a * scale, b * scale
        squares += float(apart.dot(apart))
        first_squares += float(a.dot(a))
        second_squares += float(b.dot(b))
        product += float(a.dot(b))
    sums = (squares, first_squares) if first_largest else (squares,)
    if scale == 1.0 and isfinite(largest) and largest and not all(_LEAST < each < _MOST for each in sums):
        return _difference(before, after, x, y, 1 / max(largest, first_largest))
    norms = sqrt(first_squares) * sqrt(second_squares)
    return ValueDifference(
        before, after, largest, _beside(largest, first_largest), sqrt(squares) / scale,
        _beside(sqrt(squares), sqrt(first_squares)),
        (max(-1.0, min(1.0, product / norms)) if differing else 1.0) if norms and isfinite(norms) else None,
        _rank(x, y, squares) if differing and not odd else None, odd, differing,
    )  # fmt: skip


def _beside(value: float, whole: float) -> float:
    if not whole:
        return inf if value else 0.0
    return value / whole


def _rank(x: Any, y: Any, squares: float) -> int | None:
    """How many directions hold 99 % of the squared difference of two matrices, if few do: singular values of it in a
    random subspace that two power steps turn to the largest ones (Halko, Martinsson and Tropp, 2011, algorithm 4.4).
    The difference is made some rows at a time, and again for each product."""
    import torch

    if len(x.shape) != 2 or min(x.shape) < _LEAST_SIDE or not squares:
        return None
    looked = min(_MOST_RANK + _SPARE, *x.shape)
    dice = torch.Generator().manual_seed(0)  # of its own: the process's random state stays as it is
    sketch = _times(x, y, torch.randn(x.shape[1], looked, generator=dice))
    if not bool(sketch.isfinite().all()):  # beyond single precision
        return None
    basis = torch.linalg.qr(sketch).Q
    for _ in range(2):
        basis = torch.linalg.qr(_times(x, y, torch.linalg.qr(_transposed_times(x, y, basis)).Q)).Q
    energies = torch.linalg.svdvals(_transposed_times(x, y, basis)).double() ** 2
    held = (energies.cumsum(0) / squares).tolist()
    few = min(_MOST_RANK, min(x.shape) // 2)  # a full matrix of noise holds 99 % in most of its directions
    return next((i + 1 for i, share in enumerate(held[:few]) if share >= _ENERGY), None)


def _apart(x: Any, y: Any) -> Iterator[tuple[slice, Any]]:
    """The difference of two matrices where the first lies, some rows at a time."""
    most = max(1, PIECE // x.shape[1])
    for start in range(0, x.shape[0], most):
        rows = slice(start, start + most)
        a = x[rows]
        yield rows, y[rows].to(a.device).float() - a.float()


def _times(x: Any, y: Any, right: Any) -> Any:
    """(y - x) · right."""
    import torch

    return torch.cat([apart @ right.to(apart.device) for _, apart in _apart(x, y)])


def _transposed_times(x: Any, y: Any, left: Any) -> Any:
    """(y - x)ᵀ · left."""
    return sum(apart.T @ left[rows] for rows, apart in _apart(x, y))

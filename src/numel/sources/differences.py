"""The values of two models beside each other, a pair of tensors at a time, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, isfinite, prod, sqrt
from typing import Any

from numel.facts import ValueDifference
from numel.sources.values import PIECE, numbers_of, spans, tensors, widened

_MOST_RANK = 64  # a change of more directions is not called low-rank
_SPARE = 8  # directions more than looked for (Halko, Martinsson and Tropp, 2011, section 4.2)
_ENERGY = 0.99
_LEAST, _MOST = 1e-280, 1e300  # sums of squares that have kept their digits
_MOST_WHOLE = 2.0**62  # a difference of integers that fits in int64
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
    """Both as they are to be compared, flat, where the first lies, a piece at a time."""
    for at in spans(x.shape, PIECE):
        a = x[at]
        yield _of_one_kind(a.reshape(-1), y[at].to(a.device).reshape(-1))


def _of_one_kind(a: Any, b: Any) -> tuple[Any, Any]:
    """Two pieces in types that torch compares without rounding: integers as int64, floats of one byte as float32."""
    if a.dtype == b.dtype and (a.element_size() > 1 or not a.is_floating_point()):
        return a, b
    return widened(a), widened(b)


def _same(a: Any, b: Any) -> Any:
    """Where two pieces hold the same number. Before they become doubles, which hold no large integer."""
    if a.is_floating_point() == b.is_floating_point():
        return (a == b) | (a.isnan() & b.isnan())
    whole, real = (b, a) if a.is_floating_point() else (a, b)
    as_whole = real.long()
    return (whole == as_whole) & (as_whole.to(real.dtype) == real)


def _apart(a: Any, b: Any, wide: Any) -> Any:
    """How far two finite pieces are apart; large integers by their integers."""
    apart = b.to(wide) - a.to(wide)
    if a.is_floating_point() or b.is_floating_point():
        return apart
    return (b.long() - a.long()).to(wide).where(apart.abs() < _MOST_WHOLE, apart)


def _difference(before: str, after: str, x: Any, y: Any, scale: float = 1.0) -> ValueDifference:
    """With `scale` both are multiplied by it for the sums, whose squares are beyond doubles else."""
    from numel import torch_private

    squares = first_squares = second_squares = product = largest = first_largest = 0.0
    odd = differing = 0
    for a, b in _pieces(x, y):
        wide = torch_private.widest_float(a.device)  # sums of many squares need the digits
        same = _same(a, b)
        known = a.isfinite() & b.isfinite()
        odd += int((~known & ~same).sum())
        differing += int(same.numel() - same.sum())
        a, b = a[known], b[known]
        if not a.numel():
            continue
        apart, a, b = _apart(a, b, wide), a.to(wide), b.to(wide)
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
    length = sqrt(squares) / scale
    return ValueDifference(
        before, after, largest, _beside(largest, first_largest), length,
        _beside(sqrt(squares), sqrt(first_squares)),
        (max(-1.0, min(1.0, product / norms)) if differing else 1.0) if norms and isfinite(norms) else None,
        _rank(x, y, length, largest) if differing and not odd else None, odd, differing,
    )  # fmt: skip


def _beside(value: float, whole: float) -> float:
    if not whole:
        return inf if value else 0.0
    return value / whole


def _rank(x: Any, y: Any, length: float, largest: float) -> int | None:
    """How many directions hold 99 % of the squared difference of two matrices, if few do: singular values of it in a
    random subspace that two power steps turn to the largest ones (Halko, Martinsson and Tropp, 2011, algorithm 4.4).
    A kernel is a matrix of its output channels. The difference is made some rows at a time, and again for each product;
    `length` and `largest` are those of it."""
    import torch

    rows, columns = (x.shape[0], prod(x.shape[1:])) if len(x.shape) > 1 else (0, 0)
    if min(rows, columns) < _LEAST_SIDE or not largest or not isfinite(largest):
        return None
    change = _Change(x, y, 1 / largest)
    looked = min(_MOST_RANK + _SPARE, rows, columns)
    dice = torch.Generator("cpu").manual_seed(0)  # of its own: the process's random state stays as it is
    subspace = torch.randn(columns, looked, generator=dice, dtype=torch.float32, device="cpu")
    basis = torch.linalg.qr(change.times(subspace)).Q
    for _ in range(2):
        basis = torch.linalg.qr(change.times(torch.linalg.qr(change.transposed_times(basis)).Q)).Q
    energies = torch.linalg.svdvals(change.transposed_times(basis)).double() ** 2
    held = (energies.cumsum(0) / (length / largest) ** 2).tolist()
    few = min(_MOST_RANK, min(rows, columns) // 2)  # a full matrix of noise holds 99 % in most of its directions
    return next((i + 1 for i, share in enumerate(held[:few]) if share >= _ENERGY), None)


class _Change:
    """The difference of two tensors as a matrix, scaled, that is made some rows at a time where the first lies."""

    def __init__(self, x: Any, y: Any, scale: float) -> None:
        self._x, self._y, self._scale = x, y, scale

    def times(self, right: Any) -> Any:
        """(y - x) · right."""
        import torch

        return torch.cat([apart @ right.to(apart.device) for _, apart in self._pieces()])

    def transposed_times(self, left: Any) -> Any:
        """(y - x)ᵀ · left."""
        return sum(apart.T @ left[rows] for rows, apart in self._pieces())

    def _pieces(self) -> Iterator[tuple[slice, Any]]:
        from numel import torch_private

        x, y = self._x, self._y
        most = max(1, PIECE // prod(x.shape[1:]))
        for start in range(0, x.shape[0], most):
            rows = slice(start, start + most)
            a = x[rows].reshape(-1, prod(x.shape[1:]))
            b = y[rows].to(a.device).reshape(a.shape)
            yield rows, (_apart(*_of_one_kind(a, b), torch_private.widest_float(a.device)) * self._scale).float()

"""The values of two models beside each other, a pair of tensors at a time, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf, isfinite, sqrt
from typing import Any

from numel.facts import ValueDifference
from numel.sources.values import PIECE, numbers_of, readers

_MOST_RANK = 64  # a change of more directions is not called low-rank
_SPARE = 8  # directions more than looked for (Halko, Martinsson and Tropp, 2011, section 4.2)
_ENERGY = 0.99
_LEAST, _MOST = 1e-280, 1e300  # sums of squares that have kept their digits
_LEAST_SIDE = 8  # a smaller matrix is of low rank whatever it is

Readers = Mapping[str, Callable[[], Any]]


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

    one, other = readers(first), readers(second)
    found: list[ValueDifference] = []
    unread: list[str] = []
    with torch.no_grad():
        for before, after in pairs:
            x, y = _flat(one, before), _flat(other, after)
            if x is None or y is None or x.shape != y.shape:
                unread.append(after)
            else:
                found.append(_difference(before, after, x, y))
    return tuple(found), tuple(unread)


def _flat(source: Readers, path: str) -> Any | None:
    return None if path not in source else numbers_of(source[path]())


def _pieces(x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
    """Both as they are, where the first lies, a piece at a time."""
    a, b = x.reshape(-1), y.reshape(-1)
    for start in range(0, a.numel(), PIECE):
        yield a[start : start + PIECE], b[start : start + PIECE].to(a.device)


def _difference(before: str, after: str, x: Any, y: Any, scale: float = 1.0) -> ValueDifference:
    """With `scale` both are multiplied by it for the sums, whose squares are beyond doubles else."""
    import torch

    squares = first_squares = second_squares = product = largest = first_largest = 0.0
    odd = differing = 0
    wide = torch.float32 if x.device.type == "mps" else torch.float64  # sums of many squares need the digits
    for a, b in _pieces(x, y):
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
        max(-1.0, min(1.0, product / norms)) if norms and isfinite(norms) else None,
        _rank(x, y, squares) if differing and not odd else None, odd, differing,
    )  # fmt: skip


def _beside(value: float, whole: float) -> float:
    if not whole:
        return inf if value else 0.0
    return value / whole


def _rank(x: Any, y: Any, squares: float) -> int | None:
    """How many directions hold 99 % of the squared difference of two matrices, if few do: singular values of it in a
    random subspace that two power steps turn to the largest ones (Halko, Martinsson and Tropp, 2011, algorithm 4.4)."""
    import torch

    if x.dim() != 2 or min(x.shape) < _LEAST_SIDE or not squares:
        return None
    apart = y.to(x.device).float() - x.float()
    if not bool(apart.isfinite().all()):  # beyond single precision
        return None
    looked = min(_MOST_RANK + _SPARE, min(apart.shape))
    dice = torch.Generator().manual_seed(0)  # of its own: the process's random state stays as it is
    subspace = torch.randn(apart.shape[1], looked, generator=dice).to(apart.device)
    basis = torch.linalg.qr(apart @ subspace).Q
    for _ in range(2):
        basis = torch.linalg.qr(apart @ torch.linalg.qr(apart.T @ basis).Q).Q
    energies = torch.linalg.svdvals(basis.T @ apart).double() ** 2
    held = (energies.cumsum(0) / squares).tolist()
    few = min(_MOST_RANK, min(apart.shape) // 2)  # a full matrix of noise holds 99 % in most of its directions
    return next((i + 1 for i, share in enumerate(held[:few]) if share >= _ENERGY), None)

"""What the values of a model are like right now: a few numbers per tensor, which are computed where the tensors lie and
brought over together. To wait for a device once per tensor would cost more than all the arithmetic."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd, hypot, isfinite, sqrt
from typing import Any

import torch

from numel import torch_private
from numel.facts import Histogram, Statistics
from numel.monitoring.alarms import Look
from numel.sources.values import BINS

SAMPLE = 1 << 16  # elements of a tensor that its histogram is of
_WHOLE = 1 << 20  # elements up to which a weight is kept whole until its update is known: 4 MiB of float32
_PIECE = 1 << 22  # elements that are made doubles at once
_TELLING = 100  # values of a sample that must have changed for it to tell how far all did
_SCALARS = frozenset({"step", "mu_product", "eta", "mu"})  # of a scalar parameter they have the shape of a moment
_CLOSE = {torch.float64: 1e-6, torch.float32: 1e-2}  # of mean²: a variance below has lost half of its digits


@dataclass(frozen=True, slots=True)
class _Flat:
    """The values of a tensor in the order of its memory. `row` is the length of what lies closest together, `absent`
    how many zeros a sparse one does not hold."""

    path: str
    of: str
    values: torch.Tensor
    row: int
    absent: int = 0

    @property
    def numel(self) -> int:
        return self.values.numel() + self.absent

    def every(self) -> int:
        """The step from one element of a sample to the next: without a common divisor with a row, so that a sample is
        not of a few columns."""
        step = max(1, -(-self.values.numel() // SAMPLE))
        while gcd(step, self.row) > 1:
            step += 1
        return step


@dataclass(frozen=True, slots=True)
class _Before:
    """A weight as it was, or evenly spaced elements of it, until its update is known."""

    parameter: Any
    values: torch.Tensor
    shape: torch.Size
    stride: tuple[int, ...]
    numel: int
    every: int
    version: int | None  # how often it had been written to
    steps: _Steps | None  # how many its optimizer had made of it


class _Gathered:
    """Numbers on several devices, brought over in one transfer from each."""

    def __init__(self) -> None:
        self._parts: dict[tuple[torch.device, torch.dtype], dict[torch.dtype, list[torch.Tensor]]] = {}
        self._places: list[tuple[tuple[torch.device, torch.dtype], torch.dtype, int, int]] = []

    def add(self, numbers: torch.Tensor) -> None:
        """A tensor of few numbers; what comes back are lists in the same order."""
        wide = torch_private.widest_float(numbers.device)
        if wide is torch.float32 and not numbers.is_floating_point():
            wide = torch.int64  # a count may be more than a float32 holds
        key = numbers.device, wide
        held = self._parts.setdefault(key, {}).setdefault(numbers.dtype, [])
        self._places.append((key, numbers.dtype, len(held), numbers.numel()))
        held.append(numbers)

    def brought(self) -> Iterator[list[float]]:
        """Each as plain numbers."""
        came: dict[Any, list[list[float]]] = {}
        for key, by_dtype in self._parts.items():
            rows = [torch.cat([each.reshape(-1) for each in held]).to(key[1]) for held in by_dtype.values()]
            numbers, at = torch.cat(rows).cpu().tolist(), 0
            for dtype, held in by_dtype.items():
                lists = came[key, dtype] = []
                for each in held:
                    lists.append(numbers[at : at + each.numel()])
                    at += each.numel()
        return (came[key, dtype][i] for key, dtype, i, _ in self._places)


class Looks:
    """Looks at the values of one model, one after the other. From a look to the step after it, copies of the weights
    that train are held, of large ones of a sample. The optimizer's own count of steps tells when there was one; where
    it has none, that most weights with a gradient were written to; and where something writes past torch's count of
    that (`.data`, a fused kernel, a replayed graph), the values."""

    def __init__(self) -> None:
        self._before: dict[str, _Before] = {}
        self._kept = 0  # how many of them there were at the look
        self._observed = 0  # how often since the look
        self.several = False  # whether updates are not known since there was more than one step
        self.holders: Mapping[str, int] = {}  # which optimizer held which at the last look

    @torch.no_grad()
    def look(self, model: Any, optimizers: Sequence[Any] = ()) -> Look:
        """Weights, gradients and the moments of optimizers, now.

        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.constant_(layer.weight, 3.0)
        >>> [(each.path, each.of, each.mean, each.std) for each in Looks().look(layer).statistics]
        [('weight', 'weight', 3.0, 0.0)]
        """
        found: list[_Flat] = []
        trainable: list[str] = []
        missing: set[str] = set()
        unread: list[str] = []
        holders: dict[str, int] = {}
        held = {id(each): i for i, optimizer in enumerate(optimizers) for group in optimizer.param_groups
                for each in group["params"]}  # fmt: skip
        unmoved, observed = frozenset(self._before), self._observed
        moved = len(self._before) < self._kept
        self._before, self._observed = {}, 0
        for path, parameter in model.named_parameters():
            holders[path] = held.get(id(parameter), -1)
            weight = _flat(path, "weight", parameter)
            if weight is None:
                unread.append(path)
                continue
            found.append(weight)
            if parameter.requires_grad:
                trainable.append(path)
                if weight.numel:
                    self._keep(path, parameter, weight, _steps(parameter, optimizers, holders[path]))
            gradient = parameter.grad if parameter.is_leaf or parameter.retains_grad else None
            for of, tensor in (("gradient", gradient), *_moments(parameter, optimizers)):
                if tensor is None:
                    if parameter.requires_grad:
                        missing.add(path)
                    continue
                values = _flat(path, of, tensor)
                if values is None:
                    unread.append(f"{path} ({of})")
                else:
                    found.append(values)
        self.holders, self._kept = holders, len(self._before)
        statistics = _measured([each for each in found if each.numel])
        return Look(tuple(statistics), tuple(trainable), frozenset(missing), tuple(unread), unmoved, moved, observed,
                    holders)  # fmt: skip

    @torch.no_grad()
    def updates(self, model: Any, optimizers: Sequence[Any] = ()) -> tuple[Statistics, ...]:
        """What the first step since the last look added to the weights, once for each; not of a parameter that is
        another object now, or has another shape, element type or device, nor where there were several steps, or may
        have been."""
        self.several = False
        if not self._before:
            return ()
        self._observed += 1
        is_due = _is_power(self._observed)  # for values to be compared: not at each observe
        there = [(path, parameter, self._before[path]) for path, parameter in model.named_parameters()
                 if path in self._before and self._before[path].parameter() is parameter]  # fmt: skip
        stepped = self._stepped(there, optimizers)
        lasting: dict[str, _Before] = {}
        pairs: list[tuple[_Before, _Flat]] = []
        for path, parameter, kept in there:
            steps = stepped[path]
            if steps == 0 or (steps is None and not is_due):
                lasting[path] = kept
                continue
            if steps is not None and steps > 1:
                self.several = True
                continue
            change = _changed(path, parameter, kept)
            if change is not None:
                pairs.append((kept, change))
        lengths = _Gathered()
        for kept, _ in pairs:
            lengths.add(_norm(kept.values))
        found: list[Statistics] = []
        measured = zip(pairs, _measured([change for _, change in pairs]), lengths.brought(), strict=True)
        for (kept, _), each, (length,) in measured:
            if stepped[each.path] is None and each.zeros == 1:
                lasting[each.path] = kept
            elif stepped[each.path] is not None or self._observed <= 2:  # else values were not compared just before
                found.append(_as_update(each, kept.numel, length))
        self._before = lasting
        return tuple(found)

    def _stepped(
        self, there: Sequence[tuple[str, Any, _Before]], optimizers: Sequence[Any]
    ) -> dict[str, int | None]:  # fmt: skip
        """How many steps there were of each, one where that can not be counted; `None` where only its values tell."""
        counted = {path: _steps(parameter, optimizers, self.holders.get(path, -1)) for path, parameter, _ in there}
        versions = {path: _version(parameter) for path, parameter, _ in there}
        written = {path: None not in (kept.version, versions[path]) and versions[path] != kept.version
                   for path, _, kept in there}  # fmt: skip
        votes: dict[int, list[bool]] = {}  # of those with a gradient, by optimizer
        for path, parameter, _ in there:
            if parameter.is_leaf and parameter.grad is not None:
                votes.setdefault(self.holders.get(path, -1), []).append(written[path])
        found: dict[str, int | None] = {}
        for path, _, kept in there:
            cast = votes.get(self.holders.get(path, -1), [])
            now, before = counted[path], kept.steps or _Steps(0)
            if now is None:
                found[path] = 1 if written[path] and 2 * sum(cast) >= len(cast) else None
            elif now.is_exact and now.count > before.count:
                found[path] = now.count - before.count
            else:
                found[path] = int(now.count != before.count)  # fewer are of a state that was loaded
        return found

    def _keep(self, path: str, parameter: Any, weight: _Flat, steps: _Steps | None) -> None:
        every = weight.every() if weight.numel > _WHOLE else 1
        values = weight.values[::every].clone()
        self._before[path] = _Before(weakref.ref(parameter), values, parameter.shape, _stride(parameter), weight.numel,
                                     every, _version(parameter), steps)  # fmt: skip


def _is_power(n: int) -> bool:
    """Of two: 1, 2, 4, 8 …"""
    return n & (n - 1) == 0


@dataclass(frozen=True, slots=True)
class _Steps:
    """How many steps an optimizer says that it has made of a parameter, or a number that is another after each."""

    count: int
    is_exact: bool = True


def _steps(parameter: Any, optimizers: Sequence[Any], holder: int) -> _Steps | None:
    """`None` where it does not say. To read what lies on a device would be to wait for it: that it was written to says
    that there was a step, and not how many (with a scaler each writes twice)."""
    held = optimizers[holder].state.get(parameter) if 0 <= holder < len(optimizers) else None
    steps = held.get("step") if isinstance(held, Mapping) else None
    if isinstance(steps, torch.Tensor) and steps.device.type != "cpu":
        version = _version(steps)
        return None if version is None else _Steps(version, is_exact=False)
    is_number = isinstance(steps, int | float) or (isinstance(steps, torch.Tensor) and steps.numel() == 1)
    return _Steps(int(steps)) if is_number else None  # type: ignore[arg-type]


def _version(parameter: Any) -> int | None:
    """How often it was written to; `None` of one that does not count, as those made under inference mode."""
    try:
        version: int = parameter._version
    except RuntimeError:
        return None
    return version


def _changed(path: str, parameter: Any, kept: _Before) -> _Flat | None:
    """What was added to a weight, or to evenly spaced elements of it."""
    weight = _flat(path, "update", parameter) if parameter.shape == kept.shape else None
    if weight is None or _stride(parameter) != kept.stride or weight.values.device != kept.values.device:
        return None
    now = weight.values[:: kept.every]
    if now.dtype is not kept.values.dtype or now.shape != kept.values.shape:
        return None
    exact = torch.float32 if now.element_size() < 4 else now.dtype
    return _Flat(path, "update", now.to(exact) - kept.values.to(exact), 1)


def _as_update(found: Statistics, numel: int, length: float) -> Statistics:
    few = found.seen < numel and round(found.seen * (1 - found.zeros)) < _TELLING
    norm = None if few else found.norm  # as of an embedding of which few rows are in a batch
    ratio = _known(norm / length) if norm is not None and isfinite(length) and length else None
    whole = None if norm is None else _known(norm * sqrt(numel / found.seen))
    return Statistics(found.path, "update", numel, found.seen, whole, found.mean, found.std, found.absmax, found.zeros,
                      found.nan, found.infinite, ratio)  # fmt: skip


def _moments(parameter: Any, optimizers: Sequence[Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """By the names that optimizers have for them, also of factored ones (rows, columns); not scalars, as how many steps
    there were, nor vectors over all parameters. Asking a state by `[]` would make an entry."""
    for optimizer in optimizers:
        held = optimizer.state.get(parameter)
        if not isinstance(held, Mapping):
            continue
        for name, tensor in held.items():
            if name in _SCALARS or not isinstance(tensor, torch.Tensor):
                continue
            fits = tensor.shape == parameter.shape or 1 < tensor.numel() <= parameter.numel()
            if fits and (tensor.is_floating_point() or tensor.is_complex()):
                yield str(name), tensor


def _stride(tensor: Any) -> tuple[int, ...]:
    strides: tuple[int, ...] = tensor.stride()
    return strides


def _flat(path: str, of: str, tensor: Any) -> _Flat | None:
    """The values of a tensor, without a copy where they lie dense; `None` of one whose values can not be had."""
    if torch.nn.parameter.is_lazy(tensor):
        return None
    plain = torch_private.local_part(tensor) if torch_private.is_distributed(tensor) else tensor
    if plain.is_meta or torch_private.is_fake(plain) or type(plain) not in (torch.Tensor, torch.nn.Parameter):
        return None
    plain, absent = plain.detach(), 0
    if plain.layout is torch.sparse_coo and of == "gradient":
        numel = plain.numel()
        plain = plain.coalesce().values()
        absent = numel - plain.numel()
    if plain.layout is not torch.strided:
        return None
    if plain.is_complex():
        plain, absent = torch.view_as_real(plain.resolve_conj()), absent * 2
    if not plain.is_floating_point() or "float4" in str(plain.dtype):
        return None
    if plain.is_neg():
        plain = plain.resolve_neg()
    if plain.element_size() == 1:  # kernels for them are few
        plain = plain.float()
    if not plain.is_contiguous():
        in_memory = plain.permute(sorted(range(plain.dim()), key=plain.stride, reverse=True))
        if in_memory.is_contiguous():
            plain = in_memory
    row = next((size for size in reversed(plain.shape) if size != 1), 1)
    return _Flat(path, of, plain.reshape(-1), row, absent)


def _norm(values: torch.Tensor) -> torch.Tensor:
    norm: torch.Tensor = torch.linalg.vector_norm(values, dtype=torch_private.widest_float(values.device))
    return norm


def _measured(found: Sequence[_Flat]) -> list[Statistics]:
    """Two rounds: what is needed of all, then what asks for something that the first found out."""
    first = _Gathered()
    for each in found:
        if each.values.numel():
            wide = torch_private.widest_float(each.values.device)
            pieces = torch.split(each.values, _PIECE)  # which are made wide, one after the other
            first.add(torch.stack(torch.aminmax(each.values)))
            first.add(torch.stack([piece.sum(dtype=wide) for piece in pieces]))
            first.add(torch.stack([_norm(piece) for piece in pieces]))
            first.add(each.values.count_nonzero())
    numbers = first.brought()
    sums = [_Sums(each, numbers) for each in found]
    second = _Gathered()
    for one in sums:
        one.ask(second)
    more = second.brought()
    return [one.statistics(more) for one in sums]


class _Sums:
    """What the first round found of one tensor, and what it asks for in the second."""

    def __init__(self, flat: _Flat, numbers: Iterator[list[float]]) -> None:
        self._flat = flat
        self._low, self._high, self._norm, total, nonzero = 0.0, 0.0, 0.0, 0.0, 0.0
        if flat.values.numel():
            self._low, self._high = next(numbers)
            total, self._norm, (nonzero,) = sum(next(numbers)), hypot(*next(numbers)), next(numbers)
        if flat.absent and isfinite(self._low) and isfinite(self._high):
            self._low, self._high = min(self._low, 0.0), max(self._high, 0.0)
        n = flat.numel
        self._zeros = (n - int(nonzero)) / n
        self._finite = isfinite(self._low) and isfinite(self._high)  # NaN is the lowest and the highest
        self._mean = total / n
        self._variance = self._norm / n * self._norm - self._mean * self._mean
        close = _CLOSE[torch_private.widest_float(flat.values.device)] * self._mean * self._mean
        self._close = self._finite and self._low != self._high and not self._variance >= close
        wide = (self._high - self._low) * 2 * BINS
        self._bins = self._finite and isfinite(wide) and flat.of in ("weight", "gradient") and not flat.absent

    def ask(self, gathered: _Gathered) -> None:
        """The exact counts of NaN and infinity; the variance around the mean; a histogram."""
        values = self._flat.values
        if not self._finite:
            gathered.add(torch.stack([values.isnan().sum(), values.isinf().sum()]))
        if self._close:
            wide = torch_private.widest_float(values.device)
            pieces = (values[start : start + _PIECE].to(wide) for start in range(0, values.numel(), _PIECE))
            gathered.add(torch.stack([torch.linalg.vector_norm(piece - self._mean) for piece in pieces]))
        if self._bins and self._low != self._high:
            sample = values[:: self._flat.every()].to(torch_private.widest_float(values.device))
            gathered.add(_counts(sample, self._low, self._high))

    def statistics(self, more: Iterator[list[float]]) -> Statistics:
        """All of it; takes what `ask` asked for, in the same order."""
        flat = self._flat
        if not self._finite:
            nan, infinite = (int(n) for n in next(more))
            return Statistics(flat.path, flat.of, flat.numel, flat.numel, zeros=self._zeros, nan=nan, infinite=infinite)
        mean, std = self._mean, sqrt(max(self._variance, 0.0)) if isfinite(self._variance) else None
        if self._low == self._high:
            mean, std = self._low, 0.0
        if self._close:
            squares = sum(length * length for length in next(more)) + flat.absent * mean * mean
            std = sqrt(squares / flat.numel) if isfinite(squares) else None
        histogram = None
        if self._bins:
            if self._low == self._high:
                counts = [0] * BINS
                counts[BINS // 2] = -(-flat.values.numel() // flat.every())
            else:
                counts = [int(n) for n in next(more)]
            histogram = Histogram(flat.path, self._low, self._high, tuple(counts))
        return Statistics(
            flat.path, flat.of, flat.numel, flat.numel, _known(self._norm), _known(mean), std,
            max(abs(self._low), abs(self._high)), self._zeros, histogram=histogram,
        )  # fmt: skip


def _known(value: float) -> float | None:
    """`None` of what is too large for a double."""
    return value if isfinite(value) else None


def _counts(sample: torch.Tensor, low: float, high: float) -> torch.Tensor:
    if sample.device.type == "cpu" or not torch.are_deterministic_algorithms_enabled():
        return sample.histc(BINS, low, high)
    edges = torch.linspace(low, high, BINS + 1, dtype=sample.dtype, device=sample.device)[1:-1]
    below = torch.searchsorted(sample.sort().values, edges)  # histc on a GPU adds in any order, and refuses
    ends = torch.nn.functional.pad(below, (1, 1))
    ends[-1] = sample.numel()
    return ends.diff()

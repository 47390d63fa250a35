"""The values of weights: histograms of them, and what stands for them, a tensor at a time, in pieces of bounded size;
where they lie, there they are counted. Those of files are read when they are asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import Any

from numel.errors import TargetError
from numel.extras import need
from numel.facts import ONE_VALUE, Histogram, Snapshot
from numel.sources import files
from numel.sources.bytes import printable

BINS = 64  # of one tensor
ALL_BINS = 128  # of all parameters together
PIECE = 1 << 20  # elements at once: torch counts in float32, which is exact up to 2²⁴
_MAPPED = 1 << 26  # bytes of a file that are read until it is mapped anew, and their pages are no longer this process's
_MARKED = 64  # values that stand for a tensor
_UNREADABLE = frozenset({"C64", "F4", "F6_E2M3", "F6_E3M2"})  # complex, and what torch can not widen
_SMALLER = 2.0**-20  # exact but for the smallest floats, which share a bin with zero then

Named = Sequence[tuple[str, Any]]


def of_module(model: Any) -> tuple[tuple[Histogram, ...], tuple[str, ...]]:
    """Histograms of all parameters together (path "") and of each, and the paths of those that can not be read: meta
    tensors, lazy ones, and subclasses that hide their values.

    >>> import torch
    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> [(h.path, h.low, h.numel) for h in of_module(layer)[0]]
    [('', 1.0, 2), ('weight', 1.0, 2)]
    """
    return _histograms(list(model.named_parameters()))


def of_tensors(target: Any, snapshot: Snapshot) -> tuple[tuple[Histogram, ...], tuple[str, ...]]:
    """The same of a state dict, a `.safetensors` file or the shards of an index: of the tensors that its `snapshot`
    guesses to be parameters, or of unknown role, each once. Raises `MissingExtra` without safetensors and torch."""
    there = tensors(target)
    kept = [record.path for record in snapshot.tensors
            if record.role in ("parameter", "unknown") and record.alias_of is None]  # fmt: skip
    return _histograms([(name, there[name]) for name in kept if name in there])


def tensors(target: Any) -> Mapping[str, Any]:
    """The tensors of a module, a state dict, or a `.safetensors` file or index by path; those of files are `Stored`."""
    if isinstance(target, str | os.PathLike):
        return _of_file(Path(target).expanduser())
    if isinstance(target, Mapping):
        return target
    return dict([*target.named_parameters(remove_duplicate=False), *target.named_buffers(remove_duplicate=False)])


def marks(target: Any) -> dict[str, str]:
    """What stands for the values of each tensor that can be read, by path: a digest of its shape and its first values.
    Tensors of other values have another one, but for those that differ further on.

    >>> import torch
    >>> one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    >>> marks(one) == marks(one), marks(one)["weight"] == marks(other)["weight"]
    (True, False)
    """
    found = {}
    for path, tensor in tensors(target).items():
        known = numbers_of(tensor) if isinstance(tensor, Stored) or _plain(tensor) else None
        if known is not None:
            first = known[next(spans(known.shape, _MARKED), (slice(0, 0),))].reshape(-1)
            numbers = widened(first).tolist()
            text = repr((tuple(known.shape), numbers))
            found[path] = ONE_VALUE if len(set(numbers)) < 2 else blake2b(text.encode(), digest_size=8).hexdigest()
    return found


class Stored:
    """A tensor of a file: what is indexed is read then.

    >>> import tempfile, torch
    >>> from safetensors.torch import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"w": torch.arange(6.0).reshape(3, 2)}, f"{folder}/a.safetensors")
    ...     w = tensors(f"{folder}/a.safetensors")["w"]
    ...     w.shape, w[1:2].tolist()
    ((3, 2), [[2.0, 3.0]])
    """

    def __init__(self, shard: _Shard, name: str) -> None:
        self._shard, self._name = shard, name
        held = shard.open().get_slice(name)
        self.shape: tuple[int, ...] = tuple(held.get_shape())
        self.is_readable: bool = held.get_dtype() not in _UNREADABLE

    def __getitem__(self, at: Any) -> Any:
        return self._shard.read(self._name, at)


class _Shard:
    """A `.safetensors` file, mapped into memory and read where a tensor is indexed."""

    def __init__(self, path: Path) -> None:
        self._path, self._file, self._nbytes = path, None, 0

    def open(self) -> Any:
        if self._file is None:
            self._file = need("safetensors", extra="files").safe_open(str(self._path), framework="pt")
        return self._file

    def read(self, name: str, at: Any) -> Any:
        if self._nbytes > _MAPPED:
            self._file, self._nbytes = None, 0
        file = self.open()
        found = file.get_slice(name)[at] if at else file.get_tensor(name)  # of a scalar there is no slice
        self._nbytes += found.nbytes
        return found


def _of_file(path: Path) -> Mapping[str, Stored]:
    need("torch", extra="torch")
    found: dict[str, Stored] = {}
    for place in _shards(path):
        shard = _Shard(place)
        found |= {name: Stored(shard, name) for name in shard.open().keys()}  # noqa: SIM118  # no mapping
    return found


def spans(shape: Sequence[int], most: int) -> Iterator[tuple[slice, ...]]:
    """What to index a tensor of that shape with, one after the other, for pieces of so many elements at most.

    >>> list(spans((3, 4), 8))
    [(slice(0, 2, None),), (slice(2, 4, None),)]
    >>> next(spans((3, 4), 2))
    (slice(0, 1, None), slice(0, 2, None))
    """
    if not shape:
        yield ()
        return
    inner = prod(shape[1:])
    rows = most // inner if inner else most
    if rows:
        yield from ((slice(start, start + rows),) for start in range(0, shape[0], rows))
        return
    for i in range(shape[0]):
        yield from ((slice(i, i + 1), *rest) for rest in spans(shape[1:], most))


def numbers_of(tensor: Any) -> Any | None:
    """What gives the values as they are to be read, when it is indexed; of a quantised tensor those that it stands for.
    `None` of a meta, lazy, complex or 4-bit tensor, and of a subclass that hides them."""
    import torch

    if isinstance(tensor, Stored):
        return tensor if tensor.is_readable else None
    if tensor.is_meta or torch.nn.parameter.is_lazy(tensor) or tensor.is_complex() or "float4" in str(tensor.dtype):
        return None
    if not _plain(tensor):
        tensor = _dequantized(tensor)
    if tensor is None:
        return None
    return tensor.dequantize() if tensor.is_quantized else tensor.detach()


def widened(piece: Any) -> Any:
    """Integers as int64 and small floats as float32: types that torch compares without rounding."""
    if not piece.is_floating_point():
        return piece.long()
    return piece.float() if piece.element_size() < 4 else piece


def _dequantized(tensor: Any) -> Any | None:
    """What a wrapper of packed parts stands for, as those of torchao do; `None` where it does not say."""
    dequantize = getattr(type(tensor), "dequantize", None)
    if not hasattr(type(tensor), "__tensor_flatten__") or dequantize is None:
        return None
    try:
        found = dequantize(tensor)
    except (TypeError, RuntimeError, NotImplementedError):  # torch's own method, which the class does not implement
        return None
    return found if _plain(found) and found.shape == tensor.shape else None


def _shards(path: Path) -> list[Path]:
    place = path
    if place.is_dir():
        checkpoint = files.checkpoint(place)
        if checkpoint is None:
            raise TargetError(f"{printable(place)}: no weights in this directory; name a file")
        place = checkpoint
    if not place.name.endswith(".index.json"):
        return [place]
    names = json.loads(place.read_text(encoding="utf-8"))["weight_map"].values()  # files.read has looked at it
    return [place.parent / name for name in sorted(set(names))]


def _histograms(named: Named) -> tuple[tuple[Histogram, ...], tuple[str, ...]]:
    """Two passes: where the values lie, then how many lie in which bin."""
    import torch

    ranges: dict[str, tuple[float, float, int, int]] = {}
    unread: list[str] = []
    with torch.no_grad():
        for path, tensor in named:
            pieces = _pieces(tensor)
            if pieces is None:
                unread.append(path)
            else:
                ranges[path] = _range(pieces)
        finite = [(low, high) for low, high, _, _ in ranges.values() if low <= high]
        whole = (min(low for low, _ in finite), max(high for _, high in finite)) if finite else (0.0, 0.0)
        together = [0] * (ALL_BINS if finite else 0)
        found: list[Histogram] = []
        for path, tensor in named:
            if path not in ranges:
                continue
            low, high, nan, infinite = ranges[path]
            counts = [0] * BINS
            if low > high:  # no finite value
                found.append(Histogram(path, 0.0, 0.0, (), nan, infinite))
                continue
            for piece in _pieces(tensor) or ():
                known = piece[piece.isfinite()]
                _count(known, low, high, counts)
                _count(known, *whole, together)
            found.append(Histogram(path, low, high, tuple(counts), nan, infinite))
    if not found:
        return (), tuple(unread)
    nan, infinite = sum(each.nan for each in found), sum(each.infinite for each in found)
    return (Histogram("", *whole, tuple(together), nan, infinite), *found), tuple(unread)


def _pieces(tensor: Any) -> Iterator[Any] | None:
    """The values as flat floats, a piece at a time; `None` where there are none to be had."""
    import torch

    known = numbers_of(tensor)
    if known is None:
        return None

    def each() -> Iterator[Any]:
        for at in spans(known.shape, PIECE):
            piece = known[at].reshape(-1)
            double = piece.dtype in (torch.float64, torch.int32, torch.int64) and piece.device.type != "mps"
            yield piece.double() if double else piece.float()

    return each()


def _plain(tensor: Any) -> bool:
    import torch

    return type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout is torch.strided


def _range(pieces: Iterable[Any]) -> tuple[float, float, int, int]:
    """The lowest and the highest finite value (the other way round when there is none), NaNs, infinities."""
    low, high, nan, infinite = float("inf"), float("-inf"), 0, 0
    for piece in pieces:
        known = piece[piece.isfinite()]
        odd = piece.numel() - known.numel()
        if odd:
            missing = int(piece.isnan().sum())
            nan, infinite = nan + missing, infinite + odd - missing
        if known.numel():
            least, most = known.aminmax()
            low, high = min(low, float(least)), max(high, float(most))
    return low, high, nan, infinite


def _count(known: Any, low: float, high: float, counts: list[int]) -> None:
    if low == high:  # all in one; torch would choose a range of its own
        counts[len(counts) // 2] += int(known.numel())
        return
    if not known.numel():
        return
    import torch

    if not (high - low) * len(counts) * 2 <= torch.finfo(known.dtype).max:  # what torch computes on the way
        known, low, high = known * _SMALLER, low * _SMALLER, high * _SMALLER
    found = [int(n) for n in known.histc(len(counts), low, high).tolist()]
    assert sum(found) == known.numel(), "a value outside of all bins"
    for i, n in enumerate(found):
        counts[i] += n

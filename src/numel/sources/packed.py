"""Weights that are not kept as matrices of numbers: logical elements on the one hand, the bytes that hold them on the
other.

Three kinds. torch.ao keeps them in objects outside of `parameters()`. Tensor subclasses (torchao) say their logical
shape themselves. Layers of other libraries (bitsandbytes, GPTQ, AWQ, HQQ and the like) register integers, several
weights to a word; what these are is told by the layer's own sizes and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from numel.facts.dtype import DType, dtype, dtype_of
from numel.facts.note import Note, listed
from numel.facts.tensor import Part, TensorRecord

# attributes in which torch.ao holds objects with packed weights
_HELD = ("_packed_params", "_packed_weight", "_packed_weight_ih", "_packed_weight_hh", "param")
# the names under which layers keep how many rows and columns their weight has
_SIZES = (("out_features", "in_features"), ("outfeatures", "infeatures"), ("num_embeddings", "embedding_dim"))
_WIDTHS = (1, 2, 3, 4, 8)  # bits of one weight
_BLOCKS = {1: (1, 8), 2: (1, 4), 3: (3, 8), 4: (1, 2)}  # bytes that hold so many weights of a width
_STATED = ("bits", "w_bit", "wbits", "nbits", "num_bits")  # what layers call the width themselves


@dataclass(frozen=True, slots=True)
class Packs:
    """How modules of one class may pack: in objects of torch.ao, or as integers for a matrix of these sizes."""

    in_objects: bool
    sizes: tuple[str, str] | None

    def __bool__(self) -> bool:
        return self.in_objects or self.sizes is not None


def packs(module: Any) -> Packs:
    """What to look for in `module` and in all others of its class.

    >>> import torch
    >>> packs(torch.nn.Linear(2, 3)).sizes, bool(packs(torch.nn.ReLU()))
    (('out_features', 'in_features'), False)
    """
    state = module.__dict__
    sizes = next((names for names in _SIZES if names[0] in state and names[1] in state), None)
    in_objects = any(base.__module__.startswith(("torch.ao.nn", "torch.jit")) for base in type(module).__mro__)
    return Packs(in_objects, None if in_objects else sizes)


# ── integers that a layer registers ──────────────────────────────────────────────────────────────────────────────────


def codes(torch: Any, module: Any, sizes: tuple[str, str]) -> Any | None:
    """The tensor of integers that is the weight of a layer with these sizes; `None` where none is.

    It has a bit or more for each weight, and the layer holds no floating tensor of that many elements beside it. Layers
    with parts leave their weights to those.
    """
    state = module.__dict__
    rows, columns = state[sizes[0]], state[sizes[1]]
    if type(rows) is not int or type(columns) is not int or module._modules:
        return None
    n = rows * columns
    held: list[Any] = []
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is None:
            continue
        # the first one of most layers is their weight, and lazy ones are of floats
        if tensor.is_floating_point() and (torch.nn.parameter.is_lazy(tensor) or tensor.numel() >= n):
            return None
        held.append(tensor)
    held = [t for t in held if not hasattr(type(t), "__tensor_flatten__")]
    # no library packs into 64 bits: those are positions, as of a sparse layer
    narrow = [t for t in held if _is_integer(t) and t.itemsize < 8]
    largest = max(narrow, key=lambda t: t.numel() * t.itemsize, default=None)
    return largest if largest is not None and largest.numel() * largest.itemsize * 8 >= max(n, 1) else None


def logical(record: TensorRecord, tensor: Any, module: Any, sizes: tuple[str, str]) -> TensorRecord:
    """The record of `codes` as the weight that it stands for: frozen, of the layer's own sizes, at the bytes that hold
    it. Where the bits of the codes do not come to a whole width for each weight its shape is unknown."""
    shape = (module.__dict__[sizes[0]], module.__dict__[sizes[1]])
    parts = (Part("data", record.shape or (), record.dtype), *_beside(tensor))
    bits, rest = divmod(8 * record.dtype.nbytes(tensor.numel()), prod(shape))
    stated = {value for name in _STATED if type(value := module.__dict__.get(name)) is int}
    told = not rest and bits in _WIDTHS and stated <= {bits}
    return replace(
        record, shape=shape if told else None, role="parameter", trainable=False, packed=True, parts=parts,
        storage=None, storage_nbytes=None,
        dtype=DType(f"{bits}-bit", *_BLOCKS[bits], "packed") if told and bits < 8 else record.dtype,
    )  # fmt: skip


def otherwise(parts: Sequence[Part], element: DType) -> bool:
    """Whether a wrapper of these parts keeps its elements in another type than the one it says that they are of."""
    return bool(parts) and max(parts, key=lambda part: part.nbytes).dtype != element


def _is_integer(tensor: Any) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex() and "bool" not in str(tensor.dtype)


def _beside(tensor: Any) -> Iterator[Part]:
    """What a packed parameter holds beside its codes, as attributes or in an object there: scales, code books."""
    import torch

    seen = {id(tensor), tensor.untyped_storage()._cdata}
    pending: list[tuple[str, Any, int]] = [(n, v, 0) for n, v in reversed(list(vars(tensor).items()))]
    while pending:
        name, value, deep = pending.pop()
        if isinstance(value, torch.Tensor):
            if value.layout is torch.strided and value.untyped_storage()._cdata not in seen:
                seen.add(value.untyped_storage()._cdata)
                yield Part(name, tuple(value.shape), dtype_of(value.dtype))
        elif id(value) not in seen and deep < 3 and not isinstance(value, torch.nn.Module | type):
            seen.add(id(value))
            inside = value if isinstance(value, dict) else getattr(value, "__dict__", None)
            if isinstance(inside, dict):
                pending.extend([(f"{name}.{n}", v, deep + 1) for n, v in reversed(list(inside.items()))])


# ── objects of torch.ao ──────────────────────────────────────────────────────────────────────────────────────────────


def in_objects(torch: Any, module: Any) -> list[tuple[str, tuple[int, ...] | None, DType]]:
    """Name, shape and element type of each weight that a module of torch.ao keeps in an object of its own.

    Such an object shows its tensors by unpacking them; they are let go at once. A shape is `None` where that fails.
    """
    from numel import torch_private  # here, since it imports torch

    found: list[tuple[str, tuple[int, ...] | None, DType]] = []
    for attribute in _HELD:
        held = getattr(module, attribute, None)
        if not isinstance(held, torch.ScriptObject):
            continue
        end = attribute[-3:] if attribute.endswith(("_ih", "_hh")) else ""
        try:
            within = [each for each in torch_private.packed(held) if isinstance(each, torch.ScriptObject)]
            matrices = zip(("_ih", "_hh"), within, strict=True) if within else ((end, held),)
            for suffix, each in matrices:
                found.extend(_unpacked(torch, suffix, each))
        except RuntimeError:  # packed for an engine that this build of torch does not have
            found.append((f"weight{end}", None, dtype("qint8")))
    return found


def _unpacked(torch: Any, suffix: str, held: Any) -> Iterator[tuple[str, tuple[int, ...], DType]]:
    from numel import torch_private  # here, since it imports torch

    for tensor in torch_private.packed(held):
        if isinstance(tensor, torch.Tensor) and tensor.is_quantized:
            yield f"weight{suffix}", tuple(tensor.shape), dtype_of(tensor.dtype)
        elif isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            # half precision is unpacked to float32; the bias is never packed
            matrix = tensor.dim() > 1
            yield ("weight" if matrix else "bias") + suffix, tuple(tensor.shape), dtype("f16" if matrix else "f32")


# ── what to say ──────────────────────────────────────────────────────────────────────────────────────────────────────


def notes(told: Sequence[tuple[str, str]], untold: Sequence[tuple[str, str]]) -> Iterator[Note]:
    """One note for the modules (path and class) whose packed weights are counted, one for those where that can not be.

    >>> [note.text for note in notes([("fc", "Linear4bit")], [])]
    ['packed weights: fc (Linear4bit): counted by their logical elements, at the bytes that hold them']
    """
    if told:
        text = f"packed weights: {_listed(told)}: counted by their logical elements, at the bytes that hold them"
        yield Note("packed-weights", "info", text, told[0][0] if len(told) == 1 else "")
    if untold:
        text = f"packed weights: {_listed(untold)}: how many they stand for is not known, so totals are lower bounds"
        yield Note("packed-weights", "warning", text, untold[0][0] if len(untold) == 1 else "")


def _listed(places: Sequence[tuple[str, str]]) -> str:
    return listed([f"{path or 'the root'} ({kind})" for path, kind in places])

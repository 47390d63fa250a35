"""Element types as exact block sizes, so that 4-bit and block-quantised types stay whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["float", "int", "bool", "complex", "packed"]


@dataclass(frozen=True, slots=True)
class DType:
    """One element type: `block_nbytes` bytes hold `block_numel` elements.

    >>> dtype("bf16").name, dtype("torch.float32").block_nbytes
    ('bfloat16', 4)
    >>> DType("q4_k", 144, 256, "packed").nbytes(257)
    288
    """

    name: str
    block_nbytes: int
    block_numel: int = 1
    kind: Kind = "float"

    def nbytes(self, numel: int) -> int:
        """Bytes that `numel` elements take, whole blocks only."""
        return -(-numel // self.block_numel) * self.block_nbytes

    @property
    def short(self) -> str:
        """The spelling of the inputs notation: `f32`, `i64`, `bool`."""
        return _SHORT.get(self.name, self.name)

    def __str__(self) -> str:
        return self.name


_KNOWN: dict[str, DType] = {
    d.name: d
    for d in (
        DType("float64", 8),
        DType("float32", 4),
        DType("float16", 2),
        DType("bfloat16", 2),
        DType("float8_e4m3fn", 1),
        DType("float8_e5m2", 1),
        DType("float8_e4m3fnuz", 1),
        DType("float8_e5m2fnuz", 1),
        DType("float8_e8m0fnu", 1),
        # torch names one byte with two 4-bit elements; its numel() counts the bytes, and numel() is what params follow
        DType("float4_e2m1fn_x2", 1, 1, "packed"),
        DType("int64", 8, 1, "int"),
        DType("int32", 4, 1, "int"),
        DType("int16", 2, 1, "int"),
        DType("int8", 1, 1, "int"),
        DType("uint64", 8, 1, "int"),
        DType("uint32", 4, 1, "int"),
        DType("uint16", 2, 1, "int"),
        DType("uint8", 1, 1, "int"),
        DType("bool", 1, 1, "bool"),
        DType("complex32", 4, 1, "complex"),
        DType("complex64", 8, 1, "complex"),
        DType("complex128", 16, 1, "complex"),
        DType("qint8", 1, 1, "packed"),
        DType("quint8", 1, 1, "packed"),
        DType("qint32", 4, 1, "packed"),
    )
}

_FOREIGN: dict[Any, DType] = {}

_SHORT = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16",
    "float8_e4m3fn": "f8_e4m3", "float8_e5m2": "f8_e5m2",
    "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8",
    "uint64": "u64", "uint32": "u32", "uint16": "u16", "uint8": "u8",
    "complex32": "c32", "complex64": "c64", "complex128": "c128",
}  # fmt: skip

_ALIASES = {short: name for name, short in _SHORT.items()} | {
    "float": "float32", "half": "float16", "double": "float64", "long": "int64", "int": "int32", "short": "int16",
    "fp32": "float32", "fp16": "float16", "fp64": "float64", "f8_e4m3fn": "float8_e4m3fn", "b8": "bool",
    "chalf": "complex32", "cfloat": "complex64", "cdouble": "complex128", "byte": "uint8",
}  # fmt: skip


def dtype(name: str) -> DType:
    """The element type of a name as torch, a file format or the inputs notation spells it.

    Raises `KeyError` for a name that is none of them: a guess would give wrong bytes.
    """
    key = name.removeprefix("torch.").lower()
    return _KNOWN[_ALIASES.get(key, key)]


def dtype_of(foreign: Any) -> DType:
    """The element type of a library's dtype object (`torch.float32`) by the name it prints.

    A type that numel does not know keeps its own name and item size.
    """
    known = _FOREIGN.get(foreign)
    if known is None:
        name = str(foreign).removeprefix("torch.")
        try:
            known = dtype(name)
        except KeyError:
            known = DType(name, foreign.itemsize, 1, "packed")
        _FOREIGN[foreign] = known
    return known


def known_dtypes() -> tuple[str, ...]:
    """Every canonical name, for error messages and completions."""
    return tuple(_KNOWN)

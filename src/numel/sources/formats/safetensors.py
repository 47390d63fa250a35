"""A .safetensors file, by its JSON header only: 8 bytes of length, then the header; the tensors' bytes are not read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from numel.errors import FormatError
from numel.facts.dtype import DType, dtype
from numel.facts.note import Note
from numel.facts.provenance import Provenance, versions
from numel.facts.snapshot import ModuleRecord, Snapshot
from numel.facts.tensor import TensorRecord
from numel.sources.roles import guess

if TYPE_CHECKING:
    from numel.sources.bytes import Bytes

NAME = "safetensors"

_MAX_HEADER = 100_000_000  # the format's own limit
_MAX_SIZE = 2**64 - 1  # sizes and offsets are unsigned 64-bit numbers
_MAX_TREE = 200_000_000  # characters of module paths; a header of that many nested names is not a model

_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "F16": "float16", "BF16": "bfloat16",
    "I32": "int32", "U32": "uint32", "F32": "float32", "F64": "float64", "I64": "int64", "U64": "uint64",
    "C64": "complex64", "F8_E5M2": "float8_e5m2", "F8_E4M3": "float8_e4m3fn", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
# shapes of these count elements, not bytes
_SUB_BYTE = {
    "F4": DType("f4", 1, 2, "packed"),
    "F6_E2M3": DType("f6_e2m3", 3, 4, "packed"),
    "F6_E3M2": DType("f6_e3m2", 3, 4, "packed"),
}


def sniff(head: bytes, name: str) -> bool:
    """True for the suffix, and for a plausible length before a `{`: caches store these files under digests.

    >>> sniff((2).to_bytes(8, "little") + b"{}", "blobs/0f3a"), sniff(b"PK", "model.pt")
    (True, False)
    """
    if name.lower().endswith(".safetensors"):
        return True
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _MAX_HEADER


def read(file: Bytes) -> Snapshot:
    """Every tensor the header names, in natural order of the names, under modules of unknown type ("").

    Roles are guessed by name (`inferred` says so) or unknown. Raises `FormatError`, one line, for whatever the format
    does not allow: a file that numel reads is one that the safetensors library loads.
    """
    return assemble(tensors(file), file.name)


def tensors(file: Bytes) -> list[TensorRecord]:
    """The records of one file, in the order of its bytes."""
    where = file.name
    header, start = _header(file)
    entries = [_entry(where, name, info) for name, info in header.items() if name != "__metadata__"]
    entries.sort(key=lambda entry: entry[1:])
    end = 0
    previous = ""
    for record, first, last in entries:
        if first < end:
            _fail(where, f"bytes {first} to {last} overlap those of {_shown(previous)}", record.path)
        if first > end:
            _fail(where, f"starts at byte {first} of the data; the tensor before it ends at {end}, which leaves a hole",
                  record.path)  # fmt: skip
        end, previous = last, record.path
    if start + end > file.size:
        at = f"; {_shown(previous)} ends last" if previous else ""
        _fail(where, f"{file.size} bytes; the header describes {start + end}{at}: cut short? copy or download it again")
    if start + end < file.size:
        _fail(where, f"{file.size - start - end} bytes behind the last tensor; the format allows none")
    return [record for record, _, _ in entries]


def assemble(records: Iterable[TensorRecord], target: str, notes: tuple[Note, ...] = ()) -> Snapshot:
    """Records of one or several files as a snapshot; the tree is what the dotted names spell."""
    ordered = sorted(records, key=lambda record: _natural(record.path))
    paths = {""}
    characters = 0
    for record in ordered:
        path = record.module
        while path not in paths:
            paths.add(path)
            characters += len(path)
            if characters > _MAX_TREE:
                _fail(target, "names nest so deep that their tree does not fit into memory; no model is like that",
                      record.path)  # fmt: skip
            path = path.rpartition(".")[0]
    modules = tuple(ModuleRecord(path, "") for path in sorted(paths, key=_natural))
    guessed = sum(1 for record in ordered if "role" in record.inferred)
    if guessed:
        rest = len(ordered) - guessed
        text = f"roles of {guessed} tensors are guessed by their names, {rest} unknown: the format does not store them"
        notes = (*notes, Note("roles-guessed", "info", text))
    return Snapshot(modules, tuple(ordered), Provenance(target, NAME, versions()), notes)


def _header(file: Bytes) -> tuple[_Object, int]:
    """The header's object, and the byte at which the data starts."""
    where, size = file.name, file.size
    if size < 8:
        _fail(where, f"{size} bytes; a safetensors file starts with 8 bytes of header length")
    length = int.from_bytes(file.read(0, 8), "little")
    if length > _MAX_HEADER:
        _fail(where, f"header of {length} bytes; the format allows {_MAX_HEADER}: no safetensors file?")
    if 8 + length > size:
        _fail(where, f"header of {length} bytes in a file of {size}: cut short? copy or download it again")
    raw = file.read(8, length)
    if len(raw) != length:
        _fail(where, f"header of {length} bytes, of which {len(raw)} could be read: did the file change?")
    if raw[:1] != b"{":
        _fail(where, f"header starts with {raw[:1]!r}; the format wants '{{'")
    try:
        header = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_Object, parse_int=_integer, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise FormatError(f"{where}: header is not UTF-8 (byte {8 + error.start})") from error
    except json.JSONDecodeError as error:
        raise FormatError(f"{where}: header is not JSON ({error.msg} at character {error.pos})") from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise FormatError(f"{where}: header is not what the format allows ({reason})") from error
    if header.twice is not None:
        _fail(where, "named twice in the header", header.twice)
    return header, 8 + length


def _entry(where: str, name: str, info: Any) -> tuple[TensorRecord, int, int]:
    """One tensor's record, with the first byte of its data and the one behind the last."""
    if not isinstance(info, _Object):
        _fail(where, "not described by an object; expected dtype, shape and data_offsets", name)
    if info.twice is not None:
        _fail(where, f"{_shown(info.twice)} given twice", name)
    for key in ("dtype", "shape", "data_offsets"):
        if key not in info:
            _fail(where, f"no {key}; expected dtype, shape and data_offsets", name)
    kind = info["dtype"]
    if not isinstance(kind, str) or (kind not in _DTYPES and kind not in _SUB_BYTE):
        _fail(where, f"dtype {_shown(kind)} is none of the format's ({', '.join((*_DTYPES, *_SUB_BYTE))})", name)
    element = _SUB_BYTE.get(kind) or dtype(_DTYPES[kind])
    shape, offsets = info["shape"], info["data_offsets"]
    if not _sizes(shape):
        _fail(where, f"shape {_shown(shape)}; expected a list of sizes from 0", name)
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        _fail(where, f"data_offsets {_shown(offsets)}; expected [first byte, byte behind the last] from 0", name)
    numel = 1
    for size in shape:
        numel *= size
        if numel > _MAX_SIZE:
            _fail(where, f"shape {_shown(shape)} has more than 2^64 elements", name)
    if numel % element.block_numel:
        _fail(where, f"{numel} elements of {kind} do not end at a whole byte", name)
    first, last = offsets
    if element.nbytes(numel) != last - first:
        _fail(where, f"{_shown(shape)} of {kind} takes {element.nbytes(numel)} bytes; data_offsets hold {last - first}",
              name)  # fmt: skip
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"{where}: tensor {_shown(name)}: half a surrogate pair in its name") from error
    role = guess(name, tuple(shape), element)
    record = TensorRecord(
        name, tuple(shape), element, role or "unknown",
        packed=kind in _SUB_BYTE, inferred=("role",) if role else (),
    )  # fmt: skip
    return record, first, last


class _Object(dict[str, Any]):
    """A JSON object that remembers the first key it was given twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice: str | None = None
        if len(self) != len(pairs):
            seen: set[str] = set()
            self.twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and 0 <= each <= _MAX_SIZE for each in value)


def _integer(digits: str) -> int:
    if len(digits) > 20:  # 2^64 has 20 digits; the time to read a number grows with the square of its length
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _natural(path: str) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """Sorts layer 2 before layer 10, and every module before what is below it."""
    return tuple(_natural_part(part) for part in path.split(".")) if path else ()


def _natural_part(part: str) -> tuple[tuple[int, int, str], ...]:
    pieces = re.split(r"([0-9]{1,18})", part)
    return tuple((0, int(piece), "") if i % 2 else (1, 0, piece) for i, piece in enumerate(pieces) if piece)


def _shown(value: object) -> str:
    """A value of the file as a short piece of one line: text from a file can be long and hold anything."""
    text = value if isinstance(value, str) else str(value) if not isinstance(value, list) else str(value[:8])
    text = text if len(text) <= 80 else text[:77] + "..."
    return ascii(text) if isinstance(value, str) else text


def _fail(where: str, what: str, tensor: str | None = None) -> NoReturn:
    raise FormatError(f"{where}: {what}" if tensor is None else f"{where}: tensor {_shown(tensor)}: {what}")

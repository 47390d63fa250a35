"""A path → the format that recognises the file → Snapshot. Headers only; the shards of one model are read as one."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from numel.errors import FormatError, TargetError
from numel.facts.note import Note
from numel.facts.snapshot import Snapshot
from numel.facts.tensor import TensorRecord
from numel.sources.bytes import LocalFile, printable
from numel.sources.formats import safetensors

_HEAD = 16  # bytes that are enough to recognise every format
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def read(path: str | os.PathLike[str]) -> Snapshot:
    """What the file, the shard index or the directory with `model.safetensors` holds.

    Raises `TargetError` when it cannot be opened and `FormatError` when it is of no known format or damaged.
    """
    place = Path(path)
    if place.is_dir():
        found = checkpoint(place)
        if found is None:
            raise TargetError(f"{printable(place)}: a directory without {SINGLE} or {INDEX}; name a file in it")
        place = found
    if place.name.endswith(".index.json"):
        return read_index(place)
    file = LocalFile(place)
    head = file.read(0, _HEAD)
    if safetensors.sniff(head, place.name):
        return safetensors.read(file)
    saved = head.startswith((b"PK\x03\x04", b"\x80"))  # a zip of pickles, or a pickle
    hint = "; of a file of torch.save load the state dict, and give that in Python" if saved else ""
    raise FormatError(f"{file.name}: not a file that numel reads; expected .safetensors or {INDEX}{hint}")


def checkpoint(directory: Path) -> Path | None:
    """The file of a directory that stands for its weights: the index where there are shards."""
    return next((directory / name for name in (INDEX, SINGLE) if (directory / name).is_file()), None)


def read_index(index: Path) -> Snapshot:
    """The shards that the index names, as one model; a name of the index that leads out of its directory is refused."""
    where = printable(index)
    file = LocalFile(index)
    try:
        weight_map: Any = json.loads(file.read(0, file.size))["weight_map"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise FormatError(f"{where}: not a shard index; expected JSON with 'weight_map'") from error
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise FormatError(f"{where}: 'weight_map' must map tensor names to file names")
    records: dict[str, TensorRecord] = {}
    found_in: dict[str, str] = {}
    for shard in sorted(set(weight_map.values())):
        name = PurePosixPath(shard)
        if "\0" in shard or "\\" in shard or name.is_absolute() or ".." in name.parts or not name.parts:
            raise FormatError(f"{where}: shard {shard!r} is outside of the index's directory")
        for record in safetensors.tensors(LocalFile(index.parent / name)):
            if record.path in records:
                raise FormatError(f"{where}: tensor {record.path!r} is both in {found_in[record.path]} and in {shard}")
            records[record.path] = record
            found_in[record.path] = shard
    for path, shard in weight_map.items():
        if found_in.get(path) != shard:
            actual = f"it is in {found_in[path]}" if path in found_in else "it is not there"
            raise FormatError(f"{where}: tensor {path[:80]!r} should be in {shard!r}; {actual}")
    extra = len(records) - len(weight_map)
    text = f"{extra} tensors of the shards are not in the index; they are counted"
    notes = (Note("not-in-index", "warning", text),) if extra else ()
    return safetensors.assemble(records.values(), where, notes)

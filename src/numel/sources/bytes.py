"""A file as a size and ranges of bytes: what a format needs to read a header, and all it gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from numel.errors import TargetError


class Bytes(Protocol):
    """Anything with a name for messages, a size in bytes and ranges of bytes."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    def read(self, offset: int, n: int) -> bytes: ...


class LocalFile:
    """A file on this machine. Each range opens the file anew, so nothing is left open.

    >>> LocalFile(Path(__file__)).read(0, 6)
    b'\"\"\"A f'
    """

    def __init__(self, path: Path) -> None:
        """Raises `TargetError` when there is no such file, or it is none that can be read by ranges."""
        self._path = path
        self.name = printable(path)
        try:
            if not path.is_file():
                kind = "a directory" if path.is_dir() else "no regular file" if path.exists() else "not there"
                raise TargetError(f"{self.name}: {kind}; expected a file")
            self.size = path.stat().st_size
        except (OSError, ValueError) as error:
            raise TargetError(f"{self.name}: {_reason(error)}") from error

    def read(self, offset: int, n: int) -> bytes:
        """The `n` bytes from `offset`, fewer at the end of the file. Raises `TargetError` when the disk fails."""
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                return file.read(n)
        except OSError as error:
            raise TargetError(f"{self.name}: {_reason(error)}") from error


def printable(path: str | os.PathLike[str]) -> str:
    """A path as one line of an error: names that hold control characters are quoted.

    >>> printable("a.bin"), printable("a\\nb")
    ('a.bin', "'a\\\\nb'")
    """
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__

"""The first line of a history that grows as JSON Lines: it tells the file from every other, whatever it is called."""

from __future__ import annotations

import json
import os
from typing import Any

HEADER = 4096  # bytes in which it ends


def is_history(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as such a history. Reads its first line alone, and nothing of a pipe, which can not be read
    again."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return begins(file.readline(HEADER))
    except OSError:
        return False


def begins(line: bytes) -> bool:
    """Whether this is that line.

    >>> begins(b'{"schema": 2, "kind": "history", "target": "net.Net"}'), begins(b"[1]"), begins(b"PK\\x03\\x04")
    (True, False, False)
    """
    try:
        return is_header(json.loads(line))
    except (ValueError, RecursionError):
        return False


def is_header(held: Any) -> bool:
    """Whether this is what that line holds: a history that was saved whole has its facts beside it."""
    return isinstance(held, dict) and held.get("kind") == "history" and "schema" in held and "facts" not in held

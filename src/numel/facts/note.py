"""A diagnosis as data: a code that people can search for, a level, one sentence, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Note:
    """One thing the reader should know. `path` is a module or tensor path, "" for the whole model."""

    code: str
    level: Level
    text: str
    path: str = ""


def listed(paths: Sequence[str], most: int = 3) -> str:
    """The first of these in words, and how many more there are.

    >>> listed(["", "fc"]), listed(["a", "b", "c", "d", "e"])
    ('the root, fc', 'a, b, c and 2 more')
    """
    shown = ", ".join(path or "the root" for path in paths[:most])
    return shown if len(paths) <= most else f"{shown} and {len(paths) - most} more"

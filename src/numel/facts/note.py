"""A diagnosis as data: a code that people can search for, a level, one sentence, and where."""

from __future__ import annotations

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

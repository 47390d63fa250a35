"""What a view may draw: a closed set of blocks that hold numbers with units; a renderer knows nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from numel.document.chart import Chart
from numel.document.table import Table


@dataclass(frozen=True, slots=True)
class Heading:
    """A title; level 1 is the document's."""

    text: str
    level: Literal[1, 2, 3] = 2


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Callout:
    """Something the reader should not miss. `code` is the note's code, `path` the place it is about."""

    kind: Literal["note", "warning", "error", "advice"]
    text: str
    code: str = ""
    path: str = ""


Block = Heading | Text | Callout | Table | Chart


@dataclass(frozen=True, slots=True)
class Document:
    """Blocks in reading order."""

    blocks: tuple[Block, ...] = field(default_factory=tuple)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables alone, in order."""
        return tuple(block for block in self.blocks if isinstance(block, Table))

    @property
    def main(self) -> Table | None:
        """What formats of one table hold: the first of kind "table", else the first; `None` where there is none."""
        tables = self.tables
        return next((table for table in tables if table.kind == "table"), tables[0] if tables else None)

    @property
    def charts(self) -> tuple[Chart, ...]:
        """The charts alone, in order."""
        return tuple(block for block in self.blocks if isinstance(block, Chart))

"""A picture of a table: which kind, and which of its columns stand where. How it is drawn is the renderer's affair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from numel.document.table import Column, Table

ChartKind = Literal[
    "bar", "treemap", "icicle", "sunburst", "line", "area", "timeline", "scatter", "heatmap", "histogram"
]
KINDS: tuple[ChartKind, ...] = get_args(ChartKind)
NESTED = frozenset({"treemap", "icicle", "sunburst"})


@dataclass(frozen=True, slots=True)
class Mark:
    """A row of the data that is pointed out, and in which words: `Mark(812, "peak")`."""

    row: int
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Columns of `data`, by key, at the places of a picture. The data are whole: what a picture has no room for is
    folded by the renderer, which says so.

    | kind | `x` | `y` | `color` |
    |---|---|---|---|
    | bar | names | a bar each, side by side | groups of names |
    | treemap, icicle, sunburst | paths, in the tree of `depths` | sizes with all that is below | numbers or words |
    | line, area | numbers in order, or names | a line each; areas lie one on the other | |
    | timeline | steps in order | what is there at that step, one on the other | |
    | scatter | numbers | numbers, one column | groups of points |
    | heatmap | names across | names down, one column | numbers, one column |
    | histogram | where each bin begins (`x_end`: where it ends) | how many are in it | |

    Of a nested kind the first of `y` and `color` is drawn; a page offers the others. `label` names the points of a
    scatter. `marks` point out rows. `caption` is said below.

    >>> table = Table("t", (Column("path", "layer", "path"), Column("params", "params", "count")), (("fc", 6),))
    >>> Chart("Params", "bar", table, x="path", y=("params",)).column("params").unit
    'count'
    """

    title: str
    kind: ChartKind
    data: Table
    x: str
    y: tuple[str, ...]
    color: tuple[str, ...] = ()
    label: str = ""
    x_end: str = ""
    marks: tuple[Mark, ...] = ()
    caption: str = ""

    def __post_init__(self) -> None:
        keys = {column.key for column in self.data.columns}
        used = (self.x, *self.y, *self.color, *(key for key in (self.label, self.x_end) if key))
        for key in used:
            if key not in keys:
                raise ValueError(f"chart {self.title!r}: no column {key!r}; there are {', '.join(sorted(keys))}")
        if self.kind not in KINDS:
            raise ValueError(f"chart {self.title!r}: kind {self.kind!r}; expected one of {', '.join(KINDS)}")
        if not self.y:
            raise ValueError(f"chart {self.title!r}: no column to draw")
        if self.kind in NESTED and self.data.depths is None:
            raise ValueError(f"chart {self.title!r}: a {self.kind} needs a tree, and its table has no depths")
        if self.kind == "heatmap" and len(self.color) != 1:
            raise ValueError(f"chart {self.title!r}: a heatmap needs one column of numbers as its color")
        if self.kind == "histogram" and not self.x_end:
            raise ValueError(f"chart {self.title!r}: a histogram needs where its bins end")
        if any(not 0 <= mark.row < len(self.data.rows) for mark in self.marks):
            raise ValueError(f"chart {self.title!r}: a mark outside of its {len(self.data.rows)} rows")

    def column(self, key: str) -> Column:
        """The column of a key."""
        return next(column for column in self.data.columns if column.key == key)

    def index(self, key: str) -> int:
        """Where in a row the cell of a key stands."""
        return next(i for i, column in enumerate(self.data.columns) if column.key == key)

"""What is different between two models, or between one and itself later: one thing at one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ChangeKind = Literal[
    "added", "removed", "reshaped", "retyped", "moved", "frozen", "unfrozen", "tied", "untied", "replaced"
]
State = str | bool | int | None | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """`path` is where it is afterwards, of what was removed where it was; `before` and `after` are what it was and is:
    shapes of what was reshaped, added or removed (of a module its class), element types of what was retyped, paths of
    what was moved (of a sequence the order of what is in it), whether it trains of what was frozen, the tensor it is
    tied to, classes of what was replaced.

    >>> Change("reshaped", "fc.weight", (2, 3), (4, 3)).kind
    'reshaped'
    """

    kind: ChangeKind
    path: str
    before: State = None
    after: State = None

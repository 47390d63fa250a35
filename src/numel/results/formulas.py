"""What operators are taken to cost, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numel.document import Column, Document, Table
from numel.facts.plain import taken
from numel.facts.schema import SCHEMA
from numel.views import Viewable, takes_none

_KEYS = ("operator", "family", "derivation")


@dataclass(frozen=True, repr=False)
class Formulas(Viewable):
    """Operators that have a formula: (operator, family, derivation) in the order of the names."""

    rows: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def registered(cls, part: str = "") -> Formulas:
        """Those registered now whose name holds `part`."""
        from numel.analyses.formulas import described

        return cls(tuple(described(part)))

    def document(self, **display: Any) -> Document:
        """A list of operators, each with its derivation."""
        takes_none(display)
        columns = (Column("operator", "operator"), Column("derivation", "derivation"))
        rows = tuple((operator, derivation) for operator, _, derivation in self.rows)
        return Document((Table("Formulas", columns, rows, kind="facts"),))

    def saved(self) -> Mapping[str, Any]:
        """A list of objects."""
        listed = [dict(zip(_KEYS, row, strict=True)) for row in self.rows]
        return {"schema": SCHEMA, "kind": "formulas", "formulas": listed, "facts": {"formulas": listed}}

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any], where: str) -> Formulas:
        """The list again. Raises `SchemaError` for what `saved` did not write."""
        with taken(where):
            rows = tuple((each["operator"], each["family"], each["derivation"]) for each in saved["facts"]["formulas"])
            if not all(isinstance(text, str) for row in rows for text in row):
                raise ValueError("formulas; expected text alone")
        return cls(rows)

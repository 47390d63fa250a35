"""The number on every saved result: what it is now, and how an older file becomes one of now.

| schema | what changed |
|---|---|
| 1 | reports alone could be read back |
| 2 | every result keeps what it is made of under `facts`; a report may hold histograms of values |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numel.errors import SchemaError
from numel.facts.plain import shown

SCHEMA = 2

Saved = Mapping[str, Any]


def upgraded(saved: Any, where: str) -> Saved:
    """A saved result as this version writes it. Raises `SchemaError` for a document that is none of ours, is newer
    than this version, or is too old to be read back.

    >>> upgraded({"schema": 1, "kind": "report", "facts": {}}, "r.json")["schema"]
    2
    """
    if not isinstance(saved, Mapping) or "schema" not in saved or not {"facts", "kind"} & saved.keys():
        raise SchemaError(f"{where}: no saved numel result; expected JSON with 'schema' and 'facts'")
    schema = saved["schema"]
    if type(schema) is not int or schema < 1:
        raise SchemaError(f"{where}: schema {shown(schema)}; expected a number from 1 to {SCHEMA}")
    if schema > SCHEMA:
        raise SchemaError(f"{where}: schema {shown(schema)} is newer than the {SCHEMA} of this numel; update numel")
    for step in range(schema, SCHEMA):
        saved = {**_UPGRADES[step](saved, where), "schema": step + 1}
    if "facts" not in saved:
        raise SchemaError(f"{where}: no saved numel result; expected JSON with 'schema' and 'facts'")
    current: Saved = saved
    return current


def _from_1(saved: Saved, where: str) -> Saved:
    """Counts and formulas had what they are made of at the top, and explanations had it not at all."""
    kind = saved.get("kind", "report")
    if kind == "explanation":
        raise SchemaError(f"{where}: an explanation of schema 1, which kept no facts; explain again and save that")
    if "facts" in saved:
        return saved
    try:
        if kind == "count":
            notes = [[note["code"], note["level"], note["text"], note["path"]] for note in saved["notes"]]
            kept = {name: saved[name] for name in ("target", "totals", "guessed")}
            return {**saved, "facts": {**kept, "notes": notes}}
        if kind == "formulas":
            return {**saved, "facts": {"formulas": saved["formulas"]}}
    except (KeyError, TypeError) as error:
        raise SchemaError(f"{where}: a damaged {kind} of schema 1 ({error}); expected what numel wrote") from error
    return saved


_UPGRADES: Mapping[int, Callable[[Saved, str], Saved]] = {1: _from_1}

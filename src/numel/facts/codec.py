"""Facts ↔ plain JSON values, and nothing else: no pickling, no code. Specs and operator names are written once.

A saved document is {"schema": 1, "facts": {"snapshot": …, "trace": …}, …}. A trace of a large model repeats few specs
very often, so `specs` and `names` are tables and records hold indexes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numel.errors import SchemaError
from numel.facts.dtype import DType
from numel.facts.note import Note
from numel.facts.provenance import Provenance
from numel.facts.snapshot import ModuleRecord, Snapshot
from numel.facts.tensor import Part, TensorRecord
from numel.facts.trace import CallRecord, Failure, MemoryEvent, OpRecord, TensorSpec, Trace

SCHEMA = 1

Json = Any


def encode(snapshot: Snapshot, trace: Trace | None = None) -> dict[str, Json]:
    """The facts as JSON values.

    >>> from numel.facts.dtype import dtype
    >>> s = Snapshot((ModuleRecord("", "pkg.Net"),), (TensorRecord("w", (2, 3), dtype("f32"), trainable=True),))
    >>> decode(encode(s))[0] == s
    True
    """
    writer = _Writer()
    facts: dict[str, Json] = {"snapshot": writer.snapshot(snapshot)}
    if trace is not None:
        facts["trace"] = writer.trace(trace)
    facts["dtypes"] = [[d.name, d.block_nbytes, d.block_numel, d.kind] for d in writer.dtypes]
    facts["specs"] = [[list(spec.shape), writer.dtypes[spec.dtype]] for spec in writer.specs]
    facts["names"] = list(writer.names)
    return facts


def decode(facts: Any, where: str = "saved result") -> tuple[Snapshot, Trace | None]:
    """The facts again. Raises `SchemaError` with one line when a part is missing or not of its kind."""
    try:
        reader = _Reader(facts)
        snapshot = reader.snapshot(facts["snapshot"])
        trace = reader.trace(facts["trace"]) if "trace" in facts else None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise SchemaError(
            f"{where}: damaged facts ({type(error).__name__}: {error}); expected what numel's save() wrote"
        ) from error
    return snapshot, trace


def check_schema(saved: Any, where: str) -> None:
    """Raises `SchemaError` for a document that is none of ours or newer than this version reads."""
    if not isinstance(saved, Mapping) or "schema" not in saved or "facts" not in saved:
        raise SchemaError(f"{where}: no saved numel result; expected JSON with 'schema' and 'facts'")
    if not isinstance(saved["schema"], int) or isinstance(saved["schema"], bool) or saved["schema"] < 1:
        raise SchemaError(f"{where}: schema {saved['schema']!r}; expected a number from 1 to {SCHEMA}")
    if saved["schema"] > SCHEMA:
        raise SchemaError(f"{where}: schema {saved['schema']} is newer than the {SCHEMA} that this numel reads; update numel")


class _Writer:
    def __init__(self) -> None:
        self.dtypes: dict[DType, int] = {}
        self.specs: dict[TensorSpec, int] = {}
        self.names: dict[str, int] = {}

    def snapshot(self, s: Snapshot) -> Json:
        return {
            "modules": [self._module(m) for m in s.modules],
            "tensors": [self._tensor(t) for t in s.tensors],
            "provenance": _provenance(s.provenance),
            "notes": [_note(n) for n in s.notes],
        }

    def _dtype(self, d: DType) -> int:
        return self.dtypes.setdefault(d, len(self.dtypes))

    def _module(self, m: ModuleRecord) -> Json:
        record: dict[str, Json] = {"path": m.path, "type": m.type}
        if m.alias_of is not None:
            record["alias_of"] = m.alias_of
        if m.attributes:
            record["attributes"] = {k: list(v) if isinstance(v, tuple) else v for k, v in m.attributes}
        if m.training is not None:
            record["training"] = m.training
        return record

    def _tensor(self, t: TensorRecord) -> Json:
        record: dict[str, Json] = {
            "path": t.path,
            "shape": None if t.shape is None else list(t.shape),
            "dtype": self._dtype(t.dtype),
        }
        defaults = TensorRecord("", None, t.dtype)
        for name in ("role", "trainable", "persistent", "alias_of", "storage", "storage_nbytes", "packed"):
            value = getattr(t, name)
            if value != getattr(defaults, name):
                record[name] = value
        if t.shard is not None:
            record["shard"] = list(t.shard)
        if t.parts:
            record["parts"] = [[p.name, list(p.shape), self._dtype(p.dtype)] for p in t.parts]
        if t.inferred:
            record["inferred"] = list(t.inferred)
        return record

    def trace(self, t: Trace) -> Json:
        value = self._value
        record: dict[str, Json] = {
            "mode": t.mode,
            "training": t.training,
            "inputs": value(t.inputs),
            "calls": [[c.path, c.index, c.parent, value(c.inputs), value(c.outputs), c.repeat] for c in t.calls],
            "ops": [
                [self._name(o.op), o.call, value(o.args), [[k, value(v)] for k, v in o.kwargs], value(o.outputs),
                 self._name(o.phase)]
                for o in t.ops
            ],
            "events": [[e.kind, e.op, e.nbytes, e.category] for e in t.events],
            "notes": [_note(n) for n in t.notes],
            "provenance": _provenance(t.provenance),
        }  # fmt: skip
        if t.failure is not None:
            f = t.failure
            record["failure"] = [f.path, f.module_type, value(f.inputs), f.error, f.message]
        return record

    def _name(self, name: str) -> int:
        return self.names.setdefault(name, len(self.names))

    def _value(self, value: Any) -> Json:
        """Specs as {"s": index}, tuples as lists, mappings as {"m": …}; floats that JSON lacks as {"f": text}."""
        if isinstance(value, TensorSpec):
            if value not in self.specs:
                self._dtype(value.dtype)
                self.specs[value] = len(self.specs)
            return {"s": self.specs[value]}
        if isinstance(value, float):
            return value if value - value == 0 else {"f": repr(value)}
        if isinstance(value, complex):
            return {"c": repr(value)}
        if isinstance(value, tuple | list):
            return [self._value(each) for each in value]
        if isinstance(value, Mapping):
            return {"m": {str(k): self._value(v) for k, v in value.items()}}
        if value is None or isinstance(value, bool | int | str):
            return value
        return str(value)


class _Reader:
    def __init__(self, facts: Any) -> None:
        self.dtypes = [DType(name, nbytes, numel, kind) for name, nbytes, numel, kind in facts["dtypes"]]
        self.specs = [TensorSpec(tuple(shape), self.dtypes[d]) for shape, d in facts["specs"]]
        self.names: list[str] = facts["names"]

    def snapshot(self, s: Any) -> Snapshot:
        return Snapshot(
            tuple(self._module(m) for m in s["modules"]),
            tuple(self._tensor(t) for t in s["tensors"]),
            _read_provenance(s["provenance"]),
            tuple(Note(*n) for n in s["notes"]),
        )

    def _module(self, m: Any) -> ModuleRecord:
        attributes = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in m.get("attributes", {}).items())
        return ModuleRecord(m["path"], m["type"], m.get("alias_of"), attributes, m.get("training"))

    def _tensor(self, t: Any) -> TensorRecord:
        plain = ("role", "trainable", "persistent", "alias_of", "storage", "storage_nbytes", "packed")
        return TensorRecord(
            t["path"],
            None if t["shape"] is None else tuple(t["shape"]),
            self.dtypes[t["dtype"]],
            shard=tuple(t["shard"]) if "shard" in t else None,
            parts=tuple(Part(n, tuple(s), self.dtypes[d]) for n, s, d in t.get("parts", ())),
            inferred=tuple(t.get("inferred", ())),
            **{name: t[name] for name in plain if name in t},
        )

    def trace(self, t: Any) -> Trace:
        value, names = self._value, self.names
        failure = t.get("failure")
        return Trace(
            calls=tuple(CallRecord(p, i, parent, value(a), value(o), r) for p, i, parent, a, o, r in t["calls"]),
            ops=tuple(
                OpRecord(names[op], call, value(args), tuple((k, value(v)) for k, v in kwargs), value(outputs),
                         names[phase])  # type: ignore[arg-type]
                for op, call, args, kwargs, outputs, phase in t["ops"]
            ),
            events=tuple(MemoryEvent(*e) for e in t["events"]),
            inputs=value(t["inputs"]),
            mode=t["mode"],
            training=t["training"],
            notes=tuple(Note(*n) for n in t["notes"]),
            failure=None if failure is None else Failure(failure[0], failure[1], value(failure[2]), *failure[3:]),
            provenance=_read_provenance(t["provenance"]),
        )  # fmt: skip

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return tuple([self._value(each) for each in value])
        if isinstance(value, dict):
            ((kind, inside),) = value.items()
            if kind == "s":
                return self.specs[inside]
            if kind == "m":
                return {name: self._value(each) for name, each in inside.items()}
            if kind == "f":
                return float(inside)
            if kind == "c":
                return complex(inside)
            raise ValueError(f"a value of kind {kind!r}")
        return value


def _note(n: Note) -> Json:
    return [n.code, n.level, n.text, n.path]


def _provenance(p: Provenance) -> Json:
    return {"target": p.target, "kind": p.kind, "versions": {name: version for name, version in p.versions}}


def _read_provenance(p: Any) -> Provenance:
    return Provenance(p["target"], p["kind"], tuple(p["versions"].items()))

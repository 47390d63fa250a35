"""Facts ↔ plain JSON values, and nothing else: no pickling, no code. Specs and operator names are written once.

A saved report is {"schema": …, "facts": {"snapshot": …, "trace": …, "histograms": …}, …}. A trace of a large model
repeats few specs very often, so `specs` and `names` are tables and records hold indexes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple
from math import isfinite
from typing import Any

from numel.facts import plain
from numel.facts.difference import ValueDifference
from numel.facts.dtype import DType, Kind
from numel.facts.histogram import Histogram
from numel.facts.note import Level, Note
from numel.facts.plain import Json
from numel.facts.provenance import Provenance
from numel.facts.snapshot import Attribute, ModuleRecord, Snapshot
from numel.facts.tensor import Part, Role, TensorRecord
from numel.facts.totals import Totals
from numel.facts.trace import CallRecord, EventKind, Failure, MemoryEvent, Mode, OpRecord, Phase, TensorSpec, Trace


def encode(
    snapshot: Snapshot, trace: Trace | None = None, histograms: Sequence[Histogram] = ()
) -> dict[str, Json]:  # fmt: skip
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
    if histograms:
        facts["histograms"] = [[h.path, h.low, h.high, list(h.counts), h.nan, h.infinite] for h in histograms]
    return facts


def decode(facts: Any, where: str = "saved result") -> tuple[Snapshot, Trace | None]:
    """The facts again. Raises `SchemaError` with one line when a part is missing or not of its kind.

    What this returns can be counted and shown without further checks: sizes are sizes, indexes lead somewhere.
    """
    with plain.taken(where):
        reader = _Reader(facts)
        snapshot = reader.snapshot(facts["snapshot"])
        trace = reader.trace(facts["trace"]) if "trace" in facts else None
    return snapshot, trace


def decode_histograms(facts: Any, where: str = "saved result") -> tuple[Histogram, ...]:
    """The histograms of a report again, if it has any. Raises as `decode` does.

    >>> w = Histogram("w", -1.0, 1.0, (3, 5))
    >>> decode_histograms(encode(Snapshot(), histograms=(w,))) == (w,)
    True
    """
    with plain.taken(where):
        return tuple(decode_histogram(*each) for each in facts.get("histograms", ()))


def encode_differences(found: Sequence[ValueDifference]) -> list[Json]:
    """Differences of values as JSON values; floats that JSON lacks as text."""
    return [[_float(each) for each in astuple(difference)] for difference in found]


def decode_differences(facts: Any, where: str = "saved result") -> tuple[ValueDifference, ...]:
    """Differences of values again. Raises as `decode` does.

    >>> w = ValueDifference("w", "w", max_rel=float("inf"))
    >>> decode_differences(encode_differences([w])) == (w,)
    True
    """
    with plain.taken(where):
        return tuple(_difference(*each) for each in facts)


def _difference(
    first: Json, second: Json, max_abs: Json, max_rel: Json, length: Json, relative: Json, cosine: Json, rank: Json,
    odd: Json, differing: Json,
) -> ValueDifference:  # fmt: skip
    return ValueDifference(
        plain.text(first), plain.text(second), float(max_abs), float(max_rel), float(length), float(relative),
        None if cosine is None else float(cosine), None if rank is None else plain.whole(rank), plain.whole(odd),
        plain.whole(differing),
    )  # fmt: skip


def _float(value: Any) -> Json:
    return repr(value) if isinstance(value, float) and not isfinite(value) else value


def decode_histogram(path: Json, low: Json, high: Json, counts: Json, nan: Json, infinite: Json) -> Histogram:
    """A histogram of its fields in order. Raises `ValueError`."""
    bins = tuple([plain.whole(n) for n in counts])
    return Histogram(plain.text(path), plain.real(low), plain.real(high), bins, plain.whole(nan), plain.whole(infinite))


def encode_count(target: str, totals: Totals, notes: Sequence[Note], guessed: bool) -> dict[str, Json]:
    """A count as JSON values."""
    return {"target": target, "totals": asdict(totals), "notes": [encode_note(n) for n in notes], "guessed": guessed}


def decode_count(facts: Any, where: str = "saved result") -> tuple[str, Totals, tuple[Note, ...], bool]:
    """A count again. Raises as `decode` does.

    >>> decode_count(encode_count("m", Totals(params=6), (), False))[1].params
    6
    """
    with plain.taken(where):
        totals = Totals(**{name: plain.whole(value) for name, value in facts["totals"].items()})
        notes = tuple(decode_note(*n) for n in facts["notes"])
        return plain.text(facts["target"]), totals, notes, plain.flag(facts["guessed"])


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
            "notes": [encode_note(n) for n in s.notes],
        }

    def _dtype(self, d: DType) -> int:
        return self.dtypes.setdefault(d, len(self.dtypes))

    def _module(self, m: ModuleRecord) -> Json:
        record: dict[str, Json] = {"path": m.path, "type": m.type}
        if m.alias_of is not None:
            record["alias_of"] = m.alias_of
        if m.attributes:
            record["attributes"] = {k: self._value(v) for k, v in m.attributes}
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
            "calls": [
                [c.path, c.index, c.parent, value(c.inputs), value(c.outputs), c.repeat,
                 *([] if c.phase == "forward" else [c.phase])]
                for c in t.calls
            ],
            "ops": [
                [self._name(o.op), o.call, value(o.args), [[k, value(v)] for k, v in o.kwargs], value(o.outputs),
                 self._name(o.phase)]
                for o in t.ops
            ],
            "events": [[e.kind, e.op, e.nbytes, e.category, e.call] for e in t.events],
            "notes": [encode_note(n) for n in t.notes],
            "provenance": _provenance(t.provenance),
        }  # fmt: skip
        if t.failure is not None:
            f = t.failure
            record["failure"] = [f.path, f.module_type, value(f.inputs), f.error, f.message, f.phase]
        if t.sampled is not None:
            record["sampled"] = t.sampled
        if t.whole:
            record["whole"] = list(t.whole)
        if t.phases != ("forward",):
            record["phases"] = list(t.phases)
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
    """Takes nothing on trust: a value that is not of its kind raises, and `decode` says so."""

    def __init__(self, facts: Any) -> None:
        self.dtypes = [_dtype(*each) for each in facts["dtypes"]]
        self.specs = [TensorSpec(plain.sizes(shape), plain.at(self.dtypes, d)) for shape, d in facts["specs"]]
        self.names = [plain.text(name) for name in facts["names"]]

    def snapshot(self, s: Any) -> Snapshot:
        return Snapshot(
            tuple(self._module(**m) for m in s["modules"]),
            tuple(self._tensor(**t) for t in s["tensors"]),
            _read_provenance(**s["provenance"]),
            tuple(decode_note(*n) for n in s["notes"]),
        )

    def _module(
        self, path: Json, type: Json, alias_of: Json = None, attributes: Json = None, training: Json = None
    ) -> ModuleRecord:
        return ModuleRecord(
            plain.text(path),
            plain.text(type),
            None if alias_of is None else plain.text(alias_of),
            tuple((name, self._attribute(value)) for name, value in (attributes or {}).items()),
            None if training is None else plain.flag(training),
        )

    def _attribute(self, value: Json) -> Attribute:
        if isinstance(value, list):
            return tuple([plain.whole(each, -plain.LARGEST) for each in value])
        read = self._value(value)
        if isinstance(read, TensorSpec | dict | complex):
            plain.damaged(value, "a number or text")
        return read  # type: ignore[no-any-return]

    def _tensor(
        self,
        path: Json,
        shape: Json,
        dtype: Json,
        role: Json = "parameter",
        trainable: Json = False,
        persistent: Json = True,
        alias_of: Json = None,
        storage: Json = None,
        storage_nbytes: Json = None,
        shard: Json = None,
        parts: Json = (),
        packed: Json = False,
        inferred: Json = (),
    ) -> TensorRecord:
        return TensorRecord(
            plain.text(path),
            None if shape is None else plain.sizes(shape),
            plain.at(self.dtypes, dtype),
            plain.one_of(Role, role),
            plain.flag(trainable),
            plain.flag(persistent),
            None if alias_of is None else plain.text(alias_of),
            None if storage is None else plain.whole(storage),
            None if storage_nbytes is None else plain.whole(storage_nbytes),
            None if shard is None else plain.sizes(shard),
            tuple(Part(plain.text(name), plain.sizes(sizes), plain.at(self.dtypes, d)) for name, sizes, d in parts),
            plain.flag(packed),
            tuple(plain.text(name) for name in inferred),
        )

    def trace(self, t: Any) -> Trace:
        value, names = self._value, self.names
        calls, ops = len(t["calls"]), len(t["ops"])
        failure, sampled = t.get("failure"), t.get("sampled")
        return Trace(
            calls=tuple(
                CallRecord(plain.text(p), plain.whole(i), plain.whole(parent, -1, n), value(a), value(o),
                           plain.whole(repeat, 1), *(plain.one_of(Phase, each) for each in phase))
                for n, (p, i, parent, a, o, repeat, *phase) in enumerate(t["calls"])
            ),
            ops=tuple(
                OpRecord(plain.at(names, op), plain.whole(call, -1, calls), plain.several(value(args)),
                         self._pairs(kwargs), plain.several(value(outputs)),
                         plain.one_of(Phase, plain.at(names, phase)))
                for op, call, args, kwargs, outputs, phase in t["ops"]
            ),
            events=tuple(
                MemoryEvent(plain.one_of(EventKind, kind), plain.whole(op, -1, ops), plain.whole(nbytes),
                            plain.text(category), plain.whole(call, -1, calls))
                for kind, op, nbytes, category, call in t["events"]
            ),
            inputs=value(t["inputs"]),
            mode=plain.one_of(Mode, t["mode"]),
            training=plain.flag(t["training"]),
            notes=tuple(decode_note(*n) for n in t["notes"]),
            failure=None if failure is None else self._failure(*failure),
            sampled=None if sampled is None else plain.whole(sampled, 0, ops + 1),
            whole=tuple(plain.text(path) for path in t.get("whole", ())),
            phases=tuple(plain.one_of(Phase, phase) for phase in t.get("phases", ["forward"])),
            provenance=_read_provenance(**t["provenance"]),
        )  # fmt: skip

    def _pairs(self, kwargs: Json) -> tuple[tuple[str, Any], ...]:
        return tuple((plain.text(name), self._value(value)) for name, value in kwargs)

    def _failure(
        self, path: Json, module_type: Json, inputs: Json, error: Json, message: Json, phase: Json = "forward"
    ) -> Failure:  # fmt: skip
        where = plain.text(path), plain.text(module_type), self._value(inputs)
        return Failure(*where, plain.text(error), plain.text(message), plain.one_of(Phase, phase))

    def _value(self, value: Json) -> Any:
        if isinstance(value, list):
            return tuple([self._value(each) for each in value])
        if isinstance(value, dict):
            ((kind, inside),) = value.items()
            if kind == "s":
                return plain.at(self.specs, inside)
            if kind == "m":
                return {name: self._value(each) for name, each in inside.items()}
            if kind == "f":
                return float(plain.text(inside))
            if kind == "c":
                return complex(plain.text(inside))
            plain.damaged(kind, "s, m, f or c")
        return value


def encode_note(n: Note) -> Json:
    """A note as JSON values."""
    return [n.code, n.level, n.text, n.path]


def decode_note(code: Json, level: Json, text: Json, path: Json) -> Note:
    """A note of its fields in order. Raises `ValueError`."""
    return Note(plain.text(code), plain.one_of(Level, level), plain.text(text), plain.text(path))


def _provenance(p: Provenance) -> Json:
    return {"target": p.target, "kind": p.kind, "versions": dict(p.versions)}


def _read_provenance(target: Json, kind: Json, versions: Json) -> Provenance:
    known = tuple((name, plain.text(each)) for name, each in versions.items())
    return Provenance(plain.text(target), plain.text(kind), known)


def _dtype(name: Json, nbytes: Json, numel: Json, kind: Json) -> DType:
    return DType(plain.text(name), plain.whole(nbytes), plain.whole(numel, 1), plain.one_of(Kind, kind))

"""Facts ↔ plain JSON values, and nothing else: no pickling, no code. Specs and operator names are written once.

A saved report is {"schema": …, "facts": {"snapshot": …, "trace": …, "histograms": …}, …}. A trace of a large model
repeats few specs very often, so `specs` and `names` are tables and records hold indexes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple
from math import isfinite, prod
from typing import Any, NoReturn, TypeVar, get_args

from numel.errors import SchemaError
from numel.facts.change import Change, ChangeKind, State
from numel.facts.difference import ValueDifference
from numel.facts.dtype import DType, Kind
from numel.facts.histogram import Histogram
from numel.facts.history import Alarm, Sample, Seen, Values
from numel.facts.note import Level, Note
from numel.facts.provenance import Provenance
from numel.facts.snapshot import Attribute, ModuleRecord, Snapshot
from numel.facts.statistics import Statistics
from numel.facts.tensor import Part, Role, TensorRecord
from numel.facts.totals import Totals
from numel.facts.trace import CallRecord, EventKind, Failure, MemoryEvent, Mode, OpRecord, Phase, TensorSpec, Trace

Json = Any
T = TypeVar("T")

_LARGEST = 2**64  # no tensor has as many elements or bytes; integers without a bound might not even print


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
    with taken(where):
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
    with taken(where):
        return tuple(_read_histogram(*each) for each in facts.get("histograms", ()))


def encode_differences(found: Sequence[ValueDifference]) -> list[Json]:
    """Differences of values as JSON values; floats that JSON lacks as text."""
    return [[_float(each) for each in astuple(difference)] for difference in found]


def decode_differences(facts: Any, where: str = "saved result") -> tuple[ValueDifference, ...]:
    """Differences of values again. Raises as `decode` does.

    >>> w = ValueDifference("w", "w", max_rel=float("inf"))
    >>> decode_differences(encode_differences([w])) == (w,)
    True
    """
    with taken(where):
        return tuple(_difference(*each) for each in facts)


def _difference(
    first: Json, second: Json, max_abs: Json, max_rel: Json, length: Json, relative: Json, cosine: Json, rank: Json,
    odd: Json, differing: Json,
) -> ValueDifference:  # fmt: skip
    return ValueDifference(
        _text(first), _text(second), float(max_abs), float(max_rel), float(length), float(relative),
        None if cosine is None else float(cosine), None if rank is None else _whole(rank), _whole(odd),
        _whole(differing),
    )  # fmt: skip


def _float(value: Any) -> Json:
    return repr(value) if isinstance(value, float) and not isfinite(value) else value


def encode_sample(sample: Sample) -> Json:
    """Totals at a step as JSON values."""
    return [sample.step, sample.time, asdict(sample.totals)]


def encode_seen(seen: Seen) -> Json:
    """A change at a step as JSON values."""
    states = (list(each) if isinstance(each, tuple) else each for each in (seen.change.before, seen.change.after))
    return [seen.step, seen.time, seen.change.kind, seen.change.path, *states]


def encode_values(values: Values) -> Json:
    """Statistics at a step as JSON values."""
    return [values.step, values.time, [_statistics(each) for each in values.statistics]]


def encode_alarm(alarm: Alarm) -> Json:
    """An alarm at a step as JSON values."""
    return [alarm.step, alarm.time, *_note(alarm.note)]


def encode_notes(notes: Sequence[Note]) -> list[Json]:
    """Notes as JSON values."""
    return [_note(each) for each in notes]


def decode_history(
    facts: Any, where: str = "saved result"
) -> tuple[tuple[Sample, ...], tuple[Seen, ...], tuple[Values, ...], tuple[Alarm, ...], tuple[Note, ...]]:
    """A history again: {"samples": […], "changes": […], "values": […], "alarms": […], "notes": […]}; the last three may
    be missing. Raises as `decode` does.

    >>> seen = Seen(3, 0.5, Change("reshaped", "w", (2,), (3,)))
    >>> decode_history({"samples": [], "changes": [encode_seen(seen)]})[1] == (seen,)
    True
    """
    with taken(where):
        return (
            tuple(_read_sample(*each) for each in facts["samples"]),
            tuple(_read_seen(*each) for each in facts["changes"]),
            tuple(_read_values(*each) for each in facts.get("values", ())),
            tuple(_read_alarm(*each) for each in facts.get("alarms", ())),
            tuple(_read_note(*each) for each in facts.get("notes", ())),
        )


def decode_line(held: Mapping[str, Any], where: str = "saved result") -> Sample | Seen | Values | Alarm | None:
    """What a line of a history that grows holds; `None` where that is something else. Raises as `decode` does.

    >>> alarm = Alarm(7, 0.5, Note("dead", "warning", "no gradient", "w"))
    >>> decode_line({"alarm": encode_alarm(alarm)}) == alarm
    True
    """
    with taken(where):
        if "sample" in held:
            return _read_sample(*held["sample"])
        if "change" in held:
            return _read_seen(*held["change"])
        if "values" in held:
            return _read_values(*held["values"])
        if "alarm" in held:
            return _read_alarm(*held["alarm"])
    return None


def _read_sample(step: Json, time: Json, totals: Json) -> Sample:
    return Sample(_whole(step), _real(time), Totals(**{name: _whole(value) for name, value in totals.items()}))


def _read_seen(step: Json, time: Json, kind: Json, path: Json, before: Json, after: Json) -> Seen:
    change = Change(_one_of(ChangeKind, kind), _text(path), _state(before), _state(after))
    return Seen(_whole(step), _real(time), change)


def _read_values(step: Json, time: Json, statistics: Json) -> Values:
    return Values(_whole(step), _real(time), tuple(_read_statistics(*each) for each in statistics))


def _read_alarm(step: Json, time: Json, *note: Json) -> Alarm:
    return Alarm(_whole(step), _real(time), _read_note(*note))


def _statistics(s: Statistics) -> Json:
    """The path once: a histogram is of the tensor that it stands beside."""
    h = s.histogram
    bins = None if h is None else [h.low, h.high, list(h.counts), h.nan, h.infinite]
    return [s.path, s.of, s.numel, s.seen, s.norm, s.mean, s.std, s.absmax, s.zeros, s.nan, s.infinite, s.ratio, bins]


def _read_statistics(
    path: Json, of: Json, numel: Json, seen: Json, norm: Json, mean: Json, std: Json, absmax: Json, zeros: Json,
    nan: Json, infinite: Json, ratio: Json, bins: Json,
) -> Statistics:  # fmt: skip
    return Statistics(
        _text(path), _text(of), _whole(numel), _whole(seen), _known(norm), _known(mean), _known(std), _known(absmax),
        _real(zeros), _whole(nan), _whole(infinite), _known(ratio),
        None if bins is None else _read_histogram(path, *bins),
    )  # fmt: skip


def _read_histogram(path: Json, low: Json, high: Json, counts: Json, nan: Json, infinite: Json) -> Histogram:
    return Histogram(
        _text(path), _real(low), _real(high), tuple([_whole(n) for n in counts]), _whole(nan), _whole(infinite)
    )  # fmt: skip


def _known(value: Json) -> float | None:
    return None if value is None else _real(value)


def _state(value: Json) -> State:
    if isinstance(value, list):
        return _sizes(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    _damaged(value, "a shape, a word or a flag")


def encode_count(target: str, totals: Totals, notes: Sequence[Note], guessed: bool) -> dict[str, Json]:
    """A count as JSON values."""
    return {"target": target, "totals": asdict(totals), "notes": [_note(n) for n in notes], "guessed": guessed}


def decode_count(facts: Any, where: str = "saved result") -> tuple[str, Totals, tuple[Note, ...], bool]:
    """A count again. Raises as `decode` does.

    >>> decode_count(encode_count("m", Totals(params=6), (), False))[1].params
    6
    """
    with taken(where):
        totals = Totals(**{name: _whole(value) for name, value in facts["totals"].items()})
        return _text(facts["target"]), totals, tuple(_read_note(*n) for n in facts["notes"]), _flag(facts["guessed"])


@contextmanager
def taken(where: str) -> Iterator[None]:
    """What goes wrong inside is a damaged file, said in one line."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        text = str(error) if str(error).isprintable() else ascii(str(error))
        raise SchemaError(
            f"{where}: damaged facts ({type(error).__name__}: {text[:200]}); expected what numel's save() wrote"
        ) from error




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
            "notes": [_note(n) for n in t.notes],
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
        self.specs = [TensorSpec(_sizes(shape), _at(self.dtypes, d)) for shape, d in facts["specs"]]
        self.names = [_text(name) for name in facts["names"]]

    def snapshot(self, s: Any) -> Snapshot:
        return Snapshot(
            tuple(self._module(**m) for m in s["modules"]),
            tuple(self._tensor(**t) for t in s["tensors"]),
            _read_provenance(**s["provenance"]),
            tuple(_read_note(*n) for n in s["notes"]),
        )

    def _module(
        self, path: Json, type: Json, alias_of: Json = None, attributes: Json = None, training: Json = None
    ) -> ModuleRecord:
        return ModuleRecord(
            _text(path),
            _text(type),
            None if alias_of is None else _text(alias_of),
            tuple((name, self._attribute(value)) for name, value in (attributes or {}).items()),
            None if training is None else _flag(training),
        )

    def _attribute(self, value: Json) -> Attribute:
        if isinstance(value, list):
            return tuple([_whole(each, -_LARGEST) for each in value])
        read = self._value(value)
        if isinstance(read, TensorSpec | dict | complex):
            _damaged(value, "a number or text")
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
            _text(path),
            None if shape is None else _sizes(shape),
            _at(self.dtypes, dtype),
            _one_of(Role, role),
            _flag(trainable),
            _flag(persistent),
            None if alias_of is None else _text(alias_of),
            None if storage is None else _whole(storage),
            None if storage_nbytes is None else _whole(storage_nbytes),
            None if shard is None else _sizes(shard),
            tuple(Part(_text(name), _sizes(sizes), _at(self.dtypes, d)) for name, sizes, d in parts),
            _flag(packed),
            tuple(_text(name) for name in inferred),
        )

    def trace(self, t: Any) -> Trace:
        value, names = self._value, self.names
        calls, ops = len(t["calls"]), len(t["ops"])
        failure, sampled = t.get("failure"), t.get("sampled")
        return Trace(
            calls=tuple(
                CallRecord(_text(p), _whole(i), _whole(parent, -1, n), value(a), value(o), _whole(repeat, 1),
                           *(_one_of(Phase, each) for each in phase))
                for n, (p, i, parent, a, o, repeat, *phase) in enumerate(t["calls"])
            ),
            ops=tuple(
                OpRecord(_at(names, op), _whole(call, -1, calls), _several(value(args)), self._pairs(kwargs),
                         _several(value(outputs)), _one_of(Phase, _at(names, phase)))
                for op, call, args, kwargs, outputs, phase in t["ops"]
            ),
            events=tuple(
                MemoryEvent(_one_of(EventKind, kind), _whole(op, -1, ops), _whole(nbytes), _text(category),
                            _whole(call, -1, calls))
                for kind, op, nbytes, category, call in t["events"]
            ),
            inputs=value(t["inputs"]),
            mode=_one_of(Mode, t["mode"]),
            training=_flag(t["training"]),
            notes=tuple(_read_note(*n) for n in t["notes"]),
            failure=None if failure is None else self._failure(*failure),
            sampled=None if sampled is None else _whole(sampled, 0, ops + 1),
            whole=tuple(_text(path) for path in t.get("whole", ())),
            phases=tuple(_one_of(Phase, phase) for phase in t.get("phases", ["forward"])),
            provenance=_read_provenance(**t["provenance"]),
        )  # fmt: skip

    def _pairs(self, kwargs: Json) -> tuple[tuple[str, Any], ...]:
        return tuple((_text(name), self._value(value)) for name, value in kwargs)

    def _failure(
        self, path: Json, module_type: Json, inputs: Json, error: Json, message: Json, phase: Json = "forward"
    ) -> Failure:  # fmt: skip
        asked = self._value(inputs)
        return Failure(_text(path), _text(module_type), asked, _text(error), _text(message), _one_of(Phase, phase))

    def _value(self, value: Json) -> Any:
        if isinstance(value, list):
            return tuple([self._value(each) for each in value])
        if isinstance(value, dict):
            ((kind, inside),) = value.items()
            if kind == "s":
                return _at(self.specs, inside)
            if kind == "m":
                return {name: self._value(each) for name, each in inside.items()}
            if kind == "f":
                return float(_text(inside))
            if kind == "c":
                return complex(_text(inside))
            _damaged(kind, "s, m, f or c")
        return value


def _note(n: Note) -> Json:
    return [n.code, n.level, n.text, n.path]


def _read_note(code: Json, level: Json, text: Json, path: Json) -> Note:
    return Note(_text(code), _one_of(Level, level), _text(text), _text(path))


def _provenance(p: Provenance) -> Json:
    return {"target": p.target, "kind": p.kind, "versions": dict(p.versions)}


def _read_provenance(target: Json, kind: Json, versions: Json) -> Provenance:
    return Provenance(_text(target), _text(kind), tuple((name, _text(each)) for name, each in versions.items()))


# ── a JSON value as what it must be ──────────────────────────────────────────────────────────────────────────────────


def _dtype(name: Json, nbytes: Json, numel: Json, kind: Json) -> DType:
    return DType(_text(name), _whole(nbytes), _whole(numel, 1), _one_of(Kind, kind))


def _text(value: Json) -> str:
    return value if isinstance(value, str) else _damaged(value, "text")


def _flag(value: Json) -> bool:
    return value if isinstance(value, bool) else _damaged(value, "true or false")


def _whole(value: Json, least: int = 0, below: int = _LARGEST) -> int:
    if type(value) is int and least <= value < below:
        return value
    return _damaged(value, f"an integer from {least} below {below}")


def _real(value: Json) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    return _damaged(value, "a finite number")


def _sizes(value: Json) -> tuple[int, ...]:
    sizes = tuple([_whole(each) for each in value]) if isinstance(value, list) else _damaged(value, "a list")
    return sizes if prod(sizes) < _LARGEST else _damaged(value, f"fewer than {_LARGEST} elements")


def _at(table: Sequence[T], index: Json) -> T:
    return table[_whole(index, 0, len(table))]


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else _damaged(value, "a list")


def _one_of(names: Any, value: Json) -> Any:
    """The value, where it is one of a Literal's."""
    known = get_args(names)
    return value if value in known else _damaged(value, " or ".join(known))


def _damaged(value: Json, expected: str) -> NoReturn:
    raise ValueError(f"{shown(value)}; expected {expected}")


def shown(value: Json) -> str:
    """The beginning of a value as it would print; a damaged file can hold pages, and integers that do not print."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to print"
    return text if len(text) <= 60 else text[:57] + "..."

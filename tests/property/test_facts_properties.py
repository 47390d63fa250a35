"""What holds for all facts: sums over trees, documents that come back, damage that is always a SchemaError."""

from __future__ import annotations

import json
from functools import reduce
from operator import add
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numel.errors import InputsError, SchemaError
from numel.facts import (
    CallRecord,
    DType,
    Failure,
    MemoryEvent,
    ModuleRecord,
    Note,
    OpRecord,
    Part,
    Provenance,
    Snapshot,
    TensorRecord,
    TensorSpec,
    Totals,
    Trace,
    above_of,
    dtype,
    known_dtypes,
    tensors_in,
)
from numel.facts.codec import decode, encode
from numel.facts.inputs import InputSpec, parse

# busy machines are slow
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

# ── facts at random ──────────────────────────────────────────────────────────────────────────────────────────────────

whole = st.integers(0, 2**40)
name = st.text(st.characters(codec="utf-8", exclude_characters="."), max_size=5)
text = st.text(max_size=8)
shape = st.lists(st.integers(0, 9), max_size=4).map(tuple)
kind = st.sampled_from(["float", "int", "bool", "complex", "packed"])
element = st.sampled_from([dtype(each) for each in known_dtypes()]) | st.builds(
    DType, text, st.integers(0, 300), st.integers(1, 300), kind
)
totals = st.builds(Totals, *[whole] * 9)
spec = st.builds(TensorSpec, shape, element)
scalar = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
number = scalar | st.complex_numbers(allow_nan=False)
value = st.recursive(
    number | spec,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
values = st.lists(value, max_size=3).map(tuple)
note = st.builds(Note, text, st.sampled_from(["info", "warning", "error"]), text, text)
notes = st.lists(note, max_size=2).map(tuple)
provenance = st.builds(Provenance, text, text, st.dictionaries(text, text, max_size=2).map(lambda d: tuple(d.items())))
part = st.builds(Part, text, shape, element)
attribute = scalar | st.lists(st.integers(-(2**63), 2**63), max_size=3).map(tuple)
attributes = st.dictionaries(text, attribute, max_size=3).map(lambda d: tuple(d.items()))


@st.composite
def module_paths(draw: st.DrawFn) -> list[str]:
    """A tree in preorder: each module is put below one of those before it, and behind all that is already there."""
    below: dict[str, list[str]] = {"": []}
    for i, own in enumerate(draw(st.lists(name, max_size=8))):
        above = draw(st.sampled_from(sorted(below)))
        path = f"{above}.{own}{i}" if above else f"{own}{i}"
        below[above].append(path)
        below[path] = []
    ordered, pending = [], [""]
    while pending:
        path = pending.pop()
        ordered.append(path)
        pending.extend(reversed(below[path]))
    return ordered


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Trees with ties, shared storages, lazy, sharded and packed tensors."""
    paths = draw(module_paths())
    modules = tuple(
        ModuleRecord(path, draw(text), draw(st.none() | text), draw(attributes), draw(st.none() | st.booleans()))
        for path in paths
    )
    tensors: list[TensorRecord] = []
    for i in range(draw(st.integers(0, 8))):
        above = draw(st.sampled_from(paths))
        counted = [each.path for each in tensors if each.alias_of is None]
        storage = draw(st.none() | st.integers(0, 3))
        tensors.append(
            TensorRecord(
                f"{above}.t{i}" if above else f"t{i}",
                draw(st.none() | shape),
                draw(element),
                draw(st.sampled_from(["parameter", "buffer", "optimizer", "unknown"])),
                draw(st.booleans()),
                draw(st.booleans()),
                draw(st.none() | st.sampled_from(counted)) if counted else None,
                storage,
                None if storage is None else 64 * storage,  # one storage has one size
                draw(st.none() | shape) if storage is None else None,
                tuple(draw(st.lists(part, max_size=2))) if storage is None else (),
                draw(st.booleans()),
                tuple(draw(st.lists(text, max_size=2))),
            )
        )
    return Snapshot(modules, tuple(tensors), draw(provenance), draw(notes))


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    phase = st.sampled_from(["forward", "backward", "recompute", "optimizer"])
    calls = tuple(
        CallRecord(draw(text), draw(whole), draw(st.integers(-1, i - 1)), draw(value), draw(value), draw(whole) + 1,
                   draw(phase))
        for i in range(draw(st.integers(0, 4)))
    )  # fmt: skip
    pairs = st.lists(st.tuples(text, value), max_size=2).map(tuple)
    ops = tuple(draw(st.lists(
        st.builds(OpRecord, text, st.integers(-1, len(calls) - 1), values, pairs, values, phase), max_size=4,
    )))  # fmt: skip
    kinds = st.sampled_from(["allocate", "free", "save"])
    some_op, some_call = st.integers(-1, len(ops) - 1), st.integers(-1, len(calls) - 1)
    events = draw(st.lists(st.builds(MemoryEvent, kinds, some_op, whole, text, some_call), max_size=3))
    failure = draw(st.none() | st.builds(Failure, text, text, value, text, text, phase))
    mode = draw(st.sampled_from(["meta", "fake", "real"]))
    sampled = draw(st.none() | st.integers(0, len(ops)))
    whole_ones = draw(st.lists(text, max_size=2).map(tuple))
    return Trace(
        calls, ops, tuple(events), draw(value), mode, draw(st.booleans()), draw(notes), failure, sampled, whole_ones,
        draw(provenance), draw(st.lists(phase, max_size=3).map(tuple)),
    )  # fmt: skip


# ── sums ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@unhurried
@given(totals, totals, totals)
def test_totals_are_a_monoid(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + Totals() == a == Totals() + a


@unhurried
@given(snapshots())
def test_rows_add_up_to_the_total_in_every_view(s):
    zero = Totals()
    assert reduce(add, [share for _, share in s.own_totals()], zero) == s.totals
    direct, subtotals, children = s.direct(), s.subtotals(), s.children()
    assert reduce(add, direct.values(), zero) == s.totals
    assert subtotals[""] == s.totals
    for module in s.modules:
        own = direct.get(module.path, zero)
        below = children.get(module.path, ())
        assert subtotals[module.path] == reduce(add, [subtotals[child.path] for child in below], own)


@unhurried
@given(snapshots())
def test_every_module_but_the_root_is_the_child_of_one(s):
    below = [child for each in s.children().values() for child in each]
    assert sorted(child.path for child in below) == sorted(module.path for module in s.modules if module.path)
    paths = {module.path for module in s.modules}
    assert all(above_of(child.path, paths) == path for path, each in s.children().items() for child in each)


@unhurried
@given(snapshots())
def test_each_storage_weighs_once(s):
    """A set of storage numbers, beside what has none: the sum that `nbytes` must be."""
    first = [t for t in s.tensors if t.alias_of is None]
    counted = [t for t in first if t.shape is not None or (t.parts and t.storage is None)]  # of parts
    storages = {t.storage: t.storage_nbytes for t in counted if t.storage is not None}
    assert s.totals.nbytes == sum(storages.values()) + sum(t.nbytes for t in counted if t.storage is None)


# ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────────


@unhurried
@given(snapshots(), st.none() | traces())
def test_facts_come_back_from_json(s, trace):
    read, ran = decode(json.loads(json.dumps(encode(s, trace), allow_nan=False)))
    assert repr(read) == repr(s)
    assert repr(ran) == repr(trace)
    assert read.totals == s.totals
    assert read.fingerprint() == s.fingerprint()


def places(document: Any) -> list[tuple[Any, Any]]:
    """Each container of a JSON document with each of its keys or indexes."""
    found, pending = [], [document]
    while pending:
        each = pending.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
        found.extend((each, key) for key in keys)
        pending.extend(each[key] for key in keys)
    return found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**4000) | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text | st.sampled_from("smfc"), inner, max_size=2),
    max_leaves=4,
)


@unhurried
@given(snapshots(), traces(), st.data())
def test_a_damaged_document_is_refused_or_gives_facts_that_can_be_used(s, trace, data):
    """A change can leave a document whole. Then whatever reads facts works on it; else there is one line."""
    document = encode(s, trace)
    for _ in range(data.draw(st.integers(1, 3))):
        inside, key = data.draw(st.sampled_from(places(document)))
        if data.draw(st.booleans()):
            del inside[key]
        else:
            inside[key] = data.draw(json_values)
        if not places(document):
            break
    refusal = ""
    try:
        read, ran = decode(document)
    except SchemaError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("saved result: damaged facts")
        assert refusal.isprintable()
        assert len(refusal) < 400
        return
    assert read.subtotals().keys() >= read.children().keys()
    assert read.totals.nbytes >= 0
    for op in ran.ops if ran else ():
        assert -1 <= op.call < len(ran.calls)
        assert all(each.nbytes >= 0 for each in tensors_in((op.args, op.outputs)))
    assert repr(decode(encode(read, ran))[0]) == repr(read)


# ── the inputs notation ──────────────────────────────────────────────────────────────────────────────────────────────

known = st.none() | st.sampled_from([dtype(each) for each in known_dtypes()])
sizes = st.lists(st.integers(0, 2**63 - 1), max_size=5).map(tuple)
input_spec = st.builds(InputSpec, sizes, known, st.none() | st.integers(1, 2**63 - 1))
identifier = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@unhurried
@given(st.lists(input_spec, min_size=1, max_size=4), st.dictionaries(identifier, input_spec, max_size=3))
def test_specs_come_back_from_the_notation_that_they_print(args, kwargs):
    notation = ", ".join([*map(str, args), *(f"{name}: {each}" for name, each in kwargs.items())])
    read = parse(notation)
    assert read.args == tuple(args)
    assert read.kwargs == kwargs


@unhurried
@given(st.lists(st.tuples(st.sampled_from(["+", "-", "*", "//"]), st.integers(0, 50)), max_size=6), st.integers(0, 50))
def test_arithmetic_of_symbols_is_pythons(steps, first):
    """Every number is given by a symbol of its own; Python reckons the same text."""
    symbols = {f"n{i}": n for i, n in enumerate([first, *(n for _, n in steps)])}
    expression = "n0" + "".join(f"{operator}n{i}" for i, (operator, _) in enumerate(steps, 1))
    notation = f"[{expression}], " + ", ".join(f"{symbol}={n}" for symbol, n in symbols.items())
    try:
        expected = eval(expression, dict(symbols))
    except ZeroDivisionError:
        expected = -1
    if expected >= 0:
        assert parse(notation).args[0].shape == (expected,)
    else:
        with pytest.raises(InputsError):
            parse(notation)

"""Saved facts: what a document holds, and the one line for a document that is damaged, foreign or of a newer numel."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest

from numel.errors import SchemaError
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
    Trace,
    dtype,
)
from numel.facts.codec import decode, encode
from numel.facts.schema import SCHEMA, upgraded

Q4 = DType("q4_k", 144, 256, "packed")
X = TensorSpec((2, 3), dtype("f32"))

SNAPSHOT = Snapshot(
    (
        ModuleRecord("", "pkg.Net", training=True),
        ModuleRecord("a\n\ud800.é", "torch.nn.Conv2d", "b", (("kernel_size", (3, 3)), ("padding", "same"),
                                                             ("bias", True), ("eps", math.inf), ("p", None)), False),
    ),
    (
        TensorRecord("w", (2, 3), dtype("f32"), "parameter", True, True, None, 0, 24),
        TensorRecord("lazy", None, dtype("bf16"), "buffer", persistent=False, alias_of="w"),
        TensorRecord("q", (256,), Q4, "unknown", shard=(0,), parts=(Part("data", (144,), dtype("u8")),), packed=True,
                     inferred=("role", "dtype")),
    ),
    Provenance("net.py:Net", "module", (("torch", "2.13"), ("numel", "0.1"))),
    (Note("packed-weights", "warning", "two\nlines", "a"),),
)  # fmt: skip

TRACE = Trace(
    (
        CallRecord("", 0, -1, (X, 2), X),
        CallRecord("a", 3, 0, {"*": (X,), "mask": None}, {"out": (X, X)}, 12, "recompute"),
    ),
    (
        OpRecord("aten.mm.default", 1, (X, X), (("alpha", 1.5),), (X,)),
        OpRecord("aten.mul.Scalar", -1, (X, math.inf, -0.0, 1j, True, None, "s", ((), (1,))), (), (), "backward"),
    ),
    (MemoryEvent("allocate", 0, 24, "activation", 1), MemoryEvent("save", 1, 0)),
    {"x": X},
    "fake",
    True,
    (Note("stepped-down", "info", "why"),),
    Failure("a", "pkg.A", (X,), "RuntimeError", "shapes\ndo not fit", "backward"),
    1,
    ("a.script",),
    Provenance("net.py:Net", "trace"),
    ("forward", "backward"),
)


def through_json(facts: Any) -> Any:
    return json.loads(json.dumps(facts, allow_nan=False))


def test_every_field_of_every_record_comes_back():
    assert decode(through_json(encode(SNAPSHOT, TRACE))) == (SNAPSHOT, TRACE)
    assert decode(through_json(encode(Snapshot()))) == (Snapshot(), None)
    assert decode(through_json(encode(Snapshot(), Trace()))) == (Snapshot(), Trace())


def test_not_a_number_comes_back_though_json_has_none():
    trace = Trace(ops=(OpRecord("aten.fill.Scalar", -1, (math.nan, -math.inf, complex(math.nan, 1))),))
    _, read = decode(through_json(encode(Snapshot(), trace)))
    assert read is not None
    assert repr(read.ops[0].args) == repr(trace.ops[0].args)


def test_specs_dtypes_and_names_are_written_once():
    """The size of a saved trace is that of its records, not of the specs in them."""
    trace = Trace(ops=tuple(OpRecord("aten.relu.default", -1, (X,), (), (X,)) for _ in range(1000)))
    facts = encode(SNAPSHOT, trace)
    assert facts["specs"] == [[[2, 3], 0]]
    assert facts["names"] == ["aten.relu.default", "forward"]
    assert [d[0] for d in facts["dtypes"]] == ["float32", "bfloat16", "q4_k", "uint8"]


def test_a_type_that_only_a_file_knows_keeps_its_block_size():
    read, _ = decode(through_json(encode(SNAPSHOT)))
    assert read.tensors[2].dtype.nbytes(257) == 288


def damaged(**at: Any) -> Any:
    """The document with the value at a dotted place replaced, or taken out where it is `...`."""
    facts = copy.deepcopy(through_json(encode(SNAPSHOT, TRACE)))
    for place, value in at.items():
        *way, last = [int(each) if each.isdigit() else each for each in place.split("__")]
        inside: Any = facts
        for each in way:
            inside = inside[each]
        if value is ...:
            del inside[last]
        else:
            inside[last] = value
    return facts


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"snapshot": ...}, "'snapshot'"),
        ({"dtypes": ...}, "'dtypes'"),
        ({"names": None}, "NoneType"),
        ({"snapshot__modules__0__path": 3}, "3; expected text"),
        ({"snapshot__modules__0__type": ...}, "'type'"),
        ({"snapshot__modules__0__typo": 1}, "'typo'"),
        ({"snapshot__modules__0__\n\0": 1}, "\\n\\x00"),
        ({f"snapshot__modules__0__{'x' * 9999}": 1}, "xxx"),
        ({"snapshot__modules__0__training": 1}, "1; expected true or false"),
        ({"snapshot__modules__1__attributes": [1]}, "list"),
        ({"snapshot__modules__1__attributes__eps": {"s": 0}}, "expected a number or text"),
        ({"snapshot__modules__1__attributes__kernel_size": ["3"]}, "'3'; expected an integer"),
        ({"snapshot__tensors__0__shape": "ab"}, "'ab'; expected a list"),
        ({"snapshot__tensors__0__shape": [2, -1]}, "-1; expected an integer from 0"),
        ({"snapshot__tensors__0__shape": [10**4000]}, "expected an integer from 0 below 18446744073709551616"),
        ({"snapshot__tensors__0__shape": [2**32, 2**32]}, "expected fewer than 18446744073709551616 elements"),
        ({"snapshot__tensors__0__shape": [2.0]}, "2.0; expected an integer"),
        ({"snapshot__tensors__0__shape": [True]}, "True; expected an integer"),
        ({"snapshot__tensors__0__dtype": 9}, "9; expected an integer from 0 below 4"),
        ({"snapshot__tensors__0__dtype": -1}, "-1; expected an integer from 0 below 4"),
        ({"snapshot__tensors__0__role": "weight"}, "'weight'; expected parameter or buffer or optimizer or unknown"),
        ({"snapshot__tensors__0__storage": -1}, "-1; expected"),
        ({"snapshot__tensors__2__inferred": [None]}, "None; expected text"),
        ({"snapshot__tensors__2__parts__0": ["data", [1]]}, "unpack"),
        ({"snapshot__tensors": {"w": 1}}, "mapping"),
        ({"snapshot__notes__0": "abcd"}, "'b'; expected info or warning or error"),
        ({"snapshot__provenance__versions": []}, "items"),
        ({"dtypes__0__2": 0}, "0; expected an integer from 1"),
        ({"dtypes__0__3": "real"}, "'real'; expected float or int or bool or complex or packed"),
        ({"specs__0": 3}, "int"),
        ({"trace__mode": "dream"}, "'dream'; expected meta or fake or real"),
        ({"trace__ops__0__0": 99}, "99; expected an integer from 0 below 4"),
        ({"trace__ops__0__1": 2}, "2; expected an integer from -1 below 2"),
        ({"trace__ops__0__2": 1}, "1; expected a list"),
        ({"trace__ops__0__2": {"s": 5}}, "5; expected an integer from 0 below 1"),
        ({"trace__ops__0__2": {"x": 5}}, "'x'; expected s, m, f or c"),
        ({"trace__ops__0__2": {"s": 0, "f": "1"}}, "unpack"),
        ({"trace__ops__1__2": {"f": "one"}}, "'one'"),
        ({"trace__ops__1__2": {"c": 5}}, "5; expected text"),
        ({"trace__calls__0__2": 0}, "0; expected an integer from -1 below 0"),
        ({"trace__calls__1__5": 0}, "0; expected an integer from 1"),
        ({"trace__events__0__0": "leak"}, "'leak'; expected allocate or free or save"),
        ({"trace__events__0__1": 2}, "2; expected an integer from -1 below 2"),
        ({"trace__events__0__4": 2}, "2; expected an integer from -1 below 2"),
        ({"trace__calls__1__6": "sideways"}, "'sideways'; expected forward or backward or recompute or optimizer"),
        ({"trace__phases": ["sideways"]}, "'sideways'; expected forward"),
        ({"trace__failure": ["a"]}, "argument"),
        ({"trace": []}, "indices"),
    ],
    ids=str,
)
def test_a_damaged_part_is_one_line_that_names_it(change, says):
    with pytest.raises(SchemaError) as caught:
        decode(damaged(**change), "old.json")
    text = str(caught.value)
    assert text.startswith("old.json: damaged facts (")
    assert text.isprintable()
    assert says in text
    assert len(text) < 300


def test_values_nested_beyond_the_interpreters_stack_are_damage():
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(SchemaError, match="RecursionError"):
        decode(damaged(trace__inputs=deep))
    while deep:  # taken apart from outside in: freeing it whole would nest as deep
        deep = deep[0]


@pytest.mark.parametrize("facts", [None, [], 3, "facts", {}], ids=repr)
def test_facts_that_are_no_document_are_damage(facts):
    with pytest.raises(SchemaError, match=r"^saved result: damaged facts"):
        decode(facts)


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        ({"schema": SCHEMA + 1, "facts": {}}, f"schema {SCHEMA + 1} is newer than the {SCHEMA} of this numel; update"),
        ({"schema": 10**5000, "facts": {}}, "newer than"),
        ({"schema": 0, "facts": {}}, f"schema 0; expected a number from 1 to {SCHEMA}"),
        ({"schema": True, "facts": {}}, "schema True; expected a number"),
        ({"schema": "1\n" * 999, "facts": {}}, "expected a number"),
        ({"schema": SCHEMA}, "no saved numel result"),
        ({"facts": {}}, "no saved numel result"),
        ([], "no saved numel result"),
        (None, "no saved numel result"),
    ],
)
def test_a_document_of_another_kind_or_a_newer_numel_is_refused(saved, says):
    with pytest.raises(SchemaError) as caught:
        upgraded(saved, "r.json")
    text = str(caught.value)
    assert says in text
    assert text.isprintable()
    assert len(text) < 200


def test_a_document_of_this_schema_is_accepted():
    upgraded({"schema": SCHEMA, "facts": {}, "kind": "report"}, "r.json")

"""Headers of .safetensors files: made by hand, cut, lying, mutated, and written by the library itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numel.errors import FormatError, NumelError, TargetError
from numel.sources import files
from numel.sources.formats import safetensors


class Memory:
    name = "x.safetensors"

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, offset: int, n: int) -> bytes:
        return self.data[offset : offset + n]


def written(header: object, data: int | bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + (b"\0" * data if isinstance(data, int) else data)


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def read(data: bytes) -> Any:
    return safetensors.read(Memory(data))


def read_or_refused(data: bytes) -> Any:
    """The snapshot, or None after a FormatError of one line; any other exception passes and fails the test."""
    refusal = ""
    try:
        return read(data)
    except FormatError as error:
        refusal = str(error)
    assert refusal.startswith("x.safetensors: ")
    assert refusal.isprintable()
    return None


def test_records_modules_and_bytes_come_from_the_header_alone():
    s = read(written({
        "__metadata__": {"format": "pt"},
        "layers.10.weight": entry("BF16", [3, 2], [8, 20]),
        "layers.2.weight": entry("F32", [2], [0, 8]),
        "scalar": entry("I64", [], [20, 28]),
        "empty": entry("F16", [0, 7], [20, 20]),
    }, 28))  # fmt: skip
    assert [t.path for t in s.tensors] == ["empty", "layers.2.weight", "layers.10.weight", "scalar"]
    assert [m.path for m in s.modules] == ["", "layers", "layers.2", "layers.10"]
    assert {m.type for m in s.modules} == {""}
    assert s.totals.nbytes == 28
    assert s.totals.params == 8
    assert s.totals.unclassified == 1
    assert s.totals.trainable == 0
    assert s.provenance.kind == "safetensors"


def test_a_guessed_role_is_marked_and_an_unknown_one_is_unclassified():
    s = read(written({
        "bn.weight": entry(), "bn.running_mean": entry(offsets=[8, 16]),
        "bn.num_batches_tracked": entry("I64", [], [16, 24]),
        "strange": entry(offsets=[24, 32]), "q.weight": entry("U8", [8], [32, 40]),
        "attn.bias": entry("F32", [1, 1, 2, 2], [40, 56]),
    }, 56))  # fmt: skip
    roles = {t.path: (t.role, t.inferred) for t in s.tensors}
    assert roles["bn.weight"] == ("parameter", ("role",))
    assert roles["bn.running_mean"] == roles["bn.num_batches_tracked"] == roles["attn.bias"] == ("buffer", ("role",))
    assert roles["strange"] == roles["q.weight"] == ("unknown", ())
    assert [n.code for n in s.notes] == ["roles-guessed"]
    assert (s.totals.params, s.totals.buffers, s.totals.unclassified) == (2, 7, 10)


@pytest.mark.parametrize(("dtype", "elements", "nbytes"), [("F4", 6, 3), ("F6_E2M3", 8, 6), ("F6_E3M2", 4, 3)])
def test_elements_smaller_than_a_byte_are_counted_whole(dtype, elements, nbytes):
    s = read(written({"w.weight": entry(dtype, [elements], [0, nbytes])}, nbytes))
    assert (s.totals.params, s.totals.packed, s.totals.nbytes) == (elements, elements, nbytes)


MALFORMED = {
    "short": b"\0\0",
    "no bytes": b"",
    "header too large": (10**9).to_bytes(8, "little") + b"{}",
    "header behind the end": (50).to_bytes(8, "little") + b"{}",
    "empty header": written(b""),
    "not UTF-8": written(b'{"\xff": 1}'),
    "not JSON": written(b"{'a': 1}"),
    "no object": written(b"[1]"),
    "a space first": written(b" {}"),
    "cut in the header": written(b'{"a": {'),
    "NaN": written(b'{"a": NaN}'),
    "nested": written(b'{"a":' + b"[" * 100_000),
    "many digits": written(b'{"a": ' + b"9" * 100_000 + b"}"),
    "a tensor twice": written(b'{"a": 1, "a": 2}'),
    "a key twice": written(b'{"a": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', 8),
    "no tensor": written({"a": 3}),
    "no dtype": written({"a": {"shape": [2], "data_offsets": [0, 8]}}, 8),
    "unknown dtype": written({"a": entry("F33")}, 8),
    "dtype no string": written({"a": entry(["F32"])}, 8),
    "negative size": written({"a": entry(shape=[-2])}, 8),
    "size no int": written({"a": entry(shape=[2.0])}, 8),
    "size a bool": written({"a": entry(shape=[True, 2])}, 8),
    "shape no list": written({"a": entry(shape="2")}, 8),
    "overflow": written({"a": entry(shape=[2**40, 2**40, 0])}, 8),
    "one offset": written({"a": entry(offsets=[0])}, 8),
    "negative offset": written({"a": entry(offsets=[-8, 0])}, 8),
    "offsets swapped": written({"a": entry(offsets=[8, 0])}, 8),
    "size of shape and dtype": written({"a": entry(shape=[3])}, 8),
    "half a byte": written({"a": entry("F4", [3], [0, 2])}, 2),
    "overlap": written({"a": entry(), "b": entry(offsets=[4, 12])}, 12),
    "same bytes": written({"a": entry(), "b": entry()}, 8),
    "hole": written({"a": entry(), "b": entry(offsets=[12, 20])}, 20),
    "hole in front": written({"a": entry(offsets=[4, 12])}, 12),
    "data cut": written({"a": entry()}, 7),
    "data beyond": written({"a": entry()}, 9),
    "surrogate": written(b'{"\\ud800": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', 8),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_one_line_that_names_it(case):
    with pytest.raises(FormatError) as caught:
        read(MALFORMED[case])
    text = str(caught.value)
    assert text.startswith("x.safetensors: ")
    assert text.isprintable()
    assert len(text) < 500


def test_the_message_names_the_tensor():
    with pytest.raises(FormatError, match=r"tensor 'layer\.w\\n'"):
        read(written({"layer.w\n": entry("F33")}, 8))


def test_hostile_nesting_is_refused_before_memory_runs_out():
    name = "a." * 30_000 + "w"
    with pytest.raises(FormatError, match="nest"):
        read(written({name: entry()}, 8))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_random_bytes_raise_nothing_else(data):
    read_or_refused(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
entries = st.fixed_dictionaries({
    "dtype": st.sampled_from(["F32", "F4", "F6_E2M3", "BOOL", "C64"]) | json_values,
    "shape": st.lists(st.integers(-1, 4), max_size=3) | json_values,
    "data_offsets": st.lists(st.integers(-1, 64), min_size=2, max_size=2) | json_values,
})  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=6), entries | json_values, max_size=3), st.integers(0, 64))
def test_invented_headers_raise_nothing_else(header, data):
    s = read_or_refused(written(header, data))
    if s is not None:
        assert s.totals.nbytes == data
        assert s.fingerprint()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_mutated_file_raises_nothing_else(data):
    good = bytearray(written({"a.weight": entry(), "b.running_var": entry("F16", [2, 2], [8, 16])}, 16))
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    read_or_refused(bytes(good))


numpy = pytest.importorskip("numpy")
library = pytest.importorskip("safetensors.numpy")

arrays = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda name: name != "__metadata__"),
    st.tuples(
        st.sampled_from(["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "uint16",
                         "uint32", "uint64", "bool", "complex64"]),
        st.lists(st.integers(0, 4), max_size=3).map(tuple),
    ),
    max_size=6,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(arrays)
def test_what_the_library_writes_is_read_as_it_is(specs):
    made = {name: numpy.zeros(shape, kind) for name, (kind, shape) in specs.items()}
    s = read(library.save(made, {"format": "np"}))
    assert {t.path: (t.dtype.name, t.shape) for t in s.tensors} == specs
    assert s.totals.nbytes == sum(array.nbytes for array in made.values())
    above = {m.path for m in s.modules}
    assert all(t.module in above for t in s.tensors)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=3), entries, max_size=3), st.integers(0, 64))
def test_numel_reads_no_file_that_the_library_refuses(header, data):
    blob = written(header, data)
    try:
        read(blob)
    except FormatError:
        return
    from safetensors import deserialize

    deserialize(blob)


def shards(folder: Path, weight_map: dict[str, str], **held: bytes) -> Path:
    for name, blob in held.items():
        (folder / f"{name}.safetensors").write_bytes(blob)
    (folder / files.INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_the_shards_of_an_index_are_one_model(tmp_path):
    folder = shards(
        tmp_path, {"a.weight": "s1.safetensors", "b.weight": "s2.safetensors"},
        s1=written({"a.weight": entry()}, 8), s2=written({"b.weight": entry(), "c": entry(offsets=[8, 16])}, 16),
    )  # fmt: skip
    s = files.read(folder)
    assert [t.path for t in s.tensors] == ["a.weight", "b.weight", "c"]
    assert [n.code for n in s.notes] == ["not-in-index", "roles-guessed"]
    assert s.totals == files.read(folder / files.INDEX).totals


@pytest.mark.parametrize(
    "weight_map",
    [
        {"a": "../s1.safetensors"}, {"a": "/etc/s1"}, {"a": "s9.safetensors"}, {"z": "s1.safetensors"},
        {"a": 3}, {"a": ""}, [1],
    ],
)
def test_an_index_that_lies_is_one_line(tmp_path, weight_map):
    with pytest.raises(TargetError) as caught:
        files.read(shards(tmp_path, weight_map, s1=written({"a": entry()}, 8)))
    assert "\n" not in str(caught.value)


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    one = written({"a": entry()}, 8)
    with pytest.raises(FormatError, match=r"both in s1\.safetensors and in s2\.safetensors"):
        files.read(shards(tmp_path, {"a": "s1.safetensors", "b": "s2.safetensors"}, s1=one, s2=one))


@pytest.mark.parametrize("name", ["missing.safetensors", "", "bad\0name"])
def test_a_file_that_cannot_be_opened_is_one_line(tmp_path, name):
    with pytest.raises(NumelError) as caught:
        files.read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_without_a_suffix_is_recognised_and_another_is_not(tmp_path):
    blob = tmp_path / "0f3a"
    blob.write_bytes(written({"a": entry()}, 8))
    assert files.read(blob).totals.unclassified == 2
    way_out = "load the state dict"
    for head, said in ((b"GGUF", r"index\.json$"), (b"PK\3\4", way_out), (b"\x80\2}", way_out)):
        blob.write_bytes(head)
        with pytest.raises(FormatError, match=f"not a file that numel reads.*{said}"):
            files.read(blob)


def test_reading_a_file_imports_neither_torch_nor_numpy(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(written({"a.weight": entry()}, 8))
    code = (
        "import sys; from numel.sources.targets import resolve\n"
        f"assert resolve({str(path)!r}).snapshot.totals.params == 2\n"
        "print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

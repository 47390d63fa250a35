"""What is different between models: every kind of change, the right pairs under other names, totals, conditions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numel
from numel.analyses.alignment import Alignment, aligned
from numel.analyses.compare import changes, folded
from numel.analyses.conditions import parsed
from numel.document import Quantity
from numel.errors import SchemaError, ViewError
from numel.facts import Change, ModuleRecord, Snapshot, TensorRecord, ValueDifference, dtype
from numel.facts.tensor import Part
from numel.results import Comparison, Report, from_saved

F32, F16 = dtype("f32"), dtype("f16")


def weight(path: str, *shape: int, **more: Any) -> TensorRecord:
    return TensorRecord(path, shape, more.pop("dtype", F32), trainable=more.pop("trainable", True), **more)


def net(*tensors: TensorRecord, root: str = "Net", types: dict[str, str] | None = None) -> Snapshot:
    """Modules as the paths of the tensors say, Linear where nothing else is said."""
    paths = {""}
    for tensor in tensors:
        above = tensor.module
        while above:
            paths.add(above)
            above = above.rpartition(".")[0]
    ordered = sorted(paths, key=lambda path: [(part.zfill(6) if part.isdigit() else part) for part in path.split(".")])
    named = {"": root} | (types or {})
    return Snapshot(tuple(ModuleRecord(path, named.get(path, "Linear")) for path in ordered), tensors)


def file(*tensors: TensorRecord) -> Snapshot:
    found = net(*(replace(t, role="parameter", trainable=False, inferred=("role",)) for t in tensors))
    return replace(found, modules=tuple(replace(module, type="") for module in found.modules))


def blocks(prefix: str, widths: list[int]) -> list[TensorRecord]:
    return [weight(f"{prefix}{i}.fc.weight", width, 4) for i, width in enumerate(widths)]


def found(one: Snapshot, other: Snapshot) -> list[tuple[Any, ...]]:
    return [(c.kind, c.path, c.before, c.after) for c in changes(one, other, aligned(one, other))]


def pairs(alignment: Alignment) -> dict[str | None, str | None]:
    return {x and x.path: y and y.path for x, y in alignment.tensors}


BASE = net(weight("a.weight", 2, 3), weight("b.weight", 4, 5))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (BASE, []),
        (net(weight("a.weight", 2, 3), weight("b.weight", 4, 6)), [("reshaped", "b.weight", (4, 5), (4, 6))]),
        (net(weight("a.weight", 2, 3, dtype=F16), weight("b.weight", 4, 5)),
         [("retyped", "a.weight", "float32", "float16")]),
        (net(weight("a.weight", 2, 3, trainable=False), weight("b.weight", 4, 5)),
         [("frozen", "a.weight", True, False)]),
        (net(weight("a.weight", 2, 3), weight("b.weight", 4, 5), types={"b": "Bilinear"}),
         [("replaced", "b", "Linear", "Bilinear")]),
        (net(weight("a.weight", 2, 3)), [("removed", "b", "Linear", None), ("removed", "b.weight", (4, 5), None)]),
        (net(weight("a.weight", 2, 3), weight("b.weight", 4, 5), weight("b.bias", 4)),
         [("added", "b.bias", None, (4,))]),
        (net(weight("a.weight", 2, 3), weight("b.weight", 4, 5), weight("c.weight", 1, 1)),
         [("added", "c", None, "Linear"), ("added", "c.weight", None, (1, 1))]),
    ],
)  # fmt: skip
def test_each_change_is_found_and_nothing_else(other: Snapshot, expected: list[tuple[Any, ...]]):
    assert found(BASE, other) == expected


def test_ties_that_are_made_broken_and_kept():
    free = net(weight("a.weight", 2, 3), weight("b.weight", 2, 3))
    tied = net(weight("a.weight", 2, 3), weight("b.weight", 2, 3, alias_of="a.weight"))
    assert found(free, tied) == [("tied", "b.weight", None, "a.weight")]
    assert found(tied, free) == [("untied", "b.weight", "a.weight", None)]
    renamed = net(weight("module.a.weight", 2, 3), weight("module.b.weight", 2, 3, alias_of="module.a.weight"))
    assert found(tied, renamed) == [  # the tie is the same under other names
        ("added", "", None, "Net"), ("replaced", "module", "Net", "Linear"),
    ]  # fmt: skip


def test_unfrozen_is_the_other_way_round():
    frozen = net(weight("a.weight", 2, 3, trainable=False), weight("b.weight", 4, 5))
    assert found(frozen, BASE) == [("unfrozen", "a.weight", False, True)]


def test_a_file_is_compared_in_what_it_knows():
    """It has no classes, no training, no ties and no buffers that are not saved: none of these is a difference."""
    live = net(weight("a.weight", 2, 3), weight("b.weight", 2, 3, alias_of="a.weight"),
               weight("c.mask", 7, role="buffer", persistent=False))  # fmt: skip
    assert found(live, file(weight("a.weight", 2, 3))) == []
    assert found(file(weight("a.weight", 2, 3)), live) == []
    assert found(live, file(weight("a.weight", 2, 4))) == [("reshaped", "a.weight", (2, 3), (2, 4))]
    assert found(live, file()) == [("removed", "a.weight", (2, 3), None)]


# ── which is which ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "base_model.model.", "net.encoder."])
def test_prefixes_and_wrappers_are_seen_through(prefix: str):
    inner = [weight("a.weight", 2, 3), *blocks("layers.", [5, 6]), weight("head.weight", 9, 3)]
    outer = net(*(replace(t, path=prefix + t.path) for t in inner))
    both = aligned(net(*inner), outer)
    assert pairs(both) == {t.path: prefix + t.path for t in inner}
    back = aligned(outer, net(*inner))
    assert pairs(back) == {prefix + t.path: t.path for t in inner}


def test_wrappers_inside_are_seen_through():
    plain = net(*blocks("layers.", [5, 6]))
    wrapped = net(*(replace(t, path=t.path.replace(".fc", "._checkpoint_wrapped_module.fc")) for t in plain.tensors))
    assert list(pairs(aligned(plain, wrapped)).values()) == [t.path for t in wrapped.tensors]
    lora = net(*(replace(t, path=t.path.replace("fc.", "fc.base_layer.")) for t in plain.tensors),
               weight("layers.0.fc.lora_A.weight", 2, 4))  # fmt: skip
    found_pairs = pairs(aligned(plain, lora))
    assert found_pairs["layers.0.fc.weight"] == "layers.0.fc.base_layer.weight"
    assert found_pairs[None] == "layers.0.fc.lora_A.weight"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([5, 6, 7], [5, 6, 7, 8], {0: 0, 1: 1, 2: 2}),  # one behind
        ([5, 6, 7], [9, 5, 6, 7], {0: 1, 1: 2, 2: 3}),  # one before: shifted
        ([5, 6, 7, 8], [5, 7, 8], {0: 0, 2: 1, 3: 2}),  # one taken out
        ([5, 5, 5], [5, 5, 5, 5], {0: 0, 1: 1, 2: 2}),  # equal blocks keep their numbers
        ([5, 6], [50, 60], {0: 0, 1: 1}),  # all resized: by number
    ],
)
def test_numbered_blocks_are_found_where_they_moved(one: list[int], other: list[int], expected: dict[int, int]):
    found_pairs = pairs(aligned(net(*blocks("layers.", one)), net(*blocks("layers.", other))))
    name = "layers.{}.fc.weight".format
    both = {x: y for x, y in found_pairs.items() if x is not None and y is not None}
    assert both == {name(x): name(y) for x, y in expected.items()}


def test_a_renamed_block_is_found_by_what_is_in_it_and_said():
    one = net(weight("enc.q.weight", 4, 4), weight("enc.k.weight", 4, 5), weight("head.weight", 9, 4))
    other = net(weight("encoder.q.weight", 4, 4), weight("encoder.k.weight", 4, 5), weight("head.weight", 9, 4))
    both = aligned(one, other)
    assert pairs(both)["enc.q.weight"] == "encoder.q.weight"
    assert "1 modules found under other names" in both.how
    assert found(one, other) == [("moved", "encoder", "enc", "encoder")]


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_every_tensor_is_in_one_pair(one: list[int], other: list[int]):
    first, second = net(*blocks("layers.", one)), net(*blocks("h.layers.", other))
    both = aligned(first, second)
    assert sorted(x.path for x, _ in both.tensors if x) == sorted(t.path for t in first.tensors)
    assert sorted(y.path for _, y in both.tensors if y) == sorted(t.path for t in second.tensors)


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=10))
def test_a_model_is_identical_with_itself(widths: list[int]):
    assert found(net(*blocks("layers.", widths)), net(*blocks("layers.", widths))) == []


def test_sixty_thousand_modules_are_aligned():
    """No time is asserted: what would take the square of it would not end."""
    many = [weight(f"layers.{i}.experts.{j}.w", 2, 3) for i in range(60) for j in range(500)]
    one, other = net(*many), net(*many[500:])
    kinds = [c.kind for c in changes(one, other, aligned(one, other))]
    assert set(kinds) == {"removed"}
    assert kinds.count("removed") == 1 + 1 + 500 + 500  # a layer, its list, the experts and their tensors


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # a name of a wrapper beside other things is a name
        (net(weight("weight", 2), weight("module.weight", 2, 2)),
         net(weight("weight", 2), weight("module.weight", 7, 2)),
         [("reshaped", "module.weight", (2, 2), (7, 2))]),
        # also where what is around it is a wrapper
        (file(weight("module.w", 2), weight("x.w", 3)), file(weight("module.module.w", 2), weight("module.x.w", 3)),
         []),
        # what shares less than half is another
        (net(weight("a.x", 2, 3), weight("a.y", 4), weight("a.z", 5), weight("h.w", 9)),
         net(weight("b.x", 2, 3), weight("b.y", 7), weight("b.z", 8), weight("h.w", 9)),
         [("removed", "a", "Linear", None), ("added", "b", None, "Linear"),
          *(("removed", f"a.{n}", shape, None) for n, shape in (("x", (2, 3)), ("y", (4,)), ("z", (5,)))),
          *(("added", f"b.{n}", None, shape) for n, shape in (("x", (2, 3)), ("y", (7,)), ("z", (8,))))]),
        # a rename stays one where the sources know no classes
        (file(weight("enc.q", 2, 3), weight("h", 4)), file(weight("encoder.q", 2, 3), weight("h", 4)),
         [("moved", "encoder", "enc", "encoder")]),
        (file(weight("model.a.w", 2, 3), weight("model.b.w", 4)), file(weight("a.w", 2, 3), weight("b.w", 4)),
         [("moved", "", "model", "")]),
        (file(*blocks("l.", [5, 6, 7])), file(*blocks("l.", [9, 5, 6, 7])),
         [*(("moved", f"l.{i + 1}", f"l.{i}", f"l.{i + 1}") for i in range(3)),
          ("added", "l.0.fc.weight", None, (9, 4))]),
        # most of it is the same under another name
        (file(*blocks("model.layers.", [2, 2, 2])), file(*blocks("gpt.h.", [5, 2, 2])),
         [("moved", "gpt", "model", "gpt"), ("moved", "gpt.h", "model.layers", "gpt.h"),
          ("reshaped", "gpt.h.0.fc.weight", (2, 4), (5, 4))]),
        # nothing of it is: two modules of one class are not each other for that
        (net(weight("classifier.weight", 4, 3)), net(weight("pos.weight", 77, 300)),
         [("removed", "classifier", "Linear", None), ("added", "pos", None, "Linear"),
          ("removed", "classifier.weight", (4, 3), None), ("added", "pos.weight", None, (77, 300))]),
        # what is in it says more than a letter, and a name more than one shape
        (net(weight("a.w", 4, 3), weight("b.w", 5, 4)), net(weight("b.w", 4, 3), weight("c.w", 5, 4)),
         [("moved", "b", "a", "b"), ("moved", "c", "b", "c")]),
        (net(*(weight(f"{n}.w", 8, 8) for n in "qkv")),
         net(weight("q.w", 16, 8), *(weight(f"{n}.w", 8, 8) for n in "kvo")),
         [("added", "o", None, "Linear"), ("added", "o.w", None, (8, 8)), ("reshaped", "q.w", (8, 8), (16, 8))]),
        # what it is for
        (net(weight("a.w", 2, 3)), net(weight("a.w", 2, 3, role="buffer", trainable=False)),
         [("replaced", "a.w", "parameter", "buffer")]),
        (net(weight("a.w", 2, role="buffer")), net(weight("a.w", 2, role="buffer", persistent=False)),
         [("replaced", "a.w", "buffer", "buffer, not saved")]),
        # a tensor that a file holds a second time is none of the tied ones
        (net(weight("a.w", 2, 3), weight("b.w", 2, 3, alias_of="a.w")), file(weight("a.w", 2, 3), weight("b.w", 2, 3)),
         [("untied", "b.w", "a.w", None)]),
        # but it may keep either place
        (net(weight("a.w", 2, 3), weight("b.w", 2, 3, alias_of="a.w")), file(weight("b.w", 2, 3)), []),
    ],
)  # fmt: skip
def test_what_is_different_is_said_and_nothing_else(one: Snapshot, other: Snapshot, expected: list[tuple[Any, ...]]):
    assert found(one, other) == expected
    assert Comparison((Report(one), Report(other)), ("x", "y")).identical is (not expected)


def test_a_tie_is_the_same_whichever_place_comes_first():
    one = net(weight("a.w", 2, 3), weight("b.w", 2, 3, alias_of="a.w"))
    other = net(weight("b.w", 2, 3), weight("a.w", 2, 3, alias_of="b.w"))
    assert found(one, other) == []


def test_a_class_of_the_same_name_and_other_settings_are_a_difference():
    def one(kind: str, **attributes: int) -> Snapshot:
        return Snapshot((ModuleRecord("", kind, attributes=tuple(attributes.items())),), (weight("w", 2),))

    assert found(one("a.Conv", stride=1), one("b.Conv", stride=1)) == [("replaced", "", "a.Conv", "b.Conv")]
    assert found(one("a.Conv", stride=1, groups=1), one("a.Conv", stride=2, groups=1)) == [
        ("replaced", "", "Conv(stride=1)", "Conv(stride=2)")
    ]
    assert found(one("a.Conv", stride=1), one("a.Conv", stride=1, groups=1)) == []  # an older record does not say it


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (2, (2, 2), True), ((3,), 3, True), ("(2.0, 2.0)", 2.0, True), ((2, 2), "(2.0, 2.0)", True),
        (None, "(None, None)", True), (2, (2, 3), False), ((2,), (2, 2), False), (2, "(2.0, 2.5)", False),
        (2, (), False), (0, "(None, 0)", False), ("same", "(same)", False), ("same", (1, 1), False),
        ("(1, 1)", "(1, 2)", False),
    ],
)  # fmt: skip
def test_a_number_is_the_setting_that_a_tuple_which_repeats_it_is(one: Any, other: Any, same: bool):
    def pool(setting: Any) -> Snapshot:
        return Snapshot((ModuleRecord("", "Pool", attributes=(("size", setting),)),), (weight("w", 2),))

    for x, y in ((one, other), (other, one)):
        change = ("replaced", "", f"Pool(size={x})", f"Pool(size={y})")
        assert found(pool(x), pool(y)) == ([] if same else [change])


def test_of_a_resized_layer_the_settings_that_do_not_follow_from_its_shapes_are_said():
    def conv(width: int, stride: int) -> Snapshot:
        attributes = (("out_channels", width), ("stride", stride))
        return Snapshot((ModuleRecord("", "Conv", attributes=attributes),), (weight("w", width),))

    assert found(conv(2, 1), conv(3, 1)) == [("reshaped", "w", (2,), (3,))]
    assert found(conv(2, 1), conv(3, 2)) == [
        ("replaced", "", "Conv(stride=1)", "Conv(stride=2)"), ("reshaped", "w", (2,), (3,))
    ]  # fmt: skip


def test_what_a_sequence_holds_in_another_order_has_moved():
    def sequence(*names: str, kind: str = "Sequential") -> Snapshot:
        return Snapshot((ModuleRecord("", kind), *(ModuleRecord(name, "Act") for name in names)), ())

    assert found(sequence("a", "b", "c", "d", "e"), sequence("a", "d", "c", "b", "e")) == [
        ("moved", "", "b, c, d", "d, c, b")
    ]
    assert found(sequence("a", "b"), sequence("a", "new", "b")) == [("added", "new", None, "Act")]
    assert found(sequence("a", "b", kind="Net"), sequence("b", "a", kind="Net")) == []  # whose forward names them


def test_unknown_sizes_are_not_called_identical():
    lazy = net(TensorRecord("a.weight", None, F32, trainable=True))
    made = Comparison((Report(lazy), Report(lazy)), ("x", "y"))
    assert not made.identical
    assert "No difference found in what is known" in str(made)


def test_a_layer_that_is_put_into_a_sequence_moves_those_behind_it():
    def sequence(*kinds: str) -> Snapshot:
        modules = (ModuleRecord("", "Seq"), *(ModuleRecord(str(i), kind) for i, kind in enumerate(kinds)))
        sizes = {"L3": 3, "L4": 4}
        return Snapshot(modules, tuple(weight(f"{i}.w", sizes[k]) for i, k in enumerate(kinds) if k in sizes))

    assert found(sequence("L3", "ReLU", "L4"), sequence("L3", "Dropout", "ReLU", "L4")) == [
        ("added", "1", None, "Dropout"), ("moved", "2", "1", "2"), ("moved", "3", "2", "3")
    ]  # fmt: skip


def test_what_wraps_another_module_is_in_the_layers_that_make_the_difference():
    """Else the rows would not add up: 3 parameters more around what is wrapped, and 3 more in it."""
    def outer(n: int) -> Report:
        types = {"fc": "Adapted", "fc.base_layer": "Linear"}
        return Report(net(weight("fc.scale", n), weight("fc.base_layer.weight", n, 1), types=types))

    made = Comparison((outer(2), outer(5)), ("x", "y"))
    layers = next(table for table in made.document().tables if table.title == "Where it comes from")
    assert sum(layers.to_dict()["params_difference"]) == 6


def test_many_children_of_two_kinds_are_aligned():
    """Time that is cubic, as difflib's is here, would not end."""
    one = net(*blocks("layers.", [5] * 1500))
    other = net(*blocks("layers.", [5 + i % 2 for i in range(1500)]))
    assert {change.kind for change in changes(one, other, aligned(one, other))} == {"reshaped"}


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_equal_changes_of_numbered_blocks_are_one_row():
    made = [Change("reshaped", f"layers.{i}.fc.weight", (2,), (3,)) for i in range(32)]
    made += [Change("added", "norm", None, "Norm"), Change("added", "norm.weight", None, (4,))]
    rows = folded(made).rows
    assert rows == (("reshaped", "layers.0–31.fc.weight", (2,), (3,), 32), ("added", "norm", "", "Norm", 1))


def test_totals_stand_side_by_side_with_their_difference_and_ratio():
    made = Comparison((Report(BASE), Report(net(weight("a.weight", 2, 3)))), ("x", "y"))
    rows = {row[0]: row[1:] for row in made.document().tables[0].rows}
    assert [cell.value if isinstance(cell, Quantity) else cell for cell in rows["params"]] == [26, 6, -20, 6 / 26]


def test_a_difference_of_lower_bounds_is_no_exact_number():
    lazy = net(weight("a.weight", 2, 3), TensorRecord("b.weight", None, F32, trainable=True))
    made = Comparison((Report(BASE), Report(lazy)), ("x", "y"))
    row = next(row for row in made.document().tables[0].rows if row[0] == "params")
    assert [cell.mark for cell in row[1:] if isinstance(cell, Quantity)] == ["", "≥", "≈", "≈"]


def test_identical_models_say_so():
    made = Comparison((Report(BASE), Report(BASE)), ("x", "y"))
    assert made.identical
    assert "No difference" in str(made)


def test_a_file_says_nothing_of_ties_and_of_what_trains():
    live = net(weight("a.weight", 2, 3), weight("b.weight", 2, 3, alias_of="a.weight"))
    made = Comparison((Report(live), Report(file(weight("a.weight", 2, 3)))), ("x", "y"))
    cells = {figure.key: figure.cells for figure in made.figures}
    assert (cells["tied"], cells["trainable"]) == ((6, None), (6, None))
    assert made.identical


def test_a_view_of_a_larger_storage_is_not_identical_with_a_tensor_of_its_own():
    view, own = (net(weight("w", 10, storage=0, storage_nbytes=n)) for n in (1600, 40))
    made = Comparison((Report(view), Report(own)), ("x", "y"))
    assert (made.identical, made.changes) == (False, ())
    assert "The same modules and tensors, but these differ: params and buffers size." in str(made)
    assert Comparison((Report(view), Report(file(weight("w", 10)))), ("x", "y")).identical  # a file holds no storages


def test_tensors_packed_in_another_way_are_retyped():
    def packed(*parts: Part, packed: bool = True) -> Snapshot:
        return net(weight("w", 8, 8, packed=packed, parts=parts))

    bytes_, words = Part("data", (8, 8), dtype("u8")), Part("data", (8, 1), dtype("i32"))
    assert found(packed(bytes_), packed(bytes_)) == []
    assert found(packed(bytes_), packed(words)) == [
        ("retyped", "w", "float32 in data uint8[8, 8]", "float32 in data int32[8, 1]")
    ]
    assert found(packed(), packed(packed=False)) == [("retyped", "w", "float32 packed", "float32")]


def test_values_that_could_not_be_read_are_those_of_a_target():
    made = Comparison((Report(BASE),) * 3, ("x", "y", "z"), values=((), ()), unread=(("a.weight",), ("b.weight",)))
    said = " ".join(str(made).split())
    assert "y: the values of a.weight could not be compared" in said
    assert "z: the values of b.weight could not be compared" in said


def test_a_value_that_became_nan_is_not_close():
    assert ValueDifference("w", "w", max_abs=1e-9, max_rel=1e-9, differing=1).close
    assert not ValueDifference("w", "w", differing=1, odd=1).close


def test_of_several_the_ones_that_no_other_beats_are_marked():
    reports = tuple(Report(net(weight("a.weight", n, 1))) for n in (10, 20, 30))
    made = Comparison(reports, ("s", "m", "l"), {"accuracy": (0.5, 0.9, 0.8)})
    table = made.document().tables[-1].to_dict()
    assert table["best"] == [True, True, False]  # the largest is worse than the middle one in both


def test_of_a_metric_less_is_better_where_its_name_says_so():
    reports = tuple(Report(net(weight("a.weight", n, 1))) for n in (10, 20, 30))
    made = Comparison(reports, ("s", "m", "l"), {"loss:min": (0.5, 0.9, 0.3)})
    table = made.document().tables[-1].to_dict()
    assert (table["loss"], table["best"]) == ([0.5, 0.9, 0.3], [True, False, True])
    assert made.failing(["loss > +0.3"]) == ["m: loss 0.9 is +0.4 beside 0.5 (loss > +0.3)"]
    assert made.chart("scatter").y == ("loss",)
    assert "loss (less is better)" in str(made)
    assert from_saved(json.loads(made.text("json")), "c.json") == made


def test_of_lower_bounds_nobody_knows_which_is_best():
    lazy = Report(net(weight("a.weight", 2, 3), TensorRecord("b.weight", None, F32, trainable=True)))
    made = Comparison((lazy, Report(BASE), Report(BASE)), ("x", "y", "z"))
    assert made.document().tables[-1].to_dict()["best"] == [None, None, None]


def test_files_of_unknown_roles_are_traded_off_by_what_is_known():
    files = [file(weight("w", n)) for n in (2, 3, 4)]
    files = [replace(s, tensors=tuple(replace(t, role="unknown") for t in s.tensors)) for s in files]
    made = Comparison(tuple(map(Report, files)), ("s", "m", "l"), {"accuracy": (0.5, 0.9, 0.8)})
    assert made.document().tables[-1].to_dict()["best"] == [True, True, False]


def test_a_comparison_is_saved_and_read_back():
    made = Comparison((Report(BASE), Report(net(weight("a.weight", 2, 4)))), ("x", "y"), {"accuracy": (0.5, 0.9)})
    saved = json.loads(made.text("json"))
    assert {"kind": "reshaped", "path": "a.weight", "before": [2, 3], "after": [2, 4]} in saved["changes"][0]
    assert from_saved(saved, "c.json") == made
    damaged: list[dict[str, Any]] = [
        {"names": ["x"]}, {"names": "xy"}, {"metrics": 5}, {"metrics": {"a": [1]}}, {"values": 5}, {"reports": []},
        {"reports": [1, 2]}, {"values": [[], []], "unread": [[], []]}, {"values": [[]], "unread": []},
    ]  # fmt: skip
    for change in damaged:
        with pytest.raises(SchemaError):
            from_saved(saved | {"facts": saved["facts"] | change}, "c.json")


@pytest.mark.parametrize("format", ["terminal", "markdown", "latex", "html", "notebook", "csv"])
def test_it_is_drawn_in_every_format(format: str):
    made = Comparison((Report(BASE), Report(net(weight("a.weight", 2, 4)))), ("x", "y"))
    assert "params" in made.text(format, width=80)


# ── conditions ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("params > +1%", True), ("params > +10%", False), ("params > 105", True), ("params>=106", True),
        ("params > +5", True), ("params > +6", False), ("params < -1", False), ("params == 106", True),
        ("params != 106", False), ("nbytes > +20", True), ("nbytes > 1KiB", False), ("accuracy < -0.01", True),
        ("accuracy < -5%", True), ("accuracy < -50%", False), ("params > 0.0001M", True),
    ],
)  # fmt: skip
def test_conditions_hold_where_they_say(condition: str, holds: bool):
    """100 params against 106: 400 and 424 bytes; an accuracy that falls from 0.8 to 0.7, by 12.5 %."""
    reports = (Report(net(weight("a.weight", 100, 1))), Report(net(weight("a.weight", 106, 1))))
    made = Comparison(reports, ("x", "y"), {"accuracy": (0.8, 0.7)})
    assert bool(made.failing([condition])) is holds


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("params > 5", True), ("params >= 6", True), ("params > 6", None), ("params < 6", False), ("params < 7", None),
        ("params <= 5", False), ("params == 6", None), ("params > +1%", None), ("params > +1", None),
        ("buffers > 0", False),
    ],
)  # fmt: skip
def test_conditions_on_a_lower_bound_hold_where_that_is_proven(condition: str, holds: bool | None):
    """At least 6 parameters, beside at least 6: what is beyond a limit already is so with more."""
    lazy = Report(net(weight("a.weight", 2, 3), TensorRecord("b.weight", None, F32, trainable=True)))
    lazy = Comparison((lazy, lazy), ("x", "y"))
    if condition == "buffers > 0":
        lazy = Comparison((Report(BASE), Report(BASE)), ("x", "y"))
    assert bool(lazy.failing([condition])) is (holds is True)
    assert bool(lazy.undecided([condition])) is (holds is None)


@pytest.mark.parametrize(
    ("condition", "holds"), [("ll < -10%", False), ("ll > +10%", True), ("ll > +60%", False)]
)
def test_percentages_of_what_is_negative_rise_where_it_rises(condition: str, holds: bool):
    """From -2 to -1 it rises, by half of its size."""
    made = Comparison((Report(BASE), Report(BASE)), ("x", "y"), {"ll": (-2.0, -1.0)})
    assert bool(made.failing([condition])) is holds


@pytest.mark.parametrize("condition", ["nbytes > 500B", "params > 1%"])
def test_conditions_of_two_meanings_are_refused(condition: str):
    with pytest.raises(ViewError, match=r"write"):
        Comparison((Report(BASE), Report(BASE)), ("x", "y")).failing([condition])


@pytest.mark.parametrize("text", ["params", "params > ", "params > 5 apples", "> 5", "params => 5", "params > 5; x"])
def test_conditions_that_do_not_parse_are_said_with_their_form(text: str):
    with pytest.raises(ViewError, match="expected as in 'params > "):
        parsed(text)


def test_a_condition_on_a_number_that_is_not_known_is_an_error():
    made = Comparison((Report(BASE), Report(BASE)), ("x", "y"))
    with pytest.raises(ViewError, match=r"macs is not known of these targets; it takes inputs \(-i, --inputs\); known"):
        made.failing(["macs > 5"])
    with pytest.raises(ViewError, match="it takes inputs and a backward pass"):
        made.undecided(["peak_nbytes > 5"])
    with pytest.raises(ViewError, match="no number is called 'maccs'; known: params"):
        made.failing(["maccs > 5"])


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("params > 1e2", True), ("params > 1.06e2", False), ("params > +5e0", True), ("nbytes >= 0.424KB", True),
        ("nbytes > 0.424KB", False), ("nbytes > 0.424kib", False), ("nbytes > +1e-6MB", True), ("nbytes < 1GB", True),
        ("nbytes < 1TB", True),
    ],
)  # fmt: skip
def test_limits_in_powers_of_ten(condition: str, holds: bool):
    """100 params against 106: 400 and 424 bytes."""
    reports = (Report(net(weight("a.weight", 100, 1))), Report(net(weight("a.weight", 106, 1))))
    made = Comparison(reports, ("x", "y"))
    assert (bool(made.failing([condition])), made.undecided([condition])) == (holds, [])


def test_a_number_that_is_none_of_bytes_has_no_limit_in_bytes():
    with pytest.raises(ViewError, match="params: no number of bytes"):
        Comparison((Report(BASE), Report(BASE)), ("x", "y")).failing(["params > 5MB"])


def test_parameters_among_tensors_of_unknown_role_are_a_lower_bound():
    """A file does not say whether `w` is a parameter or a buffer, so that nobody knows whether there are more."""
    one, other = (file(weight("w", n, 2)) for n in (2, 2000))
    one, other = (replace(s, tensors=tuple(replace(t, role="unknown") for t in s.tensors)) for s in (one, other))
    made = Comparison((Report(one), Report(other)), ("x", "y"))
    for key in ("params", "active_params", "buffers"):
        assert (made.failing([f"{key} > +1%"]), len(made.undecided([f"{key} > +1%"]))) == ([], 1)
    assert len(made.failing(["unclassified > +1%", "nbytes > +1%"])) == 2


def test_numel_has_the_verb():
    assert numel.compare(BASE, BASE).identical


def wrapped(prefix: str = "fc", types: tuple[str, str] = ("Linear", "Adapter")) -> Snapshot:
    own = [weight(f"{prefix}.base.weight", 4, 3), weight(f"{prefix}.base.bias", 4)]
    return net(*own, weight(f"{prefix}.a", 1, 3), weight("head.weight", 2, 4),
               types={f"{prefix}.base": types[0], prefix: types[1]})  # fmt: skip


def test_a_layer_in_an_adapter_written_by_hand_has_moved_there():
    bare = net(weight("fc.weight", 4, 3), weight("fc.bias", 4), weight("head.weight", 2, 4), types={"fc": "Linear"})
    assert found(bare, wrapped()) == [
        ("added", "fc", None, "Adapter"), ("moved", "fc.base", "fc", "fc.base"), ("added", "fc.a", None, (1, 3)),
    ]  # fmt: skip
    assert found(wrapped(), bare) == [
        ("removed", "fc", "Adapter", None), ("moved", "fc", "fc.base", "fc"), ("removed", "fc.a", (1, 3), None),
    ]  # fmt: skip


def test_what_is_around_a_model_hides_nothing_that_was_added_in_it():
    inner = [weight("a.weight", 2, 3), weight("b.weight", 4, 5)]
    outer = net(*(replace(t, path=f"base.model.{t.path}") for t in inner), weight("base.model.a.lora.weight", 1, 3))
    both = aligned(net(*inner), outer)
    rows = folded(changes(net(*inner), outer, both), both.prefixes).rows
    assert ("added", "base.model.a.lora") in {row[:2] for row in rows}


def around(kind: str, name: str = "module") -> Snapshot:
    return net(weight(f"fc.{name}.weight", 4, 3), weight("head.weight", 2, 4), types={"fc": kind})


def test_a_class_of_the_users_own_around_another_module_is_no_wrapper():
    bare = net(weight("fc.weight", 4, 3), weight("head.weight", 2, 4))
    for name in ("module", "base_layer"):
        assert found(around("my.Residual", name), around("my.Twice", name)) == [("replaced", "fc", "Residual", "Twice")]
        assert found(bare, around("my.Residual", name)) == [
            ("added", "fc", None, "Residual"), ("moved", f"fc.{name}", "fc", f"fc.{name}")
        ]  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["torch.nn.parallel.distributed.DistributedDataParallel", "peft.tuners.lora.layer.Linear",
             "torch.distributed.algorithms._checkpoint.checkpoint_wrapper.CheckpointWrapper", ""]
)  # fmt: skip
def test_a_class_that_only_wraps_is_seen_through(kind: str):
    assert found(net(weight("fc.weight", 4, 3), weight("head.weight", 2, 4)), around(kind)) == []

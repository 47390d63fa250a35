"""A snapshot's sums and indexes, on facts built by hand; tests/property holds the same rules to random trees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from numel.facts import ModuleRecord, Snapshot, TensorRecord, Totals, dtype

F32 = dtype("f32")


def tree(*paths: str) -> tuple[ModuleRecord, ...]:
    return tuple(ModuleRecord(path, "pkg.mod.Block") for path in paths)


def tensor(path: str, *shape: int, **fields: object) -> TensorRecord:
    return TensorRecord(path, shape, F32, **fields)  # type: ignore[arg-type]


def test_a_tied_tensor_is_counted_at_its_first_path():
    s = Snapshot(
        tree("", "emb", "head"), (tensor("emb.weight", 10, 4), tensor("head.weight", 10, 4, alias_of="emb.weight"))
    )
    assert s.totals == Totals(params=40, nbytes=160, local_nbytes=160, tied=40)
    assert s.direct() == {"emb": Totals(params=40, nbytes=160, local_nbytes=160), "head": Totals(tied=40)}


def test_a_shared_storage_weighs_once_at_the_first_tensor_that_counts():
    """`whole` has 24 bytes; `row` views them. What is tied or not known stands for no bytes, though it comes before."""
    s = Snapshot(tree("", "a", "b"), (
        TensorRecord("a.lazy", None, F32, storage=0),
        tensor("a.tied", 3, alias_of="elsewhere", storage=0, storage_nbytes=24),
        tensor("a.whole", 2, 3, storage=0, storage_nbytes=24),
        tensor("b.row", 3, storage=0, storage_nbytes=24),
        tensor("b.other", 3, storage=1, storage_nbytes=12),
    ))  # fmt: skip
    assert s.totals == Totals(params=12, nbytes=36, local_nbytes=36, tied=3, unknown=1)
    assert [(path, each.nbytes) for path, each in s.direct().items()] == [("a", 24), ("b", 12)]


def test_tensors_without_a_storage_number_never_share_bytes():
    s = Snapshot(tree(""), (tensor("v", 2), tensor("w", 2)))
    assert s.totals.nbytes == 16


def test_subtotals_hold_all_that_is_below_and_modules_without_tensors():
    s = Snapshot(tree("", "a", "a.b", "a.b.c", "d"), (tensor("w", 1), tensor("a.b.w", 2), tensor("a.b.c.w", 4)))
    assert {path: each.params for path, each in s.subtotals().items()} == {"": 7, "a": 6, "a.b": 6, "a.b.c": 4, "d": 0}
    assert {path: [m.path for m in below] for path, below in s.children().items()} == {
        "": ["a", "d"], "a": ["a.b"], "a.b": ["a.b.c"],
    }  # fmt: skip


def test_a_name_with_a_dot_of_its_own_belongs_to_the_nearest_module_above():
    """`setattr(model, "block.0", layer)` is allowed by torch, and then no module is called "block"."""
    s = Snapshot(tree("", "block.0", "block.0.x.y"), (tensor("block.0.w", 3), tensor("block.0.x.y.w", 5)))
    assert {path: each.params for path, each in s.subtotals().items()} == {"": 8, "block.0": 8, "block.0.x.y": 5}
    assert [m.path for m in s.children()[""]] == ["block.0"]
    assert [m.path for m in s.children()["block.0"]] == ["block.0.x.y"]
    assert {path: each.params for path, each in s.direct().items()} == {"block.0": 3, "block.0.x.y": 5}


def test_a_module_has_what_it_holds_also_where_that_is_recorded_before_it():
    """`setattr(model, "block.0", layer)` and then `model.block = block`: preorder lists "block.0" first."""
    s = Snapshot(tree("", "block.0", "block"), (tensor("block.0.w", 3), tensor("block.w", 5)))
    assert {path: each.params for path, each in s.subtotals().items()} == {"": 8, "block.0": 3, "block": 8}
    assert s.subtotals()[""] == s.totals


def test_a_snapshot_is_the_same_whatever_was_asked_of_it():
    """What is derived is kept with it, once, and is none of its facts; another one has its own."""
    asked, other = (Snapshot(tree("", "a"), (tensor("a.w", 2), tensor("w", 3))) for _ in range(2))
    assert asked.subtotals() is asked.subtotals()
    assert asked.totals.params == 5
    assert (asked, hash(asked), repr(asked)) == (other, hash(other), repr(other))
    assert replace(asked, tensors=asked.tensors[:1]).subtotals()[""].params == 2


def test_layers_that_are_alike_share_one_sum():
    s = Snapshot(tree("", "a", "b"), (tensor("a.w", 2), tensor("a.v", 3), tensor("b.w", 2), tensor("b.v", 3)))
    assert s.subtotals()["a"] is s.subtotals()["b"]
    assert s.subtotals()[""].params == 10


def test_a_tensor_below_no_recorded_module_is_the_roots():
    s = Snapshot(tree("", "a"), (tensor("a.part.w", 2), tensor("w.original", 3)))
    assert {path: each.params for path, each in s.direct().items()} == {"a": 2, "": 3}
    assert s.subtotals()[""].params == 5


def test_an_empty_snapshot_has_a_root_of_zero():
    assert Snapshot().totals == Totals()
    assert Snapshot().subtotals() == {"": Totals()}
    assert Snapshot().children() == {}


@pytest.mark.parametrize("type_name", ["pkg.mod.Block", "Block"])
def test_a_module_knows_its_class(type_name):
    assert ModuleRecord("layers.0", type_name).class_name == "Block"


def test_equal_architectures_have_one_fingerprint_and_a_difference_in_structure_another():
    base = Snapshot(tree("", "a"), (tensor("a.w", 2, 3, trainable=True),))
    (module, inner), (weight,) = base.modules, base.tensors
    # where the bytes lie, in which mode the model is and who asked are not its structure
    same = Snapshot(
        (replace(module, training=True), inner), (replace(weight, storage=7, storage_nbytes=99, persistent=False),)
    )
    assert same.fingerprint() == base.fingerprint()
    others = [
        Snapshot((module, replace(inner, path="b")), base.tensors),
        Snapshot((module, replace(inner, type="pkg.mod.Other")), base.tensors),
        Snapshot((module, replace(inner, alias_of="")), base.tensors),
        *(
            Snapshot(base.modules, (replace(weight, **change),))
            for change in (
                {"path": "a.v"}, {"shape": (3, 2)}, {"shape": None}, {"dtype": dtype("f16")}, {"role": "buffer"},
                {"trainable": False}, {"alias_of": "a.v"},
            )
        ),
        Snapshot(base.modules, ()),
    ]  # fmt: skip
    assert len({each.fingerprint() for each in (base, *others)}) == len(others) + 1


def test_a_name_that_is_no_unicode_has_a_fingerprint_too():
    assert len(Snapshot(tree("", "\ud800")).fingerprint()) == 16

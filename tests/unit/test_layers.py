"""The tree of layers: rows that add up, blocks that fold only when equal, and words instead of false zeros."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from numel.analyses import groups, summary
from numel.analyses.arrange import largest, ordered, with_columns
from numel.analyses.cost import costs
from numel.analyses.layers import NOT_CALLED, Layer, layers, table, tree
from numel.analyses.params import by_dtype, tensors
from numel.document import Column, Quantity, Table
from numel.errors import ViewError
from numel.facts import CallRecord, Failure, ModuleRecord, OpRecord, Snapshot, TensorRecord, TensorSpec, Trace, dtype

F32 = dtype("f32")


def weight(path: str, *shape: int, **more: Any) -> TensorRecord:
    return TensorRecord(path, shape, F32, trainable=more.pop("trainable", True), **more)


def net(blocks: int = 3, *, odd: int | None = None) -> Snapshot:
    """A root with its own token, `blocks` equal layers of two modules (`odd` is wider), and a head."""
    modules = [ModuleRecord("", "pkg.Net"), ModuleRecord("layers", "torch.nn.ModuleList")]
    held = [weight("token", 1, 7)]
    for i in range(blocks):
        modules += [ModuleRecord(f"layers.{i}", "pkg.Block"), ModuleRecord(f"layers.{i}.fc", "torch.nn.Linear"),
                    ModuleRecord(f"layers.{i}.act", "torch.nn.ReLU")]  # fmt: skip
        held.append(weight(f"layers.{i}.fc.weight", 4 if i == odd else 2, 3))
    modules.append(ModuleRecord("head", "torch.nn.Linear"))
    held += [weight("head.weight", 5, 2), weight("head.bias", 5, trainable=False)]
    return Snapshot(tuple(modules), tuple(held))


def traced(snapshot: Snapshot, **more: Any) -> Trace:
    """Every module called once, in order, each Linear with one product of 2 × 3 × 2 MACs."""
    paths = [module.path for module in snapshot.modules if module.path != "layers"]
    x, w = TensorSpec((2, 3), F32), TensorSpec((2, 3), F32)
    made, ops = [], []
    for index, path in enumerate(paths):
        above = path.rpartition(".")[0]
        parent = paths.index(above if above in paths else "") if path else -1
        made.append(CallRecord(path, 0, parent, (x,), TensorSpec((2, 2), F32)))
        if path.endswith("fc") or path == "head":
            ops.append(OpRecord("aten.linear.default", index, (x, w), outputs=(TensorSpec((2, 2), F32),)))
    return Trace(tuple(made), tuple(ops), **more)


def drawn(snapshot: Snapshot, trace: Trace | None = None, **options: Any) -> Table:
    return tree(snapshot, layers(snapshot, None if trace is None else costs(snapshot, trace)), **options)


def column(table: Table, key: str) -> list[Any]:
    """The cells as they are, but for signs."""
    at = [each.key for each in table.columns].index(key)
    cells = [row[at] for row in table.rows]
    return [cell.value if isinstance(cell, Quantity) else cell for cell in cells]


def test_equal_numbered_neighbours_are_one_row_with_their_sum():
    found = drawn(net(), depth=9)
    rows = dict(zip(column(found, "path"), column(found, "params"), strict=True))
    assert rows["layers.0–2"] == 18
    assert rows["layers.0–2.fc"] == 18
    kinds = dict(zip(column(found, "path"), column(found, "type"), strict=True))
    assert kinds["layers.0–2"] == "Block × 3"
    assert kinds["layers.0–2.fc"] == "Linear × 3"
    assert "equal layers" in found.caption


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("fold", [True, False])
def test_the_rows_below_a_row_add_up_to_it(blocks: int, fold: bool):
    """Each inner row is the sum of the rows one level below it, in every column that adds up (none computes itself)."""
    snapshot = net(blocks)
    keys = "path params trainable_params nbytes macs flops activations"
    found = drawn(snapshot, traced(snapshot), columns=keys, fold=fold)
    for at, depth in enumerate(found.depths):
        below = []
        for later, deeper in zip(found.rows[at + 1 :], found.depths[at + 1 :], strict=True):
            if deeper <= depth:
                break
            if deeper == depth + 1:
                below.append(later)
        for place in range(1, len(found.columns)) if below else ():
            assert found.rows[at][place] == sum(row[place] for row in below), found.rows[at][0]


def test_a_block_that_differs_in_one_shape_is_not_folded_away():
    assert column(drawn(net(4, odd=2), depth=2), "path") == [
        "", "token", "layers", "layers.0–1", "layers.2", "layers.3", "head",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"trainable": False},
        {"dtype": dtype("bf16")},
        {"alias_of": "layers.0.fc.weight"},
        {"role": "buffer", "trainable": False},
        {"shape": (3, 2)},
    ],
)
def test_a_block_that_differs_in_what_a_tensor_is_is_not_folded_away(change: dict[str, Any]):
    snapshot = net(3)
    odd = tuple(replace(t, **change) if t.path == "layers.2.fc.weight" else t for t in snapshot.tensors)
    found = drawn(replace(snapshot, tensors=odd), depth=2)
    assert "layers.0–1" in column(found, "path")
    assert "layers.2" in column(found, "path")


def test_a_block_that_computes_something_else_is_not_folded_away():
    snapshot = net(3)
    trace = traced(snapshot)
    found = drawn(snapshot, replace(trace, ops=trace.ops[1:]), depth=2)
    assert column(found, "path")[3:5] == ["layers.0", "layers.1–2"]


def test_numbers_that_do_not_follow_on_are_not_one_run():
    names = ("0", "1", "3", "b1", "b2", "c")
    modules = (ModuleRecord("", "pkg.Net"), *(ModuleRecord(name, "torch.nn.ReLU") for name in names))
    assert column(drawn(Snapshot(modules)), "path") == ["", "0–1", "3", "b1–2", "c"]


def test_unfolded_every_block_has_its_row():
    found = drawn(net(), depth=2, fold=False)
    assert [path for path in column(found, "path") if "." in path] == ["layers.0", "layers.1", "layers.2"]
    assert "equal layers" not in found.caption


def test_the_depth_is_chosen_to_fit_a_screen_and_said():
    wide = Snapshot((ModuleRecord("", "pkg.Net"), *(
        ModuleRecord(f"{a}{end}", "pkg.M") for a in "abcdefgh" for end in ("", *(f".{b}" for b in "klmnop"))
    )))  # fmt: skip
    found = drawn(wide)
    assert len(found.rows) == 9
    assert found.caption.startswith("1 of 2 levels")
    assert len(drawn(wide, depth=2).rows) == 57


def test_a_wide_model_shows_its_first_level_however_many_rows():
    flat = Snapshot((ModuleRecord("", "pkg.Net"), *(ModuleRecord(f"m{i}x", "pkg.M") for i in range(500))))
    assert len(drawn(flat).rows) == 501


def test_a_module_that_did_not_run_says_so_and_a_container_does_not():
    snapshot = net(1)
    trace = traced(snapshot)
    head = [call.path for call in trace.calls].index("head")
    found = drawn(snapshot, replace(trace, calls=trace.calls[:head], ops=trace.ops[:-1]), depth=2)
    shapes = dict(zip(column(found, "path"), column(found, "output_shape"), strict=True))
    assert shapes["head"] == NOT_CALLED
    assert shapes["layers"] == ""
    assert shapes["layers.0"] == (2, 2)


def test_what_a_failed_forward_did_not_come_to_is_unknown_and_its_way_there_a_lower_bound():
    snapshot = net(2)
    trace = traced(snapshot)
    at = [call.path for call in trace.calls].index("layers.1.fc")
    failed = replace(trace, calls=trace.calls[: at + 1], ops=trace.ops[:1],
                     failure=Failure("layers.1.fc", "torch.nn.Linear", (), "ValueError", "no"))  # fmt: skip
    rows = {row.path: row for row in layers(snapshot, costs(snapshot, failed))}
    assert (rows["layers.0"].macs, rows["layers.0"].exact) == (12, True)
    for path in ("", "layers", "layers.1", "layers.1.fc"):
        assert not rows[path].exact, path
    assert [rows[path].macs for path in ("layers.1.act", "head")] == [None, None]
    found = drawn(snapshot, failed, columns="path macs", depth=9)
    cells = dict(found.rows)
    assert cells[""] == Quantity(12, "ops", at_least=True)
    assert cells["head"] is None


def test_a_failed_forward_leaves_lower_bounds_in_every_table():
    snapshot = net(2)
    trace = replace(traced(snapshot), failure=Failure("layers.1", "pkg.Block", (), "ValueError", "no"))
    priced = costs(snapshot, trace)
    rows = layers(snapshot, priced)
    macs = {row[0]: row[-4] for row in groups.by_type(rows).rows}
    assert macs["Block"] == Quantity(0, "ops", at_least=True)
    assert macs["ReLU"] == 0
    for found in (groups.by_type(rows), groups.by_depth(rows), groups.by_operator(priced)):
        keys = [each.key for each in found.columns]
        assert found.total[keys.index("macs")] == Quantity(36, "ops", at_least=True), found.title
    assert groups.by_operator(priced).to_dict()["macs_at_least"] == [True]
    # the root called what stopped, and would have gone on itself
    assert macs["Net"] == Quantity(0, "ops", at_least=True)


def test_a_share_of_what_is_not_exact_is_about_that_much():
    snapshot = net(2)
    failed = replace(traced(snapshot), failure=Failure("layers.1", "pkg.Block", (), "ValueError", "no"))
    for trace, about in ((traced(snapshot), None), (failed, True)):
        rows = layers(snapshot, costs(snapshot, trace))
        for found in (groups.by_type(rows), groups.by_depth(rows), table(rows)):
            assert set(found.to_dict().get("macs_share_about", [None])) == {about}, found.title


def test_what_ran_after_made_up_values_were_read_is_about_and_so_is_what_they_did_not_call():
    snapshot = net(2)
    whole = traced(snapshot)
    trace = replace(whole, calls=whole.calls[:-1], ops=whole.ops[:2], sampled=1)  # the head, which is last, is left out
    found = drawn(snapshot, trace, columns="path macs", depth=9, fold=False)
    about = {path for path, cell in found.rows if isinstance(cell, Quantity) and cell.mark == "≈"}
    assert about == {"", "layers", "layers.1", "layers.1.fc", "head"}
    assert found.to_dict()["macs_about"] == [path in about for path in found.to_dict()["path"]]
    assert not costs(snapshot, trace).total.exact


def test_the_parts_of_what_ran_as_one_piece_are_unknown_and_not_idle():
    snapshot = net(1)
    whole = traced(snapshot)
    inside = {i for i, call in enumerate(whole.calls) if call.path.startswith("layers.0.")}
    at = next(i for i, call in enumerate(whole.calls) if call.path == "layers.0")
    trace = replace(whole, whole=("layers.0",), ops=tuple(replace(o, call=at if o.call in inside else o.call)
                    for o in whole.ops), calls=tuple(replace(c, path="layers.0") if i in inside else c
                    for i, c in enumerate(whole.calls)))  # fmt: skip
    priced = costs(snapshot, trace)
    rows = {row.path: row for row in layers(snapshot, priced)}
    assert (rows["layers.0"].macs, rows["layers.0.fc"].macs, rows["layers.0.fc"].calls) == (12, None, None)
    assert rows[""].exact
    assert "not-called" not in [note.code for note in summary.notes(snapshot, trace, [priced], tuple(rows.values()))]


def test_a_lazy_tensor_makes_sums_by_type_and_dtype_lower_bounds():
    held = (weight("fc.weight", 3), TensorRecord("lazy.weight", None, F32, trainable=True))
    paths = ("", "fc", "lazy")
    snapshot = Snapshot(tuple(ModuleRecord(path, f"pkg.{path}_type") for path in paths), held)
    assert groups.by_type(layers(snapshot)).to_dict()["params_at_least"] == [False, False, True]
    assert by_dtype(snapshot).rows[0][2] == Quantity(3, "count", at_least=True)
    own = dict(zip(*(table(layers(snapshot)).to_dict()[key] for key in ("path", "own_params_at_least")), strict=True))
    assert own == {"": False, "fc": False, "lazy": True}


def test_elements_of_unknown_role_stand_in_every_sum():
    snapshot = Snapshot((ModuleRecord("", ""), ModuleRecord("a", "")), (TensorRecord("a.x", (4,), F32, "unknown"),))
    assert groups.by_depth(layers(snapshot)).to_dict()["unclassified"] == [0, 4]


def test_a_tensor_of_a_module_that_was_not_reached_has_unknown_work():
    """`end` holds a parameter beside a child, and the forward stopped before it."""
    snapshot = Snapshot(
        tuple(ModuleRecord(path, "pkg.M") for path in ("", "a", "end", "end.fc")),
        (weight("end.scale", 2), weight("end.fc.weight", 2, 3)),
    )
    trace = Trace((CallRecord("", 0, -1), CallRecord("a", 0, 0)), failure=Failure("a", "pkg.M", (), "ValueError", "no"))
    cells = dict(drawn(snapshot, trace, columns="path macs").rows)
    assert [cells[path] for path in ("end", "end.scale", "end.fc")] == [None, None, None]


def test_ties_stand_on_their_rows():
    snapshot = net(1)
    head = weight("head.weight", 2, 3, alias_of="layers.0.fc.weight")
    found = drawn(replace(snapshot, tensors=(*snapshot.tensors[:-2], head)), depth=1)
    assert dict(zip(column(found, "path"), column(found, "tied_to"), strict=True))["head"] == "layers.0.fc.weight"
    assert "tied_to" not in [c.key for c in drawn(snapshot).columns]


def test_trainable_is_yes_no_partly_or_nothing():
    rows = {row.path: row for row in layers(net(1))}
    assert rows["layers.0.fc"].trainable is True
    assert rows["layers.0.act"].trainable is None
    marks = dict(zip(*(column(drawn(net(1), depth=9), key) for key in ("path", "trainable")), strict=True))
    assert marks["head"] == "partly"
    assert marks["layers.0.act"] == ""


def test_a_lazy_tensor_makes_the_rows_above_it_lower_bounds():
    snapshot = Snapshot((ModuleRecord("", "pkg.Net"), ModuleRecord("fc", "torch.nn.LazyLinear")),
                        (weight("fc.bias", 3), TensorRecord("fc.weight", None, F32, trainable=True)))  # fmt: skip
    found = drawn(snapshot, columns="path params")
    assert found.rows == (("", Quantity(3, "count", True)), ("fc", Quantity(3, "count", True)))


# ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("group", [groups.by_type, groups.by_depth])
def test_groups_add_up_to_their_total_and_to_the_model(group: Any):
    snapshot = net(3)
    rows = layers(snapshot, costs(snapshot, traced(snapshot)))
    found = group(rows)
    for place, key in enumerate(found.to_dict()):
        if key not in ("type", "depth"):
            assert sum(row[place] for row in found.rows) == pytest.approx(found.total[place])
    assert found.total[[c.key for c in found.columns].index("params")] == snapshot.totals.params
    assert found.total[[c.key for c in found.columns].index("macs")] == 48


def test_operators_without_a_formula_come_first_and_are_unknown():
    x = TensorSpec((2,), F32)
    trace = Trace(ops=(OpRecord("aten.relu.default", -1, (x,), outputs=(x,)), OpRecord("lib.odd.default", -1, (x,))))
    found = groups.by_operator(costs(Snapshot(), trace))
    assert found.rows[0][:3] == ("lib.odd", 1, None)
    assert found.total[2] == Quantity(0, "ops", at_least=True)


def test_element_types_share_the_bytes_of_a_storage_once():
    held = (weight("a", 4, storage=0, storage_nbytes=16), weight("b", 2, storage=0, storage_nbytes=16),
            TensorRecord("c", (8,), dtype("i8"), "buffer"))  # fmt: skip
    found = by_dtype(Snapshot(tensors=held))
    assert found.to_dict()["dtype"] == ["float32", "int8"]
    assert found.to_dict()["nbytes"] == [16, 8]
    assert found.to_dict()["buffers"] == [0, 8]


def test_every_place_of_a_tensor_is_listed_and_its_share_counted_once():
    held = (weight("a", 3), weight("b", 3, alias_of="a"), TensorRecord("c", (1,), F32, "buffer", persistent=False))
    found = tensors(Snapshot(tensors=held)).to_dict()
    assert found["path"] == ["a", "b", "c"]
    assert found["share"] == [0.75, 0.0, 0.25]
    assert found["tied_to"] == ["", "a", ""]
    assert found["role"][2] == "buffer, not saved"


def test_a_file_does_not_say_what_trains_and_its_roles_are_guesses():
    held = (TensorRecord("fc.weight", (2, 3), F32, inferred=("role",)), TensorRecord("x", (4,), F32, "unknown"))
    found = tensors(Snapshot(tensors=held))
    assert "trainable" not in found.to_dict()
    assert next(c.basis for c in found.columns if c.key == "role") == "guess"
    assert found.to_dict()["role"] == ["parameter", None]


# ── arrangement ──────────────────────────────────────────────────────────────────────────────────────────────────────

SIZES = Table("t", (Column("path", "layer", "path"), Column("n", "n", "count")),
              (("", 9), ("a", 3), ("a.x", 1), ("a.y", 2), ("b", 6)), (0, 1, 2, 2, 1))  # fmt: skip


def test_sorting_a_tree_orders_siblings_and_keeps_families_together():
    assert ordered(SIZES, "-n").to_dict()["path"] == ["", "b", "a", "a.y", "a.x"]
    assert ordered(SIZES, "n").to_dict()["path"] == ["", "a", "a.x", "a.y", "b"]


def test_unknown_values_come_last_and_kinds_do_not_mix():
    mixed = Table("t", (Column("v", "v"),), ((None,), ("x",), (2,), ((1, 2),), (Quantity(3, "ops", True),), ("",)))
    assert [row[0] for row in ordered(mixed, "v").rows] == [2, Quantity(3, "ops", True), (1, 2), "x", None, ""]


def test_the_largest_rows_say_what_is_left_out():
    found = largest(SIZES, "n", top=2)
    assert found.rows == (("", 9), ("b", 6))
    assert found.caption == "2 of 5 rows; the others hold 6 elements"
    assert [row[1] for row in largest(SIZES, "n", at_least=3).rows] == [9, 6, 3]
    assert largest(SIZES, "n", top=9).caption == ""


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: with_columns(SIZES, "n path nn"), "no column is called 'nn'; did you mean n"),
        (lambda: with_columns(SIZES, ""), "no column given; known: path, n"),
        (lambda: ordered(SIZES, "-m"), "no sort column is called 'm'"),
        (lambda: largest(SIZES, "n", top=0), "top 0: expected a positive number of rows"),
        (lambda: drawn(net(), columns="path parms"), "did you mean params"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(call: Any, said: str):
    with pytest.raises(ViewError) as caught:
        call()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_come_in_the_order_asked_for():
    assert list(with_columns(SIZES, ["n", "path"]).to_dict()) == ["n", "path"]


def test_the_flat_table_has_every_column_and_module():
    snapshot = net(2)
    found = table(layers(snapshot, costs(snapshot, traced(snapshot)))).to_dict()
    assert found["path"] == [module.path for module in snapshot.modules]
    assert sum(found["own_macs"]) == found["macs"][0] == 36
    assert sum(found["own_params"]) == found["params"][0] == snapshot.totals.params
    assert all(isinstance(row, Layer) for row in layers(snapshot))

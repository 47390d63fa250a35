"""Params that one token meets, look-up tables and adapters, from facts that are made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from numel.facts import CallRecord, ModuleRecord, OpRecord, Snapshot, TensorRecord, TensorSpec, Trace, dtype
from numel.results import Report

F32 = dtype("f32")


def module(path: str, kind: str = "pkg.M", alias_of: str | None = None, **attributes: int) -> ModuleRecord:
    return ModuleRecord(path, kind, alias_of, tuple((k.replace("__", "."), v) for k, v in attributes.items()))


def tensor(path: str, *shape: int, alias_of: str | None = None) -> TensorRecord:
    return TensorRecord(path, shape, F32, alias_of=alias_of)


def report(modules: list[ModuleRecord], *tensors: TensorRecord, trace: Trace | None = None) -> Report:
    return Report(Snapshot((module(""), *modules), tensors), trace)


def said(found: Report) -> str:
    return next(note.text for note in found.notes if note.code == "active-params")


GATE, STACK = tensor("mlp.gate.weight", 8, 3), tensor("mlp.experts.up", 8, 5, 3)
LISTED = [module("mlp.experts"), *(module(f"mlp.experts.{i}", "pkg.Expert") for i in range(8))]
LIST = [tensor(f"mlp.experts.{i}.up", 5, 3) for i in range(8)]
# where a top-k of 2 stands → the modules of the layer
PLACES: dict[str, list[ModuleRecord]] = {
    "the experts": [module("mlp"), module("mlp.gate"), module("mlp.experts", num_experts=8, top_k=2)],
    "the router": [module("mlp"), module("mlp.gate", "pkg.Router", k=2), module("mlp.experts", num_experts=8)],
    "the block": [module("mlp", moe_topk=2), module("mlp.gate"), module("mlp.experts", n_routed_experts=8)],
    "its configuration": [module("mlp", config__num_experts_per_tok=2), module("mlp.experts", num_experts=8)],
}


@pytest.mark.parametrize("modules", PLACES.values(), ids=PLACES)
def test_a_token_meets_the_router_and_k_of_the_stacked_experts(modules: list[ModuleRecord]):
    """8 experts of 5 · 3, of which 2 are met, and the gate's 8 · 3."""
    found = report(modules, GATE, STACK)
    assert (found.totals.params, found.active_params) == (8 * 15 + 24, 2 * 15 + 24)
    assert "2 of 8 experts, by mlp" in said(found)


def test_a_list_of_equal_experts_counts_like_a_stack_and_shared_ones_always_run():
    shared = [module("mlp.shared_experts"), *(module(f"mlp.shared_experts.{i}", "pkg.Expert") for i in range(2))]
    always = [tensor(f"mlp.shared_experts.{i}.up", 5, 3) for i in range(2)]
    found = report([module("mlp", top_k=2), module("mlp.gate"), *LISTED, *shared], GATE, *LIST, *always)
    assert found.active_params == 24 + (2 + 2) * 15


def test_what_holds_nothing_is_no_expert():
    """As a dropout beside the experts of NLLB-MoE."""
    found = report([module("mlp", top_k=2), module("mlp.gate"), *LISTED, module("mlp.experts.dropout")], GATE, *LIST)
    assert found.active_params == 24 + 2 * 15


def test_experts_that_are_told_of_and_not_found_leave_it_unknown():
    found = report([module("mlp", num_experts=8, top_k=2), module("mlp.secret")], tensor("mlp.secret.w", 7, 5))
    assert found.active_params is None
    assert "not found" in said(found)


@pytest.mark.parametrize(
    ("modules", "tensors", "why"),
    [([module("mlp"), *LISTED], LIST, "nothing says"),
     ([module("mlp", top_k=2), *LISTED], [*LIST[:7], tensor("mlp.experts.7.up", 6, 3)], "differ in size"),
     ([module("mlp", top_k=2, num_experts=16), *LISTED], LIST, "num_experts 16"),
     ([module("mlp", top_k=9), *LISTED], LIST, "no choice"),
     ([module("mlp", top_k=2), *LISTED, module("again", alias_of="mlp.experts")], LIST, "several places")],
)  # fmt: skip
def test_what_is_not_known_is_none_with_the_reason(modules: Any, tensors: Any, why: str):
    found = report(modules, *tensors)
    assert found.active_params is None
    assert why in said(found)
    assert "Active params" in str(found)
    assert found.saved()["active_params"] is None


def traced(k: int, among: int = 8, name: str = "aten.topk.default") -> Trace:
    scores, picked = TensorSpec((4, among), F32), TensorSpec((4, k), F32)
    args = (scores, k) if "topk" in name else (scores, -1)
    calls = (CallRecord("", 0, -1), CallRecord("mlp", 0, 0))
    return Trace(calls, (OpRecord(name, 1, args, outputs=(picked, picked)),))


def test_the_trace_finds_confirms_or_contradicts_what_the_model_says():
    unsaid, stated = [module("mlp"), *LISTED], [module("mlp", top_k=2), *LISTED]
    assert report(unsaid, *LIST, trace=traced(2)).active_params == 2 * 15
    assert report(unsaid, *LIST, trace=traced(1, name="aten.argmax.default")).active_params == 15
    assert report(unsaid, *LIST, trace=traced(2, among=4)).active_params is None  # a choice among something else
    assert "as it ran" in said(report(stated, *LIST, trace=traced(2)))
    assert report(stated, *LIST, trace=traced(3)).active_params is None


def test_a_dense_model_is_all_active_and_says_nothing_of_it():
    found = report([module("fc")], tensor("fc.weight", 2, 3))
    assert found.active_params == found.totals.params == 6
    assert "Active" not in str(found)
    assert "Embedding" not in str(found)
    assert "Adapter" not in str(found)


def test_a_tied_head_is_the_table_that_it_is_tied_to_and_another_head_is_none():
    table = module("emb", "torch.nn.Embedding", num_embeddings=10, embedding_dim=4)
    heads = [module("head"), module("other")]
    tensors = (tensor("emb.weight", 10, 4), tensor("head.weight", 10, 4, alias_of="emb.weight"),
               tensor("other.weight", 10, 4))  # fmt: skip
    found = report([table, *heads], *tensors)
    assert (found.embedding_params, found.non_embedding_params) == (40, 40)


def test_a_table_that_is_met_first_as_a_head_is_a_table():
    table = module("emb", "torch.nn.Embedding", num_embeddings=10, embedding_dim=4)
    tensors = (tensor("head.weight", 10, 4), tensor("emb.weight", 10, 4, alias_of="head.weight"))
    found = report([module("head"), table], *tensors)
    assert found.embedding_params == 40


def test_lora_without_peft_is_told_by_its_names_and_says_so():
    found = report([module("fc")], tensor("fc.weight", 4, 4), tensor("fc.lora_A", 2, 4), tensor("fc.lora_B", 4, 2))
    assert (found.adapter_params, found.base_params) == (16, 16)
    assert "Adapter params (LoRA, by name)" in str(found)

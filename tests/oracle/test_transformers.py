"""Transformers architectures at their published sizes: parameters as published, MACs as closed formulas say.

Models are built on meta, so nothing is allocated. A second, independent count is torch's own, with attention as plain
products (eager) and experts as batched ones: it knows no grouped product and no fused kernel of the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5")

import numel  # noqa: E402
from numel.facts.inputs import Inputs, parse  # noqa: E402
from oracle import closed_formulas as closed  # noqa: E402
from oracle.counted_by_torch import by_torch, unknown_to_torch  # noqa: E402
from oracle.published_configs import GRID, PUBLISHED, Published  # noqa: E402

_IDS = [str(entry) for entry in PUBLISHED]
_READ_VALUES = {  # and so have no count by torch on meta; of most, a small build is counted on real tensors elsewhere
    "deberta-v3-base", "detr-resnet-50", "paligemma-3b-pt-224", "Qwen2-VL-2B-Instruct", "idefics2-8b", "dbrx-base",
    "led-base-16384", "blip2-opt-2.7b",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(before)


def built(entry: Published, **implementations: str) -> Any:
    """The model on meta in evaluation; `implementations` are of attention and of experts, for those that have some."""
    model = getattr(transformers, entry.model)
    config = model.config_class(**entry.config)
    for name, chosen in implementations.items():
        setattr(config, f"_{name}_implementation", chosen)
    with torch.device("meta"):
        return model(config).eval()


def given(entry: Published, model: Any) -> Inputs:
    """The entry's inputs. A row of ids with places for an image is real, since forwards look for these."""
    inputs = parse(entry.inputs.format(*entry.sizes))
    if not entry.image_tokens:
        return inputs
    length = entry.sizes[0] if entry.inputs == GRID else entry.sizes[1]
    ids = torch.ones(1, length, dtype=torch.long)
    ids[:, 1 : 1 + entry.image_tokens] = model.config.image_token_id
    more: dict[str, Any] = {"input_ids": ids}
    if entry.inputs == GRID:
        more["image_grid_thw"] = torch.tensor([[1, *entry.sizes[1:]]])
        more["mm_token_type_ids"] = (ids == model.config.image_token_id).long()
    return Inputs((), {**inputs.kwargs, **more})


@dataclass(frozen=True)
class Measured:
    params: int
    macs: int
    exact: bool
    mode: str
    reasons: str
    by_operator: Mapping[str, int]


@cache
def measured(entry: Published) -> Measured:
    """What numel says of the entry."""
    model = built(entry)
    report = numel.summary(model, given(entry, model))
    assert report.totals.params == sum(p.numel() for p in model.parameters())
    assert report.macs is not None
    return Measured(
        report.totals.params,
        report.macs,
        report.exact,
        str(report.mode),
        " ".join(note.text for note in report.notes),
        {name: work.macs for name, work in report.costs.operators.items() if work.macs},
    )


@pytest.mark.parametrize("entry", PUBLISHED, ids=_IDS)
def test_parameters_are_the_published_ones_and_macs_those_of_the_closed_formula(entry: Published):
    found = measured(entry)
    if isinstance(entry.params, str):
        number, unit = entry.params[:-1], {"B": 1e9, "M": 1e6}[entry.params[-1]]
        assert round(found.params / unit, len(number.partition(".")[2])) == float(number)
    elif entry.params is not None:
        assert found.params + entry.apart == entry.params
    derived = None if entry.macs is None else entry.macs(entry.config, *entry.sizes)
    if entry.flagged:
        assert not found.exact
        assert entry.flagged in found.reasons
        assert derived is None or found.macs <= derived
    else:
        assert found.exact, found.reasons
        assert found.macs == derived


def test_the_suite_is_large_and_every_entry_is_exact_or_flagged_with_its_reason(record_property: Any):
    exact = [entry for entry in PUBLISHED if measured(entry).exact]
    flagged = [entry for entry in PUBLISHED if not measured(entry).exact]
    record_property("entries", len(PUBLISHED))
    record_property("exact", len(exact))
    print(f"{len(PUBLISHED)} entries of {len({e.model for e in PUBLISHED})} classes: {len(exact)} exact, "
          f"{', '.join(map(str, flagged))} flagged")  # fmt: skip
    assert len({entry.name for entry in PUBLISHED}) == len(PUBLISHED) >= 80
    assert len({entry.model for entry in PUBLISHED}) >= 70
    assert not any(entry.flagged for entry in exact)
    assert all(entry.flagged for entry in flagged)
    assert len(exact) / len(PUBLISHED) > 0.96


@pytest.mark.slow
@pytest.mark.parametrize("entry", [e for e in PUBLISHED if str(e) not in _READ_VALUES], ids=str)
def test_torch_counts_the_same_but_for_what_it_does_not_know(entry: Published):
    shallow = replace(entry, config=at_most_eight_layers(entry.config))
    model = built(shallow, attn="eager", experts="batched_mm")
    found = measured(shallow)
    assert found.macs - by_torch(model, given(shallow, model), "meta") == unknown_to_torch(found.by_operator)


def at_most_eight_layers(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Equal layers are counted alike, and the closed formulas hold for all; a list that names layers is left alone."""
    named = {"layers_block_type", "attn_layer_indices", "full_attn_idxs", "global_attn_indexes"}
    if named & set(config) or config.get("num_hidden_layers", 0) <= 8:
        return config
    return {**config, "num_hidden_layers": 8}


# ── experts ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_MIXTURE = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128,
    "intermediate_size": 96, "moe_intermediate_size": 96, "num_local_experts": 8, "num_experts": 8,
    "num_experts_per_tok": 2,
}  # fmt: skip
_MIXTURES = ("MixtralForCausalLM", "Qwen3MoeForCausalLM", "OlmoeForCausalLM", "PhimoeForCausalLM", "GptOssForCausalLM",
             "GraniteMoeForCausalLM")  # fmt: skip


@pytest.mark.parametrize("implementation", ["batched_mm", "grouped_mm"])
@pytest.mark.parametrize("name", _MIXTURES)
def test_the_experts_that_run_are_counted_however_they_are_multiplied(name: str, implementation: str):
    report = numel.summary(mixture(name, "meta", implementation), "input_ids: i64[3,7]")
    assert report.exact
    assert report.macs == closed.mixture_decoder(_MIXTURE, 3, 7)


@pytest.mark.parametrize("name", _MIXTURES)
def test_a_loop_over_experts_is_exact_for_the_values_given_and_says_so_without_any(name: str):
    """On real weights and ids each token meets its two experts, whichever they are. On meta nobody knows which: then a
    figure is that of a balanced router, which is as much work, and says so."""
    ids = torch.arange(21).reshape(3, 7)
    real = numel.summary(mixture(name, "cpu", "eager"), Inputs((), {"input_ids": ids}))
    assert (real.exact, real.mode) == (True, "real")
    assert real.macs == closed.mixture_decoder(_MIXTURE, 3, 7)
    assert any(note.code == "by-value" for note in real.notes)
    blind = numel.summary(mixture(name, "meta", "eager"), "input_ids: i64[3,7]")
    assert blind.macs == closed.mixture_decoder(_MIXTURE, 3, 7)
    assert not blind.exact
    assert blind.costs.total.about
    assert not blind.costs.total.at_least
    assert any("balanced" in note.text for note in blind.notes)


def mixture(name: str, device: str, implementation: str) -> Any:
    model = getattr(transformers, name)
    config = model.config_class(**{**_MIXTURE, "head_dim": 16, "pad_token_id": 0})
    config._experts_implementation = implementation
    with torch.device(device):
        return model(config).eval()

"""Active, embedding and adapter params of real architectures, against published figures, closed formulas and peft."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import numel  # noqa: E402


def report(cls: str, config: Any) -> Any:
    with torch.device("meta"):
        return numel.read(getattr(transformers, cls)._from_config(config))


# class, configuration as published, layers with experts, experts, chosen, elements of one expert, active as published
# in billions, and whether the input table is in it
_MODELS: dict[str, tuple[str, Any, int, int, int, int, float | None, bool]] = {
    # Jiang et al. 2024, arXiv:2401.04088: 13B active (12.9B in the announcement)
    "Mixtral-8x7B": ("MixtralForCausalLM", transformers.MixtralConfig(), 32, 8, 2, 3 * 4096 * 14336, 12.9, True),
    # Qwen3 technical report, arXiv:2505.09388, model cards: 3.3B and 22B
    "Qwen3-30B-A3B": ("Qwen3MoeForCausalLM", transformers.Qwen3MoeConfig(
        num_hidden_layers=48, num_attention_heads=32, head_dim=128, hidden_size=2048, moe_intermediate_size=768,
        num_key_value_heads=4, num_experts=128, num_experts_per_tok=8, vocab_size=151936, tie_word_embeddings=False,
    ), 48, 128, 8, 3 * 2048 * 768, 3.3, True),
    "Qwen3-235B-A22B": ("Qwen3MoeForCausalLM", transformers.Qwen3MoeConfig(
        num_hidden_layers=94, num_attention_heads=64, head_dim=128, hidden_size=4096, moe_intermediate_size=1536,
        num_key_value_heads=4, num_experts=128, num_experts_per_tok=8, vocab_size=151936, tie_word_embeddings=False,
    ), 94, 128, 8, 3 * 4096 * 1536, 22, True),
    # arXiv:2412.19437: 37B of 671B, three dense layers first
    "DeepSeek-V3": ("DeepseekV3ForCausalLM", transformers.DeepseekV3Config(), 58, 256, 8, 3 * 7168 * 2048, 37, False),
    # arXiv:2409.02060: 1.3B of 6.9B
    "OLMoE-1B-7B": ("OlmoeForCausalLM", transformers.OlmoeConfig(
        hidden_size=2048, intermediate_size=1024, num_hidden_layers=16, num_experts=64, num_experts_per_tok=8,
    ), 16, 64, 8, 3 * 2048 * 1024, 1.3, True),
    # arXiv:2508.10925, table 1: 3.61B and 5.13B, with the output head and without the input table
    "gpt-oss-20b": ("GptOssForCausalLM", transformers.GptOssConfig(num_hidden_layers=24, num_local_experts=32),
                    24, 32, 4, 3 * 2880 * 2880 + 3 * 2880, 3.61, False),
    "gpt-oss-120b": ("GptOssForCausalLM", transformers.GptOssConfig(num_hidden_layers=36, num_local_experts=128),
                     36, 128, 4, 3 * 2880 * 2880 + 3 * 2880, 5.13, False),
    # arXiv:2101.03961: no figure; one of eight experts, in every other layer of encoder and decoder
    "switch-base-8": ("SwitchTransformersForConditionalGeneration", transformers.SwitchTransformersConfig(
        num_layers=12, num_decoder_layers=12, num_sparse_encoder_layers=6, num_sparse_decoder_layers=6,
    ), 12, 8, 1, 2 * 768 * 2048, None, True),
    # arXiv:2403.19887: 12B of 52B, experts in every second of 32 layers
    "Jamba": ("JambaForCausalLM", transformers.JambaConfig(), 16, 16, 2, 3 * 4096 * 14336, 12, True),
}  # fmt: skip


@pytest.mark.parametrize("name", _MODELS)
def test_active_params_are_the_closed_figure_and_round_to_the_published_one(name: str):
    """All params, without (n − k) experts in each layer that has some."""
    cls, config, layers, n, k, expert, published, with_table = _MODELS[name]
    found = report(cls, config)
    assert found.active_params == found.totals.params - layers * (n - k) * expert
    shown = (found.active_params - (0 if with_table else found.embedding_params)) / 1e9
    if published is not None:
        unit = 10 ** -len(f"{published}".partition(".")[2])  # some are cut and not rounded: 3.35 is published as 3.3
        assert -0.5 * unit <= shown - published < unit, shown
    assert all(each.chosen == k and each.count == n for each in found.experts)
    assert len(found.experts) == layers


def test_mixtral_to_the_last_parameter():
    """Per layer: attention 2 · 4096² + 2 · 4096 · 1024, the router 8 · 4096, two experts, two norms; table and head of
    32,000 · 4096 and the last norm."""
    layer = 2 * 4096**2 + 2 * 4096 * 1024 + 8 * 4096 + 2 * 3 * 4096 * 14336 + 2 * 4096
    found = report("MixtralForCausalLM", transformers.MixtralConfig())
    assert found.active_params == 32 * layer + 2 * 32000 * 4096 + 4096 == 12_879_925_248


def test_a_router_whose_k_is_not_set_leaves_active_params_unknown():
    found = report("DeepseekV2ForCausalLM", transformers.DeepseekV2Config(num_hidden_layers=2))
    assert found.active_params is None


@pytest.mark.parametrize("cls", ["GPT2LMHeadModel", "BertModel", "T5ForConditionalGeneration", "LlamaForCausalLM"])
def test_non_embedding_params_are_those_of_transformers(cls: str):
    config = getattr(transformers, cls).config_class()
    with torch.device("meta"):
        model = getattr(transformers, cls)._from_config(config)
    assert numel.read(model).non_embedding_params == model.num_parameters(exclude_embeddings=True)


def test_qwen3_8b_leaves_6_95_billion_without_table_and_head():
    """The model card counts the output head, which is not tied, among the embeddings; numel does not, as it works."""
    config = transformers.Qwen3Config(
        hidden_size=4096, intermediate_size=12288, num_hidden_layers=36, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, vocab_size=151936, tie_word_embeddings=False,
    )  # fmt: skip
    found = report("Qwen3ForCausalLM", config)
    assert found.embedding_params == 151936 * 4096
    assert round((found.non_embedding_params - 151936 * 4096) / 1e9, 2) == 6.95


_TUNERS = ["LoraConfig", "DoRA", "IA3Config", "LoHaConfig", "AdaLoraConfig", "PromptTuningConfig", "PrefixTuningConfig"]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of transformers, asked by peft
@pytest.mark.parametrize("tuner", _TUNERS)
def test_adapter_params_are_what_peft_says_that_it_trains(tuner: str):
    """peft freezes the model and trains the adapter; AdaLoRA's rank counters are parameters that do not train."""
    peft = pytest.importorskip("peft")
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=50
    )
    base = transformers.LlamaForCausalLM(config)
    before = base.num_parameters()
    targets: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    if "Tuning" in tuner:
        adapted = peft.get_peft_model(base, getattr(peft, tuner)(num_virtual_tokens=4, task_type="CAUSAL_LM"))
    elif tuner == "DoRA":
        adapted = peft.get_peft_model(base, peft.LoraConfig(use_dora=True, **targets))
    elif tuner == "IA3Config":
        adapted = peft.get_peft_model(base, peft.IA3Config(feedforward_modules=[], **targets))
    elif tuner == "AdaLoraConfig":
        adapted = peft.get_peft_model(base, peft.AdaLoraConfig(total_step=10, **targets))
    else:
        adapted = peft.get_peft_model(base, getattr(peft, tuner)(**targets))
    trained, _ = adapted.get_nb_trainable_parameters()
    counters = sum(p.numel() for name, p in adapted.named_parameters() if "ranknum" in name)
    found = numel.read(adapted)
    assert trained
    assert (found.adapter_params, found.base_params) == (trained + counters, before)


def test_merged_adapters_are_the_model_again():
    peft = pytest.importorskip("peft")
    model = torch.nn.Sequential(torch.nn.Linear(8, 8))
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["0"]))
    assert (numel.read(adapted).adapter_params, numel.read(adapted).base_params) == (2 * (8 + 8), 72)
    assert numel.read(adapted.merge_and_unload()).adapter_params == 0

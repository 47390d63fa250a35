"""Transformers architectures by their published configurations, with published parameter counts and closed formulas.

Names are those of the models' pages on the Hugging Face Hub; sizes are those of the `config.json` there, and `params`
what is published for them there, in a paper or by a library. A rounded count is a string. Fields that do not change
sizes are left out.

For a dozen (falcon-mamba, mamba2, rwkv, command-r, starcoder, starcoder2, mpt, falcon-7b, dbrx, yolos, detr, idefics2)
no page with the exact count was at hand: theirs is that of the built model, which agrees with the rounded size in its
name or paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from oracle import closed_formulas as closed

TEXT = "input_ids: i64[{0},{1}]"
PAIR = "input_ids: i64[{0},{1}], decoder_input_ids: i64[{0},{2}]"
IMAGE = "pixel_values: f32[{0},3,{1},{1}]"
PICTURE = "pixel_values: f32[{0},3,{1},{2}]"
VIDEO = "pixel_values: f32[{0},{1},3,{2},{2}]"
MELS = "input_features: f32[{0},80,{1}], decoder_input_ids: i64[{0},{2}]"
WAVE = "input_values: f32[{0},{1}]"
SPECTROGRAM = "input_values: f32[{0},{1},{2}]"
CAPTIONED = "input_ids: i64[{0},{1}], pixel_values: f32[{0},3,{2},{2}]"
SEEN = "pixel_values: f32[{0},3,{2},{2}]"  # and a row of ids with places for the image
SEVERAL = "pixel_values: f32[{0},1,3,{2},{2}]"  # of as many images
GRID = "pixel_values: f32[{1} * {2},1176]"  # as many patches of 3 · 2 · 14 · 14 values; and such a row


@dataclass(frozen=True, eq=False)
class Published:
    """`macs(config, *sizes)` is what the closed formula gives for `inputs`, in which the sizes are put.

    `params` is published (`None`: no count of this very model is); of these, `apart` elements are not among the
    parameters in transformers, which keeps them as buffers or ties them. `image_tokens` places of a text row stand for
    the image. `flagged` is the reason why numel gives no exact figure; then its figure is a lower bound.
    """

    name: str
    model: str
    params: int | str | None
    macs: Callable[..., int] | None
    config: Mapping[str, Any]
    sizes: tuple[int, ...]
    inputs: str
    apart: int
    image_tokens: int
    flagged: str

    def __str__(self) -> str:
        return self.name.rpartition("/")[2]


def _of(
    name: str, model: str, params: int | str | None, macs: Callable[..., int] | None, *,
    sizes: tuple[int, ...] = (2, 96), inputs: str = TEXT, apart: int = 0, image_tokens: int = 0, flagged: str = "",
    **config: Any,
) -> Published:  # fmt: skip
    return Published(name, model, params, macs, config, sizes, inputs, apart, image_tokens, flagged)


PUBLISHED = (
    # Decoders
    _of(
        "meta-llama/Llama-2-7b-hf", "LlamaForCausalLM", 6_738_415_616, closed.gated_decoder,
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
        intermediate_size=11008, vocab_size=32000,
    ),
    _of(
        "meta-llama/Meta-Llama-3-8B", "LlamaForCausalLM", 8_030_261_248, closed.gated_decoder,
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=14336, vocab_size=128256,
    ),
    _of(
        "meta-llama/Llama-3.1-405B", "LlamaForCausalLM", 405_853_388_800, closed.gated_decoder,
        hidden_size=16384, num_hidden_layers=126, num_attention_heads=128, num_key_value_heads=8,
        intermediate_size=53248, vocab_size=128256,
    ),
    _of(
        "meta-llama/Llama-3.2-1B", "LlamaForCausalLM", 1_235_814_400, closed.gated_decoder,
        hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=8192, vocab_size=128256, tie_word_embeddings=True,
    ),
    _of(
        "mistralai/Mistral-7B-v0.1", "MistralForCausalLM", 7_241_732_096, closed.gated_decoder,
        sizes=(1, 6144),  # more than its window, which is a mask: what runs is dense
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=14336, vocab_size=32000, sliding_window=4096,
    ),
    _of(
        "Qwen/Qwen2-7B", "Qwen2ForCausalLM", 7_615_616_512, closed.gated_decoder,
        hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
        intermediate_size=18944, vocab_size=152064,
    ),
    _of(
        "Qwen/Qwen2.5-0.5B", "Qwen2ForCausalLM", 494_032_768, closed.gated_decoder,
        hidden_size=896, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2,
        intermediate_size=4864, vocab_size=151936, tie_word_embeddings=True,
    ),
    _of(
        "Qwen/Qwen3-8B", "Qwen3ForCausalLM", 8_190_735_360, closed.gated_decoder,
        hidden_size=4096, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=12288, vocab_size=151936, head_dim=128,
    ),
    _of(
        "google/gemma-7b", "GemmaForCausalLM", 8_537_680_896, closed.gated_decoder,
        hidden_size=3072, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=16,
        intermediate_size=24576, vocab_size=256000, head_dim=256,
    ),
    _of(
        "google/gemma-2-9b", "Gemma2ForCausalLM", 9_241_705_984, closed.gated_decoder,
        hidden_size=3584, num_hidden_layers=42, num_attention_heads=16, num_key_value_heads=8,
        intermediate_size=14336, vocab_size=256000, head_dim=256,
    ),
    _of(
        "google/gemma-3-1b-pt", "Gemma3ForCausalLM", 999_885_952, closed.gated_decoder,
        hidden_size=1152, num_hidden_layers=26, num_attention_heads=4, num_key_value_heads=1,
        intermediate_size=6912, vocab_size=262144, head_dim=256,
    ),
    _of(
        "microsoft/Phi-3-mini-4k-instruct", "Phi3ForCausalLM", 3_821_079_552, closed.gated_decoder,
        hidden_size=3072, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
        intermediate_size=8192, vocab_size=32064,
    ),
    _of(
        "allenai/OLMo-2-1124-7B", "Olmo2ForCausalLM", 7_298_617_344, closed.gated_decoder,
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32,
        intermediate_size=11008, vocab_size=100352,
    ),
    _of(
        "CohereLabs/c4ai-command-r-v01", "CohereForCausalLM", 34_980_831_232, closed.gated_decoder,
        hidden_size=8192, num_hidden_layers=40, num_attention_heads=64, num_key_value_heads=64,
        intermediate_size=22528, vocab_size=256000,
    ),
    _of(
        "ibm-granite/granite-3.0-8b-base", "GraniteForCausalLM", 8_170_848_256, closed.gated_decoder,
        hidden_size=4096, num_hidden_layers=40, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=12800, vocab_size=49155, tie_word_embeddings=True,
    ),
    _of(
        "HuggingFaceTB/SmolLM3-3B", "SmolLM3ForCausalLM", 3_075_098_624, closed.gated_decoder,
        hidden_size=2048, num_hidden_layers=36, num_attention_heads=16, num_key_value_heads=4,
        intermediate_size=11008, vocab_size=128256, tie_word_embeddings=True,
    ),
    _of(
        "microsoft/phi-2", "PhiForCausalLM", 2_779_683_840, closed.plain_decoder,
        hidden_size=2560, num_hidden_layers=32, num_attention_heads=32, intermediate_size=10240,
        vocab_size=51200, partial_rotary_factor=0.4,
    ),
    _of(
        "EleutherAI/pythia-6.9b", "GPTNeoXForCausalLM", 6_857_302_016, closed.plain_decoder,
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=16384,
        vocab_size=50432, rotary_pct=0.25,
    ),
    _of(
        "bigcode/starcoder2-3b", "Starcoder2ForCausalLM", 3_030_371_328, closed.plain_decoder,
        hidden_size=3072, num_hidden_layers=30, num_attention_heads=24, num_key_value_heads=2,
        intermediate_size=12288, vocab_size=49152,
    ),
    _of(
        "openai-community/gpt2", "GPT2LMHeadModel", 124_439_808, closed.gpt,
        n_embd=768, n_layer=12, n_head=12, n_positions=1024, vocab_size=50257,
    ),
    _of(
        "bigscience/bloom-560m", "BloomForCausalLM", 559_214_592, closed.gpt,
        hidden_size=1024, n_layer=24, n_head=16, vocab_size=250880,
    ),
    _of(
        "tiiuae/falcon-7b", "FalconForCausalLM", 6_921_720_704, closed.gpt,
        hidden_size=4544, num_hidden_layers=32, num_attention_heads=71, vocab_size=65024, multi_query=True,
        parallel_attn=True, bias=False, new_decoder_architecture=False,
    ),
    _of(
        "mosaicml/mpt-7b", "MptForCausalLM", 6_649_286_656, closed.gpt,
        d_model=4096, n_layers=32, n_heads=32, expansion_ratio=4, vocab_size=50432,
    ),
    _of(
        "bigcode/starcoder", "GPTBigCodeForCausalLM", 15_517_456_384, closed.gpt,
        n_embd=6144, n_layer=40, n_head=48, n_inner=24576, n_positions=8192, vocab_size=49152, multi_query=True,
    ),
    _of(
        "facebook/opt-350m", "OPTForCausalLM", 331_196_416, closed.opt,
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, ffn_dim=4096, word_embed_proj_dim=512,
        do_layer_norm_before=False, vocab_size=50272, max_position_embeddings=2048,
    ),
    # Mixtures of experts
    _of(
        "mistralai/Mixtral-8x7B-v0.1", "MixtralForCausalLM", 46_702_792_704, closed.mixture_decoder,
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=14336, num_local_experts=8, num_experts_per_tok=2, vocab_size=32000,
    ),
    _of(
        "Qwen/Qwen1.5-MoE-A2.7B", "Qwen2MoeForCausalLM", 14_315_784_192, closed.mixture_decoder,
        hidden_size=2048, num_hidden_layers=24, num_attention_heads=16, num_key_value_heads=16,
        intermediate_size=5632, moe_intermediate_size=1408, shared_expert_intermediate_size=5632,
        num_experts=60, num_experts_per_tok=4, vocab_size=151936,
    ),
    _of(
        "Qwen/Qwen3-30B-A3B", "Qwen3MoeForCausalLM", 30_532_122_624, closed.mixture_decoder,
        hidden_size=2048, num_hidden_layers=48, num_attention_heads=32, num_key_value_heads=4, head_dim=128,
        intermediate_size=6144, moe_intermediate_size=768, num_experts=128, num_experts_per_tok=8,
        vocab_size=151936,
    ),
    _of(
        "allenai/OLMoE-1B-7B-0924", "OlmoeForCausalLM", 6_919_161_856, closed.mixture_decoder,
        hidden_size=2048, num_hidden_layers=16, num_attention_heads=16, num_key_value_heads=16,
        intermediate_size=1024, num_experts=64, num_experts_per_tok=8, vocab_size=50304,
    ),
    _of(
        "openai/gpt-oss-20b", "GptOssForCausalLM", 20_914_757_184, closed.mixture_decoder,
        sizes=(2, 192),  # more than its window of 128
        hidden_size=2880, num_hidden_layers=24, num_attention_heads=64, num_key_value_heads=8, head_dim=64,
        intermediate_size=2880, num_local_experts=32, num_experts_per_tok=4, vocab_size=201088,
        sliding_window=128,
    ),
    _of(
        "microsoft/Phi-3.5-MoE-instruct", "PhimoeForCausalLM", 41_873_153_344, closed.mixture_decoder,
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=6400, num_local_experts=16, num_experts_per_tok=2, vocab_size=32064,
        attention_bias=True, lm_head_bias=True,
    ),
    _of(
        "ibm-granite/granite-3.0-1b-a400m-base", "GraniteMoeForCausalLM", 1_334_628_352, closed.mixture_decoder,
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, num_key_value_heads=8,
        intermediate_size=512, num_local_experts=32, num_experts_per_tok=8, vocab_size=49155,
        tie_word_embeddings=True,
    ),
    _of(
        "deepseek-ai/DeepSeek-V2-Lite", "DeepseekV2ForCausalLM", 15_706_484_224, closed.latent_decoder,
        hidden_size=2048, num_hidden_layers=27, num_attention_heads=16, num_key_value_heads=16,
        intermediate_size=10944, moe_intermediate_size=1408, n_routed_experts=64, n_shared_experts=2,
        num_experts_per_tok=6, first_k_dense_replace=1, q_lora_rank=None, kv_lora_rank=512,
        qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, vocab_size=102400,
    ),
    _of(
        "deepseek-ai/DeepSeek-V3", "DeepseekV3ForCausalLM", 671_026_419_200, closed.latent_decoder,
        apart=58 * 256,  # the corrections of its routers are buffers
        hidden_size=7168, num_hidden_layers=61, num_attention_heads=128, num_key_value_heads=128,
        intermediate_size=18432, moe_intermediate_size=2048, n_routed_experts=256, n_shared_experts=1,
        num_experts_per_tok=8, first_k_dense_replace=3, q_lora_rank=1536, kv_lora_rank=512,
        qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, n_group=8, topk_group=4, vocab_size=129280,
    ),
    _of(
        "meta-llama/Llama-4-Scout-17B-16E", "Llama4ForCausalLM", 107_769_861_120, closed.every_expert_decoder,
        hidden_size=5120, num_hidden_layers=48, num_attention_heads=40, num_key_value_heads=8, head_dim=128,
        intermediate_size=8192, intermediate_size_mlp=16384, num_local_experts=16, num_experts_per_tok=1,
        interleave_moe_layer_step=1, vocab_size=202048,
    ),
    _of(
        "databricks/dbrx-base", "DbrxForCausalLM", 131_596_523_520, closed.dbrx,
        flagged="taken as balanced",  # it loops over experts and their rows
        d_model=6144, n_layers=40, n_heads=48, vocab_size=100352,
        attn_config={"kv_n_heads": 8, "clip_qkv": 8, "rope_theta": 500000},
        ffn_config={"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4,
        "ffn_act_fn": {"name": "silu"}},
    ),
    # State spaces, linear attention, hybrids
    _of(
        "state-spaces/mamba-130m-hf", "MambaForCausalLM", 129_135_360, closed.mamba, sizes=(2, 24),
        hidden_size=768, num_hidden_layers=24, state_size=16, conv_kernel=4, expand=2, time_step_rank=48,
        vocab_size=50280,
    ),
    _of(
        "tiiuae/falcon-mamba-7b", "FalconMambaForCausalLM", 7_272_665_088, closed.mamba, sizes=(2, 6),
        hidden_size=4096, num_hidden_layers=64, intermediate_size=8192, state_size=16, conv_kernel=4, expand=16,
        time_step_rank=256, vocab_size=65024, tie_word_embeddings=False,
    ),
    _of(
        "state-spaces/mamba2-130m", "Mamba2ForCausalLM", 128_989_632, closed.mamba2, sizes=(2, 300),
        hidden_size=768, num_hidden_layers=24, num_heads=24, head_dim=64, state_size=128, n_groups=1,
        conv_kernel=4, expand=2, chunk_size=256, vocab_size=50288, tie_word_embeddings=True,
    ),
    _of(
        "ibm-ai-platform/Bamba-9B-v1", "BambaForCausalLM", "9.78B", closed.bamba, sizes=(2, 300),
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=14336, attn_layer_indices=[9, 18, 27], mamba_n_heads=128, mamba_d_head=64,
        mamba_d_state=128, mamba_n_groups=1, mamba_d_conv=4, mamba_expand=2, mamba_chunk_size=256,
        vocab_size=128256,
    ),
    _of(
        "Zyphra/Zamba2-1.2B", "Zamba2ForCausalLM", 1_215_064_704, closed.zamba2,
        hidden_size=2048, num_hidden_layers=38,
        layers_block_type=["hybrid" if layer in (5, 11, 17, 23, 29, 35) else "mamba" for layer in range(38)],
        mamba_d_state=128, n_mamba_heads=64, mamba_ngroups=1, num_attention_heads=32, intermediate_size=8192,
        num_mem_blocks=1, use_shared_attention_adapter=True, use_mem_rope=True, vocab_size=32000,
    ),
    _of(
        "ai21labs/Jamba-v0.1", "JambaForCausalLM", 51_570_323_328, closed.jamba, sizes=(2, 12),
        hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=14336, num_experts=16, num_experts_per_tok=2, attn_layer_period=8,
        attn_layer_offset=4, expert_layer_period=2, expert_layer_offset=1, mamba_d_state=16, mamba_d_conv=4,
        mamba_expand=2, mamba_dt_rank=256, vocab_size=65536,
    ),
    _of(
        "RWKV/rwkv-4-169m-pile", "RwkvForCausalLM", 169_342_464, closed.rwkv, sizes=(2, 24),
        hidden_size=768, num_hidden_layers=12, attention_hidden_size=768, intermediate_size=3072,
        vocab_size=50277, context_length=1024,
    ),
    _of(
        "google/recurrentgemma-2b", "RecurrentGemmaForCausalLM", 2_682_862_080, closed.griffin, sizes=(2, 24),
        hidden_size=2560, num_hidden_layers=26, num_attention_heads=10, num_key_value_heads=1,
        intermediate_size=15360, lru_width=2560, conv1d_width=4, attention_window_size=2048, vocab_size=256000,
    ),
    _of(
        "Qwen/Qwen3-Next-80B-A3B-Instruct", "Qwen3NextForCausalLM", 79_674_391_296, closed.qwen3_next,
        hidden_size=2048, num_hidden_layers=48, num_attention_heads=16, num_key_value_heads=2, head_dim=256,
        linear_num_value_heads=32, linear_num_key_heads=16, linear_key_head_dim=128, linear_value_head_dim=128,
        linear_conv_kernel_dim=4, num_experts=512, num_experts_per_tok=10, moe_intermediate_size=512,
        shared_expert_intermediate_size=512, intermediate_size=5120, vocab_size=151936,
    ),
    _of(
        "LiquidAI/LFM2-1.2B", "Lfm2ForCausalLM", 1_170_340_608, closed.lfm2,
        hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=12288, vocab_size=65536, full_attn_idxs=[2, 5, 8, 10, 12, 14],
    ),
    # Encoders
    _of(
        "google-bert/bert-base-uncased", "BertModel", 109_482_240, closed.bert,
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, vocab_size=30522,
    ),
    _of(
        "FacebookAI/roberta-base", "RobertaModel", 124_645_632, closed.bert,
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, vocab_size=50265,
        max_position_embeddings=514, type_vocab_size=1,
    ),
    _of(
        "albert/albert-base-v2", "AlbertModel", 11_683_584, closed.bert,
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, vocab_size=30000,
        embedding_size=128,
    ),
    _of(
        "google/electra-base-discriminator", "ElectraModel", 108_891_648, closed.encoder,
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, vocab_size=30522,
        embedding_size=768,
    ),
    _of(
        "microsoft/deberta-v3-base", "DebertaV2Model", 183_831_552, closed.deberta,
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        vocab_size=128100, max_position_embeddings=512, type_vocab_size=0, relative_attention=True,
        position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p",
        position_biased_input=False, max_relative_positions=-1,
    ),
    _of(
        "answerdotai/ModernBERT-base", "ModernBertModel", 149_014_272, closed.modernbert, sizes=(2, 300),
        hidden_size=768, num_hidden_layers=22, num_attention_heads=12, intermediate_size=1152, vocab_size=50368,
        global_attn_every_n_layers=3, local_attention=128,
    ),
    _of(
        "distilbert/distilbert-base-uncased", "DistilBertModel", 66_362_880, closed.distilbert,
        dim=768, n_layers=6, n_heads=12, hidden_dim=3072, vocab_size=30522,
    ),
    # Encoders with decoders
    _of(
        "google-t5/t5-base", "T5ForConditionalGeneration", 222_903_552, closed.t5, sizes=(2, 96, 40),
        inputs=PAIR,
        d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_decoder_layers=12, num_heads=12, vocab_size=32128,
    ),
    _of(
        "google/flan-t5-base", "T5ForConditionalGeneration", 247_577_856, closed.t5, sizes=(2, 96, 40),
        inputs=PAIR,
        apart=32128 * 768,  # a head of its own, which transformers 5 ties
        d_model=768, d_kv=64, d_ff=2048, num_layers=12, num_decoder_layers=12, num_heads=12, vocab_size=32128,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    ),
    _of(
        "google/mt5-small", "MT5ForConditionalGeneration", 300_176_768, closed.t5, sizes=(2, 96, 40),
        inputs=PAIR,
        apart=250112 * 512,  # a head of its own, which transformers 5 ties
        d_model=512, d_kv=64, d_ff=1024, num_layers=8, num_decoder_layers=8, num_heads=6, vocab_size=250112,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    ),
    _of(
        "facebook/bart-large", "BartForConditionalGeneration", 406_291_456, closed.bart, sizes=(2, 96, 40),
        inputs=PAIR,
        d_model=1024, encoder_layers=12, decoder_layers=12, encoder_attention_heads=16,
        decoder_attention_heads=16, encoder_ffn_dim=4096, decoder_ffn_dim=4096, vocab_size=50265,
        max_position_embeddings=1024,
    ),
    _of(
        "google/pegasus-large", "PegasusForConditionalGeneration", 570_797_056, closed.bart, sizes=(2, 96, 40),
        inputs=PAIR,
        d_model=1024, encoder_layers=16, decoder_layers=16, encoder_attention_heads=16,
        decoder_attention_heads=16, encoder_ffn_dim=4096, decoder_ffn_dim=4096, vocab_size=96103,
        max_position_embeddings=1024,
    ),
    _of(
        "Helsinki-NLP/opus-mt-en-de", "MarianMTModel", 74_410_496, closed.bart, sizes=(2, 96, 40), inputs=PAIR,
        d_model=512, encoder_layers=6, decoder_layers=6, encoder_attention_heads=8, decoder_attention_heads=8,
        encoder_ffn_dim=2048, decoder_ffn_dim=2048, vocab_size=58101, max_position_embeddings=512,
        pad_token_id=58100,
    ),
    _of(
        "allenai/led-base-16384", "LEDForConditionalGeneration", 161_844_480, closed.led, sizes=(1, 1024, 40),
        inputs=PAIR,
        flagged="the forward reads a value that depends on data",  # whether a mask, too large to keep, has globals
        d_model=768, encoder_layers=6, decoder_layers=6, encoder_attention_heads=12, decoder_attention_heads=12,
        encoder_ffn_dim=3072, decoder_ffn_dim=3072, vocab_size=50265, max_encoder_position_embeddings=16384,
        max_decoder_position_embeddings=1024, attention_window=[1024, 1024, 1024, 1024, 1024, 1024],
    ),
    # Vision, detection, video
    _of(
        "google/vit-base-patch16-224", "ViTForImageClassification", 86_567_656, closed.vit, sizes=(2, 224),
        inputs=IMAGE,
        num_labels=1000, image_size=224, patch_size=16, hidden_size=768, num_hidden_layers=12,
        num_attention_heads=12, intermediate_size=3072,
    ),
    _of(
        "microsoft/beit-base-patch16-224", "BeitForImageClassification", 86_530_984, closed.vit, sizes=(2, 224),
        inputs=IMAGE,
        num_labels=1000, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        use_mean_pooling=True, use_relative_position_bias=True, layer_scale_init_value=0.1, patch_size=16,
    ),
    _of(
        "facebook/dinov2-base", "Dinov2Model", 86_580_480, closed.vit, sizes=(2, 518), inputs=IMAGE,
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, mlp_ratio=4, image_size=518,
        patch_size=14,
    ),
    _of(
        "facebook/deit-base-distilled-patch16-224", "DeiTForImageClassificationWithTeacher", 87_338_192,
        partial(closed.vit, extra=2, heads=2), sizes=(2, 224), inputs=IMAGE,
        num_labels=1000, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        patch_size=16,
    ),
    _of(
        "microsoft/swin-tiny-patch4-window7-224", "SwinForImageClassification", 28_288_354, closed.swin,
        sizes=(2, 224), inputs=IMAGE,
        num_labels=1000, embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7,
        image_size=224, patch_size=4,
    ),
    _of(
        "facebook/convnext-tiny-224", "ConvNextForImageClassification", 28_589_128, closed.convnext,
        sizes=(2, 224), inputs=IMAGE,
        num_labels=1000, depths=[3, 3, 9, 3], hidden_sizes=[96, 192, 384, 768],
    ),
    _of(
        "nvidia/segformer-b0-finetuned-ade-512-512", "SegformerForSemanticSegmentation", 3_752_694,
        closed.segformer, sizes=(2, 512), inputs=IMAGE,
        num_labels=150, depths=[2, 2, 2, 2], hidden_sizes=[32, 64, 160, 256], num_attention_heads=[1, 2, 5, 8],
        sr_ratios=[8, 4, 2, 1], decoder_hidden_size=256,
    ),
    _of(
        "facebook/detr-resnet-50", "DetrForObjectDetection", 41_524_768, closed.detr, sizes=(1, 800, 1216),
        inputs=PICTURE,
        num_labels=91, num_queries=100, use_timm_backbone=False, use_pretrained_backbone=False, d_model=256,
    ),
    _of(
        "hustvl/yolos-tiny", "YolosForObjectDetection", 6_488_736, closed.yolos, sizes=(1, 800, 1333),
        inputs=PICTURE,
        num_labels=91, hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768,
        image_size=[800, 1333], num_detection_tokens=100, use_mid_position_embeddings=False,
    ),
    _of(
        "facebook/sam-vit-base", "SamVisionModel", 89_670_912, closed.sam_encoder, sizes=(1, 1024),
        inputs=IMAGE,
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, image_size=1024, patch_size=16,
        global_attn_indexes=[2, 5, 8, 11],
    ),
    _of(
        "MCG-NJU/videomae-base-finetuned-kinetics", "VideoMAEForVideoClassification", 86_534_800,
        closed.videomae, sizes=(1, 16, 224), inputs=VIDEO,
        num_labels=400, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
    ),
    _of(
        "facebook/timesformer-base-finetuned-k400", "TimesformerForVideoClassification", None,
        closed.timesformer, sizes=(1, 8, 224), inputs=VIDEO,
        num_labels=400, num_frames=8, hidden_size=768, num_hidden_layers=12, num_attention_heads=12,
        intermediate_size=3072,
    ),
    # Sound
    _of(
        "openai/whisper-small", "WhisperForConditionalGeneration", 241_734_912, closed.whisper,
        sizes=(2, 3000, 32), inputs=MELS,
        d_model=768, encoder_layers=12, decoder_layers=12, encoder_attention_heads=12,
        decoder_attention_heads=12, encoder_ffn_dim=3072, decoder_ffn_dim=3072, vocab_size=51865,
        num_mel_bins=80, max_source_positions=1500, max_target_positions=448,
    ),
    _of(
        "facebook/wav2vec2-base-960h", "Wav2Vec2ForCTC", 94_396_320, closed.wav2vec2, sizes=(2, 16000),
        inputs=WAVE,
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, vocab_size=32,
    ),
    _of(
        "facebook/hubert-base-ls960", "HubertModel", 94_371_712, closed.wav2vec2, sizes=(2, 16000), inputs=WAVE,
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
    ),
    _of(
        "MIT/ast-finetuned-audioset-10-10-0.4593", "ASTForAudioClassification", "86.6M",
        closed.spectrogram_transformer, sizes=(2, 1024, 128), inputs=SPECTROGRAM,
        num_labels=527, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        max_length=1024,
    ),
    # Several modalities
    _of(
        "openai/clip-vit-base-patch32", "CLIPModel", 151_277_313, closed.clip, sizes=(2, 64, 224),
        inputs=CAPTIONED,
        text_config={"hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8,
        "intermediate_size": 2048, "vocab_size": 49408},
        vision_config={"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "image_size": 224, "patch_size": 32},
        projection_dim=512,
    ),
    _of(
        "google/siglip-base-patch16-224", "SiglipModel", 203_155_970, closed.siglip, sizes=(2, 64, 224),
        inputs=CAPTIONED,
        text_config={"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "vocab_size": 32000},
        vision_config={"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "image_size": 224, "patch_size": 16},
    ),
    _of(
        "Salesforce/blip2-opt-2.7b", "Blip2ForConditionalGeneration", 3_744_761_856, closed.blip2,
        sizes=(1, 40, 224), inputs=SEEN, image_tokens=32,
        vision_config={"hidden_size": 1408, "num_hidden_layers": 39, "num_attention_heads": 16,
        "intermediate_size": 6144, "image_size": 224, "patch_size": 14},
        text_config={"model_type": "opt", "hidden_size": 2560, "num_hidden_layers": 32,
        "num_attention_heads": 32, "ffn_dim": 10240, "word_embed_proj_dim": 2560, "vocab_size": 50304},
        image_token_index=50265,
    ),
    _of(
        "llava-hf/llava-1.5-7b-hf", "LlavaForConditionalGeneration", 7_063_427_072, closed.llava,
        sizes=(1, 600, 336), inputs=SEEN, image_tokens=576,
        vision_config={"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096,
        "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
        "projection_dim": 768},
        text_config={"model_type": "llama", "vocab_size": 32064, "hidden_size": 4096,
        "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
    ),
    _of(
        "google/paligemma-3b-pt-224", "PaliGemmaForConditionalGeneration", 2_923_466_480, closed.paligemma,
        sizes=(1, 264, 224), inputs=SEEN, image_tokens=256,
        vision_config={"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304,
        "num_hidden_layers": 27, "num_attention_heads": 16, "image_size": 224, "patch_size": 14,
        "vision_use_head": False},
        text_config={"model_type": "gemma", "hidden_size": 2048, "num_hidden_layers": 18,
        "intermediate_size": 16384, "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256,
        "vocab_size": 257216},
        projection_dim=2048, image_token_index=257152,
    ),
    _of(
        "Qwen/Qwen2-VL-2B-Instruct", "Qwen2VLForConditionalGeneration", 2_208_985_600, closed.qwen2_vl,
        sizes=(72, 16, 16), inputs=GRID, image_tokens=64,
        vision_config={"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16, "mlp_ratio": 4,
        "patch_size": 14},
        text_config={"hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "intermediate_size": 8960, "vocab_size": 151936, "tie_word_embeddings": True,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}},
        tie_word_embeddings=True,
    ),
    _of(
        "HuggingFaceM4/idefics2-8b", "Idefics2ForConditionalGeneration", 8_402_768_112, None,
        sizes=(1, 72, 980), inputs=SEVERAL, image_tokens=64,
        flagged="the forward makes a shape that depends on data",  # it leaves out images that are all zero
        vision_config={"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
        "num_attention_heads": 16, "image_size": 980, "patch_size": 14},
        perceiver_config={"hidden_size": 4096, "resampler_n_latents": 64, "resampler_depth": 3,
        "resampler_n_heads": 16, "resampler_head_dim": 96, "num_key_value_heads": 4},
        text_config={"model_type": "mistral", "hidden_size": 4096, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 32003},
    ),
)  # fmt: skip

"""Models of transformers that are given no inputs: each gets text, and an image or a recording that its tower runs on.

The configurations are published ones made small, with the sizes that have to agree kept in agreement.
"""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import numel  # noqa: E402
from numel.tracing import default_inputs  # noqa: E402

# ── small configurations ─────────────────────────────────────────────────────────────────────────────────────────────

HEADS = {"num_hidden_layers": 2, "num_attention_heads": 4}
SMALL = {"hidden_size": 32, "intermediate_size": 64, **HEADS}
TEXT = {**SMALL, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 200, "pad_token_id": 0}
BERT = {**SMALL, "vocab_size": 200}
OPT = {"model_type": "opt", "hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64, **HEADS, "vocab_size": 200}
CLIP_TEXT = {**BERT, "projection_dim": 32, "eos_token_id": 7}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}
CLIP = {"model_type": "clip_vision_model", **VISION}
SIGLIP = {"model_type": "siglip_vision_model", **VISION}
PIXTRAL = {"model_type": "pixtral", **VISION, "head_dim": 8}
WHISPER = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 64}
GRID = {"depth": 2, "num_heads": 4, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
MROPE = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]}
QFORMER = {**BERT, "encoder_hidden_size": 32}
IMAGE = {"image_token_id": 100}


def text(kind: str, **more: Any) -> dict[str, Any]:
    return {"model_type": kind, **TEXT, **more}


def audio(kind: str, **more: Any) -> dict[str, Any]:
    """The encoder of Whisper, as others took it over: 30 s in 3,000 frames."""
    return {"model_type": kind, **SMALL, **WHISPER, "num_mel_bins": 16, "max_source_positions": 1500, **more}


# the class, the module that its image or recording has to go through, and its configuration
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen2VLForConditionalGeneration": ("model.visual", {
        "text_config": text("qwen2_vl_text", rope_parameters=MROPE),
        "vision_config": {**GRID, "embed_dim": 32, "hidden_size": 32}, **IMAGE, "vision_start_token_id": 101}),
    "Qwen2_5_VLForConditionalGeneration": ("model.visual", {
        "text_config": text("qwen2_5_vl_text", rope_parameters=MROPE),
        "vision_config": {**GRID, "hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 64,
                          "fullatt_block_indexes": [1]}, **IMAGE, "vision_start_token_id": 101}),
    "Qwen3VLForConditionalGeneration": ("model.visual", {
        "text_config": text("qwen3_vl_text", rope_parameters=MROPE),
        "vision_config": {**GRID, "hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 64,
                          "deepstack_visual_indexes": [0], "num_position_embeddings": 256},
        **IMAGE, "vision_start_token_id": 101}),
    "Glm4vForConditionalGeneration": ("model.visual", {
        "text_config": text("glm4v_text", rope_parameters={**MROPE, "partial_rotary_factor": 1.0}),
        "vision_config": {**GRID, "hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 64,
                          "image_size": 56}, **IMAGE}),
    "LlavaForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("llama"), "vision_config": CLIP, **IMAGE}),
    "LlavaNextForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("llama"), "vision_config": CLIP, **IMAGE, "image_grid_pinpoints": [[32, 64], [64, 32]]}),
    "LlavaOnevisionForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("qwen2"), "vision_config": SIGLIP, **IMAGE,
        "image_grid_pinpoints": [[32, 32], [32, 64], [64, 64]]}),
    "VipLlavaForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("llama"), "vision_config": {**CLIP, "num_hidden_layers": 12}, **IMAGE}),
    "PaliGemmaForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("gemma"), "vision_config": {**SIGLIP, "projection_dim": 32}, **IMAGE,
        "projection_dim": 32, "hidden_size": 32}),
    "Gemma3ForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("gemma3_text"), "vision_config": SIGLIP, **IMAGE, "mm_tokens_per_image": 4}),
    "Blip2ForConditionalGeneration": ("vision_model", {
        "text_config": OPT, "vision_config": VISION, "qformer_config": QFORMER,
        "num_query_tokens": 8, "image_token_index": 100}),
    "InstructBlipForConditionalGeneration": ("vision_model", {
        "text_config": OPT, "vision_config": VISION, "qformer_config": QFORMER,
        "num_query_tokens": 8, "image_token_index": 100}),
    "InstructBlipVideoForConditionalGeneration": ("vision_model", {
        "text_config": OPT, "vision_config": VISION, "qformer_config": QFORMER,
        "num_query_tokens": 8, "video_token_index": 100}),
    "BlipForConditionalGeneration": ("vision_model", {
        "text_config": {**BERT, "encoder_hidden_size": 32}, "vision_config": VISION}),
    "GitForCausalLM": ("git.image_encoder", {**BERT, "vision_config": VISION}),
    "CLIPModel": ("vision_model", {"text_config": CLIP_TEXT, "vision_config": VISION}),
    "SiglipModel": ("vision_model", {"text_config": BERT, "vision_config": VISION}),
    "Siglip2Model": ("vision_model", {"text_config": BERT, "vision_config": {**SMALL, "patch_size": 8,
                                                                           "num_patches": 16}}),
    "AltCLIPModel": ("vision_model", {"text_config": {**BERT, "project_dim": 32}, "vision_config": VISION}),
    "ChineseCLIPModel": ("vision_model", {"text_config": BERT, "vision_config": VISION}),
    "CLIPSegModel": ("vision_model", {"text_config": CLIP_TEXT, "vision_config": VISION}),
    "OwlViTModel": ("vision_model", {"text_config": BERT, "vision_config": VISION}),
    "XCLIPModel": ("vision_model", {
        "text_config": CLIP_TEXT, "projection_dim": 32,
        "vision_config": {**VISION, "num_frames": 4, "mit_hidden_size": 32, "mit_intermediate_size": 64,
                          "mit_num_attention_heads": 4}}),
    "FlavaModel": ("image_model", {
        "text_config": BERT, "image_config": VISION, "multimodal_config": SMALL, "hidden_size": 32}),
    "MllamaForConditionalGeneration": ("model.vision_model", {
        "text_config": {**TEXT, "model_type": "mllama_text_model", "cross_attention_layers": [1]},
        "vision_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1,
                          "attention_heads": 4, "image_size": 32, "patch_size": 8, "vision_output_dim": 64,
                          "intermediate_layers_indices": [0]}, "image_token_index": 100}),
    "InternVLForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("qwen2"), "image_token_id": 100, "image_seq_length": 4,
        "vision_config": {**SMALL, "image_size": [32, 32], "patch_size": [8, 8]}}),
    "AyaVisionForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("cohere2"), "vision_config": SIGLIP, "image_token_index": 100}),
    "Cohere2VisionForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("cohere2"), "vision_config": SIGLIP, **IMAGE, "alignment_intermediate_size": 64}),
    "Mistral3ForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("mistral"), "vision_config": PIXTRAL, "image_token_index": 100}),
    "LightOnOcrForConditionalGeneration": ("model.vision_encoder", {
        "text_config": text("qwen3"), "vision_config": PIXTRAL, **IMAGE}),
    "Ovis2ForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("qwen2"), "vision_config": {**VISION, "vocab_size": 50, "num_visual_indicator_tokens": 5},
        **IMAGE, "visual_indicator_token_ids": [101, 102, 103, 104, 105], "hidden_size": 32, "vocab_size": 200}),
    "Florence2ForConditionalGeneration": ("model.vision_tower", {
        "text_config": {"model_type": "bart", "d_model": 32, "vocab_size": 200, "encoder_layers": 1,
                        "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
                        "encoder_ffn_dim": 64, "decoder_ffn_dim": 64},
        "vision_config": {"embed_dim": [8, 16, 32, 64], "num_heads": [1, 2, 4, 8], "num_groups": [1, 2, 4, 8],
                          "depths": [1, 1, 1, 1], "projection_dim": 32}, **IMAGE}),
    "JanusForConditionalGeneration": ("model.vision_model", {
        "text_config": text("llama"), **IMAGE,
        "vision_config": {**VISION, "projection_dim": 32, "num_image_tokens": 16},
        "vq_config": {"base_channels": 32, "channel_multiplier": [1, 1], "projection_dim": 32, "num_patches": 4,
                      "image_token_embed_dim": 32, "latent_channels": 32}}),
    "DeepseekVLForConditionalGeneration": ("model.vision_model", {
        "text_config": text("llama"), "vision_config": SIGLIP, **IMAGE}),
    "Phi4MultimodalForCausalLM": ("model.embed_tokens_extend.image_embed.img_processor", {
        **TEXT, "original_max_position_embeddings": 512, "max_position_embeddings": 512,
        "vision_config": {**SMALL, "image_size": 56, "crop_size": 56, "patch_size": 14, "image_token_id": 100},
        "audio_config": {"hidden_size": 32, "intermediate_size": 64, "num_blocks": 2, "num_attention_heads": 4,
                         "ext_pw_out_channel": 32, "depthwise_separable_out_channel": 32, "nemo_conv_channels": 32,
                         "audio_token_id": 110}}),
    "DeepseekVLHybridForConditionalGeneration": ("model.high_res_vision_model", {
        "text_config": text("llama"), "vision_config": SIGLIP, **IMAGE,
        "high_res_vision_config": {"model_type": "sam_vision_model", **VISION, "image_size": 64, "output_channels": 16,
                                   "global_attn_indexes": [1], "window_size": 4}}),
    "GotOcr2ForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("qwen2"), "image_token_index": 100,
        "vision_config": {**VISION, "image_size": 128, "output_channels": 16, "global_attn_indexes": [1],
                          "window_size": 4, "mlp_dim": 64}}),
    "Gemma4ForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("gemma4_text", hidden_size_per_layer_input=8, vocab_size_per_layer_input=200,
                            global_head_dim=8, num_kv_shared_layers=0),
        "vision_config": {**SMALL, "num_key_value_heads": 4, "head_dim": 8, "patch_size": 4}, **IMAGE,
        "audio_config": None}),
    "Lfm2VlForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("qwen2"), **IMAGE,
        "vision_config": {"model_type": "siglip2_vision_model", **SMALL, "patch_size": 8, "num_patches": 16}}),
    "PerceptionLMForConditionalGeneration": ("model.vision_tower", {
        "text_config": text("llama"), **IMAGE, "projector_pooling_ratio": 1, "vision_use_cls_token": True,
        "vision_config": {"model_type": "timm_wrapper", "architecture": "vit_pe_core_tiny_patch16_384",
                          "model_args": {"embed_dim": 64, "depth": 2, "num_heads": 2, "img_size": [64, 64]}}}),
    "FuyuForCausalLM": ("model.vision_embed_tokens", {
        **SMALL, "vocab_size": 200, "image_size": 32, "patch_size": 8, "text_config": text("persimmon"), **IMAGE}),
    "Kosmos2_5ForConditionalGeneration": ("vision_model", {
        "text_config": {"vocab_size": 200, "embed_dim": 32, "layers": 2, "ffn_dim": 64, "attention_heads": 4},
        "vision_config": {**SMALL, "head_dim": 8, "patch_size": 4, "max_num_patches": 64}, "latent_query_num": 16}),
    "Kosmos2ForConditionalGeneration": ("vision_model", {
        "text_config": {"vocab_size": 200, "embed_dim": 32, "layers": 2, "ffn_dim": 64, "attention_heads": 4},
        "vision_config": VISION, "latent_query_num": 4}),
    "Pix2StructForConditionalGeneration": ("encoder", {
        "text_config": {"hidden_size": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 200,
                        "decoder_start_token_id": 0, "pad_token_id": 0},
        "vision_config": {"hidden_size": 32, "patch_embed_hidden_size": 48, "d_kv": 8, "d_ff": 64,
                          "num_hidden_layers": 2, "num_attention_heads": 4, "seq_len": 64}}),
    "WhisperForConditionalGeneration": ("model.encoder", {
        **WHISPER, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64, "vocab_size": 200,
        "num_mel_bins": 16, "max_source_positions": 100, "pad_token_id": 0, "decoder_start_token_id": 1}),
    "Speech2TextForConditionalGeneration": ("model.encoder", {
        **WHISPER, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64, "vocab_size": 200,
        "conv_channels": 32}),
    "Qwen2AudioForConditionalGeneration": ("model.audio_tower", {
        "text_config": text("qwen2"), "audio_config": audio("qwen2_audio_encoder"), "audio_token_index": 110}),
    "AudioFlamingo3ForConditionalGeneration": ("model.audio_tower", {
        "text_config": text("qwen2"), "audio_config": audio("audioflamingo3_encoder"), "audio_token_id": 110}),
    "VoxtralForConditionalGeneration": ("model.audio_tower", {
        "text_config": text("llama"), "audio_config": audio("voxtral_encoder", intermediate_size=128),
        "audio_token_id": 110}),
    "GraniteSpeechForConditionalGeneration": ("model.encoder", {
        "text_config": text("granite"), "audio_token_index": 110, "has_lora_adapter": False,
        "encoder_config": {"input_dim": 16, "hidden_dim": 32, "num_layers": 2, "num_heads": 4, "dim_head": 8,
                           "output_dim": 10},
        "projector_config": {"model_type": "blip_2_qformer", **QFORMER}}),
    "ClapModel": ("audio_model", {
        "text_config": {**BERT, "projection_dim": 32}, "projection_dim": 32,
        "audio_config": {"spec_size": 64, "num_mel_bins": 16, "window_size": 4, "hidden_size": 64, "depths": [1, 1],
                         "num_attention_heads": [2, 4], "patch_embeds_hidden_size": 32, "num_hidden_layers": 2,
                         "projection_dim": 32, "enable_fusion": True}}),
    "Wav2Vec2ForCTC": ("wav2vec2.encoder", {**SMALL, "vocab_size": 32}),
    "ASTForAudioClassification": ("audio_spectrogram_transformer", {**SMALL, "max_length": 64, "num_mel_bins": 16}),
    "VideoMAEModel": ("encoder", {**SMALL, "image_size": 32, "patch_size": 8, "num_frames": 4}),
    "TimesformerModel": ("encoder", {**SMALL, "image_size": 32, "patch_size": 8, "num_frames": 4}),
}  # fmt: skip


# these drop images that are all zeros, for which their pixels have to be there: they run on weights
READING: dict[str, tuple[str, dict[str, Any]]] = {
    "Idefics2ForConditionalGeneration": ("model.vision_model", {
        "text_config": text("mistral"), "vision_config": VISION, **IMAGE,
        "perceiver_config": {"hidden_size": 32, "resampler_n_latents": 6, "resampler_depth": 1, "resampler_n_heads": 4,
                             "resampler_head_dim": 8, "num_key_value_heads": 2}}),
    "Idefics3ForConditionalGeneration": ("model.vision_model", {
        "text_config": text("llama"), "vision_config": VISION, **IMAGE}),
    "SmolVLMForConditionalGeneration": ("model.vision_model", {
        "text_config": text("llama"), "vision_config": VISION, **IMAGE}),
}  # fmt: skip

MUSICGEN = {
    "text_encoder": {"model_type": "t5", "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
                     "vocab_size": 200},
    "audio_encoder": {"model_type": "encodec"},
    "decoder": {"model_type": "musicgen_decoder", "hidden_size": 32, "ffn_dim": 64, **HEADS, "vocab_size": 64},
}  # fmt: skip


def built(name: str, options: dict[str, Any], device: str = "meta") -> Any:
    """The model in evaluation mode; its weights are random where it is not on meta."""
    cls = getattr(transformers, name)
    with torch.device(device):
        return cls(cls.config_class(**options)).eval()


def given(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments that the model gets."""
    inputs = default_inputs(built(name, options))
    assert inputs is not None
    assert inputs.args == ()
    return dict(inputs.kwargs)


def macs(report: Any, path: str) -> int:
    """Multiply-accumulates of a module and all below it."""
    return int(report.costs.inclusive[path].macs)


def blocks(tokens: int, width: int, inner: int, layers: int) -> int:
    """A transformer's: four projections, the scores and their product with the values, and the two of the MLP."""
    return layers * (4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * inner)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_given_nothing_runs_on_its_own_sample_of_every_modality(name: str):
    tower, options = MODELS[name]
    report = numel.summary(built(name, options))
    assert report.trace is not None
    assert report.trace.failure is None
    assert report.exact
    assert macs(report, tower) > 0


def test_a_model_that_sees_and_hears_is_given_both():
    report = numel.summary(built("Phi4MultimodalForCausalLM", MODELS["Phi4MultimodalForCausalLM"][1]))
    assert macs(report, "model.embed_tokens_extend.image_embed.img_processor") > 0
    assert macs(report, "model.embed_tokens_extend.audio_embed.encoder") > 0


@pytest.mark.parametrize("name", READING)
def test_a_model_that_reads_its_pixels_is_given_real_ones(name: str):
    tower, options = READING[name]
    report = numel.summary(built(name, options, "cpu"))
    assert report.trace is not None
    assert report.trace.failure is None
    assert report.mode == "real"
    assert report.exact
    assert macs(report, tower) > 0


@pytest.mark.parametrize(("name", "argument"), [
    ("Gemma3ForConditionalGeneration", "token_type_ids"),
    ("Qwen2VLForConditionalGeneration", "mm_token_type_ids"),
    ("Kosmos2ForConditionalGeneration", "image_embeds_position_mask"),
])  # fmt: skip
def test_a_row_that_holds_an_image_comes_with_where_it_is(name: str, argument: str):
    options = MODELS[name][1]
    sample = given(name, options)
    token = options.get("image_token_id", 0)  # Kosmos-2 goes by the mask alone
    assert torch.equal(sample[argument] == 1, (sample["input_ids"] == token) & (sample[argument] > 0))
    assert sample[argument].sum() == {"Gemma3": 4, "Qwen2V": 64, "Kosmos": 4}[name[:6]]


def test_clip_b_32_runs_on_49_patches_of_a_224_pixel_image():
    # the published configuration is the class's default; 49 patches and the class token
    report = numel.summary(built("CLIPModel", {}))
    patches = 49 * 768 * 3 * 32**2
    assert macs(report, "vision_model") == patches + blocks(49 + 1, 768, 3072, 12)


def test_whisper_tiny_runs_on_30_seconds():
    tiny = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536,
            "decoder_layers": 4, "decoder_attention_heads": 6, "decoder_ffn_dim": 1536}  # fmt: skip
    report = numel.summary(built("WhisperForConditionalGeneration", tiny))
    # 80 mel bins in 3,000 frames of 10 ms; the second of two convolutions of width 3 halves them
    convolutions = 3000 * 384 * 80 * 3 + 1500 * 384 * 384 * 3
    assert macs(report, "model.encoder") == convolutions + blocks(1500, 384, 1536, 4)


CLIP_L_336 = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096,
              "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "patch_size": 14}  # fmt: skip
OF_CLIP_L_336 = 576 * 1024 * 3 * 14**2 + blocks(576 + 1, 1024, 4096, 24)


def test_llava_sees_576_tokens_of_clip_l_336():
    options = {"text_config": text("llama"), "vision_config": CLIP_L_336, **IMAGE}
    report = numel.summary(built("LlavaForConditionalGeneration", options))
    assert macs(report, "model.vision_tower") == OF_CLIP_L_336
    assert (given("LlavaForConditionalGeneration", options)["input_ids"] == 100).sum() == 576


def test_llava_next_cuts_an_image_in_tiles_and_sees_a_line_break_after_each_row():
    options = {"text_config": text("llama"), "vision_config": CLIP_L_336, **IMAGE,
               "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672]]}  # fmt: skip
    report = numel.summary(built("LlavaNextForConditionalGeneration", options))
    assert macs(report, "model.vision_tower") == 3 * OF_CLIP_L_336  # the whole image, and two tiles side by side
    ids = given("LlavaNextForConditionalGeneration", options)["input_ids"]
    assert (ids == 100).sum() == 576 + 24 * (24 + 24 + 1)


def test_qwen2_vl_embeds_patches_of_two_frames_and_sees_a_token_for_each_four():
    options = {"text_config": text("qwen2_vl_text", rope_parameters=MROPE), **IMAGE, "vision_start_token_id": 101,
               "vision_config": {"embed_dim": 1280, "hidden_size": 32, "depth": 1}}  # fmt: skip
    report = numel.summary(built("Qwen2VLForConditionalGeneration", options))
    patches = (224 // 14) ** 2
    assert macs(report, "model.visual.patch_embed") == patches * 1280 * (3 * 2 * 14 * 14)
    sample = given("Qwen2VLForConditionalGeneration", options)
    assert sample["image_grid_thw"].tolist() == [[1, 16, 16]]
    of_image = sample["input_ids"] == 100
    assert of_image.sum() == patches // 4
    assert torch.equal(sample["mm_token_type_ids"] == 1, of_image)


def test_llama_vision_attends_to_all_tiles_of_an_image():
    options = MODELS["MllamaForConditionalGeneration"][1]
    report = numel.summary(built("MllamaForConditionalGeneration", options))
    tiles, patches = 4, (32 // 8) ** 2
    assert macs(report, "model.vision_model.patch_embedding") == tiles * patches * 32 * (3 * 8 * 8)


def test_qwen2_audio_sees_750_tokens_of_30_seconds():
    # two convolutions, the second of stride 2, then pairs are averaged: 3000 → 1500 → 750
    ids = given("Qwen2AudioForConditionalGeneration", MODELS["Qwen2AudioForConditionalGeneration"][1])["input_ids"]
    assert (ids == 110).sum() == 750


def test_musicgen_decodes_a_row_for_each_codebook_of_a_sample():
    sample = given("MusicgenForConditionalGeneration", MUSICGEN)
    assert len(sample["decoder_input_ids"]) == 4 * len(sample["input_ids"])
    report = numel.summary(built("MusicgenForConditionalGeneration", MUSICGEN))
    assert report.trace is not None
    assert report.trace.failure is None
    tokens = sample["input_ids"].numel()
    assert macs(report, "decoder.lm_heads") == 4 * tokens * 32 * 64


def test_an_encoder_and_its_decoder_get_as_many_rows():
    sample = given("Florence2ForConditionalGeneration", MODELS["Florence2ForConditionalGeneration"][1])
    assert len(sample["decoder_input_ids"]) == len(sample["input_ids"]) == len(sample["pixel_values"].shape[:1])


def test_a_part_that_the_configuration_leaves_out_gets_no_image():
    options = {"text_config": MODELS["Gemma4ForConditionalGeneration"][1]["text_config"], "vision_config": None,
               "audio_config": None}  # fmt: skip
    assert "pixel_values" not in given("Gemma4ForConditionalGeneration", options)
    report = numel.summary(built("Gemma4ForConditionalGeneration", options))
    assert report.trace is not None
    assert report.trace.failure is None


class Strange(transformers.PreTrainedModel):  # type: ignore[misc]
    """Somebody's own model, whose configuration may mean other things by the names that are looked for."""

    config_class = transformers.PretrainedConfig
    main_input_name = "pixel_values"

    def forward(self, pixel_values: Any) -> Any:
        return pixel_values


class Stranger(Strange):
    """One that can not do without something that nobody knows."""

    def forward(self, pixel_values: Any, speed: Any) -> Any:
        return pixel_values


def test_a_backbone_of_any_size_gets_the_image_of_a_classifier():
    inputs = default_inputs(Strange(transformers.PretrainedConfig()))
    assert inputs is not None
    assert inputs.kwargs["pixel_values"].shape == (1, 3, 224, 224)


@pytest.mark.parametrize("fields", [{"image_size": "large"}, {"image_size": {"side": 3}}, {"num_frames": "all"}])
def test_a_configuration_that_means_something_else_gives_no_inputs_and_no_error(fields: dict[str, Any]):
    model = Strange(transformers.PretrainedConfig(**fields))
    assert default_inputs(model) is None
    assert numel.summary(model).trace is None


def test_an_argument_that_can_not_be_made_up_gives_no_inputs_and_no_error():
    model = Stranger(transformers.PretrainedConfig())
    assert default_inputs(model) is None
    assert numel.summary(model).trace is None


def test_asking_a_model_for_its_tokens_leaves_it_as_it_was():
    model = built("LlavaForConditionalGeneration", MODELS["LlavaForConditionalGeneration"][1], "cpu")
    before = {name: (value, value._version, value.clone()) for name, value in model.state_dict(keep_vars=True).items()}
    attributes = {name: dict(module.__dict__) for name, module in model.named_modules()}
    default_inputs(model)
    for name, value in model.state_dict(keep_vars=True).items():
        was, version, values = before[name]
        assert value is was
        assert value._version == version
        assert torch.equal(value, values)
    assert {name: dict(module.__dict__) for name, module in model.named_modules()} == attributes

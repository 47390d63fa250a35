"""Architectures of torchvision, timm, transformers and diffusers, each with inputs that its forward takes.

Every one of torchvision's, the smallest member of every module of timm, and a small build of a hundred configurations
of transformers: decoders, encoders, both, mixtures of experts, state spaces, vision, speech, several modalities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

import numel
from numel.tracing import default_inputs

_MOST_ALLOCATED = 400_000_000  # bytes of weights; above, an architecture is moved to meta, where it has no values


@dataclass(frozen=True)
class Architecture:
    """`build()` gives the model; `inputs(model)` what its forward takes in the training mode that it is in."""

    name: str
    construct: Callable[[], Any]
    inputs: Callable[[Any], Any]

    def __str__(self) -> str:
        return self.name

    def build(self) -> Any:
        with _Undrawn():
            model = self.construct()
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        return model.to("meta") if weights > _MOST_ALLOCATED else model


class _Undrawn(TorchFunctionMode):
    """Weights are filled with a constant instead of drawn: a comparison of values needs some, and drawing takes longer
    than everything that is done with them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") not in _DRAWS:
            return func(*args, **(kwargs or {}))
        with torch.no_grad():
            return (args[0] if args else kwargs["tensor"]).fill_(0.01)


_DRAWS = {"uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_",
          "xavier_normal_", "erfinv_"}  # fmt: skip


# ── torchvision ──────────────────────────────────────────────────────────────────────────────────────────────────────

_IMAGES = "f32[2,3,224,224]"
_PAIR = "f32[1,3,128,128], f32[1,3,128,128], num_flow_updates: 2"


def of_torchvision() -> list[Architecture]:
    """All that it lists: classification, segmentation, detection, video, optical flow, and those made to be quantized,
    in floating point."""
    from torchvision import models

    found = []
    for place, given in (
        (models, _IMAGES),
        (models.segmentation, "f32[2,3,64,64]"),
        (models.detection, _detected),
        (models.video, "f32[1,3,16,224,224]"),
        (models.optical_flow, _PAIR),
        (models.quantization, _IMAGES),
    ):
        for name in models.list_models(module=place):
            options: dict[str, Any] = {"weights": None}
            if place in (models.segmentation, models.detection):
                options["weights_backbone"] = None
            if "rcnn" in name or "retinanet" in name or "fcos" in name:
                options |= {"min_size": 64, "max_size": 64}  # what images are resized to
            if "googlenet" in name or "inception" in name:
                options |= {"init_weights": False, "aux_logits": True}
            size = "f32[2,3,299,299]" if "inception" in name else given
            found.append(Architecture(f"torchvision:{name}", _bound(models.get_model, name, **options), _given(size)))
    return found


def _detected(model: Any) -> Any:
    """Two images of their own sizes and, in training, what is to be seen there."""
    images = [torch.zeros(3, 64, 64), torch.zeros(3, 64, 48)]
    if not model.training:
        return numel.Inputs((images,))
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    target |= {"masks": torch.ones(1, 64, 64, dtype=torch.uint8), "keypoints": torch.ones(1, 17, 3)}
    return numel.Inputs((images, [target, target]))


def _bound(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], Any]:
    return lambda: function(*args, **kwargs)


def _given(inputs: Any) -> Callable[[Any], Any]:
    return inputs if callable(inputs) else lambda model: inputs


# ── timm ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

TIMM = {
    "beit": "beit_base_patch16_224", "byoanet": "halonet_h1", "byobnet": "test_byobnet", "cait": "cait_xxs24_224",
    "coat": "coat_tiny", "convit": "convit_tiny", "convmixer": "convmixer_768_32", "convnext": "test_convnext",
    "cpubone": "cpubone_nano", "crossvit": "crossvit_tiny_240", "csatv2": "csatv2", "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny", "davit": "davit_tiny", "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224", "densenet": "densenet121", "dla": "dla46x_c", "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small", "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0", "efficientnet": "test_efficientnet",
    "efficientvim": "efficientvim_m1", "efficientvit_mit": "efficientvit_b0", "efficientvit_msra": "efficientvit_m0",
    "eva": "eva02_tiny_patch14_224", "fasternet": "fasternet_t0", "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf", "gcvit": "gcvit_xxtiny", "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050", "hardcorenas": "hardcorenas_b", "hgnet": "hgnetv2_b0", "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny", "hrnet": "hrnet_w18_small", "iformer": "iformer_t",
    "inception_next": "inception_next_atto", "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3", "inception_v4": "inception_v4", "lcnetv2": "lcnetv2_small", "levit": "levit_128s",
    "lowformer": "lowformer_b0", "mambaout": "test_mambaout", "maxxvit": "maxvit_pico_rw_256",
    "metaformer": "poolformerv2_s12", "mlp_mixer": "gmlp_ti16_224", "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base", "mobilevit": "mobilevit_xxs", "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_parfac_gap", "nasnet": "nasnetalarge", "nest": "nest_tiny",
    "nextvit": "nextvit_small", "nfnet": "test_nfnet", "pit": "pit_ti_224", "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0", "qwen3_vit": "qwen3_vit_88m", "rdnet": "rdnet_tiny", "regnet": "regnetx_002",
    "repghost": "repghostnet_050", "repvit": "repvit_m1", "res2net": "res2next50", "resnest": "resnest14d",
    "resnet": "test_resnet", "resnetv2": "resnetv2_18", "rexnet": "rexnet_100", "selecsls": "selecsls42",
    "senet": "legacy_seresnet18", "shvit": "shvit_s1", "sknet": "skresnet18", "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs", "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window16_256", "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224", "tnt": "tnt_s_legacy_patch16_224", "tresnet": "tresnet_m",
    "twins": "twins_svt_small", "vgg": "vgg11", "visformer": "visformer_tiny", "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224", "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16_224", "vitamin": "vitamin_small_224", "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw", "xception": "legacy_xception", "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}
TIMM_LEFT_OUT = {"sequencer": "bidirectional LSTMs over 32 steps, taken apart step by step: 6 s a trace"}


def of_timm() -> list[Architecture]:
    return [Architecture(f"timm:{name}", _bound(_timm, name), _image_of_timm) for name in TIMM.values()]


def _timm(name: str) -> Any:
    import timm

    return timm.create_model(name)


def _image_of_timm(model: Any) -> str:
    return f"f32[2,{','.join(map(str, model.pretrained_cfg['input_size']))}]"


# ── transformers ─────────────────────────────────────────────────────────────────────────────────────────────────────

TRANSFORMERS = {
    "llama": "LlamaForCausalLM", "gpt2": "GPT2LMHeadModel", "opt": "OPTForCausalLM", "bloom": "BloomForCausalLM",
    "falcon": "FalconForCausalLM", "mpt": "MptForCausalLM", "phi": "PhiForCausalLM", "phi3": "Phi3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
    "mistral": "MistralForCausalLM", "olmo2": "Olmo2ForCausalLM", "cohere2": "Cohere2ForCausalLM",
    "stablelm": "StableLmForCausalLM", "starcoder2": "Starcoder2ForCausalLM", "granite": "GraniteForCausalLM",
    "smollm3": "SmolLM3ForCausalLM", "glm4": "Glm4ForCausalLM", "gpt_bigcode": "GPTBigCodeForCausalLM",
    "xglm": "XGLMForCausalLM",
    "bert": "BertForMaskedLM", "albert": "AlbertForMaskedLM", "roberta": "RobertaForMaskedLM",
    "distilbert": "DistilBertForMaskedLM", "deberta-v2": "DebertaV2ForMaskedLM", "electra": "ElectraForMaskedLM",
    "modernbert": "ModernBertForMaskedLM", "fnet": "FNetForMaskedLM", "funnel": "FunnelForMaskedLM",
    "mpnet": "MPNetForMaskedLM", "xlnet": "XLNetLMHeadModel", "canine": "CanineModel",
    "convbert": "ConvBertForMaskedLM", "big_bird": "BigBirdForMaskedLM", "longformer": "LongformerForMaskedLM",
    "ibert": "IBertForMaskedLM", "nystromformer": "NystromformerForMaskedLM",
    "t5": "T5ForConditionalGeneration", "bart": "BartForConditionalGeneration",
    "mbart": "MBartForConditionalGeneration", "pegasus": "PegasusForConditionalGeneration",
    "prophetnet": "ProphetNetForConditionalGeneration", "longt5": "LongT5ForConditionalGeneration",
    "led": "LEDForConditionalGeneration", "bigbird_pegasus": "BigBirdPegasusForConditionalGeneration",
    "m2m_100": "M2M100ForConditionalGeneration", "marian": "MarianMTModel", "umt5": "UMT5ForConditionalGeneration",
    "t5gemma": "T5GemmaForConditionalGeneration",
    "mixtral": "MixtralForCausalLM", "qwen2_moe": "Qwen2MoeForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM",
    "olmoe": "OlmoeForCausalLM", "phimoe": "PhimoeForCausalLM", "granitemoe": "GraniteMoeForCausalLM",
    "gpt_oss": "GptOssForCausalLM", "deepseek_v4": "DeepseekV4ForCausalLM", "minimax_m2": "MiniMaxM2ForCausalLM",
    "glm4_moe": "Glm4MoeForCausalLM", "jetmoe": "JetMoeForCausalLM", "nllb-moe": "NllbMoeForConditionalGeneration",
    "switch_transformers": "SwitchTransformersForConditionalGeneration",
    "mamba": "MambaForCausalLM", "falcon_mamba": "FalconMambaForCausalLM", "rwkv": "RwkvForCausalLM",
    "lfm2": "Lfm2ForCausalLM", "falcon_h1": "FalconH1ForCausalLM", "nemotron_h": "NemotronHForCausalLM",
    "minimax": "MiniMaxForCausalLM", "olmo_hybrid": "OlmoHybridForCausalLM",
    "vit": "ViTForImageClassification", "beit": "BeitForImageClassification", "deit": "DeiTForImageClassification",
    "dinov2": "Dinov2ForImageClassification", "dinov3_vit": "DINOv3ViTModel", "sapiens2": "Sapiens2Model",
    "segformer": "SegformerForImageClassification", "mobilevit": "MobileViTForImageClassification",
    "pvt_v2": "PvtV2ForImageClassification", "yolos": "YolosForObjectDetection",
    "swiftformer": "SwiftFormerForImageClassification", "vit_mae": "ViTMAEModel", "videomae": "VideoMAEModel",
    "timesformer": "TimesformerModel", "vivit": "VivitModel", "glpn": "GLPNForDepthEstimation",
    "imagegpt": "ImageGPTForImageClassification", "vitdet": "VitDetModel",
    "whisper": "WhisperForConditionalGeneration", "wav2vec2": "Wav2Vec2ForCTC", "wavlm": "WavLMForCTC",
    "hubert": "HubertForCTC", "sew": "SEWForCTC", "moonshine": "MoonshineForConditionalGeneration",
    "audio-spectrogram-transformer": "ASTModel", "speecht5": "SpeechT5ForSpeechToText",
    "granite_speech": "GraniteSpeechForConditionalGeneration",
    "clip": "CLIPModel", "siglip": "SiglipModel", "blip": "BlipForConditionalGeneration", "git": "GitForCausalLM",
    "bridgetower": "BridgeTowerModel", "owlvit": "OwlViTModel", "chinese_clip": "ChineseCLIPModel",
    "internvl": "InternVLForConditionalGeneration", "kosmos-2.5": "Kosmos2_5ForConditionalGeneration",
    "ovis2": "Ovis2ForConditionalGeneration", "vilt": "ViltModel", "visual_bert": "VisualBertModel",
    "altclip": "AltCLIPModel", "trocr": "TrOCRForCausalLM", "layoutlm": "LayoutLMForMaskedLM",
    "tapas": "TapasForMaskedLM", "markuplm": "MarkupLMModel",
    "patchtst": "PatchTSTModel", "patchtsmixer": "PatchTSMixerModel",
}
# fields that most configurations have under one of these names, at sizes that fit together
_SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "embed_dim", "dim", "hidden_dim", "out_hidden_size",
                     "encoder_hidden_size"), 64),
    **dict.fromkeys(("intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "ffn_dim",
                     "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "n_inner", "shared_intermediate_size"), 64),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers",
                     "num_encoder_layers", "num_decoder_layers", "depth"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads",
                     "decoder_attention_heads"), 4),
    **dict.fromkeys(("head_dim", "d_kv", "patch_size"), 16),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    "num_key_value_heads": 2, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "vocab_size": 128,
    "max_position_embeddings": 128, "projection_dim": 32, "q_lora_rank": 16, "kv_lora_rank": 16, "v_head_dim": 16,
    "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "image_size": 64, "num_channels": 3, "num_mel_bins": 80,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "image_token_id": 127,
    "image_token_index": 127, "audio_token_id": 126, "video_token_id": 125, "vision_start_token_id": 124,
    "vision_end_token_id": 123,
}  # fmt: skip


def of_transformers() -> list[Architecture]:
    return [Architecture(f"hf:{kind}", _bound(_small, kind, name), default_inputs)
            for kind, name in TRANSFORMERS.items()]  # fmt: skip


def _small(kind: str, name: str) -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    config = transformers.AutoConfig.for_model(kind, **_options(transformers.CONFIG_MAPPING[kind]()))
    return getattr(transformers, name)(config)


def _options(default: Any) -> dict[str, Any]:
    """The fields of a default configuration, and of the ones inside it, that are to be small."""
    fields = default.to_dict()
    found = {name: small for name, small in _SMALL.items() if isinstance(fields.get(name), int)}
    for name, kind in (default.sub_configs or {}).items():
        inner = getattr(default, name, None)
        if hasattr(inner, "to_dict"):
            found[name] = _options(inner)
            if kind.__name__ == "AutoConfig":
                found[name]["model_type"] = inner.model_type
    return found


# ── diffusers ────────────────────────────────────────────────────────────────────────────────────────────────────────

_STEPS, _HIDDEN = "timestep: i64[2] < 1000", "encoder_hidden_states: f32[2,7,32]"
_UNET = {"block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 8, "sample_size": 16}
DIFFUSERS: dict[str, tuple[dict[str, Any], str]] = {
    "UNet2DModel": (
        {**_UNET, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
         "up_block_types": ("AttnUpBlock2D", "UpBlock2D")},
        f"sample: f32[2,3,16,16], {_STEPS}",
    ),
    "UNet2DConditionModel": (
        {**_UNET, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "cross_attention_dim": 32,
         "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "attention_head_dim": 4},
        f"sample: f32[2,4,16,16], {_STEPS}, {_HIDDEN}",
    ),
    "AutoencoderKL": (
        {"block_out_channels": (16, 32), "norm_num_groups": 8, "latent_channels": 4, "sample_size": 16,
         "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2},
        "f32[2,3,16,16]",
    ),
    "DiTTransformer2DModel": (
        {"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "num_layers": 2, "sample_size": 16,
         "norm_num_groups": 4, "num_embeds_ada_norm": 10},
        f"f32[2,4,16,16], {_STEPS}, class_labels: i64[2] < 10",
    ),
    "SD3Transformer2DModel": (
        {"sample_size": 16, "in_channels": 4, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
         "joint_attention_dim": 32, "caption_projection_dim": 32, "pooled_projection_dim": 16},
        f"hidden_states: f32[2,4,16,16], {_HIDDEN}, pooled_projections: f32[2,16], {_STEPS}",
    ),
}  # fmt: skip


def of_diffusers() -> list[Architecture]:
    return [
        Architecture(f"diffusers:{name}", _bound(_diffuser, name, options), _given(given))
        for name, (options, given) in DIFFUSERS.items()
    ]


def _diffuser(name: str, options: dict[str, Any]) -> Any:
    import diffusers

    return getattr(diffusers, name)(**options)

"""Inputs for transformers models that are given none: the library's dummy ids, and one sample of every other modality.

Sizes come from the configuration (image_size, num_mel_bins ...), so the counts are for a sample the model was made for.
"""

from __future__ import annotations

import inspect
import math
import sys
from contextlib import suppress
from typing import Any

import torch

from numel.errors import InputsError
from numel.facts.inputs import Inputs
from numel.facts.trace import TensorSpec
from numel.tracing.default_audio import audio, series
from numel.tracing.default_images import images
from numel.tracing.default_subject import Subject, first
from numel.tracing.tracer import trace

# what a configuration that leaves out a field, or means something else by it, makes of a rule
_UNKNOWN = (AttributeError, KeyError, IndexError, TypeError, ValueError, ZeroDivisionError, InputsError)
# how `mm_token_type_ids` tells the modalities apart; 0 is text
_NUMBERS = {"image": 1, "audio": 3}
_TOKENS = {
    "image": ("image_token_id", "image_token_index", "video_token_id", "video_token_index"),
    "audio": ("audio_token_id", "audio_token_index"),
}
_CARRIERS = {
    "image": ("pixel_values", "flattened_patches", "image_pixel_values"),
    "audio": ("input_features", "audio_input_features"),
}


def default_inputs(model: torch.nn.Module) -> Inputs | None:
    """What a transformers model should be called with when nothing was given, as keywords; `None` for other models.

    Text is the model's own `dummy_inputs` (their values are known, so a forward may read them); with another
    modality one row of it, holding as many image or audio tokens as the encoder gives. Returns `None` as well when the
    model's main input is of a kind that no size is known for.
    """
    modeling = sys.modules.get("transformers.modeling_utils")
    if modeling is None or not isinstance(model, modeling.PreTrainedModel):
        return None
    try:
        subject = Subject.of(model)
        own = type(model).dummy_inputs is not modeling.PreTrainedModel.dummy_inputs
        return _inputs(subject, dict(model.dummy_inputs), own)
    except _UNKNOWN:
        return None


def _inputs(subject: Subject, dummy: dict[str, Any], own: bool) -> Inputs | None:
    others: dict[str, Any] = {}
    for sample in (images, audio, series):
        with suppress(*_UNKNOWN):
            others.update(sample(subject))
    ids = dummy.get("input_ids")
    given: dict[str, Any] = {}
    if "input_ids" in subject.main or ("input_ids" in subject.accepted and "text" in subject.modalities):
        if own:
            given.update({name: value for name, value in dummy.items() if name in subject.accepted})
        elif ids is not None:
            given.update(_text(subject, ids, others))
    given.update(others)
    if not all(name in given for name in subject.main):
        return None
    decoder = getattr(subject.config, "is_encoder_decoder", False) and "decoder_input_ids" in subject.accepted
    if decoder and "decoder_input_ids" not in given and ids is not None:
        rows = len(given["input_ids"]) if "input_ids" in subject.main else 1
        given["decoder_input_ids"] = _by_codebook(subject.field("decoder"), ids[:rows])
    return Inputs((), given)


def _by_codebook(config: Any, ids: torch.Tensor) -> torch.Tensor:
    """The ids as a decoder takes them: one of MusicGen wants a row for each codebook of a sample."""
    music = str(first(config, "model_type")).startswith("musicgen")
    return ids.repeat_interleave(config.num_codebooks, dim=0) if music else ids.clone()


def _text(subject: Subject, ids: torch.Tensor, others: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The dummy ids; with another modality, one row that holds a token for each of its features, and what says where
    they are."""
    if not others:
        return {"input_ids": ids.clone() if subject.field("decoder") else _by_codebook(subject.config, ids)}
    pieces = [(ids[:1, :1], 0)]
    for modality, number in _NUMBERS.items():
        token = _token(subject, modality)
        count = 0 if token is None else _count(subject, modality, others)
        if count and modality == "image" and (start := subject.field("vision_start_token_id")) is not None:
            pieces.append((torch.full((1, 1), start), 0))
        pieces.append((torch.full((1, count), token or 0), number))
    pieces.append((ids[:1, 1:], 0))
    row = torch.cat([piece for piece, _ in pieces], dim=1)
    kinds = torch.cat([torch.full_like(piece, number) for piece, number in pieces], dim=1)
    of_image = (kinds == _NUMBERS["image"]).long()
    found = {
        "input_ids": row,
        "mm_token_type_ids": kinds,
        "image_embeds_position_mask": of_image,
        "qformer_input_ids": ids[:1].clone(),
    }
    if of_image.any():
        found["token_type_ids"] = of_image
    if "aspect_ratio_mask" in others:
        found["cross_attention_mask"] = torch.ones(1, row.shape[1], *others["aspect_ratio_mask"].shape[1:]).long()
    if subject.kind == "idefics":
        found["image_attention_mask"] = torch.ones(1, row.shape[1], 1).long()
    return {name: value for name, value in found.items() if name in subject.accepted}


def _token(subject: Subject, modality: str) -> int | None:
    """The id that holds a place for a feature of the other modality; any will do where a mask says the places."""
    if modality == "image" and "image_embeds_position_mask" in subject.accepted:
        return 0
    part = subject.vision if modality == "image" else subject.audio
    token = part(*_TOKENS[modality])
    return token if isinstance(token, int) else None


def _count(subject: Subject, modality: str, others: dict[str, Any]) -> int:
    """How many places the features take in the row: as the configuration says, else as many as the encoder gives."""
    if not any(name in others for name in _CARRIERS[modality]):
        return 0
    rules = (_declared, _given_by_encoder, _derived)
    return next((count for rule in rules if (count := rule(subject, modality, others))), 0)


def _declared(subject: Subject, modality: str, others: dict[str, Any]) -> int:
    """Where the layout or a field tells it without a doubt; else 0."""
    if modality == "audio":
        sizes = others.get("audio_embed_sizes")
        return int(subject.field("audio_soft_tokens_per_image") or 0) if sizes is None else int(sizes.sum())
    if "image_attention_mask" in others:
        side = others["image_attention_mask"].shape[-1] // 2  # pairs of patches are averaged, rows end in a token
        return int(2 * side * (side + 1) + 1)  # and one stands between the image and its crop
    if "aspect_ratio_ids" in others:
        return 1  # its features are not in the row: they are attended to
    if "image_grid_thw" in others:
        merged = subject.vision("spatial_merge_size")
        return int(others["image_grid_thw"].prod()) // merged**2 if merged else 0
    if "image_position_ids" in others:
        return int(others["image_position_ids"].shape[1] // subject.vision("pooling_kernel_size") ** 2)
    queries = subject.field("num_query_tokens", "latent_query_num")
    pixels = others.get("pixel_values")
    frames = pixels.shape[1] if pixels is not None and len(pixels.shape) == 5 else 1
    return int(queries or 0) * frames


class _Encoder(torch.nn.Module):
    """What a model makes of an image or a recording before it meets the text, as a module."""

    def __init__(self, model: Any, method: str) -> None:
        super().__init__()
        self.model = model
        self.method = method

    def forward(self, **given: Any) -> Any:
        made = getattr(self.model, self.method)(**given)
        plain = isinstance(made, torch.Tensor | list | tuple)
        return made if plain else first(made, "pooler_output", "last_hidden_state")


def _given_by_encoder(subject: Subject, modality: str, others: dict[str, Any]) -> int:
    """The rows that come out when the model's own encoder is traced on meta."""
    method = f"get_{modality}_features"
    for model in (subject.model.base_model, subject.model):
        if not hasattr(model, method):
            continue
        taken = inspect.signature(getattr(model, method)).parameters.values()
        needed = {each.name for each in taken if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD}
        given = {each.name: others.get(each.name) for each in taken if each.name in needed or each.name in others}
        ran = trace(_Encoder(model, method), Inputs((), given), mode="meta")
        if ran.failure is not None:
            return 0
        made = ran.calls[0].outputs
        specs = made if isinstance(made, tuple) else (made,)
        return sum(math.prod(each.shape[:-1]) for each in specs if isinstance(each, TensorSpec))
    return 0


def _derived(subject: Subject, modality: str, others: dict[str, Any]) -> int:
    """By what the configuration says of the encoder, for those that can not run on meta or are no method."""
    if modality == "audio":
        return int(subject.audio("max_source_positions") or 0) // 2  # Qwen2-Audio's: it averages pairs
    latents = first(subject.field("perceiver_config"), "resampler_n_latents")
    count = latents or subject.field("image_seq_length", "mm_tokens_per_image")
    if count:
        return int(count)
    pixels, patch = others.get("pixel_values"), subject.vision("patch_size")
    if pixels is None or not isinstance(patch, int):
        return 0
    height, width = pixels.shape[-2:]
    shuffled = subject.field("scale_factor", "pixel_shuffle_factor") or 1
    return int(height // patch) * int(width // patch) // int(shuffled) ** 2

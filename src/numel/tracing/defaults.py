"""Inputs for transformers models that are given none: the library's dummy ids, and one sample of every other modality.

Sizes come from the configuration (image_size, num_mel_bins ...), so the counts are for a sample the model was made for.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import torch

from numel.facts.dtype import dtype_of
from numel.facts.inputs import Inputs, InputSpec

_SECOND = 16_000  # samples of one second of audio, the rate that wav2vec 2.0 and its successors are trained at


def default_inputs(model: torch.nn.Module) -> Inputs | None:
    """What a transformers model should be called with when nothing was given, as keywords; `None` for other models.

    Text is the model's own `dummy_inputs` (their values are known, so a forward may read them); with another
    modality one row of it, holding as many image tokens as the image gives. Returns `None` as well when the model's
    main input is of a kind that no size is known for.
    """
    modeling = sys.modules.get("transformers.modeling_utils")
    if modeling is None or not isinstance(model, modeling.PreTrainedModel):
        return None
    accepted = inspect.signature(type(model).forward).parameters
    config: Any = model.config
    own = type(model).dummy_inputs is not modeling.PreTrainedModel.dummy_inputs
    dummy = dict(model.dummy_inputs)
    ids = dummy.get("input_ids")
    modalities = getattr(model, "input_modalities", "text")
    modalities = (modalities,) if isinstance(modalities, str) else tuple(modalities or ())
    given: dict[str, Any] = {}
    others = _other_modalities(model, config, accepted, modalities)
    main = model.main_input_name
    if main == "input_ids" or ("input_ids" in accepted and "text" in modalities and ids is not None):
        if own:
            given.update({name: value for name, value in dummy.items() if name in accepted})
        elif ids is not None:
            given["input_ids"] = _ids(config, ids, others)
    given.update(others)
    if main not in given:
        return None
    decoder = getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in accepted
    if decoder and "decoder_input_ids" not in given and ids is not None:
        rows = ids if main == "input_ids" else ids[:1]
        given["decoder_input_ids"] = rows.clone()
    return Inputs((), given)


def _other_modalities(model: Any, config: Any, accepted: Any, modalities: tuple[str, ...]) -> dict[str, Any]:
    floating = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    found: dict[str, Any] = {}

    def floats(*shape: int) -> InputSpec:
        return InputSpec(tuple(shape), dtype_of(floating), None)

    if "image_grid_thw" in accepted and "pixel_values" in accepted:
        vision = config.vision_config
        merge = getattr(vision, "spatial_merge_size", 2)
        side = 4 * merge
        channels = getattr(vision, "in_channels", getattr(vision, "in_chans", 3))
        frames = getattr(vision, "temporal_patch_size", 2)
        found["pixel_values"] = floats(side * side, channels * frames * vision.patch_size**2)
        found["image_grid_thw"] = torch.tensor([[1, side, side]])
    elif "pixel_values" in accepted and {"image", "video"} & set(modalities):
        size = _vision(config, "image_size")
        channels = _vision(config, "num_channels") or 3
        frames = _vision(config, "num_frames")
        # a backbone without a fixed size gets the size that image classifiers are published with
        height, width = size if isinstance(size, tuple | list) else (size or 224, size or 224)
        shape: tuple[int, ...] = (1, channels, height, width)
        if frames and ("video" in modalities or hasattr(config, "num_frames")):
            shape = (1, frames, channels, height, width)
        found["pixel_values"] = floats(*shape)
    if "input_features" in accepted:
        bins = _first(config, "num_mel_bins", "feature_size", "input_feat_per_channel")
        length = _first(config, "max_source_positions")
        audio = getattr(config, "audio_config", None)
        if bins is None and audio is not None:
            bins, length = _first(audio, "num_mel_bins", "input_size"), _first(audio, "max_source_positions")
        if bins is not None and model.config.model_type.startswith("whisper") and length is not None:
            found["input_features"] = floats(1, bins, 2 * length)  # a convolution of stride 2 comes first
        elif bins is not None:
            found["input_features"] = floats(1, 1024, bins)
    if "input_values" in accepted and model.main_input_name == "input_values":
        if getattr(config, "num_mel_bins", None) and getattr(config, "max_length", None) and "audio" in modalities:
            found["input_values"] = floats(1, config.max_length, config.num_mel_bins)
        elif hasattr(config, "audio_channels"):
            found["input_values"] = floats(1, config.audio_channels, _SECOND)
        else:
            found["input_values"] = floats(1, _SECOND)
    if "past_values" in accepted and hasattr(config, "context_length"):
        channels = getattr(config, "num_input_channels", None)
        shape = (1, config.context_length) if channels is None else (1, config.context_length, channels)
        found["past_values"] = floats(*shape)
    return found


def _ids(config: Any, ids: torch.Tensor, others: dict[str, Any]) -> torch.Tensor:
    """The dummy ids; with an image, one row that holds a token for each of its features."""
    if not others:
        return ids.clone()
    row = ids[:1].clone()
    token = _first(config, "image_token_id", "image_token_index")
    if token is None or "pixel_values" not in others:
        return row
    grid = others.get("image_grid_thw")
    if grid is not None:
        count = int(grid.prod()) // getattr(config.vision_config, "spatial_merge_size", 2) ** 2
    else:
        count = _first(config, "image_seq_length", "mm_tokens_per_image") or 0
        size, patch = _vision(config, "image_size"), _vision(config, "patch_size")
        if not count and isinstance(size, int) and isinstance(patch, int):
            count = (size // patch) ** 2
    image = torch.full((1, count), token, dtype=row.dtype)
    start = _first(config, "vision_start_token_id")
    if start is not None:
        image = torch.cat([torch.full((1, 1), start, dtype=row.dtype), image], dim=1)
    return torch.cat([row[:, :1], image, row[:, 1:]], dim=1)


def _vision(config: Any, name: str) -> Any:
    """A field of the configuration itself or of the part that is about images."""
    for part in (config, *(getattr(config, each, None) for each in ("vision_config", "backbone_config", "encoder"))):
        value = getattr(part, name, None)
        if value is not None:
            return value
    return None


def _first(config: Any, *names: str) -> Any:
    for name in names:
        value = getattr(config, name, None)
        if value is not None:
            return value
    return None

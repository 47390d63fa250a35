"""One image, or one clip, in the form that a transformers model takes it, at the size that it was made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from numel.facts.inputs import InputSpec
from numel.tracing.default_subject import Subject, first

# the size that image classifiers are published with: for backbones that take any
_ANY_SIZE = 224
# backbones that take any size, inside models that are published with one; only their processors say which
_PUBLISHED_SIZE = {"gemma3n": 768, "florence2": 768}
# forwards that take images of a row of text apart themselves: [rows, images, channels, height, width]
_IMAGES_PER_ROW = frozenset({"idefics", "perception_lm"})
_FRAMES_AS_ROWS = frozenset({"xclip_vision_model"})  # takes the frames of a clip as so many images
_FRAMES = {"instructblipvideo": 4}  # where only the processor says how many
_PAIRS = frozenset({"efficientloftr", "lightglue", "superglue"})  # compare two images
_POOLED = (10, 14)  # patches of an image after pooling: 140, one of the lengths that Gemma 4's processor offers
_PATCHES = 2048  # of a rendered page: the default of Pix2Struct's processor


def images(subject: Subject) -> dict[str, Any]:
    """The arguments that are an image: its pixels, and what says how they are laid out."""
    accepted = subject.accepted
    if "flattened_patches" in accepted:
        return _rendered(subject)
    if "image_pixel_values" in accepted:
        return _cropped(subject)
    if "pixel_values_videos" in subject.main:
        frames = subject.vision("num_frames", "frames_per_clip") or 16
        return {"pixel_values_videos": subject.floats(1, frames, *_image(subject))}
    wanted = "pixel_values" in subject.main or {"image", "video"} & subject.modalities
    # a model whose configuration has no part for images was built without one
    if "pixel_values" not in accepted or not wanted or getattr(subject.config, "vision_config", ...) is None:
        return {}
    for layout, rule in _LAYOUTS.items():
        if layout in accepted:
            return rule(subject)
    if subject.kind == "fuyu":
        return {"pixel_values": _patches(subject)}
    channels, height, width = _image(subject)
    found: dict[str, Any] = {"pixel_values": subject.floats(*_leading(subject), channels, height, width)}
    if "image_sizes" in accepted:
        found.update(_sized(subject, channels, height, width))
    if "high_res_pixel_values" in accepted:
        side = first(subject.config.high_res_vision_config, "image_size")
        found["high_res_pixel_values"] = subject.floats(1, channels, side, side)
    return found


def _image(subject: Subject) -> tuple[int, int, int]:
    """Channels, height and width."""
    size = subject.vision("image_size", "crop_size") or first(subject.vision("model_args"), "img_size")
    size = size or _PUBLISHED_SIZE.get(subject.kind, _ANY_SIZE)
    if isinstance(size, Mapping):
        size = (size["height"], size["width"])
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return _channels(subject), int(height), int(width)


def _channels(subject: Subject) -> int:
    return int(subject.vision("num_channels", "in_channels", "in_chans") or 3)


def _leading(subject: Subject) -> tuple[int, ...]:
    """The sizes before those of one image: the batch, and the frames or images of a row."""
    if subject.kind in _IMAGES_PER_ROW:
        return (1, 1)
    if subject.kind in _PAIRS:
        return (1, 2)
    frames = _FRAMES.get(subject.kind) or subject.vision("num_frames")
    if not frames:
        return (1,)
    if subject.kind in _FRAMES_AS_ROWS:
        return (frames,)
    return (1, frames)


def _patches(subject: Subject) -> InputSpec:
    channels, height, width = _image(subject)
    side = subject.vision("patch_size")
    return subject.floats(1, (height // side) * (width // side), channels * side**2)


def _rendered(subject: Subject) -> dict[str, Any]:
    """Patches of a page, each after its row and column."""
    width = subject.vision("patch_embed_hidden_size") or _channels(subject) * subject.vision("patch_size") ** 2
    count = subject.vision("max_num_patches") or min(_PATCHES, subject.vision("seq_len") or _PATCHES)
    return {"flattened_patches": subject.floats(1, count, 2 + width)}


def _gridded(name: str) -> Callable[[Subject], dict[str, Any]]:
    def rule(subject: Subject) -> dict[str, Any]:
        """Patches in one row whatever the image's size, and how many there are in time, height and width."""
        patch, merge = subject.vision("patch_size"), subject.vision("spatial_merge_size") or 2
        side = max(_ANY_SIZE // (patch * merge), 1) * merge
        frames = subject.vision("temporal_patch_size", "patch_temporal") or 1
        pixels = subject.floats(side**2, _channels(subject) * frames * patch**2)
        return {"pixel_values": pixels, name: torch.tensor([[1, side, side]])}

    return rule


def _padded(subject: Subject) -> dict[str, Any]:
    """Patches in one row that is padded to a fixed length: here, of an image that fills it."""
    count, patch = subject.vision("num_patches") or 256, subject.vision("patch_size")
    high = max(side for side in range(1, int(count**0.5) + 1) if count % side == 0)
    found: dict[str, Any] = {
        "pixel_values": subject.floats(1, count, _channels(subject) * patch**2),
        "spatial_shapes": torch.tensor([[high, count // high]]),
    }
    if "pixel_attention_mask" in subject.main:  # elsewhere none says the same, and leaves nothing to be read
        found["pixel_attention_mask"] = torch.ones(1, count, dtype=torch.int64)
    return found


def _placed(subject: Subject) -> dict[str, Any]:
    """Patches in one row, each with its column and row."""
    patch, pooled = subject.vision("patch_size"), subject.vision("pooling_kernel_size")
    high, wide = (side * pooled for side in _POOLED)
    places = torch.cartesian_prod(torch.arange(high), torch.arange(wide)).flip(-1)
    return {
        "pixel_values": subject.floats(1, high * wide, _channels(subject) * patch**2),
        "image_position_ids": places[None],
    }


def _tiled(subject: Subject) -> dict[str, Any]:
    """As many tiles as the model takes, of which all are filled: the first aspect ratio that does so."""
    tiles = subject.vision("max_num_tiles")
    ratios = subject.vision("supported_aspect_ratios")
    full = next((i for i, (high, wide) in enumerate(ratios, 1) if high * wide == tiles), 1)
    return {
        "pixel_values": subject.floats(1, 1, tiles, *_image(subject)),
        "aspect_ratio_ids": torch.tensor([[full]]),
        "aspect_ratio_mask": torch.ones(1, 1, tiles, dtype=torch.int64),
    }


def _several(subject: Subject) -> dict[str, Any]:
    """Images of one row, of which the forward drops those that are all zeros: it reads the pixels, so they are real."""
    return {"pixel_values": torch.ones(1, 1, *_image(subject), dtype=getattr(torch, subject.floating.name))}


def _cropped(subject: Subject) -> dict[str, Any]:
    """Phi-4's: the whole image, and a crop of it that is all of it, with a mask of their patches."""
    channels, height, width = _image(subject)
    patch = subject.vision("patch_size")
    return {
        "image_pixel_values": subject.floats(1, 2, channels, height, width),
        "image_sizes": torch.tensor([[height, width]]),
        "image_attention_mask": torch.ones(1, 2, height // patch, width // patch, dtype=torch.int64),
    }


def _sized(subject: Subject, channels: int, height: int, width: int) -> dict[str, Any]:
    """The size that an image had; where it is cut in tiles, it is the first size that is listed, and a tile is all
    of it."""
    listed = subject.field("image_grid_pinpoints")
    if listed:
        high, wide = listed[0]
        tiles = 1 + -(-high // height) * -(-wide // width)
        return {
            "pixel_values": subject.floats(1, tiles, channels, height, width),
            "image_sizes": torch.tensor([[high, wide]]),
        }
    if first(first(subject.config, "vision_config"), "model_type") == "pixtral":
        return {"image_sizes": torch.tensor([[height, width]])}
    return {}


# an argument beside the pixels that tells how they are laid out
_LAYOUTS: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "image_grid_thw": _gridded("image_grid_thw"),
    "grid_thw": _gridded("grid_thw"),
    "spatial_shapes": _padded,
    "image_position_ids": _placed,
    "aspect_ratio_ids": _tiled,
    "pixel_attention_mask": _several,
}

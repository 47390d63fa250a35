"""One recording, or one series, in the form that a transformers model takes it."""

from __future__ import annotations

from typing import Any

import torch

from numel.tracing.default_subject import Subject

_SECOND = 16_000  # samples of one second of audio, the rate that wav2vec 2.0 and its successors are trained at
_FRAMES = 1024  # of a spectrogram for encoders that take any length: about ten seconds
_MASK_OF_EMBEDDINGS = frozenset({"granite_speech", "granite_speech_plus"})  # by default nothing is masked
# what configurations call the size of one frame
_BINS = ("num_mel_bins", "feature_size", "input_feat_per_channel", "input_size", "input_feat_size", "input_dim")


def audio(subject: Subject) -> dict[str, Any]:
    """The arguments that are a recording: its spectrogram or samples, and the mask that says all of it is real."""
    found: dict[str, Any] = {}
    if "input_features" in subject.accepted:
        found.update(_spectrogram(subject))
    if "audio_input_features" in subject.accepted:
        # Phi-4's encoder makes one embedding of so many frames
        sizes = torch.tensor([_FRAMES // subject.audio("time_reduction")])
        found["audio_input_features"] = subject.floats(1, _FRAMES, subject.audio("input_size"))
        found["audio_embed_sizes"] = sizes
    if "input_values" in subject.main:
        found["input_values"] = subject.floats(*_samples(subject))
    return found


def _spectrogram(subject: Subject) -> dict[str, Any]:
    bins = subject.audio(*_BINS)
    if bins is None and "input_features" in subject.main:
        bins = subject.field("feature_projection_input_dim")  # others that have it take text or speech, not both
    if bins is None:
        return {}
    found: dict[str, Any]
    side, positions = subject.audio("spec_size"), subject.audio("max_source_positions")
    if side is not None:
        # CLAP's encoder folds a spectrogram into a square; a fused one takes the whole recording and three cuts of it
        channels = 4 if subject.audio("enable_fusion") else 1
        found = {"input_features": subject.floats(1, channels, side * (side // bins), bins)}
        return {**found, "is_longer": torch.tensor([[False]])} if "is_longer" in subject.accepted else found
    if subject.audio("num_mel_bins") and positions is not None:
        frames = 2 * positions  # Whisper's encoder, which others took over: a convolution of stride 2 comes first
        found = {"input_features": subject.floats(1, bins, frames)}
    else:
        frames = _FRAMES
        found = {"input_features": subject.floats(1, frames, bins)}
    if "feature_attention_mask" in subject.accepted:
        found["feature_attention_mask"] = torch.ones(1, frames, dtype=torch.int64)
    if "input_features_mask" in subject.accepted and subject.kind not in _MASK_OF_EMBEDDINGS:
        found["input_features_mask"] = torch.ones(1, frames, dtype=torch.bool)
    return found


def _samples(subject: Subject) -> tuple[int, ...]:
    config = subject.config
    if getattr(config, "num_mel_bins", None) and getattr(config, "max_length", None) and "audio" in subject.modalities:
        return (1, config.max_length, config.num_mel_bins)  # the audio spectrogram transformer
    if hasattr(config, "audio_channels"):
        return (1, config.audio_channels, _SECOND)
    return (1, _SECOND)


def series(subject: Subject) -> dict[str, Any]:
    """The past that a forecast is made from."""
    length = subject.field("context_length")
    if "past_values" not in subject.accepted or length is None:
        return {}
    channels = subject.field("num_input_channels")
    return {"past_values": subject.floats(1, length, *(() if channels is None else (channels,)))}

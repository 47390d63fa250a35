"""A transformers model as far as its inputs are concerned: configuration, signature, modalities."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from numel.facts.dtype import DType, dtype_of
from numel.facts.inputs import InputSpec

# configurations hold those of their parts under these names; a vision or audio model's own has the fields itself
_VISION = ("vision_config", "image_config", "backbone_config", "encoder")
_AUDIO = ("audio_config", "encoder_config")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a model says of its inputs. `main` are those that it can not do without."""

    model: Any
    config: Any
    accepted: frozenset[str]
    modalities: frozenset[str]
    main: frozenset[str]
    floating: DType

    @classmethod
    def of(cls, model: Any) -> Subject:
        _, *parameters = inspect.signature(type(model).forward).parameters.values()
        accepted = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
        required = [each.name for each in parameters if each.name in accepted and each.default is each.empty]
        main, modalities = model.main_input_name, getattr(model, "input_modalities", "text")
        # parts of a model inherit its main input and may take another
        main = [name for name in ([main] if isinstance(main, str) else main) if name in accepted] or accepted[:1]
        floating = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        return cls(
            model,
            model.config,
            frozenset(accepted),
            frozenset((modalities,) if isinstance(modalities, str) else modalities or ()),
            frozenset((*main, *required)),
            dtype_of(floating),
        )

    @property
    def kind(self) -> str:
        return str(getattr(self.config, "model_type", ""))

    def floats(self, *shape: int) -> InputSpec:
        return InputSpec(tuple(map(int, shape)), self.floating, None)

    def field(self, *names: str) -> Any:
        """The first of these fields that the configuration itself has."""
        return first(self.config, *names)

    def vision(self, *names: str) -> Any:
        """The first of these fields that the configuration has, or its part about images."""
        return self._of_part(_VISION, names)

    def audio(self, *names: str) -> Any:
        """The first of these fields that the configuration has, or its part about sound."""
        return self._of_part(_AUDIO, names)

    def _of_part(self, parts: tuple[str, ...], names: tuple[str, ...]) -> Any:
        holders = (self.config, *(getattr(self.config, part, None) for part in parts))
        return next((value for each in holders if (value := first(each, *names)) is not None), None)


def first(config: Any, *names: str) -> Any:
    """The first of these fields that has a value; a part of a configuration may be a plain mapping."""
    for name in names:
        value = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
        if value is not None:
            return value
    return None

"""torchvision's and timm's models by name → nn.Module. Their weights are never loaded, also where an option asks."""

from __future__ import annotations

import inspect
from typing import Any

from numel.errors import MissingExtra, TargetError
from numel.sources.libraries import library
from numel.sources.meta import Built, constructed
from numel.sources.wording import suggestion


def torchvision(torch: Any, target: str, name: str, options: dict[str, Any], allocate: bool) -> Built:
    """A model of any of torchvision's families: classification, detection, segmentation, video."""
    models = _zoo("torchvision.models")
    try:
        builder = models.get_model_builder(name)
    except ValueError as error:
        near = suggestion(name, models.list_models())
        raise TargetError(f"{target}: torchvision has no model {name!r}{near}") from error
    _no_weights(target, options, "weights", "weights_backbone", "pretrained", "pretrained_backbone")
    absent = {key: None for key in ("weights", "weights_backbone") if key in inspect.signature(builder).parameters}
    return constructed(torch, target, lambda: builder(**{**absent, **options}), allocate)


def timm(torch: Any, target: str, name: str, options: dict[str, Any], allocate: bool) -> Built:
    """A model of timm; "NAME.TAG" is the architecture that the weights of that tag have."""
    zoo = _zoo("timm")
    if not zoo.is_model(name.partition(".")[0]):
        raise TargetError(f"{target}: timm has no model {name!r}{suggestion(name, zoo.list_models())}")
    _no_weights(target, options, "pretrained", "checkpoint_path")
    return constructed(torch, target, lambda: zoo.create_model(name, **{"pretrained": False, **options}), allocate)


def _no_weights(target: str, options: dict[str, Any], *names: str) -> None:
    asked = [name for name in names if options.get(name)]
    if asked:
        raise TargetError(f"{target}: option {asked[0]!r} would load weights; numel builds the architecture only")


def _zoo(name: str) -> Any:
    try:
        return library(name, "torch")
    except MissingExtra as error:  # no extra brings them: their wheels want torch builds of their own
        package = name.partition(".")[0]
        raise MissingExtra(f"{package} is not installed; install it with: pip install {package}") from error

"""Anything a user can point at → what it is: a model, a snapshot, or the file of a saved result."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numel.errors import TargetError
from numel.facts.inputs import Inputs
from numel.facts.note import Note
from numel.facts.snapshot import Snapshot
from numel.sources import config, exported, files, models
from numel.sources.bytes import printable
from numel.sources.wording import siblings

_ACCEPTED = (
    "a torch.nn.Module, a state dict, an ExportedProgram, a Snapshot, 'pkg.mod:callable', 'file.py:Name', "
    "'torchvision:NAME', 'timm:NAME', 'hf:ORG/NAME', or a path of .safetensors, config.json or a saved result"
)
_OWN_CODE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_URL = re.compile(r"[a-z][a-z0-9+]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Exactly one of `snapshot`, `model` (whose snapshot the caller makes) and `saved` is set.

    A model that was built here can be built again: `allocated()` gives it with real, random weights. `searching()` is
    to be active while it runs. `inputs` are those that the target brings itself.
    """

    snapshot: Snapshot | None
    model: Any | None
    notes: tuple[Note, ...] = ()
    saved: Path | None = None
    allocated: Callable[[], Any] | None = None
    searching: Callable[[], AbstractContextManager[None]] = nullcontext
    inputs: Inputs | None = None

    @property
    def built(self) -> bool:
        """Whether the model was built here, so that nobody else holds it."""
        return self.allocated is not None


def resolve(target: Any, *, options: Mapping[str, Any] | None = None, trust_remote_code: bool = False) -> Resolved:
    """What `target` is. `options` go to what builds a model. Files never import torch.

    Raises `TargetError`, one line: what was given, what is accepted, and the closest name where there is one.

    >>> resolve("resnet50")
    Traceback (most recent call last):
    numel.errors.TargetError: 'resnet50': no such file; for a model of a library write 'torchvision:resnet50' or ...
    """
    chosen = dict(options or {})
    if isinstance(target, Snapshot):
        return Resolved(_without(target, chosen, "a Snapshot"), None)
    nn = getattr(sys.modules.get("torch"), "nn", None)
    if nn is not None and isinstance(target, nn.Module):
        return Resolved(None, _without(target, chosen, "a live module"))
    if nn is not None and isinstance(target, Mapping) and target and all(_is_tensor(each) for each in target.values()):
        from numel.sources.live import of_state

        return Resolved(of_state(_without(target, chosen, "a state dict"), target="a state dict"), None)
    if exported.is_program(target):
        model, notes = exported.unflattened(_without(target, chosen, "an ExportedProgram"))
        return Resolved(None, model, notes, inputs=exported.example_inputs(target))
    if isinstance(target, os.PathLike):
        target = os.fspath(target)
    if not isinstance(target, str):
        given = f"the class {target.__qualname__}" if isinstance(target, type) else type(target).__qualname__
        raise TargetError(f"target: {given}; expected {_ACCEPTED}")
    return _named(target, chosen, trust_remote_code)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, sys.modules["torch"].Tensor)


def _named(target: str, options: dict[str, Any], trust: bool) -> Resolved:
    if target.partition(":")[0] in models.SCHEMES and ":" in target:
        return _built(target, options, trust)
    if _URL.match(target):
        raise TargetError(f"{target!r}: URLs are not read; download the file and name it")
    place = Path(target).expanduser()
    there = os.path.exists(place)  # unlike Path's own, False for a NUL and for a name that is too long
    if os.path.isdir(place) and target:
        return _directory(place, options, trust)
    if target.endswith(".py") or ".py:" in target or (not there and _OWN_CODE.fullmatch(target)):
        return _built(target, options, trust)
    if not there or not target:
        raise TargetError(f"{target!r}: {_absent(target, place)}")
    if place.suffix == ".json" and not place.name.endswith(".index.json"):
        held = config.read_json(place)
        if isinstance(held, dict) and "schema" in held and ("kind" in held or "facts" in held):
            return Resolved(None, None, saved=_without(place, options, "a saved result"))
        if isinstance(held, dict) and "weight_map" in held:
            return Resolved(_without(files.read_index(place), options, "a file"), None)
        return _built(f"hf:{place}", options, trust)
    _without(place, options, "a file")
    return Resolved(files.read(place), None)


def _directory(place: Path, options: dict[str, Any], trust: bool) -> Resolved:
    if (place / "config.json").is_file():
        return _built(f"hf:{place}", options, trust)
    found = files.checkpoint(place)
    if found is None:
        raise TargetError(
            f"{printable(place)}: a directory without config.json, {files.SINGLE} or {files.INDEX}; name a file in it"
        )
    _without(place, options, "a file")
    return Resolved(files.read(found), None)


def _built(target: str, options: dict[str, Any], trust: bool) -> Resolved:
    def allocated() -> Any:
        return models.build(target, options=options, trust_remote_code=trust, allocate=True)[0]

    model, notes = models.build(target, options=options, trust_remote_code=trust)
    return Resolved(None, model, notes, allocated=allocated, searching=partial(models.searching, target))


def _without(target: Any, options: dict[str, Any], what: str) -> Any:
    """The target again; options for something that is not built are a mistake, not a wish."""
    if options:
        raise TargetError(f"{what} takes no options; given: {', '.join(options)}")
    return target


def _absent(target: str, place: Path) -> str:
    if not target:
        return f"expected {_ACCEPTED}"
    if near := siblings(place):
        return f"no such file{near}"
    if re.fullmatch(r"[\w-]+", target):
        return f"no such file; for a model of a library write 'torchvision:{target}' or 'timm:{target}'"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", target) and not place.suffix:
        return f"no such file; for a model of the hub write 'hf:{target}'"
    return f"no such file; expected {_ACCEPTED}"

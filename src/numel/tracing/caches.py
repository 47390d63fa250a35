"""The key/value cache of transformers: the one object to which blocks write at their own index.

What a block does there is known from the library's code: it fills the layer at its index, and looks at no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch

from numel.tracing.alike import ATOMS, Place, empty, spec_of

PLACE = "transformers.cache_utils"
UNKNOWN = object()  # what was filled can not be said
_LAYERS = ("DynamicLayer", "DynamicSlidingWindowLayer")
_SAID_TWICE = "_sliding_window_tensor"  # a layer's `sliding_window` once more, where its keys are

_State = dict[str, tuple[Any, Any]]  # of a layer, by attribute: the type and the value, of a tensor its spec


@dataclass(frozen=True, slots=True)
class Filled:
    """The layer of a cache that a block filled: how it was and is. The cache is the one `at` that place among the
    objects given; the layer's number is the attribute `number` of the block."""

    at: int
    number: Place | None
    kind: type
    before: _State
    after: _State
    said: Any

    def layer(self, block: list[torch.nn.Module], objects: list[Any]) -> Any:
        """The layer that another block would fill; `None` where it is not as the first was."""
        assert self.number is not None
        at = block[self.number[0]].__dict__[self.number[1]]
        layers = objects[self.at].layers
        if not 0 <= at < len(layers) or type(layers[at]) is not self.kind or _state(layers[at]) != self.before:
            return None
        return layers[at]

    def fill(self, layer: Any) -> None:
        """Leave in a layer what the block left in its own."""
        for name, (kind, value) in self.after.items():
            layer.__dict__[name] = empty(value) if kind is torch.Tensor else value
        if _SAID_TWICE in layer.__dict__:
            layer.__dict__[_SAID_TWICE] = self.said


def is_known(value: Any) -> bool:
    """Whether an object is a cache whose layers are all of a kind that is known."""
    if not _is(value, ("DynamicCache",)):
        return False
    layers = getattr(value, "layers", None)
    return type(layers) is list and all(_is(layer, _LAYERS) for layer in layers)


def asks(frame: FrameType, known: list[Any]) -> bool:
    """Whether what runs there is a method of one of these caches."""
    if frame.f_globals.get("__name__") != PLACE:
        return False
    asking = frame.f_locals.get("self")
    return any(asking is each for each in known)


def parts(cache: Any) -> list[Any]:
    """What of a known cache stays as it is while blocks fill its layers."""
    return [cache.__dict__, cache.layers]


def states(objects: list[Any]) -> dict[int, list[dict[str, Any]]]:
    """Of each known cache among objects, by its place there, the attributes of its layers."""
    found = enumerate(objects)
    return {at: [layer.__dict__.copy() for layer in each.layers] for at, each in found if is_known(each)}


def filled(
    objects: list[Any], before: dict[int, list[dict[str, Any]]], block: list[torch.nn.Module],
    numbers: list[Place] | None,
) -> Any:  # fmt: skip
    """What a block did to the caches among objects since `before`: a `Filled`, or `None` for nothing, or `UNKNOWN`.
    `numbers` are the attributes of the block that may say which layer is its own; `None` where that is not asked."""
    changed = [
        (at, which, then)
        for at, each in before.items()
        for which, then in enumerate(each)
        if not _same(objects[at].layers[which].__dict__, then)
    ]
    if not changed:
        return None
    at, which, then = changed[0]
    layer = objects[at].layers[which]
    was, now = _seen(then), _state(layer)
    number = next((place for place in numbers or () if block[place[0]].__dict__[place[1]] == which), None)
    if len(changed) > 1 or was is None or now is None or (numbers is not None and number is None):
        return UNKNOWN
    return Filled(at, number, type(layer), was, now, layer.__dict__.get(_SAID_TWICE))


def same(one: Filled | None, other: Filled | None) -> bool:
    """Whether two blocks did the same, each to its own layer."""
    if one is None or other is None:
        return one is other
    return (one.at, one.kind, one.before, one.after) == (other.at, other.kind, other.before, other.after)


def _state(layer: Any) -> _State | None:
    return _seen(layer.__dict__)


def _seen(attributes: dict[str, Any]) -> _State | None:
    found: _State = {}
    for name, value in attributes.items():
        kind = type(value)
        if name == _SAID_TWICE:
            continue
        if kind not in ATOMS and not (kind is torch.Tensor and value.is_meta):
            return None
        found[name] = (kind, spec_of(value) if kind is torch.Tensor else value)
    return found


def _same(now: dict[str, Any], then: dict[str, Any]) -> bool:
    return len(now) == len(then) and all(value is then.get(name, UNKNOWN) for name, value in now.items())


def _is(value: Any, names: tuple[str, ...]) -> bool:
    kind = type(value)
    return kind.__module__ == PLACE and kind.__qualname__ in names

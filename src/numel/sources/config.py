"""A config.json of transformers → nn.Module. Code that comes with it runs only where it is trusted; else
transformers' own class of that model_type is built, if there is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numel.errors import NumelError, TargetError
from numel.facts.note import Note
from numel.sources import hub
from numel.sources.bytes import LocalFile, printable
from numel.sources.libraries import library, quiet
from numel.sources.meta import Built, constructed
from numel.sources.wording import suggestion, summary

# what a configuration accepts beside its own fields
_BUILD_OPTIONS = frozenset({"attn_implementation", "experts_implementation", "dtype", "torch_dtype"})


def model(torch: Any, target: str, name: str, options: dict[str, Any], trust: bool, allocate: bool) -> Built:
    """The model of the configuration that `name` means to `hub.configuration`; `options` override its fields."""
    file, source = hub.configuration(target, name)
    fields = read_json(file)
    if not isinstance(fields, dict):
        raise TargetError(f"{target}: {printable(file)} holds no JSON object; expected a config.json of transformers")
    transformers = library("transformers", "hub")
    with quiet():
        try:
            make, notes = _maker(transformers, target, source, fields, options, trust)
        except NumelError:
            raise
        except Exception as error:  # a field that it refuses, or a class that it cannot import
            text = f"{target}: transformers {transformers.__version__} makes nothing of it ({summary(error)})"
            raise TargetError(text) from error
        built, how = constructed(torch, target, make, allocate)
    return built, notes + how


def _maker(
    transformers: Any, target: str, source: str, fields: dict[str, Any], options: dict[str, Any], trust: bool
) -> tuple[Callable[[], Any], tuple[Note, ...]]:
    """A function that makes the model of a configuration, and what is to be said about it."""
    kind, remote = fields.get("model_type"), fields.get("auto_map")
    known = isinstance(kind, str) and kind in transformers.CONFIG_MAPPING
    listed = fields.get("architectures")
    named = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    classes = [getattr(transformers, name) for name in named if hasattr(transformers, name)]
    if remote and not known and not trust:
        raise TargetError(
            f"{target}: needs the code that comes with it (auto_map); --trust-remote-code, "
            "or trust_remote_code=True, runs it"
        )
    notes: list[Note] = []
    if remote and trust:
        config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=True, **options)
        key = next((each for each in remote if each.startswith("AutoModelFor")), "AutoModel")
        auto = getattr(transformers, key)
        return lambda: _tied(auto.from_config(config, trust_remote_code=True)), ()
    if known:
        config_class = transformers.CONFIG_MAPPING[kind]
    elif kind is None and classes and getattr(classes[0], "config_class", None):
        config_class = classes[0].config_class  # configurations of the first years have no model_type
    else:
        raise TargetError(f"{target}: {_unknown_kind(transformers, fields, kind)}")
    base = config_class.from_dict(dict(fields))
    config = config_class.from_dict(_overridden(target, fields, options, base)) if options else base
    _adopt_dtype(config)
    if classes:
        cls = classes[0]
    else:
        cls = _head(transformers, config)
        what = f"names {named[0]!r}, which is none" if named else "names no class"
        text = f"the configuration {what} of transformers {transformers.__version__}; built as {cls.__name__}"
        notes.append(Note("head-guessed", "warning", text))
    if remote:
        text = f"the configuration's own code (auto_map) was not run; built by transformers' {cls.__name__}"
        notes.append(Note("remote-code-not-run", "info", text))
    if fields.get("quantization_config"):
        text = "quantization_config is not applied: dtypes and bytes are those of the model before it was quantised"
        notes.append(Note("quantization-not-applied", "warning", text))
    return lambda: _tied(cls._from_config(config)), tuple(notes)


def _overridden(target: str, fields: dict[str, Any], options: dict[str, Any], base: Any) -> dict[str, Any]:
    """The fields with the options in place; "text_config.num_hidden_layers" reaches into a nested configuration."""
    changed: dict[str, Any] = json.loads(json.dumps(fields))
    known = set(base.to_dict()) | set(fields) | set(base.attribute_map) | _BUILD_OPTIONS
    for option, value in options.items():
        *path, key = option.split(".")
        inside, names = changed, known
        for part in path:
            nested: Any = getattr(base, part, None) if inside is changed else None
            names = set(nested.to_dict()) if hasattr(nested, "to_dict") else set()
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict) or not (names or inside):
                raise TargetError(f"{target}: no nested configuration {part!r} for the option {option!r}")
            names |= set(inside) | _BUILD_OPTIONS
        if key not in names:
            raise TargetError(f"{target}: the configuration has no field {option!r}{suggestion(key, names)}")
        if not path:
            key = base.attribute_map.get(key, key)
        if key in ("dtype", "torch_dtype"):
            inside.pop("dtype", None)
            key = "torch_dtype"
        before = inside.get(key)
        for name, each in inside.items() if isinstance(value, int) else ():  # one entry per layer, as in layer_types
            if "layer" in key and "layer" in name and isinstance(each, list) and len(each) == before and each:
                inside[name] = [each[i % len(each)] for i in range(value)]
        inside[key] = value
    return changed


def _adopt_dtype(config: Any) -> None:
    """A composite configuration can leave its dtype to its parts."""
    name = "dtype" if hasattr(config, "dtype") else "torch_dtype"
    if getattr(config, name, None) is None:
        parts = [getattr(config, each, None) for each in getattr(config, "sub_configs", None) or ()]
        inner = next((d for d in (getattr(part, name, None) for part in parts) if d is not None), None)
        if inner is not None:
            setattr(config, name, inner)


def _head(transformers: Any, config: Any) -> Any:
    """A language model's class where there is one, since the fields tell the size of its head; else the bare model."""
    encoder_decoder = getattr(config, "is_encoder_decoder", False)
    decoder = getattr(config, "is_decoder", False)
    for name, fits in (
        ("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING", encoder_decoder),
        ("MODEL_FOR_MASKED_LM_MAPPING", not decoder),
        ("MODEL_FOR_CAUSAL_LM_MAPPING", True),
        ("MODEL_MAPPING", True),
    ):
        mapping = getattr(transformers, name)
        if fits and type(config) in mapping:
            found = mapping[type(config)]
            return found[0] if isinstance(found, tuple | list) else found
    raise TargetError(f"transformers has no model for {type(config).__name__}")


def _tied(model: Any) -> Any:
    """Construction ties weights in most versions; where it did, this changes nothing."""
    tie = getattr(model, "tie_weights", None)
    if tie is not None:
        tie()
    return model


def _unknown_kind(transformers: Any, fields: dict[str, Any], kind: object) -> str:
    if kind is not None:
        near = suggestion(str(kind), transformers.CONFIG_MAPPING)
        return f"transformers {transformers.__version__} knows no model_type {kind!r}{near}"
    if isinstance(fields.get("architecture"), str):
        return f"a configuration of timm; write 'timm:{fields['architecture']}'"
    return "no model_type in it; expected a config.json of transformers"


def read_json(file: Path) -> Any:
    """A JSON file's value. Raises `TargetError` when it cannot be read or is not JSON."""
    held = LocalFile(file)
    try:
        return json.loads(held.read(0, held.size))
    except (ValueError, RecursionError) as error:
        raise TargetError(f"{held.name}: not JSON ({summary(error)})") from error

"""Where facts came from: the target as it was named, what kind of source read it, and with which versions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Provenance:
    """`target` as the user named it; `kind` is live, config, spec, safetensors ...; `versions` are (name, version)."""

    target: str = ""
    kind: str = ""
    versions: tuple[tuple[str, str], ...] = ()

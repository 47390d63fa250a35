"""Where facts came from: the target as it was named, what kind of source read it, and with which versions."""

from __future__ import annotations

from dataclasses import dataclass

from numel.version import __version__


@dataclass(frozen=True, slots=True)
class Provenance:
    """`target` as the user named it; `kind` is module, trace, safetensors ...; `versions` are (name, version)."""

    target: str = ""
    kind: str = ""
    versions: tuple[tuple[str, str], ...] = ()


def versions(**others: str) -> tuple[tuple[str, str], ...]:
    """The versions of numel itself and of others that took part.

    >>> dict(versions(torch="2.13.0"))["torch"]
    '2.13.0'
    """
    return ("numel", __version__), *others.items()

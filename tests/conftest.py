"""What every test shares: no model hub, and a torchvision that can be imported beside any build of torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

# the same examples at every run there, so that a change is judged by what it changes; elsewhere new ones are tried
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

os.environ["HF_HUB_OFFLINE"] = "1"


class _TorchvisionOperators:
    """An import hook that finds nothing: the first `import torchvision` declares the operators it needs.

    torchvision's wheel is compiled for one build of torch. Beside another one its library does not load, and its
    Python code then fails on two operators that nobody declared. Tests without torchvision never get here, so torch
    stays unloaded in them.
    """

    def __init__(self) -> None:
        self.kept: list[Any] = []  # a declaration lives as long as its Library object

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == "torchvision" and not self.kept:
            self._declare()
        return None

    def _declare(self) -> None:
        found = PathFinder.find_spec("torchvision")
        if found is None or found.origin is None:
            return
        import torch

        for compiled in Path(found.origin).parent.glob("_C*"):
            try:
                torch.ops.load_library(compiled)
            except OSError:
                continue
            return
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        self.kept.append(library)


_OPERATORS = _TorchvisionOperators()


def pytest_configure(config: pytest.Config) -> None:
    """Before collection: test files import torchvision at their top."""
    sys.path.append(str(Path(sys.prefix) / "zoo"))  # where `make test` puts torchvision and timm
    sys.meta_path.insert(0, _OPERATORS)


def pytest_unconfigure(config: pytest.Config) -> None:
    sys.meta_path.remove(_OPERATORS)
    sys.path.remove(str(Path(sys.prefix) / "zoo"))

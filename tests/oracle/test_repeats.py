"""Every architecture of the suites of transformers, timm and diffusers: the trace with blocks that stand for others is
that of a run of every block, to the last operator and call."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers", minversion="5")

from oracle import test_transformers as of_transformers  # noqa: E402

_QUICK = {"Llama-3.2-1B", "gemma-3-1b-pt", "OLMoE-1B-7B-0924", "gpt2", "bert-base-uncased", "ModernBERT-base",
          "vit-base-patch16-224", "deit_tiny_patch16_224", "mixer_s32_224", "flux-dev"}  # fmt: skip

# of those that have at least six blocks of a kind side by side: blocks read or draw what another one would not, keep
# states in a cache that is not one of keys and values, or differ in what they look at
_NONE_STANDS = {...}


def _given(entry: Any) -> tuple[Any, Any]:
    model = of_transformers.built(entry)
    return model, of_transformers.given(entry, model)

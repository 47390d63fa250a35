"""Every architecture of the suites of transformers, timm and diffusers: the trace in which blocks stand for others is
that of a run of every block, to the last operator and call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
pytest.importorskip("diffusers")
pytest.importorskip("transformers", minversion="5")

from numel.tracing import repeats  # noqa: E402
from numel.tracing.tracer import trace  # noqa: E402
from oracle import test_diffusers as of_diffusers  # noqa: E402
from oracle import test_timm as of_timm  # noqa: E402
from oracle import test_transformers as of_transformers  # noqa: E402

Case = Callable[[], tuple[Any, Any]]  # a model on meta, and its inputs

_QUICK = {"Llama-3.2-1B", "gemma-3-1b-pt", "OLMoE-1B-7B-0924", "gpt2", "bert-base-uncased", "ModernBERT-base",
          "vit-base-patch16-224", "deit_tiny_patch16_224", "mixer_s32_224", "flux-dev"}  # fmt: skip

# of the suite of transformers, those in which no block stands for another
_NUMBER = "blocks keep a state under their number, in a cache of a kind that is not known"
_RATES = "blocks are dropped at rates that rise, and look at these"
_EACH_RUNS = {
    "mamba-130m-hf": _NUMBER, "falcon-mamba-7b": _NUMBER, "mamba2-130m": _NUMBER, "Bamba-9B-v1": _NUMBER,
    "Jamba-v0.1": _NUMBER, "Zamba2-1.2B": _NUMBER, "LFM2-1.2B": _NUMBER, "Qwen3-Next-80B-A3B-Instruct": _NUMBER,
    "rwkv-4-169m-pile": "blocks look at their number",
    "recurrentgemma-2b": "blocks keep a state of their own",
    "idefics2-8b": "the images are cut by their values, and the forward stops there",
    "deberta-v3-base": "it runs on fake tensors",
    "led-base-16384": "it stops before the blocks",
    "beit-base-patch16-224": _RATES, "swin-tiny-patch4-window7-224": _RATES,
    "segformer-b0-finetuned-ade-512-512": "two blocks side by side",
    "albert-base-v2": "one block, called over and over",
}  # fmt: skip


def _transformers(entry: Any) -> Case:
    def case() -> tuple[Any, Any]:
        model = of_transformers.built(entry)
        return model, of_transformers.given(entry, model)

    return case


def _timm(row: Any) -> Case:
    def case() -> tuple[Any, Any]:
        with torch.device("meta"):
            return timm.create_model(row.name).eval(), row.inputs

    return case


def _diffusers(network: Any) -> Case:
    def case() -> tuple[Any, Any]:
        with torch.device("meta"):
            return network.build().eval(), dict(network.inputs)

    return case


_PUBLISHED = {str(entry) for entry in of_transformers.PUBLISHED}
CASES: dict[str, Case] = {
    **{str(entry): _transformers(entry) for entry in of_transformers.PUBLISHED},
    **{row.name: _timm(row) for row in of_timm._rows()},
    **{name: _diffusers(network) for name, network in of_diffusers._NETWORKS.items()},
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow) for name in CASES]
)
def test_a_trace_is_the_same_as_one_in_which_every_block_runs(name: str, monkeypatch: pytest.MonkeyPatch):
    stood_for: list[str] = []
    again = repeats.Repeats._again
    monkeypatch.setattr(repeats.Repeats, "_again", lambda *given: (stood_for.append(name), again(*given))[1])
    model, inputs = CASES[name]()
    assert trace(model, inputs) == trace(model, inputs, every_block=True)
    if name in _PUBLISHED:
        assert bool(stood_for) == (name not in _EACH_RUNS)

"""A small build of a hundred kinds of transformers models: what numel counts is what torch counts on real tensors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5")

import numel  # noqa: E402
from integration import zoo  # noqa: E402
from numel.tracing import default_inputs  # noqa: E402
from oracle.counted_by_torch import by_torch, unknown_to_torch  # noqa: E402

_NOT_COUNTED_BY_TORCH = {"kosmos-2.5": "its default ids are beyond a small vocabulary, which a real look-up refuses"}
_FUSED = {"bridgetower": "nn.MultiheadAttention calls the fused kernel whatever the configuration asks for"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [kind for kind in zoo.TRANSFORMERS if kind not in _NOT_COUNTED_BY_TORCH])
def test_a_small_build_of_every_kind_counts_as_torch_counts_it_on_real_tensors(kind: str):
    name = zoo.TRANSFORMERS[kind]
    config = transformers.AutoConfig.for_model(kind, **zoo._options(transformers.CONFIG_MAPPING[kind]()))
    config._attn_implementation = "eager"
    config._experts_implementation = "batched_mm"
    model = zoo.Architecture(name, lambda: getattr(transformers, name)(config), default_inputs).build().eval()
    inputs = default_inputs(model)
    assert inputs is not None
    report = numel.summary(model, inputs)
    assert report.trace is not None
    assert report.trace.failure is None
    by_operator = {name: work.macs for name, work in report.costs.operators.items()}
    fused = by_operator["aten.scaled_dot_product_attention"] if kind in _FUSED else 0
    assert report.macs is not None
    assert report.macs - by_torch(model, inputs, "cpu") == unknown_to_torch(by_operator) + fused

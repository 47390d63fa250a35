"""Every model of torchvision that classifies, segments or reads video, against the figures that torchvision publishes.

Each set of weights carries `num_params` and `_ops`, GMACs for one sample (they are called GFLOPS in its tables). The
sample is the crop that the weights' own transforms make; its other sizes follow from torchvision's references:
segmentation is measured at 520 × 520 and video at 16 frames.
"""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
models = pytest.importorskip("torchvision.models")

import numel  # noqa: E402

pytestmark = pytest.mark.slow

_TOLERANCE = 0.005

# which of the auxiliary classifiers the published count holds: they are built for training and dropped or kept later
_AUXILIARY = {
    "googlenet": {"aux_logits": False},
    "deeplabv3_mobilenet_v3_large": {"aux_loss": True},
    "deeplabv3_resnet50": {"aux_loss": True},
    "deeplabv3_resnet101": {"aux_loss": True},
    "fcn_resnet50": {"aux_loss": True},
    "fcn_resnet101": {"aux_loss": True},
}


def _weights() -> list[Any]:
    """One set of weights for each model and size of its sample."""
    found: dict[tuple[str, str], Any] = {}
    for module in (models, models.segmentation, models.video):
        for name in models.list_models(module=module):
            for weights in models.get_model_weights(name):
                found.setdefault((name, _sample(weights)), pytest.param(name, weights, id=f"{name}-{weights.name}"))
    return list(found.values())


def _sample(weights: Any) -> str:
    transforms = weights.transforms()
    if type(transforms).__name__ == "SemanticSegmentation":
        return "f32[1,3,520,520]"
    crop = transforms.crop_size
    if type(transforms).__name__ == "VideoClassification":
        return f"f32[1,3,16,{crop[0]},{crop[1]}]"
    return f"f32[1,3,{crop[0]},{crop[0]}]"


@pytest.mark.parametrize(("name", "weights"), _weights())
def test_params_are_the_published_ones_and_macs_within_half_a_percent(name: str, weights: Any):
    options = dict(_AUXILIARY.get(name, {}))
    if name.startswith("vit"):
        options["image_size"] = weights.transforms().crop_size[0]
    report = numel.summary(f"torchvision:{name}", _sample(weights), options=options)
    assert report.exact, report.notes
    assert report.totals.params == weights.meta["num_params"]
    assert report.macs == pytest.approx(weights.meta["_ops"] * 1e9, rel=_TOLERANCE, abs=1e6)  # printed to 1 MMAC


def test_the_suite_covers_all_three_families():
    covered = {each.values[0] for each in _weights()}
    assert {"resnet50", "vit_h_14", "regnet_y_128gf", "fcn_resnet50", "lraspp_mobilenet_v3_large", "s3d"} <= covered
    assert len(covered) >= 90


@pytest.mark.parametrize("training", [True, False])
def test_vit_b_16_is_17_564_gmacs_in_training_and_in_eval(training: bool):
    """16 × 16 patches of 224 × 224: 196 tokens and a class token, 12 layers of width 768 and hidden width 3,072.

    Patches 196 · 768 · 768; a layer 197 · (4 · 768² + 2 · 768 · 3,072) + 2 · 197² · 768; the head 768 · 1,000.
    """
    model = models.vit_b_16().train(training)
    layer = 197 * (4 * 768**2 + 2 * 768 * 3072) + 2 * 197**2 * 768
    derived = 196 * 768 * 768 + 12 * layer + 768 * 1000
    report = numel.summary(model, "f32[1,3,224,224]")
    assert report.macs == derived == 17_563_828_224
    assert report.trace is not None
    assert report.trace.training is training


@pytest.mark.filterwarnings("ignore")  # torch.ao announces its own end at every step
@pytest.mark.parametrize("name", sorted(models.list_models(module=models.quantization)))
def test_a_quantised_model_has_the_macs_of_its_float_one(name: str, monkeypatch: pytest.MonkeyPatch):
    """Its convolutions and linear layers are packed; the published figure is the same for both."""
    engine = "qnnpack" if "mobilenet" in name else "fbgemm"  # what torchvision takes for each
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"this build of torch has no {engine}")
    monkeypatch.setattr(torch.backends.quantized, "engine", engine)
    build = getattr(models.quantization, name.removeprefix("quantized_"))
    size = 299 if "inception" in name else 224
    packed = numel.summary(build(weights=None, quantize=True).eval(), f"f32[1,3,{size},{size}]")
    plain = numel.summary(build(weights=None, quantize=False).eval(), f"f32[1,3,{size},{size}]")
    assert (packed.exact, packed.macs) == (True, plain.macs)

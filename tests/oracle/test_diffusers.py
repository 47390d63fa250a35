"""Networks of diffusion pipelines, each by the configuration that its authors published, for an input of theirs.

MACs are those of torch's own counter; those of the transformers also by a formula that is written out here, and where
a paper or a model card prints a figure, it is met to the digits it has. Where the counter leaves work out, the entry is
in `_FLAGGED` with what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

import numel  # noqa: E402
from oracle.operators import Operators, operators  # noqa: E402
from oracle.reference import Counted, counted  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # a class of diffusers announces its own move


def f(*shape: int) -> Any:
    return torch.empty(shape, device="meta")


def i(*shape: int) -> Any:
    return torch.empty(shape, device="meta", dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class Network:
    """`config` is what the published configuration changes of the defaults of `kind`, a class of diffusers; `inputs`
    what its forward takes. `params` is a figure that somebody printed, with its digits and unit, and `by` who did;
    `macs` the same work by a formula of this file."""

    kind: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    params: str = ""
    by: str = ""
    macs: int | None = None

    def build(self) -> Any:
        return getattr(diffusers, self.kind)(**self.config)


_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "layers_per_block": 2,
}
_DDPM = {
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
_SDXL = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


# ── the work of the transformers, by hand ────────────────────────────────────────────────────────────────────────────
# d is the width, L the tokens of the image or video, T those of the text. For each token, attention projects to query,
# key, value and output, 4d², and an MLP of four times the width takes 8d²; over N tokens the two products of attention
# are 2N²d. A time step becomes 256 sines and cosines, then goes through two products: 256d + d².


def _dit(layers: int, d: int, patch: int, side: int) -> int:
    """Six vectors of width d steer each layer. Each embeds the time step for itself, and the last projection again."""
    tokens = (side // patch) ** 2
    embed = 256 * d + d * d
    layer = 12 * d * d * tokens + 2 * tokens**2 * d + 6 * d * d + embed
    patches = patch**2 * d * tokens * (4 + 8)  # 4 channels come, 8 leave
    return layers * layer + embed + 2 * d * d + patches


def _pixart(layers: int, d: int, L: int, T: int) -> int:
    """Resolution (two numbers) and aspect ratio are embedded in a third of the width each; the steering is shared."""
    layer = (4 + 2 + 8) * d * d * L + 2 * d * d * T + 2 * L * L * d + 2 * L * T * d
    third = d // 3
    steer = 256 * d + d * d + 3 * (256 * third + third**2) + 6 * d * d
    return layers * layer + steer + (4096 * d + d * d) * T + 4 * d * L * (4 + 8)


def _sd3(layers: int, d: int, L: int, T: int) -> int:
    """Two streams that meet in attention; in the last layer the text gives keys and values (and queries) alone."""
    joint = 2 * (L + T) ** 2 * d
    image, text = 12 * d * d * L + 6 * d * d, 12 * d * d * T + 6 * d * d
    last = 3 * d * d * T + 2 * d * d
    embed = 16 * 4 * d * L + 4096 * d * T + (256 * d + d * d) + (2048 * d + d * d)
    return layers * (image + joint) + (layers - 1) * text + last + embed + 2 * d * d + d * 64 * L


def _flux(double: int, single: int, d: int, L: int, T: int) -> int:
    """Layers of two streams, then layers of one whose attention and MLP run side by side; guidance is embedded as the
    time step is."""
    tokens = L + T
    products = 12 * d * d * tokens + 2 * tokens**2 * d
    embed = 64 * d * L + 4096 * d * T + 2 * (256 * d + d * d) + (768 * d + d * d)
    return double * (products + 12 * d * d) + single * (products + 3 * d * d) + embed + 2 * d * d + d * 64 * L


def _qwen_image(layers: int, d: int, L: int, T: int) -> int:
    """The layers of two streams, each steered by six vectors."""
    layer = 12 * d * d * (L + T) + 2 * (L + T) ** 2 * d + 12 * d * d
    return layers * layer + 64 * d * L + 3584 * d * T + 256 * d + d * d + 2 * d * d + d * 64 * L


def _wan(layers: int, d: int, hidden: int, L: int, T: int) -> int:
    """Self-attention, attention to the text, MLP; one projection of the time step steers all layers."""
    layer = 4 * d * d * L + 2 * L * L * d + 2 * d * d * (L + T) + 2 * L * T * d + 2 * d * hidden * L
    return layers * layer + (4096 * d + d * d) * T + 256 * d + d * d + 6 * d * d + 2 * 64 * d * L


def _ltx(layers: int, d: int, L: int, T: int) -> int:
    """As Wan, with an MLP of four times the width; a token has 128 channels."""
    layer = 4 * d * d * L + 2 * L * L * d + 2 * d * d * (L + T) + 2 * L * T * d + 8 * d * d * L
    return layers * layer + (4096 * d + d * d) * T + 256 * d + d * d + 6 * d * d + 2 * 128 * d * L


def _cogvideox(layers: int, d: int, steer: int, L: int, T: int) -> int:
    """Text and video go through the same weights; each layer is steered twice by six vectors, from `steer` numbers."""
    layer = 12 * d * d * (L + T) + 2 * (L + T) ** 2 * d + 2 * 6 * steer * d
    embed = 64 * d * L + 4096 * d * T + d * steer + steer**2
    return layers * layer + embed + 2 * steer * d + d * 64 * L


# ── the networks ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _dit_network(layers: int, heads: int, d: int, patch: int, side: int = 32) -> Network:
    config = {
        "num_layers": layers, "num_attention_heads": heads, "attention_head_dim": d // heads, "patch_size": patch,
        "sample_size": side, "out_channels": 8,
    }  # fmt: skip
    inputs = {"hidden_states": f(1, 4, side, side), "timestep": i(1), "class_labels": i(1)}
    return Network("DiTTransformer2DModel", config, inputs, macs=_dit(layers, d, patch, side))


def _unet(side: int, text: int) -> dict[str, Any]:
    return {"sample": f(1, 4, side, side), "timestep": i(1), "encoder_hidden_states": f(1, 77, text)}


_NETWORKS = {
    "stable-diffusion-1.5": Network(
        "UNet2DConditionModel", {"cross_attention_dim": 768}, _unet(64, 768), "859.52 M",
        "what the code of Stable Diffusion prints as it builds it",
    ),
    "sdxl": Network(
        "UNet2DConditionModel", _SDXL,
        {**_unet(128, 2048), "added_cond_kwargs": {"text_embeds": f(1, 1280), "time_ids": f(1, 6)}},
        "2.6 B", "arXiv 2307.01952, table 1",
    ),
    "stable-diffusion-vae": Network(
        "AutoencoderKL", {**_VAE, "up_block_types": ("UpDecoderBlock2D",) * 4}, {"sample": f(1, 3, 512, 512)},
    ),
    "controlnet": Network(
        "ControlNetModel", {"cross_attention_dim": 768}, {**_unet(64, 768), "controlnet_cond": f(1, 3, 512, 512)},
    ),
    "ddpm-cifar10": Network(
        "UNet2DModel",
        {
            **_DDPM,
            "block_out_channels": (128, 256, 256, 256),
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        },
        {"sample": f(1, 3, 32, 32), "timestep": i(1)}, "35.7 M", "arXiv 2006.11239, appendix B",
    ),
    "ddpm-celebahq": Network(
        "UNet2DModel",
        {
            **_DDPM,
            "block_out_channels": (128, 128, 256, 256, 512, 512),
            "down_block_types": (*("DownBlock2D",) * 4, "AttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "AttnUpBlock2D", *("UpBlock2D",) * 4),
        },
        {"sample": f(1, 3, 256, 256), "timestep": i(1)}, "114 M", "arXiv 2006.11239, appendix B",
    ),
    "dit-xl-2": _dit_network(28, 16, 1152, 2),
    "dit-xl-2-512": _dit_network(28, 16, 1152, 2, side=64),
    "dit-l-4": _dit_network(24, 16, 1024, 4),
    "dit-b-8": _dit_network(12, 12, 768, 8),
    "dit-s-2": _dit_network(12, 6, 384, 2),
    "pixart-alpha": Network(
        "PixArtTransformer2DModel", {"caption_channels": 4096},
        {
            "hidden_states": f(1, 4, 128, 128), "encoder_hidden_states": f(1, 120, 4096), "timestep": i(1),
            "added_cond_kwargs": {"resolution": f(1, 2), "aspect_ratio": f(1, 1)},
        },
        "0.6 B", "arXiv 2310.00426", macs=_pixart(28, 1152, L=4096, T=120),
    ),
    "stable-diffusion-3": Network(
        "SD3Transformer2DModel",
        {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pos_embed_max_size": 192},
        {
            "hidden_states": f(1, 16, 128, 128), "encoder_hidden_states": f(1, 333, 4096),
            "pooled_projections": f(1, 2048), "timestep": i(1),
        },
        "2 B", "the announcement of Stable Diffusion 3 Medium", macs=_sd3(24, 1536, L=4096, T=333),
    ),
    "flux-dev": Network(
        "FluxTransformer2DModel", {"guidance_embeds": True},
        {
            "hidden_states": f(1, 4096, 64), "encoder_hidden_states": f(1, 512, 4096), "pooled_projections": f(1, 768),
            "timestep": f(1), "img_ids": f(4096, 3), "txt_ids": f(512, 3), "guidance": f(1),
        },
        "12 B", "the model card of FLUX.1-dev", macs=_flux(19, 38, 3072, L=4096, T=512),
    ),
    "qwen-image": Network(
        "QwenImageTransformer2DModel", {},
        {
            "hidden_states": f(1, 4096, 64), "encoder_hidden_states": f(1, 128, 3584),
            "encoder_hidden_states_mask": None, "timestep": f(1), "img_shapes": [[(1, 64, 64)]],
        },
        "20 B", "the model card of Qwen-Image", macs=_qwen_image(60, 3072, L=4096, T=128),
    ),
    "wan-2.1": Network(
        "WanTransformer3DModel", {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
        {"hidden_states": f(1, 16, 21, 60, 104), "timestep": i(1), "encoder_hidden_states": f(1, 512, 4096)},
        macs=_wan(30, 1536, 8960, L=21 * 30 * 52, T=512),
    ),
    "cogvideox-2b": Network(
        "CogVideoXTransformer3DModel", {},
        {"hidden_states": f(1, 13, 16, 60, 90), "encoder_hidden_states": f(1, 226, 4096), "timestep": i(1)},
        macs=_cogvideox(30, 1920, 512, L=13 * 30 * 45, T=226),
    ),
    "ltx-video": Network(
        "LTXVideoTransformer3DModel", {},
        {
            "hidden_states": f(1, 21 * 16 * 24, 128), "encoder_hidden_states": f(1, 128, 4096), "timestep": i(1),
            "encoder_attention_mask": f(1, 128), "num_frames": 21, "height": 16, "width": 24,
        },
        "1.9 B", "arXiv 2501.00103", macs=_ltx(28, 2048, L=21 * 16 * 24, T=128),
    ),
    "stable-video-diffusion": Network(
        "UNetSpatioTemporalConditionModel", {"num_frames": 14},
        {
            "sample": f(1, 14, 8, 72, 128), "timestep": i(1), "encoder_hidden_states": f(1, 1, 1024),
            "added_time_ids": f(1, 3),
        },
    ),
    "stable-video-diffusion-vae": Network(
        "AutoencoderKLTemporalDecoder", _VAE, {"sample": f(4, 3, 256, 256), "num_frames": 4},
    ),
    "hunyuan-dit": Network(
        "HunyuanDiT2DModel",
        {
            "num_layers": 40, "hidden_size": 1408, "in_channels": 4, "patch_size": 2, "mlp_ratio": 4.3637,
            "sample_size": 128, "use_style_cond_and_image_meta_size": False,
        },
        {
            "hidden_states": f(1, 4, 128, 128), "timestep": f(1), "encoder_hidden_states": f(1, 77, 1024),
            "text_embedding_mask": f(1, 77), "encoder_hidden_states_t5": f(1, 256, 2048),
            "text_embedding_mask_t5": f(1, 256), "image_rotary_emb": (f(4096, 88), f(4096, 88)),
        },
        "1.5 B", "arXiv 2405.08748",
    ),
    "aura-flow": Network(
        "AuraFlowTransformer2DModel", {},
        {"hidden_states": f(1, 4, 128, 128), "encoder_hidden_states": f(1, 256, 2048), "timestep": f(1)},
        "6.8 B", "the announcement of AuraFlow 0.1",
    ),
    "sana": Network(
        "SanaTransformer2DModel", {},
        {"hidden_states": f(1, 32, 32, 32), "encoder_hidden_states": f(1, 300, 2304), "timestep": i(1)},
        "1.6 B", "arXiv 2410.10629",
    ),
    "stable-audio-open": Network(
        "StableAudioDiTModel", {},
        {
            "hidden_states": f(1, 64, 1024), "timestep": f(1), "encoder_hidden_states": f(1, 130, 768),
            "global_hidden_states": f(1, 1, 1536), "rotary_embedding": (f(1025, 32), f(1025, 32)),
        },
        "1057 M", "arXiv 2407.14358",
    ),
    "stable-cascade": Network(
        "StableCascadeUNet", {"clip_image_in_channels": 768, "clip_text_in_channels": 1280},
        {
            "sample": f(1, 16, 24, 24), "timestep_ratio": f(1), "clip_text_pooled": f(1, 1, 1280),
            "clip_text": f(1, 77, 1280), "clip_img": f(1, 1, 768),
        },
        "3.6 B", "the model card of stable-cascade, stage C",
    ),
    "kandinsky-3": Network(
        "Kandinsky3UNet", {},
        {
            "sample": f(1, 4, 128, 128), "timestep": i(1), "encoder_hidden_states": f(1, 128, 4096),
            "encoder_attention_mask": f(1, 128),
        },
    ),
    "kandinsky-2-prior": Network(
        "PriorTransformer", {},
        {
            "hidden_states": f(1, 768), "timestep": i(1), "proj_embedding": f(1, 768),
            "encoder_hidden_states": f(1, 77, 768),
        },
    ),
    "amused": Network(
        "UVit2DModel", {},
        {
            "input_ids": i(1, 16, 16), "encoder_hidden_states": f(1, 77, 768), "pooled_text_emb": f(1, 768),
            "micro_conds": f(1, 5),
        },
    ),
    "modelscope-video": Network(
        "UNet3DConditionModel", {},
        {"sample": f(1, 4, 16, 32, 32), "timestep": i(1), "encoder_hidden_states": f(1, 77, 1024)},
    ),
    "dc-ae": Network(
        "AutoencoderDC",
        {
            "encoder_block_types": (*("ResBlock",) * 3, *("EfficientViTBlock",) * 3),
            "decoder_block_types": (*("ResBlock",) * 3, *("EfficientViTBlock",) * 3),
            "downsample_block_type": "Conv", "upsample_block_type": "interpolate",
        },
        {"sample": f(1, 3, 512, 512)},
    ),
    "tiny-vae": Network("AutoencoderTiny", {}, {"sample": f(1, 3, 512, 512)}),
    "vq-f4": Network(
        "VQModel",
        {
            "block_out_channels": (128, 256, 512), "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3, "layers_per_block": 2, "num_vq_embeddings": 8192,
        },
        {"sample": f(1, 3, 256, 256)},
    ),
    "mochi": Network(
        "MochiTransformer3DModel", {},
        {
            "hidden_states": f(1, 12, 4, 30, 52), "encoder_hidden_states": f(1, 256, 4096), "timestep": f(1),
            "encoder_attention_mask": torch.ones(1, 256, dtype=torch.bool),
        },
    ),
}  # fmt: skip

_FLAGGED = {
    "vq-f4": "torch's counter leaves out the distances to the codebook",
    "mochi": "the forward keeps the tokens that the mask names, which takes values: the report says so",
}

# What runs in about a second each; the others are `slow`.
_QUICK = ("dit-b-8", "dit-s-2", "ddpm-cifar10", "tiny-vae", "stable-diffusion-vae", "flux-dev", "stable-audio-open")


@dataclass(frozen=True)
class Entry:
    """What numel says about a network, and what torch counts."""

    params: int
    macs: int
    exact: bool
    notes: frozenset[str]
    operators: Operators
    reference: Counted | None  # there is none where torch can not run the forward either


@cache
def _entry(name: str) -> Entry:
    network = _NETWORKS[name]
    report = numel.summary(f"diffusers:{network.kind}", dict(network.inputs), options=network.config)
    assert report.macs is not None
    reference = None if name == "mochi" else counted(network.build, network.inputs)
    notes = frozenset(note.code for note in report.notes)
    return Entry(report.totals.params, report.macs, report.exact, notes, operators(report), reference)


def _named(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", _named(name for name in _NETWORKS if name not in _FLAGGED))
def test_params_and_macs_are_those_that_torch_itself_counts(name: str):
    entry = _entry(name)
    assert entry.exact
    assert entry.reference is not None
    assert (entry.params, entry.macs) == (entry.reference.params, entry.reference.macs)


@pytest.mark.parametrize("name", _named(name for name, each in _NETWORKS.items() if each.macs is not None))
def test_the_macs_of_a_transformer_are_those_derived_by_hand(name: str):
    assert _entry(name).macs == _NETWORKS[name].macs


@pytest.mark.parametrize("name", _named(name for name, each in _NETWORKS.items() if each.params))
def test_params_are_the_printed_figure_to_its_last_digit(name: str):
    figure, unit = _NETWORKS[name].params.split()
    digits = len(figure.partition(".")[2])
    assert round(_entry(name).params / {"M": 1e6, "B": 1e9}[unit], digits) == float(figure)


@pytest.mark.parametrize(
    ("name", "params", "gmacs"),
    [
        pytest.param("dit-xl-2", 675, 118.64, marks=pytest.mark.slow),
        pytest.param("dit-xl-2-512", 675, 524.60, marks=pytest.mark.slow),
        pytest.param("dit-l-4", 458, 19.70, marks=pytest.mark.slow),
        ("dit-b-8", 131, 1.42),
        ("dit-s-2", 33, 6.06),
    ],
)
def test_a_dit_has_the_figures_of_its_paper_once_the_copies_of_its_embedders_are_left_out(
    name: str, params: int, gmacs: float
):
    """arXiv 2212.09748, tables 1 and 4, whose Gflops are GMACs. The paper has one embedder of time step and class,
    diffusers one per layer, and the last projection runs one again. The paper's counter puts a little beside the
    products: the figures are met to half a per mille or the last digit."""
    config = _NETWORKS[name].config
    d, layers = config["num_attention_heads"] * config["attention_head_dim"], config["num_layers"]
    embed = 256 * d + d * d
    copies = (layers - 1) * (embed + 2 * d + 1001 * d)
    assert round((_entry(name).params - copies) / 1e6) == params
    assert (_entry(name).macs - layers * embed) / 1e9 == pytest.approx(gmacs, rel=5e-4, abs=5e-3)


@pytest.mark.slow
def test_a_codebook_is_searched_by_a_product_that_torch_does_not_count():
    """64 × 64 positions, each compared with 8,192 entries of width 3: |a|² - 2ab + |b|², a product over 3 + 2."""
    entry = _entry("vq-f4")
    assert entry.exact
    assert entry.reference is not None
    assert (entry.params, entry.macs - entry.reference.macs) == (entry.reference.params, 64 * 64 * 8192 * (3 + 2))


@pytest.mark.slow
def test_a_forward_that_needs_values_says_where_it_stopped():
    entry = _entry("mochi")
    assert not entry.exact
    assert {"forward-failed", "not-allocated"} <= entry.notes
    with torch.device("meta"):
        model = _NETWORKS["mochi"].build()
    assert entry.params == sum(p.numel() for p in model.parameters())


# ── the suite as a whole ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_every_network_is_exact_or_flagged_with_the_reason(capsys: pytest.CaptureFixture[str]):
    """Exact: numel says so, and torch's own count is the same. A flag that is not needed any more fails as well."""
    entries = {name: _entry(name) for name in _NETWORKS}
    exact = {
        name for name, entry in entries.items()
        if entry.exact and entry.reference is not None and entry.macs == entry.reference.macs
    }  # fmt: skip
    with capsys.disabled():
        print(f"\ndiffusers: {len(entries)} networks, {len(exact)} exact, {len(_FLAGGED)} flagged")
        print(*(f"  {name}: {reason}" for name, reason in _FLAGGED.items()), sep="\n")
    assert entries.keys() - exact == _FLAGGED.keys()
    assert len({each.kind for each in _NETWORKS.values()}) >= 25


@pytest.mark.slow
def test_no_operator_of_diffusers_is_without_a_formula_and_not_flagged(capsys: pytest.CaptureFixture[str]):
    seen = sum((_entry(name).operators for name in _NETWORKS), start=Operators())
    with capsys.disabled():
        print(f"\ndiffusers: {seen}")
    assert not seen.silent
    assert "aten.scaled_dot_product_attention.default" in seen.calls

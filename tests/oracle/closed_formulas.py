"""MACs of transformer architectures as closed formulas of their published sizes, written from the papers' equations.

Nothing here looks at a model or at numel. `c` is a published configuration by its own field names; `b` the batch, `s`
and `t` lengths. A product of n rows with an (i, o) matrix is n · i · o; attention is dense, masked or not; a depthwise
convolution is one kernel per position and channel. Biases, norms, activations, rotations and look-ups are no MACs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import ceil
from typing import Any

# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def dense(rows: int, *widths: int) -> int:
    """Matrices one after another: rows · Σ in · out."""
    return rows * sum(i * o for i, o in pairwise(widths))


def attend(b: int, heads: int, queries: int, keys: int, width: int, value_width: int | None = None) -> int:
    """Scores, then mixed values: b · heads · queries · keys · (width + value width)."""
    return b * heads * queries * keys * (width + (width if value_width is None else value_width))


def gated(rows: int, width: int, hidden: int) -> int:
    """Gate, up and down (Shazeer 2020): three matrices."""
    return 3 * rows * width * hidden


def plain(rows: int, width: int, hidden: int) -> int:
    """Up and down."""
    return 2 * rows * width * hidden


def mixture(rows: int, width: int, hidden: int, *, experts: int, chosen: int) -> int:
    """A router over all experts, and for each row the gated experts that it chose."""
    return dense(rows, width, experts) + chosen * gated(rows, width, hidden)


def block(b: int, s: int, width: int, hidden: int) -> int:
    """A layer of Vaswani et al. 2017: four projections, attention of all heads together, two matrices."""
    return 4 * dense(b * s, width, width) + attend(b, 1, s, s, width) + plain(b * s, width, hidden)


def conv2d(b: int, side: int | tuple[int, int], i: int, o: int, kernel: int, groups: int = 1) -> int:
    """Each output position and channel: kernel² · in / groups. `side` is the output's."""
    height, width = side if isinstance(side, tuple) else (side, side)
    return b * height * width * o * kernel**2 * i // groups


def causal_conv(b: int, s: int, channels: int, kernel: int) -> int:
    """Depthwise, padded by kernel − 1 at both ends and cut after: s + kernel − 1 positions are computed."""
    return b * (s + kernel - 1) * channels * kernel


# ── decoders ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def grouped_query(c: Mapping[str, Any], b: int, s: int, *, gates: int = 0) -> int:
    """Queries of all heads, keys and values of fewer (Ainslie et al. 2023); `gates` are as wide as queries."""
    width, heads = c["hidden_size"], c["num_attention_heads"]
    shared = c.get("num_key_value_heads", heads)
    each = c.get("head_dim", width // heads)
    return (
        dense(b * s, width, (heads * (1 + gates) + 2 * shared) * each)
        + attend(b, heads, s, s, each)
        + dense(b * s, heads * each, width)
    )


def gated_decoder(c: Mapping[str, Any], b: int, s: int) -> int:
    """Llama and its kin: grouped queries, a gated MLP, a head over every position."""
    layer = grouped_query(c, b, s) + gated(b * s, c["hidden_size"], c["intermediate_size"])
    return c["num_hidden_layers"] * layer + dense(b * s, c["hidden_size"], c["vocab_size"])


def plain_decoder(c: Mapping[str, Any], b: int, s: int) -> int:
    """GPT and its kin: two matrices in the MLP, four times as wide where nothing is said."""
    width = c["hidden_size"]
    layer = grouped_query(c, b, s) + plain(b * s, width, c.get("intermediate_size", 4 * width))
    return c["num_hidden_layers"] * layer + dense(b * s, width, c["vocab_size"])


def gpt(c: Mapping[str, Any], b: int, s: int) -> int:
    """The same by GPT-2's, BLOOM's and MPT's names; one head of keys and values for all where `multi_query` says so."""
    named = {
        "hidden_size": next(c[name] for name in ("n_embd", "d_model", "hidden_size") if name in c),
        "num_hidden_layers": next(c[name] for name in ("n_layer", "n_layers", "num_hidden_layers") if name in c),
        "num_attention_heads": next(c[name] for name in ("n_head", "n_heads", "num_attention_heads") if name in c),
        "vocab_size": c["vocab_size"],
    }
    return plain_decoder(named | ({"num_key_value_heads": 1} if c.get("multi_query") else {}), b, s)


def opt(c: Mapping[str, Any], b: int, s: int) -> int:
    """OPT-350m keeps words narrower than layers: a projection in, one out, and a head on the narrow side."""
    width, word = c["hidden_size"], c["word_embed_proj_dim"]
    layers = c["num_hidden_layers"] * block(b, s, width, c["ffn_dim"])
    return layers + dense(b * s, word, width, word, c["vocab_size"])


# ── mixtures of experts ──────────────────────────────────────────────────────────────────────────────────────────────


def mixture_decoder(c: Mapping[str, Any], b: int, s: int) -> int:
    """Mixtral and its kin: every layer routes; Qwen's shared expert, if any, has a gate of one output."""
    n, width = b * s, c["hidden_size"]
    hidden = c.get("moe_intermediate_size", c["intermediate_size"])
    experts = c.get("num_local_experts") or c["num_experts"]
    layer = grouped_query(c, b, s) + mixture(n, width, hidden, experts=experts, chosen=c["num_experts_per_tok"])
    shared = c.get("shared_expert_intermediate_size")
    if shared:
        layer += gated(n, width, shared) + dense(n, width, 1)
    return c["num_hidden_layers"] * layer + dense(n, width, c["vocab_size"])


def latent_decoder(c: Mapping[str, Any], b: int, s: int) -> int:
    """DeepSeek-V2 and V3: keys and values from one latent vector and a rotary key for all heads; dense layers first."""
    n, width, heads = b * s, c["hidden_size"], c["num_attention_heads"]
    nope, rope, value, latent = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"], c["kv_lora_rank"]
    queries = heads * (nope + rope)
    through = (width, c["q_lora_rank"], queries) if c["q_lora_rank"] else (width, queries)
    attention = (
        dense(n, *through)
        + dense(n, width, latent + rope)
        + dense(n, latent, heads * (nope + value))
        + attend(b, heads, s, s, nope + rope, value)
        + dense(n, heads * value, width)
    )
    first, hidden = c["first_k_dense_replace"], c["moe_intermediate_size"]
    routed = mixture(n, width, hidden, experts=c["n_routed_experts"], chosen=c["num_experts_per_tok"])
    sparse = routed + gated(n, width, c["n_shared_experts"] * hidden)
    layers = c["num_hidden_layers"]
    mlps = first * gated(n, width, c["intermediate_size"]) + (layers - first) * sparse
    return layers * attention + mlps + dense(n, width, c["vocab_size"])


def dbrx(c: Mapping[str, Any], b: int, s: int) -> int:
    """DBRX has the sizes of its attention and of its experts in configurations of their own."""
    attention, experts = c["attn_config"], c["ffn_config"]
    named = {
        "hidden_size": c["d_model"], "num_hidden_layers": c["n_layers"], "num_attention_heads": c["n_heads"],
        "num_key_value_heads": attention["kv_n_heads"], "intermediate_size": experts["ffn_hidden_size"],
        "num_experts": experts["moe_num_experts"], "num_experts_per_tok": experts["moe_top_k"],
        "vocab_size": c["vocab_size"],
    }  # fmt: skip
    return mixture_decoder(named, b, s)


def every_expert_decoder(c: Mapping[str, Any], b: int, s: int) -> int:
    """Llama 4 as transformers runs it: the batch goes through all experts, zeroed where the router did not choose."""
    n, width, experts = b * s, c["hidden_size"], c["num_local_experts"]
    routed = mixture(n, width, c["intermediate_size"], experts=experts, chosen=experts)
    layer = grouped_query(c, b, s) + routed + gated(n, width, c["intermediate_size"])
    return c["num_hidden_layers"] * layer + dense(n, width, c["vocab_size"])


# ── state spaces, linear attention, hybrids ──────────────────────────────────────────────────────────────────────────


def selective_scan(b: int, s: int, width: int, inner: int, *, state: int, rank: int, kernel: int) -> int:
    """Mamba (Gu & Dao 2023): states are updated element by element, and read by a product with C at each step."""
    n = b * s
    return (
        dense(n, width, 2 * inner)
        + causal_conv(b, s, inner, kernel)
        + dense(n, inner, rank + 2 * state)
        + dense(n, rank, inner)
        + n * inner * state
        + dense(n, inner, width)
    )


def mamba(c: Mapping[str, Any], b: int, s: int) -> int:
    """Nothing but selective scans."""
    width = c["hidden_size"]
    inner = c.get("intermediate_size") or c["expand"] * width
    scan = selective_scan(
        b, s, width, inner, state=c["state_size"], rank=c["time_step_rank"], kernel=c["conv_kernel"]
    )  # fmt: skip
    return c["num_hidden_layers"] * scan + dense(b * s, width, c["vocab_size"])


def dual(b: int, s: int, width: int, *, heads: int, head: int, state: int, groups: int, kernel: int, chunk: int) -> int:
    """Mamba-2 (Dao & Gu 2024), blocks of `chunk` positions, the last one padded: scores C·Bᵀ within a block, their
    mix of inputs, the state at its end, the states passed on from block to block (and before the first), their reading.
    """
    inner, blocks = heads * head, ceil(s / chunk)
    mixed = inner + 2 * groups * state
    per_head = blocks * chunk * chunk * (state + head) + 2 * blocks * chunk * state * head
    return (
        dense(b * s, width, inner + mixed + heads)
        + causal_conv(b, s, mixed, kernel)
        + b * heads * (per_head + (blocks + 1) ** 2 * head * state)
        + dense(b * s, inner, width)
    )


def mamba2(c: Mapping[str, Any], b: int, s: int) -> int:
    """Nothing but Mamba-2."""
    width = c["hidden_size"]
    layer = dual(
        b, s, width, heads=c["num_heads"], head=c["head_dim"], state=c["state_size"], groups=c["n_groups"],
        kernel=c["conv_kernel"], chunk=c["chunk_size"],
    )  # fmt: skip
    return c["num_hidden_layers"] * layer + dense(b * s, width, c["vocab_size"])


def bamba(c: Mapping[str, Any], b: int, s: int) -> int:
    """Mamba-2 in all layers but a few of attention, and a gated MLP in each."""
    n, width, attention = b * s, c["hidden_size"], len(c["attn_layer_indices"])
    state_space = dual(
        b, s, width, heads=c["mamba_n_heads"], head=c["mamba_d_head"], state=c["mamba_d_state"],
        groups=c["mamba_n_groups"], kernel=c["mamba_d_conv"], chunk=c["mamba_chunk_size"],
    )  # fmt: skip
    layers = c["num_hidden_layers"]
    mixers = attention * grouped_query(c, b, s) + (layers - attention) * state_space
    return mixers + layers * gated(n, width, c["intermediate_size"]) + dense(n, width, c["vocab_size"])


def zamba2(c: Mapping[str, Any], b: int, s: int) -> int:
    """Mamba-2 in all layers; some see a shared block first, whose attention takes state and embedding side by side.

    Each use of it has low-rank adapters of its own for queries, keys, values and the MLP, and a projection after it.
    """
    n, width, hidden, rank = b * s, c["hidden_size"], c["intermediate_size"], 128
    state_space = dual(
        b, s, width, heads=c["n_mamba_heads"], head=2 * width // c["n_mamba_heads"], state=c["mamba_d_state"],
        groups=c["mamba_ngroups"], kernel=4, chunk=256,
    )  # fmt: skip
    attention = 3 * dense(n, 2 * width, 2 * width) + attend(b, 1, s, s, 2 * width) + dense(n, 2 * width, width)
    adapters = 3 * dense(n, 2 * width, rank, 2 * width) + dense(n, width, rank, 2 * hidden)
    shared = attention + adapters + gated(n, width, hidden) + dense(n, width, width)
    uses = c["layers_block_type"].count("hybrid")
    return c["num_hidden_layers"] * state_space + uses * shared + dense(n, width, c["vocab_size"])


def jamba(c: Mapping[str, Any], b: int, s: int) -> int:
    """Attention in one layer of eight, Mamba in the others; experts in every second one (Lieber et al. 2024)."""
    n, width, hidden = b * s, c["hidden_size"], c["intermediate_size"]
    scan = selective_scan(
        b, s, width, c["mamba_expand"] * width, state=c["mamba_d_state"], rank=c["mamba_dt_rank"],
        kernel=c["mamba_d_conv"],
    )  # fmt: skip
    routed = mixture(n, width, hidden, experts=c["num_experts"], chosen=c["num_experts_per_tok"])
    total = dense(n, width, c["vocab_size"])
    for layer in range(c["num_hidden_layers"]):
        attends = layer % c["attn_layer_period"] == c["attn_layer_offset"]
        routes = layer % c["expert_layer_period"] == c["expert_layer_offset"]
        total += grouped_query(c, b, s) if attends else scan
        total += routed if routes else gated(n, width, hidden)
    return total


def rwkv(c: Mapping[str, Any], b: int, s: int) -> int:
    """Time mixing: four square matrices. Channel mixing: key, value and a square receptance (Peng et al. 2023)."""
    n, width = b * s, c["hidden_size"]
    layer = 5 * dense(n, width, width) + plain(n, width, c["intermediate_size"])
    return c["num_hidden_layers"] * layer + dense(n, width, c["vocab_size"])


def griffin(c: Mapping[str, Any], b: int, s: int) -> int:
    """RecurrentGemma: two recurrent blocks for one of attention (De et al. 2024).

    A recurrent block has three projections, a convolution of four taps, and two gates that are one matrix per head. The
    configuration's `intermediate_size` counts gate and up together.
    """
    n, width, state, layers = b * s, c["hidden_size"], c["lru_width"], c["num_hidden_layers"]
    gates = 2 * dense(n, state, state // c["num_attention_heads"])
    recurrent = 3 * dense(n, width, state) + causal_conv(b, s, state, c["conv1d_width"]) + gates
    attention = layers // 3
    mixers = attention * grouped_query(c, b, s) + (layers - attention) * recurrent
    return mixers + layers * gated(n, width, c["intermediate_size"] // 2) + dense(n, width, c["vocab_size"])


def qwen3_next(c: Mapping[str, Any], b: int, s: int) -> int:
    """Three gated delta-rule layers (Yang et al. 2024) for one of gated attention; 10 of 512 experts and a shared one.

    The delta rule runs in blocks of 64, the last one padded. Within a block and head: K·Kᵀ and Q·Kᵀ, two unit
    triangular systems (r · q (q − 1) / 2 each), what the state predicts, what it answers, the mix of new values, the
    new state.
    """
    n, width, chunk = b * s, c["hidden_size"], 64
    heads, shared = c["linear_num_value_heads"], c["linear_num_key_heads"]
    key, value = c["linear_key_head_dim"], c["linear_value_head_dim"]
    mixed = 2 * shared * key + heads * value
    per_block = (
        2 * chunk * chunk * key + (key + value) * chunk * (chunk - 1) // 2 + 3 * chunk * key * value + chunk**2 * value
    )
    delta = (
        dense(n, width, mixed + heads * value + 2 * heads)
        + causal_conv(b, s, mixed, c["linear_conv_kernel_dim"])
        + b * heads * ceil(s / chunk) * per_block
        + dense(n, heads * value, width)
    )
    routed = mixture(
        n, width, c["moe_intermediate_size"], experts=c["num_experts"], chosen=c["num_experts_per_tok"]
    ) + gated(n, width, c["shared_expert_intermediate_size"]) + dense(n, width, 1)  # fmt: skip
    layers = c["num_hidden_layers"]
    attention = layers // 4
    mixers = attention * grouped_query(c, b, s, gates=1) + (layers - attention) * delta
    return mixers + layers * routed + dense(n, width, c["vocab_size"])


def lfm2(c: Mapping[str, Any], b: int, s: int) -> int:
    """Gated short convolutions of three taps, some layers of attention, a gated MLP of two thirds of what is said."""
    n, width, layers, attention = b * s, c["hidden_size"], c["num_hidden_layers"], len(c["full_attn_idxs"])
    convolution = dense(n, width, 3 * width) + causal_conv(b, s, width, 3) + dense(n, width, width)
    mlp = gated(n, width, 2 * c["intermediate_size"] // 3)
    mixers = attention * grouped_query(c, b, s) + (layers - attention) * convolution
    return mixers + layers * mlp + dense(n, width, c["vocab_size"])


# ── encoders, and both ───────────────────────────────────────────────────────────────────────────────────────────────


def encoder(c: Mapping[str, Any], b: int, s: int) -> int:
    """Layers alone: ELECTRA, and the trunks of ViT and HuBERT."""
    width = c["hidden_size"]
    return c["num_hidden_layers"] * block(b, s, width, c.get("intermediate_size") or c["mlp_ratio"] * width)


def bert(c: Mapping[str, Any], b: int, s: int) -> int:
    """An encoder, and a pooler over each first token; ALBERT's narrow words are widened first."""
    width = c["hidden_size"]
    word = c.get("embedding_size", width)
    widened = dense(b * s, word, width) if word != width else 0
    return widened + encoder(c, b, s) + dense(b, width, width)


def distilbert(c: Mapping[str, Any], b: int, s: int) -> int:
    return c["n_layers"] * block(b, s, c["dim"], c["hidden_dim"])


def deberta(c: Mapping[str, Any], b: int, s: int) -> int:
    """Disentangled attention (He et al. 2021): relative positions have keys and queries of their own, by the same
    matrices, and meet the queries and keys of the content."""
    width, positions = c["hidden_size"], 2 * c["position_buckets"]
    relative = 2 * dense(positions, width, width) + 2 * b * s * positions * width
    return encoder(c, b, s) + c["num_hidden_layers"] * relative


def modernbert(c: Mapping[str, Any], b: int, s: int) -> int:
    """A gated MLP; windows of local layers are masks, so all layers are dense."""
    width = c["hidden_size"]
    attention = 4 * dense(b * s, width, width) + attend(b, 1, s, s, width)
    return c["num_hidden_layers"] * (attention + gated(b * s, width, c["intermediate_size"]))


def both(b: int, s: int, t: int, width: int, inner: int, mlps: tuple[int, int], layers: tuple[int, int]) -> int:
    """An encoder over s and a decoder over t, which also projects s to keys and values and attends to them.

    `inner` is the width of all heads, `mlps` the elements of one MLP's matrices in the encoder and in the decoder.
    """
    n, m = b * s, b * t
    encodes = 4 * dense(n, width, inner) + attend(b, 1, s, s, inner) + n * mlps[0]
    itself = 4 * dense(m, width, inner) + attend(b, 1, t, t, inner)
    across = 2 * dense(m, width, inner) + 2 * dense(n, width, inner) + attend(b, 1, t, s, inner)
    return layers[0] * encodes + layers[1] * (itself + across + m * mlps[1])


def t5(c: Mapping[str, Any], b: int, s: int, t: int) -> int:
    """T5's two matrices, or the three of its version 1.1 and of mT5."""
    matrices = 3 if c.get("feed_forward_proj", "").startswith("gated") else 2
    mlp = matrices * c["d_model"] * c["d_ff"]
    layers = (c["num_layers"], c["num_decoder_layers"])
    trunk = both(b, s, t, c["d_model"], c["num_heads"] * c["d_kv"], (mlp, mlp), layers)
    return trunk + dense(b * t, c["d_model"], c["vocab_size"])


def bart(c: Mapping[str, Any], b: int, s: int, t: int) -> int:
    """BART, Pegasus, Marian; Whisper's two halves as well."""
    width = c["d_model"]
    mlps = (2 * width * c["encoder_ffn_dim"], 2 * width * c["decoder_ffn_dim"])
    trunk = both(b, s, t, width, width, mlps, (c["encoder_layers"], c["decoder_layers"]))
    return trunk + dense(b * t, width, c["vocab_size"])


def led(c: Mapping[str, Any], b: int, s: int, t: int) -> int:
    """BART with windows in its encoder (Beltagy et al. 2020), which is padded to whole ones: blocks of two half windows
    meet themselves, and each half window mixes the three around it."""
    width, half = c["d_model"], c["attention_window"][0] // 2
    halves = 2 * ceil(s / (2 * half))
    padded = halves * half
    windows = b * width * ((halves - 1) * (2 * half) ** 2 + halves * half * 3 * half)
    full = block(b, s, width, c["encoder_ffn_dim"])
    layer = block(b, padded, width, c["encoder_ffn_dim"]) - attend(b, 1, padded, padded, width) + windows
    return bart(c, b, s, t) + c["encoder_layers"] * (layer - full)


# ── vision and video ─────────────────────────────────────────────────────────────────────────────────────────────────


def patches(b: int, count: int, patch: int, width: int, *, channels: int = 3, frames: int = 1) -> int:
    """Patches that do not overlap: one product each."""
    return dense(b * count, channels * frames * patch * patch, width)


def vit(c: Mapping[str, Any], b: int, side: int, *, extra: int = 1, heads: int = 1) -> int:
    """Patches and `extra` tokens through an encoder (Dosovitskiy et al. 2020); `heads` linear classifiers."""
    count = (side // c["patch_size"]) ** 2
    classified = heads * dense(b, c["hidden_size"], c.get("num_labels", 0))
    return patches(b, count, c["patch_size"], c["hidden_size"]) + encoder(c, b, count + extra) + classified


def swin(c: Mapping[str, Any], b: int, side: int) -> int:
    """Windows of 7 × 7 tokens, at half the side and twice the width from stage to stage (Liu et al. 2021)."""
    width, side, window = c["embed_dim"], side // c["patch_size"], c["window_size"] ** 2
    total = patches(b, side**2, c["patch_size"], width)
    for stage, depth in enumerate(c["depths"]):
        if stage:
            side //= 2
            total += dense(b * side**2, 4 * width, 2 * width)
            width *= 2
        total += depth * block(b * side**2 // window, window, width, 4 * width)
    return total + dense(b, width, c["num_labels"])


def convnext(c: Mapping[str, Any], b: int, side: int) -> int:
    """A 7 × 7 depthwise convolution and an MLP four times as wide, per position (Liu et al. 2022)."""
    side //= 4
    total, before = 0, 3
    for stage, (depth, width) in enumerate(zip(c["depths"], c["hidden_sizes"], strict=True)):
        side = side // 2 if stage else side
        total += conv2d(b, side, before, width, 2 if stage else 4)
        total += depth * (conv2d(b, side, width, width, 7, groups=width) + plain(b * side**2, width, 4 * width))
        before = width
    return total + dense(b, before, c["num_labels"])


def resnet50(b: int, height: int, width: int) -> int:
    """Bottlenecks of 3, 4, 6, 3 blocks, strides in their 3 × 3 convolutions (He et al. 2015, as torchvision has it)."""
    size = (ceil(height / 2), ceil(width / 2))
    total = conv2d(b, size, 3, 64, 7)
    size, before = (ceil(size[0] / 2), ceil(size[1] / 2)), 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        narrow = 64 << stage
        wide = 4 * narrow
        for each in range(depth):
            halved = (ceil(size[0] / 2), ceil(size[1] / 2)) if stage and not each else size
            total += conv2d(b, size, before, narrow, 1) + conv2d(b, halved, narrow, narrow, 3)
            total += conv2d(b, halved, narrow, wide, 1) + (conv2d(b, halved, before, wide, 1) if not each else 0)
            size, before = halved, wide
    return total


def segformer(c: Mapping[str, Any], b: int, side: int) -> int:
    """Overlapping patches, keys and values of a reduced map, a 3 × 3 depthwise convolution in the MLP; the decoder is
    linear for each stage, fuses all of them at a quarter of the side and classifies there (Xie et al. 2021)."""
    total, before, joint, quarter = 0, 3, c["decoder_hidden_size"], side // 4
    sizes = zip(c["depths"], c["hidden_sizes"], c["sr_ratios"], strict=True)
    for stage, (depth, width, ratio) in enumerate(sizes):
        side = side // 2 if stage else quarter
        total += conv2d(b, side, before, width, 3 if stage else 7)
        n, kept = b * side**2, (side // ratio) ** 2
        reduced = conv2d(b, side // ratio, width, width, ratio) if ratio > 1 else 0
        projected = 2 * dense(n, width, width) + 2 * dense(b * kept, width, width)
        mlp = plain(n, width, 4 * width) + conv2d(b, side, 4 * width, 4 * width, 3, groups=4 * width)
        total += depth * (reduced + projected + attend(b, 1, side**2, kept, width) + mlp) + dense(n, width, joint)
        before = width
    return total + dense(b * quarter**2, 4 * joint, joint, c["num_labels"])


def detr(c: Mapping[str, Any], b: int, height: int, width: int) -> int:
    """ResNet-50, a projection to 256, six layers each way over its map and 100 queries; classes and one more, boxes by
    three layers (Carion et al. 2020)."""
    d, queries = c["d_model"], c["num_queries"]
    cells = ceil(height / 32) * ceil(width / 32)
    mlp = 2 * d * 2048
    trunk = both(b, cells, queries, d, d, (mlp, mlp), (6, 6))
    heads = dense(b * queries, d, c["num_labels"] + 1) + dense(b * queries, d, d, d, 4)
    return resnet50(b, height, width) + dense(b * cells, 2048, d) + trunk + heads


def yolos(c: Mapping[str, Any], b: int, height: int, width: int) -> int:
    """A ViT with 100 detection tokens; classes and boxes of each by three layers (Fang et al. 2021)."""
    d, patch, tokens = c["hidden_size"], 16, c["num_detection_tokens"]
    count = (height // patch) * (width // patch)
    heads = dense(b * tokens, d, d, d, c["num_labels"] + 1) + dense(b * tokens, d, d, d, 4)
    return patches(b, count, patch, d) + encoder(c, b, 1 + count + tokens) + heads


def sam_encoder(c: Mapping[str, Any], b: int, side: int) -> int:
    """A ViT whose layers see windows of 14 × 14, the map padded to whole ones, but for four that see all of it.

    Each query also meets the relative positions of its rows and columns, once for each (Li et al. 2022). The neck is a
    1 × 1 and a 3 × 3 convolution to 256.
    """
    d, cells, window = c["hidden_size"], side // 16, 14
    padded = ceil(cells / window)
    total = patches(b, cells**2, 16, d) + conv2d(b, cells, d, 256, 1) + conv2d(b, cells, 256, 256, 3)
    for layer in range(c["num_hidden_layers"]):
        images, each = (b, cells) if layer in c["global_attn_indexes"] else (b * padded**2, window)
        tokens = each**2
        relative = 2 * images * tokens * each * d
        total += 4 * dense(images * tokens, d, d) + attend(images, 1, tokens, tokens, d) + relative
        total += plain(b * cells**2, d, 4 * d)
    return total


def videomae(c: Mapping[str, Any], b: int, frames: int, side: int) -> int:
    """Tubes of two frames, all attended to at once; the mean is classified (Tong et al. 2022)."""
    tubes = frames // 2 * (side // 16) ** 2
    return (
        patches(b, tubes, 16, c["hidden_size"], frames=2)
        + encoder(c, b, tubes)
        + dense(b, c["hidden_size"], c["num_labels"])
    )


def timesformer(c: Mapping[str, Any], b: int, frames: int, side: int) -> int:
    """Attention over time for each patch and a projection after it, then over space for each frame, which has its own
    copy of the class token (Bertasius et al. 2021)."""
    d, count = c["hidden_size"], (side // 16) ** 2
    n = b * frames * count
    time = 4 * dense(n, d, d) + attend(b * count, 1, frames, frames, d) + dense(n, d, d)
    space = 4 * dense(b * frames * (count + 1), d, d) + attend(b * frames, 1, count + 1, count + 1, d)
    mlp = plain(n + b, d, c["intermediate_size"])
    layers = c["num_hidden_layers"] * (time + space + mlp)
    return patches(b, frames * count, 16, d) + layers + dense(b, d, c["num_labels"])


# ── sound ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def whisper(c: Mapping[str, Any], b: int, frames: int, t: int) -> int:
    """Two convolutions of three taps, the second with stride 2, then an encoder and a decoder (Radford et al. 2022)."""
    width = c["d_model"]
    stem = b * (frames * 3 * c["num_mel_bins"] * width + frames // 2 * 3 * width * width)
    return stem + bart(c, b, frames // 2, t)


def wav2vec2(c: Mapping[str, Any], b: int, samples: int) -> int:
    """Seven convolutions over the samples, a projection, positions by a convolution of 128 taps in 16 groups (the taps
    being even, one position more is computed), an encoder, and a linear layer where there are labels."""
    width, length, before, total = c["hidden_size"], samples, 1, 0
    for kernel, stride in zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True):
        length = (length - kernel) // stride + 1
        total += b * length * kernel * before * 512
        before = 512
    total += dense(b * length, 512, width) + b * (length + 1) * 128 * width * width // 16
    return total + encoder(c, b, length) + dense(b * length, width, c.get("vocab_size", 0))


def spectrogram_transformer(c: Mapping[str, Any], b: int, frames: int, mels: int) -> int:
    """Patches of 16 × 16 at every tenth step of time and of frequency, two more tokens (Gong et al. 2021)."""
    count = ((frames - 16) // 10 + 1) * ((mels - 16) // 10 + 1)
    classified = dense(b, c["hidden_size"], c["num_labels"])
    return patches(b, count, 16, c["hidden_size"], channels=1) + encoder(c, b, count + 2) + classified


# ── several modalities ───────────────────────────────────────────────────────────────────────────────────────────────


def clip(c: Mapping[str, Any], b: int, s: int, side: int) -> int:
    """Two encoders, a projection of each, and every text with every image (Radford et al. 2021)."""
    text, vision, joint = c["text_config"], c["vision_config"], c["projection_dim"]
    projected = dense(b, text["hidden_size"], joint) + dense(b, vision["hidden_size"], joint)
    return encoder(text, b, s) + vit(vision, b, side) + projected + b * b * joint


def siglip(c: Mapping[str, Any], b: int, s: int, side: int) -> int:
    """The same without a class token: a learned query pools the image, and an MLP follows (Zhai et al. 2023)."""
    text, vision = c["text_config"], c["vision_config"]
    d, count = vision["hidden_size"], (side // vision["patch_size"]) ** 2
    pooled = 2 * dense(b, d, d) + 2 * dense(b * count, d, d) + attend(b, 1, 1, count, d)
    head = pooled + plain(b, d, vision["intermediate_size"])
    return encoder(text, b, s) + vit(vision, b, side, extra=0) + head + dense(b, d, d) + b * b * d


def llava(c: Mapping[str, Any], b: int, s: int, side: int) -> int:
    """CLIP's encoder but for its last layer, two linear layers, and a decoder (Liu et al. 2023).

    transformers runs the last layer as well: features are taken from the one before it. `s` counts the image's tokens.
    """
    text, vision = c["text_config"], c["vision_config"]
    count = (side // vision["patch_size"]) ** 2
    projected = dense(b * count, vision["hidden_size"], text["hidden_size"], text["hidden_size"])
    return vit(vision, b, side) + projected + gated_decoder(text, b, s)


def paligemma(c: Mapping[str, Any], b: int, s: int, side: int) -> int:
    """SigLIP's encoder without its head, a linear layer, and Gemma."""
    text, vision = c["text_config"], c["vision_config"]
    count = (side // vision["patch_size"]) ** 2
    projected = dense(b * count, vision["hidden_size"], c["projection_dim"])
    return vit(vision, b, side, extra=0) + projected + gated_decoder(text, b, s)


def qwen2_vl(c: Mapping[str, Any], s: int, height: int, width: int) -> int:
    """Patches of two frames; an encoder over all of them; four neighbours become one token by two linear layers."""
    text, vision = c["text_config"], c["vision_config"]
    d, count = vision["embed_dim"], height * width
    layers = vision["depth"] * block(1, count, d, vision["mlp_ratio"] * d)
    merged = dense(count // 4, 4 * d, 4 * d, text["hidden_size"])
    seen = patches(1, count, vision["patch_size"], d, frames=2)
    return seen + layers + merged + gated_decoder(text, 1, s)


def blip2(c: Mapping[str, Any], b: int, s: int, side: int) -> int:
    """A ViT, 32 queries that attend to it in every second of 12 layers, a projection, and OPT (Li et al. 2023)."""
    vision, text, d, queries = c["vision_config"], c["text_config"], 768, 32
    seen = (side // 14) ** 2 + 1
    width = vision["hidden_size"]
    itself = block(b, queries, d, 3072)
    across = 2 * dense(b * queries, d, d) + 2 * dense(b * seen, width, d) + attend(b, 1, queries, seen, d)
    language = text["num_hidden_layers"] * block(b, s, text["hidden_size"], text["ffn_dim"])
    projected = dense(b * queries, d, text["hidden_size"])
    head = dense(b * s, text["hidden_size"], text["vocab_size"])
    return vit(vision, b, side) + 12 * itself + 6 * across + projected + language + head


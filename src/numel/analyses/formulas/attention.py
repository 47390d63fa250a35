"""Scaled dot-product attention in all its kernels: query · keyᵀ, softmax, · value. Counted dense.

`causal_macs` is what a causal kernel executes. SDPA aligns the causal mask to the top left corner (row i sees
min(i + 1, keys)); the flash and memory-efficient kernels with lengths of their own align it to the bottom right.
Elementwise work per score: one scaling, five for the softmax, one where a mask is added, two where dropout is on.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from numel.analyses.formulas.arguments import argument, broadcast, tensor
from numel.analyses.formulas.registry import Cost, formula
from numel.facts.trace import TensorSpec

_SCALE = 1
_SOFTMAX = 5
_DROPOUT = 2


def causal_pairs(queries: int, keys: int, *, bottom_right: bool = False) -> int:
    """Pairs of a query and a key that a causal mask leaves.

    >>> causal_pairs(4, 4), causal_pairs(2, 4), causal_pairs(2, 4, bottom_right=True), causal_pairs(4, 2)
    (10, 3, 7, 7)
    """
    if bottom_right and keys > queries:
        before = keys - queries
        return queries * before + queries * (queries + 1) // 2
    if bottom_right:
        return keys * (keys + 1) // 2
    short = min(queries, keys)
    return short * (short + 1) // 2 + (queries - short) * keys


def _per_score(mask: Any, dropout_p: Any) -> int:
    return _SCALE + _SOFTMAX + isinstance(mask, TensorSpec) + (_DROPOUT if dropout_p else 0)


def dense(
    query: TensorSpec, key: TensorSpec, value: TensorSpec, *, mask: Any, dropout_p: Any, is_causal: Any
) -> Cost | None:
    """(..., heads, length, width) each: scores cost width of the query, the mix costs width of the value.

    Fewer key and value heads than query heads change nothing: each query head meets one of them. `None` when a
    dimension is not known, as in a nested tensor.
    """
    if min((*query.shape, *key.shape, *value.shape), default=0) < 0:
        return None
    queries, keys = query.shape[-2], key.shape[-2]
    heads = broadcast(query.shape[:-2], key.shape[:-2])
    # a mask or a value with dimensions of its own stretches the probabilities, not the products they come from
    mixes = broadcast(heads, value.shape[:-2], mask.shape[:-2] if isinstance(mask, TensorSpec) else ())
    per_pair = prod(heads) * query.shape[-1] + prod(mixes) * value.shape[-1]
    return Cost(
        macs=queries * keys * per_pair,
        elementwise=prod(heads) * queries * keys * _per_score(mask, dropout_p),
        causal_macs=causal_pairs(queries, keys) * per_pair if is_causal else None,
    )


@formula(
    "aten.scaled_dot_product_attention",
    "aten._scaled_dot_product_attention_math",
    "aten._scaled_dot_product_attention_math_for_mps",
    "aten._scaled_dot_product_fused_attention_overrideable",
)
def sdpa(
    query: TensorSpec, key: TensorSpec, value: TensorSpec, attn_mask: Any = None, dropout_p: Any = 0.0,
    is_causal: Any = False, *_: Any, outputs: Any, attn_bias: Any = None, **named: Any,
) -> Cost | None:  # fmt: skip
    """Each of batch · heads · queries · keys scores costs the width of a query, each mixed value the width of a value.

    (query, key, value, mask, dropout_p, is_causal, ...).

    >>> from numel.facts.dtype import dtype
    >>> q = TensorSpec((2, 8, 16, 64), dtype("f32"))
    >>> sdpa(q, q, q, outputs=()).macs == 2 * 8 * 16 * 16 * (64 + 64)
    True
    """
    mask = attn_mask if attn_mask is not None else attn_bias
    return dense(query, key, value, mask=mask, dropout_p=dropout_p, is_causal=is_causal)


@formula("aten._scaled_dot_product_flash_attention", "aten._scaled_dot_product_flash_attention_for_cpu")
def sdpa_flash(
    query: TensorSpec, key: TensorSpec, value: TensorSpec, dropout_p: Any = 0.0, is_causal: Any = False, *_: Any,
    outputs: Any, attn_mask: Any = None, **named: Any,
) -> Cost | None:  # fmt: skip
    """Each of batch · heads · queries · keys scores costs the width of a query, each mixed value the width of a value.

    (query, key, value, dropout_p, is_causal, ...).
    """
    return dense(query, key, value, mask=attn_mask, dropout_p=dropout_p, is_causal=is_causal)


@formula("aten._scaled_dot_product_flash_attention.quantized")
def sdpa_flash_quantized(
    query: TensorSpec, key: TensorSpec, value: TensorSpec, q_descale: Any, k_descale: Any, v_descale: Any,
    dropout_p: Any = 0.0, is_causal: Any = False, *_: Any, outputs: Any, **named: Any,
) -> Cost | None:  # fmt: skip
    """Each of batch · heads · queries · keys scores costs the width of a query, each mixed value the width of a value.

    (query, key, value, three scales, dropout_p, is_causal, ...).
    """
    return dense(query, key, value, mask=None, dropout_p=dropout_p, is_causal=is_causal)


@formula("aten._scaled_dot_product_efficient_attention", "aten._scaled_dot_product_cudnn_attention")
def sdpa_efficient(
    query: TensorSpec, key: TensorSpec, value: TensorSpec, attn_bias: Any, compute_log_sumexp: Any,
    dropout_p: Any = 0.0, is_causal: Any = False, *_: Any, outputs: Any, **named: Any,
) -> Cost | None:  # fmt: skip
    """Each of batch · heads · queries · keys scores costs the width of a query, each mixed value the width of a value.

    (query, key, value, bias, compute_log_sumexp, dropout_p, is_causal, ...).
    """
    return dense(query, key, value, mask=attn_bias, dropout_p=dropout_p, is_causal=is_causal)


def _varlen(
    tokens_q: int, tokens_k: int, sequences: int, max_q: int, max_k: int, heads: int, width: int, *,
    causal: bool, bottom_right: bool, per_score: int,
) -> Cost:  # fmt: skip
    """Sequences of different lengths laid end to end, whose lengths are data.

    No sequence is longer than the maximum, so each has at least tokens - (sequences - 1) · max: this is exact for one
    sequence and for equal ones. When queries and keys are the same tokens, Σ L² ≥ (Σ L)² / sequences (Cauchy). They are
    taken for the same where tokens and maximum agree, as a record does not tell one tensor from its equal.
    """
    shortest_q = max(0, tokens_q - (sequences - 1) * max_q)
    shortest_k = max(0, tokens_k - (sequences - 1) * max_k)
    pairs = max(tokens_q * shortest_k, tokens_k * shortest_q)
    exact = sequences <= 1 or sequences * max_q == tokens_q or sequences * max_k == tokens_k
    uniform = sequences <= 1 or (sequences * max_q == tokens_q and sequences * max_k == tokens_k)
    same = tokens_q == tokens_k and max_q == max_k
    if not exact and same:
        pairs = max(pairs, -(-tokens_q * tokens_q // sequences))
    executed = None
    if causal and uniform:
        each_q, each_k = (tokens_q // max(sequences, 1), tokens_k // max(sequences, 1))
        executed = sequences * causal_pairs(each_q, each_k, bottom_right=bottom_right)
    elif causal and same:
        executed = (pairs + tokens_q) // 2
    return Cost(
        macs=heads * pairs * width,
        elementwise=heads * pairs * per_score,
        causal_macs=None if executed is None else heads * executed * width,
        at_least=not exact,
    )


@formula("aten._flash_attention_forward")
def flash_forward(
    query: TensorSpec, key: TensorSpec, value: TensorSpec, cum_seq_q: Any, cum_seq_k: Any, max_q: Any, max_k: Any,
    dropout_p: Any = 0.0, is_causal: Any = False, *_: Any, outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """Each of batch · heads · queries · keys scores costs the width of a query, each mixed value the width of a value.

    (batch, length, heads, width), or (tokens, heads, width) with the bounds of each sequence.
    """
    heads, width = query.shape[-2], query.shape[-1] + value.shape[-1]
    per_score = _per_score(None, dropout_p)
    if isinstance(cum_seq_q, TensorSpec):
        return _varlen(
            query.shape[0], key.shape[0], cum_seq_q.numel - 1, max_q, max_k, heads, width,
            causal=bool(is_causal), bottom_right=True, per_score=per_score,
        )  # fmt: skip
    batch, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    pairs = batch * heads * queries * keys
    executed = batch * heads * causal_pairs(queries, keys, bottom_right=True) * width if is_causal else None
    return Cost(macs=pairs * width, elementwise=pairs * per_score, causal_macs=executed)


@formula("aten._efficient_attention_forward")
def efficient_forward(
    query: TensorSpec, key: TensorSpec, value: TensorSpec, bias: Any, cu_seqlens_q: Any, cu_seqlens_k: Any,
    max_seqlen_q: Any, max_seqlen_k: Any, dropout_p: Any = 0.0, custom_mask_type: Any = 0, *_: Any,
    outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """Each of batch · heads · queries · keys scores costs the width of a query, each mixed value the width of a value.

    (batch, length, heads, width); with bounds, batch is 1. Mask type 1 is causal top left, 2 causal bottom right.
    """
    heads, width = query.shape[-2], query.shape[-1] + value.shape[-1]
    per_score = _per_score(bias, dropout_p)
    bottom_right = custom_mask_type == 2
    if isinstance(cu_seqlens_q, TensorSpec):
        longest_q = max_seqlen_q if isinstance(max_seqlen_q, int) else query.shape[1]
        longest_k = max_seqlen_k if isinstance(max_seqlen_k, int) else key.shape[1]
        return _varlen(
            query.shape[1], key.shape[1], cu_seqlens_q.numel - 1, longest_q, longest_k, heads, width,
            causal=bool(custom_mask_type), bottom_right=bottom_right, per_score=per_score,
        )  # fmt: skip
    batch, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    pairs = batch * heads * queries * keys
    left = causal_pairs(queries, keys, bottom_right=bottom_right)
    executed = batch * heads * left * width if custom_mask_type else None
    return Cost(macs=pairs * width, elementwise=pairs * per_score, causal_macs=executed)


@formula("aten._cudnn_attention_forward")
def cudnn_forward(
    query: TensorSpec, key: TensorSpec, value: TensorSpec, attn_bias: Any, cum_seq_q: Any, cum_seq_k: Any, max_q: Any,
    max_k: Any, compute_log_sumexp: Any, dropout_p: Any = 0.0, is_causal: Any = False, *_: Any,
    outputs: Any, **named: Any,
) -> Cost | None:  # fmt: skip
    """Each of batch · heads · queries · keys scores costs the width of a query, each mixed value the width of a value.

    (batch, heads, length, width), or (tokens, heads, width) with the bounds of each sequence.
    """
    if not isinstance(cum_seq_q, TensorSpec):
        return dense(query, key, value, mask=attn_bias, dropout_p=dropout_p, is_causal=is_causal)
    return _varlen(
        query.shape[0], key.shape[0], cum_seq_q.numel - 1, max_q, max_k, query.shape[-2],
        query.shape[-1] + value.shape[-1], causal=bool(is_causal), bottom_right=False,
        per_score=_per_score(attn_bias, dropout_p),
    )  # fmt: skip


def _multi_head(
    batch: int, queries: int, keys: int, width: int, *, mask: Any, need_weights: bool = False, heads: int = 1
) -> Cost:
    """Projections of query, key and value, attention, output projection, all of one width; biases are elementwise."""
    projected = batch * (2 * queries + 2 * keys) * width
    scores = batch * heads * queries * keys
    return Cost(
        macs=projected * width + 2 * batch * queries * keys * width,
        elementwise=projected + scores * (_per_score(mask, 0) + need_weights),
    )


def _batched(spec: TensorSpec) -> tuple[int, int] | None:
    """(batch, length) of a (batch, length, width) tensor; `None` when it is nested and lengths are not known."""
    if len(spec.shape) != 3 or min(spec.shape) < 0:
        return None
    return spec.shape[0], spec.shape[1]


@formula("aten._native_multi_head_attention")
def native_multi_head_attention(
    query: TensorSpec, key: TensorSpec, value: TensorSpec, embed_dim: int, num_head: int, *args: Any,
    outputs: Any, **named: Any,
) -> Cost | None:  # fmt: skip
    """The fused inference path of nn.MultiheadAttention: four projections around one attention of all heads."""
    sizes, others = _batched(query), _batched(key)
    if sizes is None or others is None:
        return None
    need_weights = bool(argument(args, named, 5, "need_weights", default=True))
    mask = argument(args, named, 4, "mask")
    return _multi_head(sizes[0], sizes[1], others[1], embed_dim, mask=mask, need_weights=need_weights, heads=num_head)


@formula("aten._triton_multi_head_attention")
def triton_multi_head_attention(*args: Any, outputs: Any, **named: Any) -> Cost | None:
    """The same without weights to give back."""
    return native_multi_head_attention(*args, outputs=outputs, need_weights=False, **named)


@formula("aten._transformer_encoder_layer_fwd")
def transformer_encoder_layer(*args: Any, outputs: Any, **named: Any) -> Cost | None:
    """The fused inference path of nn.TransformerEncoderLayer: attention, two linear layers, two norms, two residuals.

    Elementwise per token: seven per feature for each norm, one per feature for each residual, one activation and one
    bias per hidden unit, one bias per feature.
    """
    src = tensor(args, named, 0, "src")
    embed_dim = argument(args, named, 1, "embed_dim")
    heads = argument(args, named, 2, "num_heads")
    hidden = tensor(args, named, 14, "ffn_weight_1").shape[0]
    mask = argument(args, named, 18, "mask")
    sizes = _batched(src)
    if sizes is None:
        return None
    batch, length = sizes
    tokens = batch * length
    feed_forward = Cost(
        macs=2 * tokens * embed_dim * hidden,
        elementwise=tokens * (2 * 7 * embed_dim + 2 * embed_dim + 2 * hidden + embed_dim),
    )
    return _multi_head(batch, length, length, embed_dim, mask=mask, heads=heads) + feed_forward


@formula("aten._transform_bias_rescale_qkv")
def transform_bias_rescale(qkv: TensorSpec, *_: Any, outputs: Any, **named: Any) -> Cost:
    """One bias per element, one scaling per element of the query third."""
    return Cost(elementwise=prod(qkv.shape) + prod(qkv.shape) // 3)


def _sdpa_backward(causal_at: int) -> Callable[..., Cost | None]:
    def counted(*args: Any, outputs: Any, **named: Any) -> Cost | None:
        """Five products: the scores again, then the gradients of the probabilities, value, query and key.

        Three have the query's width and two the value's. Elementwise per score: the softmax again without its maximum
        and sum, whose log is kept (three), and its gradient (four).
        """
        query = tensor(args, named, 1, "query")
        key = tensor(args, named, 2, "key")
        value = tensor(args, named, 3, "value")
        if min((*query.shape, *key.shape, *value.shape), default=0) < 0:
            return None
        heads, queries, keys = prod(query.shape[:-2]), query.shape[-2], key.shape[-2]
        per_pair = heads * (3 * query.shape[-1] + 2 * value.shape[-1])
        causal = argument(args, named, causal_at, "is_causal", default=False)
        return Cost(
            macs=queries * keys * per_pair,
            elementwise=7 * heads * queries * keys,
            causal_macs=causal_pairs(queries, keys) * per_pair if causal else None,
        )

    return counted


# where each kernel takes `is_causal`
for _kernel, _causal_at in {
    "flash_attention": 11, "flash_attention_for_cpu": 7, "efficient_attention": 11, "cudnn_attention": 14,
    "fused_attention_overrideable": 13,
}.items():  # fmt: skip
    formula(f"aten._scaled_dot_product_{_kernel}_backward")(_sdpa_backward(_causal_at))


def _gone_back(forward: Cost, query: TensorSpec, value: TensorSpec) -> Cost:
    """Five products for the two of the forward, over the same pairs; elementwise as of any fused kernel."""
    e, ev = query.shape[-1], value.shape[-1]
    width, each = e + ev, 3 * e + 2 * ev
    pairs = forward.macs // width if width else 0
    executed = None if forward.causal_macs is None else forward.causal_macs // width * each
    return Cost(macs=pairs * each, elementwise=7 * pairs, causal_macs=executed, at_least=forward.at_least)


@formula("aten._flash_attention_backward")
def flash_backward(
    grad_out: Any, query: TensorSpec, key: TensorSpec, value: TensorSpec, out: Any, logsumexp: Any, cum_seq_q: Any,
    cum_seq_k: Any, max_q: Any, max_k: Any, dropout_p: Any, is_causal: Any, *_: Any, outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """Five products: the scores again, then the gradients of the probabilities, value, query and key; three have the
    query's width and two the value's. Pairs are those of the forward, lower bounds where lengths are data."""
    forward = flash_forward(
        query, key, value, cum_seq_q, cum_seq_k, max_q, max_k, dropout_p, is_causal, outputs=outputs
    )  # fmt: skip
    return _gone_back(forward, query, value)


@formula("aten._efficient_attention_backward")
def efficient_backward(
    grad_out: Any, query: TensorSpec, key: TensorSpec, value: TensorSpec, bias: Any, out: Any, cu_seqlens_q: Any,
    cu_seqlens_k: Any, max_seqlen_q: Any, max_seqlen_k: Any, logsumexp: Any, dropout_p: Any, philox_seed: Any,
    philox_offset: Any, custom_mask_type: Any, *_: Any, outputs: Any, **named: Any,
) -> Cost:  # fmt: skip
    """Five products: the scores again, then the gradients of the probabilities, value, query and key; three have the
    query's width and two the value's. Pairs are those of the forward, lower bounds where lengths are data."""
    forward = efficient_forward(
        query, key, value, bias, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p, custom_mask_type,
        outputs=outputs,
    )  # fmt: skip
    return _gone_back(forward, query, value)


@formula("higher_order.flex_attention")
def flex_attention(
    query: TensorSpec, key: TensorSpec, value: TensorSpec, *_: Any, outputs: Any, executed_pairs: int | None = None,
) -> Cost | None:  # fmt: skip
    """Each of batch · heads · queries · keys scores costs the width of a query, each mixed value the width of a value.

    Dense; what the blocks of a mask leave, where they are known, is the executed part. Elementwise per score: scaling,
    softmax and one where the mask chooses. What a function does to a score is its own and not counted.

    >>> from numel.facts.dtype import dtype
    >>> q = TensorSpec((2, 8, 16, 64), dtype("f32"))
    >>> flex_attention(q, q, q, outputs=(), executed_pairs=100).executed_macs == 100 * (64 + 64)
    True
    """
    pairs = prod(query.shape[:-1]) * key.shape[-2]
    width = query.shape[-1] + value.shape[-1]
    executed = None if executed_pairs is None else executed_pairs * width
    return Cost(
        macs=pairs * width,
        elementwise=pairs * (_SCALE + _SOFTMAX + 1),
        causal_macs=None if executed == pairs * width else executed,
    )


@formula("higher_order.flex_attention_backward")
def flex_attention_backward(
    query: TensorSpec, key: TensorSpec, value: TensorSpec, *_: Any, outputs: Any, executed_pairs: int | None = None,
) -> Cost | None:  # fmt: skip
    """Five products: the scores again, then the gradients of the probabilities, value, query and key.

    As of any attention: three have the query's width and two the value's; seven elementwise per score, and one where
    the mask chooses.
    """
    pairs = prod(query.shape[:-1]) * key.shape[-2]
    width = 3 * query.shape[-1] + 2 * value.shape[-1]
    executed = None if executed_pairs is None else executed_pairs * width
    return Cost(
        macs=pairs * width, elementwise=8 * pairs, causal_macs=None if executed == pairs * width else executed
    )

"""What a tensor of a file probably is, by its name, since files do not say it. Silent where it is not plain."""

from __future__ import annotations

import re

from numel.facts.dtype import DType
from numel.facts.tensor import Role

_BUFFERS = frozenset({
    "running_mean", "running_var", "num_batches_tracked", "inv_freq", "original_inv_freq", "position_ids",
    "token_type_ids", "relative_position_index", "attn_mask", "causal_mask", "masked_bias", "cos_cached", "sin_cached",
})  # fmt: skip
_PARAMETERS = re.compile(
    r"""(in_proj_|q_proj_|k_proj_|v_proj_)?(weight|bias)    # most layers; attention with fused projections
      | (weight|bias)_[ih]h_l\d+(_reverse)?|weight_hr_l\d+  # recurrent layers
      | weight_[gv]|original[01]                            # weight normalisation, old and new
      | bias_[kv]|[qv]_bias|logit_scale
      | gamma|beta                                          # layer normalisation of the first BERTs
      | cls_token|dist_token|mask_token|class_token|class_embedding
      | pos_embed(ding)?|positional_embedding|position_embeddings?|relative_position_bias_table
      | A_log|dt_bias                                       # state space models
    """,
    re.VERBOSE,
)


def guess(path: str, shape: tuple[int, ...], dtype: DType) -> Role | None:
    """`parameter` or `buffer` where the last part of the path is a well-known name; `None` where it tells nothing.

    Integers are never taken for parameters: a quantiser packs several elements into each, under the same names.

    >>> from numel.facts.dtype import dtype as named
    >>> guess("bn.running_mean", (64,), named("f32")), guess("fc.weight", (2, 3), named("f32"))
    ('buffer', 'parameter')
    >>> guess("fc.weight", (8, 1), named("uint8")) is None
    True
    """
    name = path.rpartition(".")[2]
    if name in _BUFFERS:
        return "buffer"
    if dtype.kind in ("int", "bool"):
        return None
    if name == "bias" and len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3]:
        return "buffer"  # GPT-2 stores its causal mask as `attn.bias`
    return "parameter" if _PARAMETERS.fullmatch(name) else None

"""The words in which models say how many experts a layer has, and how many of them one token meets."""

from __future__ import annotations

# the most usual first, as they are looked up in this order
COUNTS = (
    "num_experts", "num_local_experts", "n_routed_experts", "num_routed_experts", "moe_num_experts", "n_experts",
    "total_experts", "num_total_experts",
)  # fmt: skip
CHOICES = (
    "top_k", "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k", "router_top_k", "topk",
    "num_selected_experts", "n_activated_experts", "experts_per_token", "n_experts_per_token",
)  # fmt: skip

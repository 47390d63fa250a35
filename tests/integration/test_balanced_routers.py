"""Forwards that read what a router chose run on meta, with each expert taken equally often, and say so."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import numel  # noqa: E402

_WIDTH, _INNER = 6, 10


class Expert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(_WIDTH, _INNER, bias=False), nn.Linear(_INNER, _WIDTH, bias=False)

    def forward(self, x: Any) -> Any:
        return self.down(self.up(x).relu())


class Moe(nn.Module):
    """A layer of experts; `way` is how it reads what its router chose."""

    def __init__(self, way: str, n: int, k: int) -> None:
        super().__init__()
        self.way, self.num_experts, self.top_k = way, n, k
        self.gate = nn.Linear(_WIDTH, n, bias=False)
        self.experts = nn.ModuleList([Expert() for _ in range(n)])

    def forward(self, x: Any) -> Any:
        scores = self.gate(x).softmax(-1)
        if self.way == "sort":
            weights, chosen = (each[:, : self.top_k] for each in scores.sort(-1, descending=True))
        else:
            weights, chosen = scores.topk(self.top_k, dim=-1)
        out = torch.zeros(x.shape, dtype=x.dtype, device=x.device)
        if self.way in ("one-hot", "sort"):
            mask = nn.functional.one_hot(chosen, self.num_experts).permute(2, 1, 0)
            for hit in (mask.sum((-1, -2)) > 0).nonzero():
                slot, token = torch.where(mask[hit].squeeze(0))
                made = self.experts[int(hit)](x[token]) * weights[token, slot, None]
                out.index_add_(0, token, made)
        elif self.way == "equal":
            for i, expert in enumerate(self.experts):
                token, slot = torch.where(chosen == i)
                if token.numel():
                    out[token] += expert(x[token]) * weights[token, slot, None]
        else:  # tokens in the order of their experts, as DeepSeek's own code has it
            counts = chosen.new_zeros((len(chosen), self.num_experts)).scatter_(1, chosen, 1).sum(0)
            order = chosen.view(-1).argsort()
            rows, parts = x[order // self.top_k], []
            for expert, part in zip(self.experts, rows.split(counts.tolist()), strict=True):
                if len(part):
                    parts.append(expert(part))
            made = torch.empty_like(rows)
            made[order] = torch.cat(parts)
            out = (made.view(*chosen.shape, -1) * weights.unsqueeze(-1)).sum(1)
        return out


def note(report: Any) -> Any:
    return next(each for each in report.notes if each.code in ("balanced-router", "even-choice"))


@pytest.mark.parametrize(("tokens", "n", "k"), [(16, 8, 2), (7, 4, 3), (5, 8, 1), (1, 8, 2)])
@pytest.mark.parametrize("way", ["one-hot", "sort", "equal", "sorted tokens"])
def test_every_way_costs_tokens_times_k_experts_and_the_router(way: str, tokens: int, n: int, k: int):
    """Each token runs k experts of two products, width · inner each, also where tokens · k is no multiple of n."""
    with torch.device("meta"):
        model = Moe(way, n, k)
    report = numel.summary(model, f"f32[{tokens},{_WIDTH}]")
    assert report.mode == "meta"
    assert report.trace is not None
    assert report.trace.failure is None
    assert report.macs == tokens * _WIDTH * n + tokens * k * 2 * _WIDTH * _INNER
    assert not report.exact
    ran = [row for row in report.layers if row.type == "Expert" and row.calls]
    macs = [row.macs // (2 * _WIDTH * _INNER) for row in ran]
    assert sum(macs) == tokens * k
    assert max(macs) - min(macs) <= (1 if way != "sort" else k)


def test_the_note_names_the_router_and_numbers_print_as_about():
    with torch.device("meta"):
        model = nn.Sequential(Moe("equal", 8, 2), Moe("equal", 8, 2))
    report = numel.summary(model, f"f32[16,{_WIDTH}]")
    assert (note(report).code, note(report).path) == ("balanced-router", "0")
    assert "the k=2 largest of 8 at 0 and 1 more were taken as balanced" in note(report).text
    assert "≈" in str(report)
    assert report.active_params == 2 * (_WIDTH * 8 + 2 * 2 * _WIDTH * _INNER)


class Picks(nn.Module):
    """Keeps the tokens of largest score, and goes on for as many as the positions say."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(_WIDTH, _WIDTH, bias=False)

    def forward(self, x: Any) -> Any:
        for position in x.sum(-1).topk(3).indices.tolist():
            x = self.fc(x[: position + 1])
        return x


def test_a_choice_that_is_no_routers_is_named_as_such():
    report = numel.summary(Picks().to("meta"), f"f32[9,{_WIDTH}]")
    assert note(report).code == "even-choice"
    assert "evenly spread" in note(report).text
    assert not report.exact


def test_a_choice_that_nothing_reads_is_exact_and_takes_no_assumption():
    """Experts gathered by their index: shapes tell it all."""
    class Gathered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.up = nn.Linear(_WIDTH, 8, bias=False), nn.Parameter(torch.zeros(8, _INNER, _WIDTH))

        def forward(self, x: Any) -> Any:
            return torch.einsum("tkoi,ti->tko", self.up[self.gate(x).topk(2).indices], x)

    report = numel.summary(Gathered().to("meta"), f"f32[5,{_WIDTH}]")
    assert report.exact
    assert report.macs == 5 * _WIDTH * 8 + 5 * 2 * _INNER * _WIDTH


def test_real_inputs_to_a_model_with_weights_have_their_own_numbers():
    """All weights of the gate are zero but for one row, so that two experts get every token."""
    model = Moe("equal", 8, 2)
    with torch.no_grad():
        model.gate.weight.zero_()[3] = 1
    report = numel.summary(model, torch.ones(4, _WIDTH))
    assert report.mode == "real"
    assert sum(1 for row in report.layers if row.type == "Expert" and row.calls) == 2


def test_a_value_that_no_choice_makes_known_still_needs_data():
    class Compares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(_WIDTH, 8)

        def forward(self, x: Any) -> Any:
            return x[torch.where(self.fc(x).topk(2).values > 0)[0]]

    report = numel.summary(Compares().to("meta"), f"f32[5,{_WIDTH}]", mode="meta")
    assert report.trace is not None
    assert report.trace.failure is not None
    assert report.trace.failure.needs_data


@pytest.mark.parametrize("name", ["Mixtral", "DeepseekV3", "SwitchTransformers"])
def test_transformers_loops_cost_what_its_grouped_products_do(name: str):
    transformers = pytest.importorskip("transformers")
    sizes: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 4, "vocab_size": 64}
    if name == "Mixtral":
        cls, config = transformers.MixtralForCausalLM, transformers.MixtralConfig(
            intermediate_size=48, num_hidden_layers=2, num_key_value_heads=2, **sizes)  # fmt: skip
        experts = 2 * 14 * 2 * 3 * 32 * 48
    elif name == "DeepseekV3":
        cls, config = transformers.DeepseekV3ForCausalLM, transformers.DeepseekV3Config(
            intermediate_size=48, num_hidden_layers=4, moe_intermediate_size=24, n_routed_experts=16, n_group=4,
            topk_group=2, num_experts_per_tok=4, q_lora_rank=16, kv_lora_rank=16, num_key_value_heads=4,
            **sizes)  # fmt: skip
        experts = 14 * 4 * 3 * 32 * 24
    else:
        cls, config = transformers.SwitchTransformersForConditionalGeneration, transformers.SwitchTransformersConfig(
            d_model=32, d_ff=48, d_kv=8, num_heads=4, num_layers=4, num_decoder_layers=4, vocab_size=64,
            num_sparse_encoder_layers=2, num_sparse_decoder_layers=2)  # fmt: skip
        experts = 2 * (14 + 14) * 2 * 32 * 48
    with torch.device("meta"):
        model = cls._from_config(config, experts_implementation="eager").eval()
    inputs = "i64[2,7] < 64" if name != "SwitchTransformers" else (
        "input_ids: i64[2,7] < 64, decoder_input_ids: i64[2,7] < 64"
    )  # fmt: skip
    report = numel.summary(model, inputs)
    assert report.mode == "meta"
    assert note(report).code == "balanced-router"
    ran = sum(row.macs for row in report.layers if row.path.endswith("experts") and "shared" not in row.path)
    assert ran == experts
    assert report.active_params is not None

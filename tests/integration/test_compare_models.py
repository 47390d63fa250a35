"""Comparisons of real models: published counts, the same model wrapped, compiled, adapted, saved, and edited."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import numel  # noqa: E402
from numel.document.table import Quantity  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"


class Net(torch.nn.Module):
    """An embedding that is the head's weight, and numbered blocks."""

    def __init__(self, blocks: int = 4) -> None:
        super().__init__()
        self.emb = torch.nn.Embedding(10, 8)
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8)) for _ in range(blocks)
        )
        self.head = torch.nn.Linear(8, 10, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, ids: Any) -> Any:
        x = self.emb(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def kinds(found: numel.results.Comparison) -> list[tuple[str, str]]:  # type: ignore[name-defined]
    return [(change.kind, change.path) for change in found.changes]


def test_resnet_101_is_resnet_50_with_17_blocks_more():
    """25,557,032 and 44,549,160 parameters, as torchvision publishes them; layer3 has 23 blocks instead of 6."""
    torchvision = pytest.importorskip("torchvision")
    assert torchvision
    found = numel.compare("torchvision:resnet50", "torchvision:resnet101", inputs="f32[1,3,224,224]")
    assert [totals.params for totals in found.totals] == [25_557_032, 44_549_160]
    assert {change.kind for change in found.changes} == {"added"}
    blocks = {change.path for change in found.changes if change.after == "Bottleneck"}
    assert blocks == {f"layer3.{i}" for i in range(6, 23)}
    layers = next(table for table in found.document().tables if table.title == "Where it comes from")
    assert sum(layers.to_dict()["params_difference"]) == 44_549_160 - 25_557_032
    (added,) = next(table for table in found.document().tables if table.title == "Changes").rows
    assert added == ("added", "layer3.6–22", "", "Bottleneck", 17)


def llama(**fields: Any) -> Any:
    config = transformers.AutoConfig.from_pretrained(EXAMPLES / "llama-3-8b")
    for name, value in fields.items():
        setattr(config, name, value)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def test_llama_3_and_3_1_have_the_same_tensors():
    """They differ in how positions are scaled, which no tensor shows (Llama 3.1's rope_scaling of factor 8)."""
    scaled = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}  # fmt: skip
    found = numel.compare(llama(), llama(rope_parameters=scaled, max_position_embeddings=131072), inputs="i64[1,8]")
    assert found.changes == ()
    assert [totals.params for totals in found.totals] == [8_030_261_248] * 2


def test_qwen3_8b_beside_llama_3_8b():
    """8,190,735,360 parameters (its safetensors index on the hub): 36 layers, a norm for queries and one for keys."""
    config = transformers.Qwen3Config(
        vocab_size=151936, hidden_size=4096, intermediate_size=12288, num_hidden_layers=36, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, tie_word_embeddings=False,
    )  # fmt: skip
    with torch.device("meta"):
        qwen = transformers.Qwen3ForCausalLM(config)
    found = numel.compare(llama(), qwen, names=("llama", "qwen"))
    assert [totals.params for totals in found.totals] == [8_030_261_248, 8_190_735_360]
    changed = {(change.kind, change.path) for change in found.changes}
    assert ("added", "model.layers.0.self_attn.q_norm") in changed
    assert ("added", "model.layers.35") in changed
    assert ("reshaped", "model.embed_tokens.weight") in changed
    assert len(str(found).splitlines()) < 90


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # of torch.compile's own import
@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, torch.compile], ids=["DataParallel", "compile"])
def test_a_wrapped_model_is_the_same(wrap: Any):
    found = numel.compare(Net(), wrap(Net()))
    assert found.identical, found.changes


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    """This process alone, with gloo."""
    distributed = torch.distributed
    if not distributed.is_available():
        pytest.skip("no torch.distributed")
    distributed.init_process_group("gloo", store=distributed.FileStore(str(tmp_path / "s"), 1), rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def test_a_model_in_ddp_is_the_same(process_group: None):
    bare = Net()
    wrapped = torch.nn.parallel.DistributedDataParallel(copy.deepcopy(bare))
    found = numel.compare(bare, wrapped, inputs="i64[2] < 10", values=True)
    assert found.identical, found.changes
    assert found.totals[0] == found.totals[1]
    wrapped.module.blocks[2][0].bias.data += 1
    apart = [each.second for each in numel.compare(bare, wrapped, values=True).values[0] if not each.equal]
    assert apart == ["module.blocks.2.0.bias"]


@pytest.mark.filterwarnings("ignore")
def test_a_model_quantised_by_torchao_shows_its_types_and_what_rounding_lost():
    """Rounding to 255 steps between -absmax and absmax of a row moves no value by more than half a step."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchao = pytest.importorskip("torchao.quantization")
    one = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Linear(48, 8))
    other = copy.deepcopy(one)
    torchao.quantize_(other, torchao.Int8WeightOnlyConfig())
    found = numel.compare(one, other, values=True)
    expected = {(kind, f"{i}.weight") for kind in ("retyped", "frozen") for i in (0, 2)}
    assert set(kinds(found)) == expected
    assert found.totals[0].params == found.totals[1].params == 64 * 48 + 48 + 48 * 8 + 8
    assert not any(found.unread)
    values = by_path(found)
    for i in (0, 2):
        steps = one[i].weight.detach().abs().amax(dim=1) / 127.5
        assert 0 < values[f"{i}.weight"].max_abs <= float(steps.max()) * 0.51
        assert values[f"{i}.bias"].equal


def test_a_model_and_its_checkpoint_are_identical(tmp_path: Path):
    from safetensors.torch import save_model

    model = Net()
    save_model(model, str(tmp_path / "net.safetensors"))  # which leaves tied tensors out
    for pair in ((model, tmp_path / "net.safetensors"), (tmp_path / "net.safetensors", model)):
        assert numel.compare(*pair).identical


def test_a_saved_report_is_compared_with_the_live_model(tmp_path: Path):
    numel.summary(Net(), "i64[2] < 10").save(tmp_path / "r.json")
    found = numel.compare(tmp_path / "r.json", Net(5), inputs="i64[2] < 10")
    assert ("added", "blocks.4") in kinds(found)
    rows = {row[0]: row for row in found.document().tables[0].rows}
    assert rows["MACs"][3] == Quantity(2 * 8 * 8, "ops")


def test_edits_are_each_found_once():
    one, other = Net(), Net()
    other.load_state_dict(one.state_dict())
    assert numel.compare(one, other).identical
    other.head.weight = torch.nn.Parameter(torch.zeros(10, 8))
    other.blocks[1][0].weight.requires_grad_(False)
    other.blocks[2][1] = torch.nn.LayerNorm(8)
    other.blocks[3][0].half()
    found = set(kinds(numel.compare(one, other)))
    assert found == {
        ("untied", "head.weight"), ("frozen", "blocks.1.0.weight"), ("replaced", "blocks.2.1"),
        *(("removed", f"blocks.2.1.{name}") for name in ("running_mean", "running_var", "num_batches_tracked")),
        ("retyped", "blocks.3.0.weight"), ("retyped", "blocks.3.0.bias"),
    }  # fmt: skip


def test_a_block_that_is_put_in_front_shifts_the_others():
    one = Net()
    other = copy.deepcopy(one)
    wider = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 8))
    other.blocks = torch.nn.ModuleList([wider, *other.blocks])
    found = numel.compare(one, other)
    moved = {(change.before, change.after) for change in found.changes if change.kind == "moved"}
    assert moved == {(f"blocks.{i}", f"blocks.{i + 1}") for i in range(4)}
    assert {change.kind for change in found.changes} == {"moved", "added"}


def test_adapters_are_added_and_nothing_else_changes_but_what_they_freeze():
    peft = pytest.importorskip("peft")
    model = Net()
    adapted = peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(r=2, target_modules=r"blocks\.\d\.0"))
    found = numel.compare(model, adapted)
    assert {kind for kind, _ in kinds(found)} == {"added", "frozen"}
    added = found.totals[1].params - found.totals[0].params
    assert added == 4 * (2 * 8 + 8 * 2)


class Repeated(torch.nn.Module):
    """One layer that runs so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)
        self.times = times

    def forward(self, x: Any) -> Any:
        for _ in range(self.times):
            x = self.fc(x)
        return x


class Residual(torch.nn.Module):
    """The name of its child is that of a wrapper's."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Any) -> Any:
        return x + self.module(x)


class Twice(Residual):
    def forward(self, x: Any) -> Any:
        return self.module(self.module(x))


def test_a_layer_that_runs_twice_does_other_work():
    """4 · 4 products for each of two rows, once and twice."""
    found = numel.compare(Repeated(1), Repeated(2), inputs="f32[2,4]")
    assert {figure.key: figure.cells for figure in found.figures}["macs"] == (32, 64)
    assert (found.identical, found.changes) == (False, ())
    assert "The same modules and tensors, but these differ: MACs, FLOPs" in str(found)
    assert "No difference" not in str(found)
    for inputs in (None, "f32[2,4]"):
        assert numel.compare(Repeated(2), Repeated(2), inputs=inputs, backward=inputs is not None).identical


def test_two_forwards_that_stopped_at_the_same_place_are_not_called_identical():
    broken = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(9, 2))
    found = numel.compare(broken, copy.deepcopy(broken), inputs="f32[2,8]")
    assert not found.identical
    assert "No difference found in what is known of both." in str(found)
    assert numel.compare(broken, broken.state_dict(), inputs="f32[2,8]").identical  # a file has no such numbers


def test_a_parameter_that_is_a_view_of_a_larger_storage_holds_more_bytes():
    view, own = (torch.nn.Module() for _ in range(2))
    view.w = torch.nn.Parameter(torch.zeros(400)[:40])
    own.w = torch.nn.Parameter(torch.zeros(40))
    found = numel.compare(view, own)
    assert [totals.nbytes for totals in found.totals] == [1600, 160]
    assert not found.identical
    assert numel.compare(view, view.state_dict()).identical


def test_a_class_around_a_layer_that_computes_something_is_a_difference():
    def chain(first: Any) -> Any:
        return torch.nn.Sequential(first, torch.nn.ReLU())

    bare, residual, twice = (chain(each) for each in (
        torch.nn.Linear(4, 4), Residual(torch.nn.Linear(4, 4)), Twice(torch.nn.Linear(4, 4))
    ))  # fmt: skip
    assert kinds(numel.compare(bare, residual)) == [("added", "0"), ("moved", "0.module")]
    assert kinds(numel.compare(residual, twice)) == [("replaced", "0")]
    assert [change.after for change in numel.compare(bare, Residual(bare)).changes] == ["Residual"]
    assert numel.compare(residual, torch.nn.DataParallel(copy.deepcopy(residual))).identical


nn = torch.nn


class Gentle(nn.SmoothL1Loss):
    """A layer of torch with a setting of its own, and a constructor that does not name torch's."""

    def __init__(self, own: float = 3.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.own = own


@pytest.mark.parametrize(
    ("one", "other", "was", "now"),
    [
        (nn.LeakyReLU(0.1), nn.LeakyReLU(0.2), "negative_slope=0.1", "negative_slope=0.2"),
        (nn.Softmax(0), nn.Softmax(1), "dim=0", "dim=1"),
        (nn.Flatten(1), nn.Flatten(2), "start_dim=1", "start_dim=2"),
        (nn.GELU(), nn.GELU("tanh"), "approximate=none", "approximate=tanh"),
        (nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, padding_mode="reflect"), "padding_mode=zeros", "padding_mode=reflect"),
        (nn.Upsample(2), nn.Upsample(4), "size=2", "size=4"),
        (nn.Upsample(2), nn.Upsample(scale_factor=2), "scale_factor=None, size=2", "scale_factor=2.0, size=None"),
        (nn.Upsample(scale_factor=(1.5, 2)), nn.Upsample(scale_factor=(2, 2)), "scale_factor=(1.5, 2.0)",
         "scale_factor=(2.0, 2.0)"),
        (nn.PixelShuffle(2), nn.PixelShuffle(3), "upscale_factor=2", "upscale_factor=3"),
        (nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((None, 2)), "output_size=1", "output_size=(None, 2)"),
        (nn.BatchNorm1d(3), nn.BatchNorm1d(3, momentum=None), "momentum=0.1", "momentum=None"),
        (nn.BatchNorm1d(3), nn.BatchNorm1d(3, eps=0.5), "eps=1e-05", "eps=0.5"),
        (nn.Dropout(0.1), nn.Dropout(0.2), "p=0.1", "p=0.2"),
        (nn.MultiheadAttention(4, 2), nn.MultiheadAttention(4, 2, dropout=0.5), "dropout=0.0", "dropout=0.5"),
        (nn.SmoothL1Loss(beta=1.0), nn.SmoothL1Loss(beta=2.0), "beta=1.0", "beta=2.0"),
        (nn.KLDivLoss(), nn.KLDivLoss(log_target=True), "log_target=False", "log_target=True"),
        (nn.CTCLoss(), nn.CTCLoss(zero_infinity=True), "zero_infinity=False", "zero_infinity=True"),
        (nn.CrossMapLRN2d(3), nn.CrossMapLRN2d(5), "size=3", "size=5"),
        (nn.TransformerEncoderLayer(4, 2, 4), nn.TransformerEncoderLayer(4, 2, 4, activation="gelu"), "activation=relu",
         "activation=gelu"),
        (nn.TransformerDecoderLayer(4, 2, 4), nn.TransformerDecoderLayer(4, 2, 4, activation=torch.tanh),
         "activation=relu", "activation=tanh"),
        (Gentle(beta=1.0), Gentle(beta=2.0), "beta=1.0", "beta=2.0"),
    ],
)  # fmt: skip
def test_layers_of_other_settings_are_other_layers(one: Any, other: Any, was: str, now: str, tmp_path: Path):
    (change,) = numel.compare(one, other).changes
    name = type(one).__name__
    assert (change.kind, change.before, change.after) == ("replaced", f"{name}({was})", f"{name}({now})")
    numel.summary(one).save(tmp_path / "one.json")
    assert numel.compare(one, tmp_path / "one.json").identical


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((1, 1))), (nn.MaxPool2d(2), nn.MaxPool2d((2, 2))),
        (nn.Upsample(2), nn.Upsample((2, 2))), (nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=(2, 2))),
        (nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=(1, 1))),
    ],
)  # fmt: skip
def test_a_number_and_a_tuple_that_repeats_it_make_the_same_layer(one: Any, other: Any, tmp_path: Path):
    numel.summary(other).save(tmp_path / "other.json")
    assert not numel.compare(one, other).changes
    assert not numel.compare(one, tmp_path / "other.json").changes


def test_what_changes_no_value_or_is_seen_in_the_tensors_is_no_setting():
    assert numel.compare(nn.ReLU(), nn.ReLU(inplace=True)).identical
    assert numel.compare(nn.PReLU(init=0.25), nn.PReLU(init=0.5)).identical
    assert kinds(numel.compare(nn.MultiheadAttention(4, 2, kdim=3), nn.MultiheadAttention(4, 2, kdim=5))) == [
        ("reshaped", "k_proj_weight")
    ]
    assert numel.compare(Gentle(own=1.0), Gentle(own=2.0)).identical  # what a class adds to torch's is not known
    assert kinds(numel.compare(nn.LayerNorm(3), nn.LayerNorm(3, bias=False))) == [("removed", "bias")]


def test_a_resized_layer_says_its_other_settings():
    found = numel.compare(nn.Conv2d(3, 8, 3), nn.Conv2d(3, 16, 3, stride=2, dilation=2))
    assert [(change.kind, change.after) for change in found.changes] == [
        ("replaced", "Conv2d(dilation=(2, 2), stride=(2, 2))"), ("reshaped", (16, 3, 3, 3)), ("reshaped", (16,))
    ]  # fmt: skip
    assert {change.kind for change in numel.compare(nn.Conv2d(3, 8, 3), nn.Conv2d(3, 16, 5)).changes} == {"reshaped"}


def test_a_sequence_in_another_order_is_another_function():
    one = nn.Sequential(OrderedDict(fc=nn.Linear(4, 4), act=nn.ReLU(), out=nn.Linear(4, 2)))
    other = nn.Sequential(OrderedDict(act=one.act, fc=one.fc, out=one.out))
    for wrap in (lambda model: model, nn.DataParallel):
        (change,) = numel.compare(one, wrap(other), values=True).changes
        assert (change.kind, change.before, change.after) == ("moved", "fc, act", "act, fc")


def test_runs_take_nothing_that_is_for_a_forward(tmp_path: Path):
    with numel.monitor(nn.Linear(2, 2), tmp_path / "r.jsonl"):
        pass
    run = tmp_path / "r.jsonl"
    numel.compare(run, run)
    given: list[dict[str, Any]] = [
        {"mode": "real"}, {"backward": True}, {"loss": sum}, {"optimizer": "adamw"}, {"every_block": True},
        {"values": True}, {"metric": {"a": (1, 2)}}, {"inputs": "f32[1]"},
    ]  # fmt: skip
    for each in given:
        with pytest.raises(numel.errors.InputsError, match="compare: runs take no inputs"):
            numel.compare(run, run, **each)


def test_four_models_at_once():
    found = numel.compare(*(Net(n) for n in (1, 2, 3, 4)), metric={"top1": (0.5, 0.6, 0.55, 0.7)})
    table = found.document().tables[-1].to_dict()
    assert table["best"] == [True, True, False, True]
    assert len(found.changes_by_target) == 3


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def by_path(found: Any) -> dict[str, Any]:
    return {each.second: each for each in found.values[0]}


def test_two_checkpoints_that_differ_in_one_tensor(tmp_path: Path):
    from safetensors.torch import save_file

    tensors = {f"layers.{i}.weight": torch.randn(20, 30) for i in range(5)}
    save_file(tensors, tmp_path / "a.safetensors")
    save_file(tensors | {"layers.3.weight": tensors["layers.3.weight"] + 0.5}, tmp_path / "b.safetensors")
    found = numel.compare(tmp_path / "a.safetensors", tmp_path / "b.safetensors", values=True)
    assert found.changes == ()
    assert not found.identical
    assert [each.second for each in found.values[0] if not each.equal] == ["layers.3.weight"]
    changed = by_path(found)["layers.3.weight"]
    assert changed.max_abs == pytest.approx(0.5, abs=1e-6)
    assert changed.length == pytest.approx(0.5 * 600**0.5, rel=1e-5)  # 600 values that each moved by a half
    assert "4 equal, 0 close, 1 changed" in str(found)
    assert numel.compare(tmp_path / "a.safetensors", tmp_path / "a.safetensors", values=True).identical


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from numel.sources import differences, values

    for module in (differences, values):
        monkeypatch.setattr(module, "PIECE", 100)
    monkeypatch.setattr(values, "_MAPPED", 300)


def test_a_pair_of_tensors_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No read holds more than a piece, of whatever shape; and a file is mapped anew now and then."""
    from safetensors.torch import save_file

    from numel.sources import values

    small_pieces(monkeypatch)
    read: list[int] = []
    opened: list[object] = []
    of = values._Shard.read

    def watched(shard: Any, name: str, at: Any) -> Any:
        found = of(shard, name, at)
        read.append(found.numel())
        opened.append(shard.open())
        return found

    monkeypatch.setattr(values._Shard, "read", watched)
    one = {"a": torch.randn(30, 50), "b": torch.randn(1, 3, 7, 40), "c": torch.randn(2, 450), "d": torch.tensor(2.0),
           "e": torch.zeros(0, 3), "f": torch.randn(20, 10).t().contiguous()}  # fmt: skip
    apart = torch.outer(torch.arange(30.0) - 8, torch.arange(50.0) - 20)
    other = one | {"a": one["a"] + apart, "b": one["b"] * 2, "c": one["c"] + 1, "d": torch.tensor(3.0)}
    save_file(one, tmp_path / "a.safetensors")
    save_file(other, tmp_path / "b.safetensors")
    found = by_path(numel.compare(tmp_path / "a.safetensors", tmp_path / "b.safetensors", values=True))
    assert max(read) <= 100
    assert len({id(each) for each in opened}) > 2
    assert {path for path, each in found.items() if each.equal} == {"e", "f"}
    for path, each in found.items():
        a, b = (held[path].double().flatten() for held in (one, other))
        assert each.length == pytest.approx(float((b - a).norm()), rel=1e-6), path
        assert each.differing == int((a != b).sum())
    assert found["a"].rank == 1


def test_differences_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch):
    import numpy

    small_pieces(monkeypatch)
    one, other = torch.nn.Linear(30, 20), torch.nn.Linear(30, 20)
    other.weight.data = other.weight.data.t().contiguous().t()  # in another order in memory
    found = by_path(numel.compare(one, other, values=True))["weight"]
    a, b = (layer.weight.detach().double().numpy().ravel() for layer in (one, other))
    assert found.max_abs == pytest.approx(numpy.abs(b - a).max())
    assert found.max_rel == pytest.approx(numpy.abs(b - a).max() / numpy.abs(a).max())
    assert found.relative_length == pytest.approx(numpy.linalg.norm(b - a) / numpy.linalg.norm(a))
    assert found.cosine == pytest.approx(a @ b / numpy.linalg.norm(a) / numpy.linalg.norm(b))
    assert (found.differing, found.odd) == (600, 0)


@pytest.mark.parametrize(("rank", "expected"), [(1, 1), (3, 3), (200, None)])
def test_a_change_of_low_rank_is_told_from_one_of_all_directions(rank: int, expected: int | None):
    """B · A of orthonormal columns has `rank` equal singular values, all of which are needed for 99 %."""
    one = torch.nn.Linear(200, 220, bias=False)
    other = copy.deepcopy(one)
    left, right = (torch.linalg.qr(torch.randn(n, rank)).Q for n in (220, 200))
    state = torch.random.get_rng_state()
    other.weight.data += 0.01 * left @ right.T
    assert by_path(numel.compare(one, other, values=True))["weight"].rank == expected
    assert torch.equal(torch.random.get_rng_state(), state)


def test_values_that_are_no_numbers_differ_unless_both_are_the_same():
    one, other = torch.nn.Linear(3, 1, bias=False), torch.nn.Linear(3, 1, bias=False)
    one.weight.data = torch.tensor([[float("nan"), float("inf"), 1.0]])
    other.weight.data = torch.tensor([[float("nan"), float("-inf"), 1.0]])
    found = by_path(numel.compare(one, other, values=True))["weight"]
    assert (found.differing, found.odd, found.max_abs) == (1, 1, 0.0)


def test_values_are_saved_and_shown_again(tmp_path: Path):
    found = numel.compare(torch.nn.Linear(9, 9), torch.nn.Linear(9, 9), values=True)
    found.save(tmp_path / "c.json")
    assert numel.load(tmp_path / "c.json") == found
    assert "Values of every tensor" in found.text("html")


def test_what_has_no_values_is_said():
    with pytest.raises(numel.NumelError, match="values: torchvision:resnet18 has none"):
        numel.compare("torchvision:resnet18", "torchvision:resnet18", values=True)
    found = numel.compare(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3, device="meta"), values=True)
    assert "could not be compared" in str(found)


# ── values, and sources of other kinds ───────────────────────────────────────────────────────────────────────────────


def pair(one: dict[str, Any], other: dict[str, Any]) -> tuple[Any, ...]:
    found = numel.compare(one, other, values=True)
    return found.identical, *found.values[0]


def test_integers_are_compared_as_integers():
    """2⁶⁰ and 2⁶⁰ + 1 are one double."""
    same, difference = pair({"n": torch.tensor([2**60, 5])}, {"n": torch.tensor([2**60 + 1, 5])})
    assert not same
    assert difference.differing == 1


def test_values_whose_squares_are_beyond_doubles_keep_their_lengths():
    """(1, 1) → (2, 1) changes by 1 beside a length of √2, at 1e200 as at 1e-200."""
    for scale in (1e200, 1e-200):
        one = torch.tensor([1.0, 1.0], dtype=torch.float64) * scale
        other = torch.tensor([2.0, 1.0], dtype=torch.float64) * scale
        _, difference = pair({"w": one}, {"w": other})
        assert difference.relative_length == pytest.approx(0.5**0.5)
        assert difference.length == pytest.approx(scale)


@pytest.mark.parametrize("shape", [(8, 8), (32, 32), (60, 512)])
def test_noise_is_of_no_low_rank(shape: tuple[int, int]):
    generator = torch.Generator().manual_seed(0)
    _, difference = pair({"w": torch.zeros(shape)}, {"w": torch.randn(shape, generator=generator)})
    assert difference.rank is None


def test_a_tensor_that_became_nan_comes_first():
    names = [f"t{i}" for i in range(30)]
    other = {name: torch.full((4,), 1.01) for name in names} | {"t17": torch.full((4,), float("nan"))}
    found = numel.compare({name: torch.ones(4) for name in names}, other, values=True)
    table = next(table for table in found.document().tables if table.title == "Values")
    assert table.rows[0][0] == "t17"
    assert "1 with values that are NaN or infinite" in table.caption


def test_values_that_can_not_be_read_are_not_called_equal():
    found = numel.compare(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, device="meta"), values=True)
    assert not found.identical
    assert "could not be compared" in str(found)
    assert "The values that were read are equal" not in str(found)


def test_a_model_and_its_state_dict_are_identical():
    model = Net()
    assert numel.compare(model, model.state_dict(), values=True).identical
    assert numel.compare(model, Net().state_dict(), values=True).changes == ()


def test_a_head_that_a_file_holds_apart_is_read(tmp_path: Path):
    from safetensors.torch import save_file

    model = Net()
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    state["head.weight"] += 1
    save_file(state, str(tmp_path / "apart.safetensors"))
    found = numel.compare(model, tmp_path / "apart.safetensors", values=True)
    assert ("untied", "head.weight") in kinds(found)
    assert [each.second for each in found.values[0] if not each.equal] == ["head.weight"]


def test_a_wrapper_in_the_middle_is_seen_through():
    one, other = Net(), Net()
    other.blocks = torch.nn.DataParallel(other.blocks)
    assert numel.compare(one, other).changes == ()


def test_a_pruned_model_shows_its_masks_and_a_quantised_one_its_types():
    from torch.nn.utils import prune

    pruned = Net()
    prune.l1_unstructured(pruned.blocks[0][0], "weight", 0.5)
    found = numel.compare(Net(), pruned)
    assert set(kinds(found)) == {
        ("removed", "blocks.0.0.weight"), ("added", "blocks.0.0.weight_orig"), ("added", "blocks.0.0.weight_mask")
    }  # fmt: skip
    halved = Net().to(torch.bfloat16)
    floats = {name for name, tensor in halved.named_parameters()} | {
        name for name, tensor in halved.named_buffers() if tensor.is_floating_point()
    }
    found = numel.compare(Net(), halved)
    assert {("retyped", name) for name in floats} <= set(kinds(found))
    assert {change.kind for change in found.changes} == {"retyped"}


def test_a_class_that_runs_in_order_as_sequential_does_is_one_in_another_order():
    from collections import OrderedDict

    class Block(torch.nn.Sequential):
        pass

    class Own(Block):
        def forward(self, x: Any) -> Any:
            return self.act(self.norm(self.conv(x)))

    for kind, moved in ((Block, ["moved"]), (Own, [])):
        one = kind(OrderedDict(conv=torch.nn.Conv2d(4, 4, 1), norm=torch.nn.BatchNorm2d(4), act=torch.nn.ReLU()))
        other = kind(OrderedDict(norm=one.norm, act=one.act, conv=one.conv))
        assert [change.kind for change in numel.compare(one, other).changes] == moved


def test_a_model_that_fsdp2_shards_is_the_same(process_group: None):
    from torch.distributed.fsdp import fully_shard

    one = Net()
    other = copy.deepcopy(one)
    for block in other.blocks:
        fully_shard(block)
    fully_shard(other)
    assert numel.compare(one, other).changes == ()
    assert numel.compare(other, one).changes == ()
    other.blocks[0][1].eps = 0.5
    assert kinds(numel.compare(one, other)) == [("replaced", "blocks.0.1")]


def test_padding_with_nan_is_the_same_padding(tmp_path: Path):
    model = torch.nn.Sequential(torch.nn.ConstantPad1d(1, float("nan")))
    numel.summary(model).save(tmp_path / "r.json")
    assert numel.compare(tmp_path / "r.json", model).identical


def test_what_ran_in_another_mode_is_said():
    one = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5))
    found = numel.compare(one, copy.deepcopy(one).eval(), inputs="f32[2,3]")
    (said,) = [block for block in found.document().blocks if getattr(block, "code", "") == "other-mode"]
    assert "in evaluation mode, Sequential (1) in training mode" in said.text
    assert "other-mode" not in str(numel.compare(one, copy.deepcopy(one), inputs="f32[2,3]"))


def test_what_ran_with_other_inputs_is_said(tmp_path: Path):
    numel.summary(Net(), "i64[2] < 10").save(tmp_path / "r.json")
    found = numel.compare(tmp_path / "r.json", Net(), inputs="i64[64] < 10")
    assert "ran with other inputs than the first" in str(found)


@pytest.mark.parametrize(
    "wrong", [{"mode": "fake"}, {"inputs": "f32[1]"}, {"backward": True}, {"metric": {"params": (1, 2)}},
              {"metric": {"loss": (1.0, float("nan"))}}, {"metric": {"loss": (1, "a")}}, {"metric": {"loss": 1.0}},
              {"metric": {"loss": (1, 1j)}}, {"metric": {"loss": (1, 10**400)}}, {"metric": {"loss": (1.0,)}},
              {"metric": {"params:min": (1, 2)}}, {"metric": {":min": (1, 2)}},
              {"metric": {"loss": (1, 2), "loss:min": (1, 2)}}]
)  # fmt: skip
def test_what_no_target_can_take_is_refused(wrong: dict[str, Any]):
    state = torch.nn.Linear(2, 2).state_dict()
    with pytest.raises(numel.errors.InputsError):
        numel.compare(state, state, **wrong)


def test_four_models_are_a_scatter_and_a_table_of_trade_offs():
    found = numel.compare(*(Net(n) for n in (1, 2, 3, 4)), metric={"accuracy": (0.6, 0.7, 0.65, 0.8)})
    assert found.document().tables[-1].to_dict()["best"] == [True, True, False, True]
    chart = found.chart("scatter")
    assert (chart.x, chart.y) == ("params", ("accuracy",))


def test_a_forward_that_stopped_is_said_and_proves_nothing():
    broken = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(9, 2))
    found = numel.compare(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 2)), broken, inputs="f32[2,8]")
    assert "the forward stopped in 1 (Linear)" in " ".join(str(found).split())
    assert found.failing(["macs < -5%"]) == []
    assert len(found.undecided(["macs < -5%", "macs > +1%"])) == 2


def test_buffers_that_no_file_holds_make_the_file_a_lower_bound():
    model = Net()
    model.register_buffer("mask", torch.zeros(100), persistent=False)
    found = numel.compare(model.state_dict(), model)
    assert found.changes == ()
    assert found.undecided(["nbytes > +1%"])

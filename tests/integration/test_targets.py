"""Everything a user can point at: what it resolves to, what is left behind (nothing), and the line when it is wrong."""

from __future__ import annotations

import functools
import json
import logging
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from numel.errors import MissingExtra, NumelError, TargetError  # noqa: E402
from numel.facts import Snapshot  # noqa: E402
from numel.sources import live, models  # noqa: E402
from numel.sources.targets import resolve  # noqa: E402

NETS = '''
import random
import sys
import warnings
from dataclasses import dataclass

import torch
from blocks import Block

print("loading")

@dataclass
class Settings:
    width: int = 4

class Net(torch.nn.Module):
    def __init__(self, width=4, depth=1):
        super().__init__()
        print("building", random.random(), torch.rand(1, device="cpu"))
        self.layers = torch.nn.ModuleList(Block(width) for _ in range(depth))

class Rates(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rates = [each.item() for each in torch.linspace(0, 1, 3)]
        self.scale = self.again = torch.nn.Parameter(torch.tensor(self.rates), requires_grad=False)

class Values(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(int(torch.ones(3).sum()), 3)

class Picky(torch.nn.Module):
    def __init__(self):
        super().__init__()
        if torch.empty(1).device.type == "meta":
            raise RuntimeError("not on meta")
        self.lstm = torch.nn.LSTM(3, 5)
        self.fc = torch.nn.Linear(3, 2)
        self.tied = self.fc.weight

class Broken(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.nn.Linear("3", 4)

class Outer:
    class Inner(torch.nn.Linear):
        pass

def number():
    return 3

def drops_defaults():
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_default_device("meta")
    sys.path.insert(0, "/nowhere")
    warnings.simplefilter("ignore")
    torch.manual_seed(1)
    random.seed(1)
    return torch.nn.Linear(2, 2)

built = torch.nn.Linear(2, 2)
'''
BLOCKS = "import torch\nclass Block(torch.nn.Linear):\n    def __init__(self, n): super().__init__(n, n)\n"


@pytest.fixture
def nets(tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "blocks.py").write_text(BLOCKS)
    return tmp_path / "nets.py"


def params(target: str, **options: Any) -> int:
    model, _ = models.build(target, options=options)
    return live.snapshot(model).totals.params


@pytest.fixture
def save() -> Callable[..., None]:
    return pytest.importorskip("safetensors.torch").save_file


def fails(target: Any, **how: Any) -> str:
    with pytest.raises(NumelError) as caught:
        resolve(target, **how)
    text = str(caught.value)
    assert text.isprintable()
    return text


# ── live objects and files ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_live_module_and_a_snapshot_are_themselves():
    module = torch.nn.Linear(2, 2)
    assert resolve(module).model is module
    s = Snapshot()
    assert resolve(s).snapshot is s


def test_a_saved_result_is_told_from_a_configuration(tmp_path):
    path = tmp_path / "result.json"
    path.write_text('{"schema": 1, "kind": "report", "facts": {}}')
    assert resolve(path).saved == path


def test_a_safetensors_file_and_its_directory_are_snapshots(tmp_path, save):
    save({"fc.weight": torch.zeros(3, 2), "fc.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    whole = resolve(tmp_path).snapshot
    assert whole.totals.params == 9
    assert resolve(str(tmp_path / "model.safetensors")).snapshot.tensors == whole.tensors


@pytest.mark.parametrize("target", [3, None, b"x", ["a"], torch.nn.Linear, torch.zeros(2)])
def test_what_is_no_target_is_told_what_is(target):
    assert "expected a torch.nn.Module" in fails(target)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("modle.safetensors", "did you mean model.safetensors?"),
        ("resnet50", "write 'torchvision:resnet50'"),
        ("org/name", "write 'hf:org/name'"),
        ("", ": expected a torch.nn.Module"),
        ("https://example.org/m.safetensors", "download the file"),
        ("empty", "a directory without config.json"),
        ("/dev/null", "expected a file"),
    ],
)
def test_a_name_that_means_nothing_is_told_what_was_probably_meant(tmp_path, monkeypatch, target, says):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("model.safetensors").touch()
    assert says in fails(target)


@pytest.mark.parametrize(
    "target",
    ["a\0b", "x" * 5000, "a\nb", "~nobody", ":", ":a", "a:", "a.:b", "torch..nn:Linear", "b.py:", "a\nb.py:Net",
     "\0.py:Net", "x" * 5000 + ".py:Net", "hf:", "hf:a\nb", "hf:\0", "hf:../x", "hf:a/b/c", "hf:" + "x/" * 3000,
     "torchvision:a\nb", "timm:\n"],
    ids=lambda target: ascii(target[:16]),
)  # fmt: skip
def test_a_name_of_any_characters_is_refused_in_one_line(target, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fails(target)


def test_a_home_directory_is_written_as_in_a_shell(nets, monkeypatch):
    monkeypatch.setenv("HOME", str(nets.parent))
    assert live.snapshot(resolve("~/nets.py:Net").model).totals.params == 20
    assert f"no file {nets.parent}/nest.py; did you mean nets.py?" in fails("~/nest.py:Net")


def test_the_shards_of_one_model_are_one_snapshot(tmp_path, save):
    save({"a.weight": torch.zeros(3, 2)}, tmp_path / "1.safetensors")
    save({"b.weight": torch.zeros(4)}, tmp_path / "2.safetensors")
    index = {"weight_map": {"a.weight": "1.safetensors", "b.weight": "2.safetensors"}}
    for name in ("model.safetensors.index.json", "renamed.json"):
        (tmp_path / name).write_text(json.dumps(index))
        assert resolve(tmp_path / name).snapshot.totals.params == 10
    assert resolve(tmp_path).snapshot.totals.params == 10


def test_options_need_something_to_build(tmp_path, save):
    save({"w": torch.zeros(2)}, tmp_path / "m.safetensors")
    for target in (torch.nn.Linear(1, 1), Snapshot(), tmp_path / "m.safetensors"):
        assert "no options" in fails(target, options={"a": 1})


# ── user code ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_class_of_a_file_is_built_on_meta_with_options(nets):
    model, notes = models.build(f"{nets}:Net", options={"width": 8, "depth": 3})
    assert notes == ()
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert sum(p.numel() for p in model.parameters()) == 3 * 72
    assert model.training


def test_nothing_of_the_process_differs_afterwards(nets, capsys):
    import numpy
    from torch.utils import _device

    def state() -> tuple[Any, ...]:
        return (random.getstate(), torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(),
                torch.get_default_dtype(), torch.get_default_device(), torch._C._len_torch_function_stack(),
                getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None), torch.is_grad_enabled(), list(sys.path),
                list(warnings.filters), sys.stdout, sys.dont_write_bytecode, _device.CURRENT_DEVICE)  # fmt: skip

    before, modules, path = state(), set(sys.modules), sys.path
    for name in ("Net", "drops_defaults", "Rates", "Values", "Picky"):
        models.build(f"{nets}:{name}")
    with pytest.raises(TargetError):
        models.build(f"{nets}:Broken")
    assert state() == before
    assert sys.path is path
    assert not {"nets", "blocks"} & (set(sys.modules) - modules)
    assert not (nets.parent / "__pycache__").exists()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "loading" in printed.err
    assert "building" in printed.err


def test_two_folders_with_neighbours_of_one_name_do_not_meet(tmp_path):
    for name, width in (("one", 2), ("two", 3)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "blocks.py").write_text(f"WIDTH = {width}")
        (tmp_path / name / "net.py").write_text(
            "import torch, blocks\ndef net(): return torch.nn.Linear(blocks.WIDTH, 1, bias=False)"
        )
    assert [params(f"{tmp_path / name / 'net.py'}:net") for name in ("one", "two")] == [2, 3]


def test_a_constructor_that_reads_values_off_a_constant_is_built_on_meta(nets):
    """Drop rates along the depth, as many vision models make them."""
    model, notes = models.build(f"{nets}:Rates")
    assert (model.rates, notes) == ([0.0, 0.5, 1.0], ())
    assert model.scale is model.again
    assert [(p.device.type, p.shape, p.requires_grad) for p in model.parameters()] == [("meta", (3,), False)]


def test_a_constructor_that_reads_computed_values_is_built_on_the_cpu_and_noted(nets):
    model, notes = models.build(f"{nets}:Values")
    assert model.fc.in_features == 3
    assert [(n.code, n.level) for n in notes] == [("built-on-cpu", "info")]
    assert "does not run on the meta device (" in notes[0].text


def test_a_model_built_on_fake_tensors_ends_on_meta_and_stays_tied(nets):
    model, notes = models.build(f"{nets}:Picky")
    assert [(n.code, n.level) for n in notes] == [("built-on-fake", "info")]
    assert "RuntimeError: not on meta" in notes[0].text
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert model.tied is model.fc.weight
    assert all(weight.is_meta for weight in model.lstm._flat_weights)
    assert live.snapshot(model).totals.params == 4 * 5 * (3 + 5 + 2) + 4 * 2


def test_functions_nested_names_and_built_modules_are_targets(nets):
    assert params(f"{nets}:Outer.Inner", in_features=3, out_features=2) == 8
    assert params(f"{nets}:built") == 6
    assert params("torch.nn:Linear", in_features=3, out_features=2) == 8


def test_a_file_named_like_a_library_does_not_replace_it(tmp_path):
    (tmp_path / "types.py").write_text("def net():\n    from torch.nn import Linear\n    return Linear(1, 1)")
    assert params(f"{tmp_path / 'types.py'}:net") == 2
    assert sys.modules["types"] is types


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Nte", "did you mean Net"),
        ("Broken", "TypeError"),
        ("number", "returned int"),
        ("Outer.Iner", "did you mean Inner"),
        ("Settings", "returned Settings"),
    ],
)
def test_user_code_that_does_not_give_a_model_is_one_line(nets, name, expected):
    text = fails(f"{nets}:{name}")
    assert expected in text
    if name == "Broken":
        assert "nets.py:" in text


def test_options_that_do_not_fit_name_the_signature(nets):
    assert "width=4, depth=1" in fails(f"{nets}:Net", options={"breadth": 2})
    assert "built already" in fails(f"{nets}:built", options={"a": 2})


@pytest.mark.parametrize(
    ("text", "target", "says"),
    [
        ("def (", "net.py:Net", "net.py:1"),
        ("1 / 0", "net.py:Net", "net.py:1"),
        ("import sys; sys.exit(2)", "net.py:Net", "net.py:1"),
        ("import nonesuch", "net.py:Net", "net.py:1"),
        ("", "nte.py:Net", "did you mean net.py"),
        ("class A: pass\ndef b(): pass", "net.py", "it defines A, b"),
        ("", "nonesuch.mod:fn", "no module 'nonesuch'"),
        ("", "torch.nn:Linaer", "did you mean Linear"),
    ],
)
def test_code_that_cannot_be_loaded_is_one_line(tmp_path, monkeypatch, text, target, says):
    (tmp_path / "net.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert says in fails(target)


def test_the_working_directory_is_searched_for_modules(nets, monkeypatch):
    monkeypatch.chdir(nets.parent)
    monkeypatch.delitem(sys.modules, "blocks", raising=False)
    try:
        assert params("blocks:Block", n=2) == 6
    finally:
        sys.modules.pop("blocks", None)
    assert params("nets.py:Net") == 20


# ── libraries ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def torchvision():
    return pytest.importorskip("torchvision")


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet50", {}, 25_557_032),
        ("vit_b_16", {}, 86_567_656),
        ("googlenet", {"aux_logits": False}, 6_624_904),
        ("r3d_18", {}, 33_371_472),
        ("fcn_resnet50", {"aux_loss": True}, 35_322_218),
    ],
)
def test_torchvision_models_are_built_on_meta_in_eval_mode(torchvision, name, options, expected):
    """As many parameters as torchvision publishes for its weights, of which none is loaded."""
    model, notes = models.build(f"torchvision:{name}", options=options)
    assert notes == ()
    assert not model.training
    assert all(p.is_meta for p in model.parameters())
    assert live.snapshot(model).totals.params == expected
    assert params(f"torchvision:{name}", **options, num_classes=10, weights=None) < expected


def test_torchvision_errors_are_one_line(torchvision):
    assert "did you mean resnet50" in fails("torchvision:resnet5O")
    assert "would load weights" in fails("torchvision:resnet50", options={"weights": "DEFAULT"})
    assert "TypeError" in fails("torchvision:resnet18", options={"nonsense": 1})


def test_timm_models(torchvision):
    pytest.importorskip("timm")
    model, _ = models.build("timm:vit_base_patch16_224")
    assert live.snapshot(model).totals.params == 86_567_656
    assert not model.training
    assert all(p.is_meta for p in model.parameters())
    # a tag names weights of the same architecture; 1000 classes less 10 are 990 rows of 2048 and a bias
    assert params("timm:resnet50.a1_in1k") - params("timm:resnet50", num_classes=10) == 990 * 2049
    assert "did you mean resnet50" in fails("timm:resnet50x")
    assert "would load weights" in fails("timm:resnet50", options={"pretrained": True})
    assert params("timm:resnet50", pretrained=False) == 25_557_032


@pytest.mark.parametrize(
    ("library", "target", "install"),
    [("timm", "timm:resnet50", "pip install timm"), ("transformers", "hf:examples/resnet-50", r"numel\[hub\]")],
)
def test_a_missing_library_says_how_to_install_it(monkeypatch, library, target, install):
    """timm and torchvision are in no extra: their wheels want torch builds of their own."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises(MissingExtra, match=install):
        models.build(target)


def test_a_library_that_lacks_one_of_its_own_names_that_one(monkeypatch, tmp_path):
    """Reinstalling timm would not mend it."""
    (tmp_path / "timm.py").write_text("import nonesuch")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [each for each in sys.modules if each.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    assert fails("timm:resnet50") == "timm needs nonesuch, which is not installed"
    (tmp_path / "timm.py").write_text("raise RuntimeError('no operator')")
    assert "RuntimeError: no operator); was it built for another torch?" in fails("timm:resnet50")


TINY = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}  # fmt: skip
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **TINY}
LLAMA_LAYER = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32  # q and o, k and v, three of the MLP, two norms
LLAMA_PARAMS = 3 * LLAMA_LAYER + 32 + 2 * 99 * 32  # and a norm, an embedding and a head

OWN_MODEL = """
import torch
from transformers import PretrainedConfig, PreTrainedModel

class Mine(PretrainedConfig):
    model_type = "mine"

    def __init__(self, width=1, **rest):
        self.width = width
        super().__init__(**rest)

class Model(PreTrainedModel):
    config_class = Mine

    def __init__(self, config):
        super().__init__(config)
        self.fc = torch.nn.Linear(config.width, 2)
        self.post_init()
"""


@pytest.fixture
def configuration(tmp_path):
    pytest.importorskip("transformers")

    def write(**fields: Any) -> Path:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(fields))
        return path

    return write


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_of_a_configuration_count_once(configuration, tied):
    path = configuration(**LLAMA, tie_word_embeddings=tied, torch_dtype="bfloat16")
    model, notes = models.build(f"hf:{path}")
    s = live.snapshot(model)
    assert s.totals.params == LLAMA_PARAMS - (99 * 32 if tied else 0)
    assert s.totals.tied == (99 * 32 if tied else 0)
    assert notes == ()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert not model.training
    assert model.config._attn_implementation == "sdpa"


def test_a_configuration_is_reached_by_path_directory_and_scheme(configuration):
    path = configuration(**LLAMA)
    targets = (path, path.parent, str(path), f"hf:{path.parent}")
    assert {live.snapshot(resolve(target).model).totals.params for target in targets} == {LLAMA_PARAMS}


def test_options_override_fields_and_lists_per_layer_follow(configuration):
    path = configuration(
        model_type="qwen2", architectures=["Qwen2ForCausalLM"], layer_types=["full_attention"] * 3, **TINY
    )
    model, _ = models.build(f"hf:{path}", options={"num_hidden_layers": 5, "dtype": "float16"})
    assert len(model.model.layers) == 5
    assert model.dtype == torch.float16
    assert "did you mean num_hidden_layers" in fails(path, options={"num_hiden_layers": 2})
    assert "field 'num_hidden_layers'" in fails(path, options={"num_hidden_layers": "5"})
    eager, _ = models.build(f"hf:{path}", options={"attn_implementation": "eager"})
    assert eager.config._attn_implementation == "eager"


def test_options_know_the_names_that_a_configuration_maps(configuration):
    path = configuration(
        model_type="gpt2", architectures=["GPT2LMHeadModel"], n_layer=3, n_embd=32, n_head=4, vocab_size=99
    )
    model, _ = models.build(f"hf:{path}", options={"num_hidden_layers": 1})
    assert len(model.transformer.h) == 1
    assert live.snapshot(model).totals.tied == 99 * 32


def test_options_reach_into_nested_configurations(configuration):
    path = configuration(model_type="llava", architectures=["LlavaForConditionalGeneration"],
                         text_config={"model_type": "llama", **TINY},
                         vision_config={"model_type": "clip_vision_model", "hidden_size": 32, "num_hidden_layers": 2,
                                        "num_attention_heads": 2, "intermediate_size": 64})  # fmt: skip
    model, _ = models.build(f"hf:{path}", options={"text_config.num_hidden_layers": 1})
    assert len(model.model.language_model.layers) == 1
    for option in ("txt_config.num_hidden_layers", "vocab_size.x", "a..b", "."):
        assert "no nested configuration" in fails(path, options={option: 1})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model_type": "bert"}, "BertForMaskedLM"),
        ({"model_type": "llama"}, "LlamaForCausalLM"),
        ({"model_type": "llama", "architectures": 3}, "LlamaForCausalLM"),
        ({"model_type": "llama", "architectures": "LlamaModel"}, "LlamaForCausalLM"),
        ({"model_type": "llama", "architectures": [None, "NoSuch"]}, "LlamaForCausalLM"),
    ],
)
def test_a_configuration_without_a_list_of_known_classes_gets_a_head_and_a_note(configuration, fields, expected):
    model, notes = models.build(f"hf:{configuration(**fields, **TINY)}")
    assert (type(model).__name__, [n.code for n in notes]) == (expected, ["head-guessed"])


@pytest.mark.parametrize(
    ("architecture", "classes", "head"),
    [
        # a pooler of 32 × 32, then 7 rows of a classifier
        ("BertForSequenceClassification", 7, 33 * 32 + 7 * 33),
        ("BertForTokenClassification", 5, 5 * 33),
        # start and end of an answer
        ("BertForQuestionAnswering", 2, 2 * 33),
        # a dense layer with its norm, and a bias of the vocabulary; the matrix is the embedding's
        ("BertForMaskedLM", 2, 33 * 32 + 64 + 99),
    ],
)
def test_the_head_is_the_one_that_the_architecture_names(configuration, architecture, classes, head):
    def count(name: str) -> int:
        labels = {str(i): f"label {i}" for i in range(classes)}
        path = configuration(model_type="bert", architectures=[name], id2label=labels, **TINY)
        return live.snapshot(resolve(path).model).totals.params

    pooler = 33 * 32
    assert count(architecture) == count("BertModel") - pooler + head


def test_a_configuration_of_the_first_years_is_known_by_its_class(configuration):
    model, notes = models.build(f"hf:{configuration(architectures=['BertModel'], **TINY)}")
    assert (type(model).__name__, notes) == ("BertModel", ())


def test_quantisation_that_is_not_applied_is_said(configuration):
    packed = {"quant_method": "gptq", "bits": 4}
    path = configuration(**LLAMA, quantization_config=packed)
    assert [(n.code, n.level) for n in models.build(f"hf:{path}")[1]] == [("quantization-not-applied", "warning")]


def test_remote_code_runs_only_when_it_is_trusted(configuration):
    auto = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    path = configuration(model_type="mine", auto_map=auto)
    (path.parent / "code.py").write_text("raise SystemError('it ran')")
    assert "trust_remote_code=True" in fails(path)
    path = configuration(**LLAMA, auto_map=auto)
    assert [n.code for n in models.build(f"hf:{path}")[1]] == ["remote-code-not-run"]


def test_trusted_remote_code_builds_its_model(configuration, monkeypatch, tmp_path):
    import transformers

    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "cache"))
    auto = {"AutoConfig": "code.Mine", "AutoModel": "code.Model"}
    path = configuration(model_type="mine", auto_map=auto, width=3)
    (path.parent / "code.py").write_text(OWN_MODEL)
    resolved = resolve(path, trust_remote_code=True, options={"width": 5})
    assert live.snapshot(resolved.model).totals.params == 12


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model_type": "lama"}, "did you mean llama"),
        ({"vocab_size": 3}, "no model_type"),
        ({"architecture": "resnet50"}, "write 'timm:resnet50'"),
        ({**LLAMA, "num_attention_heads": 0}, "makes nothing of it"),
        ({**LLAMA, "architectures": ["pipeline"]}, "building it raised"),
        ({**LLAMA, "architectures": ["BertModel"]}, "building it raised"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_one_line(configuration, fields, says):
    assert says in fails(configuration(**fields))


@pytest.mark.parametrize(("text", "says"), [("[1]", "no JSON object"), ("{", "not JSON"), ("\xff", "not JSON")])
def test_a_config_json_that_is_no_configuration_is_one_line(tmp_path, text, says):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    assert says in fails(tmp_path)
    assert "no hub name" in fails(f"hf:{tmp_path}/nothing")


def test_a_class_that_transformers_cannot_import_is_one_line(configuration, monkeypatch):
    """Its classes are imported when they are first asked for, and then miss what is not installed."""
    import transformers

    finds = type(transformers).__getattr__

    def lacks(self: object, name: str) -> object:
        if name == "LlamaForNothing":
            raise ModuleNotFoundError("Could not import it.\nAre this object's requirements defined correctly?")
        return finds(self, name)

    monkeypatch.setattr(type(transformers), "__getattr__", lacks)
    path = configuration(**{**LLAMA, "architectures": ["LlamaForNothing"]})
    assert "(ModuleNotFoundError: Could not import it. Are this" in fails(path)


# ── the hub ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TALKATIVE = ("transformers", "huggingface_hub", "httpx", "httpx2", "urllib3")


class Hub(ThreadingHTTPServer):
    """A hub on this machine with one model, whose answers can be late or be errors of the first few requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, str] = {"config.json": json.dumps(LLAMA)}
        self.asked: list[tuple[str, str]] = []
        self.delay = 0.0
        self.errors: list[tuple[int, str]] = []


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        name = self.path.partition("/org/name/resolve/")[2].partition("/")[2]
        self.server.asked.append((self.command, name))
        time_passes.wait(self.server.delay)
        missing = [] if name in self.server.files else [(404, "EntryNotFound")]
        status, error = (self.server.errors[:1] or missing or [(200, "")])[0]
        del self.server.errors[:1]
        body = self.server.files.get(name, "").encode() if status == 200 else b""
        self.send_response(status)
        for header, value in {"X-Repo-Commit": "a" * 40, "ETag": f'"{len(body)}"', "X-Error-Code": error}.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


time_passes = threading.Event()  # never set: it waits where time.sleep is replaced


@pytest.fixture
def library(monkeypatch, tmp_path) -> Any:
    """huggingface_hub, online and with an empty cache."""
    pytest.importorskip("transformers")
    library = pytest.importorskip("huggingface_hub")
    library.utils.build_hf_headers()  # while it is offline: once a process it fetches a list of its own for them
    monkeypatch.setattr(library.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(library.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return library


@pytest.fixture
def hub(library, monkeypatch) -> Iterator[Hub]:
    monkeypatch.setenv("NO_PROXY", "*")
    library.close_session()
    with Hub() as server:
        place = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(library.constants, "ENDPOINT", place)
        monkeypatch.setattr(
            library.constants, "HUGGINGFACE_CO_URL_TEMPLATE", place + "/{repo_id}/resolve/{revision}/{filename}"
        )
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield server
        server.shutdown()
        serving.join()
    library.close_session()


@pytest.fixture
def sleeps(monkeypatch) -> list[float]:
    """The seconds that anybody asked to wait, of which none is waited."""
    asked: list[float] = []
    monkeypatch.setattr(time, "sleep", asked.append)
    return asked


def vanish(monkeypatch: pytest.MonkeyPatch, error: OSError) -> list[str]:
    """No host can be reached from now on; the hosts that somebody tried are listed."""
    tried: list[str] = []

    def fails_to_connect(host: Any, *_: object, **__: object) -> None:
        tried.append(host)
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fails_to_connect)
    return tried


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "no such name"),
        ConnectionRefusedError(111, "refused"),
        OSError(113, "no route to it"),
        TimeoutError("no answer to connecting"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_hub_that_cannot_be_reached_is_tried_once_and_leaves_one_line_and_no_trace(
    library, monkeypatch, sleeps, caplog, tmp_path, error
):
    def state() -> tuple[Any, ...]:
        return dict(os.environ), dict(vars(library.constants)), [logging.getLogger(each).level for each in TALKATIVE]

    tried, before = vanish(monkeypatch, error), state()
    with caplog.at_level(logging.INFO):
        text = fails("hf:org/name")
    assert f": {error})" in text
    assert "could not be reached" in text
    assert "nothing of it is cached; name a local config.json" in text
    assert len(tried) == 1
    assert sleeps == []
    assert caplog.records == []
    assert state() == before
    assert not (tmp_path / "cache").exists()


def test_a_command_about_a_hub_that_cannot_be_reached_prints_one_line(library, tmp_path):
    """Nothing listens on port 9. What the library's own handler writes to stderr is seen only from outside."""
    place = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path), "NO_PROXY": "*"}
    command = [sys.executable, "-m", "numel", "count", "hf:org/name"]
    done = subprocess.run(command, env={**os.environ, **place}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"numel: hf:org/name: the hub could not be reached \(.*\) and nothing of it .*\n", done.stderr)


def test_offline_mode_is_named_as_the_reason(library, monkeypatch):
    monkeypatch.setattr(library.constants, "HF_HUB_OFFLINE", True)
    assert re.search(r"hub could not be reached \(.*HF_HUB_OFFLINE.*nothing of it is cached", fails("hf:org/name"))


def test_a_model_of_the_hub_is_its_config_json_and_no_other_file(hub, sleeps, caplog):
    with caplog.at_level(logging.INFO):
        assert params("hf:org/name") == LLAMA_PARAMS
    assert {name for _, name in hub.asked} == {"config.json"}
    assert [command for command, _ in hub.asked].count("GET") == 1
    assert (sleeps, caplog.records) == ([], [])


def test_what_was_fetched_is_used_where_the_hub_can_no_longer_be_reached(hub, library, monkeypatch, sleeps):
    assert params("hf:org/name") == LLAMA_PARAMS
    library.close_session()
    tried = vanish(monkeypatch, socket.gaierror(socket.EAI_NONAME, "no such name"))
    assert params("hf:org/name") == LLAMA_PARAMS
    assert (len(tried), sleeps) == (1, [])


def test_a_slow_hub_is_waited_for(hub, library, monkeypatch):
    """It takes longer than the first tries are given; the library's last one has a minute."""
    hub.delay = 0.3
    monkeypatch.setattr(library, "get_hf_file_metadata", functools.partial(library.get_hf_file_metadata, timeout=0.1))
    monkeypatch.setattr(library.constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
    assert params("hf:org/name") == LLAMA_PARAMS


def test_a_busy_hub_is_asked_again_in_silence(hub, sleeps, caplog):
    hub.errors = [(503, "")] * 4
    assert params("hf:org/name") == LLAMA_PARAMS
    assert len(sleeps) == 2  # after the third answer and the fourth: the first two tries are not repeated by themselves
    assert caplog.records == []


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "GatedRepo", "accept its terms on the hub"),
        (401, "RepoNotFound", "not on the hub, or private"),
        (404, "EntryNotFound", "no config.json on the hub"),
        (503, "", "503 Service Unavailable"),
    ],
)
def test_what_the_hub_answers_is_one_line_with_the_next_step(hub, sleeps, caplog, status, code, says):
    hub.errors = [(status, code)] * 20
    assert says in fails("hf:org/name")
    assert caplog.records == []


@pytest.mark.parametrize("fetched", [("config.json", "code.py"), ("config.json",)])
def test_trusted_code_of_the_hub_is_fetched_once_and_not_asked_for_where_there_is_no_hub(
    hub, library, monkeypatch, sleeps, tmp_path, fetched
):
    import transformers

    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    auto = {"AutoConfig": "code.Mine", "AutoModel": "code.Model"}
    hub.files = {"config.json": json.dumps({"model_type": "mine", "auto_map": auto, "width": 3}), "code.py": OWN_MODEL}
    for file in fetched:
        library.hf_hub_download("org/name", file)
    library.close_session()
    tried = vanish(monkeypatch, socket.gaierror(socket.EAI_NONAME, "no such name"))
    if "code.py" in fetched:
        assert live.snapshot(resolve("hf:org/name", trust_remote_code=True).model).totals.params == 8
    else:
        assert "code.py" in fails("hf:org/name", trust_remote_code=True)
    assert (len(tried), sleeps) == (1, [])


@pytest.mark.parametrize("level", [logging.NOTSET, logging.DEBUG, logging.ERROR])
def test_libraries_are_as_talkative_afterwards_as_before(configuration, monkeypatch, level):
    loggers = [logging.getLogger(each) for each in TALKATIVE]
    for logger in loggers:
        monkeypatch.setattr(logger, "level", level)
    models.build(f"hf:{configuration(**LLAMA)}")
    fails(configuration(model_type="lama"))
    fails("hf:org/name")
    assert {logger.level for logger in loggers} == {level}


# ── the examples ─────────────────────────────────────────────────────────────────────────────────────────────────────

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = re.findall(r"^\| `([\w.-]+)` .* ([\d,]+) \|$", (EXAMPLES / "README.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("name", "figure"), ROWS)
def test_every_example_has_as_many_parameters_as_its_table_says(name, figure):
    pytest.importorskip("transformers")
    resolved = resolve(EXAMPLES / name)
    assert {p.device.type for p in resolved.model.parameters()} == {"meta"}
    assert f"{live.totals(resolved.model).params:,}" == figure
    assert live.snapshot(resolved.model).totals == live.totals(resolved.model)


def test_the_table_of_examples_lists_every_directory_of_them():
    assert {name for name, _ in ROWS} == {each.parent.name for each in EXAMPLES.glob("*/config.json")}

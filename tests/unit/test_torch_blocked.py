"""The right side of the architecture where torch, numpy and transformers cannot be imported at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# A finder that raises instead of passing on: an import that somebody catches as "not installed" is seen as well.
BLOCKED = """
import json, sys

asked = []

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numpy", "transformers"):
            asked.append(name)
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""

SOURCE = Path(__file__).parents[2] / "src" / "numel"
WITH_TORCH = {"tracing", "torch_private"}  # the rooms that import torch at their top
# files that do, or import a trainer that does, and that their rooms load when they are asked for
ALONE = {Path("monitoring/values"), Path("integrations/lightning"), Path("integrations/transformers")}


def run_blocked(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", BLOCKED + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with one matrix of 2 × 3 float32, written by hand."""
    header = json.dumps({"fc.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    return path


def test_the_block_blocks():
    for name in ("torch", "torch.nn", "numpy", "transformers"):
        assert "is blocked" in run_blocked(f"import {name}").stderr


def test_every_module_outside_of_those_imports_and_asks_for_none_of_them():
    """One process for all, so a module that asks is told by being the first to."""
    files = [file.relative_to(SOURCE).with_suffix("") for file in SOURCE.rglob("*.py")]
    without = [file for file in files if file.parts[0] not in WITH_TORCH and file not in ALONE]
    names = sorted(".".join(("numel", *file.parts)) for file in without)
    assert {"numel.__init__", "numel.facts.codec", "numel.sources.live", "numel.sources.formats.safetensors"} < {*names}
    done = run_blocked("""
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name.removesuffix(".__init__"))
    assert not asked, f"{name} asked for {asked}"
""", *names)  # fmt: skip
    assert done.stderr == ""


def test_a_file_is_read_and_counted(weights):
    done = run_blocked("""
from numel.sources.files import read
from numel.facts.codec import decode, encode
s = read(sys.argv[1])
assert decode(json.loads(json.dumps(encode(s))))[0] == s
assert not asked, asked
print(s.totals.params, s.totals.nbytes)
""", str(weights))  # fmt: skip
    assert (done.stdout, done.stderr) == ("6 24\n", "")


@pytest.mark.parametrize("place", ["file", "directory"])
def test_a_target_that_is_a_file_is_resolved(weights, place):
    done = run_blocked("""
from numel.sources.targets import resolve
s = resolve(sys.argv[1]).snapshot
assert not asked, asked
print(s.totals.params)
""", str(weights if place == "file" else weights.parent))  # fmt: skip
    assert (done.stdout, done.stderr) == ("6\n", "")


@pytest.mark.parametrize("target", ["torch.nn:Linear", "torchvision:resnet50", "hf:gpt2"])
def test_a_target_that_needs_torch_says_how_to_install_it(target):
    done = run_blocked("""
from numel.errors import MissingExtra
from numel.sources.targets import resolve
try:
    resolve(sys.argv[1])
except MissingExtra as error:
    print(error)
""", target)  # fmt: skip
    assert (done.stdout, done.stderr) == ("torch is not installed; install it with: pip install 'numel[torch]'\n", "")


def test_an_operator_of_a_saved_trace_is_costed():
    """The product of 2 × 3 by 3 × 4: 3 multiplications for each of 8 outputs."""
    done = run_blocked("""
from numel.analyses.formulas.registry import cost
from numel.facts import OpRecord, TensorSpec, dtype
x, w, y = (TensorSpec(shape, dtype("f32")) for shape in ((2, 3), (3, 4), (2, 4)))
print(cost(OpRecord("aten.mm.default", -1, (x, w), outputs=(y,))).macs)
assert not asked, asked
""")
    assert (done.stdout, done.stderr) == ("24\n", "")

"""The examples run as they are, and print what they say that they do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import numel

EXAMPLES = Path(__file__).parents[2] / "examples" / "monitor"


def printed(name: str, folder: Path) -> str:
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_plain_loop_learns_and_is_watched(tmp_path: Path):
    text = printed("plain_loop", tmp_path)
    assert float(text.split()[1]) < 1  # ln 10 = 2.3 at first
    history = numel.load(tmp_path / "run.jsonl")
    assert history.steps == (0, 199)
    assert [each.step for each in history.values if each.by("weight")] == list(range(0, 200, 20))
    assert history.alarms == ()


def test_a_network_that_grows_is_seen_and_its_forgotten_head_missed(tmp_path: Path):
    """29 batches make an epoch: 1,797 images in batches of 64."""
    lines = printed("growing", tmp_path).splitlines()
    assert "step 58: added 4.weight" in lines
    assert "step 87: replaced 4" in lines
    history = numel.load(tmp_path / "growing.jsonl")
    assert [each.totals.params for each in history.samples] == [2410, 2410 + 32 * 33, 2410 + 32 * 33]
    assert {(each.step, each.code) for each in history.alarms} == {
        (87, "optimizer-misses"), (87, "optimizer-holds-removed")
    }  # fmt: skip


def test_a_supernet_thaws_the_path_that_it_chooses(tmp_path: Path):
    printed("supernet", tmp_path)
    history = numel.load(tmp_path / "supernet.jsonl")
    kinds = {(each.step, each.kind, ".".join(each.path.split(".")[:2])) for each in history.changes}
    assert kinds == {(30, "frozen", "paths.0"), (30, "unfrozen", "paths.1"), (60, "frozen", "paths.1"),
                     (60, "unfrozen", "paths.2")}  # fmt: skip
    assert {each.totals.params for each in history.samples} == {4754}
    assert history.alarms == ()

"""Thousands of legal calls from the catalogue that torch tests itself with, run and priced: see catalogue.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the run in a process of its own has to say."""
    tests = Path(__file__).parent.parent
    path = os.pathsep.join([str(tests), *filter(None, [os.environ.get("PYTHONPATH")])])
    ran = subprocess.run(
        [sys.executable, "-m", "formulas.catalogue"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return dict(json.loads(ran.stdout))


def test_the_catalogue_was_really_run(found):
    assert found["samples"] > 2000


def test_no_formula_raises_on_a_legal_call_and_its_arithmetic_gives_its_number(found):
    assert found["raised"] == []


def test_a_composite_recorded_whole_has_the_macs_of_what_it_is_made_of(found):
    assert found["lowerings"] == []


def test_torchs_own_counter_agrees_on_every_operator_that_it_knows(found):
    assert found["counters"] == []


def test_what_is_free_gives_back_only_values_that_it_was_given(found):
    """A view, copy or look-up that returned a new number would be arithmetic that is counted as none."""
    assert found["made_up"] == []


# Forward operators of the catalogue without a formula.
_BY_VALUE = "how many steps it takes, and of what, is told by values"
_SPARSE = "sparse: how many elements are stored is data"
_UNKNOWN = {
    "linalg_matrix_exp": _BY_VALUE,
    **dict.fromkeys(("_sparse_mm_reduce_impl", "_to_sparse", "sparse_sampled_addmm"), _SPARSE),
    **dict.fromkeys(
        ("_histogramdd_bin_edges", "_histogramdd_from_bin_cts", "_histogramdd_from_bin_tensors", "histogram"),
        "a histogram with edges of its own: no part of a forward that anyone has shown",
    ),
}  # fmt: skip


def test_every_operator_without_a_formula_has_a_reason(found):
    assert {each.split(".")[1] for each in found["unknown"]} == set(_UNKNOWN)


# And where autograd takes part: the forward, which is taken apart above, and the backward pass.
_IN_TRAINING = {
    "forward": {
        "linalg_matrix_exp": _BY_VALUE,
        **dict.fromkeys(("_sparse_mm_reduce_impl", "_to_sparse", "sparse_sampled_addmm"), _SPARSE),
    },
    "backward": {
        "linalg_matrix_exp": _BY_VALUE,  # of a matrix twice as wide
        **dict.fromkeys(("_sparse_mm_reduce_impl_backward", "sparse_mask"), _SPARSE),
        "mm": _SPARSE,  # with a sparse side: of `sparse_sampled_addmm`
    },
}


def test_the_catalogue_was_gone_back_through(found):
    assert found["trained"] > 2000


@pytest.mark.parametrize("phase", _IN_TRAINING)
def test_every_operator_of_a_training_step_without_a_formula_has_a_reason(found, phase):
    assert {each.split(".")[1] for each in found["unknown_in_training"][phase]} == set(_IN_TRAINING[phase])


def test_torchs_own_counter_agrees_on_the_way_back_but_for_convolutions_in_groups(found):
    """Its gradient of a weight multiplies all inputs by all outputs, g times what g groups do: in the samples, two."""
    differs = {name: ours * 3 == 2 * theirs for name, ours, theirs, _ in found["counters_going_back"]}
    assert differs == {f"nn.functional.conv{kind}{d}d": True for kind, d in _CONVOLUTIONS}


_CONVOLUTIONS = (("", 1), ("", 2), ("_transpose", 1), ("_transpose", 2), ("_transpose", 3))

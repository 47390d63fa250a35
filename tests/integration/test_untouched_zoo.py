"""Real models leave no trace either: all of torchvision, a member of each family of timm, a hundred of transformers.

Each is summarised in training and in eval, and once more with a forward that raises in the middle; afterwards it is
what it was before, as fingerprint.py sees it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numpy")
pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")
pytest.importorskip("transformers")

import numel  # noqa: E402
from integration import zoo  # noqa: E402
from integration.fingerprint import differences, fingerprint  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

REMEMBERING = ("hf:dinov3_vit", "hf:sapiens2")  # functions of their files have an lru_cache
SECOND_RUNG = ("hf:granite_speech",)  # runs whole with all constants kept alone, and stops as far without
ZOO = [*zoo.of_torchvision(), *zoo.of_timm(), *zoo.of_transformers()]


@contextmanager
def broken(module: Any) -> Iterator[None]:
    """A module whose forward raises, whether it is called or its forward is."""

    def midway(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("midway")

    kept = dict(module.__dict__)
    module.forward = midway
    yield
    assert module.forward is midway
    module.__dict__.clear()
    module.__dict__.update(kept)


def complete(report: numel.Report) -> bool:
    """Whether the forward ended; a detector can not where torchvision's nms is compiled for another build of torch."""
    failure = report.trace.failure
    return failure is None or "Couldn't load custom C++ ops" in failure.message


@pytest.mark.parametrize("architecture", ZOO, ids=str)
def test_an_architecture_is_as_it_was_before_whether_its_forward_ends_well_or_raises_midway(architecture):
    model = architecture.build().train()
    before = fingerprint(model)
    report = numel.summary(model, architecture.inputs(model))
    assert complete(report)
    assert differences(before, fingerprint(model)) == {}

    before, inputs = fingerprint(model.eval()), architecture.inputs(model)
    report = numel.summary(model, inputs)
    assert complete(report)
    middle = report.calls[len(report.calls) // 2].path
    with broken(model.get_submodule(middle)):
        stopped = numel.summary(model, inputs, mode=report.mode)  # auto would try each, and end where it got furthest
    assert (stopped.trace.failure.path, stopped.trace.failure.message) == (middle, "midway")
    if architecture.name not in SECOND_RUNG:
        assert stopped.ops == report.ops[: len(stopped.ops)]
    assert differences(before, fingerprint(model)) == {}


@pytest.mark.parametrize("architecture", ZOO[::12], ids=str)
def test_an_architecture_is_as_it_was_before_a_training_step(architecture):
    model = architecture.build().train()
    before = fingerprint(model)
    report = numel.summary(model, architecture.inputs(model), optimizer="adamw")
    assert complete(report)
    assert differences(before, fingerprint(model)) == {}
    if report.trace.failure is None:
        assert report.backward.total.uncosted == report.optimizer.total.uncosted == 0


def figures(architecture: zoo.Architecture) -> Any:
    """Everything that a report says of a model that was built for it."""
    model = architecture.build()
    report = numel.summary(model, architecture.inputs(model))
    return report.snapshot, report.trace, report.macs, report.layers, report.notes


def test_the_figures_are_the_same_when_the_zoo_is_summarised_again_in_the_reverse_order():
    """Nothing that one summary leaves in the process, or in what its model's code remembers, reaches the next one."""
    sample = [each for number, each in enumerate(ZOO) if number % 40 == 0 or each.name in REMEMBERING]
    first = {each.name: figures(each) for each in sample}
    again = {each.name: figures(each) for each in reversed(sample)}
    assert [name for name in first if first[name] != again[name]] == []


def test_the_zoo_has_a_member_of_every_module_of_timm():
    assert set(timm.list_modules()) == {*zoo.TIMM, *zoo.TIMM_LEFT_OUT}
    assert [name for module, name in zoo.TIMM.items() if name not in timm.list_models(module=module)] == []

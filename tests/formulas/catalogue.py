"""Every operator of torch's own catalogue of samples, run and priced; what disagrees goes to stdout as JSON.

The catalogue (`op_db`) is what torch tests itself with: for each operator, arguments that are legal and varied. It is
run in a process of its own, `python -m formulas.catalogue`, since importing it locks torch's global flags.
"""

from __future__ import annotations

import itertools
import json
import sys
import types
import unittest
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from formulas.expressions import value_of
from numel import torch_private
from numel.analyses.formulas import Cost, cost, traffic
from numel.analyses.formulas.arithmetic import Worked, worked
from numel.analyses.formulas.free import COPIES, INDEXING, VIEWS
from numel.facts import OpRecord
from numel.tracing.calls import Calls
from numel.tracing.recorder import Recorder
from numel.tracing.specs import spec_of

_SAMPLES = 6  # of each operator; later ones vary what shapes do not show
_DTYPES = (torch.float32, torch.complex64, torch.int64, torch.bool)  # the first that an operator takes
_THAT_TRAIN = _DTYPES[:2]
_MOVES = frozenset(f"aten.{name}" for name in (VIEWS + COPIES + INDEXING).split())
_CONSTANTS = (0.0, 1.0)  # padding, and the diagonal of a mask


def _samples(*, training: bool = False) -> Iterator[tuple[str, Callable[[], Any]]]:
    # the catalogue is imported with torch's test classes, whose one foreign base is not needed to read it
    sys.modules.setdefault("expecttest", types.SimpleNamespace(TestCase=unittest.TestCase))  # type: ignore[arg-type]
    from torch.testing._internal.common_methods_invocations import op_db

    for operator in op_db:
        dtypes = _THAT_TRAIN if training else _DTYPES
        dtype = next((each for each in dtypes if each in operator.supported_dtypes("cpu")), None)
        if dtype is None or operator.name.startswith("jiterator"):  # CUDA alone
            continue
        if training and not operator.supports_autograd:
            continue
        # not `sample_inputs`, which looks for the calling test on the stack
        samples = operator.sample_inputs_func(operator, "cpu", dtype, requires_grad=training)
        for sample in itertools.islice(samples, _SAMPLES):

            def call(sample: Any = sample, function: Any = operator.op) -> Any:
                return function(_copied(sample.input), *_copied(sample.args), **_copied(sample.kwargs))

            yield operator.name, call


def _copied(value: Any) -> Any:
    """In-place operators must not spoil the arguments of the next run."""
    if isinstance(value, torch.Tensor):
        return value.clone() if value.layout is torch.strided else value
    if isinstance(value, dict):
        return {name: _copied(each) for name, each in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_copied(each) for each in value)
    return value


def _leaves(value: Any) -> Iterator[Any]:
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, list | tuple):
            pending.extend(each)
        elif isinstance(each, dict):
            pending.extend(each.values())
        else:
            yield each


class _Watch(TorchDispatchMode):
    """Records every operator, and with `values` which of those that are said to move data only gave back a value of
    their own: gradients may be zeros without data, whose values can not be read."""

    def __init__(self, *, values: bool = True) -> None:
        super().__init__()
        self.values = values
        self.ops: list[OpRecord] = []
        self.flops: list[bool] = []  # whether torch's own counter knows the operator
        self.made_up: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = _leaves((args, kwargs)) if self.values else ()
        given = [each.clone() if isinstance(each, torch.Tensor) else each for each in leaves]
        made = func(*args, **kwargs)
        options = tuple((name, spec_of(value)) for name, value in kwargs.items())
        found = OpRecord(str(func), -1, spec_of(args), options, spec_of(made if isinstance(made, tuple) else (made,)))
        self.ops.append(found)
        self.flops.append(func._overloadpacket in flop_registry)
        if self.values and found.name in _MOVES and (priced := cost(found)) is not None and not priced.elementwise:
            known = [each for each in given if isinstance(each, torch.Tensor) and each.layout is torch.strided]
            scalars = [each for each in given if isinstance(each, bool | int | float)]
            for each in _leaves(made):
                if isinstance(each, torch.Tensor) and not _moved(each, known, [*scalars, *_CONSTANTS]):
                    self.made_up.add(found.op)
        return made


def _moved(made: torch.Tensor, given: list[torch.Tensor], scalars: list[float]) -> bool:
    """Whether each value of a floating result is one of those given."""
    same = [each for each in given if each.dtype == made.dtype]
    if made.dtype is not torch.float32 or made.layout is not torch.strided or not same:
        return True
    pool = torch.cat([torch.tensor(scalars), *(each.flatten() for each in same)]).nan_to_num().sort().values
    values = made.flatten().nan_to_num()
    nearest = torch.searchsorted(pool, values).clamp(max=pool.numel() - 1)
    return bool((pool[nearest] == values).all())


def _gives(told: Worked) -> bool:
    """Whether what is written out gives the numbers."""
    if told.cost is None:
        return not (told.macs or told.elementwise or told.executed)
    executed = value_of(told.executed) if told.executed else told.cost.macs
    found = value_of(told.macs), value_of(told.elementwise), executed
    return found == (told.cost.macs, told.cost.elementwise, told.cost.executed_macs)


def _priced(records: list[OpRecord], unknown: dict[str, set[str]], raised: set[str], sample: str) -> list[Cost] | None:
    found = []
    for record in records:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            priced = cost(record)
            told = worked(record)
            moved = traffic(record)
        raised.update(str(each.message) for each in caught)
        if told.cost != priced or not _gives(told):
            raised.add(f"{record.op} explains another number than it counts: {told}")
        if moved.read < 0 or moved.written < 0 or (priced is not None and min(priced.macs, priced.elementwise) < 0):
            raised.add(f"{record.op} is less than nothing")
        if priced is None:
            unknown[record.op].add(sample)
        found.append(priced)
    return None if None in found else [each for each in found if each is not None]


class _Trained:
    """What of each sample has no formula where autograd takes part, by phase, and where torch's counter disagrees."""

    def __init__(self, raised: set[str]) -> None:
        self.samples = 0
        self.unknown: dict[str, dict[str, set[str]]] = {"forward": defaultdict(set), "backward": defaultdict(set)}
        self.counters: list[Any] = []
        for name, call in _samples(training=True):
            try:
                self._one(name, call, raised)
            except (RuntimeError, NotImplementedError):  # a sample that is there to be refused, or has no gradient
                continue

    def _one(self, name: str, call: Callable[[], Any], raised: set[str]) -> None:
        with _Watch(values=False) as forward:
            outputs = [each for each in _leaves(call()) if isinstance(each, torch.Tensor) and each.requires_grad]
        if not outputs:
            return
        sums = [(each.abs() if each.is_complex() else each).sum() for each in outputs]
        loss = sum(sums[1:], sums[0])
        with _Watch(values=False) as back, FlopCounterMode(display=False) as counter:
            loss.backward()  # type: ignore[no-untyped-call]
        self.samples += 1
        _priced(forward.ops, self.unknown["forward"], raised, name)
        priced = _priced(back.ops, self.unknown["backward"], raised, name)
        if priced is None:
            return
        ours = 2 * sum(each.macs for each, known in zip(priced, back.flops, strict=True) if known)
        if ours != counter.get_total_flops():
            self.counters.append((name, ours, counter.get_total_flops(), [each.op for each in back.ops]))


def main() -> None:
    """Run all of it."""
    samples = 0
    raised: set[str] = set()
    made_up: set[str] = set()
    unknown: dict[str, set[str]] = defaultdict(set)
    lowerings, counters = [], []
    for name, call in _samples():
        try:
            with _Watch() as watch:
                call()
        except RuntimeError:  # a sample that is there to be refused
            continue
        recorder = Recorder(Calls(), lambda _: None)
        with torch.no_grad(), torch_private.below_autograd(), recorder:
            call()
        with FlopCounterMode(display=False) as counter:
            call()
        samples += 1
        made_up |= watch.made_up
        lowered = _priced(watch.ops, unknown, raised, name)
        whole = _priced(recorder.ops, unknown, raised, name)
        if lowered is None or whole is None:
            continue
        of_parts, of_whole = sum(each.macs for each in lowered), sum(each.macs for each in whole)
        if of_parts != of_whole:
            lowerings.append((name, of_parts, of_whole, [each.op for each in recorder.ops]))
        ours = 2 * sum(each.macs for each, known in zip(lowered, watch.flops, strict=True) if known)
        if ours != counter.get_total_flops():
            counters.append((name, ours, counter.get_total_flops(), [each.op for each in watch.ops]))
    trained = _Trained(raised)
    found = {
        "samples": samples,
        "trained": trained.samples,
        "unknown_in_training": {phase: sorted(each) for phase, each in trained.unknown.items()},
        "counters_going_back": trained.counters,
        "raised": sorted(raised),
        "made_up": sorted(made_up),
        "unknown": sorted(unknown),
        "lowerings": lowerings,
        "counters": counters,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # the tensors are tiny
    main()

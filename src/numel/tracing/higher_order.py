"""Operators that take functions (`cond`, `scan`, `flex_attention`, ...): what those functions run is written down.

torch hands such an operator to a dispatch mode before it calls anything. Those here are run as they are defined, with
the recorder active, so that every operator inside of a function is one of the trace; where values decide what runs and
there are none, what is certain is written down, and an operator that nothing prices stands for the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any

import torch

from numel import torch_private
from numel.facts.note import Note
from numel.facts.trace import OpRecord, Phase
from numel.tracing.specs import spec_of, spec_of_tensor

if TYPE_CHECKING:
    from numel.tracing.recorder import Recorder


def run(recorder: Recorder, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `func(*args, **kwargs)` gives. One that is not known here runs unseen, and is an operator by its name."""
    name = torch_private.higher_order_name(func)
    known = _KNOWN.get(name)
    if known is None:
        known = _one_function if torch_private.runs_one_function(func) else _unseen
    return known(recorder, func, args, kwargs)


def before_autograd(recorder: Recorder, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same where autograd takes part. torch differentiates such an operator in what it is given, and a compiler
    gives it what its functions close over, too; without one, autograd is to see what they run."""
    name = torch_private.higher_order_name(func)
    if name not in _BY_PARTS and not torch_private.runs_one_function(func):
        return NotImplemented
    return run(recorder, func, args, kwargs)


def _watched(recorder: Recorder) -> AbstractContextManager[Any]:
    """The recorder, active: while a mode handles an operator it is not."""
    return nullcontext() if torch_private.is_active(recorder) else recorder


def _cond(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """The branch that is taken; where nothing tells, what both have in common."""
    predicate, taken, other, operands = args
    if isinstance(predicate, torch.Tensor) and not recorder.knows(predicate):
        why = "data decide which branch runs, and there are none: counted is what both have in common"
        return _least(recorder, func, args, [lambda: taken(*operands), lambda: other(*operands)], why)
    with _watched(recorder):
        return taken(*operands) if predicate else other(*operands)


def _while_loop(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """Each iteration, as long as values tell that there is one more; from there on, it may be the end."""
    goes_on, body, given, additional = args
    carried = tuple(given)
    with _watched(recorder):
        while True:
            more = goes_on(*carried, *additional)
            if isinstance(more, torch.Tensor) and not recorder.knows(more):
                break
            if not more:
                if any(one is not other for one, other in zip(carried, given, strict=True)):
                    return carried
                return tuple(each.clone() if isinstance(each, torch.Tensor) else each for each in carried)
            carried = tuple(body(*carried, *additional))
    why = "data decide how often a loop runs, and there are none: counted are the iterations that are certain"
    return _least(recorder, func, args, [lambda: body(*carried, *additional), None], why)


def _scan(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """The function once for each step, which its inputs' first dimension counts."""
    step, init, rows, additional = args
    carried = tuple(init)
    made: list[Any] = []
    with _watched(recorder):
        for i in range(rows[0].shape[0]):
            outputs = step(*carried, *[each.select(0, i) for each in rows], *additional)
            carried = tuple(outputs[: len(init)])
            made.append(outputs[len(init) :])
        columns = zip(*made, strict=True)
        return (*carried, *[None if each[0] is None else torch.stack(each) for each in columns])


def _map(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """The function once for each row."""
    function, rows, additional = args
    with _watched(recorder):
        made = [function(*[each[i] for each in rows], *additional) for i in range(rows[0].shape[0])]
        return [None if each[0] is None else torch.stack(each) for each in zip(*made, strict=True)]


def _associative_scan(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """torch's own halving: pairs of neighbours at once, in as many rounds as the length takes."""
    combine, rows, additional = args
    with _watched(recorder):
        return torch_private.associative_scan(combine, rows, additional)


def _flex_attention(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """Attention or its gradient as one operator: the function on scores and the mask run inside of its kernel."""
    query, key = args[:2]
    mask = next(each for each in args[3:] if isinstance(each, tuple))
    if query.is_meta or torch_private.is_fake(query):
        outputs = torch_private.flex_outputs(func, recorder.to_meta(args), kwargs)
    else:
        outputs = func(*args, **kwargs)
    pairs = _pairs(recorder, query, key, mask)
    options = () if pairs is None else (("executed_pairs", pairs),)
    _record(recorder, func, tuple(spec_of_tensor(each) for each in args[:3]), options, outputs)
    if torch_private.changes_scores(args[3]):
        text = "what the function of flex_attention does to each score is not in elementwise"
        recorder.said.append((Note("score-function", "info", text), recorder.calls.current))
    return outputs


def _pairs(recorder: Recorder, query: torch.Tensor, key: torch.Tensor, mask: Any) -> int | None:
    """Queries times keys in the blocks that the kernel computes, over batch and heads; `None` where that is not known.

    A block mask lists, for each row of blocks, how many it visits and which: some in full, some with the mask.
    """
    blocks = torch_private.visited_blocks(mask)
    if not all(recorder.knows(each) for pair in blocks.lists for each in pair):
        return None
    queries, keys = query.shape[-2], key.shape[-2]
    total, rows = 0, 0
    for counts, indices in blocks.lists:
        counted = torch_private.values(recorder.known(counts).flatten(0, 1))
        listed = torch_private.values(recorder.known(indices).flatten(0, 1))
        rows = len(counted)
        for of_head, at_head in zip(counted, listed, strict=True):
            for i, (number, at) in enumerate(zip(of_head, at_head, strict=True)):
                height = min(blocks.height, queries - i * blocks.height)
                width = sum(max(0, min(blocks.width, keys - j * blocks.width)) for j in at[:number])
                total += max(0, height) * width
    return total * query.shape[0] * query.shape[1] // rows  # a mask without batch or heads is that of each


def _one_function(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """A function and what it is called with, for a compiler to know."""
    function, *rest = args
    with _watched(recorder):
        return function(*rest)


def _invoke_subgraph(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    function, _identifier, *operands = args
    with _watched(recorder):
        return function(list(operands)) if getattr(function, "_boxed_call", False) else function(*operands)


def _strict_mode(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    function, operands = args
    with _watched(recorder):
        return function(*operands)


def _hints_wrapper(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    function, operands, options = args[:3]
    with _watched(recorder):
        return function(*operands, **options)


def _as_defined(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """One whose own definition calls nothing but operators."""
    with _watched(recorder):
        return torch_private.definition(func)(*args, **kwargs)


def _unseen(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """Any other: it runs, and what it runs is one operator that nothing prices (a Triton kernel, a delegate)."""
    outputs = func(*args, **kwargs)
    options = tuple((name, spec_of(value)) for name, value in kwargs.items())
    _record(recorder, func, spec_of(args), options, outputs)
    return outputs


def _record(recorder: Recorder, func: Any, args: Any, options: Any, outputs: Any) -> None:
    made = spec_of(outputs) if isinstance(outputs, tuple | list) else (spec_of(outputs),)
    recorder.append(_name(func), args, options, made, outputs)


def _name(func: Any) -> str:
    return f"higher_order.{torch_private.higher_order_name(func)}.default"


def _least(recorder: Recorder, func: Any, args: Any, ways: list[Callable[[], Any] | None], why: str) -> Any:
    """What runs whichever way is taken (`None`: nothing), and in each call of a module on one of them, as well as here,
    an operator that nothing prices. Returns what the first way gives."""
    if not recorder.least:
        raise recorder.unknown_branch()
    start, outputs = len(recorder.ops), None
    runs: list[list[OpRecord]] = []
    calls: set[tuple[int, Phase]] = {(recorder.calls.current, recorder.phase())}
    for way in ways:
        if way is None:
            runs.append([])
            continue
        with _watched(recorder):
            made = way()
        outputs = made if outputs is None else outputs
        runs.append(recorder.ops[start:])
        del recorder.ops[start:]
    calls |= {(op.call, op.phase) for ran in runs for op in ran}
    common = _in_all(runs, lambda op: repr((replace(op, call=0), recorder.calls.path(op.call))))
    recorder.ops += common
    if recorder.memory is not None:  # what is left out has a gradient, too
        calls |= {(call, "backward") for call, _ in calls}
    given, made = spec_of(args[-1]), spec_of(outputs)
    recorder.ops += [OpRecord(_name(func), call, given, (), made, phase) for call, phase in sorted(calls)]
    recorder.said.append((Note("branch-by-data", "warning", why), recorder.calls.current))
    return outputs


def _in_all(runs: list[list[OpRecord]], alike: Callable[[OpRecord], str]) -> list[OpRecord]:
    """The operators that every run has, each as often as the run with the fewest of it, wherever in it they are."""
    counts = [Counter(map(alike, ran)) for ran in runs]
    common = reduce(and_, counts)
    found = []
    for op in runs[0]:
        if common[alike(op)] > 0:
            common[alike(op)] -= 1
            found.append(op)
    return found


_KNOWN: dict[str, Callable[[Recorder, Any, Any, Any], Any]] = {
    "cond": _cond,
    "while_loop": _while_loop,
    "scan": _scan,
    "map_impl": _map,
    "associative_scan": _associative_scan,
    "flex_attention": _flex_attention,
    "flex_attention_backward": _flex_attention,
    "invoke_subgraph": _invoke_subgraph,
    "strict_mode": _strict_mode,
    "hints_wrapper": _hints_wrapper,
    "out_dtype": _as_defined,
    "auto_functionalized": _as_defined,
    "auto_functionalized_v2": _as_defined,
}

_BY_PARTS = frozenset(_KNOWN) - {"flex_attention", "flex_attention_backward"}

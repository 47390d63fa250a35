"""Operators that take functions (`cond`, `scan`, `flex_attention`, ...): what those functions run is written down.

torch hands such an operator to a dispatch mode before it calls anything. Those here are run as they are defined, with
the recorder active, so that every operator inside of a function is one of the trace; where values decide what runs and
there are none, what is certain is written down, and an operator that nothing prices stands for the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from numel import torch_private
from numel.facts.note import Note
from numel.facts.trace import OpRecord
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


def _cond(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """The branch that is taken; where nothing tells, what both have in common."""
    predicate, taken, other, operands = args
    if isinstance(predicate, torch.Tensor) and not recorder.knows(predicate):
        return _least(recorder, func, args, [lambda: taken(*operands), lambda: other(*operands)])
    with recorder:
        return taken(*operands) if predicate else other(*operands)


def _while_loop(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """Each iteration, as long as values tell that there is one more; from there on, it may be the end."""
    goes_on, body, carried, additional = args
    carried = tuple(carried)
    with recorder:
        while True:
            more = goes_on(*carried, *additional)
            if isinstance(more, torch.Tensor) and not recorder.knows(more):
                break
            if not more:  # a copy, since what a loop gives is never what it was given
                return tuple(each.clone() if isinstance(each, torch.Tensor) else each for each in carried)
            carried = tuple(body(*carried, *additional))
    return _least(recorder, func, args, [lambda: body(*carried, *additional), None])


def _scan(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """The function once for each step, which its inputs' first dimension counts."""
    step, init, rows, additional = args
    carried, made = tuple(init), []
    with recorder:
        for i in range(rows[0].shape[0]):
            outputs = step(*carried, *[each.select(0, i) for each in rows], *additional)
            carried, made = tuple(outputs[: len(init)]), [*made, outputs[len(init) :]]
        columns = zip(*made, strict=True)
        return (*carried, *[None if each[0] is None else torch.stack(each) for each in columns])


def _map(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """The function once for each row."""
    function, rows, additional = args
    with recorder:
        made = [
            function(*[each[i] for each in rows], *additional) for i in range(rows[0].shape[0])
        ]
        return [None if each[0] is None else torch.stack(each) for each in zip(*made, strict=True)]


def _associative_scan(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """torch's own halving: pairs of neighbours at once, in as many rounds as the length takes."""
    combine, rows, additional = args
    with recorder:
        return torch_private.associative_scan(combine, rows, additional)


def _flex_attention(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """One operator, as attention is; the function on scores and the mask run inside of its kernel."""
    outputs = _attended(recorder, func, args, kwargs)
    pairs = _pairs(recorder, args[0], args[1], args[4])
    options = () if pairs is None else (("executed_pairs", pairs),)
    _record(recorder, func, tuple(spec_of_tensor(each) for each in args[:3]), options, outputs)
    return outputs


def _flex_attention_backward(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    outputs = _attended(recorder, func, args, kwargs)
    pairs = _pairs(recorder, args[0], args[1], args[9])
    options = () if pairs is None else (("executed_pairs", pairs),)
    _record(recorder, func, tuple(spec_of_tensor(each) for each in args[:3]), options, outputs)
    return outputs


def _attended(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    tensors = args[:3]
    if not any(each.is_meta or torch_private.is_fake(each) for each in tensors):
        return func(*args, **kwargs)
    return torch_private.flex_outputs(func, recorder.to_meta(args), kwargs)


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
    with recorder:
        return function(*rest)


def _invoke_subgraph(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    function, _identifier, *operands = args
    with recorder:
        return function(list(operands)) if getattr(function, "_boxed_call", False) else function(*operands)


def _strict_mode(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    function, operands = args
    with recorder:
        return function(*operands)


def _hints_wrapper(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    function, operands, options = args[:3]
    with recorder:
        return function(*operands, **options)


def _as_defined(recorder: Recorder, func: Any, args: Any, kwargs: Any) -> Any:
    """One whose own definition calls nothing but operators."""
    with recorder:
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


def _least(recorder: Recorder, func: Any, args: Any, ways: list[Callable[[], Any] | None]) -> Any:
    """What runs whichever way is taken (`None`: nothing), and in each call of a module on one of them, as well as here,
    an operator that nothing prices. Returns what the first way gives."""
    if not recorder.least:
        raise recorder.unknown_branch()
    start, runs, outputs = len(recorder.ops), [], None
    calls: set[tuple[int, str]] = {(recorder.calls.current, recorder.phase())}
    for way in ways:
        if way is None:
            runs.append([])
            continue
        with recorder:
            made = way()
        outputs = made if outputs is None else outputs
        runs.append(recorder.ops[start:])
        del recorder.ops[start:]
    calls |= {(op.call, op.phase) for ran in runs for op in ran}
    common = _in_all(runs)
    recorder.ops += common
    for call, phase in sorted(calls):
        recorder.ops.append(OpRecord(_name(func), call, spec_of(args[3:] or args[2:]), (), spec_of(outputs), phase))  # type: ignore[arg-type]
    said = {
        "cond": "data decide which branch runs, and there are none: counted is what both have in common",
        "while_loop": "data decide how often a loop runs, and there are none: counted are the iterations that are sure",
    }
    text = said.get(torch_private.higher_order_name(func), "data decide what runs, and there are none")
    recorder.said.append((Note("branch-by-data", "warning", text), recorder.calls.current))
    return outputs


def _in_all(runs: list[list[OpRecord]]) -> list[OpRecord]:
    """The operators that every run has, each as often as the run with the fewest of it, wherever in it they are."""
    counts = [Counter(map(_alike, ran)) for ran in runs]
    common = counts[0]
    for each in counts[1:]:
        common &= each
    found = []
    for op in runs[0]:
        if common[_alike(op)] > 0:
            common[_alike(op)] -= 1
            found.append(op)
    return found


def _alike(op: OpRecord) -> str:
    return repr(op)  # specs can be mappings, which have no hash


_KNOWN: dict[str, Callable[[Recorder, Any, Any, Any], Any]] = {
    "cond": _cond,
    "while_loop": _while_loop,
    "scan": _scan,
    "map_impl": _map,
    "associative_scan": _associative_scan,
    "flex_attention": _flex_attention,
    "flex_attention_backward": _flex_attention_backward,
    "invoke_subgraph": _invoke_subgraph,
    "strict_mode": _strict_mode,
    "hints_wrapper": _hints_wrapper,
    "out_dtype": _as_defined,
    "auto_functionalized": _as_defined,
    "auto_functionalized_v2": _as_defined,
}

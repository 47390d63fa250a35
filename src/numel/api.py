"""The verbs. Each joins a source, a tracer and a result, and does no arithmetic of its own; none prints.

A *target* is a `torch.nn.Module`, a state dict, an `ExportedProgram`, a `Snapshot`, a saved result, a path
(`.safetensors`, a shard index, `config.json`, a directory), `"pkg.mod:callable"`, `"file.py:Name"`,
`"torchvision:NAME"`, `"timm:NAME"` or `"hf:ORG/NAME"`. `options` go to the callable that builds the model, or override
fields of its configuration.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from numel import collector
from numel.errors import InputsError, SchemaError, TargetError
from numel.facts import Note, Snapshot, Totals, listed
from numel.facts.trace import Trace
from numel.sources.bytes import printable
from numel.sources.lines import is_history
from numel.sources.targets import Resolved, resolve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from numel.document import ChartKind
    from numel.facts.inputs import Inputs
    from numel.results import Comparison, Histories, History, Report, Result, Watch
    from numel.tracing import Training

__all__ = ["compare", "count", "formula", "load", "monitor", "plot", "read", "summary", "trace"]

F = TypeVar("F", bound=Callable[..., Any])
Options = Mapping[str, Any]

MODES = ("auto", "meta", "fake", "real")
_MOST_ALLOCATED = 1 << 30  # bytes of weights that are made without being asked for, where nothing else works


def count(target: Any, *, options: Options | None = None, trust_remote_code: bool = False) -> Totals:
    """How many parameters: the fast way, without a record per tensor.

    >>> import torch
    >>> count(torch.nn.Linear(3, 2))
    Totals(params=8, trainable=8, buffers=0, packed=0, unclassified=0, nbytes=32, local_nbytes=32, tied=0, unknown=0)
    """
    found = resolve(target, options=options, trust_remote_code=trust_remote_code)
    if found.model is not None:
        from numel.sources.live import totals

        return totals(found.model)
    return _snapshot(found, target).totals


def summary(
    target: Any, inputs: Any = None, *, mode: str = "auto", backward: bool = False,
    loss: Callable[[Any], Any] | None = None, optimizer: Any = None, every_block: bool = False,
    options: Options | None = None, trust_remote_code: bool = False,
) -> Report:  # fmt: skip
    """Parameters and, for the inputs given, MACs and FLOPs, layer by layer. No weight is allocated, copied or moved.

    `inputs` is a notation (`"f32[1,3,224,224]"`, `"ids: i64[b,s] < 32000, b=2, s=16"`), a tensor or a plain shape (the
    only argument), a tuple (positional), a dict (keyword) or `numel.Inputs(args, kwargs)`. Without it the report has
    parameters only, but for transformers models and exported programs, which have a sample of their own. `mode` is
    "auto", or "meta", "fake" or "real" to insist on one. A forward that raises gives the report up to there, with
    `report.trace.failure` set.

    With `backward`, a `loss` or an `optimizer` the backward pass and the optimizer's step run, too: their FLOPs, what
    autograd keeps (`report.saved_nbytes`) and the peak of live bytes. `loss` makes one number of the output; without it
    that is the output's own `.loss`, else the mean of its floating tensors. `optimizer` is one over the model's
    parameters, a class, a callable that takes parameters, or a name of `torch.optim` ("adamw"). A model that numel
    builds itself is in training mode then; one that is given stays in its own.

    Of blocks that are alike in all that they could look at, two run and stand for all; with `every_block` each runs,
    and the numbers are the same.

    Raises `TargetError` and `InputsError`.

    >>> import torch
    >>> report = summary(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU()), "f32[2,4]")
    >>> report.macs, report.exact, [row.output_shape for row in report.layers]
    (64, True, [(2, 8), (2, 8), (2, 8)])
    >>> trained = summary(torch.nn.Linear(4, 8), "f32[2,4]", backward=True)
    >>> trained.backward_flops, trained.saved_nbytes  # the gradient of the weight; the input
    (128, 32)
    """
    if mode not in MODES:
        raise InputsError(f"mode {mode!r}: expected one of {', '.join(MODES)}")
    found = resolve(target, options=options, trust_remote_code=trust_remote_code)
    return _summarised(
        found, target, inputs, mode=mode, backward=backward, loss=loss, optimizer=optimizer, every_block=every_block
    )


def _summarised(
    found: Resolved, target: Any, inputs: Any, *, mode: str = "auto", backward: bool = False,
    loss: Callable[[Any], Any] | None = None, optimizer: Any = None, every_block: bool = False,
) -> Report:  # fmt: skip
    """What `summary` says of a target that was resolved already."""
    from numel.results import Report

    if found.model is None and inputs is not None:
        what = "a saved result, which can not run again" if found.saved is not None else "tensors but no forward"
        raise InputsError(f"{printable(str(target))}: {what}; leave the inputs out")
    if found.saved is not None:
        return _report(found.saved)
    training = _training(backward, loss, optimizer)
    with collector.paused():
        snapshot, traced = _snapshot(found, target), None
        if found.model is not None:
            traced = _trace(found, snapshot.totals.nbytes, inputs, mode, training, every_block)
    if traced is None and (mode != "auto" or training is not None):
        what = "backward" if training is not None else f"mode {mode}"
        raise InputsError(f"{what}: nothing to run without inputs; say them, as in f32[1,3,224,224]")
    return Report(snapshot, traced)


def read(
    target: Any, *, values: bool = False, options: Options | None = None, trust_remote_code: bool = False
) -> Report:  # fmt: skip
    """Every tensor: name, shape, dtype, what it is, whether it trains. A file is read by its header alone.

    With `values` those of the parameters are read, too, a piece at a time: `report.histograms` says how often which
    occur, and `report.chart("histogram")` draws it. Raises `TargetError` where there are none to read.

    >>> import torch
    >>> read(torch.nn.Linear(3, 2)).to_dict()["path"]
    ['weight', 'bias']
    >>> [(h.path, h.numel) for h in read(torch.nn.Linear(3, 2), values=True).histograms]
    [('', 8), ('weight', 6), ('bias', 2)]
    """
    from numel.results import Report

    found = resolve(target, options=options, trust_remote_code=trust_remote_code)
    if found.saved is not None:
        saved = _report(found.saved)
        if values and not saved.histograms:
            raise TargetError(f"{printable(str(target))}: a result that was saved without values")
        return replace(saved, view="tensors")
    snapshot = _snapshot(found, target)
    if not values:
        return Report(snapshot, None, "tensors")
    return _with_values(found, target, snapshot)


def plot(result: Any, kind: ChartKind | None = None, inputs: Any = None, **options: Any) -> Figure:
    """A picture of a result as a `matplotlib.figure.Figure`, which `savefig` writes; no state of pyplot is touched.

    `kind` is "bar" (the default of a report), "treemap", "icicle", "sunburst", "scatter", "timeline", "line", "area",
    "heatmap" or "histogram"; `options` are those of the result's `chart`, as in `by="type"` or `value="macs"`. Instead
    of a result a target can be given, with `inputs` where the picture is of what it computes; then a "timeline" traces
    a training step, and a "histogram" reads the weights.

    Raises `ViewError` where the result lacks what the kind needs, and `MissingExtra` without matplotlib.

    >>> import torch
    >>> figure = plot(summary(torch.nn.Linear(4, 8), "f32[2,4]"), "bar", value="macs")
    >>> type(figure).__name__
    'Figure'
    """
    from numel.render.figure import draw
    from numel.views import Viewable

    if not isinstance(result, Viewable):
        result = pictured(result, kind, inputs)
    elif inputs is not None:
        raise InputsError("plot: a result has run already; leave the inputs out, or give the model itself")
    return draw(result.chart(kind, **options))


def compare(
    first: Any, second: Any, *others: Any, inputs: Any = None, metric: Mapping[str, Sequence[float]] | None = None,
    names: Sequence[str] | None = None, values: bool = False, mode: str = "auto", backward: bool = False,
    loss: Callable[[Any], Any] | None = None, optimizer: Any = None, every_block: bool = False,
    options: Options | None = None, trust_remote_code: bool = False,
) -> Comparison | Histories:  # fmt: skip
    """What is different between targets, the others compared with the first: totals, what was added, removed, reshaped,
    retyped, moved, frozen, tied or replaced, and which layers make the difference.

    A target is what `summary` takes, or a report; `inputs` and the arguments that follow `values`, which are those of
    `summary`, go to those that can run. `metric` gives numbers of your own, one for each target, as in
    `{"accuracy": (0.71, 0.74), "loss:min": (0.3, 0.2)}`: more is better, or less where the name ends in `:min`, which
    is no part of its key. Modules are found by their paths, through wrappers and prefixes, and by what is in them where
    blocks have other names. With `values` those of live modules, state dicts and `.safetensors` files are compared,
    too, a tensor at a time: which are equal, close or changed, by how much, and whether the change is of low rank.

    Histories, also as the JSON Lines or the `.json` of one, are compared with each other: `Histories` say where runs
    ended, what happened in one and not in the other, and how their values went.

    Raises what `summary` raises, and `InputsError` for metrics or names that do not fit the targets.

    >>> import torch
    >>> found = compare(torch.nn.Linear(3, 2), torch.nn.Linear(3, 4))
    >>> found.identical, [(c.kind, c.path, c.before, c.after) for c in found.changes]
    (False, [('reshaped', 'weight', (2, 3), (4, 3)), ('reshaped', 'bias', (2,), (4,))])
    """
    from numel import comparing
    from numel.results import Comparison, Report

    targets = (first, second, *others)
    if names is not None and len(names) != len(targets):
        raise InputsError(f"names: {len(names)} given for {len(targets)} targets")
    metrics = comparing.metrics(metric or {}, len(targets))
    if mode not in MODES:
        raise InputsError(f"mode {mode!r}: expected one of {', '.join(MODES)}")
    runs = [_history(target) for target in targets]
    if any(run is not None for run in runs):
        given = (metrics, values, inputs is not None, mode != "auto", backward, loss, optimizer, every_block)
        return comparing.runs(targets, runs, names, asked=any(given))
    asks = inputs is not None or mode != "auto" or _training(backward, loss, optimizer) is not None
    reports, ran = [], False
    for target in targets:
        found = None if isinstance(target, Report) else resolve(target, options=options,
                                                                trust_remote_code=trust_remote_code)  # fmt: skip
        if found is None or found.model is None:  # what has no forward, as a file, is compared without inputs
            reports.append(target if found is None else _still(found, target))
            continue
        ran = True
        reports.append(_summarised(found, target, inputs, mode=mode, backward=backward, loss=loss,
                                   optimizer=optimizer, every_block=every_block))  # fmt: skip
    if asks and not ran:
        raise InputsError("compare: none of the targets can run; leave out inputs, mode, backward, loss and optimizer")
    chosen = tuple(names) if names is not None else comparing.told_apart(targets, reports)
    made = Comparison(tuple(reports), chosen, metrics)
    return comparing.with_differences(made, targets) if values else made


def _history(target: Any) -> History | None:
    """A history, or the file of one; `None` for everything else."""
    from numel.results import History

    if isinstance(target, History):
        return target
    if not isinstance(target, str | os.PathLike):
        return None
    place = Path(target).expanduser()
    if not os.path.isfile(place):  # unlike Path's own, False for a name that is too long
        return None
    if _is_run(place):
        held: Any = load(place)
    elif place.suffix == ".json" and not place.name.endswith(".index.json"):
        found = resolve(target)
        held = None if found.saved is None else load(found.saved)
    else:
        return None
    return held if isinstance(held, History) else None


def _still(found: Resolved, target: Any) -> Report:
    """A report of what has no forward."""
    from numel.results import Report

    return _report(found.saved) if found.saved is not None else Report(_snapshot(found, target))


def pictured(
    target: Any, kind: str | None, inputs: Any = None, *, options: Options | None = None,
    trust_remote_code: bool = False, **running: Any,
) -> Result:  # fmt: skip
    """The result of a target that has what a kind of picture needs."""
    run = _history(target)
    if run is not None:
        return run
    found = resolve(target, options=options, trust_remote_code=trust_remote_code)
    if found.saved is not None:
        return load(found.saved)
    if kind == "histogram":
        return _with_values(found, target, _snapshot(found, target))
    if kind == "timeline":
        running["backward"] = True
    return _summarised(found, target, inputs, **running)


def trace(
    target: Any, inputs: Any = None, *, mode: str = "auto", every_block: bool = False, options: Options | None = None,
    trust_remote_code: bool = False,
) -> Report:  # fmt: skip
    """Every operator that runs for `inputs`: a summary that is shown by operator; `.ops` and `.calls` hold them all.

    Raises `InputsError` when there are no inputs and none are known for the model.

    >>> import torch
    >>> [op.op for op in trace(torch.nn.Linear(4, 2), "f32[8,4]").ops]
    ['aten.linear.default']
    """
    report = summary(
        target, inputs, mode=mode, every_block=every_block, options=options, trust_remote_code=trust_remote_code
    )
    if report.trace is None:
        raise InputsError("trace: no inputs given, and none are known for this model; say them, as in f32[1,3,224,224]")
    return replace(report, view="operators")


def formula(*operators: Any) -> Callable[[F], F]:
    """Register the MACs formula of one or more operators, named as `"mylib::op"` or as torch prints them.

    The function gets the operator's own arguments, with a `TensorSpec` (`.shape`, `.dtype`, `.numel`) for every tensor,
    and `outputs`, a tuple of specs. It returns MACs as an int, a `numel.analyses.formulas.Cost`, or `None` where the
    shapes do not tell; it must not need torch. The newest registration wins.

    >>> @formula("mylib::scaled_outer")
    ... def scaled_outer(a, b, *_, outputs):
    ...     return a.numel * b.numel
    """
    from numel.analyses.formulas import formula

    return formula(*operators)


def monitor(model: Any, sink: Any = None, every: int | None = None, optimizer: Any = None) -> Watch:
    """Watch the structure of a model while it trains: a layer that is replaced, a parameter that is resized, frozen,
    moved to another device or type, tied or untied, and what is added or removed. With `every` also what the values of
    its weights, gradients and updates are like, at the first `observe` at or after each multiple of so many steps; with
    an `optimizer`, or a list of them, its moments, and whether it holds the parameters that the model has.

    `observe(step)` looks at the model as it is then; nothing is attached to it. `sink` is a path of JSON Lines, which
    gets each change when it is seen, or a callable, or a `numel.monitoring.Sink`. As a context manager it closes
    itself. To see gradients, observe between `backward()` and `zero_grad()`. `history` is a result: it is shown, saved
    and drawn, and `numel.load` reads the JSON Lines as one.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    >>> with monitor(model) as watched:
    ...     for step in range(3):
    ...         if step == 2:
    ...             _ = model[0].weight.requires_grad_(False)
    ...         _ = watched.observe(step)
    >>> [(seen.step, seen.kind, seen.path) for seen in watched.history.changes]
    [(2, 'frozen', '0.weight')]
    >>> with monitor(model, every=100) as watched:
    ...     _ = watched.observe(0)
    >>> [(each.path, each.of) for each in watched.history.values[0].statistics[:2]]
    [('0.weight', 'weight'), ('0.bias', 'weight')]
    """
    if isinstance(model, type) or not callable(getattr(model, "named_modules", None)):
        given = f"the class {model.__qualname__}" if isinstance(model, type) else type(model).__name__
        raise TargetError(f"monitor: {given}; expected a live torch.nn.Module")
    from numel.results import Watch

    return Watch(model, sink, every, optimizer)


def load(path: str | os.PathLike[str]) -> Result:
    """A result that `save` wrote as `.json`, of this version or an older one, or the JSON Lines of a monitor, whatever
    the file is called, as their history. Needs no torch.

    Raises `TargetError` for a file that can not be read and `SchemaError` for one that holds no result.
    """
    try:
        place = Path(path)
    except TypeError as error:
        raise TargetError(f"load: {path!r}: expected the path of a result that numel saved") from error
    try:
        if _is_run(place):
            return _run(place)
        saved = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not JSON"
        raise TargetError(f"{printable(place)}: {reason}; expected a result that numel saved") from error
    except RecursionError as error:
        raise SchemaError(f"{printable(place)}: nested too deep; expected a result that numel saved") from error
    from numel.results import from_saved

    return from_saved(saved, printable(place))


def _is_run(place: Path) -> bool:
    """Whether the lines in a file are those of a monitor, or should be."""
    return place.suffix == ".jsonl" or is_history(place)


def _run(place: Path) -> History:
    """The lines that a monitor wrote, as the history that it had."""
    from numel.results import Following

    with Following(place, printable(place)) as run:
        run.grew()
        return run.now()


def _report(path: Path) -> Report:
    """A saved report; no other result has layers and tensors."""
    from numel.results import Report

    result = load(path)
    if not isinstance(result, Report):
        what = type(result).__name__.lower()
        raise TargetError(f"{printable(path)}: a saved {what}; numel show shows it, and here a report is expected")
    return result


def _with_values(found: Resolved, target: Any, snapshot: Snapshot) -> Report:
    """The tensors with histograms of their values; a note names those that hide theirs."""
    from numel.results import Report
    from numel.sources import values

    if found.built:
        raise TargetError(f"{printable(str(target))}: a model without weights; name a file of them, or a live module")
    if found.model is not None:
        histograms, unread = values.of_module(found.model)
    elif isinstance(target, str | os.PathLike | Mapping):
        histograms, unread = values.of_tensors(target, snapshot)
    else:
        raise TargetError("values: a Snapshot has none; give the module or the file that it came from")
    if not histograms:
        raise TargetError(f"{printable(str(target))[:80]}: no values to read; its parameters are not allocated")
    if unread:
        text = f"the values of {listed(unread)} can not be read, and are in no histogram"
        snapshot = replace(snapshot, notes=(*snapshot.notes, Note("values-unread", "warning", text, unread[0])))
    return Report(snapshot, None, "tensors", histograms)


def _snapshot(found: Resolved, target: Any) -> Snapshot:
    """The facts of whatever was found, under the name that the user gave, with the notes on how it was built."""
    if found.snapshot is not None:
        return found.snapshot
    if found.saved is not None:
        return _report(found.saved).snapshot
    from numel.sources.live import snapshot

    assert found.model is not None
    name = os.fspath(target) if isinstance(target, str | os.PathLike) else ""
    made = snapshot(found.model, target=name)
    return replace(made, notes=(*found.notes, *made.notes))


def _training(backward: bool, loss: Any, optimizer: Any) -> Training | None:
    """What is to come after the forward, if anything."""
    if not backward and loss is None and optimizer is None:
        return None
    if loss is not None and not callable(loss):
        raise InputsError(f"loss: {type(loss).__name__}; expected a callable that makes one number of the output")
    from numel.tracing import Training

    if isinstance(optimizer, str):
        from torch import optim

        known = {
            name.lower(): each
            for name, each in vars(optim).items()
            if isinstance(each, type) and issubclass(each, optim.Optimizer) and each is not optim.Optimizer
        }
        name = optimizer.lower().replace("_", "")
        if name not in known:
            raise InputsError(f"optimizer {optimizer!r}: expected one of {', '.join(sorted(known))}")
        optimizer = known[name]
    elif optimizer is not None and not callable(optimizer) and not hasattr(optimizer, "param_groups"):
        what = type(optimizer).__name__
        raise InputsError(f"optimizer: {what}; expected a torch.optim.Optimizer, a class or a name, as in 'adamw'")
    return Training(loss, optimizer)


def _trace(
    found: Resolved, nbytes: int, inputs: Any, mode: str, training: Training | None, every_block: bool
) -> Trace | None:
    """What the model runs. One that needs values, and was built here without weights, is built again with some."""
    from numel.tracing import default_inputs, made_up_by
    from numel.tracing import trace as traced

    model: Any = found.model
    said: tuple[Note, ...] = ()
    given = inputs
    if inputs is None:
        inputs = found.inputs or default_inputs(model)
        if inputs is None:
            return None
        said = (Note("default-inputs", "info", "no inputs were given; these are the model's own sample"),)
    if training is not None and found.built:
        model.train()
    with found.searching():
        ran = traced(model, inputs, mode=mode, training=training, every_block=every_block)
        untried = any(note.code == "not-allocated" for note in ran.notes)
        needs = ran.failure is not None and (ran.failure.needs_data or untried)
        needs = needs or any(note.code == "branch-by-data" for note in ran.notes)
        if needs and found.allocated is not None and mode in ("auto", "real"):
            if mode == "real" or nbytes <= _MOST_ALLOCATED:
                built, made_up = made_up_by(found.allocated)
                built.train(model.training)
                ran = traced(built, inputs, mode="real", made_up=made_up, training=training)
                text = "neither meta nor fake tensors do: the model was built with random weights and run for real"
                said = (*said, Note("allocated", "info", text))
            else:
                text = f"the forward reads values, and no weights are allocated; mode real allocates {nbytes:,} bytes"
                said = (*said, Note("not-allocated", "warning", text))
        if ran.failure is not None and given is not None:
            said = (*said, *_own_inputs(model, default_inputs(model), ran))
    return replace(ran, notes=(*said, *ran.notes))


def _own_inputs(model: Any, known: Inputs | None, ran: Trace) -> tuple[Note, ...]:
    """What the model's own sample has that a forward which stopped was not given: it may be why."""
    import inspect

    given = dict(ran.inputs) if isinstance(ran.inputs, Mapping) else {"*": ran.inputs}
    by_place = list(inspect.signature(model.forward).parameters)[: len(given.pop("*", ()))] if known else []
    missing = [name for name in (known.kwargs if known else ()) if name not in (*by_place, *given)]
    if not missing:
        return ()
    text = f"the model's own sample has {', '.join(missing)} as well, which was not given"
    return (Note("own-inputs", "info", text),)

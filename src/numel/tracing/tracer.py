"""Run a forward without its weights and write down what it does: on meta, else on fake tensors, else for real."""

from __future__ import annotations

from typing import Any

import torch

from numel.errors import InputsError
from numel.facts.note import Note
from numel.facts.provenance import Provenance
from numel.facts.trace import Failure, Mode, Trace
from numel.tracing import torch_private
from numel.tracing.arguments import mapped, normalised
from numel.tracing.calls import Calls
from numel.tracing.modes import Attempt, Stage
from numel.tracing.recorder import NeedsDtype
from numel.tracing.specs import spec_of
from numel.tracing.untouched import untouched

_LADDER: dict[str, tuple[Attempt, ...]] = {
    "auto": (Attempt("meta"), Attempt("meta", keep_all=True), Attempt("fake"), Attempt("real")),
    "meta": (Attempt("meta"), Attempt("meta", keep_all=True)),
    "fake": (Attempt("fake"),),
    "real": (Attempt("real"),),
}
_MOST_RESTARTS = 32


def trace(model: torch.nn.Module, inputs: Any, *, mode: str = "auto") -> Trace:
    """What `model(*inputs)` runs: every operator with shapes, dtypes and scalars, and every module call.

    `inputs` is a notation (`"f32[1,3,224,224]"`), a tensor or plain shape (the only argument), a tuple (positional),
    a dict (keyword) or `numel.Inputs`. `mode` "auto" tries meta tensors, then fake ones, then the real model, and
    takes the first that works; a step down is a note. A forward that raises gives the part up to there, with
    `failure` set. The model's training mode is kept. Raises `InputsError` for inputs that do not parse.

    >>> t = trace(torch.nn.Linear(4, 2), "f32[8,4]")
    >>> t.mode, [(op.op, str(op.outputs[0])) for op in t.ops]
    ('meta', [('aten.linear.default', 'f32[8,2]')])
    """
    if mode not in _LADDER:
        raise InputsError(f"mode {mode!r}: expected one of {', '.join(_LADDER)}")
    given = normalised(inputs)
    floating, device, allocated = _weights(model)
    best: Trace | None = None
    notes: list[Note] = []
    errors: list[tuple[str, str, str]] = []
    ladder = list(_LADDER[mode])
    numbers: dict[int, torch.dtype] = {}
    restarts = 0
    while ladder:
        attempt = ladder.pop(0)
        if attempt.mode == "real" and (not allocated or _conclusive(errors)):
            break
        try:
            found = _attempt(model, given, attempt, floating, device, numbers)
        except NeedsDtype as need:
            restarts += 1
            if restarts > _MOST_RESTARTS:
                raise InputsError("inputs: no element types could be found out; name them, as in i64[1,512]") from need
            numbers[need.which] = need.dtype
            ladder.insert(0, attempt)
            continue
        if found.failure is None:
            return _with_notes(found, (*found.notes, *notes))
        failure = found.failure
        errors.append((attempt.mode, failure.path, failure.message))
        if best is None or len(found.ops) >= len(best.ops):
            best = found
        if not attempt.autograd and "grad" in failure.message:
            ladder.insert(0, Attempt(attempt.mode, attempt.keep_all, autograd=True))
        if ladder and ladder[0].mode != attempt.mode:
            what = {"meta": "meta tensors", "fake": "fake tensors"}.get(attempt.mode, attempt.mode)
            reason = _one_line(failure.message)
            notes.append(Note("step-down", "info", f"not on {what}: {failure.error}: {reason}", failure.path))
    assert best is not None
    failure = best.failure
    assert failure is not None
    message = _one_line(failure.message)
    notes = [note for note in notes if not note.text.endswith(f"{failure.error}: {message}")]
    notes.append(Note("forward-failed", "error", f"{failure.error}: {message}", failure.path))
    return _with_notes(best, tuple(notes))


def _attempt(
    model: torch.nn.Module,
    given: Any,
    attempt: Attempt,
    floating: torch.dtype,
    device: torch.device,
    numbers: dict[int, torch.dtype],
) -> Trace:
    calls = Calls()
    training = model.training
    failure: Failure | None = None
    specs: Any = ()
    versions = _versions(model) if attempt.mode == "real" else {}
    with untouched(model):
        stage = Stage(attempt, calls, floating, device)
        stage.swap(model)
        calls.watch(model)
        count = iter(range(1 << 30))
        args, kwargs = mapped((given.args, dict(given.kwargs)), lambda value: stage.leaf(numbers, value, next(count)))
        specs = {"*": spec_of(args), **spec_of(kwargs)} if kwargs else spec_of(args)
        try:
            with stage.context():
                model(*args, **kwargs)
        except NeedsDtype:
            raise
        except Exception as error:
            if calls.failed is not None and calls.failed[0] is error:
                failure = calls.failed[1]
            else:
                failure = Failure("", _type(model), specs, type(error).__name__, str(error))
        records = calls.finish()
    notes: list[Note] = []
    if versions and _versions(model) != versions:
        notes.append(Note("weights-written", "error", "the forward wrote to its own parameters"))
    return Trace(
        calls=records,
        ops=tuple(stage.recorder.ops),
        inputs=specs,
        mode=attempt.mode,
        training=training,
        notes=tuple(notes),
        failure=failure,
        provenance=Provenance(_type(model), "trace", (("torch", str(torch.__version__)),)),
    )


def _with_notes(found: Trace, notes: tuple[Note, ...]) -> Trace:
    return Trace(
        found.calls, found.ops, found.events, found.inputs, found.mode, found.training, notes, found.failure,
        found.provenance,
    )  # fmt: skip


def _weights(model: torch.nn.Module) -> tuple[torch.dtype, torch.device, bool]:
    """The element type that floating inputs get, the device that they are on, and whether the weights have data."""
    floating: torch.dtype | None = None
    device = torch.device("cpu")
    allocated = True
    for tensor in (*model.parameters(), *model.buffers()):
        if torch.nn.parameter.is_lazy(tensor):
            continue
        if floating is None and tensor.dtype in _FLOATING:
            floating = tensor.dtype
            if tensor.device.type != "meta":
                device = tensor.device
        if tensor.device.type == "meta" or torch_private.is_fake(tensor):
            allocated = False
    return floating or torch.get_default_dtype(), device, allocated


_FLOATING = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def _versions(model: torch.nn.Module) -> dict[str, int]:
    return {name: p._version for name, p in model.named_parameters() if not torch.nn.parameter.is_lazy(p)}


def _conclusive(errors: list[tuple[str, str, str]]) -> bool:
    """Meta and fake tensors stopped at the same module with the same words: it is the model or its inputs."""
    by_mode: dict[Mode | str, tuple[str, str]] = {mode: (path, message) for mode, path, message in errors}
    return "meta" in by_mode and by_mode.get("meta") == by_mode.get("fake")


def _one_line(text: str) -> str:
    first = " ".join(text.split())
    return first if len(first) <= 300 else first[:299] + "…"


def _type(model: torch.nn.Module) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"

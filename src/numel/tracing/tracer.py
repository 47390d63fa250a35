"""Run a forward without its weights and write down what it does: on meta, else on fake tensors, else for real."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from numel import torch_private
from numel.errors import InputsError
from numel.facts.inputs import Inputs, InputSpec
from numel.facts.note import Note
from numel.facts.provenance import Provenance, versions
from numel.facts.trace import CallRecord, Failure, Mode, Phase, Trace
from numel.tracing.arguments import mapped, normalised
from numel.tracing.backward import Training, used_by
from numel.tracing.calls import Calls
from numel.tracing.ends import DataDependent, NeedsDtype, NotAlike
from numel.tracing.meta_recorder import UNCAST, MetaRecorder
from numel.tracing.modes import Attempt, Stage
from numel.tracing.processes import Processes
from numel.tracing.real_recorder import RealRecorder
from numel.tracing.recorder import Recorder
from numel.tracing.repeats import Repeats
from numel.tracing.specs import spec_of
from numel.tracing.tree import named_modules, tensors
from numel.tracing.untouched import States, room, untouched

_BALANCED = Attempt("meta", keep_all=True, balanced=True)
_LADDER: dict[str, tuple[Attempt, ...]] = {
    "auto": (Attempt("meta"), Attempt("meta", keep_all=True), _BALANCED, Attempt("fake"), Attempt("real")),
    "meta": (Attempt("meta"), Attempt("meta", keep_all=True), _BALANCED),
    "fake": (Attempt("fake"),),
    "real": (Attempt("real"),),
}
_MOST_RESTARTS = 32
_MOST_UNLIKE = 8  # lists of blocks that are found to differ when they run; from then on every block does
_MOST_ITEMS = 1000  # that are taken of an iterator

MadeUp = frozenset["int | None"]


def trace(
    model: torch.nn.Module, inputs: Any, *, mode: str = "auto", made_up: MadeUp = frozenset(),
    training: Training | None = None, every_block: bool = False,
) -> Trace:  # fmt: skip
    """What `model(*inputs)` runs: every operator with shapes, dtypes and scalars, and every module call. With
    `training` also what the backward pass and an optimizer's step run, and what is allocated, freed and saved.

    `inputs` is a notation (`"f32[1,3,224,224]"`), a tensor or plain shape (the only argument), a tuple (positional),
    a dict (keyword) or `numel.Inputs`. `mode` "auto" tries meta tensors, then fake ones, then the real model, and
    takes the first that works; a step down is a note. A forward that raises gives the part up to there, with
    `failure` set. The model's training mode is kept. `made_up` are the storages of the model whose values nobody gave,
    so that what they make the forward do is chance. Of blocks that are alike two run and stand for all
    (`numel.tracing.repeats`), or with `every_block` each: the trace is the same. Raises `InputsError` for inputs that
    do not parse.

    >>> t = trace(torch.nn.Linear(4, 2), "f32[8,4]")
    >>> t.mode, [(op.op, str(op.outputs[0])) for op in t.ops]
    ('meta', [('aten.linear.default', 'f32[8,2]')])
    """
    if mode not in _LADDER:
        raise InputsError(f"mode {mode!r}: expected one of {', '.join(_LADDER)}")
    run = _Run(model, normalised(inputs), made_up, training, every_block)
    best: Trace | None = None
    notes: list[Note] = []
    steps: list[tuple[Mode, str, str]] = []  # the mode that did not do, why, and where
    errors: dict[Mode, tuple[str, str]] = {}
    least: Attempt | None = None
    ladder = [replace(attempt, autograd=training is not None) for attempt in _LADDER[mode]]
    if training is not None and mode == "auto" and run.device.type != "cpu":
        ladder = [attempt for attempt in ladder if attempt.mode != "meta"]  # there, operators go as on a CPU
    if torch.is_autocast_enabled(run.device.type):
        text = UNCAST
        if mode == "auto":
            ladder = [attempt for attempt in ladder if attempt.mode != "meta"]
            steps.append(("meta", text, ""))
        elif mode == "meta":
            notes.append(Note("autocast", "warning", f"{text}: element types are those without it"))
    if ladder[0].mode != "meta" and run.undecided:
        run.decided(Attempt("meta"))  # only there are consumers asked
    while ladder:
        attempt = ladder.pop(0)
        if attempt.mode == "real" and not run.wraps and "meta" in errors and errors["meta"] == errors.get("fake"):
            break  # stopped at the same module with torch's same words: it is the model or its inputs
        if attempt.mode == "real" and not run.allocated:
            text = "its weights are not allocated"
            notes.append(Note("not-allocated", "info", f"not on the real model: {text}"))
            words = f"not on the real model: {text}; the modes auto, meta and fake need none"
            best = best or run.not_begun("NotAllocated", words)
            break
        found = run.decided(attempt)
        failed = found.failure
        if failed is None:
            found = run.sure(found, attempt)
            return replace(found, notes=(*found.notes, *notes, *_stepped(steps, found.mode)))
        if not failed.needs_data and not torch_private.lacks_fake_kernel(failed.message):
            errors[attempt.mode] = (failed.path, failed.message)
        if best is None or _further(found, best):
            best = found
        if least is None and failed.message == torch_private.BRANCH_BY_DATA:
            least = replace(attempt, least=True)
        if not attempt.autograd and ("grad" in failed.message or "InferenceMode" in failed.message):
            ladder.insert(0, replace(attempt, autograd=True))
        if ladder and ladder[0].balanced and (not failed.needs_data or (mode == "auto" and run.given_data)):
            ladder.pop(0)  # no value that a choice could make known is missing, or there are values to run on
        if ladder and ladder[0].mode != attempt.mode:
            steps.append((attempt.mode, _words(failed), failed.path))
    if least is not None:
        found = run.decided(least)
        if found.failure is None:
            return replace(found, notes=(*found.notes, *notes))
    assert best is not None
    failure = best.failure
    assert failure is not None
    others = [step for step in steps if step[1] != _words(failure)]
    notes += _stepped(others, None)
    notes.append(Note(f"{failure.phase}-failed", "error", _words(failure), failure.path))
    return replace(best, notes=(*best.notes, *notes))


_OF_VALUES = tuple(
    text.removeprefix("the forward") for text in (torch_private.VALUE_BY_DATA, torch_private.SHAPE_BY_DATA)
)
_MODES: dict[Mode, str] = {"meta": "meta tensors", "fake": "fake tensors", "real": "the real model"}


def _words(failure: Failure) -> str:
    message = _one_line(failure.message)
    return message if failure.needs_data else f"{failure.error}: {message}"


def _stepped(steps: list[tuple[Mode, str, str]], to: Mode | None) -> list[Note]:
    """A note for each reason to step down; a reason that two modes share is said once."""
    found: dict[tuple[str, str], list[str]] = {}
    for mode, why, path in steps:
        found.setdefault((why, path), []).append(_MODES[mode])
    end = "" if to is None else f"; it ran on {_MODES[to]}"
    if to == "fake" and any(why.endswith(_OF_VALUES) for why, _ in found):
        end += ", where code may take a way of its own around that: real inputs may run a little more or less"
    return [
        Note("step-down", "info", f"not on {' nor on '.join(modes)}: {why}{end}", path)
        for (why, path), modes in found.items()
    ]


class _Run:
    """A model and its inputs, to be run once or more; `numbers` are the element types found out, by input."""

    def __init__(
        self, model: torch.nn.Module, given: Inputs, made_up: MadeUp, after: Training | None, every_block: bool
    ) -> None:
        self.model = model
        self.after = after
        self.repeats = after is None and not every_block
        self.unlike: set[str] = set()  # the first of blocks that are not as alike as they look
        self.beside, self.loose = ([], []) if after is None else used_by(after.loss, model)
        self.made_up = made_up
        self.given = given
        self.numbers: dict[int, torch.dtype] = {}
        self.drawn_by_seed = False  # the last run drew from Python's or NumPy's own generator, and from no other
        self.tree = named_modules(model)
        self.every = [module for _, module in self.tree]
        self.kept: States | None = None
        self.shared: Processes | None = None
        every = list(tensors(self.every))
        self.floating, self.device, self.allocated = _weights(every)
        # stand-ins of wrappers lack their parts, which a forward may ask for
        held = {type(each) for each in every}
        self.wraps = any(torch_private.wraps_tensors(kind) and not torch_private.is_spread(kind) for kind in held)

    @property
    def _loss(self) -> Any:
        return None if self.after is None else self.after.loss

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What is to run."""
        if self.after is None:
            return ("forward",)
        return ("forward", "backward") if self.after.optimizer is None else ("forward", "backward", "optimizer")

    @property
    def undecided(self) -> bool:
        """Whether an input's element type is to be found out."""
        specs: list[Any] = []
        mapped((self.given.args, dict(self.given.kwargs)), specs.append)
        return any(isinstance(each, InputSpec) and each.dtype is None for each in specs)

    @property
    def given_data(self) -> bool:
        """Whether there are values to run on, of the model and of an input: what they make it do is no assumption."""
        leaves: list[Any] = []
        mapped((self.given.args, dict(self.given.kwargs)), leaves.append)
        return self.allocated and any(isinstance(each, torch.Tensor) and not each.is_meta for each in leaves)

    def _states(self) -> States:
        """All that a run could change, as it is; looked at once."""
        if self.kept is None:
            self.kept = States((*self.every, *self.beside), (self.given, self._loss))
        return self.kept

    def _processes(self) -> Processes:
        """What the model shares with other processes; looked at once."""
        if self.shared is None:
            self.shared = Processes(self.every)
        return self.shared

    def decided(self, attempt: Attempt) -> Trace:
        """One attempt, begun anew whenever a consumer says what an input must be.

        Where a forward fails before anything has consumed an input, this may be a mask (`~mask` takes no floats): then
        it is one, if that works. Of several, each is tried that lets the forward get further.
        """
        found, left = self._restarted(attempt)
        if found.failure is None or not left:
            return found
        given, furthest = self.numbers, len(found.ops)
        for which in sorted(left):
            before = self.numbers
            self.numbers = {**before, which: torch.bool}
            again, _ = self._restarted(attempt)
            if again.failure is None:
                return again
            if len(again.ops) > furthest:
                furthest = len(again.ops)
            else:
                self.numbers = before
        self.numbers = given
        return found

    def _restarted(self, attempt: Attempt) -> tuple[Trace, set[int]]:
        for _ in range(_MOST_RESTARTS + _MOST_UNLIKE):
            try:
                return self._once(attempt)
            except NeedsDtype as need:
                self.numbers[need.which] = need.dtype
            except NotAlike as found:
                self.unlike.add(found.path)
                self.repeats = len(self.unlike) < _MOST_UNLIKE
        raise InputsError("inputs: no element types could be found out; name them, as in i64[1,512]")

    def sure(self, found: Trace, attempt: Attempt) -> Trace:
        """`found`, certain where draws of an evaluation decide nothing: some models draw for every layer, and look at
        it in training alone. Four draws that ran the very same are taken for all."""
        if not self.drawn_by_seed or found.training or attempt.mode == "real":
            return found
        for seed in (1, 2, 3):
            again, _ = self._once(attempt, seed)
            if (again.ops, again.calls, again.failure) != (found.ops, found.calls, None):
                return found
        text = "the forward draws from Python's or NumPy's generator; four draws ran the very same operators"
        notes = [Note("draws", "info", text) if note.code == "sampled" else note for note in found.notes]
        return replace(found, sampled=None, notes=tuple(notes))

    def _once(self, attempt: Attempt, seed: int = 0) -> tuple[Trace, set[int]]:
        """One run from the start, and the inputs whose element type nothing decided."""
        model, given = self.model, self.given
        calls = Calls()
        training = _training(model)
        failure: Failure | None = None
        inferring = nullcontext() if self.after is None else torch.inference_mode(False)
        holding = untouched(self._states, seed=seed)
        with inferring, torch_private.alone(), holding as kept, room():  # in turn with other threads
            writers: dict[str, None] = {}

            def before_write(tensor: torch.Tensor) -> None:
                if kept.before_write(tensor):
                    writers[stage.recorder.who] = None

            stage = Stage(attempt, calls, self.floating, self.device, before_write, made_up=self.made_up)
            specs: Any = ()
            went: list[Note] = []
            count = iter(range(1 << 30))
            try:
                stage.swap(self.every, self._processes(), self.beside)
                around = None
                if self.repeats and isinstance(stage.recorder, MetaRecorder):
                    around = Repeats(self.tree, calls, stage.recorder, kept.drew, self.unlike).around
                calls.watch(self.tree, around)
                args, kwargs = mapped(
                    (given.args, dict(given.kwargs)), lambda leaf: stage.leaf(self.numbers, leaf, next(count))
                )
                specs = {"*": spec_of(args), **spec_of(kwargs)} if kwargs else spec_of(args)
                if self.after is not None:
                    kept.take_gradients((*model.parameters(), *self.loose, *_parameters(self.beside)))
                    stage.watch_memory(model, self.beside, (args, kwargs))
                with stage.context(), redirect_stdout(sys.stderr):  # what the forward prints is no part of a document
                    outputs = model(*args, **kwargs)
                    outputs = _exhausted(outputs, stage.recorder, model)
                    if self.after is not None:
                        went.append(stage.train(self.after, model, outputs))
            except InputsError:
                raise
            except (Exception, SystemExit, DataDependent, NeedsDtype, NotAlike) as error:
                if calls.failed is not None and calls.failed[0] is error:
                    failure = replace(calls.failed[1], phase=stage.doing)
                else:
                    failure = Failure("", _type(model), specs, type(error).__name__, str(error), stage.doing)
            if stage.recorder.ended is not None:
                ended, at = stage.recorder.ended
                if isinstance(ended, NeedsDtype | NotAlike):
                    raise ended
                failure = calls.failure(at, ended) or Failure("", _type(model), specs, type(ended).__name__, str(ended))
                failure = replace(failure, phase=stage.doing)
            if calls.strayed and not any(op.outside for op in stage.recorder.ops):
                stage.recorder.starts("thread", None)  # one that was there before
            records = calls.finish()
            left = stage.recorder.undecided.left if isinstance(stage.recorder, MetaRecorder) else set()
            drew, drew_held = kept.drew(), kept.drew_held()
            self.drawn_by_seed = drew and not drew_held
        sampled, said = _chance(stage.recorder, records, drew or drew_held)
        routers = stage.recorder.routers if isinstance(stage.recorder, MetaRecorder) else None
        if routers is not None:
            sampled = routers.sampled if sampled is None else sampled
            said += routers.notes(records, _called(self.tree))
        notes = [
            Note("scripted", "info", "torch.jit runs it whole: the operators of its parts are put down to it", path)
            for path in calls.scripted
        ]
        mixed = stage.recorder.mixed if isinstance(stage.recorder, MetaRecorder) else ""
        for note, at in stage.recorder.said:
            each = replace(note, path=records[at].path if at >= 0 else "")
            if each not in notes:
                notes.append(each)
        if mixed:
            text = f"{mixed}: a real kernel refuses that, unless autocast makes them agree"
            notes.append(Note("mixed-dtypes", "warning", text))
        if writers:
            text = f"{' and '.join(writers)} wrote to the model's tensors: they are put back"
            notes.append(Note("weights-written", "info", text))
        notes += (*went, *said)
        if stage.processes is not None:
            notes += stage.processes.notes()
        if stage.dense:
            text = (
                "dense tensors stand for weights that a class of their own keeps: MACs are those of the dense product; "
                "what unpacks weights or quantises inputs is not in elementwise (mode real has it)"
            )
            notes.append(Note("dense-product", "info", text))
        found = Trace(
            calls=records,
            ops=tuple(stage.recorder.ops),
            events=() if stage.memory is None else stage.memory.events(),
            inputs=specs,
            mode=attempt.mode,
            training=training,
            notes=tuple(notes),
            failure=failure,
            sampled=sampled,
            whole=tuple(calls.scripted),
            phases=self.phases if stage.stepped else tuple(p for p in self.phases if p != "optimizer"),
            provenance=_provenance(model),
        )
        return found, left

    def not_begun(self, error: str, message: str) -> Trace:
        """The trace of a run that could not even start."""
        failure = Failure("", _type(self.model), (), error, message)
        return Trace(
            mode="real", training=_training(self.model), failure=failure, phases=self.phases,
            provenance=_provenance(self.model),
        )  # fmt: skip


def _exhausted(outputs: Any, recorder: Recorder, model: torch.nn.Module) -> Any:
    """The outputs with lists for the iterators that a forward gave: only as these are taken does it compute. One that
    goes on is an operator that nothing prices, and one that the model holds is left alone."""
    if not _has_iterators(outputs):
        return outputs
    held = {id(value) for _, module in named_modules(model) for value in module.__dict__.values()}

    def taken(each: Any) -> Any:
        if not isinstance(each, Iterator) or id(each) in held:
            return each
        items = list(islice(each, _MOST_ITEMS))
        if len(items) == _MOST_ITEMS:
            recorder.starts("iterator", each)
        if isinstance(each, Generator):
            each.close()
        return items

    if isinstance(outputs, dict):
        return {name: taken(each) for name, each in outputs.items()}
    if type(outputs) in (tuple, list):
        return type(outputs)(taken(each) for each in outputs)
    return taken(outputs)


def _parameters(modules: Iterable[torch.nn.Module]) -> Iterator[torch.Tensor]:
    return (each for module in modules for each in module._parameters.values() if each is not None)


def _has_iterators(outputs: Any) -> bool:
    inside = outputs.values() if isinstance(outputs, dict) else outputs if type(outputs) in (tuple, list) else ()
    return isinstance(outputs, Iterator) or any(isinstance(each, Iterator) for each in inside)


def _chance(
    recorder: Recorder, calls: tuple[CallRecord, ...], drew: bool
) -> tuple[int | None, list[Note]]:  # fmt: skip
    """From which operator on chance decides what runs, and what to say about it."""
    if drew:
        text = "the forward draws from Python's or NumPy's generator: what runs may be the chance of one draw"
        return 0, [Note("sampled", "warning", text)]
    if not isinstance(recorder, RealRecorder):
        return None, []
    if recorder.sampled is None:
        text = "values are read, or shapes made of them: these numbers are for those that were given"
        who = " and ".join(recorder.decided)
        return None, [Note("by-value", "info", f"in {who}, {text}")] if who else []
    text = (
        f"{recorder.sampled_by} reads values that nobody gave (random inputs, weights or draws), or makes shapes of "
        "them: for others it may run more or less; real inputs to a model with real weights have numbers of their own"
    )
    learned = recorder.ops[recorder.sampled].call if recorder.sampled < len(recorder.ops) else -1
    return recorder.sampled, [Note("sampled", "warning", text, calls[learned].path if learned >= 0 else "")]


def _called(tree: Iterable[tuple[str, torch.nn.Module]]) -> dict[str, str]:
    """What each module and its parts are called, by path."""
    return {path: " ".join((type(module).__name__, *module._modules)) for path, module in tree}


def _further(found: Trace, best: Trace) -> bool:
    """Whether a later attempt tells more than the best so far.

    What fails likewise is told by the cheaper one; an error of the model's own tells more than one of this tracer's.
    """
    one, other = found.failure, best.failure
    assert one is not None
    assert other is not None
    if (one.path, one.message) == (other.path, other.message):
        return False
    came = [(not failure.needs_data, len(t.calls), len(t.ops)) for t, failure in ((found, one), (best, other))]
    return came[0] >= came[1]


def _weights(every: list[torch.Tensor]) -> tuple[torch.dtype, torch.device, bool]:
    """The element type that floating inputs get, the device that they are on, and whether the weights have data."""
    floating: torch.dtype | None = None
    device = torch.device("cpu")
    allocated = True
    for tensor in every:
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


def _one_line(text: str) -> str:
    first = " ".join(text.split())
    return first if len(first) <= 300 else first[:299] + "…"


def _type(model: torch.nn.Module) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _training(model: torch.nn.Module) -> bool:
    return bool(getattr(model, "training", False))  # torch.jit.freeze takes the attribute away


def _provenance(model: torch.nn.Module) -> Provenance:
    return Provenance(_type(model), "trace", versions(torch=str(torch.__version__)))

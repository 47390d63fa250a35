"""Which module is running: every module's forward wrapped on the instance while a trace lasts.

An instance attribute is what `module(x)` and `module.forward(x)` both reach, so a call that bypasses hooks is still
seen. Modules with hooks are entered at `_call_impl` as well: what a hook computes belongs to its module.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from threading import get_ident
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import torch

from numel import torch_private
from numel.facts.trace import CallRecord, Failure, Phase, Value
from numel.tracing.specs import spec_of

if TYPE_CHECKING:
    from numel.tracing.backward import Nodes


Around = Callable[["torch.nn.Module", Callable[..., Any]], Callable[..., Any]]


class Calls:
    """The calls so far and the one that is running, as an index into `records` (-1: none).

    `scripted` are the outermost modules that torch.jit runs: their parts make no calls. `strayed` says that a
    module ran in another thread, where no dispatch mode is active. `nodes` is there where autograd takes part: it is
    told when a call begins or ends, and says what a call in the backward pass is part of.
    """

    __slots__ = ("_before", "_hooks", "_inputs", "_modules", "_outputs", "_parents", "_paths", "_phases", "_thread",
                 "current", "failed", "nodes", "scripted", "strayed")  # fmt: skip

    def __init__(self) -> None:
        self.current = -1
        self.failed: tuple[BaseException, Failure] | None = None
        self.scripted: list[str] = []
        self.strayed = False
        self.nodes: Nodes | None = None
        self._thread = get_ident()
        self._paths: list[str] = []
        self._parents: list[int] = []
        self._inputs: list[Value] = []
        self._outputs: list[Value] = []
        self._modules: list[Any] = []
        self._before: dict[int, int] = {}  # what was running where it is not the parent: calls of the backward pass
        self._phases: dict[int, Phase] = {}
        self._hooks: list[Any] = []  # what is done with saved tensors where each call begins, where autograd takes part

    def watch(self, tree: Iterable[tuple[str, torch.nn.Module]], around: Around | None = None) -> None:
        """Wrap every module of a model, each at its first place. The caller restores each `__dict__`. `around` puts
        a wrapper of its own around one."""
        for path, module in tree:
            state = module.__dict__
            if torch_private.is_scripted(module) and not any(_inside(path, each) for each in self.scripted):
                self.scripted.append(path)
            if not hasattr(module, "forward"):  # scripted ones can lack it: a call raises as it would without us
                continue
            if module._forward_pre_hooks or module._forward_hooks:
                state["forward"] = self._hooked(path, module, module.forward)
                state["_call_impl"] = self._wrapped(path, module, module._call_impl, _HOOKED)
            else:
                run = self._wrapped(path, module, module.forward, None)
                state["forward"] = run if around is None else around(module, run)

    def _wrapped(self, path: str, module: Any, function: Callable[..., Any], mark: Any) -> Callable[..., Any]:
        begin, end, fail, thread = self._begin, self._end, self._fail, self._thread

        def forward(*args: Any, **kwargs: Any) -> Any:
            if get_ident() != thread:
                self.strayed = True
                return function(*args, **kwargs)
            at = begin(path, module, args, kwargs, mark)
            try:
                outputs = function(*args, **kwargs)
            except BaseException as error:
                fail(at, error)
                raise
            end(at, outputs)
            return self._resumed(at, outputs) if type(outputs) is GeneratorType else outputs

        forward.__wrapped__ = function  # type: ignore[attr-defined]  # inspect.signature(self.forward) looks here
        return forward

    def _resumed(self, at: int, generator: Any) -> Generator[Any, Any, Any]:
        """A generator that a forward gave: its steps belong to the call that made it, whoever takes them."""
        sent = None
        while True:
            running, self.current = self.current, at
            try:
                item = generator.send(sent)
            except StopIteration as stopped:
                return stopped.value
            except BaseException as error:
                self._fail(at, error)
                raise
            finally:
                self.current = running
            sent = yield item

    def _hooked(self, path: str, module: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        """The forward of a module with hooks: part of the call that its `_call_impl` began, else a call itself."""
        alone = self._wrapped(path, module, function, None)

        def forward(*args: Any, **kwargs: Any) -> Any:
            at = self.current
            if at >= 0 and self._modules[at] is module and self._outputs[at] is _HOOKED:
                self._outputs[at] = None
                return function(*args, **kwargs)
            return alone(*args, **kwargs)

        forward.__wrapped__ = function  # type: ignore[attr-defined]
        return forward

    def _begin(self, path: str, module: Any, args: Any, kwargs: Any, mark: Any) -> int:
        inputs = spec_of(args)  # first: what raises here leaves no half of a record
        if kwargs:
            inputs = {"*": inputs, **spec_of(kwargs)}
        at = len(self._paths)
        parent = self.current
        if self.nodes is not None:
            self.nodes.told()
            self._hooks.append(self.nodes.hooks())
            parent, phase = self.nodes.parent()
            if phase != "forward":
                self._before[at], self._phases[at] = self.current, phase
        self._paths.append(path)
        self._parents.append(parent)
        self._inputs.append(inputs)
        self._outputs.append(mark)
        self._modules.append(module)
        self.current = at
        return at

    def _end(self, at: int, outputs: Any) -> None:
        self._outputs[at] = spec_of(outputs)
        self._leave(at)

    def _leave(self, at: int) -> None:
        if self.nodes is not None:
            self.nodes.told()
        self.current = self._before.get(at, self._parents[at])

    def outside_of_hooks(self, at: int) -> int:
        """The innermost call around `at` that did not begin under the hooks on saved tensors that `at` began under: the
        one that has a part of itself checkpointed, if `at` is in that part."""
        hooks = self._hooks[at] if at >= 0 else None
        while hooks is not None and at >= 0 and (self._hooks[at] is hooks or self._hooks[at] == hooks):
            at = self._parents[at]
        return at

    def _fail(self, at: int, error: BaseException) -> None:
        self._leave(at)
        self._outputs[at] = None
        if torch_private.ends_recomputation(error):
            return  # no failure; and to keep it would keep what the frames of its traceback hold
        found = self.failure(at, error)
        if found is not None and (self.failed is None or self.failed[0] is not error):
            self.failed = (error, found)

    def failure(self, at: int, error: BaseException) -> Failure | None:
        """An error as the failure of the call `at`; `None` when it was in no call."""
        if at < 0:
            return None
        return _failure(self._paths[at], self._modules[at], self._inputs[at], type(error).__name__, str(error))

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._paths)

    @property
    def here(self) -> bool:
        """Whether this is the thread that calls are written down of."""
        return get_ident() == self._thread

    def paths(self, of: slice) -> list[str]:
        return self._paths[of]

    def equal(self, one: slice, other: slice, places: Mapping[str, str]) -> bool:
        """Whether two series of calls are the same but for where they are: `places` has the paths of the other ones."""
        by = other.start - one.start
        return (
            [places[path] for path in self._paths[one]] == self._paths[other]
            and [parent + by for parent in self._parents[one][1:]] == self._parents[other][1:]
            and self._inputs[one] == self._inputs[other]
            and self._outputs[one] == self._outputs[other]
        )

    def again(self, series: slice, places: Mapping[str, str]) -> int:
        """A series of calls, one and those inside it, is made once more, elsewhere. Returns by how much it moved."""
        by: int = self.count - series.start
        self._parents += [self.current, *(parent + by for parent in self._parents[series][1:])]
        self._paths += [places[path] for path in self._paths[series]]
        for kept in (self._inputs, self._outputs, self._modules):
            kept += kept[series]
        return by

    def path(self, at: int) -> str:
        """Where the module of a call is; "" outside of all."""
        return self._paths[at] if at >= 0 else ""

    def finish(self) -> tuple[CallRecord, ...]:
        """The calls as records, in the order they began. The modules themselves are let go."""
        counts: dict[str, int] = {}
        records: list[CallRecord] = []
        for path, parent, inputs, outputs in zip(self._paths, self._parents, self._inputs, self._outputs, strict=True):
            index = counts.get(path, 0)
            counts[path] = index + 1
            made = None if outputs is _HOOKED else outputs
            records.append(CallRecord(path, index, parent, inputs, made, 1, self._phases.get(len(records), "forward")))
        self._modules.clear()
        return tuple(records)


def _failure(path: str, module: Any, inputs: Value, error: str, message: str) -> Failure:
    return Failure(path, f"{type(module).__module__}.{type(module).__qualname__}", inputs, error, message)


def _inside(path: str, above: str) -> bool:
    return not above or path.startswith(above + ".")


_HOOKED = object()

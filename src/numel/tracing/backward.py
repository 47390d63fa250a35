"""Loss, backward pass and optimizer step of a traced forward, and whose work each operator of them is.

Autograd numbers its nodes in the order that they are made, so the numbers at which module calls begin and end say which
call made a node; in the backward pass the running node is asked for its number.
"""

from __future__ import annotations

import copy
import functools
import inspect
import types
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from numel import torch_private
from numel.errors import InputsError
from numel.facts.trace import Phase
from numel.tracing.calls import Calls
from numel.tracing.tree import modules
from numel.tracing.untouched import closed_over


@dataclass(frozen=True, slots=True)
class Training:
    """What comes after the forward. `loss` makes one number of the output (`None`: the output's own `.loss`, else the
    mean of its floating tensors); `optimizer` is one over the model's parameters, or a callable that makes one of
    parameters (`None`: no step). Raises `InputsError` for a loss that wants more than the output, and for an optimizer
    whose step computes the loss again."""

    loss: Callable[[Any], Any] | None = None
    optimizer: Any = None

    def __post_init__(self) -> None:
        _takes_the_output(self.loss)
        _steps_by_itself(self.optimizer)


def _takes_the_output(loss: Any) -> None:
    name = getattr(loss, "__name__", type(loss).__name__)
    if isinstance(loss, type):
        raise InputsError(f"loss: {name} is a class; expected a callable, as in lambda y: {name}()(y, target)")
    try:
        takes = inspect.signature(loss.forward if isinstance(loss, torch.nn.Module) else loss)
    except (TypeError, ValueError):  # none, or one that does not tell
        return
    try:
        takes.bind(None)
    except TypeError as error:
        text = f"loss: {name} can not be called with the output alone ({error}); give a lambda that adds the rest"
        raise InputsError(text) from error


def _steps_by_itself(optimizer: Any) -> None:
    try:
        closure = inspect.signature(optimizer.step).parameters.get("closure")
    except (AttributeError, TypeError, ValueError):  # none, or a callable that makes one
        return
    if closure is not None and closure.default is inspect.Parameter.empty:
        name = optimizer.__name__ if isinstance(optimizer, type) else type(optimizer).__name__
        text = "computes the loss again in its step, as often as values decide: a step has no count of its own"
        raise InputsError(f"optimizer: {name} {text}; backward=True has that of the loss once, forward and backward")


class Nodes:
    """Which module call, and which phase, the operator that is about to run belongs to."""

    __slots__ = ("_calls", "_first", "_made", "_outside", "_own", "phase", "running")

    def __init__(self, calls: Calls) -> None:
        self.phase: Phase = "forward"
        self.running = -1  # the number of the node whose operator `place` was last asked for
        self._calls = calls
        self._first = torch_private.next_node()
        self._made: list[int] = []  # the call that made each node since
        self._outside = -1  # whose are the nodes that are made outside of all calls
        self._own = torch_private.saving()  # hooks on saved tensors that are not the forward's
        calls.nodes = self

    def told(self) -> None:
        """Nodes that were made since this was last said belong to the call that is running: a call begins or ends."""
        current = self._calls.current
        self._belong(self._outside if current < 0 else current)

    def _belong(self, call: int) -> None:
        new = torch_private.next_node() - self._first - len(self._made)
        if new > 0:
            self._made += [call] * new

    def place(self) -> tuple[int, Phase]:
        """Whose operator is about to run."""
        current = self._calls.current
        self.running = -1
        if self.phase != "backward":
            return current, self.phase
        node = torch_private.running_node()
        if node is None:
            return current, "backward"
        self.running = node._sequence_nr()
        if not torch.is_grad_enabled():
            return (self._maker(node) if current < 0 else current), "backward"
        call = current
        if current < 0:
            call = self._outside = self._again(node)
        self._belong(call)  # a reentrant one goes back through what it makes
        return call, "recompute"

    def parent(self) -> tuple[int, Phase]:
        """The call that a module call which begins now is part of."""
        call, phase = self.place()
        return (self._calls.current, phase) if phase == "forward" else (call, phase)

    def hooks(self) -> Any:
        """What the forward itself does with tensors that are saved from here on; `None` where nothing. It is equal for
        equal hooks, and does not keep them, nor what they keep."""
        found = torch_private.saving()
        if found is None or found is self._own:
            return None
        return weakref.ref(found) if isinstance(found, types.FunctionType) else id(found)

    def _maker(self, node: Any) -> int:
        """The call that made a node; what accumulates gradients has no number, and belongs to no call."""
        at = node._sequence_nr() - self._first
        return self._made[at] if 0 <= at < len(self._made) else -1

    def _again(self, node: Any) -> int:
        """The call that had a part of itself checkpointed, which `node` now needs again."""
        return self._calls.outside_of_hooks(self._maker(node))


_MOST_USED = 10_000  # objects


def used_by(loss: Any, model: torch.nn.Module) -> tuple[list[torch.nn.Module], list[torch.Tensor]]:
    """Modules and tensors beside the model that a loss may use: itself, its object and attributes, what it closes over,
    its defaults, and the globals that its code names."""
    own = {id(module) for module in modules(model)}
    found: list[torch.nn.Module] = []
    tensors: list[torch.Tensor] = []
    pending: list[Any] = [loss]
    seen: set[int] = set()
    while pending and len(seen) < _MOST_USED:
        each = pending.pop()
        if id(each) in seen or isinstance(each, type | types.ModuleType | types.BuiltinFunctionType | str | bytes):
            continue
        seen.add(id(each))
        if isinstance(each, torch.Tensor):
            tensors.append(each)
        elif isinstance(each, torch.nn.Module):
            found += [module for module in modules(each) if id(module) not in own]
            own.update(id(module) for module in found)
        elif isinstance(each, types.MethodType):
            pending += [each.__self__, each.__func__]
        elif isinstance(each, types.FunctionType):
            pending += [*(each.__defaults__ or ()), *(each.__kwdefaults__ or {}).values(), *closed_over(each)]
            near = [each.__globals__.get(name) for name in _named(each.__code__)]
            pending += [value for value in near if not _is_elsewhere(value, each.__globals__)]
        elif isinstance(each, functools.partial):
            pending += [each.func, *each.args, *each.keywords.values()]
        elif isinstance(each, dict):
            pending += each.values()
        elif isinstance(each, list | tuple | set):
            pending += each
        elif isinstance(getattr(each, "__dict__", None), dict):
            pending += vars(each).values()
    return found, tensors


def _named(code: types.CodeType) -> Iterable[str]:
    """The names that code looks up, and functions inside of it."""
    pending = [code]
    while pending:
        each = pending.pop()
        yield from each.co_names
        pending += [const for const in each.co_consts if isinstance(const, types.CodeType)]


def _is_elsewhere(value: Any, file: Mapping[str, Any]) -> bool:
    """Whether a global is a function of another file: it has no weights of this one's."""
    return isinstance(value, types.FunctionType) and value.__globals__ is not file


def loss_of(outputs: Any, loss: Callable[[Any], Any] | None) -> tuple[torch.Tensor | None, str]:
    """The number to go back from, and how it came about; `None` where nothing of it can train.

    Raises `InputsError` for a loss that is no single number.
    """
    if loss is not None:
        made, how = loss(outputs), "the loss that was given"
    else:
        made, how = _own_loss(outputs), "the output's own loss"
        if made is None:
            floating = list(_floating(outputs))
            if not floating:
                raise RuntimeError("the output holds no floating tensor to go back from; give a loss")
            each = [t for t in floating if t.requires_grad]
            if not each:
                return None, "every output"
            means = [t.abs().mean() if t.is_complex() else t.mean() for t in each]
            made, how = sum(means[1:], means[0]), "the mean of its floating outputs"
    if not isinstance(made, torch.Tensor) or made.numel() != 1:
        what = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, torch.Tensor) else repr(type(made).__name__)
        raise InputsError(f"loss: returned {what}; expected one number, as of a tensor's mean()")
    return (made if made.requires_grad else None), how


def _own_loss(outputs: Any) -> torch.Tensor | None:
    found = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
    return found if isinstance(found, torch.Tensor) and found.numel() == 1 else None


def _floating(outputs: Any) -> Iterable[torch.Tensor]:
    """The floating tensors of an output, in order: of tuples, mappings and dataclasses."""
    pending, seen = [outputs], set()
    while pending:
        each = pending.pop()
        if isinstance(each, torch.Tensor):
            if (each.is_floating_point() or each.is_complex()) and id(each) not in seen:
                seen.add(id(each))
                yield each
        elif isinstance(each, Mapping):
            pending.extend(reversed(list(each.values())))
        elif isinstance(each, list | tuple):
            pending.extend(reversed(each))
        elif hasattr(each, "__dataclass_fields__"):
            pending.extend(reversed([getattr(each, name) for name in each.__dataclass_fields__]))


def stepping(optimizer: Any, parameters: Mapping[int, torch.Tensor]) -> Any:
    """An optimizer over stand-ins: `parameters` maps the identity of each tensor of the model to what stands for it.

    One that was given is copied with all that it holds, other optimizers too, but without hooks and state, which its
    step makes again. Raises `InputsError` for one that holds none of the model's parameters, can not be copied, or
    takes no such gradients.
    """
    if not hasattr(optimizer, "param_groups"):
        trains = [each for each in parameters.values() if each.requires_grad]
        made = optimizer(trains)
        if not hasattr(made, "param_groups"):
            raise InputsError(f"optimizer: made a {type(made).__name__}; expected a torch.optim.Optimizer")
        _steps_by_itself(made)
        return _with_its_gradients(made)
    if not any(id(each) in parameters for group in optimizer.param_groups for each in group["params"]):
        raise InputsError("optimizer: holds no parameter of this model; expected one over model.parameters()")
    try:
        with torch_private.alone():
            copied = _copied(optimizer, dict(parameters))
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise InputsError(f"optimizer: can not be copied ({what}); give its class or a callable instead") from error
    return _with_its_gradients(copied)


def _with_its_gradients(optimizer: Any) -> Any:
    """The optimizer. Raises `InputsError` where the gradients are of a layout that it does not take."""
    if isinstance(optimizer, torch.optim.SparseAdam):
        held = (each.grad for group in optimizer.param_groups for each in group["params"])
        if not all(grad is None or grad.is_sparse for grad in held):
            text = "SparseAdam takes sparse gradients alone, as of nn.Embedding(sparse=True); this model has dense ones"
            raise InputsError(f"optimizer: {text}")
    return optimizer


_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def _copied(optimizer: Any, memo: dict[int, Any]) -> Any:
    """A copy by attributes: one is pickled without those of its subclass. `memo` is that of `copy.deepcopy`."""
    own = memo[id(optimizer)] = object.__new__(type(optimizer))
    held = dict(vars(optimizer))
    held.pop("step", None)  # a scheduler's wrapper
    for value in held.values():
        if isinstance(value, torch.optim.Optimizer) and id(value) not in memo:
            _copied(value, memo)
    groups = held.pop("param_groups", [])
    anew: dict[str, Any] = {"state": defaultdict(dict), **{name: OrderedDict() for name in _HOOKS}}
    for name in anew.keys() & held.keys():
        own.__dict__[name] = memo[id(held.pop(name))] = anew[name]
    own.param_groups = memo[id(groups)] = []
    for group in groups:
        params = [memo[id(each)] for each in group["params"] if id(each) in memo]
        rest = {name: copy.deepcopy(value, memo) for name, value in group.items() if name != "params"}
        own.param_groups.append({"params": params, **rest})
    own.__dict__.update(copy.deepcopy(held, memo))
    return own

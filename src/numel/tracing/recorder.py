"""The dispatch mode that writes operators down, and runs each as it comes: on fake tensors, and what all ways share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from numel import torch_private
from numel.facts.note import Note
from numel.facts.trace import OUTSIDE, OpRecord, Phase, Value
from numel.tracing import higher_order
from numel.tracing.arguments import tensors_of
from numel.tracing.backward import Nodes
from numel.tracing.calls import Calls
from numel.tracing.ends import DataDependent, Ends
from numel.tracing.in_place import ASKED, as_unwatched
from numel.tracing.memory import Memory, room_of
from numel.tracing.operators import OPERATORS, READ, Operator, written
from numel.tracing.specs import spec_of, spec_of_tensor


class Recorder(torch_private.DispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operator as it comes and writes it down: for fake and for real tensors.

    `before_write` is told of each tensor that an operator is about to write to.
    """

    supports_higher_order_operators = True

    def __init__(self, calls: Calls, before_write: Callable[[torch.Tensor], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = calls
        self.ops: list[OpRecord] = []
        self.ended: tuple[Ends, int] | None = None  # and the call that it ended in
        self.nodes: Nodes | None = None  # where autograd takes part, these two
        self.memory: Memory | None = None
        self.who = "the forward"  # whatever runs now, in words
        self.least = False  # where nothing tells which function an operator runs, what is certain is written down
        # for each time that the forward, or what runs for it, went by values: the operator from which on these could
        # have been made; -1 where they may have been there before
        self.asked: list[int] = []
        self.said: list[tuple[Note, int]] = []  # and the call that each is about
        self._before_write = before_write

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if types and any(map(torch_private.wraps_tensors, types)):
            return self.apart(func, types, args, kwargs or {})
        kwargs = kwargs or {}
        if self.memory is not None and func in ASKED:
            func = as_unwatched(func, args, self.memory)
        known = OPERATORS.get(func)
        if known is None:
            if torch_private.is_higher_order(func):
                return higher_order.run(self, func, args, kwargs or {})
            known = OPERATORS[func] = Operator(func)
        if known.asks:
            return func(*args, **kwargs)
        if known.composite:
            with self:
                outputs = func.decompose(*args, **kwargs)
            if outputs is not NotImplemented:
                return outputs
        inputs = spec_of(args)
        options = tuple((name, spec_of(value)) for name, value in kwargs.items()) if kwargs else ()
        outputs = self.run(known, func, args, kwargs)
        self.write(known, inputs, options, outputs)
        return outputs

    def apart(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """An operator on a wrapper: its class takes it apart, and its parts come by here. A DTensor finds out where
        results go by what composite operators are made of, as it sees them where autograd takes part."""
        if any(map(torch_private.is_spread, types)) and torch_private.is_composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        return NotImplemented

    def run(self, known: Operator, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The operator itself."""
        for tensor in written(known, args, kwargs):
            self._before_write(tensor)
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            reason = torch_private.unknown_data(error)
            if reason is None:
                raise
            raise self.end(DataDependent(reason)) from error

    def knows(self, tensor: torch.Tensor) -> bool:
        """Whether the values of `tensor` can be read."""
        return not (tensor.is_meta or torch_private.is_fake(tensor))

    def known(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor that holds the values of one that is known."""
        self.asked.append(-1)
        return tensor

    def to_meta(self, value: Any) -> Any:
        """What stands for `value` where no operator needs data."""
        return value

    def unknown_branch(self) -> BaseException:
        """To be raised where data decide which function runs, and this run has none."""
        return self.end(DataDependent(torch_private.BRANCH_BY_DATA))

    def phase(self) -> Phase:
        """The phase of what runs now."""
        return "forward" if self.nodes is None else self.nodes.place()[1]

    def readable(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor whose values the forward reads when it asks for those of `tensor`."""
        self.asked.append(-1)
        if tensor.is_meta or torch_private.is_fake(tensor):
            raise self.end(DataDependent(torch_private.VALUE_BY_DATA))
        return tensor

    def listed(self, tensor: torch.Tensor) -> torch.Tensor:
        """The forward makes a list of values: an operator for it, and the tensor that has them."""
        found = self.readable(tensor)
        self.append(READ, (spec_of_tensor(tensor),), (), (None,))
        return found

    def leaves(self, how: str, data: Any) -> Any:
        """The forward hands a tensor or its storage to other code, whose work is not seen: one operator stands for
        it. Returns `data`."""
        if data.device.type == "meta" or torch_private.is_fake(data):
            raise self.end(DataDependent("the forward takes data out of torch"))
        self._outside(how, *([spec_of_tensor(data)] if isinstance(data, torch.Tensor) else ()))
        return data

    def starts(self, how: str, what: Any) -> Any:
        """The forward starts something that runs beside it, and is not seen. Returns `what`."""
        self._outside(how)
        return what

    def casts(self, autocast: Any) -> Any:
        """The forward turns autocast on or off. Returns `autocast`."""
        return autocast

    def _outside(self, how: str, *args: Value) -> None:
        self.asked.append(-1)
        self.append(f"{OUTSIDE}{how}.default", args, (), ())

    def end(self, error: Ends) -> Ends:
        """`error`, to be raised: from here on this run gives no right answer, whatever the forward makes of it."""
        if isinstance(error, DataDependent):
            error.args = tuple(str(each).replace("the forward", self.who) for each in error.args)
        if self.ended is None:
            self.ended = (error, self.calls.current)
        return error

    def write(self, known: Operator, args: Value, options: Any, outputs: Any) -> None:
        """One record; outputs are always a tuple."""
        if isinstance(outputs, torch.Tensor):
            made: Value = (spec_of_tensor(outputs),)
        elif isinstance(outputs, tuple | list):
            made = spec_of(outputs)
        else:
            made = (spec_of(outputs),)
        self.append(known.name, args, options, made, outputs)

    def append(self, name: str, args: Value, options: Any, made: Value, outputs: Any = None) -> None:
        """One record of an operator of this name."""
        if self.nodes is None:
            self.ops.append(OpRecord(name, self.calls.current, args, options, made))
            return
        call, phase = self.nodes.place()
        self.ops.append(OpRecord(name, call, args, options, made, phase))
        if self.memory is not None:
            self.memory.made(tensors_of(outputs), call, phase, self.nodes.running, room_of(name, args, made))

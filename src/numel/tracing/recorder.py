"""The dispatch mode that writes operators down, and how it runs them: on meta with known constants, fake, or real.

On meta, tensors that a forward makes out of nothing (arange, zeros, masks) stay small and real, so that code which
looks at their values works and nothing is guessed; where they meet the model's tensors they become meta. A value that
only the real inputs or weights could give raises, and the tracer steps down.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from numel import torch_private
from numel.facts.note import Note
from numel.facts.trace import OUTSIDE, OpRecord, Phase, Value
from numel.tracing import higher_order
from numel.tracing.backward import Nodes
from numel.tracing.calls import Calls
from numel.tracing.composites import WHOLE
from numel.tracing.memory import Memory
from numel.tracing.routers import MOST_KNOWN, Routers, chooses
from numel.tracing.specs import spec_of, spec_of_tensor

_META = torch.device("meta")
_CPU = torch.device("cpu")
_MOST_CONSTANT = 1 << 22  # bytes of a tensor that is worth keeping real: each is held until the run ends
_READ = "aten._local_scalar_dense.default"  # one value or, by tolist, all of a tensor
_SCALARS = frozenset({int, float, bool, str, type(None), complex})


UNCAST = "autocast is on and does not reach meta tensors"


# both leave a forward that catches every Exception, and are remembered in case that it catches these, too
class DataDependent(BaseException):
    """The forward needs data that this way of running does not have; the next one may."""


class NeedsDtype(BaseException):
    """The first consumer of an input whose element type was not given says what it must be."""

    def __init__(self, which: int, dtype: torch.dtype) -> None:
        super().__init__(which, dtype)
        self.which = which
        self.dtype = dtype


class _Operator:
    """What has to be known of an operator before it runs, looked up once."""

    __slots__ = ("asks", "by_shape", "cacheable", "chooses", "composite", "is_item", "mutated", "name", "random",
                 "tells", "view")  # fmt: skip

    def __init__(self, func: Any) -> None:
        self.name = str(func)
        self.asks = self.name.startswith(("prim.", "profiler."))  # device, layout, marks in a profile: not work
        self.mutated = torch_private.mutated_arguments(func)
        self.view = torch_private.is_view(func)
        self.random = torch_private.is_random(func)
        self.tells = torch_private.tells_values(func)
        self.composite = self.name.rpartition(".")[0] not in WHOLE and torch_private.is_composite(func)
        self.is_item = self.name == _READ
        self.chooses = chooses(self.name)
        self.by_shape = _BY_SHAPE.get(self.name, _by_data if torch_private.is_shaped_by_data(func) else None)
        alone = not self.mutated and not self.view and not self.random and len(func._schema.returns) == 1
        of_torch = self.name.startswith("aten.") and not (self.tells or self.is_item or self.by_shape)
        slow = self.name.rpartition(".")[0] in _SLOW_ON_META and not self.mutated
        self.cacheable = slow or (alone and (of_torch or torch_private.is_pointwise(func)))


_OPERATORS: dict[Any, _Operator] = {}

# functional operators whose meta kernels are Python, like those of pointwise ones: the same specs and strides give the
# same output
_SLOW_ON_META = frozenset({
    "aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.convolution", "aten.batch_norm", "aten.group_norm",
    "aten.scaled_dot_product_attention", "aten.layer_norm", "aten.linear", "aten.matmul",
    "aten.max_pool2d", "aten.avg_pool2d", "aten.adaptive_avg_pool2d", "aten.index",
})  # fmt: skip


_OF_ONE_TYPE = frozenset({
    "aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.linear", "aten.matmul", "aten.scaled_dot_product_attention",
})  # fmt: skip


class Recorder(torch_private.DispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operator as it comes and writes it down: for fake and for real tensors.

    `before_write` is told of each tensor that an operator is about to write to.
    """

    supports_higher_order_operators = True

    def __init__(self, calls: Calls, before_write: Callable[[torch.Tensor], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = calls
        self.ops: list[OpRecord] = []
        self.ended: tuple[DataDependent | NeedsDtype, int] | None = None  # and the call that it ended in
        self.nodes: Nodes | None = None  # where autograd takes part, these two
        self.memory: Memory | None = None
        self.least = False  # where nothing tells which function an operator runs, what is certain is written down
        self.said: list[tuple[Note, int]] = []  # and the call that each is about
        self._before_write = before_write

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if types and any(map(torch_private.wraps_tensors, types)):
            return self.apart(func, types, args, kwargs or {})
        kwargs = kwargs or {}
        known = _OPERATORS.get(func)
        if known is None:
            if torch_private.is_higher_order(func):
                return higher_order.run(self, func, args, kwargs or {})
            known = _OPERATORS[func] = _Operator(func)
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

    def run(self, known: _Operator, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The operator itself."""
        for tensor in _written(known, args, kwargs):
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
        if tensor.is_meta or torch_private.is_fake(tensor):
            raise self.end(DataDependent(torch_private.VALUE_BY_DATA))
        return tensor

    def listed(self, tensor: torch.Tensor) -> torch.Tensor:
        """The forward makes a list of values: an operator for it, and the tensor that has them."""
        found = self.readable(tensor)
        self.append(_READ, (spec_of_tensor(tensor),), (), (None,))
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
        self.append(f"{OUTSIDE}{how}.default", args, (), ())

    def end(self, error: DataDependent | NeedsDtype) -> DataDependent | NeedsDtype:
        """`error`, to be raised: from here on this run gives no right answer, whatever the forward makes of it."""
        if self.ended is None:
            self.ended = (error, self.calls.current)
        return error

    def write(self, known: _Operator, args: Value, options: Any, outputs: Any) -> None:
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
            self.memory.made(tensors_of(outputs), call, phase)


class MetaRecorder(Recorder):  # type: ignore[no-untyped-call]
    """Runs operators on meta tensors and keeps small constants real.

    With `keep_all`, constants that ask for the model's device stay real as well. With `balanced`, so does what follows
    from choices among many, which are made up (`numel.tracing.routers`).
    """

    def __init__(
        self, calls: Calls, before_write: Callable[[torch.Tensor], None], *, keep_all: bool = False,
        balanced: bool = False, device: torch.device = _CPU,
    ) -> None:  # fmt: skip
        super().__init__(calls, before_write)
        self.keep_all = keep_all
        self.routers = Routers() if balanced else None
        self._undecided: dict[int, tuple[torch.Tensor, int]] = {}
        self._own: dict[int, torch.Tensor | weakref.ref[torch.Tensor]] = {}
        self._twins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._origins: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.mixed = ""
        # the device whose autocast would be missed; where it is on from the start, the tracer knows
        self._uncast = None if torch.is_autocast_enabled(device.type) else device.type
        self._cache: dict[Any, tuple[Any, ...]] = {}

    def remember(self, meta: torch.Tensor, origin: torch.Tensor) -> None:
        """`meta` stands for `origin`, whose value may be read as long as `meta` is not written to."""
        self._origins[id(meta)] = (meta, origin)

    def keep(self, tensor: torch.Tensor) -> None:
        """A tensor whose values are known and belong to this run alone."""
        self._own[id(tensor)] = tensor

    def undecided(self, tensor: torch.Tensor, which: int) -> None:
        """An input whose element type was not given: its first consumer decides."""
        self._undecided[id(tensor)] = (tensor, which)

    def casts(self, autocast: Any) -> Any:
        if torch_private.casts_on(autocast) == self._uncast:
            raise self.end(DataDependent(UNCAST))
        return autocast

    @property
    def left(self) -> set[int]:
        """The inputs whose element type nothing decided."""
        return {which for _, which in self._undecided.values()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if types and any(map(torch_private.wraps_tensors, types)):
            return self.apart(func, types, args, kwargs or {})
        known = _OPERATORS.get(func)
        if known is None:
            if torch_private.is_higher_order(func):
                return higher_order.run(self, func, args, kwargs or {})
            known = _OPERATORS[func] = _Operator(func)
        if known.asks:
            return func(*args, **(kwargs or {}))
        if self._undecided:
            self._decide(known, args)
        if known.composite:
            with self:
                outputs = func.decompose(*args, **(kwargs or {}))
            if outputs is not NotImplemented:
                return outputs
        # one pass over the arguments: their specs, and whether every tensor and every device among them is meta
        only_meta = True
        metas = 0
        specs: list[Value] = []
        for value in args:
            kind = type(value)
            if kind in _SCALARS:
                specs.append(value)
            elif isinstance(value, torch.Tensor):
                specs.append(spec_of_tensor(value))
                if value.is_meta:
                    metas += 1
                else:
                    only_meta = False
            else:
                specs.append(spec_of(value))
                if kind is torch.device:
                    only_meta &= value.type == "meta"
                elif kind is list or kind is tuple:
                    for each in value:
                        if isinstance(each, torch.Tensor):
                            if each.is_meta:
                                metas += 1
                            else:
                                only_meta = False
        options: tuple[tuple[str, Value], ...] = ()
        if kwargs:
            options = tuple([(name, spec_of(value)) for name, value in kwargs.items()])
            for value in kwargs.values():
                if isinstance(value, torch.Tensor):
                    only_meta &= value.is_meta
                elif isinstance(value, torch.device):
                    only_meta &= value.type == "meta"
        if known.mutated:
            for tensor in _written(known, args, kwargs or {}):
                self._before_write(tensor)
        if not (only_meta and metas):
            outputs = self._mixed(known, func, args, kwargs or {})
        elif known.by_shape is not None:
            outputs = known.by_shape(self, func, args, kwargs or {})
        elif known.chooses and self.routers is not None:
            name = known.name.rpartition(".")[0]
            outputs = self.routers.choose(name, self.calls.current, func, args, kwargs or {})
            self._kept([each for each in tensors_of(outputs) if not each.is_meta])
        elif known.cacheable:
            outputs = self._cached(func, args, kwargs)
        elif known.is_item:
            outputs = self._item(args[0])
        elif kwargs:
            outputs = func(*args, **kwargs)
        else:
            outputs = func(*args)
        if type(outputs) is torch.Tensor:
            self.append(known.name, tuple(specs), options, (spec_of_tensor(outputs),), outputs)
        else:
            self.write(known, tuple(specs), options, outputs)
        if self._undecided:
            self._follow(known, args, outputs)
        return outputs

    def _mixed(self, known: _Operator, func: Any, args: Any, kwargs: Any) -> Any:
        """Everything that is not plainly meta: factories, constants, tensors of the model that are not swapped."""
        tensors = list(tensors_of((args, kwargs)))
        if known.name.startswith("aten.lift"):
            return self._kept(func(*args, **kwargs))
        if not tensors:
            return self._made(known, func, args, kwargs)
        if known.is_item:
            return self._item(tensors[0])
        if not known.random and all(id(t) in self._own for t in tensors):
            if known.tells or (known.name == "aten.index.Tensor" and any(map(_is_mask, args[1]))):
                self._tell(tensors)
            return self._constant(func, args, kwargs)
        shaped = _SHAPED_BY_ANOTHER.get(known.name)
        if shaped is not None and id(args[0]) in self._own:
            return self._kept(shaped(args[0], args[1]))
        if known.name == "aten.index.Tensor":
            args = (args[0], [each for index in args[1] for each in self._positions(index)])
            if not any(map(_is_mask, args[1])):  # then no value gives a shape
                return self._cached(func, self.to_meta(args), kwargs)
        packed = _PACKED.get(known.name) or known.by_shape
        if packed is not None:
            return packed(self, func, args, kwargs)
        if not all(tensor.is_meta for tensor in _written(known, args, kwargs)):
            raise self.end(DataDependent(f"{known.name} writes unknown data to a tensor whose data is known"))
        args, kwargs = self.to_meta(args), self.to_meta(kwargs)
        return self._cached(func, args, kwargs) if known.cacheable else func(*args, **kwargs)

    def _made(self, known: _Operator, func: Any, args: Any, kwargs: Any) -> Any:
        """A factory: real when its values are certain and it is small, else meta."""
        device = kwargs.get("device")
        try:
            on_meta = func(*self.to_meta(args), **{**kwargs, "device": _META})
        except (TypeError, RuntimeError):  # an operator without tensors that is no factory
            return func(*args, **kwargs)
        small = isinstance(on_meta, torch.Tensor) and on_meta.nbytes <= _MOST_CONSTANT
        asks_for_meta = device is not None and device.type == "meta"
        # what a forward counts and masks with is whole numbers; to floating ones it adds what it does not know
        known_here = self.keep_all and not (self.routers is not None and _is_floating(on_meta))
        if known.random or not small or (asks_for_meta and not known_here):
            return on_meta
        here = {**kwargs, "device": _CPU}
        here.pop("pin_memory", None)
        return self._kept(func(*args, **here))

    def _constant(self, func: Any, args: Any, kwargs: Any) -> Any:
        """An operator over constants alone, run for real. Moved to meta, a constant is still known."""
        devices = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.device)]
        here = [_CPU if isinstance(each, torch.device) else each for each in args]
        options = {name: _CPU if isinstance(each, torch.device) else each for name, each in kwargs.items()}
        outputs = func(*here, **options)
        if isinstance(outputs, torch.Tensor):
            chosen = self.routers is not None and self.routers.follow(tensors_of((args, kwargs)), (outputs,))
            large = outputs.nbytes > (MOST_KNOWN if chosen else _MOST_CONSTANT)
            if large or (not self.keep_all and any(each.type == "meta" for each in devices)):
                meta = _twin(outputs)
                if not large:
                    self.remember(meta, outputs)
                return meta
        return self._kept(outputs)

    def knows(self, tensor: torch.Tensor) -> bool:
        found = self._origins.get(id(tensor))
        return not tensor.is_meta or (found is not None and found[0]._version == 0)

    def known(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._origins[id(tensor)][1] if tensor.is_meta else tensor

    def _item(self, tensor: torch.Tensor) -> Any:
        return torch.ops.aten._local_scalar_dense.default(self.readable(tensor))

    def readable(self, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta:
            self._tell([tensor])
            return tensor  # one of the model that the run never writes to, or a constant: what the forward would read
        known = self._origins.get(id(tensor))
        if known is not None and known[0]._version == 0:
            return known[1]
        raise self.end(DataDependent(torch_private.VALUE_BY_DATA))

    def _positions(self, index: Any) -> list[Any]:
        """A known mask as the positions where it holds, one tensor per dimension: what an index by it comes to."""
        if index is None or id(index) not in self._own or index.dtype not in (torch.bool, torch.uint8):
            return [index]
        self._tell([index])
        found = list(index.nonzero(as_tuple=True))
        if self.routers is not None:
            self.routers.follow([index], found)
        return found

    def _tell(self, tensors: list[torch.Tensor]) -> None:
        """The forward acts on values of constants: where these follow from a choice, what runs does."""
        if self.routers is not None:
            self.routers.tell(tensors, len(self.ops))

    def leaves(self, how: str, data: Any) -> Any:
        if isinstance(data, torch.Tensor):
            self._tell([data])
        return super().leaves(how, data)

    def _kept(self, outputs: Any) -> Any:
        for tensor in tensors_of(outputs):
            key = id(tensor)
            if tensor.nbytes <= _MOST_CONSTANT:
                self._own[key] = tensor
            else:  # as long as the forward holds it
                self._own[key] = weakref.ref(tensor, partial(self._gone, key))
        return outputs

    def _gone(self, key: int, _: object) -> None:
        self._own.pop(key, None)

    def to_meta(self, value: Any) -> Any:
        """The same value with every tensor and device on meta; one real tensor has one meta twin."""
        if isinstance(value, torch.Tensor):
            if value.is_meta:
                return value
            found = self._twins.get(id(value))
            if found is None:
                found = self._twins[id(value)] = (value, _twin(value))
            return found[1]
        if isinstance(value, torch.device):
            return _META
        if isinstance(value, list | tuple):
            return type(value)([self.to_meta(each) for each in value])
        if isinstance(value, dict):
            return {name: self.to_meta(each) for name, each in value.items()}
        return value

    def _cached(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What `func` gives, made of what it gave for equal specs, where that was a tensor of its own."""
        parts: list[Any] = [func, torch.get_default_dtype()]  # what quotients of integers are of
        try:
            for a in args:
                if isinstance(a, torch.Tensor):
                    parts += (a.shape, a.stride(), a.dtype)
                elif type(a) is list and any(isinstance(each, torch.Tensor) for each in a):
                    parts.append(tuple(each if each is None else (each.shape, each.stride(), each.dtype) for each in a))
                else:  # 1, 1.0 and True are equal and give other element types
                    parts += (tuple(a) if type(a) is list else a, type(a))
            for name, a in kwargs.items() if kwargs else ():
                parts.append((name, (a.shape, a.stride(), a.dtype) if isinstance(a, torch.Tensor) else (a, type(a))))
            key = tuple(parts)
            found = self._cache.get(key)
        except (RuntimeError, TypeError, AttributeError):  # tensors without strides, arguments that have no hash
            return func(*args, **(kwargs or {}))
        if found is None:
            self._compare(func, args)
            outputs = func(*args, **(kwargs or {}))
            fresh = type(outputs) is torch.Tensor and _is_fresh(outputs, args, kwargs)
            self._cache[key] = (outputs.shape, outputs.stride(), outputs.dtype) if fresh else _ALIAS
            return outputs
        if found is _ALIAS:
            return func(*args, **(kwargs or {}))
        return torch.empty_strided(found[0], found[1], dtype=found[2], device=_META)

    def _compare(self, func: Any, args: Any) -> None:
        """Remember a product of different types: meta kernels take it, others do not."""
        name = _OPERATORS[func].name.rpartition(".")[0]
        if name in _OF_ONE_TYPE and not self.mixed:
            tensors = [a for a in args if isinstance(a, torch.Tensor) and a.dtype is not torch.bool]
            kinds = {spec_of_tensor(each).dtype.short for each in tensors}
            if len(kinds) > 1:
                self.mixed = f"{name} got {' and '.join(sorted(kinds))}"

    def _decide(self, known: _Operator, args: Any) -> None:
        """Raise when this operator says what an input of unknown element type must be."""
        name = known.name.rpartition(".")[0]
        for position, value in enumerate(args):
            for tensor in tensors_of(value):
                found = self._undecided.get(id(tensor))
                wanted = _WANTED.get((name, position)) if found is not None else None
                if name == "aten.cross_entropy_loss" and tensor.shape == args[0].shape:
                    wanted = None  # probabilities; class numbers have a dimension less
                if found is not None and wanted is not None:
                    raise self.end(NeedsDtype(found[1], wanted))

    def _follow(self, known: _Operator, args: Any, outputs: Any) -> None:
        """What views and arithmetic make of an undecided input is undecided; comparisons leave it so; any other
        consumer takes it as it is."""
        name = known.name.rpartition(".")[0]
        for tensor in tensors_of(args):
            found = self._undecided.get(id(tensor))
            if found is None:
                continue
            if known.view or name in _PASSES:
                for made in tensors_of(outputs):
                    self._undecided[id(made)] = (made, found[1])
            elif name not in _ASKS_NOTHING:
                self._undecided = {i: each for i, each in self._undecided.items() if each[1] != found[1]}


class RealRecorder(Recorder):  # type: ignore[no-untyped-call]
    """Runs operators on data, and follows where values come from.

    Made up are those that nobody gave: random inputs and weights, and draws. Given are those of the user's inputs and
    model. `sampled` is the operator from which on what runs depends on made-up ones: they were read, or gave a shape.
    `decided` says whether given ones did so.
    """

    def __init__(self, calls: Calls, before_write: Callable[[torch.Tensor], None]) -> None:
        super().__init__(calls, before_write)
        self.sampled: int | None = None
        self.decided = False
        self.made_up: set[int | None] = set()  # storages
        self.given: set[int | None] = set()

    def run(self, known: _Operator, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        sources = {torch_private.storage_number(tensor) for tensor in tensors_of((args, kwargs))}
        if known.tells or (known.name == "aten.index.Tensor" and any(map(_is_mask, args[1]))):
            self._tell(sources)
        outputs = super().run(known, func, args, kwargs)
        by_value = known.name.rpartition(".")[0] not in _SHAPED_LIKE
        made_up = _draws(known, func, args, kwargs) or (by_value and not sources.isdisjoint(self.made_up))
        given = by_value and not sources.isdisjoint(self.given)
        for tensor in (*tensors_of(outputs), *_written(known, args, kwargs)):
            number = torch_private.storage_number(tensor)
            for numbers, belongs in ((self.made_up, made_up), (self.given, given)):
                if belongs:
                    numbers.add(number)
                else:
                    numbers.discard(number)  # the place of one that is gone
        return outputs

    def readable(self, tensor: torch.Tensor) -> torch.Tensor:
        self._tell({torch_private.storage_number(tensor)})
        return super().readable(tensor)

    def leaves(self, how: str, data: Any) -> Any:
        if isinstance(data, torch.Tensor) and how != "data_ptr":  # an address tells no value
            self._tell({torch_private.storage_number(data)})
        return super().leaves(how, data)

    def _tell(self, sources: set[int | None]) -> None:
        """The forward learns of values in these storages."""
        if self.sampled is None and not sources.isdisjoint(self.made_up):
            self.sampled = len(self.ops)
        elif not sources.isdisjoint(self.given):
            self.decided = True


def made_up_by(make: Callable[[], Any]) -> tuple[Any, frozenset[int | None]]:
    """What `make` returns, and the storages whose values it drew or computed of draws."""
    recorder = RealRecorder(Calls(), lambda _: None)
    with recorder:
        made = make()
    return made, frozenset(recorder.made_up)


_ALIAS = ()  # an output that may be an argument again


def _is_fresh(made: torch.Tensor, args: Any, kwargs: Any) -> bool:
    """Whether an output has a storage of its own, with room for it alone."""
    number = torch_private.storage_number(made)
    if number is None or any(torch_private.storage_number(each) == number for each in tensors_of((args, kwargs))):
        return False
    alike = torch.empty_strided(made.shape, made.stride(), dtype=made.dtype, device=_META)
    return not made.storage_offset() and made.untyped_storage().nbytes() == alike.untyped_storage().nbytes()


def _is_floating(made: Any) -> bool:
    return isinstance(made, torch.Tensor) and (made.is_floating_point() or made.is_complex())


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)


def _draws(known: _Operator, func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operator draws random numbers: many could, and do not outside of training or at a rate of 0."""
    if not known.random:
        return False
    if any(_argument(func, args, kwargs, name) is False for name in ("train", "training")):
        return False
    return all(_argument(func, args, kwargs, name) != 0 for name in ("p", "dropout_p", "dropout"))


def _written(known: _Operator, args: Any, kwargs: Any) -> Iterator[torch.Tensor]:
    """The tensors that an operator writes to."""
    for position, name in known.mutated:
        yield from tensors_of(args[position] if position < len(args) else kwargs.get(name))


def _twin(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tuple(tensor.shape), tensor.stride(), dtype=tensor.dtype, device=_META)


def tensors_of(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in tuples, lists and dictionaries, in order."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, torch.Tensor):
            yield each
        elif isinstance(each, list | tuple):
            pending.extend(reversed(each))
        elif isinstance(each, dict):
            pending.extend(reversed(list(each.values())))


def _pack(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
    """Padded → packed: lengths must be known, since they are the shape of what comes out."""
    data, lengths, _batch_first = args
    if id(lengths) not in recorder._own:
        raise recorder.end(DataDependent("a packed sequence depends on lengths that are not known"))
    each = torch_private.values(lengths)
    steps = max(each, default=0)
    sizes = [sum(length > step for length in each) for step in range(steps)]
    rest = tuple(data.shape[2:])
    packed = torch.empty((sum(each), *rest), dtype=data.dtype, device=_META)
    batch_sizes = torch.tensor(sizes, dtype=torch.int64, device=_CPU)
    recorder.keep(batch_sizes)
    return packed, batch_sizes


def _unpack(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
    """Packed → padded."""
    data, batch_sizes, batch_first, _padding, total_length = (*args, *kwargs.values())[:5]
    if id(batch_sizes) not in recorder._own:
        raise recorder.end(DataDependent("a packed sequence depends on lengths that are not known"))
    sizes = torch_private.values(batch_sizes)
    batch = sizes[0] if sizes else 0
    steps = total_length if total_length > 0 else len(sizes)
    shape = (batch, steps) if batch_first else (steps, batch)
    padded = torch.empty((*shape, *data.shape[1:]), dtype=data.dtype, device=_META)
    lengths = torch.tensor([sum(size > i for size in sizes) for i in range(batch)], dtype=torch.int64, device=_CPU)
    recorder.keep(lengths)
    return padded, lengths


def _recur(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
    """A recurrent layer over a packed sequence: its batch sizes stay real, since its loop reads them."""
    data, batch_sizes, *rest = args
    return func(recorder.to_meta(data), batch_sizes, *recorder.to_meta(rest), **recorder.to_meta(kwargs))


def _grouped(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
    """A grouped product by shape alone: torch's meta kernel takes bfloat16 only, its other kernels do not."""
    a, b = args[0], args[1]
    groups = _argument(func, args, kwargs, "offs")
    dtype = _argument(func, args, kwargs, "out_dtype") or a.dtype
    shape: tuple[int, ...]
    if a.dim() == 2 and b.dim() == 2:
        shape = (groups.shape[0], a.shape[0], b.shape[1])
    elif a.dim() == 3 and b.dim() == 3:
        shape = (a.shape[0], a.shape[1], b.shape[2])
    else:
        shape = (a.shape[-2], b.shape[-1])
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(f"a grouped product of {tuple(a.shape)} with {tuple(b.shape)}: inner sizes differ")
    return torch.empty(shape, dtype=dtype, device=_META)


def _recurrent(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
    """A recurrent layer by shape alone: torch's meta kernel takes one step after the other, in Python."""
    taken, hidden, weights = args[0], args[1], args[2]
    states = [hidden] if isinstance(hidden, torch.Tensor) else list(hidden)
    if taken.shape[-1] != weights[0].shape[-1]:
        raise RuntimeError(f"a recurrent layer of width {weights[0].shape[-1]} got {tuple(taken.shape)}")
    width = states[0].shape[-1] * (2 if _argument(func, args, kwargs, "bidirectional") else 1)
    first, second = taken.shape[:2]
    if _argument(func, args, kwargs, "batch_first"):  # it runs along the first axis all the same
        output = torch.empty((second, first, width), dtype=taken.dtype, device=_META).transpose(0, 1)
    else:
        output = torch.empty((first, second, width), dtype=taken.dtype, device=_META)
    return output, *(torch.empty(tuple(each.shape), dtype=each.dtype, device=_META) for each in states)


def _by_data(recorder: MetaRecorder, func: Any, args: Any, kwargs: Any) -> Any:
    """An operator that may have a shape which only values give."""
    try:
        return func(*recorder.to_meta(args), **recorder.to_meta(kwargs))
    except NotImplementedError as error:
        raise recorder.end(DataDependent(torch_private.SHAPE_BY_DATA)) from error


def _argument(func: Any, args: Any, kwargs: Any, name: str) -> Any:
    """What an operator gets by this name, its default included; `None` as well where it has no such argument."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.name == name:
            return kwargs.get(name, args[position] if position < len(args) else argument.default_value)
    return None


_PACKED = {
    "aten._pack_padded_sequence.default": _pack,
    "aten._pad_packed_sequence.default": _unpack,
    "aten.lstm.data": _recur,
    "aten.gru.data": _recur,
    "aten.rnn_tanh.data": _recur,
    "aten.rnn_relu.data": _recur,
}

# operators whose output is found out here, since torch's own meta kernel is narrower than its others, or slow
_BY_SHAPE = {
    "aten._grouped_mm.default": _grouped,
    "aten.lstm.input": _recurrent,
    "aten.gru.input": _recurrent,
    "aten.rnn_tanh.input": _recurrent,
    "aten.rnn_relu.input": _recurrent,
}

# the second tensor gives a shape or an element type alone, so a known first one stays known
_SHAPED_BY_ANOTHER = {
    "aten.expand_as.default": lambda known, other: known.expand(tuple(other.shape)),
    "aten.view_as.default": lambda known, other: known.view(tuple(other.shape)),
    "aten.reshape_as.default": lambda known, other: known.reshape(tuple(other.shape)),
    "aten.type_as.default": lambda known, other: known.to(other.dtype),
}

_WANTED = {
    ("aten.embedding", 1): torch.int64,
    ("aten.embedding_bag", 1): torch.int64,
    ("aten._embedding_bag", 1): torch.int64,
    ("aten.index_select", 2): torch.int64,
    ("aten.index_add", 2): torch.int64,
    ("aten.index", 1): torch.int64,
    ("aten.gather", 2): torch.int64,
    ("aten.scatter", 2): torch.int64,
    ("aten.scatter_add", 2): torch.int64,
    ("aten.take", 1): torch.int64,
    ("aten.take_along_dim", 1): torch.int64,
    ("aten.one_hot", 0): torch.int64,
    ("aten.cross_entropy_loss", 1): torch.int64,
    ("aten.nll_loss_nd", 1): torch.int64,
    ("aten.masked_fill", 1): torch.bool,
    ("aten.masked_fill_", 1): torch.bool,
    ("aten.where", 0): torch.bool,
    ("aten.bitwise_not", 0): torch.bool,
    ("aten.bitwise_and", 0): torch.bool,
    ("aten.bitwise_and", 1): torch.bool,
    ("aten.bitwise_or", 0): torch.bool,
    ("aten.bitwise_or", 1): torch.bool,
}
_LIKE = "ones_like zeros_like full_like empty_like new_zeros new_ones new_full new_empty"
_SHAPED_LIKE = frozenset(f"aten.{name}" for name in _LIKE.split())
_PASSING = """
reshape flatten contiguous clone expand_as view_as cat stack pad constant_pad_nd roll flip repeat
add sub rsub mul clamp clamp_min clamp_max remainder floor_divide maximum minimum where abs neg cumsum
"""
_PASSES = frozenset(f"aten.{name}" for name in _PASSING.split())
_ASKS_NOTHING = _SHAPED_LIKE | {f"aten.{name}" for name in ["eq", "ne", "lt", "gt", "le", "ge", "isnan"]}

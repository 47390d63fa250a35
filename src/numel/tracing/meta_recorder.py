"""How operators run on meta, with known constants.

Tensors that a forward makes out of nothing (arange, zeros, masks) stay small and real, so that code which looks at
their values works and nothing is guessed; where they meet the model's tensors they become meta. A value that only the
real inputs or weights could give raises, and the tracer steps down.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch

from numel import torch_private
from numel.facts.trace import Value
from numel.tracing import higher_order
from numel.tracing.arguments import tensors_of
from numel.tracing.by_shape import PACKED
from numel.tracing.calls import Calls
from numel.tracing.ends import DataDependent
from numel.tracing.in_place import ASKED, as_unwatched
from numel.tracing.operators import OF_ONE_TYPE, OPERATORS, Operator, is_mask, written
from numel.tracing.recorder import Recorder
from numel.tracing.routers import MOST_KNOWN, Routers
from numel.tracing.specs import SCALARS, spec_of, spec_of_tensor
from numel.tracing.undecided import Undecided

_META = torch.device("meta")
_CPU = torch.device("cpu")
_MOST_CONSTANT = 1 << 22  # bytes of a tensor that is worth keeping real: each is held until the run ends
_Held = torch.Tensor | weakref.ref[torch.Tensor]

UNCAST = "autocast is on and does not reach meta tensors"


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
        self.undecided = Undecided(self.end)
        self._made_at: dict[int, int] = {}
        self._own: dict[int, _Held] = {}
        self._twins: dict[int, tuple[_Held, torch.Tensor]] = {}
        self._origins: dict[int, tuple[_Held, torch.Tensor]] = {}
        self.mixed = ""
        # the device whose autocast would be missed; where it is on from the start, the tracer knows
        self._uncast = None if torch.is_autocast_enabled(device.type) else device.type
        self._cache: dict[Any, Any] = {}

    def remember(self, meta: torch.Tensor, origin: torch.Tensor) -> None:
        """`meta` stands for `origin`, whose value may be read as long as `meta` is not written to."""
        self._origins[id(meta)] = (self._held(meta, self._origins), origin)

    def keep(self, tensor: torch.Tensor) -> None:
        """A tensor whose values are known and belong to this run alone."""
        self._own[id(tensor)] = tensor

    def casts(self, autocast: Any) -> Any:
        if torch_private.casts_on(autocast) == self._uncast:
            raise self.end(DataDependent(UNCAST))
        return autocast

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if types and any(map(torch_private.wraps_tensors, types)):
            return self.apart(func, types, args, kwargs or {})
        if self.memory is not None and func in ASKED:
            func = as_unwatched(func, args, self.memory)
        known = OPERATORS.get(func)
        if known is None:
            if torch_private.is_higher_order(func):
                return higher_order.run(self, func, args, kwargs or {})
            known = OPERATORS[func] = Operator(func)
        if known.asks:
            return func(*args, **(kwargs or {}))
        if self.undecided:
            self.undecided.decide(known, args)
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
            if kind in SCALARS:
                specs.append(value)
            elif isinstance(value, torch.Tensor):
                specs.append(spec_of_tensor(value))
                if value.is_meta:
                    metas += 1
                else:
                    only_meta = False
            elif kind is list or kind is tuple:
                inside: list[Value] = []
                for each in value:
                    if type(each) in SCALARS:
                        inside.append(each)
                        continue
                    inside.append(spec_of(each, 1))
                    if isinstance(each, torch.Tensor):
                        if each.is_meta:
                            metas += 1
                        else:
                            only_meta = False
                specs.append(tuple(inside))
            else:
                specs.append(spec_of(value))
                if kind is torch.device:
                    only_meta &= value.type == "meta"
        options: tuple[tuple[str, Value], ...] = ()
        if kwargs:
            options = tuple([(name, spec_of(value)) for name, value in kwargs.items()])
            for value in kwargs.values():
                if isinstance(value, torch.Tensor):
                    only_meta &= value.is_meta
                elif isinstance(value, torch.device):
                    only_meta &= value.type == "meta"
        if known.writes:
            for tensor in written(known, args, kwargs or {}):
                self._before_write(tensor)
                self._origins.pop(id(tensor), None)
        if not (only_meta and metas):
            outputs = self._mixed(known, func, args, kwargs or {})
        elif known.by_shape is not None:
            outputs = known.by_shape(self, func, args, kwargs or {})
        elif known.chooses and self.routers is not None:
            name = known.name.rpartition(".")[0]
            outputs = self.routers.choose(name, self.calls.current, func, args, kwargs or {})
            self._kept([each for each in tensors_of(outputs) if not each.is_meta], len(self.ops))
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
        if self.undecided:
            self.undecided.follow(known, args, outputs)
        return outputs

    def _mixed(self, known: Operator, func: Any, args: Any, kwargs: Any) -> Any:
        """Everything that is not plainly meta: factories, constants, tensors of the model that are not swapped."""
        tensors = list(tensors_of((args, kwargs)))
        if known.name.startswith("aten.lift"):  # of numbers that Python has
            return self._kept(func(*args, **kwargs), len(self.ops))
        if not tensors:
            return self._made(known, func, args, kwargs)
        if known.is_item:
            return self._item(tensors[0])
        if not known.random and all(id(t) in self._own for t in tensors):
            if known.tells or (known.name == "aten.index.Tensor" and any(map(is_mask, args[1]))):
                self._tell(tensors)
            return self._constant(func, args, kwargs)
        shaped = _SHAPED_BY_ANOTHER.get(known.name)
        if shaped is not None and id(args[0]) in self._own:
            return self._kept(shaped(args[0], args[1]), self._since([args[0]]))
        if known.name == "aten.index.Tensor":
            args = (args[0], [each for index in args[1] for each in self._positions(index)])
            if not any(map(is_mask, args[1])):  # then no value gives a shape
                return self._cached(func, self.to_meta(args), kwargs)
        packed = PACKED.get(known.name) or known.by_shape
        if packed is not None:
            self._tell(tensors)
            return packed(self, func, args, kwargs)
        if not all(tensor.is_meta for tensor in written(known, args, kwargs)):
            raise self.end(DataDependent(f"{known.name} writes unknown data to a tensor whose data is known"))
        args, kwargs = self.to_meta(args), self.to_meta(kwargs)
        return self._cached(func, args, kwargs) if known.cacheable else func(*args, **kwargs)

    def _made(self, known: Operator, func: Any, args: Any, kwargs: Any) -> Any:
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
        return self._kept(func(*args, **here), len(self.ops))

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
        return self._kept(outputs, self._since(tensors_of((args, kwargs))))

    def knows(self, tensor: torch.Tensor) -> bool:
        found = self._origins.get(id(tensor))
        return not tensor.is_meta or (found is not None and tensor._version == 0)

    def known(self, tensor: torch.Tensor) -> torch.Tensor:
        self.asked.append(-1)
        return self._origins[id(tensor)][1] if tensor.is_meta else tensor

    def _item(self, tensor: torch.Tensor) -> Any:
        return torch.ops.aten._local_scalar_dense.default(self.readable(tensor))

    def readable(self, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta:
            self._tell([tensor])
            return tensor  # one of the model that the run never writes to, or a constant: what the forward would read
        self.asked.append(-1)
        known = self._origins.get(id(tensor))
        if known is not None and tensor._version == 0:
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
        self.asked.append(self._since(tensors))
        if self.routers is not None:
            self.routers.tell(tensors, len(self.ops))

    def leaves(self, how: str, data: Any) -> Any:
        if isinstance(data, torch.Tensor):
            self._tell([data])
        return super().leaves(how, data)

    def _since(self, tensors: Iterable[torch.Tensor]) -> int:
        """The operator from which on constants are made: of several, of the oldest."""
        return min([self._made_at.get(id(each), -1) for each in tensors], default=len(self.ops))

    def _kept(self, outputs: Any, since: int) -> Any:
        """Outputs whose values are known, and follow from what was made by the operators `since`."""
        for tensor in tensors_of(outputs):
            self._made_at[id(tensor)] = since
            self._own[id(tensor)] = self._held(tensor, self._own)
        return outputs

    def _held(self, tensor: torch.Tensor, table: dict[int, Any]) -> _Held:
        """What a table says of the tensor by whose identity it has an entry: a large one, and all where live bytes are
        told, are there as long as the forward holds them."""
        if tensor.nbytes <= _MOST_CONSTANT and self.memory is None:
            return tensor
        key = id(tensor)
        return weakref.ref(tensor, lambda _: table.pop(key, None))

    def to_meta(self, value: Any) -> Any:
        """The same value with every tensor and device on meta; one real tensor has one meta twin."""
        if isinstance(value, torch.Tensor):
            if value.is_meta:
                return value
            found = self._twins.get(id(value))
            if found is None:
                found = self._twins[id(value)] = (self._held(value, self._twins), _twin(value))
            return found[1]
        if isinstance(value, torch.device):
            return _META
        if isinstance(value, list | tuple):
            return type(value)([self.to_meta(each) for each in value])
        if isinstance(value, dict):
            return {name: self.to_meta(each) for name, each in value.items()}
        return value

    def _cached(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What `func` gives, made of what it gave for equal specs: tensors of their own, or what it writes to."""
        parts: list[Any] = [func, torch.get_default_dtype()]  # what quotients of integers are of
        try:
            for a in args:
                kind = type(a)
                if kind in SCALARS:  # 1, 1.0 and True are equal and give other element types
                    parts += (a, kind)
                elif isinstance(a, torch.Tensor):
                    parts += (a.shape, a.stride(), a.dtype)
                elif kind is list:
                    parts.append(tuple([
                        each if type(each) in SCALARS else (each.shape, each.stride(), each.dtype) for each in a
                    ]))  # fmt: skip
                else:
                    parts += (a, kind)
            for name, a in kwargs.items() if kwargs else ():
                parts.append((name, (a.shape, a.stride(), a.dtype) if isinstance(a, torch.Tensor) else (a, type(a))))
            key = tuple(parts)
            found = self._cache.get(key)
        except (RuntimeError, TypeError, AttributeError):  # tensors without strides, arguments that have no hash
            return func(*args, **(kwargs or {}))
        if found is None:
            self._compare(func, args)
            found = self._cache[key] = _RECIPES.get(key)
        if found is None:
            outputs = func(*args, **(kwargs or {}))
            found = self._cache[key] = _recipe(outputs, args, kwargs, in_place=bool(OPERATORS[func].mutated))
            if OPERATORS[func].of_torch and all(map(_is_plain, (*args, *(kwargs or {}).values()))):
                if len(_RECIPES) >= _MOST_RECIPES:
                    _RECIPES.clear()
                _RECIPES[key] = found
            return outputs
        if type(found) is list:
            return tuple([each if each is None else _empty(*each) for each in found])
        if found is _ALIAS:
            return func(*args, **(kwargs or {}))
        return args[0] if found is _FIRST else _empty(*found)

    def _compare(self, func: Any, args: Any) -> None:
        """Remember a product of different types: meta kernels take it, others do not."""
        name = OPERATORS[func].name.rpartition(".")[0]
        if name in OF_ONE_TYPE and not self.mixed:
            tensors = [a for a in args if isinstance(a, torch.Tensor) and a.dtype is not torch.bool]
            kinds = {spec_of_tensor(each).dtype.short for each in tensors}
            if len(kinds) > 1:
                self.mixed = f"{name} got {' and '.join(sorted(kinds))}"


_RECIPES: dict[Any, Any] = {}  # of torch's own operators: those hold in every run
_MOST_RECIPES = 1 << 14
_PLAIN = SCALARS | {torch.dtype, torch.device, torch.layout, torch.memory_format}
_ALIAS = ("an output may be an argument again",)
_FIRST = ("the output is the first argument",)


def _is_plain(value: Any) -> bool:
    """Whether a key keeps nothing alive for this argument."""
    if type(value) is list:
        return all(type(each) in SCALARS or isinstance(each, torch.Tensor) for each in value)
    return type(value) in _PLAIN or isinstance(value, torch.Tensor)


def _recipe(outputs: Any, args: Any, kwargs: Any, *, in_place: bool) -> Any:
    """How to make outputs like these again: shape, strides and type of the one, or a list of those of several; else
    which of the above holds."""
    if in_place:
        return _FIRST if outputs is args[0] else _ALIAS
    several = outputs if type(outputs) is tuple else (outputs,)
    made = [each for each in several if each is not None]
    if not all(type(each) is torch.Tensor for each in made) or not _are_fresh(made, args, kwargs):
        return _ALIAS
    recipe = [each if each is None else (each.shape, each.stride(), each.dtype) for each in several]
    return recipe if several is outputs else recipe[0]


def _are_fresh(made: list[torch.Tensor], args: Any, kwargs: Any) -> bool:
    """Whether each of some outputs has a storage of its own, with room for it alone."""
    numbers = {torch_private.storage_number(each) for each in made}
    given = {torch_private.storage_number(each) for each in tensors_of((args, kwargs))}
    if None in numbers or len(numbers) < len(made) or numbers & given:
        return False
    return all(
        not each.storage_offset() and each.untyped_storage().nbytes() == _twin(each).untyped_storage().nbytes()
        for each in made
    )


def _is_floating(made: Any) -> bool:
    return isinstance(made, torch.Tensor) and (made.is_floating_point() or made.is_complex())


def _twin(tensor: torch.Tensor) -> torch.Tensor:
    return _empty(tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _empty(shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty_strided(shape, strides, dtype=dtype, device=_META)


# the second tensor gives a shape or an element type alone, so a known first one stays known
_SHAPED_BY_ANOTHER = {
    "aten.expand_as.default": lambda known, other: known.expand(tuple(other.shape)),
    "aten.view_as.default": lambda known, other: known.view(tuple(other.shape)),
    "aten.reshape_as.default": lambda known, other: known.reshape(tuple(other.shape)),
    "aten.type_as.default": lambda known, other: known.to(other.dtype),
}

"""Blocks that look the same and are not, by what they hold, share, reach or leave behind: the trace by default is that
of a run of every block.

Twelve blocks stand side by side; at the eighth something is different that only the code of the block, or of the model
after it, asks for.
"""

from __future__ import annotations

import array
import collections
import contextvars
import enum
import functools
import os
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
import torch
import transformers
from transformers.cache_utils import DynamicCache, StaticCache, StaticLayer

from numel.tracing.tracer import trace

BLOCKS = 12
LATE = 7


class Block(torch.nn.Module):
    def __init__(self, index: int, shared: Any) -> None:
        super().__init__()
        self.index = index
        self.shared = shared
        self.first = torch.nn.Linear(8, 16)
        self.second = torch.nn.Linear(16, 8)

    def run(self, x: torch.Tensor, late: Any = False) -> torch.Tensor:
        """Two layers, or nothing."""
        return x if late else x + self.second(torch.relu(self.first(x)))

    def forward(self, x: Any) -> Any:
        return self.run(x)


class Model(torch.nn.Module):
    def __init__(self, block: type[Block] = Block) -> None:
        super().__init__()
        self.shared = types.SimpleNamespace(n=0)
        self.blocks = torch.nn.ModuleList(block(index, self.shared) for index in range(BLOCKS))

    def before(self, index: int) -> None: ...

    def call(self, block: Any, index: int, x: Any) -> Any:
        return block(x)

    def after(self, x: Any) -> Any:
        return x

    def forward(self, x: torch.Tensor) -> Any:
        for index, block in enumerate(self.blocks):
            self.before(index)
            x = self.call(block, index, x)
        return self.after(x)


def model_of(forward: Any = None, init: Any = None, **more: Any) -> Model:
    """A model of classes of its own: blocks run `forward` and are set up by `init`; `more` are methods of the model."""

    class Own(Block):
        def __init__(self, index: int, shared: Any) -> None:
            super().__init__(index, shared)
            if init is not None:
                init(self, index, shared)

    if forward is not None:
        Own.forward = forward  # type: ignore[method-assign]
    return type("Own", (Model,), more)(Own)


# ── what a block or its caller counts, where nobody would look ───────────────────────────────────────────────────────


class Slots:
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class SlotsAndMore(Slots):
    __slots__ = ("__dict__",)


class Mode(enum.Enum):
    ON = 1


class Counting:
    n = 0


class CountedByClass:
    n = 0

    def tick(self) -> int:
        type(self).n += 1
        return self.n


class Descriptor:
    def __init__(self) -> None:
        self.n = 0

    def __get__(self, *_: Any) -> int:
        self.n += 1
        return self.n


class FilledDict(dict):  # type: ignore[type-arg]
    n = 0


def counted() -> int:
    counted.n += 1  # type: ignore[attr-defined]
    return counted.n  # type: ignore[attr-defined]


def counting_in(state: dict[str, int]) -> Callable[[], int]:
    def tick() -> int:
        state["n"] += 1
        return state["n"]

    return tick


def endless() -> Iterator[int]:
    n = 0
    while True:
        n += 1
        yield n


_SPACE: dict[str, Any] = globals()
module: Any = None  # these are set before each run
numbers = raw = codes = slots = nested = context = late_ones = weak = ticks = generators = growing = module
variable = contextvars.ContextVar("variable", default=0)
package = types.ModuleType("package")
package.part = types.ModuleType("package.part")  # type: ignore[attr-defined]
elsewhere = types.ModuleType("elsewhere")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """All counters at zero."""

    def anew() -> None:
        counted.n = Counting.n = CountedByClass.n = elsewhere.n = package.part.n = Mode.ON.n = 0  # type: ignore[attr-defined]
        variable.set(0)
        _SPACE.update(
            numbers=numpy.zeros(1), raw=bytearray(1), codes=array.array("i", [0]), slots=Slots(), plain_name=0,
            nested={"a": {"n": 0}}, context=types.SimpleNamespace(state=types.SimpleNamespace(n=0)), late_ones=set(),
            module=torch.nn.Identity(), weak=weakref.WeakKeyDictionary(), ticks=[counting_in({"n": 0})],
            generators=[endless()], growing=torch.ones(1),
        )  # fmt: skip
        module.n = 0
        monkeypatch.setitem(sys.modules, "elsewhere", elsewhere)
        monkeypatch.setitem(os.environ, "NUMEL_TEST_LATE", "0")

    anew()
    return anew


def ticked(holder: Any, by: Any = "n") -> int:
    """One more of what a container or an object counts."""
    if isinstance(by, str) and not isinstance(holder, dict):
        setattr(holder, by, getattr(holder, by) + 1)
        return int(getattr(holder, by))
    holder[by] += 1
    return int(holder[by])


def _in_default(self: Any, x: Any, seen: Any = []) -> Any:  # noqa: B006
    seen.append(1)
    return self.run(x, len(seen) > LATE)


def _in_attribute_of_function(self: Any, x: Any) -> Any:
    return self.run(x, counted() > LATE)


def _in_array(self: Any, x: Any) -> Any:
    numbers[0] += 1
    return self.run(x, numbers[0] > LATE)


def _in_bytes(self: Any, x: Any) -> Any:
    raw[0] += 1
    return self.run(x, raw[0] > LATE)


def _in_codes(self: Any, x: Any) -> Any:
    codes[0] += 1
    return self.run(x, codes[0] > LATE)


def _in_slot(self: Any, x: Any) -> Any:
    slots.n += 1
    return self.run(x, slots.n > LATE)


def _in_enum(self: Any, x: Any) -> Any:
    Mode.ON.n += 1  # type: ignore[attr-defined]
    return self.run(x, Mode.ON.n > LATE)  # type: ignore[attr-defined]


def _in_file_of_package(self: Any, x: Any) -> Any:
    package.part.n += 1
    return self.run(x, package.part.n > LATE)


def _in_nested_dict(self: Any, x: Any) -> Any:
    nested["a"]["n"] += 1
    return self.run(x, nested["a"]["n"] > LATE)


def _in_object_of_object(self: Any, x: Any) -> Any:
    context.state.n += 1
    return self.run(x, context.state.n > LATE)


def _in_module(self: Any, x: Any) -> Any:
    module.n += 1
    return self.run(x, module.n > LATE)


def _in_imported(self: Any, x: Any) -> Any:
    import elsewhere as there  # type: ignore[import-not-found]

    there.n += 1
    return self.run(x, there.n > LATE)


def _in_globals(self: Any, x: Any) -> Any:
    globals()["plain_name"] += 1
    return self.run(x, globals()["plain_name"] > LATE)


def _by_getattr(self: Any, x: Any) -> Any:
    setattr(elsewhere, "n", getattr(elsewhere, "n") + 1)  # noqa: B009, B010
    return self.run(x, getattr(elsewhere, "n") > LATE)  # noqa: B009


def _in_closure_of_list(self: Any, x: Any) -> Any:
    return self.run(x, ticks[0]() > LATE)


def _in_generator_of_list(self: Any, x: Any) -> Any:
    return self.run(x, generators[0].__next__() > LATE)


COUNTED = [
    _in_default, _in_attribute_of_function, _in_array, _in_bytes, _in_codes, _in_slot, _in_enum, _in_file_of_package,
    _in_nested_dict, _in_object_of_object, _in_module, _in_imported, _in_globals, _by_getattr, _in_closure_of_list,
    _in_generator_of_list,
]  # fmt: skip


def _class_dict() -> Model:
    class Own(Block):
        counts = {"n": 0}  # noqa: RUF012

        def forward(self, x: Any) -> Any:
            self.counts["n"] += 1
            return self.run(x, self.counts["n"] > LATE)

    return Model(Own)


def _descriptor() -> Model:
    class Own(Block):
        n = Descriptor()

        def forward(self, x: Any) -> Any:
            return self.run(x, self.n > LATE)

    return Model(Own)


def _attribute(name: str, made: Callable[[], Any], tick: Callable[[Any], int]) -> Callable[[], Model]:
    """Blocks that share an object, and count in it."""

    def build() -> Model:
        def init(self: Any, index: int, shared: Any) -> None:
            shared.__dict__.setdefault("made", made())
            setattr(self, name, shared.made)

        return model_of(lambda self, x: self.run(x, tick(getattr(self, name)) > LATE), init)

    return build


def _told_by_caller(forward: Any, before: Any) -> Callable[[], Model]:
    return lambda: model_of(forward, before=before)


class _Rebinds(Model):
    """Writes to a variable that a function closes over, which blocks are given."""

    def forward(self, x: torch.Tensor) -> Any:
        index = 0

        def late() -> bool:
            return index >= LATE

        for index, block in enumerate(self.blocks):  # noqa: B007
            x = block(x, late)
        return x


class _AsksGiven(Block):
    def forward(self, x: Any, late: Any) -> Any:  # type: ignore[override]
        return self.run(x, late())


def _grow(self: Any, index: int) -> None:
    growing.data = torch.ones(index + 1)


STATES: dict[str, Callable[[], Model]] = {
    **{each.__name__: functools.partial(model_of, each) for each in COUNTED},
    "class dict": _class_dict,
    "descriptor": _descriptor,
    "class as attribute": _attribute("policy", lambda: Counting, ticked),
    "class of a shared object": _attribute("counter", CountedByClass, lambda held: held.tick()),
    "slot beside a dictionary": _attribute("counter", SlotsAndMore, ticked),
    "attribute of a dictionary": _attribute(
        "counter", FilledDict, lambda held: ticked(held.__dict__.setdefault("slots", Slots()))
    ),
    "closure rebound": lambda: _Rebinds(_AsksGiven),
    "context variable": _told_by_caller(
        lambda self, x: self.run(x, variable.get() >= LATE), lambda _, index: variable.set(index)
    ),
    "environment": _told_by_caller(
        lambda self, x: self.run(x, int(os.environ["NUMEL_TEST_LATE"]) >= LATE),
        lambda _, index: os.environ.__setitem__("NUMEL_TEST_LATE", str(index)),
    ),
    "shape of a tensor of the file": _told_by_caller(lambda self, x: self.run(x, len(growing) > LATE), _grow),
    "cuDNN": _told_by_caller(
        lambda self, x: self.run(x, torch.backends.cudnn.benchmark),
        lambda _, index: setattr(torch.backends.cudnn, "benchmark", index >= LATE),
    ),
    "attention's kernels": _told_by_caller(
        lambda self, x: self.run(x, torch.backends.cuda.flash_sdp_enabled()),
        lambda _, index: torch.backends.cuda.enable_flash_sdp(index >= LATE),
    ),
    "determinism": _told_by_caller(
        lambda self, x: self.run(x, torch.are_deterministic_algorithms_enabled()),
        lambda _, index: torch.use_deterministic_algorithms(index >= LATE),
    ),
}  # fmt: skip


# ── blocks that can be told apart ────────────────────────────────────────────────────────────────────────────────────


class Whole(int): ...


class Real(float): ...


class Settings(dict):  # type: ignore[type-arg]
    late = False


def _settings(index: int) -> Settings:
    made = Settings(width=8)
    made.late = index >= LATE
    return made


def _slots_of(index: int) -> SlotsAndMore:
    made = SlotsAndMore()
    made.n = index >= LATE
    return made


def _holding(made: Callable[[int], Any], late: Callable[[Any], Any]) -> Callable[[], Model]:
    return lambda: model_of(
        lambda self, x: self.run(x, late(self.held)), lambda self, index, _: setattr(self, "held", made(index))
    )


def _registered(register: Callable[[Any, Any], None], late: Callable[[Any], Any]) -> Callable[[], Model]:
    def build() -> Model:
        made = model_of(lambda self, x: self.run(x, late(self)))
        for index, block in enumerate(made.blocks):
            register(block, index >= LATE)
        return made

    return build


class _Runner:
    def __init__(self, late: bool) -> None:
        self.late = late

    def run(self, x: Any) -> Any:
        return x.sin() if self.late else x.cos()


def _forwards_of_objects() -> Model:
    made = Model()
    for index, block in enumerate(made.blocks):
        block.forward = _Runner(index >= LATE).run  # type: ignore[method-assign]
    return made


APART: dict[str, Callable[[], Model]] = {
    "whole numbers of a class": _holding(Whole, lambda held: held >= LATE),
    "real numbers of a class": _holding(Real, lambda held: held >= LATE),
    "attributes of dictionaries": _holding(_settings, lambda held: held.late),
    "slots": _holding(_slots_of, lambda held: held.n),
    "lengths of queues": _holding(
        lambda index: collections.deque(maxlen=3 if index < LATE else 5), lambda held: held.maxlen == 5
    ),
    "what a dictionary makes": _holding(
        lambda index: collections.defaultdict(int if index < LATE else float),
        lambda held: held.default_factory is float,
    ),
    "a set of modules": _registered(
        lambda block, late: late_ones.update([block] * late), lambda each: each in late_ones
    ),
    "a weak dictionary": _registered(lambda block, late: weak.__setitem__(block, late), lambda each: weak[each]),
    "identities": _registered(
        lambda block, late: late_ones.update([id(block)] * late), lambda each: id(each) in late_ones
    ),
    "forwards of objects": _forwards_of_objects,
    "buffers that are not saved": lambda: model_of(
        lambda self, x: self.run(x, self._non_persistent_buffers_set),
        lambda self, index, _: self.register_buffer("b", torch.ones(1), persistent=index < LATE),
    ),
}  # fmt: skip


# ── what a block is given, and what it leaves behind or gives back ───────────────────────────────────────────────────


def _fills(self: Any, x: Any, told: Any) -> Any:
    told["sum"] = x.sum()
    return self.run(x)


def _reads_filled(self: Any, block: Any, index: int, x: Any) -> Any:
    told: dict[str, Any] = {}
    return block(x, told) + told["sum"]


def _in_turn(self: Any, x: Any, **names: Any) -> Any:
    for name in names:
        x = getattr(torch, name)(x)
    return self.run(x)


def _sets_type(self: Any, x: Any) -> Any:
    torch.set_default_dtype(torch.float64)
    return self.run(x)


def _sees_type(self: Any, block: Any, index: int, x: Any) -> Any:
    y = block(x) + torch.ones(1).float()
    torch.set_default_dtype(torch.float32)
    return y


def _on_devices(self: Any, block: Any, index: int, x: Any) -> Any:
    with torch.device("meta" if index < LATE else "cpu"):
        return block(x)


def _tagged(self: Any, x: Any) -> Any:
    y = self.run(x)
    y.tag = 1
    return y


def _inferred(self: Any, block: Any, index: int, x: Any) -> Any:
    with torch.inference_mode():
        return block(x.clone())


def _extra(self: Any, block: Any, index: int, x: Any) -> Any:
    x = x.clone()
    x.extra = torch.ones(3)
    return block(x)


def _gives_back(self: Any, block: Any, index: int, x: Any) -> Any:
    given = [x]
    block(given).append(1)
    return x.sin() if len(given) == 2 else x.cos()


def _buffered(value: Any) -> Callable[[Any, int, Any], None]:
    return lambda self, *_: self.register_buffer("kept", value.clone())


def _transposes(self: Any, x: Any) -> Any:
    self.kept.t_()
    return self.run(x)


def _counts_steps(self: Any, x: Any) -> Any:
    self.kept.add_(1)
    return self.run(x)


def _remembers() -> Model:
    class Own(Block):
        @functools.lru_cache  # noqa: B019
        def mask(self, n: int) -> torch.Tensor:
            return torch.ones(n)

        def forward(self, x: Any) -> Any:
            return self.run(x) + self.mask(8)

    def after(self: Any, x: Any) -> Any:
        return x + sum(block.mask(8) for block in self.blocks)

    return type("Remembers", (Model,), {"after": after})(Own)  # type: ignore[no-any-return]


LEFT: dict[str, Callable[[], Model]] = {
    "a dictionary filled": lambda: model_of(_fills, call=_reads_filled),
    "names in another order": lambda: model_of(
        _in_turn,
        call=lambda self, block, index, x: block(x, sin=1, cos=1) if index < LATE else block(x, cos=1, sin=1),
    ),
    "a default type": lambda: model_of(_sets_type, call=_sees_type),
    "a device around": lambda: model_of(lambda self, x: self.run(x) + torch.ones(8), call=_on_devices),
    "a tag on what comes out": lambda: model_of(
        _tagged, call=lambda self, block, index, x: (lambda y: y.sin().clone() if hasattr(y, "tag") else y)(block(x))
    ),
    "what comes out wants a gradient": lambda: model_of(
        lambda self, x: self.run(x.detach()).requires_grad_(),
        call=lambda self, block, index, x: (lambda y: y.sin() if y.requires_grad else y)(block(x)),
    ),
    "inference": lambda: model_of(call=_inferred),
    "a tensor on a tensor": lambda: model_of(call=_extra),
    "another part of a tensor": lambda: model_of(
        lambda self, x: self.run(x, x.storage_offset()),
        call=lambda self, block, index, x: block(torch.cat([x, x]).split(4)[index >= LATE]),
    ),
    "a conjugate": lambda: model_of(
        lambda self, z: (z + 1).real.clone() if z.is_conj() else z.real.clone(),
        call=lambda self, block, index, x: block(torch.complex(x, x) if index < LATE else torch.complex(x, x).conj()),
    ),
    "a view of something larger": lambda: model_of(
        lambda self, x: torch.cat([self.run(x), x], 1)[:, 8:],
        call=lambda self, block, index, x: block(x) * block(x).storage_offset(),
    ),
    "the list that was given": lambda: model_of(lambda self, given: given, call=_gives_back),
    "a buffer": lambda: model_of(
        lambda self, x: self.kept, _buffered(torch.ones(4, 8)),
        call=lambda self, block, index, x: x.sin() if block(x) is block.kept else x.cos(),
    ),
    "a buffer of another shape": lambda: model_of(
        _transposes, _buffered(torch.ones(2, 3)), after=lambda self, x: x * sum(len(each.kept) for each in self.blocks)
    ),
    "a buffer that was written to": lambda: model_of(
        _counts_steps, _buffered(torch.zeros(())), after=lambda self, x: x if self.blocks[LATE].kept.item() else x.sin()
    ),
    "what a method remembers": _remembers,
}  # fmt: skip


CASES = {**STATES, **APART, **LEFT}


@pytest.mark.parametrize("name", CASES)
def test_the_trace_is_that_of_a_run_of_every_block(name: str, fresh: Callable[[], None]):
    found = []
    for every_block in (True, False):
        fresh()
        found.append(trace(CASES[name](), "f32[4,8]", every_block=every_block))
    assert found[0] == found[1]
    assert found[0].failure is None


# ── caches of transformers that are not as even as those of a generation ─────────────────────────────────────────────

_OF_CACHE = transformers.LlamaConfig(num_hidden_layers=BLOCKS, hidden_size=8, num_attention_heads=1)


class Asking(Block):
    """Adds as many ones as there are tokens in the cache."""

    def forward(self, x: Any, cache: Any) -> Any:  # type: ignore[override]
        return self.run(x) + torch.ones(cache.get_seq_length(self.index), 8).sum(0)


class Filling(Block):
    def forward(self, x: Any, cache: Any) -> Any:  # type: ignore[override]
        keys, _ = cache.update(x[None, None], x[None, None], self.index)
        return self.run(x) + keys[0, 0, :4]


class OverDynamic(Model):
    def forward(self, x: torch.Tensor) -> Any:
        cache = DynamicCache(config=_OF_CACHE)
        for index in range(BLOCKS):
            given = torch.ones(1, 1, 4 if index < LATE else 5, 8, device=x.device)
            cache.update(given, given, index)
        for block in self.blocks:
            x = block(x, cache)
        return x


class OverStatic(Model):
    def forward(self, x: torch.Tensor) -> Any:
        cache = StaticCache(config=_OF_CACHE, max_cache_len=6)
        for index in range(BLOCKS):
            cache.layers[index] = StaticLayer(6 if index < LATE else 8)
            cache.update(x[None, None, :1], x[None, None, :1], index)
        for block in self.blocks:
            x = block(x, cache)
        return x


@pytest.mark.parametrize(("model", "block"), [(OverDynamic, Asking), (OverDynamic, Filling), (OverStatic, Filling)])
def test_layers_of_a_cache_that_differ_are_seen(model: type[Model], block: type[Block]):
    assert trace(model(block), "f32[4,8]") == trace(model(block), "f32[4,8]", every_block=True)


# ── the run itself ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_interrupt_in_a_block_under_watch_ends_the_trace():
    """It is the second block that is watched; to begin anew would take the interrupt for an answer of the block."""

    def forward(self: Any, x: Any) -> Any:
        self.shared.n += 1
        if self.shared.n == 2:
            raise KeyboardInterrupt
        return self.run(x)

    model = model_of(forward)
    with pytest.raises(KeyboardInterrupt):
        trace(model, "f32[4,8]")
    assert sys.getprofile() is None
    assert [block.index for block in model.blocks] == list(range(BLOCKS))
    assert all(type(block.index) is int for block in model.blocks)
    assert model.shared.n == 0


class ByType(Block):
    def forward(self, x: Any) -> Any:
        return self.run(x, type(self.index) is not int)


def test_many_lists_of_blocks_that_ask_what_a_number_is_are_run_in_full():
    """Forty lists of six, each among others, so that none stands for another: each could begin the run anew."""
    lists = [torch.nn.Sequential(*(ByType(index, None) for index in range(6))) for _ in range(40)]
    among = [torch.nn.Sequential(each, *[torch.nn.Identity()] * at) for at, each in enumerate(lists)]
    model = torch.nn.Sequential(*among)
    assert trace(model, "f32[4,8]") == trace(model, "f32[4,8]", every_block=True)

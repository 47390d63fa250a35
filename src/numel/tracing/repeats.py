"""Blocks that do the same run twice; what they did stands for the others, where nothing could tell these apart.

A block is taken for one before it when it has the same classes, attributes and shapes throughout, is given the same
specs under the same settings, and nothing else that it could look at has changed: objects that it shares with others,
attributes of its classes, globals of the files that define these. Whole numbers in which blocks differ (`layer_idx`)
are put into the second one as objects that tell when they are used: then no block is taken for another. And what a
block did must not be by chance or by value, nor leave anything behind, and the second must have done the very same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from numel import torch_private
from numel.facts.trace import OpRecord
from numel.tracing import caches
from numel.tracing.alike import Given, Made, Picture, Place, attributes, held_tensors, spec_of, states, version
from numel.tracing.calls import Calls
from numel.tracing.ends import NotAlike
from numel.tracing.looks import Looks
from numel.tracing.meta_recorder import MetaRecorder
from numel.tracing.routers import Place as RouterChoice
from numel.tracing.shared import Shared
from numel.tracing.unread import Unread
from numel.tracing.untouched import switches

_FEWEST = 6  # blocks side by side: two of them run in any case, and to watch these takes time
_MOST_KINDS = 8  # of blocks side by side that are told apart
_MOST_SINGLE = 4  # of which there is one block each

_Run = Callable[..., Any]
_Differs = tuple[list[torch.nn.Module], list[Place]]  # the modules of a block, and the numbers in which it differs


@dataclass(frozen=True, slots=True)
class _Did:
    """What one block did: calls and operators from here to there, what it put out, and what it left in a cache."""

    block: list[torch.nn.Module]
    calls: slice
    ops: slice
    made: Made
    filled: Any
    chose: frozenset[RouterChoice]


class _Kind:
    """Blocks that look alike and are given alike: how the first one was, and what it and the second one did."""

    def __init__(self, given: Given, settings: Any, picture: Picture) -> None:
        self.given = given.key
        self.settings = settings
        self.objects = given.objects  # held, so that no other gets the identity of one
        self.picture = picture
        self.did: _Did | None = None
        self.shared: Shared | None = None  # from the second one on
        self.unread: frozenset[Place] = frozenset()
        self.tried = False
        self.out = False  # none is taken for another

    def differs(self, block: torch.nn.Module, strict: bool) -> _Differs | None:
        """How a block differs, if it is of this kind."""
        found = self.picture.differs(block)
        if found is None or (self.shared is None and not strict):
            return found
        return found if self.unread.issuperset(found[1]) else None


@dataclass(slots=True)
class _Blocks:
    """Blocks side by side, and the kinds that were found among them. `path` is that of the first. Where they are
    `strict`, blocks of one kind differ in no number."""

    path: str
    strict: bool
    kinds: list[_Kind] = field(default_factory=list)

    @property
    def differ(self) -> bool:
        """Whether no two of several were alike."""
        return len(self.kinds) >= _MOST_SINGLE and all(kind.did is None or kind.shared is None for kind in self.kinds)


class Repeats:
    """The blocks of one run on meta tensors. `drew` says whether the run drew from Python's or NumPy's generator. Those
    beside one that is `unlike`, by path, are alike only where they differ in no number."""

    def __init__(
        self, tree: Sequence[tuple[str, torch.nn.Module]], calls: Calls, recorder: MetaRecorder,
        drew: Callable[[], bool], unlike: Collection[str] = (),
    ) -> None:  # fmt: skip
        self._calls = calls
        self._recorder = recorder
        self._drew = drew
        self._side_by_side: dict[int, _Blocks] = {}  # by block
        self._paths = {id(module): path for path, module in tree}
        for _, module in tree:
            if isinstance(module, torch.nn.ModuleList | torch.nn.Sequential) and len(module._modules) >= _FEWEST:
                children = [child for child in module._modules.values() if child is not None and child._modules]
                classes = [type(child) for child in children]
                often = {kind for kind in classes if classes.count(kind) >= _FEWEST}
                alike = [child for child in children if type(child) in often]
                if alike:
                    path = self._paths[id(alike[0])]
                    self._side_by_side |= dict.fromkeys(map(id, alike), _Blocks(path, path in unlike))

    def around(self, module: torch.nn.Module, run: _Run) -> _Run:
        """What is to be the forward of a module whose forward is `run`."""
        blocks = self._side_by_side.get(id(module))
        if blocks is None:
            return run

        def forward(*args: Any, **kwargs: Any) -> Any:
            return self._call(blocks, module, run, args, kwargs)

        forward.__wrapped__ = getattr(run, "__wrapped__", run)  # type: ignore[attr-defined]
        return forward

    def _call(self, blocks: _Blocks, block: torch.nn.Module, run: _Run, args: Any, kwargs: Any) -> Any:
        recorder, kinds = self._recorder, blocks.kinds
        if blocks.differ or recorder.undecided or recorder.ended or recorder.nodes is not None or not self._calls.here:
            return run(*args, **kwargs)
        given = Given(args, kwargs)
        settings = _settings()
        if not given.known or settings is None:
            return run(*args, **kwargs)
        for kind in kinds:
            if kind.given == given.key and kind.settings == settings:
                differs = kind.differs(block, blocks.strict)
                if differs is not None:
                    break
        else:
            picture = Picture(block)
            if not picture.known or len(kinds) == _MOST_KINDS:
                return run(*args, **kwargs)
            kind, differs = _Kind(given, settings, picture), (picture.modules, [])
            kinds.append(kind)
        modules, numbers = differs
        if kind.out:
            return run(*args, **kwargs)
        if kind.did is None:
            return self._first(kind, modules, given, lambda: run(*args, **kwargs))
        if kind.shared is None:
            return self._second(blocks, kind, modules, numbers, given, lambda: run(*args, **kwargs))
        places = self._places(kind.did, modules)
        if places is not None and kind.shared.unchanged():
            filled = kind.did.filled
            layer = None if filled is None else filled.layer(modules, given.objects)
            if filled is None or layer is not None:
                return self._again(kind.did, places, layer, given)
        return run(*args, **kwargs)

    def _first(self, kind: _Kind, block: list[torch.nn.Module], given: Given, run: Callable[[], Any]) -> Any:
        """The first block of a kind, or the next one where that did what can not be told again."""
        layers = caches.states(given.objects)
        shared = Shared([each for each in given.objects if not caches.is_known(each)])
        for container in given.containers:
            shared.keep(container)
        before, start = self._told(block, given), self._place()
        outputs = run()
        did = self._did(block, start, outputs, given, caches.filled(given.objects, layers, block, None))
        left_nothing = shared.known and shared.unchanged() and before == self._told(block, given)
        if did is not None and left_nothing and not self._drew():
            kind.did = did
        else:
            kind.out, kind.tried = kind.tried, True
        return outputs

    def _second(
        self, blocks: _Blocks, kind: _Kind, block: list[torch.nn.Module], numbers: list[Place], given: Given,
        run: Callable[[], Any],
    ) -> Any:  # fmt: skip
        """The second block of a kind, with all that could make it differ from the others under watch."""
        known = [each for each in given.objects if caches.is_known(each)]
        others = [each for each in given.objects if not caches.is_known(each)]
        shared, own = Shared((*attributes(block), *others), block), Shared()
        for kind_of_module in {*map(type, block)}:
            shared.hold(kind_of_module)
        for part in (part for cache in known for part in caches.parts(cache)):
            shared.keep(part)
        for container in (*states(block), *given.containers):
            own.keep(container)
        layers = caches.states(given.objects)
        before, start = self._told(block, given), self._place()
        unread = {place: Unread(block[place[0]].__dict__[place[1]], known) for place in numbers}
        kind.out = True
        try:
            _put(block, unread)
            with Looks(shared):
                outputs = run()
        except BaseException as error:
            if unread and not isinstance(error, KeyboardInterrupt):
                raise self._recorder.end(NotAlike(blocks.path)) from error
            raise
        finally:
            _put(block, {place: number.number for place, number in unread.items() if _is_there(block, place, number)})
        in_cache = [place for place, number in unread.items() if number.in_cache]
        filled = caches.filled(given.objects, layers, block, in_cache)
        did = self._did(block, start, outputs, given, filled)
        equal = did is not None and kind.did is not None and self._equal(kind.did, did)
        if unread and (not equal or _most_held(unread) > _HELD_ALONE):
            raise self._recorder.end(NotAlike(blocks.path))  # what ran, or will, may have found that it is no number
        clean = shared.known and own.unchanged() and shared.unchanged() and before == self._told(block, given)
        if not equal or not clean or self._drew():
            return outputs
        if any(number.used for number in unread.values()) or len(in_cache) != (filled is not None):
            blocks.strict = True
            blocks.kinds.clear()
        else:
            kind.did, kind.shared, kind.unread, kind.out = did, shared, frozenset(numbers), False
        return outputs

    def _place(self) -> tuple[int, int, int]:
        return self._calls.count, len(self._recorder.ops), len(self._recorder.asked)

    def _told(self, block: list[torch.nn.Module], given: Given) -> tuple[Any, ...]:
        """What changes where a block says something, sets something, or writes to what it has or was given."""
        calls, recorder = self._calls, self._recorder
        tensors = [(version(each), spec_of(each)) for each in (*given.tensors, *held_tensors(block))]
        return len(recorder.said), calls.failed, calls.strayed, _settings(), tensors

    def _did(
        self, block: list[torch.nn.Module], start: tuple[int, int, int], outputs: Any, given: Given, filled: Any
    ) -> _Did | None:
        """What a block did since `start`; `None` where it can not be told again."""
        made = Made(outputs, given, {*map(id, held_tensors(block))})
        calls, ops = slice(start[0], self._calls.count), slice(start[1], len(self._recorder.ops))
        own = {self._paths.get(id(module)) for module in block}
        if not made.known or filled is caches.UNKNOWN or not own.issuperset(self._calls.paths(calls)):
            return None
        if any(op.call not in range(calls.start, calls.stop) for op in self._recorder.ops[ops]):
            return None  # a generator of another call went on
        if any(since < ops.start for since in self._recorder.asked[start[2] :]):
            return None  # it went by values that were not its own
        routers = self._recorder.routers
        return _Did(block, calls, ops, made, filled, frozenset() if routers is None else routers.used(calls))

    def _places(self, did: _Did, block: list[torch.nn.Module]) -> dict[str, str] | None:
        """The paths of the modules of one block as those of another; `None` where it has some that were not there."""
        paths = self._paths
        try:
            return {paths[id(one)]: paths[id(other)] for one, other in zip(did.block, block, strict=True)}
        except KeyError:
            return None

    def _equal(self, one: _Did, other: _Did) -> bool:
        """Whether two blocks did the very same."""
        if one.made.shape != other.made.shape or not caches.same(one.filled, other.filled):
            return False
        places = self._places(one, other.block)
        if places is None or not self._calls.equal(one.calls, other.calls, places):
            return False
        shift = other.calls.start - one.calls.start
        if {(*choice[:3], choice[3] + shift) for choice in one.chose} != other.chose:
            return False
        return _moved(self._recorder.ops[one.ops], shift) == self._recorder.ops[other.ops]

    def _again(self, did: _Did, places: dict[str, str], layer: Any, given: Given) -> Any:
        """Write down for a block what another one did, and return what it would put out."""
        shift = self._calls.again(did.calls, places)
        self._recorder.ops += _moved(self._recorder.ops[did.ops], shift)
        if did.filled is not None:
            did.filled.fill(layer)
        if did.chose and self._recorder.routers is not None:
            self._recorder.routers.again(did.chose, shift)
        return did.made.again(given)


def _settings() -> tuple[Any, ...] | None:
    found = torch_private.settings()
    return None if found is None else (*found, *switches())


def _is_there(block: list[torch.nn.Module], place: Place, number: Unread) -> bool:
    return block[place[0]].__dict__.get(place[1]) is number


def _put(block: list[torch.nn.Module], numbers: dict[Place, Any]) -> None:
    for (at, name), number in numbers.items():
        block[at].__dict__[name] = number


def _most_held(numbers: dict[Place, Unread]) -> int:
    """How many references there are to one of these, those of who asks included."""
    return max(map(sys.getrefcount, numbers.values()), default=0)


_HELD_ALONE = _most_held({(0, ""): Unread(0, [])})


def _moved(ops: list[OpRecord], by: int) -> list[OpRecord]:
    return [OpRecord(op.op, op.call + by, op.args, op.kwargs, op.outputs, op.phase) for op in ops]

"""How operators run on data, and where values come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from numel import torch_private
from numel.tracing.arguments import tensors_of
from numel.tracing.calls import Calls
from numel.tracing.operators import SHAPED_LIKE, Operator, draws, is_mask, written
from numel.tracing.recorder import Recorder


class RealRecorder(Recorder):  # type: ignore[no-untyped-call]
    """Runs operators on data, and follows where values come from.

    Made up are those that nobody gave: random inputs and weights, and draws. Given are those of the user's inputs and
    model. `sampled` is the operator from which on what runs depends on made-up ones: they were read, or gave a shape.
    `sampled_by` says what read them first, and `decided` what all read given ones.
    """

    def __init__(self, calls: Calls, before_write: Callable[[torch.Tensor], None]) -> None:
        super().__init__(calls, before_write)
        self.sampled: int | None = None
        self.sampled_by = ""
        self.decided: dict[str, None] = {}
        self.made_up: set[int | None] = set()  # storages
        self.given: set[int | None] = set()

    def run(self, known: Operator, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        sources = {torch_private.storage_number(tensor) for tensor in tensors_of((args, kwargs))}
        if known.tells or (known.name == "aten.index.Tensor" and any(map(is_mask, args[1]))):
            self._tell(sources)
        outputs = super().run(known, func, args, kwargs)
        by_value = known.name.rpartition(".")[0] not in SHAPED_LIKE
        made_up = draws(known, func, args, kwargs) or (by_value and not sources.isdisjoint(self.made_up))
        given = by_value and not sources.isdisjoint(self.given)
        for tensor in (*tensors_of(outputs), *written(known, args, kwargs)):
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
            self.sampled, self.sampled_by = len(self.ops), self.who
        elif not sources.isdisjoint(self.given):
            self.decided[self.who] = None


def made_up_by(make: Callable[[], Any]) -> tuple[Any, frozenset[int | None]]:
    """What `make` returns, and the storages whose values it drew or computed of draws."""
    recorder = RealRecorder(Calls(), lambda _: None)
    with recorder:
        made = make()
    return made, frozenset(recorder.made_up)

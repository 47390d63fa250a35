"""`numel.monitor` as a callback of Hugging Face's Trainer."""

from __future__ import annotations

from typing import Any

from numel import api
from numel.extras import need
from numel.integrations.watching import Watching

_Callback: Any = need("transformers", extra="hub").TrainerCallback


class TrainerMonitor(Watching, _Callback):  # type: ignore[misc]
    """Watches the model that a `Trainer` trains: `Trainer(callbacks=[TrainerMonitor("run.jsonl", every=100)])`.

    It looks when the optimizer has stepped and the gradients are still there; steps are those of `state.global_step`
    once that step is done. `history` is what was seen so far, also after the training.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if self._watch is not None:  # that of a training which was interrupted still has the file
            self._watch.close()
        self._watch = api.monitor(given["model"], self._sink, self._every, given.get("optimizer"))
        self._watch.observe(state.global_step)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._watch.observe(state.global_step + 1)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._watch.close()

"""`numel.monitor` as a callback of Hugging Face's Trainer."""

from __future__ import annotations

from typing import Any

from numel.extras import need
from numel.integrations.watching import Watching

_Callback: Any = need("transformers", extra="hub").TrainerCallback


class TrainerMonitor(Watching, _Callback):  # type: ignore[misc]
    """Watches the model that a `Trainer` trains: `Trainer(callbacks=[TrainerMonitor("run.jsonl", every=100)])`.

    It looks when the optimizer has stepped and the gradients are still there; steps are those of `state.global_step`
    once that step is done. `history` is what was seen so far, also after the training. The trainer does not say that
    `train()` raised: call `close()` then, or train again.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._begin(given["model"], given.get("optimizer"), state.global_step)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._watch.observe(state.global_step + 1)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.close()

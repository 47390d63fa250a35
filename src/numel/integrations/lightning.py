"""`numel.monitor` as a callback of Lightning."""

from __future__ import annotations

from typing import Any

from numel import api
from numel.extras import need
from numel.integrations.watching import Watching

_Callback: Any = need("lightning.pytorch", extra="lightning").Callback


class LightningMonitor(Watching, _Callback):  # type: ignore[misc]
    """Watches the module that a `Trainer` trains: `Trainer(callbacks=[LightningMonitor("run.jsonl", every=100)])`.

    It looks after each batch, when the optimizer has stepped and the gradients are still there; steps are the trainer's
    `global_step`. `history` is what was seen so far, also after the training.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._watch = api.monitor(pl_module, self._sink, self._every, list(trainer.optimizers))
        self._watch.observe(trainer.global_step)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self._watch.observe(trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._watch.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self._watch is not None:
            self._watch.close()

"""`numel.monitor` as a callback of Lightning."""

from __future__ import annotations

from typing import Any

from numel import api
from numel.extras import need
from numel.results.history import History

_Callback: Any = need("lightning.pytorch", extra="lightning").Callback


class LightningMonitor(_Callback):  # type: ignore[misc]
    """Watches the module that a `Trainer` trains: `Trainer(callbacks=[LightningMonitor("run.jsonl", every=100)])`.

    It looks after each batch, when the optimizer has stepped and the gradients are still there; steps are the trainer's
    `global_step`. `history` is what was seen so far, also after the training.
    """

    def __init__(self, sink: Any = None, every: int | None = None) -> None:
        self._sink, self._every = sink, every
        self._watch: Any = None

    @property
    def history(self) -> History:
        """What was seen so far."""
        return History() if self._watch is None else self._watch.history

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

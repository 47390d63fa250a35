"""`numel.monitor` as a callback of Lightning."""

from __future__ import annotations

from typing import Any

from numel.extras import need
from numel.integrations.watching import Watching

_Callback: Any = need("lightning.pytorch", extra="lightning").Callback


class LightningMonitor(Watching, _Callback):  # type: ignore[misc]
    """Watches the module that a `Trainer` trains: `Trainer(callbacks=[LightningMonitor("run.jsonl", every=100)])`.

    It looks after each batch in which an optimizer has stepped, when the gradients are still there, clipped where they
    are; steps are the trainer's `global_step`, which counts each step of each optimizer. In manual optimization call
    `zero_grad()` before `backward()`, not after `step()`. `history` is what was seen so far, also after the training.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._step: int = trainer.global_step
        self._begin(pl_module, list(trainer.optimizers), self._step)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            self._watch.observe(self._step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.close()

"""numel inside of other tools, each a thin adapter: sinks for their logs, callbacks for their trainers. Nothing here is
imported until it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numel.integrations.lightning import LightningMonitor
    from numel.integrations.mlflow import MLflow
    from numel.integrations.tensorboard import TensorBoard
    from numel.integrations.transformers import TrainerMonitor
    from numel.integrations.wandb import WeightsAndBiases

__all__ = ["LightningMonitor", "MLflow", "TensorBoard", "TrainerMonitor", "WeightsAndBiases"]

_WHERE = {
    "LightningMonitor": "lightning", "MLflow": "mlflow", "TensorBoard": "tensorboard", "TrainerMonitor": "transformers",
    "WeightsAndBiases": "wandb",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)

"""Plain arithmetic over recorded shapes, a file per family of operators. Importing this registers all of them."""

from numel.analyses.formulas import (  # noqa: F401  each registers its operators
    attention,
    backward,
    convolution,
    elementwise,
    embedding,
    free,
    linalg,
    matmul,
    optimizers,
    quantized,
    recurrent,
)
from numel.analyses.formulas.registry import Cost, cost, described, find, formula, registered
from numel.analyses.formulas.traffic import Traffic, traffic

__all__ = ["Cost", "Traffic", "cost", "described", "find", "formula", "registered", "traffic"]

"""Which operators have no formula, and why. A new one, of torch or of ours, shows up here by name."""

from __future__ import annotations

import torch

from formulas.counting import total, whole
from numel.analyses.formulas import find


def _core() -> set[str]:
    """Operators with the tag `core`, one name for all overloads."""
    found = set()
    for name in torch._C._dispatch_get_all_op_names():
        namespace, _, rest = name.partition("::")
        packet, _, overload = rest.partition(".")
        if namespace not in ("aten", "prims"):
            continue
        operator = getattr(getattr(getattr(torch.ops, namespace), packet, None), overload or "default", None)
        if operator is not None and torch.Tag.core in operator.tags:
            found.add(str(operator))
    return found


def test_the_core_of_torch_is_found_at_all():
    assert {"aten.mm.default", "aten.convolution.default", "aten._softmax.default"} <= _core()
    assert len(_core()) > 150


def test_every_core_operator_has_a_formula():
    assert {each.rpartition(".")[0] for each in _core() if find(each) is None} == set()


def test_every_layer_of_torch_nn_that_multiplies_has_macs():
    """The layers by name, so that one that loses its formula is seen as more than a smaller total."""
    layers: dict[str, tuple[torch.nn.Module, tuple[torch.Tensor, ...]]] = {
        "Linear": (torch.nn.Linear(4, 5), (torch.ones(2, 4),)),
        "Bilinear": (torch.nn.Bilinear(4, 3, 5), (torch.ones(2, 4), torch.ones(2, 3))),
        "LazyLinear": (torch.nn.LazyLinear(5), (torch.ones(2, 4),)),
        "Conv1d": (torch.nn.Conv1d(4, 5, 3), (torch.ones(2, 4, 9),)),
        "ConvTranspose2d": (torch.nn.ConvTranspose2d(4, 5, 3), (torch.ones(2, 4, 9, 9),)),
        "LazyConv3d": (torch.nn.LazyConv3d(5, 3), (torch.ones(2, 4, 5, 5, 5),)),
        "LSTM": (torch.nn.LSTM(4, 5), (torch.ones(3, 2, 4),)),
        "GRUCell": (torch.nn.GRUCell(4, 5), (torch.ones(2, 4),)),
        "MultiheadAttention": (torch.nn.MultiheadAttention(4, 2), (torch.ones(3, 2, 4),) * 3),
        "TransformerDecoderLayer": (torch.nn.TransformerDecoderLayer(4, 2, 8), (torch.ones(3, 2, 4),) * 2),
    }
    assert [name for name, (layer, given) in layers.items() if not total(whole(layer, *given)).macs] == []

"""Random modules that share modules, parameters, buffers and bytes: the sums of torch itself, whatever the graph."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from numel.facts.codec import decode, encode  # noqa: E402
from numel.sources.live import snapshot, totals  # noqa: E402

ELEMENTS = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.complex64]


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    """A root over up to 7 modules. Each may hold any module before it, or itself, and any tensor made so far.

    Tensors are new, views of an earlier one's bytes, or an earlier one again: as a parameter, a buffer or both.
    """
    names = count()
    tensors: list[Any] = []
    modules: list[Any] = []

    def tensor() -> Any:
        how = draw(st.sampled_from(["new", "new", "view", "again"])) if tensors else "new"
        if how == "again":
            return draw(st.sampled_from(tensors))
        if how == "view":
            made = draw(st.sampled_from(tensors)).detach().reshape(-1)[: draw(st.integers(0, 3))]
        else:
            made = torch.zeros(draw(st.lists(st.integers(0, 3), max_size=3)), dtype=draw(st.sampled_from(ELEMENTS)))
        tensors.append(torch.nn.Parameter(made, requires_grad=draw(st.booleans())) if draw(st.booleans()) else made)
        return tensors[-1]

    for _ in range(draw(st.integers(1, 7))):
        module = torch.nn.Module()
        for _ in range(draw(st.integers(0, 3))):
            held = tensor()
            if isinstance(held, torch.nn.Parameter) and draw(st.integers(0, 3)):
                module.register_parameter(f"t{next(names)}", held)
            else:
                module.register_buffer(f"t{next(names)}", held, persistent=draw(st.booleans()))
        for _ in range(draw(st.integers(0, 2))):
            child = draw(st.sampled_from([*modules, module, None])) if modules else None
            module.add_module(f"m{next(names)}", child)
        modules.append(module)
    root = torch.nn.Module()
    for each in draw(st.permutations(modules)):
        root.add_module(f"m{next(names)}", each)
    return root


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_any_graph_of_modules_counts_what_torch_lists(model):
    s = snapshot(model)
    assert totals(model) == s.totals
    parameters = {id(p): p for p in model.parameters()}
    buffers = {id(b): b for b in model.buffers() if id(b) not in parameters}
    assert s.totals.params == sum(p.numel() for p in model.parameters())
    assert s.totals.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert s.totals.buffers == sum(b.numel() for b in buffers.values())
    storages = {t.untyped_storage()._cdata: t.untyped_storage() for t in (*parameters.values(), *buffers.values())}
    assert s.totals.nbytes == sum(each.nbytes() for each in storages.values())
    named = [*model.named_parameters(), *model.named_buffers()]
    assert {name for name, _ in named} <= {t.path for t in s.tensors}
    assert [m.path for m in s.modules if m.alias_of is None] == [name for name, _ in model.named_modules()]
    assert s.subtotals()[""] == s.totals
    assert decode(encode(s))[0] == s

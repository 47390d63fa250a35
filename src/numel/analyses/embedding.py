"""Parameters of look-up tables, as the field tells them from the rest: vocabulary and positions (Kaplan et al. 2020,
arXiv:2001.08361, section 1.3), and whatever else is an embedding module."""

from __future__ import annotations

from numel.facts import Snapshot


def embedding_params(snapshot: Snapshot) -> int:
    """Elements of the tables of embedding modules, each once: a head that is tied to one is that table.

    An output head of its own multiplies, and is none. It is what `num_parameters(exclude_embeddings=True)` of
    transformers leaves out.

    >>> from numel.facts import ModuleRecord, TensorRecord, dtype
    >>> sizes = (("embedding_dim", 4), ("num_embeddings", 10))
    >>> w = TensorRecord("emb.weight", (10, 4), dtype("f32"))
    >>> embedding_params(Snapshot((ModuleRecord("", "Net"), ModuleRecord("emb", "Embedding", None, sizes)), (w,)))
    40
    """
    tables = {}
    for module in snapshot.modules:
        held = dict(module.attributes)
        size = (held.get("num_embeddings"), held.get("embedding_dim"))
        if all(type(each) is int for each in size):
            tables[module.path] = size
    if not tables:
        return 0
    first = {record.alias_of or record.path for record in snapshot.tensors if record.shape == tables.get(record.module)}
    return sum(share.params for record, share in snapshot.own_totals() if record.path in first)

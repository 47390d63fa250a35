"""Parameters that adapt a model beside those that it had: the layers of peft, and LoRA pairs by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from numel.facts import ModuleRecord, Note, Snapshot, above_of

# the children of a module of peft that are the model as it was; all else that such a module holds adapts it
_AS_IT_WAS = frozenset({"base_layer", "original_module", "base_model", "model", "word_embeddings"})
_PAIRS = re.compile(r"(^|\.)lora_?(A|B|a|b|down|up|embedding_A|embedding_B|magnitude_vector)(\.|$)")
_NAMES = {
    "lora": "LoRA", "adalora": "AdaLoRA", "ia3": "IA3", "loha": "LoHa", "lokr": "LoKr", "vera": "VeRA", "oft": "OFT",
    "boft": "BOFT", "prompt_tuning": "prompt tuning", "p_tuning": "p-tuning", "prefix_tuning": "prefix tuning",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Adapters:
    """`params` elements at `places` modules, of the `kinds` in question; `inferred`: told by their names alone."""

    params: int = 0
    kinds: tuple[str, ...] = ()
    places: int = 0
    inferred: bool = False

    @property
    def label(self) -> str:
        """The name of the figure: `Adapter params (LoRA)`."""
        kinds = ", ".join(self.kinds)
        return f"Adapter params ({kinds}{', by name' if self.inferred else ''})"


def adapters(snapshot: Snapshot) -> Adapters:
    """What was added to a model to adapt it; `Adapters()` where nothing was.

    >>> from numel.facts import TensorRecord, dtype
    >>> tensors = tuple(TensorRecord(f"fc.{name}", (2, 8), dtype("f32")) for name in ("weight", "lora_A", "lora_B"))
    >>> adapters(Snapshot((ModuleRecord("", "Net"), ModuleRecord("fc", "Linear")), tensors)).params
    32
    """
    modules = {module.path: module for module in snapshot.modules}
    by_peft = any(module.type.startswith("peft.") for module in snapshot.modules)
    params = 0
    kinds: dict[str, None] = {}
    places: set[str] = set()
    for record, share in snapshot.own_totals():
        if not share.params:
            continue
        holder = _of_peft(record.path, modules) if by_peft else None
        if holder is not None:
            kinds[_kind(holder)] = None
            place = holder.path
        elif not by_peft and _PAIRS.search(record.path):
            kinds["LoRA"] = None
            place = record.path[: _PAIRS.search(record.path).start()]  # type: ignore[union-attr]
        else:
            continue
        params += share.params
        places.add(place)
    return Adapters(params, tuple(kinds), len(places), bool(params) and not by_peft)


def notes(found: Adapters) -> Iterator[Note]:
    """How adapters were told from the model that they adapt."""
    if found.params:
        how = "by the names of tensors" if found.inferred else "by the modules of peft that hold them"
        where = f"{found.places} module{'s' if found.places > 1 else ''}"
        yield Note("adapters", "info", f"{', '.join(found.kinds)} at {where}, known {how}")


def _of_peft(path: str, modules: dict[str, ModuleRecord]) -> ModuleRecord | None:
    """The nearest module of peft that holds a tensor, where it holds it as an adapter."""
    place = path
    while place:
        above = above_of(place, modules)
        if modules[above].type.startswith("peft."):
            child = place[len(above) + 1 if above else 0 :].partition(".")[0]
            return None if child in _AS_IT_WAS else modules[above]
        place = above
    return None


def _kind(module: ModuleRecord) -> str:
    """`peft.tuners.lora.layer.Linear` is LoRA; a whole module that is trained beside the adapter has no method."""
    parts = module.type.split(".")
    if parts[1] != "tuners":
        return "modules to save"
    return _NAMES.get(parts[2], parts[2])

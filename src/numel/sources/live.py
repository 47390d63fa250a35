"""A live nn.Module → Snapshot: a walk over registered modules and tensors. No forward, no value read, nothing set.

Tensors are told apart by identity (as `model.parameters()` does), bytes by storage: two parameters can be different
objects over the same bytes, and one parameter can be a small view of a large storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from inspect import signature
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from numel import collector
from numel.facts.dtype import dtype_of
from numel.facts.experts import CHOICES, COUNTS
from numel.facts.provenance import Provenance, versions
from numel.facts.snapshot import Attribute, ModuleRecord, Snapshot
from numel.facts.tensor import Part, Role, TensorRecord
from numel.facts.totals import Totals
from numel.sources import exported, flat, unregistered
from numel.sources import packed as packing
from numel.sources.roles import guess

if TYPE_CHECKING:
    import torch

# what a row may say about a layer beside its shapes; short on purpose
_ATTRIBUTES = frozenset({
    "in_features", "out_features", "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation",
    "groups", "num_embeddings", "embedding_dim", "num_heads", "num_key_value_heads", "head_dim", "embed_dim",
    "hidden_size", "input_size", "num_layers", "bidirectional", "batch_first", "normalized_shape", "num_features",
    "num_groups", "eps", "p",
})  # fmt: skip
# how many experts there are and how many of them a token meets, in the words of those who write routers
_EXPERTS = frozenset(COUNTS) | frozenset(CHOICES)
_ATTRIBUTES |= _EXPERTS | {"k"}
# of torch's layers also what their constructors take and what torch calls their constants, less what changes no value
# or is seen in their tensors
_LESS = frozenset({
    "inplace", "process_group", "affine", "elementwise_affine", "bias", "head_bias", "init", "kdim", "vdim", "d_model",
    "n_classes", "cutoffs", "div_value",
})  # fmt: skip
# where a module keeps the configuration that it was built from
_CONFIGURATIONS = ("config", "args", "cfg")


def snapshot(model: torch.nn.Module, *, target: str = "") -> Snapshot:
    """Every module and tensor that `model` registers, on any device, in preorder.

    A module or tensor met again is recorded at its new place with `alias_of`; what is a parameter anywhere is one at
    its first place, too. A module that contains itself is recorded there and not entered again. Lazy tensors have the
    shape `None`, nested ones that of their values. Weights that torch.ao packs have records, though it registers none.

    >>> import torch
    >>> layer = torch.nn.Linear(3, 2)
    >>> both = torch.nn.Sequential(layer, layer)
    >>> s = snapshot(both)
    >>> s.totals.params, s.totals.tied, [m.alias_of for m in s.modules]
    (8, 8, [None, None, '0'])
    """
    import torch

    with collector.paused():
        return _walk(torch, model, target or type_name_of(model))


def totals(model: torch.nn.Module) -> Totals:
    """`snapshot(model).totals` without the records: counting 10⁵ modules takes about as long as listing them.

    >>> import torch
    >>> totals(torch.nn.BatchNorm2d(4)).buffers
    9
    """
    import torch

    if flat.is_loaded() and flat.wholes(model):
        return snapshot(model).totals
    is_lazy = torch.nn.parameter.is_lazy
    params = trainable = buffers = packed = nbytes = local = tied = unknown = 0
    modules_seen: set[int] = set()
    tensors_seen: set[int] = set()
    storages_seen: set[int] = set()
    buffers_seen: set[int] = set()
    packs: dict[type, packing.Packs] = {}
    # the same walk as a snapshot's, so that a shared module is entered again and its tensors are seen as tied
    pending: list[tuple[Any, tuple[int, ...]]] = [(model, ())]
    while pending:
        module, inside = pending.pop()
        key = id(module)
        if key in inside:
            continue
        again = key in modules_seen
        modules_seen.add(key)
        held = module._parameters
        registered = module._buffers
        kind = module.__class__
        packs_so = packs.get(kind)
        if packs_so is None:
            packs_so = packs[kind] = packing.packs(module)
        sizes = packs_so.sizes
        codes = packing.codes(torch, module, sizes) if sizes is not None else None
        for group, is_parameter in ((held, True), (registered, False)) if registered else ((held, True),):
            for tensor in group.values():
                if tensor is None:
                    continue
                identity = id(tensor)
                if is_lazy(tensor):
                    unknown += identity not in tensors_seen
                    tensors_seen.add(identity)
                    continue
                if tensor is codes and sizes is not None:
                    alias = "" if again or identity in tensors_seen else None
                    tensors_seen.add(identity)
                    record = _record(torch, "", tensor, "buffer", True, {}, {})
                    share = replace(packing.logical(record, tensor, module, sizes), alias_of=alias).totals()
                    params += share.params
                    packed += share.packed
                    nbytes += share.nbytes
                    local += share.local_nbytes
                    tied += share.tied
                    unknown += share.unknown
                    continue
                n = tensor.numel()
                if again or identity in tensors_seen:
                    tied += n
                    if is_parameter and identity in buffers_seen:
                        buffers_seen.remove(identity)
                        buffers -= n
                        params += n
                        if tensor.requires_grad:
                            trainable += n
                    continue
                tensors_seen.add(identity)
                if not is_parameter:
                    buffers_seen.add(identity)
                cls = type(tensor)
                if (cls is torch.nn.Parameter or cls is torch.Tensor) and tensor.layout is torch.strided:
                    if is_parameter:
                        params += n
                        if tensor.requires_grad:
                            trainable += n
                    else:
                        buffers += n
                    storage = tensor.untyped_storage()
                    place = storage._cdata
                    if place not in storages_seen:
                        storages_seen.add(place)
                        size = storage.nbytes()
                        nbytes += size
                        local += size
                    continue
                numbers: dict[int, int] = {}
                record = _record(torch, "", tensor, "parameter" if is_parameter else "buffer", True, {}, numbers)
                shared = record.storage is not None and tensor.untyped_storage()._cdata in storages_seen
                storages_seen.update(numbers)
                share = record.totals(counts_bytes=not shared)
                params += share.params
                trainable += share.trainable
                buffers += share.buffers
                packed += share.packed
                nbytes += share.nbytes
                local += share.local_nbytes
        for _, shape, element in packing.in_objects(torch, module) if packs_so.in_objects else ():
            share = TensorRecord("", shape, element, alias_of="" if again else None, packed=True).totals()
            params += share.params
            packed += share.packed
            nbytes += share.nbytes
            local += share.local_nbytes
            tied += share.tied
            unknown += share.unknown
        children = module._modules
        if children:
            within = (*inside, key)
            pending.extend([(child, within) for child in reversed(children.values()) if child is not None])
    return Totals(params, trainable, buffers, packed, 0, nbytes, local, tied, unknown)


def of_state(state: Mapping[str, Any], *, target: str = "") -> Snapshot:
    """The tensors of a state dict. It does not say what is a parameter: that is guessed by the names, as of a file. One
    that is tied is there under each of its names as another object over the same elements.

    >>> import torch
    >>> [(t.path, t.shape, t.role) for t in of_state(torch.nn.Linear(3, 2).state_dict()).tensors]
    [('weight', (2, 3), 'parameter'), ('bias', (2,), 'parameter')]
    """
    import torch

    first: dict[int, str] = {}
    places: dict[tuple[object, ...], str] = {}
    storages: dict[int, int] = {}
    records = []
    for path, tensor in state.items():
        record = _record(torch, path, tensor, "unknown", True, first, storages)
        if record.storage is not None and record.numel:
            elements = (record.storage, tensor.storage_offset(), record.shape, tensor.stride(), record.dtype)
            alias = places.setdefault(elements, path)
            record = replace(record, alias_of=None if alias == path else alias)
        role = guess(path, record.shape or (), record.dtype)
        records.append(record if role is None else replace(record, role=role, inferred=("role",)))
    paths = dict.fromkeys([""])
    for record in records:
        above = record.module.split(".") if record.module else []
        paths |= dict.fromkeys(".".join(above[: i + 1]) for i in range(len(above)))
    modules = tuple(ModuleRecord(path, "") for path in paths)
    return Snapshot(modules, tuple(records), replace(_provenance(torch, target), kind="state dict"))


def _walk(torch: Any, model: Any, target: str) -> Snapshot:
    modules: list[ModuleRecord] = []
    tensors: list[TensorRecord] = []
    told: list[tuple[str, str]] = []  # modules whose weights are packed: their path and class
    untold: list[tuple[str, str]] = []
    first_module: dict[int, str] = {}
    firsts: dict[str, Any] = {}
    first_tensor: dict[int, str] = {}
    storages: dict[int, int] = {}
    only_buffers: dict[int, int] = {}  # where in `tensors`; a parameter that is met as a buffer first is none of these
    type_names: dict[type, str] = {}
    settings: dict[type, frozenset[str]] = {}
    runs_on: dict[type, tuple[tuple[str, Attribute], ...]] = {}
    packs: dict[type, packing.Packs] = {}
    configured: set[int] = set()
    wholes = flat.wholes(model) if flat.is_loaded() else {}
    # (path, module, ids of the modules it is inside of while inside an alias); ancestors matter only for cycles
    pending: list[tuple[str, Any, tuple[int, ...]]] = [("", model, ())]
    while pending:
        path, module, inside = pending.pop()
        key = id(module)
        alias = first_module.get(key)
        if alias is None:
            first_module[key] = path
            firsts[path] = module
        cls = module.__class__
        type_name = type_names.get(cls)
        if type_name is None:
            type_name = type_names[cls] = f"{cls.__module__}.{cls.__qualname__}"
            packs[cls] = packing.packs(module)
            settings[cls] = _settings(cls)
            runs_on[cls] = (("in_order", True),) if _is_sequence(torch, cls) else ()
        state = module.__dict__
        training = getattr(module, "training", None)  # torch.jit.freeze takes it away
        if type_name.startswith("torch.export.unflatten."):
            type_name = exported.class_of(module) or type_name
        attributes = (*_attributes(state, settings[cls]), *_configured(state, configured), *runs_on[cls])
        modules.append(ModuleRecord(path, type_name, alias, attributes, training))
        if key in inside:
            continue
        prefix = path + "." if path else ""
        sizes = packs[cls].sizes
        codes = packing.codes(torch, module, sizes) if sizes is not None else None
        start = len(tensors)
        for name, tensor in module._parameters.items():
            if tensor is not None:
                place = prefix + name
                tensors.append(_record(torch, place, tensor, "parameter", True, first_tensor, storages))
                if wholes and wholes.get((key, name), tensors[-1].shape) != tensors[-1].shape:
                    tensors[-1] = flat.whole(tensors[-1], wholes[key, name])
                if id(tensor) in only_buffers:
                    at = only_buffers.pop(id(tensor))
                    tensors[at] = replace(tensors[at], role="parameter", trainable=tensor.requires_grad)
        buffers = module._buffers
        if buffers:
            transient = state.get("_non_persistent_buffers_set", ())
            for name, tensor in buffers.items():
                if tensor is not None:
                    place = prefix + name
                    persistent = name not in transient
                    if id(tensor) not in first_tensor:
                        only_buffers[id(tensor)] = len(tensors)
                    tensors.append(_record(torch, place, tensor, "buffer", persistent, first_tensor, storages))
        if codes is not None and sizes is not None:
            at = next(i for i, t in enumerate(_registered(module), start) if t is codes)
            only_buffers.pop(id(codes), None)
            tensors[at] = packing.logical(tensors[at], codes, module, sizes)
        outside = packing.in_objects(torch, module) if packs[cls].in_objects else []
        for name, shape, element in outside:
            first = None if alias is None else (alias + "." if alias else "") + name
            tensors.append(TensorRecord(prefix + name, shape, element, alias_of=first, packed=True))
        if alias is None and any(record.packed for record in tensors[start:]):
            known = all(record.shape is not None for record in tensors[start:] if record.packed)
            (told if known else untold).append((path, cls.__name__))
        children = module._modules
        if children:
            within = (*inside, key)
            below = [(prefix + name, child, within) for name, child in children.items() if child is not None]
            pending.extend(reversed(below))
    outside_of_all = (*unregistered.held_outside(torch, firsts, wholes), *unregistered.constants(torch, model))
    notes = (*packing.notes(told, untold), *outside_of_all)
    return Snapshot(tuple(modules), tuple(tensors), _provenance(torch, target), notes)


def _registered(module: Any) -> list[Any]:
    """Its parameters and buffers, in the order in which they are recorded."""
    return [t for group in (module._parameters, module._buffers) for t in group.values() if t is not None]


def _is_sequence(torch: Any, cls: Any) -> bool:
    """Whether a class of another name runs what it holds in its order, as Sequential does."""
    sequential: Any = torch.nn.Sequential
    return cls is not sequential and issubclass(cls, sequential) and cls.forward is sequential.forward


def type_name_of(model: object) -> str:
    """The qualified class name of a module: `torchvision.models.resnet.ResNet`."""
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _record(
    torch: Any, path: str, tensor: Any, role: Role, persistent: bool, first: dict[int, str], storages: dict[int, int]
) -> TensorRecord:
    key = id(tensor)
    alias = first.get(key)
    if alias is None:
        first[key] = path
    element = dtype_of(tensor.dtype)
    trainable = role == "parameter" and tensor.requires_grad
    if torch.nn.parameter.is_lazy(tensor):
        return TensorRecord(path, None, element, role, trainable, persistent, alias)
    shard, parts = _inside(torch, tensor)
    packed = packing.otherwise(parts, element)
    storage = nbytes = None
    if not parts and shard is None:
        try:
            held = tensor.untyped_storage()
            storage = storages.setdefault(held._cdata, len(storages))
            nbytes = held.nbytes()
        except (RuntimeError, NotImplementedError):  # sparse and other layouts have no single storage
            parts = _sparse_parts(tensor)
    shape = tuple(tensor.values().shape if tensor.is_nested else tensor.shape)
    return TensorRecord(path, shape, element, role, trainable, persistent, alias, storage, nbytes, shard, parts, packed)


def _inside(torch: Any, tensor: Any) -> tuple[tuple[int, ...] | None, tuple[Part, ...]]:
    """What a tensor subclass really holds: the local shard of a DTensor, the inner tensors of a wrapper."""
    cls = type(tensor)
    if cls is torch.nn.Parameter or cls is torch.Tensor:
        # torch.nn.Parameter over a subclass keeps the subclass as its class, so this is a plain tensor
        return None, ()
    local = getattr(tensor, "_local_tensor", None)
    if local is not None:
        return tuple(local.shape), ()
    parts: list[Part] = []
    pending = [("", tensor)]
    while pending:
        name, each = pending.pop()
        if hasattr(each, "__tensor_flatten__"):
            within = name + "." if name else ""
            pending.extend([(within + n, getattr(each, n)) for n in reversed(each.__tensor_flatten__()[0])])
        elif name:
            parts.append(Part(name, tuple(each.shape), dtype_of(each.dtype)))
    return None, tuple(parts)


def _sparse_parts(tensor: Any) -> tuple[Part, ...]:
    names = {
        "torch.sparse_coo": ("_indices", "_values"),
        "torch.sparse_csr": ("crow_indices", "col_indices", "values"),
        "torch.sparse_bsr": ("crow_indices", "col_indices", "values"),
        "torch.sparse_csc": ("ccol_indices", "row_indices", "values"),
        "torch.sparse_bsc": ("ccol_indices", "row_indices", "values"),
    }.get(str(tensor.layout), ())
    inner = [(name.lstrip("_"), getattr(tensor, name)()) for name in names]
    return tuple(Part(name, tuple(t.shape), dtype_of(t.dtype)) for name, t in inner)


def _settings(cls: type) -> frozenset[str]:
    """The names of the attributes that a record of this class has: of one that is derived from a layer of torch, those
    of that layer.

    >>> import torch
    >>> sorted(_settings(torch.nn.SmoothL1Loss) - _settings(torch.nn.Module))
    ['beta', 'reduce', 'reduction', 'size_average']
    """
    layers = [base for base in cls.__mro__ if base.__module__.startswith("torch.nn.modules.")]
    constants = {name for base in layers for name in base.__dict__.get("__constants__", ())}
    taken = _taken(layers[0]) if layers else frozenset()
    return _ATTRIBUTES | (constants | taken) - _LESS


@cache
def _taken(layer: type[torch.nn.Module]) -> frozenset[str]:
    """What the constructor of a layer of torch takes by name."""
    taken = signature(layer).parameters.values()
    return frozenset(each.name for each in taken if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD))


def _attributes(state: dict[str, Any], names: frozenset[str]) -> tuple[tuple[str, Attribute], ...]:
    found = names.intersection(state)
    if not found:
        return ()
    kept: list[tuple[str, Attribute]] = []
    for name in sorted(found):
        value = state[name]
        if value is None or isinstance(value, int | float | str):
            kept.append((name, value))
        elif isinstance(value, FunctionType | BuiltinFunctionType):
            kept.append((name, value.__name__))
        elif isinstance(value, tuple | list) and all(each is None or type(each) in (int, float) for each in value):
            sizes = all(type(each) is int for each in value)
            kept.append((name, tuple(value) if sizes else str(tuple(value))))
    return tuple(kept)


def _configured(state: dict[str, Any], seen: set[int]) -> Iterator[tuple[str, Attribute]]:
    """What the configuration of a module says of experts, as `config.top_k`, for the first module that holds it."""
    for name in _CONFIGURATIONS:
        held = state.get(name)
        if held is None or id(held) in seen:
            continue
        fields = held if isinstance(held, dict) else getattr(held, "__dict__", None)
        if isinstance(fields, dict):
            seen.add(id(held))
            for field in sorted(_EXPERTS.intersection(fields)):
                if type(fields[field]) is int:
                    yield f"{name}.{field}", fields[field]


def _provenance(torch: Any, target: str) -> Provenance:
    return Provenance(target, "module", versions(torch=str(torch.__version__)))

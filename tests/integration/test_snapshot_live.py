"""A live module's snapshot and totals: which tensors count, where, and for how many bytes, each with its reason.

`counted` holds every model to three facts: snapshot and totals agree, params and trainable are what
`model.parameters()` gives, and bytes are those of the distinct storages, found by walking the state on another way.
"""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402

from numel.facts import Snapshot, Totals  # noqa: E402
from numel.sources.live import snapshot, totals  # noqa: E402


class Holder(nn.Module):
    """What it is given, registered as `setattr` registers it."""

    def __init__(self, **held: Any) -> None:
        super().__init__()
        for name, each in held.items():
            setattr(self, name, each)


def distinct(tensors: Iterator[Any]) -> list[Any]:
    return list({id(each): each for each in tensors}.values())


def counted(model: nn.Module) -> Snapshot:
    s = snapshot(model)
    assert totals(model) == s.totals
    parameters, buffers = distinct(model.parameters()), distinct(model.buffers())
    assert s.totals.params == sum(p.numel() for p in parameters)
    assert s.totals.trainable == sum(p.numel() for p in parameters if p.requires_grad)
    held = {id(p) for p in parameters}
    assert s.totals.buffers == sum(b.numel() for b in buffers if id(b) not in held)
    storages = {t.untyped_storage()._cdata: t.untyped_storage() for t in (*parameters, *buffers)}
    assert s.totals.nbytes == s.totals.local_nbytes == sum(each.nbytes() for each in storages.values())
    assert s.subtotals()[""] == s.totals
    return s


def aliases(s: Snapshot) -> dict[str, str | None]:
    return {t.path: t.alias_of for t in s.tensors}


# ── ties ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tied_weights_count_at_their_first_place():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False))
    model[1].weight = model[0].weight
    s = counted(model)
    assert s.totals == Totals(params=40, trainable=40, nbytes=160, local_nbytes=160, tied=40)
    assert aliases(s) == {"0.weight": None, "1.weight": "0.weight"}


def test_a_module_under_several_parents_counts_under_the_first():
    shared = nn.Linear(3, 3)
    s = counted(Holder(a=nn.Sequential(shared), b=nn.Sequential(nn.ReLU(), shared), c=shared))
    assert s.totals.tied == 2 * 12
    assert [(m.path, m.alias_of) for m in s.modules if m.class_name == "Linear"] == [
        ("a.0", None), ("b.1", "a.0"), ("c", "a.0"),
    ]  # fmt: skip
    assert {path: s.subtotals()[path].params for path in "abc"} == {"a": 12, "b": 0, "c": 0}


def test_a_module_that_is_used_twice_in_a_row_has_its_parameters_once():
    layer = nn.Linear(3, 3)
    assert counted(nn.Sequential(layer, nn.ReLU(), layer)).totals.params == 12


def test_a_shared_module_inside_of_a_shared_module_is_tied_to_its_first_place_each_time():
    inner = nn.Linear(2, 2)
    outer = nn.Sequential(inner, inner)
    s = counted(nn.Sequential(outer, outer))
    assert set(aliases(s).values()) == {None, "0.0.weight", "0.0.bias"}
    assert s.totals.tied == 3 * 6


def test_a_buffer_that_is_a_parameter_elsewhere_counts_as_the_parameter():
    """torch lists such a tensor in both `parameters()` and `buffers()`; its elements are counted once."""
    tensor = nn.Parameter(torch.zeros(5))
    after = Holder(weight=tensor)
    after.register_buffer("kept", tensor)
    s = counted(after)
    assert s.totals == Totals(params=5, trainable=5, nbytes=20, local_nbytes=20, tied=5)


@pytest.mark.parametrize("shared", [False, True], ids=["its own module", "a shared module"])
def test_a_parameter_that_is_met_as_a_buffer_first_is_still_a_parameter(shared):
    """`sum(p.numel() for p in model.parameters())` does not ask where else the tensor is registered."""
    tensor = nn.Parameter(torch.zeros(5))
    before = nn.Module()
    before.register_buffer("kept", tensor)
    holder = Holder(weight=tensor)
    model = nn.Sequential(before, holder, holder if shared else nn.Identity(), before)
    s = counted(model)
    assert (s.totals.params, s.totals.trainable, s.totals.buffers) == (5, 5, 0)
    assert [t.role for t in s.tensors if t.alias_of is None] == ["parameter"]


def test_a_module_that_contains_itself_is_recorded_there_and_not_entered_again():
    model = nn.Sequential(nn.Linear(2, 2))
    model.append(model)
    model[0].up = model
    s = counted(model)
    assert [(m.path, m.alias_of) for m in s.modules] == [("", None), ("0", None), ("0.up", ""), ("1", "")]
    assert s.totals.tied == 0


# ── places of parameters ─────────────────────────────────────────────────────────────────────────────────────────────


def test_parameters_count_wherever_a_module_holds_them():
    model = Holder(
        direct=nn.Parameter(torch.zeros(2)),
        items=nn.ParameterList([torch.zeros(3), torch.zeros(4)]),
        names=nn.ParameterDict({"a": torch.zeros(5), "b/ü": torch.zeros(6)}),
        none=None,
    )
    model.register_parameter("absent", None)
    model.register_buffer("missing", None)
    model.register_module("empty", None)
    assert [t.path for t in counted(model).tensors] == ["direct", "items.0", "items.1", "names.a", "names.b/ü"]


def test_a_module_that_never_runs_counts():
    class Idle(Holder):
        def forward(self, x: Any) -> Any:
            return self.used(x)

    assert counted(Idle(used=nn.Linear(1, 1), unused=nn.Linear(7, 1))).totals.params == 2 + 8


def test_frozen_parts_are_params_that_do_not_train():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    assert counted(model).totals.frozen == 12


def test_lazy_layers_are_unknown_until_they_are_materialised():
    model = nn.Sequential(nn.Linear(2, 3), nn.LazyLinear(4), nn.LazyBatchNorm1d())
    for count in (lambda m: snapshot(m).totals, totals):
        before = count(model)
        # weight and bias of both layers, running mean and variance of the second
        assert (before.params, before.unknown, before.exact) == (9, 6, False)
    assert [t.shape for t in snapshot(model).tensors if t.path == "1.weight"] == [None]
    model(torch.zeros(5, 2))
    assert counted(model).totals == Totals(params=33, trainable=33, buffers=9, nbytes=33 * 4 + 8 * 4 + 8,
                                           local_nbytes=33 * 4 + 8 * 4 + 8)  # fmt: skip


def test_a_lazy_layer_in_two_places_is_unknown_once():
    layer = nn.LazyLinear(4)
    model = nn.Sequential(layer, layer)
    assert totals(model) == snapshot(model).totals == Totals(unknown=2)


def test_buffers_count_persistent_or_not_and_never_as_parameters():
    model = nn.BatchNorm2d(4)
    model.register_buffer("scratch", torch.zeros(7), persistent=False)
    s = counted(model)
    assert (s.totals.params, s.totals.buffers) == (8, 4 + 4 + 1 + 7)
    assert [t.path for t in s.tensors if not t.persistent] == ["scratch"]


# ── what is stored, and not what is computed from it ─────────────────────────────────────────────────────────────────


def test_new_weight_norm_stores_a_magnitude_and_a_direction():
    s = counted(parametrizations.weight_norm(nn.Linear(3, 2)))
    assert {t.path: t.shape for t in s.tensors} == {
        "bias": (2,),
        "parametrizations.weight.original0": (2, 1),
        "parametrizations.weight.original1": (2, 3),
    }


def test_old_weight_norm_stores_g_and_v_and_its_weight_is_no_parameter():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = nn.utils.weight_norm(nn.Linear(3, 2))
    assert {t.path: t.shape for t in counted(model).tensors} == {"bias": (2,), "weight_g": (2, 1), "weight_v": (2, 3)}


def test_an_orthogonal_weight_is_stored_once_with_its_base_as_a_buffer():
    s = counted(parametrizations.orthogonal(nn.Linear(3, 3)))
    assert s.totals.params == 12
    assert {t.path: t.numel for t in s.tensors if t.role == "buffer"} == {"parametrizations.weight.0.base": 9}


def test_spectral_norm_keeps_its_vectors_as_buffers():
    s = counted(parametrizations.spectral_norm(nn.Linear(5, 3)))
    assert (s.totals.params, s.totals.buffers) == (18, 3 + 5)


def test_a_pruning_mask_is_a_buffer_and_the_pruned_weight_no_parameter_of_its_own():
    model = prune.l1_unstructured(nn.Linear(4, 3), "weight", amount=0.5)
    s = counted(model)
    assert {t.path: t.role for t in s.tensors} == {
        "bias": "parameter", "weight_orig": "parameter", "weight_mask": "buffer",
    }  # fmt: skip
    prune.remove(model, "weight")
    assert counted(model).totals.buffers == 0


# ── element types and layouts ────────────────────────────────────────────────────────────────────────────────────────


def test_every_element_type_of_torch_has_its_own_size():
    """Types that numel has no name for keep torch's name and item size."""
    kinds = {str(each): each for each in vars(torch).values() if isinstance(each, torch.dtype)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Module()
        for i, kind in enumerate(kinds.values()):
            if "quint" not in str(kind) and "qint" not in str(kind):
                model.register_buffer(f"b{i}", torch.empty(6, dtype=kind))
        s = counted(model)
    assert len(s.tensors) > 20
    for record, buffer in zip(s.tensors, model.buffers(), strict=True):
        assert record.nbytes == 6 * buffer.element_size()
        assert record.dtype.name == str(buffer.dtype).removeprefix("torch.")


@pytest.mark.parametrize(
    ("tensor", "numel", "nbytes"),
    [
        (torch.zeros(()), 1, 4),
        (torch.zeros(0, 7), 0, 0),
        (torch.zeros(3, dtype=torch.complex64), 3, 24),
        (torch.zeros(3, dtype=torch.bfloat16), 3, 6),
        (torch.zeros(3, dtype=torch.float8_e4m3fn), 3, 3),
        (torch.zeros(3, dtype=torch.bool), 3, 3),
        # one row of a table keeps the table alive
        (torch.zeros(10, 4)[0], 4, 160),
        # one number shown a million times is one number
        (torch.zeros(1).expand(1000, 1000), 10**6, 4),
        (torch.zeros(2, 3).t(), 6, 24),
    ],
    ids=["0-d", "empty", "complex", "bf16", "fp8", "bool", "view", "expanded", "transposed"],
)
def test_elements_are_logical_and_bytes_are_the_storages(tensor, numel, nbytes):
    s = counted(Holder(w=nn.Parameter(tensor, requires_grad=False)))
    assert (s.totals.params, s.totals.nbytes) == (numel, nbytes)


def test_views_of_one_storage_share_its_bytes_but_not_their_elements():
    """Two parameters over the same bytes are two parameters to an optimizer."""
    flat = torch.zeros(12)
    model = Holder(a=nn.Parameter(flat[:8].view(2, 4)), b=nn.Parameter(flat[4:]), c=nn.Linear(1, 1))
    s = counted(model)
    assert (s.totals.params, s.totals.tied, s.totals.nbytes) == (16 + 2, 0, 48 + 8)
    assert s.tensors[0].storage == s.tensors[1].storage


def test_flattened_weights_of_a_recurrent_layer_count_once():
    """cuDNN's flat copy is the storage of all of them; the list beside the parameters is no second registration."""
    assert counted(nn.LSTM(3, 5, num_layers=2)).totals.params == 4 * 5 * (3 + 5 + 2) + 4 * 5 * (5 + 5 + 2)


def test_a_model_of_mixed_types_sums_bytes_by_type():
    model = nn.Sequential(nn.Linear(4, 4).half(), nn.Linear(4, 4).double(), nn.Linear(4, 4).bfloat16())
    assert counted(model).totals.nbytes == 20 * (2 + 8 + 2)


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize(
    ("layout", "nbytes"),
    [
        # 3 entries on the diagonal of 4 × 4: two int64 coordinates and a value each
        ("coo", 3 * (16 + 4)),
        # 5 row pointers, 3 columns, 3 values
        ("csr", 5 * 8 + 3 * 8 + 3 * 4),
        ("csc", 5 * 8 + 3 * 8 + 3 * 4),
        # 3 block row pointers, 2 blocks of 2 × 2
        ("bsr", 3 * 8 + 2 * 8 + 8 * 4),
        ("bsc", 3 * 8 + 2 * 8 + 8 * 4),
    ],
)
def test_sparse_parameters_count_logical_elements_and_weigh_their_parts(layout, nbytes):
    dense = torch.diag(torch.tensor([1.0, 2.0, 3.0, 0.0]))
    blocks = ((2, 2),) if layout.startswith("bs") else ()
    sparse = dense.to_sparse() if layout == "coo" else getattr(dense, f"to_sparse_{layout}")(*blocks)
    model = Holder(w=nn.Parameter(sparse, requires_grad=False), fc=nn.Linear(1, 1))
    s = snapshot(model)
    assert totals(model) == s.totals
    assert s.totals.params == sum(p.numel() for p in model.parameters()) == 16 + 2
    assert s.totals.nbytes == nbytes + 8


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(("layout", "nbytes"), [(torch.strided, 72), (torch.jagged, 72 + 3 * 8)], ids=str)
def test_nested_parameters_count_the_elements_they_hold(layout, nbytes):
    """Rows of 2 and 4 tokens, 3 wide: 18 elements without padding; a jagged one keeps 3 offsets beside them."""
    nested = torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(4, 3)], layout=layout)
    model = Holder(w=nn.Parameter(nested), again=None)
    model.again = model.w
    s = snapshot(model)
    assert totals(model) == s.totals
    assert s.totals == Totals(params=18, trainable=18, nbytes=nbytes, local_nbytes=nbytes, tied=18)
    assert sum(p.numel() for p in model.parameters()) == 18


class Scaled(torch.Tensor):
    """A weight that is kept as bytes and a scale, as quantising libraries do."""

    data_: Any
    scale_: Any

    @staticmethod
    def __new__(cls, data: Any, scale: Any) -> Scaled:
        return torch.Tensor._make_wrapper_subclass(cls, data.shape, dtype=torch.bfloat16)  # type: ignore[attr-defined]

    def __init__(self, data: Any, scale: Any) -> None:
        self.data_, self.scale_ = data, scale

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["data_", "scale_"], None

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].data_, args[0].scale_)
        raise NotImplementedError(func)


class Named(torch.Tensor):
    """A plain subclass: a tensor with methods of its own."""


@pytest.mark.parametrize("deep", [False, True], ids=["flat", "a wrapper within a wrapper"])
def test_a_wrapper_weighs_the_tensors_that_it_is_made_of(deep):
    """64 logical bfloat16 elements, held as 64 bytes of int8 and a scale; where the scale is a wrapper, by its own."""
    scale: Any = torch.zeros(4)
    inner = Scaled(torch.zeros(4, dtype=torch.int8), torch.zeros(1)) if deep else scale
    weight = nn.Parameter(Scaled(torch.zeros(8, 8, dtype=torch.int8), inner), requires_grad=False)
    model = Holder(w=weight, again=weight)
    s = snapshot(model)
    assert totals(model) == s.totals
    nbytes = 64 + (4 + 4 if deep else 16)
    assert s.totals == Totals(params=64, packed=64, nbytes=nbytes, local_nbytes=nbytes, tied=64)
    inside = ["scale_.data_", "scale_.scale_"] if deep else ["scale_"]
    assert [p.name for p in s.tensors[0].parts] == ["data_", *inside]


def test_a_plain_subclass_is_a_tensor_like_any_other():
    weight = nn.Parameter(torch.zeros(3, 2).as_subclass(Named))
    assert type(weight) is Named
    assert counted(Holder(w=weight, view=nn.Parameter(weight.detach()[0]))).totals.nbytes == 24


@pytest.mark.parametrize("mode", ["meta", "fake"])
def test_shapes_without_memory_count_like_the_model_they_stand_for(mode):
    from torch._subclasses.fake_tensor import FakeTensorMode

    def build() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 3), nn.Linear(3, 5))
        model[3].weight = model[0].weight
        return model

    with torch.device("meta") if mode == "meta" else FakeTensorMode():
        model = build()
        s = counted(model)
    assert counted(model).tensors == s.tensors
    real = counted(build())
    assert s.totals == real.totals
    assert s.fingerprint() == real.fingerprint()


# ── packed weights ───────────────────────────────────────────────────────────────────────────────────────────────────


def quantised(model: nn.Module, kind: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, dtype=kind)  # type: ignore[no-any-return]


def recurrent_nbytes(weight: int) -> int:
    return 4 * 5 * (4 + 5) * weight + 2 * 4 * 5 * 4


@pytest.mark.filterwarnings("ignore:torch.ao", "ignore:.*quantiz", "ignore:.*deprecated")
@pytest.mark.parametrize(("kind", "size"), [(torch.qint8, 1), (torch.float16, 2)], ids=str)
def test_weights_that_torch_ao_packs_count_by_their_logical_elements(kind, size):
    """`parameters()` of a quantised layer is empty; its weights are as many as before. Biases stay float32."""
    model = nn.Sequential(nn.Linear(8, 4), nn.LSTM(4, 5), nn.Linear(2, 2, bias=False), nn.BatchNorm1d(3))
    before = totals(model).params
    packed = quantised(model, kind)
    s = snapshot(packed)
    assert totals(packed) == s.totals
    left = sum(p.numel() for p in packed.parameters())
    assert left == 6
    assert s.totals.params == before
    assert s.totals.packed == before - left
    linear = 32 * size + 4 * 4
    assert s.totals.nbytes == linear + recurrent_nbytes(size) + 4 * size + 6 * 4 + 6 * 4 + 8
    (note,) = s.notes
    assert (note.code, note.level, note.path) == ("packed-weights", "info", "")
    assert all(path in note.text for path in ("0._packed_params", "1._all_weight_values.0", "2._packed_params"))
    assert s.subtotals()["0"].params == 36


@pytest.mark.filterwarnings("ignore:.*quantiz", "ignore:.*deprecated")
def test_packed_weights_in_two_places_are_tied():
    layer = quantised(nn.Sequential(nn.Linear(8, 4)), torch.qint8)[0]
    model = nn.Sequential(layer, layer)
    s = snapshot(model)
    assert totals(model) == s.totals
    assert (s.totals.params, s.totals.tied) == (36, 36)
    assert aliases(s)["1._packed_params.weight"] == "0._packed_params.weight"
    assert len(s.notes) == 1


@pytest.mark.filterwarnings("ignore:.*quantiz", "ignore:.*deprecated")
def test_statically_quantised_layers_count_and_those_without_weights_raise_no_note():
    from torch.ao.nn import quantized as q

    model = nn.Sequential(q.Conv2d(3, 4, 3), q.Linear(4, 2), q.Embedding(10, 4), q.ReLU6(), q.DeQuantize())
    s = snapshot(model)
    assert totals(model) == s.totals
    assert s.totals.params == s.totals.packed == (4 * 3 * 9 + 4) + (4 * 2 + 2) + 10 * 4
    (note,) = s.notes
    assert re.findall(r"(\S+) \(", note.text) == ["0", "1._packed_params", "2._packed_params"]


@pytest.mark.filterwarnings("ignore:.*quantiz", "ignore:.*deprecated")
def test_packed_weights_that_cannot_be_unpacked_make_totals_lower_bounds(monkeypatch):
    """Packed for an engine of another build: the weights are there, how many is not known, and the sum says so."""
    model = quantised(nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)), torch.qint8)

    def fails(self: Any) -> Any:
        raise RuntimeError("Didn't find engine")

    monkeypatch.setattr(torch.ScriptObject, "__getstate__", fails, raising=False)
    s = snapshot(model)
    assert totals(model) == s.totals
    assert (s.totals.params, s.totals.unknown, s.totals.exact) == (8, 1, False)
    assert [(n.code, n.level, n.path) for n in s.notes] == [("packed-weights", "warning", "0._packed_params")]


@pytest.mark.filterwarnings("ignore:.*quantiz", "ignore:.*deprecated")
def test_a_scripted_model_counts_like_the_one_it_was_made_from():
    layer = nn.Linear(2, 2)
    plain = nn.Sequential(layer, nn.BatchNorm1d(2), layer)
    assert counted(torch.jit.script(plain)).totals == counted(plain).totals
    packed = quantised(plain, torch.qint8)
    assert totals(torch.jit.script(packed)) == snapshot(torch.jit.script(packed)).totals == totals(packed)


# ── shapes of trees ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_tree_of_5000_levels_is_counted():
    """Deeper than Python's stack: torch's own `parameters()` cannot walk it, so the number is the loop's."""
    model = bottom = nn.Module()
    for _ in range(5000):
        bottom.register_parameter("w", nn.Parameter(torch.zeros(2)))
        bottom.add_module("m", nn.Module())
        bottom = bottom.m
    s = snapshot(model)
    assert totals(model) == s.totals
    assert (s.totals.params, len(s.modules), s.modules[-1].path.count(".") + 1) == (10_000, 5001, 5000)
    assert s.subtotals()["m"].params == 9998
    while model._modules:  # taken apart from above: freeing a chain of this depth at once is deep, too
        model = model._modules.pop("m")


def test_a_tree_of_20000_siblings_is_counted():
    model = nn.ModuleList(nn.PReLU() for _ in range(20_000))
    s = snapshot(model)
    assert totals(model) == s.totals
    assert s.totals.params == 20_000
    assert [m.path for m in s.modules] == ["", *map(str, range(20_000))]


def test_names_may_hold_anything_that_torch_lets_them_hold():
    model = nn.ModuleDict({name: nn.Linear(1, 1) for name in ("a b", "ü\n", "0", "\x00", "keys()", "数")})
    setattr(model, "dotted.name", nn.Linear(2, 1))  # torch forbids this in add_module alone
    setattr(model, "", nn.Linear(3, 1))
    s = counted(model)
    assert s.totals.params == 6 * 2 + 3 + 4
    assert [m.path for m in s.modules] == [name for name, _ in model.named_modules()]
    assert s.subtotals()["dotted.name"].params == 3


# ── nothing left behind ──────────────────────────────────────────────────────────────────────────────────────────────


def test_modules_are_recorded_with_type_mode_and_the_attributes_that_a_row_shows():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same", groups=1), nn.Linear(2, 2).eval())
    root, conv, linear = snapshot(model).modules
    assert (root.type, conv.type) == ("torch.nn.modules.container.Sequential", "torch.nn.modules.conv.Conv2d")
    assert [root.training, conv.training, linear.training] == [True, True, False]
    assert dict(conv.attributes) == {
        "in_channels": 3, "out_channels": 4, "kernel_size": (3, 3), "stride": (1, 1), "padding": "same",
        "dilation": (1, 1), "groups": 1, "padding_mode": "zeros", "output_padding": (0, 0),
    }  # fmt: skip


def test_of_torchs_layers_what_their_constructors_take_is_recorded_and_functions_by_name():
    gelu = nn.TransformerEncoderLayer(4, 2, 4, activation=nn.functional.gelu)
    module = nn.TransformerEncoderLayer(4, 2, 4, activation=nn.GELU())
    norm, loss, by_name, by_module = (snapshot(each).modules[0] for each in (nn.CrossMapLRN2d(3), nn.KLDivLoss(), gelu,
                                                                             module))  # fmt: skip
    assert dict(norm.attributes) == {"size": 3, "alpha": 1e-4, "beta": 0.75, "k": 1}
    assert dict(loss.attributes) == {"reduction": "mean", "log_target": False}
    assert dict(by_name.attributes) == {"activation": "gelu", "norm_first": False}
    assert dict(by_module.attributes) == {"norm_first": False}  # that is a module of its own


def test_the_provenance_names_the_target_and_torch():
    provenance = snapshot(nn.Linear(1, 1), target="net.py:Net").provenance
    assert (provenance.target, dict(provenance.versions)["torch"]) == ("net.py:Net", torch.__version__)
    assert snapshot(nn.Linear(1, 1)).provenance.target == "torch.nn.modules.linear.Linear"


def state_of(model: nn.Module) -> list[Any]:
    """Everything a module's dictionary holds, by identity, with versions and gradients of its tensors."""
    found: list[Any] = []
    for module in model.modules():
        for name, held in module.__dict__.items():
            inside = [(k, id(v)) for k, v in held.items()] if isinstance(held, dict) else ()
            found.append((name, id(held) if isinstance(held, dict) else repr(held), inside))
    found.extend((id(p), p._version, p.requires_grad, p.grad, len(vars(p))) for p in model.parameters())
    return found


@pytest.mark.parametrize("frozen", [False, True], ids=["training", "evaluation"])
def test_nothing_of_the_model_or_the_process_differs_afterwards(frozen):
    pruned = prune.l1_unstructured(nn.Linear(4, 4), "weight", 2)
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)), nn.BatchNorm1d(4), pruned).train(not frozen)
    model.register_forward_hook(lambda *_: None)
    model[1].custom = {"a": [1]}
    values = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random, before = torch.get_rng_state(), state_of(model)
    for collecting in (True, False):
        (gc.enable if collecting else gc.disable)()
        try:
            snapshot(model)
            totals(model)
            assert gc.isenabled() is collecting
        finally:
            gc.enable()
    assert state_of(model) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, values[name]) for name, tensor in model.state_dict().items())


def test_a_snapshot_keeps_no_tensor_alive():
    import weakref

    model = nn.Linear(2, 2)
    s, gone = snapshot(model), weakref.ref(model.weight)
    del model
    gc.collect()
    assert gone() is None
    assert s.totals.params == 6

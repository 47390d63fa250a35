"""Differences of values in all types that tensors have, against arithmetic in integers and doubles."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import numel  # noqa: E402

EIGHT_BITS = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e8m0fnu]


def pair(x: Any, y: Any) -> Any:
    """The difference of two tensors."""
    (found,) = numel.compare({"w": x}, {"w": y}, values=True).values[0]
    return found


@pytest.mark.parametrize("dtype", EIGHT_BITS, ids=str)
def test_floats_of_one_byte_are_read(dtype: Any, tmp_path: Path):
    from safetensors.torch import save_file

    one = (torch.rand(16, 16) + 1).to(dtype)
    other = one.clone()
    other[3, 5] = 8.0
    save_file({"w": one}, tmp_path / "a.safetensors")
    save_file({"w": other}, tmp_path / "b.safetensors")
    (found,) = numel.compare(tmp_path / "a.safetensors", tmp_path / "b.safetensors", values=True).values[0]
    assert (found.differing, found.max_abs) == (1, 8.0 - float(one[3, 5]))
    assert found == pair(one, other)
    wide = pair(one.float(), other)  # another type for each
    assert (wide.differing, wide.max_abs) == (1, found.max_abs)


TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
         torch.uint8, torch.uint16, torch.uint32, torch.bool]  # fmt: skip


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type_of_a_file_is_read(dtype: Any, tmp_path: Path):
    from safetensors.torch import save_file

    tensor = torch.tensor([[0, 1], [1, 1]]).to(dtype)
    save_file({"a.weight": tensor}, tmp_path / "a.safetensors")
    found = numel.compare(tmp_path / "a.safetensors", {"a.weight": tensor}, values=True)
    assert found.identical
    assert [each.second for each in found.values[0]] == ["a.weight"]
    assert [each.numel for each in numel.read(tmp_path / "a.safetensors", values=True).histograms] == [4, 4]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.uint16, torch.int64), (torch.uint32, torch.int8), (torch.uint8, torch.int16), (torch.bool, torch.int32),
        (torch.float16, torch.bfloat16), (torch.float32, torch.float64), (torch.int32, torch.float16),
        (torch.uint16, torch.uint16), (torch.bool, torch.bool), (torch.int8, torch.float8_e4m3fn),
    ],
    ids=str,
)  # fmt: skip
def test_types_are_compared_by_their_numbers(one: Any, other: Any):
    x, y = torch.tensor([0, 1, 1, 0]).to(one), torch.tensor([0, 1, 0, 1]).to(other)
    found = pair(x, y)
    assert (found.differing, found.max_abs, found.length) == (2, 1.0, pytest.approx(2**0.5))
    assert pair(x, x.to(other)).equal


def test_large_integers_are_no_doubles():
    """2⁵³ + 1 is no double, 2²⁴ + 1 no float32."""
    found = pair(torch.tensor([2**53, 2**53 + 1]), torch.tensor([2**53, 2**53]))
    assert (found.differing, found.max_abs) == (1, 1.0)
    found = pair(torch.tensor([2**63 - 1]), torch.tensor([-(2**63)]))
    assert (found.differing, found.max_abs) == (1, 2.0**64)
    found = pair(torch.tensor([2**24 + 1]), torch.tensor([2.0**24]))
    assert (found.differing, found.max_abs) == (1, 1.0)
    found = pair(torch.tensor([2**63 - 1]), torch.tensor([2.0**63]))
    assert found.differing == 1
    assert pair(torch.tensor([2**24]), torch.tensor([2.0**24])).equal


@pytest.fixture(params=["dtype", "device"])
def other_defaults(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "dtype":
        torch.set_default_dtype(torch.float64)
    else:
        torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


def test_what_torch_makes_by_default_plays_no_part(other_defaults: None):
    generator = torch.Generator("cpu").manual_seed(0)
    x = torch.randn(40, 30, generator=generator, dtype=torch.float32, device="cpu")
    assert pair(x, x + torch.outer(x[:, 0], x[0])).rank == 1


@pytest.mark.parametrize("size", [1e-150, 1e-12, 1.0, 1e150])
@pytest.mark.parametrize("before", [0.0, 1e-150])
def test_a_rank_does_not_depend_on_the_size(size: float, before: float):
    """Orthonormal columns: two equal singular values; noise has as many as it has columns."""
    low = torch.linalg.qr(torch.randn(60, 2, dtype=torch.float64)).Q @ torch.linalg.qr(
        torch.randn(50, 2, dtype=torch.float64)).Q.T  # fmt: skip
    x = torch.full((60, 50), before, dtype=torch.float64)
    assert pair(x, x + size * low).rank == 2
    assert pair(x, x + size * torch.randn(60, 50, dtype=torch.float64)).rank is None


@pytest.mark.parametrize("eps", [1e-7, 1e-9, 1e-12])
def test_a_small_change_of_doubles_keeps_its_rank(eps: float):
    x = torch.randn(200, 100, dtype=torch.float64)
    assert pair(x, x + eps * torch.randn(200, 100, dtype=torch.float64)).rank is None


@pytest.mark.parametrize("decay", [0.5, 0.8, 0.9, 0.93])
def test_a_rank_is_that_of_all_singular_values(decay: float):
    """What the random subspace finds, against the whole decomposition: 99 % of the squared singular values."""
    u, v = (torch.linalg.qr(torch.randn(150, 150, dtype=torch.float64)).Q for _ in range(2))
    values = torch.tensor([decay**i for i in range(150)], dtype=torch.float64)
    change = u @ torch.diag(values) @ v.T
    shares = values.square().cumsum(0) / values.square().sum()
    expected = int((shares < 0.99).sum()) + 1
    assert pair(torch.zeros(150, 150, dtype=torch.float64), change).rank == expected


@pytest.mark.parametrize(("rank", "noise"), [(30, 0.008), (64, 0.002)])
def test_noise_around_a_low_rank_does_not_hide_it(rank: int, noise: float):
    """`rank` equal singular values, and `noise` of their squares spread over all others: 99 % of all are in so many
    that their share reaches it. A random subspace alone mixes the noise in."""
    u, v = (torch.linalg.qr(torch.randn(n, rank, dtype=torch.float64)).Q for n in (900, 700))
    spread = torch.randn(900, 700, dtype=torch.float64)
    change = u @ v.T + spread * (noise * rank / 900 / 700) ** 0.5
    shares = torch.linalg.svdvals(change).square()
    expected = int(((shares.cumsum(0) / shares.sum()) < 0.99).sum()) + 1
    assert expected in (rank - 1, rank)
    assert pair(torch.zeros_like(change), change).rank == expected


def test_a_kernel_is_a_matrix_of_its_output_channels():
    x = torch.randn(32, 16, 3, 3)
    change = torch.randn(32, 2) @ torch.randn(2, 16 * 9)
    assert pair(x, x + change.reshape(x.shape)).rank in (1, 2)
    left, right = torch.linalg.qr(torch.randn(32, 3)).Q, torch.linalg.qr(torch.randn(144, 3)).Q
    assert pair(x, x + (left @ right.T).reshape(x.shape)).rank == 3
    assert pair(x.flatten(), (x + change.reshape(x.shape)).flatten()).rank is None


def layers(n: int) -> Any:
    return torch.nn.Sequential(*(torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.BatchNorm1d(6)) for _ in range(n)))


def moved(found: Any) -> dict[str, str]:
    return {each.before: each.after for each in found.changes if each.kind == "moved"}


@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize("form", ["module", "file"])
def test_blocks_of_one_shape_are_found_by_their_values(at: int, form: str, tmp_path: Path):
    """A block that is put in is the one that was added, and every other is equal to what it was."""
    from safetensors.torch import save_file

    one = layers(4)
    other = copy.deepcopy(one)
    other.insert(at, layers(1)[0])
    pair = [one, other]
    if form == "file":
        for i, model in enumerate(pair):
            save_file(model.state_dict(), tmp_path / f"{i}.safetensors")
        pair = [tmp_path / f"{i}.safetensors" for i in range(2)]
    found = numel.compare(*pair, values=True)
    expected = {f"{i}": f"{i + 1}" for i in range(at, 4)}
    if form == "module":
        assert moved(found) == expected
        assert next(each.path for each in found.changes if each.kind == "added") == f"{at}"
    assert all(each.equal for each in found.values[0])
    assert len(found.values[0]) == 4 * 7
    found.save(tmp_path / "c.json")
    again = numel.load(tmp_path / "c.json")
    assert again == found
    assert again.changes == found.changes


def test_blocks_that_changed_places_are_found_and_tuned_ones_stay():
    one = layers(4)
    other = copy.deepcopy(one)
    other[1], other[2] = other[2], other[1]
    found = numel.compare(one, other, values=True)
    assert all(each.equal for each in found.values[0])
    assert moved(found) in ({"1": "2", "2": "1"}, {"2": "1", "1": "2"})
    tuned = copy.deepcopy(one)
    for parameter in tuned[2].parameters():
        parameter.data += 0.1
    found = numel.compare(one, tuned, values=True)
    assert found.changes == ()
    assert {each.second for each in found.values[0] if not each.equal} == {f"2.{i}.{n}" for i in (0, 1)
                                                                          for n in ("weight", "bias")}  # fmt: skip


@pytest.mark.parametrize("order", [[5, 4, 3, 2, 1, 0], [3, 5, 0, 1, 4, 2], [0, 4, 2, 3, 1, 5], [1, 2, 3, 4, 5, 0]])
def test_each_block_is_found_in_any_order(order: list[int]):
    one = torch.nn.ModuleList(torch.nn.Sequential(torch.nn.Linear(8, 8)) for _ in range(6))
    other = torch.nn.ModuleList(copy.deepcopy(one[i]) for i in order)
    found = numel.compare(one, other, values=True)
    assert all(each.equal for each in found.values[0])
    assert moved(found) == {f"{i}": f"{order.index(i)}" for i in range(6) if order[i] != i}


def test_a_tuned_block_behind_one_that_was_put_in_front_is_found_between_the_others():
    one = layers(4)
    other = copy.deepcopy(one)
    other[2][0].weight.data += 0.1
    other.insert(0, layers(1)[0])
    found = numel.compare(one, other, values=True)
    assert moved(found) == {f"{i}": f"{i + 1}" for i in range(4)}
    assert [each.second for each in found.values[0] if not each.equal] == ["3.0.weight"]


class Named(torch.nn.Module):
    """Two networks of one structure under names, as those of DQN, and two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.online, self.target = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.norm1, self.norm2 = torch.nn.LayerNorm(4), torch.nn.LayerNorm(4)


def test_names_say_more_than_values():
    """The target gets the values of the online network, which goes on; of a norm at first nothing tells which it is."""
    one = Named()
    other = copy.deepcopy(one)
    other.target.load_state_dict(one.online.state_dict())
    torch.nn.init.ones_(other.online.weight)
    torch.nn.init.normal_(one.norm1.weight)
    torch.nn.init.normal_(other.norm2.weight)
    found = numel.compare(one, other, values=True)
    assert found.changes == ()
    assert all(each.first == each.second for each in found.values[0])


def test_what_holds_one_value_everywhere_tells_nothing():
    def net(*parts: Any) -> Any:
        return torch.nn.Sequential(*(torch.nn.LayerNorm(4) if part == "n" else torch.nn.Linear(4, 4) for part in parts))

    found = numel.compare(net(*"nln"), net(*"nnln"), values=True)
    pairs = [(int(x), int(y)) for x, y in found.alignments[0].modules if x and y]
    assert pairs == sorted(pairs)
    assert [y for _, y in pairs] == sorted(y for _, y in pairs)


def test_models_without_a_tensor_in_common_are_compared_all_the_same():
    found = numel.compare(torch.nn.Linear(3, 2), torch.nn.Conv1d(3, 2, 1), values=True)
    assert not found.identical
    assert "1 equal" not in str(found)
    assert "without a counterpart" in str(found)


def test_what_is_no_number_has_no_rank():
    x = torch.zeros(20, 20)
    y = torch.outer(torch.arange(20.0), torch.ones(20))
    assert pair(x, y).rank == 1
    y[3, 3] = float("nan")
    found = pair(x, y)
    assert (found.rank, found.odd) == (None, 1)
    assert not found.close


@pytest.mark.parametrize("tensor", [torch.zeros(3, dtype=torch.complex64), torch.empty(3, device="meta")], ids=str)
def test_what_can_not_be_read_is_said(tensor: Any):
    found = numel.compare({"w": tensor}, {"w": tensor.clone()}, values=True)
    assert found.unread == (("w",),)
    assert not found.identical

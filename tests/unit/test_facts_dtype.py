"""Element types: their names, where those come from, and the bytes that blocks of them take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numel.facts import DType, dtype, dtype_of, known_dtypes
from numel.facts.inputs import parse


@pytest.mark.parametrize("name", known_dtypes())
def test_every_name_comes_back_from_every_spelling_of_it(name):
    found = dtype(name)
    assert found.name == str(found) == name
    for spelling in (name, f"torch.{name}", name.upper(), found.short):
        assert dtype(spelling) is found
    assert parse(f"{found.short}[2]").args[0].dtype is found


@pytest.mark.parametrize(
    ("name", "bits"),
    [(name, int(re.sub(r"\D", "", name))) for name in known_dtypes() if re.fullmatch(r"[a-z]+\d+", name)],
)
def test_a_plain_name_says_its_bits(name, bits):
    assert dtype(name).nbytes(3) * 8 == bits * 3


def test_names_without_bits_are_one_byte_an_element():
    assert [dtype(name).nbytes(5) for name in ("bool", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn_x2")] == [5] * 4


@pytest.mark.parametrize(
    ("alias", "name"),
    [("half", "float16"), ("float", "float32"), ("double", "float64"), ("bf16", "bfloat16"), ("fp16", "float16"),
     ("long", "int64"), ("int", "int32"), ("short", "int16"), ("byte", "uint8"), ("cfloat", "complex64"),
     ("f8_e4m3", "float8_e4m3fn"), ("b8", "bool"), ("torch.half", "float16"), ("F32", "float32")],
)  # fmt: skip
def test_aliases_mean_what_torch_means_by_them(alias, name):
    assert dtype(alias).name == name


@pytest.mark.parametrize("name", ["", "f33", "torch.", "int 8", "float32 ", "torch.torch.int8"])
def test_a_name_that_is_none_is_refused_and_not_guessed(name):
    with pytest.raises(KeyError):
        dtype(name)


@given(numel=st.integers(0, 10**9), nbytes=st.integers(1, 300), block=st.integers(1, 512))
def test_blocks_are_whole_and_no_larger_than_they_must_be(numel, nbytes, block):
    """The fewest blocks that hold all elements: one less would leave some out."""
    taken = Fraction(DType("q", nbytes, block, "packed").nbytes(numel), nbytes)
    assert taken.denominator == 1
    assert taken * block >= numel > (taken - 1) * block or numel == taken == 0


@dataclass(frozen=True)
class Foreign:
    """A dtype object of some library: it prints its name and knows its size."""

    name: str
    itemsize: int

    def __str__(self) -> str:
        return self.name


def test_a_librarys_dtype_is_known_by_the_name_it_prints():
    assert dtype_of(Foreign("torch.bfloat16", 2)) is dtype("bf16")
    assert dtype_of(Foreign("float64", 8)) is dtype("f64")


def test_a_type_that_numel_does_not_know_keeps_its_name_and_size():
    odd = dtype_of(Foreign("torch.bits16", 2))
    assert (odd.name, odd.nbytes(3), odd.short) == ("bits16", 6, "bits16")
    assert dtype_of(Foreign("torch.bits16", 2)) is odd

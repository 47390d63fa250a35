"""Totals are a monoid whose `+` forgets no field, and a record's share of them is what the counting rules say."""

from __future__ import annotations

from dataclasses import astuple, fields

import pytest

from numel.facts import DType, Part, TensorRecord, Totals, dtype

F32 = dtype("f32")


def test_addition_adds_every_field():
    """Distinct powers of two in each field: a field that is left out or mixed up changes the sum."""
    names = [each.name for each in fields(Totals)]
    one = Totals(**{name: 2**i for i, name in enumerate(names)})
    two = Totals(**{name: 2 ** (i + 20) for i, name in enumerate(names)})
    assert astuple(one + two) == tuple(2**i + 2 ** (i + 20) for i in range(len(names)))
    assert one + Totals() == Totals() + one == one
    assert sum([one, two], Totals()) == one + two


def test_frozen_is_the_rest_of_params_and_an_unknown_size_makes_sums_inexact():
    assert Totals(params=7, trainable=3).frozen == 4
    assert Totals().exact
    assert not Totals(unknown=1).exact


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (TensorRecord("w", (3, 4), F32, trainable=True), Totals(params=12, trainable=12, nbytes=48, local_nbytes=48)),
        (TensorRecord("w", (), F32), Totals(params=1, nbytes=4, local_nbytes=4)),
        (TensorRecord("w", (0, 4), F32), Totals()),
        (TensorRecord("b", (5,), F32, "buffer"), Totals(buffers=5, nbytes=20, local_nbytes=20)),
        # requires_grad of a buffer or of an unknown tensor trains no parameter
        (TensorRecord("b", (5,), F32, "buffer", trainable=True), Totals(buffers=5, nbytes=20, local_nbytes=20)),
        (TensorRecord("x", (5,), F32, "unknown"), Totals(unclassified=5, nbytes=20, local_nbytes=20)),
        (TensorRecord("m", (5,), F32, "optimizer"), Totals(nbytes=20, local_nbytes=20)),
        (TensorRecord("w", (3, 4), F32, alias_of="v"), Totals(tied=12)),
        (TensorRecord("w", None, F32), Totals(unknown=1)),
        (TensorRecord("w", None, F32, alias_of="v"), Totals()),
        # a view weighs the storage it keeps alive, however small it is
        (TensorRecord("w", (2,), F32, storage=0, storage_nbytes=400), Totals(params=2, nbytes=400, local_nbytes=400)),
        # an expanded tensor has more elements than bytes
        (TensorRecord("w", (9,), F32, storage=0, storage_nbytes=4), Totals(params=9, nbytes=4, local_nbytes=4)),
        # half of the rows lie on this process
        (TensorRecord("w", (8, 2), F32, shard=(4, 2)), Totals(params=16, nbytes=64, local_nbytes=32)),
        # 257 elements are two blocks of 256; the elements counted are the logical ones
        (TensorRecord("w", (257,), DType("q4_k", 144, 256, "packed"), packed=True),
         Totals(params=257, packed=257, nbytes=288, local_nbytes=288)),
        # packed weights weigh their parts: 32 bytes of 4-bit pairs and 4 scales
        (TensorRecord("w", (8, 8), F32, packed=True,
                      parts=(Part("data", (8, 4), dtype("u8")), Part("scale", (4,), dtype("f16")))),
         Totals(params=64, packed=64, nbytes=40, local_nbytes=40)),
    ],
)  # fmt: skip
def test_a_record_counts_by_its_role_ties_and_bytes(record, expected):
    assert record.totals() == expected


def test_bytes_that_an_earlier_record_stands_for_are_left_out_and_elements_are_not():
    record = TensorRecord("w", (3,), F32, storage=0, storage_nbytes=12)
    assert record.totals(counts_bytes=False) == Totals(params=3)


def test_what_is_not_known_about_a_tensor_is_none():
    lazy = TensorRecord("layers.0.weight", None, F32)
    assert (lazy.numel, lazy.nbytes, lazy.held_nbytes) == (None, None, 0)
    assert (lazy.module, lazy.name) == ("layers.0", "weight")
    assert (TensorRecord("w", (2,), F32).module, TensorRecord("w", (2,), F32).name) == ("", "w")

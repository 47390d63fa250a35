"""Look-ups: rows are moved and nothing is computed; a bag adds up the rows that it gathers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from formulas.counting import Call, lowered, total, whole
from numel.analyses.formulas import Cost

_INDICES = torch.tensor([[1, 2, 4], [4, 3, 9]])


@pytest.mark.parametrize("vocabulary", [10, 1000])
def test_a_look_up_computes_nothing_whatever_the_vocabulary(vocabulary):
    module = torch.nn.Embedding(vocabulary, 8, padding_idx=0)
    assert total(whole(module, _INDICES)) == Cost() == total(lowered(module, _INDICES))


def test_a_one_hot_vector_is_written_and_not_computed():
    assert total(whole(Call(lambda i: F.one_hot(i, 10)), _INDICES)).macs == 0


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_a_bag_adds_each_row_that_it_gathers(mode):
    """Six rows of eight, in two bags, as rows of indices or laid end to end with offsets."""
    module = torch.nn.EmbeddingBag(10, 8, mode=mode)
    flat, offsets = _INDICES.flatten(), torch.tensor([0, 3])
    for records in (whole(module, _INDICES), whole(module, flat, offsets), lowered(module, flat, offsets)):
        assert total(records) == Cost(elementwise=6 * 8)


def test_weights_of_a_bag_are_one_multiplication_more_per_element():
    def bag(indices: torch.Tensor, table: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return F.embedding_bag(indices, table, per_sample_weights=weights, mode="sum")

    given = _INDICES, torch.randn(10, 8), torch.ones(2, 3)
    assert total(whole(Call(bag), *given)) == Cost(elementwise=2 * 6 * 8)


def test_a_limit_on_norms_squares_sums_and_scales_the_rows_named():
    module = torch.nn.Embedding(10, 8, max_norm=1.0)
    with torch.no_grad():
        assert total(lowered(module, _INDICES)) == Cost(elementwise=3 * 6 * 8)

"""The collector of operators sees one without a formula, and a report that would keep it silent."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import numel  # noqa: E402
from oracle.operators import Operators, operators  # noqa: E402


class _Unknown(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matrix_exp(torch.relu(x)) @ x


@pytest.fixture
def report() -> numel.Report:
    return numel.summary(_Unknown(), "f32[4,4]")


def test_an_operator_without_a_formula_is_listed_with_its_calls(report: numel.Report):
    seen = operators(report) + operators(report)
    (unknown,) = seen.without_formula
    assert (unknown.split(".")[1], seen.calls[unknown]) == ("linalg_matrix_exp", 2)
    assert "2 of 3 operators have a formula, 4 of 6 calls" in str(seen)
    assert not seen.silent


def test_a_report_that_hides_one_is_found_out(report: numel.Report):
    class Hiding:
        ops, exact, uncosted = report.ops, True, report.uncosted

    assert operators(Hiding()).silent == operators(report).without_formula  # type: ignore[arg-type]


def test_no_report_is_zero():
    assert Operators() + Operators() == Operators()

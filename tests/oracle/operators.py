"""Which operators the models of a suite ran, how often, and which of them have a formula."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numel
from numel.analyses.formulas import find


@dataclass(frozen=True)
class Operators:
    """`calls` by operator, and those that ran without a formula although their report did not say so. `Operators()` is
    zero; `+` joins the models of a suite."""

    calls: Counter[str] = field(default_factory=Counter)
    silent: frozenset[str] = frozenset()

    def __add__(self, other: Operators) -> Operators:
        return Operators(self.calls + other.calls, self.silent | other.silent)

    @property
    def without_formula(self) -> set[str]:
        return {op for op in self.calls if find(op) is None}

    def __str__(self) -> str:
        """The coverage in a line, then what is missing, the most frequent first."""
        missing = Counter({op: self.calls[op] for op in self.without_formula})
        of_all = f"{len(self.calls) - len(missing)} of {len(self.calls)} operators have a formula"
        of_calls = f"{self.calls.total() - missing.total():,} of {self.calls.total():,} calls"
        return "\n".join([f"{of_all}, {of_calls}", *(f"  {op} {calls:,}" for op, calls in missing.most_common())])


def operators(report: numel.Report) -> Operators:
    """What ran, and what the report should have flagged: an operator without a formula makes it inexact, by name."""
    calls = Counter(op.op for op in report.ops)
    missing = {op for op in calls if find(op) is None}
    named = {op for op in missing if op.rpartition(".")[0] in report.uncosted}
    return Operators(calls, frozenset(missing if report.exact else missing - named))

"""The value of an expression as an explanation prints it, computed by Python from the text alone."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil, floor

_DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_SIGNS = str.maketrans({"×": "*", "−": "-", "⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")"})


def value_of(text: str) -> int:
    """Division is exact, as on paper: an expression that needs rounding says so by its brackets."""
    python = re.sub(f"[{_DIGITS}]+", lambda found: f"**{''.join(str(_DIGITS.index(c)) for c in found[0])}", text)
    python = re.sub(r"(?<!\*)(?<!\d)(\d+)", r"Fraction(\1)", python.translate(_SIGNS))
    value = eval(python, {"Fraction": Fraction, "floor": floor, "ceil": ceil})  # digits and signs alone
    assert value == int(value), f"{text} is no whole number"
    return int(value)

"""What changed, and what is wrong, in the words that logs get."""

from __future__ import annotations

from numel.facts import Alarm, Seen


def said(seen: Seen | Alarm) -> str:
    """In one line.

    >>> from numel.facts import Change, Note
    >>> said(Seen(3, 0.0, Change("frozen", "fc.weight", True, False)))
    'frozen fc.weight: True → False'
    >>> said(Alarm(7, 0.0, Note("not-finite", "error", "the gradient has 2 NaN", "fc.weight")))
    'not-finite fc.weight: the gradient has 2 NaN'
    """
    if isinstance(seen, Seen):
        return f"{seen.kind} {seen.path}: {seen.change.before} → {seen.change.after}"
    return f"{seen.code} {seen.path}: {seen.text}"

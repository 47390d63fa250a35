"""Parts of an error line: what was probably meant, what foreign code raised, and where. Each stays on one line."""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

_LONGEST = 300  # of a foreign error's message; some span pages
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def suggestion(name: str, among: Iterable[str]) -> str:
    """The end of an error line: what was probably meant, or nothing.

    >>> suggestion("resnet5", ["resnet50", "vgg11"])
    '; did you mean resnet50?'
    """
    near = difflib.get_close_matches(name, list(among), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def siblings(file: Path) -> str:
    """`suggestion` among the names in the file's folder."""
    try:
        return suggestion(file.name, os.listdir(file.parent))
    except (OSError, ValueError):
        return ""


def summary(error: BaseException) -> str:
    """
    >>> summary(ValueError("too\\nlong"))
    'ValueError: too long'
    """
    text = " ".join(str(error).split())
    return cut(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def location(error: BaseException) -> str:
    """file:line of the innermost frame that is neither numel's, torch's nor the importer's; where there is one of the
    user's own, nor another library's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    roots = [str(Path(__file__).parents[1]) + os.sep]
    if "torch" in sys.modules and sys.modules["torch"].__file__:
        roots.append(str(Path(sys.modules["torch"].__file__).parent) + os.sep)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith((*roots, "<"))]
    own = [f for f in theirs if not _INSTALLED & set(Path(f.filename).parts)]
    frame = (own or theirs or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"

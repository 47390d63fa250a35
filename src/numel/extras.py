"""The one door to optional libraries: `need("torch", extra="torch")` imports, or says what to install."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from numel.errors import MissingExtra


def need(name: str, *, extra: str) -> Any:
    """The module `name`, imported now.

    Raises `MissingExtra` with the command that installs it when the library itself is absent; an error inside an
    installed library passes through unchanged, since reinstalling would not mend it.

    >>> need("json", extra="none").dumps([1])
    '[1]'
    """
    try:
        module: ModuleType = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise MissingExtra(f"{error.name} is not installed; install it with: pip install 'numel[{extra}]'") from error
    return module

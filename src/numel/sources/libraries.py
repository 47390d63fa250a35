"""The libraries that models come from: imported or one line on why not, and silent while numel uses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numel.errors import MissingExtra, TargetError
from numel.extras import need
from numel.sources.wording import summary

# the hub's library speaks through one of the last three, depending on its version
_TALKATIVE = ("transformers", "huggingface_hub", "httpx", "httpx2", "urllib3")


def library(name: str, extra: str) -> Any:
    """The module `name`. Raises `MissingExtra`, and `TargetError` where what is installed does not work."""
    package = name.partition(".")[0]
    try:
        return need(name, extra=extra)
    except MissingExtra:
        raise
    except ModuleNotFoundError as error:
        raise TargetError(f"{package} needs {error.name}, which is not installed") from error
    except Exception as error:
        raise TargetError(
            f"{package} is installed but does not import ({summary(error)}); was it built for another torch?"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines of theirs: what went wrong is said once, by the error. A library is to be imported before, since it
    sets its logger's level when it is first imported."""
    import logging  # here, since a file is read without

    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

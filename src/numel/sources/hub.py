"""The name after "hf:" → its config.json: a file, a directory's, or the hub's, from where no weight is fetched.

The hub is asked once whether it can be reached at all: its library alone would ask for 23 s before it says no.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from numel.errors import TargetError
from numel.sources.libraries import library, quiet
from numel.sources.wording import siblings, summary

_FILE = "config.json"
_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
# by name, since the hub's library has changed from requests to httpx to httpx2; a slow answer is none of these
_NO_CONNECTION = frozenset({"ConnectionError", "ConnectError", "ConnectTimeout"})


def configuration(target: str, name: str) -> tuple[Path, str]:
    """The config.json of a file, directory or hub name, and where transformers finds the code beside it."""
    place = Path(name).expanduser()
    if not name:
        raise TargetError(f"{target}: expected 'hf:ORG/NAME', a config.json or a directory with one")
    if os.path.isfile(place / _FILE):
        return place / _FILE, str(place)
    if os.path.isfile(place):
        return place, str(place.parent)
    if os.path.isdir(place):
        raise TargetError(f"{target}: no config.json in that directory")
    if not _NAME.fullmatch(name):
        raise TargetError(f"{target}: no such file, and no hub name (expected org/name){siblings(place)}")
    hub = library("huggingface_hub", "hub")
    errors = library("huggingface_hub.utils", "hub")
    try:
        with quiet():
            return _fetched(hub, name)
    except errors.GatedRepoError as error:
        raise TargetError(f"{target}: accept its terms on the hub, then log in with `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise TargetError(f"{target}: not on the hub, or private; log in with `hf auth login`") from error
    except errors.LocalEntryNotFoundError as error:
        cause = error.__cause__ or error.__context__
        reason = f" ({summary(cause)})" if cause else ""
        raise TargetError(
            f"{target}: the hub could not be reached{reason} and nothing of it is cached; name a local config.json"
        ) from error
    except errors.EntryNotFoundError as error:
        raise TargetError(f"{target}: that model has no config.json on the hub") from error
    except Exception as error:
        text = f"{target}: the hub could not be reached ({summary(error)}); name a local config.json"
        raise TargetError(text) from error


def _fetched(hub: Any, name: str) -> tuple[Path, str]:
    try:
        hub.get_hf_file_metadata(hub.hf_hub_url(name, _FILE))
    except Exception as error:
        if _NO_CONNECTION.isdisjoint(each.__name__ for each in type(error).__mro__):
            return Path(hub.hf_hub_download(name, _FILE)), name  # it knows what to do about any other answer
        cached = Path(hub.hf_hub_download(name, _FILE, local_files_only=True))
        return cached, str(cached.parent)
    return Path(hub.hf_hub_download(name, _FILE)), name

"""The user's own code → nn.Module: "pkg.mod:callable" and "file.py:Name". Naming it is consent to run it.

A file's neighbours are imported as they would be beside it, and none of them stays in `sys.modules`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from numel.errors import TargetError
from numel.sources.bytes import printable
from numel.sources.meta import Built, constructed
from numel.sources.wording import cut, location, siblings, suggestion, summary


def model(torch: Any, target: str, options: dict[str, Any], allocate: bool) -> Built:
    """What the target's callable returns for these options, or the module that it names."""
    file, name = _split(target)
    source, _, attribute = target.partition(":")
    target = printable(target)
    if file is None:
        if os.getcwd() not in sys.path:  # a console script's own folder is on the path, the user's is not
            sys.path.insert(0, os.getcwd())
        return _called(torch, target, _imported(target, source), attribute, options, allocate)
    if not os.path.isfile(file):
        raise TargetError(f"{target}: no file {printable(file)}{siblings(file)}")
    if not name:
        raise TargetError(f"{target}: name what to build, as in '{printable(file)}:Net'{_defined(file)}")
    with _loaded(target, file) as module:
        return _called(torch, target, module, name, options, allocate)


def _split(target: str) -> tuple[Path | None, str]:
    """The file and the name of "file.py:Name"; no file for "pkg.mod:callable"."""
    if target.endswith(".py"):
        return Path(target).expanduser(), ""
    before, found, name = target.rpartition(".py:")
    return (Path(before + ".py").expanduser(), name) if found else (None, "")


def _called(
    torch: Any, target: str, module: ModuleType, name: str, options: dict[str, Any], allocate: bool
) -> Built:  # fmt: skip
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            public = [each for each in dir(found) if not each.startswith("_") and callable(getattr(found, each, None))]
            raise TargetError(f"{target}: no {part!r} in it{suggestion(part, public)}") from error
    if isinstance(found, torch.nn.Module):
        if options:
            given = ", ".join(options)
            raise TargetError(f"{target}: a module that is built already; options ({given}) need a callable")
        return found, ()
    if not callable(found):
        raise TargetError(f"{target}: {type(found).__qualname__}; expected a callable or a torch.nn.Module")
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        pass  # some builtins have none
    else:
        try:
            signature.bind(**options)
        except TypeError as error:
            raise TargetError(f"{target}: {error}; it takes {cut(str(signature))}") from error
    return constructed(torch, target, lambda: found(**options), allocate)


def _imported(target: str, source: str) -> ModuleType:
    importlib.invalidate_caches()
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name is None or not (source + ".").startswith(error.name + "."):
            raise TargetError(f"{target}: importing it raised {summary(error)} ({location(error)})") from error
        text = f"{target}: no module {error.name!r}; expected 'pkg.mod:callable' or 'file.py:Name'"
        raise TargetError(text) from error
    except (Exception, SystemExit) as error:
        raise TargetError(f"{target}: importing it raised {summary(error)} ({location(error)})") from error


@contextmanager
def _loaded(target: str, file: Path) -> Iterator[ModuleType]:
    """The module of one file; it and its neighbours are not registered afterwards."""
    file = file.resolve()
    # a class finds its module by this name while it is defined; a name that is taken stays with its owner
    name = file.stem if file.stem not in sys.modules else f"_numel_target_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise TargetError(f"{target}: {printable(file)} is no Python file")
    module = importlib.util.module_from_spec(spec)
    with _beside(file.parent):
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise TargetError(f"{target}: loading it raised {summary(error)} ({location(error)})") from error
        yield module


@contextmanager
def searching(target: str) -> Iterator[None]:
    """While the target's model runs: what it imports then is found where it was found at first."""
    file, _ = _split(target)
    with _beside(Path.cwd() if file is None else file.resolve().parent):
        yield


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """The folder on sys.path; afterwards neither it nor what was imported from it is registered."""
    before = dict(sys.modules)
    writes = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        near = {each for each in sys.modules.keys() - before.keys() if _lies_in(sys.modules[each], folder)}
        for each in sys.modules.keys() - before.keys():
            if each.partition(".")[0] in near:
                del sys.modules[each]


def _lies_in(module: ModuleType | None, folder: Path) -> bool:
    """True for a module or package that was found in this very folder."""
    origin = getattr(module, "__file__", None)
    if origin:
        where = Path(origin)
        return folder == (where.parent.parent if where.name == "__init__.py" else where.parent)
    return any(Path(each).parent == folder for each in getattr(module, "__path__", ()))


def _defined(file: Path) -> str:
    """Classes and functions at the top of a file, read as text."""
    text = file.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^(?:class|def) ([A-Za-z]\w*)", text, re.MULTILINE)
    more = " …" if len(found) > 8 else ""
    return f"; it defines {', '.join(found[:8])}{more}" if found else ""

"""A name → nn.Module without its weights: user code, torchvision, timm and transformers configurations, built on meta.

Naming one's own code is consent to run it. A configuration's code from the hub runs only with `trust_remote_code`.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import json
import os
import random
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from numel.errors import MissingExtra, NumelError, TargetError
from numel.extras import need
from numel.facts.note import Note
from numel.sources.bytes import LocalFile, printable

if TYPE_CHECKING:
    import torch

SCHEMES = ("torchvision", "timm", "hf")

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
# what a configuration accepts beside its own fields
_BUILD_OPTIONS = frozenset({"attn_implementation", "experts_implementation", "dtype", "torch_dtype"})
_MOST_CONSTANT = 1 << 18  # elements of a sequence that is made for real while a model is built on meta
_LONGEST = 300  # of a foreign error's message; some span pages

Options = Mapping[str, Any]
Built = tuple["torch.nn.Module", tuple[Note, ...]]


def build(
    target: str, *, options: Options | None = None, trust_remote_code: bool = False, allocate: bool = False
) -> Built:  # fmt: skip
    """The model that `target` names, on the meta device where its constructor allows it, and notes on how it was built.

    `target` is "pkg.mod:callable", "file.py:Name", "torchvision:NAME", "timm:NAME", or "hf:" and a config.json, a
    directory with one or a hub name. `options` go to the callable, or override fields of the configuration. Models of
    the three schemes are in eval mode, user code as it was built. `allocate` builds it for real, with random weights.
    Raises `TargetError` and `MissingExtra`.

    >>> model, notes = build("torch.nn:Linear", options={"in_features": 3, "out_features": 2})
    >>> model.weight.device.type, notes
    ('meta', ())
    """
    torch = need("torch", extra="torch")
    chosen = dict(options or {})
    scheme, _, name = target.partition(":")
    with _undisturbed(torch):
        if scheme not in SCHEMES:
            return _own_code(torch, target, chosen, allocate)
        target = printable(target)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if scheme == "torchvision":
                model, notes = _torchvision(torch, target, name, chosen, allocate)
            elif scheme == "timm":
                model, notes = _timm(torch, target, name, chosen, allocate)
            else:
                model, notes = _transformers(torch, target, name, chosen, trust_remote_code, allocate)
        return model.eval(), notes


# ── without a trace ──────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _undisturbed(torch: Any) -> Iterator[None]:
    """Random states, default dtype and device, gradient mode, warning filters and sys.path are afterwards as before.

    What is printed inside goes to stderr: stdout is the document's.
    """
    states: list[tuple[Callable[[Any], object], Any]] = [
        (random.setstate, random.getstate()),
        (torch.set_rng_state, torch.get_rng_state()),
        (torch.set_default_dtype, torch.get_default_dtype()),
        (torch.set_grad_enabled, torch.is_grad_enabled()),
    ]
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        states.append((numpy.random.set_state, numpy.random.get_state()))
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    search, entries = sys.path, list(sys.path)
    # what set_default_device sets is a context and a function mode; taking one off by its own means can hit another
    overrides, device = torch.overrides, torch._GLOBAL_DEVICE_CONTEXT
    context, modes = getattr(device, "device_context", None), overrides._get_current_function_mode_stack()
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            yield
    finally:
        search[:] = entries
        sys.path = search
        for put_back, state in states:
            put_back(state)
        while overrides._get_current_function_mode_stack():
            overrides._pop_mode()
        for mode in modes:
            overrides._push_mode(mode)
        device.device_context = context


def _constructed(torch: Any, target: str, make: Callable[[], Any], allocate: bool) -> Built:
    """What `make` returns on the first that works: meta, meta with real constants, fake tensors, the CPU."""
    try:
        model, notes = (make(), ()) if allocate else _unallocated(torch, make)
    except NumelError:
        raise
    except (Exception, SystemExit) as error:
        raise TargetError(f"{target}: building it raised {_summary(error)} ({_location(error)})") from error
    if not isinstance(model, torch.nn.Module):
        raise TargetError(f"{target}: returned {type(model).__qualname__}; expected a torch.nn.Module")
    return model, notes


def _unallocated(torch: Any, make: Callable[[], Any]) -> tuple[Any, tuple[Note, ...]]:
    try:
        with torch.device("meta"):
            return make(), ()
    except Exception as error:
        # e.g. .item() in a constructor; whether the error is of the code's own making shows on cpu
        reason = f"its constructor does not run on the meta device ({_summary(error)})"
    with contextlib.suppress(Exception):
        with torch.device("meta"), _real_constants(torch):
            model = make()
        _to_meta(torch, model, torch.nn.Parameter)
        return model, ()
    with contextlib.suppress(Exception):
        from torch._subclasses import FakeTensor, FakeTensorMode

        with FakeTensorMode(allow_non_fake_inputs=True):
            model = make()
        _to_meta(torch, model, FakeTensor)
        return model, (Note("built-on-fake", "info", f"built on fake tensors: {reason}"),)
    return make(), (Note("built-on-cpu", "info", f"built on the CPU with real memory: {reason}"),)


def _real_constants(torch: Any) -> Any:
    """A mode in which small sequences are real: constructors read values off them, as off a ramp of drop rates."""
    from torch.overrides import TorchFunctionMode

    sequences = {torch.arange, torch.linspace, torch.logspace, torch.range, torch.tensor, torch.as_tensor}

    class RealConstants(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func not in sequences or kwargs.get("device") is not None:
                return func(*args, **kwargs)
            on_meta = func(*args, **{**kwargs, "device": "meta"})
            small = on_meta.numel() <= _MOST_CONSTANT
            return func(*args, **{**kwargs, "device": "cpu"}) if small else on_meta

    return RealConstants()


def _to_meta(torch: Any, model: Any, kind: Any) -> None:
    """Put meta tensors of the same layout where those of `kind` are: a fake one works only in the mode that made it."""
    if not isinstance(model, torch.nn.Module):
        return
    replaced: dict[int, Any] = {}

    def plain(tensor: Any) -> Any:
        if id(tensor) not in replaced:
            empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
            if isinstance(tensor, torch.nn.Parameter):
                empty = torch.nn.Parameter(empty, requires_grad=tensor.requires_grad)
            replaced[id(tensor)] = empty
        return replaced[id(tensor)]

    for module in model.modules():
        for held in (module._parameters, module._buffers, module.__dict__):
            for name, tensor in list(held.items()):
                if isinstance(tensor, kind) and not tensor.is_meta:
                    setattr(module, name, plain(tensor))


# ── user code ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _own_code(torch: Any, target: str, options: dict[str, Any], allocate: bool) -> Built:
    file, name = _split(target)
    source, _, attribute = target.partition(":")
    target = printable(target)
    if file is None:
        if os.getcwd() not in sys.path:  # a console script's own folder is on the path, the user's is not
            sys.path.insert(0, os.getcwd())
        return _called(torch, target, _imported(target, source), attribute, options, allocate)
    if not _is_file(file):
        raise TargetError(f"{target}: no file {printable(file)}{_siblings(file)}")
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
            raise TargetError(f"{target}: {error}; it takes {_cut(str(signature))}") from error
    return _constructed(torch, target, lambda: found(**options), allocate)


def _imported(target: str, source: str) -> ModuleType:
    importlib.invalidate_caches()
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name is None or not (source + ".").startswith(error.name + "."):
            raise TargetError(f"{target}: importing it raised {_summary(error)} ({_location(error)})") from error
        text = f"{target}: no module {error.name!r}; expected 'pkg.mod:callable' or 'file.py:Name'"
        raise TargetError(text) from error
    except (Exception, SystemExit) as error:
        raise TargetError(f"{target}: importing it raised {_summary(error)} ({_location(error)})") from error


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
            raise TargetError(f"{target}: loading it raised {_summary(error)} ({_location(error)})") from error
        yield module


@contextmanager
def searching(target: str) -> Iterator[None]:
    """While a model of the user's own code runs: what it imports then is found where it was found at first."""
    if target.partition(":")[0] in SCHEMES or ":" not in target:
        yield
        return
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


# ── libraries of models ──────────────────────────────────────────────────────────────────────────────────────────────


def _torchvision(torch: Any, target: str, name: str, options: dict[str, Any], allocate: bool) -> Built:
    models = _library("torchvision.models", "torch")
    try:
        builder = models.get_model_builder(name)
    except ValueError as error:
        near = suggestion(name, models.list_models())
        raise TargetError(f"{target}: torchvision has no model {name!r}{near}") from error
    _no_weights(target, options, "weights", "weights_backbone", "pretrained", "pretrained_backbone")
    absent = {key: None for key in ("weights", "weights_backbone") if key in inspect.signature(builder).parameters}
    return _constructed(torch, target, lambda: builder(**{**absent, **options}), allocate)


def _timm(torch: Any, target: str, name: str, options: dict[str, Any], allocate: bool) -> Built:
    timm = _library("timm", "torch")
    if not timm.is_model(name.partition(".")[0]):
        raise TargetError(f"{target}: timm has no model {name!r}{suggestion(name, timm.list_models())}")
    _no_weights(target, options, "pretrained", "checkpoint_path")
    return _constructed(torch, target, lambda: timm.create_model(name, **{"pretrained": False, **options}), allocate)


def _no_weights(target: str, options: dict[str, Any], *names: str) -> None:
    asked = [name for name in names if options.get(name)]
    if asked:
        raise TargetError(f"{target}: option {asked[0]!r} would load weights; numel builds the architecture only")


def _library(name: str, extra: str) -> Any:
    try:
        return need(name, extra=extra)
    except MissingExtra as error:
        library = name.partition(".")[0]
        if library in SCHEMES:  # no extra brings them: their wheels want torch builds of their own
            raise MissingExtra(f"{library} is not installed; install it with: pip install {library}") from error
        raise
    except ModuleNotFoundError as error:
        raise TargetError(f"{name.partition('.')[0]} needs {error.name}, which is not installed") from error
    except Exception as error:
        library = name.partition(".")[0]
        raise TargetError(
            f"{library} is installed but does not import ({_summary(error)}); was it built for another torch?"
        ) from error


# ── transformers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _transformers(
    torch: Any, target: str, name: str, options: dict[str, Any], trust: bool, allocate: bool
) -> Built:  # fmt: skip
    file, source = _configuration(target, name)
    fields = read_json(file)
    if not isinstance(fields, dict):
        raise TargetError(f"{target}: {printable(file)} holds no JSON object; expected a config.json of transformers")
    transformers = _library("transformers", "hub")
    logs = transformers.utils.logging
    verbosity = logs.get_verbosity()
    logs.set_verbosity_error()
    try:
        try:
            make, notes = _maker(transformers, target, source, fields, options, trust)
        except NumelError:
            raise
        except Exception as error:  # a field that it refuses, or a class that it cannot import
            text = f"{target}: transformers {transformers.__version__} makes nothing of it ({_summary(error)})"
            raise TargetError(text) from error
        model, how = _constructed(torch, target, make, allocate)
    finally:
        logs.set_verbosity(verbosity)
    return model, notes + how


def _configuration(target: str, name: str) -> tuple[Path, str]:
    """The config.json of a file, directory or hub name, and where transformers finds the code beside it."""
    place = Path(name).expanduser()
    if not name:
        raise TargetError(f"{target}: expected 'hf:ORG/NAME', a config.json or a directory with one")
    if _is_file(place / "config.json"):
        return place / "config.json", str(place)
    if _is_file(place):
        return place, str(place.parent)
    if os.path.isdir(place):
        raise TargetError(f"{target}: no config.json in that directory")
    if not _HUB_NAME.fullmatch(name):
        raise TargetError(f"{target}: no such file, and no hub name (expected org/name){_siblings(place)}")
    hub = _library("huggingface_hub", "hub")
    errors = _library("huggingface_hub.errors", "hub")
    try:
        return Path(hub.hf_hub_download(name, "config.json")), name
    except errors.GatedRepoError as error:
        raise TargetError(f"{target}: accept its terms on the hub, then log in with `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise TargetError(f"{target}: not on the hub, or private; log in with `hf auth login`") from error
    except errors.LocalEntryNotFoundError as error:
        raise TargetError(
            f"{target}: the hub could not be reached and nothing of it is cached; name a local config.json"
        ) from error
    except errors.EntryNotFoundError as error:
        raise TargetError(f"{target}: that model has no config.json on the hub") from error
    except Exception as error:
        text = f"{target}: the hub could not be reached ({_summary(error)}); name a local config.json"
        raise TargetError(text) from error


def _maker(
    transformers: Any, target: str, source: str, fields: dict[str, Any], options: dict[str, Any], trust: bool
) -> tuple[Callable[[], Any], tuple[Note, ...]]:
    """A function that makes the model of a configuration, and what is to be said about it."""
    kind, remote = fields.get("model_type"), fields.get("auto_map")
    known = isinstance(kind, str) and kind in transformers.CONFIG_MAPPING
    listed = fields.get("architectures")
    named = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    classes = [getattr(transformers, name) for name in named if hasattr(transformers, name)]
    if remote and not known and not trust:
        raise TargetError(
            f"{target}: needs the code that comes with it (auto_map); --trust-remote-code, "
            "or trust_remote_code=True, runs it"
        )
    notes: list[Note] = []
    if remote and trust:
        config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=True, **options)
        key = next((each for each in remote if each.startswith("AutoModelFor")), "AutoModel")
        auto = getattr(transformers, key)
        return lambda: _tied(auto.from_config(config, trust_remote_code=True)), ()
    if known:
        config_class = transformers.CONFIG_MAPPING[kind]
    elif kind is None and classes and getattr(classes[0], "config_class", None):
        config_class = classes[0].config_class  # configurations of the first years have no model_type
    else:
        raise TargetError(f"{target}: {_unknown_kind(transformers, fields, kind)}")
    base = config_class.from_dict(dict(fields))
    config = config_class.from_dict(_overridden(target, fields, options, base)) if options else base
    _adopt_dtype(config)
    if classes:
        cls = classes[0]
    else:
        cls = _head(transformers, config)
        what = f"names {named[0]!r}, which is none" if named else "names no class"
        text = f"the configuration {what} of transformers {transformers.__version__}; built as {cls.__name__}"
        notes.append(Note("head-guessed", "warning", text))
    if remote:
        text = f"the configuration's own code (auto_map) was not run; built by transformers' {cls.__name__}"
        notes.append(Note("remote-code-not-run", "info", text))
    if fields.get("quantization_config"):
        text = "quantization_config is not applied: dtypes and bytes are those of the model before it was quantised"
        notes.append(Note("quantization-not-applied", "warning", text))
    return lambda: _tied(cls._from_config(config)), tuple(notes)


def _overridden(target: str, fields: dict[str, Any], options: dict[str, Any], base: Any) -> dict[str, Any]:
    """The fields with the options in place; "text_config.num_hidden_layers" reaches into a nested configuration."""
    changed: dict[str, Any] = json.loads(json.dumps(fields))
    known = set(base.to_dict()) | set(fields) | set(base.attribute_map) | _BUILD_OPTIONS
    for option, value in options.items():
        *path, key = option.split(".")
        inside, names = changed, known
        for part in path:
            nested: Any = getattr(base, part, None) if inside is changed else None
            names = set(nested.to_dict()) if hasattr(nested, "to_dict") else set()
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict) or not (names or inside):
                raise TargetError(f"{target}: no nested configuration {part!r} for the option {option!r}")
            names |= set(inside) | _BUILD_OPTIONS
        if key not in names:
            raise TargetError(f"{target}: the configuration has no field {option!r}{suggestion(key, names)}")
        if not path:
            key = base.attribute_map.get(key, key)
        if key in ("dtype", "torch_dtype"):
            inside.pop("dtype", None)
            key = "torch_dtype"
        before = inside.get(key)
        for name, each in inside.items() if isinstance(value, int) else ():  # one entry per layer, as in layer_types
            if "layer" in key and "layer" in name and isinstance(each, list) and len(each) == before and each:
                inside[name] = [each[i % len(each)] for i in range(value)]
        inside[key] = value
    return changed


def _adopt_dtype(config: Any) -> None:
    """A composite configuration can leave its dtype to its parts."""
    name = "dtype" if hasattr(config, "dtype") else "torch_dtype"
    if getattr(config, name, None) is None:
        parts = [getattr(config, each, None) for each in getattr(config, "sub_configs", None) or ()]
        inner = next((d for d in (getattr(part, name, None) for part in parts) if d is not None), None)
        if inner is not None:
            setattr(config, name, inner)


def _head(transformers: Any, config: Any) -> Any:
    """A language model's class where there is one, since the fields tell the size of its head; else the bare model."""
    encoder_decoder = getattr(config, "is_encoder_decoder", False)
    decoder = getattr(config, "is_decoder", False)
    for name, fits in (
        ("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING", encoder_decoder),
        ("MODEL_FOR_MASKED_LM_MAPPING", not decoder),
        ("MODEL_FOR_CAUSAL_LM_MAPPING", True),
        ("MODEL_MAPPING", True),
    ):
        mapping = getattr(transformers, name)
        if fits and type(config) in mapping:
            found = mapping[type(config)]
            return found[0] if isinstance(found, tuple | list) else found
    raise TargetError(f"transformers has no model for {type(config).__name__}")


def _tied(model: Any) -> Any:
    """Construction ties weights in most versions; where it did, this changes nothing."""
    tie = getattr(model, "tie_weights", None)
    if tie is not None:
        tie()
    return model


def _unknown_kind(transformers: Any, fields: dict[str, Any], kind: object) -> str:
    if kind is not None:
        near = suggestion(str(kind), transformers.CONFIG_MAPPING)
        return f"transformers {transformers.__version__} knows no model_type {kind!r}{near}"
    if isinstance(fields.get("architecture"), str):
        return f"a configuration of timm; write 'timm:{fields['architecture']}'"
    return "no model_type in it; expected a config.json of transformers"


def read_json(file: Path) -> Any:
    """A JSON file's value. Raises `TargetError` when it cannot be read or is not JSON."""
    held = LocalFile(file)
    try:
        return json.loads(held.read(0, held.size))
    except (ValueError, RecursionError) as error:
        raise TargetError(f"{held.name}: not JSON ({_summary(error)})") from error


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def suggestion(name: str, among: Iterable[str]) -> str:
    """The end of an error line: what was probably meant, or nothing.

    >>> suggestion("resnet5", ["resnet50", "vgg11"])
    '; did you mean resnet50?'
    """
    near = difflib.get_close_matches(name, list(among), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except (OSError, ValueError):  # a name that is too long, a NUL
        return False


def _siblings(file: Path) -> str:
    try:
        return suggestion(file.name, os.listdir(file.parent))
    except (OSError, ValueError):
        return ""


def _defined(file: Path) -> str:
    """Classes and functions at the top of a file, read as text."""
    text = file.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^(?:class|def) ([A-Za-z]\w*)", text, re.MULTILINE)
    more = " …" if len(found) > 8 else ""
    return f"; it defines {', '.join(found[:8])}{more}" if found else ""


def _summary(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return _cut(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _location(error: BaseException) -> str:
    """file:line of the innermost frame that is neither numel's, torch's nor the importer's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    roots = [str(Path(__file__).parents[1]) + os.sep]
    if "torch" in sys.modules and sys.modules["torch"].__file__:
        roots.append(str(Path(sys.modules["torch"].__file__).parent) + os.sep)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith((*roots, "<"))]
    frame = (theirs or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"

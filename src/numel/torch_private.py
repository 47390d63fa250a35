"""Every private name of torch that numel leans on, each behind one function: a new torch is checked here."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode whose `__torch_dispatch__` torch does not wrap against being compiled: nothing compiles it, the wrapper
    costs at every operator, and its first call imports the whole compiler."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


VALUE_BY_DATA = "the forward reads a value that depends on data"
SHAPE_BY_DATA = "the forward makes a shape that depends on data"
BRANCH_BY_DATA = "an operator runs the one or the other function by a value that depends on data"


def below_autograd() -> AbstractContextManager[Any]:
    """Dispatch as if autograd were off, without its effect on tensors or on `torch.is_grad_enabled()`.

    Composite operators (`linear`, `scaled_dot_product_attention`, `lstm`) then reach a dispatch mode whole, before
    their kernels choose a fused path that hides the matrix products.
    """
    guard = getattr(torch._C, "_AutoDispatchBelowAutograd", None)
    return guard() if guard is not None else torch.inference_mode()


def is_composite(func: Any) -> bool:
    """Whether the operator is defined by other operators for every backend. `silu_backward` is for those without a
    kernel of their own, and a CPU has one."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    try:
        return has(func.name(), "CompositeImplicitAutograd") and not has(func.name(), "CPU")
    except RuntimeError:  # prim.device and its like are known to Python alone
        return False


def lacks_fake_kernel(message: str) -> bool:
    """Whether an error says that an operator runs on data alone: a custom one without a kernel for shapes."""
    return "There was no fake impl registered for" in message


def is_higher_order(func: Any) -> bool:
    """Whether the operator takes functions; it has no schema then."""
    return isinstance(func, torch._ops.HigherOrderOperator)


def is_active(mode: Any) -> bool:
    """Whether a dispatch mode would see the next operator."""
    from torch.utils import _python_dispatch

    return any(each is mode for each in _python_dispatch._get_current_dispatch_mode_stack())


@contextmanager
def functions_before_autograd(run: Callable[[Any, Any, Any], Any]) -> Iterator[None]:
    """What an operator that takes functions does where autograd would differentiate it is `run(operator, args,
    kwargs)`, unless that gives `NotImplemented`."""
    kind: Any = torch._ops.HigherOrderOperator
    found = kind.dispatch

    def dispatch(self: Any, /, dispatch_key: Any, *args: Any, **kwargs: Any) -> Any:
        if dispatch_key.name.startswith("Autograd"):
            outputs = run(self, args, kwargs)
            if outputs is not NotImplemented:
                return outputs
        return found(self, dispatch_key, *args, **kwargs)

    kind.dispatch = dispatch
    try:
        yield
    finally:
        kind.dispatch = found


@contextmanager
def flex_attention_anywhere() -> Iterator[None]:
    """`flex_attention` refuses tensors that are on no device that it has a kernel for; those without data run none."""
    held: Any = sys.modules.get("torch.nn.attention.flex_attention")
    if held is None:
        yield
        return
    found = held._validate_device

    def validate(*tensors: torch.Tensor) -> None:
        if not any(each.is_meta or is_fake(each) for each in tensors):
            found(*tensors)

    held._validate_device = validate
    try:
        yield
    finally:
        held._validate_device = found


def higher_order_name(func: Any) -> str:
    """`cond` of `torch.ops.higher_order.cond`."""
    return str(func._name)


def runs_one_function(func: Any) -> bool:
    """Whether it calls its first argument with the others, and does nothing else."""
    from torch._higher_order_ops.base_hop import BaseHOP

    return isinstance(func, BaseHOP)


def definition(func: Any) -> Any:
    """What an operator that takes functions does where no mode is active."""
    return func.py_kernels[torch._C.DispatchKey.CompositeExplicitAutograd]


def associative_scan(combine: Any, rows: Any, additional: Any) -> Any:
    """The scan as torch runs it without a compiler."""
    from torch._higher_order_ops.associative_scan import generic_associative_scan

    return generic_associative_scan(combine, rows, additional_inputs=additional)  # type: ignore[no-untyped-call]


def flex_outputs(func: Any, args: Any, kwargs: Any) -> Any:
    """What flex attention or its backward gives, without data: shapes, strides and types."""
    defined = sys.modules["torch._higher_order_ops.flex_attention"]  # the package has the operator by this name
    names = {
        "flex_attention": "flex_attention_fake_impl",
        "flex_attention_backward": "flex_attention_backward_fake_tensor_mode",
    }
    return getattr(defined, names[func._name])(*args, **kwargs)


def changes_scores(function: Any) -> bool:
    """Whether a function that flex attention is given on scores is one of the user's; a backward gets none of them."""
    return getattr(function, "__name__", "_identity") != "_identity"


class VisitedBlocks(NamedTuple):
    """For each row of blocks of queries: how many blocks of keys are computed, and which, at the front of a list."""

    lists: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    height: int
    width: int


def visited_blocks(mask: Any) -> VisitedBlocks:
    """What a `BlockMask` says as a tuple: two lengths, counts and lists of the blocks with a mask inside, then of those
    in full if any, ..., block sizes of queries and keys, the function."""
    lists = ((mask[2], mask[3]), (mask[4], mask[5]))
    return VisitedBlocks(tuple(each for each in lists if each[0] is not None), int(mask[-3]), int(mask[-2]))


def mutated_arguments(func: Any) -> tuple[tuple[int, str], ...]:
    """Position and name of each argument that the operator writes to."""
    arguments = func._schema.arguments
    return tuple((i, a.name) for i, a in enumerate(arguments) if a.alias_info is not None and a.alias_info.is_write)


def is_view(func: Any) -> bool:
    """Whether an output aliases an input without writing to it."""
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def is_pointwise(func: Any) -> bool:
    """Whether each element of the output depends on one element of each input."""
    return torch.Tag.pointwise in func.tags


def is_random(func: Any) -> bool:
    """Whether the operator draws from a generator."""
    return torch.Tag.nondeterministic_seeded in func.tags


def eager() -> AbstractContextManager[Any]:
    """Run compiled code as it was written: what `torch.compile` wraps as plain Python (if dynamo is loaded at all),
    what `torch.jit` scripted by its own graph, without fusing operators or learning from the shapes that pass by."""
    stack = ExitStack()
    stack.enter_context(torch.jit.optimized_execution(False))  # type: ignore[attr-defined]
    if "torch._dynamo" in sys.modules:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
    return stack


def default_device() -> tuple[Any, tuple[Any, ...], Any]:
    """What `torch.set_default_device` sets: a context, which is also one of the function modes that are active, and a
    name that torch.compile guards on."""
    import torch.utils._device as of_modes

    modes = tuple(torch.overrides._get_current_function_mode_stack())  # type: ignore[no-untyped-call]
    return getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None), modes, of_modes.CURRENT_DEVICE


def set_default_device(before: tuple[Any, tuple[Any, ...], Any]) -> None:
    """The same context, modes and name again: `torch.set_default_device` itself takes off whatever mode is the
    lowest."""
    import torch.utils._device as of_modes

    context, modes, of_modes.CURRENT_DEVICE = before
    while torch.overrides._get_current_function_mode_stack():  # type: ignore[no-untyped-call]
        torch.overrides._pop_mode()  # type: ignore[no-untyped-call]
    for mode in modes:
        torch.overrides._push_mode(mode)  # type: ignore[no-untyped-call]
    torch._GLOBAL_DEVICE_CONTEXT.device_context = context


def next_node() -> int:
    """The number that autograd gives to the next node of this thread."""
    return int(torch._C._autograd._get_sequence_nr())


def running_node() -> Any:
    """The autograd node that runs in this thread; `None` outside of a backward pass."""
    return torch._C._current_autograd_node()


def called_by_autograd(frames: int) -> bool:
    """Whether autograd itself, and no Python of a hook or a function, ran what is handled `frames` frames above."""
    from torch.autograd import graph

    return sys._getframe(frames).f_code is graph._engine_run_backward.__code__


def is_accumulated_into(old: torch.Tensor, new: Any) -> bool:
    """Whether autograd, which holds `old` as the sum so far, would add `new` in place: nothing else holds it."""
    if not isinstance(new, torch.Tensor) or old.shape != new.shape or {old.layout, new.layout} != {torch.strided}:
        return False
    if hasattr(type(old), "__tensor_flatten__") or hasattr(type(new), "__tensor_flatten__"):
        return False
    dense: Any = torch.ops.aten.is_non_overlapping_and_dense.default
    with torch._C._DisableTorchDispatch():
        return _holders(old) == holders_alone() and bool(dense(old))


def _holders(tensor: torch.Tensor) -> tuple[int, int]:
    """How often a tensor and its storage are held, seen from where an operator over it is handled."""
    return tensor._use_count(), torch._C._storage_Use_Count(tensor.untyped_storage()._cdata)  # type: ignore[attr-defined]


@functools.cache
def holders_alone() -> tuple[int, int]:
    """The holders of what autograd alone holds, as of the first gradient of y in 2y + 3y, which keeps no tensors. To be
    called first outside of a backward pass."""
    found = []

    class Watch(DispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten.add.Tensor:
                found.append(_holders(args[0]))
            return func(*args, **(kwargs or {}))

    with alone(), torch.inference_mode(False), torch.enable_grad():
        y = torch.ones(2, device="cpu", requires_grad=True) * 1
        loss = (y * 2 + y * 3).sum()
        with Watch():  # type: ignore[no-untyped-call]
            loss.backward()  # type: ignore[no-untyped-call]
    return found[0]


def ends_recomputation(error: BaseException) -> bool:
    """Whether an error only ends a checkpointed forward that has computed all that was needed again."""
    return type(error).__name__ == "_StopRecomputationError"


def saving() -> Any:
    """What is called with each tensor that autograd saves; `None` where nothing is."""
    found = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return None if found is None else found[0]


@contextmanager
def saving_but_in_transforms(
    save: Callable[[Any], Any], load: Callable[[Any], Any], told: Callable[[], None]
) -> Iterator[None]:  # fmt: skip
    """`save` and `load` are asked about each tensor that autograd saves, but inside of torch.func's gradients, which
    allow no such hooks: there they are taken off, and `told` is called."""
    graph: Any = torch.autograd.graph
    private: Any = torch._C._autograd
    before = graph.disable_saved_tensors_hooks

    @contextmanager
    def without(message: str) -> Iterator[None]:
        ours = saving() == save
        if ours:
            private._pop_saved_tensors_default_hooks()
            told()
        try:
            with before(message):
                yield
        finally:
            if ours:
                private._push_saved_tensors_default_hooks(save, load)

    graph.disable_saved_tensors_hooks = without
    try:
        with graph.saved_tensors_hooks(save, load):
            yield
    finally:
        graph.disable_saved_tensors_hooks = before


def without_own_node(tensor: torch.Tensor) -> torch.Tensor:
    """What a hook keeps of a tensor that autograd saves: itself, but apart from the node that it came out of where that
    is the one which saves it, as of tanh: these two would keep each other alive, as in no step without hooks."""
    node = tensor.grad_fn
    if node is None or node._sequence_nr() != next_node() - 1:  # of the newest node, which is being made
        return tensor
    with alone():
        return tensor.detach()


def alone() -> AbstractContextManager[Any]:
    """No dispatch mode of the caller's: theirs neither see this run nor change what it finds."""
    from torch.utils import _python_dispatch

    if not _python_dispatch._get_current_dispatch_mode_stack():
        return nullcontext()  # the way out of modes imports much
    return _python_dispatch._disable_current_modes()


def unseen() -> AbstractContextManager[Any]:
    """No dispatch mode sees what operators run inside."""
    guard: AbstractContextManager[Any] = torch._C._DisableTorchDispatch()
    return guard


def _hooked_everywhere() -> bool:
    found: bool = torch.nn.modules.module._has_any_global_hook()  # type: ignore[no-untyped-call]
    return found


def settings() -> tuple[Any, ...] | None:
    """What tells code in which surroundings it runs; `None` inside of a transform (`torch.func`), and where there are
    hooks on every module."""
    if torch._C._functorch.peek_interpreter_stack() is not None or _hooked_everywhere():
        return None
    return (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(),
        torch._C._len_torch_dispatch_stack(), torch._C._len_torch_function_stack(),
        torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"),
    )  # fmt: skip


def is_scripted(module: torch.nn.Module) -> bool:
    """Whether a module runs in the interpreter of `torch.jit`, which holds its tensors, too."""
    return isinstance(module, torch.jit.ScriptModule)


def exported_class(module: torch.nn.Module) -> str | None:
    """The class of the module that a part of an unflattened program came from, as torch.export names it."""
    if type(module).__module__ != "torch.export.unflatten":
        return None
    name = module.type_name()  # type: ignore[operator]
    return name if isinstance(name, str) else None


def import_compiler() -> None:
    """Import torch.compile, as torch itself does at its first product on meta."""
    if "torch._dynamo" not in sys.modules:
        import torch._dynamo  # noqa: F401


def dispatch_depth() -> int:
    """How many dispatch modes are active: while one handles an operator it is not among them."""
    return int(torch._C._len_torch_dispatch_stack())


def values(tensor: torch.Tensor) -> Any:
    """What `tolist` gives, without whatever stands in for that method."""
    return torch._C.TensorBase.tolist(tensor)


def casts_on(autocast: Any) -> str | None:
    """The device whose operators an autocast casts for; `None` for one that turns it off."""
    return str(autocast.device) if autocast._enabled else None


def storage_number(tensor: torch.Tensor) -> int | None:
    """A number that tensors over the same data share; `None` for a layout without one storage."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):
        return None


def set_version(tensor: torch.Tensor, version: int) -> None:
    """Say that a tensor was written to `version` times: it was, but what was written is undone."""
    torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))


def fake_mode() -> Any:
    """A mode in which tensors have shapes, strides and devices but no data."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)


def fake_tensor(mode: Any, meta: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`meta` as a tensor of `mode` that says it is on `device`."""
    from torch._subclasses.fake_tensor import FakeTensor

    return FakeTensor(mode, meta, device)


def is_shaped_by_data(func: Any) -> bool:
    """Whether values may decide the shape of what comes out."""
    return torch.Tag.dynamic_output_shape in func.tags


def tells_values(func: Any) -> bool:
    """Whether what comes out is a value, or has a shape, that Python can act on."""
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags


def unknown_data(error: Exception) -> str | None:
    """What a fake tensor could not tell, if that is what the error is about."""
    by_name = {"DataDependentOutputException": VALUE_BY_DATA, "DynamicOutputShapeException": SHAPE_BY_DATA}
    return by_name.get(type(error).__name__)


def widest_float(device: torch.device) -> torch.dtype:
    """What sums of many numbers are made in there: doubles, which mps does not have."""
    return torch.float32 if device.type == "mps" else torch.float64


def wraps_tensors(kind: type) -> bool:
    """Whether a tensor class runs each operator by others, on the tensors that it is made of."""
    return hasattr(kind, "__tensor_flatten__")


def inner(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The plain tensors that a tensor is made of: itself, but for a class that wraps others."""
    if not hasattr(type(tensor), "__tensor_flatten__"):
        return [tensor]
    found, pending = [], [tensor]
    while pending:
        each = pending.pop()
        if hasattr(type(each), "__tensor_flatten__"):
            pending.extend(getattr(each, name) for name in reversed(each.__tensor_flatten__()[0]))  # type: ignore[attr-defined]
        else:
            found.append(each)
    return found


def is_distributed(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a DTensor, which is spread over processes; that class need not be imported to ask."""
    return hasattr(tensor, "_local_tensor")


def local_part(tensor: Any) -> torch.Tensor:
    """What this process holds of a DTensor."""
    part: torch.Tensor = tensor._local_tensor
    return part


def processes(tensor: Any) -> int:
    """How many processes a DTensor is spread over."""
    return int(tensor.device_mesh.size())


def distributed(like: Any, local: torch.Tensor) -> torch.Tensor:
    """A DTensor placed as `like` is, which is one or the spec of one, with `local` as the part of this process."""
    from torch.distributed.tensor import DTensor

    stride = like.stride() if callable(like.stride) else like.stride
    return DTensor.from_local(
        local, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=stride
    )


def is_spread(kind: type) -> bool:
    """Whether a tensor class is DTensor."""
    return hasattr(kind, "_op_dispatcher")


@contextmanager
def unseen_placement() -> Iterator[None]:
    """Whatever DTensors compute to find out where their results go runs under no dispatch mode: it is no part of a
    forward, and only the first time does it at all."""
    held = sys.modules.get("torch.distributed.tensor")
    if held is None:
        yield
        return
    dispatcher = getattr(held.DTensor, "_op_dispatcher", None)
    name = "_propagate_op_sharding_dispatch_slow_path"
    found, before = getattr(dispatcher, name, None), getattr(dispatcher, "__dict__", {}).get(name)
    if found is None:  # in another torch
        yield
        return

    def propagate(*args: Any, **kwargs: Any) -> Any:
        with alone():
            return found(*args, **kwargs)

    setattr(dispatcher, name, propagate)
    try:
        yield
    finally:
        delattr(dispatcher, name)
        if before is not None:  # a trace within a trace
            setattr(dispatcher, name, before)


def leave_group(module: torch.nn.Module) -> None:
    """Let a DistributedDataParallel call what it wraps and nothing else: no buffer is broadcast, and its reducer does
    not learn of a forward. Writes to the module's `__dict__`."""
    parallel = getattr(sys.modules.get("torch.nn.parallel.distributed"), "DistributedDataParallel", None)
    if parallel is not None and isinstance(module, parallel):
        module.__dict__["_use_python_reducer"] = True


def fsdp_state(module: torch.nn.Module) -> Any | None:
    """What `fully_shard` keeps of a module; `None` for any other module."""
    held = sys.modules.get("torch.distributed.fsdp._fully_shard._fsdp_state")
    return None if held is None else held._get_module_fsdp_state(module)


def fsdp_parameters(state: Any) -> Iterator[tuple[torch.Tensor, tuple[int, ...], torch.dtype, Any]]:
    """Each parameter that it shards, with the shape and element type of what a forward sees, and how that is spread
    where it is a DTensor still (`device_mesh` and `placements`), else `None`."""
    wanted = state._mp_policy.param_dtype
    for group in state._fsdp_param_groups:
        for each in group.fsdp_params:
            own = each.sharded_param.dtype
            seen = wanted if wanted and own.is_floating_point else own
            spread = each._unsharded_dtensor_spec if each.is_dtensor else None
            yield each.sharded_param, tuple(each._orig_size), seen, spread


class Flattened(NamedTuple):
    """A parameter that a FullyShardedDataParallel keeps in a flat one: where it belongs, and as a forward sees it."""

    owner: torch.nn.Module
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


class Flat(NamedTuple):
    """What a FullyShardedDataParallel wraps, the parameters in its flat one, of which this process may hold no more
    than a part, and the element type that it casts to what a forward gets."""

    wrapped: torch.nn.Module
    held: torch.Tensor | None
    parameters: tuple[Flattened, ...]
    sharded: bool
    cast: torch.dtype | None
    length: int = 0


def flat(module: torch.nn.Module, *, outermost: bool = True) -> Flat | None:
    """What there is to know of a FullyShardedDataParallel; `None` for any other module."""
    file = sys.modules.get("torch.distributed.fsdp.fully_sharded_data_parallel")
    kind: Any = getattr(file, "FullyShardedDataParallel", None)
    if kind is None or not isinstance(module, kind):
        return None
    whole: Any = module
    policy = whole.mixed_precision
    casts = policy.cast_root_forward_inputs if outermost else policy.cast_forward_inputs
    handle = whole._handle
    held = None if handle is None else handle.flat_param
    if held is None:
        return Flat(whole._fsdp_wrapped_module, None, (), False, policy.param_dtype if casts else None)
    seen = policy.param_dtype if policy.param_dtype and held.is_floating_point() else held.dtype
    own = [
        Flattened(info.module, info.param_name, tuple(shape), seen)
        for info, shape in zip(held._param_infos, held._shapes, strict=True)
    ]
    of = {(id(each.owner), each.name): each for each in own}
    for info in held._shared_param_infos:
        first = of[id(info.prim_module), info.prim_param_name]
        own.append(Flattened(info.module, info.param_name, first.shape, first.dtype))
    sharded = handle.uses_sharded_strategy and handle.world_size > 1
    length = held._unpadded_unsharded_size.numel()
    return Flat(whole._fsdp_wrapped_module, held, tuple(own), sharded, policy.param_dtype if casts else None, length)


def fsdp_casts(state: Any) -> tuple[torch.dtype | None, torch.dtype | None]:
    """The element types that FSDP casts floating inputs and outputs of a forward to."""
    policy = state._mp_policy
    return (policy.param_dtype if policy.cast_forward_inputs else None), policy.output_dtype


def cast(value: Any, dtype: torch.dtype | None) -> Any:
    """A nested value with its floating tensors of another type."""
    from torch.utils._pytree import tree_map_only

    if dtype is None:
        return value
    return tree_map_only(torch.Tensor, lambda each: each.to(dtype) if each.is_floating_point() else each, value)


def packed_convolution(held: torch.ScriptObject) -> torch.Tensor | None:
    """The weight of a convolution as torch.ao packs it: no shape of its inputs and outputs tells the kernel. `None` for
    any other object. Raises as `packed` does."""
    if held._type().name() not in ("Conv2dPackedParamsBase", "Conv3dPackedParamsBase"):  # type: ignore[attr-defined]
        return None
    found = (each for each in packed(held) if isinstance(each, torch.Tensor) and each.is_quantized)
    return next(found, None)


def packed(held: Any) -> Iterator[Any]:
    """Whatever an object of torch.ao is packed of, in order. Raises `RuntimeError` where it is packed for an engine
    that this build does not have."""
    pending = [held.__getstate__()]
    while pending:
        each = pending.pop()
        if isinstance(each, tuple | list):
            pending.extend(reversed(each))
        else:
            yield each


def is_sparse(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds only the elements that it names."""
    return tensor.layout not in (torch.strided, torch._mkldnn)  # type: ignore[attr-defined]


def is_fake(tensor: Any) -> bool:
    """Whether a tensor belongs to a fake mode; fake tensors need not be imported to ask."""
    return hasattr(tensor, "fake_mode")


def bare_shape(tensor: torch.Tensor) -> torch.Size:
    """The shape below any Python override: lazy parameters refuse to tell theirs."""
    with torch._C.DisableTorchFunctionSubclass():
        shape: torch.Size = torch._C.TensorBase.shape.__get__(tensor)  # type: ignore[attr-defined]
        return shape


@contextmanager
def quiet() -> Iterator[None]:
    """No log lines about operators that fail on the way to the mode that works; no value checks of distributions
    (they read data). Both switches are put back."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    disabled = logger.disabled
    checks = torch.distributions.Distribution._validate_args
    try:
        logger.disabled = True
        torch.distributions.Distribution.set_default_validate_args(False)
        yield
    finally:
        logger.disabled = disabled
        torch.distributions.Distribution.set_default_validate_args(checks)


@contextmanager
def choosing_as_on_cpu(refuse: Callable[[str], BaseException]) -> Iterator[None]:
    """Where what an operator is made of depends on the device, tensors on meta take the way of those on a CPU, as long
    as autograd takes part.

    Attention asks the kernels of the device which of them fits; tensors without a device are taken apart into products.
    Recurrent layers have kernels of their own on a CPU, which tensors on meta do not come to: what `refuse` returns is
    raised.
    """

    def by_device(*args: Any, **kwargs: Any) -> Any:
        raise refuse("the kernel of a recurrent layer depends on the device")

    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    try:
        library.impl("scaled_dot_product_attention", _attention, "AutogradMeta")
        for name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
            for overload in ("input", "data"):
                library.impl(f"{name}.{overload}", by_device, "AutogradMeta")
        yield
    finally:
        library._destroy()


def _unwritten(tensor: torch.Tensor) -> torch.Tensor:
    """One like it on a CPU: as nobody writes to it, it takes no memory."""
    return torch.empty_strided(
        tensor.shape, tensor.stride(), dtype=tensor.dtype, requires_grad=tensor.requires_grad
    )  # fmt: skip


_FLASH = 1  # sdp::SDPBackend::flash_attention


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    options: dict[str, Any] = {"scale": scale, "enable_gqa": enable_gqa}
    with torch._C._DisableTorchDispatch():
        like: list[Any] = [t if t is None else _unwritten(t) for t in (query, key, value, attn_mask)]
        choose: Any = torch._fused_sdp_choice
        chosen = choose(*like, dropout_p, is_causal, **options)
    if chosen != _FLASH:
        whole = torch.ops.aten.scaled_dot_product_attention.default
        return whole.decompose(query, key, value, attn_mask, dropout_p, is_causal, **options)
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        never = torch.full((), -torch.inf, dtype=query.dtype, device=attn_mask.device)
        attn_mask = torch.where(attn_mask, 0.0, never)
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return flash(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]

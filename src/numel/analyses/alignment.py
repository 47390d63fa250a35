"""Which module of one model is which of another: by name from the top down, and where names do not help, by what is in
them. Prefixes and wrappers are seen through, renamed and shifted blocks are found by their structure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from numel.facts import ONE_VALUE, ModuleRecord, Snapshot, TensorRecord, above_of

# parts of paths that only wrap what they hold: torch.compile, FSDP, checkpointing, peft; "module", of DataParallel and
# DDP, is one where there is nothing beside it
WRAPPERS = frozenset({
    "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer", "modules_to_save",
})  # fmt: skip
# whose classes do nothing but wrap: DataParallel and DDP, FSDP and CheckpointWrapper, OptimizedModule, AveragedModel. A
# class of the user's own under the same names has a forward of its own
_WRAPPING = (
    "torch.nn.parallel.", "torch.distributed.", "torch._dynamo.", "torch.optim.swa_utils.", "accelerate.", "apex.",
    "deepspeed.", "fairscale.", "lightning.", "megatron.", "peft.", "pytorch_lightning.", "timm.utils.", "torch_xla.",
)  # fmt: skip
_DEPTH = 3  # levels below either root at which the other's root may be
_CELLS = 4_000_000  # of the table that aligns the children of two modules by order; more are paired by name alone


def unwrapped(path: str) -> str:
    """A path without the parts that only wrap what they hold.

    >>> unwrapped("_orig_mod.module.0.weight")
    '0.weight'
    """
    return ".".join(part for part in path.split(".") if part != "module" and part not in WRAPPERS)


@dataclass(slots=True)
class Node:
    """A module with what is directly in it, by name. `path` is its own, with all wrappers, `name` what it is called in
    the module above."""

    path: str
    name: str
    type: str
    is_sequence: bool = False
    tensors: dict[str, TensorRecord] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)
    form: int = 0  # equal for modules of the same tensors and children; 0 where there are none
    content: int = 0  # the same with their values, where these are known; below zero where they tell nothing apart


Shapes = dict[str, tuple[int, ...] | None]
Pairs = list[tuple[Node, Node]]
Likeness = Callable[[Node], object]


@dataclass(frozen=True, slots=True)
class Alignment:
    """Pairs of paths and of tensors, `None` where the other model has nothing there. `prefixes` are the modules that
    stand for each other as roots, `shifted` the pairs of modules under two names, without what is in them; `by_name`
    are modules of too many children to look for those under other names. `reordered` are sequences that hold the same
    names in another order: where each is in the second model, and the names from the first to the last that lies
    elsewhere, in the order of either."""

    modules: tuple[tuple[str | None, str | None], ...]
    tensors: tuple[tuple[TensorRecord | None, TensorRecord | None], ...]
    prefixes: tuple[str, str] = ("", "")
    shifted: tuple[tuple[str, str], ...] = ()
    by_name: tuple[str, ...] = ()
    reordered: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = ()

    @property
    def how(self) -> str:
        """In words."""
        words = []
        if self.prefixes[0] != self.prefixes[1]:
            first, second = (prefix or "the root" for prefix in self.prefixes)
            words.append(f"{first} of the first is {second} of the second")
        if self.shifted:
            words.append(f"{len(self.shifted)} modules found under other names by what is in them")
        if self.by_name:
            where = self.by_name[0] or "the root"
            words.append(f"too many modules in {where} to look for those under other names: paired by name alone")
        return "; ".join(words) or "by path"


def aligned(first: Snapshot, second: Snapshot, marks: Sequence[Mapping[str, str]] = ()) -> Alignment:
    """The modules and tensors of both, each in one pair, in the order of the first with the second's between. `marks`
    stand for the values of the tensors of each, by path: blocks of one shape are told apart by them.

    >>> from numel.facts import ModuleRecord, dtype
    >>> def net(*names):
    ...     return Snapshot(tuple(ModuleRecord(n, "M") for n in ("", *names)),
    ...                     tuple(TensorRecord(f"{n}.w", (2,), dtype("f32")) for n in names))
    >>> aligned(net("a", "b"), net("a", "c")).how
    '1 modules found under other names by what is in them'
    """
    forms: dict[object, int] = {}
    one, other = _tree(first, forms), _tree(second, forms)
    for root, values in zip((one, other), marks, strict=False):
        _number(root, forms, values)
    start, end = _roots(one, other)
    modules: list[tuple[str | None, str | None]] = []
    tensors: list[tuple[TensorRecord | None, TensorRecord | None]] = []
    shifted: list[tuple[str, str]] = []
    by_name: list[str] = []
    reordered: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
    for side, (root, same) in enumerate(((one, start), (other, end))):
        if root is not same:  # what is around it is in one of them only
            _alone(root, side, modules, tensors, without=same)
    pending: list[tuple[Node, Node]] = [(start, end)]
    while pending:
        a, b = pending.pop()
        x, y = _wrapped(b, a) or a, _wrapped(a, b) or b
        if (x, y) != (a, b):  # what is around it is in one of them only
            _alone(a if y is b else b, 0 if y is b else 1, modules, tensors, without=x if y is b else y)
            shifted.append((x.path, y.path))
            a, b = x, y
        modules.append((a.path, b.path))
        names = dict.fromkeys([*a.tensors, *b.tensors])
        tensors += [(a.tensors.get(name), b.tensors.get(name)) for name in names]
        found = _children(a, b)
        if found is None:
            by_name.append(a.path)
            found = _named(a, b)
        if a.is_sequence and b.is_sequence:  # which run what they hold in its order
            kept = {x.name for x, y in found if x.name == y.name}
            before, after = (tuple(name for name in held.children if name in kept) for held in (a, b))
            apart = [i for i, (name, other) in enumerate(zip(before, after, strict=True)) if name != other]
            if apart:
                part = slice(apart[0], apart[-1] + 1)
                reordered.append((b.path, before[part], after[part]))
        used = {id(node) for pair in found for node in pair}
        shifted += [(x.path, y.path) for x, y in found if x.name != y.name]
        for side, held in enumerate((a, b)):
            for node in held.children.values():
                if id(node) not in used:
                    _alone(node, side, modules, tensors)
        pending.extend(reversed(found))
    prefixes = start.path, end.path
    return Alignment(tuple(modules), tuple(tensors), prefixes, tuple(shifted), tuple(by_name), tuple(reordered))


def _tree(snapshot: Snapshot, forms: dict[object, int]) -> Node:
    """The modules as nodes, wrappers left out: what they hold stands in their place. A class that is not known, as in a
    file, may be one."""
    types = {module.path: module.type for module in snapshot.modules}
    root = Node("", "", "")
    held: dict[str, Node] = {"": root}
    inside = _inside(snapshot)
    taken: dict[int, set[str]] = {id(root): set(inside[""])}  # the names in a node, also those of what it wraps
    aboves = snapshot.above()
    for module in snapshot.modules:
        path = module.path
        if not path:
            root.type, root.is_sequence = class_of(module), _is_sequence(module)
            continue
        above = aboves[path]
        own = path[len(above) + 1 :] if above else path
        node = held[above]
        names = taken[id(node)]
        beside = names - {own}
        alone = (own in WRAPPERS and not beside & inside[path]) or (own == "module" and not beside)
        if alone and (not types.get(above) or types[above].startswith(_WRAPPING)):
            held[path] = node
            names.discard(own)
            names |= inside[path]
            node.path, node.type = path, class_of(module)  # what is wrapped says what it is
            node.is_sequence = _is_sequence(module)
            continue
        child = node.children[own] = held[path] = Node(path, own, class_of(module), _is_sequence(module))
        taken[id(child)] = set(inside[path])
    for tensor in snapshot.tensors:
        above = above_of(tensor.path, held)
        held[above].tensors[tensor.path[len(above) + 1 :] if above else tensor.path] = tensor
    _number(root, forms)
    return root


def class_of(module: ModuleRecord) -> str:
    """The name of its class, without what `fully_shard` has mixed into it (FSDP2).

    >>> class_of(ModuleRecord("", "torch.distributed.fsdp._fully_shard._fsdp_init.FSDPLinear"))
    'Linear'
    """
    return module.class_name.removeprefix("FSDP") if is_sharded(module) else module.class_name


def is_sharded(module: ModuleRecord) -> bool:
    """Whether its class is another one with FSDP2 mixed in."""
    return module.type.startswith("torch.distributed.fsdp._fully_shard.") and module.class_name.startswith("FSDP")


def _is_sequence(module: ModuleRecord) -> bool:
    return class_of(module) == "Sequential" or ("in_order", True) in module.attributes


def _inside(snapshot: Snapshot) -> dict[str, set[str]]:
    """The names of modules and tensors directly in each module."""
    inside: dict[str, set[str]] = {path: set() for path in ("", *(module.path for module in snapshot.modules))}
    for path, above in snapshot.above().items():
        if path:
            inside[above].add(path[len(above) + 1 :] if above else path)
    for tensor in snapshot.tensors:
        above = above_of(tensor.path, inside)
        inside[above].add(tensor.path[len(above) + 1 :] if above else tensor.path)
    return inside


def _number(root: Node, forms: dict[object, int], marks: Mapping[str, str] | None = None) -> None:
    """Number each node by its structure, from the leaves up, or with `marks` by its values; both models share the
    numbers. What a file does not hold (modules without tensors, and what is not saved) does not count."""
    order, pending = [], [root]
    while pending:
        node = pending.pop()
        order.append(node)
        pending.extend(node.children.values())
    for node in reversed(order):
        held = {name: tensor for name, tensor in node.tensors.items() if tensor.persistent}
        below = sorted((name, child.form if marks is None else child.content) for name, child in node.children.items()
                       if child.form)  # fmt: skip
        if marks is None:
            shapes = sorted((name, tensor.shape or ()) for name, tensor in held.items())
            node.form = forms.setdefault((*shapes, None, *below), len(forms) + 1) if held or below else 0
        elif node.form and all(number for _, number in below) and all(t.path in marks for t in held.values()):
            values = sorted((name, marks[tensor.path]) for name, tensor in held.items())
            number = forms.setdefault((node.form, *values, None, *below), len(forms) + 1)
            telling = any(mark != ONE_VALUE for _, mark in values) or any(each > 0 for _, each in below)
            node.content = number if telling else -number


def _roots(one: Node, other: Node) -> tuple[Node, Node]:
    """The two nodes whose tensors agree most, of those near the tops; the tops themselves where others do no better."""
    first, second = _below(one), _below(other)
    best = (one, other, _agreement(first, second))
    if best[2] < min(len(first), len(second)):  # not even half of what it could be: 2 for each tensor
        for node in _near(other):
            score = _agreement(first, _below(node))
            if score > best[2]:
                best = one, node, score
        for node in _near(one):
            score = _agreement(_below(node), second)
            if score > best[2]:
                best = node, other, score
    return best[0], best[1]


def _near(root: Node) -> list[Node]:
    found, level = [], [root]
    for _ in range(_DEPTH):
        level = [child for node in level for child in node.children.values()][:200]
        found += level
    return found


def _below(root: Node) -> Shapes:
    """Shapes of all tensors by their path from here."""
    shapes: Shapes = {}
    pending = [("", root)]
    while pending:
        before, node = pending.pop()
        for name, tensor in node.tensors.items():
            shapes[before + name] = tensor.shape
        pending.extend((f"{before}{name}.", child) for name, child in node.children.items())
    return shapes


def _agreement(one: Shapes, other: Shapes) -> int:
    """One for each name that both have, and one more where the shape is the same, too."""
    both = one.keys() & other.keys()
    return len(both) + sum(one[name] == other[name] for name in both)


def _wrapped(bare: Node, around: Node) -> Node | None:
    """What is in the one and stands for the other, as the layer in an adapter that was written by hand: the only child
    of the same structure and class."""
    if not bare.form or bare.form == around.form:
        return None
    found = [child for child in around.children.values() if child.form == bare.form and child.type == bare.type]
    return found[0] if len(found) == 1 else None


def _alone(
    node: Node, side: int, modules: list[tuple[str | None, str | None]],
    tensors: list[tuple[TensorRecord | None, TensorRecord | None]], without: Node | None = None,
) -> None:  # fmt: skip
    """A module that only one model has, with all that is in it."""
    pending = [node]
    while pending:
        each = pending.pop()
        if each is without:
            continue
        modules.append((each.path, None) if side == 0 else (None, each.path))
        tensors += [(t, None) if side == 0 else (None, t) for t in each.tensors.values()]
        pending.extend(reversed(each.children.values()))


def _named(a: Node, b: Node) -> Pairs:
    """Children of the same name."""
    return [(child, b.children[name]) for name, child in a.children.items() if name in b.children]


def _children(a: Node, b: Node) -> Pairs | None:
    """Pairs of what is in two modules; `None` where there is too much to look for those under other names."""
    by_name = _named(a, b)
    by_value = _by_value(a, b, by_name) if _is_numbered(a) and _is_numbered(b) else None  # a name says more than values
    if by_value is not None:
        return _with_renamed(by_value, _rest(a, by_value), _rest(b, by_value))
    alike = _likeness([*a.children.values(), *b.children.values()])
    if (a.form and a.form == b.form) or _score(by_name, alike) == 3 * min(len(a.children), len(b.children)):
        left, right = _rest(a, by_name), _rest(b, by_name)
        return by_name if not left or not right else _with_renamed(by_name, left, right)
    by_order = _in_order(list(a.children.values()), list(b.children.values()), alike)
    if by_order is None:
        return None
    numbered = _is_numbered(a) and _is_numbered(b)
    bonus = 0 if numbered else 2  # a name says more than a number
    if _score(by_order, alike, bonus) > _score(by_name, alike, bonus):
        if numbered:  # what lies between two pairs is what has changed there
            by_order = _filled(by_order, a, b)
        return _with_renamed(by_order, _rest(a, by_order), _rest(b, by_order))
    return _with_renamed(by_name, _rest(a, by_name), _rest(b, by_name))


def _by_value(a: Node, b: Node, by_name: Pairs) -> Pairs | None:
    """Children that hold the same values, with those of one class between those that are in the order of both; `None`
    where as many hold them under their names."""
    same = sum(x.content == y.content > 0 for x, y in by_name)
    left, right = ([child for child in node.children.values() if child.content > 0] for node in (a, b))
    if not left or not right or same == min(len(left), len(right)):
        return None
    in_order = _in_order(left, right, lambda node: node.content)
    if in_order is None:
        return None
    elsewhere: Pairs = []  # in another order
    waiting: dict[int, list[Node]] = {}
    for node in reversed(_without(right, in_order)):
        waiting.setdefault(node.content, []).append(node)
    for node in _without(left, in_order):
        if waiting.get(node.content):
            elsewhere.append((node, waiting[node.content].pop()))
    if len(in_order) + len(elsewhere) <= same:
        return None
    taken = {id(each) for pair in elsewhere for each in pair}
    between = [pair for pair in _filled(in_order, a, b) if not taken & {id(each) for each in pair}]
    return [*between, *elsewhere]


def _is_numbered(node: Node) -> bool:
    return all(name.isdigit() for name in node.children)


def _rest(node: Node, pairs: Pairs) -> list[Node]:
    used = {id(each) for pair in pairs for each in pair}
    return [child for child in node.children.values() if id(child) not in used]


def _likeness(nodes: Iterable[Node]) -> Likeness:
    """What is equal for two modules of one structure: the class counts where both sources know it."""
    typed = all(node.type for node in nodes)
    return lambda node: (node.form, node.type if typed else "")


def _score(pairs: Pairs, alike: Likeness, bonus: int = 0) -> int:
    """How well pairs fit: equal structure counts thrice, the same class once, and `bonus` the same name."""
    return sum(
        (3 if alike(x) == alike(y) else x.type == y.type) + (bonus if x.name == y.name else 0) for x, y in pairs
    )


def _in_order(left: Sequence[Node], right: Sequence[Node], alike: Likeness) -> Pairs | None:
    """The longest list of pairs of equal structure in the order of both, numbers kept where there is a choice; `None`
    where the table of all pairs would be too large."""
    one, other = [alike(node) for node in left], [alike(node) for node in right]
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    n, m = len(one) - start - end, len(other) - start - end
    if n * m > _CELLS:
        return None
    pairs = list(zip(left[:start], right[:start], strict=True))
    # how long the list is from each place on; rows from the last to the first
    lengths = [[0] * (m + 1)]
    for i in range(n - 1, -1, -1):
        below, row = lengths[-1], [0] * (m + 1)
        for j in range(m - 1, -1, -1):
            if one[start + i] == other[start + j]:
                row[j] = below[j + 1] + 1
            else:
                row[j] = below[j] if below[j] >= row[j + 1] else row[j + 1]
        lengths.append(row)
    lengths.reverse()
    i = j = 0
    while i < n and j < m:
        if one[start + i] == other[start + j]:
            pairs.append((left[start + i], right[start + j]))
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    if end:
        pairs += zip(left[-end:], right[-end:], strict=True)
    return pairs


def _filled(pairs: Pairs, a: Node, b: Node) -> Pairs:
    """The pairs with those of the same class between them."""
    left, right = list(a.children.values()), list(b.children.values())
    found: Pairs = []
    i = j = 0
    at = [{id(node): k for k, node in enumerate(side)} for side in (left, right)]
    for x, y in [*pairs, (None, None)]:
        k = len(left) if x is None else at[0][id(x)]
        n = len(right) if y is None else at[1][id(y)]
        between = zip(left[i:k], right[j:n], strict=False)
        found += [(p, q) for p, q in between if p.type == q.type and bool(p.form) == bool(q.form)]
        if x is not None and y is not None:
            found.append((x, y))
        i, j = k + 1, n + 1
    return found


def _with_renamed(pairs: Pairs, left: list[Node], right: list[Node]) -> Pairs:
    """The pairs, and of what is left those of other names that hold the same: in order, then wherever one structure is
    there once, then in order those that share half of their tensors at least."""
    left, right = ([node for node in nodes if node.form] for nodes in (left, right))
    if not left or not right:
        return pairs
    alike = _likeness([*left, *right])
    found = _in_order(left, right, alike) or []
    left, right = _without(left, found), _without(right, found)
    held = [{alike(node): node for node in nodes} for nodes in (left, right)]
    counts = [Counter(map(alike, nodes)) for nodes in (left, right)]
    found += [(node, held[1][form]) for form, node in held[0].items() if counts[0][form] == counts[1][form] == 1]
    left, right = _without(left, found), _without(right, found)
    for x, y in zip(left, right, strict=False):
        one, other = _held(x), _held(y)
        if 2 * (one & other).total() >= max(one.total(), other.total()) > 0:
            found.append((x, y))
    return [*pairs, *found]


def _without(nodes: list[Node], pairs: Pairs) -> list[Node]:
    used = {id(each) for pair in pairs for each in pair}
    return [node for node in nodes if id(node) not in used]


def _held(root: Node) -> Counter[object]:
    """How often a tensor of which name and shape is somewhere in a module."""
    found: Counter[object] = Counter()
    pending = [root]
    while pending:
        node = pending.pop()
        found.update((name, tensor.shape) for name, tensor in node.tensors.items())
        pending.extend(node.children.values())
    return found

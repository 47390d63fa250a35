"""Which module of one model is which of another: by name from the top down, and where names do not help, by what is in
them. Prefixes and wrappers are seen through, renamed and shifted blocks are found by their structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from numel.facts import Snapshot, TensorRecord

# parts of paths that only wrap what they hold: DDP and DataParallel at the root, torch.compile, FSDP, checkpointing,
# peft and torch.nn.utils.parametrize
_WRAPPERS = frozenset({
    "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer", "modules_to_save",
})  # fmt: skip
_DEPTH = 3  # levels below either root at which the other's root may be
_LCS = 4_000  # children of one module that are aligned by order; more only by name


@dataclass(slots=True)
class Node:
    """A module with what is directly in it, by the last part of the name. `path` is its own, with all wrappers."""

    path: str
    type: str
    tensors: dict[str, TensorRecord] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)
    form: int = 0  # equal for modules of the same tensors and children


@dataclass(frozen=True, slots=True)
class Alignment:
    """Pairs of paths and of tensors, `None` where the other model has nothing there. `prefixes` are the modules that
    stand for each other as roots, `shifted` the pairs of modules under two names, without what is in them."""

    modules: tuple[tuple[str | None, str | None], ...]
    tensors: tuple[tuple[TensorRecord | None, TensorRecord | None], ...]
    prefixes: tuple[str, str] = ("", "")
    shifted: tuple[tuple[str, str], ...] = ()

    @property
    def how(self) -> str:
        """In words."""
        words = []
        if any(self.prefixes):
            first, second = (prefix or "the root" for prefix in self.prefixes)
            words.append(f"{first} of the first is {second} of the second")
        if self.shifted:
            words.append(f"{len(self.shifted)} modules found under other names by what is in them")
        return "; ".join(words) or "by path"


def aligned(first: Snapshot, second: Snapshot) -> Alignment:
    """The modules and tensors of both, each in one pair, in the order of the first with the second's between.

    >>> from numel.facts import ModuleRecord, dtype
    >>> def net(*names):
    ...     return Snapshot(tuple(ModuleRecord(n, "M") for n in ("", *names)),
    ...                     tuple(TensorRecord(f"{n}.w", (2,), dtype("f32")) for n in names))
    >>> aligned(net("a", "b"), net("a", "c")).how
    '1 modules found under other names by what is in them'
    """
    forms: dict[object, int] = {}
    one, other = _tree(first, forms), _tree(second, forms)
    start, end, prefixes = _roots(one, other)
    modules: list[tuple[str | None, str | None]] = []
    tensors: list[tuple[TensorRecord | None, TensorRecord | None]] = []
    shifted: list[tuple[str, str]] = []
    for side, (root, same) in enumerate(((one, start), (other, end))):
        if root is not same:  # what is around it is in one of them only
            _alone(root, side, modules, tensors, without=same)
    pending: list[tuple[Node, Node]] = [(start, end)]
    while pending:
        a, b = pending.pop()
        modules.append((a.path, b.path))
        names = dict.fromkeys([*a.tensors, *b.tensors])
        tensors += [(a.tensors.get(name), b.tensors.get(name)) for name in names]
        pairs, left, right, moved = _children(a, b)
        shifted += [(x.path, y.path) for x, y in moved]
        for node in left:
            _alone(node, 0, modules, tensors)
        for node in right:
            _alone(node, 1, modules, tensors)
        pending.extend(reversed(pairs))
    return Alignment(tuple(modules), tuple(tensors), prefixes, tuple(shifted))


def _tree(snapshot: Snapshot, forms: dict[object, int]) -> Node:
    """The modules as nodes, wrappers left out: what they hold stands in their place."""
    nodes: dict[str, Node] = {"": Node("", "")}
    names: dict[str, tuple[str, ...]] = {"": ()}
    by_name: dict[tuple[str, ...], Node] = {(): nodes[""]}
    held: dict[str, Node] = {"": nodes[""]}
    aboves = snapshot.above()
    for module in snapshot.modules:
        path = module.path
        if not path:
            nodes[""].type = module.class_name
            continue
        above = aboves[path]
        own = path[len(above) + 1 :] if above else path
        if own in _WRAPPERS or (own == "module" and not above):
            held[path] = held[above]
            names[path] = names[above]
            held[path].path, held[path].type = path, module.class_name  # what is wrapped says what it is
            continue
        name = (*names[above], own)
        node = by_name.get(name)
        if node is None:
            node = by_name[name] = Node(path, module.class_name)
            held[above].children[own] = node
        names[path], held[path] = name, node
    for tensor in snapshot.tensors:
        above = tensor.module
        while above not in held:
            above = above.rpartition(".")[0]
        name_in = tensor.path[len(above) + 1 :] if above else tensor.path
        held[above].tensors.setdefault(name_in, tensor)
    _form(nodes[""], forms)
    return nodes[""]


def _form(root: Node, forms: dict[object, int]) -> None:
    """Number each node by its structure, from the leaves up; both models share the numbers."""
    order, pending = [], [root]
    while pending:
        node = pending.pop()
        order.append(node)
        pending.extend(node.children.values())
    for node in reversed(order):
        shapes = tuple((name, tensor.shape) for name, tensor in node.tensors.items())
        key = (shapes, tuple((name, child.form) for name, child in node.children.items()))
        node.form = forms.setdefault(key, len(forms))


def _roots(one: Node, other: Node) -> tuple[Node, Node, tuple[str, str]]:
    """The two nodes whose tensors agree most, of those near the tops; the tops themselves where others do no better."""
    best = (one, other, _agreement(_below(one), _below(other)))
    whole = max(1, min(len(_below(one)), len(_below(other))))
    if best[2] * 2 < whole:
        tensors = _below(one)
        for node in _near(other):
            score = _agreement(tensors, _below(node))
            if score > best[2]:
                best = one, node, score
        tensors = _below(other)
        for node in _near(one):
            score = _agreement(_below(node), tensors)
            if score > best[2]:
                best = node, other, score
    return best[0], best[1], (best[0].path, best[1].path)


def _near(root: Node) -> list[Node]:
    found, level = [], [root]
    for _ in range(_DEPTH):
        level = [child for node in level for child in node.children.values()][:200]
        found += level
    return found


def _below(root: Node) -> Mapping[str, tuple[int, ...] | None]:
    """Shapes of all tensors by their path from here."""
    shapes: dict[str, tuple[int, ...] | None] = {}
    pending = [("", root)]
    while pending:
        before, node = pending.pop()
        for name, tensor in node.tensors.items():
            shapes[before + name] = tensor.shape
        pending.extend((f"{before}{name}.", child) for name, child in node.children.items())
    return shapes


def _agreement(one: Mapping[str, object], other: Mapping[str, object]) -> int:
    return len(one.keys() & other.keys())


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


Pairs = list[tuple[Node, Node]]


def _children(a: Node, b: Node) -> tuple[Pairs, list[Node], list[Node], Pairs]:
    """Pairs of what is in two modules, what only the first has, only the second has, and the pairs of two names."""
    if a.form == b.form:  # nothing below differs in name or shape
        return list(zip(a.children.values(), b.children.values(), strict=True)), [], [], []
    same = {name for name in a.children if name in b.children}
    by_name = [(a.children[name], b.children[name]) for name in a.children if name in same]
    fits = _alike(by_name) == 2 * min(len(a.children), len(b.children))
    few = len(a.children) + len(b.children) <= _LCS
    if not fits and few and _numbered(a.children) and _numbered(b.children):
        by_order = _in_order(list(a.children.values()), list(b.children.values()))
        if _alike(by_order) > _alike(by_name):
            return _parted(a, b, by_order)
    pairs = list(by_name)
    left = [node for name, node in a.children.items() if name not in same]
    right = [node for name, node in b.children.items() if name not in same]
    if left and right and len(left) + len(right) <= _LCS:
        pairs += _in_order(left, right)
    return _parted(a, b, pairs)


def _parted(a: Node, b: Node, pairs: Pairs) -> tuple[Pairs, list[Node], list[Node], Pairs]:
    used = {id(node) for pair in pairs for node in pair}
    names = {id(node): name for held in (a.children, b.children) for name, node in held.items()}
    left = [node for node in a.children.values() if id(node) not in used]
    right = [node for node in b.children.values() if id(node) not in used]
    return pairs, left, right, [(x, y) for x, y in pairs if names[id(x)] != names[id(y)]]


def _numbered(children: Mapping[str, Node]) -> bool:
    return bool(children) and all(name.isdigit() for name in children)


def _alike(pairs: Pairs) -> int:
    """How well pairs fit: equal structure counts twice, the same class once."""
    return sum(2 if x.form == y.form else bool(x.type) and x.type == y.type for x, y in pairs)


def _in_order(left: Sequence[Node], right: Sequence[Node]) -> Pairs:
    """Pairs in the same order: of equal structure, and between those of the same class."""
    matcher = SequenceMatcher(None, [node.form for node in left], [node.form for node in right], autojunk=False)
    pairs: Pairs = []
    for tag, i, j, k, n in matcher.get_opcodes():
        if tag == "equal":
            pairs += [(x, y) for x, y in zip(left[i:j], right[k:n], strict=True) if x.tensors or x.children]
        elif tag == "replace":
            pairs += [(x, y) for x, y in zip(left[i:j], right[k:n], strict=False) if x.type and x.type == y.type]
    return pairs

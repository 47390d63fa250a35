"""What a model is and computes: frozen facts, and everything that is derived from them when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from numel import analyses, collector
from numel.document import Block, Callout, Cell, Chart, ChartKind, Document, Table
from numel.errors import SchemaError, ViewError
from numel.facts import (
    CallRecord,
    Histogram,
    ModuleRecord,
    Note,
    OpRecord,
    Phase,
    Snapshot,
    TensorRecord,
    Totals,
    Trace,
)
from numel.facts.codec import decode, decode_histograms, encode
from numel.facts.schema import SCHEMA
from numel.views import Viewable

if TYPE_CHECKING:
    from numel.analyses.active import Experts
    from numel.analyses.adapters import Adapters
    from numel.analyses.cost import Costs
    from numel.analyses.layers import Layer
    from numel.analyses.memory import Peak, Saved
    from numel.results.explanation import Explanation

View = Literal["layers", "tensors", "operators"]

_ALL_LEVELS = 1 << 30
_BARS = {"layers": "layer", "tensors": "tensor", "operators": "operator"}  # by what a bar stands for, if nobody says
_PAGE_COLUMNS = ("output_shape", "params", "share", "macs", "macs_share", "flops", "backward_flops", "saved_nbytes",
                 "nbytes", "dtype", "trainable", "tied_to", "trainable_params", "buffers", "unclassified", "packed",
                 "calls", "executed_macs", "elementwise", "activations", "activation_nbytes")  # fmt: skip

# what `by` takes beside the tree itself
_BY = ("layer", "depth", "type", "dtype", "operator", "tensor")


@dataclass(frozen=True, repr=False)
class Report(Viewable):
    """What a model is and, where inputs were given, what it computes.

    `snapshot` and `trace` are the facts; `view` says which table it shows first: the tree of `layers` (from
    `numel.summary`), the `tensors` (`numel.read`) or the `operators` (`numel.trace`). `histograms` are those of values,
    where they were read.

    >>> from numel.facts import ModuleRecord, Snapshot, TensorRecord, dtype
    >>> w = TensorRecord("fc.weight", (2, 3), dtype("f32"), trainable=True)
    >>> report = Report(Snapshot((ModuleRecord("", "Net"), ModuleRecord("fc", "Linear")), (w,)))
    >>> report.totals.params, report.macs, report.by("dtype").to_dict()["params"]
    (6, None, [6])
    """

    snapshot: Snapshot
    trace: Trace | None = None
    view: View = "layers"
    histograms: tuple[Histogram, ...] = ()

    # ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def totals(self) -> Totals:
        """Params, trainable, buffers, nbytes, tied ... of the whole model."""
        return self.snapshot.totals

    @cached_property
    def experts(self) -> tuple[Experts, ...]:
        """The layers of routed experts, each with how many of them a token meets and how that is known."""
        return analyses.active.experts(self.snapshot, self.trace)

    @property
    def active_params(self) -> int | None:
        """Parameters that one token meets: all, but for experts that are not chosen; `None` where that is unknown."""
        return analyses.active.active_params(self.snapshot, self.experts)

    @cached_property
    def embedding_params(self) -> int:
        """Those of look-up tables, positions included; an output head that is tied to one is that table."""
        return analyses.embedding.embedding_params(self.snapshot)

    @property
    def non_embedding_params(self) -> int:
        """All other parameters, an output head of its own included."""
        return self.totals.params - self.embedding_params

    @cached_property
    def adapters(self) -> Adapters:
        """What peft, or code with LoRA's names, added to the model."""
        return analyses.adapters.adapters(self.snapshot)

    @property
    def adapter_params(self) -> int:
        """Parameters of adapters; 0 where there are none."""
        return self.adapters.params

    @property
    def base_params(self) -> int:
        """Parameters that are no adapters."""
        return self.totals.params - self.adapters.params

    @cached_property
    def costs(self) -> Costs:
        """The work of the trace by module and by operator; all zero when nothing was traced."""
        return analyses.cost.Costs() if self.trace is None else analyses.cost.costs(self.snapshot, self.trace)

    @cached_property
    def backward(self) -> Costs | None:
        """The work of the backward pass, with what checkpointing computes again; `None` when none was traced."""
        return self._of_phases("backward", analyses.cost.BACKWARD)

    @cached_property
    def recompute(self) -> Costs | None:
        """The part of `backward` that checkpointing computes again."""
        return self._of_phases("backward", ("recompute",))

    @cached_property
    def optimizer(self) -> Costs | None:
        """The work of the optimizer's step, all of it the root's; `None` when none was traced."""
        return self._of_phases("optimizer", ("optimizer",))

    def _of_phases(self, asked: Phase, phases: tuple[Phase, ...]) -> Costs | None:
        if self.trace is None or asked not in self.trace.phases:
            return None
        return analyses.cost.costs(self.snapshot, self.trace, phases)

    @cached_property
    def saved_for_backward(self) -> Saved | None:
        """What autograd keeps, by module; `None` when no backward pass was traced."""
        if self.trace is None or "backward" not in self.trace.phases:
            return None
        return analyses.memory.saved(self.snapshot, self.trace)

    @cached_property
    def peak(self) -> Peak | None:
        """The most bytes that live at once in a training step, and when; `None` when no backward pass was traced."""
        if self.trace is None or "backward" not in self.trace.phases:
            return None
        return analyses.memory.peak(self.snapshot, self.trace)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """A row per module in preorder, with what is below it; the root's path is ""."""
        costs = None if self.trace is None else self.costs
        return analyses.layers.layers(self.snapshot, costs, self.backward, self.saved_for_backward)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates for the inputs given; `None` when nothing was traced, a lower bound unless `exact`."""
        return None if self.trace is None else self.costs.total.macs

    @property
    def flops(self) -> int | None:
        """2 × MACs."""
        return None if self.trace is None else self.costs.total.flops

    @property
    def backward_flops(self) -> int | None:
        """2 × MACs of the operators that the backward pass ran, with what it computed again; `None` when none was
        traced. What needs no gradient costs nothing here."""
        return None if self.backward is None else self.backward.total.flops

    @property
    def recompute_flops(self) -> int | None:
        """The part of `backward_flops` that checkpointing computes again."""
        return None if self.recompute is None else self.recompute.total.flops

    @property
    def saved_nbytes(self) -> int | None:
        """Bytes of the storages that autograd keeps for the backward pass, parameters and buffers left out; `None` when
        none was traced."""
        return None if self.saved_for_backward is None else self.saved_for_backward.nbytes

    @property
    def peak_nbytes(self) -> int | None:
        """The high-water mark of live bytes in a training step; `None` when no backward pass was traced."""
        return None if self.peak is None else self.peak.nbytes

    @property
    def peak_bounds(self) -> tuple[bool, bool]:
        """Whether the peak is a lower bound, and whether it may be more or less with other random values."""
        if self.backward is None or self.saved_for_backward is None:
            return False, False
        return analyses.summary.bounds(self.costs, self.backward, self.optimizer, self.saved_for_backward)

    @property
    def activation_nbytes(self) -> int:
        """Bytes of all new tensors that the operators put out; 0 when there are none, as when nothing was traced."""
        return self.costs.total.activation_nbytes

    @property
    def uncosted(self) -> Mapping[str, int]:
        """Operators without a formula and how often each was called."""
        return self.costs.uncosted

    @property
    def exact(self) -> bool:
        """False when a total is a lower bound and prints `≥`, or holds for one draw of random values and prints `≈`."""
        traced = (self.costs, self.backward, self.optimizer)
        sums = self.totals.exact and all(costs is None or costs.total.exact for costs in traced)
        return sums and (self.saved_for_backward is None or self.saved_for_backward.exact)

    @property
    def mode(self) -> str | None:
        """What the forward ran on: "meta", "fake" or "real"; `None` when nothing was traced."""
        return None if self.trace is None else self.trace.mode

    @property
    def batch(self) -> int | None:
        """How many samples the numbers are for, where inputs and output agree on their first size; else `None`."""
        return None if self.trace is None else analyses.summary.batch_size(self.trace)

    @cached_property
    def notes(self) -> tuple[Note, ...]:
        """Everything that qualifies the numbers."""
        costs = [each for each in (self.costs, self.backward, self.optimizer) if each is not None]
        said = analyses.summary.notes(self.snapshot, self.trace, costs, self.layers)
        return (*said, *analyses.active.notes(self.experts), *analyses.adapters.notes(self.adapters))

    @property
    def modules(self) -> tuple[ModuleRecord, ...]:
        """The module records of the snapshot."""
        return self.snapshot.modules

    @property
    def tensors(self) -> tuple[TensorRecord, ...]:
        """The tensor records of the snapshot."""
        return self.snapshot.tensors

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """The module calls of the trace, in order; none when nothing was traced."""
        return () if self.trace is None else self.trace.calls

    @property
    def ops(self) -> tuple[OpRecord, ...]:
        """The operators of the trace, in order; none when nothing was traced."""
        return () if self.trace is None else self.trace.ops

    # ── views ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def by(self, key: str) -> Table:
        """Sums by "layer", "depth", "type", "dtype", "operator", or every "tensor"; `.to_dict()` gives columns."""
        makers: dict[str, Callable[[], Table]] = {
            "layer": lambda: analyses.layers.table(self.layers),
            "depth": lambda: analyses.groups.by_depth(self.layers),
            "type": lambda: analyses.groups.by_type(self.layers),
            "dtype": lambda: analyses.params.by_dtype(self.snapshot),
            "operator": lambda: analyses.groups.by_operator(self.costs),
            "tensor": lambda: analyses.params.tensors(self.snapshot),
        }
        (name,) = analyses.arrange.chosen([key], makers, what="table")
        if name == "operator" and self.trace is None:
            raise ViewError("by operator: nothing was traced; give inputs, as in 'f32[1,3,224,224]'")
        return makers[name]()

    @collector.paused()
    def document(  # type: ignore[override]  # the options that this result takes
        self, *, by: str | Sequence[str] | None = None, depth: int | None = None,
        columns: str | Sequence[str] | None = None, sort: str | None = None, fold: bool = True,
        top: int | None = None, min_params: int | None = None,
    ) -> Document:  # fmt: skip
        """The blocks to draw. `by` names tables instead of the result's own first one; `depth`, `columns` (beside the
        name of each row), `sort` ("-macs": the largest first) and `fold` arrange that one. `top` and `min_params` keep
        the largest tensors; without `by` these are the table.

        Raises `ViewError` for a table, column or sort key that does not exist.
        """
        if depth is not None and depth < 0:
            raise ViewError(f"depth {depth}: expected 0 (the root alone) or more")
        largest = top is not None or min_params is not None
        names = self._tables(by, largest)
        for option, given, table in (
            ("depth", depth is not None, "layers"),
            ("fold", not fold, "layers"),
            ("top or min_params", largest, "tensor"),
        ):  # fmt: skip
            if given and table not in names:
                raise ViewError(f"{option} belongs to the table {table!r}; shown here: {', '.join(names)}")
        tables = []
        for name in names:
            mine = name == names[0]  # the first table is the one that is arranged
            if name == "layers":
                found = analyses.layers.tree(
                    self.snapshot, self.layers, depth=depth, fold=fold, columns=columns, sort=sort
                )
            else:
                found = self.by(name)
                if name == "tensor" and largest:
                    found = analyses.arrange.largest(found, "numel", top=top, at_least=min_params)
                if sort is not None and mine:
                    found = analyses.arrange.ordered(found, sort)
                if columns is not None and mine:
                    found = analyses.arrange.with_columns(found, columns, named=True)
            tables.append(replace(found, choosable=mine))
        return Document((analyses.summary.title(self.snapshot), *tables, self._totals(), *self.callouts()))

    @collector.paused()
    def whole(self, **display: Any) -> Document:
        """All there is to show, with pictures, for a page that folds and searches; with options, as `document` has it.

        The totals and what qualifies them come first, then the tree of all layers, drawn and as a table, the memory of
        a training step, work against size, sums, and how all of it was obtained.
        """
        if display:
            return self.document(**display)
        tree, charts = self._tree(), analyses.charts
        blocks: list[Block] = [analyses.summary.title(self.snapshot), self._totals(), *self.callouts()]
        if self.snapshot.modules:
            blocks += [*charts.telling(charts.nested(tree, "treemap")), tree]
        if self.view == "tensors" or not self.snapshot.modules:
            blocks.append(self.by("tensor"))
        if self.peak is not None and self.trace is not None and self.trace.events:
            blocks.append(self.chart("timeline"))
        if self.trace is not None:
            blocks += [*charts.telling(self.chart("scatter")), self.by("operator")]
        for key in ("type", "dtype"):
            table = self.by(key)
            blocks += [*charts.telling(charts.bar(table, value=None, sort=None, by=key), least=2), table]
        if self.histograms:
            blocks.append(self.chart("histogram"))
        return Document((*blocks, analyses.summary.obtained(self.snapshot, self.trace)))

    def chart(self, kind: ChartKind | None = None, **options: Any) -> Chart:
        """One picture: a `bar` for each "layer" (`by`: or "depth", "type", "dtype", "operator", "tensor"); a `treemap`,
        `icicle` or `sunburst` of the tree; a `scatter` of MACs against params; a `line` or an `area` along the model; a
        `heatmap` of types and depths; the `timeline` of memory in a training step; a `histogram` of values.

        `value` is the number to draw, "params" or "macs" unless another is named. A bar takes `sort`, a column or
        "order"; a nested kind takes `color`; a histogram takes the `path` of a tensor.
        Raises `ViewError` for what there is not, and where the result lacks what a kind needs.

        >>> from numel.facts import ModuleRecord, Snapshot, TensorRecord, dtype
        >>> w = TensorRecord("fc.weight", (2, 3), dtype("f32"), trainable=True)
        >>> report = Report(Snapshot((ModuleRecord("", "Net"), ModuleRecord("fc", "Linear")), (w,)))
        >>> report.chart("bar").title, report.chart("treemap").y
        ('Params by layer', ('params', 'nbytes'))
        """
        charts = analyses.charts
        if kind is None:
            kind = "bar"

        def bar(*, by: str = _BARS[self.view], value: str | None = None, sort: str | None = None) -> Chart:
            (name,) = analyses.arrange.chosen([by], _BY, what="table")
            table = charts.own(self.layers) if name == "layer" else self.by(name)
            return charts.bar(table, value=value, sort=sort, by=name)

        def nested(*, value: str | None = None, color: str | None = None) -> Chart:
            return charts.nested(self._tree(value, color), kind, value=value, color=color)

        def along(*, value: str | None = None) -> Chart:
            return charts.along(self.layers, kind, value=value)

        def timeline() -> Chart:
            if self.trace is None or self.peak is None or not self.trace.events:
                raise ViewError("timeline: no training step was traced; ask for one with backward")
            least, about = self.peak_bounds
            table = analyses.memory.timeline(self.snapshot, self.trace, at_least=least, about=about)
            return charts.timeline(table, self.peak)

        makers: dict[ChartKind, Callable[..., Chart]] = {
            "bar": bar,
            **dict.fromkeys(charts.NESTED, nested),
            "line": along,
            "area": along,
            "timeline": timeline,
            "scatter": lambda: charts.scatter(self.layers),
            "heatmap": lambda *, value=None: charts.heatmap(self.layers, value=value),
            "histogram": lambda *, path=None: charts.histogram(self.histograms, path),
        }
        return charts.made(makers, kind, options)

    def _tree(self, *asked: str | None) -> Table:
        """Every layer, none folded, with params, every other column that says something, and those asked for."""
        rows, known = self.layers, analyses.layers.is_known
        there = analyses.layers.telling(rows, _PAGE_COLUMNS)
        keys = [key for key in _PAGE_COLUMNS if key in there or key == "params" or (key in asked and known(rows, key))]
        return analyses.layers.tree(self.snapshot, rows, depth=_ALL_LEVELS, fold=False, columns=["path", "type", *keys])

    def _folding(self) -> Document:
        """The tree with all its levels, which a notebook can fold, equal layers as one."""
        return self.document(depth=_ALL_LEVELS) if self.view == "layers" else self.document()

    def _totals(self) -> Table:
        told_apart = analyses.summary.told_apart(self.snapshot, self.experts, self.embedding_params, self.adapters)
        return analyses.summary.totals(self.snapshot, self.trace, self.costs, told_apart, self._trained())

    def callouts(self) -> Sequence[Callout]:
        """What the reader should not miss: a forward that stopped, and the notes."""
        return [*analyses.summary.failure(self.trace), *analyses.summary.callouts(self.notes)]

    def _trained(self) -> Sequence[tuple[str, Cell]]:
        if self.backward is None or self.recompute is None or self.saved_for_backward is None or self.peak is None:
            return ()
        return analyses.summary.trained(
            self.costs, self.backward, self.recompute, self.optimizer, self.saved_for_backward, self.peak
        )

    def _tables(self, by: str | Sequence[str] | None, largest: bool) -> list[str]:
        if by is not None:
            return analyses.arrange.chosen(by, ("layers", *_BY), what="table")
        own = {"layers": "layers", "tensors": "tensor", "operators": "operator"}[self.view]
        return ["tensor" if largest else own]

    def explain(self, path: str | None = None) -> Explanation:
        """What made a row or a total: tensors, operators with their arithmetic, and the rows that add up to it.

        `path` is that of a layer or a tensor, a folded label ("layers.0–31"), a total by name ("params", "macs",
        "nbytes" ...), or `None` for the whole model, which is also told from other ways of counting.
        Raises `ViewError` for what there is not.
        """
        from numel.results.explanation import Explanation

        return Explanation(self, analyses.explain.find(self.snapshot, path))

    # ── saved ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def saved(self) -> Mapping[str, Any]:
        """Schema, facts and the numbers for scripts. Only `facts` are read back; the rest is derived from them."""
        return {
            "schema": SCHEMA,
            "kind": "report",
            "view": self.view,
            "target": self.snapshot.provenance.target,
            "totals": asdict(self.totals),
            "active_params": self.active_params,
            "embedding_params": self.embedding_params,
            "non_embedding_params": self.non_embedding_params,
            "adapter_params": self.adapter_params,
            "base_params": self.base_params,
            "macs": self.macs,
            "flops": self.flops,
            "executed_macs": None if self.trace is None else self.costs.total.executed_macs,
            "elementwise": None if self.trace is None else self.costs.total.elementwise,
            "activation_nbytes": self.activation_nbytes,
            "backward_flops": self.backward_flops,
            "recompute_flops": self.recompute_flops,
            "saved_nbytes": self.saved_nbytes,
            "peak_nbytes": self.peak_nbytes,
            "peak_by_category": None if self.peak is None else dict(self.peak.by_category),
            "exact": self.exact,
            "uncosted": dict(self.uncosted),
            "bounded": dict(self.costs.bounded),
            "batch": self.batch,
            "mode": self.mode,
            "notes": [asdict(note) for note in self.notes],
            "layers": [_row(layer) for layer in self.layers],
            "facts": self.facts(),
        }

    def facts(self) -> dict[str, Any]:
        """The part of a saved report that is read back."""
        return encode(self.snapshot, self.trace, self.histograms)

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any], where: str) -> Report:
        """The report again. Raises `SchemaError` for what `saved` did not write."""
        snapshot, trace = decode(saved["facts"], where)
        view = saved.get("view", "layers")
        if view not in get_args(View) or (view == "operators" and trace is None):
            raise SchemaError(f"{where}: view {view!r} does not fit its facts; expected what numel's save() wrote")
        return cls(snapshot, trace, view, decode_histograms(saved["facts"], where))


def _row(layer: Layer) -> dict[str, Any]:
    return {
        "path": layer.path,
        "type": layer.type,
        "params": layer.params,
        "trainable": layer.totals.trainable,
        "nbytes": layer.totals.nbytes,
        "macs": layer.macs,
        "flops": layer.flops,
        "backward_flops": layer.backward_flops,
        "saved_nbytes": layer.saved_nbytes,
        "calls": layer.calls,
        "input_shape": layer.input_shape,
        "output_shape": layer.output_shape,
        "tied_to": layer.tied_to,
        "exact": layer.exact,
    }

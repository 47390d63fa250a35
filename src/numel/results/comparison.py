"""What is different between two models or more, the first of which the others are compared with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from numel import analyses
from numel.analyses.alignment import Alignment
from numel.analyses.arrange import number
from numel.analyses.compare import Figure
from numel.analyses.conditions import Condition, parsed, verdict
from numel.document import Block, Callout, Cell, Document, Heading, Text, marked
from numel.document.table import about, at_least
from numel.errors import ViewError
from numel.facts import Change, Totals, ValueDifference, listed, plain
from numel.facts.codec import decode_differences, encode_differences
from numel.facts.schema import SCHEMA
from numel.results.report import Report
from numel.views import Viewable, takes_none

_TOP = 20  # layers that a screen shows
_TELLING = frozenset({"default-inputs", "sampled", "step-down"})  # notes without which numbers are read wrongly
_FIGURES = (
    ("params", "params", "count", "totals.params"), ("trainable", "trainable", "count", "totals.trainable"),
    ("active_params", "active params", "count", "active_params"), ("buffers", "buffers", "count", "totals.buffers"),
    ("unclassified", "of unknown role", "count", "totals.unclassified"), ("tied", "tied", "count", "totals.tied"),
    ("nbytes", "params and buffers size", "bytes", "totals.nbytes"), ("macs", "MACs", "ops", "macs"),
    ("flops", "FLOPs", "ops", "flops"), ("elementwise", "elementwise operations", "ops", "elementwise"),
    ("activation_nbytes", "activations size", "bytes", "activation_nbytes"),
    ("backward_flops", "backward FLOPs", "ops", "backward_flops"),
    ("saved_nbytes", "saved for backward", "bytes", "saved_nbytes"),
    ("peak_nbytes", "peak of live bytes", "bytes", "peak_nbytes"),
)  # fmt: skip
FIGURES = tuple(key for key, *_ in _FIGURES)
_OF_A_RUN = frozenset({"macs", "flops", "elementwise", "activation_nbytes"})
_OF_BACKWARD = frozenset({"backward_flops", "saved_nbytes", "peak_nbytes"})
_OF_MODULES = frozenset({"active_params", "nbytes"})  # what is the same for the same model, but not for its file


@dataclass(frozen=True, repr=False)
class Comparison(Viewable):
    """`reports` under their `names`; all that follow the first are compared with it. `metrics` are numbers that the
    user gave for each of them, as an accuracy. `values` are the differences of values for each after the first, where
    they were read, `unread` the paths of those that could not be, and `marks` stand for the values of each target.

    >>> from numel.facts import ModuleRecord, Snapshot, TensorRecord, dtype
    >>> def net(width):
    ...     weight = TensorRecord("fc.weight", (width, 3), dtype("f32"), trainable=True)
    ...     return Report(Snapshot((ModuleRecord("", "Net"), ModuleRecord("fc", "Linear")), (weight,)))
    >>> found = Comparison((net(2), net(4)), ("a", "b"))
    >>> found.identical, [(c.kind, c.path) for c in found.changes], [t.params for t in found.totals]
    (False, [('reshaped', 'fc.weight')], [6, 12])
    """

    reports: tuple[Report, ...]
    names: tuple[str, ...]
    metrics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    values: tuple[tuple[ValueDifference, ...], ...] = ()
    unread: tuple[tuple[str, ...], ...] = ()
    marks: tuple[Mapping[str, str], ...] = ()

    @property
    def totals(self) -> tuple[Totals, ...]:
        """Those of each target, in order."""
        return tuple(report.totals for report in self.reports)

    @cached_property
    def alignments(self) -> tuple[Alignment, ...]:
        """How each target after the first lies on it."""
        first = self.reports[0].snapshot
        return tuple(
            analyses.alignment.aligned(first, report.snapshot, self.marks and (self.marks[0], self.marks[i]))
            for i, report in enumerate(self.reports) if i
        )  # fmt: skip

    @cached_property
    def changes_by_target(self) -> tuple[tuple[Change, ...], ...]:
        """What is different in each target after the first."""
        first = self.reports[0].snapshot
        others = zip(self.reports[1:], self.alignments, strict=True)
        return tuple(analyses.compare.changes(first, report.snapshot, alignment) for report, alignment in others)

    @property
    def changes(self) -> tuple[Change, ...]:
        """All differences, target by target."""
        return tuple(change for found in self.changes_by_target for change in found)

    @property
    def identical(self) -> bool:
        """Whether nothing differs in what all sources know: no tensor, no module, no number that was traced. What is a
        lower bound, or about so much, is not known."""
        known = [cells for cells in self._comparable.values() if len(cells) > 1]
        proven = not any(at_least(cell) or about(cell) for cells in known for cell in cells)
        read = all(each.equal for found in self.values for each in found) and not any(self.unread)
        same = not self.changes and not self._unequal
        return same and proven and read and all(totals.exact for totals in self.totals)

    @property
    def _unequal(self) -> list[str]:
        """The titles of those numbers that equal models have in common, and these do not."""
        return [title for title, cells in self._comparable.items() if len({number(cell) for cell in cells}) > 1]

    @cached_property
    def _comparable(self) -> dict[str, list[Cell]]:
        """By title what has to be equal, where it is known: what was traced, and what a class or a storage says."""
        typed = [analyses.compare.is_typed(report.snapshot) for report in self.reports]
        found: dict[str, list[Cell]] = {}
        for figure in self.figures:
            if figure.key in _OF_A_RUN | _OF_BACKWARD | _OF_MODULES:
                cells = zip(figure.cells, typed, strict=True)
                counts = figure.key not in _OF_MODULES
                found[figure.title] = [cell for cell, sure in cells if cell is not None and (sure or counts)]
        return found

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """Every number that one of them has, side by side."""
        found = []
        unsaved = any(not tensor.persistent for report in self.reports for tensor in report.snapshot.tensors)
        for key, title, unit, name in _FIGURES:
            cells = tuple(_figure(report, key, name, unsaved) for report in self.reports)
            if any(cell is not None for cell in cells):
                found.append(Figure(key, title, unit, cells))  # type: ignore[arg-type]
        return (*found, *(analyses.compare.metric(name, values) for name, values in self.metrics.items()))

    def _shown(self) -> list[Figure]:
        """What a screen has of them: not what is zero everywhere, nor the active parameters where all are."""
        params = next(figure.cells for figure in self.figures if figure.key == "params")
        told = [figure for figure in self.figures if figure.better is not None or any(figure.cells)]
        told = [figure for figure in told if figure.key != "active_params" or figure.cells != params]
        dtypes = tuple(", ".join(sorted({t.dtype.name for t in report.snapshot.tensors})) for report in self.reports)
        return [*told, Figure("dtypes", "element types", "text", dtypes)]

    def document(self, **display: Any) -> Document:
        """Totals side by side; for two what changed, and which layers made the difference; for more who is best."""
        takes_none(display)
        compare = analyses.compare
        blocks: list[Block] = [Heading(" · ".join(self.names), 1)]
        if self.identical:
            also = " The values that were read are equal." if self.values else ""
            blocks.append(Text(f"No difference: the same modules, tensors, shapes and types.{also}"))
        elif not self.changes and not any(not each.equal for found in self.values for each in found):
            which = "both" if len(self.names) == 2 else "all"
            text = f"The same modules and tensors, but these differ: {', '.join(self._unequal)}."
            blocks.append(Text(text if self._unequal else f"No difference found in what is known of {which}."))
        blocks.append(compare.side_by_side(self.names, self._shown()))
        blocks += [*self._said(), *self._other_inputs()]
        for name, alignment, changes in zip(self.names[1:], self.alignments, self.changes_by_target, strict=True):
            of = f"{self.names[0]} and {name}" if len(self.names) > 2 else ""
            if alignment.how != "by path":
                blocks.append(Callout("note", f"{of}: {alignment.how}" if of else alignment.how, "aligned"))
            if changes:
                folded = compare.folded(changes, alignment.prefixes)
                blocks += [Heading(of, 2), compare.counted(changes)] if of else [folded]
        for i, (name, found, unread) in enumerate(zip(self.names[1:], self.values, self.unread, strict=False)):
            if unread:
                text = f"the values of {listed(unread)} could not be compared"
                blocks.append(Callout("warning", f"{name}: {text}" if len(self.names) > 2 else text, "values-unread"))
            if not self.identical:
                pairs = self.alignments[i].tensors
                alone = sum(x is None or y is None or x.shape != y.shape for x, y in pairs)
                title = name if len(self.names) > 2 else ""
                values = compare.values_table(found, title, top=_TOP, alone=alone)
                blocks.append(values if values.rows else Text(f"{values.title}: {values.caption}."))
        if len(self.reports) == 2:
            layers = compare.layers(self.reports[0].layers, self.reports[1].layers, self.alignments[0], top=_TOP)
            blocks += [layers] if layers.rows else []
        else:
            blocks.append(compare.pareto(self.names, self.figures))
        return Document(tuple(blocks))

    def _said(self) -> list[Block]:
        """What each target's own view would say of it: a forward that stopped, what is missing from its numbers. What
        is the same of several is said once."""
        whose: dict[Callout, list[str]] = {}
        for name, report in zip(self.names, self.reports, strict=True):
            for callout in report.callouts():
                if callout.kind in ("warning", "error") or callout.code in _TELLING:
                    whose.setdefault(callout, []).append(name)
        return [replace(callout, text=f"{' and '.join(names) if len(names) < 3 else f'{len(names)} targets'}: "
                        f"{callout.text}") for callout, names in whose.items()]  # fmt: skip

    def _other_inputs(self) -> list[Block]:
        """A warning for each target that ran with other inputs than the first, or in another mode."""
        first = self.reports[0].trace
        found: list[Block] = []
        for name, report in zip(self.names[1:], self.reports[1:], strict=True):
            if first is None or report.trace is None:
                continue
            if report.trace.inputs != first.inputs:
                text = "ran with other inputs than the first: what was traced differs for that, too"
                found.append(Callout("warning", f"{name} {text}", "other-inputs"))
            if report.trace.training != first.training:
                now, before = ("training" if each.training else "evaluation" for each in (report.trace, first))
                text = f"{name} ran in {now} mode, {self.names[0]} in {before} mode: what was traced differs for that"
                found.append(Callout("warning", text, "other-mode"))
        return found

    def whole(self, **display: Any) -> Document:
        """The same with pictures."""
        document, compare = self.document(**display), analyses.compare
        title, *rest = document.blocks
        blocks: list[Block] = [title, *compare.bars(self.names, self.figures), *rest]
        if len(self.reports) > 2:
            blocks += compare.trade(document.tables[-1], [f.key for f in self.figures if f.better is not None])
        for values in self.values if len(self.reports) == 2 else ():
            blocks.append(replace(compare.values_table(values), title="Values of every tensor"))
        for changes in self.changes_by_target if len(self.reports) == 2 else ():
            if changes:
                blocks.append(replace(compare.table(changes), title="Every change"))
                layers = compare.layers(self.reports[0].layers, self.reports[1].layers, self.alignments[0])
                blocks.append(replace(layers, title="Every layer that differs"))
        return Document(tuple(blocks))

    def _tabled(self, **display: Any) -> Document:
        """Of two targets whose values were read the difference of every tensor; else the totals."""
        if len(self.values) != 1:
            return super()._tabled(**display)
        takes_none(display)
        return Document((analyses.compare.values_table(self.values[0]),))

    def saved(self) -> Mapping[str, Any]:
        """The facts of every target, and the differences for scripts."""
        changes = [
            [{"kind": c.kind, "path": c.path, "before": c.before, "after": c.after} for c in found]
            for found in self.changes_by_target
        ]
        figures = {figure.key: [number(cell) for cell in figure.cells] for figure in self.figures}
        facts: dict[str, Any] = {
            "names": list(self.names),
            "metrics": {name: list(numbers) for name, numbers in self.metrics.items()},
            "reports": [{"view": report.view, "facts": report.facts()} for report in self.reports],
        }
        if self.values:
            facts["values"] = [encode_differences(found) for found in self.values]
            facts["unread"] = [list(paths) for paths in self.unread]
            facts["marks"] = [dict(held) for held in self.marks]
        return {"schema": SCHEMA, "kind": "comparison", "targets": list(self.names), "identical": self.identical,
                "figures": figures, "changes": changes, "facts": facts}  # fmt: skip

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any], where: str) -> Comparison:
        """The comparison again. Raises `SchemaError` for what `saved` did not write."""
        facts = saved["facts"]
        with plain.taken(where):
            names = tuple(plain.text(name) for name in plain.several(facts["names"]))
            metrics = {plain.text(name): tuple(map(float, numbers)) for name, numbers in facts["metrics"].items()}
            reports = tuple(Report.from_saved({"facts": each["facts"], **each}, where) for each in facts["reports"])
            values = tuple(decode_differences(each, where) for each in facts.get("values", ()))
            unread = tuple(tuple(plain.text(path) for path in paths) for paths in facts.get("unread", ()))
            fit = len(reports) == len(names) >= 2 and all(len(numbers) == len(names) for numbers in metrics.values())
            marks = tuple({path: plain.text(mark) for path, mark in held.items()} for held in facts.get("marks", ()))
            fit = fit and len(values) == len(unread) and len(marks) in (0, len(names))
            if not fit or len(values) not in (0, len(names) - 1):
                raise ValueError(f"{len(names)} names; expected as many reports and metrics")
        return cls(reports, names, metrics, values, unread, marks)

    def failing(self, conditions: Sequence[str]) -> list[str]:
        """Those of the conditions, as "params > +1%" or "macs > 5G", that hold for a target; each with its numbers.

        Raises `ViewError` for one that does not parse or names a number that is not known.
        """
        return [text for holds, text in self._verdicts(conditions) if holds]

    def undecided(self, conditions: Sequence[str]) -> list[str]:
        """Those of which nobody can tell, since a number is not known or a bound; each with its numbers. Raises as
        `failing` does."""
        return [text for holds, text in self._verdicts(conditions) if holds is None]

    def _verdicts(self, conditions: Sequence[str]) -> list[tuple[bool | None, str]]:
        found = []
        known = {figure.key: figure for figure in self.figures}
        for text in conditions:
            condition = _condition(text, known)
            figure = known[condition.key]
            for name, cell in zip(self.names[1:], figure.cells[1:], strict=True):
                said = verdict(condition, figure.cells[0], cell, figure.unit)
                found.append((said.holds, f"{name}: {said.text} ({text})"))
        return found


def checked(conditions: Sequence[str], metrics: Collection[str] = ()) -> None:
    """Raises `ViewError` for a condition that can not be one, before anything runs."""
    known = [*FIGURES, *(analyses.compare.metric(name).key for name in metrics)]
    for text in conditions:
        _condition(text, known)


def _condition(text: str, known: Collection[str]) -> Condition:
    condition = parsed(text)
    key = condition.key
    if key not in known:
        what = f"{key} is not known of these targets" if key in FIGURES else f"no number is called {key!r}"
        hint = "; it takes inputs (-i, --inputs)" if key in _OF_A_RUN else ""
        hint = "; it takes inputs and a backward pass (-i, --backward)" if key in _OF_BACKWARD else hint
        raise ViewError(f"{text!r}: {what}{hint}; known: {', '.join(known)}")
    return condition


def _figure(report: Report, key: str, name: str, unsaved: bool) -> Any:
    """`unsaved` says that another target has buffers that no file holds: a file's own are some of them then. Where the
    role of some tensors is not known, there may be more of each."""
    if key in ("trainable", "tied") and not analyses.compare.is_typed(report.snapshot):
        return None  # a file does not say
    more = report.totals.unclassified > 0 and key in ("params", "active_params", "buffers")
    if name.startswith("totals."):
        value = getattr(report.totals, name.removeprefix("totals."))
        some = unsaved and key in ("nbytes", "buffers") and not analyses.compare.is_typed(report.snapshot)
        return marked(value, "bytes" if key == "nbytes" else "count", at_least=some or more or not report.totals.exact)
    if key in ("macs", "flops", "elementwise", "activation_nbytes"):
        return None if report.trace is None else report.costs.total.cell(key)
    if key == "backward_flops":
        return None if report.backward is None else report.backward.total.cell("flops")
    if key == "saved_nbytes":
        return None if report.saved_for_backward is None else report.saved_for_backward.cell("")
    value = getattr(report, name)
    if key == "peak_nbytes" and value is not None:
        least, loose = report.peak_bounds
        return marked(value, "bytes", at_least=least, about=loose)
    return value if value is None or not more else marked(value, "count", at_least=True)

"""A member of every module of timm, and the best known ones: their MACs by two other counts, their params by two.

The figures in published_timm.csv are rows of `results/` in the repository huggingface/pytorch-image-models, at commit
aa4b585: of `benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv`, and for models that are newer or were changed since, of
`benchmark-infer-amp-nchw-pt291-cu128-4090.csv` (the last column says which). `param_count` is in millions, and
`infer_gmacs` is what fvcore counts for one image: MACs and a few operations beside them, see reference.py. With those
added, a figure is met to its last digit. The other count is torch's own, and is met exactly.

An entry that a published figure does not confirm is in `_FLAGGED`, with the reason.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

import numel  # noqa: E402
from oracle.operators import Operators, operators  # noqa: E402
from oracle.reference import Counted, counted  # noqa: E402

_FIGURES = Path(__file__).with_name("published_timm.csv")

# Of modules that are newer than the published tables; the size is that of timm's own configuration.
_UNPUBLISHED = ("cpubone_b0_bfrobust", "cspnext_s", "deepseek_vit_412m", "efficientvim_m1", "gemma4_vit_167m",
                "iformer_l", "lcnetv2_small", "lowformer_b0", "qwen3_vit_88m")  # fmt: skip

_FLAGGED = {
    **dict.fromkeys(_UNPUBLISHED, "no published figure: newer than the tables"),
    "convmixer_1024_20_ks9_p14": "published without the convolutions whose padding is 'same'",
    "sequencer2d_s": "published without the LSTMs",
    "shvit_s3": "published with batch norms folded into the convolutions before them",
}

# What runs in well under a second each, of all kinds; the others are `slow`.
_QUICK = {"convmixer_1024_20_ks9_p14", "convnext_atto", "cs3darknet_focus_s", "deit_tiny_patch16_224", "dla46x_c",
          "dpn48b", "efficientformer_l1", "gernet_s", "mixer_s32_224", "resnest14d", "resnet10t", "resnet50",
          "resnetv2_18", "selecsls42", "vgg11", "vit_base_patch16_224", "vit_small_patch32_224", "xception41p",
          "efficientvim_m1", "visformer_tiny", "cspnext_s"}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A model, the side of its image, and what is published for it: millions of parameters and GMACs, as printed."""

    name: str
    side: int
    params: float | None = None
    gmacs: float | None = None

    @property
    def inputs(self) -> str:
        return f"f32[1,3,{self.side},{self.side}]"

    def counted(self, build: Callable[[], Any]) -> Counted:
        return counted(build, torch.empty(1, 3, self.side, self.side, device="meta"))


@dataclass(frozen=True)
class Entry:
    """What numel says about a row, and what the others count."""

    params: int
    macs: int
    exact: bool
    operators: Operators
    reference: Counted


def _rows() -> list[Row]:
    with _FIGURES.open(encoding="utf-8", newline="") as file:
        rows = [Row(each["model"], int(each["infer_img_size"]), float(each["param_count"]),
                    float(each["infer_gmacs"]))
                for each in csv.DictReader(file)]  # fmt: skip
    rows += [Row(name, timm.get_pretrained_cfg(name).input_size[-1]) for name in _UNPUBLISHED]
    return sorted(rows, key=lambda row: row.name)


@cache
def _entry(row: Row) -> Entry:
    report = numel.summary(f"timm:{row.name}", row.inputs)
    reference = row.counted(lambda: timm.create_model(row.name))
    assert report.mode == "meta"
    assert report.macs is not None
    return Entry(report.totals.params, report.macs, report.exact, operators(report), reference)


def _params(rows: list[Row]) -> list[Any]:
    return [pytest.param(row, id=row.name, marks=() if row.name in _QUICK else pytest.mark.slow) for row in rows]


def _meets(row: Row, params: int, by_fvcore: int) -> bool:
    """Whether both counts, rounded to the hundredths that the tables print, are the published figures."""
    return (round(params / 1e6, 2), round(by_fvcore / 1e9, 2)) == (row.params, row.gmacs)


@pytest.mark.parametrize("row", _params(_rows()))
def test_params_and_macs_are_those_that_torch_itself_counts(row: Row):
    entry = _entry(row)
    assert entry.exact
    assert (entry.params, entry.macs) == (entry.reference.params, entry.reference.macs)


@pytest.mark.parametrize("row", _params([row for row in _rows() if row.name not in _FLAGGED]))
def test_the_published_figures_are_reproduced_to_the_last_digit(row: Row):
    """What fvcore counts beside MACs is taken from the reference, the MACs from numel."""
    entry = _entry(row)
    assert not entry.reference.unseen
    assert _meets(row, entry.params, _plain(entry))


@pytest.mark.parametrize("row", _params([row for row in _rows() if "published without" in _FLAGGED.get(row.name, "")]))
def test_a_published_figure_lacks_just_what_fvcore_has_no_rule_for(row: Row):
    entry = _entry(row)
    assert entry.reference.unseen > entry.macs // 20
    assert _meets(row, entry.params, _plain(entry) - entry.reference.unseen)


@pytest.mark.slow
def test_a_model_published_with_folded_batch_norms_has_that_figure_when_they_are_folded():
    (row,) = (row for row in _rows() if row.name == "shvit_s3")
    with torch.device("meta"):
        folded = timm.utils.reparameterize_model(timm.create_model(row.name).eval())
    report, reference = numel.summary(folded, row.inputs), row.counted(lambda: folded)
    assert (report.exact, report.totals.params, report.macs) == (True, reference.params, reference.macs)
    assert _meets(row, reference.params, reference.by_fvcore)
    assert _entry(row).params > report.totals.params


# ── the suite as a whole ─────────────────────────────────────────────────────────────────────────────────────────────


def test_every_module_of_timm_has_an_entry():
    names = {row.name for row in _rows()}
    assert [module for module in timm.list_modules() if not names & set(timm.list_models(module=module))] == []
    assert len(names) >= 100
    assert names >= {*_FLAGGED, *_QUICK}


@pytest.mark.slow
def test_every_entry_is_exact_or_flagged_with_the_reason(capsys: pytest.CaptureFixture[str]):
    """Exact: numel says so, torch's own count is the same, and the published figures are met. A flag that is not
    needed any more fails as well."""
    rows = _rows()
    agree = {row for row, entry in _entries() if entry.exact and entry.macs == entry.reference.macs}
    exact = {row.name for row, entry in _entries() if row in agree and _meets(row, entry.params, _plain(entry))}
    reasons = Counter(_FLAGGED.values())
    with capsys.disabled():
        print(f"\ntimm: {len(rows)} entries, {len(exact)} exact, {len(rows) - len(exact)} flagged")
        print(*(f"  {times} {reason}" for reason, times in reasons.most_common()), sep="\n")
    assert {row.name for row in rows} - exact == set(_FLAGGED)
    assert len(agree) == len(rows)  # what is flagged is flagged for its published figure alone


@pytest.mark.slow
def test_no_operator_of_timm_is_without_a_formula_and_not_flagged(capsys: pytest.CaptureFixture[str]):
    seen = sum((entry.operators for _, entry in _entries()), start=Operators())
    with capsys.disabled():
        print(f"\ntimm: {seen}")
    assert not seen.silent
    assert {"aten.convolution", "aten.linear"} & {op.rpartition(".")[0] for op in seen.calls}


def _plain(entry: Entry) -> int:
    """What fvcore would say if it had a rule for everything."""
    return entry.macs + entry.reference.beside


def _entries() -> list[tuple[Row, Entry]]:
    return [(row, _entry(row)) for row in _rows()]

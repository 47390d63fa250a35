"""Pictures and pages of real reports: what is drawn adds up to the report's totals; weights are counted in place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

torch = pytest.importorskip("torch")

import numel  # noqa: E402
from numel.document import Chart, Document  # noqa: E402
from numel.errors import InputsError, TargetError, ViewError  # noqa: E402
from numel.render.charts import number, numbers  # noqa: E402
from numel.results import Report  # noqa: E402


class Net(torch.nn.Module):
    """Two blocks and a head that is tied to the embedding, a frozen norm."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = torch.nn.Embedding(11, 6)
        self.blocks = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.ReLU(), torch.nn.Linear(12, 6))
        self.norm = torch.nn.LayerNorm(6).requires_grad_(False)
        self.head = torch.nn.Linear(6, 11, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, ids: Any) -> Any:
        return self.head(self.norm(self.blocks(self.emb(ids))))


PARAMS = 11 * 6 + (6 * 12 + 12) + (12 * 6 + 6) + 2 * 6
MACS = 2 * 4 * (6 * 12 + 12 * 6 + 6 * 11)  # two samples of four words


@pytest.fixture(scope="module")
def trained() -> Report:
    return numel.summary(Net(), "i64[2,4] < 11", backward=True, optimizer="adamw")


def total(chart: Chart, key: str) -> float:
    return sum(value or 0 for value in numbers(chart, key))


@pytest.mark.parametrize("by", ["layer", "depth", "type", "dtype", "tensor"])
def test_bars_add_up_to_the_parameters_of_the_model(trained: Report, by: str):
    chart = trained.chart("bar", by=by)
    expected = PARAMS if by != "tensor" else PARAMS + 11 * 6  # where each place of a tied tensor has its size
    assert total(chart, chart.y[0]) == expected
    shown = [value for value in numbers(chart, chart.y[0]) if value is not None]
    assert shown == sorted(shown, reverse=True)


def test_bars_of_macs_add_up_and_may_stay_in_order(trained: Report):
    chart = trained.chart("bar", value="macs", sort="order")
    assert total(chart, "macs") == MACS == trained.macs
    assert [row[0] for row in chart.data.rows] == ["blocks.0", "blocks.2", "head"]
    assert total(trained.chart("bar", by="operator"), "macs") == MACS


@pytest.mark.parametrize("kind", ["treemap", "icicle", "sunburst"])
def test_a_nested_picture_has_every_layer_with_what_is_below_it(trained: Report, kind: Any):
    chart = trained.chart(kind)
    sizes = {row[0]: number(row[chart.index("params")]) for row in chart.data.rows}
    assert sizes[""] == PARAMS
    assert sizes["blocks"] == sizes["blocks.0"] + sizes["blocks.2"] == 162  # type: ignore[operator]
    assert sizes["head"] == 0  # counted at the embedding
    assert {"params", "macs", "nbytes", "saved_nbytes"} <= set(chart.y)
    assert {"type", "dtype", "trainable", "macs"} <= set(chart.color)
    assert trained.chart(kind, value="macs", color="dtype").y[0] == "macs"


def test_the_timeline_is_at_its_highest_where_the_report_says(trained: Report):
    chart = trained.chart("timeline")
    heights = [sum(number(row[chart.index(key)]) or 0 for key in chart.y) for row in chart.data.rows]
    assert max(heights) == trained.peak_nbytes
    assert heights.index(max(heights)) == chart.marks[0].row
    assert chart.marks[0].text.startswith("peak")
    at = chart.data.rows[chart.marks[0].row]
    assert number(chart.data.rows[chart.marks[0].row][chart.index("live")]) == trained.peak_nbytes
    by_category = {key: number(at[chart.index(key)]) for key in chart.y if number(at[chart.index(key)])}
    assert trained.peak is not None
    assert by_category == dict(trained.peak.by_category)


def test_a_peak_that_is_a_lower_bound_is_one_in_the_picture_too():
    """The workspace of an LSTM's kernel is not known on meta: the summary says so, and the timeline must, too."""
    report = numel.summary(torch.nn.LSTM(4, 4), "f32[3,2,4]", backward=True)
    peak = next(row for row in report.document().tables[1].rows if row[0] == "Peak of live bytes")
    assert peak[1].mark == "≥"  # type: ignore[union-attr]
    from numel.render.chart_tables import marks

    assert ": ≥ " in marks(report.chart("timeline"))[0]
    assert "≥" in report.text("html").split('id="data">', 1)[1] or "\\u2265" in report.text("html")


def test_lines_follow_the_model_and_areas_end_at_its_total(trained: Report):
    assert [row[0] for row in trained.chart("line").data.rows] == ["emb", "blocks.0", "blocks.2", "norm"]
    assert number(trained.chart("area").data.rows[-1][1]) == PARAMS
    assert number(trained.chart("area", value="macs").data.rows[-1][1]) == MACS
    assert total(trained.chart("heatmap"), "params") == PARAMS
    scatter = trained.chart("scatter")
    assert [row[0] for row in scatter.data.rows] == ["blocks.0", "blocks.2"]


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("pie", {}, "no kind of plot is called 'pie'; did you mean"),
        ("bar", {"by": "colour"}, "no table is called 'colour'"),
        ("bar", {"value": "grams"}, "no number by layer is called 'grams'"),
        ("bar", {"value": "macs"}, "macs by layer: nothing was traced; give inputs"),
        ("bar", {"by": "operator"}, "nothing was traced; give inputs"),
        ("treemap", {"value": "saved_nbytes"}, "no training step was traced"),
        ("treemap", {"color": "taste"}, "no column is called 'taste'"),
        ("treemap", {"sort": "-macs"}, "treemap has no option 'sort'; it takes value and color"),
        ("scatter", {}, "scatter: nothing was traced; give inputs"),
        ("timeline", {}, "ask for one with backward"),
        ("histogram", {}, "no values were read"),
    ],
)
def test_what_a_result_lacks_is_said_in_one_line(kind: Any, options: dict[str, Any], says: str):
    with pytest.raises(ViewError) as caught:
        numel.plot(numel.summary(Net()), kind, **options)
    assert says.partition("; did")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_plot_takes_results_models_and_files(trained: Report, tmp_path: Path):
    trained.save(tmp_path / "r.json")
    for target, kind, inputs in ((trained, "treemap", None), (tmp_path / "r.json", "timeline", None),
                                 (Net(), "scatter", "i64[2,4] < 11"), (Net(), "timeline", "i64[2,4] < 11"),
                                 (Net(), "histogram", None)):  # fmt: skip
        figure = numel.plot(target, kind, inputs)  # type: ignore[arg-type]
        assert type(figure).__name__ == "Figure"
        figure.savefig(tmp_path / "p.svg")
    with pytest.raises(InputsError, match="has run already"):
        numel.plot(trained, "bar", "i64[2,4]")


def test_a_page_has_everything_and_every_block_of_it_is_drawn(trained: Report):
    page = trained.whole()
    assert [chart.kind for chart in page.charts] == ["treemap", "timeline", "scatter", "bar"]
    assert page.charts[0].data is page.tables[1]  # one copy serves picture and table
    assert len(page.tables[1].rows) == 1 + 4 + 3  # the root, its children, those of the blocks
    obtained = dict(page.tables[-1].rows)
    assert obtained["Inputs"] == "i64[2,4]"
    assert obtained["numel version"] == numel.__version__
    assert obtained["Phases"] == "forward, backward, optimizer"
    assert trained.text("html") == trained.text(".html")


def test_columns_that_say_nothing_are_left_out_of_the_page():
    keys = [column.key for column in numel.summary(Net()).whole().tables[1].columns]
    assert "macs" not in keys
    assert {"params", "trainable", "tied_to", "nbytes"} <= set(keys)
    assert "buffers" not in keys


SUFFIXES = (".html", ".md", ".csv", ".tex", ".parquet", ".txt", ".json", ".png", ".svg", ".pdf")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_written(trained: Report, tmp_path: Path, suffix: str):
    trained.save(tmp_path / f"r{suffix}")
    begins = {".html": b"<!doctype html>", ".parquet": b"PAR1", ".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
    written = (tmp_path / f"r{suffix}").read_bytes()
    assert written.startswith(begins.get(suffix, b""))
    assert len(written) > 100


def test_a_picture_by_suffix_takes_the_options_of_a_chart(trained: Report, tmp_path: Path):
    trained.save(tmp_path / "p.svg", kind="bar", by="type")
    assert (tmp_path / "p.svg").read_bytes() != trained.rendered("svg", kind="treemap")
    with pytest.raises(ViewError, match="no kind of plot"):
        trained.save(tmp_path / "q.svg", kind="pie")
    assert not (tmp_path / "q.svg").exists()


def test_results_without_pictures_say_so(tmp_path: Path):
    with pytest.raises(ViewError, match="nothing of this result can be drawn"):
        trained_count().save(tmp_path / "c.png")


def trained_count() -> Any:
    from numel.results import Count

    return Count("m", numel.count(Net()))


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def grid(*shape: int) -> Any:
    """Values that lie on bins' edges in no case: k + ¼ between whole numbers from -32 to 31."""
    count = int(numpy.prod(shape))
    return ((torch.arange(count) * 7919) % 64 - 32 + 0.25).reshape(shape).float()


def test_weights_are_counted_as_numpy_counts_them():
    model = torch.nn.Linear(64, 33)
    model.weight.data, model.bias.data = grid(33, 64), grid(33) / 2
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = {each.path: each for each in numel.read(model, values=True).histograms}
    for path, values in (("weight", model.weight.detach().numpy()), ("bias", model.bias.detach().numpy())):
        counts, _ = numpy.histogram(values, bins=64)
        assert list(found[path].counts) == counts.tolist()
    together = numpy.concatenate([model.weight.detach().numpy().ravel(), model.bias.detach().numpy()])
    counts, edges = numpy.histogram(together, bins=128)
    assert list(found[""].counts) == counts.tolist()
    assert [low for low, _, _ in found[""].bins()] == pytest.approx(edges[:-1])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_values_that_are_no_numbers_are_counted_apart_and_said():
    model = torch.nn.Linear(4, 2, bias=False)
    model.weight.data = torch.tensor([[1.0, float("nan"), float("inf"), -2.0], [0.0, float("-inf"), 3.0, 1.0]])
    report = numel.read(model, values=True)
    whole = report.histograms[0]
    assert (whole.nan, whole.infinite, sum(whole.counts), whole.numel) == (1, 2, 5, 8)
    assert "1 NaN and 2 infinite" in report.chart("histogram").caption


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float32, 3e38), (torch.float64, 1e308), (torch.bfloat16, 3e38),
                                                (torch.float16, 6e4)])  # fmt: skip
def test_no_value_is_lost_however_far_apart_they_are(dtype: Any, largest: float):
    """From -x to x the width of the range is twice the largest float of the type."""
    model = torch.nn.Linear(4, 2, bias=False).to(dtype)
    model.weight.data = torch.tensor([[largest, -largest, 0, 1], [-1, 0.5, 1e-38, largest]], dtype=dtype)
    found = numel.read(model, values=True).histograms[0]
    assert sum(found.counts) == found.numel == 8
    assert (found.counts[0], found.counts[-1]) == (1, 2)
    edges = [low for low, _, _ in found.bins()]
    assert edges == sorted(edges)


@pytest.mark.parametrize("value", [0.0, 3.5, float("nan")])
def test_one_value_everywhere_is_one_bin(value: float):
    model = torch.nn.Linear(4, 2, bias=False)
    torch.nn.init.constant_(model.weight, value)
    report = numel.read(model, values=True)
    counts = [count for count in report.histograms[0].counts if count]
    assert counts == ([8] if value == value else [])
    numel.plot(report, "histogram")


def test_values_of_files_are_read_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from safetensors.torch import save_file

    from numel.sources import values

    monkeypatch.setattr(values, "PIECE", 100)
    tensors = {"a.weight": grid(40, 50), "a.bias": grid(7).to(torch.bfloat16), "n.running_mean": grid(3)}
    save_file(tensors, tmp_path / "m.safetensors")
    found = {each.path: each for each in numel.read(tmp_path / "m.safetensors", values=True).histograms}
    assert {path: each.numel for path, each in found.items()} == {"": 2_007, "a.weight": 2_000, "a.bias": 7}
    counts, _ = numpy.histogram(tensors["a.weight"].numpy(), bins=64, range=(-31.75, 31.25))
    assert list(found["a.weight"].counts) == counts.tolist()


def test_values_of_a_state_dict_are_those_of_its_model():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2))
    model[2].bias = model[0].bias
    expected = numel.read(model, values=True).histograms
    assert numel.read(model.state_dict(), values=True).histograms == expected


def test_values_that_are_not_there_are_said():
    for model in (torch.nn.Linear(3, 2, device="meta"), torch.nn.LazyLinear(3)):
        with pytest.raises(TargetError, match="no values to read"):
            numel.read(model, values=True)
    mixed = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2, device="meta"))
    report = numel.read(mixed, values=True)
    assert report.histograms[0].numel == 8
    assert [note.path for note in report.notes if note.code == "values-unread"] == ["1.weight"]
    with pytest.raises(TargetError, match="a model without weights"):
        numel.read("torchvision:resnet18", values=True)


def test_a_histogram_of_one_tensor_is_drawn_by_its_path():
    report = numel.read(torch.nn.Linear(3, 2), values=True)
    assert report.chart("histogram", path="bias").title == "Values of bias"
    with pytest.raises(ViewError, match="no tensor is called 'bais'; did you mean bias"):
        report.chart("histogram", path="bais")


# ── without torch, and in a pipe ─────────────────────────────────────────────────────────────────────────────────────


def test_a_saved_result_is_drawn_without_torch(trained: Report, tmp_path: Path):
    trained.save(tmp_path / "r.json")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numel\n"
        "report = numel.load('r.json')\n"
        "for name in ('a.html', 'a.md', 'a.tex', 'a.csv', 'a.png', 'a.parquet'): report.save(name)\n"
        "numel.plot(report, 'timeline').savefig('b.svg')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stderr == ""
    assert len(list(tmp_path.iterdir())) == 8


def test_a_page_of_a_file_shows_its_tensors(tmp_path: Path):
    from safetensors.torch import save_file

    save_file({"a.weight": torch.zeros(4, 5), "odd": torch.zeros(3)}, tmp_path / "m.safetensors")
    page = numel.read(tmp_path / "m.safetensors").whole()
    assert isinstance(page, Document)
    assert any(table.title == "Tensors" for table in page.tables)
    assert json.loads(numel.read(tmp_path / "m.safetensors").text("json"))["kind"] == "report"

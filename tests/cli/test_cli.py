"""The command line: the verbs' twins, one line for every error, and nothing heavy for what needs nothing heavy."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from numel.cli.main import main

NETS = """
import torch

class Net(torch.nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.first = torch.nn.Linear(3, width)
        self.last = torch.nn.Linear(width, 2)
    def forward(self, x):
        return self.last(torch.relu(self.first(x)))

class Broken(Net):
    def forward(self, x):
        return self.last(self.first(x)[:, :1])

class Slow(Net):
    def __init__(self):
        super().__init__()
        import time
        open("started", "w").close()
        time.sleep(60)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of tensors and one of modules, on a screen of 100 columns."""
    entries = {"fc.weight": ("F32", [2, 3], [0, 24]), "fc.bias": ("F32", [2], [24, 32]), "odd": ("I8", [4], [32, 36])}
    header = json.dumps({n: {"dtype": d, "shape": s, "data_offsets": o} for n, (d, s, o) in entries.items()}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(36))
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(args)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


SUMMARY = ("summary", "nets.py:Net", "-i", "f32[5,3]")


def test_count_of_a_file(here: Path, capsys: pytest.CaptureFixture[str]):
    code, out, err = run(capsys, "count", "x.safetensors")
    assert (code, err) == (0, "")
    assert re.search(r"Total params \(guessed by name\) +≥ 8\n", out)
    assert "Trainable" not in out  # a file does not say what trains
    assert "[roles-guessed]" in out
    assert re.search(r"Elements of unknown role +4\n", out)


def test_count_and_summary_print_one_json_document(here: Path, capsys: pytest.CaptureFixture[str]):
    counted = json.loads(run(capsys, "count", "x.safetensors", "-f", "json")[1])
    assert (counted["params"], counted["totals"]["unclassified"], counted["nbytes"]) == (8, 4, 36)
    summed = json.loads(run(capsys, *SUMMARY, "-f", "json")[1])
    assert summed["totals"]["params"] == 3 * 4 + 4 + 4 * 2 + 2
    assert summed["macs"] == 5 * (3 * 4 + 4 * 2)


def test_read_lists_tensors(here: Path, capsys: pytest.CaptureFixture[str]):
    _, out, _ = run(capsys, "read", "x.safetensors", "-f", "csv", "-c", "path shape dtype numel", "-s", "-numel")
    assert out.split() == ["path,shape,dtype,numel", 'fc.weight,"[2,', '3]",float32,6', "odd,[4],int8,4",
                           "fc.bias,[2],float32,2"]  # fmt: skip
    _, out, _ = run(capsys, "read", "x.safetensors", "--min-params", "0.004K", "--top", "1")
    assert "1 of 3 rows; the others hold 6 elements" in out


def test_options_build_and_inputs_run(here: Path, capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, *SUMMARY, "-k", "width=8", "--depth", "1", "-c", "path params macs")
    assert code == 0
    assert re.search(r"first +32 +120\n", out)
    assert "Traced on" in out


def test_trace_shows_operators(here: Path, capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, "trace", "nets.py:Net", "-i", "f32[5,3]", "-c", "operator calls macs")
    assert code == 0
    assert re.search(r"aten.linear +2 +100\n", out)
    assert run(capsys, "trace", "nets.py:Net")[0] == 2


def test_explain_writes_the_arithmetic_out(here: Path, capsys: pytest.CaptureFixture[str]):
    code, out, err = run(capsys, *SUMMARY, "--explain", "first")
    assert (code, err) == (0, "")
    assert "f32[5,3] · f32[4,3] · f32[4] → f32[5,4]: MACs 5 × 4 × 3 = 60" in " ".join(out.split())
    run(capsys, *SUMMARY, "-o", "r.json")
    assert run(capsys, "load", "r.json", "--explain", "first") == run(capsys, "summary", "r.json", "--explain", "first")
    assert run(capsys, "load", "r.json", "--explain", "first")[1] == out
    assert "Why another tool says something else" in run(capsys, "trace", *SUMMARY[1:], "--explain", "total")[1]


def test_explain_of_what_there_is_not_names_what_is_near(here: Path, capsys: pytest.CaptureFixture[str]):
    code, out, err = run(capsys, *SUMMARY, "--explain", "frist")
    assert (code, out) == (2, "")
    assert err == "numel: explain 'frist': no layer, tensor or total is called so; did you mean first?\n"
    assert "takes no depth" in run(capsys, *SUMMARY, "--explain", "first", "-d", "2")[2]


def test_a_failed_forward_prints_what_ran_and_exits_with_1(here: Path, capsys: pytest.CaptureFixture[str]):
    code, out, err = run(capsys, "summary", "nets.py:Broken", "-i", "f32[5,3]")
    assert (code, err) == (1, "")
    assert "≥ 60" in out
    assert "the forward stopped in last (Linear), called with f32[5,1]" in " ".join(out.split())


@pytest.mark.parametrize("where", [("-f", "csv"), ("-o", "r.json")])
def test_a_failed_forward_says_so_on_stderr_where_the_output_does_not(
    where: tuple[str, str], here: Path, capsys: pytest.CaptureFixture[str]
):
    code, _, err = run(capsys, "summary", "nets.py:Broken", "-i", "f32[5,3]", *where)
    assert code == 1
    assert err.startswith("numel: nets.py:Broken: the forward stopped in last: RuntimeError")
    assert err.count("\n") == 1


def test_a_model_that_needs_values_is_built_with_some(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "reads.py").write_text(
        "import torch\nclass Net(torch.nn.Linear):\n    def forward(self, x):\n        import beside\n"
        "        return super().forward(x) if x.sum().item() > beside.LEAST else x\n"
    )
    (here / "beside.py").write_text("LEAST = -1e9\n")
    built = ("reads.py:Net", "-k", "in_features=3", "-k", "out_features=2", "-i", "f32[5,3]")
    for mode in ("auto", "real"):
        code, out, _ = run(capsys, "summary", *built, "--mode", mode)
        assert code == 0
        assert re.search(r"MACs \(mult-adds\) +≈ 30\n", out)  # another sum could take the other way
        assert "[allocated]" in out
        assert "[sampled]" in out
    assert run(capsys, "summary", *built, "--mode", "fake")[0] == 1
    assert "beside" not in sys.modules


@pytest.mark.parametrize("suffix", ["json", "csv", "md", "txt"])
def test_output_goes_to_the_file_alone(suffix: str, here: Path, capsys: pytest.CaptureFixture[str]):
    assert run(capsys, *SUMMARY, "-o", f"out.{suffix}") == (0, "", "")
    if suffix == "json":
        code, shown, _ = run(capsys, "load", "out.json", "--by", "type")
        assert code == 0
        assert re.search(r"Linear +2 +26", shown)
    assert (here / f"out.{suffix}").stat().st_size > 100


def test_a_dash_is_stdout(here: Path, capsys: pytest.CaptureFixture[str]):
    assert run(capsys, *SUMMARY, "-o", "-", "-f", "md")[1].startswith("# Net")


def test_formula_says_why(here: Path, capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, "formula", "aten.mm")
    assert code == 0
    assert "n · k · m" in out


@pytest.mark.parametrize("name", ["", "count", "summary", "read", "trace", "load", "formula"])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, *filter(None, [name]), "--help")
    assert code == 0
    assert out.startswith("Usage: numel")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ("sumary x", 2, "did you mean 'summary'?"),
        ("count", 2, "Missing argument 'TARGET'"),
        ("count nope.safetensors", 1, "no such file"),
        ("count x.safetensors --colour", 2, "No such option"),
        ("count x.safetensors -k a=1", 1, "takes no options"),
        ("count nets.py:Nett", 1, "did you mean Net?"),
        ("count nets.py:Net -k width", 2, "expected KEY=VALUE"),
        ("count nets.py:Net -k widht=3", 1, "widht"),
        ("count torchvision", 1, "no such file"),
        ("read x.safetensors -c nme", 2, "no column is called 'nme'"),
        ("read x.safetensors --min-params many", 2, "expected a number of elements"),
        ("read x.safetensors --top 0", 2, "0 is not in the range"),
        ("summary nets.py:Net -i f32[5,3", 2, "a shape that is not closed"),
        ("summary nets.py:Net -i q32[5,3]", 2, "no element type"),
        ("summary nets.py:Net -i f32[5,3] -o r.xlsx", 2, "known: terminal"),
        ("summary nets.py:Net -i f32[5,3] -o no/r.md", 1, "no/r.md: no such directory"),
        ("summary nets.py:Net -i f32[5,3] -o out", 2, "-o out: no suffix"),
        ("summary nets.py:Net --mode real", 2, "mode real: nothing to run without inputs"),
        ("count nets.py:Net -o a.json -f csv", 2, "the suffix says json"),
        ("count nets.py:Net -o a.json -o b.csv", 2, "-o is given 2 times; expected once"),
        ("summary nets.py:Net --top 3 --by type", 2, "belongs to the table 'tensor'"),
        ("summary nets.py:Net -i f32[5,3] -f json --depth 1", 2, "json holds the whole result"),
        ("summary x.safetensors -i f32[1]", 2, "tensors but no forward; leave the inputs out"),
        ("load nets.py", 1, "expected a result that numel saved"),
        ("formula no.such", 2, "has a formula"),
    ],
)
def test_a_mistake_is_one_line_on_stderr(
    args: str, code: int, said: str, here: Path, capsys: pytest.CaptureFixture[str]
):
    before = sorted(here.iterdir())
    got, out, err = run(capsys, *args.split())
    assert got == code
    assert out == ""
    assert said in err
    assert err.startswith("numel: ")
    assert err.count("\n") == 1
    assert [each for each in sorted(here.iterdir()) if each.name != "__pycache__"] == before


# ── processes of their own ───────────────────────────────────────────────────────────────────────────────────────────


def process(code: str, *args: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, **how)


@pytest.mark.parametrize("args", ["--help", "count x.safetensors", "read x.safetensors", "formula mm"])
def test_what_needs_no_torch_does_not_import_it(args: str, here: Path):
    code = (
        "import sys\nfrom numel.cli.main import main\ncode = main()\n"
        "print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules], file=sys.stderr)\nsys.exit(code)"
    )
    ran = process(code, *args.split())
    assert (ran.returncode, ran.stderr) == (0, "[]\n")


def test_a_reader_that_has_enough_is_no_error(here: Path):
    command = f"{sys.executable} -m numel formula | head -1"
    ran = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_an_interrupt_is_one_line_and_leaves_nothing(here: Path):
    # a shell starts what it runs in the background deaf to interrupts
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from numel.cli.main import script; script()"
    )
    command = [sys.executable, "-c", code, "summary", "nets.py:Slow", "-o", "r.md"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if (here / "started").exists():
            break
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert err.strip() == "numel: interrupted"  # below the ^C that a terminal shows
    assert not (here / "r.md").exists()


def test_a_narrow_encoding_loses_signs_and_no_output(here: Path):
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = process("from numel.cli.main import script; script()", "read", "x.safetensors", env=env)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "fc.weight" in ran.stdout


def test_colour_is_for_terminals(here: Path):
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    plain = process("from numel.cli.main import script; script()", "count", "x.safetensors", env=env)
    forced = process("from numel.cli.main import script; script()", "count", "x.safetensors",
                     env={**env, "FORCE_COLOR": "1"})  # fmt: skip
    assert "\x1b[" not in plain.stdout
    assert "\x1b[" in forced.stdout


# ── pictures, pages and saved results ────────────────────────────────────────────────────────────────────────────────


def test_plot_writes_a_picture_and_nothing_else(here: Path, capsys: pytest.CaptureFixture[str]):
    for kind in ("bar", "treemap", "scatter", "line", "timeline"):
        code, out, err = run(capsys, "plot", "nets.py:Net", "--kind", kind, "-i", "f32[5,3]", "-o", f"{kind}.svg")
        assert (code, out, err) == (0, "", "")
        assert (here / f"{kind}.svg").read_bytes().startswith(b"<?xml")


def test_plot_without_a_file_draws_on_the_terminal(here: Path, capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, "plot", "x.safetensors", "--by", "tensor")
    assert code == 0
    assert re.search(r"fc\.weight +█+ +6\n", out)


def test_plot_of_a_files_values(here: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("safetensors")
    code, _, err = run(capsys, "plot", "x.safetensors", "--kind", "histogram", "-o", "h.png")
    assert (code, err) == (0, "")
    code, _, err = run(capsys, "plot", "nets.py:Net", "--kind", "histogram", "-o", "no.png")
    assert code == 1
    assert "a model without weights" in err
    assert not (here / "no.png").exists()


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["plot", "nets.py:Net", "--kind", "pie"], 2, "'pie' is not one of"),
        (["plot", "nets.py:Net", "--kind", "scatter"], 2, "nothing was traced; give inputs"),
        (["plot", "nets.py:Net", "--value", "macs"], 2, "nothing was traced; give inputs"),
        (["plot", "nets.py:Net", "--kind", "treemap", "--sort", "x"], 2, "treemap has no option 'sort'"),
        (["plot", "nets.py:Net", "-o", "p.json"], 2, "a picture keeps no facts"),
        (["plot", "nets.py:Net", "-o", "p.xls"], 2, "no renderer is called '.xls'"),
        (["show", "nowhere.json"], 1, "No such file"),
        (["show", "nets.py"], 1, "expected a result that numel saved"),
        (["summary", "nets.py:Net", "-f", "notebooks"], 2, "no renderer is called 'notebooks'"),
        (["count", "x.safetensors", "-o", "c.png"], 2, "nothing of this result can be drawn"),
    ],
)
def test_what_can_not_be_drawn_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: int, says: str
):
    got, out, err = run(capsys, *args)
    assert (got, out) == (code, "")
    assert says in err
    assert err.count("\n") == 1
    assert not list(here.glob("p.*"))


def test_results_of_every_verb_are_shown_again(here: Path, capsys: pytest.CaptureFixture[str]):
    for name, args in {
        "summary": SUMMARY, "read": ("read", "x.safetensors"), "trace": ("trace", *SUMMARY[1:]),
        "count": ("count", "x.safetensors"), "formula": ("formula", "aten.mm"),
        "explain": (*SUMMARY, "--explain", "first"),
    }.items():  # fmt: skip
        once = run(capsys, *args)[1]
        assert run(capsys, *args, "-o", f"{name}.json")[:2] == (0, "")
        assert run(capsys, "show", f"{name}.json")[1] == once
        code, page, _ = run(capsys, "show", f"{name}.json", "-f", "html")
        assert code == 0
        assert page.startswith("<!doctype html>")


def test_a_newer_result_is_refused_in_one_line(here: Path, capsys: pytest.CaptureFixture[str]):
    run(capsys, *SUMMARY, "-o", "r.json")
    saved = json.loads((here / "r.json").read_text())
    (here / "r.json").write_text(json.dumps(saved | {"schema": 99}))
    code, out, err = run(capsys, "show", "r.json")
    assert (code, out) == (1, "")
    assert "schema 99 is newer than" in err


def test_bytes_go_to_a_pipe_whole(here: Path):
    done = subprocess.run(
        [sys.executable, "-m", "numel", "read", "x.safetensors", "-f", "parquet"], capture_output=True, check=False
    )
    assert done.stderr == b""
    assert done.stdout[:4] == done.stdout[-4:] == b"PAR1"


def test_markdown_in_a_pipe_has_neither_colour_nor_progress(here: Path):
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    done = subprocess.run(
        [sys.executable, "-m", "numel", *SUMMARY, "-f", "markdown"], capture_output=True, check=False, env=environment
    )
    assert done.stderr == b""
    assert b"\x1b" not in done.stdout
    assert done.stdout.startswith(b"# Net")


# ── compare ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_compare_says_what_differs_and_fails_where_it_is_asked_to(here: Path, capsys: pytest.CaptureFixture[str]):
    run(capsys, *SUMMARY, "-o", "base.json")
    run(capsys, *SUMMARY, "-k", "width=8", "-o", "wide.json")
    wide = ("compare", "base.json", "wide.json")
    code, out, err = run(capsys, *wide)
    assert (code, err) == (0, "")
    assert "reshaped  first.weight" in out
    code, out, err = run(capsys, *wide, "--fail-if", "params > +1%", "--fail-if", "macs > 1G")
    assert code == 3
    assert err == "numel: wide.json: params 50 is +92.31 % of 26 (params > +1%)\n"  # 32 + 18 against 16 + 10
    assert run(capsys, *wide, "--fail-if", "params > +200%")[0] == 0
    code, _, err = run(capsys, "compare", "base.json", "base.json", "--fail-if", "params >> 1")
    assert (code, "expected as in" in err) == (2, True)


def test_compare_of_a_model_with_itself(here: Path, capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, "compare", "nets.py:Net", "nets.py:Net", "x.safetensors", "--metric", "top1=0.7,0.7,0.1")
    assert code == 0
    assert "Trade-offs" in out
    code, out, _ = run(capsys, "compare", "nets.py:Net", "nets.py:Net")
    assert (code, "No difference" in out) == (0, True)
    twice = ("nets.py:Net", "nets.py:Net")
    for args in (("nets.py:Net",), ("a", "b", "--metric", "top1=x"), (*twice, "--metric", "a=1"),
                 (*twice, "--metric", "a=1,2", "--metric", "a=3,1")):  # fmt: skip
        code, out, err = run(capsys, "compare", *args)
        assert (code, out, err.count("\n")) == (2, "", 1)


# ── monitor ──────────────────────────────────────────────────────────────────────────────────────────────────────────


RUN = """{"schema": 2, "kind": "history", "target": "net.Net"}
{"sample": [0, 1.5, {"params": 6, "trainable": 6}]}
{"change": [3, 2.5, "frozen", "fc.weight", true, false]}
{"sample": [3, 2.5, {"params": 6}]}
"""


def test_a_run_is_shown_as_it_is_now_where_nobody_watches(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "run.jsonl").write_text(RUN + '{"sample": [9, ')  # a line that a killed run left
    code, out, err = run(capsys, "monitor", "run.jsonl")
    assert (code, err) == (0, "")
    assert "fc.weight" in out
    assert run(capsys, "monitor", "run.jsonl", "-o", "run.html")[0] == 0
    assert (here / "run.html").stat().st_size > 1000
    for name, text in (("none.jsonl", None), ("text.jsonl", "hello"), ("other.jsonl", '{"schema": 99}')):
        if text is not None:
            (here / name).write_text(text)
        code, out, err = run(capsys, "monitor", name)
        assert (code, out, err.count("\n")) == (1, "", 1)


def test_a_run_is_followed_on_a_terminal_and_left_with_control_c(here: Path):
    import pty

    place = here / "run.jsonl"
    place.write_text(RUN)
    near, far = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    code = "from numel.cli.main import script; script()"
    process = subprocess.Popen([sys.executable, "-c", code, "monitor", str(place)], stdout=far, stderr=far, stdin=far,
                               env=environment, start_new_session=True)  # fmt: skip
    os.close(far)
    seen = b""
    os.set_blocking(near, False)

    def until(text: bytes) -> bool:
        nonlocal seen
        for _ in range(300):
            try:
                seen += os.read(near, 1 << 16)
            except (BlockingIOError, OSError):
                time.sleep(0.1)
            if text in seen:
                return True
        return False

    try:
        assert until(b"fc.weight"), seen
        with place.open("a") as file:
            file.write('{"change": [7, 3.5, "unfrozen", "fc.late", false, true]}\n')
        assert until(b"fc.late"), seen
        process.send_signal(signal.SIGINT)
        for _ in range(100):
            time.sleep(0.1)
            with contextlib.suppress(BlockingIOError, OSError):
                seen += os.read(near, 1 << 16)
            if process.poll() is not None:
                break
        assert process.returncode == 0, seen
    finally:
        process.kill()
        os.close(near)


def test_a_condition_that_nobody_can_decide_is_no_success(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "lazy.py").write_text("import torch\n\n\ndef Net():\n    return torch.nn.LazyLinear(2)\n")
    code, _, err = run(capsys, "compare", "lazy.py:Net", "lazy.py:Net", "--fail-if", "params > +1%")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("numel: can not tell: ")
    code, out, err = run(capsys, "compare", "lazy.py:Net", "lazy.py:Net", "--fail-if", "parms > +1%")
    assert (code, out) == (2, "")
    assert "no number is called 'parms'" in err

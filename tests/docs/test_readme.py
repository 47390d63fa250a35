"""The READMEs show what really happens: commands and code in them run, and both languages show the same.

`make readme` writes the commands' outputs anew.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from numel.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


@pytest.fixture(autouse=True)
def _reader(monkeypatch: pytest.MonkeyPatch):
    """The terminal that the READMEs are written for."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_commands_print_what_the_readme_shows(readme: Path, capsys: pytest.CaptureFixture[str]):
    def ran(block: re.Match[str]) -> str:
        if block[1] != "console":
            return block[0]
        command = block[2].splitlines()[0]
        program, *arguments = shlex.split(command.removeprefix("$ "))
        assert program == "numel"
        assert main(arguments) == 0
        return f"```console\n{command}\n{capsys.readouterr().out}```"

    text = readme.read_text(encoding="utf-8")
    now = _BLOCK.sub(ran, text)
    if os.environ.get("NUMEL_GOLD") == "write":
        readme.write_text(now, encoding="utf-8")
    else:
        assert now == text, "run `make readme`"
    assert "$ numel" in now


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_python_code_gives_what_the_readme_shows(readme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = readme.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    code = "\n".join(block[2] for block in _BLOCK.finditer(text) if block[1] == "python")
    # a custom operator is registered once in a process
    code = code.replace("mylib", f"readme_{READMES.index(readme)}")
    example = doctest.DocTestParser().get_doctest(code, {}, readme.name, str(readme), 0)
    failed, tried = doctest.DocTestRunner().run(example)
    assert tried > 10
    assert failed == 0
    assert (tmp_path / "layer.md").read_text(encoding="utf-8").startswith("# TransformerEncoderLayer")


def test_both_languages_show_the_same_commands_and_code():
    english, chinese = ([(b[1], b[2]) for b in _BLOCK.finditer(p.read_text(encoding="utf-8"))] for p in READMES)
    assert english == chinese

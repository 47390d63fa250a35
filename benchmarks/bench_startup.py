"""(c) `numel --help` and `numel count x.safetensors` against bare Python and `import torch`, and what they import."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import paired, show

_CLI = "from numel.cli.main import script; script()"
_HEAVY = ("torch", "numpy", "transformers")


def safetensors_file(path: Path, tensors: int = 300) -> Path:
    """A file of `tensors` bf16 matrices of 64 by 64, as the format defines it: header length, header, bytes."""
    nbytes = 64 * 64 * 2
    header = {
        f"model.layers.{i}.weight": {"dtype": "BF16", "shape": [64, 64], "data_offsets": [i * nbytes, (i + 1) * nbytes]}
        for i in range(tensors)
    }
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + bytes(tensors * nbytes))
    return path


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter; raises when it fails."""
    return subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)


def heavy_after(*arguments: str) -> list[str]:
    """Which of the heavy libraries are in `sys.modules` after a command."""
    code = (
        "import sys, json\nfrom numel.cli.main import script\n"
        "try: script()\nexcept SystemExit: pass\n"
        f"print('\\n' + json.dumps([m for m in {_HEAVY!r} if m in sys.modules]))"
    )
    found: list[str] = json.loads(python(code, *arguments).stdout.splitlines()[-1])
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = str(safetensors_file(Path(directory) / "x.safetensors"))
        seconds = paired(
            {
                "python -c pass": lambda: python("pass"),
                "numel --help": lambda: python(_CLI, "--help"),
                "numel count x.safetensors": lambda: python(_CLI, "count", file),
                "import torch": lambda: python("import torch"),
            },
            rounds=9,
        )
        imported = {"--help": heavy_after("--help"), "count x.safetensors": heavy_after("count", file)}
    show("c. startup", [("fresh process", seconds, "python -c pass")], goal="at most 0.2 s above bare Python")
    for command, names in imported.items():
        print(f"numel {command} imports {', '.join(names) or 'none'} of {', '.join(_HEAVY)}")


if __name__ == "__main__":
    main()

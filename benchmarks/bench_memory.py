"""(d) Peak memory of a summary from a configuration, above what the imports and the bare meta model take.

Each step runs in a process of its own, whose high-water mark of resident memory only grows: the difference of two
processes is what the step in between took.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from measure import machine, save

_HERE = str(Path(__file__).resolve().parent)
_PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
_IMPORTS = (
    f"import sys; sys.path.insert(0, {_HERE!r})\n"
    "import torch, transformers\n"
    "from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM, DeepseekV3ForCausalLM\n"
    "import numel.api\nfrom measure import from_example\n"
)
# what any first forward loads: half a page of torch code that is imported when an operator first runs
_FIRST = "m = torch.nn.Linear(1, 1, device='meta')\nm(torch.ones(1, 1, device='meta'))\n"


def peak(code: str) -> int:
    """KiB of resident memory at the highest point of a fresh process that runs `code` (Linux; bytes on macOS)."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", code + _PEAK], check=True, capture_output=True, text=True, env=environment
    )
    return int(ran.stdout.split()[-1]) // (1024 if sys.platform == "darwin" else 1)


def main(name: str, notation: str) -> None:
    steps = {
        "imports": _IMPORTS + _FIRST,
        "model on meta": _IMPORTS + _FIRST + f"m = from_example({name!r})\n",
        "summary with MACs": _IMPORTS
        + _FIRST
        + f"m = from_example({name!r})\nr = numel.api.summary(m, {notation!r})\nassert r.macs\n",
    }
    peaks = {step: [peak(code) for _ in range(3)] for step, code in steps.items()}
    floor = median(peaks["imports"])
    table = Table(title=f"d. peak memory, {name} {notation}", caption=f"goal: 150 MB above the imports\n{machine()}")
    for column in ("after", "peak, MiB", "above the imports, MiB"):
        table.add_column(column, justify="left" if column == "after" else "right")
    for step, kib in peaks.items():
        table.add_row(step, f"{median(kib) / 1024:.0f}", f"{(median(kib) - floor) / 1024:.0f}")
    Console(width=100).print(table)
    save(f"d. memory {name}", {"kib": peaks})


if __name__ == "__main__":
    given = sys.argv[1:]
    main(given[0] if given else "llama-3.1-405b", given[1] if len(given) > 1 else "i64[1,8192]")

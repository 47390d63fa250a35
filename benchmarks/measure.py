"""How every benchmark measures: paired in one process, interleaved, median of several, as ratios to a floor."""

from __future__ import annotations

import gc
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
RESULTS = Path(__file__).resolve().parent / "results"

os.environ.setdefault("HF_HUB_OFFLINE", "1")

Contender = Callable[[], Any]


def paired(contenders: Mapping[str, Contender], *, rounds: int, most_seconds: float = 60.0) -> dict[str, list[float]]:
    """Seconds of each contender in each round. One round runs all of them, so that drift of the machine hits all.

    A contender that raises is left out with its error printed, and so is one that alone took `most_seconds` in the
    warm-up: it keeps that single time.
    """
    seconds: dict[str, list[float]] = {}
    running = dict(contenders)
    for name, run in contenders.items():  # warm-up: imports, caches
        try:
            took = _seconds(run)
        except Exception as error:
            Console(stderr=True).print(f"[yellow]{name}: {type(error).__name__}: {' '.join(str(error).split())[:160]}")
            del running[name]
            continue
        if took > most_seconds:
            seconds[name] = [took]
            del running[name]
    for _ in range(rounds):
        for name, run in running.items():
            seconds.setdefault(name, []).append(_seconds(run))
    return seconds


def _seconds(run: Contender) -> float:
    gc.collect()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def show(title: str, rows: list[tuple[str, dict[str, list[float]], str]], *, goal: str) -> None:
    """One line per case and contender: median, spread, and the median of the per-round ratios to the floor.

    Each row is (case, seconds by contender, name of the floor). The same goes to benchmarks/results as JSON.
    """
    table = Table(title=title, caption=f"goal: {goal}\n{machine()}", caption_justify="left")
    for name, justify in (("case", "left"), ("contender", "left"), ("median", "right"), ("min – max", "right"),
                          ("× floor", "right")):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for case, seconds, floor in rows:
        for name, times in seconds.items():
            ratio = f"{ratio_to(times, seconds[floor]):.2f}" if floor in seconds and name != floor else "floor"
            table.add_row(case, name, pretty(median(times)), f"{pretty(min(times))} – {pretty(max(times))}", ratio)
            case = ""
        table.add_section()
    Console(width=110 if not Console().is_terminal else None).print(table)
    save(title, {"goal": goal, "rows": [{"case": c, "floor": f, "seconds": s} for c, s, f in rows]})


def ratio_to(times: list[float], floor: list[float]) -> float:
    """Median of the ratios round by round; of the medians, where one of the two ran only once."""
    if len(times) != len(floor):
        return median(times) / median(floor)
    return median(a / b for a, b in zip(times, floor, strict=True))


def pretty(seconds: float) -> str:
    """Seconds as s or ms, three digits."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def machine() -> str:
    """What the numbers were taken on."""
    import torch

    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads"
    )


def save(title: str, values: dict[str, Any]) -> None:
    """Write the raw times beside the script (the directory is not kept in git)."""
    RESULTS.mkdir(exist_ok=True)
    name = "".join(c if c.isalnum() else "-" for c in title.lower()).strip("-")
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine(), **values}, indent=1))


def from_example(name: str) -> Any:
    """The model of examples/NAME/config.json with its task head and its published dtype, on meta: nothing allocated."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    config = transformers.AutoConfig.from_pretrained(EXAMPLES / name)
    with torch.device("meta"):
        return getattr(transformers, config.architectures[0])._from_config(config, dtype=config.dtype).eval()

"""What every benchmark prints: the machine, the command, and Markdown tables of figures and ratios."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from model.precision import cpu_kind


def machine() -> str:
    """One line about where the figures come from: processor, GPU, versions, and how busy it was before."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    gpu = f"; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{name} ({cpu_kind()}), {os.cpu_count()} cores{gpu}; torch {torch.__version__}, "
        f"Python {platform.python_version()}; load average before: {load}"
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; floats are written with three significant digits."""
    lines = ["| " + " | ".join(headers) + " |", "|" + " --- |" * len(headers)]
    lines += ["| " + " | ".join(_text(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


class Report:
    """Collects a benchmark's text, prints it as it comes and, if asked to, writes it to a file."""

    def __init__(self, title: str, out: Path | None) -> None:
        self._out = out
        self._parts: list[str] = []
        command = " ".join(["python -m bench", Path(sys.argv[0]).stem, *sys.argv[1:]])
        self.add(f"## {title}\n\n`{command}`, {datetime.date.today().isoformat()}, {machine()}.")

    def add(self, text: str) -> None:
        """Adds a paragraph or a table."""
        self._parts.append(text)
        print(text + "\n", flush=True)
        if self._out is not None:
            self._out.parent.mkdir(parents=True, exist_ok=True)
            self._out.write_text("\n\n".join(self._parts) + "\n")


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, help="also write the Markdown to this file")
    return made


def seconds(function: Callable[[], object], least: float = 0.0, repeats: int = 1) -> float:
    """Median time of one call: at least `repeats` calls and at least `least` seconds of them."""
    taken: list[float] = []
    while len(taken) < repeats or sum(taken) < least:
        begin = time.perf_counter()
        function()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)

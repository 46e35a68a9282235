"""Training curves as SVG, from the logs of runs: how much of bicubic's score is left, by ground resolution, over time.

python -m bench.curves docs/logs/score.jsonl docs/logs/chains.jsonl --out docs/images/training.svg
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

PANEL, HEIGHT, LEFT, TOP, BOTTOM, LEGEND = 300, 240, 46, 28, 40, 84
"""Sizes in SVG units: of a panel with its right margin, of a row of them, and of what surrounds the panels."""
ROW = 4
"""Panels beside each other."""
RESOLUTIONS = {
    "0.25 m": "#440154",
    "1 m": "#3b528b",
    "4 m": "#21918c",
    "16 m": "#5ec962",
    "64 m": "#c8b400",
    "256 m": "#e8743b",
}


@dataclass(frozen=True)
class Log:
    """A run's log: its name, and by line the minutes and the shares left by resolution."""

    name: str
    minutes: list[float]
    shares: dict[str, list[float]]


def read(path: Path) -> Log:
    """The log of a run, ``log.jsonl``."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line]
    # A resumed run goes on from its last checkpoint and logs some steps again: the later lines count.
    records = [r for i, r in enumerate(lines) if all(r["step"] < later["step"] for later in lines[i + 1 :])]
    shares = {name: [record["unexplained"].get(name, 1.0) for record in records] for name in RESOLUTIONS}
    return Log(path.stem, [record["minutes"] for record in records], shares)


def draw(logs: list[Log]) -> str:
    """One panel a run, a line a resolution, on one vertical scale."""
    values = [value for log in logs for line in log.shares.values() for value in line]
    low, high = int(min(values) * 20) / 20, int(max(values) * 20 + 1) / 20
    rows = [logs[first : first + ROW] for first in range(0, len(logs), ROW)]
    width, height = LEFT + PANEL * len(rows[0]) + LEGEND, HEIGHT * len(rows)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for index, row in enumerate(rows):
        out += [f'<g transform="translate(0 {HEIGHT * index})">', *_row(row, low, high), "</g>"]
    for index, (name, colour) in enumerate(RESOLUTIONS.items()):
        x, y = width - LEGEND + 4, TOP + 10 + 18 * index
        out.append(f'<path d="M{x} {y}h16" stroke="{colour}" stroke-width="2"/><text x="{x + 22}" y="{y + 4}">{name}</text>')
    out.append(f'<text x="{LEFT}" y="{height - 6}">Share left of what bicubic enlargement scores; less is better</text>')
    return "\n".join([*out, "</svg>\n"])


def _row(logs: list[Log], low: float, high: float) -> list[str]:
    """SVG elements of panels that stand beside each other, with shares from ``low`` to ``high``."""
    bottom, inner = HEIGHT - BOTTOM, PANEL - 16

    def up(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - TOP)

    out = []
    for tick in range(round(low * 20), round(high * 20) + 1):
        y = up(tick / 20)
        out.append(f'<path d="M{LEFT} {y:.1f}H{LEFT + PANEL * len(logs) - 16}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick / 20:.2f}</text>')
    for index, log in enumerate(logs):
        left = LEFT + PANEL * index
        first, last = log.minutes[0], log.minutes[-1]
        out.append(f'<text x="{left}" y="{TOP - 10}" font-weight="bold">{log.name}</text>')
        out.append(f'<text x="{left}" y="{bottom + 16}">{first:.0f}</text>')
        out.append(f'<text x="{left + inner}" y="{bottom + 16}" text-anchor="end">{last:.0f} min</text>')
        out.append(f'<path d="M{left} {TOP}V{bottom}H{left + inner}" fill="none" stroke="#888"/>')
        for name, colour in RESOLUTIONS.items():
            points = zip(log.minutes, log.shares[name], strict=True)
            line = " ".join(
                f"{left + inner * (minute - first) / (last - first):.1f},{up(share):.1f}" for minute, share in points
            )
            out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    return out


def main() -> None:
    """Command line of ``python -m bench.curves``."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("logs", type=Path, nargs="+", help="logs of runs, log.jsonl, named as their panels shall be")
    options.add_argument("--out", type=Path, required=True)
    arguments = options.parse_args()
    arguments.out.write_text(draw([read(path) for path in arguments.logs]))
    print(arguments.out)


if __name__ == "__main__":
    main()

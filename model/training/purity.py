"""M8: one picture whatever was asked before it, and E of M5: the same pixel through different windows."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np

from model.grid import lonlat_to_pixel
from model.planet import Planet, open_planet
from model.store import Pixels

SIDE = 48
_PLACES = ((7.85, 46.35, 6), (10.6, 45.1, 8), (-63.2, -4.6, 10), (179.999, -16.5, 8), (31.1, 30.9, 12))
"""Longitude, latitude and zoom of the windows hashed; one is on the antimeridian."""


def purity(weights: Path | None, steps: int, device: str) -> dict[str, float | str]:
    """Hashes of the same windows on a fresh planet, on another in reverse order after other reads, and in another process;
    and the largest difference E, in grey levels, between windows that overlap."""
    first, second = (open_planet(steps=steps, weights=weights, device=device) for _ in range(2))
    forwards = _windows(first)
    # The second planet comes to the same pixels by larger windows around them, the last place first.
    error = 0
    backwards: list[Pixels] = []
    for (zoom, x, y), seen in zip(reversed(_corners()), reversed(forwards), strict=True):
        wide = second.read(zoom, x - 37, y - 21, SIDE + 60, SIDE + 45)
        inner = wide[21 : 21 + SIDE, 37 : 37 + SIDE]
        backwards.insert(0, inner)
        error = max(error, int(np.abs(inner.astype(int) - seen.astype(int)).max()))
    hashes = {_digest(forwards), _digest(backwards), _digest(_windows(second)), _elsewhere(weights, steps, device)}
    return {"M5 E, grey levels": float(error), "M8 hashes": float(len(hashes)), "hash": min(hashes)}


def _corners() -> list[tuple[int, int, int]]:
    corners = []
    for lon, lat, zoom in _PLACES:
        x, y = lonlat_to_pixel(lon, lat, zoom)
        corners.append((zoom, int(x) - SIDE // 2, int(y) - SIDE // 2))
    return corners


def _windows(planet: Planet) -> list[Pixels]:
    return [planet.read(zoom, x, y, SIDE, SIDE) for zoom, x, y in _corners()]


def _digest(windows: list[Pixels]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(window).tobytes() for window in windows)).hexdigest()[:16]


def _elsewhere(weights: Path | None, steps: int, device: str) -> str:
    """The hash that a process of its own computes."""
    command = [sys.executable, "-m", "model.training.purity", "--steps", str(steps), "--device", device]
    if weights is not None:
        command += ["--weights", str(weights)]
    root = Path(__file__).parent.parent.parent
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.strip()


def main(arguments: list[str] | None = None) -> None:
    """Command line of ``python -m model.training.purity``: prints the hash."""
    parser = argparse.ArgumentParser(description="Hash fixed windows of a fresh planet.")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    print(_digest(_windows(open_planet(steps=options.steps, weights=options.weights, device=options.device))))


if __name__ == "__main__":
    main()

"""Milliseconds per 256 px tile: a viewport with warm parents and cold, and a cold zoom-18 tile anywhere.

Warm: the parents of the viewport (its even zoom minus two) are in the block store, its own blocks are not:
what a user sees who pans at a place already visited at a lower zoom. Cold: nothing is in the store. Each
viewport and tile lies at a new random place, so that nothing is shared. The ratios of cold to warm are
taken in time and in generated windows, which do not depend on the machine.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.report import Report, parser, table
from model import Planet, open_planet
from model.grid import TILE_SIZE, world_size

VIEWPORT = (5, 4)
#: Child pixels around a viewport whose parents are warmed: more than halo and margins reach.
AROUND = 128


def places(zoom: int, seed: int) -> Iterator[tuple[int, int]]:
    """Top left tiles (x, y) of viewports at random places between 70 N and 70 S."""
    draw = random.Random(f"{seed} {zoom}")
    tiles = world_size(zoom) // TILE_SIZE
    while True:
        yield draw.randrange(tiles), draw.randrange(int(tiles * 0.23), int(tiles * 0.77))


def read_tiles(planet: Planet, zoom: int, x: int, y: int, size: tuple[int, int]) -> tuple[float, float]:
    """Milliseconds and generated windows per tile of a viewport, read tile by tile as a server does."""
    before, begin = planet.evaluations, time.perf_counter()
    for row in range(y, y + size[1]):
        for column in range(x, x + size[0]):
            planet.read(zoom, column * TILE_SIZE, row * TILE_SIZE, TILE_SIZE, TILE_SIZE)
    count = size[0] * size[1]
    return (time.perf_counter() - begin) * 1000 / count, (planet.evaluations - before) / count


def warm_parents(planet: Planet, zoom: int, x: int, y: int, size: tuple[int, int]) -> None:
    """Generates what the viewport at an even `zoom` is made from."""
    left, top = (x * TILE_SIZE - AROUND) // 4, (y * TILE_SIZE - AROUND) // 4
    width, height = ((count * TILE_SIZE + 2 * AROUND) // 4 for count in size)
    planet.read(zoom - 2, left, top, width, height)


def median(
    measure: Callable[[int, int], tuple[float, float]], at: Iterator[tuple[int, int]], repeats: int
) -> tuple[float, float, float]:
    """Median milliseconds and windows, and most windows, of `measure` over `repeats` places."""
    taken = [measure(*next(at)) for _ in range(repeats)]
    windows = [count for _, count in taken]
    return statistics.median(ms for ms, _ in taken), statistics.median(windows), max(windows)


def measure(planet: Planet, arguments: argparse.Namespace) -> list[list[object]]:
    """The rows of the table for one planet: warm and cold viewports, warm and cold zoom-18 tiles."""

    def warm(zoom: int, size: tuple[int, int]) -> Callable[[int, int], tuple[float, float]]:
        def one(x: int, y: int) -> tuple[float, float]:
            warm_parents(planet, zoom, x, y, size)
            return read_tiles(planet, zoom, x, y, size)

        return one

    def cold(zoom: int, size: tuple[int, int]) -> Callable[[int, int], tuple[float, float]]:
        return lambda x, y: read_tiles(planet, zoom, x, y, size)

    rows: list[list[object]] = []
    zoom = arguments.zoom
    for name, at_zoom, size, repeats in (
        (f"viewport {VIEWPORT[0]} x {VIEWPORT[1]}, zoom {zoom}", zoom, VIEWPORT, arguments.viewports),
        ("single tile, zoom 18", 18, (1, 1), arguments.places),
    ):
        at = places(at_zoom, arguments.seed)
        warm_ms, warm_windows, _ = median(warm(at_zoom, size), at, repeats)
        cold_ms, cold_windows, most = median(cold(at_zoom, size), at, repeats)
        ratios = [f"{cold_ms / warm_ms:.1f}", f"{cold_windows / warm_windows:.1f}", f"{most / warm_windows:.1f}"]
        rows.append([planet.steps, name, warm_ms, cold_ms, warm_windows, cold_windows, *ratios])
    return rows


def main() -> None:
    """Measures and prints the table."""
    options = parser(__doc__)
    options.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8], help="sampler steps (default 1 2 4 8)")
    options.add_argument("--zoom", type=int, default=14, help="even zoom of the viewport (default 14)")
    options.add_argument("--viewports", type=int, default=3, help="viewports measured, warm and cold (default 3)")
    options.add_argument("--places", type=int, default=9, help="single tiles measured, warm and cold (default 9)")
    options.add_argument("--seed", type=int, default=1, help="seed of the random places (default 1)")
    options.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options.add_argument("--precision", default="auto", help="auto, bf16 or fp32")
    options.add_argument("--weights", type=Path, help="weights file (default: the one that ships)")
    arguments = options.parse_args()
    if arguments.zoom % 2 or not 8 <= arguments.zoom <= 20:
        options.error("--zoom must be an even zoom from 8 to 20.")
    report = Report("Milliseconds per 256 px tile", arguments.out)
    rows: list[list[object]] = []
    described = ""
    for steps in arguments.steps:
        # A planet for each count of steps: its blocks are its own, so it begins cold.
        planet = open_planet(
            "earth",
            steps=steps,
            device=arguments.device,
            precision=arguments.precision,
            weights=arguments.weights,
            memory_bytes=1 << 30,
        )
        described = planet.info().device
        read_tiles(planet, 6, 10, 30, (1, 1))  # first calls pay for oneDNN's and CUDA's set-up
        rows += measure(planet, arguments)
    headers = [
        "steps",
        "",
        "warm, ms per tile",
        "cold, ms per tile",
        "warm, windows per tile",
        "cold, windows per tile",
    ]
    report.add(table([*headers, "cold / warm, time", "cold / warm, windows", "the same, worst place"], rows))
    report.add(
        f"{described}. Medians. Aims on two AMX cores: warm viewport 120 ms at 2 steps and 400 ms at 8, cold "
        "zoom-18 tile 3 s; anywhere: a cold zoom-18 tile at most 8 times a warm one."
    )


if __name__ == "__main__":
    main()

"""What exporting a COG costs beside rendering its pixels, and the memory it holds.

Loss: the same cold area is rendered by `planet.read` alone, and exported as a COG (rendered, compressed, overviews,
written), each by a planet with an empty cache, taking turns area by area, so that a machine that slows down
slows both. Wall time is what a user waits for; processor time is not disturbed by what else the machine does.

Memory: a COG of --gigapixels is exported in a process of its own, which holds a planet with its weights and base picture
and as many bytes as its cache of blocks may take. To generate a gigapixel takes hours on a CPU, so there the pixels are
those of the base picture, at random offsets, as varied as real ones: memory does not depend on where they come from.
"""

from __future__ import annotations

import gc
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bench.report import Report, parser, table
from model import Planet, open_planet
from server.export_engine import Export
from server.export_estimate import Rates
from server.export_plan import ExportPlan, make_plan

GIB = 1 << 30


def plan_around(planet: Planet, zoom: int, longitude: float, latitude: float, width: int, height: int) -> ExportPlan:
    """A COG of about `width` x `height` pixels at a place."""
    degrees = 360 / (256 << zoom)
    box = (
        longitude,
        latitude - height * degrees * math.cos(math.radians(latitude)),
        longitude + (width - 0.5) * degrees,
        latitude,
    )
    return make_plan(box, format="cog", zoom=zoom, planet=planet.identity, attribution="benchmark")


def measure_loss(zoom: int, side: int, rounds: int, steps: int, folder: Path) -> list[dict[str, float]]:
    """Wall and processor seconds of rendering alone (bare) and of exporting, for `rounds` areas of side x side pixels."""
    measured = []
    bare, exporting = (open_planet("earth", steps=steps) for _ in range(2))
    rates = Rates(None, exporting.identity)
    for planet in (bare, exporting):  # what only the first call costs
        rates.read(planet, planet.base_zoom + 2, 0, 2000, 128, 128)
    for turn in range(rounds):
        plan = plan_around(bare, zoom, 7.0 + 9 * turn, 46.0, side, side)

        def render(plan: ExportPlan = plan) -> None:
            # In a thread, as the server and the export do it: how many cores a call gets may depend on that.
            window = (plan.maxzoom, plan.x, plan.y, plan.width, plan.height)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(lambda: bare.read(*window)).result()

        def export(plan: ExportPlan = plan, turn: int = turn) -> None:
            job = Export(
                plan,
                folder / f"work{turn}",
                lambda *window: rates.read(exporting, *window),
                lambda zoom: rates.side(zoom, exporting.base_zoom),
            )
            job.run(folder / f"area{turn}.tif", lambda progress: None)

        taken = {}
        # Who begins changes, for the second of the two may find the machine in another state.
        for name, function in (("bare", render), ("export", export))[:: 1 if turn % 2 == 0 else -1]:
            wall, processor = time.perf_counter(), time.process_time()
            function()
            taken[f"{name} wall"] = time.perf_counter() - wall
            taken[f"{name} cpu"] = time.process_time() - processor
        taken["pixels"] = float(plan.pixels)
        measured.append(taken)
    return measured


def measure_memory(gigapixels: float, folder: Path) -> None:
    """In a process of its own: exports and prints peak resident memory and more as JSON."""
    planet = open_planet("earth", steps=1)
    blocks = np.ones(256 << 20, np.uint8)  # what its cache of blocks may take
    zoom = 12
    width = round(math.sqrt(gigapixels * GIB))
    plan = plan_around(planet, zoom, 0.0, 40.0, width, round(gigapixels * GIB / width))
    rows, columns = np.random.default_rng(0).integers(0, 4096, (2, 1 << 16))

    def read(_: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        place = (x // 256 * 31 + y // 256 * 17) % len(rows)
        return planet.read(4, int(columns[place]), int(rows[place]) % 2000 + 1000, width, height)

    begin = time.perf_counter()
    output = folder / "memory.tif"
    Export(plan, folder / "work", read, lambda zoom: 256).run(output, lambda progress: None)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(
        json.dumps(
            {
                "peak": int(status["VmHWM"].split()[0]) * 1024,
                "pixels": plan.pixels,
                "size": output.stat().st_size,
                "seconds": time.perf_counter() - begin,
                "blocks": int(blocks.size),
            }
        )
    )


def main() -> None:
    """Measures and prints the tables."""
    options = parser(__doc__)
    options.add_argument("--zoom", type=int, default=8, help="zoom of the areas generated (default 8)")
    options.add_argument("--side", type=int, default=640, help="pixels a side of each (default 640)")
    options.add_argument("--rounds", type=int, default=3, help="areas, each rendered and exported (default 3)")
    options.add_argument(
        "--steps", type=int, default=1, help="sampler steps (default 1, the hardest: the fewest to hide behind)"
    )
    options.add_argument("--gigapixels", type=float, default=0.25, help="of the export whose memory is measured (default 0.25)")
    options.add_argument("--memory-of", type=float, help="what the process that measures memory is told; not for users")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.memory_of is not None:
            measure_memory(arguments.memory_of, folder)
            return
        report = Report("COG exports beside bare rendering", arguments.out)
        turns = measure_loss(arguments.zoom, arguments.side, arguments.rounds, arguments.steps, folder)
        rows = []
        for kind in ("wall", "cpu"):
            bare, exported = ([turn[f"{name} {kind}"] for turn in turns] for name in ("bare", "export"))
            ratio = statistics.median(b / a for a, b in zip(bare, exported, strict=True))
            rows.append([f"{kind} seconds an area", statistics.median(bare), statistics.median(exported), ratio])
        report.add(table(["", "bare rendering", "COG export", "export over bare"], rows))
        report.add(
            f"Areas of {turns[0]['pixels'] / 1e6:.2f} megapixels, zoom {arguments.zoom}, {arguments.steps} step(s), cold; "
            f"medians of {len(turns)}. Aim: at most 1.10 times."
        )
        gc.collect()
    told = [sys.executable, "-m", "bench.exports", "--memory-of", str(arguments.gigapixels)]
    measured = json.loads(subprocess.run(told, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    report.add(
        table(
            ["gigapixels", "file, MB", "seconds", "megapixels/s", "peak memory, MB", "share of 1.5 GB"],
            [
                [
                    measured["pixels"] / 1e9,
                    measured["size"] / 1e6,
                    measured["seconds"],
                    measured["pixels"] / 1e6 / measured["seconds"],
                    measured["peak"] / 1e6,
                    measured["peak"] / 1.5e9,
                ]
            ],
        )
    )
    report.add(
        "Pixels of the base picture in place of generated ones; the peak (VmHWM) holds the planet, its weights and "
        f"{measured['blocks'] / 1e6:.0f} MB for its cache of blocks. Aim: at most 1.5 GB for a gigapixel."
    )


if __name__ == "__main__":
    main()

"""A box of 2048 x 2048 pixels against the tiles that cover it, both over HTTP in one run.

Warm: the parents are in the block store, the blocks of the zoom itself are not; each box and each set of tiles lies at a
place of its own. Also with all blocks at hand, when nothing is left but resampling, encoding and HTTP.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from bench.process import Server, metaearth
from bench.report import Report, parser, table
from model.grid import EARTH_CIRCUMFERENCE, world_size

SIDE = 2048
TILES = SIDE // 256
HALF = EARTH_CIRCUMFERENCE / 2


def box_path(zoom: int, column: int, row: int, query: str) -> str:
    """The address of the box of 8 x 8 tiles from (column, row) on."""
    unit = EARTH_CIRCUMFERENCE / world_size(zoom) * 256
    left, top = column * unit - HALF, HALF - row * unit
    box = f"{left!r},{top - TILES * unit!r},{left + TILES * unit!r},{top!r}"
    return f"/bbox/{box}.png?bbox_crs=EPSG:3857&{query}"


def get(server: Server, path: str) -> float:
    """Seconds of one GET."""
    begin = time.perf_counter()
    status, body, _ = server.get(path)
    if status != 200:
        raise RuntimeError(f"{path} answered {status}: {body[:200]!r}")
    return time.perf_counter() - begin


def warm(server: Server, zoom: int, column: int, row: int) -> None:
    """Has the parents made of the box of tiles and of what lies around it."""
    for x in range(column // 4 - 1, (column + TILES) // 4 + 1):
        for y in range(row // 4 - 1, (row + TILES) // 4 + 1):
            get(server, f"/{zoom - 2}/{x}/{y}.jpg")


def tiles(server: Server, zoom: int, column: int, row: int, extension: str) -> float:
    """Seconds of the 8 x 8 tiles, one after another."""
    places = ((x, y) for y in range(row, row + TILES) for x in range(column, column + TILES))
    return sum(get(server, f"/{zoom}/{x}/{y}.{extension}") for x, y in places)


def main() -> None:
    """Measures and prints the table."""
    options = parser(__doc__)
    options.add_argument("--zoom", type=int, default=8, help="even zoom of the tiles (default 8)")
    options.add_argument("--steps", type=int, default=1, help="sampler steps (default 1)")
    options.add_argument("--repeats", type=int, default=2, help="boxes of each kind (default 2)")
    arguments = options.parse_args()
    zoom = arguments.zoom
    columns = range(16, world_size(zoom) // 256 - 16, 12)
    if len(columns) < 3 * arguments.repeats:
        options.error(f"zoom {zoom} has room for {len(columns) // 3} repeats; give a higher --zoom or fewer --repeats")
    report = Report("A 2048 x 2048 box against its tiles", arguments.out)
    kinds = {
        "on Mercator's pixels": f"width={SIDE}&height={SIDE}",
        "to longitude and latitude": f"width={SIDE}&height={SIDE}&crs=EPSG:4326",
    }
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as directory, metaearth(Path(directory), steps=arguments.steps) as server:
        place = iter(columns)
        row = world_size(zoom) // 256 // 2 - 20
        of_tiles = []
        for _ in range(arguments.repeats):
            column = next(place)
            warm(server, zoom, column, row)
            of_tiles.append((tiles(server, zoom, column, row, "png"), tiles(server, zoom, column, row, "webp")))
        reference = statistics.median(warmed for warmed, _ in of_tiles)
        at_hand = statistics.median(again for _, again in of_tiles)
        rows.append(["64 tiles", reference, 1.0, at_hand, 1.0])
        for name, query in kinds.items():
            taken = []
            for _ in range(arguments.repeats):
                column = next(place)
                warm(server, zoom, column, row)
                path = box_path(zoom, column, row, query)
                taken.append((get(server, path), get(server, path)))
            first, again = (statistics.median(times) for times in zip(*taken, strict=True))
            rows.append([f"box {name}", first, first / reference, again, again / at_hand])
    report.add(table(["", "warm, s", "ratio", "blocks at hand, s", "ratio "], rows))
    report.add("Aim: a warm box costs at most 1.3 times its tiles. With blocks at hand the tiles are WebP, so not yet encoded.")


if __name__ == "__main__":
    main()

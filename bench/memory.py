"""Peak resident memory of the server after many random tiles.

The tiles are a mixture: cold places at random zooms, neighbours of places seen before (their ancestors are
warm), and zooms up to the base picture's. Its caches fill as they would with users about. The floor is a
process that has imported what the server imports and holds the weights, and no more.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.process import Server, metaearth
from bench.report import Report, parser, table

_FLOOR = """
import resource
import server.app
from model.weights import load_weights
kept = load_weights()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def random_tiles(count: int, cold: float, seed: int) -> list[str]:
    """Paths of `count` tiles: a share `cold` of new places, 30 % at zooms 0 to 4, the rest neighbours of places."""
    draw = random.Random(seed)
    seen: list[tuple[int, int, int]] = []
    paths = []
    for _ in range(count):
        extension = draw.choice(("png", "jpg", "webp"))
        kind = draw.random()
        if kind < cold or not seen:
            zoom = draw.randint(5, 18)
            place = (zoom, draw.randrange(2**zoom), draw.randrange(2**zoom))
            seen.append(place)
        elif kind < cold + 0.3:
            zoom = draw.randint(0, 4)
            place = (zoom, draw.randrange(2**zoom), draw.randrange(2**zoom))
        else:
            zoom, x, y = draw.choice(seen)
            x, y = x + draw.randint(-2, 2), y + draw.randint(-2, 2)
            place = (zoom, x % 2**zoom, min(max(y, 0), 2**zoom - 1))
        paths.append(f"/{place[0]}/{place[1]}/{place[2]}.{extension}")
    return paths


def fetch(server: Server, paths: list[str], clients: int) -> Counter[int]:
    """Asks for all `paths`, from `clients` threads; the number of answers by status."""
    with ThreadPoolExecutor(clients) as pool:
        return Counter(pool.map(lambda path: server.get(path)[0], paths))


def main() -> None:
    """Measures and prints the table."""
    options = parser(__doc__)
    options.add_argument("--tiles", type=int, default=2000, help="tiles asked for (default 2000)")
    options.add_argument("--cold", type=float, default=0.1, help="share of cold random places (default 0.1)")
    options.add_argument("--steps", type=int, default=1, help="sampler steps (default 1: memory does not depend on it)")
    options.add_argument("--clients", type=int, default=4, help="requests under way at a time (default 4)")
    options.add_argument("--seed", type=int, default=1, help="seed of the random tiles (default 1)")
    arguments = options.parse_args()
    report = Report(f"Peak memory of the server after {arguments.tiles:,} random tiles", arguments.out)
    floor = int(subprocess.run([sys.executable, "-c", _FLOOR], check=True, capture_output=True).stdout)
    rows: list[list[object]] = [["imports and weights alone (the floor)", floor / 2**20, 1.0]]

    def row(name: str, size: int) -> None:
        rows.append([name, size / 2**20, size / floor])

    with tempfile.TemporaryDirectory() as folder, metaearth(Path(folder), steps=arguments.steps) as server:
        row("server started, peak", server.memory())
        begin = time.perf_counter()
        paths = random_tiles(arguments.tiles, arguments.cold, arguments.seed)
        statuses = fetch(server, paths, arguments.clients)
        taken = time.perf_counter() - begin
        row(f"after {arguments.tiles:,} tiles, peak (VmHWM)", server.memory())
        row("after them, resident", server.memory("VmRSS"))
        row("of that, not backed by files", server.memory("RssAnon"))
    report.add(table(["", "MiB", "over the floor"], rows))
    report.add(
        f"{len(set(paths)):,} different tiles, {100 * arguments.cold:.0f} % at cold places, {arguments.steps} step(s), "
        f"{taken:.0f} s; answers by status: {dict(statuses)}. Aim: 2 GB at most."
    )


if __name__ == "__main__":
    main()

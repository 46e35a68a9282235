"""Cached tiles from Redis: requests per CPU second of the server process, beside those from memory and the raw GET.

`metaearth serve` keeps nothing in memory and nothing on disk, so that every request is one look-up in a redis-server of its
own (a unix socket). The requests go through the tiles of one metatile in turn, so that no two under way ask for the same.
Beside it, in turns: the same server with its memory, and the least ASGI application that does one GET of redis-py and sends
the value (bench/redis_floor.py). Many connections share a round trip; with one connection, each request has its own. Redis'
own processor time is given besides.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from bench.hits import per_cpu_second, request_for
from bench.process import Server, metaearth, running
from bench.report import Report, parser, table

FLOOR_KEY = "bench:floor"
SIDE = 8
"""Tiles along a side of the square that is asked for."""


@contextmanager
def redis_server(folder: Path) -> Iterator[tuple[Server, str]]:
    """A redis-server that saves nothing, and its address."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is not installed.")
    socket = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log)
    try:
        while not socket.exists():
            if process.poll() is not None:
                raise SystemExit(f"redis-server ended with {process.returncode}.")
            time.sleep(0.02)
        yield Server(process, 0, folder / "redis.log"), f"unix://{socket}"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measures and prints the table."""
    options = parser(__doc__)
    options.add_argument("--tile", default="8/128/88", help="z/x/y of the north-western tile (default 8/128/88)")
    options.add_argument("--requests", type=int, default=10000, help="requests in a turn (default 10000)")
    options.add_argument("--connections", type=int, nargs="*", default=[1, 16, 64], help="keep-alive connections")
    options.add_argument("--rounds", type=int, default=5, help="turns of each (default 5)")
    arguments = options.parse_args()
    report = Report("Cached tiles from Redis", arguments.out)
    rows = []
    z, x, y = (int(part) for part in arguments.tile.split("/"))
    with tempfile.TemporaryDirectory() as name, redis_server(Path(name)) as (store, url):
        floor_command = [sys.executable, "-m", "bench.redis_floor", url, FLOOR_KEY]
        client = redis.Redis.from_url(url)
        bare = {"tile_memory_mb": 0, "tile_disk_mb": 0, "cache_url": url, "steps": 1}
        with metaearth(Path(name) / "one", **bare) as server, metaearth(Path(name) / "two", cache_url=url, steps=1) as warm:
            for extension in ("jpg", "png"):
                paths = [f"/{z}/{x + i % SIDE}/{y + i // SIDE}.{extension}" for i in range(SIDE**2)]
                bodies = [server.get(path)[1] for path in paths]
                if any([where.get(path)[1] for path in paths] != bodies for where in (server, warm)):
                    raise SystemExit("A tile is not the same from Redis.")
                body = sorted(bodies, key=len)[len(bodies) // 2]
                client.set(FLOOR_KEY, body)
                with running(floor_command, "/", {}) as floor:
                    for connections in arguments.connections:
                        load = ([request_for(path) for path in paths], connections, arguments.requests)
                        turns = []
                        for _ in range(arguments.rounds):
                            spent = store.cpu_seconds()
                            hit = per_cpu_second(server, *load)
                            spent = store.cpu_seconds() - spent
                            turns.append((hit, per_cpu_second(warm, *load), per_cpu_second(floor, *load), spent))
                        hit, memory, least, spent = (statistics.median(values) for values in zip(*turns, strict=True))
                        share = f"{100 * statistics.median(h / f for h, _, f, _ in turns):.0f} %"
                        per_request = 1e6 * spent / arguments.requests
                        rows.append(
                            [extension, f"{len(body):,}", connections, hit, 1e6 / hit, least, share, memory, per_request]
                        )
    headings = [
        "tile",
        "body, bytes (median)",
        "connections",
        "requests per CPU second from Redis",
        "CPU us per request",
        "raw GET behind uvicorn",
        "share of it",
        "from memory",
        "Redis' own CPU us",
    ]
    report.add(table(headings, rows))
    report.add(f"{arguments.requests:,} requests in each of {arguments.rounds} turns, medians. Aim: 8,000 per CPU second.")


if __name__ == "__main__":
    main()

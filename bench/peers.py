"""A cached tile from our server beside other tile servers': requests per CPU second of the server, all in one run.

Ours answers from memory and from Redis. The others are installed into --folder on first use: nginx and redis-server must be
there already, titiler and MapProxy come from PyPI, tileserver-gl from npm. Those that cannot be had are named.
Processor time is that of the server's whole tree of processes, as in bench/hits.py; redis-server's is its own and not
counted.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.hits import first_answer, hammer, per_cpu_second, request_for
from bench.peers_servers import PEERS, Material, MissingError
from bench.process import Server, metaearth
from bench.report import Report, parser, table
from model.base import default_cache_dir

TILE = "4/8/5"
LEAST_CPU_SECONDS = 0.3
MOST = 64


@contextlib.contextmanager
def redis_url(folder: Path) -> Iterator[str]:
    """A redis-server of our own on a unix socket; raises `MissingError` without one."""
    program = shutil.which("redis-server")
    if program is None:
        raise MissingError("redis-server is not installed")
    path = folder / "redis.sock"
    path.unlink(missing_ok=True)
    process = subprocess.Popen([program, "--port", "0", "--unixsocket", str(path), "--save", ""], stdout=subprocess.DEVNULL)
    try:
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measures and prints the table."""
    options = parser(__doc__)
    options.add_argument("--requests", type=int, default=5000, help="requests in a turn (default 5000)")
    options.add_argument("--connections", type=int, default=16, help="keep-alive connections (default 16)")
    options.add_argument("--rounds", type=int, default=3, help="turns of each server (default 3)")
    options.add_argument("--folder", type=Path, default=default_cache_dir() / "peers", help="where the others are installed")
    arguments = options.parse_args()
    report = Report("A cached tile beside other servers'", arguments.out)
    folder: Path = arguments.folder.absolute()
    rows: list[list[object]] = []
    missing: list[str] = []
    ours = 0.0

    def rate(server: Server, path: str) -> tuple[int, float]:
        request = request_for(path)
        status, length = first_answer(server.port, request)
        if not status.endswith(b" 200"):
            raise MissingError(f"{path} answers {status.decode()}")
        count: int = arguments.requests
        while True:
            # Also warms it up. Processor time is told in hundredths of a second: a fast server gets more to do.
            before = server.cpu_seconds()
            hammer(server.port, request, arguments.connections, count)
            taken = server.cpu_seconds() - before
            if taken >= LEAST_CPU_SECONDS or count >= MOST * arguments.requests:
                break
            count *= 4
        rates = [per_cpu_second(server, request, arguments.connections, count) for _ in range(arguments.rounds)]
        return length, statistics.median(rates)

    def row(name: str, length: int, value: float) -> None:
        rows.append([name, f"{length:,}", value, 1e6 / value, f"{ours / value:.2f}"])

    with metaearth(folder / "ours", steps=1) as server:
        _, tile, _ = server.get(f"/{TILE}.jpg")
        length, ours = rate(server, f"/{TILE}.jpg")
        row("ours, from memory", length, ours)
        material = Material.make(folder, server.port, tile)
        for peer in PEERS:
            try:
                with peer.running(material) as other:
                    row(peer.name, *rate(other, peer.path(material, TILE)))
            except (MissingError, RuntimeError, OSError) as error:
                missing.append(f"{peer.name}: {error}")
    try:
        with (
            redis_url(folder) as url,
            metaearth(folder / "redis", steps=1, cache_url=url, tile_memory_mb=0, tile_disk_mb=0) as server,
        ):
            row("ours, from Redis", *rate(server, f"/{TILE}.jpg"))
    except MissingError as error:
        missing.append(f"ours, from Redis: {error}")
    report.add(table(["server", "answer, bytes", "requests per CPU second", "CPU us per request", "ours / it"], rows))
    report.add(
        f"{arguments.connections} keep-alive connections, {arguments.requests:,} requests or more in each of "
        f"{arguments.rounds} turns, medians. "
        "Aims: 20,000 from memory, 8,000 from Redis, nginx before ours within 1.3 of nginx static."
    )
    if missing:
        report.add("Not measured:\n\n" + "\n".join(f"- {line}" for line in missing))


if __name__ == "__main__":
    main()

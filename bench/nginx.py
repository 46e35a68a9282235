"""nginx in front of the server against nginx with a file: requests per second of a tile that compose's nginx has kept.

compose's configuration with its limits per client raised out of reach, and a plain one for files, run side by side, each
with one worker process and its access log, and are asked for the same bytes in turns. What counts is the processor time of
the worker, by /proc/PID/stat, as in bench/hits.py, so that the client's cost and the rest of the machine play no part;
requests per second of the clock stand beside it. Aim: nginx in front within 1.3 of nginx static. Needs nginx; the client is
wrk where that is installed (Debian: wrk), else that of bench/hits.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.hits import hammer, request_for
from bench.process import Server, free_port, metaearth, running
from bench.report import Report, parser, table
from docker.local import nginx_conf

AIM = 1.3
EXTENSIONS = ("jpg", "png")
# As nginx is usually set up for files.
STATIC = """
worker_processes 1;
pid {folder}/nginx.pid;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log {folder}/access.log combined buffer=32k flush=1s;
    sendfile on;
    keepalive_requests 10000;
    open_file_cache max=1000 inactive=60s;
    types {{ image/jpeg jpg; image/png png; }}
    server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
}}
"""


class Worker(Server):
    """The one worker process of the nginx that `bench.process.running` has started."""

    def __init__(self, nginx: Server) -> None:
        children = Path(f"/proc/{nginx.pid}/task/{nginx.pid}/children").read_text().split()
        commands = {int(child): Path(f"/proc/{child}/cmdline").read_text() for child in children}
        (self.pid,) = (pid for pid, command in commands.items() if "worker" in command)
        self.port = nginx.port


# What is measured is the cost of the limits, not the refusals.
PLACES = {
    "workers": ("worker_processes auto", "worker_processes 1"),
    "exempt": ('127.0.0.1 "";', '127.0.0.2 "";'),
    "rate": ("rate=300r/s", "rate=1000000r/s"),
    "burst": ("burst=600", "burst=1000000"),
    "connections": ("limit_conn connections 128", "limit_conn connections 60000"),
}


def started(nginx: str, conf: Path, ready: str, port: int) -> contextlib.AbstractContextManager[Server]:
    """nginx with `conf`, which listens on `port`."""
    command = [nginx, "-g", "daemon off;", "-c", str(conf), "-e", str(conf.parent / "start.log")]
    return running(command, ready, {}, port)


def in_front(nginx: str, folder: Path, server: Server) -> contextlib.AbstractContextManager[Server]:
    """compose's nginx before `server`."""
    port = free_port()
    return started(nginx, nginx_conf(folder, port, f"127.0.0.1:{server.port}", **PLACES), "/health", port)


def static(nginx: str, folder: Path, tile: str, server: Server) -> contextlib.AbstractContextManager[Server]:
    """nginx with the files of `tile` in each format measured."""
    port = free_port()
    for extension in EXTENSIONS:
        file = folder / "files" / f"{tile}.{extension}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(server.get(f"/{tile}.{extension}")[1])
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(STATIC.format(folder=folder, user=user, port=port))
    return started(nginx, folder / "nginx.conf", f"/{tile}.{EXTENSIONS[0]}", port)


def turn(worker: Worker, path: str, connections: int, requests: int, wrk: str | None) -> tuple[float, float]:
    """Requests per second of the worker's processor time, and of the clock."""
    cpu, clock = worker.cpu_seconds(), time.perf_counter()
    if wrk is None:
        hammer(worker.port, request_for(path), connections, requests)
        done = requests
    else:
        # wrk counts seconds; about as many as `requests` take.
        seconds = max(1, round(requests / 20000))
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{worker.port}{path}"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        if "Non-2xx" in said or "Socket errors" in said:
            raise RuntimeError(said)
        (count,) = re.findall(r"(\d+) requests in", said)
        done = int(count)
    return done / (worker.cpu_seconds() - cpu), done / (time.perf_counter() - clock)


def main() -> None:
    """Measures and prints the table."""
    options = parser(__doc__)
    options.add_argument("--tile", default="4/8/5", help="z/x/y of the tile (default 4/8/5)")
    options.add_argument("--requests", type=int, default=100000, help="requests in a turn, about (default 100000)")
    options.add_argument("--connections", type=int, default=64, help="keep-alive connections (default 64)")
    options.add_argument("--rounds", type=int, default=5, help="turns of each (default 5)")
    options.add_argument("--client", choices=("wrk", "own"), help="by default wrk where it is installed")
    arguments = options.parse_args()
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    wrk = shutil.which("wrk") if arguments.client != "own" else None
    if nginx is None or (arguments.client == "wrk" and wrk is None):
        raise SystemExit("nginx, and wrk if it is asked for, must be installed (Debian: nginx, wrk).")
    report = Report("nginx in front", arguments.out)
    rows = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(metaearth(folder / "server", steps=1))
        front = Worker(stack.enter_context(in_front(nginx, folder / "front", server)))
        files = Worker(stack.enter_context(static(nginx, folder / "static", arguments.tile, server)))
        for extension in EXTENSIONS:
            path = f"/{arguments.tile}.{extension}"
            answers = [where.get(path) for where in (front, front, files)]
            if len({answer[1] for answer in answers}) != 1 or answers[1][2].get("x-cache-status") != "HIT":
                raise SystemExit(f"{path} is not kept by nginx as the server sends it.")
            turns = [
                [turn(where, path, arguments.connections, arguments.requests, wrk) for where in (front, files)]
                for _ in range(arguments.rounds)
            ]
            cpu = [(a[0], b[0]) for a, b in turns]
            clock = [(a[1], b[1]) for a, b in turns]
            ratio, by_clock = (statistics.median(file / kept for kept, file in pairs) for pairs in (cpu, clock))
            medians = [statistics.median(values) for values in zip(*cpu, strict=True)]
            rows.append([extension, f"{len(answers[0][1]):,}", *medians, f"{ratio:.2f}", f"{by_clock:.2f}"])
    headings = ["tile", "body, bytes", "kept by nginx, requests per CPU second", "nginx static", "ratio", "ratio by the clock"]
    report.add(table(headings, rows))
    report.add(
        f"{arguments.connections} keep-alive connections by {'wrk' if wrk else 'the client of bench/hits.py'}, about "
        f"{arguments.requests:,} requests in each of {arguments.rounds} turns, medians. Aim: a ratio of at most {AIM}."
    )


if __name__ == "__main__":
    main()

"""Cached tiles through the whole stack: requests per CPU second of the server process.

`metaearth serve` renders one tile; then keep-alive connections ask for it again and again, each with one
request under way at a time (no pipelining). What counts is the processor time that the server's process
took, by /proc/PID/stat, so the client's own cost and the number of cores play no part. The floor, in turns
with it, is the least ASGI application under the same uvicorn that sends as many bytes (bench/hello.py).
"""

from __future__ import annotations

import itertools
import selectors
import socket
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.process import Server, metaearth, running
from bench.report import Report, parser, table

# As clients write it: names in capitals, the slash escaped.
KVP = "SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER=earth&STYLE=default&FORMAT=image%2Fjpeg&TILEMATRIXSET=WebMercatorQuad"


@dataclass
class Connection:
    """A keep-alive connection, the bytes of its present answer, those still to come, and how the answer must begin."""

    socket: socket.socket
    length: int = 0
    missing: int = 0
    status: bytes = b""

    def ask(self, request: bytes, answer: tuple[bytes, int]) -> None:
        """Sends `request`, whose `answer` is known by its beginning and its length."""
        self.status, self.length = answer
        self.missing = self.length
        self.socket.sendall(request)


def hammer(port: int, request: bytes | Sequence[bytes], connections: int, requests: int) -> None:
    """Sends `request`, or several in turn, over `connections` keep-alive connections until `requests` answers have come.

    All answers to a request must have the length of the first. Raises RuntimeError if the server closes a connection or
    an answer has another status than the first.
    """
    asked = [request] if isinstance(request, bytes) else request
    exchanges = itertools.cycle([(one, first_answer(port, one)) for one in asked])
    buffer = bytearray(1 << 20)
    selector = selectors.DefaultSelector()
    started = 0
    for _ in range(min(connections, requests)):
        opened = Connection(socket.create_connection(("127.0.0.1", port)))
        opened.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(opened.socket, selectors.EVENT_READ, opened)
        opened.ask(*next(exchanges))
        started += 1
    done = 0
    while done < requests:
        for key, _ in selector.select():
            connection: Connection = key.data
            count = connection.socket.recv_into(buffer)
            if not count:
                raise RuntimeError("The server closed a connection.")
            if connection.missing == connection.length and not buffer.startswith(connection.status):
                raise RuntimeError(f"The server answered {bytes(buffer[:60])!r}.")
            connection.missing -= count
            if connection.missing == 0:
                done += 1
                if started < requests:
                    connection.ask(*next(exchanges))
                    started += 1
            elif connection.missing < 0:
                raise RuntimeError("An answer is longer than the first.")
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    selector.close()


def first_answer(port: int, request: bytes) -> tuple[bytes, int]:
    """The status line's beginning and the length in bytes of the answer to `request`, headers included."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(1 << 16)
        head, _, body = received.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(body) < length:
            body += connection.recv(1 << 16)
    return head[:12], len(head) + 4 + len(body)


def request_for(path: str, *headers: str) -> bytes:
    """A request as browsers send it, in brief."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Accept: image/*", "User-Agent: bench", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def per_cpu_second(server: Server, request: bytes | Sequence[bytes], connections: int, requests: int) -> float:
    """Requests per second of the server's processor time."""
    before = server.cpu_seconds()
    hammer(server.port, request, connections, requests)
    return requests / (server.cpu_seconds() - before)


def main() -> None:
    """Measures and prints the table."""
    options = parser(__doc__)
    options.add_argument("--tile", default="8/133/88", help="z/x/y of the tile (default 8/133/88)")
    options.add_argument("--requests", type=int, default=20000, help="requests in a turn (default 20000)")
    options.add_argument("--connections", type=int, default=16, help="keep-alive connections (default 16)")
    options.add_argument("--rounds", type=int, default=5, help="turns of server and floor (default 5)")
    arguments = options.parse_args()
    report = Report("Cached tiles through the whole stack", arguments.out)
    load = (arguments.connections, arguments.requests)
    hello = [sys.executable, "-m", "bench.hello"]
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        metaearth(Path(folder), steps=1) as server,
        running(hello, "/0", {}) as floor,
    ):
        cases = []
        for extension in ("jpg", "webp", "png"):
            path = f"/{arguments.tile}.{extension}"
            status, body, headers = server.get(path)
            if status != 200:
                raise SystemExit(f"{path} answered {status}: {body.decode(errors='replace')}")
            cases.append((f"{extension}, 200", len(body), request_for(path)))
        cases.append(("png, 304", 0, request_for(path, f"If-None-Match: {headers['etag']}")))
        z, x, y = arguments.tile.split("/")
        for name, address in (
            ("jpg by WMTS RESTful", f"/wmts/1.0.0/earth/default/WebMercatorQuad/{z}/{y}/{x}.jpg"),
            ("jpg by WMTS KVP", f"/wmts?{KVP}&TILEMATRIX={z}&TILEROW={y}&TILECOL={x}"),
        ):
            status, body, _ = server.get(address)
            if (status, body) != server.get(f"/{arguments.tile}.jpg")[:2]:
                raise SystemExit(f"{address} is not /{arguments.tile}.jpg.")
            cases.append((name, len(body), request_for(address)))
        for name, size, request in cases:
            turns, ratios = [], []
            for _ in range(arguments.rounds):
                hit = per_cpu_second(server, request, *load)
                turns.append((hit, per_cpu_second(floor, request_for(f"/{size}"), *load)))
                if "WMTS" in name:
                    ratios.append(hit / per_cpu_second(server, request_for(f"/{arguments.tile}.jpg"), *load))
            hit, least = (statistics.median(values) for values in zip(*turns, strict=True))
            share = statistics.median(hit / least for hit, least in turns)
            to_xyz = f"{statistics.median(ratios):.2f}" if ratios else ""
            rows.append([name, f"{size:,}", hit, 1e6 / hit, least, f"{100 * share:.0f} %", to_xyz])
    headings = [
        "answer",
        "body, bytes",
        "requests per CPU second",
        "CPU us per request",
        "floor",
        "share of the floor",
        "of the XYZ tile's rate",
    ]
    report.add(table(headings, rows))
    report.add(
        f"{arguments.connections} keep-alive connections, {arguments.requests:,} requests in each of "
        f"{arguments.rounds} turns, medians. Aim: 20,000 requests per CPU second."
    )


if __name__ == "__main__":
    main()

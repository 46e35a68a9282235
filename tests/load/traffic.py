"""Many keep-alive connections that ask for tiles, and what they got."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from bench.process import Server

# The newest request is rendered first: under load that never pauses, the oldest waits until all is done.
TIMEOUT_S = 600.0
Answer = tuple[int, bytes]


class CutError(Exception):
    """The connection ended before the answer did."""


@dataclass
class Traffic:
    """What came of a run: statuses, latencies of 200 in seconds, bodies by path, and a sentence for each fault."""

    answers: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    cut: int = 0
    faults: list[str] = field(default_factory=list)

    def take(self, path: str, answer: Answer, seconds: float) -> None:
        """Notes one answer; two that differ are a fault."""
        status, body = answer
        self.answers[status] += 1
        if status == 200:
            self.seconds.append(seconds)
            if self.bodies.setdefault(path, body) != body:
                self.faults.append(f"{path} has had two different bodies of {len(body)} and {len(self.bodies[path])} bytes.")
        else:
            self.faults.append(f"{path} answered {status}: {body[:200]!r}")

    def percentile(self, share: float) -> float:
        """The latency that `share` of the answers kept below, seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> Answer:
    """One request on an open connection; raises `CutError` if the answer does not come whole."""
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT_S)
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        return int(head[9:12]), await asyncio.wait_for(reader.readexactly(length), TIMEOUT_S)
    except (OSError, asyncio.IncompleteReadError) as error:
        raise CutError(repr(error)) from error


async def drive(port: int, paths: Iterable[str], connections: int, *, tolerant: bool = False) -> Traffic:
    """Asks for `paths`, in order, over so many connections.

    `tolerant`: a connection that is refused or cut is opened anew, as clients do, and its path left out; else a fault.
    """
    traffic = Traffic()
    queue: Iterator[str] = iter(paths)

    async def client() -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for path in queue:
            begin = time.perf_counter()
            try:
                if streams is None:
                    streams = await asyncio.open_connection("127.0.0.1", port)
                traffic.take(path, await ask(*streams, path), time.perf_counter() - begin)
            except (OSError, CutError) as error:
                traffic.cut += 1
                if streams is not None:
                    streams[1].close()
                    streams = None
                if not tolerant:
                    traffic.faults.append(f"{path} was cut: {error}")
                await asyncio.sleep(0.02)
        if streams is not None:
            streams[1].close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return traffic


def blocks_generated(server: Server) -> int:
    """Blocks that all workers of `server` have generated since it started, by its metrics."""
    time.sleep(2.5)  # a worker that does not answer this request has written its figures once a second
    status, body, _ = server.get("/metrics")
    assert status == 200, body
    lines = [line for line in body.decode().splitlines() if line.startswith("metaearth_blocks_generated_total")]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))


def cpu_until_quiet(server: Server, patience: float = 120.0) -> float:
    """Processor seconds that `server` takes until it has next to nothing to do; raises TimeoutError."""
    begin, end = server.cpu_seconds(), time.monotonic() + patience
    last = begin
    while time.monotonic() < end:
        # Long enough, and little enough, not to take a server that waits for a processor for one that has nothing to do.
        time.sleep(2)
        now = server.cpu_seconds()
        if now - last <= 0.03:
            return now - begin
        last = now
    raise TimeoutError(f"The server still works after {patience:.0f} s.")

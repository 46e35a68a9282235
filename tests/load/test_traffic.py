"""Traffic on real processes: one rendering for all, hits under attack, clients that leave, memory (issue 5)."""

from __future__ import annotations

import asyncio
import io
import random
import signal
import socket
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.process import Server, metaearth
from model import Planet
from tests.load.conftest import FULL, amount, with_base
from tests.load.traffic import Traffic, ask, blocks_generated, cpu_until_quiet, drive
from tests.redis_server import RedisServer

pytestmark = pytest.mark.timeout(3600)
SEED = 5
HITS = [f"/3/{x}/{y}.png" for x in range(8) for y in range(8)]


def deep_tiles(count: int, draw: random.Random) -> list[str]:
    """Tiles at zoom 18, each cold, in the land of nowhere."""
    return [f"/18/{draw.randrange(1 << 18)}/{draw.randrange(1 << 18)}.png" for _ in range(count)]


def test_every_block_is_rendered_once_whoever_asks(redis_server: RedisServer, tmp_path: Path, planet: Planet) -> None:
    """10,000 requests at 64 connections over 500 tiles, two workers and Redis."""
    side = amount(13, 2)  # tiles a side at zoom 6, four blocks each; their parents are the base picture
    places = [(6, 33 + i, 21 + j) for i in range(side) for j in range(side)]
    places += [(4, i % 16, i // 16) for i in range(amount(256, 45))] + [(3, i % 8, i // 8) for i in range(amount(64, 11))]
    places += [(2, i % 4, i // 4) for i in range(amount(11, 0))]
    paths = [f"/{z}/{x}/{y}.png" for z, x, y in places]
    assert len(paths) == amount(500, 60)
    asked = [*paths, *random.Random(SEED).choices(paths, k=amount(10_000, 1_000) - len(paths))]
    random.Random(SEED).shuffle(asked)
    folder = with_base(tmp_path / "cache")
    with metaearth(folder, steps=1, workers=2, cache_url=redis_server.url, queue_limit=1000) as server:
        traffic = asyncio.run(drive(server.port, asked, 64))
        generated = blocks_generated(server)
    assert traffic.faults == []
    assert traffic.answers == {200: len(asked)}
    for (z, x, y), path in zip(places, paths, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(traffic.bodies[path])))
        assert np.array_equal(pixels, planet.read(z, x * 256, y * 256, 256, 256)), path
    # And the one that both workers warm up with, which they share too.
    assert generated == 4 * side * side + 1


def test_hits_are_served_under_slow_loris_and_a_flood_of_deep_tiles(server: Server) -> None:
    asyncio.run(drive(server.port, HITS, 4))
    count = amount(5_000, 500)
    idle = asyncio.run(drive(server.port, islice(cycle(HITS), count), 4))

    async def attacked() -> Traffic:
        slow = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(amount(500, 100))]
        for _, writer in slow:
            writer.write(b"GET /3/0/0.png HTTP/1.1\r\nHost: slow\r\nX-Slow: ")
        flood = [asyncio.create_task(_deep(server.port, path)) for path in deep_tiles(amount(200, 40), random.Random(SEED))]
        await asyncio.sleep(0.5)
        traffic = await drive(server.port, islice(cycle(HITS), count), 4)
        health = await asyncio.gather(*(_timed(server.port, "/health") for _ in range(5)))
        assert [status for status, _ in health] == [200] * 5
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
        for _, writer in slow:
            writer.close()
        return traffic

    busy = asyncio.run(attacked())
    assert busy.faults == []
    assert busy.answers == {200: count}
    ratio = busy.percentile(0.99) / idle.percentile(0.99)
    print(f"p99 of hits: {1e3 * busy.percentile(0.99):.2f} ms, {ratio:.1f} times that of an idle server")
    if FULL:  # says something only on a machine that does nothing else
        assert ratio <= 5
    cpu_until_quiet(server)


async def _deep(port: int, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await ask(reader, writer, path)
    finally:
        writer.close()


async def _timed(port: int, path: str) -> tuple[int, float]:
    begin = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    status, _ = await ask(reader, writer, path)
    writer.close()
    return status, time.perf_counter() - begin


def test_clients_that_leave_leave_no_work_behind(server: Server) -> None:
    draw = random.Random(SEED + 1)
    cpu_until_quiet(server)
    before = server.cpu_seconds()
    assert server.get(deep_tiles(1, draw)[0])[0] == 200
    one = server.cpu_seconds() - before + cpu_until_quiet(server)

    async def leave(path: str) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await asyncio.sleep(0.3)
        writer.close()

    async def all_leave() -> None:
        await asyncio.gather(*(leave(path) for path in deep_tiles(100, draw)))

    before = server.cpu_seconds()
    asyncio.run(all_leave())
    spent = server.cpu_seconds() - before + cpu_until_quiet(server)
    # What had begun is finished and kept; 100 of them would take 100 times as long as one.
    assert spent < 6 * one + 3, f"{spent:.1f} s of work for nobody; one tile takes {one:.1f} s"
    assert server.get(HITS[0])[0] == 200


def test_clients_that_left_before_they_were_seen_leave_no_work_behind(server: Server) -> None:
    """They come and go while the server is held: it sees both at once, in the midst of looking into its cache."""
    cpu_until_quiet(server)
    before = server.cpu_seconds()
    server.process.send_signal(signal.SIGSTOP)
    try:
        for path in deep_tiles(30, random.Random(SEED + 2)):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    finally:
        server.process.send_signal(signal.SIGCONT)
    spent = server.cpu_seconds() - before + cpu_until_quiet(server, 60)
    assert spent < 10, f"{spent:.1f} s of work for nobody"
    assert server.get(HITS[0])[0] == 200


def test_memory_does_not_grow_with_requests(server: Server) -> None:
    def mixture() -> Iterator[str]:
        draw = random.Random(SEED)
        hits = [*HITS, *(path.replace("png", "jpg") for path in HITS)]
        while True:
            yield draw.choice(hits)

    first, all_ = amount(5_000, 500), amount(50_000, 5_000)
    asyncio.run(drive(server.port, HITS, 4))
    assert asyncio.run(drive(server.port, islice(mixture(), first), 16)).faults == []
    after_first = server.memory("VmRSS")
    assert asyncio.run(drive(server.port, islice(mixture(), all_ - first), 16)).faults == []
    after_all = server.memory("VmRSS")
    print(f"{after_first / 2**20:.0f} MiB after {first:,} requests, {after_all / 2**20:.0f} MiB after {all_:,}")
    assert after_all <= 1.1 * after_first

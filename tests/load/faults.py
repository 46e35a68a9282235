"""Servers, workers and Redis killed at random moments while tiles are asked for, and what clients see of it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.process import Server, free_port, metaearth_command, metaearth_environment, start
from tests.load.traffic import Traffic, drive
from tests.redis_server import RedisServer

CONNECTIONS = 8
# The latest that a victim is killed after the first request of its round, seconds.
LATEST_S = 1.5


@dataclass
class Ordeal:
    """What came of it: seconds from each kill's end to the first answer, by victim, and a sentence for each fault."""

    recovered: list[tuple[str, float]] = field(default_factory=list)
    answers: int = 0
    cut: int = 0
    faults: list[str] = field(default_factory=list)


class Victims:
    """A server of two workers with its caches in `folder`, and a Redis."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.folder, self.redis, self.port = folder, redis, free_port()
        self.environment = metaearth_environment(folder, steps=1, workers=2, cache_url=redis.url, queue_limit=1000)
        self.server: Server = self._start()
        self.server.wait("/health")

    def _start(self) -> Server:
        return start([*metaearth_command(), str(self.port)], self.environment, self.port, self.folder / "server.log")

    def kill(self, victim: str, draw: random.Random) -> None:
        """SIGKILL to the whole server, which is started anew at once, to one of its workers, or to Redis."""
        workers = self.server.tree()[1:]
        if victim == "redis":
            self.redis.kill()
            time.sleep(draw.random())
            self.redis.start()
        elif victim == "worker" and workers:
            with suppress(ProcessLookupError):
                os.kill(draw.choice(workers), signal.SIGKILL)
        else:
            self.server.kill()
            self.server = self._start()

    def stored(self) -> set[str]:
        """Names of the tiles on disk whose content is whole, as SQLite sees them from outside."""
        with sqlite3.connect(f"file:{self.folder / 'tiles.sqlite'}?mode=ro", uri=True) as reader:
            assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return {name for (name,) in reader.execute("SELECT key FROM entry")}

    def stop(self) -> None:
        """Ends the server."""
        self.server.stop()


def suffer(
    victims: Victims,
    killed: list[str],
    expected: Mapping[str, bytes],
    name_of: Callable[[str], str],
    cold: Callable[[int], list[str]],
    seed: int = 0,
) -> Ordeal:
    """Kills each of `killed`, in a round of its own, at a random moment while tiles are asked for.

    `expected`: what tiles must be, by path. `cold(round)`: paths of these that nobody has asked for before the round, so that
    it renders and writes. `name_of(path)`: what the tile is stored under.
    """
    ordeal, draw = Ordeal(), random.Random(seed)
    acknowledged: set[str] = set()

    async def one(victim: str, paths: list[str]) -> tuple[Traffic, float]:
        traffic = asyncio.create_task(drive(victims.port, paths, CONNECTIONS, tolerant=True))
        await asyncio.sleep(draw.uniform(0.02, LATEST_S))
        await asyncio.to_thread(victims.kill, victim, draw)
        killed_at = time.monotonic()
        while (await drive(victims.port, [paths[0]], 1, tolerant=True)).answers[200] == 0:
            await asyncio.sleep(0.02)
        took = time.monotonic() - killed_at
        return await traffic, took

    for number, victim in enumerate(killed):
        fresh = cold(number)
        asked = fresh + draw.choices(sorted(acknowledged) or fresh, k=2 * len(fresh))
        # Long enough to last beyond the kill and what follows.
        traffic, took = asyncio.run(one(victim, asked))
        ordeal.recovered.append((victim, took))
        ordeal.answers += traffic.answers[200]
        ordeal.cut += traffic.cut
        ordeal.faults += traffic.faults
        for path, body in traffic.bodies.items():
            if body != expected[path]:
                ordeal.faults.append(f"{path} came with {len(body)} wrong bytes after {victim} was killed.")
        acknowledged |= set(traffic.bodies)
        if lost := [path for path in sorted(acknowledged) if name_of(path) not in victims.stored()]:
            ordeal.faults.append(f"{len(lost)} tiles that were sent are gone after {victim} was killed, such as {lost[0]}.")
    final = asyncio.run(drive(victims.port, sorted(expected), CONNECTIONS))
    ordeal.faults += final.faults
    ordeal.faults += [f"{path} is wrong in the end." for path, body in final.bodies.items() if body != expected[path]]
    printed = victims.server.printed()
    if "Traceback" in printed:
        ordeal.faults.append(f"The log holds a traceback: {printed[printed.index('Traceback') :][:3000]}")
    return ordeal

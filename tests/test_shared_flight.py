"""One process among all makes a value: claims in Redis and in files, their loss, and waiters who are woken."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cache import DiskCache, FileClaims, SharedBlocks
from cache.redis_keys import BLOCK, full_key, lock_keys
from cache.redis_lease import LEASE_SECONDS
from cache.redis_tier import RedisTier
from model import Planet
from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[1]
NAMES = ["planet/{9/1/0}/a", "planet/{9/1/0}/b"]


@pytest.fixture
def tiers(redis_server: RedisServer) -> Iterator[list[RedisTier]]:
    """Three servers that share a Redis, as far as it can tell."""
    opened = [RedisTier.open(redis_server.url, 60) for _ in range(3)]
    yield opened
    for tier in opened:
        tier.close()


def program(text: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python process of its own, its standard output a pipe."""
    command = [sys.executable, "-c", text, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=ROOT, text=True)


def line(process: subprocess.Popen[str]) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_block_is_one_processs_to_make_and_the_others_are_woken(tiers: list[RedisTier]) -> None:
    first, second, _ = (tier.blocks for tier in tiers)
    assert first.claim(["p/6/0/0", "p/6/0/1"]) == ({}, {"p/6/0/0", "p/6/0/1"})
    assert second.claim(["p/6/0/1", "p/6/0/2"]) == ({}, {"p/6/0/2"})
    threading.Timer(0.3, lambda: first.put("p/6/0/1", b"made")).start()
    began = time.monotonic()
    second.wait(["p/6/0/1"])
    assert 0.2 < time.monotonic() - began < LEASE_SECONDS - 0.5, "woken by the message, not by the claim's end"
    assert second.claim(["p/6/0/1"]) == ({"p/6/0/1": b"made"}, set())
    first.abandon(["p/6/0/0"])
    second.wait(["p/6/0/0"])
    assert second.claim(["p/6/0/0"]) == ({}, {"p/6/0/0"})


CLAIMER = """
import sys, time
from cache.redis_tier import RedisTier
print(RedisTier.open(sys.argv[1], 60).blocks.claim(["p/6/0/0"])[1], flush=True)
time.sleep(60)
"""


def test_a_claim_lasts_as_long_as_its_owner_and_not_much_longer(redis_server: RedisServer, tiers: list[RedisTier]) -> None:
    owner = program(CLAIMER, redis_server.url)
    assert line(owner) == "{'p/6/0/0'}"
    blocks = tiers[0].blocks
    time.sleep(LEASE_SECONDS + 0.5)
    assert blocks.claim(["p/6/0/0"]) == ({}, set()), "renewed while its owner lives"
    owner.kill()
    owner.communicate()
    died, mine = time.monotonic(), set[str]()
    while not mine:
        blocks.wait(["p/6/0/0"])
        _, mine = blocks.claim(["p/6/0/0"])
    assert time.monotonic() - died < 5


def test_an_owner_outrun_by_another_is_refused(redis_server: RedisServer, tiers: list[RedisTier]) -> None:
    stale, late = tiers[0], tiers[1]
    lock, fence = lock_keys(full_key(BLOCK, "p/6/0/0"))
    client = redis_server.client()
    assert stale.blocks.claim(["p/6/0/0"])[1]
    first = int(client.get(fence) or 0)
    client.delete(lock)  # as if it had stood still for longer than its lease
    assert late.blocks.claim(["p/6/0/0"])[1]
    assert int(client.get(fence) or 0) > first
    stale.blocks.put("p/6/0/0", b"stale")
    assert stale.counters.fenced_writes == 1
    assert late.blocks.get("p/6/0/0") is None
    assert client.exists(lock), "nor has it ended the claim of the other"
    late.blocks.put("p/6/0/0", b"right")
    assert stale.blocks.get("p/6/0/0") == b"right"
    assert not client.exists(lock)


def test_a_claim_lost_to_a_flush_still_stores(redis_server: RedisServer, tiers: list[RedisTier]) -> None:
    assert tiers[0].blocks.claim(["p/6/0/0"])[1]
    redis_server.client().flushall()
    tiers[0].blocks.put("p/6/0/0", b"made")
    assert tiers[1].blocks.get("p/6/0/0") == b"made"


def test_tiles_are_made_by_one_of_all_servers(tiers: list[RedisTier]) -> None:
    made = 0

    async def make() -> Any:
        nonlocal made
        made += 1
        await asyncio.sleep(0.2)
        return {name: name.encode() for name in NAMES}, ()

    async def main() -> None:
        answers = await asyncio.gather(*(tier.tiles.produce(NAMES, make) for tier in tiers for _ in range(10)))
        assert answers == [{name: name.encode() for name in NAMES}] * 30
        for tier in tiers:
            await tier.aclose()

    began = time.monotonic()
    asyncio.run(main())
    assert made == 1
    assert time.monotonic() - began < LEASE_SECONDS - 0.5, "woken by the message"


def test_errors_and_cancelling_let_another_take_over_at_once(tiers: list[RedisTier]) -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def fail() -> Any:
            started.set()
            await asyncio.sleep(0.1)
            raise OSError("only here")

        async def hang() -> Any:
            started.set()
            await asyncio.sleep(60)

        async def make() -> Any:
            return dict.fromkeys(NAMES, b"made"), ()

        failing = asyncio.create_task(tiers[0].tiles.produce(NAMES, fail))
        await started.wait()
        assert await tiers[1].tiles.produce(NAMES, make) == dict.fromkeys(NAMES, b"made")
        with pytest.raises(OSError, match="only here"):
            await failing
        others = [name.replace("{9", "{8") for name in NAMES]
        started.clear()
        cancelled = asyncio.create_task(tiers[0].tiles.produce(others, hang))
        await started.wait()
        waiting = asyncio.create_task(tiers[1].tiles.produce(others, make))
        await asyncio.sleep(0.1)
        cancelled.cancel()
        await waiting
        for tier in tiers:
            await tier.aclose()

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < LEASE_SECONDS - 0.5


def test_whoever_waits_when_redis_dies_goes_on_alone(redis_server: RedisServer, tiers: list[RedisTier]) -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def make(name: bytes) -> Any:
            started.set()
            await asyncio.sleep(0.5)
            return dict.fromkeys(NAMES, name), ()

        one = asyncio.create_task(tiers[0].tiles.produce(NAMES, lambda: make(b"one")))
        await started.wait()
        two = asyncio.create_task(tiers[1].tiles.produce(NAMES, lambda: make(b"two")))
        await asyncio.sleep(0.1)
        redis_server.kill()
        assert await one == dict.fromkeys(NAMES, b"one")
        assert await two == dict.fromkeys(NAMES, b"two")
        for tier in tiers:
            await tier.aclose()

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 3


LOCKER = """
import sys, time
from pathlib import Path
from cache import FileClaims
claims = FileClaims(Path(sys.argv[1]))
print(sorted(claims.claim(["a", "b"])), flush=True)
sys.stdin.readline()
claims.release(["a"])
print("released", flush=True)
time.sleep(60)
"""


def test_claims_in_a_file_hold_between_processes_and_end_with_them(tmp_path: Path) -> None:
    path = tmp_path / "claims"
    owner = program(LOCKER, str(path))
    assert line(owner) == "['a', 'b']"
    claims = FileClaims(path)
    store = SharedBlocks(None, DiskCache(tmp_path / "blocks.sqlite", 1 << 20), claims)
    assert store.claim(["a", "b", "c"]) == ({}, {"c"})
    store.put("c", b"made")
    assert store.claim(["c"]) == ({"c": b"made"}, set())
    assert owner.stdin is not None
    owner.stdin.write("\n")
    owner.stdin.flush()
    store.wait(["a"])
    assert line(owner) == "released"
    assert store.claim(["a", "b"]) == ({}, {"a"})
    owner.kill()
    owner.communicate()
    began = time.monotonic()
    store.wait(["b"])
    assert store.claim(["b"]) == ({}, {"b"})
    assert time.monotonic() - began < 1, "the kernel takes the locks of the dead"


# Reads the same windows as its twin at the same time; prints what it generated and a digest of what it read.
READER = """
import hashlib, json, sys
from server.app import planet_from_settings
from server.caches import Caches
from server.settings import load_settings
for options in json.loads(sys.argv[1]):
    caches = Caches.open(load_settings(**options))
    planet = planet_from_settings(load_settings(**options), caches.blocks)
    print("ready", flush=True)
    sys.stdin.readline()
    digest = hashlib.sha256()
    for x in range(3):
        digest.update(planet.read(8, 34000 + 192 * x, 22600, 192, 192).tobytes())
    print(json.dumps([planet.evaluations, digest.hexdigest()]), flush=True)
    caches.close()
"""


def test_two_processes_generate_no_block_twice(planet: Planet, tmp_path: Path, redis_server: RedisServer) -> None:
    """By Redis, with caches of their own as on two machines; and by the disk alone, as two workers of one machine."""
    common = {"steps": 1, "device": "cpu", "precision": planet.compute.precision}
    readers = []
    for name in ("one", "two"):
        machine = {**common, "cache_dir": str(tmp_path / name), "cache_url": redis_server.url, "block_disk_mb": 0}
        worker = {**common, "cache_dir": str(tmp_path / "shared")}
        readers.append(program(READER, json.dumps([machine, worker])))
    try:
        expected: set[str] = set()
        for kind in ("redis", "disk"):
            for reader in readers:
                assert line(reader) == "ready"
            for reader in readers:
                assert reader.stdin is not None
                reader.stdin.write("\n")
                reader.stdin.flush()
            answers = [json.loads(line(reader)) for reader in readers]
            if kind == "redis":
                stored = len(redis_server.client().keys(full_key(BLOCK, "*").replace("{", "").replace("}", "")))
            else:
                with contextlib.closing(sqlite3.connect(tmp_path / "shared" / "blocks.sqlite")) as file:
                    (stored,) = file.execute("SELECT count(*) FROM entry").fetchone()
            assert answers[0][0] + answers[1][0] == stored > 8, f"{kind}: {answers}"
            expected |= {answer[1] for answer in answers}
        assert len(expected) == 1, "all read the same pixels"
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()

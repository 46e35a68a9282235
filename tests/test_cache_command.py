"""`metaearth cache info`, `purge` and `verify` on real caches."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cache import DiskCache
from cache.redis_tier import RedisTier
from server.cli import app
from server.failures import BAD_SETTING, FAILED
from tests.redis_server import RedisServer

EARTH, OTHER = "e" * 32, "0" * 32


def names(identity: str) -> list[str]:
    """A tile and a block of each zoom from 4 to 8, as the server names them."""
    tiles = [f"{identity}/{{{zoom}/1/0}}/{zoom:032x}" for zoom in range(4, 9)]
    return tiles + [f"{identity}/{zoom}/3/4" for zoom in range(4, 9)]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A cache directory with tiles and blocks of two planets, one tile's content shared by all tiles."""
    for name in ("tiles", "blocks"):
        disk = DiskCache(tmp_path / f"{name}.sqlite", 1 << 20)
        for key in names(EARTH) + names(OTHER):
            if ("{" in key) == (name == "tiles"):
                disk.put(key, b"sea" * 300, once=name == "tiles")
        disk.close()
    return tmp_path


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, output and error output of `metaearth cache`."""
    result = CliRunner().invoke(app, ["cache", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def fill_redis(server: RedisServer, values: Sequence[str]) -> None:
    """Puts tiles, as solid ones, and blocks of such names there."""
    tier = RedisTier.open(server.url, 600)
    tiles = {name: b"sea" * 300 for name in values if "{" in name}

    async def put() -> None:
        await tier.tiles.put_many(tiles, once=tiles)
        await tier.aclose()

    asyncio.run(put())
    for name in values:
        if "{" not in name:
            tier.blocks.put(name, b"block" * 100)
    tier.close()


def test_info_counts_every_tier_and_gives_advice(filled: Path, redis_server: RedisServer) -> None:
    code, said, _ = run("info", "--cache-dir", filled)
    assert code == 0
    assert "10 entries" in said
    assert "; 1 contents, tiles.sqlite" in said
    assert "METAEARTH_CACHE_URL is not set" in said
    fill_redis(redis_server, names(EARTH))
    code, said, _ = run("info", "--cache-dir", filled, "--cache-url", redis_server.url)
    assert code == 0
    for line in (
        "tiles: 5 entries",
        "blocks: 5 entries",
        "contents: 1 entries",
        "policy noeviction",
        "maxmemory-policy allkeys-lru",
    ):
        assert line in said
    redis_server.client().config_set("maxmemory", 64 << 20)
    redis_server.client().config_set("maxmemory-policy", "allkeys-lru")
    _, said, _ = run("info", "--cache-dir", filled, "--cache-url", redis_server.url)
    assert "of 64 MiB, policy allkeys-lru" in said
    assert "advice" not in said


def test_purge_deletes_what_is_selected_once_it_is_told_to(filled: Path, redis_server: RedisServer) -> None:
    fill_redis(redis_server, names(EARTH) + names(OTHER))
    where = ("--cache-dir", filled, "--cache-url", redis_server.url)
    code, said, error = run("purge", *where)
    assert (code, said) == (FAILED, "")
    assert "10 tiles on disk, 10 blocks on disk, 20 tiles and blocks in redis://" in error
    assert "--yes" in error
    code, said, _ = run("purge", "--identity", "eeee", "--minzoom", 6, "--maxzoom", 7, "--yes", *where)
    assert code == 0
    assert "deleted 2 tiles on disk, 2 blocks on disk, 4 tiles and blocks" in said
    left = set(names(EARTH) + names(OTHER)) - {
        name for name in names(EARTH) if "/6/" in name or "/7/" in name or "{6" in name or "{7" in name
    }
    for name in ("tiles", "blocks"):
        disk = DiskCache(filled / f"{name}.sqlite", 1 << 20)
        assert set(disk.keys()) == {key for key in left if ("{" in key) == (name == "tiles")}
        disk.close()
    assert redis_server.client().dbsize() == len(left) + 1
    redis_server.client().set("another", "application's")
    assert run("purge", "--yes", *where)[0] == 0
    assert redis_server.client().keys("*") == [b"another"]
    assert "tiles    0 entries" in run("info", "--cache-dir", filled)[1]
    with sqlite3.connect(filled / "tiles.sqlite") as file:
        assert file.execute("SELECT count(*) FROM content").fetchone() == (0,)
    file.close()


def test_verify_drops_the_damaged_and_keeps_the_rest(filled: Path, redis_server: RedisServer) -> None:
    fill_redis(redis_server, names(EARTH))
    where = ("--cache-dir", filled, "--cache-url", redis_server.url)
    code, said, _ = run("verify", *where)
    assert code == 0
    assert said.count(" 0 damaged") == 3
    with sqlite3.connect(filled / "blocks.sqlite") as file:
        file.execute("UPDATE content SET value = zeroblob(length(value)) WHERE id % 2 = 0")
    file.close()
    client = redis_server.client()
    block, content = f"metaearth:1:b:{{{EARTH}/4/3/4}}", next(iter(client.keys("metaearth:1:c:*")))
    client.setrange(block, 30, b"X")
    client.delete(content)
    code, said, _ = run("verify", *where)
    assert code == 0
    tiles, blocks, redis = said.splitlines()
    assert "10 tiles read, 0 damaged" in tiles
    assert "10 blocks read, 5 damaged" in blocks
    assert "10 entries read, 6 damaged" in redis, "a block, and five tiles whose content is gone"
    assert run("verify", *where)[1].count(" 0 damaged") == 3
    assert client.dbsize() == 4


def test_refusals_are_one_line(filled: Path, redis_server: RedisServer) -> None:
    redis_server.kill()
    for command in ("info", "verify", "purge"):
        code, _, error = run(command, "--cache-dir", filled, "--cache-url", redis_server.url)
        assert code == FAILED
        assert error.count("\n") == 1
        assert redis_server.url in error
    assert run("purge", "--minzoom", 9, "--maxzoom", 3, "--cache-dir", filled)[0] == BAD_SETTING
    code, _, error = run("info", "--cache-url", "http://:secret@host", "--cache-dir", filled)
    assert code == BAD_SETTING
    assert error.count("\n") == 1
    assert "secret" not in error

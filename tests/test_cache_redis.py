"""The shared cache on a real Redis: addresses, keys, frames, values stored once, unix socket, Sentinel, Cluster."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from PIL import Image
from starlette.testclient import TestClient

from cache import CacheError
from cache.frame import Kind, pack, unpack
from cache.redis_keys import BLOCK, CONTENT, TILE, full_key, short_name
from cache.redis_tier import RedisTier
from cache.redis_url import RedisTarget
from model import Planet
from server.app import create_app
from server.settings import SettingsError, load_settings
from tests.conftest import MakeSettings, Readings
from tests.redis_server import RedisServer, wait_until

T = TypeVar("T")
ONE, TWO = "planet/{4/1/0}/one", "planet/{4/1/0}/two"


@contextmanager
def tier(url: str, ttl: int = 60) -> Iterator[RedisTier]:
    """An open tier."""
    opened = RedisTier.open(url, ttl)
    try:
        yield opened
    finally:
        opened.close()


def within(cache: RedisTier, work: Callable[[], Awaitable[T]]) -> T:
    """The result of `work` in an event loop that ends in good order."""

    async def main() -> T:
        try:
            return await work()
        finally:
            await cache.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize("damage", [lambda s: s[:-1], lambda s: s + b"x", lambda s: s[:5], lambda s: b"", lambda s: s[::-1]])
def test_a_frame_with_a_byte_amiss_is_none(damage: Callable[[bytes], bytes]) -> None:
    stored = pack(b"value" * 100)
    assert unpack(stored) == (Kind.VALUE, b"value" * 100)
    assert unpack(damage(stored)) is None
    for at in range(len(stored)):
        assert unpack(stored[:at] + bytes([stored[at] ^ 4]) + stored[at + 1 :]) is None


def test_keys_are_versioned_and_can_be_read_back() -> None:
    assert full_key(TILE, ONE) == "metaearth:1:t:planet/{4/1/0}/one"
    assert full_key(BLOCK, "planet/6/1/2") == "metaearth:1:b:{planet/6/1/2}"
    for kind, name in ((TILE, ONE), (BLOCK, "planet/6/1/2")):
        assert short_name(full_key(kind, name)) == (kind, name)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://host",
        "redis://",
        "redis://:hunter2@host:port",
        "redis://:hunter2@host:99999",
        "redis://host/name",
        "redis://host?no_such_option=1",
        "redis://host?socket_timeout=soon",
        "unix://",
        "redis+sentinel://host:26379",
        "redis+sentinel://host/service/db/more",
        "redis+cluster://ho st",
        "redis+cluster://host:port",
        "redis+cluster://host/3",
        "rediss+cluster://:hunter2@?x=1",
    ],
)
def test_a_malformed_address_is_one_line_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CacheError) as raised:
        RedisTarget.parse(url)
    monkeypatch.setenv("METAEARTH_CACHE_URL", url)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith("METAEARTH_CACHE_URL=")
    for text in (str(raised.value), str(refused.value)):
        assert "\n" not in text
        assert "hunter2" not in text
        assert "redis+sentinel://" in text, "says what may be written"


@pytest.mark.parametrize("by", ["tcp", "unix"])
def test_values_are_kept_for_all_that_ask_with_a_time_to_live(redis_server: RedisServer, by: str) -> None:
    url = redis_server.url if by == "tcp" else f"unix://{redis_server.socket}?db=0"
    with tier(url, 60) as cache, tier(url, 0) as other:
        assert cache.available
        body = bytes(range(256)) * 40

        async def work() -> None:
            await cache.tiles.put_many({ONE: body, TWO: b""})
            assert await cache.tiles.get(ONE) == body
            assert await cache.tiles.get_many([ONE, TWO, "planet/{0/0/0}/three"]) == {ONE: body, TWO: b""}

        within(cache, work)
        assert within(other, lambda: other.tiles.get(ONE)) == body
        cache.blocks.put("planet/6/1/2", body)
        other.blocks.put("planet/6/1/3", body)
        assert other.blocks.get("planet/6/1/2") == body
        assert cache.blocks.get_many(["planet/6/1/3", "planet/6/1/4"]) == {"planet/6/1/3": body}
        assert (cache.counters.hits, cache.counters.misses, cache.counters.stored) == (4, 2, 3)
        client = redis_server.client()
        for key in (full_key(TILE, ONE), full_key(BLOCK, "planet/6/1/2")):
            assert 50 < int(client.ttl(key)) <= 60
        assert client.ttl(full_key(BLOCK, "planet/6/1/3")) == -1


def test_look_ups_of_one_moment_go_out_together(redis_server: RedisServer) -> None:
    with tier(redis_server.url) as cache:
        names = [f"planet/{{9/{i}/0}}/x" for i in range(50)]

        async def work() -> None:
            await cache.tiles.put_many({name: name.encode() for name in names})
            before = redis_server.client().info("commandstats")
            values = await asyncio.gather(*(cache.tiles.get(name) for name in names))
            assert values == [name.encode() for name in names]
            after = redis_server.client().info("commandstats")
            calls = {c: after.get(c, {"calls": 0})["calls"] - before.get(c, {"calls": 0})["calls"] for c in after}
            assert calls["cmdstat_mget"] == 1
            assert calls.get("cmdstat_get", 0) == calls.get("cmdstat_exists", 0) == 0

        within(cache, work)


@pytest.mark.parametrize("damaged", [b"", b"\x01", b"x" * 500, pack(b"whole")[:-1]])
def test_damaged_values_are_dropped(redis_server: RedisServer, damaged: bytes) -> None:
    with tier(redis_server.url) as cache:
        client = redis_server.client()
        for key in (full_key(TILE, ONE), full_key(BLOCK, "b/1/2/3")):
            client.set(key, damaged)
        assert within(cache, lambda: cache.tiles.get(ONE)) is None
        assert cache.blocks.get("b/1/2/3") is None
        assert client.keys("*") == []
        assert cache.counters.corrupt == 2
        client.set(full_key(TILE, ONE), damaged)

        async def make() -> Any:
            return {ONE: b"anew", TWO: b"two"}, ()

        client.set(full_key(TILE, TWO), pack(b"two"))
        assert within(cache, lambda: cache.tiles.produce([ONE, TWO], make)) == {ONE: b"anew", TWO: b"two"}
        assert client.get(full_key(TILE, ONE)) == pack(b"anew")


def test_what_is_stored_once_is_there_once_and_survives_the_loss_of_either_part(redis_server: RedisServer) -> None:
    with tier(redis_server.url) as cache, tier(redis_server.url) as other:
        names = [f"planet/{{9/{i}/0}}/sea" for i in range(100)]
        sea = b"blue" * 200

        async def work() -> None:
            await cache.tiles.put_many(dict.fromkeys(names, sea), once=names)

        within(cache, work)
        client = redis_server.client()
        keys = client.keys("*")
        assert len(keys) == 101
        contents = [key for key in keys if short_name(key.decode() if isinstance(key, bytes) else key)[0] == CONTENT]
        assert len(contents) == 1
        assert sum(client.strlen(key) for key in keys) < 100 * 40 + len(sea) + 40
        assert within(other, lambda: other.tiles.get_many(names)) == dict.fromkeys(names, sea)
        client.delete(*contents)
        with tier(redis_server.url) as late:  # whose memory has not seen it
            assert within(late, lambda: late.tiles.get(names[0])) is None
            assert client.exists(full_key(TILE, names[0])) == 0, "what points nowhere is dropped"


def test_a_password_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = RedisServer(tmp_path, "--requirepass", "hunter2")
    server.client = lambda: redis.Redis(port=server.port, password="hunter2")  # type: ignore[method-assign]
    server.start()
    try:
        with tier(f"redis://:hunter2@127.0.0.1:{server.port}") as cache:
            cache.blocks.put("b/1/2/3", b"value")
            assert cache.blocks.get("b/1/2/3") == b"value"
        with tier(f"redis://:wrong@127.0.0.1:{server.port}") as locked:
            assert not locked.available
            assert locked.blocks.get("b/1/2/3") is None
    finally:
        server.kill()
    assert [r for r in caplog.records if r.levelname == "WARNING"]
    assert "wrong@" not in caplog.text


def test_a_cluster(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--cluster-enabled", "yes").start()
    try:
        client = server.client()
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: client.cluster("info")["cluster_state"] == "ok")
        with tier(f"redis+cluster://127.0.0.1:{server.port}") as cache:
            assert cache.available
            _works(cache)
    finally:
        server.kill()


def test_a_sentinel(tmp_path: Path, redis_server: RedisServer) -> None:
    sentinel = RedisServer(tmp_path)
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(f"port {sentinel.port}\nsentinel monitor planet 127.0.0.1 {redis_server.port} 1\n")
    process = subprocess.Popen(["redis-server", str(configuration), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        with tier(f"redis+sentinel://127.0.0.1:{sentinel.port}/planet/2") as cache:
            wait_until(lambda: cache.available)
            _works(cache)
        assert redis_server.client().info("keyspace").keys() == {"db2"}
    finally:
        process.kill()
        process.wait()


def _works(cache: RedisTier) -> None:
    """Everything that differs between kinds of servers."""

    async def make() -> Any:
        return {ONE: b"one", TWO: b"two"}, [TWO]

    async def work() -> None:
        far = "planet/{9/300/1}/x"
        assert await cache.tiles.produce([ONE, TWO], make) == {ONE: b"one", TWO: b"two"}
        await cache.tiles.put_many({far: b"far"})
        assert await cache.tiles.get_many([ONE, TWO, far]) == {ONE: b"one", TWO: b"two", far: b"far"}

    within(cache, work)
    keys = [f"planet/6/{i}/0" for i in range(8)]
    assert cache.blocks.claim(keys) == ({}, set(keys))
    for key in keys:
        cache.blocks.put(key, key.encode())
    assert cache.blocks.get_many(keys) == {key: key.encode() for key in keys}
    assert cache.counters.errors == 0


def test_a_second_server_answers_from_redis_without_rendering_and_without_fastapi(
    make_settings: MakeSettings, planet: Planet, readings: Readings, redis_server: RedisServer
) -> None:
    settings = {"cache_url": redis_server.url, "tile_disk_mb": 0}
    with TestClient(create_app(make_settings(**settings), planet)) as client:
        first = client.get("/4/8/5.png")
    app = create_app(make_settings(**settings, tile_memory_mb=0), planet)
    with TestClient(app) as client:
        behind, app.app = app.app, _nobody
        for path in ("/4/8/5.png", "/earth/4/8/5.png", "/tms/1.0.0/earth/4/8/10.png", "/4/8/5.png"):
            again = client.get(path)
            assert again.content == first.content
            assert dict(again.headers) == dict(first.headers)
        assert client.head("/4/8/5.png").headers["etag"] == first.headers["etag"]
        app.app = behind
        store = app.api.state.renderer.store
        assert store.lookups["redis", 4] == 5
        metrics = client.get("/metrics").text.splitlines()
        assert 'metaearth_tiles_total{tier="redis",zoom="4"} 5.0' in metrics
        assert 'metaearth_tiles_total{tier="memory",zoom="4"} 0.0' in metrics
        assert 'metaearth_requests_total{status="200",zoom="4"} 5.0' in metrics
        assert 'metaearth_cache_up{cache="redis"} 1.0' in metrics
    assert len(readings.calls) == 1


async def _nobody(*_: Any) -> None:
    raise AssertionError("a tile that Redis has went past the fast path")


def test_what_the_disk_has_comes_back_into_an_empty_redis(
    make_settings: MakeSettings, planet: Planet, readings: Readings, redis_server: RedisServer
) -> None:
    with TestClient(create_app(make_settings(cache_url=redis_server.url, tile_memory_mb=0), planet)) as client:
        first = client.get("/4/8/5.png").content
        redis_server.client().flushall()
        assert client.get("/4/8/5.png").content == first
        assert redis_server.client().dbsize() == 1
    assert len(readings.calls) == 1


def test_solid_tiles_are_stored_once_in_redis_and_on_disk(
    make_settings: MakeSettings, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (512, 256), (20, 40, 90)).save(tmp_path / "sea.png")
    monkeypatch.setenv("METAEARTH_BASE_PICTURE", str(tmp_path / "sea.png"))
    settings = make_settings(cache_url=redis_server.url, tile_memory_mb=0)
    app = create_app(settings)
    with TestClient(app) as client:
        bodies = {client.get(f"/4/{x}/5.png").content for x in range(8)}
        assert len(bodies) == 1
        assert {client.get(f"/4/{x}/5.png").content for x in range(8)} == bodies
        assert app.api.state.renderer.store.lookups["redis", 4] == 8
        kinds = [short_name(key.decode())[0] for key in redis_server.client().scan_iter("metaearth:1:[tc]:*")]
        assert sorted(kinds) == [CONTENT] + [TILE] * 8
        disk = app.api.state.renderer.store.disk
        assert (len(disk), disk.contents) == (8, 1)

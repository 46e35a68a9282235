"""Redis down, slow, frozen, full, flushed and restarted: tiles are served, one warning, and it comes back by itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from cache import redis_link
from cache.redis_tier import RedisTier
from model import Planet
from server.app import create_app
from tests.conftest import MakeSettings, Readings
from tests.redis_server import RedisServer, wait_until


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cache")


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and text of what was logged about the shared cache, which is then forgotten."""
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if "shared cache" in r.getMessage()]
    caplog.clear()
    return lines


class Tiles:
    """A server whose every tile must come from Redis or be rendered: nothing in memory, nothing on disk."""

    def __init__(self, client: TestClient, tier: RedisTier) -> None:
        self.client, self.tier = client, tier
        self.known: dict[str, bytes] = {}

    def get(self, path: str) -> float:
        """Seconds that it took; the answer must be 200 and always the same."""
        began = time.monotonic()
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        assert self.known.setdefault(path, answer.content) == answer.content
        return time.monotonic() - began


@pytest.fixture
def tiles(make_settings: MakeSettings, planet: Planet, redis_server: RedisServer) -> Iterator[Tiles]:
    """A server whose Redis runs, for now."""
    app = create_app(make_settings(cache_url=redis_server.url, tile_memory_mb=0, tile_disk_mb=0), planet)
    with TestClient(app) as client:
        yield Tiles(client, app.api.state.caches.redis)


def test_killed_and_restarted_again_and_again(
    tiles: Tiles, redis_server: RedisServer, readings: Readings, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        tiles.get("/4/8/5.png")
        count = len(readings.calls)
        tiles.get("/4/8/5.png")
        assert len(readings.calls) == count, "from Redis"
        redis_server.kill()
        for x in range(4):
            tiles.get(f"/4/{x}/5.png")
        tiles.get("/4/8/5.png")
        assert len(readings.calls) == count + 5
        assert not tiles.tier.available
        assert [level for level, _ in said(caplog)] == ["WARNING"]
        redis_server.start()
        wait_until(lambda: tiles.tier.available)
        tiles.get("/4/8/5.png")
        count = len(readings.calls)
        tiles.get("/4/8/5.png")
        assert len(readings.calls) == count
        ((level, text),) = said(caplog)
        assert level == "INFO"
        assert "answers again" in text
        time.sleep(redis_link.SAME_OUTAGE_SECONDS)
    assert tiles.tier.counters.outages == 2


def test_down_at_the_start(
    make_settings: MakeSettings, planet: Planet, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.kill()
    app = create_app(make_settings(cache_url=redis_server.url, tile_memory_mb=0, tile_disk_mb=0), planet)
    with TestClient(app) as client:
        tiles = Tiles(client, app.api.state.caches.redis)
        tiles.get("/4/8/5.png")
        ((level, text),) = said(caplog)
        assert level == "WARNING"
        assert redis_server.url in text
        metrics = client.get("/metrics").text
        assert 'metaearth_cache_up{cache="redis"} 0.0' in metrics
        assert 'metaearth_cache_errors_total{cache="redis"} 0.0' not in metrics
        redis_server.start()
        wait_until(lambda: tiles.tier.available)
        tiles.get("/4/8/5.png")
        assert redis_server.client().dbsize() >= 1
        assert 'metaearth_cache_up{cache="redis"} 1.0' in client.get("/metrics").text


def test_frozen(tiles: Tiles, redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    tiles.get("/4/8/5.png")
    redis_server.freeze()
    try:
        taken = [tiles.get(f"/4/{x}/5.png") for x in range(8)]
        assert max(taken) < 3
        wait_until(lambda: not tiles.tier.available)
        assert tiles.get("/4/9/5.png") < 0.5, "nobody waits while the circuit is open"
        assert [level for level, _ in said(caplog)] == ["WARNING"]
    finally:
        redis_server.thaw()
    wait_until(lambda: tiles.tier.available)
    assert [level for level, _ in said(caplog)] == ["INFO"]
    tiles.get("/4/8/5.png")
    assert tiles.tier.counters.hits > 0


def test_slow(tiles: Tiles, redis_server: RedisServer) -> None:
    tiles.get("/4/8/5.png")
    redis_server.client().execute_command("CLIENT", "PAUSE", 1500, "ALL")
    taken = [tiles.get("/4/8/5.png") for _ in range(20)]
    assert max(taken) < 2
    assert sorted(taken)[10] < 0.5
    wait_until(lambda: tiles.tier.available)


def test_an_event_loop_that_stood_still_is_no_outage(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    tier = RedisTier.open(redis_server.url)

    async def main() -> None:
        await tier.tiles.put_many({"p/{1/0/0}/x": b"value"})
        for _ in range(2):
            asked = asyncio.create_task(tier.tiles.get("p/{1/0/0}/x"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(0.8)
            await asked
            await asyncio.sleep(0.5)
            assert await tier.tiles.get("p/{1/0/0}/x") == b"value"
        await tier.aclose()

    asyncio.run(main())
    assert tier.available
    assert said(caplog) == []
    tier.close()


def test_full(
    tiles: Tiles,
    redis_server: RedisServer,
    readings: Readings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_link, "REFUSED_SECONDS", 0.2)
    tiles.get("/4/8/5.png")
    redis_server.client().config_set("maxmemory", 1)
    for x in range(4):
        tiles.get(f"/4/{x}/5.png")
    count = len(readings.calls)
    tiles.get("/4/8/5.png")
    assert len(readings.calls) == count, "what is there is read on"
    ((level, text),) = said(caplog)
    assert level == "WARNING"
    assert "takes no entries" in text
    assert tiles.tier.available
    assert tiles.tier.counters.refused_writes > 0
    redis_server.client().config_set("maxmemory", 0)
    time.sleep(0.2)
    tiles.get("/4/1/5.png")
    assert [level for level, _ in said(caplog)] == ["INFO"]
    count = len(readings.calls)
    tiles.get("/4/1/5.png")
    assert len(readings.calls) == count


def test_flushed(tiles: Tiles, redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    tiles.get("/4/8/5.png")
    redis_server.client().flushall()
    redis_server.client().script_flush()
    tiles.get("/4/8/5.png")
    assert redis_server.client().dbsize() >= 1
    assert said(caplog) == []

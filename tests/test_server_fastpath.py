"""What is answered without FastAPI: hits, 304, and the headers that caches and browsers go by."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from model import Planet
from server.app import create_app
from server.cors import CorsPolicy
from server.encode import Encoder
from server.fastpath import FastPath, ReadyTiles
from server.tilekey import TileKey
from tests.conftest import MakeSettings, Readings

TILE = "/4/8/5.png"


def test_304_renders_nothing_not_even_for_a_tile_never_asked_before(
    client: TestClient, app: FastPath, planet: Planet, readings: Readings
) -> None:
    before = planet.evaluations
    key = TileKey(18, 137000, 87000, "png")
    etag = app.tiles.etag(key).decode()
    for path in (key.path, "/earth" + key.path):
        for method in ("GET", "HEAD"):
            answer = client.request(method, path, headers={"if-none-match": etag})
            assert answer.status_code == 304
            assert answer.content == b""
            assert answer.headers["etag"] == etag
            assert "max-age=" in answer.headers["cache-control"]
            assert answer.headers["access-control-allow-origin"] == "*"
    assert planet.evaluations == before
    assert readings.calls == []


def test_if_none_match_takes_lists_weak_tags_and_the_star(shared_client: TestClient) -> None:
    etag = shared_client.get(TILE).headers["etag"]
    for header in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        assert shared_client.get(TILE, headers={"if-none-match": header}).status_code == 304
    for header in ('"other"', etag.strip('"'), ""):
        assert shared_client.get(TILE, headers={"if-none-match": header}).status_code == 200
    assert shared_client.get("/21/0/0.png", headers={"if-none-match": "*"}).status_code == 404


def test_etag_is_strong_stable_and_follows_from_the_key(
    make_settings: MakeSettings, planet: Planet, app: FastPath, client: TestClient
) -> None:
    etag = client.get(TILE).headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', etag)
    assert client.get(TILE).headers["etag"] == etag
    key = TileKey(4, 8, 5, "png")
    again = create_app(make_settings(), planet)
    assert again.tiles.etag(key).decode() == etag, "another process says the same"
    others = {app.tiles.etag(TileKey(4, 8, 5, extension)) for extension in ("jpg", "webp")}
    others |= {app.tiles.etag(TileKey(*place, "png")) for place in ((4, 5, 8), (5, 8, 5), (4, 8, 6))}
    finer = create_app(make_settings(png_level=6), planet)
    others.add(finer.tiles.etag(key))
    seeds = Encoder(1, 85, 80).etag_seed("the identity of another planet, seed, weights or sampler")
    others.add(ReadyTiles(0, seeds, 0, CorsPolicy(["*"])).etag(key))
    assert len(others | {etag.encode()}) == 8


def test_cache_control_follows_the_setting(make_settings: MakeSettings, planet: Planet) -> None:
    with TestClient(create_app(make_settings(max_age=123), planet)) as client:
        for _ in range(2):
            assert client.get(TILE).headers["cache-control"] == "public, max-age=123"


def test_a_hit_never_reaches_the_application_behind(client: TestClient, app: FastPath) -> None:
    cold = client.get(TILE)

    async def nobody(*_: Any) -> None:
        raise AssertionError("a hit went past the fast path")

    app.app = nobody
    hot = client.get(TILE)
    assert hot.content == cold.content
    assert sorted(hot.headers.items()) == sorted(cold.headers.items())


def test_any_origin_is_allowed_by_default_asked_or_not(shared_client: TestClient) -> None:
    for headers in ({}, {"origin": "https://maps.example"}):
        for path in (TILE, TILE, "/tilejson.json", "/health", "/4/99/0.png"):
            answer = shared_client.get(path, headers=headers)
            assert answer.headers.get_list("access-control-allow-origin") == ["*"], path
            assert "vary" not in answer.headers


def test_only_listed_origins_are_allowed_and_caches_are_told(make_settings: MakeSettings, planet: Planet) -> None:
    settings = make_settings(cors_origins="https://maps.example, http://localhost:3000")
    with TestClient(create_app(settings, planet)) as client:
        for path in (TILE, TILE, "/tilejson.json"):
            allowed = client.get(path, headers={"origin": "http://localhost:3000"})
            assert allowed.headers.get_list("access-control-allow-origin") == ["http://localhost:3000"]
            foreign = client.get(path, headers={"origin": "https://elsewhere.example"})
            assert foreign.status_code == 200
            assert "access-control-allow-origin" not in foreign.headers
            for answer in (allowed, foreign, client.get(path)):
                assert answer.headers["vary"] == "Origin"


def test_preflight(shared_client: TestClient) -> None:
    answer = shared_client.options(
        TILE,
        headers={
            "origin": "https://maps.example",
            "access-control-request-method": "GET",
            "access-control-request-headers": "if-none-match",
        },
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "GET" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "if-none-match"


def test_tiles_are_found_below_a_root_path(app: FastPath, readings: Readings) -> None:
    with TestClient(app, root_path="/globe") as client:
        for _ in range(2):
            assert client.get("/globe" + TILE).status_code == 200
    assert len(readings.calls) == 1


def test_memory_is_bounded_in_bytes(make_settings: MakeSettings, planet: Planet) -> None:
    app = create_app(make_settings(tile_memory_mb=1), planet)
    with TestClient(app) as client:
        for x in range(16):
            assert client.get(f"/4/{x}/5.png").status_code == 200
            assert app.tiles.lru.bytes <= 1 << 20
    assert 0 < len(app.tiles.lru) < 16
    assert app.tiles.get("/4/15/5.png") is not None
    assert app.tiles.get("/4/0/5.png") is None


@pytest.mark.parametrize(
    "path", ["/4/8/5.png?x=1", "/04/8/5.png", "/4/8/5.PNG", "/4/-1/5.png", "/21/0/0.png", "/4/16/0.png", "/4/8/5", ""]
)
def test_only_canonical_paths_within_the_grid_are_tiles_for_the_fast_path(path: str) -> None:
    assert TileKey.from_path(path) is None


def test_lifespan_and_other_kinds_of_connections_go_through(app: FastPath) -> None:
    async def main() -> list[str]:
        sent: list[str] = []
        incoming: asyncio.Queue[Any] = asyncio.Queue()
        for name in ("startup", "shutdown"):
            incoming.put_nowait({"type": f"lifespan.{name}"})

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await app({"type": "lifespan", "asgi": {"version": "3.0"}}, incoming.get, send)
        return sent

    assert asyncio.run(main()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_an_alias_is_answered_from_memory_as_the_tile_it_means(client: TestClient, app: FastPath) -> None:
    asked: list[tuple[str, bytes]] = []

    def resolver(path: str, query: bytes) -> TileKey | None:
        asked.append((path, query))
        return TileKey(4, 8, 5, "png") if query == b"layer=earth" else None

    app.add_alias("/other", resolver)
    tile = client.get(TILE)
    for path in ("/other?layer=earth", "/other/1.0.0/tile?layer=earth"):
        answer = client.get(path)
        assert (answer.status_code, answer.content) == (200, tile.content)
        assert answer.headers["etag"] == tile.headers["etag"]
        assert client.get(path, headers={"if-none-match": tile.headers["etag"]}).status_code == 304
    assert client.get("/other?layer=mars").status_code == 404, "None goes on to the routes"
    assert client.get("/otherwise?layer=earth").status_code == 404
    assert ("/other/1.0.0/tile", b"layer=earth") in asked
    assert not any(path.startswith("/otherwise") or path == TILE for path, _ in asked)


def test_an_alias_below_a_root_path_is_told_the_path_without_it(app: FastPath) -> None:
    app.add_alias("/other", lambda path, _: TileKey(4, 8, 5, "png") if path == "/other/tile" else None)
    with TestClient(app, root_path="/globe") as client:
        tile = client.get("/globe" + TILE)
        assert client.get("/globe/other/tile").content == tile.content


@pytest.mark.parametrize("prefix", ["/earth", "/", "", "wmts", "/wmts/1.0.0"])
def test_an_alias_is_one_segment_and_taken_once(app: FastPath, prefix: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(prefix))):
        app.add_alias(prefix, lambda *_: None)

"""Tiles over HTTP: right pixels, rendered once, kept, dropped when damaged, given up when nobody waits."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from model import Planet
from server.app import create_app
from server.fastpath import FastPath
from tests.conftest import MakeSettings, Readings


def decode(content: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def within(app: FastPath, work: Callable[[httpx.AsyncClient], Any]) -> Any:
    """Runs `work` with an asynchronous client of `app`."""

    async def main() -> Any:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://tiles.test") as client:
            return await work(client)

    return asyncio.run(main())


@pytest.mark.parametrize(("z", "x", "y"), [(0, 0, 0), (4, 8, 5), (6, 33, 21), (7, 67, 43), (8, 0, 90)])
def test_decoded_png_equals_read(shared_client: TestClient, planet: Planet, z: int, x: int, y: int) -> None:
    answer = shared_client.get(f"/{z}/{x}/{y}.png")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(decode(answer.content), planet.read(z, x * 256, y * 256, 256, 256))


def test_planet_by_name_is_the_same_tile(client: TestClient, readings: Readings) -> None:
    plain = client.get("/6/33/21.png")
    named = client.get("/earth/6/33/21.png")
    assert named.status_code == 200
    assert named.content == plain.content
    assert named.headers["etag"] == plain.headers["etag"]
    assert len(readings.calls) == 1
    cold = client.get("/earth/4/3/3.png")
    assert cold.status_code == 200
    assert client.get("/4/3/3.png").content == cold.content
    assert len(readings.calls) == 2


@pytest.mark.parametrize(
    ("extension", "media_type", "format_"),
    [("png", "image/png", "PNG"), ("jpg", "image/jpeg", "JPEG"), ("webp", "image/webp", "WEBP")],
)
def test_formats(shared_client: TestClient, planet: Planet, extension: str, media_type: str, format_: str) -> None:
    answer = shared_client.get(f"/6/33/21.{extension}")
    assert answer.headers["content-type"] == media_type
    assert Image.open(io.BytesIO(answer.content)).format == format_
    exact = planet.read(6, 33 * 256, 21 * 256, 256, 256).astype(int)
    assert np.abs(decode(answer.content) - exact).mean() < 8


def test_head_has_the_headers_of_get_and_no_body(shared_client: TestClient) -> None:
    cold = shared_client.head("/6/32/21.png")
    got = shared_client.get("/6/32/21.png")
    hot = shared_client.head("/6/32/21.png")
    assert cold.content == hot.content == b""
    assert cold.status_code == hot.status_code == 200
    assert dict(cold.headers) == dict(hot.headers) == dict(got.headers)
    assert int(got.headers["content-length"]) == len(got.content)


def test_200_simultaneous_requests_for_a_cold_tile_cause_one_rendering(
    app: FastPath, planet: Planet, readings: Readings
) -> None:
    before = planet.evaluations

    async def storm(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.get("/6/50/30.png") for _ in range(200)))

    answers = within(app, storm)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(readings.calls) == 1
    assert planet.evaluations - before == 4, "a 256 px tile is four blocks of 128 px"


def test_a_metatile_is_rendered_once_and_split_into_the_same_tiles(
    make_settings: MakeSettings, planet: Planet, readings: Readings
) -> None:
    app = create_app(make_settings(metatile=2), planet)

    async def four(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.get(f"/6/{x}/{y}.png") for y in (20, 21) for x in (32, 33)))

    answers = within(app, four)
    assert readings.calls == [(6, 32 * 256, 20 * 256, 512, 512)]
    whole = np.concatenate([np.concatenate([decode(a.content) for a in answers[i : i + 2]], 1) for i in (0, 2)])
    assert np.array_equal(whole, planet.read(6, 32 * 256, 20 * 256, 512, 512))
    assert within(app, lambda client: client.get("/0/0/0.png")).status_code == 200, "one tile is the whole world"


def test_a_restarted_server_finds_its_tiles_on_disk(make_settings: MakeSettings, planet: Planet, readings: Readings) -> None:
    settings = make_settings()
    with TestClient(create_app(settings, planet)) as client:
        first = client.get("/4/8/5.png")
    with TestClient(create_app(settings, planet)) as client:
        again = client.get("/4/8/5.png")
    assert again.content == first.content
    assert dict(again.headers) == dict(first.headers)
    assert len(readings.calls) == 1


def test_without_caches_every_tile_is_rendered_anew_and_right(
    make_settings: MakeSettings, planet: Planet, readings: Readings
) -> None:
    settings = make_settings(tile_memory_mb=0, tile_disk_mb=0)
    with TestClient(create_app(settings, planet)) as client:
        assert client.get("/4/8/5.png").content == client.get("/4/8/5.png").content
    assert len(readings.calls) == 2


def test_damaged_entries_are_dropped_and_rendered_anew(make_settings: MakeSettings, planet: Planet, readings: Readings) -> None:
    settings = make_settings(tile_memory_mb=0)
    with TestClient(create_app(settings, planet)) as client:
        first = client.get("/4/8/5.png").content
        assert client.get("/4/8/5.png").content == first
        assert len(readings.calls) == 1
        with sqlite3.connect(settings.cache_dir / "tiles.sqlite") as other:
            other.execute("UPDATE content SET value = zeroblob(length(value))")
        other.close()
        assert client.get("/4/8/5.png").content == first
        assert len(readings.calls) == 2


def test_a_cache_file_destroyed_between_two_runs_is_replaced(make_settings: MakeSettings, planet: Planet) -> None:
    settings = make_settings()
    settings.cache_dir.mkdir()
    for name in ("tiles.sqlite", "blocks.sqlite"):
        (settings.cache_dir / name).write_bytes(b"\x00garbage" * 4000)
    with TestClient(create_app(settings, planet)) as client:
        assert client.get("/4/8/5.png").status_code == 200


def test_a_rendering_that_fails_is_503_and_the_next_one_may_succeed(
    client: TestClient, planet: Planet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: Any) -> Any:
        raise RuntimeError("CUDA out of memory.\nTried to allocate a lot")

    with monkeypatch.context() as patch:
        patch.setattr(planet, "read", out_of_memory)
        answer = client.get("/4/8/6.png")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["cache-control"] == "no-store"
    assert "CUDA out of memory." in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert client.get("/4/8/6.png").status_code == 200


class Gate:
    """Holds every reading of a planet until it is opened."""

    def __init__(self, planet: Planet, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()
        real = planet.read

        def read(*window: Any) -> Any:
            self.reached.set()
            assert self.open.wait(30)
            return real(*window)

        monkeypatch.setattr(planet, "read", read)


def test_health_and_tiles_at_hand_are_answered_while_a_rendering_runs(
    app: FastPath, planet: Planet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        at_hand = await client.get("/4/1/1.png")
        gate = Gate(planet, monkeypatch)
        slow = asyncio.create_task(client.get("/4/2/2.png"))
        while not gate.reached.is_set():
            await asyncio.sleep(0.005)
        async with asyncio.timeout(5):
            assert (await client.get("/health")).json()["status"] == "ok"
            assert (await client.get("/4/1/1.png")).content == at_hand.content
            tag = at_hand.headers["etag"]
            assert (await client.get("/4/1/1.png", headers={"if-none-match": tag})).status_code == 304
        assert not slow.done()
        gate.open.set()
        assert (await slow).status_code == 200

    within(app, work)


def test_queued_tiles_whose_clients_left_are_never_rendered(
    app: FastPath, planet: Planet, readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speaks ASGI itself, for the client must leave in the middle of a request."""

    async def request(path: str, left: asyncio.Event) -> list[Any]:
        first = True
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": b"", "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"tiles.test")],
        }
        await app(scope, receive, send)
        return sent

    async def work(_: httpx.AsyncClient) -> None:
        gate = Gate(planet, monkeypatch)
        stays = asyncio.Event()
        begun = asyncio.create_task(request("/4/5/5.png", stays))
        while not gate.reached.is_set():
            await asyncio.sleep(0.005)
        leaves = asyncio.Event()
        queued = [asyncio.create_task(request(f"/4/{x}/6.png", leaves)) for x in range(8)]
        kept = asyncio.create_task(request("/4/7/7.png", stays))
        await asyncio.sleep(0.1)
        leaves.set()
        await asyncio.wait(queued)
        await asyncio.sleep(0.1)  # giving up passes through a few turns of the event loop
        gate.open.set()
        for task in (begun, kept):
            assert (await task)[0]["status"] == 200

    within(app, work)
    assert [call[:3] for call in readings.calls] == [(4, 5 * 256, 5 * 256), (4, 7 * 256, 7 * 256)]


def test_a_server_that_stops_gives_up_what_is_queued_and_finishes_what_has_begun(
    app: FastPath, planet: Planet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        gate = Gate(planet, monkeypatch)
        begun = asyncio.create_task(client.get("/4/5/5.png"))
        while not gate.reached.is_set():
            await asyncio.sleep(0.005)
        queued = [asyncio.create_task(client.get(f"/4/{x}/6.png")) for x in range(8)]
        await asyncio.sleep(0.1)
        app.api.state.renderer.stop()
        for answer in await asyncio.gather(*queued):
            assert answer.status_code == 503
            assert answer.json() == {"detail": "The server is stopping; try again in a few seconds."}
        gate.open.set()
        assert (await begun).status_code == 200

    within(app, work)


def test_a_request_cancelled_by_the_stopping_server_is_503_not_500(
    app: FastPath, planet: Planet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        gate = Gate(planet, monkeypatch)
        request = asyncio.create_task(client.get("/4/5/5.png"))
        while not gate.reached.is_set():
            await asyncio.sleep(0.005)
        request.cancel()
        assert (await request).status_code == 503
        gate.open.set()

    within(app, work)

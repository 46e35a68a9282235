"""What a request may be: address, headers, body, host, how often, how many; each refusal in the form of its protocol."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from model import Planet
from server.app import create_app
from server.errors import RateLimitError
from server.limits_rate import TokenBuckets, bucket_file, client_tag
from server.proxies import ProxyPolicy
from tests.conftest import MakeSettings, Readings
from tests.test_server_tiles import Gate, within


@pytest.fixture(scope="module")
def narrow(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server with narrow limits."""
    from server.settings import load_settings

    settings = load_settings(
        cache_dir=tmp_path_factory.mktemp("narrow"),
        steps=1,
        max_url=300,
        max_body_kb=1,
        allowed_hosts="tiles.example.org,*.maps.example,[::1]",
    )
    base = "http://tiles.example.org"
    with TestClient(create_app(settings, planet), base_url=base, raise_server_exceptions=False) as client:
        yield client


def sentence(answer: httpx.Response, status: int) -> str:
    """The sentence of a JSON error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["access-control-allow-origin"] == "*"
    detail: str = answer.json()["detail"]
    return detail


def test_long_addresses(narrow: TestClient) -> None:
    assert "300 bytes" in sentence(narrow.get("/tilejson.json?x=" + "a" * 300), 414)
    assert "300 bytes" in sentence(narrow.get("/" + "a" * 300), 414)
    report = narrow.get("/wmts?service=" + "a" * 300)
    assert report.status_code == 414
    assert "ExceptionReport" in report.text
    assert "ServiceException" in narrow.get("/wms?service=" + "a" * 300).text
    assert "TileMapServerError" in narrow.get("/tms/1.0.0/" + "a" * 300).text
    assert narrow.get("/collections?f=" + "a" * 300).json()["status"] == 414


def test_many_and_long_headers(narrow: TestClient) -> None:
    assert "100 headers" in sentence(narrow.get("/tilejson.json", headers={f"x-{n}": "1" for n in range(101)}), 431)
    assert "32768 bytes" in sentence(narrow.get("/tilejson.json", headers={"x-long": "a" * 32768}), 431)


def test_large_bodies_with_and_without_their_length(narrow: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b" " * 512

    assert "1 KiB" in sentence(narrow.post("/bbox", content=b" " * 1025), 413)
    assert "1 KiB" in sentence(narrow.post("/bbox", content=chunks(), headers={"content-type": "application/json"}), 413)
    assert narrow.post("/bbox", json={"bbox": [0, 0, 1, 1], "zoom": 1}).status_code == 200


@pytest.mark.parametrize("host", ["tiles.example.org", "TILES.example.org:8080", "a.maps.example", "[::1]:80"])
def test_known_hosts(narrow: TestClient, host: str) -> None:
    answer = narrow.get("/tilejson.json", headers={"host": host})
    assert answer.status_code == 200
    assert answer.json()["tiles"][0].lower().startswith(f"http://{host.lower()}/")


@pytest.mark.parametrize(
    "host", ["evil.example", "tiles.example.org.evil.example", "maps.example", "a b", "", "x/tiles.example.org"]
)
def test_unknown_hosts_are_refused_hits_too_and_probes_are_not(narrow: TestClient, host: str) -> None:
    assert narrow.get("/0/0/0.png").status_code == 200
    for path in ("/tilejson.json", "/0/0/0.png"):
        assert "Host header" in sentence(narrow.get(path, headers={"host": host}), 400)
    assert narrow.get("/health", headers={"host": host}).status_code == 200


def test_a_rate_is_for_what_must_be_rendered_and_each_client_has_its_own(
    make_settings: MakeSettings, planet: Planet, readings: Readings
) -> None:
    settings = make_settings(rate_limit=0.01, rate_burst=2, trusted_proxies="*")
    with TestClient(create_app(settings, planet)) as client:

        def get(path: str, who: str) -> httpx.Response:
            answer: httpx.Response = client.get(path, headers={"x-forwarded-for": who})
            return answer

        assert [get(f"/2/{x}/0.png", "192.0.2.1").status_code for x in range(3)] == [200, 200, 429]
        refused = get("/2/3/0.png", "192.0.2.1")
        assert "0.01 new pictures a second" in sentence(refused, 429)
        assert 50 <= int(refused.headers["retry-after"]) <= 100
        assert get("/2/0/0.png", "192.0.2.1").status_code == 200, "a hit costs nothing"
        assert get("/wmts/1.0.0/earth/default/WebMercatorQuad/2/1/1.png", "192.0.2.1").status_code == 429
        assert get("/bbox/0,0,1,1.png?zoom=1", "192.0.2.1").status_code == 429
        assert get("/tilejson.json", "192.0.2.1").status_code == 200
        assert get("/2/3/0.png", "192.0.2.2").status_code == 200
        assert get("/2/3/1.png", "2001:db8::1").status_code == 200
        assert get("/2/3/2.png", "2001:db8::2").status_code == 200
        assert get("/2/3/3.png", "2001:db8::3").status_code == 429, "a subscriber has a /64"
    assert len(readings.calls) == 5


def test_a_rate_of_all_requests(make_settings: MakeSettings, planet: Planet) -> None:
    settings = make_settings(rate_limit=0.01, rate_burst=3, rate_limit_hits=True)
    with TestClient(create_app(settings, planet)) as client:
        answers = [client.get("/0/0/0.png") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert 90 <= int(answers[-1].headers["retry-after"]) <= 100
        assert client.get("/health").status_code == 200


def test_buckets_fill_again_are_shared_and_have_room_for_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("server.limits_rate.time.monotonic", lambda: now[0])
    file = bucket_file()
    one, other = TokenBuckets(file, 2.0, 4), TokenBuckets(file, 2.0, 4)
    for buckets in (one, other, one, other):
        buckets.take("a")
    with pytest.raises(RateLimitError) as raised:
        one.take("a")
    assert raised.value.seconds == pytest.approx(0.5)
    now[0] += 1.0
    other.take("a")
    other.take("a")
    with pytest.raises(RateLimitError):
        other.take("a")
    for number in range(20_000):
        one.take(f"client {number}")
    with pytest.raises(RateLimitError):
        one.take("a")
    one.close()
    assert client_tag("::ffff:192.0.2.1") == client_tag("192.0.2.1") != client_tag("192.0.2.2")


@pytest.mark.parametrize(
    ("trusted", "headers", "client"),
    [
        ("none", {"x-forwarded-for": "192.0.2.9"}, "10.0.0.1"),
        ("10.0.0.0/8", {"x-forwarded-for": "198.51.100.1, 192.0.2.9"}, "192.0.2.9"),
        ("10.0.0.0/8", {"x-forwarded-for": "198.51.100.1, 192.0.2.9, 10.0.0.2"}, "192.0.2.9"),
        ("10.0.0.0/8", {"x-forwarded-for": "198.51.100.1, unknown"}, "10.0.0.1"),
        ("10.0.0.0/8", {"forwarded": 'for="[2001:db8::7]:1234";proto=https'}, "2001:db8::7"),
        ("10.0.0.0/8", {"x-forwarded-for": "10.0.0.3"}, "10.0.0.3"),
        ("10.0.0.0/8", {}, "10.0.0.1"),
    ],
)
def test_the_client_is_who_trusted_proxies_say_and_cannot_make_itself_another(
    make_settings: MakeSettings, trusted: str, headers: dict[str, str], client: str
) -> None:
    scope: dict[str, Any] = {"client": ("10.0.0.1", 5000), "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}
    assert ProxyPolicy(make_settings(trusted_proxies=trusted)).client(scope) == client


def test_a_full_queue_answers_503_at_once_and_looking_comes_before_fetching_ahead(
    make_settings: MakeSettings, planet: Planet, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(make_settings(queue_limit=2, bulk_limit=1), planet)
    ahead = {"sec-purpose": "prefetch;prerender"}

    async def work(client: httpx.AsyncClient) -> None:
        gate = Gate(planet, monkeypatch)
        begun = asyncio.create_task(client.get("/4/5/5.png"))
        while not gate.reached.is_set():
            await asyncio.sleep(0.005)
        first = asyncio.create_task(client.get("/4/0/6.png", headers=ahead))
        second = asyncio.create_task(client.get("/4/1/6.png", headers=ahead))
        box = asyncio.create_task(client.get("/bbox/0,0,1,1.png?zoom=1"))
        await asyncio.sleep(0.1)
        for path in ("/4/2/6.png", "/bbox/0,0,1,2.png?zoom=1"):
            refused = await client.get(path, headers=ahead)
            assert "try again" in sentence(refused, 503)
            assert int(refused.headers["retry-after"]) > 0
        assert (
            "ExceptionReport" in (await client.get("/wmts/1.0.0/earth/default/WebMercatorQuad/4/3/3.png", headers=ahead)).text
        )
        looked = asyncio.create_task(client.get("/4/3/6.png"))
        assert (await first).status_code == 503, "it made room"
        loop = asyncio.get_running_loop()
        for path in ("/health", "/ready"):
            took = []
            for _ in range(20):
                before = loop.time()
                assert (await client.get(path)).status_code == 200
                took.append(loop.time() - before)
            assert min(took) < 0.01, path
        gate.open.set()
        assert [(await task).status_code for task in (begun, looked, second, box)] == [200] * 4

    within(app, work)
    assert app.api.state.renderer.queue.totals


def test_too_many_requests_at_a_time(make_settings: MakeSettings, planet: Planet, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(make_settings(max_requests=2), planet)

    async def work(client: httpx.AsyncClient) -> None:
        gate = Gate(planet, monkeypatch)
        waiting = [asyncio.create_task(client.get(f"/4/{x}/5.png")) for x in range(2)]
        while not gate.reached.is_set():
            await asyncio.sleep(0.005)
        refused = await client.get("/tilejson.json")
        assert "2 requests are under way" in sentence(refused, 503)
        assert (await client.get("/health")).status_code == 200
        gate.open.set()
        assert [(await task).status_code for task in waiting] == [200, 200]
        assert (await client.get("/tilejson.json")).status_code == 200

    within(app, work)


def test_ready_says_why_not(make_settings: MakeSettings, planet: Planet, tmp_path: Any) -> None:
    app = create_app(make_settings(), planet)
    with TestClient(app) as client:
        assert client.get("/ready").json() == {"status": "ready"}
        assert client.head("/ready").status_code == 200
        (tmp_path / "cache").rename(tmp_path / "gone")
        refused = client.get("/ready")
        assert "cannot be written" in sentence(refused, 503)
        assert refused.headers["retry-after"]
        (tmp_path / "gone").rename(tmp_path / "cache")
        app.api.state.renderer.stop()
        assert "stopping" in sentence(client.get("/ready"), 503)
        assert client.get("/health").status_code == 200


def test_not_ready_without_its_redis_which_tiles_do_not_need(make_settings: MakeSettings, planet: Planet) -> None:
    with socket.socket() as taken:  # bound and not listening: who connects is refused
        taken.bind(("127.0.0.1", 0))
        settings = make_settings(cache_url=f"redis://127.0.0.1:{taken.getsockname()[1]}")
        with TestClient(create_app(settings, planet)) as client:
            assert "METAEARTH_CACHE_URL" in sentence(client.get("/ready"), 503)
            assert client.get("/health").status_code == client.get("/0/0/0.png").status_code == 200


def test_a_server_that_stops_keeps_what_has_been_rendered_though_nobody_waits(
    make_settings: MakeSettings, planet: Planet, readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    app = create_app(settings, planet)

    async def work(client: httpx.AsyncClient) -> None:
        gate = Gate(planet, monkeypatch)
        begun = asyncio.create_task(client.get("/4/5/5.png"))
        while not gate.reached.is_set():
            await asyncio.sleep(0.005)
        begun.cancel()
        await asyncio.wait([begun])
        renderer = app.api.state.renderer
        renderer.stop()
        assert "stopping" in sentence(await client.get("/4/6/5.png"), 503)
        gate.open.set()
        await renderer.drain(30)
        renderer.close()

    within(app, work)
    assert len(readings.calls) == 1
    assert within(create_app(settings, planet), lambda client: client.get("/4/5/5.png")).status_code == 200
    assert len(readings.calls) == 1

"""nginx, Redis and the server as compose starts them, driven through nginx."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import redis
from PIL import Image

from model import Planet
from server.settings import Settings
from tests.peers.browser import wait_for
from tests.peers.compose_stack import Stack, stack

pytestmark = pytest.mark.timeout(600)

KVP = "version=1.0.0&layer=earth&style=default&format=image/png&tilematrixset=WebMercatorQuad"
DOCUMENTS = ("/tilejson.json", "/wmts?service=WMTS&request=GetCapabilities", "/health", "/", "/30/0/0.png")
# What reconfigures, stops, detaches, dumps or empties a Redis.
FORBIDDEN = ("CONFIG SET maxmemory 0", "SHUTDOWN NOSAVE", "REPLICAOF NO ONE", "FLUSHALL", "MODULE LIST", "KEYS *")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("stack")) as made:
        yield made


def status(answer: httpx.Response) -> str:
    """nginx's word on its cache."""
    return str(answer.headers.get("x-cache-status", ""))


def raw(running: Stack, request: bytes, source: str = "127.0.0.1") -> bytes:
    """All that nginx sends to a request until it closes the connection."""
    with socket.create_connection(("127.0.0.1", running.nginx_port), 30, (source, 0)) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_tiles_are_the_planets_and_kept(running: Stack, planet: Planet) -> None:
    for path, (zoom, x, y) in {"/4/8/5.png": (4, 8, 5), "/earth/6/40/24.png": (6, 40, 24)}.items():
        first, second = running.get(path), running.get(path)
        assert (first.status_code, status(first), status(second)) == (200, "MISS", "HIT")
        assert first.content == second.content
        pixels = np.asarray(Image.open(io.BytesIO(second.content)))
        assert np.array_equal(pixels, planet.read(zoom, x * 256, y * 256, 256, 256))
        for header in ("etag", "cache-control", "content-type", "access-control-allow-origin"):
            assert second.headers[header] == first.headers[header]
        assert first.headers["x-request-id"]
        assert "x-request-id" not in second.headers  # nobody but nginx has seen it
        assert running.get(path, if_none_match=first.headers["etag"]).status_code == 304
        assert len(running.asked(path)) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/3/4/2@2x.webp",
        "/tms/1.0.0/earth/4/8/10.png",
        "/wmts/1.0.0/earth/default/WebMercatorQuad/4/5/8.jpg",
        f"/wmts?SERVICE=WMTS&Request=GetTile&{KVP}&tilematrix=4&tilerow=5&tilecol=8",
        "/collections/earth/map/tiles/WebMercatorQuad/4/5/8?f=png",
    ],
)
def test_tiles_of_every_protocol_are_kept(running: Stack, path: str) -> None:
    answers = [running.get(path) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [status(answer) for answer in answers] == ["MISS", "HIT"]
    assert answers[0].content == answers[1].content


def test_formats_by_accept_are_kept_apart(running: Stack) -> None:
    for kind in ("image/webp", "image/png", "image/webp", "image/png"):
        assert running.get("/4/9/5", accept=kind).headers["content-type"] == kind


@pytest.mark.parametrize("path", DOCUMENTS)
def test_documents_and_errors_are_not_kept(running: Stack, path: str) -> None:
    assert [status(running.get(path)) in ("", "BYPASS", "MISS") for _ in range(2)] == [True, True]


def test_twenty_clients_of_a_cold_tile_ask_the_server_once(running: Stack) -> None:
    path = "/6/41/25.png"
    together = threading.Barrier(20)

    def get(_: int) -> httpx.Response:
        together.wait()
        return httpx.get(running.url + path, timeout=120)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(get, range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sorted(status(answer) for answer in answers) == ["HIT"] * 19 + ["MISS"]
    assert len(running.asked(path)) == 1


def test_an_old_tile_is_sent_at_once_and_checked_behind(running: Stack) -> None:
    """stale-while-revalidate: the check is a conditional request, which renders nothing."""
    path = "/4/10/5.png"
    first = running.hasty(path)
    time.sleep(2.2)  # nginx counts whole seconds, and the one that has begun
    old = running.hasty(path)
    assert (status(old), old.content) == ("STALE", first.content)
    checks = wait_for(
        lambda: [line for line in running.asked(path, "hasty") if line["cache"] == "REVALIDATED"], 20, "the check"
    )
    assert [line["status"] for line in checks] == [200]


def test_a_conditional_request_for_a_tile_not_kept_renders_nothing(running: Stack) -> None:
    path = "/18/130000/90000.png"  # seconds, even at one step
    answer = running.get(path, if_none_match="*")
    assert (answer.status_code, answer.content) == (304, b"")
    (line,) = wait_for(lambda: running.asked(path), 20, "the line in the log")
    assert float(line["upstream_seconds"]) < 1
    small = "/4/11/5.png"
    assert running.get(small, if_none_match="*").status_code == 304
    assert running.get(small).status_code == 200


def test_api_keys_do_not_share_what_is_kept(running: Stack) -> None:
    """Else whoever has no key would get what somebody with a key has asked for."""
    for headers in ({"x_api_key": "one"}, {"x_api_key": "two"}, {"authorization": "Bearer one"}, {}):
        assert status(running.get("/4/12/5.png", **headers)) == "MISS"
        assert status(running.get("/4/12/5.png", **headers)) == "HIT"


def test_links_name_nginx_and_nothing_that_a_client_makes_up(running: Stack) -> None:
    made_up = {"x_forwarded_host": "evil.example", "x_forwarded_proto": "https", "forwarded": "host=evil.example"}
    for headers in ({}, made_up, {"x_forwarded_for": "127.0.0.1, 127.0.0.1", "x_forwarded_prefix": "/evil"}):
        (template,) = running.get("/tilejson.json", **headers).json()["tiles"]
        assert template == f"{running.url}/{{z}}/{{x}}/{{y}}.png"
        assert running.url.encode() in running.get("/wmts/1.0.0/WMTSCapabilities.xml", **headers).content
    (template,) = running.get("/tilejson.json", host="tiles.example.org").json()["tiles"]
    assert template == "http://tiles.example.org/{z}/{x}/{y}.png"


def test_text_is_compressed_and_pictures_are_not(running: Stack) -> None:
    for path, encoding in (("/openapi.json", "gzip"), ("/", "gzip"), ("/4/8/5.png", None), ("/4/8/5.jpg", None)):
        assert running.get(path, accept_encoding="gzip").headers.get("content-encoding") == encoding
    assert "accept-encoding" in running.get("/openapi.json", accept_encoding="gzip").headers["vary"].lower()


def test_what_nginx_refuses_is_a_sentence(running: Stack) -> None:
    long = raw(running, b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 40000 + b"\r\n\r\n")
    assert long.startswith(b"HTTP/1.1 400 ") and b'{"detail":"The request is malformed' in long
    large = running.client.post(f"{running.url}/bbox", content=b" " * (5 << 20))
    assert (large.status_code, large.json()["detail"]) == (413, "The body is too large; 4 MiB are allowed.")


def test_the_operators_pages_are_not_the_worlds(running: Stack) -> None:
    for path in (b"/metrics", b"/admin", b"/admin/stats"):
        request = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert raw(running, request, "127.0.0.2").startswith(b"HTTP/1.1 403 ")
        assert not raw(running, request).startswith(b"HTTP/1.1 403 ")
    assert raw(running, b"GET /nginx/status HTTP/1.0\r\n\r\n", "127.0.0.2").startswith(b"HTTP/1.1 403 ")


def test_a_flood_from_one_address_is_refused_and_others_are_not(running: Stack) -> None:
    assert running.get("/0/0/0.jpg").status_code == 200
    request = b"GET /0/0/0.jpg HTTP/1.1\r\nHost: x\r\nConnection: %s\r\n\r\n"
    flood = raw(running, request % b"keep-alive" * 2999 + request % b"close", "127.0.0.3")
    refused = flood.count(b"HTTP/1.1 429 ")
    assert 0 < refused <= 3000 - 600  # the burst is let in
    assert flood.count(b"HTTP/1.1 200 ") == 3000 - refused
    assert flood.count(b"Retry-After: 1") == flood.count(b'{"detail":"Too many requests') == refused
    assert running.get("/4/8/5.png").status_code == 200


def test_slow_clients_are_dropped(running: Stack) -> None:
    """And hold nobody up meanwhile."""
    with contextlib.ExitStack() as opened:
        slow = [opened.enter_context(socket.create_connection(("127.0.0.1", running.nginx_port), 30)) for _ in range(200)]
        for connection in slow:
            connection.sendall(b"GET /4/8/5.png HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert running.get("/4/8/5.png").status_code == 200
        for connection in slow:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1 << 16).partition(b" ")[2][:3] in (b"", b"408")


def test_redis_is_a_bounded_cache_that_cannot_be_reconfigured(running: Stack) -> None:
    with redis.Redis.from_url(running.environment["METAEARTH_CACHE_URL"], decode_responses=True) as client:
        figures = client.config_get("maxmemory", "maxmemory-policy", "appendonly", "save", "stop-writes-on-bgsave-error")
        assert figures == {
            "maxmemory": str(1 << 30),
            "maxmemory-policy": "allkeys-lru",
            "appendonly": "no",
            "save": "900 1000",
            "stop-writes-on-bgsave-error": "no",
        }
        client.set("probe", b"1", ex=60)
        assert client.get("probe") == "1"
        for command in FORBIDDEN:
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
        if "cache_url" in Settings.model_fields:
            running.get("/4/13/5.png")
            assert wait_for(lambda: int(client.dbsize()) > 1, 20, "a tile in Redis")


def test_nginx_serves_what_it_has_without_a_server_and_recovers(running: Stack) -> None:
    """The last test, for it kills the server."""
    path, unseen = "/4/14/5.png", "/4/15/5.png"
    kept = [get(path) for get in (running.get, running.hasty)]
    running.kill("server")
    time.sleep(2.2)  # nginx counts whole seconds, and the one that has begun
    for _ in range(2):
        fresh, old = running.get(path), running.hasty(path)
        assert (status(fresh), status(old) in ("STALE", "UPDATING")) == ("HIT", True)
        assert [fresh.content, old.content] == [answer.content for answer in kept]
    for other in (unseen, "/health"):
        answer = running.get(other)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json() == {"detail": "The tile server does not answer now; try again in a few seconds."}
        assert answer.elapsed.total_seconds() < 3
    running.start_server()
    assert running.get(unseen).status_code == 200
    wait_for(lambda: status(running.hasty(path)) == "HIT", 30, "a fresh tile")

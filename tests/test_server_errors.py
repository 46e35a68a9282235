"""Bad input: the right status, one JSON sentence, and never 500."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from model import ModelError, Planet
from server.errors import STATUS
from tests.conftest import Readings


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    """One application for all: nothing here depends on what is cached."""
    return shared_client


BAD = [
    ("/21/0/0.png", 404),
    ("/-1/0/0.png", 404),
    ("/99999999999999999999999999/0/0.png", 404),
    ("/4/16/0.png", 404),
    ("/4/0/16.png", 404),
    ("/4/-1/0.png", 404),
    ("/4/0/-1.png", 404),
    ("/0/1/0.png", 404),
    ("/20/1048576/0.png", 404),
    ("/4/0/" + "9" * 5000 + ".png", 404),
    ("/a/0/0.png", 422),
    ("/4/b/0.png", 422),
    ("/4/0/c.png", 422),
    ("/1.5/0/0.png", 422),
    ("/4/0/1.5.png", 422),
    ("/4/1e1/0.png", 422),
    ("/4/0x1/0.png", 422),
    ("/4/+1/0.png", 422),
    ("/4/%201/0.png", 422),
    ("/4/%D9%A1/0.png", 422),
    ("/4/1_0/0.png", 422),
    ("/4/0%00/0.png", 422),
    ("/4/0/.png", 404),
    ("/4/0/0.gif", 404),
    ("/4/0/0.PNG", 404),
    ("/4/0/0.", 404),
    ("/4/0/0x", 422),
    ("/a/b/c", 404),
    ("/4/99/0", 404),
    ("/mars/4/0/0", 404),
    ("/4/0/0@3x.png", 404),
    ("/4/0/0@2x@2x.png", 422),
    ("/20/0/0@2x.png", 404),
    ("/20/0/0.png?tilesize=512", 404),
    ("/4/0/0.png?tilesize=1024", 422),
    ("/4/0/0.png?tilesize=", 422),
    ("/4/0/0?tilesize=x", 422),
    ("/4/0/0@2x.png?tilesize=256", 404),
    ("/earth/4/0/0.png?tile%73ize=1", 422),
    ("/mars/4/0/0.png", 404),
    ("/Earth/4/0/0.png", 404),
    ("/earth/4/99/0.png", 404),
    ("/earth/4/x/0.png", 422),
    ("/earth/4/0/0.tif", 404),
    ("/%F0%9F%8C%8D/4/0/0.png", 404),
    ("/nothing", 404),
    ("/viewer/../settings.py", 404),
    ("/viewer/%2e%2e/settings.py", 404),
    ("/viewer/nothing.js", 404),
    ("/tilejson.json?format=gif", 422),
]


@pytest.mark.parametrize(("path", "status"), BAD, ids=[path[:40] for path, _ in BAD])
def test_bad_addresses(client: TestClient, readings: Readings, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    body = answer.json()
    assert list(body) == ["detail"]
    assert body["detail"].endswith(".")
    assert "\n" not in body["detail"]
    assert len(body["detail"]) < 200
    head = client.head(path)
    assert head.status_code == status
    assert head.content == b""
    assert readings.calls == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/4/0/0.png", "/earth/4/0/0.png", "/health", "/tilejson.json", "/"])
def test_other_methods_are_405(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert "use GET" in answer.json()["detail"]


def test_malformed_headers_do_no_harm(client: TestClient) -> None:
    headers = [(b"if-none-match", b"\xff\xfe,,,W/"), (b"range", b"bytes=5-"), (b"origin", b"\x80")]
    assert client.get("/4/0/0.png", headers=headers).status_code == 200


def test_every_error_of_the_model_has_a_status() -> None:
    def kinds(base: type[Exception]) -> set[type[Exception]]:
        return {base}.union(*(kinds(kind) for kind in base.__subclasses__()))

    assert all(any(parent in STATUS for parent in kind.__mro__) for kind in kinds(ModelError))
    assert 500 not in STATUS.values()


def test_an_unforeseen_error_is_503_with_a_sentence(
    client: TestClient, planet: Planet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("nobody thought of this")

    monkeypatch.setattr("server.tiles.TileKey.parse", broken)
    answer = client.get("/4/9/9.png")
    assert answer.status_code == 503
    assert answer.json()["detail"].endswith(".")
    assert "nobody" not in answer.text

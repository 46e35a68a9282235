"""Tiles without an extension: which format Accept gets, from the route and from the fast path alike."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from server.accept import negotiate
from server.errors import NotAcceptableError
from server.fastpath import FastPath
from tests.test_server_variants import silence


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    """One application for all: nothing here depends on what is cached."""
    return shared_client


CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
SAFARI = "image/webp,image/avif,image/jxl,image/heic,video/*;q=0.8,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
CASES = [
    (None, "png"),
    ("", "png"),
    ("*/*", "png"),
    ("image/*", "png"),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "png"),
    (CHROME, "avif"),
    (SAFARI, "avif"),
    ("image/webp,*/*", "webp"),
    ("image/webp, image/png", "webp"),
    ("image/jpeg", "jpg"),
    ("IMAGE/JPEG", "jpg"),
    ("image/jpeg, image/png", "png"),
    ("image/jpeg, image/png;q=0.9", "jpg"),
    ("image/avif;q=0.5, image/webp;q=0.7", "webp"),
    ("image/avif;q=0.5, */*", "png"),
    ("image/png;q=0, */*;q=0.1", "jpg"),
    ("image/*;q=0.2, image/webp;q=0.1", "png"),
    ("image/webp;q=0, image/*", "png"),
    ("image/png;q=0.001", "png"),
    ("image/png; q=1.000 ;x=y", "png"),
    (" image/webp ; q=0.5 , text/plain", "webp"),
    ("garbage, image/webp", "webp"),
    ("image/avif;q=high, image/jpeg", "jpg"),
]
REFUSED = ["text/html", "image/gif", "image/png;q=0", "*/*;q=0", "image/*;q=0, */*;q=0.0", "garbage", "image/png;q=2"]
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "avif": "image/avif"}


@pytest.mark.parametrize(("accept", "extension"), CASES)
def test_negotiate(accept: str | None, extension: str) -> None:
    assert negotiate(accept) == extension


@pytest.mark.parametrize("accept", REFUSED)
def test_nothing_acceptable(client: TestClient, accept: str) -> None:
    with pytest.raises(NotAcceptableError):
        negotiate(accept)
    for headers in ({"accept": accept}, {"accept": accept, "if-none-match": "*"}):
        answer = client.get("/4/8/5", headers=headers)
        assert answer.status_code == 406
        assert "image/png" in answer.json()["detail"]
        assert answer.headers["vary"] == "Accept"
    assert client.get("/4/8/99", headers={"accept": accept}).status_code == 404, "there is no such tile in any format"


@pytest.mark.parametrize("path", ["/4/8/5", "/earth/4/8/5", "/3/4/2@2x", "/earth/3/4/2?tilesize=512"])
@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "avif"])
def test_the_tile_is_the_one_with_the_extension_cold_and_hot(
    client: TestClient, app: FastPath, path: str, extension: str
) -> None:
    headers = {"accept": MEDIA_TYPES[extension]}
    cold = client.get(path, headers=headers)
    plain = client.get(path.replace("?", f".{extension}?") if "?" in path else f"{path}.{extension}")
    silence(app)
    hot = client.get(path, headers=headers)
    head = client.head(path, headers=headers)
    unchanged = client.get(path, headers=headers | {"if-none-match": cold.headers["etag"]})
    assert cold.content == hot.content == plain.content
    assert sorted(cold.headers.items()) == sorted(hot.headers.items()) == sorted(head.headers.items())
    assert cold.headers["content-type"] == MEDIA_TYPES[extension]
    assert cold.headers["etag"] == plain.headers["etag"]
    assert cold.headers["vary"] == unchanged.headers["vary"] == "Accept"
    assert "vary" not in plain.headers
    assert (unchanged.status_code, head.content) == (304, b"")


def test_the_etag_of_another_format_is_not_the_tile(client: TestClient) -> None:
    png = client.get("/4/8/5.png").headers["etag"]
    assert client.get("/4/8/5", headers={"if-none-match": png}).status_code == 304
    answer = client.get("/4/8/5", headers={"if-none-match": png, "accept": "image/webp"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")


def test_several_accept_headers_are_one_list(client: TestClient) -> None:
    lines = [("accept", "image/png;q=0.5"), ("accept", "image/webp")]
    for _ in range(2):
        assert client.get("/4/8/5", headers=lines).headers["content-type"] == "image/webp"

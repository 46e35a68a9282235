"""What pages tell browsers, and what hostile addresses get."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import urllib.parse

import pytest
from starlette.testclient import TestClient

from model import Planet
from server.app import create_app
from tests.conftest import MakeSettings


def policy_of(client: TestClient, path: str) -> dict[str, str]:
    """The directives of a page's Content-Security-Policy."""
    answer = client.get(path, headers={"accept": "text/html"})
    assert answer.status_code == 200
    assert answer.headers["referrer-policy"] == "strict-origin-when-cross-origin"
    assert "geolocation=()" in answer.headers["permissions-policy"]
    assert "x-frame-options" not in answer.headers, "a map is there to be embedded"
    parts = answer.headers["content-security-policy"].split("; ")
    return {name: sources for name, _, sources in (part.partition(" ") for part in parts)}


def test_every_answer_keeps_browsers_from_guessing_and_can_be_embedded(shared_client: TestClient) -> None:
    for path in ("/0/0/0.png", "/0/0/0.png", "/", "/health", "/nothing", "/wmts", "/viewer/viewer.js"):
        headers = shared_client.get(path).headers
        assert headers.get_list("x-content-type-options") == ["nosniff"], path
        assert headers.get_list("cross-origin-resource-policy") == ["cross-origin"], path


def test_the_viewer_runs_its_own_scripts_only(shared_client: TestClient) -> None:
    policy = policy_of(shared_client, "/")
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in str(policy)
    assert policy["script-src"].startswith("'self' https://unpkg.com/maplibre-gl@")
    assert policy["frame-ancestors"] == "*"


def test_pages_of_the_api_allow_the_style_that_they_have(shared_client: TestClient) -> None:
    page = shared_client.get("/ogc?f=html").text
    (style,) = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy_of(shared_client, "/ogc?f=html")["style-src"]


def test_the_documentation_has_a_policy_for_what_it_loads(shared_client: TestClient) -> None:
    page, policy = shared_client.get("/docs").text, policy_of(shared_client, "/docs")
    for kind, tag in (("script-src", 'src="(https://[^/"]+)'), ("style-src", 'stylesheet" [^>]*href="(https://[^/"]+)')):
        assert all(host in policy[kind] for host in re.findall(tag, page))


def test_the_public_address_and_the_embedding_pages_are_settings(make_settings: MakeSettings, planet: Planet) -> None:
    settings = make_settings(public_url="https://tiles.example.org/earth", frame_ancestors="'none'")
    with TestClient(create_app(settings, planet)) as client:
        policy = policy_of(client, "/")
    assert policy["connect-src"] == "'self' https://tiles.example.org"
    assert policy["frame-ancestors"] == "'none'"


@pytest.mark.parametrize(
    "path",
    [
        "/viewer/../app.py",
        "/viewer/%2e%2e/app.py",
        "/viewer/..%2fapp.py",
        "/viewer/%2e%2e%2fapp.py",
        "/viewer/..%5capp.py",
        "/viewer//etc/passwd",
        "/viewer/%2fetc%2fpasswd",
        "/viewer/vendor/..%2f..%2f..%2fpyproject.toml",
        "/viewer/viewer.js%00.png",
        "/exports/..%2f..%2ftiles.sqlite/file",
        "/exports/../job.json",
    ],
)
def test_no_file_outside_of_the_viewer_is_served(shared_client: TestClient, path: str) -> None:
    scope_path = urllib.parse.unquote(path)

    # As raw as a socket would send it: the client itself would tidy the path up.
    def raw(scope: dict[str, object]) -> dict[str, object]:
        return {**scope, "path": scope_path, "raw_path": path.encode()}

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        await shared_client.app(raw(scope) if scope["type"] == "http" else scope, receive, send)  # type: ignore[arg-type]

    answer = TestClient(app, raise_server_exceptions=False).get("/")  # type: ignore[arg-type]
    assert answer.status_code in (404, 422), answer.text


def test_a_path_cannot_begin_a_line_of_the_log(
    shared_client: TestClient, planet: Planet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("server.tilejson.tilejson", breaks)
    with caplog.at_level(logging.ERROR):
        answer = shared_client.get("/earth/tilejson.json?x=%0d%0a", headers={"x-a": "b"})
        assert answer.status_code == 503
        shared_client.get("/earth%0d%0aroot/tilejson.json")
    assert caplog.records
    assert not any("\n" in record.getMessage() or "\r" in record.getMessage() for record in caplog.records)


def test_an_answer_cannot_be_split_by_what_an_address_says(shared_client: TestClient) -> None:
    answer = shared_client.get("/ogc/x%0d%0aset-cookie:a=b?y=%0d%0aset-cookie:a=b", follow_redirects=False)
    assert "set-cookie" not in answer.headers
    assert "\n" not in answer.headers.get("location", "")

"""The log of a real server: identifiers, access log, JSON, and nothing in it that a client could forge."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from model import Planet
from server.app import create_app
from server.logs import REQUEST_ID, TRACE_ID, RequestFilter, TextFormatter, configure_logging
from server.logs_requests import identifiers
from tests.conftest import MakeSettings

ROOT = Path(__file__).resolve().parents[1]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def _log_as_it_was() -> Iterator[None]:
    """Tests that configure the log of this process put it back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@contextlib.contextmanager
def server(folder: Path, **settings: str) -> Iterator[tuple[int, Path]]:
    """`metaearth serve` in a process of its own: its port, and the file that its stderr goes to."""
    log = folder / "log"
    environment = os.environ | {f"METAEARTH_{name.upper()}": value for name, value in settings.items()}
    environment |= {"METAEARTH_CACHE_DIR": str(folder / "cache"), "METAEARTH_STEPS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "server.cli", "serve", "--port", "0"]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=sink, text=True)
    try:
        assert process.stdout is not None
        found = None
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                break
        assert found is not None, log.read_text()
        yield int(found[1]), log
    finally:
        process.terminate()
        process.communicate(timeout=60)


def raw(port: int, request: bytes) -> bytes:
    """What the server answers to these bytes, to the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def get(port: int, target: bytes, *headers: bytes) -> bytes:
    lines = [b"GET " + target + b" HTTP/1.1", b"Host: localhost", b"Connection: close", *headers]
    return raw(port, b"\r\n".join(lines) + b"\r\n\r\n")


def test_access_log_as_json_cannot_be_forged(tmp_path: Path) -> None:
    """Each line is one JSON object with the fields of docs/monitoring.md, whatever bytes clients send."""
    with server(tmp_path, log_format="json", access_log="true") as (port, log):
        assert b"\r\nx-request-id: mine-1\r\n" in get(
            port, b"/2/1/1.jpg", b"X-Request-ID: mine-1", b"traceparent: " + PARENT.encode()
        )
        assert b"\r\nx-request-id: mine-2\r\n" in get(port, b"/2/1/1.jpg", b"X-Request-ID: mine-2"), "also a hit"
        for hostile in (b"two words", b"x" * 129, b'"}{"', b"\x1b[31mred", b"\xff\xfe"):
            answer = get(port, b"/2/1/1.jpg?key=secret&a=1", b"X-Request-ID: " + hostile)
            assert hostile not in answer
        targets = (b"/%0d%0aINFO%20forged", b"/%1b[2J", b"/%e2%80%a8x", b"/\xff\x80?\x1b", b"/?%00&KEY=secret", b"/a\x7fb")
        for target in targets:
            get(port, target)
        for _ in range(20):
            raw(port, b"\x16\x03\x01 no HTTP\r\n\r\n")
        time.sleep(0.3)
        text = log.read_text(encoding="ascii")
    assert "secret" not in text
    records = [json.loads(line) for line in text.splitlines()]
    lines = [record for record in records if record["logger"] == "metaearth.access"]
    malformed = [record for record in records if "Invalid HTTP request" in record["message"]]
    assert len(malformed) == 1, "a client that sends no HTTP cannot fill the log"
    first, second, third = lines[:3]
    assert first["request_id"] == "mine-1"
    assert first["trace_id"] == TRACE
    assert (first["method"], first["path"], first["status"]) == ("GET", "/2/1/1.jpg", 200)
    assert first["bytes"] == second["bytes"] > 500
    assert 0 < second["seconds"] < 5
    assert second["request_id"] == "mine-2" and "trace_id" not in second
    assert re.fullmatch("[0-9a-f]{32}", third["request_id"])
    assert third["path"] == "/2/1/1.jpg?key=...&a=1"
    assert len(lines) >= 7 + 3, "targets that the HTTP parser refuses have no line"
    assert all(re.fullmatch(r"[\x21-\x7e]+", record["path"].encode("unicode_escape").decode()) for record in lines)


@pytest.mark.usefixtures("_log_as_it_was")
def test_requests_have_an_id_wherever_it_is_logged(
    make_settings: MakeSettings,
    planet: Planet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An error in the thread that renders is logged with the identifiers of the request that asked."""
    settings = make_settings()
    configure_logging(settings)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("out of\nmemory\r\n2026-01-01 INFO forged: \x1b[31m")

    with TestClient(create_app(settings, planet), raise_server_exceptions=False) as client:
        monkeypatch.setattr(planet, "read", fails)
        answer = client.get("/3/1/1.png", headers={"x-request-id": "abc", "traceparent": PARENT})
        assert answer.status_code == 503
        assert answer.headers["x-request-id"] == "abc"
        log = capsys.readouterr().err
        assert f"rendering /3/1/1.png failed [request_id=abc trace_id={TRACE}]\n" in log
        assert "\x1b" not in log and "\r" not in log
        assert not [line for line in log.split("\n") if line.startswith("2026-01-01 INFO")]

        other = client.get("/nothing")
        assert re.fullmatch("[0-9a-f]{32}", other.headers["x-request-id"])
        assert client.get("/nothing").headers["x-request-id"] != other.headers["x-request-id"]
        assert client.get("/health", headers={"x-request-id": "a b"}).headers["x-request-id"] != "a b"
        assert "metaearth.access" not in capsys.readouterr().err, "no line for each request unless asked for"


def test_answers_that_caches_share_carry_no_new_id(client: TestClient) -> None:
    for _ in range(2):
        assert "x-request-id" not in client.get("/2/3/1.png").headers
    assert client.get("/2/3/2.png", headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"


@pytest.mark.parametrize(
    "header",
    [
        PARENT.replace("00-", "ff-", 1),
        PARENT.replace(TRACE, "0" * 32),
        PARENT.replace("00f067aa0ba902b7", "0" * 16),
        PARENT.upper(),
        PARENT[:-1],
        TRACE,
    ],
)
def test_bad_traceparents_are_passed_over(header: str) -> None:
    """W3C Trace Context, 3.2.2 and 4.3: as if there were none."""
    scope = {"headers": [(b"traceparent", header.encode())]}
    assert identifiers(scope) == ("", "")
    assert identifiers({"headers": [(b"traceparent", PARENT.replace("00-", "cc-", 1).encode() + b"-more")]})[1] == TRACE


def test_text_lines_escape_what_controls() -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "%s", ("a\nb\x00\x1b\u2028\u202e\x85é",), None)
    RequestFilter().filter(record)
    line = TextFormatter().format(record)
    assert line.endswith(r"INFO x: a\nb\x00\x1b\u2028\u202e\x85é")
    REQUEST_ID.set("id")
    TRACE_ID.set("")
    RequestFilter().filter(record)
    assert TextFormatter().format(record).endswith("é [request_id=id]")
    REQUEST_ID.set("")

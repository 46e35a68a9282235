"""Connections over real sockets: slow, large, many, and those that go away."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from model import Planet
from server.app import create_app
from server.fastpath import FastPath
from server.render_queue import Priority
from server.settings import load_settings
from tests.conftest import MakeSettings
from tests.peers.serving import served
from tests.test_server_tiles import Gate

HEAD_SECONDS = 0.5
HIT = b"GET /0/0/0.png HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def application(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> FastPath:
    settings = load_settings(cache_dir=tmp_path_factory.mktemp("connections"), steps=1, head_seconds=HEAD_SECONDS)
    return create_app(settings, planet)


@pytest.fixture(scope="module")
def port(application: FastPath) -> Iterator[int]:
    """A server with one tile at hand."""
    with served(application) as port:
        assert status(port, "/0/0/0.png") == 200
        yield port


def status(port: int, path: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        answer.read()
        return int(answer.status)


@contextlib.contextmanager
def connected(port: int, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        yield connection


def all_of(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def test_a_slow_head_is_closed_and_hits_are_served_meanwhile(port: int) -> None:
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(port, b"GET / HTTP/1.1\r\nHost: a\r\n" if n % 2 else b"")) for n in range(50)]
        begun = time.monotonic()
        assert status(port, "/0/0/0.png") == 200
        for number in range(100):  # one header now and then, as a slow-loris does
            with contextlib.suppress(OSError):
                slow[1].sendall(f"x-{number}: 1\r\n".encode())
            if select.select([slow[1]], [], [], 0.1)[0]:
                break
        assert [all_of(connection) for connection in slow] == [b""] * 50
        assert time.monotonic() - begun < 20 * HEAD_SECONDS


def test_a_slow_head_after_a_request_is_closed_too_and_an_idle_connection_is_kept(port: int) -> None:
    with connected(port, HIT) as idle, connected(port, HIT + b"GET /0/0/0.png HTT") as slow:
        assert all_of(slow).count(b"HTTP/1.1 200") == 1
        time.sleep(2 * HEAD_SECONDS)
        idle.sendall(HIT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert all_of(idle).count(b"HTTP/1.1 200") == 2


def test_a_slow_body_gets_408(port: int) -> None:
    with connected(
        port, b"POST /bbox HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    ) as slow:
        answer = all_of(slow)
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert "body" in json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]


def test_a_head_without_end_gets_431(port: int) -> None:
    with connected(port) as endless:
        with contextlib.suppress(OSError):
            endless.sendall(b"GET / HTTP/1.1\r\n" + b"x: " + b"a" * 300_000)
        endless.settimeout(10)
        answer = all_of(endless)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")  # the reset may overtake it


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\x01\x00\r\n", b"GET\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"]
)
def test_what_is_no_http_gets_400_in_json(port: int, junk: bytes) -> None:
    with connected(port, junk) as connection:
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]


def test_an_upgrade_is_answered_as_a_request(port: int) -> None:
    upgrade = HIT.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    with connected(port, upgrade) as connection:
        assert connection.recv(15) == b"HTTP/1.1 200 OK"


def test_one_connection_too_many_closes_one_that_never_asked(make_settings: MakeSettings, planet: Planet) -> None:
    application = create_app(make_settings(max_connections=8, head_seconds=600), planet)
    with served(application) as port, contextlib.ExitStack() as stack:
        kept = stack.enter_context(connected(port, HIT))
        assert kept.recv(15) == b"HTTP/1.1 200 OK"
        silent = []
        for _ in range(20):
            silent.append(stack.enter_context(connected(port)))
            time.sleep(0.02)
        assert status(port, "/0/0/0.png") == 200
        _until(lambda: len(select.select(silent, [], [], 0)[0]) >= 12)
        assert select.select(silent, [], [], 0)[0][:12] == silent[:12], "the oldest went first"
        assert not select.select(silent[14:], [], [], 0)[0]
        kept.sendall(HIT)
        assert kept.recv(1), "what has asked for something is kept"


def test_a_client_that_disconnects_100_times_while_waiting_leaves_no_work_behind(
    application: FastPath, port: int, planet: Planet, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = application.api.state.renderer.queue
    gate = Gate(planet, monkeypatch)
    begun = threading.Thread(target=status, args=(port, "/4/5/5.png"))
    begun.start()
    assert gate.reached.wait(30)
    dropped = queue.totals["dropped", Priority.VIEWPORT]
    for number in range(100):
        with connected(port, b"GET /4/%d/%d.png HTTP/1.1\r\nHost: a\r\n\r\n" % (number % 16, 6 + number // 16)) as connection:
            if number % 10 == 0:
                _until(lambda: queue.depth()[Priority.VIEWPORT] > 0)
            if number % 3 == 0:  # with a reset in place of an orderly end
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    _until(lambda: application.api.state.limits.active == 1)
    assert queue.depth() == dict.fromkeys(Priority, 0)
    assert queue.totals["dropped", Priority.VIEWPORT] - dropped >= 10
    before = queue.totals["began", Priority.VIEWPORT]
    gate.open.set()
    begun.join(30)
    assert status(port, "/4/15/15.png") == 200
    assert queue.totals["began", Priority.VIEWPORT] - before == 1


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)

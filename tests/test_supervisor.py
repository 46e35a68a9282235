"""`metaearth serve --workers`: real processes, killed, renewed, and sharing exports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import Planet
from tests.test_server_tiles import decode

ROOT = Path(__file__).parents[1]
START_S = 240.0
pytestmark = pytest.mark.timeout(600)


class Served:
    """`metaearth serve` in a process of its own, with two workers unless told otherwise."""

    def __init__(self, folder: Path, *options: str, code: str = "from server import cli; cli.app()") -> None:
        self.log = folder / "server.log"
        environment = os.environ | {"METAEARTH_CACHE_DIR": str(folder / "cache"), "METAEARTH_STEPS": "1"}
        command = [sys.executable, "-c", code, "serve", "--port", "0", *options]
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=sink, text=True)
        assert self.process.stdout is not None
        said = self.process.stdout.readline() + self.process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert address is not None, said + self.log.read_text()
        self.address = address[0]

    def workers(self) -> set[int]:
        """The processes that serve."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(child) for child in children.split()}

    def get(self, path: str, method: str = "GET", body: Any = None) -> bytes:
        """The body of an answer; tried again where the connection was one of a worker that went."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"content-type": "application/json"}, method=method)
        for last in (False, False, True):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    content: bytes = answer.read()
                    return content
            except urllib.error.HTTPError:
                raise
            except OSError:
                if last:
                    raise
        raise AssertionError

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tells it to stop; the exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


def until(condition: Callable[[], Any], seconds: float = START_S) -> Any:
    """The first true value of `condition`."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("workers"), "--workers", "2")
    try:
        until(lambda: made.log.read_text().count(" serves\n") == 2)
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def test_a_killed_worker_is_replaced_and_the_other_serves_meanwhile(server: Served, planet: Planet) -> None:
    before = server.workers()
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    server.get("/health")
    assert time.monotonic() - killed < 5
    tile = decode(server.get("/3/4/2.png"))
    assert np.array_equal(tile, planet.read(3, 4 * 256, 2 * 256, 256, 256))
    until(lambda: victim not in server.workers() and len(server.workers()) == 2)
    assert "SIGKILL" in server.log.read_text()


def test_any_worker_tells_the_metrics_of_all_and_a_death_loses_none(server: Served) -> None:
    def value(name: str) -> float:
        lines = server.get("/metrics").decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    hits = 'metaearth_tiles_total{tier="memory",zoom="2"}'
    until(lambda: value("metaearth_workers ") == 2)
    server.get("/2/1/1.jpg")
    for _ in range(30):  # each by a connection of its own
        server.get("/2/1/1.jpg")
    until(lambda: value('metaearth_requests_total{status="200",zoom="2"}') == 31, 30)
    found = value(hits)
    assert found in (29, 30), "one was rendered, and the other worker read the disk once"
    assert json.loads(server.get("/admin/stats"))["workers"] == 2
    os.kill(min(server.workers()), signal.SIGKILL)
    for _ in range(2):
        assert value(hits) == found, "before and after the dead worker's place is taken"
        until(lambda: value("metaearth_workers ") == 2)
    assert value("metaearth_process_resident_memory_bytes ") > 2 * (100 << 20)


def test_any_worker_tells_of_an_export_and_one_works_on_it(server: Served) -> None:
    asked = {"bbox": [-20, 30, 20, 60], "format": "mbtiles", "minzoom": 0, "maxzoom": 4}
    job = json.loads(server.get("/exports", "POST", asked))
    path = f"/exports/{job['id']}"
    states = set()

    def done() -> bool:
        # Each request is a connection of its own, which either worker may take.
        states.add(json.loads(server.get(path))["state"])
        return "done" in states

    until(done)
    assert states <= {"queued", "running", "done"}
    for _ in range(8):
        assert json.loads(server.get(path))["state"] == "done"
        assert server.get(path + "/file").startswith(b"SQLite format 3")
        assert [entry["id"] for entry in json.loads(server.get("/exports"))["exports"]] == [job["id"]]
    server.get(path, "DELETE")
    for _ in range(8):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            server.get(path)


def test_a_hangup_renews_the_workers_one_by_one_without_a_gap_and_a_signal_ends_all(server: Served) -> None:
    before = server.workers()
    server.process.send_signal(signal.SIGHUP)
    answered = 0

    def renewed() -> bool:
        nonlocal answered
        assert server.get("/0/0/0.png")
        answered += 1
        workers = server.workers()
        return not workers & before and len(workers) == 2

    until(renewed)
    assert answered > 1
    workers = server.workers()
    assert server.stop() == 0
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_memory_beyond_the_bound_has_a_worker_replaced_and_workers_end_with_their_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAEARTH_MAX_MEMORY_MB", "256")
    # Less than what any worker needs, and no patience with one that is young.
    code = "from server import supervisor, run, cli; supervisor.SHORTEST_LIFE_S = 0.0; cli.app()"
    server = Served(tmp_path, code=code)
    try:
        (first,) = server.workers()
        until(lambda: first not in server.workers())
        assert "METAEARTH_MAX_MEMORY_MB" in server.log.read_text()
        assert server.get("/0/0/0.png")
        workers = server.workers()
        server.stop(signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), 30)
    finally:
        server.process.kill()


def test_a_start_that_fails_says_why_once(tmp_path: Path) -> None:
    environment = os.environ | {"METAEARTH_CACHE_DIR": str(tmp_path), "METAEARTH_WEIGHTS": str(tmp_path / "none")}
    command = [sys.executable, "-m", "server.cli", "serve", "--port", "0", "--workers", "3"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 1
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith("metaearth: ")

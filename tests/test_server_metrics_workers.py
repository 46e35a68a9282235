"""Metrics of several processes: added up, kept over deaths and replacements, in files that do not become more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from server.admin import Samples
from server.metrics_workers import VARIABLE, shared_metrics

ROOT = Path(__file__).resolve().parents[1]
# A process with the metrics of a server, without one: "add" counts a tile, "read" prints them, all else ends it.
WORKER = """
import sys
from server.admin import Samples
from server.metrics import Metrics
metrics = Metrics()
metrics.resident.set(1000)
print("ready", flush=True)
for line in sys.stdin:
    if line == "add\\n":
        metrics.tiles.labels("memory", 4).inc()
        metrics.render_seconds.labels(4).observe(0.2)
        print("added", flush=True)
    elif line == "read\\n":
        samples = Samples(metrics.families())
        values = [samples.total(name) for name in ("tiles_total", "render_seconds_count", "workers",
                                                   "process_resident_memory_bytes")]
        print(*map(int, values), metrics.slot.number if metrics.slot else "alone", flush=True)
    else:
        break
"""


class Worker:
    """A process that counts."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def tell(self, word: str) -> list[str]:
        """Its answer to `word`."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[[], Worker]]:
    """Starts workers, which are gone at the end of the test."""
    workers: list[Worker] = []

    def one() -> Worker:
        workers.append(Worker())
        return workers[-1]

    yield one
    for worker in workers:
        worker.kill()


def test_workers_are_added_up_and_deaths_lose_nothing(start: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with shared_metrics() as folder:
        first, second = start(), start()
        for worker, times in ((first, 3), (second, 2)):
            for _ in range(times):
                worker.tell("add")
        assert first.tell("read") == ["5", "5", "2", "2000", "0"]
        assert second.tell("read") == ["5", "5", "2", "2000", "1"], "any of them tells of all"

        first.kill()
        assert second.tell("read") == ["5", "5", "1", "1000", "1"], "what it counted stays, what it held is gone"
        files = sorted(path.name for path in folder.iterdir())

        successor = start()
        assert successor.tell("read") == ["5", "5", "2", "2000", "0"]
        successor.tell("add")
        assert second.tell("read") == ["6", "6", "2", "2000", "1"]
        assert {path.name for path in folder.iterdir()} >= set(files)
        for _ in range(2):
            successor.kill()
            successor = start()
        assert second.tell("read") == ["6", "6", "2", "2000", "1"]
        assert len({path.name.rpartition("_")[2] for path in folder.glob("counter_*.db")}) == 2, "two workers, two files"

        monkeypatch.setenv(VARIABLE, str(folder))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        assert Samples(registry.collect()).total("tiles_total") == 6, "prometheus-client by itself reads the same"
    assert not folder.exists()
    assert VARIABLE not in os.environ or os.environ[VARIABLE] == str(folder)


def test_a_directory_of_the_operators_is_made_and_cleared_but_stays(
    start: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "made" / "for metrics"
    monkeypatch.setenv(VARIABLE, str(folder))
    for _ in range(2):
        with shared_metrics() as shared:
            assert shared == folder
            worker = start()
            assert worker.tell("add") == ["added"]
            assert worker.tell("read")[0] == "1", "an earlier run's counters are another server's"
            worker.kill()
    assert folder.is_dir()


def test_a_process_alone_needs_no_directory(start: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    worker = start()
    worker.tell("add")
    assert worker.tell("read") == ["1", "1", "1", "1000", "alone"]

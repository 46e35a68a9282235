"""Metrics of several processes: added up, kept over deaths and replacements, in files that do not become more."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from server.admin import Samples
from server.metrics import Metrics
from server.metrics_workers import VARIABLE, shared_metrics

# Forks from a process that has imported the server once: seconds less for each worker.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["server.admin"])


def work(pipe: Connection, folder: str | None) -> None:
    """A process with the metrics of a server, without one: "add" counts a tile, "read" tells what it reads."""
    os.environ.pop(VARIABLE, None)
    if folder is not None:
        os.environ[VARIABLE] = folder
    metrics = Metrics()
    metrics.resident.set(1000)
    pipe.send("ready")
    while True:
        if pipe.recv() == "add":
            metrics.tiles.labels("memory", 4).inc()
            metrics.render_seconds.labels(4).observe(0.2)
            pipe.send("added")
        else:
            samples = Samples(metrics.families())
            names = ("tiles_total", "render_seconds_count", "workers", "process_resident_memory_bytes")
            pipe.send([*(samples.total(name) for name in names), None if metrics.slot is None else metrics.slot.number])


class Worker:
    """A process that counts."""

    def __init__(self) -> None:
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=work, args=(theirs, os.environ.get(VARIABLE)), daemon=True)
        self._process.start()
        theirs.close()  # or its death would not be seen
        assert self._pipe.recv() == "ready"

    def tell(self, word: str) -> object:
        """Its answer to `word`."""
        self._pipe.send(word)
        return self._pipe.recv()

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        self._process.kill()
        self._process.join()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Worker]]:
    """Starts workers, which are gone at the end of the test."""
    monkeypatch.delenv(VARIABLE, raising=False)
    ensure_running()
    workers: list[Worker] = []

    def one() -> Worker:
        workers.append(Worker())
        return workers[-1]

    yield one
    for worker in workers:
        worker.kill()


def test_workers_are_added_up_and_deaths_lose_nothing(start: Callable[[], Worker]) -> None:
    with shared_metrics() as folder:
        first, second = start(), start()
        for worker, times in ((first, 3), (second, 2)):
            for _ in range(times):
                worker.tell("add")
        assert first.tell("read") == [5, 5, 2, 2000, 0]
        assert second.tell("read") == [5, 5, 2, 2000, 1], "any of them tells of all"

        first.kill()
        assert second.tell("read") == [5, 5, 1, 1000, 1], "what it counted stays, what it held is gone"
        files = sorted(path.name for path in folder.iterdir())

        successor = start()
        assert successor.tell("read") == [5, 5, 2, 2000, 0]
        successor.tell("add")
        assert second.tell("read") == [6, 6, 2, 2000, 1]
        assert {path.name for path in folder.iterdir()} >= set(files)
        for _ in range(2):
            successor.kill()
            successor = start()
        assert second.tell("read") == [6, 6, 2, 2000, 1]
        assert len({path.name.rpartition("_")[2] for path in folder.glob("counter_*.db")}) == 2, "two workers, two files"

        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        assert Samples(registry.collect()).total("tiles_total") == 6, "prometheus-client by itself reads the same"
    assert not folder.exists()
    assert VARIABLE not in os.environ


def test_a_directory_of_the_operators_is_made_and_cleared_but_stays(
    start: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "made" / "for metrics"
    monkeypatch.setenv(VARIABLE, str(folder))
    for _ in range(2):
        with shared_metrics() as shared:
            assert shared == folder
            worker = start()
            worker.tell("add")
            assert worker.tell("read") == [1, 1, 1, 1000, 0], "an earlier run's counters are another server's"
            worker.kill()
    assert folder.is_dir()


def test_a_process_alone_needs_no_directory(start: Callable[[], Worker]) -> None:
    worker = start()
    worker.tell("add")
    assert worker.tell("read") == [1, 1, 1, 1000, None]

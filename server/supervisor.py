"""Several processes that serve on one socket, replaced one by one: when they die, grow too large, or at SIGHUP."""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from server.limits_rate import bucket_file
from server.settings import Settings
from server.worker import GROWN, READY

logger = logging.getLogger(__name__)

# uvicorn's 5 s for what has begun, the time to keep it, and some more before a worker is killed.
KILL_AFTER_S = 15.0
TICK_S = 0.1
# A worker that dies soon after its start is started again after a pause, which doubles each time.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
SOON_S = 10.0
# A bound of memory below what a worker needs must not have it replaced all the time.
SHORTEST_LIFE_S = 60.0


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    reports: int
    replaces: _Worker | None = None
    started: float = field(default_factory=time.monotonic)
    ready: bool = False
    stopped: float | None = None
    replaced: bool = False
    text: bytes = b""


class Supervisor:
    """Keeps `settings.workers` processes at work on `listener`.

    A worker is replaced without a gap: the new one must be ready before the old one is told to stop. A worker that dies
    before any was ever ready has a reason that all will have, so that all stop. `started` is called once, with what the
    first says that it computes with.
    """

    def __init__(self, settings: Settings, listener: socket.socket, started: Callable[[str], None]) -> None:
        self._settings, self._listener, self._started = settings, listener, started
        self._buckets: IO[bytes] = bucket_file()
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._stopping = self._renew = self._told = False
        self._pause, self._start_again_at = FIRST_PAUSE_S, 0.0
        self._code = 0

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT; the exit code of the first worker if that could not be started, else 0."""
        handlers = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        handlers[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._renew_all)
        try:
            while self._workers or not self._stopping:
                self._step()
        finally:
            for worker in self._workers:
                worker.process.kill()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._selector.close()
            self._buckets.close()
        return self._code

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _renew_all(self, *_: object) -> None:
        self._renew = True

    def _step(self) -> None:
        now = time.monotonic()
        if self._stopping:
            for worker in self._workers:
                self._tell_to_stop(worker, now)
        else:
            serving = [worker for worker in self._workers if worker.replaces is None and worker.stopped is None]
            if now >= self._start_again_at:
                # One at first: what keeps it from starting is then said once.
                wanted = self._settings.workers if self._told else 1
                for _ in range(wanted - len(serving)):
                    self._start()
            if self._renew:
                self._renew = False
                for worker in serving:
                    self._replace(worker)
        for key, _ in self._selector.select(TICK_S):
            self._listen(key.data, now)
        for worker in list(self._workers):
            if worker.stopped is not None and now - worker.stopped > KILL_AFTER_S:
                worker.process.kill()
            if worker.process.poll() is not None:
                self._gone(worker, now)

    def _start(self, replaces: _Worker | None = None) -> None:
        reports, theirs = os.pipe()
        kept = (self._listener.fileno(), self._buckets.fileno(), theirs)
        process = subprocess.Popen([sys.executable, "-m", "server.worker"], stdin=subprocess.PIPE, pass_fds=kept)
        os.close(theirs)
        os.set_blocking(reports, False)
        worker = _Worker(process, reports, replaces)
        self._workers.append(worker)
        self._selector.register(reports, selectors.EVENT_READ, worker)
        listener, buckets, channel = kept
        orders = {"listener": listener, "buckets": buckets, "reports": channel}
        # By standard input, which nobody else can read: settings may hold passwords.
        line = json.dumps({**orders, "settings": self._settings.model_dump(mode="json")}).encode() + b"\n"
        assert process.stdin is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it died at once, which is seen like any other death

    def _replace(self, worker: _Worker) -> None:
        if not worker.replaced:
            worker.replaced = True
            self._start(worker)

    def _listen(self, worker: _Worker, now: float) -> None:
        text = os.read(worker.reports, 65536)
        if not text:
            self._selector.unregister(worker.reports)
            return
        *lines, worker.text = (worker.text + text).split(b"\n")
        for line in lines:
            word, _, rest = line.decode().partition(" ")
            if word == READY:
                self._is_ready(worker, rest, now)
            elif word == GROWN and worker.ready and not worker.replaced and now - worker.started > SHORTEST_LIFE_S:
                logger.warning("worker %d has grown beyond METAEARTH_MAX_MEMORY_MB and is replaced", worker.process.pid)
                self._replace(worker)

    def _is_ready(self, worker: _Worker, what: str, now: float) -> None:
        worker.ready = True
        logger.info("worker %d serves", worker.process.pid)
        if not self._told:
            self._told = True
            self._started(what)
        old, worker.replaces = worker.replaces, None
        if old is not None:
            self._tell_to_stop(old, now)

    @staticmethod
    def _tell_to_stop(worker: _Worker, now: float) -> None:
        if worker.stopped is None:
            worker.stopped = now
            worker.process.terminate()

    def _gone(self, worker: _Worker, now: float) -> None:
        code = worker.process.returncode
        self._workers.remove(worker)
        if worker.reports in self._selector.get_map():
            self._selector.unregister(worker.reports)
        os.close(worker.reports)
        if worker.process.stdin is not None:
            worker.process.stdin.close()
        for successor in self._workers:
            if successor.replaces is worker:
                successor.replaces = None
        if worker.replaces is not None:
            worker.replaces.replaced = False  # what should have come in its place did not
        if worker.stopped is not None or self._stopping:
            return
        if not self._told:
            self._code, self._stopping = code if code > 0 else 1, True
            return
        logger.error("worker %d has died (%s) and is replaced", worker.process.pid, _reason(code))
        soon = now - worker.started < SOON_S
        self._pause = min(LONGEST_PAUSE_S, self._pause * 2) if soon else FIRST_PAUSE_S
        self._start_again_at = now + self._pause if soon else 0.0


def _reason(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"

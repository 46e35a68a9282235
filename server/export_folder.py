"""Export jobs as the files of a folder tell of them, which several processes share."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from server.export_job import Job, claimed

logger = logging.getLogger(__name__)

NAME = re.compile(r"[0-9a-f]{16}", re.ASCII)


class JobFolder:
    """The `jobs` below `folder` by id; `running` tells which of them this process works on. Not thread-safe by itself.

    Files are what counts, and are read again when another process has changed them. `saved` is when one was written last,
    in monotonic seconds.
    """

    def __init__(self, folder: Path, running: Callable[[], str | None]) -> None:
        self._folder, self._running = folder, running
        self.jobs: dict[str, Job] = {}
        self.saved = 0.0
        # By job, which file of its state was read or written last.
        self._stamps: dict[str, tuple[int, int]] = {}

    def look_at_all(self) -> None:
        """Reads what other processes have changed."""
        found = {path.parent.name for path in self._folder.glob("*/job.json")} if self._folder.is_dir() else set()
        for name in found | set(self.jobs):
            self.look_at(name)

    def look_at(self, name: str) -> None:
        """Reads the job of that id if another process has changed it; what runs here is known best here."""
        if not NAME.fullmatch(name) or self._running() == name:
            return
        folder = self._folder / name
        stamp = _stamp(folder)
        if stamp is None:
            self.forget(name)  # another process has removed it
        elif stamp != self._stamps.get(name):
            self._stamps[name] = stamp
            job = Job.load(folder)
            if job is None:
                logger.warning("%s holds no export job that can be read; it is left alone.", folder)
                return
            known = self.jobs.get(name)
            if known is not None:
                job.seen = known.seen
                job.progressed(job.done, job.size)
            self.jobs[name] = job

    def forget(self, name: str) -> None:
        """Knows the job of that id no more."""
        self.jobs.pop(name, None)
        self._stamps.pop(name, None)

    def save(self, job: Job) -> None:
        """Writes the job's file, for the other processes; raises `OSError`."""
        job.save()
        self.saved = time.monotonic()
        stamp = _stamp(job.folder)
        if stamp is not None:
            self._stamps[job.id] = stamp

    @contextlib.contextmanager
    def at_work(self, lock: AbstractContextManager[object]) -> Iterator[bool]:
        """Whether this process is the one that works on the jobs, until the end of the block; `lock` is that of `jobs`."""
        with contextlib.ExitStack() as stack:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                ours = stack.enter_context(claimed(self._folder / "at-work.lock"))
            except OSError as error:
                logger.error("exports wait: %s cannot be written (%s)", self._folder, error)
                ours = False
            if ours:
                with lock:
                    self.look_at_all()
                    # Whoever ran these runs them no more.
                    for job in [job for job in self.jobs.values() if job.state == "running"]:
                        job.state = "queued"
            yield ours


def _stamp(folder: Path) -> tuple[int, int] | None:
    """What tells one file of a job's state from another, for each is written as a new file."""
    try:
        state = (folder / "job.json").stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns

"""All export jobs of a server: a queue on disk, one job at a time, gone on with after a restart."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from model import Planet
from model.errors import ModelError
from server.errors import RenderError
from server.export_engine import Export, Progress, check_room, disk_errors
from server.export_errors import (
    DiskFullError,
    ExportNotFoundError,
    ExportNotReadyError,
    ExportQueueFullError,
    ExportStoppedError,
)
from server.export_estimate import Estimate, Rates
from server.export_folder import JobFolder
from server.export_job import UNFINISHED, Job, State
from server.export_pieces import Pixels
from server.export_plan import ExportPlan
from server.limits_rate import charge
from server.renderer import TileRenderer
from server.tilekey import shorten

logger = logging.getLogger(__name__)

MAX_WAITING = 16
"""Jobs that may wait or run; one more is told to come again."""
RENDER_TRIES = 5
# How often the folder is looked at for what other processes have done there, and progress is written for them.
LOOK_AGAIN_SECONDS = 1.0


class ExportJobs:
    """The jobs below `folder`. `start` and `close` belong to the event loop that the renderer's coroutines run in.

    Processes that share the folder know the same jobs: their files are what counts, and are read again when they have
    changed. One process at a time works on them, the one that has the folder's lock.
    """

    def __init__(self, folder: Path, planet: Planet, renderer: TileRenderer, *, png_level: int, threads: int) -> None:
        self._folder, self._planet, self._renderer = folder, planet, renderer
        self._png_level, self._threads = png_level, threads
        self.rates = Rates(folder / "rates.json", planet.identity)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._running: tuple[str, Export] | None = None
        self._kept = JobFolder(folder, lambda: self._running[0] if self._running is not None else None)
        self._jobs = self._kept.jobs
        # Jobs that another process runs, and when to look at them again (monotonic seconds).
        self._elsewhere: dict[str, float] = {}
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def stopping(self) -> bool:
        """Whether the server is about to end, and waiting for a job's progress with it."""
        return self._stopping.is_set() or self._renderer.stopping

    def start(self) -> None:
        """Finds the jobs of former runs and goes on with those that are unfinished."""
        self._loop = asyncio.get_running_loop()
        with self._lock:
            self._kept.look_at_all()
        self._thread = threading.Thread(target=self._serve, name="exports", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Stops the job that runs where it is; it is gone on with after the next start."""
        with self._changed:
            self._stopping.set()
            if self._running is not None:
                self._running[1].stop()
            self._changed.notify_all()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def estimate(self, plan: ExportPlan) -> Estimate:
        """Size and time of `plan`; raises `RenderError`, `RateLimitError` and `ModelError`."""
        charge()
        with self._renderer.queue.job():
            sample = await self._renderer.work(lambda planet: self.rates.sample(planet, plan), "an export's sample")
        self.rates.save()
        return await asyncio.to_thread(self.rates.estimate, self._planet, plan, sample, self._png_level)

    def create(self, plan: ExportPlan, estimate: Estimate) -> Job:
        """A new job at the end of the queue.

        Raises:
            ExportQueueFullError: if too many wait.
            DiskFullError: if the disk has no room for what is estimated.
        """
        with self._changed:
            self._kept.look_at_all()
            if sum(job.state in UNFINISHED for job in self._jobs.values()) >= MAX_WAITING:
                raise ExportQueueFullError(
                    f"{MAX_WAITING} exports wait already; cancel one with DELETE /exports/ID, or try again later."
                )
            # A COG's tiles are collected before they are put into their order, so that it is there twice at the end.
            check_room(self._folder, estimate.bytes * (2 if plan.format == "cog" else 1))
            name = secrets.token_hex(8)
            job = Job(name, self._folder / name, plan, estimate.bytes, estimate.seconds, time.time())
            try:
                with disk_errors(self._folder):
                    self._kept.save(job)
            except BaseException:
                shutil.rmtree(job.folder, ignore_errors=True)
                raise
            self._jobs[name] = job
            self._changed.notify_all()
        return job

    def all(self) -> list[Job]:
        """All jobs, the newest first."""
        with self._lock:
            self._kept.look_at_all()
            return sorted(self._jobs.values(), key=lambda job: -job.created)

    def get(self, name: str) -> Job:
        """The job of that id; raises `ExportNotFoundError`."""
        with self._lock:
            self._kept.look_at(name)
            job = self._jobs.get(name)
        if job is None:
            raise ExportNotFoundError(f"There is no export {shorten(name)}; GET /exports lists those there are.")
        return job

    def finished(self, name: str) -> Job:
        """The job of that id with its file; raises `ExportNotFoundError` and `ExportNotReadyError`."""
        job = self.get(name)
        if job.state != "done":
            reason = {"failed": f"failed: {job.error}", "cancelled": "was cancelled"}.get(job.state, "has not finished yet")
            raise ExportNotReadyError(f"The export has no file, for it {reason.rstrip('.')}; see GET /exports/{job.id}.")
        if not job.file.is_file():
            raise ExportNotFoundError(f"The file of the export {job.id} was removed from the disk; start a new one.")
        return job

    def delete(self, name: str) -> Job:
        """Cancels an unfinished job; removes one that is over, with its file. Raises `ExportNotFoundError`."""
        with self._changed:
            job = self.get(name)
            if job.state in UNFINISHED:
                if self._running is not None and self._running[0] == name:
                    self._end(job, "cancelled", None)
                    self._running[1].stop()  # whose thread removes what is written
                else:
                    with job.claimed() as ours:
                        if not ours:
                            job.cancel_mark.touch()  # whoever runs it ends it when they see that
                        self._end(job, "cancelled", None)
                        if ours:
                            job.discard_work()
            else:
                self._kept.forget(name)
                shutil.rmtree(job.folder, ignore_errors=True)
        return job

    def _serve(self) -> None:
        """The exports' thread: waits until this process is the one to work on exports, then does until the server stops."""
        while not self._stopping.is_set():
            with self._kept.at_work(self._lock) as ours:
                if ours:
                    self._work_through()
            self._stopping.wait(LOOK_AGAIN_SECONDS)

    def _work_through(self) -> None:
        """One job after the other, the oldest first."""
        while True:
            with self._changed:
                while not self._stopping.is_set() and self._next() is None:
                    self._changed.wait(LOOK_AGAIN_SECONDS)
                    self._kept.look_at_all()
                job = self._next()
                if self._stopping.is_set() or job is None:
                    return
            try:
                with job.claimed() as ours:
                    if ours and self._refreshed(job):
                        self._run(job)
                    elif not ours:
                        self._elsewhere[job.id] = time.monotonic() + LOOK_AGAIN_SECONDS
            except FileNotFoundError:
                self._kept.forget(job.id)  # another process has removed it
            except Exception as error:
                logger.exception("the export %s failed", job.id)
                self._end(job, "failed", f"The server met an error that it did not foresee ({error}); it is in the log.")

    def _next(self) -> Job | None:
        now = time.monotonic()
        waiting = [job for job in self._jobs.values() if job.state == "queued" and self._elsewhere.get(job.id, 0) <= now]
        return min(waiting, key=lambda job: job.created, default=None)

    def _refreshed(self, job: Job) -> bool:
        """Whether a job that is ours to run still waits: another process may have run it or removed it."""
        kept = Job.load(job.folder)
        if kept is None:
            self._kept.forget(job.id)
        elif kept.state not in UNFINISHED:
            self._jobs[job.id] = kept
        return kept is not None and kept.state in UNFINISHED

    def _run(self, job: Job) -> None:
        if job.plan.planet != self._planet.identity:
            # Other weights, another seed: what was rendered does not fit to what would be.
            self._end(job, "failed", "The server's planet has changed since the export was started; start it again.")
            job.discard_work()
            return
        export = Export(job.plan, job.work, self._read, self._side, png_level=self._png_level, threads=self._threads)
        with self._lock:
            if job.state != "queued" or self._stopping.is_set():
                if _cancelled(job):
                    job.discard_work()
                return
            self._jobs[job.id] = job
            job.state, job.seen = "running", ()
            job.started = job.started or time.time()
            self._running = (job.id, export)

        def report(progress: Progress) -> None:
            job.progressed(progress.done, progress.size)
            if job.cancel_mark.exists() and not _cancelled(job):
                with self._lock:
                    self._end(job, "cancelled", None)
                export.stop()
            elif time.monotonic() - self._kept.saved > LOOK_AGAIN_SECONDS and not _cancelled(job):
                with self._lock:
                    self._kept.save(job)

        error: str | None = None
        try:
            with disk_errors(job.folder):
                self._kept.save(job)
            export.run(job.file, report)
        except (ExportStoppedError, concurrent.futures.CancelledError):
            if not _cancelled(job):
                return  # the server ends: gone on with after the next start
        except (DiskFullError, RenderError, ModelError) as failure:
            if self.stopping:
                return
            error = str(failure)
        except (OSError, sqlite3.Error) as failure:
            error = f"The disk failed ({failure}); see whether it can be written, then start again."
        except MemoryError:
            error = "There was not enough memory for it; start again when the machine is less busy."
        finally:
            with self._lock:
                self._running = None
        with self._lock:
            if not _cancelled(job):
                if error is None:
                    self.rates.finished(job.plan, job.estimate_bytes, job.size)
                    shutil.rmtree(job.work, ignore_errors=True)
                else:
                    job.discard_work()
                self._end(job, "done" if error is None else "failed", error)
            else:
                job.discard_work()

    def _end(self, job: Job, state: State, error: str | None) -> None:
        job.state, job.error = state, error
        job.finished = time.time()
        if state != "done":
            job.size = 0
        try:
            if job.folder.exists():
                self._kept.save(job)
        except OSError as failure:
            logger.error("the state of the export %s could not be written: %s", job.id, failure)

    def _read(self, zoom: int, x: int, y: int, width: int, height: int) -> Pixels:
        """Pixels by way of the thread that renders, tried again where the reason may pass."""

        def work(planet: Planet) -> Pixels:
            return self.rates.read(planet, zoom, x, y, width, height)

        wait = 1.0
        while True:
            try:
                return self._submit(work)
            except RenderError:
                if wait >= 2**RENDER_TRIES or self._stopping.wait(wait) or self.stopping:
                    raise
                wait *= 2

    def _side(self, zoom: int) -> int:
        return self.rates.side(zoom, self._planet.base_zoom)

    def _submit(self, work: Callable[[Planet], Pixels]) -> Pixels:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(self._renderer.work(work, "an export's piece"), self._loop).result()


def _cancelled(job: Job) -> bool:
    """Whether a request has cancelled the job, at any moment, from another thread."""
    return job.state == "cancelled"

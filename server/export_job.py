"""One export job and its directory: state in a file that is replaced at once, so that no crash leaves half of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from server.export_engine import sync_directory
from server.export_plan import ExportPlan

State = Literal["queued", "running", "done", "failed", "cancelled"]
UNFINISHED = ("queued", "running")
# The rate behind the ETA is that of the last so many seconds.
ETA_SECONDS = 60.0


@dataclass
class Job:
    """A job; `created`, `started` and `finished` are Unix times, `done` pixels rendered, `size` bytes written."""

    id: str
    folder: Path
    plan: ExportPlan
    estimate_bytes: int
    estimate_seconds: float
    created: float
    state: State = "queued"
    started: float | None = None
    finished: float | None = None
    error: str | None = None
    done: int = 0
    size: int = 0
    # Moments of this run (monotonic seconds, pixels done), for the ETA; not kept.
    seen: tuple[tuple[float, int], ...] = ()

    @property
    def file(self) -> Path:
        """Where its file lies once it is done."""
        return self.folder / f"export.{self.plan.extension}"

    @property
    def work(self) -> Path:
        """Where the pieces are that have been finished."""
        return self.folder / "work"

    @property
    def cancel_mark(self) -> Path:
        """There once somebody has cancelled it, for the process that runs it."""
        return self.folder / "cancelled"

    @property
    def percent(self) -> float:
        """0 to 100, of rendered pixels; 100 only with the file there."""
        if self.state == "done":
            return 100.0
        return min(99.9, int(1000 * self.done / self.plan.pixels) / 10)

    @property
    def tiles_done(self) -> int:
        """Of `plan.tiles`, by rendered pixels."""
        return self.plan.tiles if self.state == "done" else int(self.plan.tiles * self.done / self.plan.pixels)

    @property
    def eta_seconds(self) -> float | None:
        """Seconds that rendering goes on for at the present rate; before it has one, as long as was estimated."""
        if self.state not in UNFINISHED:
            return None
        left = 1 - self.done / self.plan.pixels
        if len(self.seen) > 1:
            (first, before), (last, now) = self.seen[0], self.seen[-1]
            if last > first and now > before:
                return round((self.plan.pixels - self.done) * (last - first) / (now - before), 1)
        return round(self.estimate_seconds * left, 1)

    def progressed(self, done: int, size: int) -> None:
        """Notes progress and its moment."""
        now = time.monotonic()
        self.done, self.size = done, size
        recent = [moment for moment in self.seen if now - moment[0] < ETA_SECONDS]
        self.seen = (*recent[-600:], (now, done))

    def save(self) -> None:
        """Writes the job's file: the old one or the new one is there whatever happens. Raises `OSError`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {name: getattr(self, name) for name in _KEPT} | {"plan": self.plan.to_json()}
        partial = self.folder / "job.json.partial"
        with partial.open("w") as file:
            json.dump(kept, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.folder / "job.json")
        sync_directory(self.folder)

    @classmethod
    def load(cls, folder: Path) -> Job | None:
        """The job in a directory, or None if it holds none that can be read."""
        try:
            kept: dict[str, Any] = json.loads((folder / "job.json").read_text())
            plan = ExportPlan(**kept.pop("plan"))
            job = cls(folder.name, folder, plan, **kept)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        if job.state in UNFINISHED and job.cancel_mark.exists():
            job.state = "cancelled"
        return job if job.state in get_args(State) else None

    def discard_work(self) -> None:
        """Removes all but the job's own file."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.file.unlink(missing_ok=True)
        self.cancel_mark.unlink(missing_ok=True)

    def claimed(self) -> contextlib.AbstractContextManager[bool]:
        """Whether this process may run the job: False while another one, which shares the directory, does."""
        return claimed(self.folder / "lock")


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process has the lock on the file `path`: False while another one has; raises `OSError`."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


_KEPT = (
    "estimate_bytes",
    "estimate_seconds",
    "created",
    "state",
    "started",
    "finished",
    "error",
    "done",
    "size",
)

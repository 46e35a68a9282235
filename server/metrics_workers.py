"""Metrics of several worker processes in one directory of memory-mapped files, which prometheus-client adds up.

Each worker takes a slot: the lowest number whose lock file nobody holds. The operating system lets go of the lock when the
process ends, however it ends; the next worker then goes on with that slot's counters. So counters never fall, and the
directory has as many files as there ever were workers at a time, however often they are replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from prometheus_client import values
from prometheus_client.multiprocess import mark_process_dead

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
LOCK = re.compile(r"slot-(\d+)\.lock")


@contextlib.contextmanager
def shared_metrics() -> Iterator[Path]:
    """The directory that workers started inside of the block share, named to them by PROMETHEUS_MULTIPROC_DIR.

    For the process that starts workers, before it starts any. Without the variable the directory is a temporary one, removed
    at the end; one that the operator names is made if need be, and loses what an earlier run left in it.
    """
    named = os.environ.get(VARIABLE)
    with contextlib.ExitStack() as stack:
        folder = Path(named or stack.enter_context(tempfile.TemporaryDirectory(prefix="metaearth-metrics-")))
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.db"):
            leftover.unlink()
        os.environ[VARIABLE] = str(folder)
        try:
            yield folder
        finally:
            if named is None:
                del os.environ[VARIABLE]


class WorkerSlot:
    """This process' place among the workers: `number`, from 0, held until the process ends."""

    def __init__(self, folder: Path) -> None:
        """Takes the lowest free slot of `folder`."""
        self.folder = folder
        for number in count():
            file = _locked(folder / f"slot-{number}.lock")
            if file is not None:
                self.number, self._file = number, file
                break
        # What the slot's last holder said of itself: its memory, its queue.
        mark_process_dead(self.number, str(folder))

    def forget_the_dead(self) -> None:
        """Drops the present figures (not the counters) of workers that have ended and whose slot nobody has taken."""
        for path in self.folder.iterdir():
            match = LOCK.fullmatch(path.name)
            if match is None or int(match[1]) == self.number:
                continue
            file = _locked(path)
            if file is not None:
                mark_process_dead(int(match[1]), str(self.folder))
                os.close(file)


# By process, too: a lock goes on to a forked child, and the two must not write into one file.
_slots: dict[tuple[int, str], WorkerSlot] = {}


def worker_slot() -> WorkerSlot | None:
    """The slot of this process, taken at the first call, if PROMETHEUS_MULTIPROC_DIR is set; None if it serves alone.

    From then on the instruments that this process makes keep their values in that directory.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    slot = _slots.get((os.getpid(), named))
    if slot is None:
        Path(named).mkdir(parents=True, exist_ok=True)
        slot = _slots[os.getpid(), named] = WorkerSlot(Path(named))
        number = slot.number
        values.ValueClass = values.MultiProcessValue(lambda: number)
    return slot


def _locked(path: Path) -> int | None:
    """A descriptor of `path` with the exclusive lock on it; None if another process has that."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file

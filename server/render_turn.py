"""Turns of processes that render on one device: locks on files, which the system releases when a process dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class RenderTurn:
    """At most `slots` of the processes that share `folder` are inside of `turn()` at a time.

    One rendering uses all cores, or the whole GPU, so that two at a time only make each other late, and need twice the
    memory. Waiting is the system's: no polling, and no lock is left behind by kill -9.
    """

    def __init__(self, folder: Path, slots: int) -> None:
        """Opens the lock files; raises `OSError` if they cannot be written."""
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._files = [os.open(folder / f"render-{slot}.lock", flags, 0o600) for slot in range(slots)]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Waits for a turn, and has it until the end of the block."""
        file = next((file for file in self._files if _try_lock(file)), None)
        if file is None:
            file = self._files[os.getpid() % len(self._files)]
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

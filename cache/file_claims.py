"""Claims among the processes of one machine that share a directory: byte-range locks on one file.

The kernel takes a lock from a process that dies, however it dies, so there is nothing to renew and nothing to clean up.
Where the file system has no locks there are no claims, and two processes may do the same work: never wrong, only slow.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from threading import Lock

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.02
# A process that was stopped keeps its locks; the others go on without it after so long.
PATIENCE_SECONDS = 60.0
BUSY = (errno.EACCES, errno.EAGAIN)


class FileClaims:
    """Claims by key in the file `path`. POSIX locks belong to a process: within it nothing is told apart.

    The file must be opened by nothing else in the process, for closing it anywhere would drop all locks.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates the file; raises OSError if it cannot."""
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._held: set[str] = set()
        self._given_up: set[str] = set()
        self._lock = Lock()

    def claim(self, keys: Sequence[str]) -> set[str]:
        """Those of `keys` that no other process holds, now held by this one."""
        with self._lock:
            mine = {key for key in keys if self._try(key)}
            self._held |= mine
        return mine

    def holds(self, key: str) -> bool:
        """Whether this process has claimed `key`."""
        return key in self._held

    def release(self, keys: Sequence[str]) -> None:
        """Lets others have `keys`."""
        with self._lock:
            for key in keys:
                if key in self._held:
                    self._held.discard(key)
                    if self._file is not None:
                        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _offset(key))

    def wait(self, keys: Sequence[str]) -> None:
        """Returns when no other process holds one of `keys`, or after `PATIENCE_SECONDS`."""
        end, pause = time.monotonic() + PATIENCE_SECONDS, FIRST_PAUSE
        while time.monotonic() < end:
            free = self.claim(keys)
            if free:
                self.release(list(free))
                return
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)
        logger.warning("another process has held a claim for %.0f s; going on without it", PATIENCE_SECONDS)
        self._given_up.update(keys)

    def close(self) -> None:
        """Closes the file; from then on every claim is granted."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
                self._held.clear()

    def _try(self, key: str) -> bool:
        if self._file is None or key in self._given_up:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(key))
        except OSError as error:
            return error.errno not in BUSY
        return True


def _offset(key: str) -> int:
    """The byte that stands for `key`: two keys with the same one only wait for each other."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") >> 2

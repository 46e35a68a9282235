"""Blocks for several processes: Redis where there is one, the disk behind it, and claims by whichever of them can."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cache.file_claims import FileClaims
from cache.store import ByteStore

if TYPE_CHECKING:
    from cache.redis_blocks import RedisBlocks

PAUSE_SECONDS = 0.001


class SharedBlocks:
    """A store whose keys may be claimed, so that one process among all makes a value; see `model.store.SharedStore`.

    Looks into `redis`, then on `disk`, and stores in both. A claim needs both that of `files`, which counts on this machine
    whatever becomes of Redis, and that of Redis, which counts on all; what is not there, or is down, grants everything.
    """

    def __init__(self, redis: RedisBlocks | None, disk: ByteStore | None, files: FileClaims | None) -> None:
        self._redis, self._disk, self._files = redis, disk, files

    def get(self, key: str) -> bytes | None:
        """The value of `key`, or None."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of `keys` that are there."""
        found = self._redis.get_many(keys) if self._redis is not None else {}
        return found | self._on_disk([key for key in keys if key not in found])

    def put(self, key: str, value: bytes) -> None:
        """Keeps `value`, and ends the claim on `key` if there is one."""
        if self._disk is not None:
            self._disk.put(key, value)
        if self._redis is not None:
            self._redis.put(key, value)
        if self._files is not None:
            self._files.release([key])

    def claim(self, keys: Sequence[str]) -> tuple[dict[str, bytes], set[str]]:
        """What is stored of `keys` meanwhile, and which of the others are for the caller to make."""
        mine = set(keys) if self._files is None else self._files.claim(keys)
        found: dict[str, bytes] = {}
        granted = mine
        if self._redis is not None:
            found, granted = self._redis.claim([key for key in keys if key in mine])
        # Only now: whoever held a claim a moment ago has stored the value before letting go.
        on_disk = self._on_disk([key for key in keys if key in granted])
        found |= on_disk
        if self._files is not None:
            self._files.release(list(mine - granted))
        self.abandon(list(on_disk))
        return found, granted - found.keys()

    def abandon(self, keys: Sequence[str]) -> None:
        """Gives claims up without a value."""
        if self._redis is not None:
            self._redis.abandon(keys)
        if self._files is not None:
            self._files.release(keys)

    def wait(self, keys: Sequence[str]) -> None:
        """Returns when a claim of another process on one of `keys` has ended."""
        # Each returns at once if nobody holds any of them.
        if self._redis is not None:
            self._redis.wait(keys)
        if self._files is not None:
            self._files.wait(keys)
        # Where one holds the first key and another the second, both return at once: not to ask again without a pause.
        time.sleep(PAUSE_SECONDS)

    def _on_disk(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of `keys` that the disk has, which Redis gets from it."""
        found: dict[str, bytes] = {}
        for key in keys if self._disk is not None else ():
            value = self._disk.get(key) if self._disk is not None else None
            if value is not None:
                found[key] = value
                if self._redis is not None:
                    self._redis.put(key, value)
        return found

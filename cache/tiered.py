"""Memory in front of something slower."""

from __future__ import annotations

from typing import Protocol

from cache.memory import MemoryCache


class ByteStore(Protocol):
    """What every cache of this package answers to; `model.store.BlockStore` has the same shape."""

    def get(self, key: str) -> bytes | None:
        """The value of `key`, or None."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Keeps `value` for as long as there is room."""
        ...


class TieredCache:
    """Looks into `memory` first, then into `behind`; what is found behind is kept in memory from then on."""

    def __init__(self, memory: MemoryCache, behind: ByteStore) -> None:
        self.memory = memory
        self.behind = behind

    def get(self, key: str) -> bytes | None:
        """The value of `key` out of the first tier that has it, or None."""
        value = self.memory.get(key)
        if value is None:
            value = self.behind.get(key)
            if value is not None:
                self.memory.put(key, value)
        return value

    def put(self, key: str, value: bytes) -> None:
        """Keeps `value` in both tiers."""
        self.memory.put(key, value)
        self.behind.put(key, value)

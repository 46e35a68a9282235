"""A byte-bounded, thread-safe LRU in the process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")

# What a dictionary entry costs beside its value: the key string, the hash slot, the linked-list node, the
# tuple.
ENTRY_OVERHEAD = 256


class ByteBoundedLRU(Generic[V]):
    """Keeps the values used last, as many as fit into `max_bytes`.

    `size` tells how many bytes a value takes; `ENTRY_OVERHEAD` is added for each entry, so that a million
    empty values are bounded too. With `max_bytes` 0 nothing is kept.
    """

    def __init__(self, max_bytes: int, size: Callable[[V], int]) -> None:
        self.max_bytes = max_bytes
        self._size = size
        self._entries: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: str) -> V | None:
        """The value of `key`, which becomes the one used last; None if it is not there."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: str, value: V) -> None:
        """Keeps `value`, evicting the least recently used ones; a value larger than the bound is not kept."""
        cost = self._size(value) + ENTRY_OVERHEAD
        with self._lock:
            self._remove(key)
            if cost > self.max_bytes:
                return
            self._entries[key] = (value, cost)
            self._bytes += cost
            while self._bytes > self.max_bytes:
                _, (_, evicted) = self._entries.popitem(last=False)
                self._bytes -= evicted

    def delete(self, key: str) -> None:
        """Forgets `key`, if it is there."""
        with self._lock:
            self._remove(key)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    @property
    def bytes(self) -> int:
        """Bytes kept at present, overhead included; never above `max_bytes`."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def _remove(self, key: str) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            self._bytes -= old[1]


class MemoryCache(ByteBoundedLRU[bytes]):
    """A `ByteBoundedLRU` of byte strings."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes, len)

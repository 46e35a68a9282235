"""Where canonical blocks are kept: arrays in memory, and behind them any store of bytes (the server's disk cache)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK = 128
"""Side of a canonical block in pixels. Small, because every level above a tile needs the blocks it straddles."""

Pixels = NDArray[np.uint8]


class BlockStore(Protocol):
    """A store of bytes by key that may forget anything at any time."""

    def get(self, key: str) -> bytes | None:
        """The bytes put under ``key``, or None."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Keep ``value`` under ``key``."""
        ...


class Blocks:
    """Canonical blocks (uint8 [BLOCK, BLOCK, 3], read-only), the last used of them in memory, before a `BlockStore`.

    Safe to use from several threads. Entries of the wrong length in the store count as missing.
    """

    def __init__(self, memory_bytes: int, store: BlockStore | None = None) -> None:
        self._limit = max(1, memory_bytes // (BLOCK * BLOCK * 3))
        self._store = store
        self._kept: OrderedDict[str, Pixels] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def max_bytes(self) -> int:
        """Bytes of pixels that memory keeps at most."""
        return self._limit * BLOCK * BLOCK * 3

    @property
    def bytes(self) -> int:
        """Bytes of pixels in memory at present."""
        return len(self._kept) * BLOCK * BLOCK * 3

    def get(self, key: str) -> Pixels | None:
        """The block under ``key``, or None."""
        with self._lock:
            block = self._kept.get(key)
            if block is not None:
                self._kept.move_to_end(key)
                return block
        value = self._store.get(key) if self._store is not None else None
        if value is None or len(value) != BLOCK * BLOCK * 3:
            return None
        block = np.frombuffer(value, np.uint8).reshape(BLOCK, BLOCK, 3)
        self._keep(key, block)
        return block

    def put(self, key: str, block: Pixels) -> None:
        """Keep ``block`` in memory and in the store."""
        block.setflags(write=False)
        self._keep(key, block)
        if self._store is not None:
            self._store.put(key, block.tobytes())

    def _keep(self, key: str, block: Pixels) -> None:
        with self._lock:
            self._kept[key] = block
            self._kept.move_to_end(key)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)

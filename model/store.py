"""Where canonical blocks are kept: arrays in memory, and behind them any store of bytes (the server's disk cache)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

BLOCK = 128
"""Side of a canonical block in pixels. Small, because every level above a tile needs the blocks it straddles."""

Pixels = NDArray[np.uint8]
Values = dict[str, bytes]


class BlockStore(Protocol):
    """A store of bytes by key that may forget anything at any time."""

    def get(self, key: str) -> bytes | None:
        """The bytes put under ``key``, or None."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Keep ``value`` under ``key``."""
        ...


@runtime_checkable
class SharedStore(BlockStore, Protocol):
    """A store of several processes, in which one of them may claim keys: the others wait for what it makes."""

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of ``keys`` that are there."""
        ...

    def claim(self, keys: Sequence[str]) -> tuple[dict[str, bytes], set[str]]:
        """What is stored of ``keys`` meanwhile, and which of the others the caller is to make; it must not wait for anything
        before it has `put` or abandoned those. The rest is being made by another process."""
        ...

    def abandon(self, keys: Sequence[str]) -> None:
        """Give up claims whose values were not made."""
        ...

    def wait(self, keys: Sequence[str]) -> None:
        """Return when another process may have made, or given up, one of ``keys``."""
        ...


class Blocks:
    """Canonical blocks (uint8 [BLOCK, BLOCK, 3], read-only), the last used of them in memory, before a `BlockStore`.

    Safe to use from several threads. Entries of the wrong length in the store count as missing.
    """

    def __init__(self, memory_bytes: int, store: BlockStore | None = None) -> None:
        self._limit = max(1, memory_bytes // (BLOCK * BLOCK * 3))
        self._store = store
        self._shared = store if isinstance(store, SharedStore) else None
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

    def get_many(self, keys: Sequence[str]) -> dict[str, Pixels]:
        """The blocks under ``keys``, those that there are."""
        found = self._in_memory(keys)
        missing = [key for key in keys if key not in found]
        if missing and self._shared is not None:
            found |= self._as_blocks(self._shared.get_many(missing))
        elif missing and self._store is not None:
            values = {key: self._store.get(key) for key in missing}
            found |= self._as_blocks({key: value for key, value in values.items() if value is not None})
        return found

    def claim(self, keys: Sequence[str]) -> tuple[dict[str, Pixels], set[str]]:
        """The blocks under ``keys`` that there are by now, and the keys of those that the caller is to make and to `put`.

        Those in neither are being made by another process that shares the store: `wait` for them.
        """
        if self._shared is None:
            found = self.get_many(keys)
            return found, set(keys) - found.keys()
        found = self._in_memory(keys)
        stored, mine = self._shared.claim([key for key in keys if key not in found])
        return found | self._as_blocks(stored), mine

    def abandon(self, keys: Sequence[str]) -> None:
        """Give up claims whose blocks were not made."""
        if self._shared is not None:
            self._shared.abandon(keys)

    def wait(self, keys: Sequence[str]) -> None:
        """Return when another process may have made, or given up, one of ``keys``."""
        if self._shared is not None:
            self._shared.wait(keys)

    def put(self, key: str, block: Pixels) -> None:
        """Keep ``block`` in memory and in the store."""
        block.setflags(write=False)
        self._keep(key, block)
        if self._store is not None:
            self._store.put(key, block.tobytes())

    def _in_memory(self, keys: Sequence[str]) -> dict[str, Pixels]:
        found: dict[str, Pixels] = {}
        with self._lock:
            for key in keys:
                block = self._kept.get(key)
                if block is not None:
                    self._kept.move_to_end(key)
                    found[key] = block
        return found

    def _as_blocks(self, values: Values) -> dict[str, Pixels]:
        blocks: dict[str, Pixels] = {}
        for key, value in values.items():
            if len(value) == BLOCK * BLOCK * 3:
                blocks[key] = np.frombuffer(value, np.uint8).reshape(BLOCK, BLOCK, 3)
                self._keep(key, blocks[key])
        return blocks

    def _keep(self, key: str, block: Pixels) -> None:
        with self._lock:
            self._kept[key] = block
            self._kept.move_to_end(key)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)

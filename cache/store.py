"""What a store of bytes answers to, whatever it keeps them in."""

from __future__ import annotations

from typing import Protocol


class ByteStore(Protocol):
    """Bytes by key; may forget anything at any time. `model.store.BlockStore` has the same shape."""

    def get(self, key: str) -> bytes | None:
        """The value of `key`, or None."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Keeps `value` for as long as there is room."""
        ...

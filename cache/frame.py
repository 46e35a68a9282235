"""How a value lies in a shared store: its bytes behind a header that tells a whole value from a damaged one.

byte 0      kind: 1 the value itself, 2 the digest of a value that is stored once for all its keys
bytes 1-4   CRC-32 (that of zlib) of all that follows, big-endian
bytes 5-8   length of what follows, big-endian
bytes 9-    the value, or the digest (BLAKE2b, 16 bytes)
"""

from __future__ import annotations

import struct
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

from isal.isal_zlib import crc32

HEADER = struct.Struct(">BII")
DIGEST_BYTES = 16


class Kind(IntEnum):
    """What stands behind the header."""

    VALUE = 1
    POINTER = 2


class Frame(NamedTuple):
    """A frame taken apart."""

    kind: int
    payload: bytes


def content_digest(value: bytes) -> bytes:
    """The name of a value by its content, 16 bytes."""
    return blake2b(value, digest_size=DIGEST_BYTES).digest()


def pack(payload: bytes, kind: Kind = Kind.VALUE) -> bytes:
    """`payload` behind its header."""
    return HEADER.pack(kind, crc32(payload), len(payload)) + payload


def unpack(stored: bytes) -> Frame | None:
    """What `pack` was given, or None if a byte is missing, too many or not what it was."""
    if len(stored) < HEADER.size:
        return None
    kind, crc, length = HEADER.unpack_from(stored)
    payload = stored[HEADER.size :]
    if len(payload) != length or crc32(payload) != crc or kind not in (Kind.VALUE, Kind.POINTER):
        return None
    return Frame(kind, payload)

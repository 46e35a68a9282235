"""How much a client may ask for: token buckets, shared by all processes of a server, in memory of a fixed size."""

from __future__ import annotations

import fcntl
import ipaddress
import math
import mmap
import struct
import tempfile
import time
from collections.abc import Callable
from contextvars import ContextVar
from hashlib import blake2b
from typing import IO

from server.errors import RateLimitError

# A slot: whose it is (a hash), tokens left, and when that was (seconds of the machine's monotonic clock).
SLOT = struct.Struct("<Qdd")
SLOTS = 1 << 16
# Slots that a client may have; with all taken by clients who are not done, the one unused for longest is taken over.
PROBES = 8

CHARGE: ContextVar[Callable[[], None] | None] = ContextVar("CHARGE", default=None)
"""Takes one token from the client of the request that is being answered; None where nothing is limited."""


def charge() -> None:
    """Called before anything is rendered for a request; raises `RateLimitError` if its client has asked for too much."""
    take = CHARGE.get()
    if take is not None:
        take()


def bucket_file() -> IO[bytes]:
    """A file without a name for `TokenBuckets`; its descriptor may be handed on to other processes."""
    file = tempfile.TemporaryFile(prefix="metaearth-buckets-")  # noqa: SIM115
    file.truncate(SLOT.size * SLOTS)
    return file


class TokenBuckets:
    """A bucket for each client: `burst` tokens at first, `rate` new ones a second, never more than `burst`.

    1.5 MiB of memory for any number of clients, shared by all processes that have the `file` mapped. Not for threads: all
    calls of a process come from one.
    """

    def __init__(self, file: IO[bytes], rate: float, burst: int) -> None:
        self._file, self._rate, self._burst = file, rate, burst
        self._memory = mmap.mmap(file.fileno(), SLOT.size * SLOTS)

    def close(self) -> None:
        """Lets go of the memory; the other processes keep it."""
        self._memory.close()
        self._file.close()

    def take(self, client: str) -> None:
        """Takes a token of `client`; raises `RateLimitError` if there is none."""
        tag, now = client_tag(client), time.monotonic()
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            offset, tokens, at = self._find(tag, now)
            tokens = min(self._burst, tokens + max(0.0, now - at) * self._rate)
            enough = tokens >= 1
            SLOT.pack_into(self._memory, offset, tag, tokens - 1 if enough else tokens, now)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
        if not enough:
            wait = (1 - tokens) / self._rate
            raise RateLimitError(
                f"You ask for more than {self._rate:g} new pictures a second; try again in {math.ceil(wait)} seconds.", wait
            )

    def _find(self, tag: int, now: float) -> tuple[int, float, float]:
        """Offset, tokens and time of the slot of `tag`, a full one if it had none."""
        oldest, free = (math.inf, 0), -1
        for probe in range(PROBES):
            offset = (tag + probe) % SLOTS * SLOT.size
            owner, tokens, at = SLOT.unpack_from(self._memory, offset)
            if owner == tag:
                return offset, tokens, at
            # Full by now, so that forgetting it changes nothing.
            if free < 0 and (owner == 0 or tokens + (now - at) * self._rate >= self._burst):
                free = offset
            oldest = min(oldest, (at, offset))
        return (free if free >= 0 else oldest[1]), float(self._burst), now


def client_tag(client: str) -> int:
    """A number for a client, never 0: IPv6 addresses by their /64, for that is what one subscriber has."""
    try:
        address = ipaddress.ip_address(client)
        if address.version == 6:
            client = str(address.ipv4_mapped or ipaddress.ip_network((client, 64), strict=False))
    except ValueError:
        pass  # an API key's name, or a peer without an address
    return int.from_bytes(blake2b(client.encode(), digest_size=8).digest(), "little") or 1

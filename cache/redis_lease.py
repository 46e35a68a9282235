"""Claims: the right to make some values, held for a while by one process among all.

A claim is a lease that its owner renews; if the owner dies it runs out and another takes over. Each has a token, higher
than all before it. What is stored under a claim is refused once a later one was given: an owner that stood still and
comes back cannot overwrite what its successor made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache.redis_keys import CHANNEL, CLAIM, FENCE_SECONDS, PREFIX, RELEASE, STORE, lock_keys

# A dead owner's claim is taken over after at most this long.
LEASE_SECONDS = 3.0


@dataclass(frozen=True, eq=False)
class Lease:
    """A claim given to this process, for the value at `key` and those made with it."""

    key: str
    token: bytes

    @property
    def lock(self) -> str:
        """The key of the claim."""
        return lock_keys(self.key)[0]

    @property
    def message(self) -> str:
        """What is told when it ends."""
        return message_of(self.key)


@dataclass(frozen=True)
class Claimed:
    """The answer to an attempt to claim: what is stored already, and the lease, or how long another still has it."""

    stored: tuple[bytes | None, ...]
    lease: Lease | None
    held_seconds: float

    @property
    def whole(self) -> bool:
        """Whether all values are there, so that nobody needs to make them."""
        return all(value is not None for value in self.stored)


def message_of(key: str) -> str:
    """What is told when the claim on the value at `key` ends."""
    return key.removeprefix(PREFIX)


def claim_arguments(keys: Sequence[str]) -> tuple[str, list[str], list[Any]]:
    """The script that looks for all of `keys` and claims the first: text, keys, arguments."""
    return CLAIM, [*lock_keys(keys[0]), *keys], [int(LEASE_SECONDS * 1000), FENCE_SECONDS]


def claimed(keys: Sequence[str], answer: list[Any]) -> Claimed:
    """What the script answered."""
    first, *values = answer
    stored = tuple(values) + (None,) * (len(keys) - len(values))
    if isinstance(first, bytes):
        return Claimed(stored, Lease(keys[0], first), 0.0)
    return Claimed(stored, None, max(-first, 0) / 1000)


def store_arguments(lease: Lease, values: Mapping[str, bytes], ttl_ms: int) -> tuple[str, list[str], list[Any]]:
    """The script that stores `values` and ends `lease`."""
    arguments = [lease.token, ttl_ms, CHANNEL, lease.message, *values.values()]
    return STORE, [*lock_keys(lease.key), *values], arguments


def release_arguments(lease: Lease) -> tuple[str, list[str], list[Any]]:
    """The script that ends `lease` without storing anything."""
    return RELEASE, [lease.lock], [lease.token, CHANNEL, lease.message]

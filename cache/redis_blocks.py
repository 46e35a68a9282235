"""The blocking half of the shared cache: values that threads look up, claim, make and store."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import redis

from cache.frame import Kind, pack, unpack
from cache.redis_keys import BLOCK, full_key
from cache.redis_lease import (
    Claimed,
    Lease,
    claim_arguments,
    claimed,
    message_of,
    release_arguments,
    store_arguments,
)
from cache.redis_link import RedisLink, evaluate
from cache.redis_tiles import ATTEMPTS
from cache.redis_url import Client
from cache.redis_watch import RedisWatch


class RedisBlocks:
    """Values by key in a Redis, any of which one process among all may claim to make. Nothing raises for its sake."""

    def __init__(self, link: RedisLink, watch: RedisWatch) -> None:
        self._link = link
        self._watch = watch
        self._leases: dict[str, Lease] = {}

    def get(self, key: str) -> bytes | None:
        """The value of `key`, or None."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of `keys` that are there, by one round trip."""
        names = [full_key(BLOCK, key) for key in keys]

        def fetch(client: Any) -> list[bytes | None]:
            if self._link.target.kind == "cluster":
                return [client.get(name) for name in names]
            return list(client.mget(names))

        values = self._link.run(fetch) if names else None
        found = self._unpacked(dict(zip(keys, values or (), strict=False)))
        self._link.counters.hits += len(found)
        self._link.counters.misses += len(keys) - len(found)
        return found

    def put(self, key: str, value: bytes) -> None:
        """Keeps `value`; ends the claim on `key` if there is one, and then is refused if a later one was given."""
        lease = self._leases.pop(key, None)
        name, framed, ttl = full_key(BLOCK, key), pack(value), self._link.ttl_ms
        if lease is None:
            if self._link.writable and self._link.run(lambda client: bool(client.set(name, framed, px=ttl or None))):
                self._stored()
            return
        script = store_arguments(lease, {name: framed}, ttl)
        stored = self._link.run(lambda client: int(evaluate(client, *script)))
        self._watch.drop(lease)
        if stored:
            self._stored()
        elif stored == 0:
            self._link.counters.fenced_writes += 1
        else:
            self._release([lease])

    def claim(self, keys: Sequence[str]) -> tuple[dict[str, bytes], set[str]]:
        """What is stored of `keys` meanwhile, and which of the others are for the caller to make.

        Those in neither are being made by another process: `wait` for them and try again. All of them are the caller's if
        Redis cannot be asked.
        """
        attempts = None
        for _ in range(ATTEMPTS):
            if keys and attempts is None and self._link.writable:
                attempts = self._attempt(keys)
        if attempts is None:
            return {}, set(keys)
        stored = {key: attempt.stored[0] for key, attempt in attempts.items()}
        found = self._unpacked(stored)
        mine = set()
        for key, attempt in attempts.items():
            if attempt.lease is not None:
                self._leases[key] = attempt.lease
                self._watch.hold(attempt.lease)
                self._link.counters.claims += 1
                mine.add(key)
        return found, mine

    def wait(self, keys: Sequence[str]) -> None:
        """Returns when one of `keys` that another process makes is made or given up, or when a claim may have run out."""
        ended = threading.Event()
        messages = [message_of(full_key(BLOCK, key)) for key in keys]
        for message in messages:
            self._watch.listen(message, ended.set)
        try:
            # Whatever ended before we listened is seen now.
            held = self._held(keys)
            if held is not None and min(held) > 0:
                self._link.counters.waits += 1
                ended.wait(min(held))
        finally:
            for message in messages:
                self._watch.ignore(message, ended.set)

    def abandon(self, keys: Sequence[str]) -> None:
        """Gives claims up without a value."""
        self._release([lease for key in keys if (lease := self._leases.pop(key, None)) is not None])

    def _attempt(self, keys: Sequence[str]) -> dict[str, Claimed] | None:
        names = [full_key(BLOCK, key) for key in keys]

        def attempt(client: Client) -> list[Any]:
            if isinstance(client, redis.RedisCluster):
                return [evaluate(client, *claim_arguments([name])) for name in names]
            pipeline = client.pipeline(transaction=False)
            for name in names:
                evaluate(pipeline, *claim_arguments([name]))
            return list(pipeline.execute())

        answers = self._link.run(attempt)
        if answers is None:
            return None
        return {key: claimed([name], answer) for key, name, answer in zip(keys, names, answers, strict=True)}

    def _held(self, keys: Sequence[str]) -> list[float] | None:
        """For how many seconds others still hold the claims on `keys`; 0 where nobody does."""
        locks = [Lease(full_key(BLOCK, key), b"").lock for key in keys]

        def ask(client: Client) -> list[float]:
            return [max(int(client.pttl(lock)), 0) / 1000 for lock in locks]

        return self._link.run(ask)

    def _release(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self._watch.drop(lease)
            script = release_arguments(lease)
            self._link.run(lambda client, script=script: evaluate(client, *script))  # type: ignore[misc]

    def _stored(self) -> None:
        self._link.counters.stored += 1
        self._link.wrote()

    def _unpacked(self, stored: dict[str, bytes | None]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for key, data in stored.items():
            if data is None:
                continue
            frame = unpack(data)
            if frame is not None and frame.kind == Kind.VALUE:
                found[key] = frame.payload
            else:
                self._link.counters.corrupt += 1
                name = full_key(BLOCK, key)
                self._link.run(lambda client, name=name: client.delete(name))  # type: ignore[misc]
        return found

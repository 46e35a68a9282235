"""The asynchronous half of the shared cache: many small values, looked up by the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from cache.frame import Kind, content_digest, pack
from cache.redis_keys import CONTENT, TILE, full_key
from cache.redis_lease import Claimed, Lease, claim_arguments, claimed, message_of, release_arguments, store_arguments
from cache.redis_link import RedisLink
from cache.redis_lookup import RedisLookups, Values
from cache.redis_url import AsyncClient
from cache.redis_watch import RedisWatch

# A claim is tried again while Redis is thought to be well: without one, two servers would do the same work.
ATTEMPTS = 3


class RedisTiles:
    """Values by name in a Redis. Nothing raises for its sake: when it fails, look-ups miss and values are not kept.

    Names may have a part in braces: names that have the same are kept together, and only those may be claimed together.
    """

    def __init__(self, link: RedisLink, watch: RedisWatch) -> None:
        self._link = link
        self._watch = watch
        self._lookups = RedisLookups(link)

    @property
    def available(self) -> bool:
        """Whether Redis answers, as far as is known."""
        return self._link.available

    async def get(self, name: str) -> bytes | None:
        """The value of `name`, or None: one GET, shared with whatever else is looked up at the moment."""
        if not self._link.available:
            return None
        return await self._lookups.get(full_key(TILE, name))

    async def get_many(self, names: Sequence[str]) -> Values:
        """Those of `names` that are there."""
        if not self._link.available:
            return {}
        values = await asyncio.gather(*(self._lookups.get(full_key(TILE, name)) for name in names))
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    async def contains(self, names: Sequence[str]) -> set[str]:
        """Those of `names` that are there, without reading them."""

        async def exist(client: AsyncClient) -> Sequence[int]:
            async with client.pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.exists(full_key(TILE, name))
                return list(await pipeline.execute())

        found = await self._link.run_async(exist) if names else None
        return set() if found is None else {name for name, there in zip(names, found, strict=True) if there}

    async def put_many(self, values: Mapping[str, bytes], once: Collection[str] = ()) -> None:
        """Keeps `values`; the bodies of the names in `once` are stored a single time, however many names have them."""
        if not values or not self._link.writable:
            return
        ready, contents = self._framed(values, once)
        ttl = self._link.ttl_ms or None

        async def store(client: AsyncClient) -> bool:
            async with client.pipeline(transaction=False) as pipeline:
                for key, value in (*contents.items(), *ready.items()):
                    pipeline.set(key, value, px=ttl)
                await pipeline.execute()
            return True

        if await self._link.run_async(store):
            self._stored(len(ready))

    async def produce(self, names: Sequence[str], make: Callable[[], Awaitable[tuple[Values, Collection[str]]]]) -> Values:
        """The values of all `names`: those stored or, by one process among all that ask, what `make` answers.

        `make` answers the values and which of them are to be stored once. It is called by every process if Redis is down,
        and by another one when the first dies or takes so long without a sign of life that its claim runs out.
        """
        keys = [full_key(TILE, name) for name in names]
        loop = asyncio.get_running_loop()
        while True:
            ended = asyncio.Event()
            wake = _waker(loop, ended)
            # Before the claim is tried, so that none ends between the attempt and the waiting.
            self._watch.listen(message_of(keys[0]), wake)
            try:
                attempt = await self._claim(keys)
                if attempt is None:
                    made, _ = await make()
                    return made
                if attempt.whole:
                    found = await self._lookups.unpacked(dict(zip(keys, attempt.stored, strict=True)))
                    if len(found) == len(keys):
                        return {name: found[key] for name, key in zip(names, keys, strict=True)}
                    continue  # a damaged one was dropped
                if attempt.lease is not None:
                    return await self._make(attempt.lease, make)
                self._link.counters.waits += 1
                try:
                    async with asyncio.timeout(attempt.held_seconds + 0.01):
                        await ended.wait()
                except TimeoutError:
                    pass
            finally:
                self._watch.ignore(message_of(keys[0]), wake)

    async def aclose(self) -> None:
        """Waits for what is being stored."""
        await self._lookups.settled()

    async def _claim(self, keys: Sequence[str]) -> Claimed | None:
        """The answer to an attempt to claim, or None if Redis gives none; a claim got by one who has left is given back."""

        async def claim() -> Claimed | None:
            for _ in range(ATTEMPTS):
                if not self._link.writable:
                    break
                answer = await self._lookups.call(claim_arguments(keys))
                if answer is not None:
                    return claimed(keys, answer)
            return None

        async def give_back() -> None:
            attempt = await task
            if attempt is not None and attempt.lease is not None:
                await self._release(attempt.lease)

        task = self._lookups.background(claim())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._lookups.background(give_back())
            raise

    async def _make(self, lease: Lease, make: Callable[[], Awaitable[tuple[Values, Collection[str]]]]) -> Values:
        self._link.counters.claims += 1
        self._watch.hold(lease)
        try:
            made, once = await make()
        except BaseException:
            self._watch.drop(lease)
            self._lookups.background(self._release(lease))
            raise
        # Awaited, so that what a client was sent is stored; not cancelled with a client that leaves meanwhile.
        await asyncio.shield(self._lookups.background(self._finish(lease, made, once)))
        return made

    async def _finish(self, lease: Lease, made: Values, once: Collection[str]) -> None:
        ready, contents = self._framed(made, once)
        ttl = self._link.ttl_ms

        async def store(client: AsyncClient) -> None:
            for key, value in contents.items():
                await client.set(key, value, px=ttl or None)

        if contents:
            await self._link.run_async(store)
        stored = await self._lookups.call(store_arguments(lease, ready, ttl))
        self._watch.drop(lease)
        if stored:
            self._stored(len(ready))
        elif stored == 0:
            self._link.counters.fenced_writes += 1
        else:
            await self._release(lease)

    async def _release(self, lease: Lease) -> None:
        await self._lookups.call(release_arguments(lease))

    def _stored(self, count: int) -> None:
        self._link.counters.stored += count
        self._link.wrote()

    def _framed(self, values: Mapping[str, bytes], once: Collection[str]) -> tuple[Values, Values]:
        """What is stored by key, and the contents that some of it points at."""
        ready: Values = {}
        contents: Values = {}
        for name, value in values.items():
            if name in once:
                digest = content_digest(value)
                contents[full_key(CONTENT, digest.hex())] = pack(value)
                ready[full_key(TILE, name)] = pack(digest, Kind.POINTER)
            else:
                ready[full_key(TILE, name)] = pack(value)
        return ready, contents


def _waker(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> Callable[[], None]:
    """What sets `ended` from any thread, and does nothing once the loop is closed."""

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(ended.set)

    return wake

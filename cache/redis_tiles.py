"""The asynchronous half of the shared cache: many small values, looked up by the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from cache.frame import Kind, content_digest, pack, unpack
from cache.memory import MemoryCache
from cache.redis_keys import CONTENT, TILE, full_key
from cache.redis_lease import Lease, claim_arguments, claimed, message_of, release_arguments, store_arguments
from cache.redis_link import RedisLink, evaluate
from cache.redis_url import AsyncClient
from cache.redis_watch import RedisWatch

# Look-ups that come in one turn of the event loop go out together; so many at once, so that answers stay short.
BATCH = 64
BATCHES_UNDER_WAY = 4
# Values stored once, such as tiles of one colour, are few and asked for all the time.
CONTENT_BYTES = 8 << 20

Values = dict[str, bytes]


class RedisTiles:
    """Values by name in a Redis. Nothing raises for its sake: when it fails, look-ups miss and values are not kept.

    Names may have a part in braces: names that have the same are kept together, and only those may be claimed together.
    """

    def __init__(self, link: RedisLink, watch: RedisWatch) -> None:
        self._link = link
        self._watch = watch
        self._contents = MemoryCache(CONTENT_BYTES)
        self._pending: list[tuple[str, asyncio.Future[bytes | None]]] = []
        self._under_way = 0
        self._scheduled = False
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def available(self) -> bool:
        """Whether Redis answers, as far as is known."""
        return self._link.available

    async def get(self, name: str) -> bytes | None:
        """The value of `name`, or None: one GET, shared with whatever else is looked up at the moment."""
        if not self._link.available:
            return None
        return await self._ask(full_key(TILE, name))

    async def get_many(self, names: Sequence[str]) -> Values:
        """Those of `names` that are there."""
        if not self._link.available:
            return {}
        values = await asyncio.gather(*(self._ask(full_key(TILE, name)) for name in names))
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
                attempt = None
                if self._link.writable:
                    answer = await self._link.run_async(lambda client: _awaited(evaluate(client, *claim_arguments(keys))))
                    attempt = None if answer is None else claimed(keys, answer)
                if attempt is None:
                    made, _ = await make()
                    return made
                if attempt.whole:
                    found = await self._unpacked(dict(zip(keys, attempt.stored, strict=True)))
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
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)

    async def _make(self, lease: Lease, make: Callable[[], Awaitable[tuple[Values, Collection[str]]]]) -> Values:
        self._link.counters.claims += 1
        self._watch.hold(lease)
        try:
            made, once = await make()
        except BaseException:
            self._watch.drop(lease)
            self._background(self._release(lease))
            raise
        # Awaited, so that what a client was sent is stored; not cancelled with a client that leaves meanwhile.
        await asyncio.shield(self._background(self._finish(lease, made, once)))
        return made

    async def _finish(self, lease: Lease, made: Values, once: Collection[str]) -> None:
        ready, contents = self._framed(made, once)
        ttl = self._link.ttl_ms

        async def store(client: AsyncClient) -> int:
            for key, value in contents.items():
                await client.set(key, value, px=ttl or None)
            return int(await _awaited(evaluate(client, *store_arguments(lease, ready, ttl))))

        stored = await self._link.run_async(store)
        self._watch.drop(lease)
        if stored:
            self._stored(len(ready))
        elif stored == 0:
            self._link.counters.fenced_writes += 1
        else:
            await self._release(lease)

    async def _release(self, lease: Lease) -> None:
        await self._link.run_async(lambda client: _awaited(evaluate(client, *release_arguments(lease))))

    def _background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Does `work` whether or not anybody waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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

    def _ask(self, key: str) -> asyncio.Future[bytes | None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes | None] = loop.create_future()
        self._pending.append((key, future))
        if not self._scheduled and self._under_way < BATCHES_UNDER_WAY:
            self._scheduled = True
            loop.call_soon(self._send)
        return future

    def _send(self) -> None:
        self._scheduled = False
        if self._pending and self._under_way < BATCHES_UNDER_WAY:
            batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
            self._under_way += 1
            self._background(self._answer(batch))
            if self._pending:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._send)

    async def _answer(self, batch: list[tuple[str, asyncio.Future[bytes | None]]]) -> None:
        found: Values = {}
        try:
            keys = list(dict.fromkeys(key for key, _ in batch))
            found = await self._unpacked(await self._fetch(keys))
        finally:
            self._under_way -= 1
            self._send()
            counters = self._link.counters
            for key, future in batch:
                value = found.get(key)
                if value is None:
                    counters.misses += 1
                else:
                    counters.hits += 1
                if not future.done():
                    future.set_result(value)

    async def _fetch(self, keys: Sequence[str]) -> dict[str, bytes | None]:
        """What is stored at `keys`, frames and all."""

        async def fetch(client: Any) -> Sequence[bytes | None]:
            if len(keys) == 1:
                return [await client.get(keys[0])]
            if self._link.target.kind == "cluster":
                return list(await asyncio.gather(*(client.get(key) for key in keys)))
            return list(await client.mget(keys))

        values = await self._link.run_async(fetch)
        return {} if values is None else dict(zip(keys, values, strict=True))

    async def _unpacked(self, stored: Mapping[str, bytes | None]) -> Values:
        """The values in frames, pointers followed; damaged ones are deleted and left out."""
        values: Values = {}
        pointers: dict[str, str] = {}
        damaged: list[str] = []
        for key, data in stored.items():
            if data is None:
                continue
            frame = unpack(data)
            if frame is None:
                damaged.append(key)
            elif frame.kind == Kind.VALUE:
                values[key] = frame.payload
            else:
                pointers[key] = full_key(CONTENT, frame.payload.hex())
        if pointers:
            contents = await self._fetch_contents(set(pointers.values()))
            for key, content in pointers.items():
                if content in contents:
                    values[key] = contents[content]
                else:
                    damaged.append(key)  # what it points at is gone: it is of no use, and would stop a claim
        if damaged:
            await self._drop(damaged)
        return values

    async def _fetch_contents(self, keys: Iterable[str]) -> Values:
        known = {key: self._contents.get(key) for key in keys}
        found = {key: value for key, value in known.items() if value is not None}
        if len(found) < len(known):
            fetched = await self._fetch([key for key in known if key not in found])
            for key, data in fetched.items():
                frame = None if data is None else unpack(data)
                if frame is not None and frame.kind == Kind.VALUE:
                    found[key] = frame.payload
                    self._contents.put(key, frame.payload)
                elif data is not None:
                    await self._drop([key])
        return found

    async def _drop(self, keys: Sequence[str]) -> None:
        self._link.counters.corrupt += len(keys)

        async def delete(client: AsyncClient) -> None:
            for key in keys:
                await client.delete(key)

        await self._link.run_async(delete)


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


def _waker(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> Callable[[], None]:
    """What sets `ended` from any thread, and does nothing once the loop is closed."""

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(ended.set)

    return wake

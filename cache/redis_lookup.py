"""Commands of one moment sent together: look-ups, with damaged values dropped and pointers followed, and scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from cache.frame import Kind, unpack
from cache.memory import MemoryCache
from cache.redis_keys import CONTENT, full_key
from cache.redis_link import RedisLink, evaluate
from cache.redis_url import AsyncClient

# Look-ups that come in one turn of the event loop go out together; so many at once, so that answers stay short.
BATCH = 64
BATCHES_UNDER_WAY = 4
# Values stored once, such as tiles of one colour, are few and asked for all the time.
CONTENT_BYTES = 8 << 20

T = TypeVar("T")
Values = dict[str, bytes]
Script = tuple[str, list[str], list[Any]]


class RedisLookups:
    """Values by key, for one event loop. All that is asked for in one turn of the loop goes out as one command."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._contents = MemoryCache(CONTENT_BYTES)
        self._pending: list[tuple[str, asyncio.Future[bytes | None]]] = []
        self._under_way = 0
        self._scheduled = False
        self._calls: list[tuple[Script, asyncio.Future[Any]]] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    def call(self, script: Script) -> asyncio.Future[Any]:
        """What a script answers, to be awaited; None if Redis fails. Those of one turn go out as one pipeline."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._calls:
            loop.call_soon(self._send_calls)
        self._calls.append((script, future))
        return future

    def background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Does `work` whether or not anybody waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settled(self) -> None:
        """Waits a little for all that is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)

    def get(self, key: str) -> asyncio.Future[bytes | None]:
        """The value at `key`, to be awaited."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes | None] = loop.create_future()
        self._pending.append((key, future))
        if not self._scheduled and self._under_way < BATCHES_UNDER_WAY:
            self._scheduled = True
            loop.call_soon(self._send)
        return future

    def _send_calls(self) -> None:
        calls, self._calls = self._calls, []
        self.background(self._run(calls))

    async def _run(self, calls: list[tuple[Script, asyncio.Future[Any]]]) -> None:
        async def run(client: Any) -> list[Any]:
            if self._link.target.kind == "cluster":
                each = (evaluate(client, *script) for script, _ in calls)
                return list(await asyncio.gather(*each, return_exceptions=True))
            async with client.pipeline(transaction=False) as pipeline:
                for script, _ in calls:
                    evaluate(pipeline, *script)
                return list(await pipeline.execute(raise_on_error=False))

        answers: Sequence[Any] = ()
        try:
            answers = await self._link.run_async(run) or ()
        finally:
            for number, (_, future) in enumerate(calls):
                answer = answers[number] if answers else None
                if isinstance(answer, Exception):
                    self._link.failed(answer)
                    answer = None
                if not future.done():
                    future.set_result(answer)

    def _send(self) -> None:
        self._scheduled = False
        if self._pending and self._under_way < BATCHES_UNDER_WAY:
            batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
            self._under_way += 1
            self.background(self._answer(batch))
            if self._pending:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._send)

    async def _answer(self, batch: list[tuple[str, asyncio.Future[bytes | None]]]) -> None:
        found: Values = {}
        try:
            keys = list(dict.fromkeys(key for key, _ in batch))
            found = await self.unpacked(await self._fetch(keys))
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

    async def unpacked(self, stored: Mapping[str, bytes | None]) -> Values:
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

"""Looking after a Redis by hand: counting, purging and verifying what the shared cache keeps there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cache.errors import CacheError
from cache.frame import Kind, unpack
from cache.redis_keys import BLOCK, CONTENT, PREFIX, TILE, full_key, short_name
from cache.redis_link import FAILURES
from cache.redis_url import RedisTarget

# Keys looked at in one round trip.
PAGE = 200


@dataclass
class RedisFacts:
    """What a Redis says of itself; bytes, and hits of all its users since it started. `maxmemory` 0 is no bound."""

    version: str
    used: int
    maxmemory: int
    policy: str
    hits: int
    misses: int


@dataclass
class Holdings:
    """Entries and bytes by kind: "t" tiles, "b" blocks, "c" contents stored once."""

    entries: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)


class RedisCare:
    """Slow walks over all keys of the shared cache; every method raises `CacheError` if Redis fails."""

    def __init__(self, target: RedisTarget) -> None:
        """Connects; raises `CacheError` if nobody answers."""
        self._target = target
        self._client: Any = self._asked(target.client)
        self._asked(self._client.ping)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def facts(self) -> RedisFacts:
        """Memory, policy and hits; of a cluster the sums over its primaries."""
        infos = self._asked(self._infos)
        return RedisFacts(
            infos[0]["redis_version"],
            sum(info["used_memory"] for info in infos),
            sum(info.get("maxmemory", 0) for info in infos),
            infos[0].get("maxmemory_policy", "unknown"),
            sum(info["keyspace_hits"] for info in infos),
            sum(info["keyspace_misses"] for info in infos),
        )

    def holdings(self) -> Holdings:
        """Counts all entries and the bytes of their values."""
        held = Holdings()
        for page in self._pages():
            for key, size in zip(page, self._many(page, lambda client, key: client.strlen(key)), strict=True):
                kind, _ = short_name(key)
                held.entries[kind] += 1
                held.bytes[kind] += size
        return held

    def purge(self, wanted: Callable[[str], bool] | None, *, really: bool) -> int:
        """Deletes the tiles and blocks whose names are `wanted`, or, with None, all keys of ours; how many entries it were.

        Not `really`: only counts. Contents that nothing points at any more go when their time is over.
        """
        count = 0
        for page in self._pages(kinds=None if wanted is None else (TILE, BLOCK)):
            doomed = [key for key in page if wanted is None or wanted(short_name(key)[1])]
            count += sum(short_name(key)[0] in (TILE, BLOCK) for key in doomed)
            if really and doomed:
                self._many(doomed, lambda client, key: client.unlink(key))
        return count

    def verify(self) -> tuple[int, int]:
        """Reads every entry and deletes the damaged ones, and those that point at nothing: how many read, how many deleted."""
        read = 0
        damaged: list[str] = []
        sound: set[str] = set()
        pointers: dict[str, str] = {}
        for page in self._pages():
            for key, data in zip(page, self._many(page, lambda client, key: client.get(key)), strict=True):
                if data is None:
                    continue  # expired since it was listed
                read += 1
                frame = unpack(data)
                if frame is None:
                    damaged.append(key)
                elif frame.kind == Kind.POINTER:
                    pointers[key] = full_key(CONTENT, frame.payload.hex())
                elif short_name(key)[0] == CONTENT:
                    sound.add(key)
        damaged += [key for key, content in pointers.items() if content not in sound]
        for start in range(0, len(damaged), PAGE):
            self._many(damaged[start : start + PAGE], lambda client, key: client.unlink(key))
        return read, len(damaged)

    def _pages(self, kinds: tuple[str, ...] | None = (TILE, BLOCK, CONTENT)) -> Iterator[list[str]]:
        """Our keys, those of `kinds` or all, some at a time, each once."""
        seen: set[str] = set()
        page: list[str] = []
        keys = iter(self._client.scan_iter(match=PREFIX + "*", count=1000))
        while (key := self._asked(lambda: next(keys, None))) is not None:
            name = key.decode("utf-8", "replace")
            # SCAN may name a key twice.
            if name not in seen and (kinds is None or short_name(name)[0] in kinds):
                seen.add(name)
                page.append(name)
            if len(page) == PAGE:
                yield page
                page = []
        if page:
            yield page

    def _many(self, keys: list[str], command: Callable[[Any, str], Any]) -> list[Any]:
        def run() -> list[Any]:
            pipeline = self._client.pipeline() if self._target.kind == "cluster" else self._client.pipeline(transaction=False)
            for key in keys:
                command(pipeline, key)
            return list(pipeline.execute())

        answer: list[Any] = self._asked(run)
        return answer

    def _infos(self) -> list[dict[str, Any]]:
        if self._target.kind != "cluster":
            return [self._client.info()]
        return list(self._client.info(target_nodes=self._client.PRIMARIES).values()) if self._client.get_primaries() else []

    def _asked(self, command: Callable[[], Any]) -> Any:
        try:
            return command()
        except FAILURES as error:
            raise CacheError(
                f"The shared cache {self._target.shown} fails ({' '.join(str(error).split())}); "
                "start it, or change METAEARTH_CACHE_URL."
            ) from error

"""Where ready tiles are looked for and kept: memory, then Redis if there is one, then disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from cache import DiskCache, look_in, run_in
from server.fastpath import ReadyTile, ReadyTiles
from server.metrics import Tier
from server.tilekey import TileKey

if TYPE_CHECKING:
    from cache.redis_lookup import Values
    from cache.redis_tiles import RedisTiles

Made = dict[TileKey, ReadyTile]
Found = dict[TileKey, tuple[ReadyTile, Tier]]


class Body(NamedTuple):
    """An encoded tile; one that is `solid`, of a single colour, is stored once for all that look the same."""

    encoded: bytes
    solid: bool


class TileStore:
    """The tiers of tiles. `lookups` counts where tiles were found, by tier ("redis", "disk", "rendered") and zoom.

    All coroutines must run in one event loop.
    """

    def __init__(self, ready: ReadyTiles, identity: str, disk: DiskCache | None, redis: RedisTiles | None) -> None:
        """`identity` is the planet's: names in the stores begin with it."""
        self.ready = ready
        self.disk = disk
        self.redis = redis
        self.lookups: Counter[tuple[str, int]] = Counter()
        self._identity = identity
        self._disk_pool = ThreadPoolExecutor(1, "disk")

    def name(self, key: TileKey) -> str:
        """What `key` is kept under, on disk and in Redis."""
        return key.store_name(self._identity, self.ready.seeds)

    async def fetch(self, key: TileKey) -> ReadyTile | None:
        """The tile from Redis, by one GET: for the fast path, which has looked into memory."""
        if self.redis is None or not self.redis.available:
            return None
        body = await self.redis.get(self.name(key))
        return None if body is None else self._made(key, body, "redis")

    async def find(self, keys: Sequence[TileKey]) -> Found:
        """Those of `keys` that any tier has, and which."""
        found: Found = {key: (tile, "memory") for key in keys if (tile := self.ready.get(key.path)) is not None}
        names = {self.name(key): key for key in keys if key not in found}
        if self.redis is not None and names:
            for name, body in (await self.redis.get_many(list(names))).items():
                key = names.pop(name)
                found[key] = self._made(key, body, "redis"), "redis"
        if self.disk is not None and names:
            bodies = await look_in(self._disk_pool, lambda: self._read(list(names)))
            found.update({names[name]: (self._made(names[name], body, "disk"), "disk") for name, body in bodies.items()})
            if self.redis is not None:
                await self.redis.put_many(bodies)
        return found

    @property
    def keeps(self) -> bool:
        """Whether a tier outlives this process."""
        return self.disk is not None or self.redis is not None

    async def stored(self, keys: Sequence[TileKey]) -> set[TileKey]:
        """Those of `keys` that outlive this process, in Redis where there is one, without reading any of them."""
        names = {self.name(key): key for key in keys}
        if self.redis is not None and self.redis.available:
            return {names[name] for name in await self.redis.contains(list(names))}
        if (disk := self.disk) is not None:
            return {names[name] for name in await look_in(self._disk_pool, lambda: disk.contains(list(names)))}
        return set()

    async def once(self, keys: Sequence[TileKey], make: Callable[[], Awaitable[dict[TileKey, Body]]]) -> Made:
        """The tiles `keys`, which lie in one metatile: made by one server among all that share a Redis, and kept."""
        names = {self.name(key): key for key in keys}

        async def made() -> tuple[Values, Collection[str]]:
            bodies = {self.name(key): body for key, body in (await make()).items()}
            if self.disk is not None:
                await run_in(self._disk_pool, lambda: self._write(bodies))
            for key in keys:
                self.lookups["rendered", key.zoom] += 1
            return {name: body.encoded for name, body in bodies.items()}, [n for n, body in bodies.items() if body.solid]

        values = (await made())[0] if self.redis is None else await self.redis.produce(list(names), made)
        return {names[name]: self.ready.make(names[name], body) for name, body in values.items()}

    def close(self) -> None:
        """Ends the thread that reads the disk."""
        self._disk_pool.shutdown(cancel_futures=True)

    def _made(self, key: TileKey, body: bytes, tier: Tier) -> ReadyTile:
        self.lookups[tier, key.zoom] += 1
        return self.ready.make(key, body)

    def _read(self, names: Sequence[str]) -> Values:
        assert self.disk is not None
        found = {name: self.disk.get(name) for name in names}
        return {name: body for name, body in found.items() if body is not None}

    def _write(self, bodies: dict[str, Body]) -> None:
        assert self.disk is not None
        for name, body in bodies.items():
            self.disk.put(name, body.encoded, once=body.solid)

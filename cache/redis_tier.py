"""The shared cache as a whole: one link to a Redis, the thread that watches it, and its two halves."""

from __future__ import annotations

from cache.redis_blocks import RedisBlocks
from cache.redis_link import RedisCounters, RedisLink
from cache.redis_tiles import RedisTiles
from cache.redis_url import RedisTarget
from cache.redis_watch import RedisWatch


class RedisTier:
    """A Redis that several servers share: `tiles` for their event loops, `blocks` for their threads."""

    def __init__(self, target: RedisTarget, ttl: int) -> None:
        """Connects to nothing; `open` does. `ttl` in seconds, 0 for none."""
        self._link = RedisLink(target, ttl)
        self._watch = RedisWatch(self._link)
        self.tiles = RedisTiles(self._link, self._watch)
        self.blocks = RedisBlocks(self._link, self._watch)

    @classmethod
    def open(cls, url: str, ttl: int = 0) -> RedisTier:
        """The tier at `url`, connected if there is anybody; raises `CacheError` only if `url` is malformed."""
        tier = cls(RedisTarget.parse(url), ttl)
        tier._watch.start()
        return tier

    @property
    def available(self) -> bool:
        """Whether Redis answers, as far as is known."""
        return self._link.available

    @property
    def counters(self) -> RedisCounters:
        """What has happened since the start, for metrics."""
        return self._link.counters

    @property
    def shown(self) -> str:
        """The address without its password."""
        return self._link.target.shown

    async def aclose(self) -> None:
        """Stores what is still to be stored and closes the connections of the event loop that runs."""
        await self.tiles.aclose()
        await self._link.aclose()

    def close(self) -> None:
        """Ends the thread and closes its connections."""
        self._watch.close()
        self._link.close()

"""The caches that the settings ask for: tiles and blocks in the cache directory, and before both a Redis."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cache import DiskCache, FileClaims, SharedBlocks
from server.settings import MIB, Settings

if TYPE_CHECKING:  # redis-py takes a quarter of a second to import, and most have no Redis
    from cache.redis_tier import RedisTier

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caches:
    """Each None where it is switched off. `blocks` is for a planet; `tiles` and `redis.tiles` are for a `TileStore`."""

    tiles: DiskCache | None
    block_disk: DiskCache | None
    claims: FileClaims | None
    redis: RedisTier | None

    @staticmethod
    def paths(settings: Settings) -> dict[str, Path]:
        """Where the two files lie."""
        return {name: settings.cache_dir / f"{name}.sqlite" for name in ("tiles", "blocks")}

    @classmethod
    def open(cls, settings: Settings) -> Caches:
        """Opens all; raises `cache.CacheError` if the directory cannot be written. A Redis that is down is no error."""
        paths = cls.paths(settings)
        tiles = DiskCache(paths["tiles"], settings.tile_disk_mb * MIB) if settings.tile_disk_mb else None
        blocks = DiskCache(paths["blocks"], settings.block_disk_mb * MIB) if settings.block_disk_mb else None
        claims = None
        if blocks is not None:
            try:
                claims = FileClaims(settings.cache_dir / "blocks.claims")
            except OSError as error:
                logger.warning("processes that share %s may do the same work twice (%s)", settings.cache_dir, error)
        redis = None
        if settings.cache_url is not None:
            from cache.redis_tier import RedisTier

            redis = RedisTier.open(settings.cache_url, settings.cache_ttl)
        return cls(tiles, blocks, claims, redis)

    @property
    def blocks(self) -> SharedBlocks | None:
        """The store of a planet's blocks; it may be had several times, they are one."""
        if self.block_disk is None and self.redis is None:
            return None
        return SharedBlocks(None if self.redis is None else self.redis.blocks, self.block_disk, self.claims)

    def fault(self) -> str | None:
        """Why what is made cannot be kept at this moment, in a sentence; None if it can. Asks the system only."""
        for cache in (self.tiles, self.block_disk):
            if cache is not None and not os.access(cache.path.parent, os.W_OK):
                return f"The cache directory {cache.path.parent} cannot be written; make it writable."
        if self.redis is not None and not self.redis.available:
            return "The Redis of METAEARTH_CACHE_URL cannot be reached; tiles are served without it."
        return None

    async def aclose(self) -> None:
        """Closes what belongs to the event loop, which runs still."""
        if self.redis is not None:
            await self.redis.aclose()

    def close(self) -> None:
        """Closes all."""
        for cache in (self.tiles, self.block_disk, self.claims, self.redis):
            if cache is not None:
                cache.close()

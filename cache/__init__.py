"""Caches of bytes, and single-flight: nothing here knows what a tile, a planet or a request is.

`MemoryCache` is a byte-bounded LRU in the process, `DiskCache` a byte-bounded LRU in one SQLite file that
survives the death of its process. Both are a `ByteStore` and may be called from any thread. `SingleFlight`
lets one computation serve everybody who asks for it. `SharedBlocks` and `cache.redis_tier` are for several processes:
one of them makes what all ask for. Redis is imported only with the latter.
"""

from cache.disk import DiskCache
from cache.errors import CacheError
from cache.file_claims import FileClaims
from cache.flight import SingleFlight, look_in, outcome, run_in
from cache.memory import ByteBoundedLRU, MemoryCache
from cache.shared_blocks import SharedBlocks
from cache.store import ByteStore

__all__ = [
    "ByteBoundedLRU",
    "ByteStore",
    "CacheError",
    "DiskCache",
    "FileClaims",
    "MemoryCache",
    "SharedBlocks",
    "SingleFlight",
    "look_in",
    "outcome",
    "run_in",
]

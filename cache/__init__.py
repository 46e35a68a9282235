"""Caches of bytes, and single-flight: nothing here knows what a tile, a planet or a request is.

`MemoryCache` is a byte-bounded LRU in the process, `DiskCache` a byte-bounded LRU in one SQLite file that
survives the death of its process. Both are a `ByteStore` and may be called from any thread. `SingleFlight`
lets one computation serve everybody who asks for it.
"""

from cache.disk import DiskCache
from cache.errors import CacheError
from cache.flight import SingleFlight, run_in
from cache.memory import ByteBoundedLRU, MemoryCache
from cache.store import ByteStore, ListedStore

__all__ = ["ByteBoundedLRU", "ByteStore", "CacheError", "DiskCache", "ListedStore", "MemoryCache", "SingleFlight", "run_in"]

"""The byte-bounded LRU in memory."""

from concurrent.futures import ThreadPoolExecutor

from cache import ByteBoundedLRU, MemoryCache
from cache.memory import ENTRY_OVERHEAD


def test_bound_holds_and_the_least_recently_used_goes_first() -> None:
    cache = MemoryCache(3 * (100 + ENTRY_OVERHEAD))
    for key in "abc":
        cache.put(key, b"x" * 100)
    assert cache.get("a") is not None  # so that b is the one not used for longest
    cache.put("d", b"x" * 100)
    assert cache.get("b") is None
    assert [key for key in "acd" if cache.get(key) is not None] == ["a", "c", "d"]
    assert cache.bytes == 3 * (100 + ENTRY_OVERHEAD) <= cache.max_bytes


def test_a_value_larger_than_the_bound_is_not_kept_and_evicts_nothing() -> None:
    cache = MemoryCache(1000)
    cache.put("small", b"x" * 100)
    cache.put("large", b"x" * 2000)
    assert cache.get("large") is None
    assert cache.get("small") == b"x" * 100


def test_replacing_and_deleting_keep_the_count_of_bytes_right() -> None:
    cache = MemoryCache(10_000)
    cache.put("a", b"x" * 100)
    cache.put("a", b"x" * 300)
    assert cache.bytes == 300 + ENTRY_OVERHEAD
    assert len(cache) == 1
    cache.delete("a")
    cache.delete("a")
    assert cache.bytes == 0
    cache.put("b", b"x")
    cache.clear()
    assert cache.bytes == len(cache) == 0


def test_size_function_decides_what_a_value_costs() -> None:
    cache: ByteBoundedLRU[int] = ByteBoundedLRU(10 * ENTRY_OVERHEAD, lambda value: value)
    cache.put("a", ENTRY_OVERHEAD)
    assert cache.bytes == 2 * ENTRY_OVERHEAD


def test_bytes_stay_consistent_under_threads() -> None:
    cache = MemoryCache(50 * (64 + ENTRY_OVERHEAD))

    def work(thread: int) -> None:
        for i in range(2000):
            cache.put(f"{(i * 7 + thread) % 90}", bytes(64))
            cache.get(f"{i % 90}")
            if i % 11 == 0:
                cache.delete(f"{i % 90}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert cache.bytes == len(cache) * (64 + ENTRY_OVERHEAD) <= cache.max_bytes

"""Figures that are read rather than counted: the process, the caches, the device, the planet, and hits of the fast path."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from prometheus_client import Counter, ProcessCollector

from cache import DiskCache
from model import Planet
from server.metrics import ZOOMS, Metrics
from server.tilejson import VERSION

if TYPE_CHECKING:  # redis-py takes a quarter of a second to import
    from cache.redis_tier import RedisTier

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
# Of what may have to wait for a disk or a driver, and is read in a thread.
SLOW_SECONDS = 5.0
# Of the refusals of `server.limits`, by status code.
REASONS = {400: "host", 401: "key", 413: "body", 414: "address", 429: "rate", 431: "headers", 503: "busy"}


class Bounded(Protocol):
    """A cache that knows its size."""

    @property
    def max_bytes(self) -> int:
        """Bytes that may be kept."""

    @property
    def bytes(self) -> int:
        """Bytes kept."""


class Rising:
    """Brings what counts elsewhere into a counter: the number only rises, and the counter by as much."""

    def __init__(self, read: Callable[[], float], since: float = 0.0) -> None:
        self._read, self._last = read, since

    def into(self, *counters: tuple[Counter, float]) -> None:
        """Adds what has come since the last call to each counter, times its factor."""
        now = self._read()
        if now > self._last:
            for counter, factor in counters:
                counter.inc((now - self._last) * factor)
        self._last = now


class Figures:
    """Keeps the figures of one application up to date."""

    def __init__(self, metrics: Metrics, planet: Planet, counts: Sequence[list[int]]) -> None:
        """`counts[zoom]` is [tiles sent from memory, 304 answered, tiles sent from Redis] by the fast path; they only rise."""
        self._metrics, self._planet = metrics, planet
        self._disk: dict[str, DiskCache] = {}
        info = planet.info()
        metrics.build.labels(VERSION, info.name, info.seed, info.identity, info.steps, info.device, info.precision).set(1)
        self._device = planet.compute.device
        blocks = Rising(lambda: planet.evaluations, planet.evaluations)
        metrics.on_refresh(lambda: blocks.into((metrics.blocks, 1), (metrics.evaluations, planet.steps)))
        for zoom, count in zip(ZOOMS, counts, strict=True):
            self._watch_hits(zoom, count)
        self._process = ProcessCollector(registry=None)
        self._cpu = Rising(lambda: self._figures.get("process_cpu_seconds", 0.0))
        self._figures: Mapping[str, float] = {}
        metrics.on_refresh(self._read_process)
        self.memory_cache("blocks", planet.blocks)

    def memory_cache(self, name: str, cache: Bounded) -> None:
        """Has the size of a cache in the process shown by `name`."""
        metrics = self._metrics
        metrics.memory_cache_limit.labels(name).set(cache.max_bytes)
        metrics.on_refresh(lambda: metrics.memory_cache.labels(name).set(cache.bytes))

    def disk_cache(self, name: str, cache: DiskCache | None) -> None:
        """Has size and errors of a cache on disk shown by `name`; of None, that there is none."""
        if cache is not None:
            self._disk[name] = cache
            errors, child = Rising(lambda: cache.errors), self._metrics.cache_errors.labels("disk")
            self._metrics.on_refresh(lambda: errors.into((child, 1)))

    def redis(self, tier: RedisTier) -> None:
        """Has the errors of a shared cache shown, and whether it answers."""
        metrics = self._metrics
        errors = Rising(lambda: tier.counters.errors)

        def refresh() -> None:
            errors.into((metrics.cache_errors.labels("redis"), 1))
            metrics.cache_up.labels("redis").set(tier.available)

        metrics.on_refresh(refresh)

    def refusals(self, counts: Mapping[int, int]) -> None:
        """Has the refusals of `server.limits` shown, `counts` of which by status code only rise."""
        metrics = self._metrics
        for status, reason in REASONS.items():
            child = metrics.refused.labels(reason)
            refused = Rising(lambda status=status: counts.get(status, 0))  # type: ignore[misc]
            metrics.on_refresh(lambda refused=refused, child=child: refused.into((child, 1)))  # type: ignore[misc]

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Brings the figures up to date as long as the block runs, and once more at its end."""
        task = asyncio.create_task(self._keep(), name="metrics")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._metrics.refresh()

    def read_slowly(self) -> None:
        """Reads what may have to wait: sizes on disk, memory of the device."""
        metrics = self._metrics
        for name, cache in self._disk.items():
            metrics.disk_cache.labels(name).set(cache.bytes)
            metrics.disk_cache_limit.labels(name).set(cache.max_bytes)
        if self._device.type == "cuda":
            import torch

            device, name = self._device, str(self._device)
            free, total = torch.cuda.mem_get_info(device)
            metrics.device_used.labels(name).set(torch.cuda.memory_allocated(device))
            metrics.device_reserved.labels(name).set(torch.cuda.memory_reserved(device))
            metrics.device_free.labels(name).set(free)
            metrics.device_total.labels(name).set(total)

    async def _keep(self) -> None:
        due = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            if clock() >= due:
                try:
                    await asyncio.to_thread(self.read_slowly)
                except Exception as error:  # a disk or a driver in trouble must not end the counting of all else
                    logger.warning("sizes of caches or of the device's memory could not be read: %s", error)
                due = clock() + SLOW_SECONDS
            self._metrics.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    def _watch_hits(self, zoom: str, count: list[int]) -> None:
        metrics = self._metrics
        sent, unmodified, fetched = (Rising(lambda i=i: count[i]) for i in range(3))  # type: ignore[misc]

        def refresh() -> None:
            # A zoom that nobody has asked for gets no series of its own.
            if count[0]:
                sent.into((metrics.tiles.labels("memory", zoom), 1), (metrics.requests.labels("200", zoom), 1))
            if count[1]:
                unmodified.into((metrics.requests.labels("304", zoom), 1))
            if count[2]:
                fetched.into((metrics.tiles.labels("redis", zoom), 1), (metrics.requests.labels("200", zoom), 1))

        metrics.on_refresh(refresh)

    def _read_process(self) -> None:
        families = self._process.collect()
        self._figures = {family.name: family.samples[0].value for family in families}
        metrics = self._metrics
        self._cpu.into((metrics.cpu_seconds, 1))
        metrics.resident.set(self._figures.get("process_resident_memory_bytes", 0))
        metrics.open_files.set(self._figures.get("process_open_fds", 0))
        metrics.started.set(self._figures.get("process_start_time_seconds", 0))

"""What the server counts and measures, for Prometheus: every name, label and bucket stands here (docs/monitoring.md).

Instruments follow Prometheus' rules for names and base units. Labels have few values whatever clients ask for: status codes,
zooms 0 to 20, tiers, formats, classes of work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from server.metrics_workers import worker_slot
from server.tilekey import MAX_ZOOM

# Where a tile came from; "coalesced": a request that waited for what another one had begun.
Tier = Literal["memory", "redis", "disk", "rendered", "coalesced"]
# What is asked for beside tiles of a zoom: maps, boxes, documents.
NO_ZOOM = "none"
ZOOMS = [str(zoom) for zoom in range(MAX_ZOOM + 1)]

QUICK = (0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

prometheus_client.disable_created_metrics()


class Metrics:
    """The instruments of one application, in a registry of its own.

    With PROMETHEUS_MULTIPROC_DIR set, their values lie in files there, and `families` adds up those of all workers.
    """

    def __init__(self) -> None:
        self.slot = worker_slot()
        self.registry = CollectorRegistry()
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.requests = counter(
            "requests", "Requests answered, by status and by the zoom of the tile asked for", "status", "zoom"
        )
        self.request_seconds = histogram(
            "request_seconds", "From a request to its last byte; tiles in memory not included", SLOW
        )
        self.tiles = counter("tiles", "Tiles sent, by where they came from", "tier", "zoom")
        self.queue_depth = gauge("queue_depth", "Work that waits for its turn to be rendered", "class")
        self.wait_seconds = histogram("wait_seconds", "From being queued to being rendered", SLOW, "class")
        self.render_seconds = histogram(
            "render_seconds", "Rendering: a tile or metatile of a zoom, or other work", SLOW, "zoom"
        )
        self.encode_seconds = histogram("encode_seconds", "Encoding one tile", QUICK, "format")
        self.blocks = counter("blocks_generated", "Blocks generated, each by one pass of the sampler")
        self.evaluations = counter("network_evaluations", "Calls of the network: blocks times sampler steps")
        self.dropped = counter("dropped", "Queued work given up before it began", "reason")
        self.refused = counter("refused", "Requests refused to protect the server", "reason")
        self.failures = counter("render_failures", "Renderings that failed")
        self.cache_errors = counter("cache_errors", "Reads and writes that a cache failed to do", "cache")
        self.cache_up = gauge(
            "cache_up", "1 while a shared or disk cache answers, 0 while it does not", "cache", mode="livemin"
        )
        self.memory_cache = gauge("memory_cache_bytes", "Bytes kept in the process", "cache")
        self.memory_cache_limit = gauge("memory_cache_limit_bytes", "Bytes that may be kept in the process", "cache")
        self.disk_cache = gauge("disk_cache_bytes", "Bytes kept in a cache on disk", "cache", mode="livemax")
        self.disk_cache_limit = gauge("disk_cache_limit_bytes", "Bytes that may be kept on disk", "cache", mode="livemax")
        self.device_used = gauge("device_memory_used_bytes", "Memory of the device in tensors of ours", "device")
        self.device_reserved = gauge("device_memory_reserved_bytes", "Memory of the device that we hold", "device")
        self.device_free = gauge("device_memory_free_bytes", "Memory of the device that nobody holds", "device", mode="livemin")
        self.device_total = gauge("device_memory_total_bytes", "Memory of the device in all", "device", mode="livemax")
        self.cpu_seconds = counter("process_cpu_seconds", "Processor time, user and system")
        self.resident = gauge("process_resident_memory_bytes", "Resident memory")
        self.open_files = gauge("process_open_fds", "Open file descriptors")
        self.started = gauge("process_start_time_seconds", "Start of the youngest worker, Unix time", mode="livemax")
        self.workers = gauge("workers", "Processes that serve")
        self.build = gauge(
            "build_info", "Always 1", "version", "planet", "seed", "identity", "steps", "device", "precision", mode="livemax"
        )
        self._refreshers: list[Callable[[], None]] = []
        for zoom in ZOOMS:  # from 0 on, so that the first one counts in a rate
            for tier in ("memory", "disk", "rendered", "coalesced"):
                self.tiles.labels(tier, zoom)
        self.workers.set(1)

    def on_refresh(self, refresh: Callable[[], None]) -> None:
        """Has `refresh` called before values are read and about once a second, to bring in what is counted elsewhere.

        It is called by the event loop, so it must take microseconds.
        """
        self._refreshers.append(refresh)

    def refresh(self) -> None:
        """Brings in what is counted elsewhere."""
        for refresh in self._refreshers:
            refresh()

    def families(self) -> Iterable[Metric]:
        """All metrics with their present values, those of the other workers included (as of a second ago)."""
        return self.gathered().collect()

    def gathered(self) -> CollectorRegistry:
        """A registry that holds the same as `families`."""
        self.refresh()
        if self.slot is None:
            return self.registry
        self.slot.forget_the_dead()
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self.slot.folder))
        return registry

    @contextmanager
    def rendering(self, zoom: int | None) -> Iterator[None]:
        """Times a rendering of tiles of `zoom`, or of other work."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.render_seconds.labels(NO_ZOOM if zoom is None else zoom).observe(time.perf_counter() - began)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text + ".", labels, namespace="metaearth", registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text + ".", labels, namespace="metaearth", registry=self.registry, buckets=buckets)

    def _gauge(self, name: str, text: str, *labels: str, mode: Literal["livesum", "livemin", "livemax"] = "livesum") -> Gauge:
        """`mode` is how the workers' values are added up."""
        return Gauge(name, text + ".", labels, namespace="metaearth", registry=self.registry, multiprocess_mode=mode)

"""`/admin`: live figures as a page, and `/admin/stats`, the JSON that it reads; both read the same metrics as Prometheus."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from prometheus_client.metrics_core import Metric
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, Response

from server.errors import responses
from server.metrics import ZOOMS, Metrics
from server.viewer_pages import VIEWER

Label = tuple[tuple[str, str], ...]


class Timing(BaseModel):
    """A histogram in brief."""

    count: float
    seconds: float = Field(description="sum over all")


class Usage(BaseModel):
    """Bytes kept, and how many may be."""

    bytes: float
    limit: float


class DeviceMemory(BaseModel):
    """Memory of a device in bytes: in our tensors, held by us, in all."""

    used: float
    reserved: float
    free: float
    total: float


class Stats(BaseModel):
    """What all workers together have done since the start, and what they hold at present."""

    time: float = Field(description="now, Unix time; rates are differences of two answers")
    started: float = Field(description="start of the youngest worker, Unix time")
    build: dict[str, str] = Field(description="version, planet, seed, identity, steps, device, precision")
    workers: float
    requests: dict[str, float] = Field(description="answers by status code")
    tiles: dict[str, float] = Field(description="tiles sent by where they came from")
    zooms: list[float] = Field(description="tiles sent and 304 answered at zooms 0 to 20")
    request: Timing = Field(description="requests that memory did not answer")
    wait: Timing
    render: Timing
    encode: Timing
    queue: dict[str, float] = Field(description="work that waits, by class")
    blocks: float = Field(description="blocks generated")
    evaluations: float = Field(description="network calls")
    dropped: dict[str, float]
    refused: dict[str, float]
    failures: float = Field(description="renderings that failed")
    cache_errors: dict[str, float]
    cache_up: dict[str, bool]
    memory_caches: dict[str, Usage]
    disk_caches: dict[str, Usage]
    resident_bytes: float
    cpu_seconds: float
    devices: dict[str, DeviceMemory]


class Samples:
    """The samples of metrics, to be asked for by name without the namespace."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._values: dict[str, dict[Label, float]] = defaultdict(dict)
        for family in families:
            for sample in family.samples:
                self._values[sample.name.removeprefix("metaearth_")][tuple(sorted(sample.labels.items()))] = sample.value

    def total(self, name: str) -> float:
        """The sum over all labels."""
        return sum(self._values[name].values())

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums by the values of one label."""
        sums: dict[str, float] = defaultdict(float)
        for labels, value in self._values[name].items():
            sums[dict(labels)[label]] += value
        return dict(sums)

    def where(self, name: str, label: str, value: str) -> Samples:
        """Only those samples of `name` that have the label's value."""
        kept = Samples(())
        kept._values[name] = {labels: number for labels, number in self._values[name].items() if (label, value) in labels}
        return kept

    def timing(self, name: str) -> Timing:
        """A histogram's count and sum, over all labels."""
        return Timing(count=self.total(f"{name}_count"), seconds=self.total(f"{name}_sum"))

    def labels(self, name: str) -> dict[str, str]:
        """The labels of the first sample."""
        return dict(next(iter(self._values[name]), ()))


def read_stats(metrics: Metrics) -> Stats:
    """The figures of this moment."""
    samples = Samples(metrics.families())
    by = samples.by
    zooms = by("tiles_total", "zoom")
    unmodified = samples.where("requests_total", "status", "304").by("requests_total", "zoom")
    devices = {kind: by(f"device_memory_{kind}_bytes", "device") for kind in ("used", "reserved", "free", "total")}

    def usage(kind: str) -> dict[str, Usage]:
        limits = by(f"{kind}_cache_limit_bytes", "cache")
        kept = by(f"{kind}_cache_bytes", "cache")
        return {name: Usage(bytes=kept.get(name, 0), limit=limit) for name, limit in limits.items()}

    return Stats(
        time=time.time(),
        started=samples.total("process_start_time_seconds"),
        build=samples.labels("build_info"),
        workers=samples.total("workers"),
        requests=by("requests_total", "status"),
        tiles=by("tiles_total", "tier"),
        zooms=[zooms.get(zoom, 0) + unmodified.get(zoom, 0) for zoom in ZOOMS],
        request=samples.timing("request_seconds"),
        wait=samples.timing("wait_seconds"),
        render=samples.timing("render_seconds"),
        encode=samples.timing("encode_seconds"),
        queue=by("queue_depth", "class"),
        blocks=samples.total("blocks_generated_total"),
        evaluations=samples.total("network_evaluations_total"),
        dropped=by("dropped_total", "reason"),
        refused=by("refused_total", "reason"),
        failures=samples.total("render_failures_total"),
        cache_errors=by("cache_errors_total", "cache"),
        cache_up={name: value > 0 for name, value in by("cache_up", "cache").items()},
        memory_caches=usage("memory"),
        disk_caches=usage("disk"),
        resident_bytes=samples.total("process_resident_memory_bytes"),
        cpu_seconds=samples.total("process_cpu_seconds_total"),
        devices={
            name: DeviceMemory(**{kind: values.get(name, 0) for kind, values in devices.items()}) for name in devices["total"]
        },
    )


def admin_router(metrics: Metrics) -> APIRouter:
    """`/admin` and `/admin/stats`, GET and HEAD: answered by the event loop alone."""
    router = APIRouter(tags=["operation"])
    no_store = {"cache-control": "no-store"}

    async def page() -> Response:
        """Live figures of the server as a page."""
        return FileResponse(VIEWER / "admin.html", media_type="text/html", headers={"cache-control": "no-cache"})

    async def stats(response: Response) -> Stats:
        """The figures of the page: totals since the start, and what is held at present (docs/monitoring.md)."""
        response.headers.update(no_store)
        return read_stats(metrics)

    html: dict[int | str, dict[str, Any]] = {
        200: {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}},
        **responses(405),
    }
    add = router.add_api_route
    add("/admin", page, methods=["GET"], responses=html, response_class=Response, operation_id="getAdmin")
    add("/admin/stats", stats, methods=["GET"], responses=responses(405), operation_id="getStats")
    add("/admin", page, methods=["HEAD"], include_in_schema=False)
    add("/admin/stats", stats, methods=["HEAD"], include_in_schema=False)
    return router

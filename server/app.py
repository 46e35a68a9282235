"""The application: parts made from settings, put together in one place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import IO

from fastapi import FastAPI
from starlette.types import ASGIApp

from cache import SharedBlocks
from model import Planet, open_planet
from server.admin import admin_router
from server.bbox import bbox_router
from server.caches import Caches
from server.cors import CorsMiddleware, CorsPolicy
from server.encode import Encoder
from server.errors import add_error_handlers
from server.exports import export_jobs, exports_router, running
from server.fastpath import FastPath, ReadyTiles
from server.health import Readiness, health_router
from server.keys import ApiKeys
from server.limits import Guard, Limits
from server.limits_rate import TokenBuckets, bucket_file
from server.limits_refusal import declare_refusals
from server.logs_requests import LoggedFastPath, RequestLog
from server.metrics import Metrics
from server.metrics_figures import Figures
from server.metrics_requests import RequestMetrics, metrics_router
from server.ogc import describe, ogc_router, tile_resolver
from server.proxies import ProxyMiddleware, ProxyPolicy
from server.render_queue import RenderQueue
from server.render_turn import RenderTurn
from server.renderer import TileRenderer
from server.security import SecurityHeaders
from server.settings import MIB, Settings
from server.tile_store import TileStore
from server.tilejson import VERSION, tilejson_router
from server.tiles import tile_router
from server.tms import tms_resolver, tms_router
from server.traces import RequestTraces, open_traces
from server.viewer_pages import add_viewer
from server.wms import wms_router
from server.wmts import wmts_router
from server.wmts_tiles import WmtsTiles

DESCRIPTION = """Map tiles of a synthetic Earth, zoom 0 to 20, made by a self-cascading diffusion model.

No tile beyond zoom 4 is a record of any real place. Every error answers `{"detail": "one sentence"}`."""


def planet_from_settings(settings: Settings, blocks: SharedBlocks | None) -> Planet:
    """Opens the planet that `settings` name, with `blocks` behind its memory; raises `ModelError`."""
    return open_planet(
        settings.planet,
        settings.seed,
        steps=settings.steps,
        weights=settings.weights,
        device=settings.device,
        precision=settings.precision,
        cache_dir=settings.cache_dir,
        store=blocks,
        memory_bytes=settings.block_memory_mb * MIB,
    )


# How long what was rendered may take to be encoded and kept when the server stops.
DRAIN_S = 2.0


def render_turns(settings: Settings) -> Callable[[], AbstractContextManager[object]]:
    """What workers that share a device enter to render; a process by itself needs none."""
    return RenderTurn(settings.cache_dir, settings.render_slots) if settings.workers > settings.render_slots else nullcontext


def create_app(
    settings: Settings, planet: Planet | None = None, buckets: IO[bytes] | None = None, *, run_exports: bool = True
) -> FastPath:
    """The ASGI application; `.api` of its `FastPath` is the FastAPI application behind.

    With a `planet` given, its own block store stays what it is; else one is opened. `buckets` is the file of
    `server.limits_rate.bucket_file` that workers share. Raises `CacheError`, `ModelError` and `SettingsError`.

    Without `run_exports` it works on no export job: those are the server's, which may run beside this process.
    """
    keys = ApiKeys.from_settings(settings)
    shares = TokenBuckets(buckets or bucket_file(), settings.rate_limit, settings.rate_burst) if settings.rate_limit else None
    caches = Caches.open(settings)
    metrics, traces = Metrics(), open_traces(settings)
    if planet is None:
        planet = planet_from_settings(settings, caches.blocks)
    encoder = Encoder.from_settings(settings)
    cors = CorsPolicy(settings.cors_origins)
    seeds = encoder.etag_seed(planet.identity)
    ready = ReadyTiles(settings.tile_memory_mb * MIB, seeds, settings.max_age, cors, private=bool(keys))
    metatile = settings.metatile or (2 if planet.compute.device.type == "cuda" else 1)
    store = TileStore(ready, planet.identity, caches.tiles, None if caches.redis is None else caches.redis.tiles)
    queue = RenderQueue(settings.queue_limit, settings.bulk_limit, render_turns(settings))
    renderer = TileRenderer(planet, encoder, store, metatile, settings.encoder_threads, queue, metrics, traces)
    readiness = Readiness(renderer, [caches.fault])
    exports = export_jobs(settings, planet, renderer)
    figures = Figures(metrics, planet, ready.counts)
    figures.memory_cache("tiles", ready.lru)
    figures.disk_cache("tiles", caches.tiles)
    figures.disk_cache("blocks", caches.block_disk)
    if caches.redis is not None:
        figures.redis(caches.redis)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with figures.kept(), running(exports) if run_exports else nullcontext():
            yield
            renderer.stop()
        await renderer.drain(DRAIN_S)
        renderer.close()
        if shares is not None:
            shares.close()
        await caches.aclose()
        caches.close()
        traces.close()

    api = FastAPI(title="MetaEarth Tiles", description=DESCRIPTION, version=VERSION, lifespan=lifespan)
    api.state.settings, api.state.planet, api.state.renderer = settings, planet, renderer
    api.state.readiness, api.state.caches = readiness, caches
    api.state.metrics = metrics
    add_error_handlers(api)
    api.include_router(health_router(planet, readiness))
    if settings.metrics:
        api.include_router(metrics_router(metrics))
        api.include_router(admin_router(metrics))
    api.include_router(tilejson_router(settings, planet))
    api.include_router(ogc_router(settings, planet, renderer, ready, encoder))
    describe(api, lambda document: declare_refusals(document, settings, keys=bool(keys)))
    api.include_router(exports_router(settings, planet, exports))
    add_viewer(api)
    wmts_tiles = WmtsTiles(planet.name)
    api.include_router(bbox_router(settings, planet, renderer, encoder))
    api.include_router(wms_router(settings, planet, renderer, encoder))
    api.include_router(wmts_router(settings, planet, renderer, wmts_tiles))
    api.include_router(tms_router(settings, planet, renderer))
    api.include_router(tile_router(renderer, planet.name))
    proxies = ProxyPolicy(settings)
    guard = Guard(settings, proxies, keys, shares)
    limits = Limits(ProxyMiddleware(api, proxies), settings, proxies, shares)
    figures.refusals(limits.refused)
    api.state.limits = limits
    inside: ASGIApp = CorsMiddleware(SecurityHeaders(limits, settings, private=bool(keys)), cors)
    inside = RequestMetrics(inside, metrics)
    if settings.traces:
        inside = RequestTraces(inside, traces)
    guarding = guard if guard.needed else None
    if settings.access_log:
        application: FastPath = LoggedFastPath(inside, ready, planet.name, api, proxies, guarding)
    else:
        application = FastPath(RequestLog(inside, lines=False), ready, planet.name, api, proxies, guarding)
    if caches.redis is not None:
        application.add_tier(store.fetch)
    application.add_alias("/tms", tms_resolver(planet.name))
    application.add_alias("/wmts", wmts_tiles.resolve)
    for prefix in ("/tiles", "/map", "/collections"):
        application.add_alias(prefix, tile_resolver(planet.name))
    return application

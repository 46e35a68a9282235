"""From a tile's key to its bytes: the caches, then one rendering for all who ask, then encoding, off the event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cache import SingleFlight, outcome, run_in
from model import Planet
from model.errors import ModelError
from server.crs84 import crs84_tile
from server.encode import Encoder
from server.errors import RenderError
from server.fastpath import ReadyTile
from server.limits_rate import charge
from server.metrics import Metrics, Tier
from server.metrics_queue import QueueMetrics
from server.render_queue import STOPPING, Priority, RenderQueue, step_back
from server.tile_store import Body, Made, TileStore
from server.tilekey import CRS84, TileKey
from server.traces import Traces

logger = logging.getLogger(__name__)

T = TypeVar("T")


class TileRenderer:
    """Makes tiles ready. Two kinds of threads: one that renders, behind `queue`, and those that encode.

    The planet is called from a single thread, for its convolutions use all cores already. `metatile` tiles a
    side are rendered at one go and split. All coroutines must run in one event loop.
    """

    def __init__(
        self,
        planet: Planet,
        encoder: Encoder,
        store: TileStore,
        metatile: int,
        encoder_threads: int,
        queue: RenderQueue,
        metrics: Metrics,
        traces: Traces,
    ) -> None:
        self.queue = queue
        self._planet = planet
        self._encoder = encoder
        self.store = store
        self._metatile = metatile
        self._metrics, self._traces = metrics, traces
        queue.observe(QueueMetrics(metrics, Priority, queue.depth))
        self._tiles: SingleFlight[ReadyTile] = SingleFlight()
        self._metatiles: SingleFlight[tuple[Made, Tier]] = SingleFlight()
        self._encode_pool = ThreadPoolExecutor(encoder_threads, "encode", initializer=step_back)

    async def tile(self, key: TileKey) -> ReadyTile:
        """The tile `key`, ready to be sent.

        Raises:
            RenderError: if it cannot be rendered at present, `QueueFullError` among them.
            RateLimitError: if it must be rendered, and the client has asked for too much.
            ModelError: what the planet raises.
        """
        tile = self.store.ready.get(key.path)
        if tile is not None:
            self._metrics.tiles.labels("memory", key.zoom).inc()
            return tile
        tier: Tier = "coalesced"

        async def load() -> ReadyTile:
            nonlocal tier
            tile, tier = await self._load(key)
            return tile

        try:
            with self.queue.waiting(self._corner(key).path):
                tile = await self._tiles.do(key.path, load)
            self._metrics.tiles.labels(tier, key.zoom).inc()
            return tile
        except RuntimeError as error:  # what an executor raises that takes no more work
            if not self.stopping:
                raise
            raise RenderError(STOPPING) from error

    async def work(self, function: Callable[[Planet], T], name: str) -> T:
        """`function` of the planet, in the thread that renders, in turn with tiles; `name` says in the log what it was.

        For what is no tile: boxes, exports. Long work comes in pieces of about a second, so that tiles find their turn.

        Raises:
            RenderError: if it cannot be rendered at present.
            ModelError: what the planet raises.
        """
        work = self._watched(None, lambda: self._guarded(lambda: function(self._planet), name))
        return await outcome(self.queue.submit_bulk(work))

    @property
    def stopping(self) -> bool:
        """Whether it takes no more work, for the server ends."""
        return self.queue.stopping

    def stop(self) -> None:
        """Gives up what is queued, whose requests get a `RenderError`; what has begun goes on."""
        self.queue.stop()

    async def drain(self, seconds: float) -> None:
        """After `stop`: has what was rendered encoded and kept, for at most so long."""
        end = asyncio.get_running_loop().time() + seconds
        while len(self._metatiles) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)

    def close(self) -> None:
        """As `stop`, and waits for what has begun."""
        self.queue.close()
        self._encode_pool.shutdown(cancel_futures=True)
        self.store.close()

    async def _load(self, key: TileKey) -> tuple[ReadyTile, Tier]:
        with self._traces.span("cache lookup", zoom=key.zoom) as span:
            found = await self.store.find([key])
            span["found"] = key in found
        if key in found:
            return found[key]
        corner = self._corner(key)
        made, tier = await self._metatiles.do(corner.path, lambda: self._make(corner))
        return made[key], tier

    async def _make(self, corner: TileKey) -> tuple[Made, Tier]:
        keys = self._metatile_keys(corner)
        if len(keys) > 1:
            # Another tile's request may have made all of them since this one looked for its own.
            found = await self.store.find(keys)
            if len(found) == len(keys):
                return {key: tile for key, (tile, _) in found.items()}, "coalesced"
        tier: Tier = "coalesced"  # unless it is this server that makes them

        async def encoded() -> dict[TileKey, Body]:
            nonlocal tier
            tier = "rendered"
            return await self._encoded(corner, keys)

        return await self.store.once(keys, encoded), tier

    async def _encoded(self, corner: TileKey, keys: list[TileKey]) -> dict[TileKey, Body]:
        charge()
        watched = self._watched(corner.zoom, lambda: self._render(corner))
        pixels = await outcome(self.queue.submit_tile(corner.path, watched))
        return await run_in(self._encode_pool, lambda: self._encode(keys, pixels))

    def _corner(self, key: TileKey) -> TileKey:
        """The first tile of the metatile of `key`."""
        size = self._tiles_a_side(key)
        return replace(key, x=key.x // size * size, y=key.y // size * size)

    def _watched(self, zoom: int | None, render: Callable[[], T]) -> Callable[[], T]:
        """`render` with its time measured and traced, from now, when it is queued; for the thread that renders.

        What it logs there has the identifier of the request that asks now.
        """
        queued = time.perf_counter()

        def work() -> T:
            named = {} if zoom is None else {"zoom": zoom}
            self._traces.past("queue", time.perf_counter() - queued, **named)
            before = self._planet.evaluations
            with self._metrics.rendering(zoom), self._traces.span("render", **named) as span:
                try:
                    return render()
                finally:
                    span["evaluations"] = (self._planet.evaluations - before) * self._planet.steps

        context = copy_context()
        return lambda: context.run(work)

    def _metatile_keys(self, corner: TileKey) -> list[TileKey]:
        side = self._side(corner)
        return [replace(corner, x=corner.x + column, y=corner.y + row) for row in range(side) for column in range(side)]

    def _tiles_a_side(self, key: TileKey) -> int:
        """Tiles a side of a metatile of such tiles: as many pixels, whatever the size of a tile."""
        if key.grid == CRS84:
            return 1
        return max(1, self._metatile // key.scale)

    def _side(self, corner: TileKey) -> int:
        """Tiles a side of this metatile: at low zooms the whole world is less than one metatile."""
        return min(self._tiles_a_side(corner), 1 << corner.zoom)

    def _render(self, corner: TileKey) -> NDArray[np.uint8]:
        if corner.grid == CRS84:
            return self._guarded(lambda: crs84_tile(self._planet, corner.zoom, corner.x, corner.y), corner.path)
        side = self._side(corner) * corner.size
        zoom, x, y = corner.window
        read = self._planet.read
        return self._guarded(lambda: read(zoom, x, y, side, side), corner.path)

    def _guarded(self, function: Callable[[], T], name: str) -> T:
        try:
            return function()
        except ModelError:
            raise
        except Exception as error:
            # Memory of the device or the machine that has run out, most of all; another request may well
            # succeed.
            logger.exception("rendering %s failed", name)
            self._metrics.failures.inc()
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise RenderError(f"The tile could not be rendered ({reason}); try again in a few seconds.") from error

    def _encode(self, keys: list[TileKey], pixels: NDArray[np.uint8]) -> dict[TileKey, Body]:
        """Splits and encodes."""
        first, bodies = keys[0], {}
        side = first.size
        for key in keys:
            top, left = (key.y - first.y) * side, (key.x - first.x) * side
            tile = np.ascontiguousarray(pixels[top : top + side, left : left + side])
            solid = bool((tile == tile[0, 0]).all())
            timed = self._metrics.encode_seconds.labels(key.extension).time()
            with self._traces.span("encode", format=key.extension), timed:
                bodies[key] = Body(self._encoder.encode(tile, key.extension), solid)
        return bodies

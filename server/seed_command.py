"""`metaearth seed`: tiles made before anybody asks for them; what the cache has is skipped, so that it resumes by itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from tqdm import tqdm

from cache import CacheError
from model.errors import ModelError
from server.app import create_app, planet_from_settings
from server.encode import Encoder
from server.errors import RenderError
from server.export_estimate import Rates
from server.failures import BadOptionError, CommandError
from server.quantities import byte_text, time_text
from server.seed_plan import SeedPlan
from server.seed_source import BusyError, LocalTiles, RemoteTiles, TileSource
from server.settings import MIB, Settings
from server.tilekey import TileKey

# Keys in one question to the cache.
BATCH = 500
TRIES = 6
FIRST_WAIT_SECONDS = 0.5
# More tiles than that are not looked up before they are begun with; it would take minutes.
MOST_LOOKED_UP = 1_000_000
RESUME = "the same command goes on where this one was"
TOO_SMALL = (
    "The cache does not keep what is seeded: {0} of the tiles made are gone. It is full or cannot be written; "
    "give it more room (METAEARTH_TILE_DISK_MB, or Redis' maxmemory), or seed less."
)


class Seeding:
    """One run over the tiles of `plan`, at most `concurrency` of them under way at a time."""

    def __init__(self, plan: SeedPlan, source: TileSource, concurrency: int, bar: Any) -> None:
        self._plan, self._source, self._concurrency, self._bar = plan, source, concurrency, bar
        self.made = self.kept = self.size = 0
        self.failures: list[str] = []
        # Made, and not yet looked for in the cache; and the first of all, which a cache that is too small forgets first.
        self._unproven: list[TileKey] = []
        self._first: list[TileKey] = []

    async def run(self) -> None:
        """Makes all that is not there; raises `CommandError` and `ModelError` for what ends a run."""
        queue: asyncio.Queue[TileKey | None] = asyncio.Queue(self._concurrency)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._concurrency):
                    group.create_task(self._work(queue))
                await self._feed(queue)
        except* (CacheError, CommandError, ModelError) as errors:
            raise errors.exceptions[0] from None
        await self._prove()

    async def _feed(self, queue: asyncio.Queue[TileKey | None]) -> None:
        for keys in batches(self._plan.keys()):
            found = await self._source.stored(keys) or set()
            if found:
                self.kept += len(found)
                self._bar.initial += len(found)  # what costs nothing says nothing about the rate
                self._bar.update(len(found))
            for key in keys:
                if key not in found:
                    await queue.put(key)
        for _ in range(self._concurrency):
            await queue.put(None)

    async def _work(self, queue: asyncio.Queue[TileKey | None]) -> None:
        while (key := await queue.get()) is not None:
            try:
                self.size += await self._made(key)
            except RenderError as error:
                self.failures.append(f"{key.path}: {error}")
                if not self.made and len(self.failures) >= self._concurrency:
                    raise CommandError(str(error)) from error
                continue
            self.made += 1
            self._bar.update(1)
            self._unproven.append(key)
            if len(self._unproven) >= BATCH:
                await self._prove()

    async def _made(self, key: TileKey) -> int:
        """Tries again, with pauses, what may pass."""
        for attempt in range(TRIES - 1):
            try:
                return await self._source.make(key)
            except RenderError as error:
                wait = FIRST_WAIT_SECONDS * 2**attempt
                await asyncio.sleep(max(wait, error.seconds) if isinstance(error, BusyError) else wait)
        return await self._source.make(key)

    async def _prove(self) -> None:
        """Whether what was made is there, for a cache says nothing when it cannot write."""
        keys, self._unproven = self._unproven, []
        self._first = self._first or keys
        asked = list(dict.fromkeys([*self._first, *keys]))
        found = await self._source.stored(asked)
        if found is not None and len(found) < len(asked):
            raise CommandError(TOO_SMALL.format(len(asked) - len(found)))


def seed_tiles(settings: Settings, plan: SeedPlan, concurrency: int, *, dry_run: bool) -> str:
    """Seeds the caches that `settings` name, or with `dry_run` only looks at them; returns a line about it.

    Raises `CommandError`, `CacheError` and `ModelError`.
    """
    if dry_run:
        # Blocks of the sample go nowhere: a dry run changes no cache.
        planet = planet_from_settings(settings, None)
        return asyncio.run(_described(settings, plan, create_app(settings, planet, run_exports=False)))
    application = create_app(settings, run_exports=False)
    renderer = application.api.state.renderer
    if not renderer.store.keeps:
        raise BadOptionError("There is no cache to seed: METAEARTH_TILE_DISK_MB is 0, and METAEARTH_CACHE_URL names no Redis.")

    async def run() -> str:
        async with application.api.router.lifespan_context(application.api):
            return await _seeded(plan, LocalTiles(renderer), concurrency)

    return asyncio.run(run())


def seed_server(address: str, headers: dict[str, str], plan: SeedPlan, concurrency: int, *, dry_run: bool) -> str:
    """Has a running server make the tiles, whatever its caches are; returns a line about it. Raises `CommandError`."""
    source = RemoteTiles(address, headers, concurrency)
    if dry_run:
        return f"{_what(plan)}; how large and how long, the server at {address} knows"
    try:
        return asyncio.run(_seeded(plan, source, concurrency))
    finally:
        source.close()


async def _seeded(plan: SeedPlan, source: TileSource, concurrency: int) -> str:
    begin = time.perf_counter()
    with tqdm(total=plan.tiles, unit="tile", desc="seed", smoothing=0.05) as bar, _stop_on_signals() as stopped:
        seeding = Seeding(plan, source, concurrency, bar)
        try:
            await seeding.run()
        except asyncio.CancelledError as error:
            if not stopped():
                raise
            done = seeding.made + seeding.kept
            raise CommandError(f"Stopped with {done:,} of {plan.tiles:,} tiles in the cache; {RESUME}.") from error
    seconds = time.perf_counter() - begin
    if seeding.failures:
        raise CommandError(
            f"{len(seeding.failures):,} of {plan.tiles:,} tiles could not be made, such as {seeding.failures[0]} "
            "The same command tries them again."
        )
    rate = f", {seeding.made / seconds:.1f} a second" if seeding.made else ""
    return (
        f"{plan.tiles:,} tiles: {seeding.made:,} made ({byte_text(seeding.size)}{rate}), "
        f"{seeding.kept:,} were in the cache already"
    )


async def _described(settings: Settings, plan: SeedPlan, application: Any) -> str:
    renderer, planet = application.api.state.renderer, application.api.state.planet
    async with application.api.router.lifespan_context(application.api):
        rates = Rates(settings.cache_dir / "exports" / "rates.json", planet.identity)
        size, seconds = await asyncio.to_thread(plan.estimate, planet, Encoder.from_settings(settings), rates)
        parts = [f"{_what(plan)}, about {byte_text(size)} and {time_text(seconds)} with nothing cached"]
        if plan.tiles <= MOST_LOOKED_UP:
            found = 0
            for keys in batches(plan.keys()):
                found += len(await renderer.store.stored(keys))
            parts.append(f"{found:,} are cached")
    if settings.cache_url is None and renderer.store.keeps and size > settings.tile_disk_mb * MIB:
        parts.append(f"the cache holds {settings.tile_disk_mb} MiB: raise METAEARTH_TILE_DISK_MB or seed less")
    return "; ".join(parts)


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Cancels the present task at Ctrl+C and SIGTERM; gives a function that says whether one has come."""
    task, loop, came = asyncio.current_task(), asyncio.get_running_loop(), []

    def stop() -> None:
        came.append(True)
        if task is not None:
            task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):  # not in the main thread, as in a test
        for number in numbers:
            loop.add_signal_handler(number, stop)
    try:
        yield lambda: bool(came)
    finally:
        for number in numbers:
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.remove_signal_handler(number)


def batches(keys: Iterator[TileKey]) -> Iterator[Sequence[TileKey]]:
    """`keys` in lists of `BATCH`."""
    while batch := list(islice(keys, BATCH)):
        yield batch


def _what(plan: SeedPlan) -> str:
    first, last = plan.area.minzoom, plan.area.maxzoom
    zooms = f"zoom {first}" if first == last else f"zooms {first} to {last}"
    sizes = " and ".join(f"{256 * scale} px" for scale in plan.scales)
    return f"{plan.tiles:,} tiles at {zooms} ({', '.join(plan.formats)}; {sizes})"

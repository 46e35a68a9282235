"""`metaearth cache`: what the caches hold, emptying them, and reading every entry to see whether it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cache import CacheError, DiskCache
from server.caches import Caches
from server.failures import BadOptionError, CommandError
from server.settings import MIB, Settings

if TYPE_CHECKING:
    from cache.redis_care import RedisCare, RedisFacts

KINDS = {"t": "tiles", "b": "blocks", "c": "solid tiles' contents"}


@dataclass(frozen=True)
class Selection:
    """Which entries: of a planet whose identity begins with `identity`, of zooms `minzoom` to `maxzoom`; None for any."""

    identity: str | None = None
    minzoom: int | None = None
    maxzoom: int | None = None

    @property
    def wanted(self) -> Callable[[str], bool] | None:
        """A test of names as `TileKey.store_name` and the planet's blocks have them; None if all are meant."""
        if self == Selection():
            return None
        return self._has

    def _has(self, name: str) -> bool:
        identity, _, rest = name.partition("/")
        zoom = rest.lstrip("{").partition("/")[0]
        if not zoom.isdecimal() or not identity.startswith(self.identity or ""):
            return False
        low = 0 if self.minzoom is None else self.minzoom
        return low <= int(zoom) and (self.maxzoom is None or int(zoom) <= self.maxzoom)


def cache_info(settings: Settings) -> str:
    """Lines about every tier: entries, bytes, bounds, hits, and what should be changed."""
    lines = [f"disk       {settings.cache_dir}"]
    bounds = {"tiles": settings.tile_disk_mb, "blocks": settings.block_disk_mb}
    with _disks(settings) as disks:
        for name, disk in disks.items():
            if disk is None:
                lines.append(f"  {name:<8} switched off")
            else:
                used = f"{disk.bytes / MIB:.1f} of {bounds[name]} MiB"
                lines.append(f"  {name:<8} {len(disk)} entries, {used}; {disk.contents} contents, {disk.path.name}")
    if settings.cache_url is None:
        return "\n".join([*lines, "redis      none (METAEARTH_CACHE_URL is not set)"])
    with _redis(settings) as redis:
        facts, held = redis.facts(), redis.holdings()
    lines.append(f"redis      {_shown(settings)}, version {facts.version}")
    for kind, name in KINDS.items():
        lines.append(f"  {name}: {held.entries[kind]} entries, {held.bytes[kind] / MIB:.1f} MiB")
    bound = f"of {facts.maxmemory / MIB:.0f} MiB" if facts.maxmemory else "without a bound"
    lines.append(f"  memory: {facts.used / MIB:.1f} MiB {bound}, policy {facts.policy}")
    asked = facts.hits + facts.misses
    share = f", {100 * facts.hits / asked:.0f} %" if asked else ""
    lines.append(f"  hits: {facts.hits} of {asked} look-ups since it started{share}")
    return "\n".join(lines + [f"  advice: {sentence}" for sentence in _advice(facts)])


def purge(settings: Settings, selection: Selection, *, really: bool) -> str:
    """Deletes what is selected on every tier; not `really`, it only says how much that is, as a `CommandError`."""
    if (selection.minzoom or 0) > (20 if selection.maxzoom is None else selection.maxzoom):
        raise BadOptionError(f"--minzoom {selection.minzoom} is above --maxzoom {selection.maxzoom}.")
    counts = []
    wanted = selection.wanted
    with ExitStack() as open_caches:
        # Both are opened before either loses anything.
        disks = open_caches.enter_context(_disks(settings))
        redis = open_caches.enter_context(_redis(settings)) if settings.cache_url is not None else None
        for name, disk in disks.items():
            if disk is not None:
                doomed = [key for key in disk.keys() if wanted is None or wanted(key)]  # noqa: SIM118
                counts.append(f"{len(doomed)} {name} on disk")
                if really:
                    disk.delete_many(doomed)
        if redis is not None:
            counts.append(f"{redis.purge(wanted, really=really)} tiles and blocks in {_shown(settings)}")
    what = ", ".join(counts) or "nothing, for all caches are switched off"
    if not really:
        raise CommandError(f"This deletes {what}; add --yes to do it.")
    return f"deleted {what}; servers that run keep what they have in memory"


def verify(settings: Settings) -> str:
    """Reads every entry of every tier and drops the damaged ones; a line for each tier."""
    lines = []
    with _disks(settings) as disks:
        for name, disk in disks.items():
            if disk is not None:
                keys = disk.keys()
                damaged = sum(disk.get(key, note=False) is None for key in keys)
                state = "" if disk.sound() else "; SQLite finds its file damaged: delete it"
                lines.append(f"{disk.path}: {len(keys)} {name} read, {damaged} damaged and dropped{state}")
    if settings.cache_url is not None:
        with _redis(settings) as redis:
            read, dropped = redis.verify()
        lines.append(f"{_shown(settings)}: {read} entries read, {dropped} damaged and dropped")
    return "\n".join(lines) or "nothing to verify: all caches are switched off"


def _advice(facts: RedisFacts) -> list[str]:
    advice = []
    if not facts.maxmemory:
        advice.append("set maxmemory, or it grows until the machine has no memory left (CONFIG SET maxmemory 2gb)")
    if not facts.policy.startswith("allkeys-"):
        advice.append(f"set maxmemory-policy allkeys-lru; with {facts.policy} it takes no new entries once it is full")
    return advice


@contextmanager
def _disks(settings: Settings) -> Iterator[dict[str, DiskCache | None]]:
    bounds = {"tiles": settings.tile_disk_mb, "blocks": settings.block_disk_mb}
    disks: dict[str, DiskCache | None] = {}
    try:
        for name, path in Caches.paths(settings).items():
            disks[name] = DiskCache(path, bounds[name] * MIB) if bounds[name] else None
        yield disks
    finally:
        for disk in disks.values():
            if disk is not None:
                disk.close()


@contextmanager
def _redis(settings: Settings) -> Iterator[RedisCare]:
    from cache.redis_care import RedisCare
    from cache.redis_url import RedisTarget

    if settings.cache_url is None:
        raise CacheError("There is no shared cache; set METAEARTH_CACHE_URL.")
    care = RedisCare(RedisTarget.parse(settings.cache_url))
    try:
        yield care
    finally:
        care.close()


def _shown(settings: Settings) -> str:
    from cache.redis_url import without_password

    return without_password(settings.cache_url or "")

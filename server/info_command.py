"""`metaearth info`: what computes here, with what, and what the caches hold."""

from __future__ import annotations

from server.app import planet_from_settings
from server.caches import Caches
from server.settings import Settings


def describe(settings: Settings) -> str:
    """Lines for people; raises `CacheError` and `ModelError` as `serve` would."""
    caches = Caches.open(settings)
    try:
        info = planet_from_settings(settings, None).info()
        lines = [
            f"planet     {info.name}, seed {info.seed}, identity {info.identity}",
            f"device     {info.device}",
            f"precision  {info.precision}",
            f"sampler    {info.steps} steps, blocks of {info.block} px, halo {info.halo} px",
            f"weights    {info.weights} (SHA-256 {info.weights_hash[:16]}...)",
            f"cache      {settings.cache_dir}",
        ]
        bounds = {"tiles": settings.tile_disk_mb, "blocks": settings.block_disk_mb}
        for name, path in Caches.paths(settings).items():
            cache = caches.tiles if name == "tiles" else caches.block_disk
            state = (
                "switched off"
                if cache is None
                else f"{len(cache)} entries, {cache.bytes / 2**20:.1f} of {bounds[name]} MiB, {path}"
            )
            lines.append(f"  {name:<8} {state}")
        if caches.redis is not None:
            lines.append(f"  redis    {caches.redis.shown}, {'answers' if caches.redis.available else 'does not answer'}")
    finally:
        caches.close()
    return "\n".join(lines)

"""`metaearth info`: what computes here, with what, and what the caches hold."""

from __future__ import annotations

from server.app import DiskCaches, planet_from_settings
from server.settings import Settings


def describe(settings: Settings) -> str:
    """Lines for people; raises `CacheError` and `ModelError` as `serve` would."""
    disk = DiskCaches.open(settings)
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
        for name, path in DiskCaches.paths(settings).items():
            cache = getattr(disk, name)
            state = (
                "switched off"
                if cache is None
                else f"{len(cache)} entries, {cache.bytes / 2**20:.1f} of {bounds[name]} MiB, {path}"
            )
            lines.append(f"  {name:<8} {state}")
    finally:
        disk.close()
    return "\n".join(lines)

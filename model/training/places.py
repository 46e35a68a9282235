"""Places on the planet for evaluation: twelve fixed ones that people know, and others chosen by land type."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from model.grid import ground_resolution, lonlat_to_pixel, pixel_to_lonlat, world_size
from model.planet import Planet
from model.store import BLOCK, Pixels
from model.training.landtypes import land_shares, land_type

ZOOMS = (4, 6, 8, 10, 12, 14, 16, 18, 20)
"""The stages of the cascade; the odd zooms between are box means."""

_BASE_PATCH = 6
"""Side of the piece of the base picture, about 60 km a 6 px at the equator, that tells a place's land type."""
_FURTHEST = 50.0
"""Degrees of latitude within which places are chosen: beyond, a zoom's metres per pixel leave its octave."""


@dataclass(frozen=True)
class Place:
    """A place by name, in degrees, with the land type that the base picture has there."""

    name: str
    lon: float
    lat: float
    land: str

    def corner(self, zoom: int) -> tuple[int, int]:
        """(x, y) of the canonical block of ``zoom`` that holds the place; below zoom 5, of a block's size around it."""
        x, y = (int(value) for value in lonlat_to_pixel(self.lon, self.lat, zoom))
        if zoom <= 4:
            return x - BLOCK // 2, y - BLOCK // 2
        return x - x % BLOCK, y - y % BLOCK

    def metres(self, zoom: int) -> float:
        """Ground resolution there."""
        return float(ground_resolution(zoom, int(lonlat_to_pixel(self.lon, self.lat, zoom)[1])))


_FIXED = {
    "Sahara": (9.0, 24.6),
    "Amazon": (-63.2, -4.6),
    "Alps": (7.85, 46.35),
    "Po valley": (10.6, 45.1),
    "Dutch coast": (4.42, 52.25),
    "Siberia": (95.0, 61.5),
    "Himalaya": (86.9, 27.95),
    "Great Barrier Reef": (146.2, -18.4),
    "Nile delta": (31.1, 30.9),
    "Iowa": (-93.6, 42.1),
    "Greenland's edge": (-49.8, 67.1),
    "Open Pacific": (-150.0, 5.0),
}


def fixed_places(planet: Planet) -> list[Place]:
    """The twelve places of the zoom strips."""
    return [Place(name, lon, lat, base_land(planet, lon, lat)) for name, (lon, lat) in _FIXED.items()]


def places_by_land(planet: Planet, each: int, seed: int = 0) -> list[Place]:
    """``each`` places of every land type that the base picture shows plainly (no towns there), within 50 degrees of the
    equator, at random but the same for the same seed."""
    rng = random.Random(seed)
    size = world_size(planet.base_zoom)
    found: dict[str, list[Place]] = {name: [] for name in ("water", "forest", "fields", "bare", "snow")}
    for _ in range(6000):
        lon, lat = pixel_to_lonlat(rng.uniform(0, size), rng.uniform(0.2, 0.8) * size, planet.base_zoom)
        if abs(lat) <= _FURTHEST:
            shares = land_shares(base_patch(planet, lon, lat), 9800.0)
            land = max(shares, key=lambda name: shares[name])
            if shares[land] > 0.9 and len(found.get(land, [])) < each and land in found:
                found[land].append(Place(f"{land} {len(found[land]) + 1}", lon, lat, land))
        if all(len(places) == each for places in found.values()):
            break
    return [place for places in found.values() for place in places]


def base_land(planet: Planet, lon: float, lat: float) -> str:
    """Land type of the base picture at a place."""
    return land_type(base_patch(planet, lon, lat), 9800.0)


def base_patch(planet: Planet, lon: float, lat: float, side: int = _BASE_PATCH) -> Pixels:
    """The base picture around a place, uint8 [side, side, 3]."""
    x, y = lonlat_to_pixel(lon, lat, planet.base_zoom)
    return planet.read(planet.base_zoom, round(x) - side // 2, round(y) - side // 2, side, side)


@dataclass(frozen=True, eq=False)
class Descent:
    """A place at every stage's zoom: its canonical blocks, and the parents' pixels under them, by zoom."""

    place: Place
    blocks: dict[int, Pixels]
    parents: dict[int, Pixels]


def descend(planet: Planet, place: Place, zooms: tuple[int, ...] = ZOOMS) -> Descent:
    """Read a place at all ``zooms`` (`ZOOMS` or the first of them)."""
    blocks, parents = {}, {}
    for zoom in zooms:
        x, y = place.corner(zoom)
        blocks[zoom] = planet.read(zoom, x, y, BLOCK, BLOCK)
        if zoom > planet.base_zoom:
            parents[zoom] = planet.read(zoom - 2, x // 4, y // 4, BLOCK // 4, BLOCK // 4)
    return Descent(place, blocks, parents)


def cross_zoom(descents: list[Descent]) -> dict[str, dict[str, float]]:
    """M6 and drift by zoom: PSNR in dB of box-averaged children against their parents (45 dB is rounding only), and the mean
    colour that the levels down to there have added to the base picture's, its largest channel, in grey levels."""
    rows: dict[str, dict[str, float]] = {}
    drift = np.zeros(3)
    for zoom in sorted(descents[0].parents):
        children = np.stack([d.blocks[zoom] for d in descents]).astype(np.float64)
        parents = np.stack([d.parents[zoom] for d in descents]).astype(np.float64)
        n, side = len(children), parents.shape[1]
        error = children.reshape(n, side, 4, side, 4, 3).mean((2, 4)) - parents
        drift = drift + error.mean((0, 1, 2))
        psnr = 10 * np.log10(255**2 / max(float((error**2).mean()), 1e-9))
        rows[f"z{zoom}"] = {"M6 PSNR dB": float(psnr), "colour drift from base": float(drift[np.abs(drift).argmax()])}
    return rows

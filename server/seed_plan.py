"""A seed as it was asked for: an area, zooms, formats and sizes; how many tiles, how large and how long that is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mercantile

from model import Planet
from server.encode import EXTENSIONS, Encoder
from server.errors import TileNotFoundError
from server.export_estimate import BLOCK, Rates
from server.failures import BadOptionError
from server.seed_area import SeedArea, View, bbox_geometry, geojson_geometry
from server.tilekey import MAX_ZOOM, TILE_SIZE, TILE_SIZES, TileKey, served_extension

DEFAULT_SIZE = "1280x800"


@dataclass(frozen=True)
class SeedPlan:
    """Tiles of `area` in each of `formats` and each of `scales` (2: @2x, 512 px)."""

    area: SeedArea
    formats: tuple[str, ...]
    scales: tuple[int, ...]
    counts: tuple[int, ...]
    """Tiles of the grid that the area touches, by zoom from 0."""

    @property
    def amounts(self) -> dict[tuple[str, int], int]:
        """How many tiles there are of each format and scale."""
        return {
            (extension, scale): sum(self.counts[self.area.minzoom : MAX_ZOOM + 2 - scale])
            for extension in self.formats
            for scale in self.scales
        }

    @property
    def tiles(self) -> int:
        """All tiles, each format and size by itself."""
        return sum(self.amounts.values())

    def keys(self) -> Iterator[TileKey]:
        """The tiles, depth-first; of one place all formats, the small ones first."""
        for zoom, x, y in self.area.tiles():
            for scale in self.scales:
                if zoom + scale - 1 <= MAX_ZOOM:
                    for extension in self.formats:
                        yield TileKey(zoom, x, y, extension, scale)

    def evaluations(self, base_zoom: int) -> int:
        """Blocks to be generated for it and its ancestors when none is cached, about."""
        deepest = min(MAX_ZOOM, self.area.maxzoom + max(self.scales) - 1)
        total = 0
        for zoom in range(base_zoom + 2, deepest + deepest % 2 + 1, 2):
            known = min(zoom, self.area.maxzoom)
            total += self.counts[known] * 4 ** (zoom - known) * (TILE_SIZE // BLOCK) ** 2
        return total

    def estimate(self, planet: Planet, encoder: Encoder, rates: Rates) -> tuple[int, float]:
        """Bytes and seconds with nothing cached, from what this machine has measured of itself and a look at the area.

        Looking renders one tile at zoom 6 or less, into the caches of `planet`.
        """
        zoom = min(self.area.maxzoom, planet.base_zoom + 2)
        x, y = self._middle(zoom)
        size, seconds = 0, 0.0
        for (extension, scale), amount in self.amounts.items():
            side = TILE_SIZE * scale
            pixels = rates.read(planet, min(zoom + scale - 1, MAX_ZOOM), x * side, y * side, side, side)
            begin = time.perf_counter()
            size += amount * len(encoder.encode(pixels, extension))
            seconds += amount * (time.perf_counter() - begin)
        if not rates.known and self.area.maxzoom > planet.base_zoom:
            # What was looked at was cached already: time a block by itself.
            rates.read(planet, planet.base_zoom + 2, 0, 37 * BLOCK, BLOCK, BLOCK)
        return size, seconds + self.evaluations(planet.base_zoom) * rates.block_seconds

    def _middle(self, zoom: int) -> tuple[int, int]:
        """A tile of `zoom` in the area's middle."""
        point = self.area.geometry.representative_point()
        tile = mercantile.tile(point.x, point.y, zoom)
        return tile.x, tile.y


def make_plan(
    *,
    bbox: str | None = None,
    geojson: Path | None = None,
    view: str | None = None,
    center: str | None = None,
    zoom_view: float | None = None,
    size: str = DEFAULT_SIZE,
    zoom: int | None = None,
    minzoom: int | None = None,
    maxzoom: int | None = None,
    formats: Sequence[str] = (),
    tile_sizes: Sequence[int] = (),
) -> SeedPlan:
    """The plan that the options of `metaearth seed` ask for; raises `BadOptionError`, which names the option."""
    given = [option for option in (bbox, geojson, view, center) if option is not None]
    if len(given) != 1:
        raise BadOptionError("Say what to seed with one of --bbox, --geojson, --view and --center.")
    if zoom_view is not None and center is None:
        raise BadOptionError("--zoom-view goes with --center; the zooms to seed are --minzoom and --maxzoom.")
    shown = None
    if bbox is not None:
        geometry = bbox_geometry(bbox)
    elif geojson is not None:
        geometry = geojson_geometry(geojson)
    else:
        shown = View.parse(view, size) if view is not None else View.from_center(center or "", zoom_view, size)
        geometry = shown.geometry
    extensions = _formats(formats)
    scales = _scales(tile_sizes)
    first, last = _zooms(zoom, minzoom, maxzoom, shown, MAX_ZOOM + 1 - min(scales))
    area = SeedArea(geometry, first, last)
    return SeedPlan(area, extensions, scales, tuple(area.counts()))


def _formats(asked: Sequence[str]) -> tuple[str, ...]:
    try:
        names = [served_extension(name.strip()) for text in asked for name in text.lower().split(",")]
    except TileNotFoundError as error:
        raise BadOptionError(f"--format: {error}") from error
    return tuple(dict.fromkeys(names)) or EXTENSIONS[:1]


def _scales(asked: Sequence[int]) -> tuple[int, ...]:
    for side in asked:
        if side not in TILE_SIZES:
            raise BadOptionError(f"--tilesize must be {TILE_SIZES[0]} or {TILE_SIZES[1]}, not {side}.")
    return tuple(sorted({side // TILE_SIZE for side in asked})) or (1,)


def _zooms(zoom: int | None, minzoom: int | None, maxzoom: int | None, shown: View | None, deepest: int) -> tuple[int, int]:
    if zoom is not None and (minzoom is not None or maxzoom is not None):
        raise BadOptionError("--zoom is one zoom by itself; leave out --minzoom and --maxzoom.")
    if zoom is not None:
        minzoom = maxzoom = zoom
    if shown is not None:
        maxzoom = min(shown.tile_zoom, deepest) if maxzoom is None else maxzoom
        minzoom = min(shown.tile_zoom, maxzoom) if minzoom is None else minzoom
    if maxzoom is None:
        raise BadOptionError("Say how deep to seed with --maxzoom (and --minzoom, 0 by default), or with --zoom.")
    first, last = minzoom or 0, maxzoom
    if not 0 <= first <= last <= deepest:
        raise BadOptionError(f"The zooms {first} to {last} must be a range within 0 to {deepest}.")
    return first, last

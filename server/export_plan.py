"""What an export is going to be: a window of Web Mercator pixels, zooms, a format; nothing of it depends on a server."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from model.grid import EARTH_CIRCUMFERENCE, MAX_LATITUDE
from server.encode import Encoder
from server.export_box import lonlat_box, mercator_window
from server.export_errors import ExportRequestError, ExportTooLargeError
from server.tilekey import MAX_ZOOM, TILE_SIZE, shorten

FORMATS = {
    "cog": ("tif", "image/tiff; application=geotiff; profile=cloud-optimized"),
    "mbtiles": ("mbtiles", "application/vnd.sqlite3"),
    "pmtiles": ("pmtiles", "application/vnd.pmtiles"),
}
TILE_FORMATS = ("png", "jpg", "webp")
MAX_PIXELS = 1 << 32
COG_TILE = 512


@dataclass(frozen=True)
class ExportPlan:
    """One export. `x, y, width, height` are pixels of `maxzoom`, x possibly beyond the antimeridian.

    `tile_format`: png (lossless; in a COG that is DEFLATE), jpg or webp, with `quality` where lossy. `bounds`:
    west, south, east, north in degrees of the window; east exceeds 180 where it crosses the antimeridian.
    `planet` names all that decides pixels: a plan of another planet is another export.
    """

    format: str
    minzoom: int
    maxzoom: int
    x: int
    y: int
    width: int
    height: int
    tile_format: str
    quality: int | None
    attribution: str
    planet: str

    @property
    def extension(self) -> str:
        """Of the file's name, without a dot."""
        return FORMATS[self.format][0]

    @property
    def media_type(self) -> str:
        """Of the file."""
        return FORMATS[self.format][1]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees."""
        world = TILE_SIZE << self.maxzoom
        west, east = (360 * column / world - 180 for column in (self.x, self.x + self.width))
        north, south = (
            math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * row / world)))) for row in (self.y, self.y + self.height)
        )
        return west, south, east, north

    @property
    def resolution(self) -> float:
        """Metres of the Web Mercator plane per pixel at `maxzoom`."""
        return EARTH_CIRCUMFERENCE / (TILE_SIZE << self.maxzoom)

    def tile_columns(self, zoom: int) -> tuple[int, int]:
        """First tile column of `zoom` and their number; the first is in the world, the last may be beyond it."""
        shift = self.maxzoom - zoom + 8
        first, last = self.x >> shift, (self.x + self.width - 1) >> shift
        return first % (1 << zoom), min(last - first + 1, 1 << zoom)

    def tile_rows(self, zoom: int) -> tuple[int, int]:
        """First tile row of `zoom` from the north, and their number."""
        shift = self.maxzoom - zoom + 8
        first, last = self.y >> shift, (self.y + self.height - 1) >> shift
        return first, last - first + 1

    @property
    def tiles(self) -> int:
        """Tiles in all: of the full resolution in a COG (512 px), of all zooms otherwise (256 px)."""
        if self.format == "cog":
            return math.ceil(self.width / COG_TILE) * math.ceil(self.height / COG_TILE)
        return sum(self.tile_columns(zoom)[1] * self.tile_rows(zoom)[1] for zoom in range(self.minzoom, self.maxzoom + 1))

    @property
    def pixels(self) -> int:
        """Pixels that are rendered."""
        return self.width * self.height if self.format == "cog" else self.tiles * TILE_SIZE * TILE_SIZE

    def encoder(self, png_level: int) -> Encoder:
        """What encodes its tiles."""
        quality = self.quality if self.quality is not None else 80
        return Encoder(png_level, quality, quality)

    def to_json(self) -> dict[str, Any]:
        """All fields, for a job's file."""
        return asdict(self)


def make_plan(
    bbox: Sequence[float],
    *,
    format: str,
    planet: str,
    attribution: str,
    bbox_crs: str | None = None,
    zoom: int | None = None,
    minzoom: int | None = None,
    maxzoom: int | None = None,
    resolution: float | None = None,
    tile_format: str | None = None,
    quality: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> ExportPlan:
    """The plan that a request asks for: the whole pixels that `bbox` touches.

    `resolution`: metres on the ground per pixel in the middle of the box; the coarsest zoom that is as fine is taken.

    Raises:
        ExportRequestError: if anything is malformed, missing or given twice; one sentence that says what to change.
        ExportTooLargeError: if the area has more than `max_pixels` pixels.
    """
    if format not in FORMATS:
        raise ExportRequestError(f"The format {shorten(str(format))} is not written; use one of {', '.join(FORMATS)}.")
    box = lonlat_box(bbox, bbox_crs)
    low, high = _zooms(format, zoom, minzoom, maxzoom, resolution, (box[1] + box[3]) / 2)
    tile_format, quality = _tile_format(tile_format, quality)
    window = mercator_window(box, high)
    if window[2] * window[3] > max_pixels:
        raise ExportTooLargeError(
            f"The area has {window[2]} x {window[3]} pixels at zoom {high}, "
            f"more than the {max_pixels} of one export; use a lower zoom or a smaller box."
        )
    return ExportPlan(format, low, high, *window, tile_format, quality, attribution, planet)


def _zooms(
    format: str, zoom: int | None, minzoom: int | None, maxzoom: int | None, resolution: float | None, latitude: float
) -> tuple[int, int]:
    ways = [zoom is not None, maxzoom is not None, resolution is not None]
    if sum(ways) != 1:
        raise ExportRequestError("Give exactly one of zoom, maxzoom (with minzoom if wanted) and resolution.")
    if zoom is not None:
        if minzoom is not None:
            raise ExportRequestError("minzoom goes with maxzoom or resolution; zoom stands alone for a single zoom.")
        minzoom = maxzoom = zoom
    if resolution is not None:
        maxzoom = zoom_of_resolution(resolution, latitude)
    assert maxzoom is not None
    if format == "cog":
        if minzoom is not None and zoom is None:
            raise ExportRequestError("A COG has one zoom and overviews of its own; leave minzoom out.")
        minzoom = maxzoom
    elif minzoom is None:
        minzoom = 0 if resolution is None else maxzoom
    for name, value in (("minzoom", minzoom), ("maxzoom", maxzoom)):
        if not 0 <= value <= MAX_ZOOM:
            raise ExportRequestError(f"The {'zoom' if zoom is not None else name} must be 0 to {MAX_ZOOM}, not {value}.")
    if minzoom > maxzoom:
        raise ExportRequestError(f"minzoom {minzoom} is above maxzoom {maxzoom}; exchange them.")
    return minzoom, maxzoom


def zoom_of_resolution(resolution: float, latitude: float) -> int:
    """The coarsest zoom with at most `resolution` metres on the ground per pixel at `latitude`, in degrees.

    Raises `ExportRequestError` if there is none.
    """
    if not (math.isfinite(resolution) and resolution > 0):
        raise ExportRequestError(f"The resolution must be a positive number of metres per pixel, not {resolution}.")
    bounded = max(-MAX_LATITUDE, min(MAX_LATITUDE, latitude))
    coarsest = EARTH_CIRCUMFERENCE / TILE_SIZE * math.cos(math.radians(bounded))
    zoom = max(0, math.ceil(math.log2(coarsest) - math.log2(resolution) - 1e-9))
    if zoom > MAX_ZOOM:
        raise ExportRequestError(
            f"The resolution {resolution:g} m is finer than zoom {MAX_ZOOM}, "
            f"which has {coarsest / (1 << MAX_ZOOM):.3g} m there; use a larger one."
        )
    return zoom


def _tile_format(tile_format: str | None, quality: int | None) -> tuple[str, int | None]:
    chosen = (tile_format or "png").lower().replace("jpeg", "jpg")
    if chosen not in TILE_FORMATS:
        raise ExportRequestError(f"The tile_format {shorten(str(tile_format))} is not one of {', '.join(TILE_FORMATS)}.")
    if chosen == "png":
        if quality is not None:
            raise ExportRequestError("PNG is lossless and takes no quality; leave it out, or choose jpg or webp.")
        return chosen, None
    if quality is None:
        return chosen, 85 if chosen == "jpg" else 80
    if not 1 <= quality <= 95:
        raise ExportRequestError(f"The quality must be 1 to 95, not {quality}.")
    return chosen, quality

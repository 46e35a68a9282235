"""Any rectangle of the planet, in any coordinate reference system, as pixels.

An `Area` is a box on a grid of pixels; `read_area` paints it, `paint` does the same in steps of about a second, and `strips`
from top to bottom in flat memory. The work is that of `server.warp`, piece by piece on a fixed grid of the area's own, so
that a pixel does not depend on how the caller goes about it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from model import Planet
from model.grid import EARTH_CIRCUMFERENCE
from server import footprint, warp
from server.errors import AreaError
from server.tilekey import shorten

MAX_SIDE = 1 << 24
"""Most pixels along one side of an area; how many may be asked for at once is for those who answer to say."""
ALIASES = {"CRS:84": 4326, "OGC:CRS84": 4326, "EPSG:900913": 3857, "EPSG:102100": 3857, "EPSG:102113": 3857}
HALF_WORLD = EARTH_CIRCUMFERENCE / 2


@dataclass(frozen=True)
class Area:
    """A box of `width` x `height` pixels.

    Bounds are in units of `crs`, always x = easting or longitude and y = northing or latitude, whatever the axis order of
    the CRS. They may be unwrapped, such as 170 to 190 degrees over the antimeridian. Pixels need not be square.

    Raises:
        AreaError: if the box is empty or inverted, a number is not finite, or a size is out of range.
    """

    crs: CRS
    minx: float
    miny: float
    maxx: float
    maxy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in self.bounds):
            raise AreaError("The bounds of a box must be finite numbers.")
        if not (self.minx < self.maxx and self.miny < self.maxy):
            raise AreaError(
                f"The box {self.minx:.15g},{self.miny:.15g},{self.maxx:.15g},{self.maxy:.15g} is empty or inverted; "
                "it must have minx < maxx and miny < maxy."
            )
        for name, value in (("width", self.width), ("height", self.height)):
            if not 1 <= value <= MAX_SIDE:
                raise AreaError(f"The {name} must be from 1 to {MAX_SIDE} pixels, not {value}.")
        # Bounds so near to one another that pixels have no size in floating point.
        if not (self.minx + self.xres > self.minx and self.maxx - self.xres < self.maxx):
            raise AreaError("The box is too narrow for that many pixels; ask for fewer, or for a wider box.")
        if not (self.miny + self.yres > self.miny and self.maxy - self.yres < self.maxy):
            raise AreaError("The box is too low for that many pixels; ask for fewer, or for a higher box.")

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """minx, miny, maxx, maxy."""
        return self.minx, self.miny, self.maxx, self.maxy

    @property
    def xres(self) -> float:
        """Width of a pixel in units of the CRS."""
        return (self.maxx - self.minx) / self.width

    @property
    def yres(self) -> float:
        """Height of a pixel in units of the CRS."""
        return (self.maxy - self.miny) / self.height

    @property
    def transform(self) -> Affine:
        """From (column, row) of pixel corners, the first row in the north, to (x, y) of the CRS."""
        return Affine(self.xres, 0.0, self.minx, 0.0, -self.yres, self.maxy)

    def window(self, column: int, row: int, width: int, height: int) -> Area:
        """The part of `width` x `height` pixels whose top left pixel is (column, row) of this area.

        Parts read with the whole's `zoom_of` and with columns and rows that are multiples of `server.warp.PIECE` have the
        pixels of the whole.
        """
        if column < 0 or row < 0 or column + width > self.width or row + height > self.height:
            raise AreaError(f"The window {width} x {height} at {column}, {row} leaves the area.")
        left, top = self.minx + column * self.xres, self.maxy - row * self.yres
        right = self.maxx if column + width == self.width else left + width * self.xres
        bottom = self.miny if row + height == self.height else top - height * self.yres
        return replace(self, minx=left, miny=bottom, maxx=right, maxy=top, width=width, height=height)

    def check_within_world(self) -> None:
        """What a person asks for should lie in the world, and show every place once.

        Raises:
            AreaError: if the box is wider than the world, leaves its poles, or shows nothing of it.
        """
        period = world_width(self.crs)
        if period is not None:
            if self.maxx - self.minx > period * (1 + 1e-9):
                raise AreaError(f"The box is wider than the world, which measures {period:.15g} in units of its CRS.")
            if self.minx >= period / 2 * (1 + 1e-9) or self.maxx <= -period / 2 * (1 + 1e-9):
                raise AreaError(
                    f"The box lies outside of the world, whose x are from {-period / 2:.15g} to {period / 2:.15g}; "
                    "one that crosses the antimeridian begins west of it."
                )
        if self.crs.is_geographic and period is not None and max(-self.miny, self.maxy) > period / 4 * (1 + 1e-9):
            raise AreaError(f"The box leaves the world: latitudes are from {-period / 4:.15g} to {period / 4:.15g}.")
        if not footprint.touches_world(self.crs, self.bounds, self.width, self.height):
            raise AreaError("The box lies outside of the world, whose pixels reach from 85.0511 S to 85.0511 N.")


@dataclass(frozen=True)
class GeoImage:
    """Pixels with their place: `pixels` uint8 [h, w, 3], RGB; `mask` uint8 [h, w], 255 where there is a planet (as far
    north and south as Web Mercator's square reaches) and 0 where there is none and the pixels are black."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    transform: Affine
    crs: CRS


def parse_crs(text: str) -> CRS:
    """The CRS that `text` names: EPSG:n, a bare EPSG code, CRS:84, OGC's URNs and URIs.

    Raises:
        AreaError: if PROJ does not know it, or if it is not a map's (geographic or projected, two axes).
    """
    name = text.strip().upper().strip("[]")
    for prefix in ("HTTPS://", "HTTP://"):
        if name.startswith(prefix + "WWW.OPENGIS.NET/DEF/CRS/"):
            authority, _, code = name.removeprefix(prefix + "WWW.OPENGIS.NET/DEF/CRS/").partition("/")
            name = f"{authority}:{code.rpartition('/')[2]}"
    if name.startswith("URN:OGC:DEF:CRS:"):
        parts = name.removeprefix("URN:OGC:DEF:CRS:").split(":")
        name = f"{parts[0]}:{parts[-1]}"
    if name.isascii() and name.isdecimal():
        name = f"EPSG:{name}"
    if name in ("OGC:84", "CRS84", "CRS:CRS84"):
        name = "CRS:84"
    authority, _, code = name.partition(":")
    number = ALIASES.get(name)
    if number is None:
        if authority != "EPSG" or not (code.isascii() and code.isdecimal() and len(code) <= 6):
            raise AreaError(f"The CRS {shorten(text)} is not known; write EPSG: and a number, such as EPSG:3857, or CRS:84.")
        number = int(code)
    try:
        crs = CRS.from_epsg(number)
        usable = crs.is_geographic or crs.is_projected
    except CRSError:
        raise AreaError(f"PROJ does not know the CRS EPSG:{number}; use another, such as EPSG:3857.") from None
    if not usable or not footprint.reaches_mercator(crs):
        raise AreaError(f"EPSG:{number} is no CRS of a map of the Earth; use a geographic or projected one.")
    return crs


def world_width(crs: CRS) -> float | None:
    """How far apart in x a place and its next copy are, or None where there are no copies."""
    if crs.is_geographic:
        return 2 * math.pi / float(crs.units_factor[1])
    return EARTH_CIRCUMFERENCE if footprint.is_mercator(crs) else None


def zoom_of(area: Area) -> int:
    """The first zoom, 0 to 20, whose pixels are at least as fine as the area's; 20 where none is."""
    return footprint.finest_zoom(area.crs, area.bounds, area.width, area.height)


def paint(planet: Planet, area: Area, zoom: int | None = None) -> Iterator[tuple[int, int, GeoImage] | None]:
    """The area piece by piece, as (column, row, image); None after about a second of work without a piece complete.

    Pieces come row by row of pieces, each from west to east. `zoom` is that of the planet's pixels, `zoom_of(area)` by
    default. Call `next` in the thread that renders; dropping the iterator gives up the rest.
    """
    zoom = zoom_of(area) if zoom is None else zoom
    for column, row, width, height in warp.pieces(area.crs, area.bounds, area.width, area.height):
        part = area.window(column, row, width, height)
        for done in warp.warp(planet, part.crs, part.bounds, width, height, zoom):
            yield None if done is None else (column, row, GeoImage(*done, part.transform, area.crs))


def strips(planet: Planet, area: Area, zoom: int | None = None) -> Iterator[tuple[int, GeoImage] | None]:
    """The area from north to south in strips of its full width, as (row, image), and None as by `paint`.

    In memory is one strip of at most `server.warp.PIECE` rows.
    """
    strip: GeoImage | None = None
    first = 0
    for done in paint(planet, area, zoom):
        if done is None:
            yield None
            continue
        column, row, piece = done
        height, width = piece.mask.shape
        if strip is None:
            first, transform = row, area.transform @ Affine.translation(0, row)
            pixels, mask = np.empty((height, area.width, 3), np.uint8), np.empty((height, area.width), np.uint8)
            strip = GeoImage(pixels, mask, transform, area.crs)
        top = row - first
        strip.pixels[top : top + height, column : column + width] = piece.pixels
        strip.mask[top : top + height, column : column + width] = piece.mask
        if column + width == area.width:
            yield first, strip
            strip = None


def read_area(planet: Planet, area: Area, zoom: int | None = None) -> GeoImage:
    """The whole area at once, for those who have a thread and the memory for it; see `paint` and `strips`."""
    pixels, mask = np.empty((area.height, area.width, 3), np.uint8), np.empty((area.height, area.width), np.uint8)
    for done in strips(planet, area, zoom):
        if done is not None:
            row, strip = done
            pixels[row : row + len(strip.pixels)] = strip.pixels
            mask[row : row + len(strip.mask)] = strip.mask
    return GeoImage(pixels, mask, area.transform, area.crs)

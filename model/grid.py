"""Web Mercator (EPSG:3857) arithmetic: world size, ground resolution, wrapped columns and mirrored rows.

Pixel coordinates are those of the XYZ tiling scheme (OGC `WebMercatorQuad`, 256 px tiles): at zoom z the
world is 256 * 2**z pixels across and down, the origin is its top left corner (180 W, 85.0511 N), x grows east
and y south. The integer pixel (x, y) covers [x, x + 1) x [y, y + 1); its centre is at (x + 0.5, y + 0.5).

Windows may leave the world: columns wrap around the antimeridian, rows are mirrored at the poles with the
border row repeated (-1 -> 0, -2 -> 1, size -> size - 1), which makes them periodic with twice the world's
height.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.errors import WindowError

TILE_SIZE = 256
MAX_ZOOM = 20
#: Equator of the WGS 84 ellipsoid in metres, 2 pi * 6378137, the circumference of the Web Mercator sphere.
EARTH_CIRCUMFERENCE = 2 * math.pi * 6378137.0
#: Latitude of the top edge of the square Web Mercator world, degrees.
MAX_LATITUDE = math.degrees(math.atan(math.sinh(math.pi)))


@dataclass(frozen=True, slots=True)
class Run:
    """A contiguous stretch of a window along one axis, in indices of the world.

    Attributes:
        start: lowest in-world index of the run.
        length: number of indices, at least 1.
        offset: where the run begins in the window, counted from the window's first pixel.
        reversed: True if the window passes through the run from its highest index down to `start`.
    """

    start: int
    length: int
    offset: int
    reversed: bool


def world_size(zoom: int) -> int:
    """Width and height of the world at `zoom` in pixels, 256 * 2**zoom.

    Raises:
        WindowError: if `zoom` is not an integer from 0 to `MAX_ZOOM`.
    """
    if isinstance(zoom, bool) or not isinstance(zoom, int | np.integer) or not 0 <= zoom <= MAX_ZOOM:
        raise WindowError(f"The zoom must be an integer from 0 to {MAX_ZOOM}, not {zoom!r}.")
    return TILE_SIZE << int(zoom)


def mirror_rows(rows: ArrayLike, size: int) -> NDArray[np.int64]:
    """In-world rows [0, size) for any integer `rows`, mirrored beyond the poles with period 2 * size."""
    phase: NDArray[np.int64] = np.mod(np.asarray(rows, dtype=np.int64), 2 * size)
    mirrored: NDArray[np.int64] = np.minimum(phase, 2 * size - 1 - phase)
    return mirrored


def wrap_columns(cols: ArrayLike, size: int) -> NDArray[np.int64]:
    """In-world columns [0, size) for any integer `cols`, wrapped around the antimeridian."""
    return np.mod(np.asarray(cols, dtype=np.int64), size)


def row_runs(start: int, length: int, size: int) -> tuple[Run, ...]:
    """Splits the rows [start, start + length) into runs of in-world rows, mirrored as by `mirror_rows`.

    The runs come in window order and their offsets and lengths tile [0, length) exactly.
    """
    runs = []
    offset = 0
    while offset < length:
        phase = (start + offset) % (2 * size)
        backwards = phase >= size
        count = min((2 * size if backwards else size) - phase, length - offset)
        first = 2 * size - phase - count if backwards else phase
        runs.append(Run(first, count, offset, backwards))
        offset += count
    return tuple(runs)


def column_runs(start: int, length: int, size: int) -> tuple[Run, ...]:
    """Splits the columns [start, start + length) into runs of in-world columns, wrapped as by `wrap_columns`.

    The runs come in window order, their offsets and lengths tile [0, length) exactly; none is reversed.
    """
    runs = []
    offset = 0
    while offset < length:
        first = (start + offset) % size
        count = min(size - first, length - offset)
        runs.append(Run(first, count, offset, False))
        offset += count
    return tuple(runs)


def ground_resolution(zoom: int, rows: ArrayLike) -> NDArray[np.float64]:
    """True ground resolution in metres per pixel at the centres of the pixel `rows` of `zoom`.

    It is the equatorial resolution times cos(latitude). In Mercator rows the latitude is the Gudermannian of
    v = pi * (1 - 2 y / size), whose cosine is 1 / cosh(v): smooth in the row and without trigonometry. `rows`
    may lie beyond the poles, where they are mirrored.

    Raises:
        WindowError: if `zoom` is not an integer from 0 to `MAX_ZOOM`.
    """
    size = world_size(zoom)
    v = np.pi * (1.0 - (2.0 * mirror_rows(rows, size) + 1.0) / size)
    return EARTH_CIRCUMFERENCE / size / np.cosh(v)


def log2_ground_resolution(zoom: int, row0: int, count: int) -> NDArray[np.float64]:
    """log2 of `ground_resolution` for the `count` rows from `row0` on: the network's guidance, [count].

    Raises:
        WindowError: if `zoom` is not an integer from 0 to `MAX_ZOOM`.
    """
    return np.log2(ground_resolution(zoom, np.arange(row0, row0 + count, dtype=np.int64)))


def lonlat_to_pixel(lon: float, lat: float, zoom: int) -> tuple[float, float]:
    """Pixel coordinates (x, y) of a longitude and latitude in degrees; the integer parts name the pixel.

    Latitudes beyond the square world are clamped to its edge, so that 0 <= y <= size; longitudes are not
    wrapped.

    Raises:
        WindowError: if `zoom` is not an integer from 0 to `MAX_ZOOM`.
    """
    size = world_size(zoom)
    phi = math.radians(min(max(lat, -MAX_LATITUDE), MAX_LATITUDE))
    y = (0.5 - math.asinh(math.tan(phi)) / (2 * math.pi)) * size
    return (lon / 360.0 + 0.5) * size, min(max(y, 0.0), float(size))


def pixel_to_lonlat(x: float, y: float, zoom: int) -> tuple[float, float]:
    """Longitude and latitude in degrees of the pixel coordinates (x, y), the inverse of `lonlat_to_pixel`.

    Raises:
        WindowError: if `zoom` is not an integer from 0 to `MAX_ZOOM`.
    """
    size = world_size(zoom)
    lat = math.degrees(math.atan(math.sinh(math.pi * (1.0 - 2.0 * y / size))))
    return (x / size - 0.5) * 360.0, lat

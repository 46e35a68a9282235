"""Where a map lies in Web Mercator, and how finely: a grid of points taken there by PROJ, and what follows from it."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS as ProjCRS
from pyproj import Transformer
from pyproj.exceptions import ProjError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform as gdal_transform

from model.grid import EARTH_CIRCUMFERENCE, MAX_ZOOM

# What GDAL allows when it chooses an overview: enlarging a little beats four times the pixels, or sixteen at odd zooms.
OVERSAMPLING = 1.2
STEP = 16
"""Most pixels between two points of the grid that measures a map, up to 32 points a side."""
Bounds = tuple[float, float, float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Footprint:
    """Where a piece lies in Web Mercator, in worlds (1 = its side): x from `centre`, itself from 180 W, y from the north.

    `x`, `y`: [rows, columns] of the points, NaN where there is no such place; `step` pixels between two points. `finest`:
    worlds per pixel where and in which direction the pixels are smallest (its lowest twentieth left out). `scale`: worlds
    per pixel along x and y, typically; `uneven`: how much they vary, largest by smallest.
    """

    x: Floats
    y: Floats
    centre: float
    finest: float
    scale: tuple[float, float]
    uneven: float

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which points lie in the square world."""
        inside: NDArray[np.bool_] = np.isfinite(self.x) & (self.y >= 0) & (self.y <= 1)
        return inside


@lru_cache(256)
def is_mercator(crs: CRS) -> bool:
    """Whether `crs` is EPSG:3857 itself."""
    return bool(crs == CRS.from_epsg(3857))


def reaches_mercator(crs: CRS) -> bool:
    """Whether PROJ and GDAL can turn `crs` into Web Mercator at all."""
    try:
        _transformer(crs)
        turned(0.0)
        gdal_transform(CRS.from_epsg(3857), crs, [0.0], [0.0])
    except (ProjError, RasterioError, ValueError):
        return False
    except Exception as error:  # GDAL's CPLE errors, of no common public class; a point out of the domain is fine
        return "PROJ" in str(error) or "outside of projection domain" in str(error)
    return True


def _transformer(crs: CRS) -> Transformer:
    return _transformer_of(crs, threading.get_ident())


@lru_cache(64)
def _transformer_of(crs: CRS, _: int) -> Transformer:
    # One for each thread, for two must not use the same.
    return Transformer.from_crs(ProjCRS.from_user_input(crs.to_wkt()), ProjCRS.from_epsg(3857), always_xy=True)


def to_worlds(crs: CRS, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Points of `crs` as worlds from the left and from the top; NaN where there is none."""
    if is_mercator(crs):
        east, north = x, y
    else:
        east, north = _transformer(crs).transform(x, y, errcheck=False)
    good = np.isfinite(east) & np.isfinite(north)
    left = np.where(good, np.where(good, east, 0) / EARTH_CIRCUMFERENCE + 0.5, np.nan)
    top = np.where(good, 0.5 - np.where(good, north, 0) / EARTH_CIRCUMFERENCE, np.nan)
    return left, top


def wrapped(x: Floats) -> Floats:
    """Worlds, taken to -0.5 to 0.5."""
    return x - np.round(x)


def measure(crs: CRS, bounds: Bounds, width: int, height: int, most: int = 32) -> Footprint:
    """Where the piece of `width` x `height` pixels in `bounds` lies."""
    minx, miny, maxx, maxy = bounds
    columns, rows = (min(max(-(-side // STEP), 4), most) for side in (width, height))
    grid_x, grid_y = np.meshgrid(np.linspace(minx, maxx, columns + 1), np.linspace(maxy, miny, rows + 1))
    x, y = to_worlds(crs, grid_x, grid_y)
    inside = np.isfinite(x) & (y >= 0) & (y <= 1)
    use = inside if inside.any() else np.isfinite(x)
    if use.any():
        # The mean direction; where all directions occur alike any meridian is as good.
        turn = np.exp(2j * np.pi * x[use]).mean()
        centre = float(np.angle(turn) / (2 * np.pi)) if abs(turn) > 1e-6 else 0.0
    else:
        centre = 0.0
    x = wrapped(x - centre)
    with np.errstate(all="ignore"):
        across = np.stack([wrapped(np.diff(x, axis=1)), np.diff(y, axis=1)])[:, :-1] * columns / width
        down = np.stack([wrapped(np.diff(x, axis=0)), np.diff(y, axis=0)])[:, :, :-1] * rows / height
        # Singular values of the 2 x 2 matrix [across down].
        square = (across**2).sum(0) + (down**2).sum(0)
        area = np.abs(across[0] * down[1] - across[1] * down[0])
        smaller = np.sqrt(np.maximum(square - np.sqrt(np.maximum(square**2 - 4 * area**2, 0)), 0) / 2)
        along = np.sqrt(across**2 + down**2)
        inner = use[:-1, :-1] & np.isfinite(smaller) & (smaller > 0)
    if not inner.any():
        return Footprint(x, y, centre, 1.0, (1.0, 1.0), 1.0)
    finest = float(np.quantile(smaller[inner], 0.05))
    along = np.maximum(along[:, inner], finest / 16)
    scale, uneven = np.exp(np.log(along).mean(1)), float((along.max(1) / along.min(1)).max())
    return Footprint(x, y, centre, finest, (float(scale[0]), float(scale[1])), uneven)


def finest_zoom(crs: CRS, bounds: Bounds, width: int, height: int) -> int:
    """The first zoom whose pixels are at most `OVERSAMPLING` times as large as those of the map, 0 to 20."""
    return zoom_for(measure(crs, bounds, width, height, 64).finest)


def zoom_for(finest: float) -> int:
    return min(max(math.ceil(-math.log2(finest * 256 * OVERSAMPLING)), 0), MAX_ZOOM)


def touches_world(crs: CRS, bounds: Bounds, width: int, height: int) -> bool:
    """Whether anything of the square world is in `bounds`."""
    return bool(measure(crs, bounds, max(width, 64 * STEP), max(height, 64 * STEP), 64).valid.any())


@lru_cache(64)
def turned(longitude: float) -> CRS:
    """Web Mercator about another meridian."""
    return CRS.from_string(
        f"+proj=merc +a=6378137 +b=6378137 +lat_ts=0 +lon_0={longitude!r} +x_0=0 +y_0=0 +k=1 +units=m +nadgrids=@null +no_defs"
    )

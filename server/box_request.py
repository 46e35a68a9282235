"""What is asked of a box (`/bbox`), and the area that answers it: its bounds in the CRS of the result and its pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pyproj import Transformer
from rasterio.crs import CRS

from model.grid import EARTH_CIRCUMFERENCE, MAX_LATITUDE, MAX_ZOOM, world_size
from server.area import Area, parse_crs, world_width
from server.errors import AreaError, AreaTooLargeError, ParameterError
from server.footprint import is_mercator

MAX_PIXELS = 1 << 24
"""Most pixels answered at once: 16 megapixels, 4096 x 4096."""
DEFAULT_SIDE = 1024
"""Pixels of the longer side where nobody says how many."""
METRES_PER_DEGREE = EARTH_CIRCUMFERENCE / 360
_POINTS = 33
Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxRequest:
    """Bounds (minx, miny, maxx, maxy) in `bbox_crs`, x first; minx > maxx crosses the antimeridian. Of `width` and `height`
    together, `resolution` and `zoom` at most one may be given; see `docs/bbox.md` for what each means."""

    bounds: Bounds
    bbox_crs: str = "EPSG:4326"
    crs: str | None = None
    width: int | None = None
    height: int | None = None
    resolution: float | None = None
    zoom: int | None = None

    def resolve(self) -> tuple[Area, int | None]:
        """The area, and the zoom of the planet's pixels where it is asked for.

        Raises:
            ParameterError: if sizes contradict one another or are out of range.
            AreaError: if the box makes no picture.
            AreaTooLargeError: if it has more than `MAX_PIXELS`.
        """
        self._check_sizes()
        of = parse_crs(self.bbox_crs)
        to = of if self.crs is None else parse_crs(self.crs)
        bounds = unwrap(self.bounds, of)
        Area(of, *bounds, 1, 1).check_within_world()
        bounds = transform_bounds(bounds, of, to)
        if self.zoom is not None and is_mercator(to):
            bounds = _snapped(bounds, self.zoom)
        width, height = (_whole(side) for side in self._size(bounds, to))
        if width * height > MAX_PIXELS:
            raise AreaTooLargeError(
                f"The picture would have {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are answered at once: ask for "
                "fewer, or start an export with POST /exports."
            )
        area = Area(to, *bounds, width, height)
        area.check_within_world()
        return area, self.zoom

    def _check_sizes(self) -> None:
        given = [name for name in ("width", "height", "resolution", "zoom") if getattr(self, name) is not None]
        if len(given) > 1 and given != ["width", "height"]:
            raise ParameterError(f"{' and '.join(given)} say the size in two ways; leave all out but one.")
        for name in ("width", "height"):
            side = getattr(self, name)
            if side is not None and side < 1:
                raise ParameterError(f"{name} must be at least 1 pixel, not {side}.")
        if self.resolution is not None and not (math.isfinite(self.resolution) and self.resolution > 0):
            raise ParameterError(f"resolution must be metres per pixel, more than 0, not {self.resolution}.")
        if self.zoom is not None and not 0 <= self.zoom <= MAX_ZOOM:
            raise ParameterError(f"zoom must be from 0 to {MAX_ZOOM}, not {self.zoom}.")

    def _size(self, bounds: Bounds, crs: CRS) -> tuple[float, float]:
        """Width and height in pixels, not yet whole."""
        across, up = bounds[2] - bounds[0], bounds[3] - bounds[1]
        latitude = _middle_latitude(bounds, crs)
        shrink = math.cos(math.radians(min(max(latitude, -MAX_LATITUDE), MAX_LATITUDE)))
        if self.zoom is not None or self.resolution is not None:
            if crs.is_geographic:
                unit = METRES_PER_DEGREE * math.degrees(float(crs.units_factor[1]))
                metres_x, metres_y = across * unit * shrink, up * unit
            else:
                metres_x, metres_y = (side * float(crs.linear_units_factor[1]) for side in (across, up))
            if self.resolution is not None:
                pixel = self.resolution
            else:
                pixel = EARTH_CIRCUMFERENCE / world_size(self.zoom or 0) * (1.0 if is_mercator(crs) else shrink)
            return metres_x / pixel, metres_y / pixel
        width, height = self.width, self.height
        if width is None and height is None:
            width, height = (DEFAULT_SIDE, None) if across >= up else (None, DEFAULT_SIDE)
        return float(width or (height or 1) * across / up), float(height or (width or 1) * up / across)


def _whole(side: float) -> int:
    """Pixels, at least one; a number too large for any picture stays too large."""
    return max(1, round(min(side, 1e12)))


def unwrap(bounds: Bounds, crs: CRS) -> Bounds:
    """Bounds with minx < maxx, where minx > maxx crosses the antimeridian of a CRS that has one."""
    minx, miny, maxx, maxy = bounds
    period = world_width(crs)
    if period is not None and minx > maxx and all(math.isfinite(value) for value in bounds):
        if minx > period / 2 * (1 + 1e-9) or maxx < -period / 2 * (1 + 1e-9):
            raise AreaError(f"The box lies outside of the world, whose x are from {-period / 2:.15g} to {period / 2:.15g}.")
        maxx += period
    return minx, miny, maxx, maxy


def transform_bounds(bounds: Bounds, of: CRS, to: CRS) -> Bounds:
    """The least box in `to` around the box `bounds` of `of`; unwrapped where it crosses the antimeridian. Of a box in degrees
    counts what is within 85.0511 degrees of the equator, unless it lies wholly beyond.

    Raises:
        AreaError: if `to` has no place for it.
    """
    if of == to:
        return bounds
    transformer = Transformer.from_crs(of.to_wkt(), to.to_wkt(), always_xy=True)
    minx, miny, maxx, maxy = bounds
    grid_x, grid_y = np.meshgrid(np.linspace(minx, maxx, _POINTS), np.linspace(miny, maxy, _POINTS))
    if of.is_geographic:
        # Nothing lies beyond, and a pole may be at infinity, as the other one is in a polar projection.
        end = math.radians(MAX_LATITUDE) / float(of.units_factor[1])
        if miny < end and maxy > -end:
            grid_y = np.clip(grid_y, -end, end)
    x, y = transformer.transform(grid_x, grid_y, errcheck=False)
    good = np.isfinite(x) & np.isfinite(y)
    if not good.any():
        raise AreaError("The CRS of the result has no place for this box; use another crs.")
    x, y = x[good], y[good]
    low, high = float(y.min()), float(y.max())
    period, of_period = world_width(to), world_width(of)
    if period is None:
        return float(x.min()), low, float(x.max()), high
    if of_period is not None:
        # Both are cylinders: x is in proportion.
        low, high = _within(low, high, to, ())
        return minx / of_period * period, low, maxx / of_period * period, high
    poles = _poles_within(bounds, of)
    turn = np.exp(2j * np.pi * x / period).mean()
    middle = float(np.angle(turn)) / (2 * np.pi) * period
    around = x - middle - np.round((x - middle) / period) * period
    low, high = _within(low, high, to, poles)
    if poles:
        return -period / 2, low, period / 2, high
    return middle + float(around.min()), low, middle + float(around.max()), high


def _within(low: float, high: float, crs: CRS, poles: tuple[float, ...]) -> tuple[float, float]:
    """Bounds in y as far as `crs` reaches, to the `poles` (latitudes) that are in the box."""
    end = EARTH_CIRCUMFERENCE / 2 if is_mercator(crs) else math.pi / 2 / float(crs.units_factor[1])
    low, high = (-end if -90.0 in poles else low), (end if 90.0 in poles else high)
    return max(low, -end), min(high, end)


def _poles_within(bounds: Bounds, crs: CRS) -> tuple[float, ...]:
    """The latitudes of the poles that lie in a box of a CRS in which they are points."""
    transformer = Transformer.from_crs("EPSG:4326", crs.to_wkt(), always_xy=True)
    found = []
    for latitude in (-90.0, 90.0):
        x, y = transformer.transform(np.array([0.0, 90.0]), np.array([latitude, latitude]), errcheck=False)
        if np.isfinite(x).all() and abs(x[1] - x[0]) < 1 and bounds[0] <= x[0] <= bounds[2] and bounds[1] <= y[0] <= bounds[3]:
            found.append(latitude)
    return tuple(found)


def _middle_latitude(bounds: Bounds, crs: CRS) -> float:
    x, y = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
    _, latitude = Transformer.from_crs(crs.to_wkt(), "EPSG:4326", always_xy=True).transform(x, y, errcheck=False)
    return float(latitude) if math.isfinite(latitude) else 0.0


def _snapped(bounds: Bounds, zoom: int) -> Bounds:
    """Bounds of EPSG:3857 on the nearest edges of pixels of `zoom`, at least one pixel apart."""
    unit, half = EARTH_CIRCUMFERENCE / world_size(zoom), EARTH_CIRCUMFERENCE / 2
    left, right = (round((x + half) / unit) for x in (bounds[0], bounds[2]))
    top, bottom = (round((half - y) / unit) for y in (bounds[3], bounds[1]))
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    return left * unit - half, half - bottom * unit, right * unit - half, half - top * unit

"""Boxes in any coordinate reference system to windows of Web Mercator pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from model.grid import EARTH_CIRCUMFERENCE, MAX_LATITUDE
from server.export_errors import ExportRequestError
from server.tilekey import TILE_SIZE, shorten

Box = tuple[float, float, float, float]
LONGITUDE_LATITUDE = ("OGC:CRS84", "CRS:84", "CRS84", "EPSG:4326")
HALF_WORLD = EARTH_CIRCUMFERENCE / 2


def lonlat_box(bbox: Sequence[float], bbox_crs: str | None = None) -> Box:
    """West, south, east, north in degrees of a box minx, miny, maxx, maxy in `bbox_crs`, x always east.

    By default, and for EPSG:4326, the box is in degrees longitude, latitude. East exceeds 180 where the box crosses
    the antimeridian, which a geographic box says by minx > maxx (RFC 7946, 5.2). Latitudes end where Mercator does.

    Raises:
        ExportRequestError: if the box is malformed, empty, inverted or outside of the world, or the CRS unknown.
    """
    values = [float(value) for value in bbox]
    if len(values) != 4 or not all(math.isfinite(value) for value in values):
        raise ExportRequestError("The bbox must be four finite numbers: minx, miny, maxx, maxy.")
    minx, miny, maxx, maxy = values
    name = (bbox_crs or LONGITUDE_LATITUDE[0]).strip()
    geographic = name.upper() in LONGITUDE_LATITUDE
    if miny >= maxy or minx == maxx or (minx > maxx and not geographic):
        raise ExportRequestError(
            "The bbox is empty or inverted; give minx, miny, maxx, maxy with miny < maxy and minx < maxx "
            "(minx > maxx only in degrees, for a box across the antimeridian)."
        )
    if not geographic:
        minx, miny, maxx, maxy = _to_degrees((minx, miny, maxx, maxy), name)
    if maxx < minx:
        maxx += 360
    if not (-180 <= minx <= 180 and maxx - minx <= 360 * (1 + 1e-12) and -90 <= miny < maxy <= 90):
        raise ExportRequestError(
            "The bbox reaches outside of the world; longitudes are -180 to 180 (maxx up to minx + 360 across the "
            "antimeridian) and latitudes -90 to 90 degrees. For coordinates of another system give bbox_crs."
        )
    if miny >= MAX_LATITUDE or maxy <= -MAX_LATITUDE:
        raise ExportRequestError(f"The bbox lies beyond latitude {MAX_LATITUDE:.4f}, where Web Mercator ends; move it.")
    return minx, max(miny, -MAX_LATITUDE), maxx, min(maxy, MAX_LATITUDE)


def mercator_window(box: Box, zoom: int) -> tuple[int, int, int, int]:
    """x, y, width and height of the pixels of `zoom` that a box of `lonlat_box` touches; at least one."""
    world = TILE_SIZE << zoom
    west, south, east, north = box
    left, right = _outward((west + 180) / 360 * world, (east + 180) / 360 * world)
    top, bottom = _outward(_row(north, world), _row(south, world))
    top, bottom = max(top, 0), min(bottom, world)
    return left, top, min(right - left, world), bottom - top


def _row(latitude: float, world: int) -> float:
    return (1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2 * world


def _outward(low: float, high: float) -> tuple[int, int]:
    """Whole pixels around an interval; what lies on a border but for the rounding of doubles lies on it."""
    first = math.floor(round(low, 5))
    return first, max(math.ceil(round(high, 5)), first + 1)


def _to_degrees(box: Box, name: str) -> Box:
    try:
        crs = CRS.from_user_input(name)
        if not (crs.is_geographic or crs.is_projected):
            raise ValueError(f"{name} is no CRS of a map")
    except (RasterioError, ValueError) as error:
        raise ExportRequestError(
            f"The bbox_crs {shorten(name)} is not known; use a code such as EPSG:3857, EPSG:32632 or OGC:CRS84."
        ) from error
    if crs.to_epsg() == 3857:
        # A last digit may be missing at the borders of the world.
        minx, maxx = (
            180 * round(value / HALF_WORLD, 9) if abs(value) > HALF_WORLD - 1 else 180 * value / HALF_WORLD
            for value in (box[0], box[2])
        )
        miny, maxy = (
            math.degrees(math.atan(math.sinh(max(-4.0, min(4.0, math.pi * value / HALF_WORLD))))) for value in (box[1], box[3])
        )
        return minx, miny, maxx, maxy
    try:
        west, south, east, north = transform_bounds(crs, CRS.from_string("OGC:CRS84"), *box, densify_pts=21)
    except (RasterioError, ValueError) as error:
        raise ExportRequestError(f"The bbox cannot be taken from {shorten(name)} to degrees; check its numbers.") from error
    if not all(math.isfinite(value) for value in (west, south, east, north)) or (west, south) == (east, north):
        raise ExportRequestError(f"The bbox lies outside of where {shorten(name)} is defined; check its numbers.")
    return west, south, east, north

"""GeoJSON polygons (RFC 7946) that cut a picture to their shape."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import rasterize
from rasterio.transform import Affine

from server.area import Area, GeoImage, world_width
from server.errors import AreaError, ParameterError
from server.tilekey import shorten

MOST_POINTS = 100_000
_PARTS = 8
"""Into how many parts each side of a polygon is divided before it is taken to another CRS, at least."""
_MOST_PARTS = 512
Ring = NDArray[np.float64]
"""[points, 2]: longitude and latitude."""
Polygon = list[Ring]


def parse_clip(document: Any) -> list[Polygon]:
    """The polygons of a GeoJSON Polygon, MultiPolygon, GeometryCollection, Feature or FeatureCollection.

    Raises:
        ParameterError: if it is none of these, or malformed.
    """
    polygons = [[_ring(ring) for ring in _list(polygon, "polygon")] for polygon in _polygons(document, 0)]
    polygons = [polygon for polygon in polygons if polygon]
    if not polygons:
        raise ParameterError("The clip has no polygon; send a GeoJSON Polygon or MultiPolygon.")
    if sum(len(ring) for polygon in polygons for ring in polygon) > MOST_POINTS:
        raise ParameterError(f"The clip has more than {MOST_POINTS:,} points; simplify it.")
    return polygons


def _polygons(document: Any, depth: int) -> Iterator[Any]:
    kind = document.get("type") if isinstance(document, dict) else None
    if depth > 8:
        raise ParameterError("The clip is nested too deep; send a GeoJSON Polygon or MultiPolygon.")
    match kind:
        case "Polygon":
            yield document.get("coordinates")
        case "MultiPolygon":
            yield from _list(document.get("coordinates"), "MultiPolygon")
        case "Feature":
            yield from _polygons(document.get("geometry"), depth + 1)
        case "FeatureCollection" | "GeometryCollection":
            for part in _list(document.get("features" if kind == "FeatureCollection" else "geometries"), str(kind)):
                yield from _polygons(part, depth + 1)
        case _:
            text = "" if kind is None else f", not {shorten(str(kind))}"
            raise ParameterError(f"The clip must be a GeoJSON Polygon or MultiPolygon{text}.")


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ParameterError(f"The clip is malformed: the coordinates of its {name} are no array.")
    return value


def _ring(points: Any) -> Ring:
    bad = ParameterError(
        "The clip is malformed: a ring must be at least 4 positions [longitude, latitude], the last the first."
    )
    if not isinstance(points, list) or len(points) < 4:
        raise bad
    for point in points:
        if not isinstance(point, list) or len(point) < 2:
            raise bad
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in point[:2]):
            raise bad
        if abs(point[0]) > 360 or abs(point[1]) > 90:
            raise ParameterError("The clip leaves the world: longitudes are from -180 to 180 and latitudes from -90 to 90.")
    if points[0][:2] != points[-1][:2]:
        raise bad
    return np.array([point[:2] for point in points], np.float64)


def bounds_of(polygons: list[Polygon]) -> tuple[float, float, float, float]:
    """minx, miny, maxx, maxy of the polygons, in degrees."""
    every = np.concatenate([ring for polygon in polygons for ring in polygon])
    (minx, miny), (maxx, maxy) = every.min(0), every.max(0)
    return float(minx), float(miny), float(maxx), float(maxy)


def clip_mask(polygons: list[Polygon], area: Area) -> NDArray[np.uint8]:
    """uint8 [height, width]: 255 where a pixel's centre is in one of the polygons, whose sides are straight in degrees.

    Raises:
        AreaError: if no pixel of the area is.
    """
    transformer = Transformer.from_crs("EPSG:4326", area.crs.to_wkt(), always_xy=True)
    period = world_width(area.crs)
    shapes = []
    for polygon in polygons:
        rings = []
        for ring in polygon:
            longitude, latitude = _divided(ring).T
            if period is not None and not area.crs.is_geographic:
                latitude = np.clip(latitude, -89.99, 89.99)
            x, y = transformer.transform(longitude, latitude, errcheck=False)
            if period is not None:
                # Transformations wrap longitudes; a ring that was not broken stays unbroken.
                x = longitude / 360 * period
            good = np.isfinite(x) & np.isfinite(y)
            if good.sum() >= 3:
                x, y = x[good], y[good]
                rings.append([*zip(x.tolist(), y.tolist(), strict=True), (float(x[0]), float(y[0]))])
        for shift in (0.0,) if period is None else (-period, 0.0, period):
            moved = [[(x + shift, y) for x, y in ring] for ring in rings]
            if moved:
                shapes.append(({"type": "Polygon", "coordinates": moved}, 255))
    a = area.transform
    mask: NDArray[np.uint8] = np.zeros((area.height, area.width), np.uint8)
    if shapes:
        mask = rasterize(shapes, (area.height, area.width), fill=0, transform=Affine(*a[:6]), dtype="uint8")
    if not mask.any():
        raise AreaError("The clip has no pixel in the box; move one of them, or ask for more pixels.")
    return mask


def _divided(ring: Ring) -> Ring:
    """The ring with points along its sides, one for each degree about, for sides that are bent in another CRS."""
    longest = float(np.abs(np.diff(ring, axis=0)).max())
    parts = min(max(_PARTS, math.ceil(longest)), _MOST_PARTS, max(1, MOST_POINTS // len(ring)))
    along = np.arange(parts)[:, None] / parts
    sides = ring[:-1, None] + (ring[1:] - ring[:-1])[:, None] * along
    return np.concatenate([sides.reshape(-1, 2), ring[-1:]])


def clipped(image: GeoImage, mask: NDArray[np.uint8]) -> GeoImage:
    """`image` without what `mask` [h, w] has at 0."""
    return GeoImage(image.pixels, np.minimum(image.mask, mask), image.transform, image.crs)

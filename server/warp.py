"""From Web Mercator to any other CRS: which planet pixels a piece of a map needs, and their resampling.

A map is warped in pieces of at most 512 x 512 pixels, on a grid that begins at its top left corner. For each piece a grid of
points says where its pixels lie in Web Mercator and how many of the planet's pixels go into one; GDAL resamples (cubic,
its kernel widened where pixels are averaged). Mercator is turned about the piece's own meridian, so that no piece meets the
antimeridian. Maps that lie on Mercator's pixels at some zoom are copied.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import Resampling, reproject
from rasterio.warp import transform as gdal_transform

from model import Planet
from model.grid import EARTH_CIRCUMFERENCE, MAX_ZOOM, world_size
from server.footprint import Bounds, Floats, Footprint, is_mercator, measure, to_worlds, turned, wrapped, zoom_for

PIECE = 512
"""Side of a piece in pixels."""
LEAST = 128
"""Side of the parts that a piece is never divided below, however unevenly its map is scaled."""
UNEVEN = 2.2
"""A piece whose pixels differ more than so is warped in quarters, for GDAL's kernel has one width per call."""
TURN_SECONDS = 0.5
"""After so long a piece lets others have the thread."""
MOST_SOURCE = 1 << 24
"""Most planet pixels that are read for one piece; where more would be needed, a coarser zoom is read."""
CUBIC_REACH = 2
HALF = EARTH_CIRCUMFERENCE / 2
Image8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Image = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Pixels uint8 [h, w, 3] and mask uint8 [h, w]."""


def pieces(crs: CRS, bounds: Bounds, width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """The pieces of a map as (column, row, width, height), row by row; the whole at once where it is copied anyway."""
    for row in range(0, height, PIECE):
        for column in range(0, width, PIECE):
            yield column, row, min(PIECE, width - column), min(PIECE, height - row)


def aligned(crs: CRS, bounds: Bounds, width: int, height: int) -> tuple[int, int, int] | None:
    """Zoom, x and y of the top left pixel, where a map lies on Mercator's pixels to a hundredth of one; else None."""
    if not is_mercator(crs):
        return None
    minx, miny, maxx, maxy = bounds
    zoom = round(math.log2(EARTH_CIRCUMFERENCE * width / (maxx - minx) / 256))
    if not 0 <= zoom <= MAX_ZOOM:
        return None
    unit = EARTH_CIRCUMFERENCE / world_size(zoom)
    edges = [(minx + HALF) / unit, (HALF - maxy) / unit, (maxx + HALF) / unit, (HALF - miny) / unit]
    left, top, right, bottom = (round(edge) for edge in edges)
    near = all(abs(edge - round(edge)) < 0.01 for edge in edges)
    return (zoom, left, top) if near and right - left == width and bottom - top == height else None


def warp(planet: Planet, crs: CRS, bounds: Bounds, width: int, height: int, zoom: int) -> Iterator[Image | None]:
    """The piece in `bounds` from planet pixels of `zoom`: None whenever a turn is over, at last the image."""
    copy = aligned(crs, bounds, width, height)
    if copy is not None and copy[0] == zoom:
        pixels = np.empty((height, width, 3), np.uint8)
        yield from _read(planet, *copy, pixels)
        rows = np.arange(copy[2], copy[2] + height)
        mask = np.where((rows >= 0) & (rows < world_size(zoom)), np.uint8(255), np.uint8(0))
        pixels[mask == 0] = 0
        yield pixels, np.broadcast_to(mask[:, None], (height, width)).copy()
        return
    found = measure(crs, bounds, width, height)
    pixels, mask = np.zeros((3, height, width), np.uint8), np.zeros((height, width), np.uint8)
    if not found.valid.any() and not _may_hide_world(found):
        yield pixels.transpose(1, 2, 0), mask
        return
    if found.uneven > UNEVEN and max(width, height) > LEAST:
        yield from _in_quarters(planet, crs, bounds, width, height, zoom)
        return
    # One zoom more than this piece needs is as good as any finer one that another part of the map may need.
    zoom = min(zoom, zoom_for(found.finest) + 1)
    while True:
        left, top, right, bottom = _source_window(crs, bounds, found, zoom)
        if zoom == 0 or (right - left) * (bottom - top) <= MOST_SOURCE:
            break
        zoom -= 1
    size = world_size(zoom)
    source = np.empty((bottom - top, right - left, 3), np.uint8)
    origin = round(found.centre * size)
    # The meridian is moved to a pixel's edge, so that the source is a window of whole pixels.
    yield from _read(planet, zoom, origin + left, top, source)
    unit = EARTH_CIRCUMFERENCE / size
    x_scale, y_scale = (min(1.0, 1 / (scale * size)) for scale in found.scale)
    reproject(
        np.ascontiguousarray(source.transpose(2, 0, 1)),
        pixels,
        src_transform=Affine(unit, 0, left * unit, 0, -unit, HALF - top * unit),
        src_crs=turned(origin / size * 360 - 180),
        dst_transform=Affine((bounds[2] - bounds[0]) / width, 0, bounds[0], 0, (bounds[1] - bounds[3]) / height, bounds[3]),
        dst_crs=crs,
        resampling=Resampling.cubic,
        tolerance=0.0,
        XSCALE=x_scale,
        YSCALE=y_scale,
        SAMPLE_GRID="YES",
        SOURCE_EXTRA=max(source.shape),
    )
    mask = _mask(crs, bounds, width, height, found, size)
    pixels[:, mask == 0] = 0
    _fill(crs, bounds, pixels, (pixels.max(0) == 0) & (mask > 0), source, (origin / size, left, top), size)
    yield np.ascontiguousarray(pixels.transpose(1, 2, 0)), mask


def _in_quarters(planet: Planet, crs: CRS, bounds: Bounds, width: int, height: int, zoom: int) -> Iterator[Image | None]:
    """As `warp`, from up to four parts."""
    pixels, mask = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.uint8)
    xres, yres = (bounds[2] - bounds[0]) / width, (bounds[3] - bounds[1]) / height
    cuts_x, cuts_y = ([0, side // 2, side] if side > LEAST else [0, side] for side in (width, height))
    for top, bottom in pairwise(cuts_y):
        for left, right in pairwise(cuts_x):
            part = (bounds[0] + left * xres, bounds[3] - bottom * yres, bounds[0] + right * xres, bounds[3] - top * yres)
            for done in warp(planet, crs, part, right - left, bottom - top, zoom):
                if done is None:
                    yield None
                else:
                    pixels[top:bottom, left:right], mask[top:bottom, left:right] = done
    yield pixels, mask


def _may_hide_world(found: Footprint) -> bool:
    """Whether a piece none of whose points is in the square world may have pixels there: points on both sides of it."""
    y = found.y[np.isfinite(found.y)]
    return bool(y.size and y.min() < 0 and y.max() > 1)


def _source_window(crs: CRS, bounds: Bounds, found: Footprint, zoom: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom in pixels of `zoom`, x counted from the piece's meridian."""
    size = world_size(zoom)
    x, y = found.x * size, np.clip(found.y, 0, 1) * size
    with np.errstate(all="ignore"):
        jumps_x = [wrapped(np.diff(found.x, axis=axis)) * size for axis in (0, 1)]
        jumps_y = [np.diff(y, axis=axis) for axis in (0, 1)]
        bulge_x, bulge_y = (max(_largest(jump) for jump in jumps) / 2 for jumps in (jumps_x, jumps_y))
    shift = _disagreement(crs, bounds, found) * size
    reach_x, reach_y = (CUBIC_REACH * max(1.0, scale * size) + shift + 2 for scale in found.scale)
    use = np.isfinite(x)
    inside = found.valid if found.valid.any() else use
    left, right = float(x[inside].min()) - bulge_x, float(x[inside].max()) + bulge_x
    left, right = max(left, -size / 2) - reach_x, min(right, size / 2) + reach_x
    top, bottom = max(float(y[use].min()) - bulge_y, 0) - reach_y, min(float(y[use].max()) + bulge_y, size) + reach_y
    return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)


def _largest(values: Floats) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def _disagreement(crs: CRS, bounds: Bounds, found: Footprint) -> float:
    """By how many worlds PROJ as pyproj has it and GDAL disagree: they may choose different datum shifts."""
    if is_mercator(crs) or not found.valid.any():
        return 0.0
    rows, columns = found.x.shape
    row, column = (int(index) for index in np.argwhere(found.valid)[int(found.valid.sum()) // 2])
    x = bounds[0] + (bounds[2] - bounds[0]) * column / (columns - 1)
    y = bounds[3] - (bounds[3] - bounds[1]) * row / (rows - 1)
    try:
        east, north = (values[0] for values in gdal_transform(crs, CRS.from_epsg(3857), [x], [y]))
    except Exception:  # GDAL's CPLE errors have no common public class
        return 0.0
    at = east / EARTH_CIRCUMFERENCE + 0.5 - found.centre, 0.5 - north / EARTH_CIRCUMFERENCE
    off = np.hypot(wrapped(np.asarray(at[0] - found.x[row, column])), at[1] - found.y[row, column])
    return float(off) if off < 1e-3 else 0.0


def _mask(crs: CRS, bounds: Bounds, width: int, height: int, found: Footprint, size: int) -> NDArray[np.uint8]:
    """255 where a pixel's centre lies in the square world."""
    margin = 2 * max(_largest(np.diff(found.y, axis=axis)) for axis in (0, 1)) + 2 / size
    if np.isfinite(found.x).all() and found.y.min() > margin and found.y.max() < 1 - margin:
        return np.full((height, width), 255, np.uint8)
    minx, miny, maxx, maxy = bounds
    xs = minx + (np.arange(width) + 0.5) * ((maxx - minx) / width)
    ys = maxy - (np.arange(height) + 0.5) * ((maxy - miny) / height)
    x, y = to_worlds(crs, *np.meshgrid(xs, ys))
    return np.where(np.isfinite(x) & (y >= 0) & (y <= 1), np.uint8(255), np.uint8(0))


def _fill(crs: CRS, bounds: Bounds, pixels: Image8, holes: Mask, source: Image8, at: tuple[float, int, int], size: int) -> None:
    """Gives what GDAL left black its nearest pixel of `source`: at the rim of a projection's world and at seams of its own,
    GDAL gives up pixels whose corners it cannot place. `at`: the meridian of `source` in worlds, and its left and top."""
    rows, columns = np.nonzero(holes)
    if not rows.size:
        return
    _, height, width = pixels.shape
    xs = bounds[0] + (columns + 0.5) * ((bounds[2] - bounds[0]) / width)
    ys = bounds[3] - (rows + 0.5) * ((bounds[3] - bounds[1]) / height)
    x, y = to_worlds(crs, xs, ys)
    column = np.floor(wrapped(x - at[0]) * size).astype(int) - at[1]
    row = np.floor(y * size).astype(int) - at[2]
    column, row = np.clip(column, 0, source.shape[1] - 1), np.clip(row, 0, source.shape[0] - 1)
    pixels[:, rows, columns] = source[row, column].T


def _read(planet: Planet, zoom: int, x: int, y: int, out: NDArray[np.uint8]) -> Iterator[None]:
    """Fills `out` with the pixels from (x, y) on, chunk by chunk; yields when a turn is over."""
    height, width = out.shape[:2]
    side = 1024 if planet.compute.device.type == "cuda" else 256
    side = side // 2 if zoom % 2 and zoom > planet.base_zoom else side
    begin = time.monotonic()
    for top in range(y - y % side, y + height, side):
        for left in range(x - x % side, x + width, side):
            if time.monotonic() - begin > TURN_SECONDS:
                yield None
                begin = time.monotonic()
            y0, y1, x0, x1 = max(top, y), min(top + side, y + height), max(left, x), min(left + side, x + width)
            out[y0 - y : y1 - y, x0 - x : x1 - x] = planet.read(zoom, x0, y0, x1 - x0, y1 - y0)

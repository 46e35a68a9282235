"""Tiles of WorldCRS84Quad from a planet in Web Mercator.

The columns of matrix N are exactly those of Web Mercator at zoom N + 1, so only rows are resampled: each row of the tile is the
mean of the Web Mercator rows that it covers, fractions included. It covers sec(latitude) of them, never less than one, so that
nothing is left out and nothing is invented. Beyond 85.0511 degrees the outermost row goes on to the pole.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from model import Planet
from server.tilekey import TILE_SIZE

# Rows that a tile of 256 may be made of, times 256. Near the poles it is made from a lower zoom, whose pixels there are still
# smaller on the ground than the tile's are from north to south; otherwise one tile would cost up to twelve.
MOST_ROWS = 4


def crs84_tile(planet: Planet, zoom: int, x: int, y: int) -> NDArray[np.uint8]:
    """The tile in matrix `zoom` (0 to 19), column `x`, row `y`, uint8 [256, 256, 3]; reads at most 1028 rows of the planet.

    Raises:
        ModelError: what the planet raises.
    """
    source = zoom + 1
    edges = mercator_rows(zoom, y, source)
    shrink = 0
    while (edges[-1] - edges[0]) / (1 << shrink) > MOST_ROWS * TILE_SIZE:
        shrink += 1
    edges = edges / (1 << shrink)
    source -= shrink
    last = TILE_SIZE * (1 << source)
    top, bottom = min(math.floor(edges[0]), last - 1), min(math.ceil(edges[-1]), last)
    bottom = max(bottom, top + 1)
    width = TILE_SIZE >> shrink
    # Columns between columns: a pixel more on each side, so that neighbouring tiles agree.
    margin = 1 if shrink else 0
    pixels = planet.read(source, x * width - margin, top, width + 2 * margin, bottom - top).astype(np.float32)
    rows = row_weights(edges - top, bottom - top) @ pixels.reshape(bottom - top, -1)
    rows = rows.reshape(TILE_SIZE, -1, 3)
    if shrink:
        rows = _widened(rows, margin, 1 << shrink)
    return np.clip(np.rint(rows), 0, 255).astype(np.uint8)


def mercator_rows(zoom: int, y: int, source: int) -> NDArray[np.float64]:
    """Where the 257 edges of the rows of a tile lie, in rows of Web Mercator at zoom `source`, kept within its square."""
    height = TILE_SIZE << zoom
    latitude = np.radians(90 - 180 * (y * TILE_SIZE + np.arange(TILE_SIZE + 1)) / height)
    # At the poles themselves the tangent is finite but huge, or negative by rounding; clipping brings both to the edge.
    limit = math.atan(math.sinh(math.pi))
    latitude = np.clip(latitude, -limit, limit)
    fraction = 0.5 - np.arcsinh(np.tan(latitude)) / (2 * math.pi)
    return np.clip(fraction, 0, 1) * (TILE_SIZE << source)


def row_weights(edges: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """[len(edges) - 1, count]: the share of each of `count` rows of height 1 in the mean over each interval between `edges`.

    An interval of no height takes the row that it lies in.
    """
    tops, bottoms = edges[:-1, None], edges[1:, None]
    rows = np.arange(count)[None, :]
    overlap = np.clip(np.minimum(bottoms, rows + 1) - np.maximum(tops, rows), 0, None)
    empty = bottoms[:, 0] - tops[:, 0] < 1e-9
    inside = np.clip(np.floor(tops[:, 0]), 0, count - 1).astype(int)
    overlap[empty] = rows == inside[empty, None]
    weights: NDArray[np.float32] = (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights


def _widened(rows: NDArray[np.float32], margin: int, factor: int) -> NDArray[np.float32]:
    """Linear interpolation between the centres of columns: `factor` columns for each but the `margin` on both sides."""
    count = (rows.shape[1] - 2 * margin) * factor
    centres = (np.arange(count) + 0.5) / factor - 0.5 + margin
    left = np.floor(centres).astype(int)
    share = (centres - left).astype(np.float32)[None, :, None]
    mixed: NDArray[np.float32] = rows[:, left] * (1 - share) + rows[:, left + 1] * share
    return mixed

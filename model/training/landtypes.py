"""Land types by simple rules on colour and texture: to choose places alike and to tell failures by type, not to map land.

The rules are made for imagery in the tone of Sentinel-2 (Blue Marble toned by `model.tone`), at any resolution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TYPES = ("water", "forest", "fields", "bare", "snow", "urban")

_CELL = 8
"""Colours are judged on means of this many pixels a side, so that one tree or roof does not decide."""

_FINEST_DETAIL_OF_TOWNS = 40.0
"""Metres per pixel up to which grey and rough means built; beyond it, rock."""


def land_type(picture: NDArray[np.uint8], gsd: float) -> str:
    """The land type, one of `TYPES`, that covers most of a picture uint8 [h, w, 3] of ``gsd`` metres per pixel."""
    shares = land_shares(picture, gsd)
    return max(TYPES, key=lambda name: shares[name])


def land_shares(picture: NDArray[np.uint8], gsd: float) -> dict[str, float]:
    """Share of each of `TYPES` in a picture uint8 [h, w, 3]; they sum to 1. Pictures under 8 px are judged as one cell."""
    cells, rough = _cells(picture)
    red, green, blue = cells[:, 0], cells[:, 1], cells[:, 2]
    light = cells @ np.array([0.299, 0.587, 0.114])
    highest, lowest = cells.max(1), cells.min(1)
    grey = (highest - lowest) / np.maximum(highest, 1)
    # Glint, sediment and painted bathymetry make water anything from black to turquoise, but never red.
    water = (blue > red + 8) & (green > red - 2) & (blue > 0.8 * green) & (light < 150) & (rough < 9)
    water |= (light < 40) & (blue >= green - 4) & (rough < 12)
    snow = (light > 185) & (grey < 0.16) & (blue > red - 12)
    urban = (rough > 14) & (grey < 0.22) & (light > 60) & (gsd <= _FINEST_DETAIL_OF_TOWNS)
    forest = (green > red - 4) & (green >= blue - 6) & (light < 88)
    bare = (red > 1.04 * green) & (red - blue > 18) & (light > 85)
    rules = {"water": water, "snow": snow, "urban": urban, "forest": forest, "bare": bare}
    left = np.ones(len(cells), bool)
    shares = dict.fromkeys(TYPES, 0.0)
    for name, holds in rules.items():
        shares[name] = float((left & holds).mean())
        left &= ~holds
    shares["fields"] = float(left.mean())
    return shares


def _cells(picture: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean colours [n, 3] of the cells, and how rough each is: mean step between neighbouring pixels, in grey levels."""
    side = min(_CELL, *picture.shape[:2])
    height, width = (n - n % side for n in picture.shape[:2])
    pixels = picture[:height, :width].astype(np.float64)
    shape = (height // side, side, width // side, side)
    means = pixels.reshape(*shape, 3).mean((1, 3)).reshape(-1, 3)
    luminance = pixels @ np.array([0.299, 0.587, 0.114])
    steps = np.zeros_like(luminance)
    steps[:, 1:] += np.abs(np.diff(luminance, axis=1)) / 2
    steps[1:] += np.abs(np.diff(luminance, axis=0)) / 2
    return means, steps.reshape(shape).mean((1, 3)).reshape(-1)

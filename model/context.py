"""What the base picture tells of a place at every zoom: how rugged land is, and where cities are.

What a stage sees of its parent is what the stages above made up: left to themselves, plains and mountains become equally rough
within a few stages, and no place ever has a city. So planets have a slowly varying context: the base picture's own contrast
around a place, of which mountains have ten times what plains have; and whether it is lighter and greyer than the green land
around, as nearly all large cities are.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from model.grid import world_size
from model.stage import ramp

Map = NDArray[np.float32]

RUGGED_CELL, CITY_CELL = 4, 2
"""Sides of the cells in which contrast and colours are taken, in pixels of the base picture: 39 and 20 km at the equator."""
_BLUER, _DARK = 10, 300
"""By how much blue exceeds red, and the sum of channels up to which that is sea: of coasts the land alone counts."""
_LEAST_LAND = 0.3
"""Share of a cell that is land, for it to count."""
_FAINT = 0.25
"""Added to the variance, in squared grey levels."""
_MIDDLING, _SMOOTHEST, _ROUGHEST = 2.8, -1.2, 2.0
"""log2 of the standard deviation that half of all land has, in grey levels, and what smoother and rougher land is taken for."""
_WEIGHT = 0.35
"""What a doubling of contrast counts for beside the hills of `model.relief`, by which land is rugged as well."""
_LIGHTER, _GREYER = (8.0, 20.0), (0.04, 0.12)
"""By how many grey levels a city is lighter than land within some 200 km, and by how much less green: from which on there may
be one, and from which on there is one."""
_GREEN, _LIGHT = (0.12, 0.25), (120.0, 150.0)
"""How green the land around must be: spots in deserts are salt. And grey levels from which on it is no city."""
_MOUNTAINS = (0.5, 0.65)
"""What is added to ruggedness, from which on land that looks like that may be rock, and from which on it is."""
_ROWS_AT_ONCE = 64
_STEPS = 32
"""Maps are kept in so many steps: how processors round logarithms must not count."""


class Context:
    """``rugged`` [1024, 1024], what is added to how rugged hills make land, and ``cities`` [2048, 2048], 0 to 1, by cell."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        """Of a base picture, uint8 [4096, 4096, 3]."""
        sums = np.empty((6, len(pixels) // CITY_CELL, len(pixels) // CITY_CELL), np.float32)
        for top in range(0, len(pixels), _ROWS_AT_ONCE):
            sums[:, top // CITY_CELL : (top + _ROWS_AT_ONCE) // CITY_CELL] = _sums(pixels[top : top + _ROWS_AT_ONCE])
        land, red, green, blue, grey, squares = sums
        rugged = _ruggedness(*(_cells(sums, RUGGED_CELL // CITY_CELL) for sums in (land, grey, squares)))
        level = ramp(-rugged, -_MOUNTAINS[1], -_MOUNTAINS[0]).repeat(2, 0).repeat(2, 1)
        self.rugged, self.cities = _kept(rugged), _kept(_cities(land, red, green, blue) * level)

    def at(self, zoom: int, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Map:
        """Both at the pixels ``rows`` [h] x ``cols`` [w] of ``zoom``, float32 [2, h, w]: linear between the middles of cells,
        by integers and floats that are summed in one order."""
        return np.stack([_between(values, zoom, rows, cols) for values in (self.rugged, self.cities)])


def _sums(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of some rows, the sums of cells of `CITY_CELL` px [6, n, n]: land, and on land red, green, blue, their sum and its
    square. All are whole numbers that a float32 holds, so that every processor has the same."""
    colours = torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous().float()
    grey = colours.sum(0, keepdim=True)
    land = ((colours[2:] <= colours[:1] + _BLUER) | (grey > _DARK)).float()
    kinds = torch.cat([land, colours.mul_(land), grey.mul_(land), grey * grey])
    rows = kinds[:, ::CITY_CELL] + kinds[:, 1::CITY_CELL]
    return np.asarray((rows[..., ::CITY_CELL] + rows[..., 1::CITY_CELL]).numpy())


def _ruggedness(count: Map, first: Map, second: Map) -> Map:
    counted = count >= _LEAST_LAND * RUGGED_CELL**2
    energy = np.where(counted, (second - first * first / np.maximum(count, 1)) / 9, 0)
    variance = _around(energy) / np.maximum(_around(np.where(counted, count, 0)), 1)
    return np.asarray(_WEIGHT * (np.log2(variance + _FAINT) / 2 - _MIDDLING).clip(_SMOOTHEST, _ROUGHEST))


def _cities(*sums: Map) -> Map:
    light, green = _look(*sums)
    wider = _look(*(_around(_cells(values, 4)) for values in sums))
    around_light, around_green = (values.repeat(4, 0).repeat(4, 1) for values in wider)
    found = ramp(light - around_light, *_LIGHTER) * ramp(around_green - green, *_GREYER)
    found *= ramp(around_green, *_GREEN) * ramp(-light, -_LIGHT[1], -_LIGHT[0])
    return np.asarray(found * (sums[0] >= _LEAST_LAND * CITY_CELL**2))


def _look(count: Map, red: Map, green: Map, blue: Map) -> tuple[Map, Map]:
    """From sums, the mean of the channels, in grey levels, and how green that is, as `model.land_use` has it."""
    total = np.maximum(red + green + blue, 1) / 3
    return total / np.maximum(count, 1), (green - red + total - blue) / total


def _kept(values: Map) -> Map:
    return np.asarray(np.rint(values * _STEPS) / _STEPS, np.float32)


def _cells(values: Map, side: int) -> Map:
    """Sums of cells, of ``side`` pixels a side."""
    rows = sum((values[step::side] for step in range(1, side)), start=values[::side])
    return sum((rows[:, step::side] for step in range(1, side)), start=rows[:, ::side])


def _around(cells: Map) -> Map:
    """Sums of 3x3 cells, of which those in the middle count twice along each axis; the world goes on eastwards and ends at the
    poles."""
    wide = np.pad(np.pad(cells, ((1, 1), (0, 0)), "edge"), ((0, 0), (1, 1)), "wrap")
    tall = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    return np.asarray(tall[:, :-2] + 2 * tall[:, 1:-1] + tall[:, 2:])


def _between(values: Map, zoom: int, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Map:
    n = len(values)
    (top, down), (left, right) = (_places(line, world_size(zoom) // n) for line in (rows, cols))
    first_row, first_col = top.min(), left.min()
    near = values[np.ix_(np.arange(first_row, top.max() + 2).clip(0, n - 1), np.arange(first_col, left.max() + 2) % n)]
    top, left = top - first_row, left - first_col
    lines = near[top] + (near[top + 1] - near[top]) * down[:, None]
    before = lines[:, left]
    return np.asarray(before + (lines[:, left + 1] - before) * right)


def _places(line: NDArray[np.int64], side: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Of pixels, the cell whose middle comes before theirs, and how far they are on their way to the next one's."""
    twice = 2 * line + 1 - side
    return twice // (2 * side), (twice % (2 * side) / (2 * side)).astype(np.float32)

"""Tiles of WorldCRS84Quad, warped from Web Mercator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import from_bounds
from rasterio.warp import Resampling, reproject

from model import Planet
from server.crs84 import MOST_ROWS, crs84_tile, mercator_rows, row_weights
from tests.conftest import Readings

HALF = 20037508.342789244


class Painted:
    """A planet whose pixels are a function of where they are, from west to east and from north to south in [0, 1]."""

    def __init__(self, paint: Any) -> None:
        self.paint = paint
        self.windows: list[tuple[int, ...]] = []

    def read(self, zoom: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """As `Planet.read`."""
        self.windows.append((zoom, x, y, width, height))
        size = 256 << zoom
        assert y >= 0 and y + height <= size
        down, right = np.meshgrid(
            (np.arange(y, y + height) + 0.5) / size, (np.arange(x, x + width) + 0.5) / size, indexing="ij"
        )
        return np.repeat(np.rint(self.paint(right % 1, down))[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize(("zoom", "x", "y"), [(0, 1, 0), (2, 4, 1), (3, 5, 5)])
def test_it_agrees_with_gdals_warp(planet: Planet, zoom: int, x: int, y: int) -> None:
    """Averaging rows is what GDAL does with `average`, up to its rounding of footprints to pixels of the source."""
    span = 180 / 2**zoom
    west, north = -180 + x * span, 90 - y * span
    source_zoom = zoom + 1
    size = 256 << source_zoom
    source = np.ascontiguousarray(np.moveaxis(planet.read(source_zoom, 0, 0, size, size), 2, 0))
    # GDAL reads the tile at 4 x its rows, then 4 of them are averaged, so that footprints are finer than pixels.
    fine = np.zeros((3, 1024, 256), np.uint8)
    reproject(
        source,
        fine,
        src_transform=from_bounds(-HALF, -HALF, HALF, HALF, size, size),
        src_crs=CRS.from_epsg(3857),
        dst_transform=from_bounds(west, north - span, west + span, north, 256, 1024),
        dst_crs=CRS.from_user_input("OGC:CRS84"),
        resampling=Resampling.nearest,
    )
    expected = np.moveaxis(fine.reshape(3, 256, 4, 256).mean(axis=2), 0, 2)
    ours = crs84_tile(planet, zoom, x, y).astype(float)
    latitude = north - (np.arange(256) + 0.5) * span / 256
    inside = np.abs(latitude) < 84
    assert np.abs(ours - expected)[inside].mean() < 2.0
    # A shift by one row in either direction would be seen.
    for shift in (-1, 1):
        moved = np.abs(np.roll(ours, shift, axis=0) - expected)[inside].mean()
        assert moved > 1.5 * np.abs(ours - expected)[inside].mean()


@pytest.mark.parametrize(("zoom", "y"), [(0, 0), (2, 1), (5, 3), (5, 30), (7, 4), (19, 300000)])
def test_every_row_lies_at_its_latitude(zoom: int, y: int) -> None:
    """A planet painted by latitude gives tiles painted by latitude."""
    grey = Painted(lambda _, down: 2.5 * (90 - np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * down))))) % 250)
    tile = crs84_tile(grey, zoom, 3, y)[:, :, 0].astype(float)  # type: ignore[arg-type]
    latitude = 90 - 180 * (y * 256 + np.arange(256) + 0.5) / (256 << zoom)
    near = np.abs(latitude) < 85
    expected = 2.5 * (90 - latitude) % 250
    difference = np.abs(tile - expected[:, None])[near]
    # Where the paint wraps from 250 to 0 a mean says nothing.
    wraps = np.minimum(expected, 250 - expected)[near] < 2.5 * 180 / 2**zoom / 256 * 3 + 1
    assert difference[~wraps].max() <= 1.0 + 2.5 * 180 / 2**zoom / 256


def test_neighbours_meet_where_the_source_zoom_is_lower() -> None:
    """Near the poles columns are interpolated: over the border of two tiles the slope is that within them."""
    slope = Painted(lambda right, _: 200 * np.abs(2 * right - 1))
    zoom, y = 6, 2
    left, right = (crs84_tile(slope, zoom, x, y)[100, :, 0].astype(float) for x in (20, 21))  # type: ignore[arg-type]
    assert {window[0] for window in slope.windows} == {zoom - 1}
    assert np.abs(np.diff(np.concatenate([left, right]))).max() <= 1


@pytest.mark.parametrize("zoom", range(20))
def test_no_tile_reads_more_than_it_must(zoom: int) -> None:
    grey = Painted(lambda right, _: right * 0)
    first = int((90 - 85.0511287798066) / (180 / 2**zoom))
    for y in {first, first + 1, 2**zoom // 2, 2**zoom - 1 - first} & set(range(2**zoom)):
        crs84_tile(grey, zoom, 0, y)  # type: ignore[arg-type]
    assert all(window[4] <= MOST_ROWS * 256 + 2 and window[3] <= 258 for window in grey.windows)


def test_beyond_mercator_the_outermost_row_goes_on(planet: Planet) -> None:
    tile = crs84_tile(planet, 2, 1, 0)
    beyond = int((90 - 85.0511287798066) / (45 / 256))
    assert beyond > 20
    assert (tile[:beyond] == tile[0]).all()
    assert (tile[0] == planet.read(3, 256, 0, 256, 1)[0]).all()
    south = crs84_tile(planet, 2, 1, 3)
    assert (south[-beyond:] == planet.read(3, 256, 2047, 256, 1)[0]).all()


def test_it_is_a_pure_function(planet: Planet, readings: Readings) -> None:
    assert (crs84_tile(planet, 1, 0, 0) == crs84_tile(planet, 1, 0, 0)).all()
    assert len(readings.calls) == 2


def test_weights_are_means() -> None:
    weights = row_weights(np.array([0.0, 1.0, 1.5, 4.0, 4.0]), 4)
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0.2, 0.4, 0.4], [0, 0, 0, 1]]
    assert weights == pytest.approx(np.array(expected))


def test_edges_stay_in_the_square() -> None:
    edges = mercator_rows(0, 0, 1)
    assert (edges[0], edges[-1], edges[128]) == (0, 512, 256)
    assert (np.diff(edges) >= 0).all()

"""Web Mercator arithmetic, with mercantile as the peer."""

import math
from typing import Any

import numpy as np
import pytest

from model.errors import ModelError, WindowError
from model.grid import (
    EARTH_CIRCUMFERENCE,
    MAX_LATITUDE,
    MAX_ZOOM,
    TILE_SIZE,
    Run,
    column_runs,
    ground_resolution,
    log2_ground_resolution,
    lonlat_to_pixel,
    mirror_rows,
    pixel_to_lonlat,
    row_runs,
    world_size,
    wrap_columns,
)

# A dependency, but not to be had on a bare GPU machine, where these tests run too (bench/on_gpu.sh).
mercantile = pytest.importorskip("mercantile")

PLACES = [
    (0.0, 0.0),
    (8.2, 46.4),
    (-179.999, 71.3),
    (179.999, -54.2),
    (-60.5, -3.2),
    (151.2, -33.9),
    (13.0, 85.0),
]


def test_world_size_doubles_with_each_zoom() -> None:
    assert world_size(0) == 256
    assert world_size(20) == 268_435_456
    numpy_zoom: Any = np.int64(3)
    assert type(world_size(numpy_zoom)) is int


@pytest.mark.parametrize("zoom", [-1, MAX_ZOOM + 1, 2.0, "3", None, True])
def test_a_bad_zoom_is_a_window_error(zoom: int) -> None:
    with pytest.raises(WindowError, match="integer from 0 to 20") as caught:
        world_size(zoom)
    assert isinstance(caught.value, ModelError)
    assert isinstance(caught.value, ValueError)
    for function in (
        ground_resolution,
        lambda z, _: lonlat_to_pixel(0, 0, z),
        lambda z, _: pixel_to_lonlat(0, 0, z),
    ):
        with pytest.raises(WindowError):
            function(zoom, [0])


@pytest.mark.parametrize("zoom", [0, 1, 4, 11, 18, 20])
@pytest.mark.parametrize(("lon", "lat"), PLACES)
def test_pixels_lie_in_the_tiles_of_mercantile(zoom: int, lon: float, lat: float) -> None:
    x, y = lonlat_to_pixel(lon, lat, zoom)
    tile = mercantile.tile(lon, lat, zoom)
    assert (int(x // TILE_SIZE), int(y // TILE_SIZE)) == (tile.x, tile.y)
    corner = mercantile.ul(tile)
    assert pixel_to_lonlat(tile.x * TILE_SIZE, tile.y * TILE_SIZE, zoom) == pytest.approx((corner.lng, corner.lat))
    assert pixel_to_lonlat(x, y, zoom) == pytest.approx((lon, lat), abs=1e-9)


def test_latitudes_beyond_the_square_world_are_clamped() -> None:
    assert lonlat_to_pixel(0, 90, 3)[1] == 0.0
    assert lonlat_to_pixel(0, -90, 3)[1] == world_size(3)
    assert mercantile.xy(0, MAX_LATITUDE)[1] == pytest.approx(EARTH_CIRCUMFERENCE / 2)


@pytest.mark.parametrize("zoom", [0, 4, 12, 20])
def test_ground_resolution_is_that_of_mercantile_times_the_cosine_of_latitude(zoom: int) -> None:
    size = world_size(zoom)
    rows = np.unique(np.linspace(0, size - 1, 9).astype(np.int64))
    for row, metres in zip(rows, ground_resolution(zoom, rows), strict=True):
        bounds = mercantile.xy_bounds(0, 0, zoom)
        lat = pixel_to_lonlat(0, row + 0.5, zoom)[1]
        assert metres == pytest.approx((bounds.right - bounds.left) / 256 * math.cos(math.radians(lat)), rel=1e-9)


def test_ground_resolution_at_the_equator_is_the_well_known_number() -> None:
    rows = [world_size(18) // 2 - 1, world_size(18) // 2]
    assert ground_resolution(18, rows) == pytest.approx(156543.03392804097 / 2**18, rel=1e-9)


def test_ground_resolution_beyond_the_poles_is_mirrored() -> None:
    size = world_size(5)
    assert np.array_equal(ground_resolution(5, [-1, -2, size, 3 * size]), ground_resolution(5, [0, 1, size - 1, size - 1]))
    guidance = log2_ground_resolution(5, -3, 6)
    assert guidance.dtype == np.float64
    assert np.array_equal(guidance, guidance[::-1])
    assert np.array_equal(log2_ground_resolution(5, 100, 4), np.log2(ground_resolution(5, np.arange(100, 104))))


def test_guidance_is_smooth_in_the_row() -> None:
    steps = np.diff(log2_ground_resolution(4, 0, world_size(4)))
    assert np.abs(steps).max() < 2 * math.pi / world_size(4) / math.log(2) * 1.01
    assert np.abs(np.diff(steps)).max() < 2e-5


def test_rows_are_mirrored_and_columns_wrap() -> None:
    assert mirror_rows([-2, -1, 0, 7, 8, 9, 15, 16, 17, -8, -9, -16, -17], 8).tolist() == [
        1, 0, 0, 7, 7, 6, 0, 0, 1, 7, 7, 0, 0,
    ]  # fmt: skip
    assert wrap_columns([-9, -1, 0, 7, 8, 17], 8).tolist() == [7, 7, 0, 7, 0, 1]
    assert mirror_rows(range(3), 8).dtype == wrap_columns(range(3), 8).dtype == np.int64


def _assemble(runs: tuple[Run, ...]) -> list[int]:
    out: list[int] = []
    for run in runs:
        assert run.length >= 1
        assert run.offset == len(out)
        part = list(range(run.start, run.start + run.length))
        out += part[::-1] if run.reversed else part
    return out


@pytest.mark.parametrize("size", [1, 4, 7, 256])
def test_runs_put_any_window_together(size: int) -> None:
    random = np.random.default_rng(size)
    for _ in range(300):
        start, length = int(random.integers(-5 * size, 5 * size)), int(random.integers(0, 5 * size))
        window = np.arange(start, start + length)
        assert _assemble(row_runs(start, length, size)) == mirror_rows(window, size).tolist()
        assert _assemble(column_runs(start, length, size)) == wrap_columns(window, size).tolist()


def test_a_window_inside_the_world_is_one_run() -> None:
    assert row_runs(3, 5, 8) == column_runs(3, 5, 8) == (Run(3, 5, 0, False),)
    assert row_runs(-2, 4, 8) == (Run(0, 2, 0, True), Run(0, 2, 2, False))
    assert row_runs(6, 4, 8) == (Run(6, 2, 0, False), Run(6, 2, 2, True))
    assert column_runs(6, 4, 8) == (Run(6, 2, 0, False), Run(0, 2, 2, False))
    assert row_runs(3, 0, 8) == column_runs(3, 0, 8) == ()

"""Areas: exact copies of Mercator pixels, warped pixels that agree with an independent resampling, splits that do not show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.crs import CRS

from model import Planet
from model.grid import EARTH_CIRCUMFERENCE
from server import warp
from server.area import Area, paint, parse_crs, read_area, strips, zoom_of
from server.errors import AreaError

HALF = EARTH_CIRCUMFERENCE / 2


def area(code: int, minx: float, miny: float, maxx: float, maxy: float, width: int, height: int) -> Area:
    return Area(CRS.from_epsg(code), minx, miny, maxx, maxy, width, height)


def tile_area(zoom: int, x: int, y: int, width: int, height: int) -> Area:
    """The area of Mercator pixels of `zoom` from (x, y) on."""
    unit = EARTH_CIRCUMFERENCE / (256 << zoom)
    return area(3857, x * unit - HALF, HALF - (y + height) * unit, (x + width) * unit - HALF, HALF - y * unit, width, height)


def supersampled(planet: Planet, asked: Area, samples: int = 4) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The area from zoom 4 without GDAL: bilinear at `samples` x `samples` points a pixel, their mean; and which pixels lie
    wholly in the world."""
    world = planet.read(4, 0, 0, 4096, 4096).astype(np.float64)
    xs = asked.minx + (np.arange(asked.width * samples) + 0.5) * asked.xres / samples
    ys = asked.maxy - (np.arange(asked.height * samples) + 0.5) * asked.yres / samples
    grid = np.meshgrid(xs, ys)
    transformer = Transformer.from_crs(asked.crs.to_wkt(), "EPSG:4326", always_xy=True)
    longitude, latitude = transformer.transform(*grid, errcheck=False)
    good = np.isfinite(longitude) & (np.abs(latitude) < 85.0511287)
    phi = np.radians(np.where(good, latitude, 0))
    x = (np.where(good, longitude, 0) / 360 + 0.5) * 4096 - 0.5
    y = (0.5 - np.arcsinh(np.tan(phi)) / (2 * math.pi)) * 4096 - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - left)[..., None], (y - top)[..., None]

    def at(row: NDArray[np.int_], column: NDArray[np.int_]) -> NDArray[np.float64]:
        return world[np.clip(row, 0, 4095), column % 4096]

    upper, lower = ((at(row, left) * (1 - fx) + at(row, left + 1) * fx) for row in (top, top + 1))
    values = upper * (1 - fy) + lower * fy
    shape = (asked.height, samples, asked.width, samples)
    return values.reshape(*shape, 3).mean((1, 3)), good.reshape(shape).all((1, 3))


def psnr(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(10 * np.log10(255**2 / ((a - b) ** 2).mean()))


@pytest.mark.parametrize(("zoom", "x", "y"), [(0, 0, 0), (3, 5, 2), (4, 15, 7)])
def test_an_area_on_mercators_pixels_is_the_tile(planet: Planet, zoom: int, x: int, y: int) -> None:
    asked = tile_area(zoom, x * 256, y * 256, 256, 256)
    assert zoom_of(asked) == zoom
    image = read_area(planet, asked)
    assert np.array_equal(image.pixels, planet.read(zoom, x * 256, y * 256, 256, 256))
    assert (image.mask == 255).all()


def test_an_aligned_area_over_the_antimeridian_and_beyond_the_north(planet: Planet) -> None:
    image = read_area(planet, tile_area(4, 4096 - 100, -20, 300, 120))
    assert np.array_equal(image.pixels[20:], planet.read(4, 4096 - 100, 0, 300, 100))
    assert (image.mask[:20] == 0).all() and (image.mask[20:] == 255).all()
    assert (image.pixels[:20] == 0).all()


CASES = [
    (4326, -20, 30, 40, 70, 300, 240),
    (4326, 160, -50, 205, -10, 200, 180),
    (4326, -360 + 160, -50, -360 + 205, -10, 200, 180),
    (3857, HALF - 4e6, 5e6, HALF + 4e6, 9e6, 301, 177),
    (32633, 2e5, 5e6, 9e5, 6e6, 70, 100),
    (32601, -2e5, 5e6, 9e5, 6e6, 80, 80),
    (3413, -4e6, -4e6, 4e6, 4e6, 300, 300),
    (3031, -4e6, -4e6, 4e6, 4e6, 300, 300),
    (3035, 2.5e6, 1.4e6, 7.4e6, 5.5e6, 250, 210),
    (27700, 0, 0, 7e5, 1.3e6, 60, 110),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"EPSG:{case[0]} {case[1]:.0f}")
def test_warped_pixels_are_those_of_an_independent_resampling(planet: Planet, case: tuple[float, ...]) -> None:
    minx, miny, maxx, maxy = case[1:5]
    asked = area(int(case[0]), minx, miny, maxx, maxy, int(case[5]), int(case[6]))
    image = read_area(planet, asked, min(zoom_of(asked), 4))
    expected, inside = supersampled(planet, asked)
    assert ((image.mask > 0) != inside).mean() < 0.01
    both = inside & (image.mask > 0)
    assert psnr(image.pixels[both].astype(np.float64), expected[both]) > 36
    # A shift by a pixel is worse than what is allowed, so the georeference is right.
    assert psnr(np.roll(image.pixels, 1, 1)[both].astype(np.float64), expected[both]) < 36
    assert (image.pixels[image.mask == 0] == 0).all()


WORLDS = [  # the box around the whole world, or much of it, in the CRS
    (3035, -8346515, -9456137, 16970229, 15831309, 128, 128),
    (4277, -180, -90, 180, 90, 360, 180),
    (8857, -17243959, -8392928, 17243959, 8392928, 300, 146),
]


@pytest.mark.parametrize("case", WORLDS, ids=lambda case: f"EPSG:{case[0]} {case[1]}")
def test_maps_of_the_world_have_no_holes(planet: Planet, case: tuple[int, float, float, float, float, int, int]) -> None:
    image = read_area(planet, area(*case), 3)
    inside = image.mask > 0
    assert inside.mean() > 0.7
    # No place of the planet is black, nor nearly so.
    assert image.pixels[inside].max(1).min() > 3 < planet.read(3, 0, 0, 2048, 2048).max(2).min()


def test_how_an_area_is_split_does_not_show(planet: Planet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warp, "PIECE", 64)
    asked = area(3035, 2.5e6, 1.4e6, 7.4e6, 5.5e6, 150, 140)
    whole = read_area(planet, asked)
    zoom = zoom_of(asked)
    rows = [done for done in strips(planet, asked) if done is not None]
    assert [row for row, _ in rows] == [0, 64, 128]
    assert np.array_equal(np.concatenate([strip.pixels for _, strip in rows]), whole.pixels)
    for done in paint(planet, asked):
        if done is not None:
            column, row, piece = done
            height, width = piece.mask.shape
            part = read_area(planet, asked.window(column, row, width, height), zoom)
            assert np.array_equal(part.pixels, piece.pixels)
            assert np.array_equal(whole.pixels[row : row + height, column : column + width], piece.pixels)


def test_pieces_of_any_size_agree_but_for_rounding(planet: Planet, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = area(4326, -20, 30, 40, 50, 300, 100)
    whole = read_area(planet, asked)
    monkeypatch.setattr(warp, "PIECE", 50)
    assert psnr(read_area(planet, asked).pixels.astype(np.float64), whole.pixels.astype(np.float64)) > 45


def test_long_work_takes_turns(planet: Planet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warp, "TURN_SECONDS", 0.0)
    steps = list(paint(planet, tile_area(4, 0, 0, 700, 300)))
    assert steps.count(None) >= 3
    assert len([step for step in steps if step is not None]) == 2


@pytest.mark.parametrize(
    ("box", "zoom"),
    [
        ((3857, -HALF, -HALF, HALF, HALF, 256, 256), 0),
        ((3857, -HALF, -HALF, HALF, HALF, 307, 307), 0),
        ((3857, -HALF, -HALF, HALF, HALF, 308, 308), 1),
        ((32633, 4e5, 0, 6e5, 2e5, 1310, 1310), 10),
        ((4326, 10, 0, 11, 1, 1000000, 1000000), 20),
    ],
)
def test_the_zoom_is_the_first_whose_pixels_are_at_most_a_fifth_larger(
    box: tuple[int, float, float, float, float, int, int], zoom: int
) -> None:
    assert zoom_of(area(*box)) == zoom


@pytest.mark.parametrize(
    ("bounds", "size", "word"),
    [
        ((0, 0, 0, 1), (10, 10), "empty"),
        ((0, 1, 1, 0), (10, 10), "inverted"),
        ((0, 0, math.nan, 1), (10, 10), "finite"),
        ((0, 0, math.inf, 1), (10, 10), "finite"),
        ((0, 0, 1, 1), (0, 10), "width"),
        ((0, 0, 1, 1), (10, 1 << 25), "height"),
        ((1, 1, 1 + 1e-15, 2), (10, 10), "narrow"),
    ],
)
def test_what_is_no_area(bounds: tuple[float, float, float, float], size: tuple[int, int], word: str) -> None:
    with pytest.raises(AreaError, match=word):
        area(4326, *bounds, *size)


@pytest.mark.parametrize(
    ("box", "word"),
    [
        ((4326, -190, 0, 171, 1), "wider"),
        ((4326, 181, 0, 182, 1), "outside"),
        ((4326, 0, 80, 1, 91), "latitudes"),
        ((4807, 0, 90, 1, 101), "100"),
        ((4326, 0, 86, 1, 87), "85.0511"),
        ((3857, 3e7, 0, 3.1e7, 1), "outside"),
        ((3857, 0, 3e7, 1, 3.1e7), "85.0511"),
    ],
)
def test_what_lies_outside_of_the_world(box: tuple[int, float, float, float, float], word: str) -> None:
    with pytest.raises(AreaError, match=word):
        area(*box, 10, 10).check_within_world()
    area(4326, 170, 0, 190, 10, 10, 10).check_within_world()
    area(4807, -200, -100, 200, 100, 10, 10).check_within_world()  # in grads


def test_names_of_crs() -> None:
    names = ("EPSG:4326", "4326", "CRS:84", "urn:ogc:def:crs:OGC:1.3:CRS84", "http://www.opengis.net/def/crs/EPSG/0/4326")
    assert {parse_crs(name).to_epsg() for name in names} == {4326}
    assert {parse_crs(name).to_epsg() for name in ("EPSG:900913", "epsg:3857")} == {3857}
    for bad in ("", "EPSG:0", "EPSG:999999", "EPSG:4978", "EPSG:5773", "mars", "EPSG:+1", "EPSG:" + "9" * 40, "+proj=merc"):
        with pytest.raises(AreaError):
            parse_crs(bad)

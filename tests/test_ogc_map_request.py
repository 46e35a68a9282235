"""From a map's parameters to its area: boxes, sizes and scales, axis orders, and what contradicts itself."""

from __future__ import annotations

import math

import pytest

from server.box_request import MAX_PIXELS
from server.errors import AreaError, AreaTooLargeError, ParameterError, ResourceNotFoundError
from server.ogc.crs import MapCRS, metres_per_unit
from server.ogc.map_request import MapParameters
from server.ogc.models import CRS84

HALF = 20037508.342789244
EPSG4326 = "http://www.opengis.net/def/crs/EPSG/0/4326"


def test_without_parameters_it_is_the_world() -> None:
    area, crs = MapParameters().resolve()
    assert crs.uri == CRS84
    assert area.bounds == pytest.approx((-180, -85.0511287798066, 180, 85.0511287798066))
    assert (area.width, area.height) == (1024, 484)
    mercator, _ = MapParameters(crs="EPSG:3857").resolve()
    assert mercator.bounds == pytest.approx((-HALF, -HALF, HALF, HALF))
    assert (mercator.width, mercator.height) == (1024, 1024)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(400, None, (400, 200)), (None, 100, (200, 100)), (300, 300, (300, 300)), (None, None, (1024, 512))],
)
def test_sizes_not_given_follow_from_the_box(width: int | None, height: int | None, size: tuple[int, int]) -> None:
    area, _ = MapParameters(bbox="0,0,20,10", width=width, height=height).resolve()
    assert (area.width, area.height) == size


@pytest.mark.parametrize("name", [EPSG4326, "[EPSG:4326]", "EPSG:4326", "urn:ogc:def:crs:EPSG::4326", "https" + EPSG4326[4:]])
def test_epsg_4326_has_latitude_first(name: str) -> None:
    area, crs = MapParameters(bbox="40,0,50,20", bbox_crs=name, crs=name, width=100).resolve()
    assert area.bounds == pytest.approx((0, 40, 20, 50))
    assert crs.uri == EPSG4326
    assert crs.ordered(area.bounds) == (40, 0, 50, 20)


@pytest.mark.parametrize("name", [CRS84, CRS84.replace("http:", "https:"), "[OGC:CRS84]", "OGC:CRS84", "CRS:84"])
def test_crs84_has_longitude_first(name: str) -> None:
    area, crs = MapParameters(bbox="0,40,20,50", bbox_crs=name, crs=name).resolve()
    assert area.bounds == pytest.approx((0, 40, 20, 50))
    assert crs.uri == CRS84


def test_a_box_comes_to_the_crs_of_the_map() -> None:
    area, crs = MapParameters(bbox="-180,-90,180,90", crs="EPSG:3857").resolve()
    assert area.bounds == pytest.approx((-HALF, -HALF, HALF, HALF))
    assert crs.uri.endswith("EPSG/0/3857")
    back, _ = MapParameters(bbox=f"0,0,{HALF / 2},{HALF / 2}", bbox_crs="EPSG:3857").resolve()
    assert back.bounds == pytest.approx((0, 0, 90, 66.51326))
    zone, _ = MapParameters(bbox="3,10,4,11", crs="EPSG:32631").resolve()
    assert zone.bounds[0] == pytest.approx(500_000, abs=1)


@pytest.mark.parametrize("crs", [None, "EPSG:3857"])
def test_boxes_over_the_antimeridian(crs: str | None) -> None:
    """west beyond east, as bbox and as subset."""
    by_box, _ = MapParameters(bbox="170,-10,-170,10", crs=crs).resolve()
    by_subset, _ = MapParameters(subset=("Lat(-10:10)", "Lon(170:-170)"), crs=crs).resolve()
    unit = 1 if crs is None else HALF / 180
    assert by_box.bounds[0] == pytest.approx(170 * unit)
    assert by_box.bounds[2] == pytest.approx(190 * unit)
    assert by_box == by_subset


def test_subsets() -> None:
    together, _ = MapParameters(subset=("Lat(40:50),Lon(0:10)",)).resolve()
    apart, _ = MapParameters(subset=("Lon(0:10)", "Lat(40:50)")).resolve()
    assert together.bounds == apart.bounds == pytest.approx((0, 40, 10, 50))
    half, _ = MapParameters(subset=("Lat(0:*)",)).resolve()
    assert half.bounds == pytest.approx((-180, 0, 180, 85.0511287798066))
    beyond, _ = MapParameters(subset=("Lat(80:120)",)).resolve()
    assert beyond.bounds[3] == 90
    projected, _ = MapParameters(subset=("E(0:1000),N(2000:4000)",), subset_crs="EPSG:3857", crs="EPSG:3857").resolve()
    assert projected.bounds == pytest.approx((0, 2000, 1000, 4000))


def test_scales() -> None:
    """20-058, scaling: metres per pixel = mm-per-pixel / 1000 * scale-denominator, on the ground."""
    area, _ = MapParameters(bbox="-1,-1,1,1", scale_denominator=1e6).resolve()
    assert area.width == pytest.approx(2 * 111319.49 / 280, abs=1)
    doubled, _ = MapParameters(bbox="-1,-1,1,1", scale_denominator=1e6, mm_per_pixel=0.56).resolve()
    assert doubled.width == pytest.approx(area.width / 2, abs=1)
    north, _ = MapParameters(bbox="-1,59,1,61", scale_denominator=1e6).resolve()
    assert north.width == pytest.approx(area.width / 2, abs=2)
    assert north.height == pytest.approx(area.height, abs=2)


def test_a_centre_with_a_size_at_a_scale_cuts_out() -> None:
    area, _ = MapParameters(center="10,60", scale_denominator=1e6, width=200, height=100).resolve()
    assert (area.width, area.height) == (200, 100)
    minx, miny, maxx, maxy = area.bounds
    assert ((minx + maxx) / 2, (miny + maxy) / 2) == pytest.approx((10, 60))
    assert (maxy - miny) * 111319.49 == pytest.approx(100 * 280, rel=1e-3)
    assert (maxx - minx) * 111319.49 * math.cos(math.radians(60)) == pytest.approx(200 * 280, rel=1e-3)
    swapped, _ = MapParameters(center="60,10", center_crs="EPSG:4326", scale_denominator=1e6, width=200, height=100).resolve()
    assert swapped.bounds == pytest.approx(area.bounds)
    whole, _ = MapParameters(scale_denominator=559082264.0).resolve()
    assert whole.bounds[2] - whole.bounds[0] == pytest.approx(360, rel=0.01), "nobody gave a size: it ends where the world does"


def test_metres_per_unit() -> None:
    crs84, mercator = MapCRS.parse(CRS84), MapCRS.parse("EPSG:3857")
    assert metres_per_unit((0, 0), crs84) == pytest.approx((111319.49, 111319.49), rel=1e-5)
    x, y = metres_per_unit((0, 8399737.9), mercator)  # 60 N
    assert x == pytest.approx(0.5, rel=1e-3)
    assert y == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(
    "parameters",
    [
        MapParameters(bbox="0,0,10"),
        MapParameters(bbox="0,0,10,10,5"),
        MapParameters(bbox="a,b,c,d"),
        MapParameters(bbox=""),
        MapParameters(bbox="0,0,nan,10"),
        MapParameters(bbox="0,0,inf,10"),
        MapParameters(bbox="0,0,1,1", center="0,0"),
        MapParameters(bbox="0,0,1,1", subset=("Lat(0:1)",)),
        MapParameters(center="0,0", subset=("Lat(0:1)",)),
        MapParameters(bbox="0,0,1,1", scale_denominator=1e6, width=10),
        MapParameters(subset=("Lat(0:1)",), scale_denominator=1e6, height=10),
        MapParameters(center="1"),
        MapParameters(center="1,2,3"),
        MapParameters(subset=("Foo(1:2)",)),
        MapParameters(subset=("Lat(1)",)),
        MapParameters(subset=("Lat",)),
        MapParameters(subset=("Lat(1:2)x",)),
        MapParameters(subset=("E(1:2)",)),
        MapParameters(subset=("Lat(1:2)",), subset_crs="EPSG:3857"),
        MapParameters(subset=("Lat(x:2)",)),
    ],
)
def test_malformed_and_contradicting(parameters: MapParameters) -> None:
    with pytest.raises(ParameterError, match=r"\.$"):
        parameters.resolve()


@pytest.mark.parametrize(
    "parameters",
    [
        MapParameters(bbox="10,10,10,20"),
        MapParameters(bbox="0,20,10,10"),
        MapParameters(bbox="0,-95,10,10"),
        MapParameters(bbox="0,86,10,88"),
        MapParameters(bbox="-180,0,190,10"),
        MapParameters(bbox="400,0,410,10"),
        MapParameters(bbox="10,10,10.000000000000002,11", width=1000, height=10),
        MapParameters(crs="EPSG:0"),
        MapParameters(crs="nonsense"),
        MapParameters(crs="EPSG:5773"),
        MapParameters(bbox="0,0,1,1", bbox_crs="EPSG:999999"),
        MapParameters(center="0,89.9999", width=10, height=10, scale_denominator=1000),
        MapParameters(center="0,0", width=1000, height=1000, scale_denominator=1e12),
    ],
)
def test_boxes_that_make_no_map(parameters: MapParameters) -> None:
    with pytest.raises(AreaError, match=r"\.$"):
        parameters.resolve()


def test_a_subset_outside_of_the_world_is_not_found() -> None:
    """20-058, /req/spatial-subsetting/subset-definition: 204 or 404."""
    for axis in ("Lat(95:99)", "Lon(181:190)", "Lat(-99:-91)"):
        with pytest.raises(ResourceNotFoundError, match="outside"):
            MapParameters(subset=(axis,)).resolve()


def test_the_limit_of_pixels() -> None:
    area, _ = MapParameters(width=4096, height=4096).resolve()
    assert area.width * area.height == MAX_PIXELS
    for parameters in (
        MapParameters(width=4097, height=4096),
        MapParameters(bbox="0,0,0.001,10", height=70_000),
        MapParameters(bbox="0,0,10,10", scale_denominator=1),
        MapParameters(bbox="-180,0,180,1e-9", height=1000),
    ):
        with pytest.raises(AreaTooLargeError, match="POST /exports"):
            parameters.resolve()

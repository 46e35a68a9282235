"""OGC API - Maps over HTTP: right pixels in every CRS and format, headers, backgrounds, caching, refusals."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.io import MemoryFile
from starlette.testclient import TestClient

from model import Planet
from server.area import Area, GeoImage
from server.ogc.background import Background, find_void, parse_colour
from server.ogc.crs import MapCRS
from tests.conftest import Readings

HALF = 20037508.342789244
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def decode(content: bytes, mode: str = "RGB") -> Pixels:
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode))


@pytest.mark.parametrize("base", ["/map", "/collections/earth/map"])
def test_a_map_on_the_grid_is_the_planet_itself(shared_client: TestClient, planet: Planet, base: str) -> None:
    quarter = f"bbox=0,0,{HALF},{HALF}&bbox-crs=EPSG:3857&crs=EPSG:3857&width=512&height=512"
    answer = shared_client.get(f"{base}?{quarter}")
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(decode(answer.content), planet.read(2, 512, 0, 512, 512))
    assert answer.headers["content-crs"] == "<http://www.opengis.net/def/crs/EPSG/0/3857>"
    assert [float(number) for number in answer.headers["content-bbox"].split(",")] == [0, 0, HALF, HALF]


def test_content_bbox_has_the_order_of_the_axes(shared_client: TestClient) -> None:
    """20-058, /req/core/map-response."""
    plain = shared_client.get("/map?bbox=0,40,20,50&width=20")
    assert plain.headers["content-crs"] == "<http://www.opengis.net/def/crs/OGC/1.3/CRS84>"
    assert plain.headers["content-bbox"] == "0,40,20,50"
    swapped = shared_client.get("/map?bbox=0,40,20,50&width=20&crs=EPSG:4326")
    assert swapped.headers["content-crs"] == "<http://www.opengis.net/def/crs/EPSG/0/4326>"
    assert swapped.headers["content-bbox"] == "40,0,50,20"
    assert np.array_equal(decode(plain.content), decode(swapped.content)), "east is to the right in both"


@pytest.mark.parametrize(
    ("f", "media_type", "kind"),
    [
        ("png", "image/png", "PNG"),
        ("jpeg", "image/jpeg", "JPEG"),
        ("tiff", "image/tiff", "TIFF"),
        ("webp", "image/webp", "WEBP"),
    ],
)
def test_formats(shared_client: TestClient, f: str, media_type: str, kind: str) -> None:
    path = "/map?bbox=0,-20,40,20&width=80"
    by_parameter = shared_client.get(f"{path}&f={f}")
    by_header = shared_client.get(path, headers={"accept": media_type})
    assert by_parameter.headers["content-type"] == by_header.headers["content-type"] == media_type
    assert by_parameter.content == by_header.content
    picture = Image.open(io.BytesIO(by_parameter.content))
    assert picture.format == kind
    assert picture.size == (80, 80)
    head = shared_client.head(f"{path}&f={f}")
    assert head.content == b""
    assert head.headers["content-bbox"] == by_parameter.headers["content-bbox"]
    assert head.headers["etag"] == by_parameter.headers["etag"]


def test_a_geotiff_knows_its_place(shared_client: TestClient) -> None:
    answer = shared_client.get("/map?f=tiff&bbox=0,0,6,6&crs=EPSG:32631&width=64")
    png = shared_client.get("/map?f=png&bbox=0,0,6,6&crs=EPSG:32631&width=64")
    with MemoryFile(answer.content) as memory, memory.open() as file:
        assert file.crs == rasterio.crs.CRS.from_epsg(32631)
        assert tuple(file.bounds) == pytest.approx([float(number) for number in answer.headers["content-bbox"].split(",")])
        assert np.array_equal(np.moveaxis(file.read([1, 2, 3]), 0, 2), decode(png.content))


def test_no_data_is_transparent_by_default_and_coloured_by_wish(shared_client: TestClient) -> None:
    """20-058, background: white and transparent; opaque where a colour is given."""
    path = "/map?bbox=-180,-90,180,90&width=72"
    clear = decode(shared_client.get(path).content, "RGBA")
    assert clear[0, 0].tolist() == [255, 255, 255, 0]
    assert clear[36 // 2, 36].tolist()[3] == 255
    for query, pixel in (
        ("&transparent=false", [255, 255, 255, 255]),
        ("&bgcolor=0x102030", [16, 32, 48, 255]),
        ("&bgcolor=Navy", [0, 0, 128, 255]),
        ("&bgcolor=navy&transparent=true", [0, 0, 128, 0]),
    ):
        assert decode(shared_client.get(path + query).content, "RGBA")[0, 0].tolist() == pixel
    # JPEG mixes the colours of neighbours, so far into the cap.
    jpeg = decode(shared_client.get("/map?bbox=-20,80,20,90&width=160&f=jpeg&bgcolor=0xFF0000").content)
    assert np.abs(jpeg[0, 0].astype(int) - [255, 0, 0]).max() < 8
    with MemoryFile(shared_client.get(f"{path}&f=tiff").content) as memory, memory.open() as file:
        assert file.count == 4
        assert file.read(4)[0, 0] == 0


def test_void_has_its_own_colour(shared_client: TestClient) -> None:
    """20-058: beyond the projection it is void, and the pole is only without data."""
    path = "/map?crs=EPSG:3035&width=60&bgcolor=lime&void-color=red"
    whole = "&bbox=-9000000,-9000000,18000000,18000000&bbox-crs=EPSG:3035"
    pixels = decode(shared_client.get(path + whole).content, "RGBA").reshape(-1, 4).tolist()
    assert [255, 0, 0, 255] in pixels
    assert [0, 255, 0, 255] in pixels
    half_clear = decode(shared_client.get(f"{path}{whole}&void-transparent=true").content, "RGBA").reshape(-1, 4).tolist()
    assert [255, 0, 0, 255] not in half_clear
    assert any(pixel[3] == 0 for pixel in half_clear)
    assert [0, 255, 0, 255] in half_clear


def test_backgrounds_and_void_by_themselves() -> None:
    assert parse_colour("bgcolor", "0xFF8000") == parse_colour("bgcolor", "#ff8000") == (255, 128, 0)
    assert parse_colour("bgcolor", "0x80FF8000") == (255, 128, 0)
    area = Area(MapCRS.parse("EPSG:4326").crs, -180, -90, 180, 90, 4, 2)
    assert not find_void(area, np.ones((2, 4), bool)).any()
    pixels, mask = np.full((2, 4, 3), 7, np.uint8), np.full((2, 4), 255, np.uint8)
    background = Background.parse(None, None, None, None)
    image = GeoImage(pixels, mask, area.transform, area.crs)
    assert background.apply(area, image, True) is image, "nothing is empty"
    mask[0] = 0
    for alpha, opacity in ((True, 0), (False, 255)):
        shown = background.apply(area, image, alpha)
        assert shown.pixels[:, 0].tolist() == [[255, 255, 255], [7, 7, 7]]
        assert shown.mask[:, 0].tolist() == [opacity, 255]


def test_a_map_over_the_antimeridian_is_of_one_piece(shared_client: TestClient, planet: Planet) -> None:
    whole = decode(shared_client.get("/map?bbox=170,-10,-170,10&width=160&height=160").content)
    east = decode(shared_client.get("/map?bbox=170,-10,180,10&width=80&height=160").content)
    west = decode(shared_client.get("/map?bbox=-180,-10,-170,10&width=80&height=160").content)
    parts = np.concatenate([east, west], 1).astype(int)
    assert np.abs(whole - parts).max() <= 2


def test_a_map_held_is_304_and_nothing_is_rendered(client: TestClient, readings: Readings) -> None:
    path = "/map?bbox=0,0,20,20&width=64"
    first = client.get(path)
    done = len(readings.calls)
    assert done
    held = client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (held.status_code, held.content) == (304, b"")
    assert "max-age" in first.headers["cache-control"]
    assert len(readings.calls) == done
    others = {client.head(path + more).headers["etag"] for more in ("&f=jpeg", "&bgcolor=red", "&height=63", "&crs=EPSG:4087")}
    assert len(others | {first.headers["etag"]}) == 5


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("f=gif", 400, "f=png"),
        ("width=0", 400, "width"),
        ("width=-5", 400, "width"),
        ("width=1.5", 400, "width"),
        ("height=abc", 400, "height"),
        ("width=5000&height=5000", 413, "/exports"),
        ("width=99999999999999999999", 400, "width"),
        ("scale-denominator=0", 400, "scale-denominator"),
        ("mm-per-pixel=nan", 400, "mm-per-pixel"),
        ("bbox=0,0,10", 400, "bbox"),
        ("bbox=10,0,10,10", 400, "empty"),
        ("bbox=0,0,inf,10", 400, "finite"),
        ("bbox=0,86,10,88", 400, "outside"),
        ("bbox=0,0,1,1&bbox-crs=EPSG:1", 400, "EPSG"),
        ("crs=EPSG:999999", 400, "EPSG"),
        ("crs=" + "x" * 3000, 400, "EPSG"),
        ("bgcolor=nocolour", 400, "bgcolor"),
        ("void-color=", 400, "void-color"),
        ("transparent=perhaps", 400, "transparent"),
        ("subset=Lat(95:99)", 404, "outside"),
        ("subset=Foo(1:2)", 400, "axis"),
        ("bbox=0,0,1,1&center=0,0", 400, "leave"),
        ("bbox=0,0,1,1&width=5&scale-denominator=1000000", 400, "leave"),
        ("f=webp&width=20000&height=10&bbox=0,0,10,1", 400, "webp"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refusals(shared_client: TestClient, query: str, status: int, word: str) -> None:
    answer = shared_client.get(f"/map?{query}")
    assert answer.status_code == status
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["status"] == status
    assert word in body["detail"]
    assert body["detail"].endswith(".")
    assert len(body["detail"]) < 250


def test_accept_without_any_format_of_ours_is_406(shared_client: TestClient) -> None:
    answer = shared_client.get("/map", headers={"accept": "text/plain"})
    assert answer.status_code == 406
    assert "image/png" in answer.json()["detail"]

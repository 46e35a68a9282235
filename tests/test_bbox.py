"""`/bbox` over HTTP: sizes, reference systems, formats, clips, conditional requests, and a sentence for each mistake."""

from __future__ import annotations

import asyncio
import io
import zipfile
from typing import Any

import httpx
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from starlette.testclient import TestClient

from model import Planet
from model.grid import EARTH_CIRCUMFERENCE
from server.area import Area, read_area
from server.fastpath import FastPath
from tests.conftest import Readings


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    """One application for all: nothing here depends on what is cached."""
    return shared_client


HALF = EARTH_CIRCUMFERENCE / 2
TRIANGLE = {"type": "Polygon", "coordinates": [[[-10, 40], [30, 40], [10, 60], [-10, 40]]]}


def decode(content: bytes, mode: str = "RGB") -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode))


def expected(
    planet: Planet, code: int, bounds: tuple[float, float, float, float], width: int, height: int
) -> NDArray[np.uint8]:
    return read_area(planet, Area(CRS.from_epsg(code), *bounds, width, height)).pixels


def test_a_box_in_longitude_and_latitude(client: TestClient, planet: Planet) -> None:
    answer = client.get("/bbox/-20,30,40,70.png?width=300")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert int(answer.headers["content-length"]) == len(answer.content)
    pixels = decode(answer.content)
    assert pixels.shape == (200, 300, 3)
    assert np.array_equal(pixels, expected(planet, 4326, (-20, 30, 40, 70), 300, 200))


def test_the_default_size(client: TestClient) -> None:
    assert Image.open(io.BytesIO(client.get("/bbox/-180,-60,180,60.jpg").content)).size == (1024, 341)


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ("?height=100", (150, 100)),
        ("?width=50&height=80", (50, 80)),
        # A degree is 111.3 km, at the middle's 50 N 71.6 km from west to east.
        ("?resolution=20000", (215, 223)),
        # 0.3516 degrees a pixel at zoom 2.
        ("?zoom=2", (171, 177)),
        ("?width=120&crs=EPSG:3857", (120, 136)),
        ("?resolution=20000&crs=EPSG:3857", (334, 378)),
        ("?zoom=2&crs=EPSG:3857", (171, 194)),
    ],
)
def test_sizes(client: TestClient, query: str, size: tuple[int, int]) -> None:
    answer = client.get(f"/bbox/-20,30,40,70.jpg{query}")
    assert answer.status_code == 200, answer.text
    width, height = Image.open(io.BytesIO(answer.content)).size
    assert abs(width - size[0]) <= 1 and abs(height - size[1]) <= 1, (width, height)


def test_the_box_of_a_tile_is_the_tile(client: TestClient) -> None:
    unit = EARTH_CIRCUMFERENCE / 16
    box = f"{3 * unit - HALF!r},{HALF - 6 * unit!r},{4 * unit - HALF!r},{HALF - 5 * unit!r}"
    tile = decode(client.get("/4/3/5.png").content)
    for query in ("width=256", "zoom=4", "height=256"):
        assert np.array_equal(decode(client.get(f"/bbox/{box}.png?bbox_crs=EPSG:3857&{query}").content), tile), query


def test_zoom_in_mercator_copies_whole_pixels(client: TestClient, planet: Planet) -> None:
    pixels = decode(client.get("/bbox/0,0,20,20.png?crs=EPSG:3857&zoom=4").content)
    height, width = pixels.shape[:2]
    assert np.array_equal(pixels, planet.read(4, 2048, 2048 - height, width, height))


def test_geotiff_is_georeferenced_tiled_and_compressed(client: TestClient, planet: Planet) -> None:
    answer = client.get("/bbox/9,50,21,56.tif?crs=EPSG:32633&resolution=10000")
    assert answer.headers["content-type"] == "image/tiff"
    with MemoryFile(answer.content) as memory, memory.open() as file:
        assert file.crs.to_epsg() == 32633
        assert file.profile["tiled"] and file.compression is rasterio.enums.Compression.deflate
        assert file.count == 3
        assert abs(file.res[0] / 10000 - 1) < 0.01 and abs(file.res[1] / 10000 - 1) < 0.01
        pixels = np.moveaxis(file.read(), 0, 2)
        bounds = file.bounds
    assert np.array_equal(pixels, expected(planet, 32633, tuple(bounds), pixels.shape[1], pixels.shape[0]))
    # The UTM box holds the box in degrees: 9 E, 50 N is 69,8 km east of the zone's 0.
    assert bounds.left < 72_000 and bounds.bottom < 5_540_000 and bounds.top > 6_200_000


def test_a_box_over_the_antimeridian(client: TestClient, planet: Planet) -> None:
    answer = client.get("/bbox/160,-50,-155,-10.tif?width=225")
    with MemoryFile(answer.content) as memory, memory.open() as file:
        assert tuple(file.bounds) == (160, -50, 205, -10)
        pixels = np.moveaxis(file.read(), 0, 2)
    assert np.array_equal(pixels, expected(planet, 4326, (160, -50, 205, -10), 225, 200))
    west = decode(client.get("/bbox/160,-50,180,-10.png?width=100").content)
    assert np.abs(west[:, :98].astype(int) - pixels[:, :98]).mean() < 1
    for query in ("crs=EPSG:3857", "crs=EPSG:3832", "crs=EPSG:3460"):
        assert client.get(f"/bbox/160,-50,-155,-10.tif?width=200&{query}").status_code == 200
    mercator = client.get("/bbox/160,-50,-155,-10.tif?width=200&crs=EPSG:3857")
    with MemoryFile(mercator.content) as memory, memory.open() as file:
        assert file.bounds.right - file.bounds.left == pytest.approx(EARTH_CIRCUMFERENCE / 8)


def test_polar_boxes_are_transparent_beyond_mercator(client: TestClient) -> None:
    answer = client.get("/bbox/-4000000,-4000000,4000000,4000000.png?bbox_crs=EPSG:3413&width=200")
    alpha = decode(answer.content, "RGBA")[:, :, 3]
    assert alpha[100, 100] == 0 and alpha[100, 130] == 255
    # The hole is 85.05 N, 537 km from the pole in this projection.
    assert 50 < (alpha[60:140, 60:140] == 0).sum() / (np.pi * 13.4**2) * 100 < 120
    white = decode(client.get("/bbox/-4000000,-4000000,4000000,4000000.jpg?bbox_crs=EPSG:3413&width=200").content)
    assert (white[100, 100] > 250).all()
    around = client.get("/bbox/-4000000,-4000000,4000000,4000000.tif?bbox_crs=EPSG:3413&crs=EPSG:4326&width=200")
    with MemoryFile(around.content) as memory, memory.open() as file:
        assert (file.bounds.left, file.bounds.right, file.bounds.top) == (-180, 180, 90)
        assert file.count == 4 and file.colorinterp[3].name == "alpha"


def test_the_whole_world_in_a_crs_that_has_one_pole(client: TestClient) -> None:
    """The other pole is at infinity; the box goes as far as there are pixels."""
    with MemoryFile(client.get("/bbox/-180,-90,180,90.tif?crs=EPSG:3413&width=64").content) as memory, memory.open() as file:
        assert (file.width, file.height) == (64, 64)
        assert file.bounds.right == pytest.approx(283432863, rel=1e-3)
        assert (file.read(4) > 0).mean() == pytest.approx(np.pi / 4, abs=0.02)
    # Mercator of another ellipsoid is as square as ours.
    assert Image.open(io.BytesIO(client.get("/bbox/-180,-90,180,90.png?crs=EPSG:3395&width=100").content)).size == (100, 100)


def test_png_with_world_file(client: TestClient) -> None:
    for address in ("/bbox/-20,30,40,70.zip?width=120", "/bbox/-20,30,40,70.png?width=120&format=zip"):
        answer = client.get(address)
        assert answer.headers["content-type"] == "application/zip"
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        assert sorted(archive.namelist()) == ["map.pgw", "map.png", "map.prj"]
        assert decode(archive.read("map.png")).shape == (80, 120, 3)
        assert [float(line) for line in archive.read("map.pgw").split()] == pytest.approx([0.5, 0, 0, -0.5, -19.75, 69.75])
        assert CRS.from_wkt(archive.read("map.prj").decode()).is_geographic


@pytest.mark.parametrize(("name", "mode"), [("png", "RGBA"), ("webp", "RGBA"), ("tif", "RGBA"), ("jpg", "RGB")])
def test_a_clip_cuts(client: TestClient, name: str, mode: str) -> None:
    body = {"bbox": [-20, 30, 40, 70], "width": 300, "format": name, "clip": TRIANGLE}
    answer = client.post("/bbox", json=body)
    assert answer.status_code == 200, answer.text
    pixels = decode(answer.content, mode)
    # Rows are 0.2 degrees: the triangle is 200 pixels wide at row 150 (40 N) and ends at row 50 (60 N).
    inside: NDArray[np.bool_] = pixels[:, :, 3] == 255 if mode == "RGBA" else np.any(pixels < 240, axis=2)
    assert inside[100, 150] and not inside[100, 60] and not inside[20, 150] and not inside[180, 150]
    if mode == "RGBA":
        assert inside.sum() == pytest.approx(200 * 100 / 2, rel=0.02)


def test_a_clip_gives_the_box_and_may_cross_the_antimeridian(client: TestClient) -> None:
    shape = {"type": "Feature", "properties": {}, "geometry": TRIANGLE}
    assert decode(client.post("/bbox", json={"clip": shape, "width": 100}).content).shape == (50, 100, 3)
    halves = [
        [[[170, -10], [180, -10], [180, 10], [170, 10], [170, -10]]],
        [[[-180, -10], [-170, -10], [-170, 10], [-180, 10], [-180, -10]]],
    ]
    body = {"bbox": [160, -20, -160, 20], "clip": {"type": "MultiPolygon", "coordinates": halves}, "width": 80}
    for crs in (None, "EPSG:3857"):
        alpha = decode(client.post("/bbox", json={**body, "crs": crs}).content, "RGBA")[:, :, 3]
        assert (alpha[40, 22:58] == 255).all() and (alpha[40, :18] == 0).all() and (alpha[40, 62:] == 0).all()


def test_conditional_requests_and_head(client: TestClient, readings: Readings) -> None:
    address = "/bbox/-20,30,40,70.png?width=60"
    head = client.head(address)
    assert head.status_code == 200 and head.content == b"" and not readings.calls
    got = client.get(address)
    assert got.headers["etag"] == head.headers["etag"]
    assert got.headers["cache-control"] == "public, max-age=604800"
    count = len(readings.calls)
    again = client.get(address, headers={"if-none-match": got.headers["etag"]})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == got.headers["etag"]
    assert len(readings.calls) == count
    others = {
        client.head(a).headers["etag"] for a in (address + "1", address.replace("png", "jpg"), address + "&crs=EPSG:3857")
    }
    assert len(others | {got.headers["etag"]}) == 4


def test_a_client_that_leaves_stops_the_work(app: FastPath, readings: Readings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.warp.TURN_SECONDS", 0.0)
    unit = EARTH_CIRCUMFERENCE / 4096

    async def main() -> None:
        gone = asyncio.Event()
        begun = asyncio.get_running_loop().create_task(asyncio.sleep(0))
        await begun
        first = True

        async def receive() -> dict[str, Any]:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": b"", "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(_: Any) -> None:
            pass

        path = f"/bbox/{-HALF!r},{-HALF!r},{2048 * unit!r},{2048 * unit!r}.png"
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
        }
        scope |= {"path": path, "raw_path": path.encode(), "query_string": b"bbox_crs=EPSG:3857&zoom=4", "root_path": ""}
        request = asyncio.create_task(app({**scope, "headers": [(b"host", b"tiles.test")]}, receive, send))
        while len(readings.calls) < 3:
            await asyncio.sleep(0.001)
        gone.set()
        await request
        count = len(readings.calls)
        await asyncio.sleep(0.2)
        assert len(readings.calls) <= count + 1 < 200

    asyncio.run(main())


def test_tiles_find_their_turn_while_a_box_is_painted(
    app: FastPath, readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.warp.TURN_SECONDS", 0.0)

    async def main() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://tiles.test") as client:
            box = asyncio.create_task(client.get(f"/bbox/{-HALF!r},{-HALF!r},{HALF!r},{HALF!r}.jpg?bbox_crs=EPSG:3857&zoom=3"))
            while not readings.calls:
                await asyncio.sleep(0.001)
            assert (await client.get("/2/1/1.png")).status_code == 200
            assert not box.done()
            assert (await box).status_code == 200

    asyncio.run(main())

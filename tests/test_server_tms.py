"""Tile Map Service 1.0.0: its documents, its rows from the south, its errors."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from starlette.testclient import TestClient

from model import Planet
from server.app import create_app
from server.fastpath import FastPath
from tests.conftest import MakeSettings, Readings
from tests.test_server_tiles import decode
from tests.test_server_variants import silence

WORLD = 20037508.342789244


def document(client: TestClient, path: str, status: int = 200) -> ElementTree.Element:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/xml"
    head = client.head(path)
    assert (head.status_code, head.content) == (status, b"")
    return ElementTree.fromstring(answer.content)


def test_documents_lead_from_the_root_to_the_tiles(shared_client: TestClient) -> None:
    """Follows each link as a client does; the paths are never built here."""
    root = document(shared_client, "/tms")
    assert root.tag == "Services"
    (entry,) = root.findall("TileMapService")
    assert entry.get("version") == "1.0.0"
    service = document(shared_client, str(entry.get("href")))
    assert (service.tag, service.get("version")) == ("TileMapService", "1.0.0")
    assert document(shared_client, str(service.get("services"))).tag == "Services"
    assert service.findtext("Title")
    listed = service.findall("TileMaps/TileMap")
    extensions = []
    for entry in listed:
        assert (entry.get("srs"), entry.get("profile")) == ("EPSG:3857", "global-mercator")
        tile_map = document(shared_client, str(entry.get("href")))
        assert (tile_map.tag, tile_map.get("version")) == ("TileMap", "1.0.0")
        assert tile_map.findtext("Title") == entry.get("title")
        assert document(shared_client, str(tile_map.get("tilemapservice"))).tag == "TileMapService"
        sets = tile_map.findall("TileSets/TileSet")
        form = tile_map.find("TileFormat")
        assert form is not None
        extension = str(form.get("extension"))
        # By the map's own address, as some clients build it, and by that of its tile set.
        for start in (sets[2].get("href"), f"{entry.get('href')}/2"):
            tile = shared_client.get(f"{start}/1/3.{extension}")
            assert tile.content == shared_client.get(f"/2/1/0.{extension}").content
            assert tile.headers["content-type"] == form.get("mime-type")
        extensions.append(extension)
    assert extensions == ["png", "jpg", "webp", "avif", "png8"]
    assert len({entry.get("title") for entry in listed}) == len({entry.get("href") for entry in listed}) == len(listed)


def test_the_map_has_numbers_of_full_precision(shared_client: TestClient) -> None:
    tile_map = document(shared_client, "/tms/1.0.0/earth")
    assert tile_map.findtext("SRS") == "EPSG:3857"

    def attributes(name: str) -> dict[str, str]:
        element = tile_map.find(name)
        assert element is not None
        return element.attrib

    box = attributes("BoundingBox")
    assert [box[side] for side in ("minx", "miny", "maxx", "maxy")] == [f"{s}20037508.342789244" for s in ("-", "-", "", "")]
    assert attributes("Origin") == {"x": "-20037508.342789244", "y": "-20037508.342789244"}
    assert attributes("TileFormat") == {"width": "256", "height": "256", "mime-type": "image/png", "extension": "png"}
    assert attributes("TileSets") == {"profile": "global-mercator"}
    sets = tile_map.findall("TileSets/TileSet")
    assert [element.get("order") for element in sets] == [str(zoom) for zoom in range(21)]
    for zoom, element in enumerate(sets):
        assert float(str(element.get("units-per-pixel"))) == 2 * WORLD / (256 << zoom), "every bit of the double"
        assert str(element.get("href")).endswith(f"/tms/1.0.0/earth/{zoom}")


@pytest.mark.parametrize(("z", "x", "y"), [(0, 0, 0), (1, 0, 0), (4, 8, 5), (4, 15, 15)])
@pytest.mark.parametrize("extension", ["png", "jpeg"])
def test_tiles_are_those_of_xyz_with_rows_from_the_south(
    client: TestClient, app: FastPath, planet: Planet, readings: Readings, z: int, x: int, y: int, extension: str
) -> None:
    path = f"/tms/1.0.0/earth/{z}/{x}/{(1 << z) - 1 - y}.{extension}"
    cold = client.get(path)
    xyz = client.get(f"/{z}/{x}/{y}.{extension}")
    assert len(readings.calls) == 1
    silence(app)
    hot = client.get(path)
    assert cold.content == hot.content == xyz.content
    assert sorted(cold.headers.items()) == sorted(hot.headers.items()) == sorted(xyz.headers.items())
    assert client.get(path, headers={"if-none-match": xyz.headers["etag"]}).status_code == 304
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    if extension == "png":
        assert np.array_equal(decode(cold.content), planet.read(z, x * 256, y * 256, 256, 256))


def test_512_px(shared_client: TestClient) -> None:
    xyz = shared_client.get("/3/4/2@2x.png").content
    assert shared_client.get("/tms/1.0.0/earth/3/4/5@2x.png").content == xyz
    assert shared_client.get("/tms/1.0.0/earth/3/4/5.png?tilesize=512").content == xyz


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/tms/1.0.0/mars", 404, "earth"),
        ("/tms/1.0.0/earth@gif", 404, "png"),
        ("/tms/1.0.0/earth@png", 404, "earth"),
        ("/tms/1.0.0/mars@jpg/0/0/0.jpg", 404, "earth"),
        ("/tms/1.0.0/mars/0/0/0.png", 404, "earth"),
        ("/tms/2.0.0", 404, "1.0.0"),
        ("/tms/2.0.0/earth", 404, "1.0.0"),
        ("/tms/2.0.0/earth/0/0/0.png", 404, "1.0.0"),
        ("/tms/1.0.0/earth/4", 404, "/tms/1.0.0/"),
        ("/tms/1.0.0/earth/4/8/5", 404, "/tms/1.0.0/"),
        ("/tms/1.0.0/earth/21/0/0.png", 404, "20"),
        ("/tms/1.0.0/earth/4/0/16.png", 404, "15"),
        ("/tms/1.0.0/earth/4/-1/0.png", 404, "15"),
        ("/tms/1.0.0/earth/20/0/0@2x.png", 404, "19"),
        ("/tms/1.0.0/earth/4/0/0.gif", 404, "png"),
        ("/tms/1.0.0/earth/4/a/0.png", 422, "integer"),
        ("/tms/1.0.0/earth/4/0/0.png?tilesize=3", 422, "256 or 512"),
        ("/tms/1.0.0/%01%3C&%EF%BF%BE%ED%A0%80", 404, "1.0.0"),
        ("/tms/%00", 404, "1.0.0"),
    ],
)
def test_errors_are_documents_too(shared_client: TestClient, path: str, status: int, says: str) -> None:
    error = document(shared_client, path, status)
    assert error.tag == "TileMapServerError"
    assert says in str(error.findtext("Message"))


def test_a_rendering_that_fails_is_a_document_too(client: TestClient, planet: Planet, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: Any) -> Any:
        raise RuntimeError("CUDA out of memory.")

    monkeypatch.setattr(planet, "read", out_of_memory)
    answer = client.get("/tms/1.0.0/earth/4/8/9.png")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "CUDA out of memory." in str(ElementTree.fromstring(answer.content).findtext("Message"))


def test_links_are_those_of_the_world_outside(make_settings: MakeSettings, planet: Planet) -> None:
    with TestClient(create_app(make_settings(public_url="https://tiles.example/globe"), planet)) as client:
        for path in ("/tms", "/tms/1.0.0", "/tms/1.0.0/earth"):
            text = client.get(path).text
            assert "https://tiles.example/globe/tms" in text
            assert "testserver" not in text


def test_openapi_declares_xml(shared_client: TestClient) -> None:
    paths = shared_client.get("/openapi.json").json()["paths"]
    for path in ("/tms", "/tms/{version}", "/tms/{version}/{planet_name}"):
        assert set(paths[path]["get"]["responses"]["200"]["content"]) == {"application/xml"}
    tile = paths["/tms/{version}/{planet_name}/{z}/{x}/{y}.{ext}"]["get"]["responses"]
    assert set(tile) == {"200", "304", "404", "405", "413", "414", "422", "431", "503"}
    assert set(tile["404"]["content"]) == {"application/xml"}
    assert set(tile["405"]["content"]) == {"application/json"}

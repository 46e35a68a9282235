"""OGC API - Tiles and tile matrix sets: metadata clause by clause, tiles pixel by pixel, caching."""

from __future__ import annotations

import io
from typing import Any

import morecantile
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from model import Planet
from server.fastpath import FastPath
from server.ogc.models import RELATION
from server.ogc.tiles import TILE_BASES, tile_resolver
from server.tilekey import TileKey
from tests.conftest import Readings

BASE_PATHS = [base.replace("{collectionId}", "earth") for base in TILE_BASES]
SETS = ("WebMercatorQuad", "WorldCRS84Quad")
REGISTER = "http://www.opengis.net/def/tilematrixset/OGC/1.0/"


def decode(content: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def links_of(document: dict[str, Any], rel: str) -> list[dict[str, Any]]:
    return [link for link in document["links"] if link["rel"] == rel]


@pytest.mark.parametrize("name", SETS)
def test_morecantile_reads_our_tile_matrix_sets(shared_client: TestClient, name: str) -> None:
    """Its own models, as a peer, and to the last bit the numbers of its registry."""
    document = shared_client.get(f"/tileMatrixSets/{name}").json()
    read, known = morecantile.TileMatrixSet.model_validate(document), morecantile.tms.get(name)
    assert read.id == name
    assert read.crs == known.crs
    for ours, theirs in zip(read.tileMatrices, known.tileMatrices, strict=True):
        assert ours.model_dump() == theirs.model_dump()
    for required in ("crs", "tileMatrices"):
        assert required in document


def test_tile_matrix_sets_are_listed_with_links(shared_client: TestClient) -> None:
    document = shared_client.get("/tileMatrixSets").json()
    assert [item["id"] for item in document["tileMatrixSets"]] == list(SETS)
    for item in document["tileMatrixSets"]:
        (link,) = links_of(item, "self")
        assert shared_client.get(link["href"]).json()["uri"] == item["uri"] == REGISTER + item["id"]


@pytest.mark.parametrize("base", BASE_PATHS)
def test_lists_of_tilesets(shared_client: TestClient, base: str) -> None:
    """20-057, /req/tilesets-list/tileset-links."""
    document = shared_client.get(base).json()
    assert len(document["tilesets"]) == 2
    for item, name in zip(document["tilesets"], SETS, strict=True):
        assert item["dataType"] == "map"
        assert item["tileMatrixSetURI"] == REGISTER + name
        (own,), (scheme,) = links_of(item, "self"), links_of(item, RELATION + "tiling-scheme")
        tileset = shared_client.get(own["href"]).json()
        assert tileset["crs"] == item["crs"] == shared_client.get(scheme["href"]).json()["crs"]


@pytest.mark.parametrize("base", BASE_PATHS)
@pytest.mark.parametrize("name", SETS)
def test_tilesets(shared_client: TestClient, base: str, name: str) -> None:
    """20-057, /req/tileset/description; tileSet.json of 17-083r4."""
    document = shared_client.get(f"{base}/{name}").json()
    assert document["dataType"] == "map"
    assert document["tileMatrixSetURI"] == REGISTER + name
    assert len(links_of(document, RELATION + "tiling-scheme")) == 1
    assert {link["type"] for link in links_of(document, "item")} == {"image/png", "image/jpeg", "image/webp"}
    for link in links_of(document, "item"):
        assert link["templated"] is True
        for variable in ("{tileMatrix}", "{tileRow}", "{tileCol}"):
            assert link["href"].count(variable) == 1
        address = link["href"].replace("{tileMatrix}", "1").replace("{tileRow}", "1").replace("{tileCol}", "0")
        tile = shared_client.get(address)
        assert tile.status_code == 200
        assert tile.headers["content-type"] == link["type"]
        assert decode(tile.content).shape == (256, 256, 3)
    matrices = {matrix.id: matrix for matrix in morecantile.tms.get(name).tileMatrices}
    assert [limit["tileMatrix"] for limit in document["tileMatrixSetLimits"]] == [
        str(zoom) for zoom in range(21 if name == "WebMercatorQuad" else 20)
    ]
    for limit in document["tileMatrixSetLimits"]:
        matrix = matrices[limit["tileMatrix"]]
        assert (limit["minTileCol"], limit["maxTileCol"]) == (0, matrix.matrixWidth - 1)
        assert 0 <= limit["minTileRow"] <= limit["maxTileRow"] < matrix.matrixHeight
        # What is left out lies wholly beyond Web Mercator's square, and as little as that.
        if name == "WorldCRS84Quad":
            degrees = 180 / matrix.matrixHeight
            assert 90 - limit["minTileRow"] * degrees > 85.0511 >= 90 - (limit["minTileRow"] + 1) * degrees
            assert limit["minTileRow"] + limit["maxTileRow"] == matrix.matrixHeight - 1


def test_tilejson_of_a_tileset(shared_client: TestClient) -> None:
    answer = shared_client.get("/map/tiles/WebMercatorQuad?f=tilejson")
    assert answer.headers["content-type"] == "application/vnd.mapbox.tilejson+json"
    (template,) = answer.json()["tiles"]
    assert shared_client.get(template.format(z=2, x=1, y=3)).content == shared_client.get("/2/1/3.png").content
    refused = shared_client.get("/map/tiles/WorldCRS84Quad?f=tilejson")
    assert refused.status_code == 400
    assert "Web Mercator" in refused.json()["detail"]


@pytest.mark.parametrize("base", BASE_PATHS)
def test_rows_come_before_columns_and_pixels_are_those_of_xyz(shared_client: TestClient, base: str) -> None:
    tile = shared_client.get(f"{base}/WebMercatorQuad/3/2/6?f=png")
    assert tile.content == shared_client.get("/3/6/2.png").content
    assert tile.headers["etag"] == shared_client.get("/3/6/2.png").headers["etag"]


def test_a_generated_tile_is_rendered_once_for_all_protocols(client: TestClient, readings: Readings) -> None:
    tile = client.get("/map/tiles/WebMercatorQuad/6/21/33?f=png")
    assert client.get("/6/33/21.png").content == tile.content
    assert client.get("/tiles/WebMercatorQuad/6/21/33").content == tile.content
    assert len(readings.calls) == 1


def test_the_fast_path_knows_tiles_by_all_addresses(app: FastPath, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is at hand a tile is answered without the routes, whose answer is the same but for Vary."""
    resolve = tile_resolver("earth")
    addresses = [f"{base}/{name}/3/2/6" for base in BASE_PATHS for name in SETS]
    slow = [client.get(f"{address}?f=jpeg") for address in addresses]

    async def no_route(*_: Any) -> None:
        raise AssertionError("a tile at hand came to the routes")

    monkeypatch.setattr(app, "app", no_route)
    for address, before in zip(addresses, slow, strict=True):
        fast = client.get(f"{address}?f=jpeg")
        assert fast.content == before.content
        assert fast.headers["etag"] == before.headers["etag"]
        assert client.get(f"{address}?f=jpeg", headers={"if-none-match": before.headers["etag"]}).status_code == 304
    assert resolve("/tiles/WebMercatorQuad/3/2/6", b"f=png") == TileKey(3, 6, 2, "png")
    for path, query in (
        ("/tiles/WebMercatorQuad/3/2/6", b""),
        ("/tiles/WebMercatorQuad/3/2/6", b"f=gif"),
        ("/tiles/WebMercatorQuad/3/8/6", b"f=png"),
        ("/tiles/WebMercatorQuad/3/2/8", b"f=png"),
        ("/tiles/WebMercatorQuad/21/2/8", b"f=png"),
        ("/tiles/WorldCRS84Quad/10/0/0", b"f=png"),
        ("/tiles/Nothing/3/2/6", b"f=png"),
        ("/collections/mars/tiles/WebMercatorQuad/3/2/6", b"f=png"),
    ):
        assert resolve(path, query) is None


def test_world_crs84_tiles_lie_where_they_say(shared_client: TestClient, planet: Planet) -> None:
    """Columns of matrix 2 are those of zoom 3; the equator is a border of tiles in both."""
    tile = decode(shared_client.get("/tiles/WorldCRS84Quad/2/1/4").content)
    beside = planet.read(3, 4 * 256, 3 * 256, 256, 256)
    # At the equator a row is as high in both, so the lowest rows are nearly the same.
    assert np.abs(tile[-8:].astype(int) - beside[-8:]).mean() < 4


def test_formats_by_accept(shared_client: TestClient) -> None:
    path = "/map/tiles/WebMercatorQuad/2/1/1"
    for accept, media_type in (
        ("*/*", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("image/avif,image/webp,image/apng,image/*,*/*;q=0.8", "image/webp"),
    ):
        answer = shared_client.get(path, headers={"accept": accept})
        assert answer.headers["content-type"] == media_type
        assert "accept" in answer.headers["vary"].lower()
    assert shared_client.get(path, headers={"accept": "image/gif"}).status_code == 406


def test_a_tile_held_is_304_and_nothing_is_rendered(client: TestClient, readings: Readings) -> None:
    path, cheap = "/map/tiles/WebMercatorQuad/6/40/41?f=jpeg", "/map/tiles/WebMercatorQuad/3/4/5?f=jpeg"
    first = client.get(cheap)
    assert client.get(cheap, headers={"if-none-match": first.headers["etag"]}).status_code == 304
    done = len(readings.calls)
    cold = client.get(path, headers={"if-none-match": "*"})
    assert cold.status_code == 304
    assert cold.content == b""
    assert cold.headers["etag"]
    assert "max-age" in cold.headers["cache-control"]
    assert len(readings.calls) == done
    head = client.head(cheap)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["etag"] == first.headers["etag"]


@pytest.mark.parametrize(
    ("address", "status", "word"),
    [
        ("WebMercatorQuad/21/0/0", 404, "0 to 20"),
        ("WebMercatorQuad/-1/0/0", 404, "0 to 20"),
        ("WebMercatorQuad/04/0/0", 404, "0 to 20"),
        ("WebMercatorQuad/a/0/0", 404, "0 to 20"),
        ("WebMercatorQuad/2/4/0", 404, "tileRow"),
        ("WebMercatorQuad/2/0/4", 404, "tileCol"),
        ("WebMercatorQuad/2/-1/0", 404, "tileRow"),
        ("WebMercatorQuad/2/0/" + "9" * 5000, 404, "tileCol"),
        ("WebMercatorQuad/2/x/0", 400, "tileRow"),
        ("WebMercatorQuad/2/0/1.5", 400, "tileCol"),
        ("WorldCRS84Quad/20/0/0", 404, "0 to 19"),
        ("WorldCRS84Quad/2/4/0", 404, "tileRow"),
        ("WorldCRS84Quad/2/0/8", 404, "tileCol"),
        ("WorldCRS84Quad/10/0/0", 404, "tileRow"),
        ("Mercator/0/0/0", 404, "use WebMercatorQuad"),
        ("WebMercatorQuad/0/0/0?f=gif", 400, "f=png"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_tiles(shared_client: TestClient, address: str, status: int, word: str) -> None:
    """20-057, /req/core/tc-error: 404 or 400."""
    for base in BASE_PATHS:
        answer = shared_client.get(f"{base}/{address}")
        assert answer.status_code == status
        body = answer.json()
        assert body["status"] == status
        assert word in body["detail"]
        assert len(body["detail"]) < 200

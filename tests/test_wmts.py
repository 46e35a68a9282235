"""WMTS 1.0.0: capabilities, tiles by KVP and by REST, and its errors."""

from __future__ import annotations

import asyncio
import io
import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from model import Planet
from server.app import create_app
from server.encode import MEDIA_TYPES
from server.fastpath import FastPath
from server.tilekey import CRS84, MERCATOR, TileKey
from server.wmts_tiles import WmtsTiles
from tests.conftest import MakeSettings, Readings
from tests.ows_schemas import CAPABILITIES, NAMES, exception, texts, valid

METADATA = "/wmts/1.0.0/WMTSCapabilities.xml"
GET_TILE = {
    "service": "WMTS",
    "request": "GetTile",
    "version": "1.0.0",
    "layer": "earth",
    "style": "default",
    "format": "image/png",
    "TileMatrixSet": MERCATOR,
    "TileMatrix": "4",
    "TileRow": "5",
    "TileCol": "8",
}
SAME = "/4/8/5.png"
REST = "/wmts/1.0.0/earth/default/WebMercatorQuad/4/5/8.png"


def tile(client: TestClient, **changed: str | None) -> Any:
    """The answer to `GET_TILE` with some parameters changed or, where None, left out."""
    return client.get("/wmts", params={k: v for k, v in (GET_TILE | changed).items() if v is not None})


@pytest.fixture
def document(shared_client: TestClient) -> Any:
    """The root of the capabilities."""
    return valid(shared_client.get(METADATA).content, CAPABILITIES)


def test_capabilities_are_the_same_by_kvp_and_rest(shared_client: TestClient) -> None:
    rest, kvp = shared_client.get(METADATA), shared_client.get("/wmts?SERVICE=WMTS&REQUEST=GetCapabilities")
    assert rest.status_code == kvp.status_code == 200
    assert rest.headers["content-type"] == kvp.headers["content-type"] == "application/xml"
    assert rest.content == kvp.content
    assert (
        shared_client.head(METADATA).status_code
        == shared_client.head("/wmts?service=WMTS&request=GetCapabilities").status_code
        == 200
    )


def test_capabilities_offer_one_layer_in_both_matrix_sets(document: Any) -> None:
    assert texts(document, "wmts:Contents/wmts:Layer/ows:Identifier") == ["earth"]
    assert texts(document, "//wmts:Layer/wmts:Style/ows:Identifier") == ["default"]
    assert texts(document, "//wmts:TileMatrixSetLink/wmts:TileMatrixSet") == [MERCATOR, CRS84]
    assert texts(document, "wmts:Contents/wmts:TileMatrixSet/ows:Identifier") == [MERCATOR, CRS84]
    crs = texts(document, "//ows:SupportedCRS")
    assert crs == ["urn:ogc:def:crs:EPSG::3857", "urn:ogc:def:crs:OGC:1.3:CRS84"]
    assert texts(document, "//wmts:WellKnownScaleSet") == ["urn:ogc:def:wkss:OGC:1.0:GoogleMapsCompatible"]
    assert set(texts(document, "//wmts:Layer/wmts:Format")) == set(MEDIA_TYPES.values())


def test_matrices_double_and_their_numbers_lose_nothing(document: Any) -> None:
    for name, first, count, corner in (
        (MERCATOR, 559082264.0287178, 21, "-20037508.342789244 20037508.342789244"),
        (CRS84, 279541132.0143589, 20, "-180.0 90.0"),
    ):
        path = f"wmts:Contents/wmts:TileMatrixSet[ows:Identifier='{name}']/wmts:TileMatrix"
        assert texts(document, f"{path}/ows:Identifier") == [str(zoom) for zoom in range(count)]
        scales = texts(document, f"{path}/wmts:ScaleDenominator")
        for zoom, text in enumerate(scales):
            assert text == repr(float(text))
            assert float(text) == pytest.approx(first / 2**zoom, rel=1e-15)
        assert set(texts(document, f"{path}/wmts:TopLeftCorner")) == {corner}
        widths, heights = texts(document, f"{path}/wmts:MatrixWidth"), texts(document, f"{path}/wmts:MatrixHeight")
        wide = 1 if name == MERCATOR else 2
        assert [int(width) for width in widths] == [wide * 2**zoom for zoom in range(count)]
        assert [int(height) for height in heights] == [2**zoom for zoom in range(count)]
        assert set(texts(document, f"{path}/wmts:TileWidth") + texts(document, f"{path}/wmts:TileHeight")) == {"256"}


def test_limits_end_where_mercator_ends(document: Any) -> None:
    """Row r of WorldCRS84Quad reaches south to 90 - (r + 1) * 180 / 2**z; the first that goes below 85.0511 has imagery."""
    path = "//wmts:TileMatrixSetLink[wmts:TileMatrixSet='{}']//wmts:{}"
    for name in (MERCATOR, CRS84):
        first, last = (list(map(int, texts(document, path.format(name, f"M{end}TileRow")))) for end in ("in", "ax"))
        west, east = (list(map(int, texts(document, path.format(name, f"M{end}TileCol")))) for end in ("in", "ax"))
        for zoom, row in enumerate(first):
            assert last[zoom] == 2**zoom - 1 - row
            assert west[zoom] == 0
            assert east[zoom] == 2**zoom * (1 if name == MERCATOR else 2) - 1
            if name == CRS84:
                span = 180 / 2**zoom
                assert 90 - (row + 1) * span < 85.0511287798066 <= 90 - row * span
            else:
                assert row == 0


def test_every_resource_template_leads_to_its_format(shared_client: TestClient, document: Any) -> None:
    templates = document.findall("wmts:Contents/wmts:Layer/wmts:ResourceURL", NAMES)
    assert len(templates) == len(set(MEDIA_TYPES.values()))
    for found in templates:
        assert found.get("resourceType") == "tile"
        address = found.get("template")
        for name, value in (
            ("TileMatrixSet", CRS84),
            ("TileMatrix", "1"),
            ("TileRow", "0"),
            ("TileCol", "2"),
        ):
            assert f"{{{name}}}" in address
            address = address.replace(f"{{{name}}}", value)
        answer = shared_client.get(address)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == found.get("format")


def test_operations_name_their_encodings(document: Any) -> None:
    for operation, rest in (("GetCapabilities", METADATA), ("GetTile", "/wmts/1.0.0/")):
        gets = document.xpath(f"//ows:Operation[@name='{operation}']//ows:Get", namespaces=NAMES)
        href = f"{{{NAMES['xlink']}}}href"
        found = {value: get.get(href) for get in gets for value in texts(get, "ows:Constraint[@name='GetEncoding']//ows:Value")}
        assert found == {"KVP": "http://testserver/wmts?", "RESTful": f"http://testserver{rest}"}


def test_links_follow_public_url_and_are_escaped(make_settings: MakeSettings, planet: Planet) -> None:
    settings = make_settings(public_url="https://tiles.example/a&b", attribution='<&"\x00>')
    with TestClient(create_app(settings, planet)) as client:
        root = valid(client.get(METADATA, headers={"host": "other.example"}).content, CAPABILITIES)
    links = [*texts(root, "//@xlink:href"), *texts(root, "//@template")]
    assert len(links) >= 8
    assert all(link.startswith("https://tiles.example/a&b/") for link in links)
    assert '<&" >' in texts(root, "//ows:ServiceIdentification/ows:Abstract")[0]


def test_links_have_the_root_path_and_a_hostile_host_is_no_link(app: FastPath) -> None:
    with TestClient(app, root_path="/globe") as client:
        for host, expected in (("maps.example:81", "http://maps.example:81"), ('x"/><y&z', "http://testserver:80")):
            root = valid(client.get("/globe" + METADATA, headers={"host": host}).content, CAPABILITIES)
            assert texts(root, "wmts:ServiceMetadataURL/@xlink:href") == [f"{expected}/globe{METADATA}"]


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title, str.swapcase])
def test_names_of_parameters_may_have_any_case(client: TestClient, readings: Readings, case: Any) -> None:
    expected = client.get(SAME)
    params = {case(name): value for name, value in GET_TILE.items()}
    answer = client.get("/wmts", params=params)
    assert answer.status_code == 200
    assert answer.content == expected.content
    assert len(readings.calls) == 1


def test_a_tile_is_that_of_xyz_and_rendered_once(client: TestClient, readings: Readings) -> None:
    answers = [tile(client), client.get(REST), client.get(SAME), tile(client), client.get(REST)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(sorted(answer.headers.items())) for answer in answers}) == 1
    assert len(readings.calls) == 1
    assert client.head(REST).headers == answers[0].headers


@pytest.mark.parametrize(("extension", "media_type"), [(e, m) for e, m in MEDIA_TYPES.items() if e != "png8"])
def test_formats(shared_client: TestClient, extension: str, media_type: str) -> None:
    answer = tile(shared_client, format=media_type)
    assert answer.headers["content-type"] == media_type
    assert answer.content == shared_client.get(f"/4/8/5.{extension}").content
    assert Image.open(io.BytesIO(answer.content)).size == (256, 256)


def test_not_modified_by_kvp_and_rest_before_anything_is_rendered(client: TestClient, readings: Readings) -> None:
    etag = client.get(SAME).headers["etag"]
    query = str(client.get("/wmts", params=GET_TILE).url.query, "ascii")
    crs84 = "/wmts/1.0.0/earth/default/WorldCRS84Quad/5/9/9.png"
    readings.calls.clear()
    for address in (REST, f"/wmts?{query}"):
        answer = client.get(address, headers={"if-none-match": etag})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert client.get(crs84, headers={"if-none-match": "*"}).status_code == 304
    assert readings.calls == []


@pytest.mark.parametrize("address", [REST, "/wmts?" + "&".join(f"{k.upper()}={v}" for k, v in GET_TILE.items())])
def test_a_hit_never_reaches_the_application_behind(client: TestClient, app: FastPath, address: str) -> None:
    cold = client.get(address)

    async def nobody(*_: Any) -> None:
        raise AssertionError("a hit went past the fast path")

    app.app = nobody
    for spelling in (address, address.replace("image/png", "image%2Fpng")):
        assert client.get(spelling).content == cold.content


def test_the_fast_path_and_the_routes_agree(shared_client: TestClient) -> None:
    """Where the fast path names a tile, the routes name the same; it never names one that they refuse."""
    tiles, named = WmtsTiles("earth"), 0
    grids = (MERCATOR, CRS84, "EPSG:4326")
    for grid, zoom, row, column in itertools.product(grids, ("0", "2", "02", "20", "-1"), ("0", "3", "x", ""), ("0", "4", "7")):
        changed = {"TileMatrixSet": grid, "TileMatrix": zoom, "TileRow": row, "TileCol": column}
        query = "&".join(f"{name}={value}" for name, value in (GET_TILE | changed).items()).encode()
        for path, raw in (("/wmts", query), (f"/wmts/1.0.0/earth/default/{grid}/{zoom}/{row}/{column}.png", b"")):
            key = tiles.resolve(path, raw)
            if key is None:
                # Only "20" is a tile here that costs rendering; the routes' word on it is in other tests.
                if zoom in ("0", "2"):
                    assert shared_client.head(f"{path}?{raw.decode()}").status_code in (400, 404)
            else:
                named += 1
                assert key == TileKey(int(zoom), int(column), int(row), "png", grid=grid)
    assert named > 20


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/xml"),
        ("*/*", "application/xml"),
        ("text/html,application/xml;q=0.9,*/*;q=0.8", "application/xml"),
        ("text/xml", "text/xml; charset=utf-8"),
        ("application/xml;q=0, text/xml", "text/xml; charset=utf-8"),
        ("text/*", "text/xml; charset=utf-8"),
        ("example/unknown", None),
        ("application/xml;q=0", None),
    ],
)
def test_the_metadata_resource_heeds_accept(shared_client: TestClient, accept: str | None, expected: str | None) -> None:
    answer = shared_client.get(METADATA, headers={} if accept is None else {"accept": accept})
    if expected is None:
        assert (answer.status_code, exception(answer.content)[0]) == (406, "NoApplicableCode")
    else:
        assert (answer.status_code, answer.headers["content-type"]) == (200, expected)


def test_crs84_tiles_are_cached_like_others(client: TestClient, readings: Readings) -> None:
    first = client.get("/wmts/1.0.0/earth/default/WorldCRS84Quad/2/1/4.png")
    again = tile(client, TileMatrixSet=CRS84, TileMatrix="2", TileRow="1", TileCol="4")
    assert first.content == again.content
    assert len(readings.calls) == 1
    assert first.headers["etag"] == again.headers["etag"] != client.get("/2/4/1.png").headers.get("etag")
    pixels = np.asarray(Image.open(io.BytesIO(first.content)))
    assert pixels.shape == (256, 256, 3)


def test_crs84_tiles_outlive_a_restart(make_settings: MakeSettings, planet: Planet, readings: Readings) -> None:
    address = "/wmts/1.0.0/earth/default/WorldCRS84Quad/3/2/7.webp"
    answers = []
    for _ in range(2):
        with TestClient(create_app(make_settings(metatile=4), planet)) as client:
            answers.append(client.get(address))
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].content == answers[1].content
    assert len(readings.calls) == 1


def test_crs84_tiles_asked_for_at_once_are_rendered_once(app: FastPath, readings: Readings) -> None:
    renderer, key = app.api.state.renderer, TileKey(3, 9, 2, "png", grid=CRS84)

    async def at_once() -> list[Any]:
        return await asyncio.gather(*(renderer.tile(key) for _ in range(8)))

    tiles = asyncio.run(at_once())
    renderer.close()
    assert len({id(tile) for tile in tiles}) == 1
    assert len(readings.calls) == 1

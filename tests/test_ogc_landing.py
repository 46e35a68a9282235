"""OGC API - Common: landing page, conformance, collections, in JSON and HTML, links and errors."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from model import Planet
from server.app import create_app
from server.box_request import MAX_PIXELS
from server.ogc.models import RELATION
from tests.conftest import MakeSettings

DOCUMENTS = ("/ogc", "/conformance", "/collections", "/collections/earth", "/tileMatrixSets", "/tileMatrixSets/WebMercatorQuad")
TILESETS = ("/tiles", "/map/tiles", "/collections/earth/tiles", "/collections/earth/map/tiles")
ALL = (*DOCUMENTS, *TILESETS, *(f"{base}/WorldCRS84Quad" for base in TILESETS))


def by_relation(links: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The first link of each relation."""
    return {link["rel"]: link for link in reversed(links)}


def test_the_root_is_the_viewer_for_browsers_and_the_landing_page_for_clients(shared_client: TestClient) -> None:
    for headers in ({}, {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, {"accept": "*/*"}):
        page = shared_client.get("/", headers=headers)
        assert page.headers["content-type"].startswith("text/html")
        assert "maplibre" in page.text
    by_header, by_parameter = shared_client.get("/", headers={"accept": "application/json"}), shared_client.get("/?f=json")
    assert by_header.json() == by_parameter.json()
    assert by_header.headers["content-type"] == "application/json"
    assert "accept" in by_header.headers["vary"].lower()
    page = shared_client.get("/?f=html")
    assert "maplibre" not in page.text
    assert "/collections" in page.text


def test_landing_page_links(shared_client: TestClient) -> None:
    """19-072, 8.2: self, alternate, service-desc, service-doc, conformance; 20-024: data; 20-057, 20-058: tilesets, map."""
    document = shared_client.get("/?f=json").json()
    links = by_relation(document["links"])
    wanted = {"self", "alternate", "service-desc", "service-doc", "conformance", "data"}
    assert wanted <= set(links)
    assert {RELATION + name for name in ("tilesets-map", "tiling-schemes", "map", "conformance", "data")} <= set(links)
    for link in document["links"]:
        assert link["href"].startswith("http://testserver/")
        assert link["rel"]
        answer = shared_client.get(link["href"])
        assert answer.status_code == 200, link
        kind = link["type"].split(";")[0]
        served = answer.headers["content-type"].split(";")[0]
        assert served == kind or (kind.startswith("application/") and served == "application/json"), link


def test_conformance(shared_client: TestClient) -> None:
    classes = shared_client.get("/conformance").json()["conformsTo"]
    assert len(classes) == len(set(classes))
    base = "http://www.opengis.net/spec/ogcapi-"
    tiles = {
        f"{base}tiles-1/1.0/conf/{name}" for name in ("core", "tileset", "tilesets-list", "dataset-tilesets", "png", "jpeg")
    }
    maps = {f"{base}maps-1/1.0/conf/{name}" for name in ("core", "scaling", "spatial-subsetting", "crs", "background")}
    common = {f"{base}common-1/1.0/conf/core", f"{base}common-2/1.0/conf/collections"}
    assert tiles | maps | common <= set(classes)


def test_a_planet_is_a_collection(shared_client: TestClient) -> None:
    listed = shared_client.get("/collections").json()
    assert listed["numberMatched"] == listed["numberReturned"] == 1
    (collection,) = listed["collections"]
    alone = shared_client.get("/collections/earth").json()
    assert collection == alone
    assert alone["id"] == "earth"
    west, south, east, north = alone["extent"]["spatial"]["bbox"][0]
    assert (west, east) == (-180, 180) and -85.06 < south < -85.05 < 85.05 < north < 85.06
    assert alone["extent"]["spatial"]["crs"] == "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    assert alone["crs"][0] == "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    assert "http://www.opengis.net/def/crs/EPSG/0/3857" in alone["crs"]
    links = by_relation(alone["links"])
    assert links[RELATION + "map"]["href"].startswith("http://testserver/collections/earth/map?")
    assert links[RELATION + "tilesets-map"]["href"] == "http://testserver/collections/earth/map/tiles"


@pytest.mark.parametrize("path", ALL)
def test_every_document_is_there_in_json_and_html(shared_client: TestClient, path: str) -> None:
    document = shared_client.get(path, headers={"accept": "application/json"})
    assert document.headers["content-type"] == "application/json"
    assert document.json() == shared_client.get(f"{path}?f=json").json()
    page = shared_client.get(path, headers={"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert re.search(r"<h1>[^<]+</h1>", page.text)
    for address in re.findall(r'href="([^"]+)"', page.text):
        assert address.startswith("http://testserver/"), address
    for answer in (shared_client.head(path), shared_client.head(f"{path}?f=html")):
        assert answer.status_code == 200
        assert answer.content == b""


@pytest.mark.parametrize("path", ALL)
def test_errors_follow_the_exception_schema(shared_client: TestClient, path: str) -> None:
    """19-072, exception.yaml: type, title, status and detail."""
    for answer, status in (
        (shared_client.get(f"{path}?f=gif"), 400),
        (shared_client.get(path, headers={"accept": "image/gif"}), 406),
    ):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        assert set(body) == {"type", "title", "status", "detail"}
        assert body["status"] == status
        assert body["detail"].endswith(".")
    assert shared_client.post(path).status_code == 405


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/collections/mars", "use earth"),
        ("/collections/mars/map", "use earth"),
        ("/collections/mars/map/tiles", "use earth"),
        ("/collections/mars/tiles/WebMercatorQuad/0/0/0", "use earth"),
        ("/tileMatrixSets/Nothing", "use WebMercatorQuad or WorldCRS84Quad"),
        ("/map/tiles/Nothing", "use WebMercatorQuad or WorldCRS84Quad"),
        ("/collections/" + "x" * 3000, "use earth"),
    ],
)
def test_what_does_not_exist_is_404_and_says_what_does(shared_client: TestClient, path: str, hint: str) -> None:
    answer = shared_client.get(path)
    assert answer.status_code == 404
    assert hint in answer.json()["detail"]
    assert len(answer.text) < 400


def test_pages_escape_what_they_show(make_settings: MakeSettings, planet: Planet) -> None:
    settings = make_settings(attribution="<script>alert(1)</script>")
    with TestClient(create_app(settings, planet)) as client:
        page = client.get("/ogc?f=html").text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_links_behind_a_proxy(make_settings: MakeSettings, planet: Planet) -> None:
    """Every absolute link is the client's own way in, under a root path and under a configured public URL."""
    for root, settings, start in (
        ("/globe", make_settings(), "https://maps.example/globe"),
        ("", make_settings(public_url="https://tiles.example.org/x"), "https://tiles.example.org/x"),
    ):
        with TestClient(create_app(settings, planet), root_path=root, base_url="https://maps.example") as client:
            for path in ("/?f=json", *ALL):
                hrefs = re.findall(r'"href":"([^"]+)"', client.get(root + path).text)
                assert hrefs or path.startswith("/conf") or "/tileMatrixSets/" in path
                assert all(href.startswith(start + "/") for href in hrefs), path
            (template,) = client.get(f"{root}/tiles/WebMercatorQuad?f=tilejson").json()["tiles"]
            assert template.startswith(start + "/tiles/")
            redirection = client.get(f"{root}/ogc/map/tiles?f=json", follow_redirects=False)
            assert redirection.headers["location"] == f"{start}/map/tiles?f=json"


def test_all_is_below_ogc_too(shared_client: TestClient) -> None:
    for path in ("/conformance", "/collections", "/map/tiles", "/tileMatrixSets"):
        assert shared_client.get(f"/ogc{path}").json() == shared_client.get(path).json()
    assert shared_client.get("/ogc/").json() == shared_client.get("/ogc").json()


def test_the_openapi_document_has_the_limits_and_the_operations(shared_client: TestClient) -> None:
    """20-058, scaling (x-OGC-limits) and api-operations (suffixes of operation ids)."""
    document = shared_client.get("/openapi.json").json()
    assert document["info"]["x-OGC-limits"]["maps"]["maxPixels"] == MAX_PIXELS
    operations = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    for origin in ("dataset", "collection"):
        for suffix in ("getMap", "map.getTileSetsList", "map.getTileSet", "map.getTile"):
            assert any(operation.endswith(f".{origin}.{suffix}") for operation in operations)
    assert "422" not in document["paths"]["/map"]["get"]["responses"]

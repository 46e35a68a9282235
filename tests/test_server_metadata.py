"""TileJSON, health, OpenAPI, links and the viewer's pages."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from model import Planet
from server import links
from server.app import create_app
from server.viewer_pages import MAPLIBRE, MARKER, VENDORED, VIEWER, index_page
from tests.conftest import MakeSettings

# What any request may be refused for.
REFUSALS = {"413", "414", "431", "503"}
ERRORS = {"404", "405", "422", "503"} | REFUSALS


def test_tilejson_has_the_fields_of_3_0_0(shared_client: TestClient) -> None:
    answer = shared_client.get("/tilejson.json")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document["tilejson"] == "3.0.0"
    assert document["tiles"] == ["http://testserver/{z}/{x}/{y}.png"]
    assert document["scheme"] == "xyz"
    assert (document["minzoom"], document["maxzoom"]) == (0, 20)
    west, south, east, north = document["bounds"]
    assert (west, east) == (-180, 180)
    assert -85.06 < south < -85.05 < 85.05 < north < 85.06
    longitude, latitude, zoom = document["center"]
    assert west <= longitude <= east
    assert south <= latitude <= north
    assert document["minzoom"] <= zoom <= document["maxzoom"]
    assert isinstance(zoom, int)
    for text in ("name", "description", "attribution"):
        assert isinstance(document[text], str)
        assert document[text]
    assert len(document["version"].split(".")) == 3
    assert shared_client.head("/tilejson.json").status_code == 200


@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
def test_tiles_of_the_tilejson_can_be_fetched(shared_client: TestClient, extension: str) -> None:
    (template,) = shared_client.get(f"/tilejson.json?format={extension}").json()["tiles"]
    assert template.endswith("." + extension)
    assert shared_client.get(template.format(z=2, x=1, y=1)).status_code == 200


def scope(**values: Any) -> dict[str, Any]:
    return {"scheme": "http", "headers": [(b"host", b"inner:8000")], "root_path": "", **values}


def test_public_url(make_settings: MakeSettings) -> None:
    settings = make_settings()
    assert links.public_url(scope(), settings, "/a") == "http://inner:8000/a"
    assert links.public_url(scope(scheme="https", root_path="/globe/"), settings, "/a") == "https://inner:8000/globe/a"
    bare = scope(headers=[], server=("::1", 80))
    assert links.public_url(bare, settings, "/a") == "http://[::1]:80/a"
    public = make_settings(public_url="https://tiles.example.org/earth/")
    assert links.public_url(scope(root_path="/globe"), public, "/a") == "https://tiles.example.org/earth/a"


def test_tilejson_behind_a_proxy(make_settings: MakeSettings, planet: Planet) -> None:
    with TestClient(create_app(make_settings(), planet), root_path="/globe", base_url="https://maps.example") as client:
        assert client.get("/globe/tilejson.json").json()["tiles"] == ["https://maps.example/globe/{z}/{x}/{y}.png"]
    settings = make_settings(public_url="https://tiles.example.org/earth")
    with TestClient(create_app(settings, planet)) as client:
        assert client.get("/tilejson.json").json()["tiles"] == ["https://tiles.example.org/earth/{z}/{x}/{y}.png"]


def test_health_tells_what_computes(shared_client: TestClient, planet: Planet) -> None:
    health = shared_client.get("/health").json()
    info = planet.info()
    assert health["status"] == "ok"
    for name in ("device", "precision", "steps", "identity", "seed"):
        assert health[name] == getattr(info, name)
    assert shared_client.head("/health").status_code == 200


def test_openapi_declares_every_status_and_content_type_of_a_tile(shared_client: TestClient) -> None:
    assert shared_client.get("/docs").status_code == 200
    document = shared_client.get("/openapi.json").json()
    paths = document["paths"]
    assert {"/", "/health", "/tilejson.json", "/{z}/{x}/{y}.{ext}"} < set(paths)
    for path in ("/{z}/{x}/{y}.{ext}", "/{planet_name}/{z}/{x}/{y}.{ext}"):
        get, head = paths[path]["get"], paths[path]["head"]
        assert set(get["responses"]) == set(head["responses"]) == {"200", "304"} | ERRORS
        assert set(get["responses"]["200"]["content"]) == {"image/png", "image/jpeg", "image/webp", "image/avif"}
        assert "content" not in get["responses"]["304"]
        for code in ERRORS:
            assert get["responses"][code]["content"] == {
                "application/json": {"schema": {"$ref": "#/components/schemas/ErrorDetail"}}
            }
        assert all("content" not in answer for answer in head["responses"].values())
        kinds = {parameter["name"]: parameter["schema"] for parameter in get["parameters"]}
        assert (kinds["z"]["type"], kinds["z"]["minimum"], kinds["z"]["maximum"]) == ("integer", 0, 20)
        assert kinds["ext"]["enum"] == ["png", "jpg", "webp", "avif", "png8", "jpeg"]
    assert set(paths["/tilejson.json"]["get"]["responses"]) == {"200", "405", "422"} | REFUSALS
    assert set(paths["/health"]["get"]["responses"]) == {"200", "405"} | REFUSALS
    assert set(paths["/"]["get"]["responses"]["200"]["content"]) == {"application/json", "text/html"}
    names = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(names) == len(set(names))
    assert "HTTPValidationError" not in json.dumps(document)


def test_viewer_is_served(shared_client: TestClient) -> None:
    page = shared_client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert MARKER not in page.text
    assert "maplibre-gl" in page.text
    for path, media_type in (("viewer.js", "text/javascript"), ("viewer.css", "text/css")):
        answer = shared_client.get(f"/viewer/{path}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media_type)
    assert shared_client.head("/").status_code == 200
    assert shared_client.get("/favicon.ico").status_code == 204


def test_maplibre_comes_from_node_modules_where_npm_has_put_it(shared_client: TestClient) -> None:
    if not MAPLIBRE.is_dir():
        pytest.skip("npm is not there, or has not run: the viewer uses the CDN")
    page = shared_client.get("/").text
    assert "https://unpkg.com" not in page.split("</head>")[0]
    for name, media_type in VENDORED.items():
        assert f'"viewer/vendor/{name}"' in page
        answer = shared_client.get(f"/viewer/vendor/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media_type)
        assert answer.content == (MAPLIBRE / name).read_bytes()


def test_without_node_modules_maplibre_comes_from_a_cdn_with_integrity_hashes(tmp_path: Path) -> None:
    page = index_page(VIEWER, tmp_path)
    pin = json.loads((VIEWER / "maplibre.json").read_text())
    for kind in ("js", "css"):
        assert pin[f"cdn_{kind}"].startswith("https://")
        assert f"@{pin['version']}/" in pin[f"cdn_{kind}"]
        assert f'"{pin[f"cdn_{kind}"]}" integrity="{pin[f"integrity_{kind}"]}" crossorigin="anonymous"' in page
        assert pin[f"integrity_{kind}"].startswith("sha384-")
    assert "viewer/vendor" not in page


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/tilejson.json", "/{z}/{x}/{y}.png"),
        ("/tilejson.json?format=jpeg", "/{z}/{x}/{y}.jpg"),
        ("/earth/tilejson.json?format=avif", "/earth/{z}/{x}/{y}.avif"),
        ("/earth.json?format=png8", "/earth/{z}/{x}/{y}.png8"),
        ("/earth.json?tilesize=512&format=webp", "/earth/{z}/{x}/{y}@2x.webp"),
        ("/tilejson.json?scheme=tms", "/tms/1.0.0/earth/{z}/{x}/{y}.png"),
        ("/earth/tilejson.json?scheme=tms&tilesize=512", "/tms/1.0.0/earth/{z}/{x}/{y}@2x.png"),
    ],
)
def test_tilejson_of_each_kind_tells_the_truth_about_its_tiles(shared_client: TestClient, path: str, template: str) -> None:
    document = shared_client.get(path).json()
    assert document["tiles"] == ["http://testserver" + template]
    assert document["scheme"] == ("tms" if "tms" in template else "xyz")
    size, deepest = (512, 19) if "512" in path else (256, 20)
    assert (document["tileSize"], document["minzoom"], document["maxzoom"]) == (size, 0, deepest)
    tile = shared_client.get(template.format(z=2, x=1, y=1))
    assert Image.open(io.BytesIO(tile.content)).size == (size, size)
    assert tile.headers["content-type"].removeprefix("image/").replace("jpeg", "jpg") == document["format"]
    beyond = shared_client.get(template.format(z=deepest + 1, x=0, y=0))
    assert beyond.status_code == 404
    assert shared_client.head(path).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/mars/tilejson.json", 404),
        ("/mars.json", 404),
        ("/tilejson.json?tilesize=1024", 422),
        ("/earth.json?scheme=wmts", 422),
        ("/earth/tilejson.json?format=tiff", 422),
    ],
)
def test_tilejson_that_there_is_not(shared_client: TestClient, path: str, status: int) -> None:
    answer = shared_client.get(path)
    assert answer.status_code == status
    assert answer.json()["detail"].endswith(".")

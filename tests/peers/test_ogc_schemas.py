"""Our documents against the OGC's own JSON schemas, which are not ours to copy and which no package registry has: OGC_SCHEMAS
names a folder with checkouts of github.com/opengeospatial/2D-Tile-Matrix-Set and ogcapi-maps. Without it these tests are not
collected (tests/peers/conftest.py); tests/peers/test_ogc_models.py validates by models made from the schemas, and
tests/test_ogc_landing.py and tests/test_ogc_tilesets.py check the same members clause by clause.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT201909, DRAFT202012
from starlette.testclient import TestClient

SCHEMAS = Path(os.environ["OGC_SCHEMAS"])
TMS = "2D-Tile-Matrix-Set/schemas/tms/2.0/json/"
OPENAPI = "ogcapi-maps/openapi/schemas/"
SETS = ("WebMercatorQuad", "WorldCRS84Quad")
BASES = ("/tiles", "/map/tiles", "/collections/earth/tiles", "/collections/earth/map/tiles")


def load(uri: str) -> Resource[Any]:
    """A schema file by its file: URI."""
    path = Path(uri.removeprefix("file://"))
    if path.name == "extent-uad.yaml":
        # What it has for additional dimensions refuses `spatial` too, for additionalProperties looks no further than itself.
        path = path.with_name("extent.yaml")
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return Resource.from_contents(json.loads(text), default_specification=DRAFT201909)
    return Resource.from_contents(yaml.safe_load(text), default_specification=DRAFT202012)


def validate(document: Any, schema: str) -> None:
    """Raises unless `document` is valid against the schema file."""
    uri = f"file://{(SCHEMAS / schema).resolve()}"
    registry: Registry[Any] = Registry(retrieve=load)  # type: ignore[call-arg]
    # By reference, so that the file's own relative references are resolved from where it lies.
    jsonschema.Draft201909Validator({"$ref": uri}, registry=registry).validate(document)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", SETS)
def test_tilesets(shared_client: TestClient, base: str, name: str) -> None:
    """tileSet.json of 17-083r4, and the items of the list."""
    validate(shared_client.get(f"{base}/{name}?f=json").json(), TMS + "tileSet.json")
    listed = shared_client.get(f"{base}?f=json").json()
    for item in listed["tilesets"]:
        validate(item, OPENAPI + "tms/tileSet-item.yaml")
    for link in listed["links"]:
        validate(link, TMS + "link.json")


@pytest.mark.parametrize("name", SETS)
def test_tile_matrix_sets(shared_client: TestClient, name: str) -> None:
    """tileMatrixSet.json of 17-083r4, and the items of the list."""
    validate(shared_client.get(f"/tileMatrixSets/{name}?f=json").json(), TMS + "tileMatrixSet.json")
    for item in shared_client.get("/tileMatrixSets?f=json").json()["tileMatrixSets"]:
        validate(item, OPENAPI + "tms/tileMatrixSet-item.yaml")


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/?f=json", "common-core/landingPage.yaml"),
        ("/ogc", "common-core/landingPage.yaml"),
        ("/conformance", "common-core/confClasses.yaml"),
        ("/collections", "common-geodata/collections.yaml"),
        ("/collections/earth", "common-geodata/collectionDesc.yaml"),
        ("/collections/mars", "common-core/exception.yaml"),
        ("/map?width=0", "common-core/exception.yaml"),
        ("/tiles/WebMercatorQuad/30/0/0", "common-core/exception.yaml"),
    ],
)
def test_common(shared_client: TestClient, path: str, schema: str) -> None:
    """Common - Parts 1 and 2, as the repository of Maps has them."""
    validate(shared_client.get(path).json(), OPENAPI + schema)


def test_the_schemas_can_refuse() -> None:
    """Else the tests above prove nothing."""
    with pytest.raises(jsonschema.ValidationError):
        validate({"crs": 5}, TMS + "tileSet.json")
    with pytest.raises(jsonschema.ValidationError):
        validate({"collections": [{"id": "x"}], "links": []}, OPENAPI + "common-geodata/collections.yaml")

"""Our OGC API documents against titiler's models of the OGC's schemas, which were generated from them, and morecantile's of a
tile matrix set: an account of the schemas that is not ours, and one that a package registry has. The schemas themselves are
tried by tests/peers/test_ogc_schemas.py, where there is a copy of them.

Validated is by the models' JSON schemas too, which convert nothing, unlike pydantic itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

import jsonschema
import morecantile
import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

SETS = ("WebMercatorQuad", "WorldCRS84Quad")
BASES = ("/tiles", "/map/tiles", "/collections/earth/tiles", "/collections/earth/map/tiles")


@pytest.fixture(scope="module")
def models() -> Any:
    """titiler's module of models, without the rest of titiler, whose many dependencies are not installed."""
    if importlib.util.find_spec("titiler") is None:
        pytest.skip("titiler's models are not installed (pip install --no-deps titiler-core)")
    spec = importlib.util.find_spec("titiler.core")
    assert spec is not None
    with pytest.MonkeyPatch.context() as patch:
        # The package by name only: to execute it would import all of titiler.
        patch.setitem(sys.modules, "titiler.core", importlib.util.module_from_spec(spec))
        return importlib.import_module("titiler.core.models.OGC")


def validate(document: Any, model: type[BaseModel]) -> None:
    """Raises unless `document` is valid by the model's JSON schema and the model itself, which knows more than that."""
    jsonschema.Draft202012Validator(model.model_json_schema()).validate(document)
    model.model_validate(document)


@pytest.mark.parametrize("base", BASES)
def test_tilesets(shared_client: TestClient, models: Any, base: str) -> None:
    listed = shared_client.get(f"{base}?f=json").json()
    validate(listed, models.TileSetList)
    assert len(listed["tilesets"]) == len(SETS)
    for name in SETS:
        validate(shared_client.get(f"{base}/{name}?f=json").json(), models.TileSet)


def test_tile_matrix_sets(shared_client: TestClient, models: Any) -> None:
    validate(shared_client.get("/tileMatrixSets?f=json").json(), models.TileMatrixSetList)
    for name in SETS:
        morecantile.TileMatrixSet.model_validate(shared_client.get(f"/tileMatrixSets/{name}?f=json").json())


def test_common(shared_client: TestClient, models: Any) -> None:
    for path in ("/?f=json", "/ogc"):
        validate(shared_client.get(path).json(), models.Landing)
    validate(shared_client.get("/conformance").json(), models.Conformance)


def test_the_models_can_refuse(shared_client: TestClient, models: Any) -> None:
    """Else the tests above prove nothing."""
    good = shared_client.get("/tiles/WebMercatorQuad?f=json").json()
    bad = {"crs": 5, "links": "none", "dataType": "photographs", "tileMatrixSetLimits": [{"tileMatrix": "0"}]}
    for name, value in bad.items():
        with pytest.raises(jsonschema.ValidationError):
            validate({**good, name: value}, models.TileSet)
    with pytest.raises(jsonschema.ValidationError):
        validate({"conformsTo": [5]}, models.Conformance)

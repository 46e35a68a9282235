"""The assertions of ets-wmts10 about GetTile, one test each, for KVP by GET and REST; see tests/ets/test_wmts_ets.py."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.ows_schemas import NAMES, exception, texts
from tests.wmts_requests import IMAGE_KINDS, KVP, LAYERS, MATRIX_SETS, address, first_tiles, get_tile, refused


@pytest.mark.parametrize("encoding", ["KVP", "RESTful"])
def test_get_tile_mandatory_format_and_size(client: TestClient, document: Any, encoding: str) -> None:
    """GetTile.Mandatory, Valid.Tile.Format and Valid.Tile.Size."""
    for parts in first_tiles(document):
        answer = client.get(KVP, params=get_tile(**parts)) if encoding == "KVP" else client.get(address(document, parts))
        assert (answer.status_code, answer.headers["content-type"]) == (200, parts["format"]), parts
        image = Image.open(io.BytesIO(answer.content))
        matrix = (
            f"{MATRIX_SETS}[ows:Identifier='{parts['TileMatrixSet']}']/wmts:TileMatrix[ows:Identifier='{parts['TileMatrix']}']"
        )
        (width,), (height,) = texts(document, f"{matrix}/wmts:TileWidth"), texts(document, f"{matrix}/wmts:TileHeight")
        assert (image.format, image.size) == (IMAGE_KINDS[parts["format"]], (int(width), int(height)))


@pytest.mark.parametrize("name", ["layer", "style", "format", "TileMatrixSet", "TileMatrix", "TileRow", "TileCol"])
def test_kvp_get_tile_missing(client: TestClient, document: Any, name: str) -> None:
    parts = next(first_tiles(document))
    refused(client, get_tile(**{key: value for key, value in parts.items() if key != name}), "MissingParameterValue", name)


@pytest.mark.parametrize("name", ["layer", "style", "format", "TileMatrixSet", "TileMatrix"])
def test_kvp_get_tile_invalid(client: TestClient, document: Any, name: str) -> None:
    """Invalid.Layer, Invalid.Tile.Style, Invalid.Tile.Format, Invalid.TileMatrixSet and Invalid.TileMatrix."""
    refused(client, get_tile(**{**next(first_tiles(document)), name: "BOGUS"}), "InvalidParameterValue", name)


def outside(document: Any, end: str) -> Iterator[dict[str, str]]:
    """One past each limit of each matrix; `end` is Row or Col."""
    for link in document.findall(f"{LAYERS}/wmts:TileMatrixSetLink", NAMES):
        for limit in link.findall("wmts:TileMatrixSetLimits/wmts:TileMatrixLimits", NAMES):
            (low,), (high,) = texts(limit, f"wmts:MinTile{end}"), texts(limit, f"wmts:MaxTile{end}")
            inside = {f"Tile{other}": texts(limit, f"wmts:MinTile{other}")[0] for other in ("Row", "Col")}
            for value in (int(low) - 1, int(high) + 1):
                yield {
                    **next(first_tiles(document)),
                    **inside,
                    "TileMatrixSet": texts(link, "wmts:TileMatrixSet")[0],
                    "TileMatrix": texts(limit, "wmts:TileMatrix")[0],
                    f"Tile{end}": str(value),
                }


@pytest.mark.parametrize("end", ["Row", "Col"])
def test_kvp_get_tile_invalid_tile_matrix_set_limits(client: TestClient, document: Any, end: str) -> None:
    """Invalid.Tile.Row.TileMatrixSetLimits and Invalid.Tile.Col.TileMatrixSetLimits."""
    for parts in outside(document, end):
        refused(client, get_tile(**parts), "TileOutOfRange", f"Tile{end}")


@pytest.mark.parametrize("end", ["Row", "Col"])
def test_restful_get_tile_invalid_tile_matrix_set_limits(client: TestClient, document: Any, end: str) -> None:
    """An error at least; the suite calls 404 with the report of the KVP request the best practice."""
    for parts in outside(document, end):
        answer = client.get(address(document, parts))
        assert (answer.status_code, *exception(answer.content)[:2]) == (404, "TileOutOfRange", f"Tile{end}")


@pytest.mark.parametrize("name", ["TileMatrixSet", "TileMatrix", "TileRow", "TileCol"])
def test_restful_get_tile_missing(client: TestClient, document: Any, name: str) -> None:
    answer = client.get(address(document, {**next(first_tiles(document)), name: ""}))
    assert answer.status_code == 404


@pytest.mark.parametrize("name", ["TileMatrixSet", "TileMatrix"])
def test_restful_get_tile_invalid(client: TestClient, document: Any, name: str) -> None:
    """Invalid.TileMatrixSet and Invalid.TileMatrix."""
    answer = client.get(address(document, {**next(first_tiles(document)), name: "BOGUS"}))
    assert (answer.status_code, *exception(answer.content)[:2]) == (404, "InvalidParameterValue", name)


@pytest.mark.parametrize(("name", "value"), [("layer", "earth"), ("style", "default")])
def test_restful_get_tile_invalid_layer_and_style(client: TestClient, document: Any, name: str, value: str) -> None:
    """Invalid.Layer and Invalid.Tile.Style; both are written out in the templates."""
    answer = client.get(address(document, next(first_tiles(document))).replace(f"/{value}/", "/BOGUS/"))
    assert (answer.status_code, *exception(answer.content)[:2]) == (404, "InvalidParameterValue", name)


# GetFeatureInfo


def test_get_feature_info_is_neither_advertised_nor_answered(client: TestClient, document: Any) -> None:
    """The suite tests it where it is advertised; elsewhere it is OperationNotSupported (docs/wmts.md says why not 501)."""
    assert document.findall(".//ows:Operation[@name='GetFeatureInfo']", NAMES) == []
    assert document.findall(".//wmts:InfoFormat", NAMES) == []
    assert texts(document, ".//wmts:ResourceURL[@resourceType='FeatureInfo']") == []
    answer = client.get(
        KVP, params={**get_tile(**next(first_tiles(document))), "request": "GetFeatureInfo", "I": "1", "J": "1"}
    )
    assert (answer.status_code, exception(answer.content)[0]) == (400, "OperationNotSupported")

"""What the tests after the OGC's test suite for WMTS (ets-wmts10) share: requests, and what they must answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from starlette.testclient import TestClient

from tests.ows_schemas import NAMES, exception, texts

KVP = "/wmts"
CAPS = {"service": "WMTS", "request": "GetCapabilities"}
GET = ".//ows:Operation[@name='{}']/ows:DCP/ows:HTTP/ows:Get"
HREF = f"{{{NAMES['xlink']}}}href"
IMAGE_KINDS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/avif": "AVIF"}
LAYERS = "wmts:Contents/wmts:Layer"
MATRIX_SETS = "wmts:Contents/wmts:TileMatrixSet"


def refused(client: TestClient, params: dict[str, str], code: str, locator: str | None) -> None:
    """The request must be answered by a schema-valid report with this code and locator, and 400."""
    answer = client.get(KVP, params=params)
    found, where, _ = exception(answer.content)
    assert (answer.status_code, found) == (400, code)
    assert (where or "").lower() == (locator or "").lower()


def first_tiles(document: Any) -> Iterator[dict[str, str]]:
    """For each layer, style, format and matrix set: a tile in the middle of the first matrix and one of the third."""
    for layer in document.findall(LAYERS, NAMES):
        (name,) = texts(layer, "ows:Identifier")
        for style, kind in itertools.product(texts(layer, "wmts:Style/ows:Identifier"), texts(layer, "wmts:Format")):
            for link in layer.findall("wmts:TileMatrixSetLink", NAMES):
                (grid,) = texts(link, "wmts:TileMatrixSet")
                limits = link.findall("wmts:TileMatrixSetLimits/wmts:TileMatrixLimits", NAMES)
                for limit in (limits[0], limits[2]):
                    (matrix,) = texts(limit, "wmts:TileMatrix")
                    low, high, west, east = (int(found.text) for found in limit[1:])
                    yield {
                        "layer": name,
                        "style": style,
                        "format": kind,
                        "TileMatrixSet": grid,
                        "TileMatrix": matrix,
                        "TileRow": str((low + high) // 2),
                        "TileCol": str((west + east) // 2),
                    }


def get_tile(**parts: str) -> dict[str, str]:
    """A GetTile request."""
    return {"service": "WMTS", "request": "GetTile", "version": "1.0.0", **parts}


def address(document: Any, parts: dict[str, str]) -> str:
    """The RESTful address of a tile, by the template of its format."""
    (template,) = texts(document, f"{LAYERS}/wmts:ResourceURL[@resourceType='tile'][@format='{parts['format']}']/@template")
    for name in ("TileMatrixSet", "TileMatrix", "TileRow", "TileCol"):
        assert f"{{{name}}}" in template
        template = template.replace(f"{{{name}}}", parts[name])
    assert "{" not in template
    return template

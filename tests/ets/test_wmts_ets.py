"""The assertions of the OGC's executable test suite for WMTS 1.0.0 (ets-wmts10) about GetCapabilities, one test each, for KVP
by GET and REST; those about GetTile are in tests/ets/test_wmts_ets_tiles.py.

Each test bears the name of the suite's. Left out is what the suite itself skips for a server like this one: KVP by POST, XML by
POST, SOAP, sample dimensions and legends, none of which is offered, and GetFeatureInfo, whose absence has a test.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from starlette.testclient import TestClient

from server.wmts_capabilities import SECTIONS
from tests.ows_schemas import CAPABILITIES, NAMES, exception, texts, valid
from tests.wmts_requests import CAPS, GET, HREF, KVP, LAYERS, MATRIX_SETS, refused


def sections(client: TestClient, value: str) -> list[str]:
    """The names of the elements below the root of the document for Sections=value."""
    answer = client.get(KVP, params={**CAPS, "Sections": value})
    assert answer.status_code == 200
    return [child.tag.rpartition("}")[2] for child in valid(answer.content, CAPABILITIES)]


# Common operations


def test_kvp_get_invalid_query_string(client: TestClient) -> None:
    answer = client.get(KVP + "?service=WMTS&request~GetCapabilities!version~1.0.0")
    assert (answer.status_code, *exception(answer.content)[:2]) == (400, "MissingParameterValue", "request")


def test_kvp_get_invalid_service(client: TestClient) -> None:
    refused(client, {**CAPS, "service": "BOGUS"}, "InvalidParameterValue", "service")


def test_kvp_get_invalid_request(client: TestClient) -> None:
    refused(client, {**CAPS, "request": "GetBOGUS"}, "InvalidParameterValue", "request")


def test_restful_http_mandatory(client: TestClient, document: Any) -> None:
    (metadata,) = texts(document, "wmts:ServiceMetadataURL/@xlink:href")
    assert client.get(metadata, headers={"accept": "example/unknown"}).status_code == 406


def test_restful_invalid_query_string(client: TestClient, document: Any) -> None:
    (metadata,) = texts(document, "wmts:ServiceMetadataURL/@xlink:href")
    assert client.get(metadata + "/Bogus").status_code == 404


# GetCapabilities, requests


def test_get_capabilities_request_mandatory(document: Any) -> None:
    assert {child.tag.rpartition("}")[2] for child in document} >= {*SECTIONS, "ServiceMetadataURL"}


def test_get_capabilities_request_no_service(client: TestClient) -> None:
    refused(client, {"request": "GetCapabilities"}, "MissingParameterValue", "service")


def test_get_capabilities_request_invalid_service(client: TestClient) -> None:
    refused(client, {"service": "BOGUS", "request": "GetCapabilities"}, "InvalidParameterValue", "service")


@pytest.mark.parametrize("versions", ["1.0.0", "2.0.0,1.0.0"])
def test_get_capabilities_request_accept_versions_valid(client: TestClient, versions: str) -> None:
    root = valid(client.get(KVP, params={**CAPS, "AcceptVersions": versions}).content, CAPABILITIES)
    assert root.get("version") == "1.0.0"


@pytest.mark.parametrize("versions", ["2.0.0", "9999.99.99,0.1.0", "1.0"])
def test_get_capabilities_request_accept_versions_invalid(client: TestClient, versions: str) -> None:
    refused(client, {**CAPS, "AcceptVersions": versions}, "VersionNegotiationFailed", None)


def test_get_capabilities_request_case_insensitive_kvp_names(client: TestClient) -> None:
    values = ("GetCapabilities", "WMTS", "1.0.0")
    bodies = set()
    for names in (("request", "service", "version"), ("REQUEST", "SERVICE", "VERSION"), ("rEqUeSt", "SeRvIcE", "vErSiOn")):
        for order in itertools.permutations(zip(names, values, strict=True)):
            bodies.add(client.get(KVP, params=list(order)).content)
    assert len(bodies) == 1


def test_get_capabilities_request_sections_all(client: TestClient) -> None:
    assert sections(client, "All") == [*SECTIONS, "ServiceMetadataURL"]


@pytest.mark.parametrize("section", SECTIONS)
def test_get_capabilities_request_sections_single(client: TestClient, section: str) -> None:
    assert sections(client, section) == [section]


def test_get_capabilities_request_sections_multiple(client: TestClient) -> None:
    assert sections(client, "Contents,Themes") == ["Contents", "Themes"]


def test_get_capabilities_request_sections_invalid(client: TestClient) -> None:
    refused(client, {**CAPS, "Sections": "Bogus"}, "InvalidParameterValue", "sections")


def test_get_capabilities_request_sections_missing(client: TestClient) -> None:
    refused(client, {**CAPS, "Sections": ""}, "MissingParameterValue", "sections")


def test_get_capabilities_request_update_sequence(client: TestClient, document: Any) -> None:
    current = document.get("updateSequence")
    equal = valid(client.get(KVP, params={**CAPS, "updateSequence": current}).content, CAPABILITIES)
    assert (len(equal), equal.get("version"), equal.get("updateSequence")) == (0, "1.0.0", current)
    # The suite moves the first character by one.
    less = client.get(KVP, params={**CAPS, "updateSequence": chr(ord(current[0]) - 1) + current[1:]})
    assert len(valid(less.content, CAPABILITIES)) == len(document)
    refused(client, {**CAPS, "updateSequence": chr(ord(current[0]) + 1) + current[1:]}, "InvalidUpdateSequence", None)


def test_get_capabilities_request_accept_formats(client: TestClient, document: Any) -> None:
    offered = texts(document, ".//ows:Operation[@name='GetCapabilities']/ows:Parameter[@name='AcceptFormats']//ows:Value")
    for wanted, expected in [*((name, name) for name in offered), ("bogus/xml", "application/xml")]:
        answer = client.get(KVP, params={**CAPS, "AcceptFormats": wanted})
        assert answer.headers["content-type"].startswith(expected)
        valid(answer.content, CAPABILITIES)


# GetCapabilities, the document


def test_get_capabilities_response_xml_well_formed_and_schema_valid(document: Any) -> None:
    """`document` has been parsed and validated."""
    assert document.tag == f"{{{NAMES['wmts']}}}Capabilities"


def test_get_capabilities_response_schema_referenced(document: Any) -> None:
    names = document.get(f"{{{NAMES['xsi']}}}schemaLocation").split()
    locations = dict(zip(names[::2], names[1::2], strict=True))
    assert locations[NAMES["wmts"]].rpartition("/")[2] in ("wmts.xsd", "wmtsGetCapabilities_response.xsd")


def test_get_capabilities_response_advertised_format(document: Any) -> None:
    path = ".//ows:Operation[@name='GetCapabilities']/ows:Parameter[@name='AcceptFormats']/ows:AllowedValues/ows:Value"
    assert "application/xml" in texts(document, path)


def test_get_capabilities_response_online_resource(document: Any) -> None:
    gets = document.findall(".//ows:Get", NAMES)
    assert len(gets) == 4
    for get in gets:
        assert get.get(HREF).startswith(("http://", "https://"))
        if "KVP" in texts(get, "ows:Constraint//ows:Value"):
            assert get.get(HREF).endswith(("?", "&"))


@pytest.mark.parametrize("operation", ["GetCapabilities", "GetTile"])
def test_get_capabilities_response_encoding_constraint(document: Any, operation: str) -> None:
    path = GET.format(operation) + "/ows:Constraint[@name='GetEncoding']/ows:AllowedValues/ows:Value"
    assert sorted(texts(document, path)) == ["KVP", "RESTful"]


@pytest.mark.parametrize("path", [LAYERS, MATRIX_SETS])
def test_get_capabilities_response_identifiers_unique(document: Any, path: str) -> None:
    """Layer.Identifiers.Unique and TileMatrixSet.Identifiers.Unique."""
    names = texts(document, f"{path}/ows:Identifier")
    assert names
    assert all(names)
    assert len(set(names)) == len(names)


def test_get_capabilities_response_layer_tile_matrix_set_valid(document: Any) -> None:
    links = texts(document, f"{LAYERS}/wmts:TileMatrixSetLink/wmts:TileMatrixSet")
    assert links
    assert set(links) <= set(texts(document, f"{MATRIX_SETS}/ows:Identifier"))


@pytest.mark.parametrize("path", ["ows:Identifier", "wmts:ScaleDenominator"])
def test_get_capabilities_response_tile_matrix_unique(document: Any, path: str) -> None:
    """TileMatrix.Identifiers.Unique and TileMatrixSet.ScaleDenominators.Unique, within each set."""
    for grid in document.findall(MATRIX_SETS, NAMES):
        values = texts(grid, f"wmts:TileMatrix/{path}")
        assert values
        assert all(values)
        assert len(set(values)) == len(values)


def test_get_capabilities_response_tile_matrix_set_well_known_scale_set(document: Any) -> None:
    """The CRS and all scales from the largest down, by annex E of the standard.

    The suite writes the CRS as annex E does, EPSG:6.18:3:3857, which PROJ cannot read; the URN without a version is the
    same CRS, and the one that the OGC's later standards (WMTS Simple, Two Dimensional Tile Matrix Set) write.
    """
    claimed = [grid for grid in document.findall(MATRIX_SETS, NAMES) if texts(grid, "wmts:WellKnownScaleSet")]
    assert claimed
    for grid in claimed:
        assert texts(grid, "wmts:WellKnownScaleSet") == ["urn:ogc:def:wkss:OGC:1.0:GoogleMapsCompatible"]
        assert texts(grid, "ows:SupportedCRS") == ["urn:ogc:def:crs:EPSG::3857"]
        for zoom, scale in enumerate(texts(grid, "wmts:TileMatrix/wmts:ScaleDenominator")):
            assert float(scale) == pytest.approx(559082264.0287178 / 2**zoom, rel=1e-12)


def test_get_capabilities_response_theme_layer_ref_valid(document: Any) -> None:
    references = texts(document, "wmts:Themes/wmts:Theme/wmts:LayerRef")
    assert references
    assert set(references) <= set(texts(document, f"{LAYERS}/ows:Identifier"))


def test_restful_get_capabilities_request_mandatory(client: TestClient, document: Any) -> None:
    (metadata,) = texts(document, "wmts:ServiceMetadataURL/@xlink:href")
    root = valid(client.get(metadata).content, CAPABILITIES)
    assert {child.tag.rpartition("}")[2] for child in root} == {*SECTIONS, "ServiceMetadataURL"}
    assert texts(root, "wmts:ServiceMetadataURL/@xlink:href") == [metadata]

"""The errors of WMTS 1.0.0: exception reports with the code, the locator and the status that the standard asks for."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from model import Planet
from model.errors import DeviceError
from server.fastpath import FastPath
from tests.ows_schemas import exception
from tests.test_wmts import GET_TILE, METADATA, REST, tile


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    """One application for all: nothing here depends on what is cached."""
    return shared_client


@pytest.mark.parametrize("name", [name for name in GET_TILE if name != "request"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_parameter_is_named(client: TestClient, name: str, value: str | None) -> None:
    answer = tile(client, **{name: value})
    code, locator, text = exception(answer.content)
    assert (answer.status_code, code, locator) == (400, "MissingParameterValue", name)
    assert name in text


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("service", "wmts", "InvalidParameterValue"),
        ("request", "gettile", "InvalidParameterValue"),
        ("version", "1.1.0", "InvalidParameterValue"),
        ("layer", "Earth", "InvalidParameterValue"),
        ("layer", "moon", "InvalidParameterValue"),
        ("style", "dark", "InvalidParameterValue"),
        ("format", "image/jpg", "InvalidParameterValue"),
        ("format", "png", "InvalidParameterValue"),
        ("TileMatrixSet", "webmercatorquad", "InvalidParameterValue"),
        ("TileMatrix", "21", "InvalidParameterValue"),
        ("TileMatrix", "04", "InvalidParameterValue"),
        ("TileMatrix", "-1", "InvalidParameterValue"),
        ("TileRow", "1.5", "InvalidParameterValue"),
        ("TileCol", "NaN", "InvalidParameterValue"),
        ("TileCol", "<\x01&>\udc80", "InvalidParameterValue"),
        ("TileRow", "16", "TileOutOfRange"),
        ("TileRow", "-1", "TileOutOfRange"),
        ("TileCol", "16", "TileOutOfRange"),
        ("TileCol", "9" * 5000, "TileOutOfRange"),
    ],
)
def test_a_wrong_value_is_named(client: TestClient, name: str, value: str, code: str) -> None:
    answer = tile(client, **{name: value.encode("utf-8", "surrogatepass").decode("latin-1")})
    found, locator, text = exception(answer.content)
    assert (answer.status_code, found, locator) == (400, code, name)
    assert answer.headers["content-type"] == "application/xml"
    assert len(text) < 300


@pytest.mark.parametrize(
    ("parts", "code", "locator"),
    [
        ("moon/default/WebMercatorQuad/4/5/8.png", "InvalidParameterValue", "layer"),
        ("earth/dark/WebMercatorQuad/4/5/8.png", "InvalidParameterValue", "style"),
        ("earth/default/Mars/4/5/8.png", "InvalidParameterValue", "TileMatrixSet"),
        ("earth/default/WebMercatorQuad/x/5/8.png", "InvalidParameterValue", "TileMatrix"),
        ("earth/default/WebMercatorQuad/4/16/8.png", "TileOutOfRange", "TileRow"),
        ("earth/default/WebMercatorQuad/4/5/16.png", "TileOutOfRange", "TileCol"),
        ("earth/default/WorldCRS84Quad/7/0/0.png", "TileOutOfRange", "TileRow"),
        ("earth/default/WebMercatorQuad/4/5/8.gif", "InvalidParameterValue", "format"),
        ("earth/default/WebMercatorQuad/4/5", "NoApplicableCode", None),
        ("WMTSCapabilities.xml/Bogus", "NoApplicableCode", None),
    ],
)
def test_a_restful_address_of_nothing_is_404(client: TestClient, parts: str, code: str, locator: str | None) -> None:
    for method in ("GET", "HEAD"):
        answer = client.request(method, "/wmts/1.0.0/" + parts)
        assert answer.status_code == 404
    assert exception(client.get("/wmts/1.0.0/" + parts).content)[:2] == (code, locator)


def test_get_feature_info_is_not_offered(client: TestClient) -> None:
    answer = tile(client, request="GetFeatureInfo")
    assert answer.status_code == 400
    assert exception(answer.content)[:2] == ("OperationNotSupported", "GetFeatureInfo")


@pytest.mark.parametrize("path", ["/wmts", METADATA, REST])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
def test_other_methods_are_refused_in_xml(client: TestClient, path: str, method: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert exception(answer.content)[0] == "OperationNotSupported"


def test_one_name_with_two_values_is_refused(client: TestClient) -> None:
    query = "&".join(f"{name}={value}" for name, value in GET_TILE.items())
    assert client.get(f"/wmts?{query}&LAYER=earth").status_code == 200
    answer = client.get(f"/wmts?{query}&LAYER=moon")
    assert (answer.status_code, exception(answer.content)[:2]) == (400, ("InvalidParameterValue", "LAYER"))
    many = client.get("/wmts?" + "&".join(f"a{i}=1" for i in range(1000)))
    assert (many.status_code, exception(many.content)[0]) == (400, "InvalidParameterValue")


def test_a_failed_rendering_is_reported_in_xml(client: TestClient, planet: Planet, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any, **__: Any) -> None:
        raise DeviceError("the device is gone")

    monkeypatch.setattr(planet, "read", read)
    for answer in (tile(client, TileCol="3"), client.get(REST.replace("/8.png", "/3.png"))):
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert exception(answer.content) == ("NoApplicableCode", None, "the device is gone")


def test_what_nobody_foresaw_is_reported_in_xml_too(app: FastPath, monkeypatch: pytest.MonkeyPatch) -> None:
    def public_url(*_: Any) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr("server.links.public_url", public_url)
    with TestClient(app) as client:
        for address in (METADATA, "/wmts?service=WMTS&request=GetCapabilities"):
            answer = client.get(address)
            assert (answer.status_code, exception(answer.content)[0]) == (503, "NoApplicableCode")

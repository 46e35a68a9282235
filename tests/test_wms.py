"""WMS 1.1.1 and 1.3.0: documents valid against DTD and XSD, maps whose pixels are the tiles', exceptions with their codes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lxml import etree
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from model import Planet
from model.grid import EARTH_CIRCUMFERENCE
from server.app import create_app
from server.wms_request import negotiate
from tests.conftest import MakeSettings, Readings


@pytest.fixture
def client(shared_client: TestClient) -> TestClient:
    """One application for all: nothing here depends on what is cached."""
    return shared_client


HALF = EARTH_CIRCUMFERENCE / 2
mapproxy = pytest.importorskip("mapproxy", reason="MapProxy, whose tests hold the OGC schemas, is not installed")
SCHEMAS = Path(mapproxy.__file__).parent / "test" / "schemas" / "wms"
UNIT = EARTH_CIRCUMFERENCE / 16
TILE_BOX = f"{3 * UNIT - HALF!r},{HALF - 6 * UNIT!r},{4 * UNIT - HALF!r},{HALF - 5 * UNIT!r}"
"""Of the tile 4/3/5, in EPSG:3857."""


def decode(content: bytes, mode: str = "RGB") -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode))


def query(version: str = "1.3.0", **changes: Any) -> dict[str, Any]:
    """A GetMap of the tile 4/3/5, changed; None leaves a parameter out."""
    crs = "CRS" if version == "1.3.0" else "SRS"
    values = {"SERVICE": "WMS", "VERSION": version, "REQUEST": "GetMap", "LAYERS": "earth", "STYLES": "", crs: "EPSG:3857"}
    values |= {"BBOX": TILE_BOX, "WIDTH": "256", "HEIGHT": "256", "FORMAT": "image/png", **changes}
    return {name: value for name, value in values.items() if value is not None}


def validate(content: bytes, version: str, kind: str) -> Any:
    """The root of a document that is valid against the version's DTD or XSD; `kind` is capabilities or exception."""
    # No network: the document names its schema's address on the web.
    root = etree.fromstring(content, etree.XMLParser(load_dtd=False, no_network=True))
    if version == "1.1.1":
        dtd = etree.DTD(str(SCHEMAS / "1.1.1" / f"{kind}_1_1_1.dtd"))
        assert dtd.validate(root), dtd.error_log
    else:
        name = "capabilities_1_3_0.xsd" if kind == "capabilities" else "exceptions_1_3_0.xsd"
        schema = etree.XMLSchema(etree.parse(str(SCHEMAS / "1.3.0" / name), _Local.parser()))
        assert schema.validate(root), schema.error_log
    return root


class _Local(etree.Resolver):  # type: ignore[misc]
    """Finds the schemas of schemas.opengis.net and w3.org that an XSD imports among MapProxy's files."""

    @classmethod
    def parser(cls) -> Any:
        parser = etree.XMLParser(no_network=True)
        parser.resolvers.add(cls())
        return parser

    def resolve(self, url: str, _: Any, context: Any) -> Any:
        name = url.rpartition("/")[2]
        found = [path for path in sorted(SCHEMAS.parent.rglob(name)) if path.as_posix() != url] if "://" in url else []
        return self.resolve_filename(str(found[0]), context) if found else None


def code_of(content: bytes, version: str) -> str | None:
    root = validate(content, version, "exception")
    code: str | None = root[0].get("code")
    assert root[0].text.strip().endswith(".")
    return code


@pytest.mark.parametrize(("version", "asked"), [("1.3.0", ""), ("1.3.0", "1.3.0"), ("1.1.1", "1.1.1"), ("1.1.1", "1.0.0")])
def test_capabilities_are_valid(client: TestClient, version: str, asked: str) -> None:
    answer = client.get(
        "/wms", params={"service": "WMS", "request": "GetCapabilities", **({"version": asked} if asked else {})}
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == ("text/xml" if version == "1.3.0" else "application/vnd.ogc.wms_xml")
    root = validate(answer.content, version, "capabilities")
    assert root.get("version") == version
    names = [node.text for node in root.iter("{*}CRS", "{*}SRS")]
    assert {"EPSG:3857", "EPSG:4326", "EPSG:900913", "EPSG:32633", "EPSG:32760"} <= set(names)
    assert ("CRS:84" in names) == (version == "1.3.0")
    boxes = {node.get("CRS", node.get("SRS")): float(node.get("minx")) for node in root.iter("{*}BoundingBox")}
    assert boxes["EPSG:4326"] == (-180 if version == "1.1.1" else pytest.approx(-85.0511287798))


def test_links_are_public(make_settings: MakeSettings, planet: Planet) -> None:
    with TestClient(create_app(make_settings(public_url="https://maps.example.org/earth"), planet)) as client:
        text = client.get("/wms?SERVICE=WMS&REQUEST=GetCapabilities").text
    assert text.count('"https://maps.example.org/earth/wms?"') == 2


def test_versions_are_negotiated() -> None:
    wanted = {"": "1.3.0", "1.0.0": "1.1.1", "1.1.1": "1.1.1", "1.2.0": "1.1.1", "1.3.0": "1.3.0", "2.0": "1.3.0", "9": "1.3.0"}
    assert {text: negotiate(text) for text in wanted} == wanted
    assert negotiate("nonsense") == "1.3.0"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"version": "1.1.1"},
        {"version": "1.1.1", "SRS": "EPSG:900913"},
        {"version": "1.1.1", "FORMAT": "image/png", "TRANSPARENT": "true"},
    ],
)
def test_a_map_on_a_tiles_box_is_the_tile(client: TestClient, changes: dict[str, str]) -> None:
    answer = client.get("/wms", params=query(**changes))
    assert answer.status_code == 200, answer.text
    assert np.array_equal(decode(answer.content), decode(client.get("/4/3/5.png").content))


def test_axis_order_follows_the_version(client: TestClient) -> None:
    size = {"WIDTH": "120", "HEIGHT": "80"}
    old = client.get("/wms", params=query("1.1.1", SRS="EPSG:4326", BBOX="-20,30,40,70", **size))
    new = client.get("/wms", params=query("1.3.0", CRS="EPSG:4326", BBOX="30,-20,70,40", **size))
    crs84 = client.get("/wms", params=query("1.3.0", CRS="CRS:84", BBOX="-20,30,40,70", **size))
    box = client.get("/bbox/-20,30,40,70.png?width=120")
    assert old.status_code == 200 and old.content == new.content == crs84.content == box.content


def test_utm_formats_and_names_in_any_case(client: TestClient) -> None:
    changes = {"BBOX": "200000,5000000,900000,6000000", "WIDTH": "70", "HEIGHT": "100", "CRS": "EPSG:32633"}
    for format_, name in (("image/jpeg", "JPEG"), ("image/webp", "WEBP"), ("image/tiff", "TIFF"), ("image/png8", "PNG")):
        params = {key.lower(): value for key, value in query(**changes, FORMAT=format_).items()}
        answer = client.get("/wms", params=params)
        assert answer.status_code == 200, answer.text
        image = Image.open(io.BytesIO(answer.content))
        assert (image.format, image.size) == (name, (70, 100))


def test_background_where_there_is_no_planet(client: TestClient) -> None:
    changes = {"CRS": "EPSG:3413", "BBOX": "-4000000,-4000000,4000000,4000000", "WIDTH": "100", "HEIGHT": "100"}
    assert (decode(client.get("/wms", params=query(**changes)).content)[50, 50] == 255).all()
    coloured = decode(client.get("/wms", params=query(**changes, BGCOLOR="0x102030")).content)
    assert coloured[50, 50].tolist() == [16, 32, 48]
    clear = decode(client.get("/wms", params=query(**changes, TRANSPARENT="TRUE")).content, "RGBA")
    assert clear[50, 50, 3] == 0 and clear[10, 10, 3] == 255


def test_maps_beyond_the_world_are_no_errors(client: TestClient) -> None:
    for box in ("-540,-120,540,120", "-200,0,-170,30", "0,91,1,92"):
        answer = client.get("/wms", params=query("1.1.1", SRS="EPSG:4326", BBOX=box, WIDTH="90", HEIGHT="60"))
        assert answer.status_code == 200, answer.text


def test_conditional_requests_and_head(client: TestClient, readings: Readings) -> None:
    head = client.head("/wms", params=query())
    assert head.status_code == 200 and not head.content and not readings.calls
    again = client.get("/wms", params=query(), headers={"if-none-match": head.headers["etag"]})
    assert again.status_code == 304 and not readings.calls


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"LAYERS": "mars"}, "LayerNotDefined"),
        ({"LAYERS": None}, "MissingParameterValue"),
        ({"STYLES": "night"}, "StyleNotDefined"),
        ({"FORMAT": "image/gif"}, "InvalidFormat"),
        ({"FORMAT": None}, "MissingParameterValue"),
        ({"REF": "EPSG:1"}, "Invalid"),
        ({"REF": "mars"}, "Invalid"),
        ({"REF": None}, "MissingParameterValue"),
        ({"BBOX": None}, "MissingParameterValue"),
        ({"BBOX": "1,2,3"}, "InvalidParameterValue"),
        ({"BBOX": "a,b,c,d"}, "InvalidParameterValue"),
        ({"BBOX": "0,0,0,1"}, "InvalidParameterValue"),
        ({"BBOX": "0,1,1,0"}, "InvalidParameterValue"),
        ({"BBOX": "nan,0,1,1"}, "InvalidParameterValue"),
        ({"WIDTH": "0"}, "InvalidParameterValue"),
        ({"WIDTH": "-1"}, "InvalidParameterValue"),
        ({"HEIGHT": "4097"}, "InvalidParameterValue"),
        ({"HEIGHT": None}, "MissingParameterValue"),
        ({"BGCOLOR": "red"}, "InvalidParameterValue"),
        ({"TRANSPARENT": "maybe"}, "InvalidParameterValue"),
        ({"REQUEST": None}, "MissingParameterValue"),
        ({"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "earth"}, "OperationNotSupported"),
        ({"REQUEST": "GetLegendGraphic"}, "OperationNotSupported"),
        ({"SERVICE": "WFS"}, "InvalidParameterValue"),
    ],
)
def test_exceptions(client: TestClient, version: str, changes: dict[str, str | None], code: str) -> None:
    ref = "CRS" if version == "1.3.0" else "SRS"
    changes = {ref if name == "REF" else name: value for name, value in changes.items()}
    answer = client.get("/wms", params=query(version, **changes))
    assert answer.status_code == 400
    assert answer.headers["content-type"] == ("text/xml" if version == "1.3.0" else "application/vnd.ogc.se_xml")
    assert code_of(answer.content, version) == (code + ref if code == "Invalid" else code)


def test_exceptions_without_a_version_or_with_hostile_text(client: TestClient) -> None:
    assert code_of(client.get("/wms", params=query(VERSION=None)).content, "1.3.0") == "MissingParameterValue"
    assert code_of(client.get("/wms", params=query(VERSION="1.2.0")).content, "1.1.1") == "InvalidParameterValue"
    answer = client.get("/wms", params=query(LAYERS="<a>&\x00\x0b"))
    assert code_of(answer.content, "1.3.0") == "LayerNotDefined"
    assert code_of(client.post("/wms").content, "1.3.0") == "OperationNotSupported"
    assert client.post("/wms").status_code == 405


@pytest.mark.parametrize(
    ("version", "inimage", "blank"),
    [("1.3.0", "INIMAGE", "BLANK"), ("1.1.1", "application/vnd.ogc.se_inimage", "application/vnd.ogc.se_blank")],
)
def test_exceptions_in_pictures(client: TestClient, version: str, inimage: str, blank: str) -> None:
    told = client.get("/wms", params=query(version, LAYERS="mars", EXCEPTIONS=inimage))
    pixels = decode(told.content)
    assert told.headers["content-type"] == "image/png" and pixels.shape == (256, 256, 3)
    assert 50 < (pixels < 128).all(2).sum() < 5000
    empty = client.get("/wms", params=query(version, LAYERS="mars", EXCEPTIONS=blank, BGCOLOR="0x00FF00"))
    assert (decode(empty.content) == [0, 255, 0]).all()
    assert code_of(client.get("/wms", params=query(version, WIDTH="x", EXCEPTIONS=blank)).content, version)

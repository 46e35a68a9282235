"""QGIS without a screen: XYZ, WMTS and WMS layers are valid, and what it renders is our tiles, pixel for pixel."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from model import Planet
from server.app import create_app
from server.settings import load_settings
from tests.peers.pictures import mosaic, picture
from tests.peers.serving import served

PYTHON = "/usr/bin/python3"  # Debian's, for which python3-qgis is made
SCRIPT = Path(__file__).parent / "qgis_render.py"
HALF = 20037508.342789244
WMTS = "contextualWMSLegend=0&dpiMode=7&format=image/png&layers=earth&styles=default"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def server(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the session's planet."""
    with served(create_app(load_settings(cache_dir=tmp_path_factory.mktemp("qgis"), steps=1), planet)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def rendered(server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], Path]]:
    """By name of the layer: what QGIS says of it, and the picture it rendered, all in one run."""
    probe = subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True) if Path(PYTHON).exists() else None
    if probe is None or probe.returncode:
        pytest.skip("QGIS is not installed (Debian: python3-qgis)")
    folder = tmp_path_factory.mktemp("qgis-out")
    rest, kvp = (
        quote(server + path, safe="")
        for path in ("/wmts/1.0.0/WMTSCapabilities.xml", "/wmts?SERVICE=WMTS&REQUEST=GetCapabilities")
    )
    # The whole of the layer: of a part QGIS 3.22 rounds the window to pixels its own way, be it off by one.
    mercator = {"crs": "EPSG:3857", "extent": [-HALF, -HALF, HALF, HALF]}
    degrees = {"crs": "OGC:CRS84", "extent": [-90.0, -45.0, 90.0, 45.0]}
    uris = {
        "xyz": "type=xyz&zmin=0&zmax=20&url=" + quote(server + "/{z}/{x}/{y}.png", safe=""),
        "wmts-rest": f"{WMTS}&crs=EPSG:3857&tileMatrixSet=WebMercatorQuad&url={rest}",
        "wmts-kvp": f"{WMTS}&crs=EPSG:3857&tileMatrixSet=WebMercatorQuad&url={kvp}",
        "wmts-crs84": f"{WMTS}&crs=OGC:CRS84&tileMatrixSet=WorldCRS84Quad&url={rest}",
    }
    # The bare address, of which QGIS asks for the capabilities of WMS.
    wms = "contextualWMSLegend=0&dpiMode=7&format=image/png&layers=earth&styles&url=" + quote(server + "/wms", safe="")
    uris |= {"wms": f"crs=EPSG:3857&{wms}", "wms-4326": f"crs=EPSG:4326&{wms}"}
    layers = []
    for name, uri in uris.items():
        place = mercator
        if name.endswith("84"):
            place = degrees
        elif name.endswith("4326"):
            place = {**degrees, "crs": "EPSG:4326"}
        height = 1024 if place is mercator else 512
        layers.append({"uri": uri, **place, "width": 1024, "height": height, "out": str(folder / f"{name}.png")})
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)}
    done = subprocess.run(
        [PYTHON, str(SCRIPT)],
        input=json.dumps({"layers": layers}),
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.strip().splitlines()[-1])
    return {name: (answer, folder / f"{name}.png") for name, answer in zip(uris, answers, strict=True)}


@pytest.mark.parametrize("name", ["xyz", "wmts-rest", "wmts-kvp", "wms"])
def test_a_mercator_layer_is_our_tiles(server: str, rendered: dict[str, tuple[dict[str, Any], Path]], name: str) -> None:
    answer, path = rendered[name]
    assert answer["valid"], answer["error"]
    assert answer["error"] == ""
    assert answer["crs"] == "EPSG:3857"
    assert answer["extent"] == pytest.approx([-HALF, -HALF, HALF, HALF], abs=1)
    assert (picture(path.read_bytes()) == mosaic(server + "/2/{x}/{y}.png", range(4), range(4))).all()


def test_a_layer_in_degrees_is_our_tiles(server: str, rendered: dict[str, tuple[dict[str, Any], Path]]) -> None:
    answer, path = rendered["wmts-crs84"]
    assert answer["valid"], answer["error"]
    assert answer["error"] == ""
    assert answer["crs"] in ("OGC:CRS84", "EPSG:4326")
    expected = mosaic(server + "/wmts/1.0.0/earth/default/WorldCRS84Quad/2/{y}/{x}.png", range(2, 6), range(1, 3))
    assert (picture(path.read_bytes()) == expected).all()


def test_a_wms_layer_in_degrees_is_our_box(server: str, rendered: dict[str, tuple[dict[str, Any], Path]]) -> None:
    """Of EPSG:4326, whose latitude comes first in WMS 1.3.0, nothing is turned or shifted."""
    answer, path = rendered["wms-4326"]
    assert answer["valid"], answer["error"]
    assert answer["error"] == ""
    with urllib.request.urlopen(f"{server}/bbox/-90,-45,90,45.png?width=1024&height=512") as box:
        assert (picture(path.read_bytes()) == picture(box.read())).all()

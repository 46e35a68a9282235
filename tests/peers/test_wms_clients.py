"""Real clients of WMS and `/bbox` against a served application: OWSLib (both versions) and GDAL."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model import Planet
from model.grid import EARTH_CIRCUMFERENCE
from server.app import create_app
from server.settings import load_settings
from tests.peers.serving import served

HALF = EARTH_CIRCUMFERENCE / 2
UNIT = EARTH_CIRCUMFERENCE / 16
TILE_BOX = (3 * UNIT - HALF, HALF - 6 * UNIT, 4 * UNIT - HALF, HALF - 5 * UNIT)
"""Of the tile 4/3/5, in EPSG:3857."""

needs_gdal = pytest.mark.skipif(shutil.which("gdal_translate") is None, reason="gdal_translate (gdal-bin) is not installed")


def decode(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def fetch(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:
        content: bytes = answer.read()
    return content


@pytest.fixture(scope="module")
def base(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the session's planet."""
    with served(create_app(load_settings(cache_dir=tmp_path_factory.mktemp("wms"), steps=1), planet)) as port:
        yield f"http://127.0.0.1:{port}"


def gdal(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_owslib_reads_capabilities_and_maps(base: str, version: str) -> None:
    wms: Any = pytest.importorskip("owslib.wms", reason="OWSLib is not installed")
    service = wms.WebMapService(base + "/wms", version=version)
    assert list(service.contents) == ["earth"]
    assert service.contents["earth"].boundingBoxWGS84 == pytest.approx((-180, -85.0511287798, 180, 85.0511287798))
    assert "image/png" in service.getOperationByName("GetMap").formatOptions
    size = {"layers": ["earth"], "styles": [""], "size": (256, 256), "format": "image/png"}
    answer = service.getmap(srs="EPSG:3857", bbox=TILE_BOX, **size)
    assert np.array_equal(decode(answer.read()), decode(fetch(f"{base}/4/3/5.png")))
    # OWSLib takes longitude first and turns the axes itself where the version asks for it.
    answer = service.getmap(srs="EPSG:4326", bbox=(-20, 30, 40, 70), **{**size, "size": (120, 80)})
    assert np.array_equal(decode(answer.read()), decode(fetch(f"{base}/bbox/-20,30,40,70.png?width=120")))
    util: Any = pytest.importorskip("owslib.util")
    with pytest.raises(util.ServiceException, match="EPSG:1"):
        service.getmap(srs="EPSG:1", bbox=TILE_BOX, **size)


@needs_gdal
@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_gdal_reads_the_tiles_pixels(base: str, version: str, tmp_path: Path) -> None:
    ref = "CRS" if version == "1.3.0" else "SRS"
    minx, miny, maxx, maxy = (f"{value:.17g}" for value in TILE_BOX)
    description = f"""<GDAL_WMS><Service name="WMS"><Version>{version}</Version><ServerUrl>{base}/wms?</ServerUrl>
      <{ref}>EPSG:3857</{ref}><ImageFormat>image/png</ImageFormat><Layers>earth</Layers><Styles></Styles></Service>
      <DataWindow><UpperLeftX>{minx}</UpperLeftX><UpperLeftY>{maxy}</UpperLeftY><LowerRightX>{maxx}</LowerRightX>
      <LowerRightY>{miny}</LowerRightY><SizeX>256</SizeX><SizeY>256</SizeY></DataWindow>
      <BlockSizeX>128</BlockSizeX><BlockSizeY>128</BlockSizeY><BandsCount>3</BandsCount></GDAL_WMS>"""
    (tmp_path / "wms.xml").write_text(description)
    gdal("gdal_translate", "-q", "-of", "GTiff", str(tmp_path / "wms.xml"), str(tmp_path / "out.tif"))
    assert np.array_equal(decode((tmp_path / "out.tif").read_bytes()), decode(fetch(f"{base}/4/3/5.png")))


@needs_gdal
def test_gdal_finds_the_layer_from_the_bare_address(base: str) -> None:
    listed = gdal("gdalinfo", f"WMS:{base}/wms?SERVICE=WMS&REQUEST=GetCapabilities&VERSION=1.1.1")
    assert "LAYERS=earth" in listed
    addresses = [line.partition("=")[2] for line in listed.splitlines() if "_NAME=WMS:" in line and "EPSG:3857" in line]
    assert "Band 3 Block" in gdal("gdalinfo", addresses[0])


@needs_gdal
def test_gdal_and_rasterio_read_the_geotiff(base: str, tmp_path: Path) -> None:
    import rasterio

    path = tmp_path / "box.tif"
    path.write_bytes(fetch(f"{base}/bbox/170,-50,-160,-20.tif?crs=EPSG:2193&width=100"))
    info = json.loads(gdal("gdalinfo", "-json", str(path)))
    assert info["size"][0] == 100
    assert 'ID["EPSG",2193]' in info["coordinateSystem"]["wkt"]
    assert info["metadata"]["IMAGE_STRUCTURE"]["COMPRESSION"] == "DEFLATE"
    assert info["bands"][0]["block"][0] < 100
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == 2193
        assert np.array_equal(np.moveaxis(file.read()[:3], 0, 2), decode(path.read_bytes()))

"""GDAL reads the Tile Map Service: found from its address alone, its pixels those of the planet."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import Planet
from server.app import create_app
from server.settings import load_settings
from tests.peers.serving import served

WORLD = 20037508.342789244
pytestmark = pytest.mark.skipif(shutil.which("gdal_translate") is None, reason="GDAL is not installed (Debian: gdal-bin)")


@pytest.fixture(scope="module")
def tms(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the service."""
    with served(create_app(load_settings(cache_dir=tmp_path_factory.mktemp("tms"), steps=1), planet)) as port:
        yield f"http://127.0.0.1:{port}/tms/1.0.0"


def gdal(folder: Path, *command: str) -> str:
    """What a GDAL program prints; its tile cache goes to `folder`."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr
    return done.stdout


def test_the_service_lists_its_map(tms: str, tmp_path: Path) -> None:
    assert f"{tms}/earth" in gdal(tmp_path, "gdalinfo", f"{tms}/")


def test_the_map_describes_itself(tms: str, tmp_path: Path) -> None:
    about = json.loads(gdal(tmp_path, "gdalinfo", "-json", f"{tms}/earth"))
    assert about["size"] == [256 << 20, 256 << 20]
    left, width, _, top, _, height = about["geoTransform"]
    assert (left, top) == pytest.approx((-WORLD, WORLD), abs=1e-6)
    assert (width, height) == pytest.approx((2 * WORLD / (256 << 20), -2 * WORLD / (256 << 20)), rel=1e-12)
    assert about["stac"]["proj:epsg"] == 3857
    assert len(about["bands"]) == 3
    assert len(about["bands"][0]["overviews"]) == 20


def test_pixels_are_the_planets(tms: str, planet: Planet, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    # Zoom 3, columns 3 and 4, rows 2 and 3 from the north: no resampling, and not symmetrical about the equator.
    window = [str(number) for number in (3 << 25, 2 << 25, 1 << 26, 1 << 26)]
    gdal(tmp_path, "gdal_translate", "-q", "-srcwin", *window, "-outsize", "512", "512", f"{tms}/earth", str(out))
    exact = planet.read(3, 3 * 256, 2 * 256, 512, 512)
    assert exact.std() > 10
    assert np.array_equal(np.asarray(Image.open(out).convert("RGB")), exact)

"""OGC API as OWSLib, MapProxy and GDAL see it, against a real server; pixels equal the XYZ tiles' or the planet's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import owslib.ogcapi
import pytest
from owslib.ogcapi.features import Features
from owslib.ogcapi.maps import Maps

from model import Planet
from server.app import create_app
from server.settings import load_settings
from tests.peers.pictures import fetch, mosaic, picture, run
from tests.peers.programs import need
from tests.peers.serving import served

HALF = 20037508.342789244

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the session's planet."""
    with served(create_app(load_settings(cache_dir=tmp_path_factory.mktemp("ogc"), steps=1), planet)) as port:
        yield f"http://127.0.0.1:{port}"


def test_owslib_finds_collections(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the landing page's own address, and by / with an Accept header, which OWSLib keeps for all that follows."""
    monkeypatch.setattr(owslib.ogcapi, "REQUEST_HEADERS", dict(owslib.ogcapi.REQUEST_HEADERS))
    api = owslib.ogcapi.API(f"{server}/ogc")
    assert {"self", "conformance", "data", "service-desc"} <= {link["rel"] for link in api.links}
    assert any("ogcapi-maps-1" in uri for uri in api.conformance()["conformsTo"])
    for maps in (Maps(f"{server}/ogc"), Maps(f"{server}/", headers={"Accept": "application/json"})):
        assert maps.maps() == ["earth"]
        assert maps.collection("earth")["extent"]["spatial"]["bbox"][0][0] == -180
    assert Features(f"{server}/ogc").feature_collections() == [], "a planet has no features"


def test_owslib_gets_a_map(server: str) -> None:
    maps = Maps(f"{server}/ogc")
    content = maps.map("earth", bbox=[0, 0, HALF, HALF], bbox_crs="EPSG:3857", width=256, height=128, transparent=False)
    assert maps.response_headers["Content-Crs"] == "<http://www.opengis.net/def/crs/OGC/1.3/CRS84>"
    assert maps.response_headers["Content-Bbox"].startswith("0,0,180,85.05")
    assert picture(content.read()).shape == (128, 256, 3)


def mapproxy_seeds(server: str, folder: Path, source: dict[str, str]) -> Path:
    """The tile 3/4/2 (column 4, row 2 from the north) that mapproxy-seed makes from `source`."""
    seed = need("mapproxy-seed", "PyPI: mapproxy")
    configuration = {
        "globals": {
            "cache": {"base_dir": str(folder / "cache"), "meta_size": [1, 1], "meta_buffer": 0},
            "http": {"client_timeout": 60},
        },
        "grids": {"webmercator": {"base": "GLOBAL_WEBMERCATOR"}},
        "sources": {"planet": source},
        "caches": {
            "planet": {
                "grids": ["webmercator"],
                "sources": ["planet"],
                "format": "image/png",
                "cache": {"type": "file", "directory_layout": "tms"},
            }
        },
        "layers": [{"name": "planet", "title": "planet", "sources": ["planet"]}],
    }
    # A piece of the tile, so that nothing beyond it is seeded.
    tile = [1000, 5010000, 5000000, 10000000]
    seeds = {
        "seeds": {"planet": {"caches": ["planet"], "levels": {"from": 3, "to": 3}, "coverages": ["tile"]}},
        "coverages": {"tile": {"bbox": tile, "srs": "EPSG:3857"}},
    }
    (folder / "mapproxy.yaml").write_text(json.dumps(configuration))
    (folder / "seed.yaml").write_text(json.dumps(seeds))
    run([seed, "-f", str(folder / "mapproxy.yaml"), "-s", str(folder / "seed.yaml"), "-c", "1"])
    (made,) = (folder / "cache").rglob("*.png")
    return made


def test_mapproxy_takes_our_tiles(server: str, tmp_path: Path) -> None:
    """Its source ogcapitiles: landing page, list of tilesets, tileset, tile matrix set, template, tile."""
    source = {"type": "ogcapitiles", "landingpage_url": server, "collection": "earth", "tile_matrix_set_id": "WebMercatorQuad"}
    made = mapproxy_seeds(server, tmp_path, source)
    assert np.array_equal(picture(made.read_bytes()), picture(fetch(f"{server}/3/4/2.png")))


def test_mapproxy_takes_our_maps(server: str, tmp_path: Path) -> None:
    """Its source ogcapimaps, in Web Mercator: the map of a tile's box is the tile."""
    source = {"type": "ogcapimaps", "landingpage_url": server, "collection": "earth"}
    made = mapproxy_seeds(server, tmp_path, source)
    assert np.array_equal(picture(made.read_bytes()), picture(fetch(f"{server}/3/4/2.png")))


def test_gdal_reads_our_maps(server: str, tmp_path: Path) -> None:
    """Its driver OGCAPI by /map: it knows our place, and its picture of the world is ours."""
    translate, info = need("gdal_translate", "Debian: gdal-bin"), need("gdalinfo", "Debian: gdal-bin")
    name = f"OGCAPI:{server}/collections/earth"
    described = json.loads(run([info, "-json", name, "-oo", "API=MAP", "-oo", "CACHE=NO"]))
    assert described["cornerCoordinates"]["upperLeft"] == pytest.approx([-180, 85.0511], abs=1e-3)
    target = tmp_path / "world.png"
    options = ["-oo", "API=MAP", "-oo", "CACHE=NO", "-q", "-of", "PNG", "-outsize", "256", "121", "-r", "average"]
    run([translate, *options, name, str(target)])
    ours = picture(fetch(f"{server}/map?width=256&height=121")).astype(int)
    assert np.abs(picture(target.read_bytes()) - ours).mean() < 8
    shifted = np.roll(ours, 20, axis=1)
    assert np.abs(picture(target.read_bytes()) - shifted).mean() > 16, "a picture of anything else differs more"


def test_all_tiles_of_a_matrix_by_the_template(server: str, planet: Planet) -> None:
    """A client of a few lines: the template of the tileset, filled in."""
    tileset = json.loads(fetch(f"{server}/map/tiles/WebMercatorQuad?f=json"))
    template = next(link["href"] for link in tileset["links"] if link["rel"] == "item" and link["type"] == "image/png")
    template = template.replace("{tileMatrix}", "2").replace("{tileRow}", "{y}").replace("{tileCol}", "{x}")
    assert np.array_equal(mosaic(template, range(4), range(4)), planet.read(2, 0, 0, 1024, 1024))

"""WMTS as OWSLib, GDAL, MapProxy and xmllint see it, against a real server; every picture equals the XYZ tiles'."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model import Planet
from server.app import create_app
from server.settings import load_settings
from tests.ows_schemas import CAPABILITIES, EXCEPTIONS, schema_folder
from tests.peers.pictures import fetch, mosaic, picture, run
from tests.peers.programs import need
from tests.peers.serving import served

METADATA = "/wmts/1.0.0/WMTSCapabilities.xml"
ENTRIES = (METADATA, "/wmts?SERVICE=WMTS&REQUEST=GetCapabilities")
HALF = 20037508.342789244

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def server(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the session's planet."""
    with served(create_app(load_settings(cache_dir=tmp_path_factory.mktemp("wmts"), steps=1), planet)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        (METADATA, CAPABILITIES),
        ("/wmts?service=WMTS&request=GetCapabilities&sections=Contents", CAPABILITIES),
        ("/wmts?service=WMTS&request=GetTile", EXCEPTIONS),
        ("/wmts/1.0.0/earth/default/WebMercatorQuad/4/99/0.png", EXCEPTIONS),
    ],
)
def test_xmllint_finds_documents_valid(server: str, tmp_path: Path, path: str, schema: str) -> None:
    xmllint, folder = need("xmllint", "Debian: libxml2-utils"), schema_folder()
    document = tmp_path / "document.xml"
    try:
        document.write_bytes(fetch(server + path))
    except urllib.error.HTTPError as error:
        document.write_bytes(error.read())
    # --nonet: all that a schema imports must be in its folder.
    run([xmllint, "--noout", "--nonet", "--schema", str(folder / schema), str(document)])


@pytest.mark.parametrize("entry", ["/wmts", METADATA])
def test_owslib(server: str, entry: str) -> None:
    """KVP from the service's address, REST from that of the metadata."""
    owslib = pytest.importorskip("owslib.wmts", reason="owslib is not installed (PyPI: owslib)")
    wmts = owslib.WebMapTileService(server + entry)
    assert wmts.identification.type == "OGC WMTS"
    assert list(wmts.contents) == ["earth"]
    assert [operation.name for operation in wmts.operations] == ["GetCapabilities", "GetTile"]
    assert set(wmts["earth"].tilematrixsetlinks) == {"WebMercatorQuad", "WorldCRS84Quad"}
    assert len(wmts.tilematrixsets["WebMercatorQuad"].tilematrix) == 21
    tile = wmts.gettile(
        layer="earth", style="default", tilematrixset="WebMercatorQuad", tilematrix="3", row=2, column=5, format="image/png"
    )
    assert tile.read() == fetch(f"{server}/3/5/2.png")
    # By REST it takes any of the templates, whatever the format asked for.
    rest = wmts.buildTileResource(layer="earth", tilematrixset="WebMercatorQuad", tilematrix="3", row=2, column=5)
    assert rest.startswith(f"{server}/wmts/1.0.0/earth/default/WebMercatorQuad/3/2/5.")
    assert fetch(rest) == fetch(f"{server}/3/5/2.{rest.rpartition('.')[2]}")


def test_owslib_with_nothing_but_rest(server: str) -> None:
    """Where the document offers no KVP, `gettile` itself goes by the templates."""
    owslib = pytest.importorskip("owslib.wmts", reason="owslib is not installed (PyPI: owslib)")
    document = fetch(server + METADATA).replace(b">KVP<", b">other<")
    wmts = owslib.WebMapTileService(server + METADATA, xml=document)
    assert wmts.restonly
    tile = wmts.gettile(layer="earth", tilematrixset="WebMercatorQuad", tilematrix="2", row=1, column=3)
    same = {fetch(f"{server}/2/3/1.{extension}") for extension in ("png", "jpg", "webp", "avif")}
    assert tile.read() in same


def test_owslib_reads_our_errors(server: str) -> None:
    owslib = pytest.importorskip("owslib.wmts", reason="owslib is not installed (PyPI: owslib)")
    util = pytest.importorskip("owslib.util", reason="owslib is not installed (PyPI: owslib)")
    wmts = owslib.WebMapTileService(server + "/wmts")
    with pytest.raises(util.ServiceException, match="TileRow &#39;99&#39; is outside"):
        wmts.gettile(layer="earth", tilematrixset="WebMercatorQuad", tilematrix="3", row=99, column=5, format="image/png")


@pytest.mark.parametrize("entry", ENTRIES)
def test_gdal_finds_both_matrix_sets(server: str, tmp_path: Path, entry: str) -> None:
    gdalinfo = need("gdalinfo", "Debian: gdal-bin")
    for grid, crs, size in (("WebMercatorQuad", "3857", [1 << 28, 1 << 28]), ("WorldCRS84Quad", "CRS84", [1 << 28, 1 << 27])):
        source = f"WMTS:{server}{entry},layer=earth,tilematrixset={grid}"
        # Without an extent of its own it is that of the layer, which is where the imagery is.
        text = run([gdalinfo, "-json", source + ",extendbeyonddateline=no"], GDAL_DEFAULT_WMS_CACHE_PATH=str(tmp_path))
        found = json.loads(text)
        assert crs in found["coordinateSystem"]["wkt"]
        assert found["size"][0] == size[0]
        assert 0.94 * size[1] < found["size"][1] <= size[1]
        assert len(found["bands"]) in (3, 4)


@pytest.mark.parametrize("entry", ENTRIES)
def test_gdal_translate_gives_the_pixels_of_the_xyz_tiles(server: str, tmp_path: Path, entry: str) -> None:
    translate = need("gdal_translate", "Debian: gdal-bin")
    source = f"WMTS:{server}{entry},layer=earth,style=default,tilematrixset=WebMercatorQuad,tilematrix=3"
    out = tmp_path / "out.tif"
    box = [-HALF, HALF, 0.0, 0.0]
    command = [translate, "-q", "-b", "1", "-b", "2", "-b", "3", "-projwin", *map(repr, box), source, str(out)]
    run(command, GDAL_DEFAULT_WMS_CACHE_PATH=str(tmp_path / "cache"))
    found = picture(out.read_bytes())
    assert found.shape == (1024, 1024, 3)
    assert (found == mosaic(server + "/3/{x}/{y}.png", range(4), range(4))).all()


def test_gdal_translate_in_longitude_and_latitude(server: str, tmp_path: Path) -> None:
    translate = need("gdal_translate", "Debian: gdal-bin")
    source = f"WMTS:{server}{METADATA},layer=earth,tilematrixset=WorldCRS84Quad,tilematrix=2"
    out = tmp_path / "out.tif"
    command = [translate, "-q", "-b", "1", "-b", "2", "-b", "3", "-projwin", "-90", "45", "90", "-45", source, str(out)]
    run(command, GDAL_DEFAULT_WMS_CACHE_PATH=str(tmp_path / "cache"))
    expected = mosaic(server + "/wmts/1.0.0/earth/default/WorldCRS84Quad/2/{y}/{x}.png", range(2, 6), range(1, 3))
    assert (picture(out.read_bytes()) == expected).all()


def test_mapproxy_seeds_from_us(server: str, tmp_path: Path) -> None:
    """mapproxy-seed by a configuration as its manual has it; what lies in its cache then are our tiles."""
    seed = need("mapproxy-seed", "PyPI: mapproxy")
    template = f"{server}/wmts/1.0.0/earth/default/WebMercatorQuad/%(z)s/%(y)s/%(x)s.png"
    mapproxy = {
        "sources": {"metaearth": {"type": "tile", "url": template, "grid": "mercator"}},
        "grids": {"mercator": {"base": "GLOBAL_WEBMERCATOR", "num_levels": 21}},
        "caches": {
            "earth": {
                "sources": ["metaearth"],
                "grids": ["mercator"],
                "format": "image/png",
                "cache": {"type": "file", "directory": str(tmp_path / "cache"), "directory_layout": "tms"},
            }
        },
        "layers": [{"name": "earth", "title": "Earth", "sources": ["earth"]}],
    }
    tasks = {"seeds": {"world": {"caches": ["earth"], "grids": ["mercator"], "levels": {"to": 2}}}}
    # YAML is a superset of JSON.
    (tmp_path / "mapproxy.yaml").write_text(json.dumps(mapproxy))
    (tmp_path / "seed.yaml").write_text(json.dumps(tasks))
    run([seed, "-f", str(tmp_path / "mapproxy.yaml"), "-s", str(tmp_path / "seed.yaml"), "-c", "1"])
    stored = sorted(path.relative_to(tmp_path / "cache") for path in (tmp_path / "cache").rglob("*.png"))
    assert len(stored) == 1 + 4 + 16
    for path in stored:
        zoom, x, y = (int(part) for part in path.with_suffix("").parts)
        ours = fetch(f"{server}/{zoom}/{x}/{y}.png")
        assert np.array_equal(picture((tmp_path / "cache" / path).read_bytes()), picture(ours)), path

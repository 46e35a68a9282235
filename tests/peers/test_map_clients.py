"""Leaflet, OpenLayers and MapLibre GL in headless Chromium: what is on the screen is what the planet is, pixel by pixel.

All maps stand where pixels of the screen are pixels of tiles, so that no client resamples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from model import Planet
from server.app import create_app
from server.settings import load_settings
from tests.peers.pages import ClientPages
from tests.peers.serving import served

pytestmark = pytest.mark.timeout(600)

LEAFLET = """
  const map = L.map("map", { zoomControl: false, attributionControl: false, fadeAnimation: false, zoomAnimation: false });
  map.setView([0, 0], values.zoom);
  L.tileLayer(values.url, { crossOrigin: true, maxZoom: 20, tms: !!values.tms }).on("load", done).addTo(map);
"""
OPENLAYERS = """
  const options = { url: values.url, crossOrigin: "anonymous", transition: 0, ...values.options };
  const source = new ol.source[values.source](options);
  const map = new ol.Map({
    target: "map", controls: [], interactions: [],
    layers: [new ol.layer.Tile({ source })],
    view: new ol.View({ center: [0, 0], resolution: 156543.03392804097 / 2 ** values.zoom, multiWorld: true }),
  });
  // A map without tiles is complete too, while the source still waits for its TileJSON.
  map.on("rendercomplete", () => source.getState() === "ready" && done());
"""
MAPLIBRE = """
  const map = new maplibregl.Map({
    container: "map", center: [0, 0], zoom: values.zoom - 1, attributionControl: false, interactive: false, fadeDuration: 0,
    style: {
      version: 8,
      sources: { planet: { type: "raster", ...values.source } },
      layers: [{ id: "planet", type: "raster", source: "planet",
                 paint: { "raster-fade-duration": 0, "raster-resampling": "nearest" } }],
    },
  });
  map.once("idle", done);
"""
TEMPLATE = "/{z}/{x}/{y}.png"


@pytest.fixture(scope="module")
def tiles(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the session's planet."""
    with served(create_app(load_settings(cache_dir=tmp_path_factory.mktemp("clients"), steps=1), planet)) as port:
        yield f"http://127.0.0.1:{port}"


def around_the_origin(planet: Planet, zoom: int, side: int) -> NDArray[np.uint8]:
    """The pixels of a window of `side` pixels whose middle is at 0 N 0 E."""
    corner = (256 << zoom) // 2 - side // 2
    return planet.read(zoom, corner, corner, side, side)


def differences(shown: NDArray[np.uint8], planet: Planet, zoom: int) -> int:
    """The greatest difference of a pixel from the planet's."""
    exact = around_the_origin(planet, zoom, shown.shape[0])
    assert shown.shape == exact.shape
    assert exact.std() > 10, "a place worth looking at"
    return int(np.abs(shown.astype(int) - exact).max())


def test_leaflet(pages: ClientPages, tiles: str, planet: Planet) -> None:
    shown = pages.show("leaflet", "leaflet", LEAFLET, url=tiles + TEMPLATE, zoom=3)
    assert differences(shown, planet, 3) == 0


def test_leaflet_on_a_screen_of_twice_the_resolution(pages: ClientPages, tiles: str, planet: Planet) -> None:
    shown = pages.show("leaflet-2x", "leaflet", LEAFLET, ratio=2, url=tiles + "/{z}/{x}/{y}{r}.png", zoom=3)
    assert differences(shown, planet, 4) == 0


def test_leaflet_with_tms(pages: ClientPages, tiles: str, planet: Planet) -> None:
    url = tiles + "/tms/1.0.0/earth" + TEMPLATE
    shown = pages.show("leaflet-tms", "leaflet", LEAFLET, url=url, zoom=3, tms=True)
    assert differences(shown, planet, 3) == 0


def test_openlayers(pages: ClientPages, tiles: str, planet: Planet) -> None:
    shown = pages.show("openlayers", "openlayers", OPENLAYERS, url=tiles + TEMPLATE, zoom=3, source="XYZ")
    assert differences(shown, planet, 3) == 0


def test_openlayers_on_a_screen_of_twice_the_resolution(pages: ClientPages, tiles: str, planet: Planet) -> None:
    url, options = tiles + "/earth/{z}/{x}/{y}@2x.png", {"tilePixelRatio": 2, "maxZoom": 19}
    shown = pages.show("openlayers-2x", "openlayers", OPENLAYERS, ratio=2, url=url, zoom=3, source="XYZ", options=options)
    assert differences(shown, planet, 4) == 0


@pytest.mark.parametrize("size", [256, 512])
def test_openlayers_from_tilejson(pages: ClientPages, tiles: str, planet: Planet, size: int) -> None:
    """OpenLayers takes the size of tiles from its own options, whatever the document says."""
    zoom, url = (4 if size == 512 else 3), f"{tiles}/tilejson.json?tilesize={size}"
    options = {"tileSize": size}
    shown = pages.show(
        f"openlayers-tilejson-{size}", "openlayers", OPENLAYERS, url=url, zoom=zoom, source="TileJSON", options=options
    )
    assert differences(shown, planet, zoom) == 0


def test_maplibre(pages: ClientPages, tiles: str, planet: Planet) -> None:
    source = {"tiles": [tiles + TEMPLATE], "tileSize": 256, "maxzoom": 20}
    assert differences(pages.show("maplibre", "maplibre", MAPLIBRE, source=source, zoom=3), planet, 3) == 0


@pytest.mark.parametrize("query", ["", "?tilesize=512", "?scheme=tms"])
def test_maplibre_from_tilejson(pages: ClientPages, tiles: str, planet: Planet, query: str) -> None:
    name, zoom = f"maplibre-tilejson{query[-3:]}", 4 if "512" in query else 3
    source = {"url": f"{tiles}/tilejson.json{query}"}
    assert differences(pages.show(name, "maplibre", MAPLIBRE, source=source, zoom=zoom), planet, zoom) == 0


def test_a_browser_is_sent_the_format_it_likes_best(pages: ClientPages, tiles: str, planet: Planet) -> None:
    """Leaflet's images come without an extension: Chromium names AVIF, which is close and not equal."""
    shown = pages.show("leaflet-accept", "leaflet", LEAFLET, url=tiles + "/{z}/{x}/{y}", zoom=3)
    exact = around_the_origin(planet, 3, 512).astype(int)
    assert 0 < np.abs(shown - exact).mean() < 6

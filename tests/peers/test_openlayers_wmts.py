"""OpenLayers in headless Chromium makes its WMTS layer from our capabilities, and shows our tiles, pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from model import Planet
from server.app import create_app
from server.settings import load_settings
from tests.peers.pages import ClientPages
from tests.peers.pictures import mosaic
from tests.peers.serving import served

pytestmark = pytest.mark.timeout(600)

# OpenLayers takes the templates of all formats for mirrors of one, so by REST it is told which one to keep (docs/wmts.md).
SCRIPT = """
  fetch(values.url).then((answer) => answer.text()).then((text) => {
    const capabilities = new ol.format.WMTSCapabilities().read(text);
    for (const layer of values.format ? capabilities.Contents.Layer : []) {
      layer.ResourceURL = layer.ResourceURL.filter((resource) => resource.format === values.format);
    }
    const options = ol.source.WMTS.optionsFromCapabilities(capabilities, {
      layer: "earth", matrixSet: values.matrixSet, format: "image/png", requestEncoding: values.encoding,
    });
    options.crossOrigin = "anonymous";
    options.transition = 0;
    const source = new ol.source.WMTS(options);
    source.on("tileloadstart", (event) => { document.body.dataset.address = event.tile.src_; });
    const map = new ol.Map({
      target: "map", controls: [], interactions: [],
      layers: [new ol.layer.Tile({ source })],
      view: new ol.View({ projection: source.getProjection(), center: [0, 0], resolution: values.resolution }),
    });
    map.on("rendercomplete", done);
  });
"""
METADATA, KVP = "/wmts/1.0.0/WMTSCapabilities.xml", "/wmts?SERVICE=WMTS&REQUEST=GetCapabilities"
# 512 pixels around 0 N 0 E: four tiles.
PLACES = {
    "WebMercatorQuad": (156543.03392804097 / 8, "/3/{x}/{y}.png", range(3, 5), range(3, 5)),
    "WorldCRS84Quad": (0.703125 / 4, "/wmts/1.0.0/earth/default/WorldCRS84Quad/2/{y}/{x}.png", range(3, 5), range(1, 3)),
}


@pytest.fixture(scope="module")
def server(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the session's planet."""
    with served(create_app(load_settings(cache_dir=tmp_path_factory.mktemp("openlayers"), steps=1), planet)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(("encoding", "path"), [("KVP", KVP), ("REST", METADATA)])
@pytest.mark.parametrize("matrix_set", PLACES)
def test_a_layer_from_capabilities(pages: ClientPages, server: str, encoding: str, path: str, matrix_set: str) -> None:
    resolution, template, columns, rows = PLACES[matrix_set]
    name = f"openlayers-wmts-{encoding}-{matrix_set}".lower()
    values: dict[str, Any] = {"url": server + path, "matrixSet": matrix_set, "encoding": encoding, "resolution": resolution}
    shown = pages.show(name, "openlayers", SCRIPT, **values, format="image/png")
    address = pages.chrome.execute_script("return document.body.dataset.address")
    assert address.startswith(server + ("/wmts?" if encoding == "KVP" else f"/wmts/1.0.0/earth/default/{matrix_set}/"))
    expected = mosaic(server + template, columns, rows)
    assert expected.std() > 10, "a place worth looking at"
    assert np.array_equal(shown, expected)


def test_a_layer_of_all_formats_at_once(pages: ClientPages, server: str) -> None:
    """What OpenLayers makes of the capabilities by itself: each tile in some format, the same picture all the same."""
    resolution, template, columns, rows = PLACES["WebMercatorQuad"]
    values: dict[str, Any] = {"url": server + METADATA, "matrixSet": "WebMercatorQuad", "encoding": "REST"}
    shown = pages.show("openlayers-wmts-formats", "openlayers", SCRIPT, **values, resolution=resolution)
    assert np.abs(shown - mosaic(server + template, columns, rows).astype(int)).mean() < 6

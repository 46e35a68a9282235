"""Pages of map clients in headless Chromium, from another origin than the tiles, as most maps in the world are."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.peers.browser import OUT, PATIENCE_S, ROOT, wait_for

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

MODULES = ROOT / "node_modules"
# By library: its files below node_modules.
LIBRARIES = {
    "leaflet": ("leaflet/dist/leaflet.js", "leaflet/dist/leaflet.css"),
    "openlayers": ("ol/dist/ol.js", "ol/ol.css"),
    "maplibre": ("maplibre-gl/dist/maplibre-gl.js", "maplibre-gl/dist/maplibre-gl.css"),
}
PAGE = """<!doctype html>
<meta charset="utf-8">
<title>{library}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/modules/{css}">
<style>html, body, #map {{ margin: 0; width: 100%; height: 100%; overflow: hidden; background: #f0f; }}</style>
<div id="map"></div>
<script src="/modules/{js}"></script>
<script>
  const values = {values};
  // Two frames later what is loaded is also on the screen.
  const done = () => requestAnimationFrame(() => requestAnimationFrame(() => {{ document.body.dataset.state = "ready"; }}));
  {script}
</script>
"""


class Handler(SimpleHTTPRequestHandler):
    """Serves the pages and, below /modules/, node_modules; says nothing."""

    def translate_path(self, path: str) -> str:
        """The file that a path means."""
        modules = "/modules/"
        return str(MODULES / path.removeprefix(modules)) if path.startswith(modules) else super().translate_path(path)

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps quiet."""


class ClientPages:
    """Shows pages of map clients and takes their pictures."""

    def __init__(self, chrome: Chrome, folder: Path, address: str) -> None:
        """Pages written to `folder` are reached at `address`."""
        self.chrome, self.folder, self.address = chrome, folder, address

    def show(self, name: str, library: str, script: str, side: int = 512, ratio: int = 1, **values: Any) -> NDArray[np.uint8]:
        """The screen, uint8 [side * ratio, side * ratio, 3], once `script` has called `done()`; also in tests/out/.

        The script finds `values` under that name, and an element with the id "map" that fills the window of `side` CSS
        pixels. Fails with whatever error the console has got. Skips where npm has not installed the library.
        """
        js, css = LIBRARIES[library]
        if not (MODULES / js).is_file():
            pytest.skip(f"{library} is not installed (npm ci)")
        page = PAGE.format(library=library, js=js, css=css, values=json.dumps(values), script=script)
        (self.folder / f"{name}.html").write_text(page, encoding="utf-8")
        self.chrome.get("about:blank")
        self.errors()
        size = {"width": side, "height": side, "deviceScaleFactor": ratio, "mobile": False}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.chrome.get(f"{self.address}/{name}.html")
        failed: list[str] = []

        def ready() -> bool:
            failed.extend(self.errors())
            return bool(failed or self.chrome.execute_script("return document.body.dataset.state === 'ready'"))

        wait_for(ready, PATIENCE_S, f"the tiles of {name}")
        OUT.mkdir(exist_ok=True)
        png = self.chrome.get_screenshot_as_png()
        (OUT / f"client-{name}.png").write_bytes(png)
        assert failed + self.errors() == []
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def errors(self) -> list[str]:
        """The errors that the console has got since the last call."""
        entries: list[dict[str, Any]] = self.chrome.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


@contextlib.contextmanager
def client_pages(chrome: Chrome, folder: Path) -> Iterator[ClientPages]:
    """A server of the pages in `folder`, for the browser, until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield ClientPages(chrome, folder, f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()

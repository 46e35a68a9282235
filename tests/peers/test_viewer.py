"""The viewer in headless Chromium, driven through ChromeDriver, against a real server with a cold cache.

Down to zoom 4 tiles need no generation, so only the test that zooms to 16 waits for the denoiser. Screenshots
go to tests/out/ (not in git), to be looked at.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mercantile
import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

ROOT = Path(__file__).parents[2]
OUT = ROOT / "tests" / "out"
WIDTH, HEIGHT = 900, 700
START_S, PATIENCE_S = 120.0, 300.0
# As the browser runs on a machine without a GPU, a display, or a network beyond itself.
CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)

pytestmark = pytest.mark.timeout(900)


def free_port() -> int:
    """A port that nobody listens on right now; PORT overrules it."""
    if os.environ.get("PORT"):
        return int(os.environ["PORT"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of `condition`; fails with `what` when none comes within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    pytest.fail(f"waited {seconds:.0f} s for {what}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server in a process of its own: one sampler step, cold caches."""
    port = free_port()
    folder = tmp_path_factory.mktemp("viewer")
    log = folder / "server.log"
    environment = os.environ | {"METAEARTH_STEPS": "1", "METAEARTH_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-c", "from server.cli import app; app()", "serve", "--port", str(port)]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"

    def healthy() -> bool:
        assert process.poll() is None, f"the server stopped:\n{log.read_text()}"
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        wait_for(healthy, START_S, "the server's /health")
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="module")
def chromium(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for the module, with a clipboard and no animations."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed (Debian: chromium, chromium-driver)")
    if not (ROOT / "node_modules" / "maplibre-gl").is_dir():
        pytest.skip("maplibre-gl is not installed (npm ci)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in CHROMIUM_FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        chrome.set_script_timeout(30)
        chrome.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
        permissions = {"origin": server, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        chrome.execute_cdp_cmd("Browser.grantPermissions", permissions)
        media = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        yield chrome
    finally:
        chrome.quit()


class Page:
    """The viewer as a visitor has it before them."""

    def __init__(self, chrome: Chrome, address: str) -> None:
        """Keeps the browser and the server's address."""
        self.chrome, self.address = chrome, address

    def open(self, link: str, width: int = WIDTH, height: int = HEIGHT, *, phone: bool = False) -> None:
        """Loads the page anew at a permalink and waits until its map stands."""
        self.chrome.get("about:blank")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.chrome.get(f"{self.address}/{link}")
        wait_for(lambda: self.data("state") == "ready", 60, "the map")

    def data(self, name: str) -> str | None:
        """A data attribute of the page's body."""
        value: str | None = self.chrome.execute_script(f"return document.body.dataset.{name} ?? null")
        return value

    def hash(self) -> str:
        """The permalink's part behind the page's address."""
        text: str = self.chrome.execute_script("return location.hash")
        return text

    def click(self, element: str) -> None:
        """A click on the element with that id."""
        self.chrome.find_element("id", element).click()

    def tiles(self, zoom: int) -> set[str]:
        """The paths of the tiles of a zoom that came with status 200."""
        entries: list[list[Any]] = self.chrome.execute_script(
            "return performance.getEntriesByType('resource').map((e) => [e.name, e.responseStatus])"
        )
        return {name for name, status in entries if status == 200 and re.search(rf"/{zoom}/\d+/\d+\.png$", name)}

    def settle(self, zoom: int, count: int) -> None:
        """Waits until at least `count` tiles of the zoom have come and none is under way."""
        wait_for(lambda: len(self.tiles(zoom)) >= count, PATIENCE_S, f"{count} tiles of zoom {zoom}")
        wait_for(lambda: self.data("busy") is None, PATIENCE_S, "the last tiles")
        time.sleep(1.0)  # the last tile fades in

    def errors(self) -> list[str]:
        """The errors that the console has got since the last call."""
        entries: list[dict[str, Any]] = self.chrome.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def offline(self, cut: bool) -> None:
        """Cuts the browser off from the server, or joins them again."""
        unlimited = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.chrome.execute_cdp_cmd("Network.enable", {})
        self.chrome.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": cut, **unlimited})

    def picture(self, name: str) -> np.ndarray:
        """A screenshot, uint8 [height, width, 3], kept in tests/out/."""
        OUT.mkdir(exist_ok=True)
        png = self.chrome.get_screenshot_as_png()
        (OUT / f"viewer-{name}.png").write_bytes(png)
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.fixture
def page(chromium: Chrome, server: str) -> Iterator[Page]:
    """The page; a test that leaves an error in the browser's console fails."""
    here = Page(chromium, server)
    here.errors()
    yield here
    assert here.errors() == []


def middle(picture: np.ndarray) -> np.ndarray:
    """The part of a picture that no panel covers, as float64."""
    return picture[200:600, 150:750].astype(np.float64)


def test_shows_sixteen_tiles_of_the_globe(page: Page) -> None:
    """A window full of the base picture: at least 16 tiles, and a picture with land and sea in it."""
    page.open("#4/35/10")
    page.settle(4, 16)
    picture = page.picture("globe")
    assert middle(picture).std() > 15
    assert len(np.unique(middle(picture).reshape(-1, 3), axis=0)) > 1000


def test_zooms_to_16(page: Page) -> None:
    """From zoom 4 to 16 by the permalink: the tiles are rendered and seen, and the readout says so."""
    page.open("#4/45.05/10.4")
    page.settle(4, 12)
    page.chrome.execute_script("location.hash = '#16/45.05/10.4'")
    page.settle(16, 16)
    picture = page.picture("zoom-16")
    assert middle(picture).std() > 2
    assert len(np.unique(middle(picture).reshape(-1, 3), axis=0)) > 200
    assert page.chrome.find_element("id", "zoom").text == "16.0"
    assert page.chrome.find_element("id", "resolution").text == "1.69 m/px"
    tile = mercantile.tile(10.4, 45.05, 16)
    said = page.chrome.find_element("id", "tile").get_attribute("textContent")
    assert said == f"{tile.z}/{tile.x}/{tile.y}"


def test_permalink_follows_the_map(page: Page) -> None:
    """Zooming out by the button changes the hash, and a hash brings its view back."""
    page.open("#4/30/20/flat")
    assert page.data("view") == "flat"
    page.click("zoom-out")
    hash_after = wait_for(lambda: page.hash() if page.hash().startswith("#3/") else "", 20, "the hash of zoom 3")
    assert re.fullmatch(r"#3/30\.0+/20\.0+/flat", hash_after)
    page.chrome.execute_script("location.hash = '#2.5/-10.5/130'")
    wait_for(lambda: page.chrome.find_element("id", "position").text == "10.5° S, 130.0° E", 20, "the new position")
    assert page.data("view") == "globe"


def test_globe_and_flat(page: Page) -> None:
    """The button and the key G switch between a globe in space and a map that fills the window."""
    page.open("#3/20/10")
    page.settle(3, 4)
    globe = page.picture("toggle-globe")
    page.click("view")
    assert page.data("view") == "flat"
    wait_for(lambda: page.hash().endswith("/flat"), 10, "the flat view's hash")
    page.settle(3, 4)
    flat = page.picture("toggle-flat")
    assert np.abs(globe.astype(int) - flat).mean() > 5
    # Left of the middle, free of panels: space beside the globe, sea or land on the flat map.
    assert globe[350:450, 5:40].mean() < 45 < flat[350:450, 5:40].mean() + 30
    page.chrome.find_element("tag name", "body").send_keys("g")
    assert page.data("view") == "globe"


def test_copies_the_tile_url(page: Page) -> None:
    """The button puts the address template of the tiles on the clipboard and says so."""
    page.open("#2/20/10")
    page.click("copy")
    toast = wait_for(lambda: page.chrome.find_element("id", "toast").text, 10, "the toast")
    template = f"{page.address}/{{z}}/{{x}}/{{y}}.png"
    assert toast == f"Copied {template}"
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))"
    assert page.chrome.execute_async_script(read) == template
    with urllib.request.urlopen(f"{page.address}/tilejson.json") as answer:
        assert json.load(answer)["tiles"] == [template]


def test_asks_again_for_failed_tiles(page: Page) -> None:
    """Tiles that could not be fetched come once they can be, without a word in the console from the map itself."""
    page.open("#2/20/10/flat")
    page.settle(2, 4)
    page.offline(True)
    try:
        page.chrome.execute_script("location.hash = '#4/-20/-60/flat'")
        wait_for(lambda: [text for text in page.errors() if "/4/" in text], 30, "a tile that fails")
    finally:
        page.offline(False)
    page.settle(4, 12)
    assert [text for text in page.errors() if "ERR_INTERNET_DISCONNECTED" not in text] == []


def test_places(page: Page) -> None:
    """The menu opens, lists a dozen places and takes the map to one."""
    page.open("#2/20/10")
    page.click("places-button")
    buttons = page.chrome.find_elements("css selector", "#places button")
    assert len(buttons) == 12
    page.picture("places")
    next(button for button in buttons if button.text.startswith("Open Pacific")).click()
    wait_for(lambda: page.hash().startswith("#6/-12.0"), 20, "the hash of the place")
    page.chrome.get("about:blank")


def test_on_a_phone(page: Page) -> None:
    """At 390 x 844 nothing sticks out, the tools are folded away, every button fits a thumb."""
    page.open("#2/20/10", 390, 844, phone=True)
    page.settle(2, 4)
    page.picture("phone")
    assert not page.chrome.find_element("id", "tools").is_displayed()
    page.click("fold")
    assert page.chrome.find_element("id", "random").is_displayed()
    boxes: list[list[float]] = page.chrome.execute_script(
        "return [...document.querySelectorAll('button:not(#map button)')]"
        ".map((b) => b.getBoundingClientRect()).filter((r) => r.width)"
        ".map((r) => [r.left, r.right, r.width, r.height])"
    )
    assert len(boxes) >= 8
    for left, right, width, height in boxes:
        assert left >= 0
        assert right <= 390
        assert min(width, height) >= 44
    assert page.chrome.execute_script("return document.documentElement.scrollWidth") <= 390


def test_attribution_says_synthetic(page: Page) -> None:
    """The map's own attribution tells every visitor that no place on it is real."""
    page.open("#2/20/10")
    text = page.chrome.find_element("css selector", ".maplibregl-ctrl-attrib-inner").text
    assert "synthetic" in text.lower()
    assert "no record of any real place" in text

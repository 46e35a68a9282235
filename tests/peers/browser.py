"""Headless Chromium, driven through ChromeDriver, and the viewer as a visitor has it before them."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from bench import process

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

ROOT = Path(__file__).parents[2]
OUT = ROOT / "tests" / "out"
WIDTH, HEIGHT = 900, 700
PATIENCE_S = 300.0
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
    "--force-color-profile=srgb",  # pixels on the screen shall be those of the files
)


def free_port() -> int:
    """A port that nobody listens on right now; PORT overrules it, and the next for the second of pytest-xdist's workers."""
    if os.environ.get("PORT"):
        return int(os.environ["PORT"]) + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return process.free_port()


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of `condition`; fails with `what` when none comes within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    pytest.fail(f"waited {seconds:.0f} s for {what}")


@contextlib.contextmanager
def started_browser(profile: Path) -> Iterator[Chrome]:
    """A browser without animations until the end of the block; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    browser, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        chrome.set_script_timeout(30)
        chrome.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
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

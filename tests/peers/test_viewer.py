"""The viewer in headless Chromium against a real server with a cold cache.

Down to zoom 4 tiles need no generation, so only the test that zooms to 16 waits for the denoiser. Screenshots
go to tests/out/ (not in git), to be looked at.
"""

from __future__ import annotations

import json
import re
import urllib.request

import mercantile
import numpy as np
import pytest

from tests.peers.browser import Page, wait_for

pytestmark = pytest.mark.timeout(900)


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
    # It is empty until the map has its source.
    attribution = page.chrome.find_element("css selector", ".maplibregl-ctrl-attrib-inner")
    text: str = wait_for(lambda: attribution.text, 20, "the attribution")
    assert "synthetic" in text.lower()
    assert "no record of any real place" in text

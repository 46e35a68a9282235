"""The page of live figures in headless Chromium, against a server under a little load. Screenshots go to tests/out/."""

from __future__ import annotations

import contextlib
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from model import Planet
from server.app import create_app
from server.keys import digest_of, new_key
from server.settings import load_settings
from tests.conftest import MakeSettings
from tests.peers.browser import Page, wait_for
from tests.peers.serving import served

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def server(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that shares the session's planet."""
    with served(create_app(load_settings(cache_dir=tmp_path_factory.mktemp("admin"), steps=1), planet)) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def load(address: str) -> Iterator[None]:
    """Tiles of zooms 0 to 4 again and again, and now and then something that is not there, as long as the block runs."""
    ended = threading.Event()

    def ask() -> None:
        paths = [f"/{zoom}/0/{row}.jpg" for zoom in range(5) for row in range(1 << max(0, zoom - 1))] + ["/nothing"]
        while not ended.is_set():
            for path in paths:
                with contextlib.suppress(urllib.error.HTTPError):
                    urllib.request.urlopen(address + path, timeout=30).close()
                time.sleep(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def shown(page: Page, element: str) -> str:
    """The text of an element."""
    return str(page.chrome.find_element("id", element).text)


def rows(page: Page, element: str) -> dict[str, str]:
    """A list of the page: texts by their names."""
    found = page.chrome.find_elements("css selector", f"#{element} > div")
    return {row.find_element("tag name", "dt").text: row.find_element("tag name", "dd").text for row in found}


def open_admin(page: Page, width: int, height: int, *, phone: bool = False) -> None:
    page.chrome.get("about:blank")
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
    page.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.chrome.get(f"{page.address}/admin")
    wait_for(lambda: page.data("state") == "live", 30, "the first figures")


def test_shows_what_the_server_does(page: Page) -> None:
    """Rates rise with the load and fall to nothing after it; tiers, zooms and caches are those of the requests made."""
    with load(page.address):
        open_admin(page, 1180, 980)
        wait_for(lambda: float(shown(page, "requests") or 0) > 1 and float(shown(page, "status-client")) > 0, 40, "a rate")
        wait_for(lambda: shown(page, "hit-rate") == "100 %", 40, "all tiles from memory")
        time.sleep(3)  # a line to look at
        page.picture("admin")
    assert set(rows(page, "tier-list")) == {"memory", "disk", "shared rendering", "rendered"}
    assert rows(page, "tier-list")["rendered"] == "16"
    assert set(rows(page, "queue-list")) >= {"viewport", "prefetch", "bulk", "Waiting time"}
    assert rows(page, "trouble-list")["5xx answers"] == "0"
    assert "MiB of 256 MiB" in rows(page, "memory-list")["tiles in memory"].replace("KiB", "MiB")
    assert rows(page, "build")["Sampler steps"] == "1"
    heights = page.chrome.execute_script("return [...document.querySelectorAll('#zooms i')].map((bar) => bar.offsetHeight)")
    assert len(heights) == 21
    assert heights[4] == max(heights) > 20
    assert all(height <= 1 for height in heights[5:])
    wait_for(lambda: shown(page, "requests") in ("0", "0.5"), 30, "the rate of a server that only this page asks")


def test_on_a_phone(page: Page) -> None:
    """At 390 x 844 it is one column, and nothing sticks out."""
    open_admin(page, 390, 844, phone=True)
    page.picture("admin-phone")
    assert page.chrome.execute_script("return document.documentElement.scrollWidth") <= 390
    lefts = page.chrome.execute_script(
        "return [...document.querySelectorAll('main .card')].map((card) => card.getBoundingClientRect().left)"
    )
    assert len(lefts) == 8 and len(set(lefts)) == 1


def test_says_when_the_server_is_gone_and_comes_back(page: Page) -> None:
    """Cut off from the server the page says so, and shows figures again by itself."""
    open_admin(page, 900, 700)
    page.offline(True)
    try:
        wait_for(lambda: page.data("state") == "lost", 20, "the loss")
        assert shown(page, "state-text") == "No connection"
    finally:
        page.offline(False)
    wait_for(lambda: page.data("state") == "live", 20, "the figures")
    assert [text for text in page.errors() if "ERR_INTERNET_DISCONNECTED" not in text] == []


def test_asks_for_a_key_where_the_server_does(
    chromium: Chrome,
    planet: Planet,
    make_settings: MakeSettings,
) -> None:
    """The page is open, the figures are not: it takes a key, refuses a wrong one, and keeps the right one in the tab."""
    key = new_key()
    with served(create_app(make_settings(api_keys=(digest_of(key),)), planet)) as port:
        locked = Page(chromium, f"http://127.0.0.1:{port}")
        locked.errors()
        chromium.get(f"{locked.address}/admin")
        wait_for(lambda: locked.data("state") == "locked", 30, "the question for a key")
        assert shown(locked, "state-text") == "A key is needed"
        assert not chromium.find_element("tag name", "main").is_displayed()
        locked.picture("admin-key")
        for typed, state in (("me_wrong", "locked"), (key, "live")):
            field = chromium.find_element("id", "key")
            field.clear()
            field.send_keys(typed + "\n")
            wait_for(lambda state=state: locked.data("state") == state, 30, state)  # type: ignore[misc]
            if state == "locked":
                wait_for(lambda: shown(locked, "state-text") == "This key is not accepted", 30, "the refusal")
        assert not chromium.find_element("id", "key-form").is_displayed()
        chromium.refresh()
        wait_for(lambda: locked.data("state") == "live", 30, "the figures without another question")
        assert [text for text in locked.errors() if "401" not in text] == [], "nothing that a content security policy forbids"
        chromium.get("about:blank")

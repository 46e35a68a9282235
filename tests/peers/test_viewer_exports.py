"""The viewer's export panel in headless Chromium: a box is drawn, its cost is seen, the export is followed and fetched."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.browser import Page, wait_for

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def _no_jobs_left(server: str) -> Iterator[None]:
    """Each test begins with a server that knows no job."""
    yield
    for job in _jobs(server):
        for _ in range(2):  # the first may only cancel it
            request = urllib.request.Request(f"{server}/exports/{job['id']}", method="DELETE")
            try:
                urllib.request.urlopen(request).close()
            except urllib.error.HTTPError:
                break


def _jobs(address: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{address}/exports") as answer:
        jobs: list[dict[str, Any]] = json.load(answer)["exports"]
        return jobs


def text(page: Page, element: str) -> str:
    return str(page.chrome.find_element("id", element).text)


def drag(chrome: Chrome, start: tuple[int, int], end: tuple[int, int], *, touch: bool = False) -> None:
    """A drag of a mouse or of a finger, in pixels of the window."""
    if touch:

        def send(kind: str, *points: tuple[int, int]) -> None:
            chrome.execute_cdp_cmd(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]}
            )

        middle = ((start[0] + end[0]) // 2, (start[1] + end[1]) // 2)
        send("touchStart", start)
        send("touchMove", middle)
        send("touchMove", end)
        send("touchEnd")
        return
    for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
        event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
        chrome.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def wait_for_estimate(page: Page) -> str:
    said: str = wait_for(lambda: "about" in text(page, "export-estimate") and text(page, "export-estimate"), 60, "the estimate")
    return said


def edges(page: Page) -> list[float]:
    names = ("west", "south", "east", "north")
    return [float(value(page, f"export-{edge}")) for edge in names]


def value(page: Page, element: str) -> str:
    """What a field of the form holds."""
    return str(page.chrome.find_element("id", element).get_property("value"))


def test_draws_estimates_starts_follows_and_downloads(page: Page) -> None:
    page.open("#3/20/10/flat")
    page.settle(3, 4)
    page.click("export-button")
    page.click("export-draw")
    drag(page.chrome, (380, 250), (500, 420))
    west, south, east, north = edges(page)
    # 120 x 170 pixels of a map with 2048 around the world.
    assert east - west == pytest.approx(120 / 2048 * 360, rel=0.05)
    assert -60 < south < north < 80
    said = wait_for_estimate(page)
    assert re.search(r"px, 1 tile: about [\d.]+ k?B and ", said), said
    assert page.hash() == "#3/20/10/flat"  # the map itself has not moved
    page.picture("export-estimate")
    page.click("export-start")
    wait_for(lambda: page.chrome.find_elements("css selector", "#export-jobs [data-state=done]"), 60, "the export")
    page.picture("export-done")
    link = page.chrome.find_element("css selector", "#export-jobs a")
    (job,) = _jobs(page.address)
    assert link.get_attribute("href") == job["links"]["file"]
    with urllib.request.urlopen(job["links"]["file"]) as file:
        assert file.read(4) in (b"II*\0", b"II+\0")
    assert job["area"]["bounds"][0] == pytest.approx(west, abs=0.2)
    assert job["area"]["bounds"][3] == pytest.approx(north, abs=0.2)
    page.chrome.find_element("css selector", "#export-jobs button").click()
    wait_for(lambda: not page.chrome.find_elements("css selector", "#export-jobs li"), 10, "the job's removal")
    assert _jobs(page.address) == []


def test_progress_is_live_and_can_be_cancelled(page: Page) -> None:
    page.open("#3/20/10/flat")
    page.click("export-button")
    page.click("export-view")
    # A zoom that takes minutes here, so that there is something to follow and to cancel.
    page.chrome.execute_script(
        "const zoom = document.getElementById('export-zoom'); zoom.value = 7; zoom.dispatchEvent(new Event('input'))"
    )
    page.chrome.find_element("css selector", "#export-format option[value=pmtiles]").click()
    wait_for_estimate(page)
    page.click("export-start")
    (bar,) = wait_for(lambda: page.chrome.find_elements("css selector", "#export-jobs progress"), 60, "the job")
    wait_for(lambda: float(str(bar.get_property("value"))) > 0, 60, "progress")
    said = page.chrome.find_element("css selector", "#export-jobs .state").text
    assert re.fullmatch(r"\d+ % · [\d,]+ of [\d,]+ tiles · .+ left", said), said
    page.picture("export-progress")
    page.chrome.find_element("css selector", "#export-jobs li .row button").click()
    wait_for(lambda: page.chrome.find_elements("css selector", "#export-jobs [data-state=cancelled]"), 20, "the cancelled job")
    assert [job["state"] for job in _jobs(page.address)] == ["cancelled"]


def test_by_keyboard_alone(page: Page) -> None:
    page.open("#2/20/10/flat")
    body = page.chrome.find_element("tag name", "body")
    body.send_keys("e")
    active = page.chrome.switch_to.active_element
    assert active.get_attribute("id") == "export-draw"
    for edge, degrees in (("west", "170"), ("east", "-170"), ("south", "-10"), ("north", "10")):
        page.chrome.find_element("id", f"export-{edge}").send_keys(degrees)
    assert value(page, "export-west") == "170"
    wait_for_estimate(page)
    page.chrome.find_element("id", "export-north").send_keys("\ue007")  # Enter
    wait_for(lambda: page.chrome.find_elements("css selector", "#export-jobs [data-state=done]"), 60, "the export")
    assert _jobs(page.address)[0]["area"]["bounds"][2] > 180
    body.send_keys("\ue00c")  # Escape
    assert not page.chrome.find_element("id", "export").is_displayed()
    assert page.chrome.switch_to.active_element.get_attribute("id") == "export-button"


def test_says_what_is_wrong_with_a_box(page: Page) -> None:
    page.open("#2/20/10/flat")
    page.click("export-button")
    for edge, degrees in (("west", "0"), ("east", "10"), ("south", "20"), ("north", "10")):
        page.chrome.find_element("id", f"export-{edge}").send_keys(degrees)
    wait_for(lambda: "inverted" in text(page, "export-estimate"), 20, "the server's sentence")
    assert not page.chrome.find_element("id", "export-start").is_enabled()
    refused = [error for error in page.errors() if "422" not in error]  # the browser notes the status by itself
    assert refused == []


def test_on_a_phone(page: Page) -> None:
    page.open("#2/20/10/flat", 390, 844, phone=True)
    page.settle(2, 2)
    page.click("export-button")
    page.picture("export-phone")
    assert page.chrome.execute_script("return document.documentElement.scrollWidth") <= 390
    boxes: list[list[float]] = page.chrome.execute_script(
        "return [...document.querySelectorAll('#export button, #export input, #export select')]"
        ".map((b) => b.getBoundingClientRect()).filter((r) => r.width).map((r) => [r.left, r.right, r.height])"
    )
    assert len(boxes) >= 11
    for left, right, height in boxes:
        assert left >= 0
        assert right <= 390
        assert height >= 44
    page.click("export-draw")
    page.picture("export-phone-drawing")
    drag(page.chrome, (120, 250), (250, 400), touch=True)
    west, south, east, north = edges(page)
    assert east - west == pytest.approx(130 / 1024 * 360, rel=0.08)
    assert south < north
    wait_for_estimate(page)
    page.picture("export-phone-estimate")
    page.click("export-close")
    assert not page.chrome.find_element("id", "export").is_displayed()

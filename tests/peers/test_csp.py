"""Pages under their Content-Security-Policy in headless Chromium: nothing of their own is refused, what is slipped in is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model import Planet
from server.app import create_app
from tests.conftest import MakeSettings
from tests.peers.browser import PATIENCE_S, wait_for
from tests.peers.pages import ClientPages, client_pages
from tests.peers.serving import served

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.timeout(600)


def refused(pages: ClientPages) -> list[str]:
    """What the console says of policies since the last call."""
    return [message for message in pages.errors() if "Content Security Policy" in message]


def test_no_page_breaks_its_policy_and_no_script_can_be_slipped_in(
    make_settings: MakeSettings, planet: Planet, chromium: Chrome, tmp_path: Path
) -> None:
    with served(create_app(make_settings(), planet)) as port, client_pages(chromium, tmp_path) as pages:
        chrome, address = pages.chrome, f"http://127.0.0.1:{port}"
        for path in ("/ogc?f=html", "/collections/earth?f=html", "/docs"):
            chrome.get(address + path)
            assert refused(pages) == [], path
        chrome.get(address + "/")

        def ready() -> bool:
            return bool(chrome.execute_script("return document.body.dataset.state === 'ready' && !document.fonts.loading"))

        wait_for(ready, PATIENCE_S, "the viewer")
        # The map has come from tiles by way of a worker made of a blob, the whole of what the policy might break.
        loaded = (
            "return performance.getEntriesByType('resource').some((entry) => /\\/\\d+\\/\\d+\\/\\d+\\.png/.test(entry.name))"
        )
        wait_for(lambda: chrome.execute_script(loaded), PATIENCE_S, "a tile")
        assert refused(pages) == []
        chrome.execute_script(
            "const script = document.createElement('script'); script.textContent = 'window.slipped = true';"
            "document.body.append(script);"
        )
        assert not chrome.execute_script("return Boolean(window.slipped)")
        assert len(refused(pages)) == 1
        # A page of another origin embeds it.
        (tmp_path / "embeds.html").write_text(f'<!doctype html><title>a</title><iframe src="{address}/"></iframe>')
        chrome.get(f"{pages.address}/embeds.html")
        chrome.switch_to.frame(0)
        wait_for(
            lambda: chrome.execute_script("return document.title").startswith("MetaEarth"), PATIENCE_S, "the embedded viewer"
        )
        chrome.switch_to.default_content()

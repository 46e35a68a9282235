"""One browser for all tests that need one, and one server of the viewer, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.peers.browser import ROOT, Page, free_port, started_browser, wait_for
from tests.peers.pages import ClientPages, client_pages

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

START_S = 120.0

# No package brings the schemas, so there is nothing whose absence could be mended: who has them names the folder.
collect_ignore = [] if "OGC_SCHEMAS" in os.environ else ["test_ogc_schemas.py"]


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for the session."""
    with started_browser(tmp_path_factory.mktemp("chromium")) as chrome:
        yield chrome


@pytest.fixture(scope="session")
def pages(chromium: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientPages]:
    """Pages of map clients in that browser."""
    with client_pages(chromium, tmp_path_factory.mktemp("pages")) as found:
        yield found


@pytest.fixture
def page(chromium: Chrome, server: str) -> Iterator[Page]:
    """The viewer; a test that leaves an error in the browser's console fails."""
    if not (ROOT / "node_modules" / "maplibre-gl").is_dir():
        pytest.skip("maplibre-gl is not installed (npm ci)")
    permissions = {"origin": server, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    chromium.execute_cdp_cmd("Browser.grantPermissions", permissions)
    chromium.get("about:blank")  # what was shown before must not go on asking
    here = Page(chromium, server)
    here.errors()
    yield here
    assert here.errors() == []

"""Links and tiles behind a real nginx: with a prefix and without, stripped and not, over HTTP and HTTPS."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

import httpx
import pytest

from bench.process import free_port
from model import Planet
from server.app import create_app
from server.settings import Settings, load_settings
from tests.peers.browser import PATIENCE_S, wait_for
from tests.peers.pages import ClientPages
from tests.peers.serving import served

pytestmark = pytest.mark.timeout(600)

CONFIG = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{http};
        listen 127.0.0.1:{https} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Port "";
        proxy_set_header X-Forwarded-Prefix "";
        proxy_set_header Forwarded "";

        # As in docs/tiles.md: no prefix; one that is stripped; one that is not.
        location / {{
            proxy_pass http://127.0.0.1:{plain};
        }}
        location /globe/ {{
            proxy_pass http://127.0.0.1:{plain}/;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Port "";
            proxy_set_header X-Forwarded-Prefix /globe;
            proxy_set_header Forwarded "";
        }}
        location /maps/planet {{
            proxy_pass http://127.0.0.1:{rooted};
        }}
        # The way of RFC 7239; the Host header that arrives is nginx's own idea of it.
        location /standard/ {{
            proxy_pass http://127.0.0.1:{plain}/;
            proxy_set_header Host inner;
            proxy_set_header X-Forwarded-For "";
            proxy_set_header X-Forwarded-Host "";
            proxy_set_header X-Forwarded-Proto "";
            proxy_set_header Forwarded "for=$remote_addr;host=\\"$http_host\\";proto=$scheme";
            proxy_set_header X-Forwarded-Prefix /standard;
        }}
        # Host, port and scheme each in a header of its own.
        location /each/ {{
            proxy_pass http://127.0.0.1:{plain}/;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Prefix /each;
        }}
        # A proxy that says nothing, before a server that has been told its address.
        location /silent/ {{
            proxy_pass http://127.0.0.1:{told}/;
        }}
    }}
}}
"""
PREFIXES = ("", "/globe", "/maps/planet", "/standard", "/each")


@dataclass(frozen=True)
class Proxy:
    """nginx with its two addresses, without a slash at the end."""

    http: str
    https: str
    client: httpx.Client


@pytest.fixture(scope="module")
def proxy(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    openssl = shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx or openssl is not installed (Debian: nginx, openssl)")
    folder = tmp_path_factory.mktemp("nginx")
    certificate = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes"]
    files = ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/certificate.pem"]
    make = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *certificate, *files]
    subprocess.run(make, check=True, capture_output=True)
    http, https = free_port(), free_port()

    def settings(name: str, **values: str) -> Settings:
        return load_settings(cache_dir=folder / name, steps=1, **values)

    plain = create_app(settings("plain"), planet)
    rooted = create_app(settings("rooted", root_path="/maps/planet"), planet)
    told = create_app(settings("told", public_url=f"http://127.0.0.1:{http}/silent"), planet)
    with served(plain) as plain_port, served(rooted) as rooted_port, served(told) as told_port:
        config = folder / "nginx.conf"
        ports = {"http": http, "https": https, "plain": plain_port, "rooted": rooted_port, "told": told_port}
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(CONFIG.format(folder=folder, user=user, **ports))
        process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(config), "-e", str(folder / "start.log")])
        context = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
        with httpx.Client(verify=context, timeout=60) as client:

            def answers() -> bool:
                assert process.poll() is None, (folder / "start.log").read_text()
                try:
                    return client.get(f"http://127.0.0.1:{http}/health").status_code == 200
                except httpx.TransportError:
                    return False

            try:
                wait_for(answers, 30, "nginx")
                yield Proxy(f"http://127.0.0.1:{http}", f"https://127.0.0.1:{https}", client)
            finally:
                process.terminate()
                process.wait(10)


@pytest.mark.parametrize("prefix", [*PREFIXES, "/silent"])
def test_tilejson_names_tiles_that_can_be_fetched(proxy: Proxy, prefix: str) -> None:
    for base in (proxy.http,) if prefix == "/silent" else (proxy.http, proxy.https):
        for document in ("/tilejson.json", "/earth.json?tilesize=512&format=webp", "/tilejson.json?scheme=tms"):
            (template,) = proxy.client.get(base + prefix + document).json()["tiles"]
            assert template.startswith(f"{base}{prefix}/")
            tile = proxy.client.get(template.format(z=2, x=1, y=1))
            assert (tile.status_code, tile.headers["content-type"].split("/")[0]) == (200, "image")
            again = proxy.client.get(template.format(z=2, x=1, y=1), headers={"if-none-match": tile.headers["etag"]})
            assert again.status_code == 304


@pytest.mark.parametrize("prefix", [*PREFIXES, "/silent"])
def test_tms_can_be_followed_from_its_root(proxy: Proxy, prefix: str) -> None:
    address = f"{proxy.http}{prefix}/tms"
    for step in ("TileMapService", "TileMaps/TileMap", "TileSets/TileSet[3]"):
        element = ElementTree.fromstring(proxy.client.get(address).content).find(step)
        assert element is not None
        address = element.attrib["href"]
        assert address.startswith(f"{proxy.http}{prefix}/tms/1.0.0")
    xyz = proxy.client.get(f"{proxy.http}{prefix}/2/1/1.png")
    assert proxy.client.get(f"{address}/1/2.png").content == xyz.content


@pytest.mark.parametrize("prefix", [*PREFIXES, "/silent"])
def test_wmts_can_be_followed_from_its_metadata(proxy: Proxy, prefix: str) -> None:
    base = f"{proxy.http}{prefix}"
    root = ElementTree.fromstring(proxy.client.get(f"{base}/wmts/1.0.0/WMTSCapabilities.xml").content)
    links = [value for element in root.iter() for name, value in element.attrib.items() if name.endswith(("href", "template"))]
    assert len(links) == 4 + 4 + 2
    assert all(link.startswith(f"{base}/") for link in links)
    kvp = next(link for link in links if link.endswith("?"))
    assert proxy.client.get(f"{kvp}service=WMTS&request=GetCapabilities").content == proxy.client.get(links[-1]).content
    template = next(link for link in links if link.endswith("{TileCol}.png"))
    for name, value in (("TileMatrixSet", "WebMercatorQuad"), ("TileMatrix", "2"), ("TileRow", "1"), ("TileCol", "3")):
        template = template.replace(f"{{{name}}}", value)
    for _ in range(2):
        assert proxy.client.get(template).content == proxy.client.get(f"{base}/2/3/1.png").content


@pytest.mark.parametrize("prefix", PREFIXES)
def test_pages_and_their_parts(proxy: Proxy, prefix: str) -> None:
    page = proxy.client.get(f"{proxy.http}{prefix}/")
    assert page.status_code == 200
    for part in ("viewer/viewer.js", "tilejson.json", "openapi.json", "4/8/5", "earth/4/8/5.jpg"):
        assert proxy.client.get(f"{proxy.http}{prefix}/{part}").status_code == 200, part
    assert f"'{prefix}/openapi.json'" in proxy.client.get(f"{proxy.http}{prefix}/docs").text
    missing = proxy.client.get(f"{proxy.http}{prefix}/nothing")
    assert missing.status_code == 404
    assert f"{prefix}/nothing" in missing.json()["detail"]


def test_the_prefix_without_its_slash_leads_to_the_viewer(proxy: Proxy) -> None:
    for prefix in ("/globe", "/maps/planet"):
        answer = proxy.client.get(proxy.https + prefix)
        assert answer.is_redirect
        assert str(answer.next_request.url if answer.next_request else "") == f"{proxy.https}{prefix}/"


@pytest.mark.parametrize(
    "headers",
    [
        {"forwarded": "host=evil.example;proto=https"},
        {"x-forwarded-proto": "https", "x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-for": "127.0.0.1, 127.0.0.1", "forwarded": "for=127.0.0.1;host=evil.example"},
        {"x-forwarded-host": "evil.example", "x-forwarded-port": "666", "x-forwarded-prefix": "/evil"},
    ],
)
@pytest.mark.parametrize("prefix", ["", "/globe", "/maps/planet"])
def test_what_clients_make_up_does_not_get_into_links(proxy: Proxy, headers: dict[str, str], prefix: str) -> None:
    (template,) = proxy.client.get(f"{proxy.http}{prefix}/tilejson.json", headers=headers).json()["tiles"]
    assert template == f"{proxy.http}{prefix}/{{z}}/{{x}}/{{y}}.png"


@pytest.mark.parametrize("prefix", ["/globe", "/maps/planet"])
def test_the_viewer_copies_the_address_that_the_world_uses(proxy: Proxy, pages: ClientPages, prefix: str) -> None:
    chrome = pages.chrome
    chrome.get("about:blank")  # what was shown before must not go on asking
    grant = {"origin": proxy.http, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    pages.errors()
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chrome.execute_cdp_cmd("Browser.grantPermissions", grant)
    chrome.get(f"{proxy.http}{prefix}/#2/20/10/flat")
    wait_for(lambda: chrome.execute_script("return document.body.dataset.state === 'ready'"), PATIENCE_S, "the map")
    chrome.find_element("id", "copy").click()
    wait_for(lambda: chrome.find_element("id", "toast").text, 30, "the toast")
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))"
    assert chrome.execute_async_script(read) == f"{proxy.http}{prefix}/{{z}}/{{x}}/{{y}}.png"
    asked = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    tiles = wait_for(lambda: [name for name in chrome.execute_script(asked) if name.endswith(".png")], PATIENCE_S, "tiles")
    assert all(name.startswith(f"{proxy.http}{prefix}/") for name in tiles)
    assert pages.errors() == []

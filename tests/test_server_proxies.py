"""Links behind proxies: who is believed, which header counts, and what is no host at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from model import Planet
from server.app import create_app
from server.links import public_url
from server.proxies import ProxyPolicy, parse_forwarded
from server.settings import Settings, SettingsError
from tests.conftest import MakeSettings
from tests.peers.serving import served as serving
from tests.test_server_variants import silence

Headers = list[tuple[str, str]]


@pytest.fixture
def ask(make_settings: MakeSettings) -> Any:
    """The address of our root as a request by a peer with some headers makes it; without the application around."""

    def base(headers: dict[str, str] | Headers, peer: str = "127.0.0.1", **values: Any) -> str:
        settings = make_settings(**values)
        lines = list(headers.items() if isinstance(headers, dict) else headers)
        if "host" not in dict(lines):
            lines.append(("host", "testserver"))
        scope = {
            "type": "http",
            "scheme": "http",
            "path": "/",
            "client": (peer, 4711),
            "server": ("testserver", 80),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in lines],
        }
        return public_url(ProxyPolicy(settings).outside(scope), settings, "")

    return base


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "http://testserver"),
        ({"x-forwarded-proto": "https"}, "https://testserver"),
        ({"x-forwarded-proto": "HTTPS"}, "https://testserver"),
        ({"x-forwarded-proto": "javascript"}, "http://testserver"),
        ({"x-forwarded-host": "maps.example"}, "http://maps.example"),
        ({"x-forwarded-host": "maps.example:8443", "x-forwarded-proto": "https"}, "https://maps.example:8443"),
        ({"x-forwarded-host": "maps.example:443", "x-forwarded-proto": "https"}, "https://maps.example"),
        ({"x-forwarded-host": "[2001:db8::1]:81"}, "http://[2001:db8::1]:81"),
        ({"x-forwarded-host": "maps.example", "x-forwarded-port": "8080"}, "http://maps.example:8080"),
        ({"x-forwarded-host": "maps.example:81", "x-forwarded-port": "8080"}, "http://maps.example:81"),
        ({"x-forwarded-port": "443", "x-forwarded-proto": "https"}, "https://testserver"),
        ({"host": "inner:8000", "x-forwarded-port": "443", "x-forwarded-proto": "https"}, "https://inner"),
        ({"x-forwarded-port": "99999"}, "http://testserver"),
        ({"x-forwarded-prefix": "/globe"}, "http://testserver/globe"),
        ({"x-forwarded-prefix": "/globe/"}, "http://testserver/globe"),
        ({"x-forwarded-prefix": "/a, /b/c"}, "http://testserver/a/b/c"),
        ({"x-forwarded-prefix": "//evil.example"}, "http://testserver"),
        ({"x-forwarded-prefix": "/a/../b"}, "http://testserver"),
        ({"x-forwarded-prefix": '/"><script>'}, "http://testserver"),
        ({"forwarded": "proto=https;host=maps.example"}, "https://maps.example"),
        ({"forwarded": 'For="[2001:db8::7]:4711"; Proto=https ;HOST="maps.example:8443"'}, "https://maps.example:8443"),
        ({"forwarded": "for=192.0.2.1;proto=https"}, "https://testserver"),
        ({"forwarded": "host=maps.example", "x-forwarded-prefix": "/globe"}, "http://maps.example/globe"),
        ({"forwarded": 'host="evil.example/path"'}, "http://testserver"),
        ({"forwarded": 'host="unclosed'}, "http://testserver"),
        ({"forwarded": "host=evil.example", "x-forwarded-host": "maps.example"}, "http://maps.example"),
        ({"x-forwarded-host": "evil.example/path"}, "http://testserver"),
        ({"x-forwarded-host": "user@evil.example"}, "http://testserver"),
    ],
)
def test_a_trusted_proxy_is_believed(ask: Any, headers: dict[str, str], expected: str) -> None:
    assert ask(headers) == expected
    assert ask(headers, peer="::ffff:127.0.0.1") == expected
    strangers = {name: value for name, value in headers.items() if name == "host"}
    assert ask(headers, peer="192.0.2.1") == ask(strangers), "nobody believes a stranger"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        # One proxy that appends to what the client made up: only its own word counts.
        ({"x-forwarded-for": "203.0.113.9", "x-forwarded-host": "evil.example, maps.example"}, "http://maps.example"),
        ({"x-forwarded-for": "1.1.1.1, 203.0.113.9", "x-forwarded-proto": "https, http"}, "http://testserver"),
        # Two trusted proxies: the outer one's word.
        ({"x-forwarded-for": "203.0.113.9, 10.0.0.1", "x-forwarded-host": "maps.example, inner"}, "http://maps.example"),
        ({"x-forwarded-for": "203.0.113.9, 10.0.0.1", "x-forwarded-prefix": "/evil, /a, /b"}, "http://testserver/a/b"),
        ({"x-forwarded-for": "203.0.113.9, 10.0.0.1", "x-forwarded-host": "maps.example"}, "http://maps.example"),
        # Nothing says how many there are: the outermost, as is the custom.
        ({"x-forwarded-proto": "https, http"}, "https://testserver"),
        ({"forwarded": "for=203.0.113.9;host=evil.example, for=203.0.113.9;host=maps.example"}, "http://maps.example"),
        ({"forwarded": "for=203.0.113.9;host=maps.example;proto=https, for=10.0.0.1;host=inner"}, "https://maps.example"),
        ({"forwarded": "for=203.0.113.9;host=maps.example, for=10.0.0.1;proto=https"}, "https://maps.example"),
        ({"forwarded": 'host=evil.example, for="_hidden", for=unknown;host=maps.example'}, "http://maps.example"),
    ],
)
def test_a_chain_is_believed_as_far_as_it_is_trusted(ask: Any, headers: dict[str, str], expected: str) -> None:
    assert ask(headers, peer="10.9.9.9", trusted_proxies="10.0.0.0/8") == expected


@pytest.mark.parametrize(
    ("trusted", "peer", "believed"),
    [
        ("127.0.0.1,::1", "127.0.0.1", True),
        ("127.0.0.1,::1", "::1", True),
        ("127.0.0.1,::1", "127.0.0.2", False),
        ("10.0.0.0/8, 2001:db8::/32", "10.255.0.1", True),
        ("10.0.0.0/8, 2001:db8::/32", "2001:db8::9", True),
        ("10.0.0.0/8, 2001:db8::/32", "11.0.0.1", False),
        ("*", "anybody", True),
        ("none", "127.0.0.1", False),
        ("127.0.0.1", "anybody", False),
    ],
)
def test_trusted_proxies(ask: Any, trusted: str, peer: str, believed: bool) -> None:
    expected = "https://testserver" if believed else "http://testserver"
    assert ask({"x-forwarded-proto": "https"}, peer=peer, trusted_proxies=trusted) == expected


@pytest.mark.parametrize(
    "host",
    [
        'a"onload="x',
        "a<b>",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "a\\b",
        "user@a",
        "a:b",
        "a:0",
        "a:99999",
        "[::1",
        "::1",
        "-a",
        "",
        "ä",
    ],
)
def test_what_is_no_host_does_not_get_into_links(ask: Any, host: str) -> None:
    assert ask({"host": host}, peer="192.0.2.1") == "http://testserver:80"


@pytest.mark.parametrize("host", ["a.example", "A-b_c.example:81", "192.0.2.1:8000", "[2001:db8::1]:81", "localhost"])
def test_hosts_as_they_are(ask: Any, host: str) -> None:
    assert ask({"host": host}) == f"http://{host}"


def test_a_public_url_stands_above_all_headers(ask: Any) -> None:
    headers = {"x-forwarded-proto": "http", "x-forwarded-host": "other.example", "x-forwarded-prefix": "/other"}
    assert ask(headers, public_url="https://tiles.example/globe") == "https://tiles.example/globe"


def test_headers_reach_the_links_of_documents(make_settings: MakeSettings, planet: Planet) -> None:
    headers = {"x-forwarded-proto": "https", "x-forwarded-host": "maps.example", "x-forwarded-prefix": "/globe"}
    for peer, base in (("127.0.0.1", "https://maps.example/globe"), ("192.0.2.1", "http://testserver")):
        with TestClient(create_app(make_settings(), planet), client=(peer, 4711)) as client:
            assert client.get("/tilejson.json", headers=headers).json()["tiles"] == [base + "/{z}/{x}/{y}.png"]
            assert f'href="{base}/tms/1.0.0/"' in client.get("/tms", headers=headers).text


@pytest.mark.parametrize(
    ("values", "headers", "base"),
    [
        ({}, {}, "http://testserver"),
        (
            {},
            {"x-forwarded-proto": "https", "x-forwarded-host": "a.example", "x-forwarded-prefix": "/g"},
            "https://a.example/g",
        ),
        ({"public_url": "https://tiles.example/globe"}, {}, "https://tiles.example/globe"),
        ({"public_url": "https://tiles.example:81"}, {"x-forwarded-prefix": "/g"}, "https://tiles.example:81"),
    ],
)
def test_redirects_are_links_too(
    make_settings: MakeSettings, planet: Planet, values: dict[str, str], headers: dict[str, str], base: str
) -> None:
    with served(make_settings(**values), planet) as client:
        answer = client.get("/tilejson.json/", headers=headers, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (307, base + "/tilejson.json")


@contextmanager
def served(settings: Settings, planet: Planet, **options: Any) -> Iterator[TestClient]:
    application = create_app(settings, planet)
    with TestClient(application, client=("127.0.0.1", 1), raise_server_exceptions=False, **options) as client:
        client.app = application
        yield client


PREFIXED: list[tuple[dict[str, str], dict[str, str]]] = [
    ({"root_path": "/globe"}, {}),
    ({"root_path": "/globe/"}, {}),
    ({"public_url": "https://tiles.example/globe"}, {}),
    ({}, {"x-forwarded-prefix": "/globe"}),
]


@pytest.mark.parametrize(("values", "headers"), PREFIXED)
def test_a_prefix_stripped_or_not(
    make_settings: MakeSettings, planet: Planet, values: dict[str, str], headers: dict[str, str]
) -> None:
    with served(make_settings(**values), planet) as client:
        for prefix in ("/globe", ""):
            (template,) = client.get(prefix + "/tilejson.json", headers=headers).json()["tiles"]
            assert template.split("://")[1].split("/", 1)[1] == "globe/{z}/{x}/{y}.png"
            assert client.get(prefix + "/viewer/viewer.js", headers=headers).status_code == 200
            assert client.get(prefix + "/", headers=headers).status_code == 200
            assert "/globe/openapi.json" in client.get(prefix + "/docs", headers=headers).text
            assert client.get(prefix + "/nothing", headers=headers).status_code == 404
        paths = ["/3/4/2.png", "/earth/3/4/2.png", "/3/4/2", "/tms/1.0.0/earth/3/4/5.png", "/3/4/2.png?v=1"]
        tile = client.get("/3/4/2.png", headers=headers)
        silence(client.app)  # type: ignore[arg-type]
        for path in paths:
            for prefix in ("/globe", ""):
                answer = client.get(prefix + path, headers=headers)
                assert (answer.status_code, answer.content) == (200, tile.content), prefix + path
                tagged = headers | {"if-none-match": tile.headers["etag"]}
                assert client.get(prefix + path, headers=tagged).status_code == 304


def test_the_prefix_itself_leads_to_the_viewer(make_settings: MakeSettings, planet: Planet) -> None:
    with served(make_settings(root_path="/globe"), planet) as client:
        answer = client.get("/globe", headers={"host": "maps.example"}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (308, "http://maps.example/globe/")
        assert client.get("/globes/3/4/2.png").status_code == 404


def test_a_stranger_cannot_move_the_server(make_settings: MakeSettings, planet: Planet) -> None:
    with TestClient(create_app(make_settings(), planet), client=("192.0.2.1", 1)) as client:
        assert client.get("/evil/3/4/2.png", headers={"x-forwarded-prefix": "/evil"}).status_code == 404


@pytest.mark.parametrize(
    "values",
    [
        {"root_path": "globe"},
        {"root_path": "/a b"},
        {"root_path": "//a"},
        {"root_path": "/.."},
        {"root_path": '/"'},
        {"trusted_proxies": "proxy.example"},
        {"trusted_proxies": "10.0.0.0/33"},
        {"public_url": "https://"},
        {"public_url": "https:///globe"},
        {"public_url": "https://a:b/"},
    ],
)
def test_bad_settings(make_settings: MakeSettings, values: dict[str, str]) -> None:
    (name,) = values
    with pytest.raises(SettingsError, match=f"METAEARTH_{name.upper()}=.*must be"):
        make_settings(**values)


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("for=a", [{"for": "a"}]),
        ("for=a;proto=http;by=b,for=c", [{"for": "a", "proto": "http", "by": "b"}, {"for": "c"}]),
        ('for="a,b;c\\"d" , for=e', [{"for": 'a,b;c"d'}, {"for": "e"}]),
        (", ;for=a;, ", [{"for": "a"}]),
        ("for=a for=b", []),
        ("for", []),
        ('for="a', []),
    ],
)
def test_forwarded_is_parsed_by_rfc_7239(text: str, elements: list[dict[str, str]]) -> None:
    assert parse_forwarded(text) == elements


def test_bytes_of_any_kind_in_headers_do_no_harm(make_settings: MakeSettings) -> None:
    policy = ProxyPolicy(make_settings())
    names = [b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix", b"host"]
    for value in (b"\xff\xfe", b"\x00", b",,,", b'"' * 5000, b"=;=;", b"[" * 3000, b"for=" * 3000, b" " * 5000):
        scope = {"type": "http", "path": "/a", "headers": [(name, value) for name in names], "client": ("::1", 1)}
        assert policy.outside(scope)["root_path"] == ""


@pytest.mark.parametrize(("trusted", "scheme"), [("127.0.0.1", "https"), ("none", "http")])
def test_uvicorn_leaves_whom_to_believe_to_us(make_settings: MakeSettings, planet: Planet, trusted: str, scheme: str) -> None:
    with serving(create_app(make_settings(trusted_proxies=trusted), planet)) as port:
        headers = {"x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.9"}
        answer = httpx.get(f"http://127.0.0.1:{port}/tilejson.json", headers=headers)
        assert answer.json()["tiles"] == [f"{scheme}://127.0.0.1:{port}/{{z}}/{{x}}/{{y}}.png"]


def test_a_strange_host_over_the_wire_is_no_error(make_settings: MakeSettings, planet: Planet) -> None:
    with serving(create_app(make_settings(), planet)) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/tilejson.json", headers={"host": 'a"onload=x'})
        assert answer.json()["tiles"] == [f"http://127.0.0.1:{port}/{{z}}/{{x}}/{{y}}.png"]

"""API keys: let in by header or address, carried on in links, kept as digests, and asked for by hits as well."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from model import Planet
from server.app import create_app
from server.cli import app as cli
from server.keys import ApiKeys, digest_of, new_key, split_query
from server.settings import SettingsError, load_settings

KEY = new_key()
HEADER = {"x-api-key": KEY}
CAPABILITIES = "/wmts?SERVICE=WMTS&REQUEST=GetCapabilities"


@pytest.fixture(scope="module")
def guarded(planet: Planet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server that lets in two keys."""
    digests = f"{digest_of(new_key())},{digest_of(KEY)}"
    settings = load_settings(cache_dir=tmp_path_factory.mktemp("keys"), steps=1, api_keys=digests)
    with TestClient(create_app(settings, planet), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/1/0/0.png", "/earth/1/0/0.png", "/tilejson.json", "/bbox/0,0,1,1.png?zoom=1", "/exports"])
def test_without_a_key_nothing_is_shown(guarded: TestClient, path: str) -> None:
    assert guarded.get(path, headers=HEADER).status_code == 200
    for headers in ({}, {"x-api-key": "me_wrong"}, {"authorization": "Basic " + KEY}, {"x-api-key": KEY + "x" * 300}):
        refused = guarded.get(path, headers=headers)
        assert refused.status_code == 401, "also with the tile in memory"
        assert "key" in refused.json()["detail"]
        assert KEY not in refused.text
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert refused.headers["cache-control"] == "no-store"
        assert refused.headers["access-control-allow-origin"] == "*", "or a page cannot read why"


@pytest.mark.parametrize("path", ["/2/0/0.png", "/tilejson.json", CAPABILITIES])
def test_the_three_ways_to_send_it(guarded: TestClient, path: str) -> None:
    mark = "&" if "?" in path else "?"
    cold = guarded.get(path + mark + "key=" + KEY)
    answers = [
        cold,
        guarded.get(path + mark + "KEY=" + KEY),
        guarded.get(path, headers=HEADER),
        guarded.get(path, headers={"authorization": f"Bearer {KEY}"}),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    etag = cold.headers.get("etag")
    if etag:
        assert cold.headers["cache-control"].startswith("private, max-age=")
        assert answers[2].headers["cache-control"] == cold.headers["cache-control"]
        again = guarded.get(f"{path}?key={KEY}", headers={"if-none-match": etag})
        assert again.status_code == 304
        assert again.headers["cache-control"].startswith("private")
        assert guarded.get(path, headers={"if-none-match": etag}).status_code == 401


def test_pages_probes_and_preflights_need_none(guarded: TestClient) -> None:
    for path in ("/", "/viewer/viewer.js", "/health", "/ready", "/openapi.json", "/docs"):
        assert guarded.get(path).status_code == 200, path
    preflight = guarded.options(
        "/1/0/0.png", headers={"origin": "https://a.example", "access-control-request-headers": "x-api-key"}
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "x-api-key"


def test_ogc_errors_in_their_form(guarded: TestClient) -> None:
    assert "ExceptionReport" in guarded.get(CAPABILITIES).text
    assert guarded.get("/collections").json()["status"] == 401


def test_links_carry_the_key_of_the_address_and_work(guarded: TestClient) -> None:
    template = guarded.get(f"/tilejson.json?format=jpg&key={KEY}").json()["tiles"][0]
    assert template.endswith(f"/{{z}}/{{x}}/{{y}}.jpg?key={KEY}")
    assert guarded.get(template.format(z=1, x=0, y=0)).status_code == 200

    document = guarded.get(f"{CAPABILITIES}&key={KEY}").text
    rest = re.search(r'template="([^"]+)"', document)
    kvp = re.search(r'href="([^"]+/wmts\?[^"]*)"', document)
    assert rest is not None and kvp is not None
    address = re.sub(r"\{[^}]+\}", "1", rest[1].replace("{TileMatrixSet}", "WebMercatorQuad").replace("&amp;", "&"))
    assert guarded.get(address).status_code == 200, address
    query = (
        "SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER=earth&STYLE=default&FORMAT=image/png&TILEMATRIXSET=WebMercatorQuad"
    )
    base = kvp[1].replace("&amp;", "&")
    assert base[-1] in "?&"
    for _ in range(2):
        assert guarded.get(f"{base}{query}&TILEMATRIX=1&TILEROW=1&TILECOL=0").status_code == 200

    wms = guarded.get(f"/wms?SERVICE=WMS&REQUEST=GetCapabilities&key={KEY}").text
    assert f"/wms?key={KEY}&amp;" in wms
    for link in guarded.get(f"/ogc?f=json&key={KEY}").json()["links"]:
        if "{" not in link["href"]:
            assert link["href"].endswith(f"key={KEY}")
            assert guarded.get(link["href"], follow_redirects=True).status_code in (200, 422, 400), link["href"]
    assert KEY not in guarded.get("/tilejson.json", headers=HEADER).text, "who sends a header sends it again"


def test_openapi_says_how_to_send_it(guarded: TestClient) -> None:
    document = guarded.get("/openapi.json").json()
    assert {scheme["type"] for scheme in document["components"]["securitySchemes"].values()} == {"apiKey", "http"}
    assert "401" in document["paths"]["/tilejson.json"]["get"]["responses"]
    assert "security" not in document["paths"]["/health"]["get"]


def test_a_file_of_digests(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# clients\n\n{digest_of(KEY)}  the viewer\n")
    keys = ApiKeys.from_settings(load_settings(api_keys_file=file))
    assert keys.check(KEY) == digest_of(KEY)
    for text, said in (("", "it has none"), (f"{digest_of(KEY)}\n{KEY}\n", "line 2")):
        file.write_text(text)
        with pytest.raises(SettingsError, match=said) as raised:
            ApiKeys.from_settings(load_settings(api_keys_file=file))
        assert KEY not in str(raised.value)
    with pytest.raises(SettingsError, match="cannot be read"):
        ApiKeys.from_settings(load_settings(api_keys_file=tmp_path / "none"))


def test_a_key_in_place_of_its_digest_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="metaearth key") as raised:
        load_settings(api_keys=KEY)
    assert KEY not in str(raised.value)


def test_the_command_makes_a_key_and_its_digest() -> None:
    lines = CliRunner().invoke(cli, ["key"]).stdout.split()
    assert lines[0] == "key" and lines[2] == "digest"
    assert digest_of(lines[1]) == lines[3]
    assert len({new_key() for _ in range(100)}) == 100


def test_a_query_without_its_key() -> None:
    assert split_query(b"a=1&key=x%2By+z&b=2") == ("x+y z", b"a=1&b=2")
    assert split_query(b"monkey=1") == (None, b"monkey=1")
    assert split_query(b"") == (None, b"")

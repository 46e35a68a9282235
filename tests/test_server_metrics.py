"""`/metrics` and `/admin/stats`: what they count is what was asked for, and they answer while the planet is at work."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from model import Planet
from server.admin import Samples
from server.app import create_app
from server.fastpath import FastPath
from tests.conftest import MakeSettings

DOCS = Path(__file__).resolve().parents[1] / "docs" / "monitoring.md"


class Watched:
    """A client, and what the metrics have risen by since the last look."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self._before: dict[str, float] = {}
        self.risen()

    def risen(self) -> dict[str, float]:
        """What has changed, by sample as it stands in the text: name{labels}; numbers that fell are negative."""
        now = dict(sample.rsplit(" ", 1) for sample in self.client.get("/metrics").text.splitlines() if sample[0] != "#")
        values = {name: float(value) for name, value in now.items()}
        changed = {name: value - self._before.get(name, 0) for name, value in values.items()}
        self._before = values
        return {name: by for name, by in changed.items() if by}


@pytest.fixture
def watched(client: TestClient) -> Watched:
    return Watched(client)


def test_counts_every_request_once_by_status_and_zoom(watched: Watched) -> None:
    client = watched.client
    client.get("/4/8/5.png")
    cold = watched.risen()
    assert cold['metaearth_requests_total{status="200",zoom="4"}'] == 1
    assert cold['metaearth_tiles_total{tier="rendered",zoom="4"}'] == 1
    assert cold['metaearth_render_seconds_count{zoom="4"}'] == 1
    assert cold['metaearth_encode_seconds_count{format="png"}'] == 1
    assert cold['metaearth_wait_seconds_count{class="viewport"}'] == 1
    assert cold['metaearth_memory_cache_bytes{cache="tiles"}'] > 1000
    assert not [name for name in cold if "memory" in name and "tiles_total" in name]

    for method in ("GET", "HEAD"):
        client.request(method, "/4/8/5.png")
        client.request(method, "/4/8/5.png?break=cache")
        client.request(method, "/wmts/1.0.0/earth/default/WebMercatorQuad/4/5/8.png")
        client.request(method, "/4/8/5", headers={"accept": "image/png"})
    hot = watched.risen()
    assert hot['metaearth_requests_total{status="200",zoom="4"}'] == 8
    assert hot['metaearth_tiles_total{tier="memory",zoom="4"}'] == 8
    assert not [name for name in hot if name.startswith(("metaearth_render_seconds", "metaearth_encode_seconds"))]

    for path in ("/4/8/5.png", "/18/137000/87000.jpg"):
        assert client.get(path, headers={"if-none-match": "*"}).status_code == 304
    unmodified = watched.risen()
    assert unmodified['metaearth_requests_total{status="304",zoom="4"}'] == 1
    assert unmodified['metaearth_requests_total{status="304",zoom="18"}'] == 1
    assert not [name for name in unmodified if "tiles_total" in name]

    client.get("/4/99/5.png")
    client.get("/nothing")
    client.post("/4/8/5.png")
    client.get("/health")
    others = watched.risen()
    assert others['metaearth_requests_total{status="404",zoom="none"}'] == 2
    assert others['metaearth_requests_total{status="405",zoom="none"}'] == 1
    assert others['metaearth_requests_total{status="200",zoom="none"}'] == 2, "/health, and /metrics of the look before"


def test_tells_the_disk_from_memory_and_shared_work_from_own(make_settings: MakeSettings, planet: Planet) -> None:
    settings = make_settings()
    with TestClient(create_app(settings, planet)) as client:
        client.get("/3/2/5.webp")
    application = create_app(settings, planet)
    with TestClient(application) as client:
        watched = Watched(client)
        client.get("/3/2/5.webp")
        assert watched.risen()['metaearth_tiles_total{tier="disk",zoom="3"}'] == 1

    async def together() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test") as many:
            return [answer.status_code for answer in await asyncio.gather(*(many.get("/3/1/1.png") for _ in range(5)))]

    application = create_app(settings, planet)
    assert asyncio.run(together()) == [200] * 5
    tiles = Samples(application.api.state.metrics.families()).by("tiles_total", "tier")
    assert {name: count for name, count in tiles.items() if count} == {"rendered": 1, "coalesced": 4}


def test_evaluations_are_the_planets(watched: Watched, planet: Planet) -> None:
    before = planet.evaluations
    assert watched.client.get("/6/41/27.png").status_code == 200
    generated = planet.evaluations - before
    risen = watched.risen()
    assert risen.get("metaearth_blocks_generated_total", 0) == generated
    assert risen.get("metaearth_network_evaluations_total", 0) == generated * planet.steps


async def _while_busy(application: FastPath) -> dict[str, Any]:
    """What metrics say while the thread that renders is at work and two tiles wait, how fast, and what they say later."""
    done = threading.Event()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://test") as client:
        busy = asyncio.create_task(application.api.state.renderer.work(lambda _: done.wait(60), "a long work"))
        waiting = [asyncio.create_task(client.get(f"/2/{x}/0.png")) for x in range(2)]
        seconds = []
        for _ in range(600):
            began = time.perf_counter()
            text = (await client.get("/metrics")).text
            seconds.append(time.perf_counter() - began)
            if 'metaearth_queue_depth{class="viewport"} 2.0' in text:
                break
            await asyncio.sleep(0.05)
        during = (await client.get("/admin/stats")).json()
        waiting[0].cancel()
        await asyncio.gather(waiting[0], return_exceptions=True)
        done.set()
        await asyncio.gather(busy, waiting[1])
        return {"seconds": min(seconds), "during": during, "after": (await client.get("/admin/stats")).json()}


def test_answers_at_once_while_the_planet_is_busy_and_shows_the_queue(make_settings: MakeSettings, planet: Planet) -> None:
    seen = asyncio.run(_while_busy(create_app(make_settings(), planet)))
    assert seen["seconds"] < 0.2
    assert seen["during"]["queue"]["viewport"] == 2
    assert seen["during"]["dropped"] == {"abandoned": 0}
    assert seen["after"]["queue"]["viewport"] == 0
    assert seen["after"]["dropped"] == {"abandoned": 1}
    assert seen["after"]["wait"]["count"] == 2
    assert seen["after"]["wait"]["seconds"] > 0
    assert seen["after"]["tiles"]["rendered"] == 1


def test_failed_renderings_are_counted(make_settings: MakeSettings, planet: Planet, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(create_app(make_settings(), planet), raise_server_exceptions=False) as client:
        watched = Watched(client)

        def runs_out(*_: Any, **__: Any) -> None:
            raise MemoryError("out of memory")

        monkeypatch.setattr(planet, "read", runs_out)
        assert client.get("/2/1/3.png").status_code == 503
        risen = watched.risen()
        assert risen["metaearth_render_failures_total"] == 1
        assert risen['metaearth_requests_total{status="503",zoom="2"}'] == 1
        assert client.get("/admin/stats").json()["failures"] == 1


def documented() -> dict[str, tuple[str, set[str]]]:
    """Type and labels by metric, as docs/monitoring.md has them."""
    rows = re.findall(r"^\| `(metaearth_\w+)` \| (\w+) \| ([\w, ]*)\|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: (kind, {label.strip() for label in labels.split(",") if label.strip()}) for name, kind, labels in rows}


def test_all_metrics_have_help_and_are_documented_with_their_labels(app: FastPath, client: TestClient) -> None:
    client.get("/4/8/5.png")
    text = client.get("/metrics").text
    exported = {}
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        assert family.documentation.endswith("."), name
        assert not family.name.endswith(("_milliseconds", "_mb", "_percent")), "base units"
        exported[name] = family.type
        table = documented()
        assert name in table, f"{name} is not in docs/monitoring.md"
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == table[name][1], name
    assert exported == {name: kind for name, (kind, _) in documented().items()}


def test_labels_are_bounded_whatever_is_asked(watched: Watched) -> None:
    paths = ["/21/0/0.png", "/-1/0/0.png", "/99999999999999999999/1/1.png", "/%F0%9F%8C%8D", "/4/8/5.gif", "/x/4/8/5.png"]
    for path in [*paths, *(f"/made-up/{number}" for number in range(20))]:
        watched.client.get(path)
    labels = {name for name in watched.risen() if name.startswith("metaearth_requests_total")}
    assert labels <= {f'metaearth_requests_total{{status="{status}",zoom="none"}}' for status in (200, 404, 422)}


def test_openmetrics_where_accept_asks_for_it_and_no_caching(client: TestClient) -> None:
    plain = client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert plain.headers["cache-control"] == "no-store"
    accept = "application/openmetrics-text; version=1.0.0; charset=utf-8, text/plain;version=0.0.4;q=0.5"
    openmetrics = client.get("/metrics", headers={"accept": accept})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
    assert client.post("/metrics").status_code == 405
    head = client.head("/metrics")
    assert (head.status_code, head.content) == (200, b"")


def test_can_be_switched_off(make_settings: MakeSettings, planet: Planet) -> None:
    with TestClient(create_app(make_settings(metrics=False), planet)) as client:
        for path in ("/metrics", "/admin", "/admin/stats"):
            answer = client.get(path)
            assert answer.status_code == 404
            assert answer.json()["detail"]
        assert "/metrics" not in client.get("/openapi.json").json()["paths"]


def test_admin_page_has_no_script_or_style_of_its_own_in_it(client: TestClient) -> None:
    """So that a content security policy without unsafe-inline holds; and its files are there."""
    page = client.get("/admin")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page.text)
    for link in re.findall(r'(?:src|href)="(viewer/[^"]+)"', page.text):
        assert client.get("/" + link).status_code == 200, link

"""`/exports` over HTTP: estimates, progress, events, ranges of the file, cancelling, and jobs that outlive their server."""

from __future__ import annotations

import errno
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate
from starlette.testclient import TestClient

from model import Planet
from server import export_jobs
from server.export_file import parse_ranges

ROOT = Path(__file__).parents[1]
EUROPE = {"bbox": [-10, 35, 30, 60], "zoom": 4}
WORLD = {"bbox": [-180, -80, 180, 80], "zoom": 4}
PATIENCE_S = 120.0


def start(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/exports", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == answer.json()["links"]["status"]
    started: dict[str, Any] = answer.json()
    return started


def finish(client: TestClient, name: str, state: str = "done") -> dict[str, Any]:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        job: dict[str, Any] = client.get(f"/exports/{name}").json()
        if job["state"] not in ("queued", "running"):
            assert job["state"] == state, job
            return job
        time.sleep(0.05)
    pytest.fail(f"waited {PATIENCE_S:.0f} s for {name}")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs stay in the queue: the thread that works on them finds none."""
    monkeypatch.setattr(export_jobs.ExportJobs, "_next", lambda self: None)


def test_a_dry_run_estimates_and_starts_nothing(client: TestClient) -> None:
    answer = client.post("/exports", json={**EUROPE, "dry_run": True})
    assert answer.status_code == 200
    area, estimate = answer.json()["area"], answer.json()["estimate"]
    assert (area["format"], area["minzoom"], area["maxzoom"]) == ("cog", 4, 4)
    assert estimate["pixels"] == area["width"] * area["height"]
    assert estimate["tiles"] == 1
    assert client.get("/exports").json() == {"exports": []}
    deep = client.post("/exports", json={"bbox": [8, 46, 8.5, 46.5], "zoom": 14, "dry_run": True}).json()["estimate"]
    assert deep["seconds"] > 100 * estimate["seconds"] > 0


def test_an_export_from_start_to_file(client: TestClient, planet: Planet, tmp_path: Path) -> None:
    job = start(client, **EUROPE)
    assert job["state"] in ("queued", "running")
    assert job["links"]["events"] == f"http://testserver/exports/{job['id']}/events"
    done = finish(client, job["id"])
    assert (done["percent"], done["eta_seconds"], done["error"]) == (100, None, None)
    assert done["tiles_done"] == done["tiles"] == 1
    assert job["estimate"]["bytes"] / 3 < done["bytes"] < job["estimate"]["bytes"] * 3
    answer = client.get(f"/exports/{job['id']}/file")
    assert answer.status_code == 200
    assert len(answer.content) == done["bytes"] == int(answer.headers["content-length"])
    assert re.search(r'attachment; filename="[\w.-]+\.tif"', answer.headers["content-disposition"])
    (tmp_path / "a.tif").write_bytes(answer.content)
    assert cog_validate(str(tmp_path / "a.tif"), strict=True)[0]
    with rasterio.open(tmp_path / "a.tif") as file:
        west, _, _, north = done["area"]["bounds"]
        x, y = round((west + 180) / 360 * 4096), round((1 - np.arcsinh(np.tan(np.radians(north))) / np.pi) * 2048)
        exact = planet.read(4, x, y, file.width, file.height)
        assert np.array_equal(file.read().transpose(1, 2, 0), exact)
    assert [listed["id"] for listed in client.get("/exports").json()["exports"]] == [job["id"]]


def test_ranges_of_the_file(client: TestClient) -> None:
    name = start(client, **EUROPE)["id"]
    finish(client, name)
    path = f"/exports/{name}/file"
    whole = client.get(path)
    size, tag = len(whole.content), whole.headers["etag"]

    def get(range: str, **headers: str) -> Any:
        return client.get(path, headers={"range": range, **headers})

    for asked, first, last in (
        ("bytes=0-9", 0, 9),
        ("bytes=-7", size - 7, size - 1),
        (f"bytes={size - 3}-", size - 3, size - 1),
    ):
        part = get(asked)
        assert part.status_code == 206
        assert part.content == whole.content[first : last + 1]
        assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert part.headers["etag"] == tag
    beyond = get(f"bytes={size}-")
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{size}"
    assert str(size) in beyond.json()["detail"]
    assert get("bytes=0-9", **{"if-range": tag}).status_code == 206
    assert get("bytes=0-9", **{"if-range": '"another"'}).status_code == 200
    for ignored in ("bytes=9-0", "lines=0-9", "bytes", "bytes=a-b"):
        assert get(ignored).status_code == 200
    several = get("bytes=0-1,5-6")
    assert several.status_code == 206
    assert several.headers["content-type"].startswith("multipart/byteranges")
    assert client.get(path, headers={"if-none-match": tag}).status_code == 304
    head = client.head(path)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))
    assert head.headers["accept-ranges"] == "bytes"


def test_ranges_are_parsed_as_rfc_9110_has_them() -> None:
    assert parse_ranges("bytes=0-0,-1", 10) == [(0, 0), (9, 9)]
    assert parse_ranges("Bytes=5-99", 10) == [(5, 9)]
    assert parse_ranges("bytes=-99", 10) == [(0, 9)]
    assert parse_ranges("bytes=10-,2-3", 10) == [(2, 3)]
    assert parse_ranges("bytes=-0", 10) == []
    for malformed in ("bytes=", "bytes=-", "bytes=1", "bytes=2-1", "items=0-1", "bytes=" + ",".join(["0-1"] * 99)):
        assert parse_ranges(malformed, 10) is None


def test_events_tell_progress_until_the_end(client: TestClient) -> None:
    name = start(client, **{**WORLD, "format": "pmtiles", "tile_format": "jpg"})["id"]
    events: list[tuple[str, str, dict[str, Any]]] = []
    with client.stream("GET", f"/exports/{name}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        for block in "".join(answer.iter_text()).split("\n\n"):
            fields = dict(line.partition(": ")[::2] for line in block.splitlines())
            if "event" in fields:
                events.append((fields["event"], fields["id"], json.loads(fields["data"])))
    assert [kind for kind, _, _ in events] == ["progress"] * (len(events) - 1) + ["done"]
    percents = [job["percent"] for _, _, job in events]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    # An EventSource connects again by itself with the id of the last event; 204 tells it that this was all.
    again = client.get(f"/exports/{name}/events", headers={"last-event-id": events[-1][1]})
    assert again.status_code == 204


def test_slow_jobs_keep_the_connection_alive(client: TestClient, held: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.export_events.KEEP_ALIVE_SECONDS", 0.1)
    monkeypatch.setattr("server.export_events.LOOK_SECONDS", 0.05)
    name = start(client, **EUROPE)["id"]
    threading.Timer(0.6, lambda: client.delete(f"/exports/{name}")).start()
    text = client.get(f"/exports/{name}/events").text
    assert "\n: still here\n" in text
    assert "event: cancelled" in text


def test_cancelling(client: TestClient, app: Any) -> None:
    running = start(client, **{**WORLD, "format": "mbtiles"})
    waiting = start(client, **EUROPE)
    for job in (waiting, running):
        answer = client.delete(f"/exports/{job['id']}")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        assert client.get(f"/exports/{job['id']}").json()["state"] == "cancelled"
        assert client.get(f"/exports/{job['id']}/file").status_code == 409
    done = start(client, **EUROPE)  # runs although the one before was stopped in its midst
    finish(client, done["id"])
    folder = next(iter(Path(path) for path in _folders(app, running["id"])))
    assert sorted(path.name for path in folder.iterdir()) == ["job.json", "lock"]
    # Those that are over go for good.
    for job in (running, waiting, done):
        assert client.delete(f"/exports/{job['id']}").status_code == 200
        assert client.get(f"/exports/{job['id']}").status_code == 404
        assert not list(_folders(app, job["id"]))


def _folders(app: Any, name: str) -> Iterator[Path]:
    yield from app.api.state.renderer.store.disk.path.parent.glob(f"exports/{name}")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (422, {"bbox": [10, 10, 0, 0], "zoom": 1}, "inverted"),
        (422, {"bbox": [0, 0, 1], "zoom": 1}, "bbox"),
        (422, {"bbox": "0,0,1,1", "zoom": 1}, "bbox"),
        (422, {"bbox": [0, 0, 1, 1]}, "zoom"),
        (422, {"bbox": [0, 0, 1, 1], "zoom": 99}, "0 to 20"),
        (422, {"bbox": [0, 0, 1, 1], "zoom": 1.5}, "zoom"),
        (422, {"bbox": [0, 0, 1, 1], "zoom": 1, "bbox_crs": "EPSG:0"}, "bbox_crs"),
        (422, {"bbox": [0, 0, 1, 1], "zoom": 1, "format": "zip"}, "cog, mbtiles, pmtiles"),
        (422, {"bbox": [0, 0, 1, 1], "zoom": 1, "quality": 5}, "lossless"),
        (422, {"bbox": [0, 0, 1, 1], "zoom": 1, "colour": "red"}, "colour"),
        (422, [], "body"),
        (413, {"bbox": [-180, -80, 180, 80], "zoom": 12}, "lower zoom"),
    ],
    ids=str,
)
def test_bad_requests_are_answered_in_a_sentence(client: TestClient, status: int, body: Any, said: str) -> None:
    answer = client.post("/exports", json=body)
    assert (answer.status_code, list(answer.json())) == (status, ["detail"])
    assert said in answer.json()["detail"]


def test_bad_json_and_unknown_jobs(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    for text in (b"{bad", b"", b"\xff", b'{"bbox": [NaN, 0, 1, 1], "zoom": 1}', b'{"bbox": [0, 0, 1e999, 1], "zoom": 1}'):
        answer = client.post("/exports", content=text, headers=headers)
        assert (answer.status_code, list(answer.json())) == (422, ["detail"]), text
    plain = client.post("/exports", content=json.dumps(EUROPE), headers={"content-type": "text/plain"})
    assert plain.status_code == 422
    assert "application/json" in plain.json()["detail"]
    for path in (
        "/exports/nothing",
        "/exports/nothing/events",
        "/exports/nothing/file",
        "/exports/..%2f..%2fetc",
        f"/exports/{'a' * 999}",
    ):
        assert client.get(path).status_code == client.head(path).status_code == 404
    assert client.delete("/exports/nothing").status_code == 404
    other = client.put("/exports")
    assert other.status_code == 405
    assert other.headers["allow"] == "GET, HEAD, POST, OPTIONS"
    assert client.post("/exports/nothing").headers["allow"] == "GET, HEAD, DELETE, OPTIONS"


def test_head_stands_where_get_does(client: TestClient, held: None) -> None:
    name = start(client, **EUROPE)["id"]
    for path in ("/exports", f"/exports/{name}", f"/exports/{name}/events"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
    assert client.get(f"/exports/{name}/file").status_code == 409


def test_the_queue_has_an_end(client: TestClient, held: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_jobs, "MAX_WAITING", 2)
    for _ in range(2):
        start(client, **EUROPE)
    answer = client.post("/exports", json=EUROPE)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "cancel" in answer.json()["detail"]


def test_a_disk_without_room_is_507(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"total": 1 << 40, "free": 70 << 20})
    monkeypatch.setattr("server.export_engine.shutil.disk_usage", lambda path: usage)
    answer = client.post("/exports", json={"bbox": [0, 0, 20, 20], "zoom": 9})
    assert answer.status_code == 507
    assert "needs about" in answer.json()["detail"]


def test_a_disk_that_fills_fails_the_job_and_leaves_nothing(
    client: TestClient, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    written: list[int] = []

    def fsync(descriptor: int) -> None:
        if "tiles.dat" in os.readlink(f"/proc/self/fd/{descriptor}"):
            written.append(descriptor)
            if len(written) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr("server.export_log.os.fsync", fsync)
    job = start(client, **WORLD)
    failed = finish(client, job["id"], "failed")
    assert "free some space" in failed["error"]
    assert (failed["bytes"], failed["eta_seconds"]) == (0, None)
    (folder,) = _folders(app, job["id"])
    assert sorted(path.name for path in folder.iterdir()) == ["job.json", "lock"]
    answer = client.get(f"/exports/{job['id']}/file")
    assert answer.status_code == 409
    assert "free some space" in answer.json()["detail"]

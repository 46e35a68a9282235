"""Export jobs that outlive their server: stopped, killed without a word, or started again with another planet."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate
from starlette.testclient import TestClient

from model import Planet
from model.base import default_cache_dir
from server import export_jobs
from server.app import create_app
from tests.conftest import MakeSettings
from tests.test_export_jobs import EUROPE, PATIENCE_S, WORLD, finish, held, start  # noqa: F401

ROOT = Path(__file__).parents[1]


def test_jobs_outlive_the_application(make_settings: MakeSettings, planet: Planet) -> None:
    settings = make_settings()
    with TestClient(create_app(settings, planet)) as client:
        done, cut = start(client, **EUROPE)["id"], start(client, **{**WORLD, "format": "mbtiles"})["id"]
        finish(client, done)
        # The application stops here, with the second job in its midst.
    (settings.cache_dir / "exports" / "broken").mkdir()
    (settings.cache_dir / "exports" / "broken" / "job.json").write_text("{")
    with TestClient(create_app(settings, planet)) as client:
        assert client.get(f"/exports/{done}").json()["state"] == "done"
        assert finish(client, cut)["percent"] == 100
        assert len(client.get("/exports").json()["exports"]) == 2


@pytest.mark.usefixtures("held")
def test_a_job_of_another_planet_fails_with_a_reason(make_settings: MakeSettings, planet: Planet) -> None:
    settings = make_settings()
    with TestClient(create_app(settings, planet)) as client:
        name = start(client, **EUROPE)["id"]
    path = settings.cache_dir / "exports" / name / "job.json"
    path.write_text(path.read_text().replace(planet.identity, "another"))
    with pytest.MonkeyPatch.context() as unheld:
        unheld.setattr(export_jobs.ExportJobs, "_next", _first_queued)
        with TestClient(create_app(settings, planet)) as client:
            assert "changed" in str(finish(client, name, "failed")["error"])


def _first_queued(self: export_jobs.ExportJobs) -> Any:
    return next((job for job in self.all() if job.state == "queued"), None)


class Served:
    """`metaearth serve` in a process of its own, to be killed."""

    def __init__(self, cache: Path) -> None:
        environment = {**os.environ, "METAEARTH_CACHE_DIR": str(cache), "METAEARTH_STEPS": "1"}
        command = [sys.executable, "-m", "server.cli", "serve", "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
        assert self.process.stdout is not None
        self.process.stdout.readline()
        found = re.search(r"http://[\d.:]+", self.process.stdout.readline())
        assert found is not None
        self.address = found[0]

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.communicate(timeout=60)


def test_a_job_survives_kill_9(tmp_path: Path, planet: Planet) -> None:
    """The server dies without a word in the midst of an export; the next one finishes it, to the exact pixel."""
    for path in default_cache_dir().glob("base-*"):
        shutil.copy(path, tmp_path)  # spares both servers the base picture's reprojection
    server = Served(tmp_path)
    job = server.ask("/exports", {**WORLD, "tile_format": "png"})
    try:
        end = time.monotonic() + PATIENCE_S
        while not 30 < server.ask(f"/exports/{job['id']}")["percent"] < 100:
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        server.end(signal.SIGKILL)
    folder = tmp_path / "exports" / job["id"]
    assert json.loads((folder / "job.json").read_text())["state"] == "running"
    assert not (folder / "export.tif").exists()
    server = Served(tmp_path)
    try:
        end = time.monotonic() + PATIENCE_S
        while (now := server.ask(f"/exports/{job['id']}"))["state"] != "done":
            assert now["state"] in ("queued", "running"), now
            assert time.monotonic() < end
            time.sleep(0.1)
        assert now["links"]["file"].startswith(server.address)
    finally:
        server.end(signal.SIGTERM)
    assert cog_validate(str(folder / "export.tif"), strict=True)[0]
    with rasterio.open(folder / "export.tif") as file:
        y = (4096 - file.height) // 2
        assert np.array_equal(file.read().transpose(1, 2, 0), planet.read(4, 0, y, 4096, file.height))
    assert not (folder / "work").exists()

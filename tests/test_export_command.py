"""`metaearth export`: files, estimates, going on after a kill, and one line for whatever goes wrong."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pmtiles.reader import MmapSource, Reader
from rio_cogeo.cogeo import cog_validate

from model import Planet
from tests.cli_runs import Run

ROOT = Path(__file__).parents[1]
EUROPE = ("--bbox", "-10,35,30,60")


@pytest.fixture
def run(run: Run) -> Run:
    """Runs `metaearth export` in this process."""
    return functools.partial(run, "export")


def test_writes_each_format_by_its_name(run: Run, planet: Planet, tmp_path: Path) -> None:
    tif, mbtiles, pmtiles = (tmp_path / f"a.{extension}" for extension in ("tif", "mbtiles", "pmtiles"))
    assert "1 tiles" in run(*EUROPE, "--zoom", "4", "-o", tif).stdout
    assert cog_validate(str(tif), strict=True)[0]
    with rasterio.open(tif) as file:
        x, y = round((file.bounds.left / 40075016.685578 + 0.5) * 4096), round((0.5 - file.bounds.top / 40075016.685578) * 4096)
        assert np.array_equal(file.read().transpose(1, 2, 0), planet.read(4, x, y, file.width, file.height))
    assert run(*EUROPE, "--maxzoom", "3", "--tile-format", "webp", "--quality", "70", "-o", mbtiles).exit_code == 0
    assert sqlite3.connect(mbtiles).execute("SELECT min(zoom_level), max(zoom_level) FROM tiles").fetchone() == (0, 3)
    assert run(*EUROPE, "--minzoom", "2", "--maxzoom", "3", "-o", pmtiles).exit_code == 0
    with pmtiles.open("rb") as file:
        assert Reader(MmapSource(file)).header()["min_zoom"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mbtiles", "a.pmtiles", "a.tif"]


def test_a_dry_run_writes_nothing(run: Run, tmp_path: Path) -> None:
    result = run(*EUROPE, "--resolution", "500", "--dry-run", "-o", tmp_path / "a.tif")
    assert result.exit_code == 0, result.output
    assert re.search(r"\d+ x \d+ pixels at zoom 8; .* tiles, about [\d.]+ MB and [\d.]+ \w+ with nothing cached", result.stdout)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "said", "options"),
    [
        (2, "must end in", (*EUROPE, "--zoom", "1", "-o", "a.png")),
        (2, "four numbers", ("--bbox", "1,2,x", "--zoom", "1", "-o", "a.tif")),
        (2, "inverted", ("--bbox", "0,10,10,0", "--zoom", "1", "-o", "a.tif")),
        (2, "exactly one", (*EUROPE, "-o", "a.tif")),
        (2, "lower zoom", (*EUROPE, "--zoom", "18", "-o", "a.tif")),
        (2, "0 to 20", (*EUROPE, "--zoom", "21", "-o", "a.tif")),
        (2, "lossless", (*EUROPE, "--zoom", "1", "--quality", "9", "-o", "a.tif")),
        (1, "does not exist", (*EUROPE, "--zoom", "1", "-o", "no/a.tif")),
    ],
    ids=str,
)
def test_bad_options_are_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*options)
    assert result.exit_code == code
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("metaearth: ")
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_goes_on_after_kill_9(cli_cache: Path, run: Run, planet: Planet, tmp_path: Path) -> None:
    output = tmp_path / "world.tif"
    work = tmp_path / "world.tif.partial"
    options = ("--bbox", "-180,-80,180,80", "--zoom", "4", "-o", str(output))
    environment = {**os.environ, "METAEARTH_CACHE_DIR": str(cli_cache), "METAEARTH_STEPS": "1"}
    command = [sys.executable, "-m", "server.cli", "export", *options]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not (work / "tiles.dat").exists() or (work / "tiles.dat").stat().st_size < 4_000_000:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    other = run("--bbox", "-180,-80,180,70", "--zoom", "4", "-o", output)
    assert other.exit_code == 1
    assert "unfinished export" in other.stderr
    result = run(*options)
    assert result.exit_code == 0, result.output
    assert not work.exists()
    assert cog_validate(str(output), strict=True)[0]
    with rasterio.open(output) as file:
        exact = planet.read(4, 0, (4096 - file.height) // 2, 4096, file.height)
        assert np.array_equal(file.read().transpose(1, 2, 0), exact)


def test_two_at_once_do_not_write_one_file(run: Run, tmp_path: Path) -> None:
    import fcntl

    work = tmp_path / "a.tif.partial"
    work.mkdir()
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run(*EUROPE, "--zoom", "2", "-o", tmp_path / "a.tif")
    assert result.exit_code == 1
    assert "Another process" in result.stderr
    assert not (work / "plan.json").exists()


def test_a_disk_without_room_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"total": 1 << 40, "free": 70 << 20})
    monkeypatch.setattr("server.export_engine.shutil.disk_usage", lambda path: usage)
    result = run(*EUROPE, "--zoom", "8", "-o", tmp_path / "a.tif")
    assert result.exit_code == 1
    assert "MB of disk space" in result.stderr.strip().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_rates_are_kept_for_the_next_run(run: Run, cli_cache: Path, tmp_path: Path, planet: Planet) -> None:
    assert run(*EUROPE, "--zoom", "4", "-o", tmp_path / "a.tif").exit_code == 0
    kept = json.loads((cli_cache / "exports" / "rates.json").read_text())
    assert kept["planet"] == planet.identity
    assert kept["block"] > 0

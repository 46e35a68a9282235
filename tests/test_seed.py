"""`metaearth seed`: which tiles, in which order, that they are hits afterwards, and that any end can be gone on from."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mercantile
import pytest
import shapely
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from cache import DiskCache
from model import Planet
from server.app import create_app
from server.cli import app
from server.seed_area import SeedArea, View, bbox_geometry, geojson_geometry
from server.seed_plan import make_plan
from server.settings import load_settings
from tests.cli_runs import one_line
from tests.conftest import Readings
from tests.load.conftest import with_base
from tests.peers.serving import served
from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120
# A diamond in the Alps with a hole, a square across the antimeridian.
DIAMOND: dict[str, Any] = {
    "type": "Polygon",
    "coordinates": [
        [[0.1, 45], [15, 30], [29, 45], [15, 60], [0.1, 45]],
        [[10, 45], [15, 49], [20, 45], [15, 41], [10, 45]],
    ],
}
FIJI: dict[str, Any] = {"type": "Polygon", "coordinates": [[[170, -30], [190, -30], [190, -10], [170, -10], [170, -30]]]}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, planet: Planet) -> Any:
    """Runs the command in this process, around the session's planet, its tiles in this test's directory."""
    monkeypatch.setenv("METAEARTH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("METAEARTH_STEPS", "1")
    for module in ("server.app", "server.seed_command"):
        monkeypatch.setattr(f"{module}.planet_from_settings", lambda *_: planet)

    def invoke(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, ["seed", *(str(argument) for argument in arguments)])

    return invoke


def tiles_of(area: SeedArea) -> list[mercantile.Tile]:
    return [mercantile.Tile(x, y, z) for z, x, y in area.tiles()]


@pytest.mark.parametrize(
    ("bbox", "minzoom", "maxzoom"),
    [
        ("7.5,45.8,8.0,46.2", 0, 13),
        ("170,-30,-170,10", 3, 8),
        ("0,0,90,45", 0, 7),
        ("-180,-90,180,90", 0, 5),
        ("0,0,90,66.51326044311186", 2, 6),  # its edges are those of tiles
        ("179.99,-1,-179.99,1", 9, 9),
    ],
)
def test_a_box_has_the_tiles_that_mercantile_gives_it(bbox: str, minzoom: int, maxzoom: int) -> None:
    area = SeedArea(bbox_geometry(bbox), minzoom, maxzoom)
    found = tiles_of(area)
    west, south, east, north = (float(part) for part in bbox.split(","))
    expected = list(mercantile.tiles(west, south, east, north, range(minzoom, maxzoom + 1)))
    assert len(found) == len(set(found)) == sum(area.counts()[minzoom:])
    assert set(found) == set(expected)


def test_children_come_after_their_parent_and_before_its_neighbours() -> None:
    found = tiles_of(SeedArea(bbox_geometry("5,40,20,50"), 3, 9))
    at = {tile: i for i, tile in enumerate(found)}
    for tile in found:
        if tile.z > 3:
            assert at[mercantile.parent(tile)] < at[tile]
    # All that lies below one tile stands together.
    for tile in found:
        below = [at[other] for other in found if other.z > tile.z and mercantile.parent(other, zoom=tile.z) == tile]
        assert sorted([at[tile], *below]) == list(range(at[tile], at[tile] + len(below) + 1))


@pytest.mark.parametrize("wrap", ["Polygon", "MultiPolygon", "Feature", "FeatureCollection"])
def test_geojson_has_the_tiles_that_touch_it(tmp_path: Path, wrap: str) -> None:
    feature = {"type": "Feature", "properties": {}, "geometry": DIAMOND}
    document: dict[str, Any] = {
        "Polygon": DIAMOND,
        "MultiPolygon": {"type": "MultiPolygon", "coordinates": [DIAMOND["coordinates"], FIJI["coordinates"]]},
        "Feature": feature,
        "FeatureCollection": {"type": "FeatureCollection", "features": [feature, {**feature, "geometry": FIJI}]},
    }[wrap]
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps(document))
    area = SeedArea(geojson_geometry(path), 0, 7)
    shape = shapely.Polygon(DIAMOND["coordinates"][0], [DIAMOND["coordinates"][1]])
    parts = [shape]
    if wrap in ("MultiPolygon", "FeatureCollection"):
        parts += [shapely.box(170, -30, 180, -10), shapely.box(-180, -30, -170, -10)]
    shape = shapely.union_all(parts)
    expected = {
        tile
        for zoom in range(8)
        for tile in (mercantile.Tile(x, y, zoom) for x in range(1 << zoom) for y in range(1 << zoom))
        if shapely.relate_pattern(shape, shapely.box(*mercantile.bounds(tile)), "T********")
    }
    assert set(tiles_of(area)) == expected
    assert mercantile.tile(15, 45, 7) not in expected  # in the hole
    assert area.counts() == [sum(tile.z == zoom for tile in expected) for zoom in range(8)]


def test_a_view_has_the_tiles_that_a_map_shows() -> None:
    # The viewer's zooms are those of 256 px tiles: at 3 the world is 2048 px across.
    for text in ("http://127.0.0.1:8000/globe/?a=b#3/0.00/0.00", "#3/0/0/flat", "#map=3/0/0", "3/0/0"):
        view = View.parse(text, "1000x500")
        assert view == View(0, 0, 3, 1000, 500)
        plan = make_plan(view=text, size="1000x500")
        assert {(z, x, y) for z, x, y in plan.area.tiles()} == {(3, x, y) for x in (2, 3, 4, 5) for y in (3, 4)}
    assert make_plan(center="0,0", zoom_view=3, size="1000x500").counts == plan.counts
    across = make_plan(view="#3.4/0/179.9/flat", size="1000x500", minzoom=2)
    assert {x for z, x, _ in across.area.tiles() if z == 3} == {6, 7, 0, 1}
    assert sum(make_plan(view="#0/20/10").counts) == 1
    assert make_plan(view="#20.9/46/8").area.maxzoom == 20


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--bbox", "0,0,1,1"),
        ("--bbox", "0,0,1,1", "--view", "#3/0/0", "--zoom", "3"),
        ("--bbox", "0,0,1", "--zoom", "3"),
        ("--bbox", "a,b,c,d", "--zoom", "3"),
        ("--bbox", "0,10,10,0", "--zoom", "3"),
        ("--bbox", "0,0,nan,10", "--zoom", "3"),
        ("--bbox", "0,86,1,89", "--zoom", "3"),
        ("--bbox", "0,0,1,1", "--zoom", "21"),
        ("--bbox", "0,0,1,1", "--zoom", "3", "--maxzoom", "4"),
        ("--bbox", "0,0,1,1", "--minzoom", "5", "--maxzoom", "4"),
        ("--bbox", "0,0,1,1", "--zoom", "20", "--tilesize", "512"),
        ("--bbox", "0,0,1,1", "--zoom", "3", "--tilesize", "300"),
        ("--bbox", "0,0,1,1", "--zoom", "3", "--format", "gif"),
        ("--bbox", "0,0,1,1", "--zoom", "3", "--zoom-view", "3"),
        ("--bbox", "0,0,1,1", "--zoom", "3", "--url", "ftp://x"),
        ("--bbox", "0,0,1,1", "--zoom", "3", "--url", "http://x", "--header", "nothing"),
        ("--view", "#here"),
        ("--view", "#99/0/0"),
        ("--view", "#3/91/0"),
        ("--view", "#3/0/0", "--size", "0x100"),
        ("--center", "0,0"),
        ("--center", "0", "--zoom-view", "3"),
        ("--center", "0,0", "--zoom-view", "nan"),
        ("--geojson", "nowhere.geojson", "--zoom", "3"),
    ],
    ids=" ".join,
)
def test_bad_options_are_one_line(run: Any, options: tuple[str, ...]) -> None:
    result = run(*options)
    assert result.exit_code == 2, result.output
    assert one_line(result.stderr).startswith("metaearth: ")


@pytest.mark.parametrize(
    "text",
    ["", "[", "[" * 100_000, "null", '{"type": "Point", "coordinates": [0, 0]}', '{"type": "Feature", "geometry": null}'],
)
def test_geojson_that_is_none_is_one_line(run: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "area.geojson"
    path.write_text(text)
    result = run("--geojson", path, "--zoom", "3")
    assert result.exit_code == 2, result.output
    assert "area.geojson" in one_line(result.stderr)


def test_seeded_tiles_are_hits_for_the_server(run: Any, tmp_path: Path, planet: Planet, readings: Readings) -> None:
    options = ("--bbox", "-180,-90,180,90", "--maxzoom", "2", "--format", "png,jpeg", "--format", "webp", "--tilesize", "256")
    result = run(*options, "--tilesize", "512")
    assert result.exit_code == 0, result.output
    assert "126 tiles: 126 made" in result.stdout
    made = len(readings.calls)
    assert made == 126
    settings = load_settings(cache_dir=tmp_path / "cache", steps=1)
    with TestClient(create_app(settings, planet)) as client:
        for path in ("/0/0/0.png", "/2/3/1.jpg", "/2/0/3@2x.webp", "/1/1/0@2x.png"):
            assert client.get(path).status_code == 200
        assert len(readings.calls) == made, "nothing was rendered again"
        client.get("/3/0/0.png")
        assert len(readings.calls) == made + 1
    again = run(*options, "--tilesize", "512")
    assert "0 made" in again.stdout and "126 were in the cache already" in again.stdout
    assert len(readings.calls) == made + 1


def test_a_redis_is_seeded(
    run: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, planet: Planet, readings: Readings
) -> None:
    monkeypatch.setenv("METAEARTH_CACHE_URL", redis_server.url)
    monkeypatch.setenv("METAEARTH_TILE_DISK_MB", "0")
    result = run("--bbox", "-180,-90,180,90", "--maxzoom", "1")
    assert "5 tiles: 5 made" in result.stdout, result.output
    assert "5 are cached" in run("--bbox", "-180,-90,180,90", "--maxzoom", "2", "--dry-run").stdout
    read = len(readings.calls)
    with TestClient(create_app(load_settings(steps=1), planet)) as client:
        assert client.get("/1/0/1.png").status_code == 200
    assert len(readings.calls) == read
    redis_server.client().flushall()
    assert "5 made" in run("--bbox", "-180,-90,180,90", "--maxzoom", "1").stdout


def test_a_dry_run_keeps_nothing(run: Any, tmp_path: Path) -> None:
    run("--bbox", "-180,-90,180,90", "--zoom", "1")
    result = run("--bbox", "-180,-90,180,90", "--maxzoom", "4", "--dry-run")
    assert result.exit_code == 0, result.output
    assert re.match(r"341 tiles at zooms 0 to 4 \(png; 256 px\), about \d+\.\d MB and \d+ s ", result.stdout), result.stdout
    assert "4 are cached" in result.stdout
    cache = DiskCache(tmp_path / "cache" / "tiles.sqlite", 1 << 30)
    assert len(cache) == 4
    cache.close()
    assert not (tmp_path / "cache" / "exports" / "rates.json").exists()


def test_a_cache_that_is_too_small_or_off_is_said(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAEARTH_TILE_DISK_MB", "1")
    options = ("--bbox", "-180,-90,180,90", "--maxzoom", "3")
    result = run(*options)
    assert result.exit_code == 1
    assert "METAEARTH_TILE_DISK_MB" in result.stderr.strip().splitlines()[-1]
    assert "raise METAEARTH_TILE_DISK_MB" in run(*options, "--dry-run").stdout
    monkeypatch.setenv("METAEARTH_TILE_DISK_MB", "0")
    result = run(*options)
    assert result.exit_code == 2
    assert "METAEARTH_TILE_DISK_MB is 0" in one_line(result.stderr)


def test_a_running_server_is_seeded_over_http(run: Any, tmp_path: Path, planet: Planet, readings: Readings) -> None:
    settings = load_settings(cache_dir=tmp_path / "served", steps=1)
    with served(create_app(settings, planet)) as port:
        address = f"http://127.0.0.1:{port}"
        options = ("--bbox", "0,0,180,85", "--maxzoom", "2", "--format", "jpg")
        result = run(*options, "--url", address, "--header", "X-Anything: at all")
        assert result.exit_code == 0, result.output
        assert "6 tiles: 6 made" in result.stdout
        tiles = [call for call in readings.calls if call[3:] == (256, 256)]  # besides the pixel that a server warms up with
        assert len(tiles) == 6
        result = run(*options, "--url", address + "/nowhere")
        assert result.exit_code == 1
        assert "answers 404" in result.stderr.strip().splitlines()[-1]
    assert "6 tiles" in run(*options, "--url", address, "--dry-run").stdout
    assert not (tmp_path / "cache").exists()


class Seeder:
    """The command in a process of its own: the world to zoom 3, two tiles at a time."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        options = ["--bbox", "-180,-90,180,90", "--maxzoom", "3", "--concurrency", "2"]
        environment = {**os.environ, "METAEARTH_CACHE_DIR": str(cache), "METAEARTH_STEPS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server.cli", "seed", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    def end_at(self, tiles: int, how: signal.Signals) -> tuple[int, str]:
        """Exit code and what was printed last, after a signal when `tiles` are in the cache."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self.process.poll() is None and self.stored() < tiles:
            time.sleep(0.01)
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out + err.strip().rpartition("\n")[2]

    def stored(self) -> int:
        """Tiles in the cache, as another process sees them."""
        path = self.cache / "tiles.sqlite"
        if not path.exists():
            return 0
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as reader:
                return int(reader.execute("SELECT count(*) FROM entry").fetchone()[0])
        except sqlite3.OperationalError:  # its tables are not there yet
            return 0


def test_any_end_is_gone_on_from(tmp_path: Path, planet: Planet) -> None:
    cache = with_base(tmp_path / "cache")
    killed = Seeder(cache)
    code, _ = killed.end_at(15, signal.SIGKILL)
    assert code == -signal.SIGKILL
    first = killed.stored()
    assert 15 <= first < 85
    code, said = Seeder(cache).end_at(first + 15, signal.SIGINT)
    assert code == 1
    stopped = re.search(r"Stopped with (\d+) of 85 tiles in the cache; the same command goes on", said)
    assert stopped is not None, said
    second = killed.stored()
    assert first < int(stopped[1]) <= second < 85
    last = Seeder(cache)
    out, err = last.process.communicate(timeout=PATIENCE_S)
    assert last.process.returncode == 0, err
    assert f"85 tiles: {85 - second} made" in out
    assert f"{second} were in the cache already" in out
    assert re.search(r"100%.*85/85 \[.*tile", err), "a progress bar with a rate"
    settings = load_settings(cache_dir=cache, steps=1)
    with TestClient(create_app(settings, planet)) as client, pytest.MonkeyPatch.context() as unread:
        seen = Readings(planet, unread)
        answers = [client.get(path) for path in (f"/3/{x}/{y}.png" for x in range(8) for y in range(8))]
        assert seen.calls == []
    assert all(answer.status_code == 200 and answer.content[-8:-4] == b"IEND" for answer in answers)


def test_the_walk_is_fast() -> None:
    """What is there already is skipped as fast as it is walked over and looked up."""
    area = SeedArea(bbox_geometry("5,40,8,43"), 0, 14)
    begin = time.perf_counter()
    assert sum(1 for _ in area.tiles()) == sum(area.counts()) > 20_000
    assert time.perf_counter() - begin < 20

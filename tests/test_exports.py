"""Export files: exact pixels, valid by the formats' own readers, and the same after any interruption."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from pmtiles.reader import MmapSource, Reader, all_tiles
from pmtiles.tile import zxy_to_tileid
from rio_cogeo.cogeo import cog_validate

from model import Planet
from server.export_engine import Export, Progress, check_room
from server.export_errors import DiskFullError, ExportStoppedError
from server.export_pieces import halve
from server.export_plan import ExportPlan, make_plan
from server.export_tiff import Directories, levels_of

WORLD = (-180.0, -80.0, 180.0, 80.0)
PACIFIC = (160.0, -70.0, -60.0, 60.0)


def plan_of(planet: Planet, *bbox: float, **asked: Any) -> ExportPlan:
    return make_plan(bbox, planet=planet.identity, attribution="synthetic", **{"format": "cog", **asked})


def run(planet: Planet, plan: ExportPlan, folder: Path) -> Path:
    output = folder / f"out.{plan.extension}"
    Export(plan, folder / "work", planet.read).run(output, lambda progress: None)
    assert list((folder / "work").iterdir()) == []
    return output


def read(planet: Planet, plan: ExportPlan) -> np.ndarray:
    return planet.read(plan.maxzoom, plan.x, plan.y, plan.width, plan.height)


def test_a_cog_is_valid_and_has_the_planets_pixels(planet: Planet, tmp_path: Path) -> None:
    plan = plan_of(planet, *WORLD, zoom=4)
    output = run(planet, plan, tmp_path)
    assert cog_validate(str(output), strict=True) == (True, [], [])
    exact = read(planet, plan)
    with rasterio.open(output) as file:
        assert np.array_equal(file.read().transpose(1, 2, 0), exact)
        assert file.crs.to_epsg() == 3857
        assert file.block_shapes == [(512, 512)] * 3
        assert file.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
        assert file.overviews(1) == [2, 4, 8, 16, 32]
        assert "synthetic" in file.tags()["TIFFTAG_COPYRIGHT"]
        west, south, east, north = file.bounds
        assert (west, east) == (pytest.approx(-20037508.342789), pytest.approx(20037508.342789))
        assert north == pytest.approx(-south)
    for level in range(5):
        exact = halve(exact)
        with rasterio.open(output, overview_level=level) as overview:
            assert np.array_equal(overview.read().transpose(1, 2, 0), exact)


def test_a_generated_cog_across_the_antimeridian(planet: Planet, tmp_path: Path) -> None:
    plan = plan_of(planet, 179.5, 0.2, -179.6, 0.9, zoom=6)
    output = run(planet, plan, tmp_path)
    assert cog_validate(str(output), strict=True)[0]
    with rasterio.open(output) as file:
        assert np.array_equal(file.read().transpose(1, 2, 0), read(planet, plan))
        assert file.bounds.right > 20037508.35


@pytest.mark.parametrize(("tile_format", "compression", "limit"), [("jpg", "YCbCr JPEG", 6), ("webp", "WEBP", 8)])
def test_lossy_cogs(planet: Planet, tmp_path: Path, tile_format: str, compression: str, limit: float) -> None:
    plan = plan_of(planet, 100, -30, -100, 33, zoom=4, tile_format=tile_format, quality=90)
    output = run(planet, plan, tmp_path)
    assert cog_validate(str(output), strict=True)[0]
    with rasterio.open(output) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == compression
        pixels = file.read().transpose(1, 2, 0).astype(int)
    assert 0 < np.abs(pixels - read(planet, plan)).mean() < limit


def test_big_tiffs_are_read_like_others(tmp_path: Path) -> None:
    """Above 4 GB offsets have 8 bytes: the same tile stands for all, so that the file is sparse but whole."""
    levels = levels_of(40_000, 30_000)
    counts = [[60_000_000 if level == 0 else 1_000] * (size.columns * size.rows) for level, size in enumerate(levels)]
    head = Directories(levels, counts, (0.0, 0.0), 1.0, "png", "synthetic").to_bytes()
    path = tmp_path / "big.tif"
    path.write_bytes(head)
    os.truncate(path, len(head) + sum(map(sum, counts)))
    assert head[:4] == b"II\x2b\x00"
    with rasterio.open(path) as file:
        assert (file.width, file.height) == (40_000, 30_000)
        assert len(file.overviews(1)) == len(levels) - 1
        assert file.crs.to_epsg() == 3857
    assert cog_validate(str(path))[0]


def test_mbtiles_follow_the_specification(planet: Planet, tmp_path: Path) -> None:
    plan = plan_of(planet, *PACIFIC, format="mbtiles", maxzoom=4)
    output = run(planet, plan, tmp_path)
    archive = sqlite3.connect(output)
    assert archive.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert archive.execute("PRAGMA application_id").fetchone()[0] == 0x4D504258
    metadata = dict(archive.execute("SELECT name, value FROM metadata"))
    assert {"name", "format", "bounds", "center", "minzoom", "maxzoom", "attribution", "type"} <= set(metadata)
    assert (metadata["format"], metadata["minzoom"], metadata["maxzoom"]) == ("png", "0", "4")
    rows = archive.execute("SELECT zoom_level, tile_column, tile_row, tile_data FROM tiles").fetchall()
    assert len(rows) == plan.tiles
    for zoom, column, row, body in rows[::7]:
        y = (1 << zoom) - 1 - row
        exact = planet.read(zoom, column * 256, y * 256, 256, 256)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(body))), exact)
    assert {column for zoom, column, *_ in rows if zoom == 4} == {0, 1, 2, 3, 4, 5, 15}
    assert not list(tmp_path.glob("*-wal"))


def test_gdal_reads_mbtiles(planet: Planet, tmp_path: Path) -> None:
    plan = plan_of(planet, -44.9, 0.1, 44.9, 40, format="mbtiles", minzoom=2, maxzoom=3)
    output = run(planet, plan, tmp_path)
    with rasterio.open(output) as file:
        assert file.crs.to_epsg() == 3857
        window = rasterio.windows.from_bounds(*rasterio.warp.transform_bounds(4326, 3857, *plan.bounds), file.transform)
        pixels = file.read((1, 2, 3), window=window.round_offsets().round_lengths()).transpose(1, 2, 0)
    assert np.array_equal(pixels, read(planet, plan))


def test_pmtiles_are_clustered_and_have_the_planets_pixels(planet: Planet, tmp_path: Path) -> None:
    plan = plan_of(planet, *PACIFIC, format="pmtiles", maxzoom=4)
    with run(planet, plan, tmp_path).open("rb") as file:
        source = MmapSource(file)
        reader = Reader(source)
        header = reader.header()
        assert (header["version"], header["clustered"], header["min_zoom"], header["max_zoom"]) == (3, True, 0, 4)
        assert header["tile_type"].name == "PNG"
        assert header["addressed_tiles_count"] == plan.tiles
        assert "synthetic" in reader.metadata()["attribution"]
        tiles = dict(all_tiles(source))
        assert len(tiles) == plan.tiles
        assert list(tiles) == sorted(tiles, key=lambda key: zxy_to_tileid(*key))
        for (zoom, column, row), body in list(tiles.items())[::7]:
            exact = planet.read(zoom, column * 256, row * 256, 256, 256)
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(body))), exact)
        assert reader.get(4, 10, 7) is None


def test_equal_tiles_are_kept_once(planet: Planet, tmp_path: Path) -> None:
    plan = plan_of(planet, *WORLD, format="pmtiles", zoom=4)
    Export(plan, tmp_path / "work", lambda z, x, y, w, h: np.full((h, w, 3), 7, np.uint8)).run(tmp_path / "a", lambda _: None)
    assert (tmp_path / "a").stat().st_size < 30_000
    with (tmp_path / "a").open("rb") as file:
        header = Reader(MmapSource(file)).header()
        assert (header["addressed_tiles_count"], header["tile_contents_count"]) == (plan.tiles, 1)
        assert len(list(all_tiles(MmapSource(file)))) == plan.tiles


@pytest.mark.parametrize("format", ["cog", "mbtiles", "pmtiles"])
def test_a_stopped_export_goes_on_with_what_is_finished(planet: Planet, tmp_path: Path, format: str) -> None:
    plan = plan_of(planet, *WORLD, format=format, zoom=4, tile_format="jpg")
    whole = run(planet, plan, tmp_path).read_bytes()
    done = [0]
    progress: list[Progress] = []

    def counted(zoom: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        done[0] += width * height
        return planet.read(zoom, x, y, width, height)

    def cut(*window: int) -> np.ndarray:
        if done[0] > plan.pixels * 0.7:
            raise RuntimeError("as if killed")
        return counted(*window)

    output = tmp_path / "again"
    with pytest.raises(RuntimeError, match="as if killed"):
        Export(plan, tmp_path / "work", cut).run(output, progress.append)
    assert not output.exists()
    # What a killed process leaves behind a last commit is garbage.
    for name in ("tiles.dat", "growing.pmtiles"):
        if (tmp_path / "work" / name).exists():
            with (tmp_path / "work" / name).open("ab") as file:
                file.write(b"garbage" * 1000)
    done[0] = 0
    progress.clear()
    Export(plan, tmp_path / "work", counted).run(output, progress.append)
    assert 0 < progress[0].done < plan.pixels
    assert done[0] == plan.pixels - progress[0].done
    if format == "mbtiles":
        rows = [
            sqlite3.connect(path).execute("SELECT * FROM tiles ORDER BY 1, 2, 3").fetchall()
            for path in (output, tmp_path / "out.mbtiles")
        ]
        assert rows[0] == rows[1]
    else:
        assert output.read_bytes() == whole


def test_stop_is_heeded_at_once(planet: Planet, tmp_path: Path) -> None:
    plan = plan_of(planet, *WORLD, zoom=4)
    export = Export(plan, tmp_path / "work", planet.read)
    seen: list[Progress] = []

    def report(progress: Progress) -> None:
        seen.append(progress)
        if progress.done:
            export.stop()

    with pytest.raises(ExportStoppedError):
        export.run(tmp_path / "out", report)
    assert seen[-1].done < plan.pixels / 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 3 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], check=False, capture_output=True)
    if made.returncode:
        pytest.skip(f"no small file system can be mounted: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("format", ["cog", "mbtiles", "pmtiles"])
def test_a_disk_that_fills_is_named(planet: Planet, small_disk: Path, format: str) -> None:
    plan = plan_of(planet, *WORLD, format=format, zoom=4)
    with pytest.raises(DiskFullError, match="free some space"):
        Export(plan, small_disk / "work", planet.read).run(small_disk / "out", lambda _: None)
    assert not (small_disk / "out").exists()


def test_room_is_checked_before_the_start(tmp_path: Path) -> None:
    check_room(tmp_path / "not" / "yet", 1)
    with pytest.raises(DiskFullError, match="needs about"):
        check_room(tmp_path, 1 << 60)

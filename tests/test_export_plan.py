"""From a request to the pixels of an export: boxes, zooms, formats, and a sentence for whatever cannot be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import mercantile
import numpy as np
import pytest
from pmtiles.tile import zxy_to_tileid

from server.export_errors import ExportRequestError, ExportTooLargeError
from server.export_estimate import Rates, evaluations
from server.export_pieces import SIDE, cog_tiles, halve, pieces_of
from server.export_plan import ExportPlan, make_plan


def plan(*bbox: float, format: str = "cog", **asked: Any) -> ExportPlan:
    return make_plan(bbox, format=format, planet="planet", attribution="synthetic", **asked)


def test_a_box_becomes_the_whole_pixels_that_it_touches() -> None:
    whole = plan(-180, -90, 180, 90, zoom=2)
    assert (whole.x, whole.y, whole.width, whole.height) == (0, 0, 1024, 1024)
    exact = plan(0, 0, 90, 66.51326044311186, zoom=1)
    assert (exact.x, exact.y, exact.width, exact.height) == (256, 128, 128, 128)
    tiny = plan(10, 50, 10.0000001, 50.0000001, zoom=0)
    assert (tiny.width, tiny.height) == (1, 1)
    some = plan(10.01, 45.01, 11.02, 46.03, zoom=9)
    west, south, east, north = some.bounds
    pixel = 360 / (256 << 9)
    assert 10.01 - pixel < west <= 10.01 < 11.02 <= east < 11.02 + pixel
    assert 45.01 - pixel < south <= 45.01 < 46.03 <= north < 46.03 + pixel


def test_boxes_cross_the_antimeridian_either_way() -> None:
    turned, unwrapped = plan(170, -10, -170, 10, zoom=4), plan(170, -10, 190, 10, zoom=4)
    assert turned == unwrapped
    assert turned.x < 4096 < turned.x + turned.width
    assert turned.bounds[2] > 180


def test_boxes_of_other_systems() -> None:
    half = 20037508.342789244
    assert plan(0, 0, half, half, zoom=3, bbox_crs="EPSG:3857") == plan(0, 0, 180, 90, zoom=3)
    assert plan(-half, -half, half, half, zoom=1, bbox_crs="EPSG:3857").width == 512
    utm = plan(500_000, 5_000_000, 600_000, 5_100_000, zoom=8, bbox_crs="EPSG:32632")
    west, south, east, north = utm.bounds
    assert west == pytest.approx(9, abs=0.01)
    assert east == pytest.approx(10.3, abs=0.05)
    assert south == pytest.approx(45.15, abs=0.02)
    assert north == pytest.approx(46.05, abs=0.02)


def test_tiles_are_those_of_mercantile() -> None:
    for box in ((5.5, 44.2, 17.3, 51.9), (-180, -85, 180, 85), (-70.1, -50.3, 3.2, 8.4)):
        archive = plan(*box, format="mbtiles", minzoom=1, maxzoom=6)
        peer = {(tile.z, tile.x, tile.y) for tile in mercantile.tiles(*box, range(1, 7))}
        ours = set()
        for piece in pieces_of(archive):
            for row in range(piece.height // 256):
                for column in range(piece.width // 256):
                    ours.add((piece.zoom, piece.column + column, piece.row + row))
        assert peer <= ours  # whole pixels may touch one tile more than the box itself
        assert archive.tiles == len(ours) <= len(peer) * 1.3


@pytest.mark.parametrize("box", [(160, -70, -60, 60), (-180, -85, 180, 85), (-1, -1, 1, 1)], ids=str)
def test_pieces_of_archives_are_in_hilbert_order_and_hold_each_tile_once(box: tuple[float, ...]) -> None:
    archive = plan(*box, format="pmtiles", minzoom=0, maxzoom=6)
    last, seen = -1, 0
    for piece in pieces_of(archive):
        assert max(piece.width, piece.height) <= SIDE
        ids = [
            zxy_to_tileid(piece.zoom, piece.column + column, piece.row + row)
            for row in range(piece.height // 256)
            for column in range(piece.width // 256)
        ]
        assert min(ids) > last
        last, seen = max(ids), seen + len(set(ids))
    assert seen == archive.tiles


def test_pieces_of_a_cog_cover_it() -> None:
    cog = plan(-180, -80, 180, 80, zoom=5)
    pieces = pieces_of(cog)
    assert sum(piece.pixels for piece in pieces) == cog.pixels == cog.width * cog.height
    assert cog.tiles == math.ceil(cog.width / 512) * math.ceil(cog.height / 512)


def test_halves_are_box_means() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    half = halve(pixels)
    assert half.shape == (3, 4, 3)
    exact = pixels[:4].astype(float).reshape(2, 2, 4, 2, 3).mean((1, 3))
    assert np.abs(half[:2] - exact).max() <= 0.5
    (tile,) = cog_tiles(pixels)
    assert tile[2].shape == (512, 512, 3)
    assert np.array_equal(tile[2][:5, :8], pixels)


def test_a_resolution_takes_the_zoom_that_is_as_fine() -> None:
    assert plan(0, -1, 1, 1, resolution=156543.04).maxzoom == 0
    assert plan(0, -1, 1, 1, resolution=10).maxzoom == 14
    assert plan(0, 59, 1, 61, resolution=10).maxzoom == 13
    assert plan(0, -1, 1, 1, resolution=1e9).maxzoom == 0


@pytest.mark.parametrize(
    ("box", "asked", "said"),
    [
        ((0, 0, 1), {"zoom": 1}, "four"),
        ((0, 0, 1, math.nan), {"zoom": 1}, "finite"),
        ((0, 0, math.inf, 1), {"zoom": 1}, "finite"),
        ((0, 10, 10, 0), {"zoom": 1}, "inverted"),
        ((0, 0, 0, 10), {"zoom": 1}, "empty"),
        ((0, 0, 500, 10), {"zoom": 1}, "outside of the world"),
        ((0, -100, 10, 10), {"zoom": 1}, "outside of the world"),
        ((0, 86, 10, 89), {"zoom": 1}, "Mercator ends"),
        ((0, 0, 1, 1), {"zoom": 1, "bbox_crs": "EPSG:999999"}, "bbox_crs"),
        ((0, 0, 1, 1), {"zoom": 1, "bbox_crs": "nonsense"}, "bbox_crs"),
        ((0, 0, 1, 1), {"zoom": 1, "bbox_crs": "EPSG:5773"}, "bbox_crs"),
        ((10, 0, 1, 1), {"zoom": 1, "bbox_crs": "EPSG:3857"}, "inverted"),
        ((9e9, 0, 9.1e9, 1), {"zoom": 1, "bbox_crs": "EPSG:3857"}, "outside of the world"),
        ((4e9, 5e6, 5e9, 5.1e6), {"zoom": 1, "bbox_crs": "EPSG:32632"}, "32632"),
        ((0, 0, 1, 1), {}, "exactly one"),
        ((0, 0, 1, 1), {"zoom": 1, "resolution": 10}, "exactly one"),
        ((0, 0, 1, 1), {"zoom": 21}, "0 to 20"),
        ((0, 0, 1, 1), {"zoom": -1}, "0 to 20"),
        ((0, 0, 1, 1), {"zoom": 3, "minzoom": 1}, "minzoom"),
        ((0, 0, 1, 1), {"maxzoom": 3, "minzoom": 1}, "COG"),
        ((0, 0, 1, 1), {"maxzoom": 3, "minzoom": 4, "format": "mbtiles"}, "above"),
        ((0, 0, 1, 1), {"resolution": 0}, "positive"),
        ((0, 0, 1, 1), {"resolution": math.inf}, "positive"),
        ((0, 0, 1, 1), {"resolution": 0.001}, "finer than zoom 20"),
        ((0, 0, 1, 1), {"zoom": 1, "format": "gif"}, "pmtiles"),
        ((0, 0, 1, 1), {"zoom": 1, "tile_format": "bmp"}, "webp"),
        ((0, 0, 1, 1), {"zoom": 1, "quality": 50}, "lossless"),
        ((0, 0, 1, 1), {"zoom": 1, "tile_format": "jpg", "quality": 0}, "1 to 95"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said_in_a_sentence(box: tuple[float, ...], asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ExportRequestError, match=said):
        plan(*box, **asked)


def test_more_than_4_gigapixels_are_refused() -> None:
    plan(-180, -90, 180, 90, zoom=8)  # exactly 65536 x 65536
    with pytest.raises(ExportTooLargeError, match="lower zoom"):
        plan(-180, -90, 180, 90, zoom=9)


def test_blocks_to_be_generated() -> None:
    assert evaluations(plan(0, 0, 1, 1, zoom=4), 4) == 0
    large = plan(0, 0, 90, 60, zoom=8)
    own, parents = large.pixels / 128**2, large.pixels / 16 / 128**2
    assert own + parents < evaluations(large, 4) < 1.15 * (own + parents)


def test_windows_are_what_a_second_renders(tmp_path: Path) -> None:
    def side(zoom: int, seconds: float) -> int:
        path = tmp_path / "rates.json"
        path.write_text(json.dumps({"planet": "p", "block": seconds, "pixel": 1e-8, "weight": {}}))
        return Rates(path, "p").side(zoom, 4)

    assert (side(4, 9.0), side(6, 9.0), side(7, 9.0)) == (1024, 128, 64)
    assert (side(6, 0.24), side(7, 0.24)) == (256, 128)
    assert (side(6, 0.002), side(6, 1e-9)) == (2048, 2048)
    assert Rates(None, "p").side(6, 4) == 128

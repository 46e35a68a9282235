"""Evaluation: held out by image and region, chains that are tied to their parents, a report for people and programs, sheets."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.denoiser import Denoiser
from model.engine import Engine
from model.planet import open_planet
from model.precision import choose_compute
from model.training import heldout, measures, parts
from model.training.chains import chain, one_stage
from model.training.evaluate import PARTS, EvaluateConfig, evaluate
from model.training.features import load_features, train_features
from model.training.features import main as features_main
from model.training.heldout import SIDE, WIDE, Crop, box_mean, enlarged, held_out_pictures, references, region_of
from model.training.homes import home_of, place_for, zoom_like
from model.training.imagery import ImageryError, Picture, holdout_names
from model.training.places import Place, descend, fixed_places, places_by_land
from model.training.report import Report
from model.weights import save_weights
from tests.test_training import DEVICE, TINY

LEFT_OUT = {"quebec-scene", "kanto-japan", "eastcape-nz", "san-francisco-bay", "nd-prairie-potholes"}
"""Regions that are trained on as well, so that their held-out images are not used."""
HELD_OUT = [("fine/naip_1.0m_az-farmland-330_2.jpg", 10.0, 512), ("medium/landsat8_30m_lencois-brazil_1.jpg", 40.0, 320)]


def write_imagery(folder: Path, more: tuple[str, ...] = (), colour: float = 1.0) -> Path:
    """Pictures under the names of two held-out ones (resolutions made up), and ``more`` that are trained on."""
    rng = np.random.default_rng(0)
    rows = [*HELD_OUT, *((name, 10.0, 256) for name in more)]
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "gsd_m", "width", "height", "cell_px", "source", "projection"])
        for name, gsd, side in rows:
            layers = [np.kron(rng.normal(0, 2.0**k, (side >> k, side >> k, 3)), np.ones((1 << k, 1 << k, 1))) for k in range(6)]
            (folder / name).parent.mkdir(exist_ok=True)
            drawn = np.sum(layers, 0)
            grey = drawn.mean(2, keepdims=True)
            drawn = 110 + grey + colour * (drawn - grey)
            Image.fromarray(np.clip(drawn, 0, 255).astype(np.uint8)).save(folder / name)
            writer.writerow([name, gsd, side, side, 0, "test", "local"])
    return folder


@pytest.fixture(scope="module")
def imagery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_imagery(tmp_path_factory.mktemp("imagery"))


def tiny_weights(path: Path, seed: int) -> Path:
    """A weights file of a network with little in it, that does a little at random."""
    torch.manual_seed(seed)
    denoiser = Denoiser(TINY)
    torch.nn.init.normal_(denoiser.leave.weight, std=0.3)
    save_weights(path, denoiser.state_dict(), TINY, {})
    return path


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("fine/naip_5.0m_nd-prairie-potholes-20160816_3.jpg", "fine/naip_5.0m_nd-prairie-potholes-20120731_1.jpg", True),
        ("medium/landsat9_31m_kanto-japan_10.jpg", "medium/landsat8_31m_kanto-japan_1.jpg", True),
        ("fine/planetscope_3.0m_sf-bayview_4.jpg", "fine/planetscope_3.0m_sfo-airport_5.jpg", True),
        ("fine/naip_1.0m_az-desert-302_1.jpg", "fine/naip_1.0m_az-desert-349_3.jpg", False),
        ("medium/sentinel2_10m_eurosat-cells64_17.jpg", "medium/sentinel2_10m_eurosat-cells64_1.jpg", False),
        (
            "coarse/z8_land/bmng200408_z8_x044_y096_lat+38.8_lon-115.3_476m.jpg",
            "coarse/z8_land/bmng200408_z8_x044_y088.jpg",
            False,
        ),
        ("sheet.png#3", "sheet.png#4", True),
    ],
)
def test_regions_are_told_by_name(one: str, other: str, same: bool) -> None:
    assert (region_of(one) == region_of(other)) is same


def test_a_region_that_is_trained_on_is_not_measured_on(tmp_path: Path) -> None:
    """Another picture of the same place among the trained ones takes a held-out one away."""
    folder = write_imagery(tmp_path, more=("medium/landsat9_30m_lencois-brazil_2.jpg",))
    kept, left_out = held_out_pictures(folder)
    assert {picture.name for picture in kept} == {HELD_OUT[0][0]} <= holdout_names()
    assert left_out == [HELD_OUT[1][0]]
    folder = write_imagery(tmp_path, more=("a/landsat9_30m_lencois-brazil_2.jpg", "a/naip_2m_az-farmland-330_1.jpg"))
    with pytest.raises(ImageryError, match="region"):
        held_out_pictures(folder)


def test_references_are_dealt_evenly_and_repeat(imagery: Path) -> None:
    pictures, _ = held_out_pictures(imagery)
    found = references(pictures, 4, seed=0)
    assert [reference.resolution for reference in found] == [38.0, 9.6]
    assert all(0.55 < crop.gsd / r.resolution < 1.8 for r in found for crop in r.crops)
    for first, again in zip(found, references(pictures, 4, seed=0), strict=True):
        assert np.array_equal(first.real, again.real)
    assert not np.array_equal(found[1].real, references(pictures, 4, seed=1)[1].real)


def test_chains_are_tied_to_their_real_parents(tmp_path: Path) -> None:
    """Without a network a chain of one stage is bicubic where there is no coast, and grey has none; any chain averages to its
    real parent, but for rounding."""
    compute = choose_compute(DEVICE)
    crop = references(held_out_pictures(write_imagery(tmp_path, colour=0.0))[0], 4, seed=0)[1].crops[0]
    silent = Engine(Denoiser(TINY), compute, 0, 1)
    expected = enlarged(crop.wide)[64:-64, 64:-64]
    assert np.abs(one_stage(silent, [crop])[0].astype(int) - expected).max() <= 1
    assert np.abs(chain(silent, crop, 1).astype(int) - expected).max() <= 1
    torch.manual_seed(1)
    lively = Denoiser(TINY)
    torch.nn.init.normal_(lively.leave.weight, std=0.3)
    for depth in (1, 2, 3):
        made = chain(Engine(lively, compute, 0, 1), crop, depth)
        assert made.shape == (SIDE, SIDE, 3)
        difference = box_mean(made, 4**depth).astype(int) - box_mean(crop.inner, 4**depth)
        assert np.abs(difference).max() <= depth + 1
        assert not np.array_equal(made, chain(silent, crop, depth))


def test_everything_is_measured_and_two_files_stand_side_by_side(
    imagery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All parts with networks that cost nothing; the tables hold every measure, JSON is JSON, every sheet is drawn."""
    # What M2 sorts is most of the time here, and nothing below depends on how well it is sampled.
    monkeypatch.setattr(measures, "PATCHES", 256)
    monkeypatch.setattr(heldout, "OTHERS", 8)
    monkeypatch.setattr(parts, "OTHERS", 8)
    out = tmp_path / "out"
    weights = [tiny_weights(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate(("a", "b"))]
    calls: list[tuple[int, int]] = []
    one = EvaluateConfig(imagery, weights[0], out, quick=True, steps=(1,), world_steps=1, crops=2, device=DEVICE)
    report = evaluate(one, lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1] == len(calls) - 1
    text = (out / "evaluation.md").read_text()
    assert text == report.markdown()
    for measure in (
        "M1 spectrum dB",
        "M2 patches",
        "M3 kurtosis",
        "M4 features KID",
        "M5 jump z",
        "M5 E",
        "M6",
        "M7",
        "M8",
        "M9",
    ):
        assert measure in text
    tables = json.loads((out / "evaluation.json").read_text(), parse_constant=pytest.fail)["tables"]
    drift = tables["Drift"]["rows"]["9.6 m"]["contrast"]
    assert set(drift) == {"new 1 stage", "new 2 stages", "new 3 stages", "new from base"}
    assert all(math.isfinite(value) and value > 0 for value in drift.values())
    figures = tables["Seams, determinism, cost"]["rows"]
    assert figures["M5 E, grey levels"]["five places"]["new"] == 0
    assert figures["M8 hashes"]["five places"]["new"] == 1
    assert 0 < figures["M9 share of convolution floor"].popitem()[1]["new"] < 1.5
    assert all(level["M6 PSNR dB"]["new"] > 45 for level in tables["Cross-zoom"]["rows"].values())
    for name in ("stages", "drift", "strips_new", "guidance_new", "checks"):
        with Image.open(out / f"{name}.png") as sheet:
            assert sheet.width > 3 * 128 and sheet.height > 128
    with Image.open(out / "strips_new.png") as strips:
        assert strips.width > 9 * 128 and strips.height > 12 * 128
    both = EvaluateConfig(imagery, weights[0], out, weights[1], True, (1,), 1, 2, ("stages",), device=DEVICE)
    cells = evaluate(both).table("One stage", "", ()).cells["9.6 m", "M2 patches"]
    assert set(cells) == {"floor", "ceiling", "new 1", "old 1"} and cells["new 1"] != cells["old 1"]


def test_the_parts_are_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text()
    assert all(f"`{part}`" in text for part in PARTS)


def test_places_are_where_their_land_type_is() -> None:
    planet = open_planet(steps=1, device=DEVICE)
    fixed = {place.name: place for place in fixed_places(planet)}
    assert len(fixed) == 12
    assert fixed["Sahara"].land == "bare" and fixed["Amazon"].land == "forest" and fixed["Open Pacific"].land == "water"
    chosen = places_by_land(planet, 2)
    assert chosen == places_by_land(planet, 2) and all(abs(place.lat) <= 50 for place in chosen)
    assert {"water", "forest", "bare"} <= {place.land for place in chosen}
    read = descend(planet, fixed["Sahara"], (2, 4))
    assert read.blocks[4].shape == (128, 128, 3) and read.parents == {}


def test_tables_say_what_they_hold(tmp_path: Path) -> None:
    report = Report({"new": "a file"})
    table = report.table("Title", "A note.", ("resolution", "measure"))
    for resolution, value in (("1 m", 1.0), ("4 m", 2.0), ("16 m", math.nan)):
        table.put_all((resolution,), "new 1", {"M1": value, "M3 error": 2 * value + 1})
    table.add_means("mean")
    assert table.cells["mean", "M1"]["new 1"] == 1.5
    assert table.cells["mean", "M3 error"]["new 1"] == pytest.approx(math.hypot(3, 5) / 2)  # of independent errors
    assert "| 16 m | M1 | - |" in report.markdown()
    report.table("Empty", "", ("x",))
    report.write(tmp_path)
    data = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert data["tables"]["Title"]["rows"]["16 m"]["M1"]["new 1"] is None and "Empty" not in data["tables"]


def test_the_feature_network_trains(imagery: Path, tmp_path: Path) -> None:
    folder = write_imagery(tmp_path, more=("a.png",))
    right = train_features(folder, tmp_path / "features.safetensors", steps=2, batch=4)
    assert set(right) == {"resolution", "rotation", "land type"} and all(0 <= share <= 1 for share in right.values())
    path = tmp_path / "features.safetensors"
    assert path.stat().st_size < 1_000_000
    scale = load_features(path).scale.clone()
    assert (scale > 0).all() and not (scale == 1).any()
    features_main(["--imagery", str(folder), "--out", str(path), "--scale-only"])
    load_features.cache_clear()
    assert not torch.equal(load_features(path).scale, scale)  # of 2,000 patches, not of 16


def a_crop(name: str, gsd: float, size: tuple[int, int], top: int, left: int) -> Crop:
    picture = Picture(name, "test", "local", gsd, torch.zeros(3, *size, dtype=torch.uint8))
    return Crop(np.zeros((WIDE, WIDE, 3), np.uint8), picture, 1, top, left, gsd, "fields")


def test_held_out_pictures_are_found_on_the_planet() -> None:
    half = WIDE // 2
    marble = "coarse/z8_land/bmng200408_z8_x060_y092_lat+43.1_lon-092.8_447m.jpg"
    middle = home_of(a_crop(marble, 447.0, (1024, 1024), 512 - half, 512 - half))
    assert middle is not None and (middle.lat, middle.lon) == pytest.approx((43.1, -92.8), abs=0.06)
    lower = home_of(a_crop(marble, 447.0, (1024, 1024), 612 - half, 512 - half))
    assert lower is not None and (middle.lat - lower.lat) * 111_195 == pytest.approx(100 * 447, rel=0.01)
    town = home_of(a_crop("medium/landsat8_30m_liverpool-uk_1.jpg", 30.0, (1000, 1000), 500 - half, 800 - half))
    assert town is not None and town.lat == pytest.approx(53.4) and (town.lon + 3.0) * 66_300 == pytest.approx(9000, rel=0.01)
    assert home_of(a_crop("mine/photograph_1.jpg", 30.0, (1000, 1000), 0, 0)) is None


def test_pictures_of_unknown_places_take_turns_at_places_of_their_land() -> None:
    places = [Place(name, 0.0, 0.0, land) for name, land in (("a", "bare"), ("b", "fields"), ("c", "fields"))]
    crop = a_crop("mine/photograph_1.jpg", 30.0, (1000, 1000), 0, 0)
    for land, names in (("fields", "bcb"), ("urban", "bcb"), ("bare", "aaa"), ("snow", "abc")):
        assert "".join(place_for(replace(crop, land=land), places, turn).name for turn in range(3)) == names
    known = a_crop("medium/landsat8_30m_liverpool-uk_1.jpg", 30.0, (1000, 1000), 0, 0)
    assert place_for(known, places, 0) == home_of(known)


@pytest.mark.parametrize(("lat", "gsd", "zoom"), [(0.0, 611.5, 8), (60.0, 611.5, 7), (60.0, 38.2, 11), (0.0, 0.6, 18)])
def test_pictures_stand_beside_the_zoom_of_their_resolution(lat: float, gsd: float, zoom: int) -> None:
    assert zoom_like(a_crop("x", gsd, (999, 999), 0, 0), Place("x", 10.0, lat, "fields")) == zoom


def test_every_held_out_image_that_is_used_has_a_home() -> None:
    """Whole images of one place; sheets of unrelated cells have none."""
    for name in holdout_names():
        if "cells" not in name and region_of(name) not in LEFT_OUT:
            assert home_of(a_crop(name, 10.0, (999, 999), 0, 0)) is not None, name

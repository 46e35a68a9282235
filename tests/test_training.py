"""Training: imagery folder in, weights file out, resumable; evaluation orders real, generated and bicubic."""

from __future__ import annotations

import csv
import json
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model import WeightsError, open_planet
from model.denoiser import Denoiser, DenoiserConfig
from model.training.imagery import COARSE, CropSampler, ImageryError, _window, holdout_names, load_pictures
from model.training.loss import draw_levels, draw_times
from model.training.train import train
from model.training.train_config import TrainConfig
from model.weights import DEFAULT_WEIGHTS, load_weights, save_weights

DEVICE = os.environ.get("TEST_DEVICE", "cpu")

TINY = DenoiserConfig(quarter=8, eighth=8, half=8, before=1, middle=1, after=1, head=1, embedding=8)
"""A network that costs nothing."""

HEADER = ["file", "gsd_m", "width", "height", "cell_px", "source", "projection"]


def write_imagery(folder: Path) -> Path:
    """A small imagery folder: two contiguous pictures and a sheet of cells, of fractal noise."""
    rng = np.random.default_rng(0)
    rows = [("a.png", 10.0, 320, 0, "one"), ("b.png", 160.0, 256, 0, "two"), ("sheet.png", 0.3, 192, 64, "three")]
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for name, gsd, side, cell, source in rows:
            picture = sum(
                np.kron(rng.normal(0, 2.0**k, (side >> k, side >> k, 3)), np.ones((1 << k, 1 << k, 1))) for k in range(5)
            )
            Image.fromarray(np.clip(picture * 1.5 + 110, 0, 255).astype(np.uint8)).save(folder / name)
            writer.writerow([name, gsd, side, side, cell, source, "local"])
    return folder


def test_the_manifest_is_read_and_cells_are_never_crossed(tmp_path: Path) -> None:
    pictures = load_pictures(write_imagery(tmp_path))
    assert sorted({p.pixels.shape[1:] for p in pictures}) == [(64, 64), (256, 256), (320, 320)]
    assert sum("sheet" in p.name for p in pictures) == 9


def test_crops_are_balanced_over_bands_and_tell_their_resolution(tmp_path: Path) -> None:
    sampler = CropSampler(load_pictures(write_imagery(tmp_path)), 64)
    rng = random.Random(0)
    crops = [sampler.crop(rng) for _ in range(200)]
    bands = {band for _, _, band, _ in crops}
    assert bands.issuperset({-2, 3, 4, 5, 7, 8, 9})
    assert {whole for _, _, _, whole in crops} == {True, False}
    for crop, log2_gsd, band, _ in crops:
        assert crop.shape == (3, 64, 64) and abs(log2_gsd - band) <= 0.5
    finest = sum(band == -2 for _, _, band, _ in crops)
    assert 5 <= finest <= 80


def test_thin_bands_borrow_and_thick_ones_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = CropSampler(load_pictures(write_imagery(tmp_path)), 64)
    rng = random.Random(0)
    lenders = [sampler._lender(7, rng) for _ in range(400)]
    assert set(lenders) == {5, 6, 7, 8, 9} and 0.4 < np.mean([lender != 7 for lender in lenders]) < 0.8
    monkeypatch.setattr("model.training.imagery.THIN", 0.01)
    assert {sampler._lender(7, rng) for _ in range(100)} == {7}


def test_small_images_are_mirrored_until_they_fill_a_crop(tmp_path: Path) -> None:
    pictures = [p for p in load_pictures(write_imagery(tmp_path)) if "sheet" in p.name]
    sampler, rng = CropSampler(pictures, 160), random.Random(0)
    crops = [sampler.crop(rng) for _ in range(20)]
    assert all(image.shape == (3, 160, 160) and not whole for image, _, _, whole in crops)
    with pytest.raises(ImageryError, match="65 px"):
        CropSampler(pictures, 195)
    cell = pictures[0].pixels
    window = _window(cell, -30, 10, 100)
    assert torch.equal(window[:, 30:94, :54], cell[:, :, 10:])
    assert torch.equal(window[:, :30], window[:, 30:60].flip(1))
    assert torch.equal(window[:, :, 54:100], window[:, :, 8:54].flip(2))


def test_an_equirectangular_image_ends_at_60_degrees_and_tells_its_resolution_by_row(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (240, 480, 3)).astype(np.uint8)).save(tmp_path / "world.png")
    (tmp_path / "manifest.csv").write_text(",".join(HEADER) + "\nworld.png,8000,480,240,0,s,equirectangular\n")
    (picture,) = load_pictures(tmp_path)
    assert picture.pixels.shape == (3, 160, 480)
    found = [picture.ground_resolution(row) for row in (-50, 0, 40, 80, 160, 200)]  # windows of mirrored pixels reach beyond
    assert found == pytest.approx([8000 * math.cos(math.radians(lat)) ** 0.5 for lat in (60, 60, 30, 0, 60, 60)])


def test_crops_of_one_place_differ_in_tint_and_contrast_but_the_blue_marble_keeps_its_tone() -> None:
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    rng = random.Random(0)
    for source, least in (("another", 0.05), (COARSE, 0.0)):
        made = [CropSampler._augment(image, source, rng) for _ in range(50)]
        contrast = torch.stack([crop.std((1, 2)) / image.std((1, 2)) for crop in made])
        tint = (contrast / contrast.mean(1, keepdim=True)).std(0)
        assert (tint > least).all() if least else (tint < 1e-3).all()
        assert 0.4 < contrast.min() < 0.8 < contrast.max() < 1.8


def test_held_out_images_are_named_and_left_out() -> None:
    names = holdout_names()
    assert len(names) >= 20 and all(name.endswith(".jpg") for name in names)


@pytest.mark.parametrize(
    "text", [None, "file,gsd_m\nx.png,abc\n", ",".join(HEADER) + "\nx.png\n", ",".join(HEADER) + "\nno.png,1,9,9,0,s,local\n"]
)
def test_unusable_imagery_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(ImageryError):
        load_pictures(tmp_path)


def test_noise_levels_cover_their_range() -> None:
    generator = torch.Generator().manual_seed(0)
    t, level = draw_times(4000, generator), draw_levels(4000, generator)
    assert t[0] == 1 and t.min() > 0 and t.max() <= 1 and 0.5 < t.mean() < 0.65
    assert level.min() == 0 and 0.14 < level.max() <= 0.15 and 0.2 < (level == 0).float().mean() < 0.3


def test_training_learns_resumes_and_ships_weights(tmp_path: Path) -> None:
    imagery, out = write_imagery(tmp_path), tmp_path / "run"
    options = {"batch": 1, "crop": 64, "learning_rate": 1e-3, "device": DEVICE, "log_every": 2, "checkpoint_every": 2}
    path = train(TrainConfig(imagery, out, steps=4, **options))  # type: ignore[arg-type]
    before = load_weights(path)
    assert "4 steps" in before.metadata["recipe"]
    train(TrainConfig(imagery, out, steps=8, **options))  # type: ignore[arg-type]
    after = load_weights(path)
    assert "8 steps" in after.metadata["recipe"] and after.digest != before.digest
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log] == [2, 4, 6, 8]
    assert all(math.isfinite(record["loss"]) for record in log)
    assert any(name.startswith("t ") for name in log[-1]["unexplained"])
    assert any(name.endswith(" m") for name in log[-1]["unexplained"])
    # The file serves a planet.
    window = (6, 8000, 6000, 16, 16)
    made = open_planet("earth", steps=1, weights=path, device=DEVICE).read(*window)
    assert made.shape == (16, 16, 3)


def test_broken_weights_are_refused_with_one_sentence(tmp_path: Path) -> None:
    good = DEFAULT_WEIGHTS.read_bytes()
    broken = tmp_path / "broken.safetensors"
    for content in (b"", b"not weights", good[:100_000], good[:-7]):
        broken.write_bytes(content)
        with pytest.raises(WeightsError) as caught:
            load_weights(broken)
        assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    with pytest.raises(WeightsError, match="does not exist"):
        load_weights(tmp_path / "none.safetensors")
    save_weights(
        broken, Denoiser(DenoiserConfig(quarter=16, eighth=16, half=8, embedding=16)).state_dict(), DenoiserConfig(), {}
    )
    with pytest.raises(WeightsError, match="does not fit"):
        load_weights(broken)
    state = Denoiser(DenoiserConfig()).state_dict()
    state["leave.bias"][0] = math.nan
    save_weights(broken, state, DenoiserConfig(), {})
    with pytest.raises(WeightsError, match="not finite"):
        load_weights(broken)


def test_the_shipped_weights_are_small_and_say_where_they_come_from() -> None:
    weights = load_weights()
    assert weights.path.stat().st_size <= 32_000_000
    assert weights.metadata["license"] == "CC-BY-SA-4.0" and "recipe" in weights.metadata and "commit" in weights.metadata
    assert (DEFAULT_WEIGHTS.parent / "README.md").is_file()

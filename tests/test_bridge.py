"""The Blue Marble's contrast beside finer imagery: calm land is raised by octave; water, strong detail and the base are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.training import bridge
from model.training.bridge import GAINS, OCTAVES, bridge_contrast

LAND, WATER = (70, 90, 60), (40, 80, 140)


def picture(deviation: float, colour: tuple[int, int, int] = LAND, block: int = 1, height: int = 256) -> NDArray[np.uint8]:
    """Noise in squares of ``block`` px around a colour, [height, 256, 3]."""
    noise = np.random.default_rng(1).normal(0, deviation, (height // block, 256 // block)).repeat(block, 0).repeat(block, 1)
    return np.asarray(np.clip(np.round(noise[..., None] + np.array(colour)), 0, 255), np.uint8)


def raised_by(pixels: NDArray[Any], gsd: float) -> float:
    """Share of the standard deviation after and before."""
    return float(bridge_contrast(pixels, gsd)[..., 1].std() / pixels[..., 1].std())


def test_calm_land_is_raised_the_most_in_its_finest_octave() -> None:
    fine, medium, coarse = (raised_by(picture(4, block=block), 512) for block in (1, 4, 16))
    assert 1.7 < fine < GAINS[0]
    assert fine > medium + 0.1 > coarse + 0.2 > 1.2


def test_what_is_strong_faint_or_water_stays() -> None:
    calm = raised_by(picture(4), 512)
    assert raised_by(picture(40), 512) < 1.15 < calm
    assert raised_by(picture(0.5), 512) < calm
    assert raised_by(picture(4, WATER), 512) == pytest.approx(1, abs=0.06)


def test_the_planets_base_and_colours_stay() -> None:
    pixels = picture(4)
    assert np.array_equal(bridge_contrast(pixels, 2.0 ** OCTAVES[-1]), pixels)
    raised = bridge_contrast(pixels, 512).astype(float)
    assert np.abs(raised.mean((0, 1)) - pixels.mean((0, 1))).max() < 0.2
    differences = raised - raised.mean(-1, keepdims=True)
    assert np.abs(differences - np.subtract(LAND, np.mean(LAND))).max() <= 1


def test_strips_of_a_tall_picture_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    tall = picture(6, height=640)[:613]  # no multiple of a strip, nor of the pyramid's
    whole = bridge_contrast(tall, 4892)
    monkeypatch.setattr(bridge, "_ROWS", 128)
    strips = bridge_contrast(tall, 4892)
    assert strips.shape == tall.shape
    assert np.abs(strips.astype(int) - whole).max() <= 1

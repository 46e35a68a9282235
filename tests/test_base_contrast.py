"""The base picture's contrast: faint detail of land is raised; water, strong detail, means and colours are not touched."""

from __future__ import annotations

import numpy as np
import pytest

from model.base_contrast import GAINS, MARGIN, Picture, raise_contrast

LAND, WATER = (70, 90, 60), (40, 80, 140)


def picture(deviation: float, colour: tuple[int, int, int] = LAND, block: int = 1) -> Picture:
    """Noise in squares of ``block`` px around a colour, [128, 256, 3]."""
    noise = np.random.default_rng(1).normal(0, deviation, (128 // block, 256 // block)).repeat(block, 0).repeat(block, 1)
    return np.asarray(noise[..., None] + np.array(colour), np.float32)


def raised_by(pixels: Picture) -> float:
    """Share of the standard deviation after and before."""
    return float(raise_contrast(pixels)[..., 1].std() / pixels[..., 1].std())


def test_the_finest_octave_is_raised_the_most() -> None:
    fine, medium, coarse = (raised_by(picture(4, block=block)) for block in (1, 4, 16))
    assert 1.4 < fine < 1 + GAINS[0]
    assert fine > medium + 0.1 > coarse + 0.15 > 1.1


def test_what_is_strong_faint_or_water_stays() -> None:
    calm = raised_by(picture(4))
    assert raised_by(picture(40)) < 1.15 < calm
    assert raised_by(picture(0.3)) < 1.15
    assert raised_by(picture(4, WATER)) == pytest.approx(1, abs=1e-3)


def test_means_and_colours_stay() -> None:
    pixels = picture(4)
    raised = raise_contrast(pixels)
    assert np.abs(raised.mean((0, 1)) - pixels.mean((0, 1))).max() < 0.1
    differences = raised - raised.mean(-1, keepdims=True)
    assert np.abs(differences - np.subtract(LAND, np.mean(LAND))).max() < 0.01


def test_the_globe_is_round_and_its_rows_may_come_in_parts() -> None:
    pixels = picture(4)
    whole = raise_contrast(pixels)
    assert np.array_equal(np.roll(raise_contrast(np.roll(pixels, 100, 1)), -100, 1), whole)
    part = raise_contrast(pixels[32 - MARGIN : 64 + MARGIN])
    assert np.array_equal(part[MARGIN:-MARGIN], whole[32:64])

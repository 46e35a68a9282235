"""The measures order pictures as they must: other real ones near 0, bicubic 1, and every kind of spoilt picture is caught."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.training.features import FEATURES_FILE, features_of, seen_resolution
from model.training.heldout import WIDE, Crop, Reference
from model.training.imagery import Picture
from model.training.landtypes import TYPES, land_shares, land_type
from model.training.measures import (
    MEASURES,
    Pictures,
    colour_distance,
    colour_drift,
    contrast,
    describe,
    directedness,
    direction,
    kernel_distance,
    kurtosis_error,
    kurtosis_gap,
    log_kurtosis,
    log_spectral_distance,
    normalised,
    spread,
)
from model.training.selfcheck import caught_by, check_measures, spoilt
from model.training.variety import diversity


def leaves(seed: int, side: int = WIDE) -> np.ndarray:
    """A "dead leaves" picture uint8 [side, side, 3]: overlapping rectangles of all sizes, with the spectrum and the edges of
    natural pictures."""
    rng = np.random.default_rng(seed)
    picture = np.full((side, side, 3), 110.0)
    for size in (2 + 12 * rng.pareto(1.2, 1500)).clip(3, 48).astype(int):
        y, x = rng.integers(-size, side, 2)
        h, w = (max(1, int(size * rng.uniform(0.4, 1))) for _ in range(2))
        picture[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = rng.normal(110, 28) + rng.normal(0, 9, 3)
    return np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


def reference(first: int, crops: int = 6, others: int = 12) -> Reference:
    """A reference of synthetic pictures at 10 m."""
    made = []
    for seed in range(first, first + crops + others):
        pixels = leaves(seed)
        picture = Picture("a.png", "test", "local", 10.0, torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
        made.append(Crop(pixels, picture, 1, 0, 0, 10.0, land_type(pixels, 10.0)))
    return Reference(10.0, made[:crops], made[crops:] or made)


@pytest.fixture(scope="module")
def real() -> Reference:
    return reference(0)


@pytest.fixture(scope="module")
def scores(real: Reference) -> dict[str, dict[str, float]]:
    return check_measures(real, reference(100, others=0).real)


def test_other_real_pictures_are_near_0_and_bicubic_is_1(scores: dict[str, dict[str, float]]) -> None:
    for name in MEASURES:
        # Few pictures, whose colours M4 sees: other ones may happen to be nearer than those of the floor.
        assert -0.3 - ("M4" in name) < scores["other real"][name] < 0.3, name
        assert scores["bicubic"][name] == pytest.approx(1), name
    assert caught_by(scores["other real"]) == []
    assert scores["bicubic"]["contrast"] < 0.7


@pytest.mark.parametrize("name", ["bicubic", "noise", "phase-shuffled", "oversmoothed", "tinted"])
def test_spoilt_pictures_are_caught(scores: dict[str, dict[str, float]], name: str) -> None:
    assert caught_by(scores[name]), scores[name]


def test_each_measure_does_its_own_work(scores: dict[str, dict[str, float]]) -> None:
    """DESIGN section 7: shuffled phases fool M1 and are caught by M2 or M3; only colour sees a tint."""
    assert abs(scores["phase-shuffled"]["M1 spectrum dB"]) < 0.3
    assert {"M2 patches", "M3 kurtosis"} & set(caught_by(scores["phase-shuffled"]))
    assert "colour drift" in caught_by(scores["tinted"])
    assert abs(scores["tinted"]["M1 spectrum dB"]) < 0.1
    assert scores["noise"]["contrast"] == pytest.approx(1, abs=0.15)  # noise is caught with the right contrast, too


def test_measures_of_a_set_with_itself_are_0(real: Reference) -> None:
    same = describe(real.real)
    assert all(function(same, same) == pytest.approx(0, abs=1e-6) for name, function in MEASURES.items() if "M4" not in name)
    # The unbiased estimate of M4 may be below 0.
    assert kernel_distance(same, same) <= 0
    assert colour_distance(same, same) == 0 and contrast(real.real, real.real) == 1
    assert max(map(abs, colour_drift(real.real, real.real))) == 0


def test_m4_of_pictures_unlike_any_is_large_and_no_more() -> None:
    """Beside pictures that are all alike, features that hardly vary there must not rule."""

    def rough(size: float, seed: int) -> Pictures:
        values = np.array([20, 40, 75]) + np.random.default_rng(seed).normal(0, size, (6, 128, 128, 3))
        return np.clip(values, 0, 255).astype(np.uint8)

    sea, noise = describe(rough(1.5, 0)), describe(rough(60, 1))
    assert 5 < kernel_distance(noise, sea) < 1000


def test_direction_is_less_in_noise_and_indifferent_to_contrast(real: Reference, scores: dict[str, dict[str, float]]) -> None:
    half = ((real.real.astype(float) - 110) / 2 + 110).round().astype(np.uint8)
    assert direction(half, real.real) == pytest.approx(1, abs=0.2)
    assert scores["noise"]["direction"] < 0.8
    assert directedness(np.full_like(real.real, 90)) < 1e-5


def test_spread_is_more_where_texture_comes_in_clumps(real: Reference) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (4, 128, 128, 1))
    loudness = np.where(np.arange(128)[:, None] < 64, 20, 2)[..., None]
    even, clumped = (np.clip(110 + noise * factor, 0, 255).astype(np.uint8).repeat(3, -1) for factor in (10, loudness))
    assert spread(real.real, real.real) == 1 and spread(clumped, even) > 4


def test_spectral_distance_is_in_decibels(real: Reference) -> None:
    """Half the contrast is a quarter of the power: 6 dB."""
    half = ((real.real.astype(float) - 110) / 2 + 110).round().astype(np.uint8)
    assert log_spectral_distance(describe(half), describe(real.real)) == pytest.approx(6.02, abs=0.5)


def test_normalised_refuses_what_cannot_be_told() -> None:
    assert normalised(2, 1, 3) == 0.5
    assert math.isnan(normalised(2, 3, 3.1)) and math.isnan(normalised(2, 3, 1))


def test_diversity_is_1_for_samples_like_nature_and_0_for_a_mean() -> None:
    rng = np.random.default_rng(0)
    base = np.full((4, 64, 64, 3), 120.0)

    def draw(amplitude: float) -> Pictures:
        return np.asarray((base + rng.normal(0, amplitude, base.shape)).round(), np.uint8)

    nature = draw(10)
    assert diversity([draw(10), draw(10), draw(10)], nature) == pytest.approx(1, abs=0.05)
    assert diversity([base.astype(np.uint8)] * 2, nature) == 0
    assert diversity([draw(2), draw(2)], nature) < 0.4
    assert diversity([draw(30), draw(30)], nature) > 1.2


def test_features_are_small_and_tell_resolutions_apart() -> None:
    assert FEATURES_FILE.stat().st_size < 1_000_000
    picture = np.stack([leaves(seed, 128) for seed in range(3)])
    found = features_of(picture)
    assert found.shape == (3 * 4, 128) and torch.isfinite(found).all()
    assert -3 <= seen_resolution(picture) <= 13


@pytest.mark.parametrize(
    ("colour", "noise", "gsd", "expected"),
    [
        ((20, 40, 75), 1, 10.0, "water"),
        ((45, 62, 40), 5, 10.0, "forest"),
        ((120, 125, 80), 4, 10.0, "fields"),
        ((200, 165, 120), 4, 600.0, "bare"),
        ((238, 240, 245), 2, 600.0, "snow"),
        ((128, 126, 124), 45, 1.0, "urban"),
    ],
)
def test_land_types_by_colour_and_texture(colour: tuple[int, int, int], noise: float, gsd: float, expected: str) -> None:
    rng = np.random.default_rng(0)
    grey = rng.normal(0, noise, (64, 64, 1))
    picture = np.clip(np.array(colour) + grey, 0, 255).astype(np.uint8)
    assert land_type(picture, gsd) == expected
    shares = land_shares(picture, gsd)
    assert set(shares) == set(TYPES) and sum(shares.values()) == pytest.approx(1)


def test_spoilt_pictures_are_what_they_are_called(real: Reference) -> None:
    sets = spoilt(real.real, real.bicubic)
    drift = colour_drift(sets["tinted"], real.real)
    assert drift[0] > 6 and drift[2] < -5
    assert contrast(sets["oversmoothed"], real.real) < 0.95
    began = time.perf_counter()
    spoilt(real.real, real.bicubic)
    assert time.perf_counter() - began < 20


def test_the_error_of_m3_is_how_far_it_goes_with_the_places() -> None:
    rng = np.random.default_rng(0)

    def places(count: int, sparsity: float) -> Pictures:
        """Noise in some places only, in how many differs from picture to picture."""
        where = rng.random((count, 64, 64, 1)) < rng.uniform(0.05, 1, (count, 1, 1, 1)) * sparsity
        return np.clip(110 + 15 * where * rng.normal(0, 1, where.shape), 0, 255).round().astype(np.uint8).repeat(3, -1)

    others = describe(places(48, 1.0))
    found, told = [], []
    for _ in range(80):
        made, real = (replace(others, kurtosis=log_kurtosis(places(8, sparsity))) for sparsity in (0.2, 1.0))
        found.append(kurtosis_gap(made, others) - kurtosis_gap(real, others))
        told.append(kurtosis_error(made, real, others))
    assert np.mean(told) == pytest.approx(np.std(found), rel=0.3)
    assert kurtosis_error(real, real, others) == 0

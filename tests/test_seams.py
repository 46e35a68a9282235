"""M5 finds planted seams, feathering, repetition and lattices, and finds nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from model.store import BLOCK
from model.training.seams import lattice, seams

SIDE = 6 * BLOCK


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    """A picture without seams, float [SIDE, SIDE, 3]: smooth hills and fine texture."""
    rng = np.random.default_rng(1)
    hills = np.kron(rng.normal(0, 6, (SIDE // 64 + 1, SIDE // 64 + 1)), np.ones((64, 64)))[:SIDE, :SIDE]
    kernel = np.hanning(65) / np.hanning(65).sum()
    for axis in (0, 1):
        hills = np.apply_along_axis(lambda line: np.convolve(line, kernel, "same"), axis, hills)
    return (120 + hills + rng.normal(0, 5, (SIDE, SIDE)))[..., None].repeat(3, 2)


def figures(picture: np.ndarray) -> dict[str, float]:
    return seams([np.clip(picture, 0, 255).round().astype(np.uint8)])


def test_nothing_is_found_where_there_is_nothing(clean: np.ndarray) -> None:
    found = figures(clean)
    assert abs(found["jump z"]) < 3 and abs(found["repetition z"]) < 3
    assert found["border sharpness"] == pytest.approx(1, abs=0.05)
    assert found["lattice 4"] == pytest.approx(1, abs=0.02) and found["lattice 8"] == pytest.approx(1, abs=0.02)


def test_blocks_of_their_own_brightness_jump(clean: np.ndarray) -> None:
    blocks = np.random.default_rng(2).normal(0, 5, (6, 6))
    seen = clean + np.kron(blocks, np.ones((BLOCK, BLOCK)))[..., None]
    assert figures(seen)["jump z"] > 3


def test_feathered_borders_are_soft(clean: np.ndarray) -> None:
    seen = clean.copy()
    for at in range(BLOCK, SIDE, BLOCK):
        seen[:, at - 4 : at + 4] = seen[:, at - 4 : at + 4].mean(1, keepdims=True)
        seen[at - 4 : at + 4] = seen[at - 4 : at + 4].mean(0, keepdims=True)
    assert figures(seen)["border sharpness"] < 0.7


def test_a_motif_in_every_block_repeats(clean: np.ndarray) -> None:
    motif = np.random.default_rng(3).normal(0, 3, (BLOCK, BLOCK))
    assert figures(clean + np.tile(motif, (6, 6))[..., None])["repetition z"] > 3


@pytest.mark.parametrize("step", [4, 8])
def test_lattices_are_found(clean: np.ndarray, step: int) -> None:
    cells = np.random.default_rng(4).normal(0, 3, (SIDE // step, SIDE // step))
    seen = np.clip(clean + np.kron(cells, np.ones((step, step)))[..., None], 0, 255).round().astype(np.uint8)
    assert lattice([seen], step) > 1.1


def test_flat_pictures_are_no_error() -> None:
    flat = np.full((2 * BLOCK, 2 * BLOCK, 3), 90, np.uint8)
    assert seams([flat]) == {
        "jump z": 0,
        "border sharpness": 1,
        "repetition z": 0,
        "lattice 4": 1,
        "lattice 8": 1,
    }

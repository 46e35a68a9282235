"""Sketches of real crops that training lays in their noise: areas and lines where the picture has them, and no texture."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.relief import MOST as STRONGEST
from model.training import energy
from model.training.sketches import LEAST, MOST, RADII, Sketches, flattened, sketch


def field(side: int = 96) -> Tensor:
    """A light field and a dark one, with grain, and a light road one pixel wide through the dark one: [1, 3, side, side]."""
    picture = torch.full((side, side), -0.1)
    picture[:, side // 2 :] = -0.5
    picture += 0.03 * torch.randn(side, side, generator=torch.Generator().manual_seed(1))
    picture[:, 3 * side // 4] = 0.3
    return picture.expand(1, 3, side, side).clone()


@pytest.mark.parametrize("radius", RADII)
def test_grain_goes_and_edges_and_thin_lines_stay(radius: int) -> None:
    drawn = sketch(field(), radius)[0, 0, 16:-16]
    assert drawn.abs().max() <= STRONGEST
    light, dark, road = drawn[:, 36:46].mean(), drawn[:, 50:60].mean(), drawn[:, 72].mean()
    assert light > 0.3 and dark < -0.3
    assert road > drawn[:, 66:70].mean() + 1 and road > drawn[:, 75:79].mean() + 1
    jump = (drawn[:, 48] - drawn[:, 47]).abs().mean()
    grain = (drawn[:, 37:45] - drawn[:, 36:44]).abs().mean()
    assert jump > 8 * grain
    raw = field()[0, 0, 16:-16]
    assert jump / grain > 2 * (raw[:, 48] - raw[:, 47]).abs().mean() / (raw[:, 37:45] - raw[:, 36:44]).abs().mean()


def test_flattening_keeps_what_is_flat_and_moves_no_edge() -> None:
    step = torch.zeros(1, 3, 32, 32)
    step[..., 13:] = 1
    assert torch.allclose(flattened(step, 3), step, atol=1e-6)
    ramp = torch.arange(32.0).expand(1, 3, 32, 32) / 32
    assert (flattened(ramp, 2) - ramp).abs().max() < 3 / 32


def test_what_is_flat_has_nothing_to_sketch() -> None:
    assert sketch(torch.full((1, 3, 64, 64), 0.4), 4).abs().max() < 1e-3


def test_samples_of_a_crop_share_its_sketch_and_have_their_own_noise() -> None:
    generator = torch.Generator().manual_seed(3)
    crops = torch.cat([field(), -field()])
    sketches = Sketches.draw(crops, generator)
    assert ((sketches.share >= LEAST) & (sketches.share <= MOST)).all() and sketches.radius in RADII
    noise = torch.randn(4, 3, 96, 96, generator=generator)
    laid = sketches.lay(noise, torch.zeros(4, 3, 24, 24))
    share = sketches.share.repeat(2, 1, 1, 1)
    own = (laid - (1 - share.square()).sqrt() * noise) / share
    assert torch.allclose(own[:2], own[2:], atol=1e-5) and torch.allclose(own[:2], sketch(crops, sketches.radius), atol=1e-5)
    assert 0.8 < laid.std() < 1.1


def test_stages_above_and_windows_have_sketches_of_the_same_picture() -> None:
    sketches = Sketches(field(), torch.full((1, 1, 1, 1), 0.5), 2)
    assert torch.equal(sketches.above(1).pictures, F.avg_pool2d(field(), 4)) and sketches.above(0) is sketches
    nothing = torch.zeros(1, 3, 32, 32)
    window = sketches.moved(16, 32).lay(nothing, nothing)
    assert torch.equal(window, 0.5 * sketch(field()[..., 16:48, 32:64], 2))


@pytest.mark.parametrize("generations", [0, 2])
def test_the_energy_score_is_of_samples_with_sketches_in_most_batches(
    generations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid: list[int] = []
    lay = Sketches.lay

    def noted(self: Sketches, noise: Tensor, parent: Tensor) -> Tensor:
        laid.append(noise.shape[2])
        return lay(self, noise, parent)

    monkeypatch.setattr(Sketches, "lay", noted)

    def blank(z: Tensor, *_: Tensor) -> Tensor:
        return z * torch.ones((), requires_grad=True)

    run = energy.Run(blank, None, 1, 0.0)
    side = 256 if generations else 96
    for seed in range(10):
        crops = F.interpolate(field(side), size=side)
        loss, *_ = energy.energy_loss(run, crops, torch.tensor([3.0]), torch.Generator().manual_seed(seed), generations)
        assert loss.isfinite()
    stages = generations + 1
    assert 4 * stages <= len(laid) <= 9 * stages
    assert set(laid) == ({16, 64, 128} if generations else {96})

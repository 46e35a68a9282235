"""Sampler, projection, guidance and the fused denoiser."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model import guidance
from model.denoiser import Denoiser, DenoiserConfig
from model.inference import InferenceDenoiser
from model.precision import choose_compute
from model.sampler import sample, times
from model.stage import (
    COLOUR_SHARE,
    MOST_COLOUR,
    colour_share,
    detail,
    enlarge,
    level_off,
    project,
    scale_colour,
    shade,
    to_bytes,
    to_unit,
)


@pytest.mark.parametrize("steps", [1, 2, 5, 16])
def test_times_fall_from_noise_to_image(steps: int) -> None:
    grid = times(steps)
    assert grid[0] == 1 and grid[-1] == 0 and len(grid) == steps + 1
    assert grid == sorted(grid, reverse=True) and len(set(grid)) == len(grid)


@pytest.mark.parametrize("steps", range(1, 17))
def test_the_sampler_keeps_what_is_certain_and_the_contrast_of_what_is_not(steps: int) -> None:
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    point = torch.full_like(noise, 0.3)
    assert torch.allclose(sample(lambda z, t: point, noise, steps), point, atol=1e-5)
    # Residuals N(0, s^2): the denoiser is linear, the exact solution scales the noise to s. One step can only give the mean.
    s = 0.5

    def posterior(z: torch.Tensor, t: float) -> torch.Tensor:
        return z * ((1 - t) * s**2 / ((1 - t) ** 2 * s**2 + t**2))

    ratio = sample(posterior, noise, steps).std().item() / noise.std().item() / s
    assert ratio == 0 if steps == 1 else 0.8 < ratio < 1.4


def test_made_up_colour_is_calmed_and_light_is_not() -> None:
    residual = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    calmed = scale_colour(residual, COLOUR_SHARE)
    grey = residual.mean(1, keepdim=True)
    assert torch.allclose(calmed.mean(1, keepdim=True), grey, atol=1e-6)
    assert torch.allclose(calmed - grey, COLOUR_SHARE * (residual - grey), atol=1e-6)


def test_darkening_keeps_the_colour_and_brightening_adds_light() -> None:
    sand = to_unit(torch.tensor([210, 170, 120], dtype=torch.uint8)).view(1, 3, 1, 1)
    darker, brighter = (sand + shade(torch.full_like(sand, step), sand) + 1 for step in (-0.5, 0.1))
    assert torch.allclose(darker / (sand + 1), (darker / (sand + 1)).mean(), atol=0.02)
    assert torch.allclose(brighter - (sand + 1), torch.full_like(sand, 0.1))
    colour = torch.tensor([0.2, -0.1, -0.1]).view(1, 3, 1, 1)
    soil, grey, between = (
        to_unit(torch.tensor(rgb, dtype=torch.uint8)).view(1, 3, 1, 1) for rgb in ([105, 80, 55], [80] * 3, [90, 80, 68])
    )
    assert torch.allclose(shade(colour, soil), MOST_COLOUR * colour, atol=1e-6)
    assert torch.allclose(shade(colour, grey), COLOUR_SHARE * colour, atol=1e-6)
    assert COLOUR_SHARE < (shade(colour, between) / colour).mean() < MOST_COLOUR


def test_enlargement_is_bicubic_and_the_same_in_every_window() -> None:
    parent = torch.randn(2, 3, 20, 26, generator=torch.Generator().manual_seed(10))
    whole = enlarge(parent)
    assert torch.allclose(whole, F.interpolate(parent, scale_factor=4, mode="bicubic", align_corners=False), atol=2e-6)
    part = enlarge(parent[..., 3:17, 5:21])
    assert torch.equal(part[..., 8:-8, 8:-8], whole[..., 20:60, 28:76])


def test_a_block_that_has_no_room_in_one_channel_takes_no_colour_from_that() -> None:
    parent = to_unit(torch.tensor([250, 180, 120], dtype=torch.uint8)).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    light = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(5))
    tied = project(enlarge(parent) + light, parent) - F.interpolate(parent, scale_factor=4)
    assert tied.std() > 0.001 and torch.allclose(tied, tied.mean(1, keepdim=True).expand_as(tied), atol=1e-5)


def test_projection_ties_every_block_to_its_parent_even_where_it_would_clip() -> None:
    generator = torch.Generator().manual_seed(1)
    parent = to_unit(torch.randint(0, 256, (2, 3, 8, 8), generator=generator, dtype=torch.uint8))
    image = enlarge(parent) + torch.randn(2, 3, 32, 32, generator=generator)
    tied = project(image, parent)
    assert tied.abs().max() <= 1 + 1e-5
    assert torch.allclose(F.avg_pool2d(tied, 4), parent, atol=1e-5)
    mean = F.avg_pool2d(to_bytes(tied).float(), 4)
    assert (mean - (parent + 1) * 127.5).abs().max() <= 0.51


def test_a_block_too_light_is_cut_off_and_keeps_its_shadows() -> None:
    deviation = detail(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(6)) * 0.3)
    most = torch.linspace(0.02, 2, 128).reshape(2, 1, 8, 8).expand(2, 3, 8, 8)
    level = level_off(deviation, most)
    assert F.avg_pool2d(level, 4).abs().max() < 1e-6
    calm = F.max_pool2d(deviation, 4).amax(1) <= most[:, 0]
    per_block = F.max_pool2d((level - deviation).abs(), 4).amax(1)
    assert calm.any() and per_block[calm].max() < 1e-6 and per_block[~calm].min() > 0
    # One shadow in a block of snow: the others get as light as they may, and it is as dark as pays for them.
    shadow = torch.zeros(1, 3, 4, 4)
    shadow[..., 1, 2] = -0.5
    snow = level_off(detail(shadow), torch.full((1, 3, 1, 1), 0.01))
    assert snow[..., 1, 2].allclose(torch.tensor(-0.15), atol=1e-6) and snow.max() <= 0.01 + 1e-6


def test_cutting_off_is_steady() -> None:
    """A pixel that comes to be cut off changes nothing at once: windows that differ by rounding must not differ by more."""
    deviation = detail(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(7)) * 0.2)
    most = torch.full((1, 3, 16, 16), 0.1)
    nudge = 1e-4 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(8))
    change = level_off(deviation + detail(nudge), most) - level_off(deviation, most)
    assert change.abs().max() < 20 * nudge.abs().max()


def test_less_of_the_colour_is_kept_on_snow_than_on_grey_rock() -> None:
    dark, rock, sand, snow = (torch.full((1, 3, 1, 1), light) for light in (0.3, 0.8, 1.4, 1.95))
    assert colour_share(dark) == colour_share(rock) == COLOUR_SHARE > colour_share(sand) > colour_share(snow) > 0
    assert 2 * colour_share(snow) < COLOUR_SHARE


@pytest.mark.parametrize("level", [0, 255])
def test_what_is_black_or_white_can_be_trained_on(level: int) -> None:
    parent = to_unit(torch.full((1, 3, 8, 8), level, dtype=torch.uint8))
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(9)).requires_grad_()
    tied = project(image, parent)
    (gradient,) = torch.autograd.grad(tied.square().sum(), image)
    assert torch.isfinite(gradient).all()
    assert torch.equal(to_bytes(tied), torch.full((1, 3, 32, 32), level, dtype=torch.uint8))


@pytest.mark.parametrize("level", [20, 235])
def test_what_is_nearly_black_or_white_does_not_become_so(level: int) -> None:
    parent = to_unit(torch.full((1, 3, 8, 8), level, dtype=torch.uint8))
    for seed in range(2):  # two stages, each below the most extreme child of the one before
        noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        child = to_bytes(project(enlarge(parent) + noise, parent))
        most = child.max() if level > 127 else child.min()
        assert 0 < most < 255
        parent = to_unit(most.expand(1, 3, 8, 8))


def test_bytes_round_trip() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_bytes(to_unit(levels)), levels)


def random_denoiser() -> Denoiser:
    generator = torch.Generator().manual_seed(2)
    denoiser = Denoiser(DenoiserConfig(quarter=32, eighth=48, half=16, embedding=32))
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.5 / math.sqrt(parameter[0].numel())))
    return denoiser


def test_fused_and_plain_denoisers_agree() -> None:
    compute = choose_compute("cpu", "fp32")
    network = InferenceDenoiser(random_denoiser(), compute)
    if not network.fuses:
        pytest.skip("this torch build has no oneDNN fused convolutions")
    g = torch.Generator().manual_seed(3)
    x, parent, level = torch.randn(1, 3, 64, 64, generator=g), torch.randn(1, 3, 16, 16, generator=g), torch.rand(1, 1, 16, 16)
    gsd = torch.tensor([[4.0]])
    fused = network(x, parent, level, 0.7, gsd)
    rowwise = network(x, parent, level, 0.7, gsd.expand(1, 8))
    assert fused.std() > 0.05 and torch.allclose(fused, rowwise, atol=1e-4)


def test_the_denoiser_is_told_resolution_time_and_noise_level() -> None:
    network = InferenceDenoiser(random_denoiser(), choose_compute("cpu", "fp32"))
    g = torch.Generator().manual_seed(4)
    x, parent = torch.randn(1, 3, 64, 64, generator=g), torch.randn(1, 3, 16, 16, generator=g)
    zero, one = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    plain = network(x, parent, zero, 0.7, torch.tensor([[4.0]]))
    for other in (
        network(x, parent, zero, 0.7, torch.tensor([[7.0]])),
        network(x, parent, zero, 0.2, torch.tensor([[4.0]])),
        network(x, parent, one, 0.7, torch.tensor([[4.0]])),
    ):
        assert (other - plain).abs().max() > 1e-3


def test_resolution_is_smooth_in_the_row_and_true() -> None:
    rows = guidance.resolution_rows(6, 4096 - 64, 192)
    assert rows.shape == (24,) and np.abs(np.diff(rows, 2)).max() < 1e-3
    across = guidance.resolution_rows(6, 4096 - 64 + 128, 192)
    assert np.array_equal(rows[16:], across[:8])
    equator = guidance.resolution_rows(20, (256 << 19) - 96, 192)
    assert equator.shape == (1,) and abs(equator[0] - math.log2(156543.034 / 2**20)) < 1e-4


def test_noise_level_is_low_on_water() -> None:
    sea = torch.tensor([20, 40, 90]).view(1, 3, 1, 1).expand(1, 3, 24, 24)
    land = torch.tensor([81, 101, 60]).view(1, 3, 1, 1).expand(1, 3, 24, 24)
    gsd = torch.tensor([[4.0]])
    at_sea, on_land = (guidance.condition_level(to_unit(c), 4, gsd) for c in (sea, land))
    assert at_sea.shape == on_land.shape == (1, 1, 16, 16)
    assert at_sea.max() < 0.5 * on_land.min()

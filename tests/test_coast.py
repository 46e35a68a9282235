"""Coasts: sharp where sea meets land, nothing else changed, the same in every window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model import Planet
from model.coast import COAST_MARGIN, coasts, enlarged_coasts, sharpen, waves
from model.grid import lonlat_to_pixel
from model.stage import enlarge, to_unit

SEA, LAND = (47, 97, 152), (83, 93, 65)


def shore(width: int, side: int = 48) -> Tensor:
    """Sea to the left and land to the right of a band ``width`` px wide that goes from one to the other, [1, 3, side, side]."""
    share = ((torch.arange(side) - side / 2 + 0.5) / width + 0.5).clamp(0, 1)
    sea, land = (to_unit(torch.tensor(colour, dtype=torch.uint8))[:, None] for colour in (SEA, LAND))
    return (sea + (land - sea) * share)[None, :, None].expand(1, 3, side, side)


def mixed(image: Tensor) -> float:
    """Columns that are neither: what is moved stops some way before the bluest and the least blue."""
    warmth = (image[0, 0] - image[0, 2]).mean(0)
    share = (warmth - warmth[0]) / (warmth[-1] - warmth[0])
    return float(((share > 0.15) & (share < 0.85)).sum())


def test_a_band_between_sea_and_land_becomes_a_line() -> None:
    wide = shore(3)
    sharp = sharpen(wide[..., 2:-2, 2:-2], coasts(wide))
    assert mixed(wide) == 2 and mixed(sharp) == 0
    assert torch.equal(sharp[..., :14], wide[..., 2:-2, 2:16]) and torch.equal(sharp[..., -14:], wide[..., 2:-2, -16:-2])
    # In between it has colours of the line from one to the other.
    assert sharp.amin((0, 2, 3)).ge(wide.amin((0, 2, 3)) - 0.02).all()
    assert sharp.amax((0, 2, 3)).le(wide.amax((0, 2, 3)) + 0.02).all()


def test_what_is_enlarged_has_lines_that_wander() -> None:
    wide = shore(2)
    found = enlarged_coasts(wide)
    assert found is not None
    inner = wide[..., COAST_MARGIN:-COAST_MARGIN, COAST_MARGIN:-COAST_MARGIN]
    upper = enlarge(wide)[..., 4 * COAST_MARGIN : -4 * COAST_MARGIN, 4 * COAST_MARGIN : -4 * COAST_MARGIN]
    assert upper.shape[2] == 4 * inner.shape[2] == found.shape[2]
    straight = sharpen(upper, found)
    assert mixed(straight) < 0.5 * mixed(upper)
    rows = np.arange(upper.shape[2]) + (90 << 8)
    wandering = sharpen(upper, found, waves(3, 8, rows, rows)[None, None])
    lines = (wandering[0, 0] > wandering[0, 2] - 0.3).float().sum(1)
    assert lines.std() > 0.2 and (straight[0, 0] > straight[0, 2] - 0.3).float().sum(1).std() == 0


@pytest.mark.parametrize(("one", "other"), [(SEA, (9, 23, 53)), (LAND, (40, 58, 35)), ((235, 238, 242), (110, 108, 106))])
def test_where_no_sea_meets_land_nothing_is_done(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    halves = to_unit(torch.tensor([one, other], dtype=torch.uint8)).repeat_interleave(12, 0).T  # [3, 24]
    assert enlarged_coasts(halves[None, :, None].expand(1, 3, 24, 24)) is None


def test_windows_agree() -> None:
    rng = torch.Generator().manual_seed(0)
    wide = shore(6) + 0.05 * torch.randn(1, 3, 48, 48, generator=rng)
    whole, part = enlarged_coasts(wide), enlarged_coasts(wide[..., 8:40, 12:44])
    assert whole is not None and part is not None
    assert torch.equal(part, whole[..., 32:-32, 48:-16])
    rows = np.arange(5000, 5064)
    assert torch.equal(waves(3, 12, rows, rows)[16:48, 8:24], waves(3, 12, rows[16:48], rows[8:24]))


def test_the_coasts_of_the_planet_are_one_pixel_wide(planet: Planet) -> None:
    """From the Dutch coast into the sea and into the land, along rows of the base picture and of what is made of it."""
    for zoom in (4, 6):
        x, y = (int(v) for v in lonlat_to_pixel(4.3, 52.0, zoom))
        pixels = planet.read(zoom, x - 24, y - 16, 48, 32).astype(float)
        warmth = pixels[..., 0] - pixels[..., 2]
        neither = ((warmth > -45) & (warmth < -15)).sum(1)
        assert (warmth.min(1) < -55).all() and (warmth.max(1) > 0).all()
        assert neither.mean() < 2.5, f"zoom {zoom}: {neither}"

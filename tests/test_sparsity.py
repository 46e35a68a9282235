"""Sparsity of detail: gathering is a pure function of a neighbourhood, does what it says, and is measured right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.contrast import AMPLITUDE_MARGIN, SPARSITY_KNOTS, Amplitudes, gathering
from model.denoiser import Denoiser
from model.stage import detail
from model.training.energy import Inputs, Run
from model.training.scores import tails
from model.training.sparsity import CHAINED_BELOW, LEAST, MOST, TRIED, below_generated, power_of, with_sparsity

REACH = 12
"""Pixels that gathering looks at, and a few more."""


def noise(side: int, seed: int = 0) -> Tensor:
    """White detail, [1, 3, side, side]."""
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed))


def patches(side: int) -> Tensor:
    """A chequerboard of 1 and 2, [1, 1, side, side]."""
    squares = torch.tensor([[1.0, 2.0], [2.0, 1.0]]).repeat(side // 16, side // 16)
    return F.interpolate(squares[None, None], scale_factor=8)


def power(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1), value)


def sparse(value: float) -> Amplitudes:
    return Amplitudes(sparsity=np.full(len(SPARSITY_KNOTS), value, np.float32))


def test_windows_agree_where_they_overlap() -> None:
    detail = noise(160)
    whole, part = (gathering(v, power(0.7)) for v in (detail, detail[..., 32:112, 16:96]))
    assert whole.shape == (1, 1, 160, 160) and whole.std() > 0.05
    inner = slice(REACH, -REACH)
    assert torch.equal(part[..., inner, inner], whole[..., 32:112, 16:96][..., inner, inner])


def test_what_lies_further_away_does_not_count() -> None:
    detail, other = noise(64), noise(64)
    other[..., 32 + REACH :] = 9
    assert torch.equal(gathering(detail, power(1.0))[..., :32], gathering(other, power(1.0))[..., :32])


def test_gathering_is_a_power_of_local_deviation_over_that_around() -> None:
    """Detail three times as strong in a square larger than what counts as near, and smaller than what counts as around."""
    detail = torch.ones(1, 3, 64, 64)
    detail[..., 28:36, 28:36] = 3
    found = gathering(detail, power(0.5))[0, 0]
    around = 1 + (9 - 1) * 16 / 81  # 4 x 4 of 9 x 9 cells
    assert found[31:33, 31:33].numpy() == pytest.approx((9 / around) ** 0.25, rel=0.02)
    assert found[0, 0] == pytest.approx(1)
    assert gathering(detail, power(0.0)).eq(1).all()


@pytest.mark.parametrize(("value", "sign"), [(0.8, 1), (-0.5, -1)])
def test_tails_grow_with_the_power(value: float, sign: int) -> None:
    strokes = noise(256) * patches(256)
    before, after = (tails(v * 0.1)[0, :2].mean() for v in (strokes, strokes * gathering(strokes, power(value))))
    assert sign * (after - before) > 0.05


def test_each_row_has_the_power_of_its_resolution() -> None:
    side = 20  # parent pixels: 10 rows of resolutions
    wide = torch.zeros(1, 3, side + 2 * AMPLITUDE_MARGIN, side + 2 * AMPLITUDE_MARGIN)
    steep = Amplitudes(sparsity=np.linspace(-1, 1, len(SPARSITY_KNOTS)).astype(np.float32))
    detail, gsd = noise(4 * side), torch.linspace(-1, 11, side // 2)[None]
    by_row = steep.scale(detail, wide, gsd)
    for row in range(1, side // 2 - 1):
        alone = steep.scale(detail, wide, gsd[:, row : row + 1])
        rows = slice(8 * row + 1, 8 * row + 7)  # between rows the power is smooth
        assert torch.allclose(by_row[..., rows, :], alone[..., rows, :], atol=1e-5)
    assert not torch.allclose(by_row, detail, atol=0.1)


def test_sparsity_without_power_changes_nothing() -> None:
    wide = torch.zeros(1, 3, 8 + 2 * AMPLITUDE_MARGIN, 8 + 2 * AMPLITUDE_MARGIN)
    assert torch.allclose(Amplitudes().scale(noise(32), wide, torch.zeros(1, 1)), noise(32))


def test_the_power_is_where_kurtosis_meets_that_of_the_real() -> None:
    plain = np.linspace(1, 2, len(SPARSITY_KNOTS))
    sums = np.stack([plain + 0.06, plain, plain + 0.2])
    assert power_of(sums) == pytest.approx(TRIED * 0.3, abs=1e-6)
    assert (power_of(np.stack([plain + 9, plain, plain + 0.2])) == MOST).all()
    assert (power_of(np.stack([plain - 9, plain, plain + 0.2])) == LEAST).all()
    assert (power_of(np.zeros((3, len(SPARSITY_KNOTS)))) == 0).all()


class Patchwork(Run):
    """A sampler that draws noise in patches, strong and faint."""

    def residual(self, inputs: Inputs) -> Tensor:
        return inputs.noise * patches(inputs.noise.shape[2])


def test_what_is_less_sparse_than_the_real_is_found_to_be() -> None:
    run, generator = Patchwork(Denoiser(), None, 1, 0.0), torch.Generator().manual_seed(0)
    knot = 10
    gsd = torch.tensor([float(SPARSITY_KNOTS[knot])])
    assert gsd.item() > CHAINED_BELOW

    def crop() -> tuple[Tensor, Tensor]:
        inputs = Inputs.draw(F.avg_pool2d(noise(768, 5), 4) * 0.2, gsd, generator)
        return run.picture(inputs, run.residual(inputs), sparse(0.6)), gsd

    crops = [crop() for _ in range(2)]
    found = with_sparsity(run, Amplitudes(), crops, generator)
    assert found.sparsity[knot] == pytest.approx(0.6, abs=0.15)
    again = with_sparsity(run, found, crops, generator)
    assert again.sparsity[knot] == pytest.approx(0.6, abs=0.15)
    # As strong as without, and as often as it is measured: the real is stronger by what sparsity adds.
    inputs = Inputs.draw(F.avg_pool2d(crops[0][0], 4), gsd, generator)
    each = (found, sparse(0.6), Amplitudes(), again)
    strength = [detail(run.picture(inputs, run.residual(inputs), one)).std() for one in each]
    assert strength[0] == pytest.approx(strength[2].item(), rel=0.01) and strength[1] > 1.02 * strength[2]
    assert strength[3] == pytest.approx(strength[2].item(), rel=0.01)


@pytest.mark.parametrize("depth", [1, 2])
def test_only_fine_crops_have_generated_parents(depth: int) -> None:
    run, generator = Patchwork(Denoiser(), None, 1, 0.0), torch.Generator().manual_seed(0)
    real = noise(512).repeat(2, 1, 1, 1) * 0.1
    found = below_generated(run, Amplitudes(), real, torch.tensor([12.0, 2.0]), generator, depth)
    assert found is not None
    child, parent, gsd = found
    assert child.shape == (1, 3, 256, 256) and parent.shape == (1, 3, 64, 64) and gsd.tolist() == [2]
    assert torch.equal(child[0], real[1, :, 128:384, 128:384])
    means = F.avg_pool2d(parent, 4**depth) - F.avg_pool2d(child, 4 ** (depth + 1))
    # The top and each stage are rounded, by up to half a grey level.
    assert means.abs().max() < (depth + 1) / 255 + 1e-4
    levels = (parent + 1) * 127.5
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert (parent - F.avg_pool2d(child, 4)).abs().max() > 0.01
    assert below_generated(run, Amplitudes(), real, torch.tensor([12.0, 8.0]), generator) is None
    assert below_generated(run, Amplitudes(), real[..., :64, :64], torch.tensor([2.0, 2.0]), generator, depth) is None

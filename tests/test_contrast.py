"""Amplitudes of detail: pure functions of a neighbourhood, interpolated as said, and measured right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model import WeightsError
from model.contrast import (
    AMPLITUDE_MARGIN,
    GSD_KNOTS,
    ROUGHNESS_KNOTS,
    ROUGHNESS_REACH,
    amplitude,
    roughness,
    table_from_text,
    table_to_text,
)
from model.stage import enlarge, project
from model.training.calibrate import CHAIN_GAIN, LEAST, MOST, Energies, calibrate, raised
from model.training.imagery import load_pictures
from model.weights import AMPLITUDES, DEFAULT_WEIGHTS, load_weights
from tests.test_training import write_imagery

RNG = np.random.default_rng(0)
TABLE = RNG.uniform(0.5, 1.8, (len(GSD_KNOTS), len(ROUGHNESS_KNOTS))).astype(np.float32)


def parents(side: int, sigma: float = 6) -> Tensor:
    """Noise of a standard deviation in grey levels, [1, 3, side, side], the same in all channels."""
    noise = torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(side)) * sigma / 127.5
    return noise.expand(1, 3, side, side)


def test_roughness_is_the_log_of_the_standard_deviation() -> None:
    assert roughness(torch.full((1, 3, 9, 9), 0.4)).eq(float(ROUGHNESS_KNOTS[0])).all()
    assert roughness(parents(400, 6)).mean() == pytest.approx(np.log2(6), abs=0.1)
    assert roughness(parents(40, 100)).max() == float(ROUGHNESS_KNOTS[-1])


@pytest.mark.parametrize("rows", [1, 20])
def test_windows_agree_where_they_overlap(rows: int) -> None:
    wide, m = parents(40 + 2 * AMPLITUDE_MARGIN), AMPLITUDE_MARGIN
    gsd = torch.linspace(3, 9, rows)[None]
    whole = amplitude(TABLE, wide, gsd)
    assert whole.shape == (1, 1, 160, 160) and whole.std() > 0.03
    part = amplitude(TABLE, wide[..., 8 : 28 + 2 * m, 4 : 24 + 2 * m], gsd[:, 4:14] if rows > 1 else gsd)
    # The rows of a window know no resolution beyond its border: its outermost parent pixels are the halo's.
    inner = slice(4, -4)
    assert torch.equal(part[..., inner, inner], whole[..., 32:112, 16:96][..., inner, inner])


def test_tables_are_interpolated_between_knots() -> None:
    flat = torch.zeros(1, 3, 10, 10)
    here = amplitude(TABLE, flat, torch.tensor([[float(GSD_KNOTS[2]) + 0.5]]))
    assert here[0, 0, 3, 3].item() == pytest.approx(0.75 * TABLE[2, 0] + 0.25 * TABLE[3, 0], abs=1e-5)
    assert amplitude(TABLE, flat, torch.tensor([[99.0]]))[0, 0, 3, 3].item() == pytest.approx(TABLE[-1, 0], abs=1e-5)


@pytest.mark.parametrize("share", [0.6, 0.8, 1.25])
def test_what_is_too_faint_or_too_strong_is_measured(share: float) -> None:
    """Pictures with a known share of the real residual over the bicubic."""
    energies = Energies()
    for seed in range(8):
        real = F.avg_pool2d(torch.randn(1, 3, 384, 384, generator=torch.Generator().manual_seed(seed)), 2) * 0.1
        parent = F.avg_pool2d(real, 4)
        upper = project(enlarge(parent), parent)
        energies.add(real, upper + share * (real - upper), parent, torch.tensor([4.0]))
    rough = roughness(F.pad(parent, (ROUGHNESS_REACH,) * 4)).mean().item()
    row, column = (np.abs(knots - value).argmin() for knots, value in ((GSD_KNOTS, 4.0), (ROUGHNESS_KNOTS, rough)))
    assert energies.table()[row, column] == pytest.approx(1 / share, rel=0.03)


def test_chains_are_raised_most_where_they_lack_most_and_never_beyond_the_bound() -> None:
    table = raised(TABLE)
    assert np.allclose(table, np.minimum(TABLE * CHAIN_GAIN[:, None], MOST))
    assert CHAIN_GAIN.argmax() == np.flatnonzero(GSD_KNOTS == 6)[0] and CHAIN_GAIN.min() > 1  # 64 m


def test_calibration_adds_a_table_to_the_weights(tmp_path: Path) -> None:
    out = tmp_path / "calibrated.safetensors"
    calibrate(DEFAULT_WEIGHTS, load_pictures(write_imagery(tmp_path)), steps=1, crops=2, side=128, out=out)
    before, after = load_weights(), load_weights(out)
    assert after.amplitudes is not None and LEAST <= after.amplitudes.min() < after.amplitudes.max() <= MOST
    assert after.metadata.keys() - {AMPLITUDES} == before.metadata.keys() - {AMPLITUDES}
    same = zip(before.denoiser.state_dict().values(), after.denoiser.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


@pytest.mark.parametrize("text", ["[[1]]", "[]", "no", "NaN", table_to_text(TABLE).replace("[[", "[[NaN, ")])
def test_broken_tables_are_refused(text: str) -> None:
    assert np.allclose(table_from_text(table_to_text(TABLE)), TABLE, atol=1e-4)
    with pytest.raises(ValueError):  # noqa: PT011 (whatever json or numpy says)
        table_from_text(text)


def test_a_file_with_a_broken_table_is_named(tmp_path: Path) -> None:
    from model.weights import save_weights

    weights, path = load_weights(), tmp_path / "broken.safetensors"
    save_weights(path, weights.denoiser.state_dict(), weights.denoiser.config, {AMPLITUDES: "[[1]]"})
    with pytest.raises(WeightsError, match=r"broken\.safetensors"):
        load_weights(path)

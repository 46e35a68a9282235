"""Amplitudes of detail: pure functions of a neighbourhood, interpolated as said, and measured right."""

from __future__ import annotations

import json
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
    LIGHT_KNOTS,
    ROUGHNESS_KNOTS,
    ROUGHNESS_REACH,
    SHAPES,
    SNOW_MOST,
    TINT_KNOTS,
    Amplitudes,
    colour_shares,
    roughness,
)
from model.denoiser import Denoiser
from model.stage import enlarge, project, to_unit
from model.training import covers, sparsity
from model.training.calibrate import CHAIN_GAIN, LEAST, MOST, Energies, calibrate, raised
from model.training.energy import Run
from model.training.imagery import load_pictures
from model.training.sites import Sites
from model.training.sketches import Sketches
from model.weights import AMPLITUDES, DEFAULT_WEIGHTS, load_weights
from tests.test_training import write_imagery

RNG = np.random.default_rng(0)
SOME = Amplitudes(*(RNG.uniform(0.5, 1.8, shape).astype(np.float32) for shape in SHAPES.values()))


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
    whole = SOME.of(wide, gsd)
    assert whole.shape == (1, 1, 160, 160) and whole.std() > 0.03
    part = SOME.of(wide[..., 8 : 28 + 2 * m, 4 : 24 + 2 * m], gsd[:, 4:14] if rows > 1 else gsd)
    # The rows of a window know no resolution beyond its border: its outermost parent pixels are the halo's.
    inner = slice(4, -4)
    assert torch.equal(part[..., inner, inner], whole[..., 32:112, 16:96][..., inner, inner])


def test_amplitudes_are_interpolated_between_knots() -> None:
    levels = 2**6.25 - 1  # a quarter of the way from the second knot of light to the third
    flat = torch.full((1, 3, 10, 10), levels / 127.5 - 1)
    by_roughness, by_light = SOME.roughness[:, 0], 0.75 * SOME.cover[:, 1, 1] + 0.25 * SOME.cover[:, 2, 1]

    def there(log2_gsd: float) -> float:
        return SOME.of(flat, torch.tensor([[log2_gsd]]))[0, 0, 3, 3].item()

    expected = (0.75 * by_roughness[2] + 0.25 * by_roughness[3]) * (0.75 * by_light[2] + 0.25 * by_light[3])
    assert there(float(GSD_KNOTS[2]) + 0.5) == pytest.approx(expected, rel=1e-4)
    assert there(99.0) == pytest.approx(by_roughness[-1] * by_light[-1], rel=1e-4)


def test_snow_is_raised_no_further_and_sand_is() -> None:
    loud = Amplitudes(roughness=np.full(SHAPES["roughness"], 1.6, np.float32))
    colours = {"snow": (230, 232, 236), "sand": (215, 190, 150), "grey rock": (120, 121, 122), "half": (175, 175, 175)}
    found = {}
    for name, colour in colours.items():
        flat = to_unit(torch.tensor(colour, dtype=torch.uint8))[None, :, None, None].expand(1, 3, 10, 10)
        found[name] = loud.of(flat, torch.tensor([[5.0]]))[0, 0, 3, 3].item()
    assert found == pytest.approx({"snow": SNOW_MOST, "sand": 1.6, "grey rock": 1.6, "half": (SNOW_MOST + 1.6) / 2}, rel=1e-4)


def test_as_they_stand_amplitudes_change_nothing() -> None:
    assert Amplitudes().of(parents(8 + 2 * AMPLITUDE_MARGIN), torch.zeros(1, 1)).numpy() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("colour", "light", "tint"),
    [
        ((31, 31, 31), 0, 1),
        ((0, 0, 0), 0, 1),
        ((255, 255, 255), 3, 1),
        ((56, 71, 65), 1, 2),
        ((50, 90, 50), 1, 3),
        ((90, 60, 40), 1, 1),
        ((40, 60, 90), 1, 0),
    ],
)
def test_cover_is_how_light_and_how_green(colour: tuple[int, int, int], light: int, tint: int) -> None:
    pixel = (torch.tensor(colour)[None, :, None, None] / 127.5 - 1).float()
    found = colour_shares(pixel).reshape(len(LIGHT_KNOTS), len(TINT_KNOTS))
    assert found.sum().item() == pytest.approx(1, abs=1e-5)
    assert found[:, tint].sum().item() == pytest.approx(1, abs=0.15)
    assert found[light].sum().item() == pytest.approx(1, abs=0.05)


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


def test_light_land_is_raised_most_where_chains_lack_most_and_water_and_most_woods_are_calmed() -> None:
    made = raised(SOME)
    assert np.array_equal(made.roughness, SOME.roughness)
    gain = made.cover / SOME.cover
    dark, light, water, woods, darkest = CHAIN_GAIN
    assert gain[:, 0, 1] == pytest.approx(dark) and gain[:, -1, 1:] == pytest.approx(np.repeat(light[:, None], 3, 1))
    assert gain[:, :, 0] == pytest.approx(np.repeat((dark * water)[:, None], 4, 1))
    assert gain[:, 0, 2:] == pytest.approx(np.repeat((dark * darkest)[:, None], 2, 1))
    assert gain[:, 1, 2:] == pytest.approx(np.repeat(((dark + light) / 2 * woods)[:, None], 2, 1))
    assert light.argmax() == np.flatnonzero(GSD_KNOTS == 8)[0]  # 256 m
    assert (water <= 1).all() and (woods[3:] <= 1).all() and (woods <= darkest).all()
    assert woods.argmin() == np.flatnonzero(GSD_KNOTS == 6)[0]  # 64 m


class FaintWoods(Run):
    """A stage that draws white noise: of 10 grey levels, as all land has, but of 5 where it is green."""

    def stage(
        self,
        parent: Tensor,
        log2_gsd: Tensor,
        generator: torch.Generator,
        amplitudes: Amplitudes | None = None,
        distrust: Tensor | float = 1.0,
        sites: Sites | Sketches | None = None,
    ) -> Tensor:
        upper = F.interpolate(parent, scale_factor=4, mode="nearest")
        noise = torch.randn(upper[:, :1].shape, generator=generator)
        noise = noise - F.interpolate(F.avg_pool2d(noise, 4), scale_factor=4, mode="nearest")
        green = upper[:, 1:2] > upper[:, :1] + 0.15
        return upper + torch.where(green, 5, 10) / 127.5 * noise


def test_covers_that_chains_draw_too_faint_are_found() -> None:
    colours = torch.full((1, 3, 6, 6), -0.5)
    colours[:, 1, :3] = -0.2  # the upper half is green
    generator, run = torch.Generator().manual_seed(0), FaintWoods(Denoiser(), None, 1, 0.0)
    real = F.interpolate(colours, scale_factor=64) + torch.randn(1, 3, 384, 384, generator=generator) * 10 / 127.5
    wanted, made = covers.chain_energies(run, Amplitudes(), real, torch.tensor([4.0]), generator)
    row = np.flatnonzero(GSD_KNOTS == 4)[0]
    ratio = (wanted / np.maximum(made, 1e-9))[row]
    counted = made[row] > 1
    assert counted[:, 1].any() and counted[:, -1].any() and not made[0].any()  # none at other resolutions
    assert ratio[:, 1][counted[:, 1]] == pytest.approx(1, rel=0.1)
    assert ratio[:, -1][counted[:, -1]] == pytest.approx(4, rel=0.15)


def test_evidence_reaches_knots_that_have_none() -> None:
    sums = np.zeros((2, 3, 4, 3))
    sums[:, 1, 2, 1] = 1, 2
    found = covers.spread_evidence(sums)
    assert (found[:, 1, 0, 1] > 0).all() and found[1] == pytest.approx(2 * found[0])
    assert found[0].argmax() == sums[0].argmax()


def test_calibration_adds_amplitudes_to_the_weights(tmp_path: Path) -> None:
    out = tmp_path / "calibrated.safetensors"
    calibrate(DEFAULT_WEIGHTS, load_pictures(write_imagery(tmp_path)), steps=1, crops=2, out=out)
    before, after = load_weights(), load_weights(out)
    found = after.amplitudes
    assert found is not None and LEAST <= found.roughness.min() < found.roughness.max() <= MOST
    gain = raised(Amplitudes()).cover
    least, most = 0.9 * covers.LEAST * gain.min(), 1.1 * covers.MOST * gain.max()
    assert least <= found.cover.min() < found.cover.max() <= most
    assert sparsity.LEAST <= found.sparsity.min() <= found.sparsity.max() <= sparsity.MOST and found.sparsity.any()
    assert after.metadata.keys() - {AMPLITUDES} == before.metadata.keys() - {AMPLITUDES}
    same = zip(before.denoiser.state_dict().values(), after.denoiser.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)

    again = tmp_path / "again.safetensors"
    calibrate(out, load_pictures(tmp_path), steps=1, crops=2, out=again, sparsity_only=True)
    kept = load_weights(again).amplitudes
    assert kept is not None and np.array_equal(kept.roughness, found.roughness)
    assert (kept.cover / found.cover).std(axis=(1, 2)) == pytest.approx(0, abs=1e-3)  # by resolution alone


def test_a_calibration_that_went_wrong_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Amplitudes(np.full(SHAPES["roughness"], np.nan, np.float32))
    monkeypatch.setattr("model.training.calibrate.measure", lambda *_: broken)
    with pytest.raises(ValueError, match="finite"):
        calibrate(DEFAULT_WEIGHTS, [], steps=1, out=tmp_path / "calibrated.safetensors")
    assert not list(tmp_path.iterdir())


TEXT = SOME.to_text()


def test_amplitudes_are_read_as_written_and_bare_tables_as_those_by_roughness() -> None:
    found = Amplitudes.from_text(TEXT)
    pairs = [(getattr(found, name), getattr(SOME, name)) for name in SHAPES]
    assert all(np.allclose(a, b, atol=1e-4) for a, b in pairs)
    older = Amplitudes.from_text(json.dumps(SOME.roughness.tolist()))
    assert np.allclose(older.roughness, SOME.roughness) and (older.cover == 1).all()


def test_a_sparsity_every_second_octave_as_older_weights_have_it_is_interpolated() -> None:
    older = np.linspace(-0.5, 1, len(GSD_KNOTS))
    found = Amplitudes.from_text(json.dumps({"sparsity": older.tolist()})).sparsity
    assert found.shape == SHAPES["sparsity"] and np.allclose(found[::2], older)
    assert np.allclose(found[1::2], (older[1:] + older[:-1]) / 2)


@pytest.mark.parametrize(
    "text",
    ["[[1]]", "[]", "no", "NaN", "7", '{"cover": [1]}', '{"height": [1]}', TEXT.replace("[[", "[[NaN, ", 1), '{"cover": "a"}'],
)
def test_broken_amplitudes_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (whatever json or numpy says)
        Amplitudes.from_text(text)


def test_a_file_with_a_broken_table_is_named(tmp_path: Path) -> None:
    from model.weights import save_weights

    weights, path = load_weights(), tmp_path / "broken.safetensors"
    save_weights(path, weights.denoiser.state_dict(), weights.denoiser.config, {AMPLITUDES: "[[1]]"})
    with pytest.raises(WeightsError, match=r"broken\.safetensors"):
        load_weights(path)

"""Tuning for few steps: the energy score prefers the truth, and a tuned run ships weights that serve without a carry."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.sampler import TUNED_CARRY
from model.training.balance import nearness
from model.training.direction import direction_shares
from model.training.energy import MARGIN, REACH, Inputs, Run, captured_judge, judge, reach
from model.training.scores import direction_score, energy_score, evenness_score, statistics, statistics_score
from model.training.train import train
from model.training.train_config import TrainConfig
from model.weights import load_weights
from tests.test_training import DEVICE, TINY, write_imagery


def texture(seed: int, contrast: float = 0.2) -> Tensor:
    """Clustered texture [8, 3, 96, 96] of fixed statistics: noise, loud in some places and quiet in others."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(8, 3, 96, 96, generator=generator)
    where = F.interpolate(torch.randn(8, 1, 12, 12, generator=generator), size=96, mode="bilinear")
    return contrast * noise * where.exp()


def score(made: tuple[Tensor, Tensor]) -> float:
    """Mean score of two samples for a real texture."""
    return energy_score(texture(0), *made).mean().item()


def test_the_score_is_least_for_samples_like_the_real_ones() -> None:
    """Fainter, louder, unvaried and everywhere-alike textures are all told from draws of the real distribution."""
    true = score((texture(1), texture(2)))
    even = [torch.randn(8, 3, 96, 96, generator=torch.Generator().manual_seed(s)) * texture(0).std() for s in (3, 4)]
    wrong = {
        "flat": score((texture(1, 0), texture(2, 0))),
        "faint": score((texture(1, 0.1), texture(2, 0.1))),
        "loud": score((texture(1, 0.4), texture(2, 0.4))),
        "without variety": score((texture(1), texture(1))),
        "noise": score((even[0], even[1])),
    }
    assert all(value > 1.03 * true for value in wrong.values()), (true, wrong)
    assert score((texture(0), texture(0))) == pytest.approx(0, abs=0.005)


def test_the_evenness_of_calm_places_is_scored_like_that_of_rough_ones() -> None:
    """Calm places made calmer are nothing to the one score and a large fault to the other."""

    def calmer(image: Tensor) -> Tensor:
        local = F.interpolate(F.avg_pool2d(image.square().mean(1, keepdim=True), 12), scale_factor=12).sqrt()
        return torch.where(local < local.median(), 0.4 * image, image)

    true, wrong = (texture(1), texture(2)), (calmer(texture(1)), calmer(texture(2)))
    losses = [
        (rule(texture(0), *wrong).mean() / rule(texture(0), *true).mean()).item() for rule in (energy_score, evenness_score)
    ]
    assert losses[0] < 1.03 and losses[1] > 1.08
    assert evenness_score(texture(0), texture(0), texture(0)).abs().max() < 1e-4


def lines(seed: int, angles: tuple[float, ...] = (0.3, 1.9)) -> Tensor:
    """Texture [8, 3, 96, 96] that runs along the first of ``angles`` in one half, and along the last in the other."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    halves = []
    for angle in (angles[0], angles[-1]):
        across = (y * math.cos(angle) - x * math.sin(angle)).floor().long() + 200
        halves.append(0.2 * torch.randn(8, 3, 400, generator=generator)[:, :, across])
    return torch.where(x < 48, halves[0], halves[1])


def test_the_direction_of_texture_is_scored() -> None:
    """Lines are told from noise of their contrast, and from lines of another direction; the first is nothing to evenness."""
    real, true = lines(0), direction_score(lines(0), lines(1), lines(2)).mean()
    noise = [0.2 * torch.randn(real.shape, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    turned = (lines(1, (1.1, 2.7)), lines(2, (1.1, 2.7)))
    assert direction_score(real, *noise).mean() > 1.5 * true
    assert direction_score(real, *turned).mean() > 1.5 * true
    assert direction_score(real, real, real).abs().max() < 1e-4


def test_roughness_that_a_picture_shares_is_not_to_be_drawn_place_by_place() -> None:
    """Pictures are each of one roughness. Place by place their energies are those of patchy ones, and only evenness tells."""

    def rough(seed: int, cells: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(48, 3, 64, 64, generator=generator)
        return 0.1 * noise * F.interpolate(torch.randn(48, 1, cells, cells, generator=generator), size=64).exp()

    true, patchy = ((rough(1, cells), rough(2, cells)) for cells in (1, 4))
    ratios = [
        (rule(rough(0, 1), *patchy).mean() / rule(rough(0, 1), *true).mean()).item() for rule in (energy_score, evenness_score)
    ]
    assert ratios[1] > 1.2 and ratios[1] - 1 > 5 * abs(ratios[0] - 1)


def mean_statistics(image: Tensor) -> dict[str, Tensor]:
    return {name: values.mean(0) for name, values in statistics(image).items()}


def test_statistics_tell_what_they_are_named_after() -> None:
    noise = 0.1 * torch.randn(8, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    calm, uneven, along = (mean_statistics(image) for image in (noise, texture(1), lines(1, (0.0,))))
    sparse = mean_statistics(noise * (noise.mean(1, keepdim=True) > 0.12))
    assert torch.allclose(calm["tails"], torch.full((8,), math.log(3)), atol=0.05) and (sparse["tails"] > 2).all()
    lights, shadows = (mean_statistics(sign * noise.pow(2)) for sign in (20, -20))
    assert (lights["skew"] > 0.2).all() and torch.allclose(lights["skew"], -shadows["skew"]) and calm["skew"].abs().max() < 0.05
    assert (uneven["uneven"] > 2 * calm["uneven"]).all()
    assert (
        all(octave.argmax() == 0 and octave[0] > 1 for octave in along["heading"].view(2, 8))
        and calm["heading"].abs().max() < 0.2
    )
    askew = mean_statistics(lines(1, (math.pi / 4,)))
    assert (along["upright"] > 0.5).all() and (askew["upright"] < -0.5).all()
    # One place is rough in all octaves, where noise is alike; loud noise is alike to faint noise.
    assert calm["tied"].abs().max() < 0.2 and (uneven["tied"] > 0.4).all()
    assert all((values - mean_statistics(2 * noise)[name]).abs().max() < 0.06 for name, values in calm.items())


def whole_score(*images: Tensor) -> Tensor:
    real, one, other = (statistics(image) for image in images)
    return statistics_score(real, one, other)


def test_statistics_of_whole_pictures_are_scored_as_a_distribution() -> None:
    """Draws of the real distribution have the least; upside down in brightness, everywhere alike or all one they have more."""
    bright = [texture(seed).abs() for seed in range(3)]
    true = whole_score(*bright).mean()
    noise = [0.3 * torch.randn(8, 3, 96, 96, generator=torch.Generator().manual_seed(seed)).abs() for seed in (3, 4)]
    assert whole_score(bright[0], -bright[1], -bright[2]).mean() > 1.5 * true
    assert whole_score(bright[0], *noise).mean() > 1.5 * true
    assert whole_score(bright[0], bright[1], bright[1]).mean() > 1.3 * true
    assert whole_score(bright[0], bright[0], bright[0]).abs().max() < 1e-4


def test_shares_by_direction_point_along_lines_and_ignore_contrast() -> None:
    shares = direction_shares(lines(0, (0.0,)))
    assert (shares.mean((0, 2, 3)).argmax() == 0) and shares.mean(1).abs().max() < 1e-4
    assert (direction_shares(4 * lines(0)) - direction_shares(2 * lines(0))).abs().mean() < 0.05
    assert not direction_shares(torch.zeros(1, 3, 32, 32)).any()


def test_only_the_last_prediction_learns() -> None:
    calls: list[bool] = []
    weight = torch.ones((), requires_grad=True)

    def denoiser(z: Tensor, parent: Tensor, level: Tensor, t: Tensor, gsd: Tensor) -> Tensor:
        calls.append(torch.is_grad_enabled())
        return z * weight

    made = Run(denoiser, None, 3, TUNED_CARRY).stage(torch.zeros(1, 3, 16, 16), torch.zeros(1), torch.Generator())
    assert calls == [False, False, True] and made.shape == (1, 3, 64, 64) and made.requires_grad


@pytest.mark.parametrize("corner", range(4))
def test_what_reaches_too_far_is_penalised_and_what_does_not_is_not(corner: int) -> None:
    """Pixels that look as far as they may, and eight further, in all directions."""
    inputs = Inputs.draw(torch.zeros(2, 3, 48, 48), torch.zeros(2), torch.Generator().manual_seed(0))
    for distance, found in ((REACH, False), (REACH + 8, True)):

        def denoiser(z: Tensor, parent: Tensor, level: Tensor, t: Tensor, gsd: Tensor, far: int = distance) -> Tensor:
            padded = F.pad(z, (far,) * 4)
            shifted = [padded[..., y : y + z.shape[2], x : x + z.shape[3]] for y in (0, 2 * far) for x in (0, 2 * far)]
            return torch.stack(shifted).sum(0)

        change = reach(Run(denoiser, None, 1, TUNED_CARRY), inputs.first(1), corner)
        assert (change > 1) if found else (change == pytest.approx(0.001))


def test_rounding_is_not_taken_for_reach() -> None:
    """In bf16 the sizes of a convolution's pictures decide how it rounds."""
    inputs = Inputs.draw(torch.zeros(1, 3, 48, 48), torch.zeros(1), torch.Generator().manual_seed(0))
    formats = []

    def denoiser(z: Tensor, parent: Tensor, level: Tensor, t: Tensor, gsd: Tensor) -> Tensor:
        formats.append(F.conv2d(z, torch.ones(3, 3, 1, 1)).dtype)
        return z

    reach(Run(denoiser, torch.bfloat16, 1, TUNED_CARRY), inputs, 0)
    assert formats == [torch.float32] * 2


def test_a_tuned_run_says_so_in_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.train.DenoiserConfig", lambda: TINY)
    options = {"batch": 1, "crop": 128, "device": DEVICE, "log_every": 1, "calibration": 2}
    imagery = write_imagery(tmp_path)
    tuned = load_weights(train(TrainConfig(imagery, tmp_path / "tuned", steps=3, tune=(2, 1), keep_every=2, **options)))  # type: ignore[arg-type]
    assert [path.name for path in sorted((tmp_path / "tuned").glob("ema-*"))] == ["ema-2.safetensors"]
    assert load_weights(tmp_path / "tuned" / "ema-2.safetensors").metadata["recipe"].startswith("energy score, 2 steps")
    assert tuned.carry == TUNED_CARRY and tuned.metadata["tuned_steps"] == "1 2"
    assert tuned.amplitudes is not None
    assert tuned.metadata["recipe"].startswith("energy score, 3 steps")
    plain = load_weights(train(TrainConfig(imagery, tmp_path / "plain", steps=1, **options)))  # type: ignore[arg-type]
    assert plain.carry is None and plain.amplitudes is None


def test_frozen_modules_keep_the_weights_of_the_start(tmp_path: Path) -> None:
    options = {"batch": 1, "crop": 128, "device": DEVICE, "calibration": 0}
    imagery = write_imagery(tmp_path)
    start = train(TrainConfig(imagery, tmp_path / "start", steps=2, tune=(1,), **options))  # type: ignore[arg-type]
    frozen = TrainConfig(imagery, tmp_path / "frozen", steps=2, tune=(1,), init=start, freeze=("middle",), **options)  # type: ignore[arg-type]
    before, after = (load_weights(path).denoiser.state_dict() for path in (start, train(frozen)))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert "after" in changed and "middle" not in changed
    resumed = train(replace(frozen, steps=3, freeze=()))
    assert not torch.equal(after["middle.0.film.bias"], load_weights(resumed).denoiser.state_dict()["middle.0.film.bias"])


@pytest.mark.skipif(not DEVICE.startswith("cuda"), reason="needs a CUDA device, named by TEST_DEVICE")
def test_a_captured_judge_says_and_asks_for_the_same() -> None:
    captured, side = captured_judge(4, 128, DEVICE), 128 - 2 * MARGIN
    for seed in (0, 1):
        torch.manual_seed(seed)
        child, upper, one, other = (0.3 * torch.randn(4, 3, side, side, device=DEVICE) for _ in range(4))
        weight, samples = torch.rand(4, device=DEVICE), (one.requires_grad_(), other.requires_grad_())
        near = nearness(torch.tensor([0.0, 0.0, 4.0, 5.0], device=DEVICE))
        given = (child, upper, *samples, weight, near, torch.rand(2, near.shape[1], device=DEVICE))
        (plain, *_, gaps), (graphed, *_, same) = (f(*given) for f in (judge, captured))
        assert torch.allclose(gaps["contrasts"], same["contrasts"], rtol=1e-3)
        assert plain.item() == pytest.approx(graphed.item(), rel=1e-4)
        wanted, found = (torch.cat(torch.autograd.grad(loss, samples)) for loss in (plain, graphed))
        assert torch.allclose(wanted, found, rtol=1e-2, atol=1e-3 * wanted.abs().max().item())

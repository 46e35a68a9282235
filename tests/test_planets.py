"""Parents read from planets: like the real ones that are asked for, and the critic alone trains below them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.stage import to_bytes, to_unit
from model.training.critic import Adversary
from model.training.imagery import ImageryError
from model.training.planets import SIDE, PlanetParents, acquaint, main
from model.training.sites import Sites
from model.training.train import Trainer
from model.training.train import main as train_main
from model.training.train_config import TrainConfig
from tests.test_training import DEVICE, write_imagery


def plain(levels: list[int], resolutions: list[float]) -> PlanetParents:
    """Parents of one grey level each."""
    pixels = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, SIDE, SIDE)
    sites = torch.tensor([(7, 12, 1000 * index, 0) for index in range(len(levels))])
    return PlanetParents(pixels, torch.tensor(resolutions), Sites(sites))


def test_they_are_of_the_colour_and_the_resolution_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.planets.ALIKE", 1)
    parents = plain([10, 200, 100, 220], [4.0, 4.0, 8.0, 8.0])
    wanted = to_unit(torch.tensor([30, 210, 210], dtype=torch.uint8))[:, None, None, None].expand(-1, 3, 16, 32)
    found, sites = parents.like(wanted, torch.tensor([4.5, 3.0, 20.0]), torch.Generator().manual_seed(0))
    assert found.shape == (3, 3, 16, 32)
    # The last is coarser than all there are: of the coarsest, then.
    assert [round(float(value + 1) * 127.5) for value in found[:, 0, 0, 0]] == [10, 200, 220]
    seeds, zooms, rows, columns = sites.table.T.tolist()
    assert seeds == [7, 7, 7] and zooms == [12, 12, 12] and [row // 1000 for row in rows] == [0, 1, 3]
    assert all(0 <= row % 1000 <= SIDE - 16 and 0 <= column <= SIDE - 32 for row, column in zip(rows, columns, strict=True))
    assert any(columns)
    with pytest.raises(ImageryError, match="512 px at most"):
        parents.like(torch.zeros(1, 3, SIDE + 1, 16), torch.tensor([4.0]), torch.Generator())


def test_what_planets_made_is_all_below_the_base_picture() -> None:
    parents = plain([10, 200, 100], [12.1, 11.2, 8.0])
    assert parents.generated.log2_gsd.tolist() == pytest.approx([11.2, 8.0])
    assert parents.generated.pixels[:, 0, 0, 0].tolist() == [200, 100]
    assert parents.generated.sites.table[:, 2].tolist() == [1000, 2000]
    with pytest.raises(ImageryError, match="make finer ones"):
        _ = plain([10], [12.1]).generated


def test_a_critic_learns_ahead_what_planets_make() -> None:
    torch.manual_seed(0)
    noise = torch.randint(100, 156, (4, 1, SIDE, SIDE), dtype=torch.uint8)
    parents = PlanetParents(noise.expand(-1, 3, -1, -1), torch.full((4,), 4.0), plain([0] * 4, [4.0] * 4).sites)
    smooth = torch.linspace(-0.5, 0.5, 160).expand(2, 3, 160, 160)
    adversary, generator = Adversary(1.0, "cpu", None), torch.Generator().manual_seed(0)
    gaps = []
    for _ in range(7):
        acquaint(adversary, parents, smooth, torch.full((2,), 4.0), torch.ones(2), generator)
        gaps.append(adversary.gap)
    assert adversary.steps == 7
    assert gaps[-1] > gaps[2] + 0.01, gaps


def test_what_is_no_file_of_parents_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "parents.npz"
    with pytest.raises(ImageryError, match="make them by"):
        PlanetParents.load(path)
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ImageryError, match="make them by"):
        PlanetParents.load(path)
    for pixels in (np.zeros((2, 3, 5, 5), np.uint8), np.zeros((2, 3, SIDE, SIDE), np.float32)):
        np.savez(path, pixels=pixels, log2_gsd=np.zeros(2), sites=np.zeros((2, 4), np.int64))
        with pytest.raises(ImageryError, match=f"no parents of {SIDE} px"):
            PlanetParents.load(path)
    # As they were before there was a register.
    np.savez(path, pixels=np.zeros((2, 3, SIDE, SIDE), np.uint8), log2_gsd=np.zeros(2))
    with pytest.raises(ImageryError, match="make them by"):
        PlanetParents.load(path)


def test_a_run_takes_them_in_turn_and_learns_below_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.planets.MAX_ZOOM", 7)
    path = tmp_path / "parents.npz"
    main(["--out", str(path), "--places", "2", "--device", DEVICE])
    parents = PlanetParents.load(path)
    assert parents.pixels.shape == (2, 3, SIDE, SIDE)  # the base picture's
    assert parents.log2_gsd[0] == pytest.approx(np.log2(9784 * np.cos(np.radians(30))), abs=1.3)
    trainer = Trainer(
        TrainConfig(
            write_imagery(tmp_path),
            tmp_path / "run",
            steps=2,
            batch=1,
            crop=128,
            device=DEVICE,
            calibration=0,
            tune=(1,),
            critic=1.0,
            planet_parents=path,
            critic_ahead=1,
            seed=7,  # crops of both steps are whole: the critic has a say
        )
    )
    monkeypatch.setattr("model.training.habits.REAL", 20)
    monkeypatch.setattr("model.training.planets.RENEWED", 1)  # fewer than a batch has
    ahead: list[torch.Size] = []
    monkeypatch.setattr("model.training.train.acquaint", lambda _critic, _parents, real, *_: ahead.append(real.shape))
    assert trainer.adversary is not None
    seen: list[bool] = []
    pull = trainer.adversary.pull

    def watched(own: torch.Tensor | None, *others: torch.Tensor) -> torch.Tensor:
        wanted = pull(own, *others)  # type: ignore[arg-type]
        seen.append(own is None and bool(wanted.any()))
        return wanted

    monkeypatch.setattr(trainer.adversary, "pull", watched)
    before = {name: value.clone() for name, value in trainer.denoiser.state_dict().items()}
    trainer.run()
    assert ahead == [(1, 3, 128, 128)] and trainer.habits.count.sum() > 0.9
    assert seen == [False, True]
    assert any(not torch.equal(value, before[name]) for name, value in trainer.denoiser.state_dict().items())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--critic", "1", "--critic-ahead", "5"], "give --planet-parents as well"),
        (["--critic", "1", "--planet-parents", "parents.npz", "--crop", "576"], "--crop must be at most 512"),
        (["--planet-parents", "parents.npz"], "give --critic as well"),
        (["--critic-from", "checkpoint.pt"], "give --critic as well"),
    ],
)
def test_what_does_not_go_with_them_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        train_main(["--imagery", str(tmp_path), "--out", str(tmp_path / "run"), "--tune", "2", *options])
    assert says in capsys.readouterr().err


def test_what_is_made_takes_the_place_of_parents_of_its_resolution() -> None:
    parents = plain([10, 20, 30, 40], [12.1, 8.2, 3.0, -0.8])
    parents = PlanetParents(parents.pixels.clone(), parents.log2_gsd, parents.sites)
    before = parents.colours.clone()
    made = torch.linspace(-1, 1, 192).expand(4, 3, 192, 192)
    # Of the base picture's resolution none is renewed, nor any by what is finer than the last parents or like none.
    resolutions = torch.tensor([12.0, 7.7, 5.5, -1.5])
    sites = Sites(torch.tensor([(1, 14, 100 * index, 500) for index in range(4)]))
    parents.renew(made, resolutions, sites, torch.Generator().manual_seed(0))
    assert parents.log2_gsd.tolist() == pytest.approx([12.1, 7.7, 3.0, -0.8])
    assert parents.pixels[[0, 2, 3], 0, 0, 0].tolist() == [10, 30, 40]
    assert torch.equal(parents.pixels[1], to_bytes(made[0, :, 32:160, 32:160]))
    assert parents.colours[1].abs().max() < 0.01 and torch.equal(parents.colours[2], before[2])
    assert parents.sites.table.tolist() == [[7, 12, 0, 0], [1, 14, 132, 532], [7, 12, 2000, 0], [7, 12, 3000, 0]]
    parents.renew(torch.zeros(4, 3, SIDE, SIDE), resolutions, sites, torch.Generator())  # all border
    assert parents.pixels[1].float().std() > 0

"""The critic: it asks faint texture to be louder and loud texture to be fainter, and a run with one can be resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.errors import WeightsError
from model.training import critic
from model.training.critic import Adversary, Critic
from model.training.train import Trainer, train
from model.training.train_config import TrainConfig
from model.weights import load_weights
from tests.test_training import DEVICE, write_imagery

PULLS = 24


def texture(seed: int) -> Tensor:
    """Noise in streaks, [2, 3, 64, 64]."""
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    return 0.1 * (noise + noise.roll(1, 3) + noise.roll(2, 3))


def asked_for(loudness: float) -> float:
    """What a critic that has learned for `PULLS` steps adds to the gradient of the loudness of generated texture."""
    adversary, generator = Adversary(1.0, "cpu", None), torch.Generator().manual_seed(0)
    gradient = 0.0
    for step in range(PULLS):
        plain = texture(1000 + step)
        added = adversary.pull(torch.ones_like(plain), texture(step), loudness * plain, torch.zeros(2), generator)
        if step >= PULLS // 2:
            gradient += float((added * plain).sum())
    return gradient


def test_it_pulls_towards_real_contrast() -> None:
    torch.manual_seed(0)
    faint, loud = asked_for(0.3), asked_for(2.0)
    assert faint < 0 < loud  # descending makes the faint one louder, the loud one fainter


def test_its_verdicts_depend_on_the_resolution_and_come_by_scale() -> None:
    torch.manual_seed(0)
    net, x = Critic(), texture(0)
    fine, coarse = net(x, torch.zeros(2)), net(x, torch.full((2,), 9.0))
    assert [tuple(v.shape) for v in fine] == [(2, 1, 16, 16), (2, 1, 8, 8), (2, 1, 4, 4)]
    assert all(not torch.equal(a, b) for a, b in zip(fine, coarse, strict=True))


def test_its_say_grows_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(critic, "WARM_UP", 4)
    adversary, generator = Adversary(0.5, "cpu", None), torch.Generator().manual_seed(0)
    sizes = []
    for step in range(6):
        own = 2 * texture(9)
        sizes.append(float(adversary.pull(own, texture(step), texture(9), torch.zeros(2), generator).norm() / own.norm()))
    # Half the loss's own gradient from the fourth step on, but for the running mean of the critic's.
    assert sizes[0] == pytest.approx(0.5 / 4, rel=1e-3) and sizes[0] < sizes[1] < sizes[3]


def test_a_run_with_a_critic_is_resumed_with_it(tmp_path: Path) -> None:
    options = {"batch": 1, "crop": 128, "device": DEVICE, "log_every": 1, "calibration": 0, "tune": (1,), "critic": 0.5}
    imagery, out = write_imagery(tmp_path), tmp_path / "run"
    weights = load_weights(train(TrainConfig(imagery, out, steps=2, **options)))  # type: ignore[arg-type]
    assert weights.metadata["recipe"].startswith("energy score and critic, 2 steps")
    gone = tmp_path / "gone.pt"  # where a run goes on from its own checkpoint, that of another is not asked for
    resumed = Trainer(TrainConfig(imagery, out, steps=3, critic_from=gone, **options))  # type: ignore[arg-type]
    assert resumed.adversary is not None and resumed.adversary.steps == 2
    saved = torch.load(out / "checkpoint.pt", weights_only=True)["adversary"]["critic"]
    assert all(torch.equal(value.cpu(), saved[name]) for name, value in resumed.adversary.critic.state_dict().items())
    other = Trainer(TrainConfig(imagery, tmp_path / "other", critic_from=out / "checkpoint.pt", **options))  # type: ignore[arg-type]
    assert other.adversary is not None and other.adversary.steps == critic.WARM_UP
    assert all(torch.equal(value.cpu(), saved[name]) for name, value in other.adversary.critic.state_dict().items())
    for nothing in (out / "ema.safetensors", out / "absent.pt"):
        with pytest.raises(WeightsError, match="holds no critic"):
            other.adversary.start_from(nothing)


def test_pictures_that_do_not_count_are_not_asked_for_anything() -> None:
    adversary, generator = Adversary(1.0, "cpu", None), torch.Generator().manual_seed(0)
    made, counts = texture(9).repeat(2, 1, 1, 1), torch.tensor([1.0, 0.0])
    assert not adversary.pull(made, texture(0), made, torch.zeros(2), generator, torch.zeros(2)).any()
    gradient = adversary.pull(made, texture(0), made, torch.zeros(2), generator, counts)
    assert [bool(image.any()) for image in gradient] == 2 * [True, False]

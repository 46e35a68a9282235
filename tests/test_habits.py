"""Habits of all pictures together: strokes along the grid are seen and unlearned where no picture has a real one beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.contrast import GSD_KNOTS
from model.training.habits import NAMES, Habits, habits
from model.training.imagery import ImageryError

LOG2_GSD = 4.0


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of one kind are alike."""
    monkeypatch.setattr("model.training.habits.REAL", 24)


def strokes(seed: int, count: int, share: float | Tensor) -> Tensor:
    """Pictures [count, 3, 64, 64] of strokes along the axes, ``share`` of their energy, and along the diagonals."""
    noise = torch.randn(count, 1, 72, 72, generator=torch.Generator().manual_seed(seed))
    line, slope = torch.ones(1, 1, 1, 9) / 3, torch.eye(9)[None, None] / 3
    axes = F.conv2d(noise, line)[..., 4:-4, :] + F.conv2d(noise, line.mT)[..., 4:-4]
    diagonals = F.conv2d(noise.flip(2), slope) + F.conv2d(noise.flip(3), slope.flip(3))
    share = torch.as_tensor(share)
    picture = share.sqrt() * axes + (1 - share).sqrt() * diagonals
    return 0.1 * picture.expand(-1, 3, -1, -1)


def crops(share: float, whole: float = 1.0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of 4 of these, without end."""
    for seed in itertools.count():
        yield strokes(seed, 4, share), torch.full((4,), LOG2_GSD), torch.full((4,), whole)


def test_strokes_along_the_grid_are_told_from_those_across_it() -> None:
    along, across = habits(strokes(0, 8, 1.0)).mean(0), habits(strokes(0, 8, 0.0)).mean(0)
    assert habits(strokes(0, 8, 1.0)).shape == (8, 12)
    assert (along[-2:] > 0.3).all() and (across[-2:] < -0.3).all()  # `upright`


def test_what_no_picture_alone_shows_is_unlearned() -> None:
    """Strokes along the grid, 0.8 of the energy at first, end at the real share, with no real picture beside what is made."""
    real = Habits()
    real.measure(crops(0.3), 0)
    logit = torch.tensor(1.4, requires_grad=True)
    optimiser = torch.optim.SGD([logit], 0.3)
    for seed in range(24):
        optimiser.zero_grad()
        real.pull(strokes(1000 + seed, 3, logit.sigmoid()), torch.full((3,), LOG2_GSD)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert logit.sigmoid().item() == pytest.approx(0.3, abs=0.1)


def test_gaps_are_told_by_resolution_and_in_units_of_how_much_real_pictures_vary() -> None:
    found = Habits()
    found.measure(crops(0.5), 4)
    assert found.real.shape == found.spread.shape == (len(GSD_KNOTS), 12)
    assert found.gap().abs().max() < 0.01  # nothing made yet
    for seed in range(10):
        found.pull(strokes(seed, 4, 1.0), torch.full((4,), LOG2_GSD))
    knot = int((GSD_KNOTS == LOG2_GSD).argmax())
    assert (found.gap()[knot, -2:] > 1).all()
    assert found.gap()[[k for k in range(len(GSD_KNOTS)) if k != knot]].abs().max() < 0.01
    assert list(found.notes()) == list(NAMES) and not Habits().notes()


def test_mirrored_crops_are_no_measure() -> None:
    def mixed() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for real, mirrored in zip(crops(0.2), crops(1.0, whole=0.0), strict=True):
            yield mirrored
            yield real

    found, pure = Habits(), Habits()
    found.measure(mixed(), 0)
    pure.measure(crops(0.2), 0)
    assert torch.equal(found.real, pure.real)


def test_mirrored_crops_alone_are_refused() -> None:
    with pytest.raises(ImageryError, match="give a smaller --crop"):
        Habits().measure(crops(0.5, whole=0.0), 0)


def test_it_goes_on_from_a_state() -> None:
    first, second = Habits(), Habits()
    first.measure(crops(0.5), 0)
    first.pull(strokes(1, 4, 0.9), torch.full((4,), LOG2_GSD))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.gap(), second.gap())
    pulls = [found.pull(strokes(2, 4, 0.9), torch.full((4,), LOG2_GSD)) for found in (first, second)]
    assert pulls[0] == pulls[1]

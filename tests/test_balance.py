"""What a batch lacks in contrast is told by resolution, and amplitudes give way to what the network has learned to make."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model.contrast import GSD_KNOTS, Amplitudes
from model.training.balance import START, Balance, lacks, nearness
from model.training.scores import contrasts


def grain(seed: int, contrast: float) -> Tensor:
    """White noise [4, 3, 64, 64], alike in all channels."""
    noise = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(seed))
    return (contrast * noise).expand(-1, 3, -1, -1)


def test_contrasts_are_in_proportion_and_flat_pictures_have_next_to_none() -> None:
    assert torch.allclose(contrasts(grain(0, 0.2)), 2 * contrasts(grain(0, 0.1)), rtol=0.01)
    assert contrasts(torch.zeros(4, 3, 64, 64)).max() < 0.03 * contrasts(grain(0, 0.1)).min()


def test_crops_count_at_the_resolutions_next_to_theirs() -> None:
    near = nearness(torch.tensor([-9.0, 4.0, 5.5, 40.0]))
    assert near.shape == (4, len(GSD_KNOTS))
    assert torch.allclose(near.sum(1), torch.ones(4))
    assert near[0, 0] == near[1, 3] == near[3, -1] == 1 and near[2, 3:5].tolist() == [0.25, 0.75]


def test_what_is_lacking_is_told_by_resolution() -> None:
    """Half of the contrast at 4 m and all of it at 1 km; no picture of any other resolution tells of it."""
    share = torch.tensor([0.5, 0.5, 1.0, 1.0])[:, None, None, None]
    near = nearness(torch.tensor([2.0, 2.0, 10.0, 10.0]))
    lack = lacks(grain(0, 0.2), share * grain(1, 0.2), share * grain(2, 0.2), near)
    assert lack.shape == (2, len(GSD_KNOTS))
    assert lack[:, 2].exp().tolist() == pytest.approx([0.5, 0.5], abs=0.03)
    assert lack[:, 6].exp().tolist() == pytest.approx([1.0, 1.0], abs=0.03)
    assert not lack[:, [0, 1, 3, 4, 5, 7]].any()


def test_amplitudes_give_way_to_contrast_that_is_learned() -> None:
    balance, amplitudes = Balance(), Amplitudes()
    near, lack = nearness(torch.full((4,), 4.0)), torch.zeros(2, len(GSD_KNOTS))
    for _ in range(START):
        lack[:, 3] = np.log(0.8)
        balance.add(lack, near)
    assert np.allclose(balance.served(amplitudes).roughness, 1, atol=1e-6)
    for _ in range(400):
        lack[:, 3] = 0
        balance.add(lack, near)
    served = balance.served(amplitudes)
    assert np.allclose(served.roughness[3], 0.8, atol=0.001)
    assert np.allclose(np.delete(served.roughness, 3, 0), 1)
    assert served.cover is amplitudes.cover
    assert balance.notes()["16 m"] == pytest.approx(1, abs=0.001)

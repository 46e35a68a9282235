"""Contrast is summed by resolution, what it lacks is asked for, and amplitudes give way to what the network has learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model.contrast import GSD_KNOTS, Amplitudes
from model.training.balance import START, Balance, batch_contrasts, nearness
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
    near, balance = nearness(torch.tensor([2.0, 2.0, 10.0, 10.0])), Balance()
    balance.add(batch_contrasts(grain(0, 0.2), share * grain(1, 0.2), share * grain(2, 0.2), near), near)
    lack = balance.lack()
    assert lack.shape == (2, len(GSD_KNOTS))
    assert lack[:, 2].exp().tolist() == pytest.approx([0.5, 0.5], abs=0.03)
    assert lack[:, 6].exp().tolist() == pytest.approx([1.0, 1.0], abs=0.03)
    assert not lack[:, [0, 1, 3, 4, 5, 7]].any()
    assert balance.notes()["4 m"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("hedging", [0.0, 5.0])
def test_what_is_asked_for_ends_where_contrast_is_real_whatever_another_loss_wants(hedging: float) -> None:
    """Gains learned crop by crop of two kinds of land whose roughness no gain foretells, with ``hedging`` of a loss
    that is least at 0.6: by the mean square of what is lacking alone 5 would leave 0.87."""
    balance, gain = Balance(), torch.full((1,), 0.5, requires_grad=True)
    optimiser, near = torch.optim.SGD([gain], 0.005), nearness(torch.full((4,), 4.0))
    for seed in range(500):
        real, one, other = (grain(3 * seed + n, (0.05, 0.3)[(seed + n) % 2]) for n in range(3))
        pull = balance.pull()
        sums = batch_contrasts(real, gain * one, gain * other, near)
        optimiser.zero_grad()
        (4 * (pull * sums[1]).sum() + hedging * (gain - 0.6).square().sum()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        balance.add(sums, near)
    assert gain.item() == pytest.approx(1, abs=0.1)
    assert (balance.asked[:, 3] < -0.15).all() == bool(hedging)


def test_amplitudes_give_way_to_contrast_that_is_learned_and_go_on_after_a_stop() -> None:
    """Those that raise, to 1 at least; where the network has become fainter they rise."""
    raised = np.tile(np.array([0.7, 1, 1.1, 1.2, 1.3, 1.5, 1.8], np.float32), (len(GSD_KNOTS), 1))
    balance, amplitudes = Balance(), Amplitudes(roughness=raised)
    near, sums = nearness(torch.tensor([4.0, 8.0])), torch.zeros(2, 2, len(GSD_KNOTS))
    sums[:, :, [3, 5]] = torch.tensor([[1.0], [0.8]])[..., None]
    for _ in range(START):
        balance.add(sums, near)
    assert np.allclose(balance.served(amplitudes).roughness, raised, atol=1e-6)
    sums[1, :, 3], sums[1, :, 5] = 1, 0.4
    for _ in range(600):
        balance.add(sums, near)
    again = Balance()
    again.load_state_dict(balance.state_dict())
    for each in (balance, again):
        served = each.served(amplitudes)
        assert np.allclose(served.roughness[3], [0.7, 1, 1, 1, 1.04, 1.2, 1.44], atol=0.002)
        assert np.allclose(served.roughness[5], 2 * raised[5], atol=0.004)
        assert np.allclose(np.delete(served.roughness, (3, 5), 0), raised[0])
        assert served.cover is amplitudes.cover

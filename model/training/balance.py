"""How much contrast the network makes beside real crops, by ground resolution: what a batch lacks, and what a run has changed.

Scores of single places are least for detail that is a little too faint, as a network of finite size hedges, and a cascade
multiplies that stage by stage. Over many batches the real contrast is known well, and what is made lacks none of it for being
drawn elsewhere. What a run changes its chains are told: their amplitudes were measured before it (`Balance`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.contrast import GSD_KNOTS, Amplitudes, shares
from model.training.scores import contrasts

START, KEPT = 60, 0.96
"""Batches whose mean is what the network made at first, and how much of a running sum is kept from one batch to the next."""

INSIST, ALIKE = 0.03, torch.tensor([[[0.25, 0.5, 0.25]]])
"""By how much of the lack of each batch what is asked for grows, and what the resolutions next to one count for in that."""
MOST = 1.0
"""Logarithm that is asked for at most beside the lack."""

_TINY = 1e-6


def nearness(log2_gsd: Tensor, knots: NDArray[np.float64] = GSD_KNOTS) -> Tensor:
    """What each of ``knots`` counts for at resolutions [B]: [B, K], 0 to 1."""
    bounded = log2_gsd.clamp(float(knots[0]), float(knots[-1]))
    return shares(bounded[:, None, None, None], knots)[..., 0, 0]


def batch_contrasts(real: Tensor, one: Tensor, other: Tensor, near: Tensor) -> Tensor:
    """Sums of the contrast of crops ``real`` and of two samples ``one`` and ``other``, all [B, 3, S, S], in both octaves at
    each resolution, where crops count by ``near`` [B, K]: [2, 2, K], the real ones first."""
    return torch.stack([contrasts(real).T @ near, (contrasts(one) + contrasts(other)).T @ near / 2])


class Balance:
    """Running sums of contrasts in both octaves by `GSD_KNOTS`, [2, K], of real crops and of what is made beside them."""

    def __init__(self) -> None:
        self.batches = 0
        self.first = torch.full((2, 2, len(GSD_KNOTS)), _TINY)
        """Of the first `START` batches: the real ones, and those made."""
        self.last = self.first.clone()
        self.count = torch.full((len(GSD_KNOTS),), _TINY)
        """Of crops, as many as running sums are of."""
        self.asked = torch.zeros(2, len(GSD_KNOTS))
        """What has been lacking for long, as a logarithm: the multipliers of an augmented Lagrangian."""

    def add(self, sums: Tensor, near: Tensor) -> None:
        """Takes in a batch's `batch_contrasts` and its crops."""
        sums = sums.detach().cpu()
        if self.batches < START:
            self.first += sums
        self.last = KEPT * self.last + sums
        self.count = KEPT * self.count + near.sum(0).cpu()
        self.batches += 1
        lacking, known = (F.conv1d(v[:, None], ALIKE, padding=1)[:, 0] for v in (self.count * self.lack(), self.count[None]))
        self.asked = (self.asked + INSIST * lacking / known).clamp(-MOST, MOST)

    def pull(self) -> Tensor:
        """What the contrast made in a batch is to be multiplied by, [2, K], for a loss whose gradient is that of the mean
        square of `lack` over all crops, and of its product with what is ``asked``: the square alone would leave that lacking by
        which all other scores are less. A batch alone knows too little: what one crop lacks is mostly chance."""
        batches = (1 - KEPT**self.batches) / (1 - KEPT)
        share = self.count / self.count.sum()
        return 2 * share * (self.lack() + self.asked) * batches / self.last[1]

    def lack(self) -> Tensor:
        """Logarithms of what is made over what is real, [2, K]; 0 where there was nothing."""
        return (self.last[1] / self.last[0]).log()

    def served(self, amplitudes: Amplitudes) -> Amplitudes:
        """``amplitudes`` measured before the first batch, divided by what the network's own contrast has grown by since. Those
        that raise give way until they are 1: a chain that is too faint without them is what the network is to mend."""
        if self.batches < START:
            return amplitudes
        grown = (self.lack() - (self.first[1] / self.first[0]).log()).mean(0).exp().numpy()[:, None]
        kept = np.maximum(amplitudes.roughness / grown, amplitudes.roughness.clip(max=1))
        return replace(amplitudes, roughness=kept.astype(np.float32))

    def notes(self) -> dict[str, float]:
        """What the network has of real contrast now, by metres per pixel, for a log."""
        found = self.lack().mean(0).exp().tolist()
        return {f"{2.0**knot:g} m": round(share, 3) for knot, share in zip(GSD_KNOTS, found, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        vars(self).update({name: value.cpu() if isinstance(value, Tensor) else value for name, value in state.items()})

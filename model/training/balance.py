"""How much contrast the network makes beside real crops, by ground resolution: what a batch lacks, and what a run has changed.

Scores of single places are least for detail that is a little too faint, as a network of finite size hedges, and a cascade
multiplies that stage by stage. Over a whole batch the real contrast is known well, and what is made lacks none of it for being
drawn elsewhere. What a run changes its chains are told: their amplitudes were measured before it (`Balance`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from model.contrast import GSD_KNOTS, Amplitudes, shares
from model.training.scores import contrasts

START, KEPT = 60, 0.97
"""Batches whose mean is what the network made at first, and how much of a running mean is kept from one batch to the next."""


def nearness(log2_gsd: Tensor) -> Tensor:
    """What each of `GSD_KNOTS` counts for at resolutions [B]: [B, K], 0 to 1."""
    bounded = log2_gsd.clamp(float(GSD_KNOTS[0]), float(GSD_KNOTS[-1]))
    return shares(bounded[:, None, None, None], GSD_KNOTS)[..., 0, 0]


def lacks(real: Tensor, one: Tensor, other: Tensor, near: Tensor) -> Tensor:
    """Logarithms of what two samples ``one`` and ``other`` have of the contrast of ``real``, all [B, 3, S, S], in both octaves
    at each resolution: [2, K]. Crops count there by ``near`` [B, K]; 0 where there are none."""
    there, made = contrasts(real), (contrasts(one) + contrasts(other)) / 2
    tiny = 1e-6
    return ((made.T @ near + tiny) / (there.T @ near + tiny)).log()


class Balance:
    """Running means of what the network has of real contrast, by `GSD_KNOTS`."""

    def __init__(self) -> None:
        self.steps = 0
        self.first = np.zeros((2, len(GSD_KNOTS)))
        """Sums of what the first `START` batches had times their crops, and of these."""
        self.last = np.zeros_like(self.first)

    def add(self, lack: Tensor, near: Tensor) -> None:
        """Takes in what `lacks` found, the mean of both octaves."""
        count = near.sum(0)
        found = torch.stack([lack.mean(0) * count, count]).double().cpu().numpy()
        if self.steps < START:
            self.first += found
        self.last = KEPT * self.last + found
        self.steps += 1

    def served(self, amplitudes: Amplitudes) -> Amplitudes:
        """``amplitudes`` measured before the first step, divided by what the network's own contrast has grown by since."""
        if self.steps < START:
            return amplitudes
        first, last = (sums / np.maximum(count, 1e-6) for sums, count in (self.first, self.last))
        return replace(amplitudes, roughness=(amplitudes.roughness * np.exp(first - last)[:, None]).astype(np.float32))

    def notes(self) -> dict[str, float]:
        """What the network has of real contrast now, by metres per pixel, for a log."""
        return {
            f"{2.0**knot:g} m": round(float(np.exp(total / max(count, 1e-6))), 3)
            for knot, total, count in zip(GSD_KNOTS, *self.last, strict=True)
        }

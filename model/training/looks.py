"""The energy score of how things look: between features of a critic that has learned to tell generated from real.

Patches of a few pixels do not see what a town or a ridge is. A critic of an earlier run (`model.training.critic`) does, at
three scales. It is frozen, and its features of real and generated pictures are compared place by place in the energy score,
least for draws of the real distribution: no race between two networks, which batches of three lose.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from model.precision import autocasting
from model.training.critic import Critic

WEIGHT = 1.0
"""Of a scale's score beside that of an octave's patches."""
SETTLING = 32
"""Batches of real crops that each feature's spread is measured on."""
_FLOOR = 0.03


class Looks:
    """The features, in units of their spread in real pictures."""

    def __init__(self, checkpoint: Path, device: str, autocast: torch.dtype | None) -> None:
        """``checkpoint``: that of a run with a critic. Raises ValueError where it has none."""
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if not state.get("adversary"):
            raise ValueError(f"{checkpoint} holds no critic; name the checkpoint.pt of a run with --critic.")
        self.critic = Critic().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.critic.load_state_dict(state["adversary"]["critic"])
        self.critic.requires_grad_(False)
        self.autocast = autocast
        self.spread: list[Tensor] = []

    def settle(self, crops: Iterable[Tensor]) -> None:
        """Measures the spread of each feature on real crops [B, 3, S, S] on [-1, 1]."""
        sums: list[Tensor] = []
        count = 0
        with torch.no_grad():
            for crop in crops:
                found = self._features(crop, crop)
                squares = [f.var((0, 2, 3)) for f in found]
                sums = [a + b for a, b in zip(sums, squares, strict=True)] if sums else squares
                count += 1
        self.spread = [(total / count + 1e-4).sqrt()[:, None, None] for total in sums]

    def score(self, real: Tensor, one: Tensor, other: Tensor, parent: Tensor) -> Tensor:
        """The fair energy score [B] of two samples for ``real``, all [B, 3, S, S], of one ``parent`` [B, 3, S / 4, S / 4]."""
        batch = len(real)
        every = self._features(torch.cat([real, one, other]), parent.repeat(3, 1, 1, 1))
        total = real.new_zeros(batch)
        for features, spread in zip(every, self.spread, strict=True):
            a, b, c = torch.split(features / spread, batch)
            total = total + WEIGHT / 2 * (_distance(a, b) + _distance(a, c) - _distance(b, c))
        return total

    def _features(self, pictures: Tensor, parent: Tensor) -> list[Tensor]:
        # By the parent, which all share: units that knew the real child would move what the score is least for.
        middle = parent.mean((2, 3), keepdim=True)
        contrast = parent.std((2, 3), keepdim=True).mean(1, keepdim=True) + _FLOOR
        x = ((pictures - middle) / contrast).contiguous(memory_format=torch.channels_last)
        with autocasting(x.device, self.autocast):
            found = self.critic.looks(x)
        return [features.float() for features in found]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean over places of the root mean square distance of features: [B]."""
    return ((a - b).square().mean(1) + 1e-6).sqrt().mean((1, 2))

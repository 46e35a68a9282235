"""Habits of what planets are made of: by how much the statistics of all pictures together differ from real ones.

Below parents from planets there is no real picture to score against, and some stages below the base picture texture runs along
the grid twice as much as in real imagery, and in any other direction half as much. What one picture is like says nothing: a
real one may run any way. What many are like does, by ground resolution, in units of how much real ones vary (`Habits`), as in
texture synthesis by statistics (Portilla and Simoncelli 2000) and moment matching (arXiv 1502.02761).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.contrast import GSD_KNOTS
from model.training.balance import nearness
from model.training.imagery import ImageryError
from model.training.scores import statistics

NAMES = ("heading", "skew", "tails", "tied", "uneven", "upright")
"""Statistics, two of each: of the fine and the coarse octave; of tails along the axes and the diagonals, and what is uneven
over 4 and 16 px."""
REAL = 1200
"""Crops that real habits are measured on."""
MOST_DRAWN = 8
"""Times as many are drawn for that at most: of a folder of small images most are mirrored."""
FEW = 12
"""Crops of a resolution that are too few for medians: then all count."""
KEPT = 0.97
"""How much of a running sum is kept from one batch to the next."""
DOUBT = 4.0
"""Pictures of a resolution by which what is known of those made is taken for less."""
_LEAST, _TINY = 0.02, 1e-6


def habits(image: Tensor) -> Tensor:
    """Of pictures [B, 3, S, S] on [-1, 1], the `statistics` of `NAMES`, [B, J]; of headings, which sum to 0, their sizes."""
    found = statistics(image)
    found["tails"] = torch.stack([half.mean(1) for half in found["tails"].chunk(2, 1)], 1)
    found["heading"] = torch.stack([(half.square().mean(1) + _TINY).sqrt() for half in found["heading"].chunk(2, 1)], 1)
    return torch.cat([found[name] for name in NAMES], 1)


class Habits:
    """Real `habits` by `GSD_KNOTS`, and running means of those of what is made, [K, J]."""

    def __init__(self) -> None:
        self.real, self.spread, self.made = (torch.zeros(0) for _ in range(3))
        self.count = torch.full((len(GSD_KNOTS), 1), _TINY)

    def measure(self, crops: Iterator[tuple[Tensor, Tensor, Tensor]], margin: int, device: str = "cpu") -> None:
        """Takes real ones from `REAL` of ``crops``, which come in batches, without their ``margin``; ``device`` is that of what
        will be made. Mirrored ones are left out: no picture is symmetric. Raises `ImageryError` if there are no others."""
        found: list[Tensor] = []
        near: list[Tensor] = []
        drawn = 0
        while sum(len(v) for v in near) < REAL and drawn < MOST_DRAWN * REAL:
            child, log2_gsd, whole = next(crops)
            drawn += len(child)
            kept = whole.bool()
            if kept.any():
                found.append(habits(F.pad(child[kept].float(), (-margin,) * 4)))
                near.append(nearness(log2_gsd[kept].float()))
        if not found:
            raise ImageryError("No image is as large as a crop, so what real ones are like is unknown; give a smaller --crop.")
        values, knots = torch.cat(found), torch.cat(near).argmax(1)
        real, spread = [], []
        for knot in range(len(GSD_KNOTS)):
            own = values[knots == knot] if (knots == knot).sum() >= FEW else values
            low, middle, high = own.quantile(torch.tensor([0.16, 0.5, 0.84]), 0)
            real.append(middle)
            spread.append((high - low) / 2 + _LEAST)
        self.real, self.spread, self.count = (v.to(device) for v in (torch.stack(real), torch.stack(spread), self.count))
        self.made = torch.zeros_like(self.real)

    def count_in(self, image: Tensor, log2_gsd: Tensor, kept: float = KEPT) -> tuple[Tensor, Tensor]:
        """Takes in made pictures [B, 3, S, S] of resolutions [B]; ``kept``: of what was known before. Returns their habits
        [B, J], and what they count for at each resolution [B, K]."""
        found, near = habits(image), nearness(log2_gsd)
        self.made = kept * self.made + (near.T @ found).detach()
        self.count = kept * self.count + near.sum(0)[:, None]
        return found, near

    def pull(self, image: Tensor, log2_gsd: Tensor) -> Tensor:
        """Loss of made pictures [B, 3, S, S] of resolutions [B] whose gradient is that of half the mean square of what all that
        were made lately differ from real ones."""
        found, near = self.count_in(image, log2_gsd)
        return (near @ (self.gap() / self.spread) * found).mean()

    def gap(self, doubt: float = DOUBT) -> Tensor:
        """By how much what is made exceeds what is real, in units of how much real pictures vary, [K, J]; with ``doubt`` less
        where few were made, and 0 where none were."""
        return (self.made / self.count - self.real) / self.spread * self.count / (self.count + doubt)

    def notes(self) -> dict[str, list[float]]:
        """Means of `gap` over resolutions, for a log; nothing before `measure`."""
        means = self.gap().mean(0).view(-1, 2).tolist() if len(self.real) else []
        return {name: [round(v, 3) for v in pair] for name, pair in zip(NAMES, means, strict=False)}

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        vars(self).update(state)

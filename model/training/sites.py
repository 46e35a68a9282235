"""Where in the world's land register pictures lie: crops are given a place in it, parents from planets have one.

The noise of planets holds parcels (`model.parcels`), the same at every zoom: what training draws must too, or a chain's next
stage would find none of the edges that the one before has made of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.land_use import LAND_MARGIN
from model.parcels import Register, lay, zoom_near

_SEEDS, _PLACES, _STEP = 1 << 31, 1 << 12, 256
"""Of seeds and of places by row and by column so many are drawn from; these lie as many px apart, so that those four stages
above are whole pixels."""


@dataclass(frozen=True, eq=False)
class Sites:
    """``table`` int64 [B, 4]: seed, zoom, row and column of each picture's first pixel."""

    table: Tensor

    @staticmethod
    def draw(log2_gsd: Tensor, generator: torch.Generator) -> Sites:
        """Some for pictures of resolutions [B]."""
        zoom = torch.tensor([zoom_near(gsd) for gsd in log2_gsd.tolist()])
        seed, row, column = (
            torch.randint(limit, (len(zoom),), generator=generator, device=generator.device).cpu()
            for limit in (_SEEDS, _PLACES, _PLACES)
        )
        return Sites(torch.stack([seed, zoom, row * _STEP, column * _STEP], 1))

    def of(self, which: Tensor) -> Sites:
        """Those that ``which``, indices or truths, names."""
        return Sites(self.table[which])

    def first(self, count: int) -> Sites:
        """Those of the first ``count`` pictures."""
        return Sites(self.table[:count])

    def above(self, stages: int) -> Sites:
        """Those of the pictures ``stages`` above; below, if it is negative."""
        table = self.table.clone()
        table[:, 1] -= 2 * stages
        table[:, 2:] = table[:, 2:] >> 2 * stages if stages > 0 else table[:, 2:] << -2 * stages
        return Sites(table)

    def moved(self, rows: int | Tensor, columns: int | Tensor) -> Sites:
        """Those of windows that begin so many pixels further on."""
        table = self.table.clone()
        table[:, 2] += rows
        table[:, 3] += columns
        return Sites(table)

    def lay(self, noise: Tensor, parent: Tensor) -> Tensor:
        """``noise`` [B, 3, 4h, 4w] of children of ``parent`` [B, 3, h, w] with what lies in the register there."""
        wide = F.pad(parent, (LAND_MARGIN,) * 4, mode="replicate")
        sides = [np.arange(side) for side in noise.shape[2:]]
        sites = []
        for seed, zoom, row, column in self.table.tolist():
            sites.append((seed, Register.of_picture(zoom), sides[0] + row, sides[1] + column))
        return lay(noise, wide, sites).noise

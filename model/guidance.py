"""What the denoiser is told besides the parent: ground resolution by row, and how far to distrust fine detail in it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.denoiser import ALIGNMENT
from model.grid import ground_resolution, mirror_rows, world_size

RECIPE = 4
"""Goes up when anything below changes what is generated; part of a planet's identity."""

LEVEL_REACH = 2
"""Parent pixels around a pixel that its conditioning level depends on."""

_ONE_ROW_FROM = 12
"""From this zoom on the resolution changes by less than 0.2 % over a block, and one value serves a window."""

# By the child's log2 metres per pixel: amplitude of the conditioning noise. It has the denoiser lean less on the parent's
# finest detail where that is likely made up by the stage before, most at 100 to 500 m, where land came out in clumps.
_GSD = np.array([2.0, 5.0, 7.0, 9.0, 11.5])
_LEVEL = np.array([0.03, 0.03, 0.04, 0.04, 0.03])


def resolution_rows(zoom: int, top: int, height: int) -> NDArray[np.float32]:
    """log2 metres per pixel for a window of rows at ``zoom``: one value per `ALIGNMENT` rows, or one in all at deep zooms.

    The window may reach beyond the poles, where rows are mirrored. Shape [height / ALIGNMENT] or [1].
    """
    step = height if zoom >= _ONE_ROW_FROM else ALIGNMENT
    rows = mirror_rows(np.arange(top, top + height, step) + step // 2, world_size(zoom))
    return np.log2(ground_resolution(zoom, rows)).astype(np.float32)


def condition_level(wide: Tensor, margin: int, log2_gsd: Tensor) -> Tensor:
    """Conditioning noise's amplitude on [-1, 1], which the denoiser is told as well, [B, 1, h, w].

    ``wide``: parents [B, 3, h + 2 margin, w + 2 margin]. ``log2_gsd`` [B, R]: of the child, R = 1 or h / 2. By resolution, and
    less on water (noise becomes waves of land there), from the parent's colour around each pixel: a pure and smooth function of
    pixels within `LEVEL_REACH` <= ``margin``.
    """
    level = _rows(np.interp(log2_gsd.cpu().numpy(), _GSD, _LEVEL), wide)
    smooth = F.avg_pool2d(wide, 2 * LEVEL_REACH + 1, stride=1)
    spare = margin - LEVEL_REACH
    red, green, blue = smooth[..., spare : smooth.shape[2] - spare, spare : smooth.shape[3] - spare].unbind(1)
    return level * (1 - 0.85 * torch.sigmoid((blue - torch.maximum(red, green) - 0.06) * 40)[:, None])


def _rows(values: NDArray[np.float64], like: Tensor) -> Tensor:
    """Values [B, R] as a column [B, 1, R or 2 R, 1]: one per parent row where there is one per 8 child rows."""
    column = torch.from_numpy(values.astype(np.float32)).to(like.device)[:, None, :, None]
    return column.repeat_interleave(2, 2) if column.shape[2] > 1 else column

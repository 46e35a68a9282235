"""How strong generated detail is: an amplitude by ground resolution and by the roughness of the parent around a pixel.

Few steps of a network of finite size hedge: rough places come out too faint and smooth ones too strong, which a cascade
multiplies stage by stage. `model.training.calibrate` measures by how much, on the imagery that the weights were trained on, and
the weights file carries the table. An amplitude is a pure function of the resolution and of the parent's pixels within
`ROUGHNESS_REACH` and a few more, which the halo covers, so that it has no seams.
"""

from __future__ import annotations

import json

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

RECIPE = 3
"""Goes up when anything here changes what is generated; part of a planet's identity."""

ROUGHNESS_REACH = 2
"""Parent pixels around a pixel that its roughness depends on."""
GSD_KNOTS = np.arange(-2.0, 13.0, 2.0)
"""log2 of the child's metres per pixel; constant beyond the first and the last."""
ROUGHNESS_KNOTS = np.arange(-1.0, 5.5, 1.0)
"""log2 of the parent's standard deviation around a pixel, in grey levels; constant beyond the first and the last."""

SMOOTH_MARGIN = 2
AMPLITUDE_MARGIN = ROUGHNESS_REACH + SMOOTH_MARGIN
"""Parent pixels that `amplitude` needs beyond a window."""

Table = NDArray[np.float32]
"""Amplitudes, [len(GSD_KNOTS), len(ROUGHNESS_KNOTS)]."""


def roughness(wide: Tensor) -> Tensor:
    """log2 of the standard deviation of luminance within `ROUGHNESS_REACH`, in grey levels, bounded by the knots.

    ``wide``: parents [B, 3, h + 2 `ROUGHNESS_REACH`, w + 2 `ROUGHNESS_REACH`] on [-1, 1]. Returns [B, 1, h, w].
    """
    side = 2 * ROUGHNESS_REACH + 1
    grey = wide.mean(1, keepdim=True) * 127.5
    mean = F.avg_pool2d(grey, side, stride=1)
    # About a constant: squares of grey levels far from 0 would lose the small variances.
    variance = F.avg_pool2d(grey.square(), side, stride=1) - mean.square()
    low, high = ROUGHNESS_KNOTS[[0, -1]]
    return (variance.clamp(min=0) + 1e-3).log2().div(2).clamp(float(low), float(high))


def shares(values: Tensor, knots: NDArray[np.float64]) -> Tensor:
    """What each knot counts for linear interpolation at ``values`` [B, 1, h, w] between even knots: [B, K, h, w]."""
    at = torch.from_numpy(knots.astype(np.float32)).to(values.device)[:, None, None]
    return (1 - (values - at).abs() / float(knots[1] - knots[0])).clamp(min=0)


def amplitude(table: Table, wide: Tensor, log2_gsd: Tensor) -> Tensor:
    """Amplitudes of the detail of children [B, 1, 4h, 4w], smooth from one parent pixel to the next. With a resolution for each
    row the 4 outermost pixels depend on where the border is: they belong to the halo.

    ``wide``: parents [B, 3, h + 2 m, w + 2 m] with m = `AMPLITUDE_MARGIN`. ``log2_gsd`` [B, R]: log2 of metres per child pixel,
    R = 1 or h / 2.
    """
    gsd = log2_gsd.double().cpu().numpy()
    rows = np.stack([np.interp(gsd, GSD_KNOTS, column) for column in table.T], 1)  # [B, K, R]
    by_knot = torch.from_numpy(rows.astype(np.float32)).to(wide.device)[..., None]
    if by_knot.shape[2] > 1:
        by_knot = F.pad(by_knot.repeat_interleave(2, 2), (0, 0, SMOOTH_MARGIN, SMOOTH_MARGIN), mode="replicate")
    coarse = (shares(roughness(wide), ROUGHNESS_KNOTS) * by_knot).sum(1, keepdim=True)
    border = 4 * SMOOTH_MARGIN
    return F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)[..., border:-border, border:-border]


def table_to_text(table: Table) -> str:
    """As it stands in the metadata of a weights file."""
    return json.dumps([[round(float(value), 4) for value in row] for row in table])


def table_from_text(text: str) -> Table:
    """Raises `ValueError` if ``text`` is no table of finite numbers of the right shape."""
    table = np.array(json.loads(text), np.float32)
    if table.shape != (len(GSD_KNOTS), len(ROUGHNESS_KNOTS)) or not np.isfinite(table).all():
        raise ValueError(f"the amplitudes are not {len(GSD_KNOTS)} x {len(ROUGHNESS_KNOTS)} finite numbers")
    return table

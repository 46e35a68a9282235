"""Which way texture runs: shares of local energy by direction, through long narrow filters.

What makes a ridge, a field's edge or a street is that detail lies along one direction for many pixels, which differences
between neighbours hardly see. Quadrature pairs of filters four times longer than wide do (Gabor-like, as in curvelets and in
the texture models of Portilla and Simoncelli 2000).
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

DIRECTIONS = 8
"""Over half a turn; lines of a filter's length and width are told apart about so finely."""
ALONG, ACROSS = 3.5, 0.9
"""Standard deviations of a filter's Gaussian, in pixels."""
REACH = 8
"""Pixels from a filter's middle to its end."""
WINDOW = 8
"""Side of the windows that energies are summed over, in pixels."""
_FAINT = (2 / 127.5) ** 2
"""Energies of two grey levels and less have no direction."""


def direction_shares(octave: Tensor) -> Tensor:
    """Logarithms of the energies of luminance in ``octave`` [B, 3, h, w] by direction, less their mean over directions:
    [B, `DIRECTIONS`, h', w'], for every window of `WINDOW` px at every half of it that filters can see wholly. All 0 where no
    direction is preferred. h and w are at least 2 `REACH` + `WINDOW`."""
    grey = octave.mean(1, keepdim=True)
    filters = _filters(grey.device)
    seen = F.conv2d(grey, filters, stride=2).square()
    energies = F.avg_pool2d(seen[:, :DIRECTIONS] + seen[:, DIRECTIONS:], WINDOW // 2, stride=WINDOW // 4)
    shares = (energies + _FAINT).log()
    return shares - shares.mean(1, keepdim=True)


@cache
def _filters(device: torch.device) -> Tensor:
    """Lines, then edges, in every direction: [2 `DIRECTIONS`, 1, side, side], each of norm 1."""
    span = torch.arange(-REACH, REACH + 1.0)
    y, x = torch.meshgrid(span, span, indexing="ij")
    angle = torch.arange(DIRECTIONS)[:, None, None] * math.pi / DIRECTIONS
    along, across = x * angle.cos() + y * angle.sin(), (y * angle.cos() - x * angle.sin()) / ACROSS
    bell = (-(along**2) / (2 * ALONG**2) - across**2 / 2).exp()
    lines, edges = bell * (1 - across**2), bell * across
    filters = torch.cat([lines - lines.mean((1, 2), keepdim=True), edges])[:, None]
    return (filters / filters.square().sum((2, 3), keepdim=True).sqrt()).to(device)

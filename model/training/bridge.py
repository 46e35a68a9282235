"""One contrast for all sources: what the Blue Marble lacks in fine detail beside medium imagery of the same ground resolution.

The Blue Marble is calm: over land that Landsat and Sentinel-2 show as well it has half of their contrast at the same ground
resolution, less in its finest octave (`bench.source_contrast`; MODIS blurs its pixels, mosaics are averages over a month, and
finer images come stretched). A cascade that learns coarse zooms from the one and fine zooms from the others breaks where they
meet: strong fine detail on parents calmer than any that it was taught on is grain, not land. So its detail is raised, by
octave.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.base_contrast import NOISE, STRONG, WATER
from model.stage import double

OCTAVES = np.array([9.0, 10.0, 11.0, 12.0, 13.0, 14.0])
"""log2 of the metres that an octave's finest detail measures."""
GAINS = np.array([2.2, 1.8, 1.55, 1.35, 1.15, 1.0])
"""How much detail of these octaves is raised where it is faint, by the rules of `model.base_contrast`; 16 km need nothing."""
_WATER_SOFTNESS = 2.5
_ROWS = 1024


def bridge_contrast(pixels: NDArray[np.uint8], gsd: float) -> NDArray[np.uint8]:
    """Toned Blue Marble [H, W, 3] of ``gsd`` metres per pixel -> the same with its detail raised. Water stays as it is."""
    first = math.log2(gsd)
    count = max(0, math.ceil(OCTAVES[-1] - first))
    margin = 8 * 2**count
    out = np.empty_like(pixels)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for top in range(0, len(pixels), _ROWS):
        start = max(0, top - margin)
        part = torch.from_numpy(pixels[start : top + _ROWS + margin]).to(device).permute(2, 0, 1)[None].float()
        rows = out[top : top + _ROWS]
        rows[:] = _raise(part, first, count)[0].permute(1, 2, 0).cpu().numpy()[top - start :][: len(rows)]
    return out


def _raise(image: Tensor, first: float, count: int) -> Tensor:
    height, width = image.shape[2:]
    whole = 2**count
    padded = F.pad(image, (0, -width % whole, 0, -height % whole), mode="replicate")
    land = torch.sigmoid((WATER - (padded[:, 2:] - padded[:, :2].amax(1, keepdim=True))) / _WATER_SOFTNESS)
    raised = padded + _blur(land, 2) * _missing(padded, first, count)
    return raised[..., :height, :width].clamp(0, 255).round().to(torch.uint8)


def _missing(image: Tensor, octave: float, count: int) -> Tensor:
    """What to add to ``image`` [1, 3, H, W]: by a Laplacian pyramid of ``count`` octaves, whose first is ``octave``."""
    if count == 0:
        return torch.zeros_like(image)
    coarse = F.avg_pool2d(_blur(image, 1), 2)
    detail = image - double(coarse)
    strength = _blur(detail.mean(1, keepdim=True).square(), 4)
    heard = strength / (strength + NOISE**2) / (1 + strength / STRONG**2)
    gain = float(np.interp(octave, OCTAVES, GAINS))
    return (gain - 1) * heard * detail + double(_missing(coarse, octave + 1, count - 1))


def _blur(x: Tensor, radius: int) -> Tensor:
    """Two box means of 2 ``radius`` + 1 px, mirrored at the borders."""
    for _ in range(2):
        x = F.pad(x, (radius,) * 4, mode="reflect" if min(x.shape[2:]) > radius else "replicate")
        x = F.avg_pool2d(F.avg_pool2d(x, (2 * radius + 1, 1), stride=1), (1, 2 * radius + 1), stride=1)
    return x

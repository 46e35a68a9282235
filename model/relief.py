"""The relief of wild land: ridges, valleys and their lit and shaded slopes, endless and fixed to the world.

Like parcels (`model.survey`) it is what noise holds of a picture, not a picture. Heights are a sum of octaves of smooth fields
(`model.fields`), each folded at its level lines of 0 so that valleys are sharp (ridged multifractals, Musgrave, Kolb and Mace
1989), and fainter where those before are steep, as erosion leaves it (Quilez 2008). A zoom has the `OCTAVES` whose cells are
some of its pixels wide, hence most of them in common with the next ones, and the sun in the south-east, as imagery from
satellites has it on most land.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.fields import octave, places_of, smooth
from model.noise import Indices

OCTAVES = (4, 3, 2, 1)
"""log2 of the side of cells, in pixels of the picture."""
LARGEST = 18
"""And in pixels of zoom 20 at most: 39 km at the equator."""
_FALLOFF = 0.85
"""Of what an octave weighs, the weight of the next larger one: large slopes are in the parent picture."""
_SHARP = 0.01
"""Squared value about which an octave is folded."""
_ERODED = 4.0
"""By how much the squared slope of larger octaves weakens smaller ones."""
SUN = (0.8, 0.6)
"""What slopes downwards and to the right weigh: those that fall to the south-east are light."""
_STEEP, _HIGH = 6.3, 1.1
"""What slopes and heights weigh in what is seen."""
MOST = 1.8
"""Largest value, in standard deviations: woods and snow hardly show smaller ones."""
HILLS = ((18, 1.0), (16, 0.5))
"""Of the smooth field by which land is rugged or level: log2 of the side of its cells, 39 and 10 km, and their weights."""

_STREAM = 1 << 8
"""Told from other fields of the same key by this."""


def relief(
    seeds: Sequence[int], zooms: Sequence[int], rows: Indices, cols: Indices, device: torch.device | str = "cpu"
) -> Tensor:
    """The relief of ``seeds`` [B] at the pixels ``rows`` [B, h] x ``cols`` [B, w] of ``zooms`` [B], float32 [B, 2, h, w]:
    values within +-`MOST`, about 0, in standard deviations; and how rugged it is there, -1.5, level, to 1.5."""
    found = []
    for key, (y, x), scale in places_of(seeds, zooms, rows, cols):
        fall, turn, shown = (torch.zeros(len(y), len(x), device=device) for _ in range(3))
        for size in OCTAVES:
            cell = size + scale.bit_length() - 1
            if cell > LARGEST:
                continue
            value, down, right = octave(cell, y, x, key ^ _STREAM, 0, device, slopes=True)
            folded = value.square().add_(_SHARP).sqrt_()
            kept = fall.square().add_(turn.square()).mul_(_ERODED).add_(1).reciprocal_()
            sign = value.div_(folded).mul_(kept)
            down.mul_(sign)
            right.mul_(sign)
            fall.add_(down)
            turn.add_(right)
            lit = folded.sub_(0.3).mul_(kept).mul_(_HIGH).sub_(down.mul_(SUN[0]).add_(right.mul_(SUN[1])).mul_(_STEEP))
            shown.add_(lit.mul_(_FALLOFF ** (size - OCTAVES[-1])))
        found.append(torch.stack([shown.clamp_(-MOST, MOST), smooth(HILLS, y, x, key ^ _STREAM, 16, device)]))
    return torch.stack(found)

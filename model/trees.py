"""Trees and bushes of wild land, endless and fixed to the world: crowns at hashed places, lit from the south-east.

Each square of a lattice has one crown or none, within it, so that a pixel looks at its own square alone. Like all of the
register they are what noise holds of a picture (`model.parcels`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.fields import WORLD_BITS, places_of, smooth
from model.noise import Indices, absorb_
from model.relief import SUN

SIZES = (128, 64)
"""Sides of the squares of two lattices, in pixels of zoom 20: 19 and 10 m at the equator. Crowns are up to as wide."""
FINEST_ZOOM = 16
"""From this zoom on there are some: before they are less than two pixels wide."""
GROVES = ((13, 1.0), (11, 0.6))
"""Of the smooth field by which there are more or fewer: log2 of the side of its cells, 1.2 km and 300 m, and their weights."""
_DARK, _LIT = 0.9, 1.0
"""How dark crowns are, and by how much lighter or darker towards the sun and away from it, in standard deviations."""
_NEVER = 9.0
_STREAM = 1 << 9
"""Told from other fields of the same key by this."""


def trees(
    seeds: Sequence[int], zooms: Sequence[int], rows: Indices, cols: Indices, device: torch.device | str = "cpu"
) -> Tensor:
    """The trees of ``seeds`` [B] at the pixels ``rows`` [B, h] x ``cols`` [B, w] of ``zooms`` [B], float32 [B, 2, h, w]:
    values, in standard deviations; and the density, 0 to 1, beyond which a crown is there: above 1 where none may be."""
    found = []
    for key, lines, scale in places_of(seeds, zooms, rows, cols):
        y, x = (torch.as_tensor(line, device=device) for line in lines)
        groves = smooth(GROVES, *lines, key ^ _STREAM, 0, device).mul_(0.7)
        value, needed = torch.zeros_like(groves), torch.full_like(groves, _NEVER)
        for size in SIZES:
            if size < 6 * scale:
                continue
            bits_of = size.bit_length() - 1
            across, of_row = torch.unique(torch.bitwise_right_shift(y, bits_of), return_inverse=True)
            keys = absorb_(across, key ^ _STREAM ^ size)[of_row][:, None]
            shifted = x + (keys & size - 1)  # rows of squares do not lie one below the other
            bits = absorb_(torch.bitwise_right_shift(shifted, bits_of).bitwise_and_((1 << WORLD_BITS - bits_of) - 1), keys)
            radius = (bits & 0xFF).mul_(size).bitwise_right_shift_(11).add_(size // 5)
            free = size - 2 * radius
            down, right = (
                (at - radius - (torch.bitwise_right_shift(bits, shift) & 0xFF).mul_(free).bitwise_right_shift_(8)).float()
                for at, shift in (((y & size - 1)[:, None], 8), (shifted & size - 1, 16))
            )
            reach = radius.float()
            down.div_(reach)
            right.div_(reach)
            inside = down.square() + right.square() < 1
            lit = down.mul_(SUN[0]).add_(right.mul_(SUN[1])).mul_(_LIT).sub_(_DARK)
            least = (torch.bitwise_right_shift(bits, 24) & 0xFFFF).float().div_(65536).sub_(groves)
            first = inside & (needed == _NEVER)
            value = torch.where(first, lit, value)
            needed = torch.where(first, least, needed)
        found.append(torch.stack([value, needed]))
    return torch.stack(found)

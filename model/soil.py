"""Soil as brown as it is from above.

Blue Marble's red soils are redder than those of aerial pictures, and what the network makes lighter than its surroundings is
redder than these by a little, as real soil is; a cascade adds that up, stage after stage, which nature does not, until light
ground is pink.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.stage import ramp

BROWN = 0.65
"""Up to which hue, in sixths of a turn from red, soil is made browner: half of the soil in aerial pictures has at least that
much. Of Blue Marble's a fourteenth has less than 0.45."""
_PULL = 0.6
"""The share of what the hue lacks that it gets."""
_PURPLE = (-1.0, 0.0)
"""Hues up to which nothing is soil, and from which on it may be."""
_LIGHT = (0.6, 1.0)
"""Light, the mean of the channels above black (white is 2), from which on generated soil is, and from which on as much as that:
what is dark has to stay as it is, for means are kept."""


def browner(image: Tensor, share: float | Tensor = _PULL) -> Tensor:
    """``image`` [B, 3, H, W] on [-1, 1] with more green and less blue, by as much, where red exceeds both: its hue is moved by
    ``share`` (a number, or [B, 1, H, W]) of what it lacks of `BROWN`. All else, and grey, stays. Only sums, products and
    quotients, which are equal on every processor."""
    red, green, blue = image.chunk(3, 1)
    reddish = (red > green) & (red > blue)
    excess = torch.where(reddish, red - blue, 1)
    hue = (green - blue) / excess
    moved = (BROWN - hue).clamp(min=0) * share * ramp(hue, *_PURPLE)
    change = torch.where(reddish, moved * excess / (2 - hue - moved), 0)
    return torch.cat([red, green + change, blue - change], 1)


def light_browner(image: Tensor) -> Tensor:
    """`browner` where it is light."""
    return browner(image, _PULL * ramp(image.mean(1, keepdim=True) + 1, *_LIGHT))

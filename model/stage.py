"""Arithmetic of one stage of the cascade: enlarge a parent, tie a child to it, quantise."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

ENLARGE_MARGIN = 2
"""Parent pixels that `enlarge` needs beyond a window for its result not to depend on the window's border."""


def enlarge(parent: Tensor) -> Tensor:
    """Bicubic 4x enlargement [B, 3, h, w] -> [B, 3, 4h, 4w]; pixels are areas (no align_corners)."""
    return F.interpolate(parent, scale_factor=4, mode="bicubic", align_corners=False)


def double(image: Tensor) -> Tensor:
    """Bilinear 2x enlargement [B, C, h, w] -> [B, C, 2h, 2w], from one level of a Laplacian pyramid to the next."""
    return F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)


RECIPE = 7
"""Goes up when anything here changes what is generated; part of a planet's identity."""

_SMOOTH_ROUNDS = 2
_TO_WHITE, _TO_BLACK = 0.75, 0.8
"""Share of what a parent pixel leaves up to white and down to black that its children may take: a pixel of pure white or black
would have only such descendants, a square without texture that grows with every zoom. Real pictures are nearly black more often
than nearly white: a smaller share of what is below costs contrast."""

COLOUR_SHARE = 0.5
"""How much of a residual's differences from grey is kept where the parent is grey. What the network makes up of colour does not
hang together with what it makes up of light and dark, and shows as speckles on snow, rock and coasts."""
_GREY, _COLOURED = 0.15, 0.4
"""Saturations, (max - min) / mean of the channels, up to which a parent is grey, and from which on all colour is kept."""


def colour_share(light: Tensor) -> Tensor:
    """Share [B, 1, H, W] of a residual's colour that is kept over what has the ``light`` [B, 3, H, W], above 0 (black)."""
    saturation = (light.amax(1, keepdim=True) - light.amin(1, keepdim=True)) / light.mean(1, keepdim=True)
    return COLOUR_SHARE + (1 - COLOUR_SHARE) * ((saturation - _GREY) / (_COLOURED - _GREY)).clamp(0, 1)


def scale_colour(image: Tensor, share: float | Tensor) -> Tensor:
    """``image`` [B, 3, H, W] with its differences from grey times ``share`` (a number, or [B, 1, H, W])."""
    grey = image.mean(1, keepdim=True)
    return grey + share * (image - grey)


def shade(residual: Tensor, upper: Tensor, colour: float | None = None) -> Tensor:
    """``residual`` over ``upper``, both [B, 3, H, W], ``upper`` on [-1, 1], with ``colour`` of its differences from grey (None:
    `colour_share`).

    What it takes from all channels alike is taken from each by what it has, as shadow does. Taken alike, it would leave the
    strongest channel alone: sand turned red and woods neon green within a few stages.
    """
    grey = residual.mean(1, keepdim=True)
    light = (upper + 1).clamp(min=0) + 0.05
    own = light / light.mean(1, keepdim=True)
    share = colour_share(light) if colour is None else colour
    return scale_colour(residual, share) + grey.clamp(max=0) * (own - 1)


def project(image: Tensor, parent: Tensor) -> Tensor:
    """Tie ``image`` [B, 3, 4h, 4w] to ``parent`` [B, 3, h, w], both on [-1, 1]: every 4x4 block gets the parent pixel's mean.

    What the means are off by is first taken away smoothly (back-projection, Irani and Peleg 1991): taken away block by block it
    leaves a lattice of 4 px, lines between blocks differing by a fifth more than lines within them. A block that would leave
    [-1, 1], or come too near to white or black, keeps its mean and loses contrast instead (its deviations are scaled down
    together), so that clipping never shifts the mean; near white in all channels, for shadows that one of them lacks are red.
    """
    for _ in range(_SMOOTH_ROUNDS):
        image = image - enlarge(F.avg_pool2d(image, 4) - parent)
    deviation = detail(image)
    highest = F.max_pool2d(deviation, 4).clamp(min=1e-6)
    lowest = F.max_pool2d(-deviation, 4).clamp(min=1e-6)
    above = (_TO_WHITE * (1 - parent) / highest).amin(1, keepdim=True)
    room = above.minimum(_TO_BLACK * (1 + parent) / lowest).clamp(0, 1)
    return _repeat(parent) + deviation * _repeat(room)


def detail(image: Tensor) -> Tensor:
    """What 4x4 averaging removes of ``image`` [B, C, 4h, 4w]."""
    return image - _repeat(F.avg_pool2d(image, 4))


def to_unit(pixels: Tensor) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_bytes(image: Tensor) -> Tensor:
    """Float [-1, 1] -> uint8 [0, 255], rounded to nearest."""
    return ((image.float().clamp(-1, 1) + 1) * 127.5).round().byte()


def _repeat(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=4, mode="nearest")

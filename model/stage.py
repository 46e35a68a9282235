"""Arithmetic of one stage of the cascade: enlarge a parent, tie a child to it, quantise."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

ENLARGE_MARGIN = 2
"""Parent pixels that `enlarge` needs beyond a window for its result not to depend on the window's border."""


Places = TypeVar("Places", float, NDArray[np.float64])
Values = TypeVar("Values", Tensor, NDArray[np.float32])


def keys(t: Places, a: float) -> tuple[Places, Places]:
    """What cubic convolution with the slope ``a`` (Keys 1981) weighs pixels by that are ``t`` px away: where ``t`` is below 1,
    and where it is from 1 to 2."""
    return ((a + 2) * t - (a + 3)) * t * t + 1, ((a * t - 5 * a) * t + 8 * a) * t - 4 * a


def _taps(t: float) -> tuple[float, ...]:
    """Weights of four pixels for a place ``t`` after the second of them, as `F.interpolate` has them."""
    return keys(1 + t, -0.75)[1], keys(t, -0.75)[0], keys(1 - t, -0.75)[0], keys(2 - t, -0.75)[1]


_CUBIC = [_taps(t) for t in (0.625, 0.875, 0.125, 0.375)]
"""Of four parents, for each of four children in a row."""


def enlarge(parent: Tensor) -> Tensor:
    """Bicubic 4x enlargement [B, C, h, w] -> [B, C, 4h, 4w]; pixels are areas (no align_corners). On a CPU along one axis
    after the other, which takes a third of the time of `F.interpolate`; a GPU has one kernel for it."""
    if parent.device.type != "cpu":
        return F.interpolate(parent, scale_factor=4, mode="bicubic", align_corners=False)
    return _cubic(_cubic(parent.transpose(2, 3)).transpose(2, 3).contiguous())


def _cubic(image: Tensor) -> Tensor:
    """`enlarge` of rows alone, [B, C, h, w] -> [B, C, 4h, w], summed in one order."""
    height = image.shape[2]
    wide = F.pad(image, (0, 0, 2, 2), mode="replicate")
    phases = []
    for phase, weights in enumerate(_CUBIC):
        first = phase // 2  # the first two of four children lie before the middle of their parent
        total = weights[0] * wide.narrow(2, first, height)
        for tap in range(1, 4):
            total = total + weights[tap] * wide.narrow(2, first + tap, height)
        phases.append(total)
    return torch.stack(phases, 3).flatten(2, 3)


def double(image: Tensor) -> Tensor:
    """Bilinear 2x enlargement [B, C, h, w] -> [B, C, 2h, 2w], from one level of a Laplacian pyramid to the next."""
    return F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)


def enlarge_smoothly(coarse: Tensor, margin: int) -> Tensor:
    """Bilinear 4x enlargement of what parents [B, C, h + 2 ``margin``, w + 2 ``margin``] have, [B, C, 4h, 4w]: for
    factors, which must not overshoot."""
    fine = F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)
    return fine[..., 4 * margin : -4 * margin, 4 * margin : -4 * margin]


def ramp(values: Values, low: float, high: float) -> Values:
    """From 0 at ``low`` and below to 1 at ``high`` and above."""
    return ((values - low) / (high - low)).clip(0, 1)


RECIPE = 12
"""Goes up when anything here, in `model.coast` or in `model.soil` changes what is generated; part of a planet's identity."""

_SMOOTH_ROUNDS = 2
_CUT = 15
"""Of a block's 16 children so many may be as light as they can."""
_CALM = 0.3
"""Power of what a block's contrast would have to be multiplied by, for nothing in it to be too light, by which it is. With 0
snow is harsher, and what bf16 rounds is seen as much as everything else that is made up near white."""
_TO_WHITE, _TO_BLACK = 0.55, 0.7
"""Share of what a parent pixel leaves up to white and down to black that its children may take: a pixel of pure white or black
would have only such descendants, a square without texture that grows with every zoom. Real pictures are nearly black more often
than nearly white: a smaller share of what is below costs contrast."""

COLOUR_SHARE, MOST_COLOUR = 0.75, 1.5
"""What a residual's differences from grey are multiplied by where the parent is grey, and where it has colour. On plants and on
soil real detail has half as much again as the network gives it; on grey what it makes up of colour does not hang together with
what it makes up of light and dark, and shows as speckles on snow, rock and coasts."""
_GREY, _COLOURED = 0.15, 0.4
"""Saturations (`saturation`) up to which a parent is grey, and from which on it has colour."""
_LIGHT, _SNOW = 0.8, 0.3
"""Light, the mean of the channels above black (white is 2), from which on less of the colour is kept, and the share of it that
is kept of what is white."""


def colour_share(light: Tensor) -> Tensor:
    """What a residual's colour is multiplied by, [B, 1, H, W], over what has the ``light`` [B, 3, H, W], above 0 (black)."""
    mean = light.mean(1, keepdim=True)
    share = COLOUR_SHARE + (MOST_COLOUR - COLOUR_SHARE) * ramp(saturation(light, mean), _GREY, _COLOURED)
    return share * (1 - (1 - _SNOW) * ramp(mean, _LIGHT, 2))


def saturation(light: Tensor, mean: Tensor) -> Tensor:
    """(max - min) / mean of the channels of ``light`` [B, 3, H, W], above 0 (black), with their ``mean``: [B, 1, H, W]."""
    return (light.amax(1, keepdim=True) - light.amin(1, keepdim=True)) / mean


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
    leaves a lattice of 4 px, lines between blocks differing by a fifth more than lines within them. Clipping never shifts the
    mean: a block that would come too near to white is calmed a little, clipped there and raised by what that takes
    (`level_off`), one that would come too near to black loses contrast (its deviations are scaled down together).
    """
    for _ in range(_SMOOTH_ROUNDS):
        image = image - enlarge(F.avg_pool2d(image, 4) - parent)
    most = _TO_WHITE * (1 - parent)
    deviation = detail(image)
    # By exp2 and log2: pow rounds by where in memory a pixel is, and windows must agree.
    calm = (_CALM * _room(deviation, most).amin(1, keepdim=True).clamp(min=1e-6).log2()).exp2()
    deviation = level_off(deviation * _repeat(calm), most)
    above, below = _room(deviation, most).amin(1, keepdim=True), _room(-deviation, _TO_BLACK * (1 + parent))
    room = above.minimum(below)
    return _repeat(parent) + deviation * _repeat(room)


def level_off(deviation: Tensor, most: Tensor) -> Tensor:
    """``deviation`` [B, 3, 4h, 4w], of mean 0 in every 4x4 block, with nothing above ``most`` [B, 3, h, w]: what is
    above is cut off, and the block raised by as much, until its mean is 0 again.

    So snow keeps its rocks and shadows. Scaled down instead, a block of snow at a ridge is a white square, which every further
    zoom enlarges. It is cut and raised in all channels alike, for shadows that one of them lacks are red.
    """
    over = F.pixel_unshuffle((deviation - _repeat(most)).amax(1, keepdim=True), 4).permute(0, 2, 3, 1)
    above = over.amax(-1) > 0
    if not above.any():
        return deviation
    over = over[above]  # hardly anything but snow has more than a few such blocks
    highest = over.sort(-1, descending=True).values[:, :_CUT].cumsum(-1)
    # Raised by s, the mean of what is cut, max(0, over + s), is s. If the k highest are cut that is their sum / (16 - k), and
    # it is never less than that of another k.
    raised = (highest / (16 - torch.arange(1, _CUT + 1, device=over.device))).amax(-1, keepdim=True).clamp(min=0)
    change = raised - (over + raised).clamp(min=0)
    levelled = torch.zeros(*above.shape, 16, device=over.device, dtype=over.dtype)
    levelled[above] = change - change.mean(-1, keepdim=True)
    return deviation + F.pixel_shuffle(levelled.permute(0, 3, 1, 2), 4)


def _room(deviation: Tensor, most: Tensor) -> Tensor:
    """What blocks of ``deviation`` [B, C, 4h, 4w] are to be multiplied by for none of it to exceed ``most`` [B, C, h, w]."""
    return (most / F.max_pool2d(deviation, 4).clamp(min=1e-6)).clamp(0, 1)


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

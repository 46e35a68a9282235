"""Coasts: what lies between sea and land is one or the other, not a mixture of both.

A coast that is interpolated is a band of what is neither, 4 px wide after one stage, 16 after two: a network that is asked for
detail of that colour makes rocks of it. So where the pixels around hold both, each is moved towards what it has more of, along
the line that colours there lie on (least squares, as a guided filter has it: He, Sun and Tang 2013). Pure functions of the
pixels around, so that windows agree; and only sums, products, quotients and extremes, which are equal on every processor, for
the base picture, whose coasts are sharpened as well, is part of a planet's identity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.fields import places_of, smooth
from model.grid import MAX_ZOOM
from model.noise import Indices
from model.stage import enlarge_smoothly, ramp

REACH, SMOOTH_MARGIN = 2, 2
COAST_MARGIN = REACH + SMOOTH_MARGIN
"""Parent pixels that `coasts` needs beyond a window."""
_CONTRAST = (0.3, 0.5)
"""By how much red less blue, on [-1, 1] each, differs around a pixel from which on there may be a coast, and from which on
there is one if"""
_SEA, _LAND = (-0.2, -0.35), (-0.2, -0.05)
"""the bluest is as blue as that, as sea is, and the least blue is as little, as land is."""
_INSET = 0.12
"""Of what they differ by, how much less blue than the bluest sea is, and how much bluer than the least blue land: the JPEG of
the base picture rings along coasts."""
_WIDTH = 0.12
"""Half the share of land from which a pixel is moved to the one side or to the other: others are moved all the way."""
_WANDER = 0.3
"""By how much the share at which that changes differs from place to place, in units of what it differs by."""
_CALM = 0.5
"""Of generated detail what is taken away along coasts."""
WAVES = ((3, 0.45), (2, 0.75), (1, 0.55))
"""Of the smooth field (`model.fields`) by which coasts wander: log2 of the side of its cells, in pixels of the picture, and
their weights."""
_EVEN = 1e-3
_STREAM = 1 << 11
"""Told from other fields of the same key by this."""


def coasts(wide: Tensor, reach: int = REACH) -> Tensor:
    """Where pixels ``wide`` [B, 3, h + 2 ``reach``, w + 2 ``reach``] on [-1, 1] are at a coast, 0 to 1; red less blue of the
    sea and of the land there; and how red, green and blue go with it: [B, 6, h, w]."""
    side = 2 * reach + 1
    warmth = _warmth(wide)
    share, sea, land = _between(warmth, side)
    within = _INSET * (land - sea)
    sea, land = sea + within, land - within
    mean, colours = box_mean(warmth, side), box_mean(wide, side)
    together = box_mean(warmth * wide, side) - mean * colours
    variance = box_mean(warmth * warmth, side) - mean * mean
    return torch.cat([share, sea, land, together / (variance + _EVEN)], 1)


def may_have_coasts(wide: Tensor) -> bool:
    """Whether there are both sea and land in pixels ``wide`` [B, 3, h, w]: `coasts` finds none where there are not."""
    warmth = _warmth(wide)
    return bool(warmth.min() < _SEA[0]) and bool(warmth.max() > _LAND[0])


def enlarged_coasts(wide: Tensor) -> Tensor | None:
    """Those of children [B, 6, 4h, 4w] of parents ``wide`` [B, 3, h + 2 m, w + 2 m] with m = `COAST_MARGIN`: None where there
    are none, which is not asked on a GPU."""
    if wide.device.type == "cpu" and not may_have_coasts(wide):
        return None
    return enlarge_smoothly(coasts(wide), SMOOTH_MARGIN)


def sharpen(image: Tensor, found: Tensor, wander: float | Tensor = 0.0, width: float = _WIDTH) -> Tensor:
    """``image`` [B, 3, h, w] on [-1, 1] with the coasts ``found`` [B, 6, h, w] in it sharp: lines of half the way between sea
    and land, less ``wander`` (a number, or [B, 1, h, w], about 0)."""
    share, sea, land, slopes = found[:, :1], found[:, 1:2], found[:, 2:3], found[:, 3:]
    of_land = ((_warmth(image) - sea) / (land - sea + _EVEN)).clamp(0, 1)
    moved = ramp(of_land + _WANDER * wander * 4 * of_land * (1 - of_land), 0.5 - width, 0.5 + width)
    return image + share * slopes * (land - sea) * (moved - of_land)


def waves(seed: int, zoom: int, rows: Indices, cols: Indices, device: torch.device | str = "cpu") -> Tensor:
    """What the coasts of a planet wander by at the pixels ``rows`` [h] x ``cols`` [w] of ``zoom``, [h, w], for `sharpen`."""
    (key, (y, x), scale), *_ = places_of([seed], [min(zoom, MAX_ZOOM)], rows[None], cols[None])
    octaves = [(size + scale.bit_length() - 1, weight) for size, weight in WAVES]
    return smooth(octaves, y, x, key ^ _STREAM, 0, device)


def calmed(detail: Tensor, found: Tensor) -> Tensor:
    """Generated ``detail`` [B, 3, h, w] along the coasts ``found``: of a mixture of sea and land there is none to be made."""
    return detail * (1 - _CALM * found[:, :1])


def box_mean(image: Tensor, side: int) -> Tensor:
    """Means of squares of ``image`` [B, C, h + ``side`` - 1, w + ``side`` - 1], [B, C, h, w], summed in one order."""
    for axis in (2, 3):
        length = image.shape[axis] - side + 1
        total = image.narrow(axis, 0, length).clone()
        for step in range(1, side):
            total.add_(image.narrow(axis, step, length))
        image = total.div_(side)
    return image


def _between(warmth: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where there is a coast, 0 to 1, and the least and the most ``warmth`` of the squares around, each [B, 1, h, w]."""
    sea, land = -F.max_pool2d(-warmth, side, stride=1), F.max_pool2d(warmth, side, stride=1)
    share = ramp(land - sea, *_CONTRAST) * ramp(-sea, -_SEA[0], -_SEA[1]) * ramp(land, *_LAND)
    return share, sea, land


def _warmth(image: Tensor) -> Tensor:
    return image[:, :1] - image[:, 2:]

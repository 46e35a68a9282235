"""What land is used for, by the colour of the parent picture: what of the land register a place can have.

Pure functions of the parent's pixels within `LAND_MARGIN`, smooth from one to the next, so that windows agree.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.stage import enlarge_smoothly, ramp

_DARK, _LIGHT = (50.0, 64.0), (150.0, 180.0)
"""Grey levels between which land becomes light enough for fields, and too light: woods and sand."""
_NIGHT = (12.0, 20.0)
"""And for all else: the darkest woods, and deep sea."""
_GREEN = (0.05, 0.11)
"""By how much green exceeds red, and blue lacks of the mean, together, as shares of the mean, for land to be farmed wherever it
is: rock, snow, water, desert and steppe have less."""
_WARM = (0.06, 0.14)
"""By how much red exceeds blue, as shares of the mean, likewise: turbid sea is as green as fields, and has less."""
_DRY, _SNOW = (-0.15, -0.05), (120.0, 150.0)
"""The same for it to be land at all, bluish rock and woods under haze, too; and grey levels from which on what is bluer is
snow."""
_BLUISH = (-0.35, -0.2)
"""The same for rivers to go on."""
_REACH, _SMOOTH_MARGIN = 2, 2
LAND_MARGIN = _REACH + _SMOOTH_MARGIN
"""Parent pixels that `land_use` needs beyond a window."""


class LandUse(NamedTuple):
    """How far land is of a kind, 0 to 1, each [B, 1, 4h, 4w]."""

    farmed: Tensor
    """It is so green that it is farmed."""
    arable: Tensor
    """It would be farmed where it is level: steppe, too."""
    open: Tensor
    """It may have roads and trees: no sand and no snow."""
    wild: Tensor
    """It may have relief: all that is no sea."""
    woods: Tensor
    """It is dark: trees stand close."""
    watered: Tensor
    """It may have rivers: all but sea, sand and snow, for towns are grey, and rivers bluish themselves."""


def land_use(wide: Tensor) -> LandUse:
    """That of the children of parents ``wide`` [B, 3, h + 2 m, w + 2 m] on [-1, 1], m = `LAND_MARGIN`."""
    colours = (F.avg_pool2d(wide, 2 * _REACH + 1, stride=1) + 1) * 127.5
    mean = colours.mean(1, keepdim=True).clamp(min=1)
    red, green, blue = colours.chunk(3, 1)
    warmth, lit = (red - blue) / mean, ramp(mean, *_NIGHT)
    dim = ramp(-mean, -_LIGHT[1], -_LIGHT[0])
    land = ramp(warmth, *_WARM) * dim
    light = ramp(mean, *_DARK)
    arable = land * light
    farmed = arable * ramp((green - red + mean - blue) / mean, *_GREEN)
    wild = (ramp(warmth, *_DRY) + ramp(mean, *_SNOW)).clamp(max=1) * lit
    woods = wild * (1 - light)
    watered = ramp(warmth, *_BLUISH) * dim * lit
    kinds = torch.cat([farmed, arable, torch.maximum(land * lit, woods), wild, woods, watered], 1)
    return LandUse(*enlarge_smoothly(kinds, _SMOOTH_MARGIN).chunk(6, 1))

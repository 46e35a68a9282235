"""Contrast of the base picture: its finest detail, brought to that of the parents that the denoiser was taught on.

The 5400 px Blue Marble, reprojected, has three quarters of the contrast that the 500 m one has at the same places when it is
box-averaged to the same 10 km and its detail raised as in training (`model.training.bridge`, `bench.base_contrast`), in its
finest octave, and nine tenths in the next. A cascade hands on what is missing: everything below would be too calm. As there,
what is strong already (coasts, snow), what is too faint to be more than JPEG's rounding, and water stay as they are.

Only sums, products and quotients, which are equal on every processor: the picture is part of a planet's identity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GAINS = (0.75, 0.2)
"""What is added of the detail of the finest octave and of the next."""
STRONG, NOISE = 10.0, 0.9
"""Standard deviations, in grey levels, at which half of it is added: coasts and snow are strong enough, and what is fainter is
JPEG's rounding."""
WATER, _WATER_SOFTNESS = 8.0, 6.0
"""Excess of blue, in grey levels, at which half of it is added, and how far from there none or all."""
_ENERGY_RADIUS = 4
MARGIN = 8
"""Rows above and below that a row depends on."""

Picture = NDArray[np.float32]


def raise_contrast(picture: Picture) -> Picture:
    """Rows of a globe, toned, [h, w, 3] on 0..255, periodic in columns -> the same with their faint detail raised.

    The `MARGIN` rows at either end know only of themselves and are to be dropped, but at the ends of the globe.
    """
    smooth, raised = picture, picture.copy()
    excess = picture[..., 2] - picture[..., :2].max(-1)
    land = ((WATER + _WATER_SOFTNESS - excess) / np.float32(2 * _WATER_SOFTNESS)).clip(0, 1)
    land = _mean(land, 2)
    for octave, gain in enumerate(GAINS):
        smoother = _tent(smooth, 2**octave)
        detail = smooth - smoother
        grey = (detail[..., 0] + detail[..., 1] + detail[..., 2]) / np.float32(3)
        energy = _mean(grey * grey, _ENERGY_RADIUS)
        share = energy / (energy + np.float32(NOISE**2)) / (1 + energy / np.float32(STRONG**2))
        raised += (np.float32(gain) * land * share)[..., None] * detail
        smooth = smoother
    return raised


def _tent(picture: Picture, step: int) -> Picture:
    """Weighted by 1, 2, 1 along both axes, at ``step`` px."""
    for axis in (0, 1):
        picture = (_shifted(picture, step, axis) + 2 * picture + _shifted(picture, -step, axis)) / np.float32(4)
    return picture


def _mean(image: Picture, radius: int) -> Picture:
    """Box mean of 2 ``radius`` + 1 px along both axes."""
    for axis in (0, 1):
        total = image
        for step in range(1, radius + 1):
            total = total + _shifted(image, step, axis) + _shifted(image, -step, axis)
        image = total / np.float32(2 * radius + 1)
    return image


def _shifted(image: Picture, step: int, axis: int) -> Picture:
    """``image`` moved: around the globe along columns, with its first or last row repeated along rows."""
    if axis == 1:
        return np.roll(image, step, 1)
    rows = (np.arange(len(image)) - step).clip(0, len(image) - 1)
    return np.asarray(image[rows])

"""One tone for all sources: the curve that brings NASA's dark, haze-free Blue Marble beside Sentinel-2 (DESIGN section 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GAIN, _OFFSET, _GAMMA = 0.93, (0.010, 0.015, 0.040), 0.75


def tone_blue_marble(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Blue Marble [..., 3] on 0..255 -> toned uint8: 255 * (0.93 v / 255 + (0.010, 0.015, 0.040)) ** 0.75."""
    light = np.clip(pixels.astype(np.float32) / 255 * _GAIN + np.array(_OFFSET, np.float32), 0, 1)
    return np.round(255 * light**_GAMMA).astype(np.uint8)

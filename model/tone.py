"""One tone for all sources: the curve that brings NASA's dark, haze-free Blue Marble beside Sentinel-2 (DESIGN section 4), and
seas as dark as they are from above: Blue Marble paints shallow ones bright blue, all alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PAINTED = (20.0, 60.0)
"""By how much blue exceeds green, in grey levels, from which on a sea has been painted, and from which on it is `_DARKER`:
shelves have 57, the deep sea 30."""
_DARKER = 0.4

_GAIN, _OFFSET, _GAMMA = 0.93, (0.010, 0.015, 0.040), 0.75


def tone_blue_marble(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Blue Marble [..., 3] on 0..255 -> toned uint8: 255 * (0.93 v / 255 + (0.010, 0.015, 0.040)) ** 0.75."""
    light = np.clip(pixels.astype(np.float32) / 255 * _GAIN + np.array(_OFFSET, np.float32), 0, 1)
    return np.round(255 * light**_GAMMA).astype(np.uint8)


def darken_painted_seas(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Toned Blue Marble [..., 3] on 0..255 with its painted shelves as dark as open water; all else stays. Only sums, products
    and quotients, which are equal on every processor."""
    low, high = (np.float32(excess) for excess in _PAINTED)
    painted = ((pixels[..., 2] - pixels[..., 1] - low) / (high - low)).clip(0, 1)
    return pixels * (1 - np.float32(_DARKER) * painted)[..., None]

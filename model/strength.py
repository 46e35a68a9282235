"""How strong the detail of planets is, by how rugged land is and by what it is used for.

The amplitudes of a weights file (`model.contrast`) are those of imagery, which is taken where there is much to see: 180 bare
places at 2.4 m, of 14 scenes, have half the contrast that planets had with them, and differ more from one to another. So
planets are calm where land is level, and so are their fields. Pure functions of a pixel's place and of its parent's colour.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from model.stage import ramp

ZOOM_KNOTS = (8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0)
LEVEL = (0.75, 0.68, 0.68, 0.65, 0.65, 0.75, 0.85)
RUGGED = (1.0, 1.0, 0.95, 0.95, 0.95, 0.95, 1.0)
"""What generated detail is multiplied by on open land that is level, and on the most rugged, by zoom."""
FIELDS = (1.0, 1.0, 0.95, 0.8, 0.72, 0.8, 0.9)
"""That on fields; towns keep all."""
WOODS = (1.0, 1.2, 1.4, 1.1, 1.0, 1.3, 1.2)
"""That in woods."""
_EVEN, _STEEP = -0.3, 1.3
"""Ruggedness up to which land is level, and from which on it is as rugged as can be."""


def strength(zoom: int, rugged: Tensor, open_land: Tensor, fields: Tensor, woods: Tensor) -> Tensor:
    """What detail of a planet's ``zoom`` is multiplied by where land is ``rugged``; how far it is open, field or wood, 0 to 1,
    together at most 1. All of one shape."""
    level, steep, farmed, wooded = (float(np.interp(zoom, ZOOM_KNOTS, table)) for table in (LEVEL, RUGGED, FIELDS, WOODS))
    bare = level - 1 + (steep - level) * ramp(rugged, _EVEN, _STEEP)
    return 1 + bare * open_land + (farmed - 1) * fields + (wooded - 1) * woods

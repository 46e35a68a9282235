"""Generated stages below real parents: one stage, and chains of several, of which each takes the one before for its parent."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from model.denoiser import ALIGNMENT
from model.engine import HALO, PARENT_MARGIN, Engine, Window
from model.grid import mirror_rows
from model.parcels import Register, zoom_near
from model.stage import to_unit
from model.store import Pixels
from model.training.heldout import MARGIN, SIDE, Crop, box_mean, image_bytes
from model.training.measures import Pictures

_NOISE_ZOOM = 96
"""Noise of evaluation is kept apart from that of planets and of users' pictures."""
_ORIGIN = 1 << 20
"""World index of a picture's corner: windows of chains reach beyond it."""


def one_stage(engine: Engine, crops: list[Crop], gsd: float | None = None, place: int = 0) -> Pictures:
    """One generated stage below each crop's real parent: uint8 [N, SIDE, SIDE, 3].

    ``gsd``: metres per pixel that the denoiser is told instead of the crops' own; ``place``: where in the noise.
    """
    windows = []
    for number, crop in enumerate(crops):
        child = np.arange(SIDE + 2 * HALO, dtype=np.int64) + (number + place) * 4096
        parent = np.arange(len(crop.wide) // 4, dtype=np.int64) + (number + place) * 1024
        told = np.array([math.log2(gsd or crop.gsd)], np.float32)
        at = Register.of_picture(zoom_near(float(told[0])))
        windows.append(Window(box_mean(crop.wide), child, child, parent, parent, _NOISE_ZOOM, told, at))
    return np.stack([pixels[HALO:-HALO, HALO:-HALO] for pixels in engine.run(windows)])


def chain(engine: Engine, crop: Crop, depth: int) -> Pixels:
    """The crop's place, uint8 [SIDE, SIDE, 3], ``depth`` generated stages below the real image box-averaged by 4**depth.

    The image is mirrored at its edges where windows reach beyond it. Every window is as small as the halo allows.
    """
    scale = 4**depth * crop.reduction
    picture = crop.picture.pixels
    # The grid of the averages starts such that the crop lies at a multiple of 64 of its own pixels.
    rows, cols = ((crop.top, crop.left)[axis] // (64 * crop.reduction) * 64 for axis in (0, 1))
    start = [(crop.top, crop.left)[axis] - (rows, cols)[axis] * crop.reduction for axis in (0, 1)]
    shifted = to_unit(picture[None, :, start[0] :, start[1] :])
    root = image_bytes(F.avg_pool2d(shifted, scale))
    return _generated(engine, crop, root, depth, depth, rows + MARGIN, cols + MARGIN, SIDE)


def chains(engine: Engine, crops: list[Crop], depth: int) -> Pictures:
    """`chain` of every crop: uint8 [N, SIDE, SIDE, 3]."""
    return np.stack([chain(engine, crop, depth) for crop in crops])


def _generated(engine: Engine, crop: Crop, root: Pixels, depth: int, level: int, top: int, left: int, side: int) -> Pixels:
    """Pixels [side, side, 3] at (top, left) of the chain's ``level``; level 0 is the real image, mirrored."""
    if level == 0:
        return root[np.ix_(_mirrored(top, side, root.shape[0]), _mirrored(left, side, root.shape[1]))]
    outer = [start // ALIGNMENT * ALIGNMENT - HALO for start in (top, left)]
    end = max(
        -(-(start + side) // ALIGNMENT) * ALIGNMENT + HALO - first for start, first in zip((top, left), outer, strict=True)
    )
    wide = end // 4 + 2 * PARENT_MARGIN
    first = [start // 4 - PARENT_MARGIN for start in outer]
    parent = _generated(engine, crop, root, depth, level - 1, first[0], first[1], wide)
    rows, cols = (np.arange(end, dtype=np.int64) + start + _ORIGIN * 4**level for start in outer)
    parent_rows, parent_cols = (np.arange(wide, dtype=np.int64) + start + _ORIGIN * 4 ** (level - 1) for start in first)
    told = np.array([math.log2(crop.gsd * 4 ** (depth - level))], np.float32)
    at = Register.of_picture(zoom_near(math.log2(crop.gsd)) - 2 * (depth - level))
    window = Window(parent, rows, cols, parent_rows, parent_cols, _NOISE_ZOOM + level, told, at)
    made = next(iter(engine.run([window])))
    return made[top - outer[0] :, left - outer[1] :][:side, :side]


def _mirrored(start: int, length: int, size: int) -> NDArray[np.int64]:
    return mirror_rows(np.arange(start, start + length), size)

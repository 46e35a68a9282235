"""M5: seams. What pixels tell of the blocks that they were computed in: jumps and blur at borders, repetition, lattices.

Pictures are uint8 [H, W, 3], their corner that of a canonical block. Content varies, so each figure compares borders with
lines of the same phase: every 32nd line is a border of parent pixels at 4, 16 and 32 px whatever the block.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from model.store import BLOCK, Pixels

_PHASE = 32
"""Pixels between lines that have all phases of the network and of parents in common."""
_NEAR = 4
"""Lines to each side of a border within which it could be feathered."""

Lines = NDArray[np.float64]


def seams(pictures: list[Pixels], period: int = BLOCK) -> dict[str, float]:
    """All figures of M5 but E, of pictures pooled. `inf` or NaN never: flat pictures give 0 and 1.

    ``jump z``: steps over block borders against those over other lines of their phase, in standard errors (aim: |z| < 3).
    ``border sharpness``: high-frequency energy within 4 px of borders over that near the other lines (1; feathering is less).
    ``repetition z``: autocorrelation at the block period against lags beside it. ``lattice 4`` and ``8``: steps over every 4th
    (8th) line over the steps elsewhere (1; real imagery's is in the report).
    """
    at: list[float] = []
    others: list[float] = []
    sharp_at: list[float] = []
    sharp_others: list[float] = []
    repeats: list[float] = []
    for grey in (_luminance(picture) for picture in pictures):
        for image in (grey, grey.T):
            jumps = _relative(np.abs(np.diff(image, axis=1)).mean(0))
            energy = _relative((np.diff(image, 2, axis=1) ** 2).mean(0))
            for line in range(_PHASE, image.shape[1] - _PHASE + 1, _PHASE):
                border = line % period == 0
                (at if border else others).append(jumps[line - 1])
                near = energy[line - 1 - _NEAR : line - 1 + _NEAR].mean()
                (sharp_at if border else sharp_others).append(near)
            repeats.append(_repetition(image, period))
    softness = float(np.mean(sharp_others)) if sharp_others else 0.0
    return {
        "jump z": _z(at, others),
        "border sharpness": float(np.mean(sharp_at)) / softness if sharp_at and softness > 1e-9 else 1.0,
        "repetition z": float(np.sum(repeats) / math.sqrt(len(repeats))),
        "lattice 4": lattice(pictures, 4),
        "lattice 8": lattice(pictures, 8),
    }


def lattice(pictures: list[Pixels], step: int) -> float:
    """Mean step over every ``step``-th line over that elsewhere: 1 without a lattice."""
    on, off = 0.0, 0.0
    for grey in (_luminance(picture) for picture in pictures):
        for image in (grey, grey.T):
            jumps = np.abs(np.diff(image, axis=1)).mean(0)
            hit = (np.arange(len(jumps)) + 1) % step == 0
            on, off = on + float(jumps[hit].mean()), off + float(jumps[~hit].mean())
    return on / off if off > 1e-9 else 1.0


def _luminance(picture: Pixels) -> Lines:
    return np.asarray(picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))


def _relative(lines: Lines) -> Lines:
    """Each line's value over the mean of the lines around it, so that bright or rough country does not count more."""
    kernel = np.ones(2 * _PHASE + 1)
    around = np.convolve(lines, kernel, "same") / np.convolve(np.ones_like(lines), kernel, "same")
    return lines / np.maximum(around, 1e-9)


def _z(at: list[float], others: list[float]) -> float:
    if not at or len(others) < 2:
        return 0.0
    spread = float(np.std(others, ddof=1)) * math.sqrt(1 / len(at) + 1 / len(others))
    return float((np.mean(at) - np.mean(others)) / spread) if spread > 1e-9 else 0.0


def _repetition(image: Lines, period: int) -> float:
    """How far the autocorrelation of fine detail at lag ``period`` stands out from that at lags beside it, in their spread."""
    if image.shape[1] < 2 * period:
        return 0.0
    fine = np.diff(image, 2, axis=1)
    fine = fine - fine.mean()
    near = [lag for lag in range(period - 24, period + 25) if lag != period]
    values = [float((fine[:, :-lag] * fine[:, lag:]).mean()) for lag in (period, *near)]
    spread = float(np.std(values[1:], ddof=1))
    return (values[0] - float(np.mean(values[1:]))) / spread if spread > 1e-9 else 0.0

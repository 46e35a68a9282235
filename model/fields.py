"""Smooth fields, endless and fixed to the world: splines through the hashes of lattices of cells.

A field's values at the corners of cells of 2^cell px of zoom 20 are hashes (`model.noise`), even on -1 to 1, and between them
lie cubic B-splines (de Boor 1978), which are about as isotropic as a Gaussian, with their slopes. All that is rounded is
rounded as IEEE 754 says and summed in one order, so that every window and every device has the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from model.grid import MAX_ZOOM
from model.noise import Indices, absorb_, noise_key, signed

CORNERS = 4
"""Corners on a line that a place depends on."""
_STEEPEST = 2.2
"""No field is steeper than this a cell: 1.5 along each axis."""
_ROUNDED = 1e-4
"""What sums of them may be off by."""
_FEW = 13
"""Places along each axis that tell whether a line may be near."""
WORLD_BITS = MAX_ZOOM + 8
"""log2 of the side of the world, in pixels of zoom 20."""
STREAM = 2
"""Stream of `model.noise`: the register is one for all zooms and takes its key from this one."""


def places_of(
    seeds: Sequence[int], zooms: Sequence[int], rows: Indices, cols: Indices
) -> Iterator[tuple[int, tuple[Indices, Indices], int]]:
    """For each picture the key of its register, its pixels' middles in pixels of zoom 20, and how many of those are one."""
    for seed, zoom, *lines in zip(seeds, zooms, rows, cols, strict=True):
        scale = 1 << (MAX_ZOOM - zoom)
        y, x = (line * scale + scale // 2 for line in lines)
        yield signed(noise_key(seed, MAX_ZOOM, STREAM)), (y, x), scale


def smooth(
    octaves: Sequence[tuple[int, float]], y: Indices, x: Indices, key: int, shift: int, device: torch.device | str
) -> Tensor:
    """Of fields with cells of 2^cell px, each within +-its weight, the sum at ``y`` [h] x ``x`` [w], float32 [h, w]; fields of
    one ``key`` that differ in ``shift``, 0, 16 or 32, are others."""
    total = torch.zeros(len(y), len(x), device=device)
    for cell, weight in octaves:
        total.add_(octave(cell, y, x, key, shift, device)[0].mul_(weight))  # not by alpha: it may be fused
    return total


def distances(
    octaves: Sequence[tuple[int, float]],
    y: Indices,
    x: Indices,
    key: int,
    shift: int,
    device: torch.device | str,
    within: float,
) -> Tensor | None:
    """How far lines along which `smooth` is a whole number are, in pixels of zoom 20, as value and slope at a place tell:
    float32 [h, w]; or None if that is further than ``within`` everywhere."""
    steepest = sum(_STEEPEST * weight / (1 << cell) for cell, weight in octaves)
    if torch.device(device).type == "cpu":
        some_y, some_x, apart = _some(y, x)
        far = within + apart
        if steepest * far < 0.5 and _off(smooth(octaves, some_y, some_x, key, shift, device)).min() > steepest * far + _ROUNDED:
            return None  # as nearly everywhere
    total, down, right = (torch.zeros(len(y), len(x), device=device) for _ in range(3))
    for cell, weight in octaves:
        value, falls, turns = octave(cell, y, x, key, shift, device, slopes=True)
        total.add_(value.mul_(weight))
        down.add_(falls.mul_(weight / (1 << cell)))
        right.add_(turns.mul_(weight / (1 << cell)))
    return _off(total).div_(down.square_().add_(right.square_()).add_(1e-18).sqrt_())


def _some(y: Indices, x: Indices) -> tuple[Indices, Indices, float]:
    """A few of the places ``y`` [h] and ``x`` [w], and how far from all of these others may be."""
    some_y, some_x = (places[np.linspace(0, len(places) - 1, _FEW).round().astype(np.int64)] for places in (y, x))
    down, right = (np.abs(all_ - some[:, None]).min(0).max() for all_, some in ((y, some_y), (x, some_x)))
    return some_y, some_x, float(np.hypot(down, right))


def _off(values: Tensor) -> Tensor:
    """How far they are from whole numbers."""
    return values.round().sub_(values).abs_()


def octave(
    cell: int, y: Indices, x: Indices, key: int, shift: int, device: torch.device | str, slopes: bool = False
) -> list[Tensor]:
    """One field on -1 to 1, and with ``slopes`` its slopes downwards and to the right, a cell."""
    (rows, at_y, by_y), (columns, at_x, by_x) = (_corners(np.asarray(places).tobytes(), cell) for places in (y, x))
    around = (columns & (1 << WORLD_BITS - cell) - 1).expand(len(rows), -1).clone()
    bits = absorb_(around, absorb_(rows.clone(), key ^ cell)[:, None])
    values = torch.bitwise_right_shift(bits, shift).bitwise_and_(0xFFFF).float().div_(32767.5).sub_(1)
    across, turning = (weights[:, None] for weights in by_x)
    down, falling = (weights[:, :, None].to(device) for weights in by_y)
    at_y = at_y.to(device)

    lines = _sum(values, 1, at_x, across).to(device)
    found = [_sum(lines, 0, at_y, down)]
    if slopes:
        found.append(_sum(lines, 0, at_y, falling))
        found.append(_sum(_sum(values, 1, at_x, turning).to(device), 0, at_y, down))
    return found


def _sum(values: Tensor, axis: int, at: Tensor, weights: Tensor) -> Tensor:
    """The sum of the `CORNERS` from each ``at`` on, along an axis, times ``weights``."""
    total = values.index_select(axis, at).mul_(weights[0])
    for corner in range(1, CORNERS):
        total.add_(values.index_select(axis, at + corner).mul_(weights[corner]))
    return total


@lru_cache(maxsize=32)  # fields of one window share lattices
def _corners(places: bytes, cell: int) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """The corners that ``places``, int64 [n], depend on, in order; of each place which is its first one; and the `_splines`
    there, by how far it is from the one before the middle of the four. Not to be written into."""
    at = np.frombuffer(places, np.int64)
    cells = at >> cell
    corners = np.unique((np.unique(cells)[:, None] + np.arange(-1, CORNERS - 1)).ravel())
    into = (at & (1 << cell) - 1) / (1 << cell)
    with torch.inference_mode(False):  # kept: must not become inference tensors
        first = torch.from_numpy(np.searchsorted(corners, cells - 1))
        return torch.from_numpy(corners), first, _splines(torch.from_numpy(into))


def _splines(t: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of four corners ``t`` [n] after the second, and their slopes, float32 [4, n]."""
    left = 1 - t
    square, cube, left_square, left_cube = t * t, t * t * t, left * left, left * left * left
    weights = (left_cube, 3 * cube - 6 * square + 4, 3 * left_cube - 6 * left_square + 4, cube)
    slopes = (-left_square, 3 * square - 4 * t, 4 * left - 3 * left_square, square)
    return torch.stack(weights).div_(6).float(), torch.stack(slopes).div_(2).float()

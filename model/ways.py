"""Rivers, and roads through wild land: what crosses a planet and has no end, from zoom 6 down to where one stands at the bank.

Lines along which smooth fields (`model.fields`) are whole numbers meander, never end and never break, and at every zoom they
are where they were. So rivers are such lines, of three sizes. Where one is, noise is that of water, calm and dark; and what the
network makes of that takes on the colours of a river and of the woods along it (`coloured`), before it is tied to the parent's
means. A pixel has as much of a river as lies in it, so that every zoom is what the next one averages to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.denoiser import RESIDUAL_SCALE
from model.fields import distances, octave, places_of, smooth
from model.noise import Indices
from model.survey import ROAD, ROADSIDE, WIDEST


class River(NamedTuple):
    """One size of rivers. ``octaves``: of the field that is a whole number along them, log2 of the side of cells and their
    weights; steep ones beside the first make bends, and too steep ones loops. ``half``: half their width, in pixels of zoom 20,
    of 15 cm at the equator. ``stream``: of their hashes."""

    octaves: tuple[tuple[int, float], ...]
    half: float
    stream: int


RIVERS = (
    River(((20, 1.0), (18, 0.2), (15, 0.02)), 3000.0, 1 << 13),
    River(((20, 3.0), (18, 0.5), (15, 0.06)), 1300.0, 1 << 14),
    River(((20, 8.0), (17, 0.5), (14, 0.06)), 440.0, 0),
)
"""Some 300, 50 and 20 km apart, and 900, 390 and 130 m wide."""
ROADS = ((17, 1.0), (14, 0.06))
"""Of the field along roads, likewise."""
_ROAD_STREAM, _FAINTEST = 1 << 10, 0.2
"""Their stream, and the value up to which they are not drawn."""
_THINNEST = 0.25
"""Pixels that a river must be wide, to be drawn."""
_VARIED, _VARYING = 0.4, 4.0
"""By how much of it the width of rivers varies, and along how many times it, as a power of two."""
_ROUGH = ((11, 110.0), (9, 60.0), (7, 25.0), (5, 10.0))
"""And by how much in pixels of zoom 20, of smooth fields of smaller cells: no bank is drawn with a ruler."""
_BANKS = 4.0
"""Times their width that banks reach, fainter with distance."""
_WATER = (-1.7, -1.4, -1.2)
"""Values of a river in the noise, by channel: dark, and bluish."""
_RIVER, _GREEN = (42.0, 56.0, 52.0), (56.0, 74.0, 42.0)
"""Colours, in grey levels, of rivers, which `model.land_use` must not take for the sea, and of woods along them."""
_CLEAR, _SHADED = 0.9, 0.6
"""How far what lies there takes these on at each stage."""
CALM = 0.75
"""How much of its detail a river lacks."""


def ways(
    seeds: Sequence[int], zooms: Sequence[int], rows: Indices, cols: Indices, device: torch.device | str = "cpu"
) -> Tensor:
    """Those of the registers of ``seeds`` [B] at the pixels ``rows`` [B, h] x ``cols`` [B, w] of ``zooms`` [B], float32
    [B, 7, h, w]: values for three channels, as of `model.survey`; whether there is a road, 0 or 1; whether there are no
    parcels, for there is one or a river's banks; how much of a pixel is river, 0 to 1, and how much bank."""
    found = []
    water = torch.tensor(_WATER, device=device)[:, None, None]
    for key, (y, x), scale in places_of(seeds, zooms, rows, cols):
        road, wet, banks = (torch.zeros(len(y), len(x), device=device) for _ in range(3))
        verge = max(ROAD / 2, 0.6 * scale)  # a pixel at least, fainter if that is more than there is
        light = WIDEST * min(ROADSIDE * ROAD / scale, 1)
        if light >= _FAINTEST and (far := distances(ROADS, y, x, key ^ _ROAD_STREAM, 0, device, verge)) is not None:
            road = (far < verge).float()
        for river in RIVERS:
            if (seen := _river(river, key ^ river.stream, y, x, scale, device)) is not None:
                wet, banks = torch.maximum(wet, seen[0]), torch.maximum(banks, seen[1])
        wet = wet * (1 - road)  # a bridge
        values = torch.where(road > 0, light, water)
        cleared = ((road > 0) | (wet > 0) | (banks > 0.5)).float()
        found.append(torch.cat([values, torch.stack([road, cleared, wet, banks])]))
    return torch.stack(found)


def _river(
    river: River, key: int, y: Indices, x: Indices, scale: int, device: torch.device | str
) -> tuple[Tensor, Tensor] | None:
    """How much of each pixel, ``scale`` px of zoom 20 wide, is of such a river, and how much of its banks, [h, w]; None if
    there is nothing of either."""
    octaves, reach = _shown(river.octaves, scale), _BANKS * river.half
    if 2 * river.half < _THINNEST * scale or not octaves:
        return None
    if (far := distances(octaves, y, x, key, 32, device, reach + scale)) is None:
        return None
    half = octave(int(math.log2(river.half) + _VARYING), y, x, key, 0, device)[0].mul_(_VARIED).add_(1).mul_(river.half)
    half.add_(smooth(_shown(_ROUGH, scale), y, x, key, 16, device))
    inside = ((half - far) / scale + 0.5).clamp(0, 1)
    room = min(1.0, max(0.0, river.half / scale - 0.5))  # banks beside a line of a pixel would leave none of it
    return torch.minimum(inside, 2 * half / scale), (2 * (reach - far) / reach).clamp(0, 1) * room


def _shown(octaves: Sequence[tuple[int, float]], scale: int) -> list[tuple[int, float]]:
    """Those whose cells are at least eight pixels wide."""
    return [(cell, weight) for cell, weight in octaves if 8 * scale <= 1 << cell]


def coloured(detail: Tensor, upper: Tensor, rivers: Tensor) -> Tensor:
    """``detail`` [B, 3, h, w], in units of the residual, over enlarged parents ``upper`` on [-1, 1], with the colours of
    ``rivers`` [B, 2, h, w]: how much of a pixel is river, and how much bank. Banks are made darker, never lighter."""
    wet, banks = rivers[:, :1], rivers[:, 1:]
    water, woods = (torch.tensor(c, device=upper.device).div(127.5).sub(1)[:, None, None] for c in (_RIVER, _GREEN))
    change = _CLEAR * wet * (water - upper) + _SHADED * banks * (1 - wet) * (woods - upper).clamp(max=0)
    return detail + change / RESIDUAL_SCALE

"""The land register: what lies where on farmed land, endless, fixed to the world and the same at every zoom.

Complete, for whoever wants to read it elsewhere. Lengths are pixels of zoom 20. All comes of the hash of `model.noise`, in
integers and in floats rounded as IEEE 754 says, so that every device has the same register to the bit:

    bends       how far the land is bent along each axis: smooth fields (`model.fields`)
    region      rows of `REGION` px, each shifted by its own hash; its hash chooses a direction, the size of parcels and
                whether they are bent
    strip       across the direction: intervals with jittered ends (`_interval`)
    parcel      along it: intervals twice as long, of its own in each strip
    roads       where every fourth strip begins, and across them; light, and a pixel wide at least
    rows        along a parcel, where pixels are fine enough to show them
    city        parcels where the base picture has one (`model.context`)
    town        parcels near the middle of some squares of `TOWN` px, and a few elsewhere: lots with houses, apart or side by
                side, or with halls, and streets
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from model.fields import places_of, smooth
from model.noise import Indices, absorb_

SIZE = 32 * 64
"""Depth of a middling strip, 305 m at the equator."""
REGION = 101_377
"""Side of a region, 15 km: of no multiple that a tile's side is, for borders of regions that often lay on those of tiles would
show as seams."""
DIRECTIONS = ((4, 0), (4, 0), (4, 1), (3, 1), (4, 2), (3, 2), (3, 3), (2, 3), (2, 4), (1, 3), (1, 4))
"""(x, y) of what parcels run along; northwards or eastwards more often, as surveyors do."""
BENDS = ((14, 1400.0), (12, 220.0))
"""Of smooth fields that the land is bent by: log2 of the side of their cells, 2.4 and 0.6 km, and how far that is at most."""
STRAIGHT = 6
"""Of 16 regions so many are not bent."""
CROSSINGS = 6
"""Depths of strips between roads across them."""
ROAD = 72
"""Width of a road, 11 m at the equator."""
ROADSIDE = 4
"""Times its width that a road is seen by, with its verges: where that is less than a pixel it is fainter."""
ROWS, FINE_ROWS = 192, 24
"""Distances between tracks and between rows of plants, 29 m and 3.6 m at the equator."""
_TRACK, _ROW = 0.6, 0.35
"""How dark tracks are, and how light or dark rows, in standard deviations."""
TOWN = 1 << 16
"""Side of squares, 9.8 km, of which `_SETTLED` in 256 have a town: at most a quarter of it in radius, and of parcels that are
the fewer the further out they lie."""
_SETTLED, _HAMLETS = 160, 8
"""And of 256 parcels anywhere so many are built up."""
LOT, STREET, CROSS_STREETS = 160, 56, 1600
"""Widths of a lot and of a street, 24 m and 8 m at the equator, and the distance between streets across others."""
_ROOF, _GARDEN, _YARD, _STREET, _VARIED = 1.3, 0.8, 0.1, 1.2, 0.3
"""How light or dark roofs are, how dark gardens and yards and how light streets; and by how much of a parcel's value they
vary."""
CULTIVATED = 0.8
"""Share of the parcels that are fields; the others have noise like all other land."""
WIDEST = 1.3
"""Largest value of a parcel, in standard deviations: far ones are like no noise that the network knows."""
_JITTER = 180
"""Of 256, of intervals."""
_TINT, _TOWN_TINT, _FURTHEST = (1.0, -0.8, -0.2), 0.3, 1.8
"""Times a parcel's second value, what its channels have beyond the first, for some fields are brown and some green; the share
of it that parcels of towns have; and the largest value of a channel."""


def survey(
    seeds: Sequence[int],
    zooms: Sequence[int],
    rows: Indices,
    cols: Indices,
    device: torch.device | str = "cpu",
    cities: Tensor | None = None,
    where: Tensor | None = None,
) -> Tensor:
    """The registers of ``seeds`` [B] at the pixels ``rows`` [B, h] x ``cols`` [B, w] of ``zooms`` [B], without `ways`,
    float32 [B, 5, h, w]: values for three channels, about 0, in standard deviations; whether they are of fields or roads, 1 or
    0; and whether of what is built up. Where they are of neither the register says nothing. ``cities``, [B, h, w]: how far
    there is one, 0 to 1. What is asked for only ``where``, bool [B, h, w], costs less, and is 0 elsewhere."""
    keys, places, scales = zip(*places_of(seeds, zooms, rows, cols), strict=True)
    bends = [[smooth(BENDS, y, x, key, shift, device) for (y, x), key in zip(places, keys, strict=True)] for shift in (0, 16)]
    down, right = (torch.stack(bend) for bend in bends)
    y, x = (torch.as_tensor(np.stack(lines), device=device) for lines in zip(*places, strict=True))
    y, x = y[..., None].expand(right.shape), x[:, None].expand(right.shape)
    scale, key = (torch.tensor(values, device=device)[:, None, None].expand(right.shape) for values in (scales, keys))
    cities = torch.zeros_like(right) if cities is None else cities
    if where is None or where.all():
        return torch.stack(_register(y, x, down, right, scale, key, cities), 1)
    found = torch.zeros(5, *right.shape, device=device)
    found[:, where] = torch.stack(_register(*(lines[where] for lines in (y, x, down, right, scale, key, cities))))
    return found.transpose(0, 1)


def _register(y: Tensor, x: Tensor, down: Tensor, right: Tensor, scale: Tensor, key: Tensor, cities: Tensor) -> list[Tensor]:
    """What `survey` says of pixels in any number and order, five of their shape; they have all that there is to know of them:
    their place, how it is bent, the side of a pixel, the key of its register and how far there is a city."""
    down, right = (bend.floor().long() for bend in (down, right))
    row = absorb_(_floor(y + down, REGION), key)
    region = absorb_(_floor(x + right + _below(row, REGION), REGION), row)
    straight = _bits(region, 40, 15) < STRAIGHT
    y, x = (torch.where(straight, place, place + bends) for place, bends in ((y, down), (x, right)))
    along, across, length = _directions(y.device)[:, _below(_bits(region, 8, 0xFFFF), len(DIRECTIONS))]
    depth = _bits(region, 24, 0xFF).add_(180).mul_(length).bitwise_right_shift_(8)
    u, v = along * x + across * y, along * y - across * x
    strip, beside = _interval(v, depth, region)
    start = strip * depth
    absorb_(strip, region)
    _, beyond = _interval(u, CROSSINGS * depth, region)
    width = _part(length, scale.clamp(min=ROAD))
    road = ((beside >= 0) & (beside < width) & (_bits(strip, 56, 3) == 0)) | ((beyond >= 0) & (beyond < width))
    shift = _below(strip, 2 * depth)
    parcel, _ = _interval(u + shift, 2 * depth, strip)
    end = parcel * 2 * depth - shift
    absorb_(parcel, strip)

    light = _value(parcel, 0) + _rows(v, length, scale, parcel)
    square = along * along + across * across
    left, top = _floor(along * end - across * start, square), _floor(across * end + along * start, square)
    built = _built(left, top, key, parcel, cities)
    if built.device.type != "cpu":
        light = torch.where(built, _lots(u, v, length, parcel, cities), light)
    elif built.any():
        light[built] = _lots(*(lines[built] for lines in (u, v, length, parcel, cities)))
    shown = road * (ROADSIDE * ROAD / scale).clamp(max=1)
    tint = _value(parcel, 12) * torch.where(built, _TOWN_TINT, 1.0)
    values = [(light + share * tint).clamp(-_FURTHEST, _FURTHEST) for share in _TINT]
    field = ((_bits(parcel, 48, 0xFFFF) < CULTIVATED * 0x10000) | road) & ~built
    return [*(value + shown * (WIDEST - value) for value in values), field.float(), built.float()]


def _rows(v: Tensor, length: Tensor, scale: Tensor, parcel: Tensor) -> Tensor | float:
    """What tracks, dark and an eighth of their distance wide, and rows of plants add to the values of half of all fields."""
    added: Tensor | float = 0.0
    for distance, lines, dark, light, bit in (ROWS, 8, -_TRACK, 0.0, 44), (FINE_ROWS, 2, -_ROW, _ROW, 45):
        shown = scale <= distance // 5
        if shown.any():
            across = _part(length, distance)
            drawn = torch.where(v.remainder(across) * lines < across, dark, light)
            added = added + drawn * ((_bits(parcel, bit, 1) == 0) & shown)
    return added


def _built(x: Tensor, y: Tensor, key: Tensor, parcel: Tensor, cities: Tensor) -> Tensor:
    """Whether ``parcel``, of which (x, y) is a corner, is built up: in cities a share of them all."""
    bits = TOWN.bit_length() - 1
    cell = absorb_(torch.bitwise_right_shift(x, bits), absorb_(torch.bitwise_right_shift(y, bits), key))
    dx, dy = ((a & TOWN - 1) - TOWN // 4 - _below(_bits(cell, shift, 0xFFFF), TOWN // 2) for a, shift in ((x, 0), (y, 16)))
    radius = TOWN // 16 + _below(_bits(cell, 32, 0xFFFF), TOWN * 3 // 16)
    near = (dx * dx + dy * dy) * 256 < radius * radius * _bits(parcel, 36, 0xFF).add_(64)
    return (near & (_bits(cell, 48, 0xFF) < _SETTLED)) | (_bits(parcel, 28, 0xFF) < (256 * cities).clamp(min=_HAMLETS))


def _lots(u: Tensor, v: Tensor, length: Tensor, parcel: Tensor, cities: Tensor) -> Tensor:
    """Values where it is built up: gardens are dark, houses light or dark, streets, along every second row of lots, light. Of
    eight parcels one has halls, on lots four times as large, and two, in cities five, have houses side by side and yards."""
    lot, street, apart = (_part(length, size) for size in (LOT, STREET, CROSS_STREETS))
    kind = _bits(parcel, 52, 7)
    lot, dense = torch.where(kind == 0, 4 * lot, lot), kind < 3 + 3 * cities
    row, behind = _interval(v, 2 * lot, parcel)
    first = (row & 1) == 0
    absorb_(row, parcel)
    house, beside = _interval(u, lot, row)
    absorb_(house, row)
    _, across = _interval(u, apart, parcel)
    apiece = (4 * behind > 3 * lot) & (2 * behind < 3 * lot) & (6 * beside > lot) & (4 * beside < 3 * lot)
    close = (3 * behind > lot) & (8 * behind < 15 * lot) & (12 * beside > lot) & (12 * beside < 11 * lot)
    inside = torch.where(dense, close, apiece)
    roof = torch.where(_bits(house, 20, 3) > 0, _ROOF, -_ROOF) + _VARIED * _value(house, 0)
    light = torch.where(inside, roof, _VARIED * _value(house, 24) - torch.where(dense, _YARD, _GARDEN))
    streets = ((behind >= 0) & (behind < street) & first) | ((across >= 0) & (across < street))
    return torch.where(streets, _STREET, light)


def _interval(place: Tensor, length: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Which interval of a line holds ``place``: they begin up to `_JITTER` / 256 of their ``length`` after its multiples. And
    how far ``place`` is from the beginning of one that begins near it: below 0 before it."""
    index = _floor(place, length)
    begins = _bits(absorb_(index.clone(), key), 0, 0xFFFF).mul_(length).mul_(_JITTER).bitwise_right_shift_(24)
    into = (place - begins).sub_(index * length)
    return index.add_(torch.bitwise_right_shift(into, 63)), into  # less 1 where it is negative


def _below(bits: Tensor, limit: Tensor | int) -> Tensor:
    """Of hashes, numbers from 0 to ``limit``."""
    return _bits(bits, 0, 0xFFFF).mul_(limit).bitwise_right_shift_(16)


def _bits(bits: Tensor, shift: int, mask: int) -> Tensor:
    return torch.bitwise_right_shift(bits, shift).bitwise_and_(mask)


def _part(length: Tensor, size: Tensor | int) -> Tensor:
    """``size`` px along a direction, of which `SIZE` px are ``length``."""
    return torch.bitwise_right_shift(length * size, SIZE.bit_length() - 1)


def _value(bits: Tensor, shift: int) -> Tensor:
    return _bits(bits, shift, 0xFFF).float().sub_(2047.5).mul_(WIDEST / 2047.5)


def _floor(place: Tensor, length: Tensor | int) -> Tensor:
    return torch.div(place, length, rounding_mode="floor")


@cache
def _directions(device: torch.device | str) -> Tensor:
    """Directions and the depth of a strip along them, int64 [3, D]."""
    with torch.inference_mode(False):  # kept: must not become an inference tensor
        x, y = torch.tensor(DIRECTIONS).T
        length = ((x * x + y * y).double().sqrt() * SIZE).long()
        return torch.stack([x, y, length]).to(device)

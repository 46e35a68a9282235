"""Parcels in the noise: where land is farmed, the noise that the sampler starts from is alike within a field.

A sampler of few steps and short reach makes texture of white noise, and of a plain without edges it makes crust: no field, road
or straight line comes of it, for nothing that it sees is longer than itself. So the noise has some structure of its own, as
the texture of random tessellations has (mosaics, Ahuja and Rosenfeld 1981): a share of it is one value for each parcel of an
endless land register, fixed to the world like all noise and the same at every zoom, so that a field that zoom 10 hints at has
edges at zoom 14. The network decides what becomes of it. How much, is decided by the parent's colour (`farmed`).

The register, complete. Lengths are pixels of zoom 20; all is integer arithmetic on the hash of `model.noise`:

    region      rows of `REGION` px, each shifted by its own hash; its hash chooses a direction and the size of parcels
    strip       across the direction: intervals with jittered ends (`_interval`)
    parcel      along it: intervals twice as long, of its own in each strip
    road        where every fourth strip begins, and across them; light, and a pixel wide at least
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.grid import EARTH_CIRCUMFERENCE, MAX_ZOOM, ground_resolution, world_size
from model.noise import Indices, absorb_, noise_key, signed
from model.stage import enlarge_smoothly, ramp

RECIPE = 1
"""Goes up when anything below changes what is generated; part of a planet's identity."""

STREAM_PARCELS = 2
"""Stream of `model.noise`: the register is one for all zooms and takes its key from this one."""
SIZE = 32 * 64
"""Depth of a middling strip, 305 m at the equator."""
REGION = 101_377
"""Side of a region, 15 km: of no multiple that a tile's side is, for borders of regions that often lay on those of tiles would
show as seams."""
DIRECTIONS = ((4, 0), (4, 0), (4, 1), (3, 1), (4, 2), (3, 2), (3, 3), (2, 3), (2, 4), (1, 3), (1, 4))
"""(x, y) of what parcels run along; northwards or eastwards more often, as surveyors do."""
CROSSINGS = 6
"""Depths of strips between roads across them."""
ROAD = 72
"""Width of a road, 11 m at the equator."""
_ROADSIDE = 4
"""Times its width that a road is seen by, with its verges: where that is less than a pixel it is fainter."""
CULTIVATED = 0.8
"""Share of the parcels that are fields; the others have noise like all other land."""
ZOOM_KNOTS, SHARES = (8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0), (0.0, 0.7, 0.75, 0.6, 0.35, 0.15, 0.0)
"""Share of the noise, as an amplitude, that is a parcel's, by zoom; none beyond. At depth only edges are left to be made."""
_AT_45 = math.log2(EARTH_CIRCUMFERENCE / 256 * math.cos(math.pi / 4))
_COLD, _MILD = 0.42, 0.5
"""Cosines of the latitudes, 65 and 60 degrees, beyond which nothing is farmed, and up to which all may be."""
_WIDEST = 1.3
"""Largest value of a parcel, in standard deviations: far ones are like no noise that the network knows."""
_TINTED = 0.35
"""Of a parcel's value, what each channel has for itself."""
_DARK, _LIGHT = (50.0, 64.0), (150.0, 180.0)
"""Grey levels between which land becomes light enough for fields, and too light: woods and sand."""
_GREEN = (0.05, 0.11)
"""By how much green exceeds red, and blue lacks of the mean, together, as shares of the mean, for land to be farmed: rock,
snow, water, desert and steppe have less."""
REACH, SMOOTH_MARGIN = 2, 2
FARMED_MARGIN = REACH + SMOOTH_MARGIN
"""Parent pixels that `farmed` needs beyond a window."""


@dataclass(frozen=True, eq=False)
class Register:
    """The part of the register that a picture has: the ``zoom`` of its pixels, which may be any, and the ``share`` of its noise
    that is a parcel's where land is farmed, float32 [1], or [h], by row."""

    zoom: int
    share: NDArray[np.float32]

    @staticmethod
    def of_planet(zoom: int, rows: NDArray[np.int64]) -> Register | None:
        """At the ``rows`` [h] of a planet's ``zoom``: none where it is too cold, or at zooms that have no parcels."""
        cosine = ground_resolution(zoom, rows) * world_size(zoom) / EARTH_CIRCUMFERENCE
        share = share_at(zoom) * np.clip((cosine - _COLD) / (_MILD - _COLD), 0, 1)
        return Register(zoom, share.astype(np.float32)) if share.any() else None

    @staticmethod
    def of_picture(zoom: int) -> Register | None:
        """For a picture of no planet, of about the resolution of ``zoom`` (`zoom_near`)."""
        return Register(zoom, np.array([share_at(zoom)], np.float32)) if share_at(zoom) else None


def zoom_near(log2_gsd: float) -> int:
    """The zoom that has about 2^``log2_gsd`` metres per pixel at 45 degrees; it may be none of a planet's."""
    return round(_AT_45 - log2_gsd)


def share_at(zoom: int) -> float:
    """`SHARES` of a zoom."""
    return float(np.interp(zoom, ZOOM_KNOTS, SHARES))


def farmed(wide: Tensor) -> Tensor:
    """How far land is farmed, 0 to 1, by the colour of parents [B, 3, h + 2 m, w + 2 m] on [-1, 1], m = `FARMED_MARGIN`: for
    their children, [B, 1, 4h, 4w]."""
    colours = (F.avg_pool2d(wide, 2 * REACH + 1, stride=1) + 1) * 127.5
    mean = colours.mean(1, keepdim=True).clamp(min=1)
    red, green, blue = colours.chunk(3, 1)
    coarse = ramp(mean, *_DARK) * ramp(-mean, -_LIGHT[1], -_LIGHT[0]) * ramp((green - red + mean - blue) / mean, *_GREEN)
    return enlarge_smoothly(coarse, SMOOTH_MARGIN)


Site = tuple[int, Register | None, Indices, Indices]
"""Seed, register, rows and columns of a picture."""


def lay(noise: Tensor, parents: Tensor, sites: Sequence[Site]) -> Tensor:
    """``noise`` [B, 3, 4h, 4w] of children of ``parents``, as `farmed` takes them, with the register of their ``sites``."""
    registers = {index: register for index, (_, register, _, _) in enumerate(sites) if register is not None}
    if not registers:
        return noise
    share = farmed(parents)
    if noise.device.type == "cpu":  # on a GPU to ask takes longer than to do
        registers = {index: register for index, register in registers.items() if share[index].any()}
    if not registers:
        return noise
    seeds, _, rows, cols = zip(*(sites[index] for index in registers), strict=True)
    zooms = [register.zoom for register in registers.values()]
    fields = torch.zeros(len(noise), 4, *noise.shape[2:], device=noise.device)
    fields[list(registers)] = parcels(seeds, zooms, np.stack(rows), np.stack(cols), noise.device)
    for index, register in registers.items():
        share[index] *= torch.from_numpy(register.share).to(noise.device)[:, None]
    share = share * fields[:, 3:]
    return (1 - share.square()).sqrt() * noise + share * fields[:, :3]


def parcels(
    seeds: Sequence[int], zooms: Sequence[int], rows: Indices, cols: Indices, device: torch.device | str = "cpu"
) -> Tensor:
    """The registers of ``seeds`` [B] at the pixels ``rows`` [B, h] x ``cols`` [B, w] of ``zooms`` [B], float32 [B, 4, h, w]:
    values of parcels for three channels, and whether they are fields, 1 or 0."""
    scale = torch.tensor([1 << (MAX_ZOOM - zoom) for zoom in zooms], device=device)[:, None]
    y, x = (torch.as_tensor(indices, device=device) * scale + scale // 2 for indices in (rows, cols))
    keys = torch.tensor([signed(noise_key(seed, MAX_ZOOM, STREAM_PARCELS)) for seed in seeds], device=device)[:, None]
    row = absorb_(_floor(y, REGION), keys)
    region = absorb_(_floor(x[:, None] + _below(row, REGION)[..., None], REGION), row[..., None])
    which = (region >> 8 & 0xFFFF) * len(DIRECTIONS) >> 16
    along, across, length = _directions(device)[:, which]
    depth = length * ((region >> 24 & 0xFF) + 180) >> 8
    x, y = x[:, None], y[..., None]
    u, v = along * x + across * y, along * y - across * x
    strip, beside = _interval(v, depth, region)
    absorb_(strip, region)
    _, beyond = _interval(u, CROSSINGS * depth, region)
    width = (length * ROAD // SIZE).maximum(length * scale[..., None] // SIZE)
    road = ((beside >= 0) & (beside < width) & ((strip >> 56 & 3) == 0)) | ((beyond >= 0) & (beyond < width))
    parcel, _ = _interval(u + _below(strip, 2 * depth), 2 * depth, strip)
    absorb_(parcel, strip)
    light = _value(parcel, 0)
    values = [light + _TINTED * _value(parcel, 12 * channel) for channel in (1, 2, 3)]
    shown = road * (_ROADSIDE * ROAD / scale[..., None]).clamp(max=1)
    values = [value + shown * (_WIDEST - value) for value in values]
    return torch.stack([*values, (((parcel >> 48 & 0xFFFF) < CULTIVATED * 0x10000) | road).float()], 1)


def _interval(place: Tensor, length: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Which interval of a line holds ``place``: they begin up to seven tenths of their ``length`` after its multiples. And how
    far ``place`` is from the beginning of one that begins near it: below 0 before it."""
    index = _floor(place, length)
    into = place - index * length - _below(absorb_(index.clone(), key), length) * 7 // 10
    return index - (into < 0).long(), into


def _below(bits: Tensor, limit: Tensor | int) -> Tensor:
    """Of hashes, numbers from 0 to ``limit``."""
    return (bits & 0xFFFF) * limit >> 16


def _value(bits: Tensor, shift: int) -> Tensor:
    return ((bits >> shift & 0xFFF).float() / 2047.5 - 1) * _WIDEST


def _floor(place: Tensor, length: Tensor | int) -> Tensor:
    return torch.div(place, length, rounding_mode="floor")


@cache
def _directions(device: torch.device | str) -> Tensor:
    """Directions and the depth of a strip along them, int64 [3, D]."""
    with torch.inference_mode(False):  # kept: must not become an inference tensor
        x, y = torch.tensor(DIRECTIONS).T
        length = ((x * x + y * y).double().sqrt() * SIZE).long()
        return torch.stack([x, y, length]).to(device)

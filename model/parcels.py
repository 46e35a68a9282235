"""Parcels in the noise: where land is farmed, the noise that the sampler starts from is alike within a field.

A sampler of few steps and short reach makes texture of white noise, and of a plain without edges it makes crust: no field, road
or straight line comes of it, for nothing that it sees is longer than itself. So the noise has some structure of its own, as
the texture of random tessellations has (mosaics, Ahuja and Rosenfeld 1981): a share of it is one value for each parcel of an
endless land register (`model.survey`), fixed to the world like all noise and the same at every zoom, so that a field that zoom
10 hints at has edges at zoom 14. The network decides what becomes of it, as it has learned from sketches of real pictures
(`model.training.sketches`). How much, is decided by the parent's colour (`land_use`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.grid import EARTH_CIRCUMFERENCE, MAX_ZOOM, ground_resolution, world_size
from model.noise import Indices
from model.stage import enlarge_smoothly, ramp
from model.survey import rivers, survey

RECIPE = 2
"""Goes up when anything below or in `model.survey` changes what is generated; part of a planet's identity."""

ZOOM_KNOTS, SHARES = (8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0), (0.0, 0.75, 0.85, 0.8, 0.65, 0.4, 0.2)
"""Share of the noise, as an amplitude, that is a parcel's, by zoom; none beyond. At depth only edges are left to be made."""
BUILT_SHARES = (0.0, 0.75, 0.85, 0.9, 0.9, 0.85, 0.7)
"""That where it is built up: there is always more to be made."""
_AT_45 = math.log2(EARTH_CIRCUMFERENCE / 256 * math.cos(math.pi / 4))
_COLD, _MILD = 0.42, 0.5
"""Cosines of the latitudes, 65 and 60 degrees, beyond which nothing is farmed, and up to which all may be."""
_DARK, _LIGHT = (50.0, 64.0), (150.0, 180.0)
"""Grey levels between which land becomes light enough for fields, and too light: woods and sand."""
_NIGHT = (12.0, 20.0)
"""And for rivers: the darkest woods."""
_GREEN = (0.05, 0.11)
"""By how much green exceeds red, and blue lacks of the mean, together, as shares of the mean, for land to be farmed: rock,
snow, water, desert and steppe have less."""
_WARM = (0.06, 0.14)
"""By how much red exceeds blue, as shares of the mean, likewise: turbid sea is as green as fields, and has less."""
REACH, SMOOTH_MARGIN = 2, 2
FARMED_MARGIN = REACH + SMOOTH_MARGIN
"""Parent pixels that `land_use` needs beyond a window."""


@dataclass(frozen=True, eq=False)
class Register:
    """The part of the register that a picture has: the ``zoom`` of its pixels, which may be any, and how ``mild`` it is there,
    0 to 1, float32 [1], or [h], by row: nothing is farmed where it is 0."""

    zoom: int
    mild: NDArray[np.float32]

    @staticmethod
    def of_planet(zoom: int, rows: NDArray[np.int64]) -> Register | None:
        """At the ``rows`` [h] of a planet's ``zoom``: none at zooms that have no parcels."""
        if not any(shares_at(zoom)):
            return None
        cosine = ground_resolution(zoom, rows) * world_size(zoom) / EARTH_CIRCUMFERENCE
        return Register(zoom, np.clip((cosine - _COLD) / (_MILD - _COLD), 0, 1).astype(np.float32))

    @staticmethod
    def of_picture(zoom: int) -> Register | None:
        """For a picture of no planet, of about the resolution of ``zoom`` (`zoom_near`)."""
        return Register(zoom, np.ones(1, np.float32)) if any(shares_at(zoom)) else None


def zoom_near(log2_gsd: float) -> int:
    """The zoom that has about 2^``log2_gsd`` metres per pixel at 45 degrees; it may be none of a planet's."""
    return round(_AT_45 - log2_gsd)


def shares_at(zoom: int) -> tuple[float, float]:
    """`SHARES` and `BUILT_SHARES` of a zoom."""
    fields, built = (float(np.interp(zoom, ZOOM_KNOTS, shares)) for shares in (SHARES, BUILT_SHARES))
    return (fields, built) if zoom <= MAX_ZOOM else (0.0, 0.0)


def land_use(wide: Tensor) -> Tensor:
    """How far land is farmed, and how far it may have rivers, 0 to 1, by the colour of parents [B, 3, h + 2 m, w + 2 m] on
    [-1, 1], m = `FARMED_MARGIN`: for their children, [B, 2, 4h, 4w]."""
    colours = (F.avg_pool2d(wide, 2 * REACH + 1, stride=1) + 1) * 127.5
    mean = colours.mean(1, keepdim=True).clamp(min=1)
    red, green, blue = colours.chunk(3, 1)
    warm, dim = ramp((red - blue) / mean, *_WARM), ramp(-mean, -_LIGHT[1], -_LIGHT[0])
    crops = dim * ramp(mean, *_DARK) * ramp((green - red + mean - blue) / mean, *_GREEN) * warm
    return enlarge_smoothly(torch.cat([crops, dim * warm * ramp(mean, *_NIGHT)], 1), SMOOTH_MARGIN)


Site = tuple[int, Register | None, Indices, Indices]
"""Seed, register, rows and columns of a picture."""


def lay(noise: Tensor, parents: Tensor, sites: Sequence[Site]) -> Tensor:
    """``noise`` [B, 3, 4h, 4w] of children of ``parents``, as `land_use` takes them, with the register of their ``sites``."""
    registers = {index: register for index, (_, register, _, _) in enumerate(sites) if register is not None}
    if not registers:
        return noise
    use, mild = land_use(parents), torch.zeros_like(noise[:, :1, :, :1])
    for index, register in registers.items():
        mild[index] = torch.from_numpy(register.mild).to(noise.device)[:, None]
    use[:, :1] *= mild
    if use.device.type == "cpu" and not use.any():  # on a GPU to ask takes longer than to do
        return noise
    values, shares = torch.zeros_like(noise), torch.zeros_like(noise[:, :1])
    for index, found in _found(survey, sites, use[:, 0], registers):
        fields, built = shares_at(registers[index].zoom)
        values[index], shares[index] = found[:3], use[index, :1] * (fields * found[3:4] + built * found[4:])
    for index, found in _found(rivers, sites, use[:, 1], registers):
        there, share = found[3:4] > 0, use[index, 1:] * shares_at(registers[index].zoom)[0]
        values[index] = torch.where(there, found[:3], values[index])
        shares[index] = torch.where(there, share, shares[index] * (1 - found[4:] * (share > 0)))
    return blend(noise, values, shares)


def blend(noise: Tensor, values: Tensor, share: Tensor) -> Tensor:
    """``noise`` with a ``share`` of ``values``, as an amplitude: of the same variance, if they have it."""
    return (1 - share.square()).sqrt() * noise + share * values


def _found(
    what: Callable[..., Tensor], sites: Sequence[Site], use: Tensor, registers: Iterable[int]
) -> Iterator[tuple[int, Tensor]]:
    """Of the pictures ``registers`` whose ``use`` [B, 4h, 4w] lets them have it, what `survey` or `rivers` finds."""
    which = [index for index in registers if use.device.type != "cpu" or use[index].any()]
    if which:
        seeds, told, rows, cols = zip(*(sites[index] for index in which), strict=True)
        zooms = [register.zoom for register in told if register is not None]
        yield from zip(which, what(seeds, zooms, np.stack(rows), np.stack(cols), use.device), strict=True)

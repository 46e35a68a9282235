"""The land register in the noise: parcels where land is farmed, relief and trees where it is wild, rivers and roads.

A sampler of few steps and short reach makes texture of white noise, and of a plain without edges it makes crust: no field, road
or straight line comes of it, for nothing that it sees is longer than itself. So the noise has some structure of its own, as
the texture of random tessellations has (mosaics, Ahuja and Rosenfeld 1981): a share of it is one value for each parcel of an
endless land register (`model.survey`), fixed to the world like all noise and the same at every zoom, so that a field that zoom
10 hints at has edges at zoom 14. Wild land has `model.relief` and `model.trees` instead, and `model.ways` cross both. The
network decides what becomes of it, as it has learned from sketches of real pictures (`model.training.sketches`). Where there is
how much of what, is decided by the parent's colour (`model.land_use`) and by how rugged land is, and so is how strong what is
made of it may be (`model.strength`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.context import Context
from model.grid import EARTH_CIRCUMFERENCE, MAX_ZOOM, ground_resolution, world_size
from model.land_use import land_use
from model.noise import Indices
from model.relief import relief
from model.stage import ramp
from model.strength import strength
from model.survey import survey
from model.trees import FINEST_ZOOM, trees
from model.ways import CALM, ways

RECIPE = 7
"""Goes up when anything here, in `model.land_use`, `model.context`, `model.strength`, `model.ways` or in what is laid changes
what is generated; part of a planet's identity."""

ZOOM_KNOTS, SHARES = (8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0), (0.0, 0.75, 0.85, 0.8, 0.65, 0.4, 0.2)
"""Share of the noise, as an amplitude, that is a parcel's, by zoom; none beyond. At depth only edges are left to be made."""
BUILT_SHARES = (0.0, 0.75, 0.85, 0.9, 0.9, 0.85, 0.7)
"""That where it is built up: there is always more to be made."""
RELIEF_KNOTS, RELIEF_SHARES = (5.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0), (0.0, 0.8, 0.93, 0.95, 0.95, 0.85, 0.7, 0.5)
"""That of relief, on land that is not farmed."""
WAYS_KNOTS, WAYS_SHARES = (5.0, 6.0, 8.0, 10.0, 14.0, 18.0, 20.0), (0.0, 0.3, 0.7, 0.85, 0.85, 0.7, 0.6)
"""That of rivers, and of roads through wild land."""
TREES_SHARE = 0.8
"""That of trees."""
_AT_45 = math.log2(EARTH_CIRCUMFERENCE / 256 * math.cos(math.pi / 4))
_COLD, _MILD = 0.42, 0.5
"""Cosines of the latitudes, 65 and 60 degrees, beyond which nothing is farmed, and up to which all may be."""
_LEVEL = (0.0, -0.15)
"""Ruggedness (`model.relief`) from which on land is level, and from which on it is farmed if it is arable at all."""
_RUGGED, _GENTLE = (-0.3, 0.2), 0.9
"""And that up to which relief has a share of `_GENTLE` of what it has where land is rugged, and from which on it has all."""
_SUBURBS = 4.0
"""Times how far there is a city, how far land there is not left wild, of whatever colour."""
_HILLY, _MOUNTAINS = 0.4, 0.65
"""What `Context` adds to it, from which on not all that is green is farmed, and from which on nothing is."""
_SPARSE, _DENSE = 0.1, 0.8
"""Density of trees (`model.trees`) on open land and in woods."""


@dataclass(frozen=True, eq=False)
class Register:
    """The part of the register that a picture has: the ``zoom`` of its pixels, which may be any, and how ``mild`` it is there,
    0 to 1, float32 [1], or [h], by row: nothing is farmed where it is 0. ``context``: that of a planet's pixels, float32
    [2, h, w] (`model.context`); pictures of no planet have none, no `ways`, and detail as strong as their parents ask for."""

    zoom: int
    mild: NDArray[np.float32]
    context: NDArray[np.float32] | None = None

    @staticmethod
    def of_planet(zoom: int, rows: NDArray[np.int64], cols: NDArray[np.int64], context: Context) -> Register | None:
        """At the ``rows`` [h] x ``cols`` [w] of a planet's ``zoom``: none at zooms that have nothing of it."""
        if not any(shares_at(zoom)):
            return None
        cosine = ground_resolution(zoom, rows) * world_size(zoom) / EARTH_CIRCUMFERENCE
        mild = np.clip((cosine - _COLD) / (_MILD - _COLD), 0, 1).astype(np.float32)
        return Register(zoom, mild, context.at(zoom, rows, cols))

    @staticmethod
    def of_picture(zoom: int) -> Register | None:
        """For a picture of no planet, of about the resolution of ``zoom`` (`zoom_near`)."""
        return Register(zoom, np.ones(1, np.float32)) if any(shares_at(zoom)) else None


def zoom_near(log2_gsd: float) -> int:
    """The zoom that has about 2^``log2_gsd`` metres per pixel at 45 degrees; it may be none of a planet's."""
    return round(_AT_45 - log2_gsd)


class Shares(NamedTuple):
    """`SHARES`, `BUILT_SHARES`, `RELIEF_SHARES` and `WAYS_SHARES` of a zoom."""

    fields: float
    built: float
    relief: float
    ways: float


def shares_at(zoom: int) -> Shares:
    """Those of a zoom, none beyond the finest."""
    if zoom > MAX_ZOOM:
        return Shares(0.0, 0.0, 0.0, 0.0)
    tables = ((ZOOM_KNOTS, SHARES), (ZOOM_KNOTS, BUILT_SHARES), (RELIEF_KNOTS, RELIEF_SHARES), (WAYS_KNOTS, WAYS_SHARES))
    return Shares(*(float(np.interp(zoom, knots, shares)) for knots, shares in tables))


Site = tuple[int, Register | None, Indices, Indices]
"""Seed, register, rows and columns of a picture."""


class Laid(NamedTuple):
    """``noise`` with the register in it, and of planets' pixels the ``strength`` [B, 1, 4h, 4w] that what is made of it is
    multiplied by, and how much of them is river and bank, ``rivers`` [B, 2, 4h, 4w] (`model.ways.coloured`)."""

    noise: Tensor
    strength: Tensor | None = None
    rivers: Tensor | None = None


def lay(noise: Tensor, parents: Tensor, sites: Sequence[Site]) -> Laid:
    """``noise`` [B, 3, 4h, 4w] of children of ``parents``, as `land_use` takes them, with the register of their ``sites``."""
    registers = {index: register for index, (_, register, _, _) in enumerate(sites) if register is not None}
    if not registers:
        return Laid(noise)
    use = land_use(parents)
    if noise.device.type == "cpu" and not any(kind.any() for kind in use):  # on a GPU to ask takes longer than to do
        return Laid(noise)
    mild, crops, heights, wild, shares, built, ruggedness, terrain, cities = (torch.zeros_like(noise[:, :1]) for _ in range(9))
    values = torch.zeros_like(noise)
    for index, register in registers.items():
        mild[index] = torch.from_numpy(register.mild).to(noise.device)[:, None]
        if register.context is not None:
            terrain[index, 0], cities[index, 0] = torch.from_numpy(register.context).to(noise.device)
    farmed = use.farmed * mild * ramp(-terrain, -_MOUNTAINS, -_HILLY)
    for index, (height, hills) in _found(relief, sites, use.wild * (farmed < 1), registers):
        heights[index, 0] = height
        rugged = ruggedness[index] = hills + terrain[index]
        gentle = _GENTLE + (1 - _GENTLE) * ramp(rugged, *_RUGGED)
        wild[index] = use.wild[index] * gentle * shares_at(registers[index].zoom).relief
        crops[index] = use.arable[index] * ramp(-rugged, -_LEVEL[0], -_LEVEL[1])
    crops = torch.maximum(torch.maximum(crops * mild, farmed), use.wild * (cities * _SUBURBS).clamp(max=1))
    wooded = {index: register for index, register in registers.items() if register.zoom >= FINEST_ZOOM}
    for index, (crown, density) in _found(trees, sites, use.open, wooded):
        there = density < _SPARSE + (_DENSE - _SPARSE) * use.woods[index]
        heights[index] = torch.where(there, crown, heights[index])
        wild[index] = torch.where(there, use.open[index] * TREES_SHARE, wild[index])
    drawn = {index: register for index, register in registers.items() if shares_at(register.zoom).built}
    for index, found in _found(survey, sites, crops, drawn, cities):
        of = shares_at(registers[index].zoom)
        values[index], shares[index] = found[:3], crops[index] * (of.fields * found[3:4] + of.built * found[4:])
        built[index] = crops[index] * found[4:]
    planets = {index: register for index, register in registers.items() if register.context is not None}
    crossed = {index: register for index, register in planets.items() if shares_at(register.zoom).ways}
    rivers = torch.zeros_like(noise[:, :2])
    for index, found in _found(ways, sites, torch.maximum(use.open, use.watered), crossed):
        road, cleared, river = use.open[index] * found[3:4], found[4:5], use.watered[index] * found[5:]
        there = torch.maximum(road, river[:1])
        values[index] = torch.where(there > 0, found[:3], values[index])
        shares[index] = (1 - there) * shares[index] * (1 - cleared) + there * shares_at(registers[index].zoom).ways
        rivers[index] = river
    laid = blend(blend(noise, heights, wild * (1 - crops)), values, shares)
    if not planets:
        return Laid(laid)
    factor = torch.ones_like(farmed)
    bare, fields = use.wild * (1 - farmed) * (1 - use.woods) * (1 - built), farmed * (1 - built)
    for index in planets:
        kinds = (bare[index], fields[index], use.woods[index])
        factor[index] = strength(registers[index].zoom, ruggedness[index], *kinds) * (1 - CALM * rivers[index, :1])
    return Laid(laid, factor, rivers if noise.device.type != "cpu" or rivers.any() else None)


def blend(noise: Tensor, values: Tensor, share: Tensor) -> Tensor:
    """``noise`` with a ``share`` of ``values``, as an amplitude: of the same variance, if they have it."""
    return (1 - share.square()).sqrt() * noise + share * values


def _found(
    what: Callable[..., Tensor], sites: Sequence[Site], use: Tensor, registers: Iterable[int], each: Tensor | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Of the pictures ``registers`` whose ``use`` [B, 1, 4h, 4w] lets them have it, ``what`` is there; it may be told
    something of ``each`` pixel, [B, 1, 4h, 4w], and then which of them have that use, but on a GPU to do all."""
    on_cpu = use.device.type == "cpu"
    which = [index for index in registers if not on_cpu or use[index].any()]
    if which:
        seeds, told, rows, cols = zip(*(sites[index] for index in which), strict=True)
        zooms = [register.zoom for register in told if register is not None]
        asked = () if each is None else (each[which, 0], use[which, 0] > 0) if on_cpu else (each[which, 0],)
        yield from zip(which, what(seeds, zooms, np.stack(rows), np.stack(cols), use.device, *asked), strict=True)

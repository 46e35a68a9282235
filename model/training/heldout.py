"""Held-out pictures by ground resolution, with their floors and ceilings: what made pictures are measured against.

Held out by image and by region, never by crop: an image named in holdout.txt counts only if no image that is trained on shows
its region.
"""

from __future__ import annotations

import csv
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from model.engine import HALO, PARENT_MARGIN
from model.stage import enlarge, project, to_bytes, to_unit
from model.store import Pixels
from model.training.imagery import MAX_REDUCTION, ImageryError, Picture, holdout_names, load_pictures
from model.training.landtypes import land_type
from model.training.measures import (
    MEASURES,
    Description,
    Pictures,
    colour_distance,
    contrast,
    describe,
    direction,
    kurtosis_error,
    normalised,
    spread,
)

SIDE = 128
"""Side of the pictures compared."""
MARGIN = 4 * PARENT_MARGIN + HALO
"""Child pixels around them that a window needs: the halo, and the parent's margin."""
WIDE = SIDE + 2 * MARGIN

RESOLUTIONS = (2400.0, 600.0, 150.0, 38.0, 9.6, 2.4, 0.6)
"""Metres per pixel that are measured at: every stage of the cascade from zoom 6 to 18, at the equator."""
OTHERS = 48
"""Real pictures at each resolution that made ones are compared with."""
NEAR = 0.8
"""Octaves that an image's resolution may be off."""

TILE_NAME = re.compile(r"_z(\d+)_x(\d+)_y(\d+)")
"""In the names of the coarse blocks: zoom, column and row of the map tile at their top left."""
_SAN_FRANCISCO = ("sf-", "sfo-")


def region_of(name: str) -> str:
    """The region that an image or sheet shows, from its name (folder/sensor_resolution_place_number.jpg).

    One place at several dates, of several sensors or in several crops is one region; so is San Francisco Bay. The coarse blocks
    are named by their tile and are a region each. A sheet's cells are unrelated places: of sheets, each is one region.
    """
    stem = Path(name.split("#")[0]).stem
    if match := TILE_NAME.search(stem):
        return match.group().strip("_")
    parts = stem.split("_")
    place = re.sub(r"-\d{8}$", "", parts[2] if len(parts) > 3 else stem)
    if "cells" in place:
        return stem
    return "san-francisco-bay" if place.startswith(_SAN_FRANCISCO) else place


@dataclass(frozen=True, eq=False)
class Crop:
    """A held-out picture: uint8 [`WIDE`, `WIDE`, 3] with its margin, the image and where it lies in it (box-averaged by
    ``reduction``; ``top`` and ``left`` in the image's own pixels), metres per pixel, land type."""

    wide: Pixels
    picture: Picture
    reduction: int
    top: int
    left: int
    gsd: float
    land: str

    @property
    def inner(self) -> Pixels:
        """The part compared, uint8 [`SIDE`, `SIDE`, 3]."""
        return self.wide[MARGIN:-MARGIN, MARGIN:-MARGIN]


class Reference:
    """Pictures of one resolution: ``crops``, the places that pictures are made at, and ``others``, real pictures of other
    places in the same images, that everything is compared with. The floor is real against real; the ceiling bicubic against
    real; both at the very places of the made pictures, so that only detail makes a difference."""

    def __init__(self, resolution: float, crops: list[Crop], others: list[Crop]) -> None:
        self.resolution, self.crops = resolution, crops
        self.real: Pictures = np.stack([crop.inner for crop in crops])
        self.others: Pictures = np.stack([crop.inner for crop in others])

    @cached_property
    def described(self) -> Description:
        """The real pictures of other places."""
        return describe(self.others)

    @cached_property
    def described_here(self) -> Description:
        """The real pictures of the places that pictures are made at."""
        return describe(self.real)

    @cached_property
    def floor(self) -> dict[str, float]:
        """Each measure of the real pictures against those of other places."""
        return self.raw(self.described_here)

    @cached_property
    def ceiling(self) -> dict[str, float]:
        """Each measure of bicubic enlargements of the 4x box means."""
        return self.raw(describe(self.bicubic))

    @cached_property
    def bicubic(self) -> Pictures:
        """What a stage makes without a network."""
        return np.stack([enlarged(crop.wide)[MARGIN:-MARGIN, MARGIN:-MARGIN] for crop in self.crops])

    def raw(self, made: Description) -> dict[str, float]:
        """Each measure of what is ``made`` against the real pictures of other places, not normalised."""
        return {name: f(made, self.described) for name, f in (MEASURES | {"colour": colour_distance}).items()}

    def score(self, made: Pictures) -> dict[str, float]:
        """Normalised measures of ``made``, a picture of each place, and M3's standard error; shares of the real ones' contrast,
        spread and direction; its distance in colour."""
        here = describe(made)
        raw = self.raw(here)
        row = {name: normalised(raw[name], self.floor[name], self.ceiling[name]) for name in MEASURES}
        floor, ceiling = self.floor["M3 kurtosis"], self.ceiling["M3 kurtosis"]
        row["M3 error"] = normalised(floor + kurtosis_error(here, self.described_here, self.described), floor, ceiling)
        return row | self.shares(made) | {"colour": raw["colour"]}

    def shares(self, made: Pictures) -> dict[str, float]:
        """Contrast, spread and direction of ``made`` as shares of the real pictures'."""
        return {f.__name__: f(made, self.real) for f in (contrast, spread, direction)}


def held_out_pictures(folder: Path) -> tuple[list[Picture], list[str]]:
    """The held-out pictures of regions that are not trained on, and the names of those left out for their region."""
    held = load_pictures(folder, holdout=True, min_side=WIDE)
    with (folder / "manifest.csv").open(newline="") as file:
        trained_on = {row["file"] for row in csv.DictReader(file)} - holdout_names()
    known = {region_of(name) for name in trained_on}
    clean = [picture for picture in held if region_of(picture.name) not in known]
    left_out = sorted({picture.name for picture in held} - {picture.name for picture in clean})
    if not clean:
        raise ImageryError(f"Every held-out image of {folder} shows a region that is trained on; see docs/evaluation.md.")
    return clean, left_out


def references(pictures: list[Picture], crops: int, seed: int, resolutions: Sequence[float] = RESOLUTIONS) -> list[Reference]:
    """For each of ``resolutions`` that the pictures reach by box-averaging, ``crops`` places, dealt evenly to the images, and
    `OTHERS` others.

    Raises `ImageryError` if they reach none.
    """
    found = []
    for resolution in resolutions:
        ways = [way for picture in pictures if (way := _reduction(picture, resolution, WIDE)) is not None]
        if ways:
            rng = random.Random(seed * 31 + round(resolution * 10))
            chosen = [_cut(*ways[i % len(ways)], rng) for i in range(crops + OTHERS)]
            found.append(Reference(resolution, chosen[:crops], chosen[crops:]))
    if not found:
        raise ImageryError(f"No held-out image has a side of {WIDE} px at one of the resolutions {tuple(resolutions)}.")
    return found


def _reduction(picture: Picture, resolution: float, side: int) -> tuple[Picture, int] | None:
    """The picture with the box-averaging that brings it nearest to a resolution at ``side`` px or more, if any is near."""
    smallest = min(picture.pixels.shape[1:])
    near = [
        (abs(math.log2(picture.gsd * k / resolution)), k)
        for k in range(1, 2 * MAX_REDUCTION + 1)
        if (k == 1 or k % 2 == 0) and smallest >= side * k
    ]
    off, k = min(near, default=(math.inf, 1))
    return (picture, k) if off <= NEAR else None


def _cut(picture: Picture, reduction: int, rng: random.Random) -> Crop:
    """A crop at random; nearly flat ones are drawn again, a few times."""
    span = WIDE * reduction
    for _ in range(6):
        top, left = rng.randrange(picture.pixels.shape[1] - span + 1), rng.randrange(picture.pixels.shape[2] - span + 1)
        pixels = to_unit(picture.pixels[None, :, top : top + span, left : left + span])
        wide = image_bytes(F.avg_pool2d(pixels, reduction))
        if wide[MARGIN:-MARGIN, MARGIN:-MARGIN].std() > 4:
            break
    gsd = picture.ground_resolution(top + span / 2) * reduction
    return Crop(wide, picture, reduction, top, left, gsd, land_type(wide[MARGIN:-MARGIN, MARGIN:-MARGIN], gsd))


def box_mean(picture: Pixels, factor: int = 4) -> Pixels:
    """Box means over ``factor`` px, uint8, as the cascade stores them."""
    return image_bytes(F.avg_pool2d(image_unit(picture), factor))


def enlarged(picture: Pixels) -> Pixels:
    """The bicubic enlargement of a picture's 4x box mean, tied to it as a stage's output is."""
    low = image_unit(box_mean(picture))
    return image_bytes(project(enlarge(low), low))


def image_unit(picture: Pixels) -> torch.Tensor:
    """uint8 [h, w, 3] -> float [1, 3, h, w] on [-1, 1]."""
    return to_unit(torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None])


def image_bytes(image: torch.Tensor) -> Pixels:
    """Float [1, 3, h, w] on [-1, 1] -> uint8 [h, w, 3]."""
    return np.ascontiguousarray(to_bytes(image)[0].permute(1, 2, 0).numpy())

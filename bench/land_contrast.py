"""How much contrast places have, by land type: real images that are trained on, and a planet at random places on land.

    python -m bench.land_contrast --imagery FOLDER [--weights FILE] [--places 40] [--zooms 8 10 12 14 16 18]

For each resolution of the evaluation and each zoom, the 10th, 50th and 90th percentile over places of 128 px a side of the
standard deviation of grey levels, and of what 4x4 averaging removes. That images are taken where there is much to
see shows in how many scenes there are; that a planet is equally rough everywhere shows in percentiles that are alike.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from model import Planet, open_planet
from model.grid import EARTH_CIRCUMFERENCE, lonlat_to_pixel, world_size
from model.store import Pixels
from model.training.heldout import SIDE, WIDE, references
from model.training.imagery import load_pictures
from model.training.landtypes import land_type
from model.training.measures import detail

SHOWN = (10, 50, 90)
LEAST = 4
"""Places of a type below which nothing is printed."""
REAL_PLACES = 300


def report(title: str, pictures: list[Pixels], scenes: int = 0) -> None:
    """Prints one line, if there are enough ``pictures`` uint8 [h, w, 3]."""
    if len(pictures) < LEAST:
        return
    whole = np.percentile([picture.mean(-1).std() for picture in pictures], SHOWN)
    fine = np.percentile([detail(picture[None]) for picture in pictures], SHOWN)
    count = f"{len(pictures)} places" + (f", {scenes} scenes" if scenes else "")
    print(f"{title:28} {whole.round(1)!s:22} {fine.round(1)!s:22} {count}", flush=True)


def real(folder: Path) -> None:
    """Prints the lines of real pictures."""
    for reference in references(load_pictures(folder, min_side=WIDE), REAL_PLACES, 1):
        found = defaultdict(list)
        for crop in reference.crops:
            found[crop.land].append(crop)
        for land, crops in sorted(found.items()):
            scenes = len({crop.picture.name for crop in crops})
            report(f"real {land} {reference.resolution:g} m", [crop.inner for crop in crops], scenes)


def made(planet: Planet, zoom: int, places: int) -> None:
    """Prints those of ``places`` on a planet's land, even over its area from 45 S to 60 N."""
    rng, found, count = np.random.default_rng(0), defaultdict(list), 0
    while count < places:
        latitude = math.degrees(math.asin(rng.uniform(math.sin(math.radians(-45)), math.sin(math.radians(60)))))
        longitude = rng.uniform(-180, 180)
        x, y = (int(at) for at in lonlat_to_pixel(longitude, latitude, 4))
        above = planet.read(4, x, y, 1, 1)[0, 0].astype(int)
        if above[2] > above[0] + 5:  # sea
            continue
        x, y = (int(at) - SIDE // 2 for at in lonlat_to_pixel(longitude, latitude, zoom))
        picture = planet.read(zoom, x, y, SIDE, SIDE)
        found[land_type(picture, EARTH_CIRCUMFERENCE / world_size(zoom))].append(picture)
        count += 1
    for land, pictures in sorted(found.items()):
        report(f"planet {land} zoom {zoom}", pictures)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imagery", type=Path, required=True, help="folder with a manifest.csv")
    parser.add_argument("--weights", type=Path, help="default: the weights that ship")
    parser.add_argument("--places", type=int, default=40, help="of the planet, at each zoom")
    parser.add_argument("--zooms", type=int, nargs="*", default=[8, 10, 12, 14, 16, 18])
    options = parser.parse_args()
    print(f"{'':28} {'deviation':22} {'of detail':22} percentiles {SHOWN}")
    real(options.imagery)
    planet = open_planet("earth", steps=2, weights=options.weights)
    for zoom in options.zooms:
        made(planet, zoom, options.places)


if __name__ == "__main__":
    main()

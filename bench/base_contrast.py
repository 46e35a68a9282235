"""How the planet's first zooms compare with the 500 m Blue Marble of the very same places: contrast, and how clumped it is.

    python -m bench.base_contrast --imagery FOLDER [--weights FILE] [--out PICTURE.png]

The 500 m Blue Marble's tiles, with their detail raised as in training, are box-averaged to zooms 6 and 4 and stand beside the
planet's pixels: zoom 4 is the base picture itself, the others are generated. Printed are medians over places: by octave from
the finest the planet's contrast as a share of theirs, the spread of local energies (standard deviation of the log of squared
steps within 8 x 8 px: land on which texture comes in clumps has more) and the log kurtosis of steps, of both. The planet's
picture is no record of the place, but from zoom 4 to 8 it is land of the same kind.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.source_contrast import marble_blocks, octaves, toned_block
from model.grid import TILE_SIZE
from model.planet import open_planet
from model.store import Pixels
from model.training.bridge import bridge_contrast
from model.training.heldout import box_mean
from model.training.measures import energy_spread

ZOOMS = (4, 6, 8)
SIDE = 1024
"""Of the Blue Marble's tiles at zoom 8."""
WINDOW = 256
"""Side of what is generated at zoom 8 in the middle of each."""


def texture(picture: Pixels) -> NDArray[np.float64]:
    """Spread of local energies and log kurtosis of steps of [H, W, 3]'s luminance."""
    grey = picture.astype(float).mean(-1)
    steps = np.concatenate([np.diff(grey, axis=0)[:, :-1].ravel(), np.diff(grey, axis=1)[:-1].ravel()])
    return np.array([energy_spread(picture[None])[0], np.log((steps**4).mean() / (steps**2).mean() ** 2)])


def main() -> None:
    """Measures and prints a Markdown table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--imagery", type=Path, required=True)
    options.add_argument("--weights", type=Path, help="a weights file; by default the one that ships")
    options.add_argument("--every", type=int, default=18, help="take every so many of the Blue Marble's tiles")
    options.add_argument("--steps", type=int, default=2)
    options.add_argument("--out", type=Path, help="where to write the places side by side at zoom 8, the Blue Marble above")
    chosen = options.parse_args()
    planet = open_planet(steps=chosen.steps, weights=chosen.weights, device="cpu")
    found: dict[int, list[list[NDArray[np.float64]]]] = {zoom: [] for zoom in ZOOMS}
    shown: list[Pixels] = []
    blocks = [row for row in marble_blocks(chosen.imagery) if row["zoom"] == "8" and row["size_px"] == str(SIDE)]
    for block in blocks[:: chosen.every]:
        marble = bridge_contrast(toned_block(chosen.imagery, block), float(block["gsd_m"]))
        x, y = (int(block[name]) * TILE_SIZE for name in ("tile_x", "tile_y"))
        for zoom in ZOOMS:
            times = 2 ** (8 - zoom)
            side = WINDOW if zoom == 8 else SIDE // times
            edge = (SIDE // times - side) // 2
            real = box_mean(marble, times)[edge:, edge:][:side, :side]
            made = planet.read(zoom, x // times + edge, y // times + edge, side, side)
            found[zoom].append([octaves(made) / octaves(real), texture(real), texture(made)])
        shown.append(np.concatenate([real, made]))
    print("| zoom | contrast by octave | spread: real, made | log kurtosis: real, made |\n|---|---|---|---|")
    for zoom, rows in found.items():
        contrast, real, made = (np.median([row[part] for row in rows], 0) for part in range(3))
        shares = " ".join(f"{value:.2f}" for value in contrast)
        print(f"| {zoom} | {shares} | {real[0]:.2f} {made[0]:.2f} | {real[1]:.2f} {made[1]:.2f} |")
    if chosen.out:
        Image.fromarray(np.concatenate(shown, 1)).save(chosen.out)


if __name__ == "__main__":
    main()

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
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.source_contrast import octaves
from model.planet import open_planet
from model.store import Pixels
from model.tone import tone_blue_marble
from model.training.bridge import bridge_contrast

ZOOMS = (4, 6, 8)
SIDE = 1024
"""Of the Blue Marble's tiles at zoom 8."""
WINDOW = 256
"""Side of what is generated at zoom 8 in the middle of each."""
CELL = 8


def texture(picture: NDArray[np.generic]) -> NDArray[np.float64]:
    """Spread of local energies and log kurtosis of steps of [H, W, 3]'s luminance."""
    grey = picture.astype(float).mean(-1)
    down, right = np.diff(grey, axis=0)[:, :-1], np.diff(grey, axis=1)[:-1]
    rows, cols = (side // CELL for side in down.shape)
    energy = (down**2 + right**2)[: rows * CELL, : cols * CELL]
    local = energy.reshape(rows, CELL, cols, CELL).mean((1, 3))
    steps = np.concatenate([down.ravel(), right.ravel()])
    return np.array([np.log(local + 0.5).std(), np.log((steps**4).mean() / (steps**2).mean() ** 2)])


def boxed(picture: Pixels, times: int) -> NDArray[np.float64]:
    """Box mean by ``times`` along both axes."""
    height, width = (side // times for side in picture.shape[:2])
    return np.asarray(picture.reshape(height, times, width, times, 3).mean((1, 3)))


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
    shown: list[NDArray[np.generic]] = []
    for path, gsd, x, y in _tiles(chosen.imagery)[:: chosen.every]:
        toned = tone_blue_marble(np.asarray(Image.open(path).convert("RGB")))
        marble = bridge_contrast(toned, gsd)
        for zoom in ZOOMS:
            times = 2 ** (8 - zoom)
            side = WINDOW if zoom == 8 else SIDE // times
            edge = (SIDE // times - side) // 2
            real = boxed(marble, times)[edge:, edge:][:side, :side]
            made = planet.read(zoom, x // times + edge, y // times + edge, side, side)
            found[zoom].append([octaves(made) / octaves(real), texture(real), texture(made)])
        shown.append(np.concatenate([real.astype(np.uint8), made]))
    print("| zoom | contrast by octave | spread: real, made | log kurtosis: real, made |\n|---|---|---|---|")
    for zoom, rows in found.items():
        contrast, real, made = (np.median([row[part] for row in rows], 0) for part in range(3))
        shares = " ".join(f"{value:.2f}" for value in contrast)
        print(f"| {zoom} | {shares} | {real[0]:.2f} {made[0]:.2f} | {real[1]:.2f} {made[1]:.2f} |")
    if chosen.out:
        Image.fromarray(np.concatenate(shown, 1).astype(np.uint8)).save(chosen.out)


def _tiles(folder: Path) -> list[tuple[Path, float, int, int]]:
    """The Blue Marble's tiles of zoom 8: file, metres per pixel, and the corner in pixels of the world."""
    index = csv.DictReader((folder / "coarse" / "index.csv").open(newline=""))
    rows = [row for row in index if row["zoom"] == "8" and row["size_px"] == str(SIDE)]
    return [
        (folder / "coarse" / row["file"], float(row["gsd_m"]), int(row["tile_x"]) * 256, int(row["tile_y"]) * 256)
        for row in rows
    ]


if __name__ == "__main__":
    main()

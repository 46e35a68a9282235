"""What planets are made of beside real imagery: medians of statistics of many pictures, by ground resolution.

    python -m model.training.planets --weights WEIGHTS --places 40 --out runs/parents.npz
    python -m bench.habits --imagery FOLDER runs/parents.npz [OTHERS ...]

prints, for each file of pictures from planets, by how much their means exceed medians of crops of the imagery that is trained
on, in units of how much these vary (`model.training.habits`): 0 is alike. Two of each, as `NAMES` says.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from model.contrast import GSD_KNOTS
from model.stage import to_unit
from model.training.habits import NAMES, Habits
from model.training.imagery import CropSampler, load_pictures
from model.training.planets import SIDE, PlanetParents

BATCH = 32


def gaps(real: Habits, parents: PlanetParents) -> torch.Tensor:
    """By how much the pictures that stages made differ from real ones, [K, J]. Raises `ImageryError` if
    there are none."""
    found = Habits()
    found.load_state_dict(real.state_dict())
    made = parents.generated
    for pixels, log2_gsd in zip(torch.split(made.pixels, BATCH), torch.split(made.log2_gsd, BATCH), strict=True):
        found.count_in(to_unit(pixels), log2_gsd, kept=1.0)
    return found.gap(doubt=0.0)


def main() -> None:
    """Command line of ``python -m bench.habits``."""
    parser = argparse.ArgumentParser(description="Statistics of planets beside those of real imagery.")
    parser.add_argument("--imagery", type=Path, required=True)
    parser.add_argument("parents", type=Path, nargs="+", help="files of model.training.planets")
    options = parser.parse_args()
    real = Habits()
    real.measure(iter(DataLoader(CropSampler(load_pictures(options.imagery), SIDE, 0), BATCH)), 0)
    print("| pictures of | m/px |", *(f"{name} |" for name in NAMES))
    print("|---|---|" + "---|" * len(NAMES))
    for path in options.parents:
        for knot, row in zip(GSD_KNOTS, gaps(real, PlanetParents.load(path)), strict=True):
            pairs = (f"{fine:+.2f} {coarse:+.2f} |" for fine, coarse in row.view(-1, 2).tolist())
            print(f"| {path.stem} | {2.0**knot:g} |", *pairs)


if __name__ == "__main__":
    main()

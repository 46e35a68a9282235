"""How colourful detail is, and how red soil is where it is light, in generated pictures and in real held-out ones.

    python -m bench.colours --imagery FOLDER [--weights FILE]

For each resolution of the evaluation, for real pictures, one generated stage and three of them. `colour` is the root mean
square of what 4x4 averaging removes of the differences from grey over that of the mean of the channels, where the 4 px block is
of a kind. `hue` is that of soil lighter by a fifth and more than its block of 16 px, less that block's, in sixths of a turn:
below 0 light soil is the redder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.engine import Engine
from model.precision import choose_compute
from model.stage import detail, saturation
from model.training.chains import chains, one_stage
from model.training.heldout import held_out_pictures, references
from model.training.measures import Pictures
from model.weights import DEFAULT_WEIGHTS, load_weights

LEAST = 200
"""Blocks or pixels of a kind below which nothing is printed."""
LIGHTER = 0.2


def levels(pictures: Pictures) -> Tensor:
    """uint8 [N, h, w, 3] -> grey levels [N, 3, h, w]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float()


def kinds(blocks: Tensor) -> dict[str, Tensor]:
    """Which of ``blocks`` [N, 3, h, w], in grey levels, are of a kind: bool [N, h, w] each."""
    red, green, blue = blocks.unbind(1)
    mean = blocks.mean(1, keepdim=True)
    tint, light = saturation(blocks, mean + 1)[:, 0], mean[:, 0]
    soil = (red > green) & (red > blue) & (tint > 0.2) & (hue(blocks) < 0.75) & (light > 50)
    return {"soil": soil, "green": (green >= red) & (green >= blue) & (tint > 0.15), "grey": (tint < 0.15) & (light > 40)}


def hue(colours: Tensor) -> Tensor:
    """In sixths of a turn from red, where that is strongest: [N, h, w]."""
    red, green, blue = colours.unbind(1)
    return (green - blue) / (red - blue).clamp(min=1)


def colour(pictures: Tensor, kind: str) -> str:
    """What is printed of one kind; see above."""
    removed = detail(pictures)
    grey = removed.mean(1, keepdim=True)
    strengths = [F.avg_pool2d(part.square().mean(1, keepdim=True), 4)[:, 0] for part in (removed - grey, grey)]
    there = kinds(F.avg_pool2d(pictures, 4))[kind]
    if there.sum() < LEAST:
        return "   -"
    coloured, light = (float(strength[there].sum()) for strength in strengths)
    return f"{(coloured / light) ** 0.5:4.2f}"


def redness(pictures: Tensor) -> str:
    """What is printed of light soil; see above."""
    blocks = F.interpolate(F.avg_pool2d(pictures, 16), scale_factor=16)
    around = blocks.mean(1)
    there = kinds(blocks)["soil"] & (pictures.mean(1) > (1 + LIGHTER) * around)
    if there.sum() < LEAST:
        return "    -"
    means = [image.permute(0, 2, 3, 1)[there].mean(0)[None, :, None, None] for image in (pictures, blocks)]
    light, all_of_it = (float(hue(mean)) for mean in means)
    return f"{light - all_of_it:+5.2f}"


def main() -> None:
    """Prints a row for each resolution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imagery", type=Path, required=True, help="folder with a manifest.csv")
    parser.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument("--crops", type=int, default=16, help="places a resolution")
    options = parser.parse_args()
    engine = Engine.of(load_weights(options.weights), choose_compute(), 0, 2)
    print("| m/px | colour of soil: real, 1, 3 stages | of green land | of grey | hue of light soil |\n|---|---|---|---|---|")
    for reference in references(held_out_pictures(options.imagery)[0], options.crops, 0):
        made = (reference.real, one_stage(engine, reference.crops), chains(engine, reference.crops, 3))
        sets = [levels(pictures) for pictures in made]
        cells = [" ".join(colour(pictures, kind) for pictures in sets) for kind in ("soil", "green", "grey")]
        print(f"| {reference.resolution:g} | " + " | ".join(cells) + " | " + " ".join(map(redness, sets)) + " |", flush=True)


if __name__ == "__main__":
    main()

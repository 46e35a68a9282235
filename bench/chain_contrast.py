"""How strong the detail of chains is beside real imagery of the same colour, on images that are trained on.

    python -m bench.chain_contrast --imagery FOLDER [--weights FILE]

Chains of three stages start from training crops box-averaged by 64. Printed is the root mean square of what 4x4 averaging
removes at the second and the third stage over that of the real crops, by metres per pixel and by light and tint
(`model.contrast`). 1 is what the amplitudes by cover aim at before `model.training.calibrate.CHAIN_GAIN`; places count as they
do there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from model.contrast import GSD_KNOTS, LIGHT_KNOTS, SHAPES, TINT_KNOTS, Amplitudes
from model.training.covers import BATCH, SIDE, chain_energies, crop_batches
from model.training.energy import Run
from model.training.imagery import load_pictures
from model.weights import DEFAULT_WEIGHTS, load_weights

LEAST = 20.0
"""Evidence, in grey levels of root mean square detail times places, below which nothing is printed."""


def main() -> None:
    """Prints one row for each ground resolution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imagery", type=Path, required=True, help="folder with a manifest.csv")
    parser.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument("--crops", type=int, default=240)
    parser.add_argument("--seed", type=int, default=7, help="not 0 to 2, which calibration draws its crops by")
    options = parser.parse_args()
    weights = load_weights(options.weights)
    run, generator = Run.of(weights, 2), torch.Generator().manual_seed(options.seed)
    crops = crop_batches("chains", load_pictures(options.imagery), options.crops, SIDE, BATCH, options.seed)
    sums = np.zeros((2, *SHAPES["cover"]))
    with torch.no_grad():
        for real, log2_gsd in crops:
            sums += chain_energies(run, weights.amplitudes or Amplitudes(), real, log2_gsd, generator)

    def ratio(wanted: np.ndarray, made: np.ndarray) -> str:
        return f"{np.sqrt(made.sum() / wanted.sum()):6.2f}" if wanted.sum() > LEAST else "     -"

    print("light, grey levels", *(f"{2**light - 1:6.0f}" * len(TINT_KNOTS) for light in LIGHT_KNOTS), "   all")
    print("tint              ", "".join(f"{tint:6.1f}" for tint in TINT_KNOTS) * len(LIGHT_KNOTS))
    for row, knot in enumerate(GSD_KNOTS):
        cells = [ratio(w, m) for w, m in zip(sums[0, row].flat, sums[1, row].flat, strict=True)]
        print(f"{2**knot:8.2f} m        ", "".join(cells), ratio(sums[0, row], sums[1, row]))


if __name__ == "__main__":
    main()

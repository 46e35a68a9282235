"""How sparse detail would have to be at each resolution, one stage below real images: what tables of sparsity are set by.

    python -m bench.sparsity --imagery FOLDER [--weights FILE] [--places 48] [--held-out] [--resolutions 2400 600 150]

For each resolution, over places of real images: the gap of the log kurtosis of increments (M3, lags 1, 2, 4, 8 px) and the
share of the real spread, without sparsity and with a power of 0.5 (`model.contrast.gathering`); and the powers at which a
straight line through these has neither. `model.training.calibrate` measures the same on its own crops, of which many are lent
by other resolutions, or come from images of one place.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.contrast import SPARSITY_KNOTS, Amplitudes
from model.engine import Engine
from model.precision import choose_compute
from model.training.chains import one_stage
from model.training.heldout import WIDE, held_out_pictures, references
from model.training.imagery import load_pictures
from model.training.measures import contrast, energy_spread, log_kurtosis
from model.training.sparsity import TRIED
from model.weights import load_weights

RESOLUTIONS = (4800.0, 2400.0, 1200.0, 850.0, 600.0, 420.0, 300.0, 150.0, 75.0, 38.0, 19.0, 9.6, 4.8, 2.4, 1.2, 0.6, 0.3)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imagery", type=Path, required=True, help="folder with a manifest.csv")
    parser.add_argument("--weights", type=Path, help="default: the weights that ship")
    parser.add_argument("--places", type=int, default=48, help="at each resolution")
    parser.add_argument("--resolutions", type=float, nargs="+", default=RESOLUTIONS, help="metres per pixel")
    parser.add_argument("--held-out", action="store_true", help="of images that are held out instead of those trained on")
    options = parser.parse_args()
    weights, compute = load_weights(options.weights), choose_compute()
    known = weights.amplitudes or Amplitudes()
    folder = options.imagery
    pictures = held_out_pictures(folder)[0] if options.held_out else load_pictures(folder, min_side=WIDE)
    print(
        f"| m/px | places, images | gap at 0 | gap at {TRIED} | spread | | contrast | | power by kurtosis | by spread | has |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for reference in references(pictures, options.places, 3, options.resolutions):
        gaps, spreads, contrasts = [], [], []
        for power in (0.0, TRIED):
            tried = replace(known, sparsity=np.full_like(known.sparsity, power))
            made = one_stage(Engine(weights.denoiser, compute, 0, 2, weights.carry, tried), reference.crops)
            gaps.append((log_kurtosis(made) - log_kurtosis(reference.real)).mean(0))
            spreads.append(energy_spread(made).mean() / energy_spread(reference.real).mean())
            contrasts.append(contrast(made, reference.real))
        by_kurtosis = -TRIED * gaps[0].mean() / (gaps[1] - gaps[0]).mean()
        by_spread = TRIED * (1 - spreads[0]) / (spreads[1] - spreads[0])
        has = float(np.interp(np.log2(reference.resolution), SPARSITY_KNOTS, known.sparsity))
        images = len({crop.picture.name for crop in reference.crops})
        cells = [
            *(str(gap.round(2)) for gap in gaps),
            *(f"{v:.2f}" for v in (*spreads, *contrasts, by_kurtosis, by_spread, has)),
        ]
        print(f"| {reference.resolution:g} | {len(reference.crops)}, {images} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

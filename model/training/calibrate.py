"""Measures how strong generated detail is beside real, and writes the amplitudes that make them equal into a weights file.

    python -m model.training.calibrate --imagery FOLDER --weights runs/earth/ema.safetensors

`model.training.train` does so at the end of a run that tunes. Only training images are looked at, never held-out ones.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.contrast import (
    GSD_KNOTS,
    ROUGHNESS_KNOTS,
    ROUGHNESS_REACH,
    Amplitudes,
    Table,
    roughness,
    shares,
)
from model.stage import detail, enlarge, project
from model.training.balance import nearness
from model.training.covers import crop_batches, spread_evidence, with_covers
from model.training.energy import Run
from model.training.imagery import Picture, load_pictures
from model.training.sparsity import below_generated, with_sparsity
from model.weights import AMPLITUDES, Weights, load_weights, save_weights

CROP, BATCH, CROPS = 192, 4, 1200
MARGIN = 4
"""Parent pixels at a crop's border that are not counted: the padding shows there."""
CHAIN_GAIN = np.array(
    [
        [1.08, 1.25, 1.38, 0.8, 1.11, 1.03, 0.93, 1.04],
        [1.08, 1.25, 1.45, 1.25, 1.8, 1.9, 0.8, 1.25],
        [0.85, 0.85, 1.0, 0.75, 0.55, 0.5, 0.5, 0.6],
        [1.0, 1.2, 1.3, 0.7, 0.45, 0.75, 1.0, 1.0],
        [1.0, 1.7, 1.75, 1.3, 0.8, 1.25, 1.0, 1.0],
    ],
    np.float32,
)
"""Times the amplitudes, by `GSD_KNOTS`, of dark land and water; of light land; and of these again on water, on woods and on the
darkest woods. On training crops chains have the contrast of real imagery without it; held-out land is rougher where it is
light, held-out water and woods are calmer, and what each stage lacks or has too much of the next one multiplies. No real woods
are as dark as those of Blue Marble: what these have is chosen by eye (docs/training.md)."""
LIGHT_LAND = np.multiply.outer([0.0, 0.5, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]).astype(np.float32)
WATER = np.multiply.outer([1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]).astype(np.float32)
WOODS = np.multiply.outer([0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]).astype(np.float32)
DARKEST = np.multiply.outer([1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]).astype(np.float32)
"""By `LIGHT_KNOTS` and `TINT_KNOTS`."""
LEAST, MOST = 0.3, 1.8


class Energies:
    """Sums over places of the energies of detail (what 4x4 averaging removes), by ground resolution and roughness of the
    parent: of real crops, of bicubic ones, of what the network adds to these, and of the latter two together."""

    def __init__(self) -> None:
        self.sums: NDArray[np.float64] = np.zeros((4, len(GSD_KNOTS), len(ROUGHNESS_KNOTS)))

    def add(self, real: Tensor, made: Tensor, parent: Tensor, log2_gsd: Tensor) -> None:
        """Takes in crops [B, 3, 4h, 4w], what was generated for them, and their parents [B, 3, h, w]."""
        plain = detail(project(enlarge(parent), parent))
        added = detail(made) - plain
        products = [detail(real).square(), plain.square(), added.square(), plain * added]
        rough = roughness(F.pad(parent, (ROUGHNESS_REACH,) * 4, mode="reflect"))
        inner = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
        counts = shares(rough, ROUGHNESS_KNOTS)[inner].double()
        near = nearness(log2_gsd.double()).numpy()
        for index, product in enumerate(products):
            energy = F.avg_pool2d(product.mean(1, keepdim=True), 4)[inner].double()
            self.sums[index] += np.einsum("bg,bk->gk", near, (counts * energy).mean((2, 3)).numpy())

    def table(self) -> Table:
        """The amplitudes g by which bicubic detail b and added detail a have the energy of the real: |b + g a| = |r|."""
        real, plain, added, cross = spread_evidence(self.sums)
        # g^2 aa + 2 g ab + bb = rr
        root = np.sqrt(np.clip(cross**2 + added * (real - plain), 0, None))
        found = np.divide(root - cross, added, out=np.ones_like(real), where=added > 0)
        return np.asarray(np.clip(found, LEAST, MOST), np.float32)


def measure(weights: Weights, pictures: list[Picture], steps: int, crops: int, side: int = CROP, seed: int = 0) -> Amplitudes:
    """The amplitudes of ``weights`` at ``steps`` on ``crops`` crops of ``side`` px of ``pictures``, images trained on.

    Those by roughness first: half of the crops have their true parents; of the other half those that are fine enough have
    parents that were generated (`below_generated`), with the amplitudes that the first half asks for, as in a chain. Then those
    by cover (`with_covers`), which are `raised`. Sparsity is measured with all of these (`measure_sparsity`).
    """
    run, generator = Run.of(weights, steps), torch.Generator().manual_seed(seed)
    energies = Energies()
    for real, log2_gsd in crop_batches("roughness", pictures, crops // 2, side, BATCH, seed):
        parent = F.avg_pool2d(real, 4)
        energies.add(real, run.stage(parent, log2_gsd, generator), parent, log2_gsd)
    measured = Amplitudes(energies.table())
    for crop, log2_gsd in crop_batches("roughness in chains", pictures, crops // 2, 2 * side, BATCH, seed):
        if (chained := below_generated(run, measured, crop, log2_gsd, generator)) is not None:
            real, parent, gsd = chained
            energies.add(real, run.stage(parent, gsd, generator), parent, gsd)
    served = raised(with_covers(run, Amplitudes(energies.table()), pictures, crops, seed))
    return measure_sparsity(run, served, pictures, crops, side, seed)


def measure_sparsity(
    run: Run, amplitudes: Amplitudes, pictures: list[Picture], crops: int, side: int = CROP, seed: int = 0
) -> Amplitudes:
    """``amplitudes`` with the sparsity that half as many as ``crops`` crops ask for (`with_sparsity`); see `measure`."""
    found = crop_batches("sparsity", pictures, crops // 2, 2 * side, BATCH, seed)
    return with_sparsity(run, amplitudes, found, torch.Generator().manual_seed(seed))


def raised(amplitudes: Amplitudes) -> Amplitudes:
    """``amplitudes`` with those by cover times `CHAIN_GAIN`."""
    dark, light, *covers = CHAIN_GAIN[..., None, None]
    gain = dark + LIGHT_LAND * (light - dark)
    for where, times in zip((WATER, WOODS, DARKEST), covers, strict=True):
        gain = gain * (1 + where * (times - 1))
    return replace(amplitudes, cover=(amplitudes.cover * gain).astype(np.float32))


def calibrate(
    path: Path,
    pictures: list[Picture],
    steps: int,
    crops: int = CROPS,
    side: int = CROP,
    out: Path | None = None,
    sparsity_only: bool = False,
) -> None:
    """Measures the amplitudes of the weights file ``path`` and writes them into it, or into ``out``; see `measure`. With
    ``sparsity_only`` it keeps all others that the file has. Raises `ValueError`, and writes nothing, if they are not finite."""
    weights = load_weights(path)
    with torch.no_grad():
        if sparsity_only:
            known = weights.amplitudes or Amplitudes()
            amplitudes = measure_sparsity(Run.of(weights, steps), known, pictures, crops, side)
        else:
            amplitudes = measure(weights, pictures, steps, crops, side)
    text = amplitudes.to_text()
    Amplitudes.from_text(text)  # nothing is written that could not be loaded
    provenance = weights.provenance | {AMPLITUDES: text}
    save_weights(out or path, weights.denoiser.state_dict(), weights.denoiser.config, provenance)


def main(arguments: list[str] | None = None) -> None:
    """Command line of ``python -m model.training.calibrate``."""
    parser = argparse.ArgumentParser(description="Measure the amplitudes of generated detail, and write them into the weights.")
    parser.add_argument("--imagery", type=Path, required=True, help="folder with a manifest.csv")
    parser.add_argument("--weights", type=Path, required=True, nargs="+", help="weights files to measure and to write into")
    parser.add_argument("--steps", type=int, default=2, help="sampler steps to measure at")
    parser.add_argument("--crops", type=int, default=CROPS, help="crops to measure on")
    parser.add_argument("--sparsity-only", action="store_true", help="keep all other amplitudes that the files have")
    options = parser.parse_args(arguments)
    pictures = load_pictures(options.imagery)
    for path in options.weights:
        calibrate(path, pictures, options.steps, options.crops, sparsity_only=options.sparsity_only)


if __name__ == "__main__":
    main()

"""How sparse generated detail must be for increments to have the kurtosis of real ones, which is much where there are few
strong edges and little where grain is everywhere alike.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.contrast import AMPLITUDE_MARGIN, GSD_KNOTS, SHAPES, SPARSITY_KNOTS, Amplitudes, Table
from model.stage import detail
from model.training.balance import nearness
from model.training.covers import Crops, spread_evidence
from model.training.energy import MARGIN, Inputs, Run, rounded
from model.training.scores import tails

CHAINED_BELOW = 7.5
"""log2 of the metres per pixel below which chains count: coarser stages lie right below the base picture."""
DEPTHS = (1, 2)
"""Stages above the measured one that are generated, for crops that have generated parents."""
TRIED = 0.5
"""Power that is tried beside 0: the kurtosis goes nearly straight from one to the other."""
LEAST, MOST = -0.5, 1.0


def with_sparsity(run: Run, amplitudes: Amplitudes, crops: Crops, generator: torch.Generator) -> Amplitudes:
    """``amplitudes`` with the sparsity that ``crops`` ask for, below their true parents and generated ones (`DEPTHS`) alike,
    and those by cover divided by what that does to the strength of detail, beside the sparsity that they have."""
    tried = [replace(amplitudes, sparsity=np.full_like(amplitudes.sparsity, power)) for power in (0.0, TRIED)]
    kurtosis: NDArray[np.float64] = np.zeros((3, *SHAPES["sparsity"]))
    energy: NDArray[np.float64] = np.zeros((2, *SHAPES["sparsity"]))
    for real, log2_gsd in crops:
        edge = real.shape[2] // 4
        inner = real[..., edge:-edge, edge:-edge]
        places = [(inner, F.avg_pool2d(inner, 4), log2_gsd)]
        for depth in DEPTHS:
            if (chained := below_generated(run, amplitudes, real, log2_gsd, generator, depth)) is not None:
                places.append(chained)
        for child, parent, gsd in places:
            inputs = Inputs.draw(parent, gsd.float(), generator)
            residual = run.residual(inputs)
            made = [run.picture(inputs, residual, each) for each in tried]
            near = nearness(gsd.double(), SPARSITY_KNOTS).numpy()
            inside = [picture[..., MARGIN:-MARGIN, MARGIN:-MARGIN] for picture in (child, *made)]
            kurtosis += [near.T @ tails(picture).mean(1).double().numpy() for picture in inside]
            energy += [near.T @ detail(picture).square().mean((1, 2, 3)).double().numpy() for picture in inside[1:]]
    power = power_of(kurtosis)
    plain, stronger = spread_evidence(energy)
    change = (power - amplitudes.sparsity) / TRIED
    gain = np.divide(stronger, plain, out=np.ones_like(plain), where=plain > 0) ** (change / 2)
    cover = amplitudes.cover / np.interp(GSD_KNOTS, SPARSITY_KNOTS, gain)[:, None, None]
    return replace(amplitudes, sparsity=power, cover=cover.astype(np.float32))


def power_of(sums: NDArray[np.float64]) -> Table:
    """The power [G] that gives what is generated the kurtosis of the real, from sums of logarithms [3, G] over the same places:
    of real pictures, and of generated ones with the powers 0 and `TRIED`. 0 where there is no evidence."""
    real, plain, tried = spread_evidence(sums)
    power = np.divide(TRIED * (real - plain), tried - plain, out=np.zeros_like(real), where=tried > plain)
    return np.asarray(np.clip(power, LEAST, MOST), np.float32)


def below_generated(
    run: Run, amplitudes: Amplitudes, real: Tensor, log2_gsd: Tensor, generator: torch.Generator, depth: int = 1
) -> tuple[Tensor, Tensor, Tensor] | None:
    """The middles [b, 3, S / 2, S / 2] of those of ``real`` [B, 3, S, S] that are finer than `CHAINED_BELOW`, parents for them
    that ``depth`` stages made from their means over 4**(``depth`` + 1) px, and their resolutions; None if there are none,
    or if so few px are less than amplitudes look at."""
    if real.shape[2] // 4 ** (depth + 1) <= AMPLITUDE_MARGIN:
        return None
    real, log2_gsd = (v[log2_gsd < CHAINED_BELOW] for v in (real, log2_gsd))
    if not len(real):
        return None
    top = rounded(F.avg_pool2d(real, 4 ** (depth + 1)))
    parent = list(run.chain(top, log2_gsd + 2, depth, generator, amplitudes))[-1]
    # Away from its border, where the padding shows.
    edge = parent.shape[2] // 4
    return real[..., 4 * edge : -4 * edge, 4 * edge : -4 * edge], parent[..., edge:-edge, edge:-edge], log2_gsd

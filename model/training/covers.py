"""How strong generated detail must be by the colour of the land, so that chains are as rough as what they stand for.

By roughness alone (`model.training.calibrate`) a chain forgets what it shows: three stages down woods and meadows are as rough
as rock. What lies below a place is known by its colour, which a chain keeps: so chains are run below training crops,
box-averaged to a few pixels, and what is generated below each of these is compared with what is there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from model.contrast import SHAPES, Amplitudes, colour_shares
from model.stage import detail
from model.training.balance import nearness
from model.training.energy import Run, rounded
from model.training.imagery import CropSampler, Picture

DEPTH = 3
SIDE, BATCH = 384, 2
"""Of crops, in px: chains start from 6 px, the least that is more than amplitudes look at beyond a window."""
POWERS = (0.7, 0.5, 0.4)
"""By round: how far to go towards what the last chains ask for, as all stages above have a share in it."""
LEAST, MOST = 0.4, 1.5
FAINT = 2.0
"""Of energies, in squared grey levels: what is fainter is rounding."""
PRIOR, ROUNDS = 0.05, 4
"""Weight of the neighbouring knots' evidence in each knot's, and how far it is handed on: some have none of their own."""


Crops = Iterable[tuple[Tensor, Tensor]]
"""Batches of real crops [B, 3, S, S] on [-1, 1] with log2 of their metres per pixel [B]."""


def crop_batches(name: str, pictures: list[Picture], crops: int, side: int, batch: int, seed: int) -> Crops:
    """``crops`` crops of ``side`` px of ``pictures``, ``batch`` at a time and at least one batch, with a progress bar."""
    count = max(1, crops // batch)
    found = itertools.islice(DataLoader(CropSampler(pictures, side, seed), batch), count)
    for real, log2_gsd, _ in tqdm(found, desc=name, total=count, unit="batch", dynamic_ncols=True):
        yield real, log2_gsd


def with_covers(run: Run, amplitudes: Amplitudes, pictures: list[Picture], crops: int, seed: int = 0) -> Amplitudes:
    """``amplitudes`` with those by cover measured on chains of `DEPTH` stages below ``crops`` crops, in all rounds together."""
    generator = torch.Generator().manual_seed(seed)
    for number, power in enumerate(POWERS):
        sums: NDArray[np.float64] = np.zeros((2, *SHAPES["cover"]))
        name, share = f"cover {number + 1}", crops // len(POWERS)
        for real, log2_gsd in crop_batches(name, pictures, share, SIDE, BATCH, seed + number):
            sums += chain_energies(run, amplitudes, real, log2_gsd, generator)
        wanted, made = spread_evidence(sums)
        factor = np.sqrt(np.divide(wanted, made, out=np.ones_like(made), where=made > 0)) ** power
        amplitudes = replace(amplitudes, cover=np.clip(amplitudes.cover * factor, LEAST, MOST).astype(np.float32))
    return amplitudes


def chain_energies(
    run: Run, amplitudes: Amplitudes, real: Tensor, log2_gsd: Tensor, generator: torch.Generator
) -> NDArray[np.float64]:
    """Energies of detail, by resolution and cover, of crops [B, 3, S, S] and of chains below their means over 4**`DEPTH` px:
    [2, *cover]. Each of these means is a place; all but those at the border count, at stages that have generated parents.
    Places weigh by the root of their energies, between counting all alike and hardly any but the rough ones."""
    top = rounded(F.avg_pool2d(real, 4**DEPTH))
    cover = colour_shares(top)[..., 1:-1, 1:-1].double().numpy()
    sums: NDArray[np.float64] = np.zeros((2, *SHAPES["cover"]))
    for depth, image in enumerate(run.chain(top, log2_gsd, DEPTH, generator, amplitudes), 1):
        if depth == 1:
            continue
        gsd = log2_gsd + 2 * (DEPTH - depth)
        there = F.avg_pool2d(real, 4 ** (DEPTH - depth))
        energies = [_by_place(picture, 4**depth) for picture in (there, image)]
        weight, near = (energies[0] + energies[1]) ** -0.5, nearness(gsd.double()).numpy()
        for index, energy in enumerate(energies):
            places = np.einsum("bg,bkhw,bhw->gk", near, cover, weight * energy)
            sums[index] += places.reshape(SHAPES["cover"])
    return sums


def spread_evidence(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """``sums`` [N, knots...] with a little of their neighbours' along each axis of knots."""
    for _ in range(ROUNDS):
        around = np.zeros_like(sums)
        for axis in range(1, sums.ndim):
            lined = np.moveaxis(sums, axis, -1)
            edged = np.concatenate([lined[..., :1], lined, lined[..., -1:]], -1)
            around += np.moveaxis(edged[..., 2:] + edged[..., :-2], -1, axis)
        sums = sums + PRIOR * around
    return sums


def _by_place(image: Tensor, side: int) -> NDArray[np.float64]:
    """Energy of what 4x4 averaging removes, in squared grey levels, in cells of ``side`` px but for those at the border."""
    cells = F.avg_pool2d((detail(image) * 127.5).square().mean(1, keepdim=True), side)[:, 0, 1:-1, 1:-1]
    return np.asarray(cells.double().numpy() + FAINT, np.float64)

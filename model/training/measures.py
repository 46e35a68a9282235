"""Measures of pictures against real imagery (DESIGN section 7): M1 spectrum, M2 patches, M3 increments, M4 features, colour,
contrast, spread and direction.

All compare two sets of pictures of one size, uint8 [N, H, W, 3], as distributions: the pictures need not show one place. What
a measure needs to know of a set is computed once (`describe`), so that many sets are compared with one cheaply.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.stage import double
from model.training.direction import direction_shares
from model.training.features import features_of

Pictures = NDArray[np.uint8]

LEVELS, PATCH, DIRECTIONS, PATCHES = 4, 7, 256, 4096
CELL = 8
"""Side of the cells that energies are taken over for their spread, in pixels."""


@dataclass(frozen=True, eq=False)
class Description:
    """What the measures know of a set of pictures.

    ``spectrum`` [12]: mean radial power of luminance in dB. ``projections``: per pyramid level the sorted projections of
    patches, [DIRECTIONS, PATCHES]. ``kurtosis`` [N, 4]: log kurtosis of increments, by picture. ``features`` [M, F].
    ``colours`` [257, 32]: quantiles of projected mean colours of 8 px cells.
    """

    spectrum: NDArray[np.float64]
    projections: list[Tensor]
    kurtosis: NDArray[np.float64]
    features: Tensor
    colours: Tensor


def describe(pictures: Pictures) -> Description:
    """All that the measures need of pictures uint8 [N, H, W, 3], 64 px a side at least. The same for the same pictures."""
    return Description(
        _spectrum(pictures), _projections(pictures), log_kurtosis(pictures), features_of(pictures), _colours(pictures)
    )


def log_spectral_distance(a: Description, b: Description) -> float:
    """M1, dB: root mean square difference of the two sets' mean radial power spectra of luminance, over octave bands' bins."""
    return float(np.sqrt(np.mean((a.spectrum - b.spectrum) ** 2)))


def patch_distance(a: Description, b: Description) -> float:
    """M2: sliced Wasserstein distance of 7x7x3 patches on a Laplacian pyramid (arXiv 1710.10196), in grey levels."""
    levels = zip(a.projections, b.projections, strict=True)
    return sum((p - q).abs().mean().item() for p, q in levels) / len(a.projections)


def kurtosis_gap(a: Description, b: Description) -> float:
    """M3: mean absolute difference of the mean log kurtosis of luminance increments at lags 1, 2, 4, 8: texture or noise."""
    return float(np.mean(np.abs(a.kurtosis.mean(0) - b.kurtosis.mean(0))))


def kurtosis_error(made: Description, real: Description, others: Description) -> float:
    """Standard error, by the choice of places, of how much larger M3 is for ``made`` than for ``real`` (as many pictures of the
    same places), both against ``others``: a jackknife (Efron and Stein 1981), not normalised."""
    n = len(made.kurtosis)
    left = [(a.kurtosis.sum(0) - a.kurtosis) / max(n - 1, 1) for a in (made, real)]  # means without one place, [N, 4]
    gaps = [np.abs(mean - others.kurtosis.mean(0)).mean(1) for mean in left]
    return float(np.sqrt((n - 1) * np.var(gaps[0] - gaps[1])))


def kernel_distance(a: Description, b: Description) -> float:
    """M4: kernel inception distance (arXiv 1801.01401, unbiased, cubic kernel, times 100) on our own features."""
    # Centred: the cubic kernel would otherwise see little but the features' common mean.
    x, y = (features - b.features.mean(0) for features in (a.features, b.features))
    xx, yy, xy = (((u @ v.T) / x.shape[1] + 1) ** 3 for u, v in ((x, x), (y, y), (x, y)))
    m, n = len(x), len(y)
    within = (xx.sum() - xx.diagonal().sum()) / max(m * (m - 1), 1) + (yy.sum() - yy.diagonal().sum()) / max(n * (n - 1), 1)
    return 100 * float(within - 2 * xy.mean())


def colour_distance(a: Description, b: Description) -> float:
    """Sliced Wasserstein distance of the mean colours of 8 px cells, in grey levels: what M1 to M3 do not look at."""
    return float((a.colours - b.colours).abs().mean())


def contrast(a: Pictures, b: Pictures) -> float:
    """Standard deviation of the two newest octaves (what 4x4 averaging removes) of ``a`` over that of ``b``."""
    return detail(a) / max(detail(b), 1e-6)


def detail(a: Pictures) -> float:
    """Standard deviation of what 4x4 averaging removes, in grey levels."""
    return float(np.sqrt(np.mean(detail_of(a) ** 2)))


def detail_of(a: Pictures) -> NDArray[np.float64]:
    """What 4x4 averaging removes of pictures [N, H, W, 3] (sides multiples of 4)."""
    n, h, w, _ = a.shape
    blocks = a.astype(np.float64).reshape(n, h // 4, 4, w // 4, 4, 3)
    return np.asarray((blocks - blocks.mean((2, 4), keepdims=True)).reshape(n, h, w, 3))


def spread(a: Pictures, b: Pictures) -> float:
    """How unevenly texture lies in the pictures of ``a``, over how unevenly it does in those of ``b``."""
    return float(energy_spread(a).mean() / max(energy_spread(b).mean(), 1e-6))


def energy_spread(a: Pictures) -> NDArray[np.float64]:
    """By picture, the standard deviation of the logarithm of luminance's squared steps within `CELL` px: 0 where texture is
    everywhere alike, more where it comes in clumps on smooth ground."""
    grey = a.astype(np.float64).mean(-1)
    down, right = np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1]
    rows, columns = (side // CELL for side in down.shape[1:])
    energy = (down**2 + right**2)[:, : rows * CELL, : columns * CELL]
    local = energy.reshape(-1, rows, CELL, columns, CELL).mean((2, 4))
    return np.asarray(np.log(local + 0.5).std((1, 2)))


def direction(a: Pictures, b: Pictures) -> float:
    """How much the detail of ``a`` runs in one direction in each place, over how much that of ``b`` does."""
    return directedness(a) / max(directedness(b), 1e-6)


def directedness(a: Pictures) -> float:
    """Root mean square of the logarithms of local energies' shares by direction, in the two newest octaves: about 0.5 for white
    noise, 0.5 to 1.1 for imagery; 0 for flat pictures."""
    octaves = _pyramid(a)[:2]
    return math.sqrt(sum(direction_shares(octave / 127.5).square().mean().item() for octave in octaves) / len(octaves))


def colour_drift(made: Pictures, origin: Pictures) -> list[float]:
    """Mean colour of ``made`` less that of ``origin``, by channel in grey levels; the two show one place at any scales."""
    return [float(v) for v in made.mean((0, 1, 2), dtype=np.float64) - origin.mean((0, 1, 2), dtype=np.float64)]


MEASURES = {
    "M1 spectrum dB": log_spectral_distance,
    "M2 patches": patch_distance,
    "M3 kurtosis": kurtosis_gap,
    "M4 features KID": kernel_distance,
}


def normalised(value: float, floor: float, ceiling: float) -> float:
    """(value - floor) / (ceiling - floor): 0 like other real imagery, 1 no detail. NaN where bicubic is hardly further from
    real imagery than other real imagery is, so that nothing can be told."""
    return (value - floor) / (ceiling - floor) if ceiling - floor > max(0.3 * abs(floor), 1e-6) else math.nan


def _luminance(a: Pictures) -> NDArray[np.float64]:
    return np.asarray(a.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))


def _spectrum(a: Pictures) -> NDArray[np.float64]:
    """Mean radial power spectrum in dB, in 12 logarithmic bins from 1/32 to 1/2 cycles per pixel."""
    grey = _luminance(a)
    side = min(grey.shape[1:])
    grey = grey[:, :side, :side]
    window = np.hanning(side)[:, None] * np.hanning(side)[None]
    power = (np.abs(np.fft.fft2((grey - grey.mean((1, 2), keepdims=True)) * window)) ** 2).mean(0)
    f = np.fft.fftfreq(side)
    radius = np.hypot(f[:, None], f[None])
    edges = np.geomspace(1 / 32, 0.5, 13)
    bins = [power[(radius >= low) & (radius < high)].mean() for low, high in pairwise(edges)]
    return 10 * np.log10(np.array(bins) + 1e-3)


def _projections(a: Pictures) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    found = []
    offsets = torch.arange(PATCH)
    for layer in _pyramid(a):
        axes = F.normalize(torch.randn(3 * PATCH * PATCH, DIRECTIONS, generator=generator), dim=0)
        n, _, height, width = layer.shape
        # Even shares of all pictures, at random places.
        which = torch.arange(PATCHES) % n
        top, left = (torch.randint(size - PATCH + 1, (PATCHES,), generator=generator) for size in (height, width))
        rows, cols = (top[:, None] + offsets)[:, :, None], (left[:, None] + offsets)[:, None, :]
        patches = layer.permute(0, 2, 3, 1)[which[:, None, None], rows, cols].reshape(PATCHES, -1)
        found.append((axes.T @ patches.T).sort(1).values)
    return found


def _pyramid(a: Pictures) -> list[Tensor]:
    image = torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2))).float()
    layers = []
    for _ in range(LEVELS - 1):
        smaller = F.avg_pool2d(image, 2)
        layers.append(image - double(smaller))
        image = smaller
    return [*layers, image - image.mean((2, 3), keepdim=True)]


def log_kurtosis(a: Pictures) -> NDArray[np.float64]:
    """By picture, log kurtosis of luminance increments at lags 1, 2, 4 and 8, [N, 4]: pooled, one rough picture among calm
    ones would be all that is seen."""
    grey = _luminance(a)
    n = len(grey)
    values = []
    for lag in (1, 2, 4, 8):
        along, across = grey[:, lag:] - grey[:, :-lag], grey[:, :, lag:] - grey[:, :, :-lag]
        steps = np.concatenate([along.reshape(n, -1), across.reshape(n, -1)], 1)
        # Rounding to grey levels is a twelfth of variance; a flat picture has the kurtosis of noise.
        second, fourth = (steps**2).mean(1) + 1 / 6, (steps**4).mean(1) + 3 / 36
        values.append(np.log(fourth / second**2))
    return np.stack(values, 1)


def _colours(a: Pictures) -> Tensor:
    cells = F.avg_pool2d(torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2))).float(), 8)
    axes = F.normalize(torch.randn(3, 32, generator=torch.Generator().manual_seed(1)), dim=0)
    # As many quantiles for every set, however many pictures it has.
    quantiles = torch.linspace(0, 1, 257)
    return torch.quantile((cells.permute(0, 2, 3, 1).reshape(-1, 3) @ axes)[:100_000], quantiles, dim=0)

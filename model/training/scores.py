"""Energy scores of two made pictures for a real one (Gneiting and Raftery 2007), by what they are compared in.

Place by place: patches of several sizes of the two newest octaves, for amplitude, spectrum and colour; local energies by
orientation and octave, for whether texture lies in edges and clusters, as in real pictures, or everywhere, as in noise; their
logarithms beside the picture's mean, for how evenly it lies; and their shares by direction, for which way it runs. Picture by
picture: statistics of all of it, for how sparse, how uneven and how directed its texture is.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from model.stage import double, scale_colour
from model.training.direction import direction_shares

PATCHES = (1, 3, 7)
"""Sides of the patches that are compared, in pixels of their octave."""
TEXTURE_WEIGHT = 1.0
"""Of the local energies' score beside that of the patches."""
CONTRAST_WEIGHT = 2.0
"""Of the score of energies over 16 px, which sees what single places hide: texture too faint, or too strong, throughout."""
COLOUR_WEIGHT = 2.0
"""Of differences from grey in patches: faint beside light and dark, but speckles of colour are what the eye sees first."""
LAGS = (1, 2, 4, 8)
"""Of the increments whose kurtosis is scored, in pixels."""
_FAINT = 1 / 127.5
"""Energies of a grey level and less are alike to the eye, and to their logarithms."""
_TINY = 1e-6

Features = list[tuple[Tensor, tuple[int, ...], float]]
"""Maps to compare, the sides of the patches to compare them by, and their weights."""
Statistics = dict[str, Tensor]
"""What `statistics` finds, each [B, K]."""


def energy_score(real: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """The fair energy score [B] of two samples ``one`` and ``other`` for ``real``, all [B, 3, S, S] on [-1, 1].

    In units of the distance between patches' pixels, summed over octaves and patch sizes; 0 for perfect certainty.
    """
    return _fair_score(*(_features(x) for x in (real, one, other)))


def evenness_score(real: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """The fair energy score [B] of logarithms of local energies over 4 and 16 px, less their means over the picture, and of
    these means: of ratios, so that calm places count like rough ones. Arguments as for `energy_score`.

    How rough a kind of land is the parent seldom tells, but it is alike all over a picture. Were places scored by themselves, a
    network that sees only so far would draw their roughness place by place, and land would come in clumps.
    """

    def features(image: Tensor) -> Features:
        energies = _energies(_octaves(image))
        logs = [(F.avg_pool2d(energies, side) + _FAINT).log() for side in (1, 4)]
        means = [log.mean((2, 3), keepdim=True) for log in logs]
        return [(log - mean, (1, 3), 1.0) for log, mean in zip(logs, means, strict=True)] + [(means[0], (1,), 1.0)]

    return _fair_score(*(features(x) for x in (real, one, other)))


def direction_score(real: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """The fair energy score [B] of which way texture runs in both octaves (`direction_shares`). Arguments as for
    `energy_score`."""

    def features(image: Tensor) -> Features:
        return [(direction_shares(octave), (1, 3), 1.0) for octave in _octaves(image)]

    return _fair_score(*(features(x) for x in (real, one, other)))


def statistics_score(real: Statistics, one: Statistics, other: Statistics) -> Tensor:
    """The fair energy score [B] of the `statistics` of two samples ``one`` and ``other`` for those of ``real``.

    Place by place a network of finite size hedges: each place is a little too much like the mean of what it could be, which
    leaves texture that is everywhere alike and runs no way. What that makes of a picture as a whole is seen here.
    """

    def features(found: Statistics) -> Features:
        return [(values[..., None, None], (1,), 1.0) for values in found.values()]

    return _fair_score(*(features(x) for x in (real, one, other)))


def statistics(image: Tensor) -> Statistics:
    """Of pictures [B, 3, S, S] on [-1, 1], S a multiple of 8, each [B, K], after Portilla and Simoncelli 2000.

    - ``tails``: much for few strong edges, log 3 for noise (`tails`);
    - ``skew``: s of luminance in both octaves, as s / (1 + |s|): lights or shadows;
    - ``uneven``: standard deviation of the logarithms of local energies over 4 and 16 px;
    - ``tied``: correlation of these between an octave and the next coarser one, for both: whether detail lies where its parent
      has edges;
    - ``heading``: mean `direction_shares` of both octaves, which a picture may have, but not all pictures the same;
    - ``upright``: these along the axes less those along the diagonals: on a grid of pixels, strokes along it come cheapest.
    """
    octaves = _octaves(image)
    quarter = F.avg_pool2d(image, 4)
    coarser = _oriented(quarter - double(F.avg_pool2d(quarter, 2)))
    energies = _energies(octaves)
    logs = (energies + _FAINT).log()
    by_octave = [(e.mean(1) + _FAINT).log() for e in (energies[:, :4], energies[:, 4:], coarser)]
    broad = (F.avg_pool2d(energies, 4) + _FAINT).log()
    found = {
        "skew": [_bounded_skewness(octave.mean(1).flatten(1) * 127.5) for octave in octaves],
        "uneven": [log.var((2, 3)).mean(1).add(_TINY).sqrt() for log in (logs, broad)],
        "tied": [_correlation(a.flatten(1), b.flatten(1)) for a, b in pairwise(by_octave)],
    }
    stacked = {"tails": tails(image)} | {name: torch.stack(values, 1) for name, values in found.items()}
    headings = [direction_shares(octave).mean((2, 3)) for octave in octaves]
    upright = torch.stack([(h[:, 0::4] - h[:, 2::4]).mean(1) for h in headings], 1)
    return stacked | {"upright": upright, "heading": torch.cat(headings, 1)}


def tails(image: Tensor) -> Tensor:
    """Logarithms of the kurtosis of luminance increments of pictures [B, 3, S, S] on [-1, 1], by `LAGS`, along the axes and
    along the diagonals: [B, 2 x 4]."""
    grey = image.mean(1) * 127.5
    # Diagonals of about the same length.
    steps = [increments.square() for lag in LAGS for increments in (_along(grey, lag), _diagonally(grey, round(lag * 0.71)))]
    # Rounding's share, as in `model.training.measures`: a flat picture has the kurtosis of noise.
    return torch.stack([((s.square().mean(1) + 3 / 36) / (s.mean(1) + 1 / 6).square()).log() for s in steps], 1)


def contrasts(image: Tensor) -> Tensor:
    """Standard deviations of luminance in both octaves of pictures [B, 3, S, S] on [-1, 1]: [B, 2]."""
    energies = [octave.mean(1).square().mean((1, 2)) for octave in _octaves(image)]
    return (torch.stack(energies, 1) + (_FAINT / 8) ** 2).sqrt()


def _fair_score(real: Features, one: Features, other: Features) -> Tensor:
    total = real[0][0].new_zeros(len(real[0][0]))
    for (x, sizes, weight), (g, _, _), (h, _, _) in zip(real, one, other, strict=True):
        between = _distance(x, g, sizes) + _distance(x, h, sizes) - _distance(g, h, sizes)
        total = total + weight / 2 * between
    return total


def _features(image: Tensor) -> Features:
    octaves = _octaves(image)
    energies = _energies(octaves)
    patches: Features = [(scale_colour(octave, COLOUR_WEIGHT), PATCHES, 1.0) for octave in octaves]
    return [*patches, (energies, (1, 3), TEXTURE_WEIGHT), (F.avg_pool2d(energies, 4), (1, 3), CONTRAST_WEIGHT)]


def _octaves(image: Tensor) -> list[Tensor]:
    half = F.avg_pool2d(image, 2)
    return [image - double(half), half - double(F.avg_pool2d(half, 2))]


def _energies(octaves: list[Tensor]) -> Tensor:
    """Mean magnitudes by octave and direction within 4 px, [B, 8, H / 4, W / 4]."""
    return torch.cat([F.avg_pool2d(_oriented(octave), side) for octave, side in zip(octaves, (4, 2), strict=True)], 1)


def _oriented(octave: Tensor) -> Tensor:
    """Magnitudes of luminance differences in four directions, [B, 4, h, w]."""
    grey = octave.mean(1, keepdim=True)
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    middle = padded[..., 1:-1, 1:-1]
    shifted = (padded[..., 1:-1, 2:], padded[..., 2:, 1:-1], padded[..., 2:, 2:], padded[..., 2:, :-2])
    return torch.cat([((middle - other).square() + 1e-5).sqrt() for other in shifted], 1)


def _along(grey: Tensor, lag: int) -> Tensor:
    """Increments of [B, H, W] along both axes, [B, N]."""
    return torch.cat([(grey[:, lag:] - grey[:, :-lag]).flatten(1), (grey[:, :, lag:] - grey[:, :, :-lag]).flatten(1)], 1)


def _diagonally(grey: Tensor, lag: int) -> Tensor:
    """Increments of [B, H, W] along both diagonals, by ``lag`` rows and columns, [B, N]."""
    down, up = grey[:, lag:, lag:] - grey[:, :-lag, :-lag], grey[:, :-lag, lag:] - grey[:, lag:, :-lag]
    return torch.cat([down.flatten(1), up.flatten(1)], 1)


def _bounded_skewness(grey: Tensor) -> Tensor:
    """Of [B, N] by row, in grey levels, on (-1, 1)."""
    skewness = grey.pow(3).mean(1) / (grey.square().mean(1) + 1).pow(1.5)
    return skewness / (1 + skewness.abs())


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Of [B, N] with [B, N], by row."""
    a, b = (v - v.mean(1, keepdim=True) for v in (a, b))
    return (a * b).mean(1) / (a.square().mean(1) * b.square().mean(1) + _TINY).sqrt()


def _distance(a: Tensor, b: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Mean root mean square distance [B] of patches of ``a`` and ``b``, over all places and the given sides."""
    squared = (a - b).square().mean(1, keepdim=True)
    total = squared.new_zeros(len(a))
    for side in sizes:
        local = squared if side == 1 else F.avg_pool2d(squared, side, stride=max(1, side // 2))
        # Less its value for equal patches: the root's gradient needs _TINY, the score does not.
        total = total + (local + _TINY).sqrt().mean((1, 2, 3)) - _TINY**0.5
    return total

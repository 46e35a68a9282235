"""Measures of pictures against real imagery (DESIGN section 7): M1 spectrum, M2 patches, M3 increments, and contrast.

All compare two sets of pictures of one size, uint8 [N, H, W, 3], as distributions: the pictures need not show one place.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Pictures = NDArray[np.uint8]


def log_spectral_distance(a: Pictures, b: Pictures) -> float:
    """M1, dB: root mean square difference of the two sets' mean radial power spectra of luminance, over octave bands' bins."""
    return float(np.sqrt(np.mean((_spectrum(a) - _spectrum(b)) ** 2)))


def patch_distance(a: Pictures, b: Pictures, levels: int = 4, directions: int = 256, patches: int = 8192) -> float:
    """M2: sliced Wasserstein distance of 7x7x3 patches on a Laplacian pyramid (arXiv 1710.10196), in grey levels."""
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    for layer_a, layer_b in zip(_pyramid(a, levels), _pyramid(b, levels), strict=True):
        axes = F.normalize(torch.randn(147, directions, generator=generator), dim=0)
        projected = []
        for layer in (layer_a, layer_b):
            columns = F.unfold(layer, 7, stride=2).transpose(1, 2).reshape(-1, 147)
            chosen = torch.randint(len(columns), (patches,), generator=generator)
            projected.append((columns[chosen] @ axes).sort(0).values)
        total += (projected[0] - projected[1]).abs().mean().item()
    return total / levels


def kurtosis_gap(a: Pictures, b: Pictures) -> float:
    """M3: mean absolute difference of the log kurtosis of luminance increments at lags 1, 2, 4 and 8: texture against noise."""
    return float(np.mean(np.abs(_kurtosis(a) - _kurtosis(b))))


def contrast(a: Pictures, b: Pictures) -> float:
    """Standard deviation of the two newest octaves (what 4x4 averaging removes) of ``a`` over that of ``b``."""
    return _detail(a) / max(_detail(b), 1e-6)


MEASURES = {"M1 spectrum dB": log_spectral_distance, "M2 patches": patch_distance, "M3 kurtosis": kurtosis_gap}


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


def _pyramid(a: Pictures, levels: int) -> list[Tensor]:
    image = torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2))).float()
    layers = []
    for _ in range(levels - 1):
        smaller = F.avg_pool2d(image, 2)
        layers.append(image - F.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False))
        image = smaller
    return [*layers, image - image.mean((2, 3), keepdim=True)]


def _kurtosis(a: Pictures) -> NDArray[np.float64]:
    grey = _luminance(a)
    values = []
    for lag in (1, 2, 4, 8):
        steps = np.concatenate([(grey[:, lag:] - grey[:, :-lag]).ravel(), (grey[:, :, lag:] - grey[:, :, :-lag]).ravel()])
        values.append(np.log((steps**4).mean() / max((steps**2).mean() ** 2, 1e-9) + 1e-9))
    return np.array(values)


def _detail(a: Pictures) -> float:
    n, h, w, _ = a.shape
    blocks = a[:, : h - h % 4, : w - w % 4].astype(np.float64).reshape(n, h // 4, 4, w // 4, 4, 3)
    return float((blocks - blocks.mean((2, 4), keepdims=True)).std())

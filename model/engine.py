"""The engine: runs one stage of the cascade on windows, in batches of one fixed shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.coast import COAST_MARGIN, calmed, enlarged_coasts, sharpen, waves
from model.contrast import AMPLITUDE_MARGIN, Amplitudes
from model.denoiser import MAX_CONDITION_LEVEL, RESIDUAL_SCALE, Denoiser
from model.guidance import LEVEL_REACH, condition_level
from model.inference import InferenceDenoiser
from model.land_use import LAND_MARGIN
from model.noise import STREAM_CONDITION, STREAM_SAMPLER, world_noise
from model.parcels import Register, lay
from model.precision import Compute
from model.sampler import sample
from model.soil import light_browner
from model.stage import ENLARGE_MARGIN, enlarge, project, shade, to_bytes, to_unit
from model.store import Pixels
from model.ways import coloured
from model.weights import Weights

PARENT_MARGIN = max(ENLARGE_MARGIN + LEVEL_REACH, AMPLITUDE_MARGIN, LAND_MARGIN, COAST_MARGIN)
"""Parent pixels that a window needs beyond its own on every side."""

HALO = 48
"""Child pixels around a canonical block that its window computes and drops, for all steps together (tests/test_halo.py)."""


@dataclass(frozen=True)
class Window:
    """One window of one stage: what its child pixels are made from.

    ``parent``: uint8 [h + 2 m, w + 2 m, 3] with m = `PARENT_MARGIN`. ``rows`` [4h], ``cols`` [4w]: world indices of the child's
    pixels, ``parent_rows`` [h + 2 m], ``parent_cols`` [w + 2 m]: those of the parent's, all wrapped and mirrored: they fix the
    noise. ``zoom``: the child's. ``log2_gsd``: [1] or [4h / 8], metres per child pixel. ``register``: that of the child's
    parcels (`model.parcels`), if there are any.
    """

    parent: Pixels
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    parent_rows: NDArray[np.int64]
    parent_cols: NDArray[np.int64]
    zoom: int
    log2_gsd: NDArray[np.float32]
    register: Register | None = None


class Engine:
    """A denoiser, a sampler and a seed on a device. Not reentrant: callers take turns."""

    def __init__(
        self,
        denoiser: Denoiser,
        compute: Compute,
        seed: int,
        steps: int,
        carry: float | None = None,
        amplitudes: Amplitudes | None = None,
    ) -> None:
        """``carry``: the sampler's, if not the one for weights that are not tuned (`model.weights.Weights.carry`).
        ``amplitudes``: those of generated detail (`model.contrast`), if not 1."""
        self.compute, self.seed, self.steps, self._carry, self._amplitudes = compute, seed, steps, carry, amplitudes
        self.denoiser = InferenceDenoiser(denoiser, compute)
        self.evaluations = 0

    @classmethod
    def of(cls, weights: Weights, compute: Compute, seed: int, steps: int) -> Engine:
        """The engine of a weights file."""
        return cls(weights.denoiser, compute, seed, steps, weights.carry, weights.amplitudes)

    def run(self, windows: Iterable[Window]) -> Iterator[Pixels]:
        """Child pixels uint8 [4h, 4w, 3] of each window, halo included, in order. All windows have one shape.

        Batches are filled up by repetition to the one size that the device computes in: pixels must not depend on company.
        """
        queue = iter(windows)
        while batch := list(islice(queue, self.compute.batch)):
            filled = batch + batch[-1:] * (self.compute.batch - len(batch))
            pixels = to_bytes(self.generate(filled)).permute(0, 2, 3, 1).contiguous()
            yield from pixels[: len(batch)].cpu().numpy()
            self.evaluations += len(batch)

    @torch.inference_mode()
    def generate(self, windows: list[Window]) -> Tensor:
        """The same before rounding: float32 [N, 3, 4h, 4w] on [-1, 1], on the device."""
        device = self.compute.device
        pixels = torch.from_numpy(np.stack([window.parent for window in windows])).to(device)
        wide = to_unit(pixels.permute(0, 3, 1, 2))
        rowwise = max(len(window.log2_gsd) for window in windows)
        gsd = torch.from_numpy(np.stack([np.broadcast_to(w.log2_gsd, (rowwise,)) for w in windows])).to(device)
        level = condition_level(wide, PARENT_MARGIN, gsd)
        condition = torch.stack([self._noise(w, STREAM_CONDITION, w.parent_rows, w.parent_cols) for w in windows])
        parent = _trim(wide, PARENT_MARGIN)
        seen = parent + level * _trim(condition, PARENT_MARGIN)
        noise = torch.stack([self._noise(w, STREAM_SAMPLER, w.rows, w.cols) for w in windows])
        sites = [(self.seed, window.register, window.rows, window.cols) for window in windows]
        noise, strength, rivers = lay(noise, wide, sites)
        plane = level / MAX_CONDITION_LEVEL
        residual = sample(lambda z, t: self.denoiser(z, seen, plane, t, gsd), noise, self.steps, self._carry)
        if self._amplitudes is not None:
            residual = self._amplitudes.scale(residual, wide, gsd)
        if strength is not None:
            residual = residual * strength
        upper = _trim(enlarge(_trim(wide, LEVEL_REACH)), 4 * ENLARGE_MARGIN)
        shaded = shade(residual, upper)
        if rivers is not None:
            shaded = coloured(shaded, upper, rivers)
        if (found := enlarged_coasts(wide)) is not None:
            waves = torch.stack([self._waves(window) for window in windows])
            upper, shaded = sharpen(upper, found, waves), calmed(shaded, found)
        return project(light_browner(upper + RESIDUAL_SCALE * shaded), parent)

    def _noise(self, window: Window, stream: int, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Tensor:
        return world_noise(self.seed, window.zoom, stream, rows, cols, self.compute.device)

    def _waves(self, window: Window) -> Tensor:
        """How coasts wander in a window, [1, 4h, 4w]."""
        return waves(self.seed, window.zoom, window.rows, window.cols, self.compute.device)[None]


def _trim(x: Tensor, border: int) -> Tensor:
    return x[..., border:-border, border:-border]

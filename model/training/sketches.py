"""Sketches of real pictures in the noise: what a network is to make of noise that has parcels, it learns from pictures that do.

A register that lies at random beside a real picture (`model.training.sites`) only teaches that parcels mean nothing. So in most
batches the noise of real crops takes in a sketch of the crop itself, as the noise of planets takes in the register: areas of
one value each, with edges and thin lines where the picture has them, and no texture. The energy score of samples that share a
sketch is that of the distribution given parent and sketch, and is least where the network draws what a land register, roads
or streets of the sketch stand for. A sketch of every stage of a chain is one of the real picture there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from model.parcels import blend
from model.relief import MOST as STRONGEST

LEAST, MOST = 0.25, 0.95
"""Range of the shares of the noise, as amplitudes, that a sketch has: what serves best can then be chosen afterwards."""
RADII = (2, 4, 6)
"""Of `flattened`, in pixels: areas are larger than that."""
ROUNDS = 3
_BROAD = 16
"""Pixels of the cells between whose means the surroundings are interpolated, which a sketch is the difference from."""
_TINTED = 0.35
"""Of a sketch's colours what is kept, as parcels have it."""
_FAINT = 4 / 127.5
"""Added to the local contrast by which a sketch is divided: that of calm water is nothing to sketch."""
_OUTSTANDING = 2.5
"""Times the local contrast of what `flattened` takes away by which a thin line stands out of it, to be kept."""


@dataclass(frozen=True, eq=False)
class Sketches:
    """Sketches of ``pictures`` [B, 3, S, S] on [-1, 1], by a ``radius`` of `RADII`, for noise that has ``share`` [B, 1, 1, 1]
    of them: in the place of `Sites` where several samples of each are drawn."""

    pictures: Tensor
    share: Tensor
    radius: int

    @staticmethod
    def draw(pictures: Tensor, generator: torch.Generator) -> Sketches:
        """Of pictures, with shares and a radius at random."""
        shape = (len(pictures), 1, 1, 1)
        share = LEAST + (MOST - LEAST) * torch.rand(shape, generator=generator, device=generator.device)
        which = int(torch.randint(len(RADII), (), generator=generator, device=generator.device))
        return Sketches(pictures, share.to(pictures.device), RADII[which])

    def above(self, stages: int) -> Sketches:
        """Those of the pictures ``stages`` above."""
        return replace(self, pictures=F.avg_pool2d(self.pictures, 4**stages)) if stages else self

    def moved(self, rows: int, columns: int) -> Sketches:
        """Those of windows that begin so many pixels further on."""
        return replace(self, pictures=self.pictures[..., rows:, columns:])

    def lay(self, noise: Tensor, parent: Tensor) -> Tensor:
        """``noise`` [N B, 3, h, w], h and w at most S, of N samples each, with the sketches in it; no ``parent`` is asked."""
        height, width = noise.shape[2:]
        drawn = sketch(self.pictures[..., :height, :width], self.radius)
        repeats = (len(noise) // len(drawn), 1, 1, 1)
        return blend(noise, drawn.repeat(repeats), self.share.repeat(repeats))


def sketch(pictures: Tensor, radius: int) -> Tensor:
    """Of ``pictures`` [B, 3, h, w], alike in shape, within `STRONGEST`, of about unit variance where there is much to see."""
    flat = pictures
    for _ in range(ROUNDS):
        flat = flattened(flat, radius)
    fine = (pictures - flat).mean(1, keepdim=True)
    thin = fine.abs() > _OUTSTANDING * broad(fine.square()).sqrt() + _FAINT
    drawn = torch.where(thin, pictures, flat)
    drawn = drawn - broad(drawn)
    grey = drawn.mean(1, keepdim=True)
    drawn = grey + _TINTED * (drawn - grey)
    return (drawn / (broad(grey.square()).sqrt() + _FAINT)).clamp(-STRONGEST, STRONGEST)


def flattened(image: Tensor, radius: int) -> Tensor:
    """``image`` [B, C, h, w] with each pixel the mean of that one of four squares of ``radius`` + 1 pixels, at whose corners it
    is, in which luminance varies least (Kuwahara 1976): areas become flat and edges stay."""
    height, width = image.shape[2:]
    grey = image.mean(1, keepdim=True)
    wide = F.pad(torch.cat([image, grey.square()], 1), (radius,) * 4, mode="replicate")
    means = F.avg_pool2d(wide, radius + 1, stride=1)
    corners = [means[..., top : top + height, left : left + width] for top in (0, radius) for left in (0, radius)]
    spread = torch.stack([c[:, -1] - c[:, :-1].mean(1).square() for c in corners], 1)
    least = spread.argmin(1)[:, None, None]
    stacked = torch.stack([c[:, :-1] for c in corners], 2)
    return stacked.gather(2, least.expand(-1, image.shape[1], -1, -1, -1))[:, :, 0]


def broad(image: Tensor) -> Tensor:
    """``image`` [B, C, h, w] without what is finer than some `_BROAD` pixels."""
    cells = F.avg_pool2d(image, _BROAD, ceil_mode=True, count_include_pad=False)
    cells = F.avg_pool2d(cells, 3, stride=1, padding=1, count_include_pad=False)
    return F.interpolate(cells, size=image.shape[2:], mode="bilinear", align_corners=False)

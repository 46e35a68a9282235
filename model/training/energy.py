"""Tuning for few steps: the energy score of what the sampler draws, whole, against the real picture.

Flow matching teaches the denoiser posterior means, which a solver of many steps turns into a sample and one of two steps does
not. Here the sampler is run as it serves, on a parent as it serves, twice with different noise, and the two pictures g, g' are
scored against the real one x by the fair energy score (Gneiting and Raftery 2007; as a training loss arXiv 2307.00835 and, for
weather, arXiv 2506.10772):

    (|x - g| + |x - g'|) / 2 - |g - g'| / 2

which is least in expectation when g is drawn from the distribution of x given the parent: no teacher, no critic, nothing to
balance. `model.training.scores` has the distances.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from model.contrast import AMPLITUDE_MARGIN, Table, amplitude
from model.denoiser import MAX_CONDITION_LEVEL, RESIDUAL_SCALE
from model.guidance import LEVEL_REACH, condition_level
from model.precision import autocasting
from model.sampler import sample, times
from model.stage import COLOUR_SHARE, enlarge, project, shade, to_bytes, to_unit
from model.training.critic import Adversary
from model.training.loss import fade
from model.training.scores import direction_score, energy_score, evenness_score

MARGIN = 16
"""Child pixels at each border left out of the score, as many as padding and made-up surroundings may show in."""
EVENNESS_WEIGHT = 0.6
"""Of the score of energies' logarithms beside all others, which rough places rule: how calm the calm ones are decides how
clumped a chain becomes."""
DIRECTION_WEIGHT = 0.1
"""Of the score of shares of energy by direction beside all others."""
LEVELS = (0.4, 2.0)
"""Range of factors by which the noise that parents carry is less or more than it is when served: what serves best can then be
chosen afterwards."""


def energy_loss(
    denoiser: Callable[..., Tensor],
    child: Tensor,
    log2_gsd: Tensor,
    generator: torch.Generator,
    autocast: torch.dtype | None,
    steps: int,
    carry: float,
    generations: int = 0,
    amplitudes: Table | None = None,
    adversary: Adversary | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss of one batch of real crops ``child`` [B, 3, S, S] with their resolutions [B]; S is a multiple of 32.

    ``generations``: how many stages above the child the sampler makes itself, each of the two samples its own: what a chain
    goes through. They are as they are served, with ``amplitudes`` and a share of their colour; the scored stage is not, or the
    network would learn to make up for both. With none the parents are the true ones, in half of the batches faded (`fade`);
    with two, S is a multiple of 64 and only a window of half the side is scored. ``adversary`` adds its gradients
    (`model.training.critic`). Returns (loss, score [B], the enlarged parent's score [B], ones [B]), so that the log shows the
    share of the bicubic's score that is left.
    """
    parent = F.avg_pool2d(child, 4)
    batch = child.shape[0]

    least, most = (math.log(factor) for factor in LEVELS)
    distrust = (
        (torch.rand(batch, 1, 1, 1, generator=generator) * (most - least) + least).exp().repeat(2, 1, 1, 1).to(child.device)
    )

    def make(low: Tensor, gsd: Tensor, table: Table | None = None, colour: float = COLOUR_SHARE) -> Tensor:
        return generate(denoiser, low, gsd, generator, autocast, steps, carry, table, colour, distrust)

    if generations == 0:
        faded = torch.rand((), generator=generator).item() < 0.5
        low = _rounded(fade(parent, generator) if faded else parent).repeat(2, 1, 1, 1)
    else:
        with torch.no_grad():
            low = _rounded(F.avg_pool2d(parent, 4**generations)).repeat(2, 1, 1, 1)
            for above in range(generations, 0, -1):
                low = _rounded(make(low, log2_gsd.repeat(2) + 2 * above, amplitudes))
    if generations > 1:
        side = parent.shape[2] // 2
        top, left = (int(torch.randint(side // 2 + 1, (), generator=generator)) * 2 for _ in range(2))
        low, parent = (v[..., top : top + side, left : left + side] for v in (low, parent))
        child = child[..., 4 * top : 4 * (top + side), 4 * left : 4 * (left + side)]
    made, upper, child = (_inner(image) for image in (make(low, log2_gsd.repeat(2), colour=1.0), enlarge(parent), child))
    score = energy_score(child, made[:batch], made[batch:])
    with torch.no_grad():
        ceiling = energy_score(child, upper, upper)
        # By what the parent holds, never by what the child does: that would shift what the score is least for.
        detail = parent - F.interpolate(F.avg_pool2d(parent, 4), scale_factor=4, mode="nearest")
        weight = 1 / (detail.square().mean((1, 2, 3)).sqrt() + 0.03)
    one, other = made[:batch], made[batch:]
    loss = (score * weight).mean() / 10
    loss = loss + EVENNESS_WEIGHT * evenness_score(child, one, other).mean()
    loss = loss + DIRECTION_WEIGHT * direction_score(child, one, other).mean()
    if adversary is not None:
        loss = loss + adversary.pull(loss, child, made, log2_gsd, generator)
    return loss, score.detach(), ceiling, torch.ones_like(score)


def generate(
    denoiser: Callable[..., Tensor],
    parent: Tensor,
    log2_gsd: Tensor,
    generator: torch.Generator,
    autocast: torch.dtype | None,
    steps: int,
    carry: float,
    amplitudes: Table | None = None,
    colour: float = COLOUR_SHARE,
    distrust: Tensor | float = 1.0,
) -> Tensor:
    """One stage as `model.engine` runs it, but with gradients and padded borders: parents [B, 3, h, w] -> [B, 3, 4h, 4w].
    ``colour``: the share of it that is kept (`model.stage.shade`); ``distrust`` [B, 1, 1, 1]: times the noise in parents."""
    device = parent.device
    wide = F.pad(parent, (LEVEL_REACH,) * 4, mode="reflect")
    level = (distrust * condition_level(wide, LEVEL_REACH, log2_gsd[:, None])).clamp(max=MAX_CONDITION_LEVEL)
    seen = parent + level * torch.randn(parent.shape, generator=generator).to(device)
    shape = (*parent.shape[:2], 4 * parent.shape[2], 4 * parent.shape[3])
    noise = torch.randn(shape, generator=generator).to(device)
    seen, plane = (v.contiguous(memory_format=torch.channels_last) for v in (seen, level / MAX_CONDITION_LEVEL))

    last = times(steps)[-2]

    def predict(z: Tensor, t: float) -> Tensor:
        # Only the last prediction learns. What the ones before it say, posterior means, is taken as it comes.
        with torch.set_grad_enabled(t == last and torch.is_grad_enabled()):
            return call(z, t)

    def call(z: Tensor, t: float) -> Tensor:
        now = torch.full((len(z),), t, device=device)
        z = z.contiguous(memory_format=torch.channels_last)
        with autocasting(device, autocast):
            return denoiser(z, seen, plane, now, log2_gsd[:, None]).float()

    residual = sample(predict, noise, steps, carry)
    if amplitudes is not None:
        residual = residual * amplitude(amplitudes, F.pad(parent, (AMPLITUDE_MARGIN,) * 4, mode="reflect"), log2_gsd[:, None])
    upper = enlarge(parent)
    return project(upper + RESIDUAL_SCALE * shade(residual, upper, colour), parent)


def _inner(image: Tensor) -> Tensor:
    return image[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def _rounded(image: Tensor) -> Tensor:
    return to_unit(to_bytes(image))

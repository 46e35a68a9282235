"""The flow-matching loss, and its bookkeeping by noise level and ground resolution."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from model.denoiser import MAX_CONDITION_LEVEL, RESIDUAL_SCALE
from model.precision import autocasting
from model.stage import enlarge

MARGIN = 20
"""Child pixels at each border left out of the loss (a quarter of a small crop): the padding must not be learned from."""


@dataclass
class LossTable:
    """Running relative error (unexplained share of the residual's energy) by noise level and by resolution band."""

    error: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))
    energy: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))
    decay: float = 0.995

    def add(self, error: Tensor, energy: Tensor, t: Tensor, log2_gsd: Tensor) -> None:
        """Take in one batch: per-crop squared error and energy [B], times [B], resolutions [B]."""
        columns = (error.tolist(), energy.tolist(), t.tolist(), log2_gsd.tolist())
        for crop_error, crop_energy, crop_t, crop_gsd in zip(*columns, strict=True):
            for key in (("t", int(crop_t * 4.999)), ("gsd", 2 * round(crop_gsd / 2))):
                self.error[key] = self.error[key] * self.decay + crop_error
                self.energy[key] = self.energy[key] * self.decay + crop_energy

    def rows(self) -> dict[str, float]:
        """Readable name -> relative error, e.g. ``t 0.8-1.0`` or ``16 m``."""

        def name(key: tuple[str, int]) -> str:
            return f"t {key[1] / 5:.1f}-{(key[1] + 1) / 5:.1f}" if key[0] == "t" else f"{2.0 ** key[1]:g} m"

        return {name(key): round(self.error[key] / max(self.energy[key], 1e-9), 3) for key in sorted(self.error)}


def normal(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Gaussian noise on ``device``, drawn where the generator is."""
    return torch.randn(shape, generator=generator, device=generator.device).to(device)


def draw_times(batch: int, generator: torch.Generator) -> Tensor:
    """Noise levels t [B]: logit-normal, shifted to high noise where structure is decided; the first is pure noise."""
    t = torch.sigmoid(normal((batch,), generator, generator.device) * 1.2 + 0.4)
    t[0] = 1.0
    return t


def draw_levels(batch: int, generator: torch.Generator) -> Tensor:
    """Amplitudes of conditioning noise [B]: none for a quarter of the crops, else uniform up to `MAX_CONDITION_LEVEL`."""
    u = torch.rand(batch, generator=generator, device=generator.device)
    return MAX_CONDITION_LEVEL * ((u - 0.25) / 0.75).clamp(min=0)


def fade(parent: Tensor, generator: torch.Generator) -> Tensor:
    """Parents [B, 3, h, w] as a chain of generated stages would leave them: in half of them, detail finer than 4 or 16 px is
    kept by a random share in [0, 1].

    The child stays the real one, so that below a flat parent the denoiser learns the detail that such a place has, and not
    that flat places have none: what would be fog after two stages (EarthGen, arXiv 2409.01491, calls it error over stages).
    """
    keep, some, coarse = (torch.rand(len(parent), generator=generator, device=generator.device) for _ in range(3))
    keep, coarse = torch.where(some < 0.5, keep, 1.0), coarse < 0.5
    by4, by16 = (_smooth(parent, k) for k in (4, 16))
    choose, share = (v.to(parent.device)[:, None, None, None] for v in (coarse, keep))
    smooth = torch.where(choose, by16, by4)
    return smooth + share * (parent - smooth)


def _smooth(x: Tensor, k: int) -> Tensor:
    """Box means over about k px, smoothly enlarged again."""
    small = F.adaptive_avg_pool2d(x, max(2, x.shape[-1] // k))
    return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)


def flow_loss(
    denoiser: Callable[..., Tensor], child: Tensor, log2_gsd: Tensor, generator: torch.Generator, autocast: torch.dtype | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss of one batch of real crops ``child`` [B, 3, S, S] with their resolutions [B]; the parent is its 4x4 box mean.

    Flow matching (arXiv 2210.02747) with x0 prediction, weighted as in velocity space (1/t^2, bounded) and by the crop's own
    energy so that calm crops count. Returns (loss, squared error [B], energy [B], t [B]).
    """
    device, batch = child.device, child.shape[0]
    parent = F.avg_pool2d(child, 4)
    residual = (child - enlarge(parent)) / RESIDUAL_SCALE
    t = draw_times(batch, generator).to(device)
    level = draw_levels(batch, generator).to(device)[:, None, None, None]
    tt = t[:, None, None, None]
    noise, doubt = (normal(x.shape, generator, device) for x in (residual, parent))
    noisy = (1 - tt) * residual + tt * noise
    seen = fade(parent, generator) + level * doubt
    plane = (level / MAX_CONDITION_LEVEL).expand(-1, 1, *parent.shape[2:])
    with autocasting(device, autocast):
        predicted = denoiser(
            noisy.contiguous(memory_format=torch.channels_last),
            seen.contiguous(memory_format=torch.channels_last),
            plane,
            t,
            log2_gsd[:, None],
        )
    margin = min(MARGIN, child.shape[-1] // 4)
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    error = (predicted.float() - residual)[inner].square().mean((1, 2, 3))
    energy = residual[inner].square().mean((1, 2, 3))
    weight = 1 / t.clamp(min=0.2).square()
    loss = (error * weight / (energy + 0.3).sqrt()).mean()
    return loss, error.detach(), energy.detach(), t

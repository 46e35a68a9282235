"""The critic: a finish for tuned weights, by a patch critic that tells generated pictures from real ones.

The energy score (`model.training.energy`) sees places of a few pixels; what makes fields, ridges and streets is how places hang
together, which a critic learns to see. It is relativistic (arXiv 1807.00734, in R3GAN's form, arXiv 2501.05441): it says by how
much a real picture is more real than a generated one of the same place, and its gradients are penalised on both. As a child
keeps its parent's means, the critic needs no parent: it judges pixels and ground resolution, less the mean and in units of
the contrast of the real crop, so that calm land counts as much as towns.
"""

from __future__ import annotations

import itertools
import math
import pickle
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.errors import WeightsError
from model.precision import autocasting
from model.training.loss import normal

WIDTHS = (64, 128, 192, 256)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the picture's resolution; all but the first have a verdict of their own."""
PENALTY = 0.01
"""Of squared gradients (R1 and R2), in units of contrast: enough to keep the critic smooth, not enough to blind it."""
JITTER = (0.1, 0.3)
"""Noise, in the same units, between which gradients are taken as differences: no second derivatives."""
LEARNING_RATE = 3e-4
LOOKS = (1, 2, 2)
"""Residual convolutions at 1/4, 1/8 and 1/16: what makes a place is how it hangs together, which the coarser ones see."""
WARM_UP = 150
"""Steps over which the critic's say grows from nothing: its first verdicts are worth nothing."""
_FLOOR = 0.03
_FREQUENCIES = 12


class Critic(nn.Module):
    """Verdicts, the higher the more real, on patches of about 20, 70 and 160 px."""

    def __init__(self) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(WIDTHS))
        self.enter = nn.Conv2d(12, WIDTHS[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairs)
        self.look = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(b, b, 3, padding=1) for _ in range(count))
            for (_, b), count in zip(pairs, LOOKS, strict=True)
        )
        self.say = nn.ModuleList(nn.Conv2d(b, 1, 1) for _, b in pairs)
        self.expect = nn.ModuleList(nn.Linear(2 * _FREQUENCIES, b) for _, b in pairs)

    def forward(self, x: Tensor, log2_gsd: Tensor) -> list[Tensor]:
        """x [B, 3, H, W] in units of contrast, sides multiples of 16; log2_gsd [B] -> verdicts [B, 1, h, w], one by scale."""
        f = torch.exp(torch.linspace(0, math.log(30), _FREQUENCIES, device=x.device)) / 10
        told = log2_gsd[:, None] * f
        told = torch.cat([told.sin(), told.cos()], 1)
        h = F.leaky_relu(self.enter(F.pixel_unshuffle(x, 2)), 0.2)
        verdicts = []
        for down, looks, say, expect in zip(self.down, self.look, self.say, self.expect, strict=True):
            h = F.leaky_relu(down(h), 0.2)
            for look in cast(nn.ModuleList, looks):
                h = F.leaky_relu(h + look(h), 0.2)
            # A projection critic (arXiv 1802.05637): what counts as real depends on the resolution.
            wanted = expect(told)[..., None, None].to(h.dtype)
            verdicts.append((say(h) + (h * wanted).sum(1, keepdim=True) / h.shape[1] ** 0.5).float())
        return verdicts


class Adversary:
    """A critic that learns beside the denoiser, and by ``weight`` beside the energy score has its say (`pull`)."""

    def __init__(self, weight: float, device: str, autocast: torch.dtype | None) -> None:
        self.weight = weight
        self.critic = Critic().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(self.critic.parameters(), LEARNING_RATE, betas=(0.5, 0.99), weight_decay=0.0)
        self.autocast = autocast
        self.steps = 0
        self.ratio = 0.0
        self.gap = 0.0
        """Running mean of how much more real the real ones look, in logits."""

    def pull(
        self,
        own: Tensor | None,
        real: Tensor,
        made: Tensor,
        log2_gsd: Tensor,
        generator: torch.Generator,
        counts: Tensor | None = None,
    ) -> Tensor:
        """Gradients that lead ``made`` to where the critic takes it for real, to be added to those of a loss, ``own``.

        ``made`` [N B, 3, S, S], like ``own``: N generated pictures of each of ``real`` [B, 3, S, S]. The gradients are
        ``weight`` times the size of ``own``, by a running mean; less in the first steps (`WARM_UP`). Without ``own``, ``made``
        are of other places, and seen in units of their own contrast. The critic takes a step of its own first. ``counts`` [B]:
        0 for pictures that have no say. A mirrored crop is symmetric, as no picture of noise can be: a critic would see nothing
        else.
        """
        times = len(made) // len(real)
        counts = torch.ones_like(log2_gsd) if counts is None else counts
        if not counts.any():
            return torch.zeros_like(made)
        share = (counts / counts.mean()).repeat(times)[:, None, None, None]
        many, gsd = (v.repeat(times, *[1] * (v.dim() - 1)) for v in (real, log2_gsd))
        true = (many - _middle(many)) / _contrast(many)
        like = made if own is None else many
        scale = _contrast(like)
        fake = (made - _middle(like)) / scale
        self._learn(true, fake, gsd, share, generator)
        fake.requires_grad_(True)
        with torch.no_grad():
            verdicts = self._judge(true, gsd)
        pairs = zip(self._judge(fake, gsd), verdicts, strict=True)
        against = torch.stack([(share * F.softplus(reals - fakes)).mean() for fakes, reals in pairs]).sum()
        (gradient,) = torch.autograd.grad(against, fake)
        gradient = gradient / scale
        if own is not None:
            ratio = float((own * share.sign()).norm() / gradient.norm().clamp(min=1e-12))
            self.ratio = ratio if self.ratio == 0 else 0.99 * self.ratio + 0.01 * ratio
        self.steps += 1
        return gradient * (self.weight * self.ratio * min(1.0, self.steps / WARM_UP))

    def _learn(self, true: Tensor, fake: Tensor, gsd: Tensor, share: Tensor, generator: torch.Generator) -> None:
        low, high = JITTER
        size = low + (high - low) * float(torch.rand((), generator=generator, device=generator.device))
        both = torch.cat([true, fake])
        noise = size * normal(both.shape, generator, both.device)
        verdicts = self._judge(torch.cat([both, both + noise]), gsd.repeat(4))
        loss, gap = both.new_zeros(()), both.new_zeros(())
        for verdict in verdicts:
            real, made, real_near, made_near = verdict.chunk(4)
            steep = (real - real_near).square() + (made - made_near).square()
            loss = loss + (share * (F.softplus(made - real) + PENALTY / size**2 * steep)).mean()
            gap += (share * (real - made)).detach().mean() / len(verdicts)
        self.gap = 0.99 * self.gap + 0.01 * float(gap)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def _judge(self, x: Tensor, gsd: Tensor) -> list[Tensor]:
        x = x.contiguous(memory_format=torch.channels_last)
        with autocasting(x.device, self.autocast):
            return self.critic(x, gsd)  # type: ignore[no-any-return]

    def start_from(self, checkpoint: Path) -> None:
        """Take the critic of another run, which is heard from the first step on. Raises `WeightsError` if there is none."""
        try:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)["adversary"]["critic"]
            self.critic.load_state_dict({name: value.float() for name, value in state.items()})
        except (OSError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
            raise WeightsError(f"The checkpoint {checkpoint} holds no critic that can be gone on with ({error}).") from error
        self.steps = WARM_UP

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on."""
        counts = {"steps": self.steps, "ratio": self.ratio}
        return {"critic": self.critic.state_dict(), "optimiser": self.optimiser.state_dict(), **counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.critic.load_state_dict(state["critic"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps, self.ratio = state["steps"], state["ratio"]


def _middle(pictures: Tensor) -> Tensor:
    return pictures.mean((2, 3), keepdim=True)


def _contrast(pictures: Tensor) -> Tensor:
    return pictures.std((2, 3), keepdim=True).mean(1, keepdim=True) + _FLOOR

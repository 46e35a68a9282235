"""The denoiser: one small convolutional U-Net, shared by every stage of the cascade and told the ground resolution.

Follows the resolution-guided denoiser of MetaEarth (arXiv 2405.13570) in what it is told, not in how it is built: it works at
1/4, 1/8 and 1/2 of the child's resolution through pixel-unshuffle, its residual blocks are a 3x3 and a 1x1 convolution with
FiLM (arXiv 1709.07871), and nothing in it looks further than its kernels do: no attention and no feature statistics, so that
the influence of far pixels dies out within a short halo.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RESIDUAL_SCALE = 0.1
"""The denoiser's unit: residuals over the enlarged parent, on [-1, 1], are divided by this to come near unit variance."""

ALIGNMENT = 8
"""Windows start and end at multiples of this many child pixels, in world coordinates (the 1/8 branch's stride)."""

MAX_CONDITION_LEVEL = 0.15
"""Highest amplitude, on [-1, 1], of conditioning noise (arXiv 2106.15282) that the denoiser is trained with."""

_FREQUENCIES = 16


@dataclass(frozen=True)
class DenoiserConfig:
    """Widths (channels) and depths (residual blocks) of the branches at 1/4, 1/8 and 1/2 resolution.

    ``quarter``, ``eighth``, ``half``: channels; ``before``, ``middle``, ``after``, ``head``: blocks in order of use, at 1/4,
    1/8, 1/4 and 1/2 resolution; ``embedding``: width of the vector that carries time and ground resolution.
    """

    quarter: int = 128
    eighth: int = 192
    half: int = 64
    before: int = 3
    middle: int = 4
    after: int = 3
    head: int = 2
    embedding: int = 256

    def as_dict(self) -> dict[str, int]:
        """The fields as a plain dict, for a weights file's metadata."""
        return asdict(self)

    @property
    def receptive_field(self) -> int:
        """Child pixels to each side that can influence a pixel in one call (padded convolutions, exact upper bound)."""
        return 4 * self.before + 8 * self.middle + 4 * self.after + 2 * self.head


class ResidualBlock(nn.Module):
    """x + project(silu(film(expand(x)))): 3x3 convolution to twice the width, FiLM, SiLU, 1x1 convolution back."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.project = nn.Conv2d(2 * channels, channels, 1)
        self.film = nn.Linear(embedding, 4 * channels)
        for layer in (self.project, self.film):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def modulation(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """FiLM's (scale, shift), each [B, 2C, R, 1] for an embedding [B, R, E]; R is 1 or the feature rows."""
        scale, shift = self.film(embedding).transpose(1, 2).unsqueeze(-1).chunk(2, 1)
        return 1 + scale, shift

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x [B, C, H, W], embedding [B, R, E] (R = 1 or H) -> [B, C, H, W]."""
        scale, shift = self.modulation(embedding)
        hidden = self.expand(x)
        hidden = F.silu(torch.addcmul(shift.to(hidden.dtype), hidden, scale.to(hidden.dtype)))
        return x + self.project(hidden)  # type: ignore[no-any-return]


class Denoiser(nn.Module):
    """Predicts the clean residual from a noisy one (x0 prediction), the parent, time, ground resolution and noise level."""

    def __init__(self, config: DenoiserConfig | None = None) -> None:
        super().__init__()
        c = self.config = config or DenoiserConfig()
        e = c.embedding
        self.embed = nn.Sequential(nn.Linear(4 * _FREQUENCIES, e), nn.SiLU(), nn.Linear(e, e), nn.SiLU())
        self.enter = nn.Conv2d(48 + 3 + 1, c.quarter, 1)
        self.before = nn.ModuleList(ResidualBlock(c.quarter, e) for _ in range(c.before))
        self.down = nn.Conv2d(4 * c.quarter, c.eighth, 1)
        self.middle = nn.ModuleList(ResidualBlock(c.eighth, e) for _ in range(c.middle))
        self.up = nn.Conv2d(c.eighth, c.quarter, 1)
        self.after = nn.ModuleList(ResidualBlock(c.quarter, e) for _ in range(c.after))
        self.widen = nn.Conv2d(c.quarter, 4 * c.half, 1)
        self.enter_head = nn.Conv2d(12, c.half, 1)
        self.head = nn.ModuleList(ResidualBlock(c.half, e) for _ in range(c.head))
        self.leave = nn.Conv2d(c.half, 12, 1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def embedding(self, t: Tensor, log2_gsd: Tensor) -> Tensor:
        """Sinusoidal features of time [B] and log2 ground resolution [B, R], through an MLP -> [B, R, E] in float32."""
        f = torch.exp(torch.linspace(0, math.log(100), _FREQUENCIES, device=t.device))
        time = (t[:, None, None] * f).expand(-1, log2_gsd.shape[1], -1)
        gsd = log2_gsd[:, :, None] / 10 * f
        features = torch.cat([time.sin(), time.cos(), gsd.sin(), gsd.cos()], -1)
        return self.embed(features)  # type: ignore[no-any-return]

    def head_layers(self) -> tuple[nn.Module, ...]:
        """The layers at 1/2 resolution, from the quarter branch's features to the residual."""
        return (self.widen, self.enter_head, *self.head, self.leave)

    def forward(self, x: Tensor, parent: Tensor, level: Tensor, t: Tensor, log2_gsd: Tensor) -> Tensor:
        """Predict the clean residual.

        x [B, 3, 4h, 4w]: noisy residual ``(1 - t) r + t n`` in units of `RESIDUAL_SCALE`; 4h and 4w multiples of `ALIGNMENT`.
        parent [B, 3, h, w] on [-1, 1], with its conditioning noise; level [B, 1, h, w]: that noise's amplitude divided by
        `MAX_CONDITION_LEVEL`; t [B] in (0, 1]; log2_gsd [B, R]: log2 of the child's metres per pixel, R = 1 for one value a
        window or R = 4h / 8 for one per 8 child rows. Returns r, like x.
        """
        e = self.embedding(t, log2_gsd)
        rowwise = e.shape[1] > 1
        e4 = _rows(e, 2) if rowwise else e
        h = self.enter(_like(self.enter, torch.cat([F.pixel_unshuffle(x, 4), parent, level], 1)))
        for block in self.before:
            h = block(h, e4)
        m = self.down(F.pixel_unshuffle(h, 2))
        for block in self.middle:
            m = block(m, e)
        h = h + F.interpolate(self.up(m), scale_factor=2, mode="nearest")
        for block in self.after:
            h = block(h, e4)
        # The head may be kept in float32 behind branches in bf16 (`model.inference`).
        q = F.pixel_shuffle(self.widen(_like(self.widen, h)), 2)
        q = q + self.enter_head(_like(self.enter_head, F.pixel_unshuffle(x, 2)))
        e2 = _rows(e, 4) if rowwise else e
        for block in self.head:
            q = block(q, e2)
        return F.pixel_shuffle(self.leave(q), 2)


def _like(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """``x`` in the number format of ``layer``'s weights."""
    return x.to(layer.weight.dtype)


def _rows(embedding: Tensor, times: int) -> Tensor:
    """Repeat each row's embedding for the finer branches: [B, R, E] -> [B, times * R, E]."""
    return embedding.repeat_interleave(times, 1)

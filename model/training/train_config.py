"""What a training run is told (`model.training.train`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from model.training.calibrate import CROPS
from model.training.imagery import ImageryError
from model.training.planets import SIDE

SMALL_CROP = 64
"""Side of the small crops that every `SMALL_EVERY`-th step uses: sheets of 64 and 100 px cells fit no larger one."""
SMALL_EVERY = 6
TUNE_CROP = 192
"""Least side of crops to tune on, in multiples of 64: chains of three stages start from 1/64 of twice that, which must
be even and hold what amplitudes look at."""
TUNE_GENERATIONS = (0, 1, 2, 1, 2)
"""Stages above the scored one that are generated while tuning, in turn: most of a planet's stages have generated parents."""
ON_PLANETS = -1
WITH_PLANETS = (0, ON_PLANETS, 2, ON_PLANETS, 1, ON_PLANETS, 2, ON_PLANETS)
"""The same with parents that were read from planets (`model.training.planets`)."""


@dataclass(frozen=True)
class TrainConfig:
    """One run. ``minutes`` (of training time over all resumes) or ``steps`` ends it and shapes the learning rate's cosine.

    ``tune``: numbers of sampler steps that the weights are tuned for by `energy_loss`, one drawn for each batch, so that one
    named twice has twice the share; without any they are trained by `flow_loss`. ``critic``: what a critic's gradients count
    beside the energy score's (`model.training.critic`; 0: none): a new one, or that of the checkpoint ``critic_from``. With
    one, half of the batches may have the parents of the file ``planet_parents`` (`model.training.planets`), and the critic may
    look at what planets have made for ``critic_ahead`` steps before the first (`check_critic`).
    In the end the amplitudes of tuned weights are measured on ``calibration`` crops (`model.training.calibrate`; 0: not at
    all). ``freeze``: modules of `Denoiser` that keep the weights of ``init``: the branch at 1/8, ``middle``, decides how far
    the network reaches, which the halo bounds.
    ``keep_every``: steps between copies of the averaged weights that stay, ``ema-STEP.safetensors``, to choose from (0: none).
    """

    imagery: Path
    out: Path
    minutes: float | None = None
    steps: int = 20_000
    batch: int = 8
    crop: int = 160
    learning_rate: float = 6e-4
    ema: float = 0.9995
    seed: int = 0
    init: Path | None = None
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    workers: int = 0
    compile: bool = False
    tune: tuple[int, ...] = ()
    critic: float = 0.0
    critic_from: Path | None = None
    planet_parents: Path | None = None
    critic_ahead: int = 0
    freeze: tuple[str, ...] = ()
    calibration: int = CROPS
    log_every: int = 100
    checkpoint_every: int = 200
    keep_every: int = 0

    def check_critic(self) -> None:
        """Raises `ImageryError` for a critic without samples to judge, for what is for a critic where there is none, and for
        crops that parents from planets are too small for."""
        if self.critic and not self.tune:
            raise ImageryError(f"--critic {self.critic:g} judges what tuned weights make; give --tune and --init as well.")
        if self.critic_from and not self.critic:
            raise ImageryError(f"--critic-from {self.critic_from} names a critic to start with; give --critic as well.")
        if self.planet_parents and not self.critic:
            raise ImageryError(f"--planet-parents {self.planet_parents} are for a critic; give --critic as well.")
        if self.critic_ahead and not self.planet_parents:
            raise ImageryError(f"--critic-ahead {self.critic_ahead} looks at what planets made; give --planet-parents as well.")
        if self.planet_parents and self.crop > 4 * SIDE:
            raise ImageryError(f"--crop must be at most {4 * SIDE} with --planet-parents, not {self.crop}.")

    def generations(self, step: int) -> int:
        """Of the stages above the one that a step of tuning judges, those that are generated; or `ON_PLANETS`."""
        turns = WITH_PLANETS if self.planet_parents else TUNE_GENERATIONS
        return turns[step % len(turns)]
